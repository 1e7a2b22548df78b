//! Products of ternary matrices with activations of 8 bits: packing for `kernels/ternary.cu`, which says the layout, and launches.
//! Outputs have the same bits as on the CPU device, whatever the number of rows and whatever kernel computes them.

use super::kernels::args;
use super::products::{RawProducts, raw};
use super::{CudaOps, pack};
use crate::device::DevicePtr;
use crate::ops::{Math, Product, bytes};
use crate::quant::lowbit;
use crate::{Error, Result};

/// Columns of a tile of 16 rows.
pub(super) const COLUMNS: u32 = 128;
/// Bytes of a tile.
pub(super) const TILE: u64 = 512;
/// Bytes behind the tiles, of which the first four are the scale.
const TAIL: u64 = 256;
/// Bytes in front of a token's codes.
const HEAD: u64 = 64;
/// Most tokens of the kernel that makes their codes itself, in every block, and the shared memory that it may use for them.
const FUSED: u32 = 2;
const FUSED_WARPS: u32 = 16;
const FUSED_BYTES: u64 = 38 << 10;
/// Tokens of a block that reads weights once for a few, and from how many on they are read for [`AT_ONCE`].
const FEW: u32 = 8;
const MANY_FROM: u32 = 161;
const AT_ONCE: u32 = 64;
const WARPS: u32 = 8;

/// Bytes from one token to the next.
fn stride(cols: u32) -> u64 {
    HEAD + u64::from(cols.next_multiple_of(COLUMNS))
}

/// Scratch for `n` rows of `cols` activations.
pub(super) fn scratch_bytes(n: u32, cols: u32) -> u64 {
    u64::from(n) * stride(cols)
}

/// Bytes of a packed matrix.
pub(super) fn packed_bytes(rows: u32, cols: u32) -> u64 {
    u64::from(rows.div_ceil(16)) * u64::from(cols.div_ceil(COLUMNS)) * TILE + TAIL
}

/// Packs a matrix that is stored as I2_S. Lengths were checked.
pub(super) fn pack(rows: u32, cols: u32, src: &[u8], dst: &mut [u8]) -> Result<()> {
    let (rows, cols) = (rows as usize, cols as usize);
    let n = rows.checked_mul(cols).ok_or_else(|| Error::argument("rows, cols", "their product overflows"))?;
    let scale = lowbit::i2s_scale(src, n)?;
    let (tiles, tail) = dst.split_at_mut(dst.len() - TAIL as usize);
    // Code 1 in all places.
    tiles.fill(0x55);
    let per_row = cols.div_ceil(COLUMNS as usize);
    let mut codes = vec![1u8; per_row * COLUMNS as usize];
    for row in 0..rows {
        lowbit::i2s_codes(src, n, row * cols, &mut codes[..cols])?;
        let (g, upper) = (row % 16 % 8, row % 16 / 8);
        let strip = &mut tiles[row / 16 * per_row * TILE as usize..][..per_row * TILE as usize];
        for (tile, codes) in strip.chunks_exact_mut(TILE as usize).zip(codes.chunks_exact(COLUMNS as usize)) {
            for (t, codes) in codes.chunks_exact(32).enumerate() {
                for half in 0..2 {
                    let word = &mut tile[(4 * g + t) * 16 + 4 * (2 * half + upper)..][..4];
                    for (b, byte) in word.iter_mut().enumerate() {
                        *byte = (0..4).fold(0, |sum, j| sum | codes[8 * j + 4 * half + b] << (2 * j));
                    }
                }
            }
        }
    }
    tail.fill(0);
    tail[..4].copy_from_slice(&scale.to_le_bytes());
    Ok(())
}

impl CudaOps {
    /// Products of ternary matrices, which share their input.
    pub(super) fn ternary_products(&self, x: DevicePtr, n: u32, products: &[Product]) -> Result<()> {
        let cols = products[0].weight.cols;
        let shared = u64::from(n) * (u64::from(cols.next_multiple_of(COLUMNS)) + 16);
        if n <= FUSED && shared <= FUSED_BYTES && self.math != Math::Plain {
            return self.fused_products(x, n, products, shared as u32);
        }
        let tokens = self.scratch(scratch_bytes(n, cols), "matmul")?;
        let (columns, step) = (cols as i32, stride(cols) as i32);
        // SAFETY: the arguments are those of the kernel; scratch holds all tokens.
        unsafe { self.launch("cw_tokens", [n, 1, 1], 256, 0, args![x, tokens, columns, step])? };
        for four in products.chunks(4) {
            let raw: RawProducts = raw(four, n, COLUMNS);
            let tiles = raw.tiles as u32;
            self.moves(|| bytes::products(n, four, pack::packed_bytes));
            let (name, grid) = if self.math == Math::Plain || n < MANY_FROM {
                let name = if self.math == Math::Plain { "cw_ternary_plain" } else { "cw_ternary_few" };
                let groups = n.div_ceil(FEW);
                let resident = self.resident(name, WARPS * 32, 0)?;
                (name, [tiles.min((resident / groups).max(1)), groups, 1])
            } else {
                ("cw_ternary_many", [tiles.div_ceil(WARPS), n.div_ceil(AT_ONCE), 1])
            };
            // SAFETY: as above; the caller's pointers hold what the trait says.
            unsafe { self.launch(name, grid, WARPS * 32, 0, args![raw, tokens, step])? };
        }
        Ok(())
    }

    /// Products with few tokens, each in one kernel.
    fn fused_products(&self, x: DevicePtr, n: u32, products: &[Product], shared: u32) -> Result<()> {
        let name = "cw_ternary_fused";
        for four in products.chunks(4) {
            let mut raw = raw(four, n, COLUMNS);
            raw.wide = i32::from(x.is_multiple_of(16) && four[0].weight.cols.is_multiple_of(4));
            let grid = [(raw.tiles as u32).min(self.resident(name, FUSED_WARPS * 32, shared)?), 1, 1];
            self.moves(|| bytes::products(n, four, pack::packed_bytes));
            // SAFETY: the arguments are those of the kernel, which waits for its input; the caller's pointers hold what the trait
            // says, and weights are not written while the model lives.
            unsafe { self.launch_overlapped(name, grid, FUSED_WARPS * 32, shared, args![raw, x])? };
        }
        Ok(())
    }
}

/// The names of all kernels for ternary matrices.
#[cfg(test)]
pub(crate) fn kernels() -> Vec<String> {
    ["cw_tokens", "cw_ternary_fused", "cw_ternary_few", "cw_ternary_plain", "cw_ternary_many"]
        .map(str::to_owned)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a lane of the kernel takes a place of a tile for.
    fn code(packed: &[u8], per_row: usize, row: usize, col: usize) -> u8 {
        let (c, k) = (col / 128, col % 128);
        let (t, j, half, b) = (k / 32, k % 32 / 8, k % 8 / 4, k % 4);
        let lane = row % 8 * 4 + t;
        let tile = (row / 16 * per_row + c) * TILE as usize;
        packed[tile + lane * 16 + 4 * (2 * half + row % 16 / 8) + b] >> (2 * j) & 3
    }

    proptest! {
        #[test]
        fn every_weight_lies_where_its_lane_looks(rows in 1u32..40, blocks in 1u32..5, odd in 0u32..2, seed in 0u64..1000) {
            // Widths that are no multiple of 128, too.
            let cols = if odd == 1 && rows % 2 == 0 { 64 * blocks } else { 128 * blocks };
            let n = (rows * cols) as usize;
            let value = |i: usize| ((i as u64 * 7919 + seed * 31 + i as u64 / 13) % 3) as i8 - 1;
            let values: Vec<i8> = (0..n).map(value).collect();
            let mut file = vec![0; n / 4 + lowbit::I2S_TAIL];
            lowbit::i2s_pack(&values, 0.75, &mut file).unwrap();
            let mut packed = vec![0xEE; packed_bytes(rows, cols) as usize];
            super::pack(rows, cols, &file, &mut packed).unwrap();
            let per_row = cols.div_ceil(128) as usize;
            for row in 0..rows.next_multiple_of(16) as usize {
                for col in 0..per_row * 128 {
                    let inside = row < rows as usize && col < cols as usize;
                    let want = if inside { values[row * cols as usize + col] + 1 } else { 1 };
                    prop_assert_eq!(code(&packed, per_row, row, col), want as u8);
                }
            }
            let tail = packed.len() - TAIL as usize;
            prop_assert_eq!(&packed[tail..tail + 4], &0.75f32.to_le_bytes());
        }
    }
}
