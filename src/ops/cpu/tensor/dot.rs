//! Products of tiles by dot products of two bf16, four bytes or two 16-bit integers, which one word of 32 bits holds.
//!
//! The left side is packed in groups of eight rows, the right side in groups of 32 columns, word by word along the inner
//! extent, so that a kernel broadcasts one and streams the other.

use crate::ops::cpu::isa::by_level;

/// Rows of a group.
const DOWN: usize = 8;
/// Columns of a group.
const ACROSS: usize = 32;

/// What multiplies words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// None is needed.
    None,
    /// Two bf16 (AVX-512 BF16).
    Bf16,
    /// Four bytes, the right side's with 128 added (AVX-512 VNNI).
    Bytes,
    /// Two 16-bit integers, at this level.
    Words(crate::ops::cpu::Isa),
}

/// Packs `[rows][depth]` into words of `N` values: `[group][word][DOWN]`.
fn pack_left<T: Copy + Default, const N: usize>(
    (rows, depth): (usize, usize),
    x: &[T],
    out: &mut Vec<u32>,
    word: impl Fn([T; N]) -> u32,
) {
    let words = depth.div_ceil(N);
    out.clear();
    out.resize(rows.div_ceil(DOWN) * words * DOWN, 0);
    for (r, row) in x.chunks_exact(depth).take(rows).enumerate() {
        let to = &mut out[r / DOWN * words * DOWN + r % DOWN..];
        for (w, values) in row.chunks(N).enumerate() {
            let mut all = [T::default(); N];
            all[..values.len()].copy_from_slice(values);
            to[w * DOWN] = word(all);
        }
    }
}

/// Packs `[depth][cols]` into words of `N` values: `[group][word][ACROSS]`.
fn pack_right<T: Copy + Default, const N: usize>(
    (depth, cols): (usize, usize),
    x: &[T],
    out: &mut Vec<u32>,
    word: impl Fn([T; N]) -> u32,
) {
    let words = depth.div_ceil(N);
    out.clear();
    out.resize(cols.div_ceil(ACROSS) * words * ACROSS, 0);
    for w in 0..words {
        let mut lines: [&[T]; N] = [&[]; N];
        for (i, line) in lines.iter_mut().enumerate() {
            if w * N + i < depth {
                *line = &x[(w * N + i) * cols..][..cols];
            }
        }
        let whole = w * N + N <= depth;
        for c in 0..cols {
            let mut all = [T::default(); N];
            for (value, line) in all.iter_mut().zip(&lines) {
                if whole || !line.is_empty() {
                    *value = line[c];
                }
            }
            out[c / ACROSS * words * ACROSS + w * ACROSS + c % ACROSS] = word(all);
        }
    }
}

/// Sums of a group of rows and a group of columns.
type Sums<T> = [[T; ACROSS]; DOWN];

/// Adds a group's sums to the tile's.
fn add<T: Copy>(
    sums: &mut [T],
    (rows, cols): (usize, usize),
    (row, col): (usize, usize),
    group: &Sums<T>,
    plus: impl Fn(T, T, usize) -> T,
) {
    let n = (cols - col).min(ACROSS);
    for (i, group) in group.iter().enumerate().take(rows - row) {
        let to = &mut sums[(row + i) * cols + col..][..n];
        to.iter_mut().zip(group).for_each(|(t, g)| *t = plus(*t, *g, row + i));
    }
}

/// `sums += left right` in bf16.
///
/// # Safety
/// The processor has AVX-512 BF16.
pub unsafe fn bf16(
    _kernel: Kernel,
    (rows, cols, depth): (usize, usize, usize),
    left: &[u16],
    right: &[u16],
    sums: &mut [f32],
    packed: &mut (Vec<u32>, Vec<u32>),
) {
    let word = |[a, b]: [u16; 2]| u32::from(a) | u32::from(b) << 16;
    pack_left((rows, depth), left, &mut packed.0, word);
    pack_right((depth, cols), right, &mut packed.1, word);
    let words = depth.div_ceil(2);
    let mut group = [[0f32; ACROSS]; DOWN];
    for (r, a) in packed.0.chunks_exact(words * DOWN).enumerate() {
        for (c, b) in packed.1.chunks_exact(words * ACROSS).enumerate() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the caller's promise; both hold `words` words for each row and column.
            unsafe {
                x86::bf16(a, b, words, &mut group);
            }
            add(sums, (rows, cols), (r * DOWN, c * ACROSS), &group, |t, g, _| t + g);
        }
    }
    let _ = &mut group;
}

/// `sums += left right` in bytes.
///
/// # Safety
/// The processor has what `kernel` names.
pub unsafe fn bytes(
    kernel: Kernel,
    (rows, cols, depth): (usize, usize, usize),
    left: &[i8],
    right: &[i8],
    sums: &mut [i32],
    packed: &mut (Vec<u32>, Vec<u32>),
) {
    let mut group = [[0i32; ACROSS]; DOWN];
    if let Kernel::Words(isa) = kernel {
        let word = |[a, b]: [i8; 2]| u32::from(i16::from(a) as u16) | u32::from(i16::from(b) as u16) << 16;
        pack_left((rows, depth), left, &mut packed.0, word);
        pack_right((depth, cols), right, &mut packed.1, word);
        let words = depth.div_ceil(2);
        for (r, a) in packed.0.chunks_exact(words * DOWN).enumerate() {
            for (c, b) in packed.1.chunks_exact(words * ACROSS).enumerate() {
                // SAFETY: the level was checked.
                unsafe { words_of_two(isa, a, b, &mut group) };
                add(sums, (rows, cols), (r * DOWN, c * ACROSS), &group, |t, g, _| t.wrapping_add(g));
            }
        }
        return;
    }
    pack_left((rows, depth), left, &mut packed.0, |v: [i8; 4]| u32::from_le_bytes(v.map(|v| v as u8)));
    // The instruction takes one side without sign: 128 more, which the sum of the other side's takes back.
    pack_right((depth, cols), right, &mut packed.1, |v: [i8; 4]| {
        u32::from_le_bytes(v.map(|v| v as u8)) ^ 0x8080_8080
    });
    let mut back = [0i32; 256];
    for (back, row) in back.iter_mut().zip(left.chunks_exact(depth)) {
        *back = 128 * row.iter().map(|&v| i32::from(v)).sum::<i32>();
    }
    let words = depth.div_ceil(4);
    for (r, a) in packed.0.chunks_exact(words * DOWN).enumerate() {
        for (c, b) in packed.1.chunks_exact(words * ACROSS).enumerate() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the caller's promise; both hold `words` words for each row and column.
            unsafe {
                x86::bytes(a, b, words, &mut group);
            }
            add(sums, (rows, cols), (r * DOWN, c * ACROSS), &group, |t, g, row| {
                t.wrapping_add(g).wrapping_sub(back[row])
            });
        }
    }
}

by_level! {
    /// Words of two 16-bit integers.
    ///
    /// # Safety
    /// The level was checked.
    unsafe fn words_of_two(a: &[u32], b: &[u32], out: &mut [[i32; ACROSS]; DOWN]) {
        // Four rows at a time keep their sums in registers.
        for (half, out) in out.chunks_exact_mut(4).enumerate() {
            let mut sums = [[0i32; ACROSS]; 4];
            for (a, b) in a.chunks_exact(DOWN).zip(b.chunks_exact(ACROSS)) {
                for i in 0..4 {
                    let a = a[4 * half + i];
                    let (a0, a1) = (i32::from(a as u16 as i16), i32::from((a >> 16) as u16 as i16));
                    for j in 0..ACROSS {
                        let (b0, b1) = (i32::from(b[j] as u16 as i16), i32::from((b[j] >> 16) as u16 as i16));
                        sums[i][j] = sums[i][j].wrapping_add(a0 * b0 + a1 * b1);
                    }
                }
            }
            out.copy_from_slice(&sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{ACROSS, DOWN};
    use std::arch::x86_64::*;

    /// # Safety
    /// The processor has AVX-512 BF16; `a` holds `words * DOWN` words, `b` `words * ACROSS`.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub unsafe fn bf16(a: &[u32], b: &[u32], words: usize, out: &mut [[f32; ACROSS]; DOWN]) {
        // SAFETY: indices within what the caller promised.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; DOWN];
            for w in 0..words {
                let column = b.as_ptr().add(w * ACROSS);
                let b0 = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(column.cast()));
                let b1 = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(column.add(16).cast()));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let row = _mm512_set1_epi32(*a.get_unchecked(w * DOWN + i) as i32);
                    let row = std::mem::transmute::<__m512i, __m512bh>(row);
                    sums[0] = _mm512_dpbf16_ps(sums[0], row, b0);
                    sums[1] = _mm512_dpbf16_ps(sums[1], row, b1);
                }
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                _mm512_storeu_ps(out.as_mut_ptr(), sums[0]);
                _mm512_storeu_ps(out.as_mut_ptr().add(16), sums[1]);
            }
        }
    }

    /// # Safety
    /// The processor has AVX-512 VNNI; `a` holds `words * DOWN` words, `b` `words * ACROSS`.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub unsafe fn bytes(a: &[u32], b: &[u32], words: usize, out: &mut [[i32; ACROSS]; DOWN]) {
        // SAFETY: indices within what the caller promised.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); 2]; DOWN];
            for w in 0..words {
                let column = b.as_ptr().add(w * ACROSS);
                let b0 = _mm512_loadu_si512(column.cast());
                let b1 = _mm512_loadu_si512(column.add(16).cast());
                for (i, sums) in sums.iter_mut().enumerate() {
                    let row = _mm512_set1_epi32(*a.get_unchecked(w * DOWN + i) as i32);
                    sums[0] = _mm512_dpbusd_epi32(sums[0], b0, row);
                    sums[1] = _mm512_dpbusd_epi32(sums[1], b1, row);
                }
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                _mm512_storeu_si512(out.as_mut_ptr().cast(), sums[0]);
                _mm512_storeu_si512(out.as_mut_ptr().add(16).cast(), sums[1]);
            }
        }
    }
}
