//! Conversions, transpositions, copies, bytes set, and kernels by name.

use crate::rig::{Random, close, each_device, raw, rounded};
use cogniware::ops::tensor::{
    Argument, BUILTINS, Cast, Copy, Element, Operation, Prepared, Set, Transpose, builtin,
};

#[test]
fn every_conversion_rounds_once() {
    each_device(|rig| {
        let mut r = Random(21);
        let edges = [
            0.5,
            1.5,
            2.5,
            -0.5,
            -1.5,
            127.4,
            200.0,
            -200.0,
            70000.0,
            -70000.0,
            1e10,
            -1e10,
            16777217.0,
            1.0 + 4.8828125e-4,
            1.0004882812500002,
            1.00390625,
            1.0039062500000002,
            1e-7,
            5.96e-8,
            1e-40,
            1e300,
        ];
        for from in Element::ALL {
            for to in Element::ALL {
                rig.reset();
                let mut x: Vec<f64> = r.values(from, 3000);
                for (x, edge) in x.iter_mut().zip(edges) {
                    // What the type holds of it.
                    *x = crate::rig::values(from, &raw(from, &[edge]))[0];
                }
                if [Element::F32, Element::F64, Element::F16, Element::BF16].contains(&from) {
                    (x[30], x[31], x[32]) = (f64::NAN, f64::INFINITY, f64::NEG_INFINITY);
                }
                let count = x.len() as u64;
                let (at, out) = (rig.put(from, &x), rig.space(to, count));
                rig.run(Operation::Cast(Cast { from, to, x: at, out, count }));
                let want: Vec<f64> = x
                    .iter()
                    .map(|&x| match to {
                        Element::F64 => x,
                        Element::F32 => f64::from(x as f32),
                        Element::I8 => f64::from(x.round_ties_even() as i8),
                        Element::I32 => f64::from(x.round_ties_even() as i32),
                        Element::F16 => nearest(x, 11, -14, 65504.0),
                        Element::BF16 => nearest(x, 8, -126, f64::from(half::bf16::MAX)),
                    })
                    .collect();
                close(&rig.get(to, out, count), &want, |_| 0.0, &(from, to));
            }
        }
    });
}

/// The nearest number of `bits` bits, exponents from `least` on, up to `most`: to even, once.
fn nearest(x: f64, bits: i32, least: i32, most: f64) -> f64 {
    if !x.is_finite() || x == 0.0 {
        return x;
    }
    let exponent = (x.abs().log2().floor() as i32).clamp(least, 1023);
    // Near a power of two the logarithm may be off by one.
    let exponent = if x.abs() < 2f64.powi(exponent) && exponent > least { exponent - 1 } else { exponent };
    let step = 2f64.powi(exponent - bits + 1);
    let y = (x / step).round_ties_even() * step;
    if y.abs() > most { x.signum() * f64::INFINITY } else { y }
}

#[test]
fn transpositions_move_every_element_once() {
    each_device(|rig| {
        let mut r = Random(22);
        for element in Element::ALL {
            for (rows, cols, pad) in [(1, 1, 0), (33, 65, 0), (100, 3, 5), (7, 300, 1), (64, 64, 0)] {
                rig.reset();
                let (ld, out_ld) = (cols + pad, rows + pad);
                let x = r.values(element, rows * ld);
                let held = r.values(element, cols * out_ld);
                let (at, out) = (rig.put(element, &x), rig.put(element, &held));
                let o = Transpose { element, x: at, out, rows, cols, ld, out_ld };
                rig.run(Operation::Transpose(o));
                let mut want = held;
                for row in 0..rows {
                    for col in 0..cols {
                        want[(col * out_ld + row) as usize] = x[(row * ld + col) as usize];
                    }
                }
                close(&rig.get(element, out, cols * out_ld), &want, |_| 0.0, &o);
            }
        }
    });
}

#[test]
fn copies_and_fills_of_any_length_end_where_they_should() {
    each_device(|rig| {
        let mut r = Random(23);
        for bytes in [0, 1, 4097, 1_000_003] {
            rig.reset();
            let x = r.values(Element::I8, bytes + 1);
            let (src, dst) = (rig.put(Element::I8, &x), rig.space(Element::I8, bytes));
            rig.run(Operation::Copy(Copy { dst, src: src + 1, bytes }));
            close(&rig.get(Element::I8, dst, bytes), &x[1..], |_| 0.0, &bytes);
            rig.run(Operation::Set(Set { dst, value: 0x5b, bytes }));
            assert!(rig.get(Element::I8, dst, bytes).iter().all(|v| *v == f64::from(0x5b)));
        }
        let o = Operation::Copy(Copy { dst: 4096, src: 4096 + 8, bytes: 100 });
        assert!(o.check().unwrap_err().message().contains("`dst`"));
    });
}

#[test]
fn kernels_by_name_run_with_their_arguments() {
    each_device(|rig| {
        use Argument::{F32, I32, Pointer, U64};
        let call = |rig: &crate::rig::Rig, name: &str, arguments: &[Argument]| {
            let prepared = builtin(name).unwrap().prepare(arguments, &*rig.ops).unwrap();
            assert!(prepared.ranges().iter().any(|r| r.write));
            for piece in 0..prepared.pieces() {
                // SAFETY: the test's own memory.
                unsafe { prepared.run(&*rig.ops, piece, None) }.unwrap();
            }
            // SAFETY: refused.
            assert!(unsafe { prepared.run(&*rig.ops, prepared.pieces(), None) }.is_err());
            rig.ops.stream().synchronize().unwrap();
        };
        let n = 3_000_000u64;
        let x: Vec<f64> = (0..n).map(|i| (i % 1000) as f64).collect();
        let (a, b) = (rig.put(Element::F32, &x), rig.space(Element::F32, n));
        call(rig, "scale", &[Pointer(a), Pointer(b), U64(n), I32(0), F32(2.0)]);
        call(rig, "axpy", &[Pointer(a), Pointer(b), Pointer(b), U64(n), I32(0), F32(-1.0)]);
        call(rig, "subtract", &[Pointer(b), Pointer(a), Pointer(b), U64(n), I32(0)]);
        assert!(rig.get(Element::F32, b, n).iter().all(|v| *v == 0.0));
        call(rig, "sum", &[Pointer(a), Pointer(b), I32(3000), I32(1000), I32(0)]);
        assert_eq!(rig.get(Element::F32, b, 3000), vec![499_500.0; 3000]);
        call(rig, "fill", &[Pointer(a), U64(64), I32(0), F32(0.5)]);
        call(
            rig,
            "matrix_multiply",
            &[Pointer(a), Pointer(a), Pointer(b), I32(8), I32(8), I32(8), I32(0), F32(2.0)],
        );
        assert_eq!(rig.get(Element::F32, b, 64), vec![4.0; 64]);
        assert!(BUILTINS.len() > 40);
        // A large one is cut into pieces of about a millisecond.
        let large = builtin("matrix_multiply").unwrap();
        let big = 1 << 30;
        let arguments =
            [Pointer(big), Pointer(big << 4), Pointer(big << 8), I32(16384), I32(16384), I32(16384), I32(0)];
        let prepared: Prepared = large.prepare(&arguments, &*rig.ops).unwrap();
        assert!(prepared.pieces() > 10, "{}", prepared.pieces());
        assert_eq!(rounded(Element::F32, 0.5), 0.5);
    });
}
