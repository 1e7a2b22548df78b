//! Products of packed ternary matrices with rows of activations, shared out over a crew.

use super::layout::{ROWS, STEP, STRIP, ZERO_POINT, padded, strip_bytes};
use super::level::Level;
use super::{Kernels, Operands, scalar, tokens};
use crate::ops::Product;
use crate::ops::cpu::Isa;
use crate::ops::cpu::crew::{Crew, share};
use crate::ops::cpu::isa::by_level;

/// Weights that one grab hands to a thread, at least; as for the other products.
const GRAB_BYTES: usize = 128 << 10;
/// Tokens whose sums are held at once.
const TOKENS: usize = 256;
/// From so many tokens on tiles are worth taking codes apart for.
const TILES_FROM: usize = 6;

/// Scratch bytes for products with `n` tokens of `cols` inputs.
pub fn scratch_bytes(n: usize, cols: usize) -> usize {
    n * tokens::stride(cols)
}

fn kernels(level: Level) -> Kernels {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Sse41 => super::narrow::sse41::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => super::narrow::avx2::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni => super::narrow::avx_vnni::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni | Level::Amx => super::avx512::KERNELS,
        _ => scalar::KERNELS,
    }
}

/// `out = x W^T` for all products, each with a ternary matrix; see [`crate::ops::Ops::matmul`]. Kernels of the best level within
/// `isa`.
///
/// # Safety
/// All pointers of the products and `x` are valid for the sizes named by `n` and the weights, weights are packed and share `cols`,
/// and `scratch` has [`scratch_bytes`], aligned to 64.
pub unsafe fn products(isa: Isa, crew: &dyn Crew, x: u64, n: usize, products: &[&Product], scratch: u64) {
    // SAFETY: the caller's duty; the level was found on this machine.
    unsafe { products_at(Level::here(isa), isa, crew, x, n, products, scratch) }
}

/// The same with kernels of `level`.
///
/// # Safety
/// As [`products`]; the processor has the level.
pub unsafe fn products_at(
    level: Level,
    isa: Isa,
    crew: &dyn Crew,
    x: u64,
    n: usize,
    products: &[&Product],
    scratch: u64,
) {
    let Some(first) = products.first() else { return };
    if n == 0 {
        return;
    }
    let cols = first.weight.cols as usize;
    let stride = tokens::stride(cols);
    let at = |t: usize| (scratch as *mut u8).wrapping_add(t * stride);
    share(crew, n, (16 << 10) / cols + 1, |first, last, _| {
        for t in first..last {
            // SAFETY: rows of x and of the scratch, by the caller's promise.
            unsafe { tokens::quantize(isa, (x as *const f32).wrapping_add(t * cols), cols, at(t)) };
        }
    });
    // A unit is four strips of one product; units of all products are numbered through.
    let fours = |p: &Product| (p.weight.rows as usize).div_ceil(ROWS);
    let units: usize = products.iter().map(|p| fours(p)).sum();
    // About eight grabs for each thread even out what disturbs one of them.
    let least = (GRAB_BYTES / (4 * strip_bytes(cols))).div_ceil(n.min(8));
    let grain = (units / (crew.workers() * 8)).max(least);
    share(crew, units, grain, |mut first, last, _| {
        let mut base = 0;
        for product in products {
            let count = fours(product);
            if first < last && first < base + count {
                let until = last.min(base + count);
                // SAFETY: units of this product, pointers by the caller's promise.
                unsafe {
                    run(level, isa, product, first - base, until - base, scratch as *const u8, stride, n)
                };
                first = until;
            }
            base += count;
        }
    });
}

/// Strips `4 first..4 last` of one product, all `n` tokens.
#[allow(clippy::too_many_arguments)]
unsafe fn run(
    level: Level,
    isa: Isa,
    product: &Product,
    first: usize,
    last: usize,
    tokens_at: *const u8,
    stride: usize,
    n: usize,
) {
    let mut room = Sums::uninit();
    let sums = room.as_mut_ptr().cast::<i32>();
    let cols = product.weight.cols as usize;
    let (size, count) = (strip_bytes(cols), last - first);
    // The run's strips in four streams: what is used together lies far apart.
    for strip in 4 * first..4 * first + count {
        for t in (0..n).step_by(TOKENS) {
            let now = TOKENS.min(n - t);
            let token = |i: usize| tokens_at.wrapping_add((t + i) * stride);
            let operands = Operands {
                w: (product.weight.ptr as *const u8).wrapping_add(strip * size),
                apart: count * size,
                steps: padded(cols) / STEP,
                x: tokens::codes(token(0)),
                stride,
            };
            // SAFETY: strips of this product and `now` tokens, by the caller's promise.
            unsafe {
                add_up(level, operands, now, sums);
                for i in 0..now {
                    for part in 0..4 {
                        let sums = sums.add(i * ROWS + part * STRIP);
                        finish(isa, product, strip + part * count, t + i, token(i), sums);
                    }
                }
            }
        }
    }
}

/// The sums of `n` tokens with four strips.
unsafe fn add_up(level: Level, o: Operands, n: usize, sums: *mut i32) {
    #[cfg(target_arch = "x86_64")]
    if level == Level::Amx && n >= TILES_FROM {
        // SAFETY: the caller's duty.
        return unsafe { super::amx::any(o, n, sums) };
    }
    let kernels = kernels(level);
    let mut t = 0;
    while t < n {
        // So that what is left over is not much less: 13 are 7 and 6 where 12 can be taken.
        let rounds = (n - t).div_ceil(kernels.len());
        let now = (n - t).div_ceil(rounds);
        let part = Operands { x: o.x.wrapping_add(t * o.stride), ..o };
        // SAFETY: the caller's duty.
        unsafe { kernels[now - 1](part, sums.wrapping_add(t * ROWS)) };
        t += now;
    }
}

by_level! {
    /// Turns the sums of one token and strip into outputs, adds bias and residual, and stores them.
    unsafe fn finish(product: &Product, strip: usize, t: usize, token: *const u8, sums: *const i32) {
        let rows = product.weight.rows as usize;
        let (first, cols) = (strip * STRIP, product.weight.cols as usize);
        let used = STRIP.min(rows.saturating_sub(first));
        let scales = product.weight.ptr as usize + 4 * rows.div_ceil(ROWS) * strip_bytes(cols);
        // SAFETY: a strip of this product, whose scales lie behind all strips, and a token.
        unsafe {
            let token = tokens::token(token);
            let sums = std::slice::from_raw_parts(sums, used);
            let scales = std::slice::from_raw_parts((scales as *const f32).add(first), used);
            let out = std::slice::from_raw_parts_mut((product.out as *mut f32).add(t * rows + first), used);
            let bias = product.bias.map(|b| std::slice::from_raw_parts((b as *const f32).add(first), used));
            let value = |i: usize| (sums[i] - ZERO_POINT * token.sum) as f32 * token.scale * scales[i];
            match (bias, product.add) {
                (None, false) => (0..used).for_each(|i| out[i] = value(i)),
                (None, true) => (0..used).for_each(|i| out[i] += value(i)),
                (Some(b), false) => (0..used).for_each(|i| out[i] = value(i) + b[i]),
                (Some(b), true) => (0..used).for_each(|i| out[i] += value(i) + b[i]),
            }
        }
    }
}

/// Not filled before it is used: for one token most of it is not touched.
type Sums = std::mem::MaybeUninit<Aligned<[i32; TOKENS * ROWS]>>;

#[repr(align(64))]
struct Aligned<T>(#[allow(dead_code)] T);
