//! The packed layout of matrices, the same for every instruction level.
//!
//! A matrix is cut into panels of 16 outputs (the last one padded with zeros), stored one after the other. Within a
//! panel the 16 outputs are interleaved, so that one 512-bit vector holds the same inputs of all 16 and no kernel
//! needs a horizontal sum. A *line* below is 64 bytes: 16 outputs times 4 bytes.
//!
//! - F32: a line for each input. F16, BF16: half a line for each input.
//! - Q8_0: for each two blocks of 32 inputs: 16 + 16 f16 scales, then 8 + 8 lines of codes (4 inputs each), stored as
//!   code + 128. A last single block has its scales padded to a line.
//! - Q4_0: likewise, 4 lines for a block: a line holds bytes `4v..4v + 4` of the file's block, that is inputs
//!   `4v..4v + 4` in the low nibbles and `16 + 4v..` in the high ones.
//! - Q4_K, for each 256 inputs: a line of f16 `d` and `dmin`, 8 x 16 sub-scales, 8 x 16 sub-minima (u8), then the 128
//!   bytes of nibbles as 32 lines.
//! - Q6_K, for each 256 inputs: a line of f16 `d` and padding, 16 x 16 i8 sub-scales, the 128 bytes of low nibbles as
//!   32 lines, the 64 bytes of upper bit pairs as 16 lines.

use super::lowbit;
use crate::quant::{DType, q4_k_scales};
use crate::{Error, Result};
use half::{bf16, f16};

/// Outputs in a panel.
pub const PANEL: usize = 16;
/// Bytes of one 256-input block of a Q4_K panel.
pub const Q4_K_BYTES: usize = 64 + 128 + 128 + 32 * 64;
/// Bytes of one 256-input block of a Q6_K panel.
pub const Q6_K_BYTES: usize = 64 + 256 + 32 * 64 + 16 * 64;

/// Bytes of a panel with `cols` inputs, a multiple of 32 for every type with blocks.
pub fn panel_bytes(dtype: DType, cols: usize) -> usize {
    let pair = |codes: usize| (cols / 32) * codes + (cols / 32).div_ceil(2) * 64;
    match dtype {
        DType::F32 => cols * 64,
        DType::F16 | DType::BF16 => cols * 32,
        DType::Q8_0 => pair(512),
        DType::Q4_0 => pair(256),
        DType::Q4_K => cols / 256 * Q4_K_BYTES,
        DType::Q6_K => cols / 256 * Q6_K_BYTES,
        DType::TQ1_0 | DType::TQ2_0 | DType::I2_S => super::kernels::elsewhere(dtype),
    }
}

/// Where block `block` of a Q8_0 (`codes` 512) or Q4_0 (256) panel has its scales and its codes.
#[inline(always)]
pub fn pair_offsets(block: usize, codes: usize) -> (usize, usize) {
    let pair = block / 2 * (64 + 2 * codes);
    (pair + block % 2 * 32, pair + 64 + block % 2 * codes)
}

/// Bytes of a whole packed matrix, a multiple of 256.
pub fn packed_bytes(dtype: DType, rows: u32, cols: u32) -> Result<u64> {
    if rows == 0 || cols == 0 {
        return Err(Error::argument("rows", format!("a matrix of {rows} x {cols} has no elements")));
    }
    match dtype {
        DType::I2_S => {
            dtype.bytes(rows.into(), cols.into())?;
            return lowbit::packed_bytes(rows, cols);
        }
        DType::TQ1_0 | DType::TQ2_0 => return Err(crate::ops::loaded_as_other(dtype)),
        _ => {}
    }
    // Also refuses a width that is no whole number of blocks, and products beyond 64 bits.
    dtype.bytes(u64::from(rows), u64::from(cols))?;
    let panels = u64::from(rows).div_ceil(PANEL as u64);
    (panel_bytes(dtype, cols as usize) as u64)
        .checked_mul(panels)
        .and_then(|bytes| bytes.checked_next_multiple_of(256))
        .ok_or_else(|| Error::argument("rows", format!("{rows} x {cols} weights overflow")))
}

/// Packs a whole matrix; see [`crate::ops::Ops::pack`].
pub fn pack(dtype: DType, rows: u32, cols: u32, src: &[u8], dst: &mut [u8]) -> Result<()> {
    let want = packed_bytes(dtype, rows, cols)?;
    let stored = dtype.bytes(u64::from(rows), u64::from(cols))?;
    if src.len() as u64 != stored {
        return Err(Error::argument("src", format!("holds {} bytes, the matrix has {stored}", src.len())));
    }
    if dst.len() as u64 != want {
        return Err(Error::argument("dst", format!("holds {} bytes, packed it takes {want}", dst.len())));
    }
    if dtype == DType::I2_S {
        return lowbit::pack(rows, cols, src, dst);
    }
    let cols = cols as usize;
    let row_bytes = cols / dtype.block() as usize * dtype.block_bytes() as usize;
    let size = panel_bytes(dtype, cols);
    for (rows, panel) in src.chunks(PANEL * row_bytes).zip(dst.chunks_mut(size)) {
        if rows.len() < PANEL * row_bytes {
            panel.fill(0);
        }
        for (r, row) in rows.chunks_exact(row_bytes).enumerate() {
            pack_row(dtype, row, r, panel);
        }
    }
    let used = size * (rows as usize).div_ceil(PANEL);
    dst[used..].fill(0);
    Ok(())
}

/// Stores every fourth-byte group of `bytes` in column `r` of consecutive lines.
#[inline(always)]
fn spread(bytes: &[u8], flip: u32, r: usize, lines: &mut [u8]) {
    for (word, line) in bytes.chunks_exact(4).zip(lines.chunks_exact_mut(64)) {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]) ^ flip;
        line[4 * r..4 * r + 4].copy_from_slice(&word.to_ne_bytes());
    }
}

fn pack_row(dtype: DType, row: &[u8], r: usize, panel: &mut [u8]) {
    match dtype {
        DType::F32 => spread(row, 0, r, panel),
        DType::F16 | DType::BF16 => {
            for (element, line) in row.chunks_exact(2).zip(panel.chunks_exact_mut(32)) {
                line[2 * r..2 * r + 2].copy_from_slice(element);
            }
        }
        DType::Q8_0 | DType::Q4_0 => {
            // Q8_0 codes are stored with their sign bit flipped, which adds 128.
            let (codes, flip) = if dtype == DType::Q8_0 { (512, 0x8080_8080) } else { (256, 0) };
            for (b, block) in row.chunks_exact(dtype.block_bytes() as usize).enumerate() {
                let (scale, code) = pair_offsets(b, codes);
                panel[scale + 2 * r..scale + 2 * r + 2].copy_from_slice(&block[..2]);
                spread(&block[2..], flip, r, &mut panel[code..code + codes]);
            }
        }
        DType::Q4_K => {
            for (block, out) in row.chunks_exact(144).zip(panel.chunks_exact_mut(Q4_K_BYTES)) {
                out[2 * r..2 * r + 2].copy_from_slice(&block[..2]);
                out[32 + 2 * r..34 + 2 * r].copy_from_slice(&block[2..4]);
                let mut packed = [0; 12];
                packed.copy_from_slice(&block[4..16]);
                let (scales, minima) = q4_k_scales(&packed);
                for sub in 0..8 {
                    out[64 + 16 * sub + r] = scales[sub];
                    out[192 + 16 * sub + r] = minima[sub];
                }
                spread(&block[16..], 0, r, &mut out[320..]);
            }
        }
        DType::Q6_K => {
            for (block, out) in row.chunks_exact(210).zip(panel.chunks_exact_mut(Q6_K_BYTES)) {
                out[2 * r..2 * r + 2].copy_from_slice(&block[208..]);
                for sub in 0..16 {
                    out[64 + 16 * sub + r] = block[192 + sub];
                }
                spread(&block[..128], 0, r, &mut out[320..320 + 2048]);
                spread(&block[128..192], 0, r, &mut out[320 + 2048..]);
            }
        }
        DType::TQ1_0 | DType::TQ2_0 | DType::I2_S => super::kernels::elsewhere(dtype),
    }
}

/// One row of a packed matrix as f32, by the formulas of [`crate::quant::dequantize`].
pub fn unpack_row(dtype: DType, cols: usize, packed: &[u8], row: usize, out: &mut [f32]) {
    if dtype == DType::I2_S {
        let mut codes = vec![0; cols];
        let scale = lowbit::unpack_row(cols, packed, row, &mut codes);
        return out.iter_mut().zip(codes).for_each(|(o, q)| *o = (f32::from(q) - 1.0) * scale);
    }
    let size = panel_bytes(dtype, cols);
    let (panel, r) = (&packed[row / PANEL * size..][..size], row % PANEL);
    let f16_at = |at: usize| f16::from_le_bytes([panel[at], panel[at + 1]]).to_f32();
    match dtype {
        DType::F32 => {
            for (o, line) in out.iter_mut().zip(panel.chunks_exact(64)) {
                let b = &line[4 * r..];
                *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        DType::F16 => {
            for (i, o) in out.iter_mut().enumerate() {
                *o = f16_at(32 * i + 2 * r);
            }
        }
        DType::BF16 => {
            for (o, line) in out.iter_mut().zip(panel.chunks_exact(32)) {
                *o = bf16::from_le_bytes([line[2 * r], line[2 * r + 1]]).to_f32();
            }
        }
        DType::Q8_0 => {
            for (b, out) in out.chunks_exact_mut(32).enumerate() {
                let (scale, code) = pair_offsets(b, 512);
                let d = f16_at(scale + 2 * r);
                for (i, o) in out.iter_mut().enumerate() {
                    *o = d * (f32::from(panel[code + i / 4 * 64 + 4 * r + i % 4]) - 128.0);
                }
            }
        }
        DType::Q4_0 => {
            for (b, out) in out.chunks_exact_mut(32).enumerate() {
                let (scale, code) = pair_offsets(b, 256);
                let d = f16_at(scale + 2 * r);
                for j in 0..16 {
                    let q = panel[code + j / 4 * 64 + 4 * r + j % 4];
                    out[j] = d * (f32::from(q & 15) - 8.0);
                    out[j + 16] = d * (f32::from(q >> 4) - 8.0);
                }
            }
        }
        DType::Q4_K => {
            for (b, out) in out.chunks_exact_mut(256).enumerate() {
                let at = b * Q4_K_BYTES;
                let (d, dmin) = (f16_at(at + 2 * r), f16_at(at + 32 + 2 * r));
                for (i, o) in out.iter_mut().enumerate() {
                    let sub = i / 32;
                    let byte = sub / 2 * 32 + i % 32;
                    let q = panel[at + 320 + byte / 4 * 64 + 4 * r + byte % 4] >> (sub % 2 * 4) & 15;
                    let scale = d * f32::from(panel[at + 64 + 16 * sub + r]);
                    *o = scale * f32::from(q) - dmin * f32::from(panel[at + 192 + 16 * sub + r]);
                }
            }
        }
        DType::Q6_K => {
            for (b, out) in out.chunks_exact_mut(256).enumerate() {
                let at = b * Q6_K_BYTES;
                let d = f16_at(at + 2 * r);
                for (i, o) in out.iter_mut().enumerate() {
                    let (half, k, l) = (i / 128, i % 128 / 32, i % 32);
                    let low = half * 64 + k % 2 * 32 + l;
                    let high = half * 32 + l;
                    let low = panel[at + 320 + low / 4 * 64 + 4 * r + low % 4] >> (k / 2 * 4) & 15;
                    let high = panel[at + 2368 + high / 4 * 64 + 4 * r + high % 4] >> (2 * k) & 3;
                    let scale = panel[at + 64 + i / 16 * 16 + r] as i8;
                    *o = d * f32::from(scale) * (f32::from(low | high << 4) - 32.0);
                }
            }
        }
        DType::TQ1_0 | DType::TQ2_0 | DType::I2_S => super::kernels::elsewhere(dtype),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::testing::{Random, random_weights};
    use crate::quant::dequantize;

    #[test]
    fn every_row_comes_back_as_the_reference_has_it() {
        let mut random = Random::new(1);
        for dtype in crate::ops::cpu::testing::DTYPES {
            for (rows, cols) in [(1, 256), (16, 512), (17, 256), (40, 768)] {
                let src = random_weights(&mut random, dtype, rows, cols);
                let mut dst = vec![0xaa; packed_bytes(dtype, rows, cols).unwrap() as usize];
                pack(dtype, rows, cols, &src, &mut dst).unwrap();
                let (mut got, mut want) = (vec![0.0; cols as usize], vec![0.0; cols as usize]);
                for (row, src) in src.chunks(src.len() / rows as usize).enumerate() {
                    dequantize(dtype, src, &mut want).unwrap();
                    unpack_row(dtype, cols as usize, &dst, row, &mut got);
                    assert_eq!(got, want, "{dtype:?} {rows}x{cols} row {row}");
                }
            }
        }
    }

    #[test]
    fn odd_numbers_of_blocks_fit() {
        let mut random = Random::new(2);
        for dtype in [DType::Q8_0, DType::Q4_0] {
            let src = random_weights(&mut random, dtype, 5, 96);
            let mut dst = vec![0xaa; packed_bytes(dtype, 5, 96).unwrap() as usize];
            pack(dtype, 5, 96, &src, &mut dst).unwrap();
            let (mut got, mut want) = ([0.0; 96], [0.0; 96]);
            dequantize(dtype, &src[src.len() / 5 * 4..], &mut want).unwrap();
            unpack_row(dtype, 96, &dst, 4, &mut got);
            assert_eq!(got, want);
        }
    }

    #[test]
    fn wrong_sizes_are_refused() {
        assert!(packed_bytes(DType::Q4_K, 16, 128).is_err());
        assert!(packed_bytes(DType::F32, 0, 128).is_err());
        assert!(pack(DType::F32, 1, 1, &[0; 3], &mut [0; 256]).is_err());
        assert!(pack(DType::F32, 1, 1, &[0; 4], &mut [0; 255]).is_err());
        assert_eq!(packed_bytes(DType::F32, 1, 1).unwrap(), 256);
    }
}
