//! Products of quantized weights with f32 activations and no integer dot product: [`crate::ops::Math::Plain`].
//!
//! 32 inputs of a panel become f32, then every row is multiplied with them. Products and sums are never fused, so all
//! levels of instructions give the same bits.

use super::super::pack::{PANEL, Q4_K_BYTES, Q6_K_BYTES, pair_offsets};
use super::{Kernel, Kernels, Operands};
use crate::ops::cpu::isa::Isa;
use crate::quant::DType;
use half::f16;

const Q8_0: usize = 0;
const Q4_0: usize = 1;
const Q4_K: usize = 2;
const Q6_K: usize = 3;

/// Inputs decoded at once.
const BLOCK: usize = 32;
type Decoded = [[f32; PANEL]; BLOCK];

/// The kernels for quantized weights of `dtype`; float weights have only one kind of kernel.
pub fn kernels(isa: Isa, dtype: DType) -> Kernels {
    match dtype {
        DType::Q8_0 => of::<Q8_0>(isa),
        DType::Q4_0 => of::<Q4_0>(isa),
        DType::Q4_K => of::<Q4_K>(isa),
        DType::Q6_K => of::<Q6_K>(isa),
        DType::F32 | DType::F16 | DType::BF16 => super::kernels(isa, dtype),
        DType::TQ1_0 | DType::TQ2_0 | DType::I2_S => super::elsewhere(dtype),
    }
}

macro_rules! rows {
    ($kernel:ident) => {
        [
            $kernel::<D, 1> as Kernel,
            $kernel::<D, 2>,
            $kernel::<D, 3>,
            $kernel::<D, 4>,
            $kernel::<D, 5>,
            $kernel::<D, 6>,
        ]
    };
}

fn of<const D: usize>(isa: Isa) -> Kernels {
    let one = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Avx512Vnni => rows!(avx512),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => rows!(avx2),
        _ => rows!(scalar),
    };
    Kernels { kernels: [one, one], panels: 1, rows: 6 }
}

unsafe fn scalar<const D: usize, const T: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's duty.
    unsafe { product::<D, T>(o, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
unsafe fn avx2<const D: usize, const T: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's duty.
    unsafe { product::<D, T>(o, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,f16c")]
unsafe fn avx512<const D: usize, const T: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's duty.
    unsafe { product::<D, T>(o, out) }
}

/// One panel, `T` rows of f32.
#[inline(always)]
unsafe fn product<const D: usize, const T: usize>(o: &Operands, out: *mut f32) {
    let mut total = [[0.0f32; PANEL]; T];
    let mut weights: Decoded = [[0.0; PANEL]; BLOCK];
    for block in 0..o.cols / BLOCK {
        // SAFETY: the panel holds this block, `T` rows hold these inputs, by the caller's promise.
        unsafe {
            decode::<D>(o.w, block, &mut weights);
            for (t, total) in total.iter_mut().enumerate() {
                let x = &*o.x.add(t * o.x_stride).cast::<f32>().add(BLOCK * block).cast::<[f32; BLOCK]>();
                let mut sums = [0.0f32; PANEL];
                for (weights, x) in weights.iter().zip(x) {
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum += weight * x;
                    }
                }
                for (total, sum) in total.iter_mut().zip(&sums) {
                    *total += sum;
                }
            }
        }
    }
    // SAFETY: `out` has room for `T` rows of a panel.
    unsafe { *out.cast::<[[f32; PANEL]; T]>() = total };
}

/// The word of each output in the line at `at`: four bytes of codes.
#[inline(always)]
unsafe fn words(at: *const u8) -> [u32; PANEL] {
    // SAFETY: the caller promises 64 readable bytes.
    unsafe { at.cast::<[u32; PANEL]>().read_unaligned() }
}

#[inline(always)]
unsafe fn halves(at: *const u8) -> [f32; PANEL] {
    // SAFETY: the caller promises 32 readable bytes.
    let raw = unsafe { at.cast::<[u16; PANEL]>().read_unaligned() };
    raw.map(|bits| f16::from_bits(bits).to_f32())
}

/// Block `block` of 32 inputs of a panel; see [`super::super::pack`] for the layouts.
#[inline(always)]
unsafe fn decode<const D: usize>(panel: *const u8, block: usize, out: &mut Decoded) {
    // SAFETY: all offsets lie in the panel's block, by the caller's promise.
    unsafe {
        match D {
            Q8_0 => {
                let (scale, code) = pair_offsets(block, 512);
                let d = halves(panel.add(scale));
                for v in 0..8 {
                    let word = words(panel.add(code + 64 * v));
                    for j in 0..4 {
                        for r in 0..PANEL {
                            out[4 * v + j][r] = d[r] * ((word[r] >> (8 * j) & 255) as i32 - 128) as f32;
                        }
                    }
                }
            }
            Q4_0 => {
                let (scale, code) = pair_offsets(block, 256);
                let d = halves(panel.add(scale));
                for v in 0..4 {
                    let word = words(panel.add(code + 64 * v));
                    for j in 0..4 {
                        for r in 0..PANEL {
                            let byte = word[r] >> (8 * j);
                            out[4 * v + j][r] = d[r] * ((byte & 15) as i32 - 8) as f32;
                            out[16 + 4 * v + j][r] = d[r] * ((byte >> 4 & 15) as i32 - 8) as f32;
                        }
                    }
                }
            }
            Q4_K => {
                let (at, sub) = (panel.add(block / 8 * Q4_K_BYTES), block % 8);
                let (d, dmin) = (halves(at), halves(at.add(32)));
                let (mut scale, mut least) = ([0.0; PANEL], [0.0; PANEL]);
                for r in 0..PANEL {
                    scale[r] = d[r] * f32::from(*at.add(64 + 16 * sub + r));
                    least[r] = dmin[r] * f32::from(*at.add(192 + 16 * sub + r));
                }
                for v in 0..8 {
                    let word = words(at.add(320 + (sub / 2 * 8 + v) * 64));
                    for j in 0..4 {
                        for r in 0..PANEL {
                            let q = word[r] >> (8 * j + sub % 2 * 4) & 15;
                            out[4 * v + j][r] = scale[r] * (q as i32) as f32 - least[r];
                        }
                    }
                }
            }
            _ => {
                let (at, part) = (panel.add(block / 8 * Q6_K_BYTES), block % 8);
                let (half, k) = (part / 4, part % 4);
                let d = halves(at);
                let mut scale = [[0.0; PANEL]; 2];
                for (i, scale) in scale.iter_mut().enumerate() {
                    for r in 0..PANEL {
                        scale[r] = d[r] * f32::from(*at.add(64 + 16 * (2 * part + i) + r) as i8);
                    }
                }
                for v in 0..8 {
                    let low = words(at.add(320 + (half * 16 + k % 2 * 8 + v) * 64));
                    let high = words(at.add(2368 + (half * 8 + v) * 64));
                    for j in 0..4 {
                        for r in 0..PANEL {
                            let q =
                                (low[r] >> (8 * j + k / 2 * 4) & 15) | (high[r] >> (8 * j + 2 * k) & 3) << 4;
                            out[4 * v + j][r] = scale[v / 4][r] * (q as i32 - 32) as f32;
                        }
                    }
                }
            }
        }
    }
}
