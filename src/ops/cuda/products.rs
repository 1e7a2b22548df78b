//! Matrix products: which kernel computes which, and its launch.
//!
//! Up to [`DIRECT`] rows, one kernel reads f32 activations and packed weights. More rows are first split into f16
//! parts in scratch memory. F32 and BF16 matrices have plain f32 kernels. From 64 rows on
//! (16 for F32 and BF16), cuBLASLt multiplies when it is installed: see `library.rs`.
//!
//! For the tiled types (F16 and all quantized ones) an output has the same bits for any number of rows, as long as
//! the library does not take part; for F32 and BF16 that holds up to [`FEW`] rows.
//!
//! [`Math::Plain`] takes none of the tensor-core kernels: the tiled types have a kernel of their own for it, `cw_plain_…`,
//! and the library multiplies F32 alone, without tensor cores. [`Math::Fast`] takes TF32 for F32 and BF16 from 16 rows on.

use super::kernels::args;
use super::simple::suffix;
use super::{CudaOps, library, pack};
use crate::device::DevicePtr;
use crate::ops::{Math, Product, bytes};
#[cfg(test)]
use crate::quant::DType;
use crate::{Error, Result};

/// Most rows of the kernels that split activations themselves.
const DIRECT: u32 = 4;
/// Most rows that F32 and BF16 matrices are read for four at a time.
const FEW: u32 = 8;
/// Rows that the kernel without tensor cores takes at once.
const PLAIN: u32 = 8;
/// Warps of a tensor-core kernel's block, each with columns of its own.
const WARPS: u32 = 8;
/// Dynamic shared memory that needs no permission.
const SHARED: u32 = 48 << 10;

/// `CwProduct` of `kernels/mma.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RawProduct {
    weight: u64,
    bias: u64,
    out: u64,
    rows: i32,
    first: i32,
    add: i32,
    pad: i32,
}

/// `CwProducts` of `kernels/mma.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RawProducts {
    p: [RawProduct; 4],
    count: i32,
    pub(super) tiles: i32,
    chunks: i32,
    cols: i32,
    n: i32,
    slots: i32,
    pub(super) wide: i32,
}

/// The names of all kernels that multiply by this type.
#[cfg(test)]
pub(crate) fn kernels(dtype: DType) -> Vec<String> {
    let s = suffix(dtype);
    match pack::tile(dtype) {
        None => ["cw_rows_{s}_1", "cw_rows_{s}_4", "cw_tiled_{s}", "cw_tf32_{s}"]
            .map(|name| name.replace("{s}", s))
            .into(),
        Some(_) => {
            let mma = ["direct", "x2", "x8"].map(|how| format!("cw_mma_{s}_{how}"));
            let plain = [1, 8].map(|n| format!("cw_plain_{s}_{n}"));
            mma.into_iter().chain(plain).chain([format!("cw_unpack_{s}")]).collect()
        }
    }
}

/// Up to four products of `n` rows by matrices in tiles of 16 rows by `width` columns, for a kernel.
pub(super) fn raw(products: &[Product], n: u32, width: u32) -> RawProducts {
    let cols = products[0].weight.cols;
    let mut raw = RawProducts {
        count: products.len() as i32,
        chunks: cols.div_ceil(width) as i32,
        cols: cols as i32,
        n: n as i32,
        ..Default::default()
    };
    for (to, p) in raw.p.iter_mut().zip(products) {
        *to = RawProduct {
            weight: p.weight.ptr,
            bias: p.bias.unwrap_or(0),
            out: p.out,
            rows: p.weight.rows as i32,
            first: raw.tiles,
            add: i32::from(p.add),
            pad: 0,
        };
        raw.tiles += p.weight.rows.div_ceil(16) as i32;
    }
    raw
}

/// Groups of four rows that a prepared kernel takes at once, for a step of `n` rows.
fn groups_at_once(n: u32) -> u32 {
    if n <= 8 { 2 } else { 8 }
}

/// Scratch for the split activations of `n` rows of `cols`.
pub(super) fn split_bytes(n: u32, cols: u32) -> u64 {
    if n <= DIRECT {
        return 0;
    }
    let groups = n.div_ceil(4).next_multiple_of(groups_at_once(n));
    u64::from(groups) * u64::from(cols.next_multiple_of(256) / 32) * 512
}

impl CudaOps {
    pub(super) fn run_matmul(&self, x: DevicePtr, n: u32, products: &[Product]) -> Result<()> {
        if let [first, others @ ..] = products
            && let Some(p) = others.iter().find(|p| p.weight.cols != first.weight.cols)
        {
            let text = format!("have {} and {} inputs", first.weight.cols, p.weight.cols);
            return Err(Error::argument("products", text));
        }
        if n == 0 {
            return Ok(());
        }
        let (ternary, others): (Vec<Product>, Vec<Product>) =
            products.iter().partition(|p| p.weight.dtype.is_ternary());
        if !ternary.is_empty() {
            self.ternary_products(x, n, &ternary)?;
        }
        let mut own = Vec::with_capacity(others.len());
        for p in &others {
            if !self.library_product(x, n, p)? {
                own.push(*p);
            }
        }
        for same in own.chunk_by(|a, b| a.weight.dtype == b.weight.dtype) {
            match pack::tile(same[0].weight.dtype) {
                Some((width, _)) => {
                    for four in same.chunks(4) {
                        self.tile_products(x, n, width, four)?;
                    }
                }
                None => {
                    for p in same {
                        self.rows_product(x, n, p)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Up to four products of one tiled type.
    fn tile_products(&self, x: DevicePtr, n: u32, width: u32, products: &[Product]) -> Result<()> {
        let weight = products[0].weight;
        let chunks = pack::chunks(weight.dtype, weight.cols);
        let wide = x.is_multiple_of(16) && weight.cols.is_multiple_of(4);
        let mut raw = raw(products, n, width);
        raw.wide = i32::from(wide);
        let tiles = raw.tiles as u32;
        if self.math == Math::Plain {
            let at_once = if n == 1 { 1 } else { PLAIN };
            let name = format!("cw_plain_{}_{at_once}", suffix(weight.dtype));
            let groups = n.div_ceil(at_once);
            let grid_x = tiles.min((self.resident(&name, WARPS * 32, 0)? / groups).max(1));
            // SAFETY: the arguments are those of the kernel; the caller's pointers hold what the trait says.
            return unsafe { self.launch(&name, [grid_x, groups, 1], WARPS * 32, 0, args![raw, x]) };
        }
        let name = |how: &str| format!("cw_mma_{}_{how}", suffix(weight.dtype));
        if n <= DIRECT {
            let slot = (width / 32 + 1) * 128 * n;
            let most = chunks.div_ceil(WARPS);
            let slots = if 8192 + most * slot * WARPS <= SHARED { most } else { 1 };
            raw.slots = slots as i32;
            let smem = 8192 + slots * slot * WARPS;
            // As many blocks as the node holds at once: each stages its activations once and then streams weights.
            let grid_x = tiles.min(self.resident(&name("direct"), WARPS * 32, smem)?);
            self.moves(|| bytes::products(n, products, pack::packed_bytes));
            // SAFETY: the arguments are those of the kernel; the caller's pointers hold what the trait says.
            return unsafe { self.launch(&name("direct"), [grid_x, 1, 1], WARPS * 32, smem, args![raw, x]) };
        }
        let at_once = groups_at_once(n);
        let groups = n.div_ceil(4).next_multiple_of(at_once);
        let blocks = chunks * width / 32;
        let split = self.scratch(u64::from(groups) * u64::from(blocks) * 512, "matmul")?;
        let (rows, cols, block_count, aligned) =
            (n as i32, weight.cols as i32, blocks as i32, i32::from(wide));
        let grid = [blocks.div_ceil(8), groups, 1];
        // SAFETY: as above; the scratch holds all groups.
        unsafe {
            self.launch("cw_split_rows", grid, 256, 0, args![x, split, rows, cols, block_count, aligned])?;
            self.moves(|| bytes::products(n, products, pack::packed_bytes));
            let how = if at_once == 2 { "x2" } else { "x8" };
            let grid = [tiles, groups / at_once, 1];
            self.launch(&name(how), grid, WARPS * 32, 4096 * at_once, args![raw, split])
        }
    }

    /// A product with an F32 or BF16 matrix.
    fn rows_product(&self, x: DevicePtr, n: u32, p: &Product) -> Result<()> {
        let (w, s) = (p.weight, suffix(p.weight.dtype));
        let (rows, cols, stride) = (w.rows as i32, w.cols as i32, pack::stride(w.cols) as i32);
        let (bias, add) = (p.bias.unwrap_or(0), i32::from(p.add));
        let wide = i32::from(x.is_multiple_of(16) && w.cols.is_multiple_of(4));
        if n > FEW {
            let (all, grid) = (n as i32, [w.rows.div_ceil(64), n.div_ceil(64), 1]);
            let tf32 = self.math == Math::Fast && self.has_tf32 && n >= library::LEAST_ROWS_PLAIN;
            let name = format!("cw_{}_{s}", if tf32 { "tf32" } else { "tiled" });
            let args = args![w.ptr, x, bias, p.out, rows, cols, stride, all, add];
            self.moves(|| bytes::products(n, &[*p], pack::packed_bytes));
            // SAFETY: as in `tile_products`.
            return unsafe { self.launch(&name, grid, 256, 0, args) };
        }
        for first in (0..n).step_by(4) {
            let now = (n - first).min(4);
            let count = now as i32;
            let x = x + u64::from(first) * u64::from(w.cols) * 4;
            let out = p.out + u64::from(first) * u64::from(w.rows) * 4;
            let name = format!("cw_rows_{s}_{}", if now == 1 { 1 } else { 4 });
            let args = args![w.ptr, x, bias, out, rows, cols, stride, count, add, wide];
            self.moves(|| bytes::products(now, &[*p], pack::packed_bytes));
            // SAFETY: as in `tile_products`.
            unsafe { self.launch(&name, [w.rows.div_ceil(16), 1, 1], 256, 0, args)? };
        }
        Ok(())
    }
}
