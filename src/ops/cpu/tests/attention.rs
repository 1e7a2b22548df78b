//! Rotary embedding, the cache and attention against f64 loops.

use super::super::testing::{Buffer, Random, bits};
use super::super::{Isa, rope};
use super::{levels, ops};
use crate::ops::{Attention, KvLayout, RopeStyle, Rows};
use crate::quant::DType;
use half::f16;

/// Some sequences in a paged cache, filled step by step.
struct Case {
    dtype: DType,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    page_tokens: usize,
    layers: u32,
    window: Option<u32>,
    style: RopeStyle,
    /// Tokens of each sequence.
    lengths: Vec<usize>,
}

impl Case {
    fn width(&self) -> usize {
        self.lengths.iter().max().unwrap().div_ceil(self.page_tokens)
    }

    fn kv(&self, base: u64) -> KvLayout {
        KvLayout {
            base,
            dtype: self.dtype,
            page_tokens: self.page_tokens as u32,
            layers: self.layers,
            kv_heads: self.kv_heads as u32,
            head_dim: self.dim as u32,
        }
    }

    fn how(&self) -> Attention {
        Attention { heads: self.heads as u32, scale: 1.0 / (self.dim as f32).sqrt(), window: self.window }
    }

    fn frequencies(&self) -> Vec<f32> {
        (0..self.dim / 2).map(|i| 10_000f32.powf(-2.0 * i as f32 / self.dim as f32)).collect()
    }

    /// Runs all tokens in steps of `rows` rows, sequences one after the other, layer `layer`; the outputs in order.
    fn run(&self, isa: Isa, threads: usize, rows: usize, layer: u32, qkv: &[Vec<f32>; 3]) -> Vec<f32> {
        let ops = ops(isa, threads);
        let width = self.width();
        let pages = self.lengths.len() * width;
        // Pages in an order of no meaning.
        let tables: Vec<i32> = (0..pages).map(|i| ((i * 101 + 3) % pages) as i32).collect();
        assert!(pages < 101, "101 is prime, so smaller numbers of pages are visited once each");
        let cache = Buffer::new((self.kv(1).page_bytes() as usize) * pages);
        let kv = self.kv(cache.ptr());
        let places: Vec<(usize, usize)> = self
            .lengths
            .iter()
            .enumerate()
            .flat_map(|(s, &length)| (0..length).map(move |p| (s, p)))
            .collect();
        let scratch =
            ops.scratch_bytes(rows as u32, 64, 64, places.len() as u32, self.heads as u32, self.dim as u32);
        let scratch = Buffer::new(scratch as usize);
        ops.set_scratch(scratch.ptr(), scratch.floats().len() as u64 * 4).unwrap();
        let frequencies = Buffer::of(&self.frequencies());
        let tables = Buffer::of(&tables);
        let mut outputs = Vec::new();
        for (step, places) in places.chunks(rows).enumerate() {
            let part = |i: usize, heads: usize| {
                let row = heads * self.dim;
                Buffer::of(&qkv[i][step * rows * row..][..places.len() * row])
            };
            let (q, k, v) = (part(0, self.heads), part(1, self.kv_heads), part(2, self.kv_heads));
            let out = Buffer::new(places.len() * self.heads * self.dim * 4);
            let ints =
                |f: fn(&(usize, usize)) -> usize| places.iter().map(|p| f(p) as i32).collect::<Vec<_>>();
            let (positions, sequences) = (Buffer::of(&ints(|p| p.1)), Buffer::of(&ints(|p| p.0)));
            let rows = Rows {
                n: places.len() as u32,
                positions: positions.ptr(),
                sequences: sequences.ptr(),
                tables: tables.ptr(),
                table_width: width as u32,
                max_tokens: *self.lengths.iter().max().unwrap() as u32,
            };
            let mut body = || {
                let (q, k, v) = (q.ptr(), k.ptr(), v.ptr());
                let heads = self.heads as u32;
                ops.rope_store(&rows, &kv, layer, heads, q, k, v, frequencies.ptr(), 1.0, self.style)?;
                ops.attention(&rows, &kv, layer, &self.how(), q, out.ptr())
            };
            ops.step(None, &[], &mut body, &mut []).unwrap();
            outputs.extend(out.floats());
        }
        outputs
    }

    /// The same in f64, with nothing shared but the formulas.
    fn reference(&self, qkv: &[Vec<f32>; 3]) -> Vec<f64> {
        let (dim, group) = (self.dim, self.heads / self.kv_heads);
        let rounded = |x: f64| {
            if self.dtype == DType::F16 { f64::from(f16::from_f64(x).to_f32()) } else { x }
        };
        let turned = |x: &[f32], position: usize| -> Vec<f64> {
            let mut out: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
            for (i, f) in self.frequencies().iter().enumerate() {
                let (a, b) = match self.style {
                    RopeStyle::Half => (i, i + dim / 2),
                    RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                };
                let (sin, cos) = (f64::from(*f) * position as f64).sin_cos();
                (out[a], out[b]) = (out[a] * cos - out[b] * sin, out[b] * cos + out[a] * sin);
            }
            out
        };
        let (mut out, mut begin) = (Vec::new(), 0);
        for &length in &self.lengths {
            let key = |p: usize, h: usize| {
                let at = ((begin + p) * self.kv_heads + h) * dim;
                turned(&qkv[1][at..at + dim], p).into_iter().map(rounded).collect::<Vec<_>>()
            };
            for p in 0..length {
                for h in 0..self.heads {
                    let at = ((begin + p) * self.heads + h) * dim;
                    let q = turned(&qkv[0][at..at + dim], p);
                    let first = self.window.map_or(0, |w| (p + 1).saturating_sub(w as usize));
                    let scores: Vec<f64> = (first..=p)
                        .map(|t| {
                            let k = key(t, h / group);
                            q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()
                        })
                        .collect();
                    let top = scores.iter().fold(f64::MIN, |a, &b| a.max(b));
                    let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for d in 0..dim {
                        let value = |t: usize| {
                            let at = ((begin + t) * self.kv_heads + h / group) * dim + d;
                            rounded(f64::from(qkv[2][at]))
                        };
                        let sum: f64 = weights.iter().zip(first..).map(|(w, t)| w * value(t)).sum();
                        out.push(sum / total);
                    }
                }
            }
            begin += length;
        }
        out
    }

    fn inputs(&self, random: &mut Random) -> [Vec<f32>; 3] {
        let tokens: usize = self.lengths.iter().sum();
        [self.heads, self.kv_heads, self.kv_heads].map(|h| random.floats(tokens * h * self.dim))
    }
}

fn cases() -> Vec<Case> {
    let base = || Case {
        dtype: DType::F32,
        heads: 4,
        kv_heads: 2,
        dim: 32,
        page_tokens: 16,
        layers: 3,
        window: None,
        style: RopeStyle::Half,
        lengths: vec![70, 5, 33],
    };
    vec![
        base(),
        Case { dtype: DType::F16, style: RopeStyle::Interleaved, ..base() },
        Case { heads: 3, kv_heads: 3, dim: 20, page_tokens: 5, ..base() },
        Case { window: Some(9), lengths: vec![140, 3], ..base() },
        Case { heads: 40, kv_heads: 1, dim: 16, lengths: vec![67], ..base() },
        // Groups that no register tile divides, several spans, a head of an odd number of vectors.
        Case { dtype: DType::F16, heads: 7, kv_heads: 1, dim: 48, lengths: vec![300, 9], ..base() },
        Case {
            dtype: DType::F16,
            heads: 3,
            kv_heads: 1,
            dim: 16,
            window: Some(270),
            lengths: vec![560],
            ..base()
        },
        Case { heads: 2, kv_heads: 1, dim: 16, lengths: vec![520], ..base() },
    ]
}

#[test]
fn long_contexts_have_the_same_bits_in_spans_of_every_length() {
    let mut random = Random::new(24);
    for window in [None, Some(2100)] {
        let case = Case {
            dtype: DType::F16,
            heads: 3,
            kv_heads: 1,
            dim: 16,
            page_tokens: 48,
            layers: 1,
            window,
            style: RopeStyle::Half,
            lengths: vec![2300],
        };
        let qkv = case.inputs(&mut random);
        let want = bits(&case.run(Isa::highest(), 1, 2300, 0, &qkv));
        for (isa, threads, rows) in
            [(Isa::Scalar, 1, 700), (Isa::highest(), 2, 3), (Isa::highest(), 3, 40), (Isa::highest(), 1, 1)]
        {
            let got = case.run(isa, threads, rows, 0, &qkv);
            assert!(bits(&got) == want, "{isa:?} threads={threads} rows={rows}");
        }
    }
}

#[test]
fn a_bad_value_spoils_its_own_sequence_and_what_sees_it_only() {
    let mut random = Random::new(25);
    for dtype in [DType::F16, DType::F32] {
        let case =
            Case { dtype, heads: 4, kv_heads: 1, dim: 16, lengths: vec![90, 5], ..cases().swap_remove(0) };
        let mut qkv = case.inputs(&mut random);
        let clean = case.run(Isa::highest(), 1, 1000, 0, &qkv);
        qkv[2][75 * 16] = f32::INFINITY;
        for isa in levels() {
            let spoilt = case.run(isa, 2, 1000, 0, &qkv);
            for (row, (got, want)) in spoilt.chunks_exact(64).zip(clean.chunks_exact(64)).enumerate() {
                assert_eq!(got[0].is_finite(), !(75..90).contains(&row), "{isa:?} {row}");
                if got[0].is_finite() {
                    assert_eq!(bits(got), bits(want), "{isa:?} {row}");
                }
            }
        }
    }
}

#[test]
fn attention_over_the_cache_is_that_of_the_formula() {
    let mut random = Random::new(21);
    for (i, case) in cases().into_iter().enumerate() {
        let qkv = case.inputs(&mut random);
        let want = case.reference(&qkv);
        for isa in levels() {
            let got = case.run(isa, 2, 13, (i % 3) as u32, &qkv);
            assert_eq!(got.len(), want.len());
            let bound = if case.dtype == DType::F16 { 2e-3 } else { 2e-5 };
            for (j, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!((f64::from(*got) - want).abs() < bound, "case {i} {isa:?} [{j}]: {got} {want}");
            }
        }
    }
}

#[test]
fn bits_depend_on_neither_rows_of_a_step_nor_threads_nor_level() {
    let mut random = Random::new(22);
    for (i, case) in cases().into_iter().enumerate() {
        let qkv = case.inputs(&mut random);
        let want = bits(&case.run(Isa::Scalar, 1, 1, 0, &qkv));
        for isa in levels() {
            for (threads, rows) in [(1, 1), (2, 2), (1, 7), (3, 64), (2, 1000)] {
                let got = case.run(isa, threads, rows, 0, &qkv);
                assert_eq!(bits(&got), want, "case {i} {isa:?} threads={threads} rows={rows}");
            }
        }
    }
}

#[test]
fn full_attention_sees_its_own_sequence_and_all_of_it() {
    let mut random = Random::new(23);
    let (heads, dim, starts) = (3, 24, [0, 70, 70, 71, 80]);
    let n = 80;
    let [q, k, v] = [(); 3].map(|()| random.floats(n * heads * dim));
    let mut first = None;
    for isa in levels() {
        for threads in [1, 2] {
            let ops = ops(isa, threads);
            let scratch = Buffer::new(ops.scratch_bytes(1, 32, 1, 80, heads as u32, dim as u32) as usize);
            ops.set_scratch(scratch.ptr(), scratch.floats().len() as u64 * 4).unwrap();
            let out = Buffer::new(n * heads * dim * 4);
            let (qb, kb, vb, sb) = (Buffer::of(&q), Buffer::of(&k), Buffer::of(&v), Buffer::of(&starts));
            let scale = 0.25;
            let mut body = || {
                let (h, d) = (heads as u32, dim as u32);
                ops.attention_full(qb.ptr(), kb.ptr(), vb.ptr(), out.ptr(), sb.ptr(), 4, 70, h, d, scale)
            };
            ops.step(None, &[], &mut body, &mut []).unwrap();
            let got = out.floats();
            for pair in starts.windows(2) {
                let rows = pair[0] as usize..pair[1] as usize;
                for (row, h) in rows.clone().flat_map(|r| (0..heads).map(move |h| (r, h))) {
                    let at = |row: usize| (row * heads + h) * dim;
                    let dot = |t: usize| -> f64 {
                        (0..dim).map(|d| f64::from(q[at(row) + d]) * f64::from(k[at(t) + d])).sum()
                    };
                    let weights: Vec<f64> = rows.clone().map(|t| (dot(t) * 0.25).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    for d in 0..dim {
                        let pairs = weights.iter().zip(rows.clone());
                        let want = pairs.map(|(w, t)| w * f64::from(v[at(t) + d])).sum::<f64>() / total;
                        assert!((f64::from(got[at(row) + d]) - want).abs() < 1e-5);
                    }
                }
            }
            assert_eq!(bits(&got), *first.get_or_insert_with(|| bits(&got)), "{isa:?} {threads}");
        }
    }
}

#[test]
fn angles_of_far_positions_are_those_of_the_f32_product() {
    let frequencies = [1.0, 0.1, 1e-4, 0.317];
    for position in [0, 1, 4095, 131_071, 1_000_000] {
        let mut out = [0.0; 8];
        rope::angles(position, &frequencies, 1.5, &mut out);
        for (i, f) in frequencies.iter().enumerate() {
            let angle = f64::from(position as f32 * f);
            assert!((f64::from(out[i]) - 1.5 * angle.cos()).abs() < 1e-6);
            assert!((f64::from(out[4 + i]) - 1.5 * angle.sin()).abs() < 1e-6);
        }
    }
}
