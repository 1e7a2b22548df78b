//! The packed form of ternary matrices, the same for every level of instructions.
//!
//! A matrix is cut into panels of 64 rows (the last one padded), stored one after the other. A panel is a run of *steps* of 16
//! inputs, 256 bytes each, padded to whole tiles of 64 inputs. In a step four *lines* of 64 bytes follow each other, for 16 rows
//! each. Four bytes of a line belong to one row: bits `2j..2j + 2` of byte `b` are the code of input `4j + b` of the step. So
//! a vector that is masked at bits `2j` holds, for each of 16 rows, the four inputs `4j..4j + 4`, which is what instructions
//! that add up four products of bytes take. What is padded has code 1, the value 0.
//!
//! Behind the panels lie the rows' scales, f32, 64 for each panel.

use crate::quant::lowbit;
use crate::{Error, Result};

/// Rows of a panel.
pub const PANEL: usize = 64;
/// Inputs of a step.
pub const STEP: usize = 16;
/// Bytes of a step.
pub const STEP_BYTES: usize = 256;
/// Inputs of a tile; rows are padded to whole ones.
pub const TILE: usize = 64;
/// The code of the value 0.
pub const ZERO_POINT: i32 = 1;

/// Inputs of a row, with what they are padded by.
pub fn padded(cols: usize) -> usize {
    cols.next_multiple_of(TILE)
}

/// Bytes of a panel of matrices with so many inputs.
pub fn panel_bytes(cols: usize) -> usize {
    padded(cols) / STEP * STEP_BYTES
}

/// Bytes of a whole packed matrix, a multiple of 256.
pub fn packed_bytes(rows: u32, cols: u32) -> Result<u64> {
    if rows == 0 || cols == 0 {
        return Err(Error::argument("rows", format!("a matrix of {rows} x {cols} has no elements")));
    }
    let panels = u64::from(rows).div_ceil(PANEL as u64);
    // At most 2^26 panels of 2^36 bytes.
    Ok(panels * (panel_bytes(cols as usize) as u64 + PANEL as u64 * 4))
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
    let size = panel_bytes(cols);
    let (panels, scales) = dst.split_at_mut(size * rows.div_ceil(PANEL));
    let mut codes = vec![0; cols];
    for (p, panel) in panels.chunks_exact_mut(size).enumerate() {
        // Code 1 in all places.
        panel.fill(0x55);
        for r in 0..PANEL.min(rows - p * PANEL) {
            lowbit::i2s_codes(src, n, (p * PANEL + r) * cols, &mut codes)?;
            pack_row(&codes, r, panel);
        }
    }
    for (r, out) in scales.chunks_exact_mut(4).enumerate() {
        out.copy_from_slice(&if r < rows { scale } else { 0.0 }.to_le_bytes());
    }
    Ok(())
}

/// Where the four bytes of row `r` of a panel lie in step `s`.
#[inline]
fn place(s: usize, r: usize) -> usize {
    s * STEP_BYTES + r / 16 * 64 + r % 16 * 4
}

fn pack_row(codes: &[u8], r: usize, panel: &mut [u8]) {
    for (s, codes) in codes.chunks(STEP).enumerate() {
        let at = place(s, r);
        let mut bytes = [0x55u8; 4];
        for (k, code) in codes.iter().enumerate() {
            let (byte, shift) = (k % 4, k / 4 * 2);
            bytes[byte] = bytes[byte] & !(3 << shift) | code << shift;
        }
        panel[at..at + 4].copy_from_slice(&bytes);
    }
}

/// One row of a packed matrix as codes, and its scale.
pub fn unpack_row(cols: usize, packed: &[u8], row: usize, codes: &mut [u8]) -> f32 {
    let size = panel_bytes(cols);
    let panel = &packed[row / PANEL * size..][..size];
    for (k, code) in codes.iter_mut().enumerate().take(cols) {
        let k = (k / STEP, k % STEP);
        *code = panel[place(k.0, row % PANEL) + k.1 % 4] >> (k.1 / 4 * 2) & 3;
    }
    let at = packed.len() / (size + 4 * PANEL) * size + 4 * row;
    f32::from_le_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]])
}
