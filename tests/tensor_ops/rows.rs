//! Softmax, reductions, norms and quantization.

use crate::rig::{Random, close, each_device, least, unit};
use cogniware::Status;
use cogniware::ops::tensor::{Element, Norm, Operation, Quantize, Reduce, Reduction, SoftMax};

const SHAPES: [(u64, u64); 8] =
    [(1, 1), (3, 17), (300, 40), (20, 256), (7, 1000), (5, 1025), (2, 5000), (1, 200_003)];

const REDUCTIONS: [Reduction; 6] =
    [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Min, Reduction::L2Norm, Reduction::ArgMax];

#[test]
fn softmax_over_any_extent_is_right() {
    each_device(|rig| {
        let mut r = Random(11);
        for element in Element::FLOATS {
            for (outer, axis, inner) in
                [(1, 1, 1), (40, 33, 1), (3, 5000, 1), (2, 10, 300), (1, 700, 3), (5, 1, 7), (3, 4, 257)]
            {
                for log in [false, true] {
                    rig.reset();
                    let count = outer * axis * inner;
                    let x: Vec<f64> = r.values(element, count).iter().map(|v| v * 8.0).collect();
                    let (at, out) = (rig.put(element, &x), rig.space(element, count));
                    let o = SoftMax { log, element, x: at, out, outer, axis, inner, pitch: inner };
                    rig.run(Operation::SoftMax(o));
                    let mut want = vec![0.0; count as usize];
                    for a in 0..outer {
                        for i in 0..inner {
                            let at = |k: u64| ((a * axis + k) * inner + i) as usize;
                            let sum: f64 = (0..axis).map(|k| x[at(k)].exp()).sum();
                            for k in 0..axis {
                                want[at(k)] = if log { x[at(k)] - sum.ln() } else { x[at(k)].exp() / sum };
                            }
                        }
                    }
                    let off =
                        |i: usize| 4e-6 + want[i].abs() * (unit(element) * 1.01 + 1e-6) + least(element);
                    close(&rig.get(element, out, count), &want, off, &o);
                }
            }
            // NaN spreads over its row and no further; very large numbers do not overflow.
            let x = [60000.0, 60000.0, f64::NAN, 1.0];
            let at = rig.put(element, &x);
            let o = SoftMax { log: false, element, x: at, out: at, outer: 2, axis: 2, inner: 1, pitch: 1 };
            rig.run(Operation::SoftMax(o));
            let got = rig.get(element, at, 4);
            assert!(got[..2] == [0.5, 0.5] && got[2].is_nan() && got[3].is_nan(), "{got:?}");
        }
    });
}

#[test]
fn reductions_are_right() {
    each_device(|rig| {
        let mut r = Random(12);
        // With and without scratch: long rows are cut where there is some.
        for scratch in [false, true] {
            for element in Element::FLOATS {
                for (rows, cols) in SHAPES {
                    for reduction in REDUCTIONS {
                        rig.reset();
                        let bytes = 1 << 20;
                        let space = if scratch { rig.space_at(bytes, 0) } else { 0 };
                        rig.ops.set_scratch(space, if scratch { bytes } else { 0 }).unwrap();
                        let ld = cols + 3;
                        let x = r.values(element, rows * ld);
                        let at = rig.put(element, &x);
                        let out_type =
                            if reduction == Reduction::ArgMax { Element::I32 } else { Element::F32 };
                        let out = rig.space(out_type, rows);
                        let o = Reduce { reduction, element, x: at, out, rows, cols, ld };
                        rig.run(Operation::Reduce(o));
                        let mut bound = 0.0;
                        let want: Vec<f64> = (0..rows)
                            .map(|row| {
                                let x = &x[(row * ld) as usize..][..cols as usize];
                                let total: f64 = x.iter().map(|v| v.abs()).sum();
                                let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                                bound = 1e-6 * total.max(1.0);
                                match reduction {
                                    Reduction::Sum => x.iter().sum(),
                                    Reduction::Mean => x.iter().sum::<f64>() / cols as f64,
                                    Reduction::Max => largest,
                                    Reduction::Min => x.iter().copied().fold(f64::INFINITY, f64::min),
                                    Reduction::L2Norm => x.iter().map(|v| v * v).sum::<f64>().sqrt(),
                                    Reduction::ArgMax => x.iter().position(|v| *v == largest).unwrap() as f64,
                                }
                            })
                            .collect();
                        let off = |_| match reduction {
                            Reduction::Sum | Reduction::Mean | Reduction::L2Norm => bound,
                            _ => 0.0,
                        };
                        close(&rig.get(out_type, out, rows), &want, off, &o);
                    }
                }
            }
        }
        rig.ops.set_scratch(0, 0).unwrap();
    });
}

#[test]
fn reductions_see_nan_and_take_the_first_of_equals() {
    each_device(|rig| {
        for cols in [40, 3000] {
            rig.reset();
            let mut x = vec![1.0; 4 * cols];
            (x[7], x[9]) = (5.0, 5.0);
            (x[cols + 11], x[cols + 30]) = (f64::NAN, f64::NAN);
            x[2 * cols..3 * cols].fill(f64::NEG_INFINITY);
            x[3 * cols + 20] = f64::INFINITY;
            let at = rig.put(Element::F32, &x);
            let out = rig.space(Element::F32, 4);
            let run = |reduction, out_type| {
                let (rows, cols) = (4, cols as u64);
                rig.run(Operation::Reduce(Reduce {
                    reduction,
                    element: Element::F32,
                    x: at,
                    out,
                    rows,
                    cols,
                    ld: cols,
                }));
                rig.get(out_type, out, 4)
            };
            assert_eq!(run(Reduction::ArgMax, Element::I32), [7.0, 11.0, 0.0, 20.0]);
            for reduction in [Reduction::Max, Reduction::Min, Reduction::Sum] {
                let got = run(reduction, Element::F32);
                assert!(
                    got[1].is_nan() && !got[0].is_nan() && got[2] == f64::NEG_INFINITY,
                    "{reduction:?} {got:?}"
                );
            }
        }
        let empty = |reduction| Reduce {
            reduction,
            element: Element::F32,
            x: 0,
            out: 1 << 20,
            rows: 2,
            cols: 0,
            ld: 0,
        };
        assert!(Operation::Reduce(empty(Reduction::Max)).check().is_err());
        let out = rig.space(Element::F32, 2);
        rig.run(Operation::Reduce(Reduce { out, ..empty(Reduction::Sum) }));
        assert_eq!(rig.get(Element::F32, out, 2), [0.0, 0.0]);
    });
}

#[test]
fn norms_are_right() {
    each_device(|rig| {
        let mut r = Random(13);
        for element in Element::FLOATS {
            for (rows, cols) in SHAPES {
                for (rms, weight, bias) in
                    [(false, true, true), (false, false, false), (true, true, false), (true, false, false)]
                {
                    rig.reset();
                    // A mean that is large beside the differences.
                    let x: Vec<f64> = r
                        .values(element, rows * cols)
                        .iter()
                        .map(|v| crate::rig::rounded(element, v + 3.0))
                        .collect();
                    let (w, b) = (r.values(element, cols), r.values(element, cols));
                    let at = rig.put(element, &x);
                    let w_at = if weight { rig.put(element, &w) } else { 0 };
                    let b_at = if bias { rig.put(element, &b) } else { 0 };
                    let o = Norm {
                        rms,
                        element,
                        x: at,
                        weight: w_at,
                        bias: b_at,
                        out: at,
                        rows,
                        cols,
                        eps: 1e-5,
                    };
                    rig.run(Operation::Norm(o));
                    let mut want = Vec::new();
                    for x in x.chunks_exact(cols as usize) {
                        let n = cols as f64;
                        let mean = if rms { 0.0 } else { x.iter().sum::<f64>() / n };
                        let var = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                        for (i, v) in x.iter().enumerate() {
                            let v = (v - mean) / (var + 1e-5).sqrt();
                            want.push(v * if weight { w[i] } else { 1.0 } + if bias { b[i] } else { 0.0 });
                        }
                    }
                    let off = |i: usize| 2e-5 + want[i].abs() * unit(element) * 1.01 + least(element);
                    close(&rig.get(element, at, rows * cols), &want, off, &o);
                }
            }
        }
    });
}

#[test]
fn rows_in_8_bits_have_the_same_codes_everywhere() {
    each_device(|rig| {
        let mut r = Random(14);
        for element in Element::FLOATS {
            for (rows, cols) in SHAPES {
                rig.reset();
                let mut x = r.values(element, rows * cols);
                if rows > 2 {
                    x[..cols as usize].fill(0.0);
                    x[cols as usize] = f64::INFINITY;
                }
                let at = rig.put(element, &x);
                let (codes, scales) = (rig.space(Element::I8, rows * cols), rig.space(Element::F32, rows));
                let mut o = Quantize { back: false, element, x: at, codes, scales, rows, cols };
                rig.run(Operation::Quantize(o));
                let (mut want, mut want_scales) = (Vec::new(), Vec::new());
                for x in x.chunks_exact(cols as usize) {
                    let largest = x.iter().fold(0f64, |m, v| m.max(v.abs())) as f32;
                    let good = largest.is_finite() && largest >= 1e-30;
                    let inverse = if good { 127.0 / largest } else { 0.0 };
                    want_scales.push(match largest {
                        l if !l.is_finite() => f64::NAN,
                        l if l < 1e-30 => 0.0,
                        l => f64::from(l / 127.0),
                    });
                    for v in x {
                        let code = if good { (*v as f32 * inverse).round_ties_even() } else { 0.0 };
                        want.push(f64::from(code));
                    }
                }
                close(&rig.get(Element::F32, scales, rows), &want_scales, |_| 0.0, &o);
                close(&rig.get(Element::I8, codes, rows * cols), &want, |_| 0.0, &o);
                o.back = true;
                rig.run(Operation::Quantize(o));
                let back: Vec<f64> = want
                    .iter()
                    .enumerate()
                    .map(|(i, q)| f64::from(*q as f32 * want_scales[i / cols as usize] as f32))
                    .map(|v| crate::rig::rounded(element, v))
                    .collect();
                close(&rig.get(element, at, rows * cols), &back, |_| 0.0, &o);
            }
        }
    });
}

#[test]
fn bad_rows_are_refused_by_name() {
    let reduce = Reduce {
        reduction: Reduction::Sum,
        element: Element::F32,
        x: 4096,
        out: 1 << 20,
        rows: 4,
        cols: 8,
        ld: 8,
    };
    let named = |o: Operation, name: &str| {
        let error = o.check().unwrap_err();
        assert!(error.message().contains(&format!("`{name}`")), "{name}: {error}");
    };
    named(Operation::Reduce(Reduce { ld: 7, ..reduce }), "ld");
    named(Operation::Reduce(Reduce { x: 0, ..reduce }), "x");
    named(Operation::Reduce(Reduce { out: 4096 + 16, ..reduce }), "out");
    named(Operation::Reduce(Reduce { rows: 1 << 40, ..reduce }), "rows");
    let e = Operation::Reduce(Reduce { element: Element::I8, ..reduce }).check().unwrap_err();
    assert_eq!(e.status(), Status::Unsupported);
    let norm = Norm {
        rms: false,
        element: Element::F32,
        x: 4096,
        weight: 0,
        bias: 0,
        out: 1 << 20,
        rows: 4,
        cols: 8,
        eps: 1e-5,
    };
    named(Operation::Norm(Norm { eps: f32::NAN, ..norm }), "eps");
    named(Operation::Norm(Norm { eps: -1.0, ..norm }), "eps");
    named(Operation::Norm(Norm { rms: true, bias: 64, ..norm }), "bias");
    named(Operation::Norm(Norm { weight: 1 << 20, ..norm }), "out");
    let soft = SoftMax {
        log: false,
        element: Element::F32,
        x: 4096,
        out: 4096,
        outer: 2,
        axis: 3,
        inner: 4,
        pitch: 4,
    };
    named(Operation::SoftMax(SoftMax { pitch: 3, ..soft }), "pitch");
    named(Operation::SoftMax(SoftMax { out: 4100, ..soft }), "out");
}
