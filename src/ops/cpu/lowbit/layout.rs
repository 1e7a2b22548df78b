//! The packed form of ternary matrices, the same for every level of instructions.
//!
//! A matrix is cut into strips of 16 rows, stored one after the other; the last ones are padded, so that there are four at a time.
//! A strip is a run of *lines* of 64 bytes, each for 16 inputs, padded to whole tiles of 64 inputs. Four bytes of a line belong to
//! one row: bits `2j..2j + 2` of byte `b` are the code of the line's input `4j + b`. So a vector that is masked at bits `2j`
//! holds, for each of 16 rows, the four inputs `4j..4j + 4`, which is what instructions that add up four products of bytes take.
//! What is padded has code 1, the value 0.
//!
//! Kernels take four strips at once, which need not be neighbours: with one token they lie far apart, so that each is part of
//! a long stream of its own. One stream alone comes no nearer than 0.7 to what a thread can read in pages of 4 KiB.
//!
//! Behind the strips lie the rows' scales, f32, 16 for each strip.

use crate::quant::lowbit;
use crate::{Error, Result};

/// Rows of a strip.
pub const STRIP: usize = 16;
/// Rows of the strips that a kernel takes.
pub const ROWS: usize = 4 * STRIP;
/// Inputs of a line.
pub const STEP: usize = 16;
/// Bytes of a line.
pub const LINE: usize = 64;
/// Inputs of a tile; rows are padded to whole ones.
pub const TILE: usize = 64;
/// The code of the value 0.
pub const ZERO_POINT: i32 = 1;

/// Inputs of a row, with what they are padded by.
pub fn padded(cols: usize) -> usize {
    cols.next_multiple_of(TILE)
}

/// Bytes of a strip of matrices with so many inputs.
pub fn strip_bytes(cols: usize) -> usize {
    padded(cols) / STEP * LINE
}

/// Bytes of a whole packed matrix, a multiple of 256.
pub fn packed_bytes(rows: u32, cols: u32) -> Result<u64> {
    if rows == 0 || cols == 0 {
        return Err(Error::argument("rows", format!("a matrix of {rows} x {cols} has no elements")));
    }
    let fours = u64::from(rows).div_ceil(ROWS as u64);
    // At most 2^26 of them, of 2^36 bytes.
    Ok(fours * (4 * strip_bytes(cols as usize) as u64 + ROWS as u64 * 4))
}

/// Packs a matrix that is stored as GGUF's I2_S.
///
/// Errors: lengths that do not fit, a scale or code that cannot be; `dst` may hold anything then.
pub fn pack(rows: u32, cols: u32, src: &[u8], dst: &mut [u8]) -> Result<()> {
    let want = packed_bytes(rows, cols)?;
    if dst.len() as u64 != want {
        return Err(Error::argument("dst", format!("holds {} bytes, packed it takes {want}", dst.len())));
    }
    let (rows, cols) = (rows as usize, cols as usize);
    let n = rows.checked_mul(cols).ok_or_else(|| Error::argument("rows", "rows x cols overflows"))?;
    let scale = lowbit::i2s_scale(src, n)?;
    let size = strip_bytes(cols);
    let (strips, scales) = dst.split_at_mut(4 * size * rows.div_ceil(ROWS));
    let mut codes = vec![0; cols];
    for (first, strip) in (0..).step_by(STRIP).zip(strips.chunks_exact_mut(size)) {
        // Code 1 in all places.
        strip.fill(0x55);
        for r in 0..STRIP.min(rows.saturating_sub(first)) {
            lowbit::i2s_codes(src, n, (first + r) * cols, &mut codes)?;
            pack_row(&codes, r, strip);
        }
    }
    for (r, out) in scales.chunks_exact_mut(4).enumerate() {
        out.copy_from_slice(&if r < rows { scale } else { 0.0 }.to_le_bytes());
    }
    Ok(())
}

fn pack_row(codes: &[u8], r: usize, strip: &mut [u8]) {
    let mut put = |s: usize, codes: &[u8; STEP]| {
        let word = |j: usize| u32::from_le_bytes([codes[j], codes[j + 1], codes[j + 2], codes[j + 3]]);
        // Codes are below 4: no shift carries one into the next byte.
        let word = word(0) | word(4) << 2 | word(8) << 4 | word(12) << 6;
        strip[s * LINE + 4 * r..][..4].copy_from_slice(&word.to_le_bytes());
    };
    let (whole, rest) = codes.as_chunks::<STEP>();
    whole.iter().enumerate().for_each(|(s, codes)| put(s, codes));
    if !rest.is_empty() {
        let mut last = [ZERO_POINT as u8; STEP];
        last[..rest.len()].copy_from_slice(rest);
        put(whole.len(), &last);
    }
}

/// One row of a packed matrix as codes, and its scale.
pub fn unpack_row(cols: usize, packed: &[u8], row: usize, codes: &mut [u8]) -> f32 {
    let size = strip_bytes(cols);
    let strip = &packed[row / STRIP * size..][..size];
    for (k, code) in codes.iter_mut().enumerate().take(cols) {
        let (s, k) = (k / STEP, k % STEP);
        *code = strip[s * LINE + row % STRIP * 4 + k % 4] >> (k / 4 * 2) & 3;
    }
    let at = packed.len() / (size + 4 * STRIP) * size + 4 * row;
    f32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]])
}
