//! Products by cuBLASLt. It thinks in columns: a row-major matrix is its transpose to it, so `C = A B` is asked for as
//! `C' = B' A'` and nothing is copied.

use super::super::cublaslt::{
    COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_32F_PEDANTIC, CublasLt, DESC_TRANSA, DESC_TRANSB, Layout,
    Wanted,
};
use super::{CudaTensorOps, WORKSPACE};
use crate::Result;
use crate::device::Stream;
use crate::device::cuda::{Parts, Work, measured};
use crate::ops::Math;
use crate::ops::tensor::{Element, MatMul, Matrix, Operation, Precision, Rules, TensorOps};
use crate::telemetry::profiler::{self, Kind};
use std::ffi::c_void;

// From cublasLt.h.
const COMPUTE_64F: u32 = 70;
const COMPUTE_64F_PEDANTIC: u32 = 71;
const COMPUTE_32I: u32 = 72;
const COMPUTE_32F_FAST_16F: u32 = 74;
const COMPUTE_32F_FAST_16BF: u32 = 75;
const PREF_REDUCTION: u32 = 3;
/// Parts are added up in the type of the sums, never in the output's.
const REDUCE_IN_SUMS: u32 = 2;
/// The first of four: the least alignment of A, B, C, D.
const PREF_ALIGNMENT: u32 = 5;

/// A matrix as the library sees it: rows, columns, leading dimension, stride, alignment in bytes.
type Side = (u64, u64, u64, u64, u32);

/// What a plan was made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    element: Element,
    compute: u32,
    a: Side,
    b: Side,
    c: Side,
    transpose_a: bool,
    transpose_b: bool,
    batch: u64,
    workspace: u64,
}

/// The library with plans for tensor operations.
pub(super) type Blas = CublasLt<Key>;

/// The compute type, or `None` where these rules leave the library nothing to do.
fn compute(element: Element, rules: Rules) -> Option<u32> {
    match (element, rules.math) {
        // Pedantic: arithmetic as it is written down, so no tensor cores.
        (Element::F32, Math::Plain) => Some(COMPUTE_32F_PEDANTIC),
        (Element::F64, Math::Plain) => Some(COMPUTE_64F_PEDANTIC),
        // Narrow inputs are multiplied on tensor cores or not at all.
        (_, Math::Plain) => None,
        (Element::F32, _) => Some(match rules.rounding() {
            Precision::F32 => COMPUTE_32F,
            Precision::TF32 => COMPUTE_32F_FAST_TF32,
            Precision::F16 => COMPUTE_32F_FAST_16F,
            Precision::BF16 => COMPUTE_32F_FAST_16BF,
        }),
        (Element::F64, _) => Some(COMPUTE_64F),
        (Element::I8, _) => Some(COMPUTE_32I),
        _ => Some(COMPUTE_32F),
    }
}

/// The type of alpha and beta.
fn scale(element: Element) -> Element {
    match element {
        Element::F64 => Element::F64,
        Element::I8 => Element::I32,
        _ => Element::F32,
    }
}

fn side(m: &Matrix, rows: u64, cols: u64, element: Element, batch: u64) -> Side {
    let size = element.bytes();
    let bits = m.ptr | if batch > 1 { m.stride.wrapping_mul(size) } else { 0 };
    // The library counts columns of what lies together.
    (cols, rows, m.ld, if batch > 1 { m.stride } else { 0 }, 1 << bits.trailing_zeros().min(8))
}

/// How a plan is looked for. Theirs A is our B.
fn wanted(key: &Key) -> Wanted {
    let output = if key.element == Element::I8 { Element::I32 } else { key.element };
    let layout = |(rows, cols, ld, stride, _): Side, element: Element| Layout {
        element: element.number() as u32,
        rows,
        cols,
        ld,
        stride,
    };
    let mut preferences = vec![(PREF_REDUCTION, REDUCE_IN_SUMS)];
    for (i, (.., alignment)) in [key.b, key.a, key.c, key.c].into_iter().enumerate() {
        preferences.push((PREF_ALIGNMENT + i as u32, alignment));
    }
    Wanted {
        compute: key.compute,
        scale: scale(key.element).number() as u32,
        transposed: match (key.transpose_b, key.transpose_a) {
            (false, false) => &[],
            (true, false) => &[DESC_TRANSA],
            (false, true) => &[DESC_TRANSB],
            (true, true) => &[DESC_TRANSA, DESC_TRANSB],
        },
        layouts: [layout(key.b, key.element), layout(key.a, key.element), layout(key.c, output)],
        batch: key.batch,
        workspace: key.workspace,
        preferences,
    }
}

impl CudaTensorOps {
    fn key(&self, o: &MatMul) -> Option<Key> {
        self.blas.as_ref()?;
        let compute = compute(o.element, self.rules())?;
        if o.depth() == 0 {
            return None;
        }
        // Seen on an H200: the library rounds the product to a narrow type before it adds C, and so rounds twice.
        if o.beta != 0.0 && matches!(o.element, Element::F16 | Element::BF16) {
            return None;
        }
        let dims = |transposed, rows, cols| if transposed { (cols, rows) } else { (rows, cols) };
        let (a_rows, a_cols) = dims(o.transpose_a, o.m, o.k);
        let (b_rows, b_cols) = dims(o.transpose_b, o.k, o.n);
        let (_, held) = self.scratch();
        Some(Key {
            element: o.element,
            compute,
            a: side(&o.a, a_rows, a_cols, o.element, o.batch),
            b: side(&o.b, b_rows, b_cols, o.element, o.batch),
            c: side(&o.c, o.m, o.n, o.output(), o.batch),
            transpose_a: o.transpose_a,
            transpose_b: o.transpose_b,
            batch: o.batch,
            workspace: held.min(WORKSPACE),
        })
    }

    /// Whether the library has an algorithm for this product.
    pub(super) fn library_does(&self, o: &MatMul) -> bool {
        let Some((blas, key)) = self.blas.as_ref().zip(self.key(o)) else { return false };
        let Ok(_current) = self.cuda().and_then(|cuda| cuda.context().enter()) else { return false };
        matches!(blas.plan(key, || wanted(&key)), Ok(Some(_)))
    }

    /// Does a product by the library; false when it cannot, and nothing was queued.
    pub(super) fn library_product(&self, o: &MatMul) -> Result<bool> {
        let Some((blas, key)) = self.blas.as_ref().zip(self.key(o)) else { return Ok(false) };
        let _current = self.cuda()?.context().enter()?;
        let Some(plan) = blas.plan(key, || wanted(&key))? else { return Ok(false) };
        let stream = self.own_stream()?;
        let (workspace, _) = self.scratch();
        // alpha and beta in the type that the plan says; read during the call.
        let (f32s, f64s) = ([o.alpha as f32, o.beta as f32], [o.alpha, o.beta]);
        let integers = [o.alpha as i32, o.beta as i32];
        let (alpha, beta): (*const c_void, *const c_void) = match scale(o.element) {
            Element::F64 => ((&raw const f64s[0]).cast(), (&raw const f64s[1]).cast()),
            Element::I32 => ((&raw const integers[0]).cast(), (&raw const integers[1]).cast()),
            _ => ((&raw const f32s[0]).cast(), (&raw const f32s[1]).cast()),
        };
        // SAFETY: descriptors match the memory, which the caller of `queue_checked` answers for; the workspace is as
        // large as the plan's limit.
        let multiply = || unsafe {
            blas.multiply(&plan, (alpha, beta), (o.b.ptr, o.a.ptr, o.c.ptr), workspace, stream.raw())
        };
        let mut code = 0;
        if profiler::on() {
            let bytes = Operation::MatMul(*o).cost().bytes as u64;
            let work = Work::new(Kind::Kernel, "cublaslt_matmul", bytes).parts(Parts::Open);
            measured(stream, work, || {
                code = multiply();
                Ok(())
            })?;
        } else {
            code = multiply();
        }
        // An error of the call comes before anything is queued: our own kernels can do it.
        Ok(code == 0)
    }
}
