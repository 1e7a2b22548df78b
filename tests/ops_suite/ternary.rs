//! Products of ternary matrices: the bits of the reference, on every device.

use crate::rig::{Random, Rig, each_device};
use cogniware::Status;
use cogniware::ops::{Product, Weight};
use cogniware::quant::{DType, lowbit};

/// A matrix of codes 0, 1, 2 on the device.
struct Matrix {
    codes: Vec<u8>,
    scale: f32,
    weight: Weight,
}

fn matrix(rig: &mut Rig, rows: u32, cols: u32, scale: f32, mut code: impl FnMut() -> u8) -> Matrix {
    let codes: Vec<u8> = (0..rows * cols).map(|_| code()).collect();
    let values: Vec<i8> = codes.iter().map(|c| *c as i8 - 1).collect();
    let mut file = vec![0; values.len() / 4 + lowbit::I2S_TAIL];
    lowbit::i2s_pack(&values, scale, &mut file).unwrap();
    let mut packed = vec![0xEE; rig.ops.packed_bytes(DType::I2_S, rows, cols).unwrap() as usize];
    rig.ops.pack(DType::I2_S, rows, cols, &file, &mut packed).unwrap();
    let weight = Weight { dtype: DType::I2_S, rows, cols, ptr: rig.put(&packed) };
    Matrix { codes, scale, weight }
}

fn expected(m: &Matrix, x: &[f32]) -> Vec<f32> {
    let cols = m.weight.cols as usize;
    let mut codes = vec![0i8; cols];
    let mut all = Vec::new();
    for x in x.chunks_exact(cols) {
        let token = lowbit::quantize_token(x, &mut codes).unwrap();
        all.extend(
            m.codes.chunks_exact(cols).map(|row| lowbit::product(row, 1, m.scale, &codes, token).unwrap()),
        );
    }
    all
}

/// Products of these matrices with `x`, some with a bias, some added to what is there.
fn check(r: &mut Random, rig: &mut Rig, matrices: &[Matrix], x: &[f32], what: &str) {
    let n = x.len() / matrices[0].weight.cols as usize;
    let most = matrices.iter().map(|m| m.weight.rows).max().unwrap();
    rig.scratch(n as u32, matrices[0].weight.cols, most, 1, 1, 64);
    let xp = rig.put(x);
    let (mut products, mut wanted) = (Vec::new(), Vec::new());
    for m in matrices {
        let rows = m.weight.rows as usize;
        let mut want = expected(m, x);
        let bias = (r.below(2) == 1).then(|| r.floats(rows));
        let add = r.below(2) == 1;
        let before = r.floats(n * rows);
        let out = if add { rig.put(&before) } else { rig.space(n * rows * 4) };
        for (at, want) in want.iter_mut().enumerate() {
            if let Some(bias) = &bias {
                *want += bias[at % rows];
            }
            if add {
                *want += before[at];
            }
        }
        products.push(Product { weight: m.weight, bias: bias.map(|b| rig.put(&b)), out, add });
        wanted.push(want);
    }
    rig.run(|ops| ops.matmul(xp, n as u32, &products));
    for (p, want) in products.iter().zip(&wanted) {
        let got = rig.floats(p.out, want.len());
        let bad =
            got.iter().zip(want).position(|(g, w)| g.to_bits() != w.to_bits() && !(g.is_nan() && w.is_nan()));
        if let Some(at) = bad {
            panic!(
                "{what}, {} x {}, {n} rows: element {at} is {} and should be {}",
                p.weight.rows, p.weight.cols, got[at], want[at]
            );
        }
    }
    rig.reset();
}

#[test]
fn every_device_gives_the_bits_of_the_reference() {
    each_device(|rig| {
        let mut r = Random(51);
        for n in [1, 2, 3, 5, 8, 9, 16, 17, 33, 64, 70, 130, 161, 200, 512] {
            for (rows, cols) in
                [(1 + r.below(200) as u32, 128 * (1 + r.below(6) as u32)), (32, 100), (64, 2564)]
            {
                let m = matrix(rig, rows, cols, 0.031, || r.below(3) as u8);
                let x = r.floats(n * cols as usize);
                check(&mut r, rig, &[m], &x, "one");
            }
        }
        for n in [1, 4, 40, 170] {
            let all: Vec<Matrix> = [640, 128, 130, 17, 256]
                .map(|rows| matrix(rig, rows, 640, 0.5 / rows as f32, || r.below(3) as u8))
                .into();
            let x = r.floats(n * 640);
            check(&mut r, rig, &all, &x, "several");
        }
    });
}

/// All weights 1 and all activations at their most, where sums of 16 bits wrap around.
#[test]
fn the_largest_sums_do_not_wrap() {
    each_device(|rig| {
        let mut r = Random(52);
        for cols in [4096, 6912, 14336, 16384] {
            for (code, sign) in [(2, 1.0), (2, -1.0), (0, 1.0)] {
                for n in [1, 20, 165] {
                    let m = matrix(rig, 16, cols, 1.0, || code);
                    check(&mut r, rig, &[m], &vec![sign; n * cols as usize], "extremes");
                }
            }
        }
    });
}

#[test]
fn what_is_not_finite_shows_in_its_own_row_only() {
    each_device(|rig| {
        let mut r = Random(53);
        for n in [3, 20, 165] {
            let m = matrix(rig, 48, 256, 1.0, || r.below(3) as u8);
            let mut x = r.floats(n * 256);
            (x[256 + 7], x[2 * 256 + 255]) = (f32::NAN, f32::NEG_INFINITY);
            check(&mut r, rig, &[m], &x, "not finite");
        }
    });
}

#[test]
fn ternary_matrices_that_cannot_be_are_refused() {
    each_device(|rig| {
        assert!(rig.ops.packed_bytes(DType::I2_S, 3, 100).is_err());
        assert_eq!(rig.ops.packed_bytes(DType::TQ2_0, 4, 256).unwrap_err().status(), Status::Unsupported);
        let mut packed = vec![0; rig.ops.packed_bytes(DType::I2_S, 4, 128).unwrap() as usize];
        let mut file = vec![0x55u8; 128 + 32];
        file[128..132].copy_from_slice(&1f32.to_le_bytes());
        rig.ops.pack(DType::I2_S, 4, 128, &file, &mut packed).unwrap();
        assert!(rig.ops.pack(DType::I2_S, 4, 128, &file[1..], &mut packed).is_err());
        file[40] = 0xFF;
        assert!(
            rig.ops.pack(DType::I2_S, 4, 128, &file, &mut packed).unwrap_err().to_string().contains("code 3")
        );
    });
}
