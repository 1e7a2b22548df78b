//! Which kernels operations on tensors launch on a CUDA device, on the mock driver: host logic alone, the kernels do
//! nothing there.
#![cfg(feature = "cuda")]

mod mock_driver;

use cogniware::device::{Access, Device};
use cogniware::ops::tensor::{
    self, Argument, BUILTINS, Conv2d, Element, Kind, MatMul, Operation, Precision, Reduce, Reduction, Rules,
    TensorOps,
};
use mock_driver::Mock;
use std::sync::Arc;

/// Runs `f` with operations on a mock device and some mapped memory.
fn with_ops(f: impl FnOnce(&Mock, &dyn TensorOps, u64)) {
    let mock = Mock::new();
    {
        let device: Arc<dyn Device> = mock.device();
        let bytes = device.granularity() * 8;
        let range = device.range_reserve(bytes).unwrap();
        let granule = device.granule_create(bytes).unwrap();
        device.map(range, &granule, Access::ReadWrite).unwrap();
        let node = device.node_create(&[0]).unwrap();
        let stream = node.stream_create(0).unwrap();
        {
            let ops = tensor::for_stream(&device, node, stream).unwrap();
            f(&mock, &*ops, range);
            ops.stream().synchronize().unwrap();
        }
        device.unmap(range, bytes).unwrap();
        device.granule_release(granule);
        device.range_release(range, bytes);
    }
    mock.assert_clean();
}

fn queue(ops: &dyn TensorOps, operation: Operation) {
    // SAFETY: memory of the mock's, as large as the tests need.
    unsafe { ops.queue(&operation) }.unwrap();
}

#[test]
fn every_built_in_kernel_is_queued() {
    with_ops(|mock, ops, base| {
        for b in BUILTINS {
            let mut at = base;
            let needed = b.parameters.iter().filter(|p| !p.optional);
            let arguments: Vec<Argument> = needed
                .map(|p| match p.kind {
                    Kind::Pointer => {
                        at += 1 << 16;
                        Argument::Pointer(at)
                    }
                    Kind::Count => Argument::I32(if p.name == "padding" { 0 } else { 3 }),
                    Kind::Element if p.name == "to" => Argument::I32(2),
                    Kind::Element | Kind::Flag => Argument::I32(0),
                    Kind::Number => Argument::F32(1.0),
                })
                .collect();
            let before = mock.launches("cw_");
            let prepared = b.prepare(&arguments, ops).unwrap();
            // SAFETY: memory of the mock's.
            unsafe { prepared.run(ops, 0, None) }.unwrap();
            let launched = mock.launches("cw_") - before;
            let none = ["copy", "set"].contains(&b.name);
            assert_eq!(launched, i64::from(!none), "{}", b.name);
        }
    });
}

#[test]
fn rules_choose_the_kernel() {
    with_ops(|mock, ops, base| {
        let run = |element, rules: Rules, kernel: &str| {
            ops.set_rules(rules);
            let before = mock.launches(kernel);
            let (a, b, c) = (base, base + (1 << 16), base + (2 << 16));
            queue(ops, Operation::MatMul(MatMul::new(element, a, b, c, 20, 20, 20)));
            assert_eq!(mock.launches(kernel) - before, 1, "{element:?} {rules:?}");
            let before = mock.launches(kernel);
            let (batch, in_channels, out_channels, height, width) = (2, 3, 4, 9, 9);
            queue(
                ops,
                Operation::Conv2d(Conv2d {
                    element,
                    input: a,
                    filter: b,
                    output: c,
                    batch,
                    in_channels,
                    out_channels,
                    height,
                    width,
                    kernel: 3,
                    stride: 1,
                    padding: 1,
                }),
            );
            assert_eq!(mock.launches(kernel) - before, 1, "{element:?} {rules:?}");
        };
        run(Element::F32, Rules::default(), "cw_product_plain_f32");
        run(Element::F32, Rules::new(false, Precision::TF32), "cw_product_plain_f32");
        run(Element::F32, Rules::new(true, Precision::TF32), "cw_product_mma_tf32");
        run(Element::F32, Rules::new(true, Precision::BF16), "cw_product_mma_tf32");
        for (element, name) in [(Element::F16, "f16"), (Element::BF16, "bf16"), (Element::I8, "i8")] {
            run(element, Rules::default(), &format!("cw_product_mma_{name}"));
            run(element, Rules::new(false, Precision::F32), &format!("cw_product_plain_{name}"));
        }
    });
}

#[test]
fn long_rows_are_cut_where_there_is_scratch() {
    with_ops(|mock, ops, base| {
        let o = Reduce {
            reduction: Reduction::Sum,
            element: Element::F32,
            x: base,
            out: base + (8 << 20),
            rows: 1,
            cols: 1 << 20,
            ld: 1 << 20,
        };
        queue(ops, Operation::Reduce(o));
        assert_eq!(mock.launches("cw_reduce_join"), 0);
        ops.set_scratch(base + (9 << 20), 1 << 20).unwrap();
        queue(ops, Operation::Reduce(o));
        assert_eq!(mock.launches("cw_reduce_join"), 1);
        assert!(ops.set_scratch(base + 8, 64).is_err());
    });
}
