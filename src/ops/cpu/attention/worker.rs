//! What one thread does for the queries of one key/value head.

use super::super::isa::Isa;
use super::kernels::{EMPTY, HEAD, PLACES, RUN, TILE, Tile, fetch, merge, score, weigh, widen};
use super::lanes::STEP;

/// Queries that a unit of work aims for.
pub const QUERIES: usize = 32;
/// Positions in the shortest span, a multiple of [`RUN`].
const SPAN: usize = 256;
/// Spans that a query touches at most: its positions fill 8, which need not begin where a span begins.
pub const SPANS: usize = 9;

/// One query: where it is, where its result goes, which positions it sees.
#[derive(Clone, Copy)]
pub struct Query {
    pub q: *const f32,
    pub out: *mut f32,
    pub first: usize,
    pub last: usize,
}

impl Query {
    /// Positions of its spans: each begins at a multiple of this, is taken into a state of its own, and the states are
    /// added in order. It depends on the query alone, a power of two and a multiple of [`RUN`].
    pub fn span(&self) -> usize {
        ((self.last + 1 - self.first).next_power_of_two() / 8).max(SPAN)
    }
}

/// How heads and scratch are laid out for a head of some elements.
#[derive(Clone, Copy)]
pub struct Sizes {
    pub dim: usize,
    /// `dim` padded to whole vectors.
    pub padded: usize,
    /// Floats of a state.
    pub state: usize,
}

impl Sizes {
    pub fn new(dim: usize) -> Sizes {
        let padded = dim.next_multiple_of(STEP);
        Sizes { dim, padded, state: HEAD + padded }
    }

    /// Scratch bytes of a thread that takes up to `queries` queries at once: their elements, scores, states of the span
    /// and of all before it; a run of keys and values.
    pub fn worker_bytes(&self, queries: usize) -> usize {
        let query = self.padded + RUN + 2 * self.state;
        ((queries * query + 2 * RUN * self.padded) * 4).next_multiple_of(256)
    }
}

/// Where keys and values lie: one pointer for each position.
pub struct Places {
    keys: [*const u8; PLACES],
    values: [*const u8; PLACES],
}

impl Places {
    fn new() -> Places {
        Places { keys: [std::ptr::null(); PLACES], values: [std::ptr::null(); PLACES] }
    }

    /// Notes position `i` of the run.
    pub fn set(&mut self, i: usize, key: *const u8, value: *const u8) {
        (self.keys[i], self.values[i]) = (key, value);
    }

    /// Lets tiles of keys begin at the last of `count` positions.
    fn pad(&mut self, count: usize) {
        for i in count..PLACES {
            (self.keys[i], self.values[i]) = (self.keys[count - 1], self.values[count - 1]);
        }
    }
}

/// Queries that share keys and values, on their way through the positions.
pub struct Worker {
    pub isa: Isa,
    pub sizes: Sizes,
    pub scale: f32,
    /// Keys and values are f16, not f32.
    pub half: bool,
    /// [`Sizes::worker_bytes`] for the queries taken at once, aligned to 64 bytes.
    pub scratch: u64,
}

impl Worker {
    /// Takes positions `from..to` as far as each of `count` queries sees them. Calls `done(i, state)` for each query;
    /// `locate(first, count, places)` says where positions lie.
    ///
    /// # Safety
    /// The queries' pointers hold `dim` floats; `locate` sets pointers to `dim` elements; the scratch suffices.
    pub unsafe fn answer(
        &self,
        count: usize,
        query: impl Fn(usize) -> Query,
        (from, to): (usize, usize),
        locate: impl Fn(usize, usize, &mut Places),
        mut done: impl FnMut(usize, *const f32),
    ) {
        let Sizes { dim, padded, state: size } = self.sizes;
        let elements = self.scratch as *mut f32;
        let states = elements.wrapping_add(count * padded);
        let before = states.wrapping_add(count * size);
        let scores = before.wrapping_add(count * size);
        let keys = scores.wrapping_add(count * RUN);
        let values = keys.wrapping_add(RUN * padded);
        // Few queries read the cache as it is; more share what was made f32, dense and whole vectors once.
        let dense = count > TILE || dim != padded;
        let half = self.half && !dense;
        let lines = (dim * if self.half { 2 } else { 4 }).div_ceil(64);
        let (mut here, mut there) = (Places::new(), Places::new());
        let end = |first: usize| ((first / RUN + 1) * RUN).min(to);
        // SAFETY: all parts of the scratch hold `count` queries; runs lie within what the queries see.
        unsafe {
            for i in 0..count {
                widen(self.isa, false, query(i).q.cast(), elements.add(i * padded), dim, padded);
                clear(states.add(i * size), size);
                clear(before.add(i * size), size);
            }
            let mut first = from;
            if first < to {
                locate(first, end(first) - first, &mut here);
            }
            while first < to {
                let next = end(first);
                let (run, ahead) = (next - first, if next < to { end(next) - next } else { 0 });
                if ahead > 0 {
                    locate(next, ahead, &mut there);
                    there.pad(ahead);
                }
                if dense {
                    for j in 0..run {
                        if ahead > 0 {
                            fetch(there.keys[j], lines);
                            fetch(there.values[j], lines);
                        }
                        let (key, value) = (keys.add(j * padded), values.add(j * padded));
                        widen(self.isa, self.half, here.keys[j], key, dim, padded);
                        widen(self.isa, self.half, here.values[j], value, dim, padded);
                        here.set(j, key.cast(), value.cast());
                    }
                }
                here.pad(run);
                for i in 0..count {
                    if first > from && first.is_multiple_of(query(i).span()) {
                        merge(self.isa, before.add(i * size), states.add(i * size), padded);
                        clear(states.add(i * size), size);
                    }
                }
                // All scores first, then all values, so that each of the two fits the nearest cache.
                for work in [score, weigh] {
                    let mut i = 0;
                    while i < count {
                        let sees = |i: usize| {
                            let query = query(i);
                            (query.first.max(first), (query.last + 1).min(next))
                        };
                        let (a, b) = sees(i);
                        let mut queries = 1;
                        while queries < TILE && i + queries < count && sees(i + queries) == (a, b) {
                            queries += 1;
                        }
                        if a < b {
                            let tile = Tile {
                                queries,
                                q: elements.add(i * padded),
                                states: states.add(i * size),
                                scores: scores.add(i * RUN),
                                keys: here.keys.as_ptr().add(a - first),
                                values: here.values.as_ptr().add(a - first),
                                next: [there.keys.as_ptr(), there.values.as_ptr()],
                                lines: if ahead > 0 && !dense { lines } else { 0 },
                                count: b - a,
                                dim: padded,
                                scale: self.scale,
                            };
                            work(self.isa, half, &tile);
                        }
                        i += queries;
                    }
                }
                std::mem::swap(&mut here, &mut there);
                first = next;
            }
            for i in 0..count {
                merge(self.isa, before.add(i * size), states.add(i * size), padded);
                done(i, before.add(i * size));
            }
        }
    }
}

/// Makes a state empty.
///
/// # Safety
/// It has `size` floats.
unsafe fn clear(state: *mut f32, size: usize) {
    // SAFETY: promised by the caller.
    let state = unsafe { std::slice::from_raw_parts_mut(state, size) };
    state.fill(0.0);
    state[..EMPTY.len()].copy_from_slice(&EMPTY);
}

/// Writes the result that a state holds.
///
/// # Safety
/// The state is one for `dim` elements, for which `out` has room.
pub unsafe fn write(state: *const f32, out: *mut f32, dim: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        let sum = *state.add(1);
        for d in 0..dim {
            *out.add(d) = *state.add(HEAD + d) / sum;
        }
    }
}
