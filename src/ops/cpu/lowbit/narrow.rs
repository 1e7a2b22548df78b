//! SSE4.1, AVX2 and AVX-VNNI: the same loops over vectors of 16 or 32 bytes.
//!
//! Without VNNI two products of bytes are added up in 16 bits. A code is at most 3 and an activation at least -128, so a step adds
//! at most 4 x 2 x 3 x 128 = 3072 to a lane; sums go to 32 bits every ten steps, before they could overflow.
#![cfg(target_arch = "x86_64")]

use super::layout::{LINE, ROWS};
use super::{Kernel, Kernels, Operands};
use std::arch::x86_64::*;

/// Steps after which 16-bit sums are added to those of 32 bits.
const WIDEN: usize = 10;

/// Kernels for 1, 2 and 4 tokens (3 take the form of 2 and 1), in rows of `$bytes / 4`.
macro_rules! kernels {
    ($name:ident, $features:literal, $vector:ty, $bytes:literal, $zero:ident, $load:ident, $store:ident, $set:ident,
     $set8:ident, $and:ident, $shift:ident, $dot:expr, $widen:expr, $every:expr) => {
        pub(super) mod $name {
            use super::*;

            pub(in super::super) static KERNELS: Kernels = &[one as Kernel, two, three, four];

            /// `T` tokens and `V` vectors of rows, from byte `first` of the four lines of a step on.
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn rows<const T: usize, const V: usize>(first: usize, o: Operands, sums: *mut i32) {
                let mask = $set8(3);
                let mut wide = [[$zero(); T]; V];
                let mut s = 0;
                while s < o.steps {
                    let until = o.steps.min(s + $every);
                    let mut acc = [[$zero(); T]; V];
                    for s in s..until {
                        for v in 0..V {
                            // SAFETY: lines of the strips, 16 codes of each token.
                            unsafe {
                                let byte = first + v * $bytes;
                                let line = o.w.add(byte / LINE * o.apart + s * LINE);
                                let codes = $load(line.add(byte % LINE).cast());
                                let places = [
                                    $and(codes, mask),
                                    $and($shift::<2>(codes), mask),
                                    $and($shift::<4>(codes), mask),
                                    $and($shift::<6>(codes), mask),
                                ];
                                for t in 0..T {
                                    let x = o.x.add(t * o.stride + 16 * s);
                                    for j in 0..4 {
                                        let a = $set(x.add(4 * j).cast::<i32>().read_unaligned());
                                        acc[v][t] = $dot(acc[v][t], places[j], a);
                                    }
                                }
                            }
                        }
                    }
                    for v in 0..V {
                        for t in 0..T {
                            wide[v][t] = $widen(wide[v][t], acc[v][t]);
                        }
                    }
                    s = until;
                }
                for v in 0..V {
                    for t in 0..T {
                        let at = t * ROWS + (first + v * $bytes) / 4;
                        // SAFETY: 64 sums of each token.
                        unsafe { $store(sums.add(at).cast(), wide[v][t]) };
                    }
                }
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn all<const T: usize, const V: usize>(o: Operands, sums: *mut i32) {
                for first in (0..4 * LINE).step_by(V * $bytes) {
                    // SAFETY: as promised.
                    unsafe { rows::<T, V>(first, o, sums) };
                }
            }

            /// # Safety
            /// As [`Kernel`] says; the processor has the level.
            #[target_feature(enable = $features)]
            unsafe fn one(o: Operands, sums: *mut i32) {
                // SAFETY: as promised.
                unsafe { all::<1, 4>(o, sums) }
            }

            /// # Safety
            /// As [`Kernel`] says; the processor has the level.
            #[target_feature(enable = $features)]
            unsafe fn two(o: Operands, sums: *mut i32) {
                // SAFETY: as promised.
                unsafe { all::<2, 2>(o, sums) }
            }

            /// # Safety
            /// As [`Kernel`] says; the processor has the level.
            #[target_feature(enable = $features)]
            unsafe fn three(o: Operands, sums: *mut i32) {
                // SAFETY: as promised.
                unsafe { all::<3, 1>(o, sums) }
            }

            /// # Safety
            /// As [`Kernel`] says; the processor has the level.
            #[target_feature(enable = $features)]
            unsafe fn four(o: Operands, sums: *mut i32) {
                // SAFETY: as promised.
                unsafe { all::<4, 1>(o, sums) }
            }
        }
    };
}

kernels!(
    sse41,
    "sse4.1,ssse3",
    __m128i,
    16,
    _mm_setzero_si128,
    _mm_load_si128,
    _mm_store_si128,
    _mm_set1_epi32,
    _mm_set1_epi8,
    _mm_and_si128,
    _mm_srli_epi16,
    |acc, w, a| _mm_add_epi16(acc, _mm_maddubs_epi16(w, a)),
    |wide, acc| _mm_add_epi32(wide, _mm_madd_epi16(acc, _mm_set1_epi16(1))),
    WIDEN
);
kernels!(
    avx2,
    "avx2",
    __m256i,
    32,
    _mm256_setzero_si256,
    _mm256_load_si256,
    _mm256_store_si256,
    _mm256_set1_epi32,
    _mm256_set1_epi8,
    _mm256_and_si256,
    _mm256_srli_epi16,
    |acc, w, a| _mm256_add_epi16(acc, _mm256_maddubs_epi16(w, a)),
    |wide, acc| _mm256_add_epi32(wide, _mm256_madd_epi16(acc, _mm256_set1_epi16(1))),
    WIDEN
);
kernels!(
    avx_vnni,
    "avx2,avxvnni",
    __m256i,
    32,
    _mm256_setzero_si256,
    _mm256_load_si256,
    _mm256_store_si256,
    _mm256_set1_epi32,
    _mm256_set1_epi8,
    _mm256_and_si256,
    _mm256_srli_epi16,
    |acc, w, a| _mm256_dpbusd_avx_epi32(acc, w, a),
    |wide, acc| _mm256_add_epi32(wide, acc),
    usize::MAX / 2
);
