//! Products and embeddings.

use crate::rig::{DTYPES, Random, Rig, bytes, each_device, error, matrix};
use cogniware::ops::{Product, Weight};
use cogniware::quant::DType;

fn load(rig: &mut Rig, dtype: DType, rows: u32, cols: u32, file: &[u8]) -> Weight {
    let mut packed = vec![0x55; rig.ops.packed_bytes(dtype, rows, cols).unwrap() as usize];
    assert!(packed.len().is_multiple_of(256));
    rig.ops.pack(dtype, rows, cols, file, &mut packed).unwrap();
    Weight { dtype, rows, cols, ptr: rig.put(&packed) }
}

/// How far a product may be from f64. CUDA kernels keep f32 accuracy; with cuBLASLt, BF16 matrices see activations of
/// 16 bits in two parts and quantized ones f16; the CPU device may read quantized activations.
fn bound(rig: &Rig, dtype: DType, n: u32) -> f64 {
    match (rig.cuda(), dtype) {
        (_, DType::F32) => 2e-6,
        (true, DType::BF16) if n >= 16 => 2e-5,
        (true, DType::F16) if n >= 64 => 3e-6,
        (true, _) if n >= 64 => 1e-3,
        (true, _) => 2e-6,
        (false, DType::F16 | DType::BF16) => 1e-5,
        (false, _) => 2e-2,
    }
}

fn product(r: &mut Random, rig: &mut Rig, dtype: DType, rows: &[u32], cols: u32, n: u32, size: f32) {
    let x: Vec<f32> = r.floats((n * cols) as usize).iter().map(|v| v * size).collect();
    rig.scratch(n, cols, *rows.iter().max().unwrap(), 1, 1, 64);
    let xp = rig.put(&x);
    let mut products = Vec::new();
    let mut wanted = Vec::new();
    for (i, &rows) in rows.iter().enumerate() {
        let (file, w) = matrix(r, dtype, rows, cols);
        let weight = load(rig, dtype, rows, cols, &file);
        let with_bias = i % 2 == 1 || r.below(2) == 1;
        let bias: Vec<f32> = r.floats(rows as usize).iter().map(|v| v * size).collect();
        let before: Vec<f32> = r.floats((n * rows) as usize).iter().map(|v| v * size).collect();
        let add = r.below(2) == 1;
        let out = if add { rig.put(&before) } else { rig.space((n * rows) as usize * 4) };
        products.push(Product { weight, bias: with_bias.then(|| rig.put(&bias)), out, add });
        let mut want = vec![0f64; (n * rows) as usize];
        for j in 0..n as usize {
            for m in 0..rows as usize {
                let row = &w[m * cols as usize..][..cols as usize];
                let xs = &x[j * cols as usize..][..cols as usize];
                let dot: f64 = row.iter().zip(xs).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
                let at = j * rows as usize + m;
                want[at] = dot
                    + if with_bias { f64::from(bias[m]) } else { 0.0 }
                    + if add { f64::from(before[at]) } else { 0.0 };
            }
        }
        wanted.push(want);
    }
    rig.run(|ops| ops.matmul(xp, n, &products));
    for (p, want) in products.iter().zip(&wanted) {
        let e = error(&rig.floats(p.out, want.len()), want);
        // Two f16 parts hold fewer bits of small numbers: f16 ends at 6e-8, and activations are scaled by 1/16.
        let small = rig.cuda() && dtype == DType::F16 && n >= 64 && size < 0.1;
        let most = if small { 1e-3 } else { bound(rig, dtype, n) };
        assert!(
            e <= most,
            "{dtype:?} {} x {cols}, {n} rows, size {size}: {e:.2e} > {most:.0e}",
            p.weight.rows
        );
    }
    rig.reset();
}

#[test]
fn products_of_all_types_and_row_counts() {
    each_device(|rig| {
        let mut r = Random(11);
        for dtype in DTYPES {
            let block = dtype.block() as u32;
            let few = if block == 1 { 7 } else { block };
            for n in [1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 33, 64, 70] {
                let rows = 1 + r.below(90) as u32;
                let cols = few * (1 + r.below(9) as u32);
                product(&mut r, rig, dtype, &[rows], cols, n, 1.0);
            }
            product(&mut r, rig, dtype, &[1], few, 1, 1.0);
            product(&mut r, rig, dtype, &[64, 16, 17], 512, 1, 1.0);
            product(&mut r, rig, dtype, &[64, 16, 17, 5, 31], 768, 6, 1.0);
            product(&mut r, rig, dtype, &[256, 130], 2048, 66, 1.0);
            product(&mut r, rig, dtype, &[48], 12288, 1, 1.0);
            product(&mut r, rig, dtype, &[48], 14336, 4, 1.0);
        }
    });
}

#[test]
fn products_of_large_and_small_activations() {
    each_device(|rig| {
        let mut r = Random(12);
        for dtype in DTYPES {
            for size in [1e-3, 3e4, 9e5] {
                product(&mut r, rig, dtype, &[40], 512, 2, size);
                product(&mut r, rig, dtype, &[40], 512, 66, size);
            }
        }
    });
}

#[test]
fn different_types_share_an_input() {
    each_device(|rig| {
        let mut r = Random(13);
        let (n, cols) = (3, 256);
        let x = r.floats(n * cols);
        let xp = rig.put(&x);
        rig.scratch(n as u32, cols as u32, 32, 1, 1, 64);
        let mut products = Vec::new();
        let mut values = Vec::new();
        for dtype in [DType::Q4_K, DType::Q6_K, DType::F32, DType::Q6_K] {
            let (file, w) = matrix(&mut r, dtype, 20, cols as u32);
            let weight = load(rig, dtype, 20, cols as u32, &file);
            products.push(Product { weight, bias: None, out: rig.space(n * 20 * 4), add: false });
            values.push(w);
        }
        rig.run(|ops| ops.matmul(xp, n as u32, &products));
        for (p, w) in products.iter().zip(&values) {
            let want: Vec<f64> = (0..n * 20)
                .map(|i| {
                    (0..cols).map(|k| f64::from(x[i / 20 * cols + k]) * f64::from(w[i % 20 * cols + k])).sum()
                })
                .collect();
            let e = error(&rig.floats(p.out, n * 20), &want);
            assert!(e < bound(rig, p.weight.dtype, 3), "{:?}: {e:.2e}", p.weight.dtype);
        }
    });
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    each_device(|rig| {
        let mut r = Random(14);
        for dtype in DTYPES {
            let most = match dtype {
                DType::F32 | DType::BF16 => 8,
                _ => 40,
            };
            let (rows, cols) = (37u32, 1280u32);
            let (file, _) = matrix(&mut r, dtype, rows, cols);
            let weight = load(rig, dtype, rows, cols, &file);
            let x = r.floats((most * cols) as usize);
            let xp = rig.put(&x);
            rig.scratch(most, cols, rows, 1, 1, 64);
            let out = rig.space((most * rows) as usize * 4);
            let product = Product { weight, bias: None, out, add: false };
            rig.run(|ops| ops.matmul(xp, most, &[product]));
            let all = rig.floats(out, (most * rows) as usize);
            for n in [1, 3, 6] {
                let first = most - n;
                let from = xp + u64::from(first * cols) * 4;
                rig.run(|ops| ops.matmul(from, n, &[product]));
                let some = rig.floats(out, (n * rows) as usize);
                assert_eq!(some, all[(first * rows) as usize..], "{dtype:?}, {n} of {most} rows");
            }
            rig.reset();
        }
    });
}

#[test]
fn embeddings_are_exact() {
    each_device(|rig| {
        let mut r = Random(15);
        for dtype in DTYPES {
            let (rows, cols) = (67u32, dtype.block().max(11) as u32 * 3);
            let (file, w) = matrix(&mut r, dtype, rows, cols);
            let table = load(rig, dtype, rows, cols, &file);
            let ids: Vec<i32> = (0..9).map(|_| r.below(rows as usize) as i32).collect();
            let idp = rig.put(&ids);
            let out = rig.space(9 * cols as usize * 4);
            rig.run(|ops| ops.embed(&table, idp, out, 9));
            let want: Vec<f64> = ids
                .iter()
                .flat_map(|&id| &w[id as usize * cols as usize..][..cols as usize])
                .map(|&v| f64::from(v))
                .collect();
            let e = error(&rig.floats(out, want.len()), &want);
            assert!(e < 2e-7, "{dtype:?}: {e:.2e}");
            rig.reset();
        }
        assert_eq!(bytes(&[1i32]), [1, 0, 0, 0]);
    });
}
