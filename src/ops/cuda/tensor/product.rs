//! Matrix products: by cuBLASLt when it is found and has an algorithm, else by the kernels of `kernels/tensor`.

use super::super::kernels::args;
use super::{CudaTensorOps, suffix};
use crate::Result;
use crate::device::DevicePtr;
use crate::ops::Math;
use crate::ops::tensor::{Element, MatMul, Precision, TensorOps};

/// `CwGemm` of `kernels/tensor/product.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct RawGemm {
    pub a: DevicePtr,
    pub b: DevicePtr,
    pub c: DevicePtr,
    pub lda: i64,
    pub ldb: i64,
    pub ldc: i64,
    pub stride_a: i64,
    pub stride_b: i64,
    pub stride_c: i64,
    pub alpha: f64,
    pub beta: f64,
    pub m: i32,
    pub n: i32,
    pub k: i32,
    pub ta: i32,
    pub tb: i32,
    pub wide_a: i32,
    pub wide_b: i32,
    pub wide_c: i32,
    pub round: i32,
    pub convolution: i32,
    pub height: i32,
    pub width: i32,
    pub window: i32,
    pub step: i32,
    pub pad: i32,
    pub out_width: i32,
}

/// Products that one launch takes at most (the grid's third extent).
const BATCH: u64 = 65_535;

/// Whether lines start at multiples of 16 bytes.
pub(super) fn lines_wide(ptr: DevicePtr, ld: u64, stride: u64, element: Element) -> i32 {
    let size = element.bytes();
    let on = |v: u64| v.wrapping_mul(size).is_multiple_of(16);
    i32::from(ptr.is_multiple_of(16) && on(ld) && on(stride))
}

impl CudaTensorOps {
    pub(super) fn matmul(&self, o: &MatMul) -> Result<()> {
        if self.library_product(o)? {
            return Ok(());
        }
        let (a, b, c) = (&o.a, &o.b, &o.c);
        let raw = RawGemm {
            a: a.ptr,
            b: b.ptr,
            c: c.ptr,
            lda: a.ld as i64,
            ldb: b.ld as i64,
            ldc: c.ld as i64,
            stride_a: a.stride as i64,
            stride_b: b.stride as i64,
            stride_c: c.stride as i64,
            alpha: o.alpha,
            beta: o.beta,
            m: o.m as i32,
            n: o.n as i32,
            k: o.depth() as i32,
            ta: i32::from(o.transpose_a),
            tb: i32::from(o.transpose_b),
            wide_a: lines_wide(a.ptr, a.ld, a.stride, o.element),
            wide_b: lines_wide(b.ptr, b.ld, b.stride, o.element),
            ..Default::default()
        };
        self.own_product(o.element, raw, o.batch)
    }

    /// Launches the own kernel for these elements under the rules of now.
    pub(super) fn own_product(&self, element: Element, mut raw: RawGemm, batch: u64) -> Result<()> {
        let rules = self.rules();
        let circuits = rules.math != Math::Plain;
        let (name, side) = match element {
            // Rounded to as many bits as TF32 has, or as bf16 has.
            Element::F32 if circuits && self.major >= 8 && rules.rounding() != Precision::F32 => {
                raw.round = i32::from(rules.rounding() == Precision::BF16);
                ("cw_product_mma_tf32".to_string(), 128)
            }
            Element::F16 if circuits => ("cw_product_mma_f16".to_string(), 128),
            Element::BF16 | Element::I8 if circuits && self.major >= 8 => {
                (format!("cw_product_mma_{}", suffix(element)), 128)
            }
            Element::F64 => ("cw_product_plain_f64".to_string(), 64),
            _ => (format!("cw_product_plain_{}", suffix(element)), 128),
        };
        let tiles = (raw.m as u64).div_ceil(side) * (raw.n as u64).div_ceil(side);
        let grid_x = super::blocks(tiles, 1)?[0];
        let output = if element == Element::I8 { Element::I32 } else { element };
        for first in (0..batch).step_by(BATCH as usize) {
            let grid = [grid_x, 1, (batch - first).min(BATCH) as u32];
            let mut raw = raw;
            let from = |ptr: DevicePtr, stride: i64, element: Element| {
                ptr.wrapping_add(first.wrapping_mul(stride as u64).wrapping_mul(element.bytes()))
            };
            raw.a = from(raw.a, raw.stride_a, element);
            raw.b = from(raw.b, raw.stride_b, element);
            raw.c = from(raw.c, raw.stride_c, output);
            // SAFETY: the argument is the kernel's; the caller of `queue_checked` answers for the memory.
            unsafe { self.launch(&name, grid, args![raw])? };
        }
        Ok(())
    }
}
