//! Matrix products.

use crate::rig::{Random, Rig, close, each_device, least, unit};
use cogniware::ops::Math;
use cogniware::ops::tensor::{Element, MatMul, Matrix, Operation, Precision, Prepared, Rules};

const TYPES: [Element; 5] = [Element::F32, Element::F16, Element::BF16, Element::I8, Element::F64];

const ALL_RULES: [Rules; 5] = [
    Rules { math: Math::Exact, precision: Precision::F32 },
    Rules { math: Math::Plain, precision: Precision::F32 },
    Rules { math: Math::Fast, precision: Precision::TF32 },
    Rules { math: Math::Fast, precision: Precision::F16 },
    Rules { math: Math::Fast, precision: Precision::BF16 },
];

/// What both inputs may lose.
fn lost(element: Element, rules: Rules) -> f64 {
    match (element, rules.rounding()) {
        (Element::F32, Precision::TF32 | Precision::F16) => 2f64.powi(-10),
        (Element::F32, Precision::BF16) => 2f64.powi(-7),
        _ => 0.0,
    }
}

fn dims(transposed: bool, rows: u64, cols: u64) -> (u64, u64) {
    if transposed { (cols, rows) } else { (rows, cols) }
}

/// Runs one product with random contents, whole or in pieces, and compares it.
fn check(rig: &mut Rig, r: &mut Random, mut o: MatMul, offs: [u64; 3], pieces: bool) {
    rig.reset();
    let e = o.element;
    let size = |m: &Matrix, (rows, cols): (u64, u64)| match (rows, cols) {
        (0, _) | (_, 0) => 0,
        _ => (o.batch - 1) * m.stride + (rows - 1) * m.ld + cols,
    };
    let a_dims = dims(o.transpose_a, o.m, o.k);
    let b_dims = dims(o.transpose_b, o.k, o.n);
    let a = r.values(e, size(&o.a, a_dims));
    let b = r.values(e, size(&o.b, b_dims));
    let held = r.values(o.output(), size(&o.c, (o.m, o.n)));
    o.a.ptr = rig.put_at(e, &a, offs[0] * e.bytes());
    o.b.ptr = rig.put_at(e, &b, offs[1] * e.bytes());
    o.c.ptr = rig.put_at(o.output(), &held, offs[2] * o.output().bytes());
    let mut want = held.clone();
    let mut bound = vec![0f64; held.len()];
    let rules = rig.ops.rules();
    let made_by = rig.ops.implementation(&Operation::MatMul(o));
    let sums = if e == Element::F64 { 2f64.powi(-53) } else { 2f64.powi(-24) };
    let epsilon = sums * (8.0 + o.k as f64) + lost(e, rules);
    for p in 0..o.batch {
        for i in 0..o.m {
            for j in 0..o.n {
                let (mut sum, mut total) = (0f64, 0f64);
                for k in 0..o.k {
                    let (ar, ac) = dims(o.transpose_a, i, k);
                    let (br, bc) = dims(o.transpose_b, k, j);
                    let x = a[(p * o.a.stride + ar * o.a.ld + ac) as usize];
                    let y = b[(p * o.b.stride + br * o.b.ld + bc) as usize];
                    sum += x * y;
                    total += (x * y).abs();
                }
                let at = (p * o.c.stride + i * o.c.ld + j) as usize;
                let value = o.alpha * sum + o.beta * held[at];
                want[at] = value;
                bound[at] = (epsilon * total * o.alpha.abs()).max(1e-30)
                    + value.abs() * unit(o.output()) * 1.01
                    + least(o.output())
                    + (o.beta * held[at]).abs() * sums * 4.0;
                if e == Element::I8 {
                    bound[at] = 0.0;
                }
            }
        }
    }
    if pieces {
        let prepared = Prepared::new(Operation::MatMul(o), &*rig.ops).unwrap();
        for piece in (0..prepared.pieces()).rev() {
            // SAFETY: the test's own memory.
            unsafe { prepared.run(&*rig.ops, piece, None) }.unwrap();
        }
        rig.ops.stream().synchronize().unwrap();
    } else {
        rig.run(Operation::MatMul(o));
    }
    close(&rig.get(o.output(), o.c.ptr, held.len() as u64), &want, |i| bound[i], &(o, rules, made_by));
}

#[test]
fn products_of_every_type_and_layout_are_right() {
    each_device(|rig| {
        let mut r = Random(0x1234_5678_9abc_def1);
        for rules in ALL_RULES {
            rig.ops.set_rules(rules);
            for element in TYPES {
                for case in 0..28 {
                    let pick = |r: &mut Random| [1, 2, 7, 16, 33, 64, 100, 129, 150][r.below(9) as usize];
                    let (m, n, k) = (pick(&mut r), pick(&mut r), pick(&mut r));
                    let mut o = MatMul::new(element, 0, 0, 0, m, n, k);
                    o.transpose_a = case & 1 != 0;
                    o.transpose_b = case & 2 != 0;
                    (o.a.ld, o.b.ld) = (dims(o.transpose_a, m, k).1, dims(o.transpose_b, k, n).1);
                    // Lines that start on 16 bytes and such that do not.
                    let pad = [0, 16, 3][r.below(3) as usize];
                    (o.a.ld, o.b.ld, o.c.ld) = (o.a.ld + pad, o.b.ld + pad, n + pad);
                    if pad == 16 {
                        o.a.ld = o.a.ld.next_multiple_of(16);
                        o.b.ld = o.b.ld.next_multiple_of(16);
                    }
                    o.batch = 1 + r.below(3);
                    o.a.stride = o.a.ld * dims(o.transpose_a, m, k).0;
                    o.b.stride = if r.below(2) == 0 { 0 } else { o.b.ld * dims(o.transpose_b, k, n).0 };
                    o.c.stride = o.c.ld * m + r.below(2) * 5;
                    if element == Element::I8 {
                        (o.alpha, o.beta) = [(1.0, 0.0), (1.0, 1.0), (-3.0, 2.0)][r.below(3) as usize];
                    } else {
                        (o.alpha, o.beta) = [(1.0, 0.0), (0.5, 1.0), (-1.25, 0.75)][r.below(3) as usize];
                    }
                    let off = if case % 3 == 0 { 1 } else { 0 };
                    check(rig, &mut r, o, [off, off, off], false);
                }
            }
        }
    });
}

#[test]
fn long_and_flat_products_are_right_whole_and_in_pieces() {
    each_device(|rig| {
        let mut r = Random(77);
        for element in TYPES {
            for (m, n, k) in [(1, 700, 3000), (700, 1, 300), (300, 40, 1000), (3, 5, 20_000)] {
                for pieces in [false, true] {
                    check(rig, &mut r, MatMul::new(element, 0, 0, 0, m, n, k), [0; 3], pieces);
                }
            }
        }
        // Matrices of a batch side by side in the rows of C.
        let mut o = MatMul::new(Element::F32, 0, 0, 0, 20, 30, 10);
        (o.batch, o.c.ld, o.c.stride) = (4, 120, 30);
        check(rig, &mut r, o, [0; 3], false);
    });
}

#[test]
fn empty_products_do_what_is_said() {
    each_device(|rig| {
        for element in TYPES {
            let output = MatMul::new(element, 0, 0, 0, 1, 1, 1).output();
            let c = rig.put(output, &[3.0; 12]);
            for (m, n, batch) in [(0, 4, 1), (3, 0, 1), (3, 4, 0)] {
                let mut o = MatMul::new(element, 0, 0, c, m, n, 2);
                o.batch = batch;
                rig.run(Operation::MatMul(o));
            }
            assert_eq!(rig.get(output, c, 12), [3.0; 12]);
            let mut o = MatMul::new(element, 0, 0, c, 3, 4, 0);
            o.beta = 2.0;
            rig.run(Operation::MatMul(o));
            assert_eq!(rig.get(output, c, 12), [6.0; 12]);
            // Neither A nor B is read.
            (o.k, o.alpha, o.beta) = (5, 0.0, 0.0);
            (o.a, o.b) = (Matrix::dense(0, 3, 5), Matrix::dense(0, 5, 4));
            rig.run(Operation::MatMul(o));
            assert_eq!(rig.get(output, c, 12), [0.0; 12]);
        }
    });
}

#[test]
fn nans_and_infinities_come_through_and_old_ones_do_not() {
    each_device(|rig| {
        for element in [Element::F32, Element::F16, Element::BF16, Element::F64] {
            for rules in ALL_RULES {
                rig.reset();
                rig.ops.set_rules(rules);
                let mut a = vec![1.0; 20 * 40];
                (a[0], a[40 + 3], a[80 + 5]) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
                let a = rig.put(element, &a);
                let b = rig.put(element, &vec![0.5; 40 * 24]);
                let c = rig.put(element, &vec![f64::NAN; 20 * 24]);
                rig.run(Operation::MatMul(MatMul::new(element, a, b, c, 20, 24, 40)));
                let got = rig.get(element, c, 20 * 24);
                for (row, got) in got.chunks_exact(24).enumerate() {
                    let right = got.iter().all(|v| match row {
                        0 => v.is_nan(),
                        1 => *v == f64::INFINITY,
                        2 => *v == f64::NEG_INFINITY,
                        _ => *v == 20.0,
                    });
                    assert!(right, "{element:?} {rules:?} row {row}: {got:?}");
                }
            }
        }
    });
}

#[test]
fn rules_show_in_the_precision() {
    each_device(|rig| {
        // 1 + 2^-12 is 1 in TF32, F16 and BF16; the product loses what rounding took.
        let (m, n, k) = (128, 128, 256);
        let a = rig.put(Element::F32, &vec![1.0 + 2f64.powi(-12); (m * k) as usize]);
        let b = rig.put(Element::F32, &vec![1.0; (k * n) as usize]);
        let c = rig.space(Element::F32, m * n);
        let run = |circuits, precision| {
            rig.ops.set_rules(Rules::new(circuits, precision));
            rig.run(Operation::MatMul(MatMul::new(Element::F32, a, b, c, m, n, k)));
            rig.get(Element::F32, c, 1)[0] - k as f64
        };
        let whole = k as f64 * 2f64.powi(-12);
        for precision in [Precision::F32, Precision::TF32, Precision::BF16] {
            assert!((run(false, precision) - whole).abs() < 1e-4);
        }
        assert!((run(true, Precision::F32) - whole).abs() < 1e-4);
        if rig.cuda() {
            assert_eq!(run(true, Precision::TF32), 0.0);
            assert_eq!(run(true, Precision::BF16), 0.0);
        }
    });
}

#[test]
fn bad_products_are_refused_by_name() {
    each_device(|rig| {
        let good = {
            let mut o = MatMul::new(Element::F32, 1 << 20, 2 << 20, 3 << 20, 8, 8, 8);
            o.batch = 2;
            o
        };
        let refused = |name: &str, f: &dyn Fn(&mut MatMul)| {
            let mut o = good;
            f(&mut o);
            // SAFETY: refused before anything is touched.
            let error = unsafe { rig.ops.queue(&Operation::MatMul(o)) }.unwrap_err();
            assert!(error.message().contains(&format!("`{name}`")), "{name}: {error}");
        };
        refused("A", &|o| o.a.ptr = 0);
        refused("B", &|o| o.b.ptr = 0);
        refused("C", &|o| o.c.ptr = 0);
        refused("A", &|o| o.a.ptr += 2);
        refused("A", &|o| o.a.ld = 7);
        refused("B", &|o| o.b.ld = 7);
        refused("C", &|o| o.c.ld = 0);
        refused("C", &|o| o.c.stride = 63);
        refused("C", &|o| o.c.stride = 0);
        refused("C", &|o| o.c.ptr = o.a.ptr);
        refused("C", &|o| o.c.ptr = o.b.ptr + 4);
        refused("m", &|o| o.m = 1 << 63);
        refused("k", &|o| o.k = u64::MAX);
        refused("batch", &|o| o.batch = 1 << 40);
        refused("A", &|o| o.a.stride = 1 << 62);
        refused("A", &|o| o.a.ptr = (1 << 63) - 16);
        refused("alpha", &|o| (o.element, o.alpha) = (Element::I8, 0.5));
        refused("k", &|o| (o.element, o.k, o.a.ld) = (Element::I8, 200_000, 200_000));
        let mut o = good;
        o.element = Element::I32;
        // SAFETY: as above.
        assert!(unsafe { rig.ops.queue(&Operation::MatMul(o)) }.unwrap_err().message().contains("int32"));
    });
}
