//! AVX-512 with VNNI.
//!
//! For one token nothing is shifted: a line is masked at each of its four places and multiplied as it is, so that place `j` adds
//! up `4^j` times its products, which are divided out once at the end. That is exact while sums stay within 32 bits: a step adds
//! at most four products of 3 x 64 and 128 to a sum. Longer rows, and more tokens, take the shifted form.

use super::layout::{LINE, ROWS};
use super::{Kernel, Kernels, Operands};
use std::arch::x86_64::*;

pub(super) static KERNELS: Kernels = &[
    one as Kernel,
    four_strips::<2>,
    four_strips::<3>,
    four_strips::<4>,
    four_strips::<5>,
    two_strips::<6>,
    two_strips::<7>,
    two_strips::<8>,
    two_strips::<9>,
    two_strips::<10>,
    two_strips::<11>,
    two_strips::<12>,
];

/// Steps that the unshifted form can add up: 2^31 / (4 x 192 x 128) = 21,845, with room to spare.
const UNSHIFTED: usize = 16_384;
/// How far ahead weights are asked for, in each of the four streams.
const AHEAD: usize = 2048;

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
unsafe fn one(o: Operands, sums: *mut i32) {
    if o.steps > UNSHIFTED {
        // SAFETY: as promised.
        return unsafe { four_strips::<1>(o, sums) };
    }
    let masks = [3i8, 12, 48, -64].map(|m| _mm512_set1_epi8(m));
    let mut acc = [[_mm512_setzero_si512(); 4]; 4];
    for s in 0..o.steps {
        // SAFETY: a line of each strip and 16 codes of the token; what is asked for ahead need not be there.
        unsafe {
            let a = [0, 4, 8, 12].map(|j| dword(o.x, 16 * s + j));
            for (strip, acc) in acc.iter_mut().enumerate() {
                let at = o.w.add(strip * o.apart + s * LINE);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                let codes = _mm512_load_si512(at.cast());
                for j in 0..4 {
                    acc[j] = _mm512_dpbusd_epi32(acc[j], _mm512_and_si512(codes, masks[j]), a[j]);
                }
            }
        }
    }
    for (strip, [a, b, c, d]) in acc.into_iter().enumerate() {
        let b = _mm512_srai_epi32::<2>(b);
        let (c, d) = (_mm512_srai_epi32::<4>(c), _mm512_srai_epi32::<6>(d));
        let sum = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
        // SAFETY: 64 sums.
        unsafe { _mm512_store_si512(sums.add(16 * strip).cast(), sum) };
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

/// `T` tokens and `L` strips, from strip `first` on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
#[allow(clippy::needless_range_loop)] // registers are chosen by constants
unsafe fn strips<const T: usize, const L: usize>(first: usize, o: Operands, sums: *mut i32) {
    let mut acc = [[_mm512_setzero_si512(); T]; L];
    for s in 0..o.steps {
        // SAFETY: a line of each strip and 16 codes of each token.
        unsafe {
            let mut places = [[_mm512_setzero_si512(); 4]; L];
            for (strip, places) in places.iter_mut().enumerate() {
                let at = o.w.add((first + strip) * o.apart + s * LINE);
                _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD).cast());
                *places = apart(_mm512_load_si512(at.cast()));
            }
            for t in 0..T {
                let x = o.x.add(t * o.stride + 16 * s);
                for j in 0..4 {
                    let a = dword(x, 4 * j);
                    for strip in 0..L {
                        acc[strip][t] = _mm512_dpbusd_epi32(acc[strip][t], places[strip][j], a);
                    }
                }
            }
        }
    }
    for (strip, acc) in acc.iter().enumerate() {
        for (t, acc) in acc.iter().enumerate() {
            // SAFETY: 64 sums of each token.
            unsafe { _mm512_store_si512(sums.add(t * ROWS + 16 * (first + strip)).cast(), *acc) };
        }
    }
}

/// # Safety
/// As [`Kernel`] says; the processor has the level.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn four_strips<const T: usize>(o: Operands, sums: *mut i32) {
    // SAFETY: as promised.
    unsafe { strips::<T, 4>(0, o, sums) }
}

/// # Safety
/// As [`Kernel`] says; the processor has the level.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn two_strips<const T: usize>(o: Operands, sums: *mut i32) {
    // SAFETY: as promised.
    unsafe {
        strips::<T, 2>(0, o, sums);
        strips::<T, 2>(2, o, sums);
    }
}
