//! The two loops of attention for a few queries that see the same positions: scores with their exponentials, and the
//! weighted sum of values.
//!
//! Each score is a sum over the head's elements in [`STEP`] partial sums by index modulo [`STEP`], then pairwise; each
//! element of the result adds its values one after the other. So it does not matter how many queries or keys a register
//! tile holds.

use super::super::isa::Isa;
use super::super::math::{exp, sum};
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Plain, STEP};
use half::f16;

/// Positions in a run.
pub const RUN: usize = 64;
/// Queries that a call takes at most.
pub const TILE: usize = 4;
/// Pointers in a list of positions: a tile of keys may begin at the last position.
pub const PLACES: usize = RUN + STEP;
/// Floats of a state before its values.
pub const HEAD: usize = 16;

/// What a query knows: `[greatest score, sum of exponentials, factor on the values taken before this run, ..]`, then
/// from [`HEAD`] on the weighted values. An empty state has the sum 0, all others at least 1, or NaN.
pub const EMPTY: [f32; 3] = [f32::NEG_INFINITY, 0.0, 1.0];

/// A few queries and the positions of a run that all of them see.
pub struct Tile {
    /// Queries, at most [`TILE`].
    pub queries: usize,
    /// Their elements, padded with zeros to `dim`.
    pub q: *const f32,
    /// Their states, [`HEAD`] and `dim` floats each.
    pub states: *mut f32,
    /// [`RUN`] scores for each of them.
    pub scores: *mut f32,
    /// Where the key of each position lies; pointers beyond `count` are valid up to the next multiple of [`STEP`].
    pub keys: *const *const u8,
    /// Where the value of each position lies.
    pub values: *const *const u8,
    /// Keys, then values, that are wanted next; as many as `count`.
    pub next: [*const *const u8; 2],
    /// Cache lines of each of those; 0 if they need not be asked for.
    pub lines: usize,
    /// Positions, at most [`RUN`].
    pub count: usize,
    /// Elements of a head, a multiple of [`STEP`].
    pub dim: usize,
    /// Factor on the scores.
    pub scale: f32,
}

/// Asks for `lines` cache lines.
#[inline(always)]
pub fn fetch(at: *const u8, lines: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..lines {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(64 * line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, lines);
}

#[inline(always)]
unsafe fn element<L: Lanes, const HALF: bool>(at: *const u8, index: usize) -> L {
    // SAFETY: promised by the caller.
    unsafe {
        if HALF { L::load_f16(at.cast::<f16>().add(index)) } else { L::load(at.cast::<f32>().add(index)) }
    }
}

/// Products of `Q` queries from `query` on with all keys, `K` at a time, where `Q * K == L::WIDTH`.
#[inline(always)]
unsafe fn products<L: Lanes, const HALF: bool, const Q: usize, const K: usize>(t: &Tile, query: usize) {
    // SAFETY: the tile's pointers, as its fields say.
    unsafe {
        let q = t.q.add(query * t.dim);
        let lines = if query == 0 { t.lines } else { 0 };
        for j in (0..t.count).step_by(K) {
            let mut keys = [std::ptr::null(); K];
            for k in 0..K {
                keys[k] = *t.keys.add(j + k);
                if lines > 0 {
                    fetch(*t.next[0].add(j + k), lines);
                }
            }
            let mut total = [[L::splat(0.0); K]; Q];
            for part in 0..STEP / L::WIDTH {
                let mut sums = [[L::splat(0.0); K]; Q];
                let mut i = part * L::WIDTH;
                while i < t.dim {
                    let mut x = [L::splat(0.0); Q];
                    for n in 0..Q {
                        x[n] = L::load(q.add(n * t.dim + i));
                    }
                    for k in 0..K {
                        let key = element::<L, HALF>(keys[k], i);
                        for n in 0..Q {
                            sums[n][k] = sums[n][k].add(x[n].mul(key));
                        }
                    }
                    i += STEP;
                }
                for n in 0..Q {
                    for k in 0..K {
                        total[n][k] = if part == 0 { sums[n][k] } else { total[n][k].add(sums[n][k]) };
                    }
                }
            }
            let mut sums = [0.0f32; STEP];
            L::sums(&total).mul(L::splat(t.scale)).store(sums.as_mut_ptr());
            for n in 0..Q {
                let to = t.scores.add((query + n) * RUN + j);
                let found = K.min(RUN - j);
                for k in 0..found {
                    *to.add(k) = sums[n * K + k];
                }
            }
        }
    }
}

/// Turns the scores of one query into exponentials and notes what they change in its state.
#[inline(always)]
unsafe fn exponentials(scores: *mut f32, count: usize, state: *mut f32) {
    // SAFETY: the caller's pointers: RUN scores and a state.
    unsafe {
        for j in count..RUN {
            *scores.add(j) = f32::NEG_INFINITY;
        }
        let mut tops = [*state; STEP];
        for j in (0..RUN).step_by(STEP) {
            for l in 0..STEP {
                let score = *scores.add(j + l);
                tops[l] = if score > tops[l] { score } else { tops[l] };
            }
        }
        let mut top = tops[0];
        for other in tops {
            top = if other > top { other } else { top };
        }
        let shrink = if top > *state { exp(*state - top) } else { 1.0 };
        for j in 0..RUN {
            *scores.add(j) = exp(*scores.add(j) - top);
        }
        *state = top;
        *state.add(1) = *state.add(1) * shrink + sum(RUN, |j| *scores.add(j));
        *state.add(2) = shrink;
    }
}

#[inline(always)]
unsafe fn score_body<L: Lanes, const HALF: bool>(t: &Tile) {
    // SAFETY: promised by the caller; the tile has at least the queries that each call takes.
    unsafe {
        let mut query = 0;
        while query < t.queries {
            query += match (L::WIDTH, t.queries - query) {
                (16, 4..) => {
                    products::<L, HALF, 4, 4>(t, query);
                    4
                }
                (16, 2..) => {
                    products::<L, HALF, 2, 8>(t, query);
                    2
                }
                (16, _) => {
                    products::<L, HALF, 1, 16>(t, query);
                    1
                }
                (_, 2..) => {
                    products::<L, HALF, 2, 4>(t, query);
                    2
                }
                _ => {
                    products::<L, HALF, 1, 8>(t, query);
                    1
                }
            };
        }
        for query in 0..t.queries {
            exponentials(t.scores.add(query * RUN), t.count, t.states.add(query * (HEAD + t.dim)));
        }
    }
}

/// Adds the values to `C` vectors of `Q` states, from element `i` on.
#[inline(always)]
unsafe fn add_values<L: Lanes, const HALF: bool, const Q: usize, const C: usize>(
    t: &Tile,
    query: usize,
    i: usize,
) {
    // SAFETY: the tile's pointers, as its fields say.
    unsafe {
        let size = HEAD + t.dim;
        let states = t.states.add(query * size);
        let p = t.scores.add(query * RUN);
        let lines = if query == 0 && i == 0 { t.lines } else { 0 };
        let mut sums = [[L::splat(0.0); C]; Q];
        for n in 0..Q {
            let state = states.add(n * size);
            let shrink = L::splat(*state.add(2));
            for c in 0..C {
                sums[n][c] = L::load(state.add(HEAD + i + c * L::WIDTH)).mul(shrink);
            }
        }
        for j in 0..t.count {
            let value = *t.values.add(j);
            if lines > 0 {
                fetch(*t.next[1].add(j), lines);
            }
            let mut v = [L::splat(0.0); C];
            for c in 0..C {
                v[c] = element::<L, HALF>(value, i + c * L::WIDTH);
            }
            for n in 0..Q {
                let p = L::splat(*p.add(n * RUN + j));
                for c in 0..C {
                    sums[n][c] = sums[n][c].add(p.mul(v[c]));
                }
            }
        }
        for n in 0..Q {
            for c in 0..C {
                sums[n][c].store(states.add(n * size + HEAD + i + c * L::WIDTH));
            }
        }
    }
}

/// All vectors of `Q` states, `C` at a time while there are as many.
#[inline(always)]
unsafe fn add_all<L: Lanes, const HALF: bool, const Q: usize, const C: usize>(t: &Tile, query: usize) {
    let mut i = 0;
    // SAFETY: as the caller promises.
    unsafe {
        while i + C * L::WIDTH <= t.dim {
            add_values::<L, HALF, Q, C>(t, query, i);
            i += C * L::WIDTH;
        }
        while i + 2 * L::WIDTH <= t.dim {
            add_values::<L, HALF, Q, 2>(t, query, i);
            i += 2 * L::WIDTH;
        }
        while i < t.dim {
            add_values::<L, HALF, Q, 1>(t, query, i);
            i += L::WIDTH;
        }
    }
}

#[inline(always)]
unsafe fn weigh_body<L: Lanes, const HALF: bool>(t: &Tile) {
    let mut query = 0;
    // SAFETY: promised by the caller; the tile has at least the queries that each call takes.
    unsafe {
        while query < t.queries {
            query += match (L::WIDTH, t.queries - query) {
                (16, 4..) => {
                    add_all::<L, HALF, 4, 4>(t, query);
                    4
                }
                (_, 2..) => {
                    add_all::<L, HALF, 2, 4>(t, query);
                    2
                }
                _ => {
                    add_all::<L, HALF, 1, 8>(t, query);
                    1
                }
            };
        }
    }
}

/// `dim` elements of a head as f32, padded with zeros to `padded`, a multiple of [`STEP`].
#[inline(always)]
unsafe fn widen_body<L: Lanes, const HALF: bool>(from: *const u8, to: *mut f32, dim: usize, padded: usize) {
    // SAFETY: promised by the caller.
    unsafe {
        let whole = dim / L::WIDTH * L::WIDTH;
        for i in (0..whole).step_by(L::WIDTH) {
            element::<L, HALF>(from, i).store(to.add(i));
        }
        for i in whole..padded {
            *to.add(i) = match i < dim {
                true if HALF => from.cast::<f16>().add(i).read_unaligned().to_f32(),
                true => *from.cast::<f32>().add(i),
                false => 0.0,
            };
        }
    }
}

/// `total = total + part` for two states.
#[inline(always)]
unsafe fn merge_body<L: Lanes>(total: *mut f32, part: *const f32, dim: usize) {
    // SAFETY: two states of HEAD + dim floats.
    unsafe {
        if *part.add(1) == 0.0 {
            return;
        }
        if *total.add(1) == 0.0 {
            return std::ptr::copy_nonoverlapping(part, total, HEAD + dim);
        }
        let top = if *part > *total { *part } else { *total };
        let (a, b) = (exp(*total - top), exp(*part - top));
        *total = top;
        *total.add(1) = *total.add(1) * a + *part.add(1) * b;
        let (a, b) = (L::splat(a), L::splat(b));
        for i in (HEAD..HEAD + dim).step_by(L::WIDTH) {
            L::load(total.add(i)).mul(a).add(L::load(part.add(i)).mul(b)).store(total.add(i));
        }
    }
}

/// Defines a function for each level from a body that is generic over [`Lanes`].
macro_rules! levels {
    ($(#[$meta:meta])* $name:ident($($arg:ident: $type:ty),*) = $body:ident $(, $half:ident)?) => {
        $(#[$meta])*
        pub unsafe fn $name(isa: Isa, $($half: bool,)? $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn avx2($($half: bool,)? $($arg: $type),*) {
                levels!(@call $body, Avx2, ($($half)?), ($($arg),*))
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            unsafe fn avx512($($half: bool,)? $($arg: $type),*) {
                levels!(@call $body, Avx512, ($($half)?), ($($arg),*))
            }

            // SAFETY: promised by the caller; the level was checked when it was chosen.
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Vnni => unsafe { avx512($($half,)? $($arg),*) },
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { avx2($($half,)? $($arg),*) },
                _ => levels!(@call $body, Plain, ($($half)?), ($($arg),*)),
            }
        }
    };
    (@call $body:ident, $lanes:ident, (), ($($arg:ident),*)) => {
        // SAFETY: promised by the caller.
        unsafe { $body::<$lanes>($($arg),*) }
    };
    (@call $body:ident, $lanes:ident, ($half:ident), ($($arg:ident),*)) => {
        // SAFETY: promised by the caller.
        unsafe { if $half { $body::<$lanes, true>($($arg),*) } else { $body::<$lanes, false>($($arg),*) } }
    };
}

levels! {
    /// Scores and exponentials of a tile; notes greatest scores, sums and factors in the states. Keys are f16 if
    /// `half`, else f32.
    ///
    /// # Safety
    /// The tile's pointers are as its fields say.
    score(t: &Tile) = score_body, half
}
levels! {
    /// Takes the values, weighted with what [`score`] left, into the states. Values are f16 if `half`, else f32.
    ///
    /// # Safety
    /// As for [`score`].
    weigh(t: &Tile) = weigh_body, half
}
levels! {
    /// `dim` elements at `from` (f16 if `half`, else f32) as f32, padded with zeros to `padded`, a multiple of
    /// [`STEP`].
    ///
    /// # Safety
    /// `from` holds `dim` elements, `to` has room for `padded`.
    widen(from: *const u8, to: *mut f32, dim: usize, padded: usize) = widen_body, half
}
levels! {
    /// `total = total + part`: the state of the positions of both.
    ///
    /// # Safety
    /// Both are states of [`HEAD`] and `dim` floats.
    merge(total: *mut f32, part: *const f32, dim: usize) = merge_body
}
