//! Plain loops: what every other level is compared with, and what processors without AVX2 run.

use super::super::activations::Block;
use super::super::pack::{PANEL, Q4_K_BYTES, Q6_K_BYTES, pair_offsets};
use super::{CHUNK, Kernel, Kernels, Operands};
use crate::quant::DType;
use half::{bf16, f16};

pub fn kernels(dtype: DType) -> Kernels {
    let kernel: Kernel = match dtype {
        DType::F32 => f32_,
        DType::F16 => f16_,
        DType::BF16 => bf16_,
        DType::Q8_0 => q8_0,
        DType::Q4_0 => q4_0,
        DType::Q4_K => q4_k,
        DType::Q6_K => q6_k,
        DType::TQ1_0 | DType::TQ2_0 | DType::I2_S => super::elsewhere(dtype),
    };
    Kernels { kernels: [[kernel; 6]; 2], panels: 1, rows: 1 }
}

/// The panel's bytes, the row's blocks and the outputs as slices.
///
/// # Safety
/// The operands and `out` are valid for one panel of type `dtype` and one row.
unsafe fn slices<'a>(
    dtype: DType,
    o: &Operands,
    out: *mut f32,
) -> (&'a [u8], &'a [Block], &'a mut [f32; PANEL]) {
    // SAFETY: promised by the caller.
    unsafe {
        (
            std::slice::from_raw_parts(o.w, super::super::pack::panel_bytes(dtype, o.cols)),
            std::slice::from_raw_parts(o.x.cast(), o.cols / 32),
            &mut *out.cast(),
        )
    }
}

fn f16_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Sum of `start` and the products of codes of output `r` in `lines` with the codes `x`.
fn dot(start: i32, x: &[i8], code: impl Fn(usize) -> u8) -> i32 {
    x.iter().enumerate().fold(start, |sum, (i, &x)| sum + i32::from(code(i)) * i32::from(x))
}

unsafe fn q8_0(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for one Q8_0 panel and one row.
    let (panel, x, out) = unsafe { slices(DType::Q8_0, o, out) };
    for (r, out) in out.iter_mut().enumerate() {
        let mut total = 0.0;
        for (b, x) in x.iter().enumerate() {
            let (scale, code) = pair_offsets(b, 512);
            let sum = dot(x.minus_128, &x.q, |i| panel[code + i / 4 * 64 + 4 * r + i % 4]);
            total += sum as f32 * f16_at(panel, scale + 2 * r) * x.scale;
        }
        *out = total;
    }
}

unsafe fn q4_0(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for one Q4_0 panel and one row.
    let (panel, x, out) = unsafe { slices(DType::Q4_0, o, out) };
    for (r, out) in out.iter_mut().enumerate() {
        let mut total = 0.0;
        for (b, x) in x.iter().enumerate() {
            let (scale, code) = pair_offsets(b, 256);
            let byte = |i: usize| panel[code + i / 4 * 64 + 4 * r + i % 4];
            let sum = dot(x.minus_8, &x.q[..16], |i| byte(i) & 15);
            let sum = dot(sum, &x.q[16..], |i| byte(i) >> 4);
            total += sum as f32 * f16_at(panel, scale + 2 * r) * x.scale;
        }
        *out = total;
    }
}

unsafe fn q4_k(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for one Q4_K panel and one row.
    let (panel, x, out) = unsafe { slices(DType::Q4_K, o, out) };
    for (r, out) in out.iter_mut().enumerate() {
        let mut total = 0.0;
        for (panel, x) in panel.chunks_exact(Q4_K_BYTES).zip(x.chunks_exact(8)) {
            let (d, dmin) = (f16_at(panel, 2 * r), f16_at(panel, 32 + 2 * r));
            for (sub, x) in x.iter().enumerate() {
                let sum = dot(0, &x.q, |i| {
                    let byte = sub / 2 * 32 + i;
                    panel[320 + byte / 4 * 64 + 4 * r + byte % 4] >> (sub % 2 * 4) & 15
                });
                let scale = d * f32::from(panel[64 + 16 * sub + r]);
                let minimum = dmin * f32::from(panel[192 + 16 * sub + r]);
                total += sum as f32 * scale * x.scale;
                total -= minimum * x.scaled_sum;
            }
        }
        *out = total;
    }
}

unsafe fn q6_k(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for one Q6_K panel and one row.
    let (panel, x, out) = unsafe { slices(DType::Q6_K, o, out) };
    for (r, out) in out.iter_mut().enumerate() {
        let mut total = 0.0;
        for (panel, x) in panel.chunks_exact(Q6_K_BYTES).zip(x.chunks_exact(8)) {
            let d = f16_at(panel, 2 * r);
            for sub in 0..16 {
                let x = &x[sub / 2];
                let (half, k, first) = (sub / 8, sub % 8 / 2, sub % 2 * 16);
                let sum = dot(x.minus_32[sub % 2], &x.q[first..first + 16], |i| {
                    let low = half * 64 + k % 2 * 32 + first + i;
                    let high = half * 32 + first + i;
                    let low = panel[320 + low / 4 * 64 + 4 * r + low % 4] >> (k / 2 * 4) & 15;
                    let high = panel[2368 + high / 4 * 64 + 4 * r + high % 4] >> (2 * k) & 3;
                    low | high << 4
                });
                let scale = d * f32::from(panel[64 + 16 * sub + r] as i8);
                total += sum as f32 * scale * x.scale;
            }
        }
        *out = total;
    }
}

/// # Safety
/// `o.x` holds `o.cols` floats, `out` 16; `weight(i, r)` may be called for every input and output.
#[inline(always)]
unsafe fn floats(o: &Operands, out: *mut f32, weight: impl Fn(usize, usize) -> f32) {
    // SAFETY: promised by the caller.
    let (x, out) =
        unsafe { (std::slice::from_raw_parts(o.x.cast::<f32>(), o.cols), &mut *out.cast::<[f32; PANEL]>()) };
    let mut total = [0.0; PANEL];
    for (c, x) in x.chunks(CHUNK).enumerate() {
        let mut sums = [[0.0; PANEL]; 2];
        for (i, &x) in x.iter().enumerate() {
            for (r, sum) in sums[i % 2].iter_mut().enumerate() {
                *sum += weight(c * CHUNK + i, r) * x;
            }
        }
        for (r, total) in total.iter_mut().enumerate() {
            *total += sums[0][r] + sums[1][r];
        }
    }
    *out = total;
}

unsafe fn f32_(o: &Operands, out: *mut f32) {
    let w = o.w.cast::<f32>();
    // SAFETY: the caller's operands are for one F32 panel and one row.
    unsafe { floats(o, out, |i, r| *w.add(16 * i + r)) }
}

unsafe fn f16_(o: &Operands, out: *mut f32) {
    let w = o.w.cast::<f16>();
    // SAFETY: the caller's operands are for one F16 panel and one row.
    unsafe { floats(o, out, |i, r| (*w.add(16 * i + r)).to_f32()) }
}

unsafe fn bf16_(o: &Operands, out: *mut f32) {
    let w = o.w.cast::<bf16>();
    // SAFETY: the caller's operands are for one BF16 panel and one row.
    unsafe { floats(o, out, |i, r| (*w.add(16 * i + r)).to_f32()) }
}
