//! Packs weights for the CUDA kernels: the layouts that `kernels/formats.cuh` describes, written on the host.
//!
//! F32 and BF16 keep their rows, each padded with zeros to a multiple of 8 columns. Everything else is cut into tiles
//! of 16 rows by 128 columns (F16, Q8_0) or 256 (the rest), padded with zeros, codes and scales apart.

use super::ternary;
use crate::quant::DType;
use crate::{Error, Result};

/// Columns and bytes of a tile of 16 rows, or `None` for types that keep their rows.
pub(crate) fn tile(dtype: DType) -> Option<(u32, u64)> {
    match dtype {
        DType::F32 | DType::BF16 => None,
        DType::F16 => Some((128, 4096)),
        DType::Q8_0 => Some((128, 2048 + 128)),
        DType::Q4_0 => Some((256, 2048 + 256)),
        DType::Q4_K => Some((256, 2048 + 256 + 64)),
        DType::Q6_K => Some((256, 2048 + 1024 + 256 + 32)),
        // These have tiles of their own kernels, or are refused by `packed_bytes`.
        DType::TQ1_0 | DType::TQ2_0 | DType::I2_S => None,
    }
}

/// Elements from one row to the next of an F32 or BF16 matrix.
pub(crate) fn stride(cols: u32) -> u32 {
    cols.next_multiple_of(8)
}

/// Tiles in a row of tiles.
pub(crate) fn chunks(dtype: DType, cols: u32) -> u32 {
    tile(dtype).map_or(0, |(width, _)| cols.div_ceil(width))
}

/// See [`crate::ops::Ops::packed_bytes`].
pub(crate) fn packed_bytes(dtype: DType, rows: u32, cols: u32) -> Result<u64> {
    if rows == 0 || cols == 0 || rows > i32::MAX as u32 - 64 || cols > i32::MAX as u32 - 512 {
        return Err(Error::argument("rows, cols", format!("a matrix of {rows} x {cols} cannot be used")));
    }
    match dtype {
        DType::I2_S => {
            dtype.bytes(rows.into(), cols.into())?;
            return Ok(ternary::packed_bytes(rows, cols));
        }
        DType::TQ1_0 | DType::TQ2_0 => return Err(crate::ops::loaded_as_other(dtype)),
        _ => {}
    }
    dtype.bytes(rows.into(), cols.into())?;
    let bytes = match tile(dtype) {
        None => u64::from(rows)
            .checked_mul(u64::from(stride(cols)))
            .and_then(|n| n.checked_mul(if dtype == DType::F32 { 4 } else { 2 })),
        Some((_, bytes)) => {
            (u64::from(rows.div_ceil(16)) * u64::from(chunks(dtype, cols))).checked_mul(bytes)
        }
    };
    bytes
        .and_then(|b| b.checked_next_multiple_of(256))
        .ok_or_else(|| Error::argument("rows, cols", format!("{rows} x {cols} overflows")))
}

/// See [`crate::ops::Ops::pack`].
pub(crate) fn pack(dtype: DType, rows: u32, cols: u32, src: &[u8], dst: &mut [u8]) -> Result<()> {
    let (want_src, want_dst) = (dtype.bytes(rows.into(), cols.into())?, packed_bytes(dtype, rows, cols)?);
    if src.len() as u64 != want_src {
        let text = format!("holds {} bytes, {rows} x {cols} {dtype:?} are {want_src}", src.len());
        return Err(Error::argument("src", text));
    }
    if dst.len() as u64 != want_dst {
        let text = format!("holds {} bytes, packed {rows} x {cols} {dtype:?} are {want_dst}", dst.len());
        return Err(Error::argument("dst", text));
    }
    if dtype == DType::I2_S {
        return ternary::pack(rows, cols, src, dst);
    }
    let row_bytes = src.len() / rows as usize;
    let Some((width, tile_bytes)) = tile(dtype) else {
        let stride_bytes = stride(cols) as usize * (row_bytes / cols as usize);
        for (to, from) in dst.chunks_exact_mut(stride_bytes).zip(src.chunks_exact(row_bytes)) {
            to[..row_bytes].copy_from_slice(from);
            to[row_bytes..].fill(0);
        }
        dst[stride_bytes * rows as usize..].fill(0);
        return Ok(());
    };
    let (width, tile_bytes) = (width as usize, tile_bytes as usize);
    let per_row = chunks(dtype, cols) as usize;
    dst.fill(0);
    for (i, tile) in dst.chunks_exact_mut(tile_bytes).take(rows.div_ceil(16) as usize * per_row).enumerate() {
        let (m, c) = (i / per_row, i % per_row);
        let count = (rows as usize - m * 16).min(16);
        let used = (cols as usize - c * width).min(width);
        for r in 0..count {
            let row = &src[(m * 16 + r) * row_bytes..][..row_bytes];
            let block = dtype.block() as usize;
            let bytes = dtype.block_bytes() as usize;
            let part = &row[c * width / block * bytes..][..used / block * bytes];
            match dtype {
                DType::F16 => f16(part, tile, r),
                DType::Q8_0 => q8_0(part, tile, r),
                DType::Q4_0 => q4_0(part, tile, r),
                DType::Q4_K => q4_k(part, tile, r),
                DType::Q6_K => q6_k(part, tile, r),
                other => unreachable!("{other:?} has no tiles"),
            }
        }
    }
    Ok(())
}

/// The column, among 32, of a lane's element `i`.
fn column(t: usize, i: usize) -> usize {
    16 * (i / 4) + 4 * t + i % 4
}

/// Row `g` of the upper or the lower half of a tile.
fn half_of(r: usize) -> (usize, usize) {
    (r % 8, r / 8)
}

fn f16(part: &[u8], tile: &mut [u8], r: usize) {
    let (g, upper) = half_of(r);
    // Every pair of columns is one word of one lane.
    for (pair, two) in part.chunks(2 * 2).enumerate() {
        let (block, k) = (pair * 2 / 32, pair * 2 % 32);
        let (j, t, i) = (k / 16, k % 16 / 4, k % 4);
        let at = (block * 2 + j) * 512 + (g * 4 + t) * 16 + (i / 2 * 2 + upper) * 4;
        tile[at..at + two.len()].copy_from_slice(two);
    }
}

fn q8_0(part: &[u8], tile: &mut [u8], r: usize) {
    let (g, upper) = half_of(r);
    for (b, block) in part.chunks_exact(34).enumerate() {
        tile[2048 + g * 16 + b * 4 + upper * 2..][..2].copy_from_slice(&block[..2]);
        for t in 0..4 {
            let to = &mut tile[b * 512 + (g * 4 + t) * 16 + upper * 8..][..8];
            for (i, code) in to.iter_mut().enumerate() {
                *code = block[2 + column(t, i)] ^ 0x80;
            }
        }
    }
}

/// The low nibbles of the 32 codes of block `b` into their four words.
fn nibbles(codes: &[u8; 32], tile: &mut [u8], r: usize, b: usize) {
    let (g, upper) = half_of(r);
    for t in 0..4 {
        let word = (0..8).fold(0u32, |word, i| {
            word | (u32::from(codes[column(t, i)] & 15) << (4 * (i / 2 + 4 * (i % 2))))
        });
        let at = b / 2 * 512 + (g * 4 + t) * 16 + (b % 2 * 2 + upper) * 4;
        tile[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
}

fn q4_0(part: &[u8], tile: &mut [u8], r: usize) {
    let (g, upper) = half_of(r);
    for (b, block) in part.chunks_exact(18).enumerate() {
        tile[2048 + g * 32 + b * 4 + upper * 2..][..2].copy_from_slice(&block[..2]);
        let mut codes = [0u8; 32];
        for (j, byte) in block[2..].iter().enumerate() {
            (codes[j], codes[j + 16]) = (byte & 15, byte >> 4);
        }
        nibbles(&codes, tile, r, b);
    }
}

fn q4_k(part: &[u8], tile: &mut [u8], r: usize) {
    let (g, upper) = half_of(r);
    for block in part.chunks_exact(144) {
        tile[2304 + g * 8 + upper * 2..][..2].copy_from_slice(&block[..2]);
        tile[2304 + g * 8 + 4 + upper * 2..][..2].copy_from_slice(&block[2..4]);
        let s = &block[4..16];
        for b in 0..8 {
            // Six bits each: the first four lie whole, the top bits of the others in those of the first.
            let (scale, least) = match b {
                0..4 => (s[b] & 63, s[b + 4] & 63),
                _ => ((s[b + 4] & 15) | (s[b - 4] >> 6 << 4), (s[b + 4] >> 4) | (s[b] >> 6 << 4)),
            };
            let at = 2048 + g * 32 + b * 4 + upper;
            (tile[at], tile[at + 2]) = (scale, least);
            let mut codes = [0u8; 32];
            for (code, byte) in codes.iter_mut().zip(&block[16 + b / 2 * 32..]) {
                *code = if b % 2 == 0 { byte & 15 } else { byte >> 4 };
            }
            nibbles(&codes, tile, r, b);
        }
    }
}

fn q6_k(part: &[u8], tile: &mut [u8], r: usize) {
    let (g, upper) = half_of(r);
    for block in part.chunks_exact(210) {
        tile[3328 + g * 4 + upper * 2..][..2].copy_from_slice(&block[208..210]);
        for b in 0..8 {
            // Each half of 128 holds four blocks: low nibbles of blocks 0 and 1, high nibbles 2 and 3.
            let (half, q) = (b / 4, b % 4);
            let low = &block[half * 64 + q % 2 * 32..][..32];
            let high = &block[128 + half * 32..][..32];
            let mut codes = [0u8; 32];
            for (l, code) in codes.iter_mut().enumerate() {
                *code = (low[l] >> (q / 2 * 4) & 15) | ((high[l] >> (2 * q) & 3) << 4);
            }
            nibbles(&codes, tile, r, b);
            for t in 0..4 {
                let bits =
                    (0..8).fold(0u16, |bits, i| bits | (u16::from(codes[column(t, i)] >> 4) << (2 * i)));
                let at = 2048 + b / 4 * 512 + (g * 4 + t) * 16 + b % 4 * 4 + upper * 2;
                tile[at..at + 2].copy_from_slice(&bits.to_le_bytes());
            }
            for j in 0..2 {
                tile[3072 + g * 32 + b * 4 + 2 * j + upper] = block[192 + 2 * b + j] ^ 0x80;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_at(bytes: &[u8], at: usize) -> f32 {
        half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
    }

    /// What `F::element` of `kernels/formats.cuh` computes.
    fn element(dtype: DType, tile: &[u8], r: usize, k: usize) -> f32 {
        let (g, upper, e, block) = (r % 8, r / 8, k % 32, k / 32);
        let (t, i) = (e % 16 / 4, 4 * (e / 16) + e % 4);
        let lane = (g * 4 + t) * 16;
        let nibble = || {
            let at = block / 2 * 512 + lane + (block % 2 * 2 + upper) * 4;
            let word = u32::from_le_bytes(tile[at..at + 4].try_into().unwrap());
            (word >> (4 * (i / 2 + 4 * (i % 2)))) & 15
        };
        match dtype {
            DType::F16 => {
                half_at(tile, (block * 2 + i / 4) * 512 + lane + (i % 4 / 2 * 2 + upper) * 4 + i % 2 * 2)
            }
            DType::Q8_0 => {
                let code = i32::from(tile[block * 512 + lane + upper * 8 + i]) - 128;
                half_at(tile, 2048 + g * 16 + block * 4 + upper * 2) * code as f32
            }
            DType::Q4_0 => half_at(tile, 2048 + g * 32 + block * 4 + upper * 2) * (nibble() as f32 - 8.0),
            DType::Q4_K => {
                let sub = 2048 + g * 32 + block * 4 + upper;
                half_at(tile, 2304 + g * 8 + upper * 2) * f32::from(tile[sub]) * nibble() as f32
                    - half_at(tile, 2304 + g * 8 + 4 + upper * 2) * f32::from(tile[sub + 2])
            }
            DType::Q6_K => {
                let at = 2048 + block / 4 * 512 + lane + block % 4 * 4 + upper * 2;
                let bits = u16::from_le_bytes([tile[at], tile[at + 1]]);
                let q = nibble() | u32::from(bits >> (2 * i) & 3) << 4;
                let sub = i32::from(tile[3072 + g * 32 + block * 4 + 2 * (i / 4) + upper]) - 128;
                half_at(tile, 3328 + g * 4 + upper * 2) * sub as f32 * (q as f32 - 32.0)
            }
            _ => unreachable!(),
        }
    }

    /// An element of the file layout, read by the formats' own rules.
    fn original(dtype: DType, row: &[u8], k: usize) -> f32 {
        let block = &row[k / dtype.block() as usize * dtype.block_bytes() as usize..];
        let e = k % dtype.block() as usize;
        match dtype {
            DType::F16 => half_at(block, 0),
            DType::Q8_0 => half_at(block, 0) * f32::from(block[2 + e] as i8),
            DType::Q4_0 => {
                let byte = block[2 + e % 16];
                half_at(block, 0) * (f32::from(if e < 16 { byte & 15 } else { byte >> 4 }) - 8.0)
            }
            DType::Q4_K => {
                let (b, s) = (e / 32, &block[4..16]);
                let (scale, least) = if b < 4 {
                    (s[b] & 63, s[b + 4] & 63)
                } else {
                    ((s[b + 4] & 15) | ((s[b - 4] >> 6) << 4), (s[b + 4] >> 4) | ((s[b] >> 6) << 4))
                };
                let byte = block[16 + e / 64 * 32 + e % 32];
                let q = if e % 64 < 32 { byte & 15 } else { byte >> 4 };
                half_at(block, 0) * f32::from(scale) * f32::from(q) - half_at(block, 2) * f32::from(least)
            }
            DType::Q6_K => {
                let (h, l, q) = (e / 128, e % 32, e % 128 / 32);
                let low = block[h * 64 + q % 2 * 32 + l] >> (q / 2 * 4) & 15;
                let high = block[128 + h * 32 + l] >> (2 * q) & 3;
                let scale = f32::from(block[192 + e / 16] as i8);
                half_at(block, 208) * scale * (f32::from(low | high << 4) - 32.0)
            }
            _ => unreachable!(),
        }
    }

    #[test]
    fn every_element_is_where_the_kernels_look_for_it() {
        let mut state = 7u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as u32
        };
        for dtype in [DType::F16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K] {
            for (rows, blocks) in [(1, 1), (16, 3), (19, 5), (33, 2)] {
                let cols = blocks * dtype.block().max(16) as u32;
                let row_bytes = dtype.bytes(1, cols.into()).unwrap() as usize;
                let mut src: Vec<u8> = (0..row_bytes * rows as usize).map(|_| random() as u8).collect();
                // Scales, which must be finite, and f16 weights.
                for block in src.chunks_exact_mut(dtype.block_bytes() as usize) {
                    let scale = half::f16::from_f32(random() as f32 / 2e9 - 0.5).to_le_bytes();
                    match dtype {
                        DType::Q6_K => block[208..].copy_from_slice(&scale),
                        DType::Q4_K => (block[..2].copy_from_slice(&scale), block[2..4].fill(1)).0,
                        _ => block[..2].copy_from_slice(&scale),
                    }
                }
                let mut dst = vec![0xaa; packed_bytes(dtype, rows, cols).unwrap() as usize];
                pack(dtype, rows, cols, &src, &mut dst).unwrap();
                let (width, bytes) = tile(dtype).unwrap();
                for r in 0..rows as usize {
                    for k in 0..cols as usize {
                        let at =
                            (r / 16 * chunks(dtype, cols) as usize + k / width as usize) * bytes as usize;
                        let got = element(dtype, &dst[at..], r % 16, k % width as usize);
                        let want = original(dtype, &src[r * row_bytes..], k);
                        assert_eq!(got.to_bits(), want.to_bits(), "{dtype:?} {rows}x{cols} at {r},{k}");
                    }
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_are_named() {
        let e = pack(DType::F32, 2, 3, &[0; 20], &mut [0; 256]).unwrap_err();
        assert!(e.message().contains("`src`"), "{e}");
        let e = pack(DType::F32, 2, 3, &[0; 24], &mut [0; 128]).unwrap_err();
        assert!(e.message().contains("`dst`"), "{e}");
    }
}
