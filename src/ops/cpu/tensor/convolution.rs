//! Convolutions: for each image a product of the filter with columns that hold what each output pixel sees, made tile by
//! tile.

use super::dot::Kernel;
use super::product::Load;
use super::tiles::{self, Shape, Source};
use super::{Context, Way, at};
use crate::ops::tensor::Conv2d;

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn conv2d(context: &Context, o: &Conv2d, way: Way) {
    let shape = Shape { parts: o.batch, rows: o.out_channels, cols: o.pixels(), depth: o.depth() };
    let to = |image: u64, channel: u64, pixel: u64| {
        at(o.output, o.output_element(), (image * o.out_channels + channel) * shape.cols + pixel)
    };
    let floats = |image, channel, pixel, sums: &[f32]| {
        // SAFETY: elements of the output.
        unsafe { tiles::put_floats(context, o.element, sums, to(image, channel, pixel), 1.0, 0.0) }
    };
    let integers = |image, channel, pixel, sums: &[i32]| {
        // SAFETY: elements of the output.
        unsafe { tiles::put_integers(sums, to(image, channel, pixel).cast(), 1, 0) }
    };
    let source = Images { context, o };
    match way {
        Way::Gemm | Way::Floats => tiles::run::<f32>(context, Kernel::None, &shape, &source, floats),
        Way::Bf16 => tiles::run::<u16>(context, Kernel::Bf16, &shape, &source, floats),
        Way::Bytes => tiles::run::<i8>(context, Kernel::Bytes, &shape, &source, integers),
        Way::Words => tiles::run::<i8>(context, Kernel::Words(context.isa), &shape, &source, integers),
    }
}

struct Images<'a> {
    context: &'a Context,
    o: &'a Conv2d,
}

impl<T: Load> Source<T> for Images<'_> {
    unsafe fn left(&self, _image: u64, channel: u64, k: u64, depth: usize, out: &mut [T]) {
        for (i, out) in out.chunks_exact_mut(depth).enumerate() {
            let from = at(self.o.filter, self.o.element, (channel + i as u64) * self.o.depth() + k);
            // SAFETY: the caller's promise.
            unsafe { T::load(self.context, self.o.element, from, out) };
        }
    }

    unsafe fn right(&self, image: u64, k: u64, pixel: u64, pixels: usize, out: &mut [T]) {
        let o = self.o;
        let (window, out_width) = (o.kernel * o.kernel, o.out_width());
        for (i, line) in out.chunks_exact_mut(pixels).enumerate() {
            let k = k + i as u64;
            let (channel, ky, kx) = (k / window, k % window / o.kernel, k % o.kernel);
            let plane = (image * o.in_channels + channel) * o.height;
            // Runs of pixels within one row of the output.
            let mut done = 0;
            while done < pixels {
                let (oy, ox) = ((pixel + done as u64) / out_width, (pixel + done as u64) % out_width);
                let run = ((out_width - ox) as usize).min(pixels - done);
                let to = &mut line[done..done + run];
                done += run;
                let y = (oy * o.stride + ky).wrapping_sub(o.padding);
                if y >= o.height {
                    to.fill(T::default());
                    continue;
                }
                let x = |i: usize| ((ox + i as u64) * o.stride + kx).wrapping_sub(o.padding);
                // Those that lie within the image are together.
                let before = (0..run).take_while(|&i| x(i) >= o.width && x(i) > u64::MAX / 2).count();
                let inside = match o.width.checked_sub(x(before)) {
                    Some(left) if before < run => (left.div_ceil(o.stride) as usize).min(run - before),
                    _ => 0,
                };
                to[..before].fill(T::default());
                to[before + inside..].fill(T::default());
                if inside == 0 {
                    continue;
                }
                let row = (plane + y) * o.width;
                let to = &mut to[before..before + inside];
                // SAFETY: pixels of the image.
                unsafe {
                    if o.stride == 1 {
                        T::load(self.context, o.element, at(o.input, o.element, row + x(before)), to);
                    } else {
                        for (i, to) in to.iter_mut().enumerate() {
                            let from = at(o.input, o.element, row + x(before + i));
                            T::load(self.context, o.element, from, std::slice::from_mut(to));
                        }
                    }
                }
            }
        }
    }
}
