//! Norms, activations, sums and gathers.

use crate::rig::{Random, each_device, error};
use cogniware::ops::Activation;

fn erf(x: f64) -> f64 {
    // The series of erf converges everywhere; the tests stay below 6.
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn act(a: Activation, x: f64) -> f64 {
    match a {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        Activation::SquaredRelu => x.max(0.0) * x.max(0.0),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }
    }
}

#[test]
fn norms() {
    each_device(|rig| {
        let mut r = Random(21);
        for (n, dim) in [(1, 1), (3, 8), (17, 64), (9, 128), (2, 257), (5, 1000), (2, 2048), (1, 8192)] {
            // A large mean is where a careless variance fails.
            let x: Vec<f32> = r.floats(n * dim).iter().map(|v| v + 30.0).collect();
            let (w, b) = (r.floats(dim), r.floats(dim));
            let (xp, wp, bp) = (rig.put(&x), rig.put(&w), rig.put(&b));
            let out = rig.space(n * dim * 4);
            let (count, width) = (n as u32, dim as u32);
            let mut rms = Vec::new();
            let mut layer = Vec::new();
            for row in x.chunks(dim) {
                let d = dim as f64;
                let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / d;
                let square = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / d;
                let var = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / d;
                for k in 0..dim {
                    let v = f64::from(row[k]);
                    rms.push(v / (square + 1e-5).sqrt() * f64::from(w[k]));
                    layer.push((v - mean) / (var + 1e-5).sqrt() * f64::from(w[k]) + f64::from(b[k]));
                }
            }
            rig.run(|ops| ops.rms_norm(xp, wp, out, count, width, 1e-5));
            let e = error(&rig.floats(out, n * dim), &rms);
            assert!(e < 2e-6, "rms {n} x {dim}: {e:.2e}");
            rig.run(|ops| ops.layer_norm(xp, wp, bp, out, count, width, 1e-5));
            let e = error(&rig.floats(out, n * dim), &layer);
            assert!(e < 2e-5, "layer {n} x {dim}: {e:.2e}");
            // In place.
            rig.run(|ops| ops.rms_norm(xp, wp, xp, count, width, 1e-5));
            assert!(error(&rig.floats(xp, n * dim), &rms) < 2e-6, "rms in place {n} x {dim}");
            rig.reset();
        }
    });
}

#[test]
fn activations_and_sums() {
    each_device(|rig| {
        let mut r = Random(22);
        for count in [1usize, 3, 255, 256, 257, 10_000] {
            for a in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::SquaredRelu] {
                let x: Vec<f32> = r.floats(count).iter().map(|v| v * 5.0).collect();
                let y = r.floats(count);
                let (xp, yp, zp) = (rig.put(&x), rig.put(&y), rig.put(&x));
                rig.run(|ops| {
                    ops.gated(a, xp, yp, count as u64)?;
                    ops.activate(a, zp, count as u64)
                });
                let once: Vec<f64> = x.iter().map(|&v| act(a, v.into())).collect();
                let times: Vec<f64> = once.iter().zip(&y).map(|(v, &u)| v * f64::from(u)).collect();
                let (e, f) = (error(&rig.floats(xp, count), &times), error(&rig.floats(zp, count), &once));
                assert!(e < 2e-6 && f < 2e-6, "{a:?} of {count}: {e:.2e} {f:.2e}");
                rig.run(|ops| ops.add(zp, yp, count as u64));
                let sum: Vec<f64> = once.iter().zip(&y).map(|(v, &u)| v + f64::from(u)).collect();
                assert!(error(&rig.floats(zp, count), &sum) < 2e-6);
                rig.reset();
            }
        }
        // Far out, nothing overflows.
        let x = [-1e4f32, -200.0, 200.0, 1e4];
        let xp = rig.put(&x);
        rig.run(|ops| ops.activate(Activation::Silu, xp, 4));
        assert_eq!(rig.floats(xp, 4), [0.0, 0.0, 200.0, 1e4]);
    });
}

#[test]
fn gathers() {
    each_device(|rig| {
        let mut r = Random(23);
        let (rows, dim) = (13, 301);
        let x = r.floats(rows * dim);
        let index = [12i32, 0, 0, 7];
        let (xp, ip) = (rig.put(&x), rig.put(&index));
        let out = rig.space(4 * dim * 4);
        rig.run(|ops| ops.gather(xp, ip, out, 4, dim as u32));
        let want: Vec<f32> = index.iter().flat_map(|&i| x[i as usize * dim..][..dim].to_vec()).collect();
        assert_eq!(rig.floats(out, 4 * dim), want);
    });
}
