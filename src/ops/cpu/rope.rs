//! Rotary embedding and the writes to the paged cache.

use super::isa::by_level;
use crate::ops::{KvLayout, RopeStyle, Rows};
use crate::quant::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// The table line of a row and the row's position.
///
/// # Safety
/// `rows` points to valid arrays and `row < rows.n`.
pub unsafe fn place(rows: &Rows, row: usize) -> (*const i32, usize) {
    // SAFETY: promised by the caller.
    unsafe {
        let sequence = *(rows.sequences as *const i32).add(row) as usize;
        let position = *(rows.positions as *const i32).add(row) as usize;
        ((rows.tables as *const i32).add(sequence * rows.table_width as usize), position)
    }
}

/// Where the keys of `position` (of head `head` of `layer`) lie; the values lie [`KvLayout::half_bytes`] further.
///
/// # Safety
/// The table line covers the position.
pub unsafe fn slot(kv: &KvLayout, layer: u32, head: usize, table: *const i32, position: usize) -> u64 {
    let tokens = kv.page_tokens as usize;
    // SAFETY: promised by the caller.
    let page = unsafe { *table.add(position / tokens) } as u64;
    let element = if kv.dtype == DType::F32 { 4 } else { 2 };
    let index = (head * tokens + position % tokens) * kv.head_dim as usize;
    kv.base + page * kv.page_bytes() + u64::from(layer) * 2 * kv.half_bytes() + index as u64 * element
}

/// Cosines and sines of one position, each times `magnitude`. The angle is the f32 product, as models were trained.
pub fn angles(position: usize, frequencies: &[f32], magnitude: f32, out: &mut [f32]) {
    let (cos, sin) = out.split_at_mut(frequencies.len());
    for ((f, c), s) in frequencies.iter().zip(cos).zip(sin) {
        let (sine, cosine) = (position as f32 * f).sin_cos();
        (*c, *s) = (cosine * magnitude, sine * magnitude);
    }
}

by_level! {
    /// Turns `heads` heads of `dim` elements; `angles` holds `dim / 2` cosines, then as many sines.
    ///
    /// # Safety
    /// `x` holds `heads * dim` floats.
    pub unsafe fn turn(x: *mut f32, heads: usize, dim: usize, angles: &[f32], style: RopeStyle) {
        let half = dim / 2;
        let (cos, sin) = angles.split_at(half);
        // SAFETY: promised by the caller.
        let x = unsafe { std::slice::from_raw_parts_mut(x, heads * dim) };
        for head in x.chunks_exact_mut(dim) {
            match style {
                RopeStyle::Half => {
                    let (a, b) = head.split_at_mut(half);
                    for i in 0..half {
                        (a[i], b[i]) = (a[i] * cos[i] - b[i] * sin[i], b[i] * cos[i] + a[i] * sin[i]);
                    }
                }
                RopeStyle::Interleaved => {
                    for i in 0..half {
                        let (a, b) = (head[2 * i], head[2 * i + 1]);
                        head[2 * i] = a * cos[i] - b * sin[i];
                        head[2 * i + 1] = b * cos[i] + a * sin[i];
                    }
                }
            }
        }
    }
}

/// Writes one head of one token to its place in the cache.
///
/// # Safety
/// `at` is a place of `from.len()` elements of `dtype`.
pub unsafe fn store(dtype: DType, from: &[f32], at: u64) {
    // SAFETY: promised by the caller.
    unsafe {
        if dtype == DType::F32 {
            std::slice::from_raw_parts_mut(at as *mut f32, from.len()).copy_from_slice(from);
        } else {
            std::slice::from_raw_parts_mut(at as *mut f16, from.len()).convert_from_f32_slice(from);
        }
    }
}
