//! Rotary embedding with the store into the cache, and attention.

use super::CudaOps;
use super::kernels::args;
use super::simple::suffix;
use crate::device::DevicePtr;
use crate::ops::{Attention, KvLayout, RopeStyle, Rows};
use crate::quant::DType;
use crate::{Error, Result};

/// From this many rows on, rows of one head share a block.
const PREFILL: u32 = 33;
/// Most parts a context is cut into.
const MOST_SPLITS: u32 = 64;

/// `CwCache` of `kernels/attention.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawCache {
    base: u64,
    page_bytes: u64,
    half_bytes: u64,
    positions: u64,
    sequences: u64,
    tables: u64,
    width: i32,
    page_tokens: i32,
    kv_heads: i32,
    head_dim: i32,
}

/// `CwAttention` of `kernels/attention.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawAttention {
    cache: RawCache,
    q: u64,
    out: u64,
    n: i32,
    heads: i32,
    splits: i32,
    window: i32,
    scale: f32,
}

/// The kernels' limit on a head's size: 64, 128 or 256 elements, 2, 4 or 8 a lane.
fn per_lane(head_dim: u32) -> u32 {
    head_dim.div_ceil(64).next_power_of_two() * 2
}

pub(crate) fn decode_kernel(kv: DType, head_dim: u32, group: u32) -> String {
    format!("cw_decode_{}_d{}_g{}", suffix(kv), per_lane(head_dim), heads_at_once(group))
}

pub(crate) fn prefill_kernel(kv: DType, head_dim: u32) -> String {
    format!("cw_prefill_{}_d{}", suffix(kv), per_lane(head_dim))
}

pub(crate) fn full_kernel(head_dim: u32) -> String {
    format!("cw_full_d{}", per_lane(head_dim))
}

/// Query heads that a block of the decode kernel serves together.
fn heads_at_once(group: u32) -> u32 {
    if group == 1 { 1 } else { 4 }
}

fn check_head(head_dim: u32) -> Result<()> {
    if head_dim == 0 || head_dim > 256 || !head_dim.is_multiple_of(2) {
        return Err(Error::unsupported(format!("heads of {head_dim} elements"))
            .advise("the CUDA kernels take even sizes up to 256; use the CPU device"));
    }
    Ok(())
}

fn cache(rows: &Rows, kv: &KvLayout, layer: u32) -> Result<RawCache> {
    check_head(kv.head_dim)?;
    if !matches!(kv.dtype, DType::F16 | DType::F32) {
        return Err(
            Error::unsupported(format!("a key/value cache of {:?}", kv.dtype)).advise("use F16 or F32")
        );
    }
    Ok(RawCache {
        base: kv.base + u64::from(layer) * 2 * kv.half_bytes(),
        page_bytes: kv.page_bytes(),
        half_bytes: kv.half_bytes(),
        positions: rows.positions,
        sequences: rows.sequences,
        tables: rows.tables,
        width: rows.table_width as i32,
        page_tokens: kv.page_tokens as i32,
        kv_heads: kv.kv_heads as i32,
        head_dim: kv.head_dim as i32,
    })
}

/// Scratch for the parts of cut contexts. `n * splits` blocks of each key head are at most twice the SMs, plus one a
/// row, and each holds up to four heads.
pub(super) fn parts_bytes(multiprocessors: u32, rows: u32, heads: u32, head_dim: u32) -> u64 {
    let parts = u64::from(multiprocessors) * 2 * 4 + 2 * u64::from(rows.min(PREFILL - 1)) * u64::from(heads);
    parts * u64::from(head_dim + 2) * 4
}

impl CudaOps {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_rope_store(
        &self,
        rows: &Rows,
        kv: &KvLayout,
        layer: u32,
        heads: u32,
        q: DevicePtr,
        k: DevicePtr,
        v: DevicePtr,
        frequencies: DevicePtr,
        magnitude: f32,
        style: RopeStyle,
    ) -> Result<()> {
        let raw = cache(rows, kv, layer)?;
        let (count, interleaved) = (heads as i32, i32::from(style == RopeStyle::Interleaved));
        let pairs = (heads + kv.kv_heads) * (kv.head_dim / 2);
        let name = format!("cw_rope_store_{}", suffix(kv.dtype));
        let args = args![raw, q, k, v, frequencies, magnitude, count, interleaved];
        // SAFETY: the arguments are those of `cw_rope`; the caller's pointers hold what the trait says.
        unsafe { self.launch(&name, [rows.n, pairs.div_ceil(256), 1], 256, 0, args) }
    }

    pub(super) fn run_attention(
        &self,
        rows: &Rows,
        kv: &KvLayout,
        layer: u32,
        how: &Attention,
        q: DevicePtr,
        out: DevicePtr,
    ) -> Result<()> {
        if how.heads == 0 || !how.heads.is_multiple_of(kv.kv_heads) {
            let text = format!("are {}, no multiple of {} key heads", how.heads, kv.kv_heads);
            return Err(Error::argument("heads", text));
        }
        let mut raw = RawAttention {
            cache: cache(rows, kv, layer)?,
            q,
            out,
            n: rows.n as i32,
            heads: how.heads as i32,
            splits: 1,
            window: how.window.map_or(0, |w| w.clamp(1, i32::MAX as u32) as i32),
            scale: how.scale,
        };
        if rows.n >= PREFILL {
            let grid = [1, how.heads, rows.n.div_ceil(8)];
            // SAFETY: as in `run_rope_store`.
            return unsafe { self.launch(&prefill_kernel(kv.dtype, kv.head_dim), grid, 128, 0, args![raw]) };
        }
        let group = how.heads / kv.kv_heads;
        let cuts = kv.kv_heads * group.div_ceil(heads_at_once(group));
        // Enough blocks for twice the SMs, but no part smaller than two tiles of 32 tokens.
        let wanted = (self.multiprocessors * 2).div_ceil(rows.n * cuts);
        let seen = how.window.unwrap_or(u32::MAX).min(rows.max_tokens);
        let splits = wanted.min(seen.div_ceil(64)).clamp(1, MOST_SPLITS);
        let grid = [splits, cuts, rows.n];
        let name = decode_kernel(kv.dtype, kv.head_dim, group);
        if splits > 1 {
            let parts = u64::from(rows.n) * u64::from(how.heads) * u64::from(splits);
            raw.out = self.scratch(parts * u64::from(kv.head_dim + 2) * 4, "attention")?;
            raw.splits = splits as i32;
        }
        // SAFETY: as in `run_rope_store`; the scratch holds all parts.
        unsafe { self.launch(&name, grid, 128, 0, args![raw])? };
        if splits > 1 {
            let (parts, dim, count) = (raw.out, kv.head_dim as i32, raw.splits);
            let grid = [how.heads, rows.n, 1];
            // SAFETY: as above.
            unsafe { self.launch("cw_attend_join", grid, 128, 0, args![parts, out, dim, count])? };
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_attention_full(
        &self,
        q: DevicePtr,
        k: DevicePtr,
        v: DevicePtr,
        out: DevicePtr,
        starts: DevicePtr,
        sequences: u32,
        longest: u32,
        heads: u32,
        head_dim: u32,
        scale: f32,
    ) -> Result<()> {
        check_head(head_dim)?;
        let (count, dim) = (heads as i32, head_dim as i32);
        let grid = [longest.div_ceil(8), heads, sequences];
        let args = args![q, k, v, out, starts, count, dim, scale];
        // SAFETY: as in `run_rope_store`.
        unsafe { self.launch(&full_kernel(head_dim), grid, 128, 0, args) }
    }
}
