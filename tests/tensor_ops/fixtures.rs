//! What PyTorch and NumPy computed (scripts/reference/tensor_ops.py).

use crate::rig::{Rig, close, each_device, least, unit, values};
use cogniware::ops::tensor::{
    Activate, Conv2d, Element, MatMul, Norm, Operation, Quantize, Reduce, Reduction, SoftMax,
};
use safetensors::{Dtype, SafeTensors};

/// A tensor of the file: its type, shape and values.
struct Tensor {
    element: Element,
    shape: Vec<u64>,
    values: Vec<f64>,
}

struct Case<'a> {
    file: &'a SafeTensors<'a>,
    name: &'a str,
}

impl Case<'_> {
    fn tensor(&self, part: &str) -> Tensor {
        let view = self.file.tensor(&format!("{}.{part}", self.name)).unwrap();
        let element = match view.dtype() {
            Dtype::F32 => Element::F32,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::BF16,
            Dtype::I8 => Element::I8,
            Dtype::I32 => Element::I32,
            other => panic!("{other:?}"),
        };
        let shape = view.shape().iter().map(|&d| d as u64).collect();
        Tensor { element, shape, values: values(element, view.data()) }
    }

    fn put(&self, rig: &mut Rig, part: &str) -> u64 {
        let tensor = self.tensor(part);
        rig.put(tensor.element, &tensor.values)
    }

    /// Runs what `operation` makes of an address for `part` and compares that part.
    fn run(&self, rig: &mut Rig, part: &str, off: f64, operation: impl FnOnce(u64) -> Operation) {
        let want = self.tensor(part);
        let count = want.values.len() as u64;
        let out = rig.space(want.element, count);
        let operation = operation(out);
        rig.run(operation);
        // Both sides round once: they may differ by a whole unit where they fall on either side of a middle.
        let bound =
            |i: usize| off + want.values[i].abs() * 2.02 * unit(want.element) + 2.0 * least(want.element);
        let exact = matches!(want.element, Element::I8 | Element::I32);
        close(
            &rig.get(want.element, out, count),
            &want.values,
            |i| if exact { 0.0 } else { bound(i) },
            &(self.name, part),
        );
    }
}

fn reduction(name: &str) -> Reduction {
    match name {
        "sum" => Reduction::Sum,
        "mean" => Reduction::Mean,
        "max" => Reduction::Max,
        "min" => Reduction::Min,
        "l2_norm" => Reduction::L2Norm,
        "argmax" => Reduction::ArgMax,
        other => panic!("{other}"),
    }
}

fn check(rig: &mut Rig, case: &Case<'_>) {
    rig.reset();
    let (kind, _) = case.name.rsplit_once('_').unwrap();
    if kind == "matmul" {
        let (a, b) = (case.tensor("a"), case.tensor("b"));
        let (a_at, b_at) = (case.put(rig, "a"), case.put(rig, "b"));
        let (m, k, n) = (a.shape[0], a.shape[1], b.shape[1]);
        return case
            .run(rig, "c", 4e-5, |c| Operation::MatMul(MatMul::new(a.element, a_at, b_at, c, m, n, k)));
    }
    if let Some(numbers) = kind.strip_prefix("conv_") {
        let (stride, padding) = numbers.split_once('_').unwrap();
        let (x, w) = (case.tensor("input"), case.tensor("filter"));
        let (input, filter) = (case.put(rig, "input"), case.put(rig, "filter"));
        return case.run(rig, "output", 4e-5, |output| {
            Operation::Conv2d(Conv2d {
                element: x.element,
                input,
                filter,
                output,
                batch: x.shape[0],
                in_channels: x.shape[1],
                out_channels: w.shape[0],
                height: x.shape[2],
                width: x.shape[3],
                kernel: w.shape[2],
                stride: stride.parse().unwrap(),
                padding: padding.parse().unwrap(),
            })
        });
    }
    let x = case.tensor("x");
    let (at, element) = (case.put(rig, "x"), x.element);
    if let Some(name) = kind.strip_prefix("act_") {
        return case.run(rig, "y", 4e-6, |output| {
            let [batch, channels, height, width] = x.shape[..] else { panic!() };
            Activate { name, element, input: at, output, batch, channels, height, width }.operation().unwrap()
        });
    }
    let (rows, cols) = (x.shape[0], x.shape[1]);
    if let Some(name) = kind.strip_prefix("reduce_") {
        return case.run(rig, "y", 1e-4, |out| {
            Operation::Reduce(Reduce {
                reduction: reduction(name),
                element,
                x: at,
                out,
                rows,
                cols,
                ld: cols,
            })
        });
    }
    if kind == "quantize" {
        let scales = rig.space(Element::F32, rows);
        case.run(rig, "q", 0.0, |codes| {
            Operation::Quantize(Quantize { back: false, element, x: at, codes, scales, rows, cols })
        });
        assert_eq!(rig.get(Element::F32, scales, rows), case.tensor("scales").values);
        return;
    }
    if kind.ends_with("softmax") {
        let log = kind.starts_with("log");
        return case.run(rig, "y", 4e-6, |out| {
            Operation::SoftMax(SoftMax {
                log,
                element,
                x: at,
                out,
                outer: rows,
                axis: cols,
                inner: 1,
                pitch: 1,
            })
        });
    }
    let rms = kind == "rms_norm";
    assert!(rms || kind == "layer_norm", "{kind}");
    let weight = case.put(rig, "weight");
    let bias = if rms { 0 } else { case.put(rig, "bias") };
    let eps = if rms { 1e-6 } else { 1e-5 };
    case.run(rig, "y", 1e-5, |out| {
        Operation::Norm(Norm { rms, element, x: at, weight, bias, out, rows, cols, eps })
    });
}

#[test]
fn results_are_those_of_pytorch_and_numpy() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tensor_ops.safetensors");
    let raw = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&raw).unwrap();
    let mut names: Vec<String> =
        file.names().iter().map(|n| n.rsplit_once('.').unwrap().0.to_string()).collect();
    names.sort();
    names.dedup();
    assert!(names.len() > 90, "{}", names.len());
    each_device(|rig| {
        for name in &names {
            check(rig, &Case { file: &file, name });
        }
    });
}
