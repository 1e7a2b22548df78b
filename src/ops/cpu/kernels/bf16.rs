//! Products of F32 and BF16 weights by bf16 dot products (AVX-512 BF16): [`crate::ops::Math::Fast`].
//!
//! Both sides are bf16, rounded to nearest even, two inputs at a time; sums are f32.

// Panels and rows are counted side by side in several arrays.
#![allow(clippy::needless_range_loop)]

use super::{CHUNK, Kernel, Kernels, Operands};
use crate::quant::DType;
use std::arch::x86_64::*;

const F32: usize = 0;
const BF16: usize = 1;

macro_rules! table {
    ($kind:expr) => {
        Kernels {
            kernels: [
                [
                    product::<1, 1, $kind> as Kernel,
                    product::<1, 2, $kind>,
                    product::<1, 3, $kind>,
                    product::<1, 4, $kind>,
                    product::<1, 5, $kind>,
                    product::<1, 6, $kind>,
                ],
                [
                    product::<2, 1, $kind> as Kernel,
                    product::<2, 2, $kind>,
                    product::<2, 3, $kind>,
                    product::<2, 4, $kind>,
                    product::<2, 5, $kind>,
                    product::<2, 6, $kind>,
                ],
            ],
            panels: 2,
            rows: 6,
        }
    };
}

/// The kernels for weights of `dtype`, if it is one of the two.
pub fn kernels(dtype: DType) -> Option<Kernels> {
    match dtype {
        DType::F32 => Some(table!(F32)),
        DType::BF16 => Some(table!(BF16)),
        _ => None,
    }
}

/// Inputs `i` and `i + 1` of 16 outputs, each output's two side by side; input `i + 1` is zero with `last`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pairs<const KIND: usize>(w: *const u8, i: usize, last: bool) -> __m512bh {
    // Word r of the first half and word r of the second.
    let order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18,
        2, 17, 1, 16, 0,
    );
    // SAFETY: the caller promises that the panel holds input `i`, and `i + 1` unless it is the last.
    unsafe {
        let halves = match (KIND, last) {
            (F32, _) => {
                let first = _mm512_loadu_ps(w.add(64 * i).cast());
                let second =
                    if last { _mm512_setzero_ps() } else { _mm512_loadu_ps(w.add(64 * (i + 1)).cast()) };
                std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first))
            }
            (_, false) => _mm512_loadu_si512(w.add(32 * i).cast()),
            (_, true) => _mm512_zextsi256_si512(_mm256_loadu_si256(w.add(32 * i).cast())),
        };
        std::mem::transmute::<__m512i, __m512bh>(_mm512_permutexvar_epi16(order, halves))
    }
}

/// `o.x` holds rows of bf16, padded with a zero to an even number of inputs.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn product<const P: usize, const T: usize, const KIND: usize>(o: &Operands, out: *mut f32) {
    let mut total = [[_mm512_setzero_ps(); P]; T];
    let mut from = 0;
    while from < o.cols {
        let until = (from + CHUNK).min(o.cols);
        let mut sums = [[_mm512_setzero_ps(); P]; T];
        let mut i = from;
        while i < until {
            let mut w = [_mm512_setzero_ps(); P].map(|zero| {
                // SAFETY: both are 64 bytes of plain numbers.
                unsafe { std::mem::transmute::<__m512, __m512bh>(zero) }
            });
            for p in 0..P {
                // SAFETY: the panels hold these inputs, by the caller's promise.
                w[p] = unsafe { pairs::<KIND>(o.w.add(p * o.w_stride), i, i + 1 == o.cols) };
            }
            for t in 0..T {
                // SAFETY: `T` rows hold these inputs, by the caller's promise.
                let x = unsafe {
                    let two = o.x.add(t * o.x_stride + 2 * i).cast::<i32>().read_unaligned();
                    std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(two))
                };
                for p in 0..P {
                    sums[t][p] = _mm512_dpbf16_ps(sums[t][p], w[p], x);
                }
            }
            i += 2;
        }
        for t in 0..T {
            for p in 0..P {
                total[t][p] = _mm512_add_ps(total[t][p], sums[t][p]);
            }
        }
        from = until;
    }
    for t in 0..T {
        for p in 0..P {
            // SAFETY: `out` has room for T rows of P panels.
            unsafe { _mm512_storeu_ps(out.add((t * P + p) * 16), total[t][p]) };
        }
    }
}
