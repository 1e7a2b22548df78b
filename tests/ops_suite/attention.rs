//! Rotary embedding, the paged cache, and attention.

use crate::rig::{Random, Rig, each_device, error};
use cogniware::ops::{Attention, KvLayout, RopeStyle, Rows};
use cogniware::quant::DType;
use half::f16;

/// A cache in host memory: sequences with their pages in a shuffled order.
struct Cache {
    layout: KvLayout,
    tables: Vec<Vec<i32>>,
    data: Vec<f32>, // one float an element, whatever the cache holds
    pages: usize,
}

impl Cache {
    fn new(r: &mut Random, kv: DType, shape: [u32; 4], lengths: &[usize]) -> Cache {
        let [page_tokens, layers, kv_heads, head_dim] = shape;
        let layout = KvLayout { base: 0, dtype: kv, page_tokens, layers, kv_heads, head_dim };
        let counts: Vec<usize> = lengths.iter().map(|n| n.div_ceil(page_tokens as usize)).collect();
        let pages: usize = counts.iter().sum::<usize>() + 1;
        let mut order: Vec<i32> = (0..pages as i32).collect();
        for i in (1..pages).rev() {
            order.swap(i, r.below(i + 1));
        }
        let mut from = 0;
        let tables = counts
            .iter()
            .map(|&n| {
                from += n;
                order[from - n..from].to_vec()
            })
            .collect();
        let element = if kv == DType::F32 { 4 } else { 2 };
        let mut data = r.floats(layout.page_bytes() as usize / element * pages);
        if kv == DType::F16 {
            data.iter_mut().for_each(|v| *v = f16::from_f32(*v).to_f32());
        }
        Cache { layout, tables, data, pages }
    }

    fn upload(&mut self, rig: &mut Rig) {
        self.layout.base = match self.layout.dtype {
            DType::F32 => rig.put(&self.data),
            _ => rig.put(&self.data.iter().map(|&v| f16::from_f32(v).to_bits()).collect::<Vec<u16>>()),
        };
    }

    fn download(&self, rig: &Rig) -> Vec<f32> {
        match self.layout.dtype {
            DType::F32 => rig.floats(self.layout.base, self.data.len()),
            _ => {
                let mut raw = vec![0; self.data.len() * 2];
                rig.device.read(&mut raw, self.layout.base).unwrap();
                raw.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
            }
        }
    }

    /// Where a token's K (0) or V (1) of a head begins.
    fn at(&self, sequence: usize, layer: u32, kv: usize, head: usize, token: usize) -> usize {
        let l = &self.layout;
        let (tokens, dim) = (l.page_tokens as usize, l.head_dim as usize);
        let half = l.kv_heads as usize * tokens * dim;
        let page = self.tables[sequence][token / tokens] as usize;
        (page * l.layers as usize + layer as usize) * 2 * half
            + kv * half
            + (head * tokens + token % tokens) * dim
    }

    /// The tables as the device takes them.
    fn rows(&self, rig: &mut Rig, rows: &[(usize, usize)]) -> Rows {
        let width = self.tables.iter().map(Vec::len).max().unwrap();
        let flat: Vec<i32> =
            self.tables.iter().flat_map(|t| (0..width).map(|i| t.get(i).copied().unwrap_or(-1))).collect();
        let most = rows.iter().map(|&(_, p)| p + 1).max().unwrap();
        Rows {
            n: rows.len() as u32,
            positions: rig.put(&rows.iter().map(|r| r.1 as i32).collect::<Vec<_>>()),
            sequences: rig.put(&rows.iter().map(|r| r.0 as i32).collect::<Vec<_>>()),
            tables: rig.put(&flat),
            table_width: width as u32,
            max_tokens: (most + 3) as u32,
        }
    }
}

fn softmax_sum(q: &[f32], scale: f32, tokens: impl Iterator<Item = (Vec<f32>, Vec<f32>)>) -> Vec<f64> {
    let tokens: Vec<_> = tokens.collect();
    let scores: Vec<f64> = tokens
        .iter()
        .map(|(k, _)| {
            f64::from(scale) * q.iter().zip(k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
        })
        .collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
    let mut out = vec![0.0; q.len()];
    for (s, (_, v)) in scores.iter().zip(&tokens) {
        for (o, &x) in out.iter_mut().zip(v) {
            *o += (s - most).exp() / sum * f64::from(x);
        }
    }
    out
}

#[allow(clippy::too_many_arguments)]
fn attend(
    r: &mut Random,
    rig: &mut Rig,
    kv: DType,
    heads: u32,
    shape: [u32; 4],
    window: Option<u32>,
    lengths: &[usize],
    rows: &[(usize, usize)],
) {
    let mut cache = Cache::new(r, kv, shape, lengths);
    cache.upload(rig);
    let (dim, layer) = (shape[3] as usize, shape[1] - 1);
    let q: Vec<f32> = r.floats(rows.len() * heads as usize * dim).iter().map(|v| v * 3.0).collect();
    let qp = rig.put(&q);
    let out = rig.space(q.len() * 4);
    let on_device = cache.rows(rig, rows);
    rig.scratch(on_device.n, 256, 256, on_device.max_tokens, heads, shape[3]);
    let how = Attention { heads, scale: 0.3, window };
    rig.run(|ops| ops.attention(&on_device, &cache.layout, layer, &how, qp, out));
    let group = (heads / shape[2]) as usize;
    let mut want = Vec::new();
    for (i, &(sequence, position)) in rows.iter().enumerate() {
        let first = window.map_or(0, |w| (position + 1).saturating_sub(w as usize));
        for h in 0..heads as usize {
            let tokens = (first..=position).map(|t| {
                let part =
                    |which| cache.data[cache.at(sequence, layer, which, h / group, t)..][..dim].to_vec();
                (part(0), part(1))
            });
            want.extend(softmax_sum(&q[(i * heads as usize + h) * dim..][..dim], 0.3, tokens));
        }
    }
    let e = error(&rig.floats(out, q.len()), &want);
    let case = format!("{kv:?} heads {heads}/{} dim {dim} window {window:?} rows {}", shape[2], rows.len());
    assert!(e < 3e-6, "{case}: {e:.2e}");
    rig.reset();
}

#[test]
fn attention_over_pages() {
    each_device(|rig| {
        let mut r = Random(31);
        for kv in [DType::F16, DType::F32] {
            for (heads, shape) in [
                (1, [16, 1, 1, 64]),
                (8, [16, 2, 2, 64]),
                (14, [5, 3, 2, 64]),
                (4, [32, 1, 4, 128]),
                (6, [16, 2, 1, 80]),
                (4, [16, 1, 2, 256]),
                (3, [7, 1, 3, 6]),
                (2, [16, 1, 2, 32]),
            ] {
                // One token, page boundaries, one row more than a page, a long context.
                for position in [0, 15, 16, 31, 32, 63, 200, 1500] {
                    attend(&mut r, rig, kv, heads, shape, None, &[position + 1], &[(0, position)]);
                }
                attend(&mut r, rig, kv, heads, shape, Some(37), &[500], &[(0, 499), (0, 3)]);
                let three = [(2, 60), (0, 700), (1, 0)];
                attend(&mut r, rig, kv, heads, shape, None, &[701, 1, 80], &three);
                // Prefill: a chunk of one sequence, then rows of several.
                let chunk: Vec<_> = (100..157).map(|p| (0, p)).collect();
                attend(&mut r, rig, kv, heads, shape, None, &[157], &chunk);
                attend(&mut r, rig, kv, heads, shape, Some(50), &[157], &chunk);
                let mixed: Vec<_> =
                    (0..21).map(|p| (1, p)).chain([(0, 90)]).chain((40..61).map(|p| (2, p))).collect();
                attend(&mut r, rig, kv, heads, shape, None, &[91, 21, 61], &mixed);
            }
        }
    });
}

#[test]
fn rope_turns_and_stores() {
    each_device(|rig| {
        let mut r = Random(33);
        for kv in [DType::F16, DType::F32] {
            for style in [RopeStyle::Interleaved, RopeStyle::Half] {
                for (heads, shape, magnitude) in
                    [(4u32, [16, 2, 2, 64], 1.0f32), (3, [5, 1, 1, 128], 1.2), (2, [3, 1, 2, 6], 1.0)]
                {
                    let [_, layers, kv_heads, dim] = shape;
                    let rows = [(0, 0), (1, 33), (0, 1), (1, 4)];
                    let mut cache = Cache::new(&mut r, kv, shape, &[2, 34]);
                    cache.upload(rig);
                    let (n, d) = (rows.len(), dim as usize);
                    let q = r.floats(n * heads as usize * d);
                    let k = r.floats(n * kv_heads as usize * d);
                    let v = r.floats(n * kv_heads as usize * d);
                    let freq: Vec<f32> =
                        (0..d / 2).map(|i| 10000f32.powf(-2.0 * i as f32 / d as f32)).collect();
                    let (qp, kp, vp, fp) = (rig.put(&q), rig.put(&k), rig.put(&v), rig.put(&freq));
                    let on_device = cache.rows(rig, &rows);
                    rig.scratch(n as u32, 64, 64, 64, heads, dim);
                    let layer = layers - 1;
                    rig.run(|ops| {
                        ops.rope_store(
                            &on_device,
                            &cache.layout,
                            layer,
                            heads,
                            qp,
                            kp,
                            vp,
                            fp,
                            magnitude,
                            style,
                        )
                    });
                    let turn = |x: &[f32], position: usize| -> Vec<f64> {
                        let mut y = vec![0.0; d];
                        for (i, f) in freq.iter().enumerate() {
                            let angle = f64::from(position as f32 * f);
                            let (s, c) = angle.sin_cos();
                            let m = f64::from(magnitude);
                            let (a, b) = match style {
                                RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                                RopeStyle::Half => (i, i + d / 2),
                            };
                            y[a] = m * (f64::from(x[a]) * c - f64::from(x[b]) * s);
                            y[b] = m * (f64::from(x[b]) * c + f64::from(x[a]) * s);
                        }
                        y
                    };
                    let mut want_q = Vec::new();
                    let mut want: Vec<f64> = cache.data.iter().map(|&v| f64::from(v)).collect();
                    for (i, &(sequence, position)) in rows.iter().enumerate() {
                        for h in 0..heads as usize {
                            want_q.extend(turn(&q[(i * heads as usize + h) * d..][..d], position));
                        }
                        for h in 0..kv_heads as usize {
                            let from = (i * kv_heads as usize + h) * d;
                            let at = cache.at(sequence, layer, 0, h, position);
                            want[at..at + d].copy_from_slice(&turn(&k[from..from + d], position));
                            let at = cache.at(sequence, layer, 1, h, position);
                            for e in 0..d {
                                want[at + e] = f64::from(v[from + e]);
                            }
                        }
                    }
                    let e = error(&rig.floats(qp, q.len()), &want_q);
                    assert!(e < 1e-6, "q {kv:?} {style:?} dim {dim}: {e:.2e}");
                    let e = error(&cache.download(rig), &want);
                    let most = if kv == DType::F16 { 3e-4 } else { 1e-6 };
                    assert!(e < most, "cache {kv:?} {style:?} dim {dim}: {e:.2e}");
                    assert!(cache.pages > 1);
                    rig.reset();
                }
            }
        }
    });
}

#[test]
fn attention_of_whole_sequences() {
    each_device(|rig| {
        let mut r = Random(34);
        for (heads, dim, starts) in [
            (1u32, 32u32, vec![0i32, 1]),
            (12, 32, vec![0, 7, 8, 50]),
            (2, 64, vec![0, 130]),
            (3, 80, vec![0, 33, 64]),
            (2, 256, vec![0, 9]),
            (2, 6, vec![0, 5, 17]),
        ] {
            let n = *starts.last().unwrap() as usize;
            let width = (heads * dim) as usize;
            let (q, k, v) = (r.floats(n * width), r.floats(n * width), r.floats(n * width));
            let (qp, kp, vp, sp) = (rig.put(&q), rig.put(&k), rig.put(&v), rig.put(&starts));
            let out = rig.space(n * width * 4);
            rig.scratch(n as u32, 64, 64, n as u32, heads, dim);
            let longest = starts.windows(2).map(|w| w[1] - w[0]).max().unwrap() as u32;
            let sequences = starts.len() as u32 - 1;
            rig.run(|ops| ops.attention_full(qp, kp, vp, out, sp, sequences, longest, heads, dim, 0.4));
            let mut want = vec![0.0; n * width];
            for s in starts.windows(2) {
                for i in s[0] as usize..s[1] as usize {
                    for h in 0..heads as usize {
                        let cut =
                            |x: &[f32], t: usize| x[t * width + h * dim as usize..][..dim as usize].to_vec();
                        let tokens = (s[0] as usize..s[1] as usize).map(|t| (cut(&k, t), cut(&v, t)));
                        let row = softmax_sum(&cut(&q, i), 0.4, tokens);
                        want[i * width + h * dim as usize..][..dim as usize].copy_from_slice(&row);
                    }
                }
            }
            let e = error(&rig.floats(out, n * width), &want);
            assert!(e < 3e-6, "heads {heads} dim {dim} {starts:?}: {e:.2e}");
            rig.reset();
        }
    });
}
