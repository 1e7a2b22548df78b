//! AVX-512 with VNNI.
//!
//! For one token nothing is shifted: a line is masked at each of its four places and multiplied as it is, so that place `j` adds
//! up `4^j` times its products, which are divided out once at the end. That is exact while sums stay within 32 bits: a step adds
//! at most four products of 3 x 64 and 128 to a sum. Longer rows, and more tokens, take the shifted form.

use super::layout::{PANEL, STEP_BYTES};
use super::{Kernel, Kernels};
use std::arch::x86_64::*;

pub(super) static KERNELS: Kernels = Kernels {
    take: &[
        one as Kernel,
        four_lines::<2>,
        four_lines::<3>,
        four_lines::<4>,
        four_lines::<5>,
        two_lines::<6>,
        two_lines::<7>,
        two_lines::<8>,
        two_lines::<9>,
        two_lines::<10>,
        two_lines::<11>,
        two_lines::<12>,
    ],
};

/// Steps that the unshifted form can add up: 2^31 / (4 x 192 x 128) = 21,845, with room to spare.
const UNSHIFTED: usize = 16_384;
/// How far ahead weights are asked for.
const AHEAD: usize = 4096;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
unsafe fn dword(x: *const i8, at: usize) -> __m512i {
    // SAFETY: four codes of the token.
    unsafe { _mm512_set1_epi32(x.add(at).cast::<i32>().read_unaligned()) }
}

/// One token.
///
/// # Safety
/// As [`Kernel`] says; the processor has the level.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn one(w: *const u8, x: *const i8, stride: usize, steps: usize, sums: *mut i32) {
    if steps > UNSHIFTED {
        // SAFETY: as promised.
        return unsafe { four_lines::<1>(w, x, stride, steps, sums) };
    }
    let masks = [3i8, 12, 48, -64].map(|m| _mm512_set1_epi8(m));
    let mut acc = [[_mm512_setzero_si512(); 4]; 4];
    for s in 0..steps {
        // SAFETY: a step of the panel and 16 codes of the token; what is asked for ahead need not be there.
        unsafe {
            let step = w.add(s * STEP_BYTES);
            let a = [0, 4, 8, 12].map(|j| dword(x, 16 * s + j));
            for (line, acc) in acc.iter_mut().enumerate() {
                let at = step.add(64 * line);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                let codes = _mm512_load_si512(at.cast());
                for j in 0..4 {
                    acc[j] = _mm512_dpbusd_epi32(acc[j], _mm512_and_si512(codes, masks[j]), a[j]);
                }
            }
        }
    }
    for (line, [a, b, c, d]) in acc.into_iter().enumerate() {
        let b = _mm512_srai_epi32::<2>(b);
        let (c, d) = (_mm512_srai_epi32::<4>(c), _mm512_srai_epi32::<6>(d));
        let sum = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
        // SAFETY: 64 sums.
        unsafe { _mm512_store_si512(sums.add(16 * line).cast(), sum) };
    }
}

/// The four places of a line as codes of their own.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
pub(super) fn apart(codes: __m512i) -> [__m512i; 4] {
    let mask = _mm512_set1_epi8(3);
    [
        _mm512_and_si512(codes, mask),
        _mm512_and_si512(_mm512_srli_epi16::<2>(codes), mask),
        _mm512_and_si512(_mm512_srli_epi16::<4>(codes), mask),
        _mm512_and_si512(_mm512_srli_epi16::<6>(codes), mask),
    ]
}

/// `T` tokens and `L` lines, from line `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
unsafe fn lines<const T: usize, const L: usize>(
    first: usize,
    w: *const u8,
    x: *const i8,
    stride: usize,
    steps: usize,
    sums: *mut i32,
) {
    let mut acc = [[_mm512_setzero_si512(); T]; L];
    for s in 0..steps {
        // SAFETY: a step of the panel and 16 codes of each token.
        unsafe {
            let step = w.add(s * STEP_BYTES + 64 * first);
            let mut places = [[_mm512_setzero_si512(); 4]; L];
            for (line, places) in places.iter_mut().enumerate() {
                let at = step.add(64 * line);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                *places = apart(_mm512_load_si512(at.cast()));
            }
            for t in 0..T {
                let x = x.add(t * stride + 16 * s);
                for j in 0..4 {
                    let a = dword(x, 4 * j);
                    for line in 0..L {
                        acc[line][t] = _mm512_dpbusd_epi32(acc[line][t], places[line][j], a);
                    }
                }
            }
        }
    }
    for (line, acc) in acc.iter().enumerate() {
        for (t, acc) in acc.iter().enumerate() {
            // SAFETY: 64 sums of each token.
            unsafe { _mm512_store_si512(sums.add(t * PANEL + 16 * (first + line)).cast(), *acc) };
        }
    }
}

/// # Safety
/// As [`Kernel`] says; the processor has the level.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn four_lines<const T: usize>(
    w: *const u8,
    x: *const i8,
    stride: usize,
    steps: usize,
    sums: *mut i32,
) {
    // SAFETY: as promised.
    unsafe { lines::<T, 4>(0, w, x, stride, steps, sums) }
}

/// # Safety
/// As [`Kernel`] says; the processor has the level.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn two_lines<const T: usize>(w: *const u8, x: *const i8, stride: usize, steps: usize, sums: *mut i32) {
    // SAFETY: as promised.
    unsafe {
        lines::<T, 2>(0, w, x, stride, steps, sums);
        lines::<T, 2>(2, w, x, stride, steps, sums);
    }
}
