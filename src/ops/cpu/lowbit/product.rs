//! Products of packed ternary matrices with rows of activations, shared out over a crew.

use super::layout::{PANEL, STEP, ZERO_POINT, padded, panel_bytes};
use super::level::Level;
use super::{Kernel, Kernels, scalar, tokens};
use crate::ops::Product;
use crate::ops::cpu::Isa;
use crate::ops::cpu::crew::{Crew, share};
use crate::ops::cpu::isa::by_level;

/// Weights that one grab hands to a thread, at least; as for the other products.
const GRAB_BYTES: usize = 128 << 10;
/// Tokens whose sums are held at once.
const TOKENS: usize = 256;
/// From so many tokens on tiles are worth taking a panel apart for.
const TILES_FROM: usize = 6;

/// Scratch bytes for products with `n` tokens of `cols` inputs.
pub fn scratch_bytes(n: usize, cols: usize) -> usize {
    n * tokens::stride(cols)
}

fn kernels(level: Level) -> &'static Kernels {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Sse41 => &super::narrow::sse41::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => &super::narrow::avx2::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Level::AvxVnni => &super::narrow::avx_vnni::KERNELS,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Vnni | Level::Amx => &super::avx512::KERNELS,
        _ => &scalar::KERNELS,
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
    let panels = |p: &Product| (p.weight.rows as usize).div_ceil(PANEL);
    let units: usize = products.iter().map(|p| panels(p)).sum();
    // About eight grabs for each thread even out what disturbs one of them.
    let least = (GRAB_BYTES / panel_bytes(cols)).div_ceil(n.min(8));
    let grain = (units / (crew.workers() * 8)).max(least);
    share(crew, units, grain, |mut first, last, _| {
        let mut sums = Sums([0; TOKENS * PANEL]);
        let mut base = 0;
        for product in products {
            let count = panels(product);
            while first < last && first < base + count {
                for t in (0..n).step_by(TOKENS) {
                    let now = TOKENS.min(n - t);
                    // SAFETY: a panel of this product and `now` tokens.
                    unsafe {
                        add_up(level, product, first - base, at(t), stride, now, &mut sums.0);
                        for (i, sums) in sums.0.chunks_exact(PANEL).take(now).enumerate() {
                            finish(isa, product, first - base, t + i, at(t + i), sums.as_ptr());
                        }
                    }
                }
                first += 1;
            }
            base += count;
        }
    });
}

/// The sums of `n` tokens with one panel.
unsafe fn add_up(
    level: Level,
    product: &Product,
    panel: usize,
    first: *const u8,
    stride: usize,
    n: usize,
    sums: &mut [i32],
) {
    let cols = product.weight.cols as usize;
    let (w, steps) = (product.weight.ptr as *const u8, padded(cols) / STEP);
    let w = w.wrapping_add(panel * panel_bytes(cols));
    let (x, out) = (tokens::codes(first), sums.as_mut_ptr());
    #[cfg(target_arch = "x86_64")]
    if level == Level::Amx && n >= TILES_FROM {
        // SAFETY: the caller's duty.
        return unsafe { super::amx::any(w, x, stride, steps, n, out) };
    }
    let take: &[Kernel] = kernels(level).take;
    let mut t = 0;
    while t < n {
        // So that what is left over is not much less: 13 are 7 and 6 where 12 can be taken.
        let rounds = (n - t).div_ceil(take.len());
        let now = (n - t).div_ceil(rounds);
        // SAFETY: the caller's duty.
        unsafe { take[now - 1](w, x.wrapping_add(t * stride), stride, steps, out.wrapping_add(t * PANEL)) };
        t += now;
    }
}

by_level! {
    /// Turns the sums of one token and panel into outputs, adds bias and residual, and stores them.
    unsafe fn finish(product: &Product, panel: usize, t: usize, token: *const u8, sums: *const i32) {
        let rows = product.weight.rows as usize;
        let (first, cols) = (panel * PANEL, product.weight.cols as usize);
        let used = PANEL.min(rows - first);
        let scales = product.weight.ptr as usize + rows.div_ceil(PANEL) * panel_bytes(cols);
        // SAFETY: a panel of this product, whose scales lie behind all panels, and a token.
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

#[repr(align(64))]
struct Sums([i32; TOKENS * PANEL]);
