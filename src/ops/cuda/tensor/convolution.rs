//! Convolutions: by cuDNN when it is found and has a way that keeps the rules, else as products of the filter with columns
//! that the kernels gather from the image on the way in.

use super::CudaTensorOps;
use super::product::{RawGemm, lines_wide};
use crate::Result;
use crate::ops::tensor::Conv2d;

impl CudaTensorOps {
    pub(super) fn conv2d(&self, o: &Conv2d) -> Result<()> {
        if self.dnn_convolution(o)? {
            return Ok(());
        }
        let (depth, pixels) = (o.depth(), o.pixels());
        let raw = RawGemm {
            a: o.filter,
            b: o.input,
            c: o.output,
            lda: depth as i64,
            ldb: pixels as i64,
            ldc: pixels as i64,
            stride_a: 0,
            stride_b: (o.in_channels * o.height * o.width) as i64,
            stride_c: (o.out_channels * pixels) as i64,
            alpha: 1.0,
            beta: 0.0,
            m: o.out_channels as i32,
            n: pixels as i32,
            k: depth as i32,
            wide_a: lines_wide(o.filter, depth, 0, o.element),
            convolution: 1,
            height: o.height as i32,
            width: o.width as i32,
            window: o.kernel as i32,
            step: o.stride as i32,
            pad: o.padding as i32,
            out_width: o.out_width() as i32,
            ..Default::default()
        };
        self.own_product(o.element, raw, o.batch)
    }
}
