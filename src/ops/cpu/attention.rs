//! Attention, one pass over the keys with a running maximum.
//!
//! Positions are taken in runs that end at multiples of [`RUN`], so the order of every sum depends on the query's
//! position and window alone. A unit of work is a few neighbouring rows and one key/value head: its keys and values
//! are turned to f32 once and used by all query heads and rows that share them.

use super::crew::{Crew, share};
use super::isa::{Isa, by_level};
use super::math::{exp, sum};
use super::rope::{place, slot};
use crate::ops::{Attention, KvLayout, Rows};
use crate::quant::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Positions in a run.
const RUN: usize = 64;
/// Queries that a unit aims for.
const QUERIES: usize = 32;

/// Scratch bytes for each thread.
pub fn worker_bytes(heads: usize, head_dim: usize) -> usize {
    let states = heads.max(QUERIES) * state_floats(head_dim);
    ((states + 2 * RUN * head_dim) * 4).next_multiple_of(256)
}

/// Floats of a query's state: maximum, sum, weighted values; padded to a cache line.
fn state_floats(head_dim: usize) -> usize {
    (head_dim + 2).next_multiple_of(16)
}

by_level! {
    /// Takes `count` keys and values (at most [`RUN`]) into a query's state.
    ///
    /// # Safety
    /// `q` holds `dim` floats, `keys` and `values` `count * dim`, `state` `2 + dim`.
    unsafe fn absorb(
        q: *const f32,
        keys: *const f32,
        values: *const f32,
        count: usize,
        dim: usize,
        scale: f32,
        state: *mut f32,
    ) {
        let mut scores = [0.0f32; RUN];
        // Raw pointers, since a loop with bounds checks does not become vector code.
        // SAFETY: promised by the caller; indices stay below `count` and `dim`.
        unsafe {
            let (mut top, out) = (*state, state.add(2));
            for j in 0..count {
                let key = keys.add(j * dim);
                let score = sum(dim, |i| *q.add(i) * *key.add(i)) * scale;
                *scores.as_mut_ptr().add(j) = score;
                top = if score > top { score } else { top };
            }
            if top > *state {
                let shrink = exp(*state - top);
                *state = top;
                *state.add(1) *= shrink;
                for i in 0..dim {
                    *out.add(i) *= shrink;
                }
            }
            for score in &mut scores {
                *score = exp(*score - top);
            }
            let p = scores.as_ptr();
            *state.add(1) += sum(count, |i| *p.add(i));
            // Eight values at a time spare loads and stores of `out`; each element adds them one after the other.
            let mut j = 0;
            while j + 8 <= count {
                let (value, p) = (values.add(j * dim), p.add(j));
                for i in 0..dim {
                    let mut o = *out.add(i);
                    for k in 0..8 {
                        o += *p.add(k) * *value.add(k * dim + i);
                    }
                    *out.add(i) = o;
                }
                j += 8;
            }
            while j < count {
                for i in 0..dim {
                    *out.add(i) += *p.add(j) * *values.add(j * dim + i);
                }
                j += 1;
            }
        }
    }
}

/// One query: where it is, where its result goes, which positions it sees.
#[derive(Clone, Copy)]
struct Query {
    q: *const f32,
    out: *mut f32,
    first: usize,
    last: usize,
}

/// Answers `queries`, which share keys and values. `load(first, count, keys, values)` turns those positions to f32.
///
/// # Safety
/// The queries' pointers hold `dim` floats; `scratch` has [`worker_bytes`].
unsafe fn answer(
    isa: Isa,
    queries: impl Iterator<Item = Query> + Clone,
    dim: usize,
    scale: f32,
    scratch: u64,
    load: impl Fn(usize, usize, *mut f32, *mut f32),
) {
    let size = state_floats(dim);
    let keys = scratch as *mut f32;
    let values = keys.wrapping_add(RUN * dim);
    let states = values.wrapping_add(RUN * dim);
    let Some(lowest) = queries.clone().map(|q| q.first).min() else { return };
    let highest = queries.clone().map(|q| q.last).max().unwrap_or(lowest);
    // SAFETY: one state a query fits the scratch; runs lie within what the queries see.
    unsafe {
        for i in 0..queries.clone().count() {
            let state = std::slice::from_raw_parts_mut(states.add(i * size), size);
            state.fill(0.0);
            state[0] = f32::NEG_INFINITY;
        }
        let mut first = lowest;
        while first <= highest {
            let end = ((first / RUN + 1) * RUN).min(highest + 1);
            load(first, end - first, keys, values);
            for (i, query) in queries.clone().enumerate() {
                let (a, b) = (query.first.max(first), (query.last + 1).min(end));
                if a < b {
                    let skip = (a - first) * dim;
                    let (k, v) = (keys.add(skip), values.add(skip));
                    absorb(isa, query.q, k, v, b - a, dim, scale, states.add(i * size));
                }
            }
            first = end;
        }
        for (i, query) in queries.enumerate() {
            let state = std::slice::from_raw_parts(states.add(i * size), 2 + dim);
            for (d, value) in state[2..].iter().enumerate() {
                *query.out.add(d) = value / state[1];
            }
        }
    }
}

/// See [`crate::ops::Ops::attention`].
///
/// # Safety
/// All pointers are valid for the sizes named; `scratch` has [`worker_bytes`] for each thread of the crew.
#[allow(clippy::too_many_arguments)]
pub unsafe fn cached(
    isa: Isa,
    crew: &dyn Crew,
    rows: &Rows,
    kv: &KvLayout,
    layer: u32,
    how: &Attention,
    q: u64,
    out: u64,
    scratch: u64,
) {
    let (n, heads, dim) = (rows.n as usize, how.heads as usize, kv.head_dim as usize);
    let kv_heads = kv.kv_heads as usize;
    let group = heads / kv_heads;
    let tile = (QUERIES / group).max(1);
    let per_worker = worker_bytes(heads, dim) as u64;
    share(crew, n.div_ceil(tile) * kv_heads, 1, |first, last, worker| {
        for unit in first..last {
            let (tile_at, kv_head) = (unit / kv_heads * tile, unit % kv_heads);
            let tile_end = n.min(tile_at + tile);
            let mut row = tile_at;
            while row < tile_end {
                // SAFETY: rows below n, places covered by their table lines, by the caller's promise.
                unsafe {
                    let (table, _) = place(rows, row);
                    let mut end = row + 1;
                    while end < tile_end && place(rows, end).0 == table {
                        end += 1;
                    }
                    let queries = (row..end).flat_map(|row| {
                        let last = place(rows, row).1;
                        let first = how.window.map_or(0, |w| (last + 1).saturating_sub(w as usize));
                        (0..group).map(move |g| {
                            let at = (row * heads + kv_head * group + g) * dim;
                            let (q, out) = ((q as *const f32).add(at), (out as *mut f32).add(at));
                            Query { q, out, first, last }
                        })
                    });
                    let scratch = scratch + worker as u64 * per_worker;
                    answer(isa, queries, dim, how.scale, scratch, |first, count, keys, values| {
                        load_pages(kv, layer, kv_head, table, first, count, keys, values);
                    });
                    row = end;
                }
            }
        }
    });
}

/// Turns positions `first..first + count` of one head to f32.
#[allow(clippy::too_many_arguments)]
unsafe fn load_pages(
    kv: &KvLayout,
    layer: u32,
    head: usize,
    table: *const i32,
    first: usize,
    count: usize,
    keys: *mut f32,
    values: *mut f32,
) {
    let (tokens, dim) = (kv.page_tokens as usize, kv.head_dim as usize);
    let mut at = first;
    while at < first + count {
        let run = (tokens - at % tokens).min(first + count - at);
        // SAFETY: the positions lie in one page of the cache; the buffers hold RUN positions.
        unsafe {
            let from = slot(kv, layer, head, table, at);
            for (from, to) in [(from, keys), (from + kv.half_bytes(), values)] {
                let to = std::slice::from_raw_parts_mut(to.add((at - first) * dim), run * dim);
                if kv.dtype == DType::F32 {
                    to.copy_from_slice(std::slice::from_raw_parts(from as *const f32, run * dim));
                } else {
                    std::slice::from_raw_parts(from as *const f16, run * dim).convert_to_f32_slice(to);
                }
            }
        }
        at += run;
    }
}

/// See [`crate::ops::Ops::attention_full`].
///
/// # Safety
/// All pointers are valid for the sizes named; `scratch` has [`worker_bytes`] for each thread of the crew.
#[allow(clippy::too_many_arguments)]
pub unsafe fn full(
    isa: Isa,
    crew: &dyn Crew,
    q: u64,
    k: u64,
    v: u64,
    out: u64,
    starts: &[i32],
    heads: usize,
    dim: usize,
    scale: f32,
    scratch: u64,
) {
    let per_worker = worker_bytes(heads, dim) as u64;
    let sequences = starts.len().saturating_sub(1);
    share(crew, sequences * heads, 1, |first, last, worker| {
        for unit in first..last {
            let (sequence, head) = (unit / heads, unit % heads);
            let (begin, end) = (starts[sequence] as usize, starts[sequence + 1] as usize);
            let length = end - begin;
            let at = |row: usize| ((begin + row) * heads + head) * dim;
            for tile in (0..length).step_by(QUERIES) {
                let queries = (tile..length.min(tile + QUERIES)).map(|row| Query {
                    q: (q as *const f32).wrapping_add(at(row)),
                    out: (out as *mut f32).wrapping_add(at(row)),
                    first: 0,
                    last: length - 1,
                });
                let load = |first: usize, count: usize, keys: *mut f32, values: *mut f32| {
                    for (from, to) in [(k, keys), (v, values)] {
                        for i in 0..count {
                            let from = (from as *const f32).wrapping_add(at(first + i));
                            // SAFETY: rows of the sequence; the buffers hold RUN positions.
                            unsafe { std::ptr::copy_nonoverlapping(from, to.add(i * dim), dim) };
                        }
                    }
                };
                // SAFETY: queries are rows of the sequence.
                unsafe {
                    answer(isa, queries, dim, scale, scratch + worker as u64 * per_worker, load);
                }
            }
        }
    });
}
