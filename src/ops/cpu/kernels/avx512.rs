//! 512-bit kernels: one vector holds the 16 outputs of a panel.

use super::super::activations::Block;
use super::super::pack::{PANEL, Q4_K_BYTES, Q6_K_BYTES, pair_offsets};
use super::{CHUNK, Kernel, Kernels, MAX_ROWS, Operands};
use crate::quant::DType;
use std::arch::x86_64::*;
use std::ptr::null;

/// How far ahead of its loads a kernel for few rows asks for weights, which then come from memory.
const AHEAD: usize = 4096;

/// An array whose element `i` is the given expression. Written out in place, since a closure that uses these
/// instructions is not inlined into library functions, which do not.
macro_rules! array {
    ($zero:expr; $len:expr; $i:ident => $element:expr) => {{
        let mut array = [$zero; $len];
        for $i in 0..$len {
            array[$i] = $element;
        }
        array
    }};
}

macro_rules! table {
    ($kernel:ident $(, $kind:expr)?) => {
        Kernels {
            kernels: [
                [$kernel::<1, 1 $(, $kind)?> as Kernel, $kernel::<1, 2 $(, $kind)?>, $kernel::<1, 3 $(, $kind)?>,
                 $kernel::<1, 4 $(, $kind)?>, $kernel::<1, 5 $(, $kind)?>, $kernel::<1, 6 $(, $kind)?>],
                [$kernel::<2, 1 $(, $kind)?> as Kernel, $kernel::<2, 2 $(, $kind)?>, $kernel::<2, 3 $(, $kind)?>,
                 $kernel::<2, 4 $(, $kind)?>, $kernel::<2, 5 $(, $kind)?>, $kernel::<2, 6 $(, $kind)?>],
            ],
            panels: 2,
            rows: 6,
        }
    };
}

pub fn kernels(dtype: DType) -> Kernels {
    match dtype {
        DType::F32 => table!(floats, F32),
        DType::F16 => table!(floats, F16),
        DType::BF16 => table!(floats, BF16),
        DType::Q8_0 => table!(q8_0),
        DType::Q4_0 => table!(q4_0),
        DType::Q4_K => table!(q4_k),
        DType::Q6_K => table!(q6_k),
        DType::TQ1_0 | DType::TQ2_0 | DType::I2_S => super::elsewhere(dtype),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn line(at: *const u8) -> __m512i {
    // SAFETY: the caller promises 64 readable bytes.
    unsafe { _mm512_loadu_si512(at.cast()) }
}

/// Sixteen f16 as f32.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn halves(at: *const u8) -> __m512 {
    // SAFETY: the caller promises 32 readable bytes.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())) }
}

/// Sixteen u8 as f32.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn bytes(at: *const u8) -> __m512 {
    // SAFETY: the caller promises 16 readable bytes.
    unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast()))) }
}

/// Four codes of a row, in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn codes(x: *const Block, group: usize) -> __m512i {
    // SAFETY: the caller promises a block; it holds 8 groups of 4 codes.
    unsafe { _mm512_set1_epi32(x.cast::<i32>().add(group).read()) }
}

/// Asks for `bytes` bytes of weights beyond `at`.
#[inline]
#[target_feature(enable = "avx512f")]
fn ahead(at: *const u8, bytes: usize) {
    for i in (0..bytes).step_by(64) {
        _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(AHEAD + i).cast());
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const P: usize, const T: usize>(sums: &[[__m512; P]; T], out: *mut f32) {
    for (t, sums) in sums.iter().enumerate() {
        for (p, &sum) in sums.iter().enumerate() {
            // SAFETY: the caller promises room for T x P x 16 floats.
            unsafe { _mm512_storeu_ps(out.add((t * P + p) * PANEL), sum) };
        }
    }
}

/// `sum += integer * scale * x_scale`, rounded after each step as on every level.
#[inline]
#[target_feature(enable = "avx512f")]
fn accumulate(sum: __m512, integer: __m512i, scale: __m512, x_scale: f32) -> __m512 {
    let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(integer), scale);
    _mm512_add_ps(sum, _mm512_mul_ps(scaled, _mm512_set1_ps(x_scale)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q8_0<const P: usize, const T: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for P panels and T rows of this type.
    unsafe {
        let zero = _mm512_setzero_si512();
        let mut sums = [[_mm512_setzero_ps(); P]; T];
        for b in 0..o.cols / 32 {
            let (scale, code) = pair_offsets(b, 512);
            let x = array![null(); T; t => o.x.add(t * o.x_stride).cast::<Block>().add(b)];
            let w = array![null(); P; p => o.w.add(p * o.w_stride)];
            let mut integers = array![[zero; P]; T; t => [_mm512_set1_epi32((*x[t]).minus_128); P]];
            if T < MAX_ROWS {
                for w in w {
                    ahead(w.wrapping_add(code), 544);
                }
            }
            for g in 0..8 {
                let lines = array![zero; P; p => line(w[p].add(code + 64 * g))];
                for t in 0..T {
                    let x = codes(x[t], g);
                    for p in 0..P {
                        integers[t][p] = _mm512_dpbusd_epi32(integers[t][p], lines[p], x);
                    }
                }
            }
            for p in 0..P {
                let d = halves(w[p].add(scale));
                for t in 0..T {
                    sums[t][p] = accumulate(sums[t][p], integers[t][p], d, (*x[t]).scale);
                }
            }
        }
        store(&sums, out);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q4_0<const P: usize, const T: usize>(o: &Operands, out: *mut f32) {
    let nibble = _mm512_set1_epi8(15);
    // SAFETY: the caller's operands are for P panels and T rows of this type.
    unsafe {
        let zero = _mm512_setzero_si512();
        let mut sums = [[_mm512_setzero_ps(); P]; T];
        for b in 0..o.cols / 32 {
            let (scale, code) = pair_offsets(b, 256);
            let x = array![null(); T; t => o.x.add(t * o.x_stride).cast::<Block>().add(b)];
            let w = array![null(); P; p => o.w.add(p * o.w_stride)];
            let mut integers = array![[zero; P]; T; t => [_mm512_set1_epi32((*x[t]).minus_8); P]];
            if T < MAX_ROWS {
                for w in w {
                    ahead(w.wrapping_add(code), 288);
                }
            }
            for g in 0..4 {
                let lines = array![zero; P; p => line(w[p].add(code + 64 * g))];
                let low = array![zero; P; p => _mm512_and_si512(lines[p], nibble)];
                let high = array![zero; P; p => _mm512_and_si512(_mm512_srli_epi16::<4>(lines[p]), nibble)];
                for t in 0..T {
                    let (first, second) = (codes(x[t], g), codes(x[t], 4 + g));
                    for p in 0..P {
                        integers[t][p] = _mm512_dpbusd_epi32(integers[t][p], low[p], first);
                        integers[t][p] = _mm512_dpbusd_epi32(integers[t][p], high[p], second);
                    }
                }
            }
            for p in 0..P {
                let d = halves(w[p].add(scale));
                for t in 0..T {
                    sums[t][p] = accumulate(sums[t][p], integers[t][p], d, (*x[t]).scale);
                }
            }
        }
        store(&sums, out);
    }
}

/// Takes the sub-block of 32 inputs in the low (`HIGH` = 0) or high nibbles of a pair of sub-blocks of block `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q4_k_sub<const P: usize, const T: usize, const HIGH: usize>(
    w: &[*const u8; P],
    d: &[__m512; P],
    dmin: &[__m512; P],
    o: &Operands,
    b: usize,
    pair: usize,
    sums: &mut [[__m512; P]; T],
) {
    let (zero, nibble) = (_mm512_setzero_si512(), _mm512_set1_epi8(15));
    let sub = 2 * pair + HIGH;
    // A little at a time: bursts of requests hold up the loads.
    if T < MAX_ROWS {
        for w in w {
            ahead(w.wrapping_add(sub * (Q4_K_BYTES / 8)), Q4_K_BYTES / 8);
        }
    }
    // SAFETY: the caller's operands are for P panels and T rows of this type, with more than `b` blocks.
    unsafe {
        let x = array![null(); T; t => o.x.add(t * o.x_stride).cast::<Block>().add(8 * b + sub)];
        let mut integers = [[zero; P]; T];
        for g in 0..8 {
            let lines = array![zero; P; p => {
                let l = line(w[p].add(320 + 512 * pair + 64 * g));
                let l = if HIGH == 0 { l } else { _mm512_srli_epi16::<4>(l) };
                _mm512_and_si512(l, nibble)
            }];
            for t in 0..T {
                let x = codes(x[t], g);
                for p in 0..P {
                    integers[t][p] = _mm512_dpbusd_epi32(integers[t][p], lines[p], x);
                }
            }
        }
        for p in 0..P {
            let scale = _mm512_mul_ps(d[p], bytes(w[p].add(64 + 16 * sub)));
            let minimum = _mm512_mul_ps(dmin[p], bytes(w[p].add(192 + 16 * sub)));
            for t in 0..T {
                let sum = accumulate(sums[t][p], integers[t][p], scale, (*x[t]).scale);
                let less = _mm512_mul_ps(minimum, _mm512_set1_ps((*x[t]).scaled_sum));
                sums[t][p] = _mm512_sub_ps(sum, less);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q4_k<const P: usize, const T: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for P panels and T rows of this type.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); P]; T];
        for b in 0..o.cols / 256 {
            let w = array![null(); P; p => o.w.add(p * o.w_stride + b * Q4_K_BYTES)];
            let d = array![halves(w[0]); P; p => halves(w[p])];
            let dmin = array![halves(w[0]); P; p => halves(w[p].add(32))];
            for pair in 0..4 {
                q4_k_sub::<P, T, 0>(&w, &d, &dmin, o, b, pair, &mut sums);
                q4_k_sub::<P, T, 1>(&w, &d, &dmin, o, b, pair, &mut sums);
            }
        }
        store(&sums, out);
    }
}

/// The 6-bit codes of quarter `K` from a line of nibbles and a line of upper bit pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn six_bits<const K: usize>(low: __m512i, high: __m512i) -> __m512i {
    let low = if K < 2 { low } else { _mm512_srli_epi16::<4>(low) };
    let high = match K {
        0 => _mm512_slli_epi16::<4>(high),
        1 => _mm512_slli_epi16::<2>(high),
        2 => high,
        _ => _mm512_srli_epi16::<2>(high),
    };
    let low = _mm512_and_si512(low, _mm512_set1_epi8(15));
    _mm512_or_si512(low, _mm512_and_si512(high, _mm512_set1_epi8(0x30)))
}

/// Takes quarter `K` of a half of block `b`: 32 inputs, two sub-blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q6_k_quarter<const P: usize, const T: usize, const K: usize>(
    w: &[*const u8; P],
    d: &[__m512; P],
    o: &Operands,
    b: usize,
    half: usize,
    sums: &mut [[__m512; P]; T],
) {
    let zero = _mm512_setzero_si512();
    if T < MAX_ROWS {
        for w in w {
            ahead(w.wrapping_add((4 * half + K) * (Q6_K_BYTES / 8)), Q6_K_BYTES / 8);
        }
    }
    // SAFETY: the caller's operands are for P panels and T rows of this type, with more than `b` blocks.
    unsafe {
        let x = array![null(); T; t => o.x.add(t * o.x_stride).cast::<Block>().add(8 * b + 4 * half + K)];
        for part in 0..2 {
            let mut integers = array![[zero; P]; T; t => [_mm512_set1_epi32((*x[t]).minus_32[part]); P]];
            let low = 320 + 64 * (16 * half + K % 2 * 8 + 4 * part);
            let high = 2368 + 64 * (8 * half + 4 * part);
            for g in 0..4 {
                let lines = array![zero; P; p => {
                    six_bits::<K>(line(w[p].add(low + 64 * g)), line(w[p].add(high + 64 * g)))
                }];
                for t in 0..T {
                    let x = codes(x[t], 4 * part + g);
                    for p in 0..P {
                        integers[t][p] = _mm512_dpbusd_epi32(integers[t][p], lines[p], x);
                    }
                }
            }
            for p in 0..P {
                let scales = w[p].add(64 + 16 * (8 * half + 2 * K + part));
                let scales = _mm512_cvtepi8_epi32(_mm_loadu_si128(scales.cast()));
                let scale = _mm512_mul_ps(d[p], _mm512_cvtepi32_ps(scales));
                for t in 0..T {
                    sums[t][p] = accumulate(sums[t][p], integers[t][p], scale, (*x[t]).scale);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn q6_k<const P: usize, const T: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for P panels and T rows of this type.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); P]; T];
        for b in 0..o.cols / 256 {
            let w = array![null(); P; p => o.w.add(p * o.w_stride + b * Q6_K_BYTES)];
            let d = array![halves(w[0]); P; p => halves(w[p])];
            for half in 0..2 {
                q6_k_quarter::<P, T, 0>(&w, &d, o, b, half, &mut sums);
                q6_k_quarter::<P, T, 1>(&w, &d, o, b, half, &mut sums);
                q6_k_quarter::<P, T, 2>(&w, &d, o, b, half, &mut sums);
                q6_k_quarter::<P, T, 3>(&w, &d, o, b, half, &mut sums);
            }
        }
        store(&sums, out);
    }
}

const F32: usize = 0;
const F16: usize = 1;
const BF16: usize = 2;

/// Weights of input `i` of a panel.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn weights<const KIND: usize>(w: *const u8, i: usize) -> __m512 {
    // SAFETY: the caller promises a panel with more than `i` inputs.
    unsafe {
        match KIND {
            F32 => _mm512_loadu_ps(w.add(64 * i).cast()),
            F16 => halves(w.add(32 * i)),
            _ => {
                let upper = _mm512_cvtepu16_epi32(_mm256_loadu_si256(w.add(32 * i).cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(upper))
            }
        }
    }
}

/// Adds the products of input `i`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn fuse<const P: usize, const T: usize, const KIND: usize>(
    o: &Operands,
    i: usize,
    sums: &mut [[__m512; P]; T],
) {
    // SAFETY: the caller's operands are for P panels and T rows with more than `i` inputs.
    unsafe {
        let w = array![_mm512_setzero_ps(); P; p => weights::<KIND>(o.w.add(p * o.w_stride), i)];
        for (t, sums) in sums.iter_mut().enumerate() {
            let x = _mm512_set1_ps(o.x.add(t * o.x_stride).cast::<f32>().add(i).read());
            for p in 0..P {
                sums[p] = _mm512_fmadd_ps(w[p], x, sums[p]);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn floats<const P: usize, const T: usize, const KIND: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for P panels and T rows of this type.
    unsafe {
        let bytes = if KIND == F32 { 64 } else { 32 };
        let mut totals = [[_mm512_setzero_ps(); P]; T];
        let mut first = 0;
        while first < o.cols {
            let last = o.cols.min(first + CHUNK);
            let mut even = [[_mm512_setzero_ps(); P]; T];
            let mut odd = even;
            let mut i = first;
            while i + 1 < last {
                if T < MAX_ROWS {
                    for p in 0..P {
                        ahead(o.w.add(p * o.w_stride + i * bytes), 2 * bytes);
                    }
                }
                fuse::<P, T, KIND>(o, i, &mut even);
                fuse::<P, T, KIND>(o, i + 1, &mut odd);
                i += 2;
            }
            if i < last {
                fuse::<P, T, KIND>(o, i, &mut even);
            }
            for t in 0..T {
                for p in 0..P {
                    totals[t][p] = _mm512_add_ps(totals[t][p], _mm512_add_ps(even[t][p], odd[t][p]));
                }
            }
            first = last;
        }
        store(&totals, out);
    }
}
