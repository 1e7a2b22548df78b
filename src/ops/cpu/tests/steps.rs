//! Steps, norms, element-wise functions and row moves.

use super::super::testing::{Buffer, DTYPES, Random, random_weights};
use super::super::{CpuOps, Isa};
use super::{levels, ops};

use crate::device::cpu::CpuDevice;
use crate::ops::{Activation, Ops, Product, Weight, for_stream};
use crate::quant::{DType, dequantize};
use crate::{Error, Result, Status};

fn step(ops: &dyn Ops, mut body: impl FnMut() -> Result<()> + Send) {
    ops.step(None, &[], &mut body, &mut []).unwrap();
}

#[test]
fn a_step_uploads_runs_downloads_and_measures() {
    let ops = ops(Isa::highest(), 1);
    let memory = Buffer::of(&[0f32; 4]);
    let (from, mut to) = (1.5f32.to_ne_bytes(), [0; 8]);
    let mut other = None;
    let mut body = || {
        other = Some(std::thread::current().id());
        ops.add(memory.ptr() + 4, memory.ptr(), 1)?;
        std::thread::sleep(std::time::Duration::from_millis(2));
        Ok(())
    };
    let uploads = [(memory.ptr(), &from[..]), (memory.ptr() + 4, &from[..])];
    let time = ops.step(Some(1), &uploads, &mut body, &mut [(&mut to[..], memory.ptr())]).unwrap();
    assert_eq!(to[..4], from);
    assert_eq!(to[4..], 3f32.to_ne_bytes());
    assert!(time.device.as_micros() >= 2000);
    assert_ne!(other, Some(std::thread::current().id()));
    ops.forget();
}

#[test]
fn a_failing_or_panicking_body_ends_its_own_step_only() {
    let ops = ops(Isa::highest(), 1);
    let e = ops.step(None, &[], &mut || Err(Error::not_found("tea")), &mut []).unwrap_err();
    assert_eq!(e.status(), Status::NotFound);
    let e = ops.step(None, &[], &mut || panic!("expected by this test"), &mut []).unwrap_err();
    assert_eq!(e.status(), Status::Panic);
    let mut ran = false;
    ops.step(
        None,
        &[],
        &mut || {
            ran = true;
            Ok(())
        },
        &mut [],
    )
    .unwrap();
    assert!(ran);
}

#[test]
fn operations_of_a_node_multiply_on_its_team() {
    let device = CpuDevice::open().unwrap();
    let units: Vec<u32> = (0..device.units().len() as u32).collect();
    let node = device.node_create(&units).unwrap();
    let stream = node.stream_create(0).unwrap();
    let ops = for_stream(&device, node, stream).unwrap();
    let mut random = Random::new(31);
    let (rows, cols, n) = (512, 1024, 3);
    let stored = random_weights(&mut random, DType::Q8_0, rows, cols);
    let mut packed = Buffer::new(ops.packed_bytes(DType::Q8_0, rows, cols).unwrap() as usize);
    ops.pack(DType::Q8_0, rows, cols, &stored, packed.bytes_mut()).unwrap();
    let x = Buffer::of(&random.floats((n * cols) as usize));
    let out = Buffer::new((n * rows * 4) as usize);
    let weight = Weight { dtype: DType::Q8_0, rows, cols, ptr: packed.ptr() };
    let product = [Product { weight, bias: None, out: out.ptr(), add: false }];
    let e = ops.step(None, &[], &mut || ops.matmul(x.ptr(), n, &product), &mut []).unwrap_err();
    assert!(e.message().contains("scratch"), "{e}");
    let scratch = Buffer::new(ops.scratch_bytes(n, cols, rows, 1, 1, 64) as usize);
    ops.set_scratch(scratch.ptr(), scratch.floats().len() as u64 * 4).unwrap();
    step(&*ops, || ops.matmul(x.ptr(), n, &product));
    let mut row = vec![0.0; cols as usize];
    for (r, stored) in stored.chunks_exact(stored.len() / rows as usize).enumerate() {
        dequantize(DType::Q8_0, stored, &mut row).unwrap();
        for (t, x) in x.floats().chunks_exact(cols as usize).enumerate() {
            let want: f32 = row.iter().zip(x).map(|(w, x)| w * x).sum();
            let got = out.floats()[t * rows as usize + r];
            let size: f32 = row.iter().map(|w| w * w).sum::<f32>().sqrt();
            assert!((got - want).abs() < 0.05 * size, "{got} {want}");
        }
    }
}

#[test]
fn only_the_cpu_and_only_levels_it_has_are_accepted() {
    assert!(Isa::parse("avx1024").unwrap_err().to_string().contains("avx512-vnni"));
    if Isa::highest() < Isa::Avx512Vnni {
        let device = CpuDevice::open().unwrap();
        let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
        let crew = std::sync::Arc::new(super::Threads(1));
        assert!(CpuOps::with_level(Isa::Avx512Vnni, crate::ops::Math::Exact, crew, stream).is_err());
    }
}

#[test]
fn norms_follow_their_formulas_in_place_too() {
    let mut random = Random::new(32);
    for isa in levels() {
        let ops = ops(isa, 2);
        for (n, dim) in [(1, 4096), (7, 33), (300, 64)] {
            let (x, w, b) = (random.floats(n * dim), random.floats(dim), random.floats(dim));
            let (xb, wb, bb) = (Buffer::of(&x), Buffer::of(&w), Buffer::of(&b));
            let (rms, layer) = (Buffer::new(n * dim * 4), Buffer::of(&x));
            step(&*ops, || {
                ops.rms_norm(xb.ptr(), wb.ptr(), rms.ptr(), n as u32, dim as u32, 1e-5)?;
                let at = layer.ptr();
                ops.layer_norm(at, wb.ptr(), bb.ptr(), at, n as u32, dim as u32, 1e-5)
            });
            let (rms, layer) = (rms.floats(), layer.floats());
            for (row, x) in x.chunks_exact(dim).enumerate() {
                let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / dim as f64;
                let square = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / dim as f64;
                for i in 0..dim {
                    let (x, w, b) = (f64::from(x[i]), f64::from(w[i]), f64::from(b[i]));
                    let want = x / (square + 1e-5).sqrt() * w;
                    assert!((f64::from(rms[row * dim + i]) - want).abs() < 1e-5);
                    let want = (x - mean) / (square - mean * mean + 1e-5).sqrt() * w + b;
                    assert!((f64::from(layer[row * dim + i]) - want).abs() < 2e-5);
                }
            }
        }
    }
}

#[test]
fn elementwise_functions_reach_every_element() {
    let mut random = Random::new(33);
    for count in [1, 17, 8192, 20_001] {
        let (x, y) = (random.floats(count), random.floats(count));
        for isa in levels() {
            let ops = ops(isa, 2);
            for activation in
                [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::SquaredRelu]
            {
                let (gate, up) = (Buffer::of(&x), Buffer::of(&y));
                let (alone, sum) = (Buffer::of(&x), Buffer::of(&x));
                step(&*ops, || {
                    ops.gated(activation, gate.ptr(), up.ptr(), count as u64)?;
                    ops.activate(activation, alone.ptr(), count as u64)?;
                    ops.add(sum.ptr(), up.ptr(), count as u64)
                });
                let (gate, alone, sum) = (gate.floats(), alone.floats(), sum.floats());
                for i in 0..count {
                    let d = f64::from(x[i]);
                    let slope = (2.0 / std::f64::consts::PI).sqrt() * (d + 0.044715 * d.powi(3));
                    let (want, bound) = match activation {
                        Activation::Silu => (d / (1.0 + (-d).exp()), 1e-6),
                        // The two GELUs differ by less than 5e-4; the exact one is tested beside its formula.
                        Activation::Gelu => (0.5 * d * (1.0 + slope.tanh()), 5e-4),
                        Activation::GeluTanh => (0.5 * d * (1.0 + slope.tanh()), 1e-6),
                        Activation::SquaredRelu => (d.max(0.0).powi(2), 1e-5),
                    };
                    assert!((f64::from(alone[i]) - want).abs() < bound, "{activation:?} {}", x[i]);
                    assert_eq!((gate[i], sum[i]), (alone[i] * y[i], x[i] + y[i]));
                }
            }
        }
    }
}

#[test]
fn rows_are_looked_up_and_gathered() {
    let mut random = Random::new(34);
    let ops = ops(Isa::highest(), 2);
    let ids = [3i32, 0, 36, 3, 16];
    for dtype in DTYPES {
        let (rows, cols) = (37, 256);
        let stored = random_weights(&mut random, dtype, rows, cols);
        let mut packed = Buffer::new(ops.packed_bytes(dtype, rows, cols).unwrap() as usize);
        ops.pack(dtype, rows, cols, &stored, packed.bytes_mut()).unwrap();
        let table = Weight { dtype, rows, cols, ptr: packed.ptr() };
        let (ids_at, out, picked) = (Buffer::of(&ids), Buffer::new(5 * 1024), Buffer::new(2 * 1024));
        let last = Buffer::of(&[4i32, 1]);
        step(&*ops, || {
            ops.embed(&table, ids_at.ptr(), out.ptr(), 5)?;
            ops.gather(out.ptr(), last.ptr(), picked.ptr(), 2, cols)
        });
        let out = out.floats();
        let mut want = vec![0.0; 256];
        for (id, got) in ids.iter().zip(out.chunks_exact(256)) {
            let row = stored.len() / 37;
            dequantize(dtype, &stored[*id as usize * row..][..row], &mut want).unwrap();
            assert_eq!(got, want, "{dtype:?} {id}");
        }
        assert_eq!(picked.floats(), [&out[4 * 256..], &out[256..512]].concat());
    }
}
