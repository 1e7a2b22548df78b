//! Convolutions.

use crate::rig::{Random, Rig, close, each_device, least, unit};
use cogniware::ops::tensor::{Conv2d, Element, Operation, Precision, Prepared, Rules};

const TYPES: [Element; 4] = [Element::F32, Element::F16, Element::BF16, Element::I8];

fn check(rig: &mut Rig, r: &mut Random, mut o: Conv2d, pieces: bool) {
    rig.reset();
    let e = o.element;
    let (oh, ow) = (o.out_height(), o.out_width());
    let input = r.values(e, o.batch * o.in_channels * o.height * o.width);
    let filter = r.values(e, o.out_channels * o.in_channels * o.kernel * o.kernel);
    let count = o.batch * o.out_channels * oh * ow;
    o.input = rig.put(e, &input);
    o.filter = rig.put(e, &filter);
    o.output = rig.space(o.output_element(), count);
    let rules = rig.ops.rules();
    let lost = match (e, rules.rounding()) {
        (Element::F32, Precision::TF32 | Precision::F16) => 2f64.powi(-10),
        (Element::F32, Precision::BF16) => 2f64.powi(-7),
        _ => 0.0,
    };
    let epsilon = 2f64.powi(-24) * (8.0 + (o.in_channels * o.kernel * o.kernel) as f64) + lost;
    let (mut want, mut bound) = (Vec::new(), Vec::new());
    for image in 0..o.batch {
        for oc in 0..o.out_channels {
            for y in 0..oh {
                for x in 0..ow {
                    let (mut sum, mut total) = (0f64, 0f64);
                    for ic in 0..o.in_channels {
                        for ky in 0..o.kernel {
                            for kx in 0..o.kernel {
                                let iy = (y * o.stride + ky).wrapping_sub(o.padding);
                                let ix = (x * o.stride + kx).wrapping_sub(o.padding);
                                if iy >= o.height || ix >= o.width {
                                    continue;
                                }
                                let i = input[(((image * o.in_channels + ic) * o.height + iy) * o.width + ix)
                                    as usize];
                                let f = filter
                                    [(((oc * o.in_channels + ic) * o.kernel + ky) * o.kernel + kx) as usize];
                                sum += i * f;
                                total += (i * f).abs();
                            }
                        }
                    }
                    want.push(sum);
                    let off = (epsilon * total).max(1e-30) + sum.abs() * unit(e) * 1.01 + least(e);
                    bound.push(if e == Element::I8 { 0.0 } else { off });
                }
            }
        }
    }
    if pieces {
        let prepared = Prepared::new(Operation::Conv2d(o), &*rig.ops).unwrap();
        for piece in (0..prepared.pieces()).rev() {
            // SAFETY: the test's own memory.
            unsafe { prepared.run(&*rig.ops, piece, None) }.unwrap();
        }
        rig.ops.stream().synchronize().unwrap();
    } else {
        rig.run(Operation::Conv2d(o));
    }
    close(&rig.get(o.output_element(), o.output, count), &want, |i| bound[i], &(o, rules));
}

fn shape(element: Element, sizes: [u64; 8]) -> Conv2d {
    let [batch, in_channels, out_channels, height, width, kernel, stride, padding] = sizes;
    Conv2d {
        element,
        input: 1 << 20,
        filter: 2 << 20,
        output: 3 << 20,
        batch,
        in_channels,
        out_channels,
        height,
        width,
        kernel,
        stride,
        padding,
    }
}

#[test]
fn convolutions_of_every_type_are_right() {
    each_device(|rig| {
        let mut r = Random(99);
        for rules in [
            Rules::default(),
            Rules::new(false, Precision::F32),
            Rules::new(true, Precision::TF32),
            Rules::new(true, Precision::BF16),
        ] {
            rig.ops.set_rules(rules);
            for element in TYPES {
                for sizes in [
                    [1, 1, 1, 1, 1, 1, 1, 0],
                    [2, 3, 5, 9, 7, 3, 1, 1],
                    [1, 4, 8, 12, 17, 5, 2, 2],
                    [2, 3, 130, 11, 13, 3, 2, 0],
                    [1, 2, 3, 5, 6, 5, 1, 4],
                    [1, 3, 4, 16, 31, 4, 7, 3],
                    [1, 33, 20, 14, 14, 1, 1, 0],
                    [1, 2, 2, 3, 40, 3, 5, 2],
                ] {
                    check(rig, &mut r, shape(element, sizes), false);
                }
            }
        }
    });
}

#[test]
fn pieces_make_the_whole() {
    each_device(|rig| {
        let mut r = Random(5);
        for element in TYPES {
            check(rig, &mut r, shape(element, [6, 8, 70, 40, 40, 3, 1, 1]), true);
            check(rig, &mut r, shape(element, [1, 16, 300, 30, 30, 3, 1, 1]), true);
        }
    });
}

#[test]
fn bad_convolutions_are_refused_by_name() {
    each_device(|rig| {
        let good = shape(Element::F32, [2, 3, 4, 8, 8, 3, 1, 1]);
        let refused = |name: &str, f: &dyn Fn(&mut Conv2d)| {
            let mut o = good;
            f(&mut o);
            // SAFETY: refused before anything is touched.
            let error = unsafe { rig.ops.queue(&Operation::Conv2d(o)) }.unwrap_err();
            assert!(error.message().contains(&format!("`{name}`")), "{name}: {error}");
        };
        refused("input", &|o| o.input = 0);
        refused("filter", &|o| o.filter = 0);
        refused("output", &|o| o.output = 0);
        refused("input", &|o| o.input += 1);
        refused("stride", &|o| o.stride = 0);
        refused("kernelSize", &|o| o.kernel = 0);
        refused("inChannels", &|o| o.in_channels = 0);
        refused("outChannels", &|o| o.out_channels = 0);
        refused("height", &|o| o.height = 0);
        refused("width", &|o| o.width = 1 << 63);
        refused("height", &|o| (o.kernel, o.padding) = (20, 1));
        refused("padding", &|o| o.padding = 3);
        refused("output", &|o| o.output = o.input + 16);
        refused("batchSize", &|o| o.batch = 1 << 62);
        refused("output", &|o| (o.height, o.width) = (1 << 20, 1 << 20));
    });
}
