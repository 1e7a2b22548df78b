//! 256-bit kernels: the 16 outputs of a panel are two vectors.

use super::super::activations::Block;
use super::super::pack::{Q4_K_BYTES, Q6_K_BYTES, pair_offsets};
use super::{CHUNK, Kernel, Kernels, Operands};
use crate::quant::DType;
use std::arch::x86_64::*;

/// Two vectors: outputs 0-7 and 8-15.
type Pair<V> = [V; 2];

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
    ($kernel:ident $(, $kind:expr)?) => {{
        let (one, two) = ($kernel::<1 $(, $kind)?> as Kernel, $kernel::<2 $(, $kind)?> as Kernel);
        Kernels { kernels: [[one, two, two, two, two, two]; 2], panels: 1, rows: 2 }
    }};
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
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn line(at: *const u8) -> Pair<__m256i> {
    // SAFETY: the caller promises 64 readable bytes.
    unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())] }
}

/// Sixteen f16 as f32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn halves(at: *const u8) -> Pair<__m256> {
    // SAFETY: the caller promises 32 readable bytes.
    unsafe {
        [_mm256_cvtph_ps(_mm_loadu_si128(at.cast())), _mm256_cvtph_ps(_mm_loadu_si128(at.add(16).cast()))]
    }
}

/// Four codes of a row, in every lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn codes(x: *const Block, group: usize) -> __m256i {
    // SAFETY: the caller promises a block; it holds 8 groups of 4 codes.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().add(group).read()) }
}

/// `sum` plus the products of unsigned codes up to 63 (whose pairs fit 16 bits) and activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot(sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(w, x);
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// `sum += integer * scale * x_scale`, rounded after each step as on every level.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn accumulate(sum: &mut Pair<__m256>, integer: Pair<__m256i>, scale: Pair<__m256>, x_scale: f32) {
    for h in 0..2 {
        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(integer[h]), scale[h]);
        sum[h] = _mm256_add_ps(sum[h], _mm256_mul_ps(scaled, _mm256_set1_ps(x_scale)));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn store<const T: usize>(sums: &[Pair<__m256>; T], out: *mut f32) {
    for (t, sum) in sums.iter().enumerate() {
        // SAFETY: the caller promises room for T x 16 floats.
        unsafe {
            _mm256_storeu_ps(out.add(16 * t), sum[0]);
            _mm256_storeu_ps(out.add(16 * t + 8), sum[1]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rows<const T: usize>(o: &Operands, block: usize) -> [*const Block; T] {
    // SAFETY: the caller promises T rows with more than `block` blocks.
    unsafe { array![std::ptr::null(); T; t => o.x.add(t * o.x_stride).cast::<Block>().add(block)] }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q8_0<const T: usize>(o: &Operands, out: *mut f32) {
    let flip = _mm256_set1_epi8(-128);
    // SAFETY: the caller's operands are for one panel and T rows of this type.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; T];
        for b in 0..o.cols / 32 {
            let (scale, code) = pair_offsets(b, 512);
            let x: [*const Block; T] = rows(o, b);
            let mut integers = [[_mm256_setzero_si256(); 2]; T];
            for g in 0..8 {
                // Magnitudes times signed activations: pairs stay below 2 * 128 * 127 and cannot saturate.
                let l = line(o.w.add(code + 64 * g));
                let signed = [_mm256_xor_si256(l[0], flip), _mm256_xor_si256(l[1], flip)];
                let magnitude = [_mm256_abs_epi8(signed[0]), _mm256_abs_epi8(signed[1])];
                for t in 0..T {
                    let x = codes(x[t], g);
                    for h in 0..2 {
                        integers[t][h] = dot(integers[t][h], magnitude[h], _mm256_sign_epi8(x, signed[h]));
                    }
                }
            }
            let d = halves(o.w.add(scale));
            for t in 0..T {
                accumulate(&mut sums[t], integers[t], d, (*x[t]).scale);
            }
        }
        store(&sums, out);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q4_0<const T: usize>(o: &Operands, out: *mut f32) {
    let nibble = _mm256_set1_epi8(15);
    // SAFETY: the caller's operands are for one panel and T rows of this type.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; T];
        for b in 0..o.cols / 32 {
            let (scale, code) = pair_offsets(b, 256);
            let x: [*const Block; T] = rows(o, b);
            let mut integers =
                array![[_mm256_setzero_si256(); 2]; T; t => [_mm256_set1_epi32((*x[t]).minus_8); 2]];
            for g in 0..4 {
                let l = line(o.w.add(code + 64 * g));
                let low = array![nibble; 2; h => _mm256_and_si256(l[h], nibble)];
                let high = array![nibble; 2; h => _mm256_and_si256(_mm256_srli_epi16::<4>(l[h]), nibble)];
                for t in 0..T {
                    for h in 0..2 {
                        integers[t][h] = dot(integers[t][h], low[h], codes(x[t], g));
                        integers[t][h] = dot(integers[t][h], high[h], codes(x[t], 4 + g));
                    }
                }
            }
            let d = halves(o.w.add(scale));
            for t in 0..T {
                accumulate(&mut sums[t], integers[t], d, (*x[t]).scale);
            }
        }
        store(&sums, out);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q4_k<const T: usize>(o: &Operands, out: *mut f32) {
    let nibble = _mm256_set1_epi8(15);
    // SAFETY: the caller's operands are for one panel and T rows of this type.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; T];
        for b in 0..o.cols / 256 {
            let w = o.w.add(b * Q4_K_BYTES);
            let (d, dmin) = (halves(w), halves(w.add(32)));
            for sub in 0..8 {
                let x: [*const Block; T] = rows(o, 8 * b + sub);
                let mut integers = [[_mm256_setzero_si256(); 2]; T];
                for g in 0..8 {
                    let mut l = line(w.add(320 + sub / 2 * 512 + 64 * g));
                    for l in &mut l {
                        let nibbles = if sub % 2 == 0 { *l } else { _mm256_srli_epi16::<4>(*l) };
                        *l = _mm256_and_si256(nibbles, nibble);
                    }
                    for t in 0..T {
                        for h in 0..2 {
                            integers[t][h] = dot(integers[t][h], l[h], codes(x[t], g));
                        }
                    }
                }
                let scale = scaled(d, w.add(64 + 16 * sub));
                let minimum = scaled(dmin, w.add(192 + 16 * sub));
                for t in 0..T {
                    accumulate(&mut sums[t], integers[t], scale, (*x[t]).scale);
                    for h in 0..2 {
                        let less = _mm256_mul_ps(minimum[h], _mm256_set1_ps((*x[t]).scaled_sum));
                        sums[t][h] = _mm256_sub_ps(sums[t][h], less);
                    }
                }
            }
        }
        store(&sums, out);
    }
}

/// `d` times sixteen u8.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scaled(d: Pair<__m256>, at: *const u8) -> Pair<__m256> {
    // SAFETY: the caller promises 16 readable bytes.
    unsafe {
        array![d[0]; 2; h => {
            let bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.add(8 * h).cast()));
            _mm256_mul_ps(d[h], _mm256_cvtepi32_ps(bytes))
        }]
    }
}

/// The 6-bit codes of quarter `k` from a vector of nibbles and a vector of upper bit pairs.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn six_bits(low: __m256i, high: __m256i, k: usize) -> __m256i {
    let low = if k < 2 { low } else { _mm256_srli_epi16::<4>(low) };
    let high = match k {
        0 => _mm256_slli_epi16::<4>(high),
        1 => _mm256_slli_epi16::<2>(high),
        2 => high,
        _ => _mm256_srli_epi16::<2>(high),
    };
    let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
    _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x30)))
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn q6_k<const T: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for one panel and T rows of this type.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; T];
        for b in 0..o.cols / 256 {
            let w = o.w.add(b * Q6_K_BYTES);
            let d = halves(w);
            for half in 0..2 {
                for k in 0..4 {
                    let x: [*const Block; T] = rows(o, 8 * b + 4 * half + k);
                    for part in 0..2 {
                        let mut integers = array![[_mm256_setzero_si256(); 2]; T; t => [_mm256_set1_epi32((*x[t]).minus_32[part]); 2]];
                        for g in 0..4 {
                            let low = line(w.add(320 + 64 * (16 * half + k % 2 * 8 + 4 * part + g)));
                            let high = line(w.add(2368 + 64 * (8 * half + 4 * part + g)));
                            for h in 0..2 {
                                let l = six_bits(low[h], high[h], k);
                                for t in 0..T {
                                    integers[t][h] = dot(integers[t][h], l, codes(x[t], 4 * part + g));
                                }
                            }
                        }
                        let scales = w.add(64 + 16 * (8 * half + 2 * k + part));
                        let scale = array![d[0]; 2; h => {
                            let bytes = _mm256_cvtepi8_epi32(_mm_loadl_epi64(scales.add(8 * h).cast()));
                            _mm256_mul_ps(d[h], _mm256_cvtepi32_ps(bytes))
                        }];
                        for t in 0..T {
                            accumulate(&mut sums[t], integers[t], scale, (*x[t]).scale);
                        }
                    }
                }
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
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn weights<const KIND: usize>(w: *const u8, i: usize) -> Pair<__m256> {
    // SAFETY: the caller promises a panel with more than `i` inputs.
    unsafe {
        match KIND {
            F32 => {
                let l = line(w.add(64 * i));
                [_mm256_castsi256_ps(l[0]), _mm256_castsi256_ps(l[1])]
            }
            F16 => halves(w.add(32 * i)),
            _ => array![_mm256_setzero_ps(); 2; h => {
                let upper = _mm256_cvtepu16_epi32(_mm_loadu_si128(w.add(32 * i + 16 * h).cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(upper))
            }],
        }
    }
}

/// Adds the products of input `i`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn fuse<const T: usize, const KIND: usize>(o: &Operands, i: usize, sums: &mut [Pair<__m256>; T]) {
    // SAFETY: the caller's operands are for one panel and T rows with more than `i` inputs.
    unsafe {
        let w = weights::<KIND>(o.w, i);
        for (t, sum) in sums.iter_mut().enumerate() {
            let x = _mm256_set1_ps(o.x.add(t * o.x_stride).cast::<f32>().add(i).read());
            for h in 0..2 {
                sum[h] = _mm256_fmadd_ps(w[h], x, sum[h]);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn floats<const T: usize, const KIND: usize>(o: &Operands, out: *mut f32) {
    // SAFETY: the caller's operands are for one panel and T rows of this type.
    unsafe {
        let mut totals = [[_mm256_setzero_ps(); 2]; T];
        let mut first = 0;
        while first < o.cols {
            let last = o.cols.min(first + CHUNK);
            let mut even = [[_mm256_setzero_ps(); 2]; T];
            let mut odd = even;
            let mut i = first;
            while i + 1 < last {
                fuse::<T, KIND>(o, i, &mut even);
                fuse::<T, KIND>(o, i + 1, &mut odd);
                i += 2;
            }
            if i < last {
                fuse::<T, KIND>(o, i, &mut even);
            }
            for t in 0..T {
                for h in 0..2 {
                    totals[t][h] = _mm256_add_ps(totals[t][h], _mm256_add_ps(even[t][h], odd[t][h]));
                }
            }
            first = last;
        }
        store(&totals, out);
    }
}
