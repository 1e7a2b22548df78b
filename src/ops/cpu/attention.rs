//! Attention, one pass over the keys with a running maximum.
//!
//! Positions are taken in runs that end at multiples of [`kernels::RUN`], and runs in spans whose states are added in
//! order, so the order of every sum depends on the query's position and window alone: results have the same bits
//! whatever rows, threads or neighbours there are, and on every level of instructions. A unit of work is a few
//! neighbouring rows and one key/value head, whose keys and values are turned to f32 once for all query heads and rows
//! that share them. When there are few queries, a unit is one span of one row and key/value head, so that all threads
//! help with one long sequence.

mod kernels;
mod lanes;
mod worker;

use super::crew::{Crew, share};
use super::isa::Isa;
use super::rope::{place, slot};
use crate::ops::{Attention, KvLayout, Rows};
use crate::quant::DType;
use worker::{Places, QUERIES, Query, SPANS, Sizes, Worker, write};

/// Queries for each thread up to which work is split into spans.
const SPLIT: usize = 64;

/// Scratch bytes for `workers` threads.
pub fn scratch_bytes(workers: usize, heads: usize, head_dim: usize) -> usize {
    let sizes = Sizes::new(head_dim);
    let states = if workers > 1 { split_queries(workers, heads) * SPANS * sizes.state * 4 } else { 0 };
    workers * sizes.worker_bytes(heads.max(QUERIES)) + states.next_multiple_of(256)
}

/// Queries of a step up to which its attention is split into spans: at least those of one row.
fn split_queries(workers: usize, heads: usize) -> usize {
    heads.max(SPLIT * workers)
}

/// What all units of a call have in common.
#[derive(Clone, Copy)]
struct Call<'a> {
    isa: Isa,
    rows: &'a Rows,
    kv: &'a KvLayout,
    layer: u32,
    how: &'a Attention,
    q: u64,
    out: u64,
    scratch: u64,
    sizes: Sizes,
}

impl Call<'_> {
    fn heads(&self) -> usize {
        self.how.heads as usize
    }

    fn kv_heads(&self) -> usize {
        self.kv.kv_heads as usize
    }

    fn group(&self) -> usize {
        self.heads() / self.kv_heads()
    }

    /// Query head `g` of the group of `kv_head` in `row`.
    ///
    /// # Safety
    /// The row exists.
    unsafe fn query(&self, row: usize, kv_head: usize, g: usize) -> Query {
        // SAFETY: promised by the caller.
        let last = unsafe { place(self.rows, row) }.1;
        let first = self.how.window.map_or(0, |w| (last + 1).saturating_sub(w as usize));
        let at = (row * self.heads() + kv_head * self.group() + g) * self.sizes.dim;
        let (q, out) = ((self.q as *const f32).wrapping_add(at), (self.out as *mut f32).wrapping_add(at));
        Query { q, out, first, last }
    }

    fn worker(&self, worker: usize) -> Worker {
        let bytes = self.sizes.worker_bytes(self.heads().max(QUERIES));
        Worker {
            isa: self.isa,
            sizes: self.sizes,
            scale: self.how.scale,
            half: self.kv.dtype != DType::F32,
            scratch: self.scratch + (worker * bytes) as u64,
        }
    }

    /// Where positions of one head lie in the cache.
    ///
    /// # Safety
    /// The table line covers the positions.
    unsafe fn locate(&self, head: usize, table: *const i32, first: usize, count: usize, to: &mut Places) {
        let (tokens, kv) = (self.kv.page_tokens as usize, self.kv);
        let bytes = self.sizes.dim * if kv.dtype == DType::F32 { 4 } else { 2 };
        let mut at = first;
        while at < first + count {
            let run = (tokens - at % tokens).min(first + count - at);
            // SAFETY: promised by the caller; the run lies in one page.
            let key = unsafe { slot(kv, self.layer, head, table, at) };
            for i in 0..run {
                let key = key + (i * bytes) as u64;
                to.set(at - first + i, key as *const u8, (key + kv.half_bytes()) as *const u8);
            }
            at += run;
        }
    }
}

/// See [`crate::ops::Ops::attention`].
///
/// # Safety
/// All pointers are valid for the sizes named; `scratch` has [`scratch_bytes`] for the crew.
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
    let sizes = Sizes::new(kv.head_dim as usize);
    let call = Call { isa, rows, kv, layer, how, q, out, scratch, sizes };
    let workers = crew.workers();
    // SAFETY: promised by the caller.
    unsafe {
        if workers > 1 && rows.n as usize * call.heads() <= split_queries(workers, call.heads()) {
            split(call, crew);
        } else {
            whole(call, crew);
        }
    }
}

/// Each unit answers some rows of one key/value head.
unsafe fn whole(call: Call<'_>, crew: &dyn Crew) {
    let (n, kv_heads, group) = (call.rows.n as usize, call.kv_heads(), call.group());
    let tile = (QUERIES / group).max(1);
    share(crew, n.div_ceil(tile) * kv_heads, 1, |first, last, worker| {
        let worker = call.worker(worker);
        for unit in first..last {
            let (tile_at, kv_head) = (unit / kv_heads * tile, unit % kv_heads);
            let tile_end = n.min(tile_at + tile);
            let mut row = tile_at;
            while row < tile_end {
                // SAFETY: rows below n, places covered by their table lines, by the caller's promise.
                unsafe {
                    let (table, _) = place(call.rows, row);
                    let mut end = row + 1;
                    while end < tile_end && place(call.rows, end).0 == table {
                        end += 1;
                    }
                    let count = (end - row) * group;
                    let query = |i: usize| call.query(row + i / group, kv_head, i % group);
                    let from = (0..count).map(|i| query(i).first).min().unwrap_or(0);
                    let to = (0..count).map(|i| query(i).last + 1).max().unwrap_or(0);
                    let locate = |first: usize, count: usize, to: &mut Places| {
                        call.locate(kv_head, table, first, count, to);
                    };
                    worker.answer(count, query, (from, to), locate, |i, state| {
                        write(state, query(i).out, call.sizes.dim);
                    });
                    row = end;
                }
            }
        }
    });
}

/// Each unit takes one span of one row and key/value head; then the states of each query are added.
unsafe fn split(call: Call<'_>, crew: &dyn Crew) {
    let (n, kv_heads, group, size) = (call.rows.n as usize, call.kv_heads(), call.group(), call.sizes.state);
    let states = call.scratch + (crew.workers() * call.sizes.worker_bytes(call.heads().max(QUERIES))) as u64;
    let state = |row: usize, kv_head: usize, g: usize, span: usize| {
        let query = (row * kv_heads + kv_head) * group + g;
        (states as *mut f32).wrapping_add((query * SPANS + span) * size)
    };
    share(crew, n * kv_heads * SPANS, 1, |first, last, worker| {
        let worker = call.worker(worker);
        for unit in first..last {
            let (span, kv_head, row) = (unit % SPANS, unit / SPANS % kv_heads, unit / SPANS / kv_heads);
            // SAFETY: as in `whole`; each unit has states of its own.
            unsafe {
                let (table, _) = place(call.rows, row);
                let one = call.query(row, kv_head, 0);
                let begin = (one.first / one.span() + span) * one.span();
                let (from, to) = (begin.max(one.first), (begin + one.span()).min(one.last + 1));
                if from >= to {
                    continue;
                }
                let query = |g: usize| call.query(row, kv_head, g);
                let locate = |first: usize, count: usize, to: &mut Places| {
                    call.locate(kv_head, table, first, count, to);
                };
                worker.answer(group, query, (from, to), locate, |g, from| {
                    std::ptr::copy_nonoverlapping(from, state(row, kv_head, g, span), size);
                });
            }
        }
    });
    share(crew, n * kv_heads, 1, |first, last, _| {
        for unit in first..last {
            let (kv_head, row) = (unit % kv_heads, unit / kv_heads);
            for g in 0..group {
                // SAFETY: the states that the units above wrote, of the spans that are not empty.
                unsafe {
                    let query = call.query(row, kv_head, g);
                    let spans = query.last / query.span() - query.first / query.span() + 1;
                    let total = state(row, kv_head, g, 0);
                    for span in 1..spans {
                        kernels::merge(call.isa, total, state(row, kv_head, g, span), call.sizes.padded);
                    }
                    write(total, query.out, call.sizes.dim);
                }
            }
        }
    });
}

/// See [`crate::ops::Ops::attention_full`].
///
/// # Safety
/// All pointers are valid for the sizes named; `scratch` has [`scratch_bytes`] for the crew.
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
    let sizes = Sizes::new(dim);
    let bytes = sizes.worker_bytes(heads.max(QUERIES));
    let n = starts.last().map_or(0, |&n| n as usize);
    share(crew, n.div_ceil(QUERIES) * heads, 1, |first, last, worker| {
        let worker = Worker { isa, sizes, scale, half: false, scratch: scratch + (worker * bytes) as u64 };
        for unit in first..last {
            let (tile_at, head) = (unit / heads * QUERIES, unit % heads);
            let tile_end = n.min(tile_at + QUERIES);
            let mut row = tile_at;
            while row < tile_end {
                let sequence = starts.partition_point(|&start| start as usize <= row);
                let (begin, end) = (starts[sequence - 1] as usize, starts[sequence] as usize);
                let count = end.min(tile_end) - row;
                let at = |row: usize| (row * heads + head) * dim;
                let query = |i: usize| Query {
                    q: (q as *const f32).wrapping_add(at(row + i)),
                    out: (out as *mut f32).wrapping_add(at(row + i)),
                    first: 0,
                    last: end - begin - 1,
                };
                let locate = |first: usize, count: usize, to: &mut Places| {
                    for i in 0..count {
                        let at = at(begin + first + i);
                        let (k, v) = (k as *const f32, v as *const f32);
                        to.set(i, k.wrapping_add(at).cast(), v.wrapping_add(at).cast());
                    }
                };
                // SAFETY: queries, keys and values are rows of the sequence.
                unsafe {
                    worker.answer(count, query, (0, end - begin), locate, |i, state| {
                        write(state, query(i).out, dim);
                    });
                }
                row += count;
            }
        }
    });
}
