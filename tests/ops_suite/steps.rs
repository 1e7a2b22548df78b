//! Steps: uploads, recorded and replayed bodies, downloads, errors.

use crate::rig::{Random, bytes, each_device, error, matrix};
use cogniware::Error;
use cogniware::ops::{Activation, Product, Weight};
use cogniware::quant::DType;

fn floats(raw: &[u8]) -> Vec<f32> {
    raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn a_recorded_step_computes_with_new_contents() {
    each_device(|rig| {
        let mut r = Random(41);
        let (rows, cols) = (48u32, 256u32);
        let (file, w) = matrix(&mut r, DType::Q8_0, rows, cols);
        let mut packed = vec![0; rig.ops.packed_bytes(DType::Q8_0, rows, cols).unwrap() as usize];
        rig.ops.pack(DType::Q8_0, rows, cols, &file, &mut packed).unwrap();
        let weight = Weight { dtype: DType::Q8_0, rows, cols, ptr: rig.put(&packed) };
        rig.scratch(6, cols, rows, 1, 1, 64);
        let (x, out) = (rig.space(cols as usize * 4 * 6), rig.space(rows as usize * 4 * 6));
        let ops = rig.ops.clone();
        let product = [Product { weight, bias: None, out, add: false }];
        let mut calls = 0;
        for (round, n) in [1usize, 1, 6, 1, 6, 6, 1].into_iter().enumerate() {
            if round == 5 {
                ops.forget();
            }
            let input = r.floats(cols as usize * n);
            let mut result = vec![0xffu8; rows as usize * 4 * n];
            let time = ops
                .step(
                    Some(n as u64),
                    &[(x, bytes(&input))],
                    &mut || {
                        calls += 1;
                        ops.matmul(x, n as u32, &product)?;
                        ops.activate(Activation::Silu, out, u64::from(rows) * n as u64)
                    },
                    &mut [(&mut result, out)],
                )
                .unwrap();
            assert!(time.device.as_nanos() > 0);
            let want: Vec<f64> = (0..rows as usize * n)
                .map(|i| {
                    let (j, m) = (i / rows as usize, i % rows as usize);
                    let c = cols as usize;
                    let y: f64 = (0..c).map(|k| f64::from(input[j * c + k]) * f64::from(w[m * c + k])).sum();
                    y / (1.0 + (-y).exp())
                })
                .collect();
            let e = error(&floats(&result), &want);
            assert!(e < if rig.cuda() { 3e-6 } else { 2e-2 }, "round {round}: {e:.2e}");
        }
        // A device that records calls the body once for each key, and again after it forgot; other threads can make a
        // recording fail, which costs two calls more for that step.
        assert!((4..=7).contains(&calls), "{calls} calls");
        assert!(!rig.cuda() || calls < 7, "{calls} calls: nothing was recorded");
    });
}

#[test]
fn a_key_with_other_uploads_is_recorded_anew() {
    each_device(|rig| {
        let (a, b) = (rig.put(&[0f32; 8]), rig.put(&[0f32; 8]));
        let ops = rig.ops.clone();
        for (to, n) in [(a, 4usize), (b, 8), (a, 8)] {
            let input: Vec<f32> = (0..n).map(|i| i as f32 + 1.0).collect();
            let mut out = vec![0u8; n * 4];
            ops.step(
                Some(1),
                &[(to, bytes(&input))],
                &mut || ops.add(to, to, n as u64),
                &mut [(&mut out, to)],
            )
            .unwrap();
            let want: Vec<f32> = input.iter().map(|v| 2.0 * v).collect();
            assert_eq!(floats(&out), want);
        }
    });
}

#[test]
fn an_error_of_the_body_is_the_error_of_the_step() {
    each_device(|rig| {
        let x = rig.put(&[1f32; 4]);
        let ops = rig.ops.clone();
        for key in [None, Some(9)] {
            for _ in 0..2 {
                let mut out = vec![7u8; 16];
                let e = ops
                    .step(
                        key,
                        &[(x, bytes(&[1f32; 4]))],
                        &mut || {
                            ops.add(x, x, 4)?;
                            Err(Error::argument("layer", "is broken"))
                        },
                        &mut [(&mut out, x)],
                    )
                    .unwrap_err();
                assert!(e.message().contains("is broken"), "{e}");
                assert_eq!(out, [7u8; 16], "a failed step wrote its download");
            }
            // The stream works on.
            let mut out = vec![0u8; 16];
            let input = [3f32; 4];
            ops.step(key, &[(x, bytes(&input))], &mut || ops.add(x, x, 4), &mut [(&mut out, x)]).unwrap();
            assert_eq!(floats(&out), [6f32; 4]);
        }
    });
}

#[test]
fn an_empty_step_runs() {
    each_device(|rig| {
        rig.ops.step(None, &[], &mut || Ok(()), &mut []).unwrap();
        rig.ops.step(Some(3), &[], &mut || Ok(()), &mut []).unwrap();
        rig.ops.step(Some(3), &[], &mut || Ok(()), &mut []).unwrap();
    });
}
