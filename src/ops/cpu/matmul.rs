//! Products of packed matrices with rows of activations, shared out over a crew.

use super::activations::{Block, bf16_stride, quantize_row, row_stride, to_bf16_row};
use super::crew::{Crew, share};
use super::isa::Isa;
use super::kernels::{MAX_PANELS, MAX_ROWS, Operands, Takes, chosen};
use super::lowbit;
use super::pack::{PANEL, panel_bytes};
use crate::ops::{Math, Product};

/// Scratch bytes for products with `rows` rows of `cols` inputs: the activations in 8 bits, then in bf16; or as ternary matrices
/// take them.
pub fn scratch_bytes(rows: usize, cols: usize) -> usize {
    (rows * (row_stride(cols) + bf16_stride(cols))).max(lowbit::scratch_bytes(rows, cols))
}

/// Runs of weights that one grab hands to a thread, at least; below this, handing out costs more than it evens out.
const GRAB_BYTES: usize = 128 << 10;

/// `out = x W^T` for all products; see [`crate::ops::Ops::matmul`].
///
/// # Safety
/// All pointers of the products and `x` are valid for the sizes named by `n` and the weights, weights are packed and
/// share `cols`; if any takes other activations than floats, `scratch` has [`scratch_bytes`] bytes, aligned to 64.
pub unsafe fn matmul(
    isa: Isa,
    math: Math,
    crew: &dyn Crew,
    x: u64,
    n: usize,
    products: &[Product],
    scratch: u64,
) {
    let ternary = |p: &Product| p.weight.dtype.is_ternary();
    if products.iter().any(ternary) {
        let (own, others): (Vec<&Product>, Vec<&Product>) = products.iter().partition(|p| ternary(p));
        let others: Vec<Product> = others.into_iter().copied().collect();
        // SAFETY: the caller's duty, for each part of the products.
        unsafe {
            lowbit::products(isa, crew, x, n, &own, scratch);
            return matmul(isa, math, crew, x, n, &others, scratch);
        }
    }
    let Some(first) = products.first() else { return };
    if n == 0 {
        return;
    }
    let cols = first.weight.cols as usize;
    let stride = row_stride(cols);
    let takes = |p: &Product| chosen(isa, p.weight.dtype, math).1;
    if products.iter().any(|p| takes(p) == Takes::Blocks) {
        let grain = (16 << 10) / cols + 1;
        share(crew, n, grain, |first, last, _| {
            for row in first..last {
                let from = (x as *const f32).wrapping_add(row * cols);
                let to = (scratch as *mut u8).wrapping_add(row * stride).cast::<Block>();
                // SAFETY: rows of x and of the scratch, by the caller's promise.
                unsafe { quantize_row(isa, from, cols / 32, to) };
            }
        });
    }
    let (narrow, narrow_stride) = (scratch + (n * stride) as u64, bf16_stride(cols));
    if products.iter().any(|p| takes(p) == Takes::Bf16) {
        share(crew, n, (16 << 10) / cols + 1, |first, last, _| {
            for row in first..last {
                let from = (x as *const f32).wrapping_add(row * cols);
                let to = (narrow as *mut u8).wrapping_add(row * narrow_stride).cast::<u16>();
                // SAFETY: rows of x and of the scratch, by the caller's promise.
                unsafe { to_bf16_row(isa, from, cols, to) };
            }
        });
    }
    // A unit is a pair of panels of one product; units of all products are numbered through.
    let pairs = |p: &Product| (p.weight.rows as usize).div_ceil(PANEL * MAX_PANELS);
    let units: usize = products.iter().map(pairs).sum();
    let bytes: usize = products
        .iter()
        .map(|p| panel_bytes(p.weight.dtype, cols) * (p.weight.rows as usize).div_ceil(PANEL))
        .sum();
    // About eight grabs for each thread even out what disturbs one of them.
    let least = (GRAB_BYTES * units).div_ceil(bytes.max(1) * n.min(8));
    let grain = (units / (crew.workers() * 8)).max(least);
    share(crew, units, grain, |mut first, last, _| {
        let mut base = 0;
        for product in products {
            let count = pairs(product);
            if first < last && first < base + count {
                let (x, stride) = match takes(product) {
                    Takes::Floats => (x, cols * 4),
                    Takes::Blocks => (scratch, stride),
                    Takes::Bf16 => (narrow, narrow_stride),
                };
                let until = last.min(base + count);
                // SAFETY: units of this product, pointers by the caller's promise.
                unsafe { strip(isa, math, product, x, stride, n, first - base, until - base) };
                first = until;
            }
            base += count;
        }
    });
}

/// Panel pairs `first..last` of one product, all `n` rows.
#[allow(clippy::too_many_arguments)]
unsafe fn strip(
    isa: Isa,
    math: Math,
    product: &Product,
    x: u64,
    x_stride: usize,
    n: usize,
    first: usize,
    last: usize,
) {
    let weight = &product.weight;
    let (outputs, cols) = (weight.rows as usize, weight.cols as usize);
    let size = panel_bytes(weight.dtype, cols);
    let (table, _) = chosen(isa, weight.dtype, math);
    let (first, last) = (first * MAX_PANELS, outputs.div_ceil(PANEL).min(last * MAX_PANELS));
    let mut sums = Sums([0.0; MAX_ROWS * MAX_PANELS * PANEL]);
    // `p` panels `apart` from each other, the first being `panel`.
    let mut run = |panel: usize, p: usize, apart: usize| {
        let mut row = 0;
        while row < n {
            let t = table.rows.min(n - row);
            let operands = Operands {
                w: (weight.ptr as *const u8).wrapping_add(panel * size),
                w_stride: apart * size,
                x: (x as *const u8).wrapping_add(row * x_stride),
                x_stride,
                cols,
            };
            // SAFETY: p panels and t rows exist, and `sums` holds the largest result.
            unsafe {
                table.kernels[p - 1][t - 1](&operands, sums.0.as_mut_ptr());
                for (i, sums) in sums.0.chunks_exact(PANEL).take(t * p).enumerate() {
                    let output = (panel + i % p * apart) * PANEL;
                    finish(product, sums, output, outputs.min(output + PANEL) - output, outputs, row + i / p);
                }
            }
            row += t;
        }
    };
    // With few rows weights come from memory: panels that are used together lie far apart, so that each is part of one
    // long stream. With many rows they are neighbours and stay in the cache.
    let (count, p) = (last - first, table.panels);
    let whole = count / p;
    for i in 0..whole {
        if n <= table.rows { run(first + i, p, whole) } else { run(first + i * p, p, 1) }
    }
    for panel in first + whole * p..last {
        run(panel, 1, 1);
    }
}

/// Adds bias and residual to the sums of one row and panel and stores them.
#[inline]
unsafe fn finish(product: &Product, sums: &[f32], output: usize, used: usize, outputs: usize, row: usize) {
    let out = (product.out as *mut f32).wrapping_add(row * outputs + output);
    // SAFETY: `used` outputs of this row and as many biases exist, by the caller's promise.
    unsafe {
        let out = std::slice::from_raw_parts_mut(out, used);
        let bias = product
            .bias
            .map(|bias| std::slice::from_raw_parts((bias as *const f32).wrapping_add(output), used));
        match (bias, product.add) {
            (None, false) => out.copy_from_slice(&sums[..used]),
            (None, true) => out.iter_mut().zip(sums).for_each(|(o, s)| *o += s),
            (Some(b), false) => out.iter_mut().zip(sums).zip(b).for_each(|((o, s), b)| *o = s + b),
            (Some(b), true) => out.iter_mut().zip(sums).zip(b).for_each(|((o, s), b)| *o += s + b),
        }
    }
}

#[repr(align(64))]
struct Sums([f32; MAX_ROWS * MAX_PANELS * PANEL]);
