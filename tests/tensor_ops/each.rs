//! Functions of single elements, activations by name, and the one that can be stopped.

use crate::rig::{Random, close, each_device, least, rounded, unit};
use cogniware::Status;
use cogniware::ops::tensor::{
    Activate, Element, Function, Iterate, Map, Operation, Prepared, activation_names,
};
use std::time::{Duration, Instant};

type Reference = fn(f64, f64, f64, f64) -> f64;

fn erf(x: f64) -> f64 {
    // Its Taylor series near 0; beyond, where the terms would cancel, the continued fraction of what is left to 1.
    if x.abs() > 3.0 {
        let z = x.abs();
        let tail = (1..=60).rev().fold(z, |f, k| z + f64::from(k) / 2.0 / f);
        return x.signum() * (1.0 - (-z * z).exp() / (tail * std::f64::consts::PI.sqrt()));
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..100 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

const FUNCTIONS: [(Function, Reference); 33] = [
    (Function::Identity, |x, _, _, _| x),
    (Function::Relu, |x, _, _, _| if x < 0.0 { 0.0 } else { x }),
    (Function::LeakyRelu, |x, _, a, _| if x < 0.0 { a * x } else { x }),
    (Function::Sigmoid, |x, _, _, _| 1.0 / (1.0 + (-x).exp())),
    (Function::Tanh, |x, _, _, _| x.tanh()),
    (Function::Gelu, |x, _, _, _| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))),
    (Function::GeluTanh, |x, _, _, _| {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
    }),
    (Function::Silu, |x, _, _, _| x / (1.0 + (-x).exp())),
    (Function::Elu, |x, _, a, _| if x < 0.0 { a * x.exp_m1() } else { x }),
    (Function::Softplus, |x, _, _, _| if x > 30.0 { x } else { x.exp().ln_1p() }),
    (Function::HardSwish, |x, _, _, _| x * (x + 3.0).clamp(0.0, 6.0) / 6.0),
    (Function::HardSigmoid, |x, _, _, _| (x + 3.0).clamp(0.0, 6.0) / 6.0),
    (Function::Mish, |x, _, _, _| if x > 30.0 { x } else { x * x.exp().ln_1p().tanh() }),
    (Function::Relu6, |x, _, _, _| x.clamp(0.0, 6.0)),
    (Function::Softsign, |x, _, _, _| x / (1.0 + x.abs())),
    (Function::Selu, |x, _, _, _| {
        1.0507009873554805 * if x < 0.0 { 1.6732632423543772 * x.exp_m1() } else { x }
    }),
    (Function::Exp, |x, _, _, _| x.exp()),
    (Function::Log, |x, _, _, _| if x < 0.0 { f64::NAN } else { x.ln() }),
    (Function::Sqrt, |x, _, _, _| x.sqrt()),
    (Function::Rsqrt, |x, _, _, _| 1.0 / x.sqrt()),
    (Function::Abs, |x, _, _, _| x.abs()),
    (Function::Negate, |x, _, _, _| -x),
    (Function::Reciprocal, |x, _, _, _| 1.0 / x),
    (Function::Square, |x, _, _, _| x * x),
    (Function::Scale, |x, _, a, _| a * x),
    (Function::Shift, |x, _, a, _| x + a),
    (Function::Clamp, |x, _, a, b| x.clamp(a, b)),
    (Function::Fill, |_, _, a, _| a),
    (Function::Add, |x, y, _, _| x + y),
    (Function::Subtract, |x, y, _, _| x - y),
    (Function::Multiply, |x, y, _, _| x * y),
    (Function::Divide, |x, y, _, _| x / y),
    (Function::Axpy, |x, y, a, _| a * x + y),
];

/// Numbers of all sizes, of both signs, and those at the edges.
fn inputs(r: &mut Random, element: Element, n: u64) -> Vec<f64> {
    let edges = [0.0, -0.0, 1.0, -1.0, 3.0, -3.0, 6.0, 20.0, -20.0, 60.0, -60.0, f64::INFINITY, f64::NAN];
    (0..n)
        .map(|i| match edges.get(i as usize) {
            Some(edge) => *edge,
            None => rounded(element, r.float() * [0.01, 1.0, 4.0, 12.0][r.below(4) as usize]),
        })
        .collect()
}

#[test]
fn every_function_of_every_type_is_right() {
    each_device(|rig| {
        let mut r = Random(3);
        for element in Element::FLOATS {
            for (function, reference) in FUNCTIONS {
                for (count, off, in_place) in
                    [(3001, 0, false), (777, 1, false), (5000, 0, true), (13, 0, false)]
                {
                    rig.reset();
                    let (x, y) = (inputs(&mut r, element, count), inputs(&mut r, element, count));
                    let (a, b) = (-0.75f32, 1.5f32);
                    let size = element.bytes();
                    let x_at = rig.put_at(element, &x, off * size);
                    let y_at = rig.put_at(element, &y, off * size);
                    let out = if in_place { x_at } else { rig.space_at(count * size, off * size) };
                    rig.run(Operation::Map(Map { function, element, x: x_at, y: y_at, out, count, a, b }));
                    let want: Vec<f64> = x
                        .iter()
                        .zip(&y)
                        .map(|(x, y)| reference(*x, *y, a.into(), b.into()))
                        .map(|w| {
                            if element == Element::F16 && w.abs() >= 65520.0 {
                                w.signum() * f64::INFINITY
                            } else {
                                w
                            }
                        })
                        .collect();
                    let off = |i: usize| {
                        let large = want[i].abs().max(1.0);
                        2e-6 * large + want[i].abs() * unit(element) * 1.01 + least(element)
                    };
                    let got = rig.get(element, out, count);
                    close(&got, &want, off, &(function, element, count));
                }
            }
        }
    });
}

#[test]
fn bytes_take_two_functions_and_no_others() {
    each_device(|rig| {
        let mut r = Random(4);
        for (count, off) in [(5000, 0), (77, 3)] {
            let x = r.values(Element::I8, count);
            let at = rig.put_at(Element::I8, &x, off);
            let out = rig.space_at(count, off);
            let mut o = Map {
                function: Function::Relu,
                element: Element::I8,
                x: at,
                y: 0,
                out,
                count,
                a: 0.0,
                b: 0.0,
            };
            rig.run(Operation::Map(o));
            let want: Vec<f64> = x.iter().map(|x| x.max(0.0)).collect();
            close(&rig.get(Element::I8, out, count), &want, |_| 0.0, &o);
            o.function = Function::Identity;
            rig.run(Operation::Map(o));
            close(&rig.get(Element::I8, out, count), &x, |_| 0.0, &o);
            o.function = Function::Exp;
            assert_eq!(Operation::Map(o).check().unwrap_err().status(), Status::Unsupported);
        }
    });
}

#[test]
fn activations_by_name_work_on_whole_tensors() {
    each_device(|rig| {
        let mut r = Random(6);
        for element in Element::FLOATS {
            for name in activation_names() {
                rig.reset();
                let (batch, channels, height, width) = (3, 7, 5, 11);
                let count = batch * channels * height * width;
                let x = r.values(element, count);
                let input = rig.put(element, &x);
                let call = Activate { name, element, input, output: input, batch, channels, height, width };
                rig.run(call.operation().unwrap());
                let got = rig.get(element, input, count);
                if name.ends_with("softmax") {
                    // Over the channels of each pixel.
                    for image in 0..batch {
                        for pixel in 0..height * width {
                            let at = |c: u64| ((image * channels + c) * height * width + pixel) as usize;
                            let sum: f64 = (0..channels).map(|c| x[at(c)].exp()).sum();
                            for c in 0..channels {
                                let w = x[at(c)].exp() / sum;
                                let w = if name == "softmax" { w } else { w.ln() };
                                assert!(
                                    (got[at(c)] - w).abs() < 2e-6 + w.abs() * unit(element) * 1.01,
                                    "{name}"
                                );
                            }
                        }
                    }
                } else {
                    assert!(got.iter().all(|v| v.is_finite()), "{name}");
                }
            }
        }
    });
}

#[test]
fn partial_overlaps_and_bad_pointers_are_refused() {
    let good = Map {
        function: Function::Add,
        element: Element::F32,
        x: 4096,
        y: 8192,
        out: 16384,
        count: 100,
        a: 0.0,
        b: 0.0,
    };
    let refused = |name: &str, f: &dyn Fn(&mut Map)| {
        let mut o = good;
        f(&mut o);
        let error = Operation::Map(o).check().unwrap_err();
        assert!(error.message().contains(&format!("`{name}`")), "{name}: {error}");
    };
    assert!(Operation::Map(good).check().is_ok());
    refused("x", &|o| o.x = 0);
    refused("y", &|o| o.y = 0);
    refused("out", &|o| o.out = 0);
    refused("out", &|o| o.out = o.x + 4);
    refused("out", &|o| o.out = o.y - 4);
    refused("y", &|o| o.y += 1);
    refused("count", &|o| o.count = u64::MAX);
    refused("count", &|o| o.count = 1 << 63);
}

#[test]
fn a_long_operation_stops_when_its_flag_is_set() {
    each_device(|rig| {
        let count = 4000;
        let x = rig.put(Element::F32, &vec![0.0; count as usize]);
        // Steps that do all they should, first.
        let mut o = Iterate { x, count, a: 0.5, b: 1.0, times: 3 };
        rig.run(Operation::Iterate(o));
        assert_eq!(rig.get(Element::F32, x, count), vec![1.75; count as usize]);
        // Memory that host and device see; on the CPU device all of it is.
        let (_kept, flag) = match rig.device.host_memory(4096) {
            Ok(memory) => {
                let at = memory.address();
                (Some(memory), at)
            }
            Err(_) => (None, rig.put(Element::I32, &[0.0])),
        };
        // SAFETY: 4 bytes that both see and nothing else uses.
        let word = unsafe { std::sync::atomic::AtomicU32::from_ptr(flag as *mut u32) };
        o.times = 1 << 50;
        let prepared = Prepared::new(Operation::Iterate(o), &*rig.ops).unwrap();
        assert!(prepared.polls() && prepared.pieces() == 1);
        // SAFETY: the test's own memory.
        unsafe { prepared.run(&*rig.ops, 0, Some(flag)) }.unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!rig.ops.stream().is_idle().unwrap(), "it ended by itself");
        let set = Instant::now();
        word.store(1, std::sync::atomic::Ordering::SeqCst);
        rig.ops.stream().synchronize().unwrap();
        let took = set.elapsed();
        // Two milliseconds as a rule; a machine that is busy with other tests takes longer.
        assert!(took < Duration::from_millis(100), "{took:?}");
    });
}
