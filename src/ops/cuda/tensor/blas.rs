//! Products by cuBLASLt. It thinks in columns: a row-major matrix is its transpose to it, so `C = A B` is asked for as
//! `C' = B' A'` and nothing is copied.

use super::super::library::{Handle, Heuristic, TABLE, Table, check};
use super::{CudaTensorOps, WORKSPACE};
use crate::Result;
use crate::device::Stream;
use crate::device::cuda::{CudaDevice, Parts, Work, measured};
use crate::ops::Math;
use crate::ops::tensor::{Element, MatMul, Matrix, Operation, Precision, Rules, TensorOps};
use crate::telemetry::profiler::{self, Kind};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

// From cublasLt.h and library_types.h.
const COMPUTE_32F: u32 = 68;
const COMPUTE_32F_PEDANTIC: u32 = 69;
const COMPUTE_64F: u32 = 70;
const COMPUTE_64F_PEDANTIC: u32 = 71;
const COMPUTE_32I: u32 = 72;
const COMPUTE_32F_FAST_16F: u32 = 74;
const COMPUTE_32F_FAST_16BF: u32 = 75;
const COMPUTE_32F_FAST_TF32: u32 = 77;
const DESC_TRANSA: u32 = 3;
const DESC_TRANSB: u32 = 4;
const OP_T: u32 = 1;
const LAYOUT_BATCH: u32 = 5;
const LAYOUT_STRIDE: u32 = 6;
const PREF_MAX_WORKSPACE: u32 = 1;
const PREF_REDUCTION: u32 = 3;
/// Parts are added up in the type of the sums, never in the output's.
const REDUCE_IN_SUMS: u32 = 2;
/// The first of four: the least alignment of A, B, C, D.
const PREF_ALIGNMENT: u32 = 5;

/// Plans that are kept; beyond, all are made anew.
const MOST_PLANS: usize = 512;

/// A matrix as the library sees it: rows, columns, leading dimension, stride, alignment in bytes.
type Side = (u64, u64, u64, u64, u32);

/// What a plan was made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
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

/// Descriptors of one product and the algorithm for it.
struct Plan {
    table: &'static Table,
    desc: Handle,
    a: Handle,
    b: Handle,
    c: Handle,
    algo: [u64; 8],
    workspace: usize,
}

// SAFETY: descriptors are only read after they were made.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

impl Drop for Plan {
    fn drop(&mut self) {
        for (destroy, handle) in [
            (self.table.desc_destroy, self.desc),
            (self.table.layout_destroy, self.a),
            (self.table.layout_destroy, self.b),
            (self.table.layout_destroy, self.c),
        ] {
            if !handle.is_null() {
                // SAFETY: made by the matching create, destroyed once.
                unsafe { destroy(handle) };
            }
        }
    }
}

/// A handle of the library and the plans made so far.
pub(super) struct Blas {
    table: &'static Table,
    handle: Handle,
    plans: Mutex<HashMap<Key, Option<Arc<Plan>>>>,
}

// SAFETY: a cuBLASLt handle may be used from several threads at once.
unsafe impl Send for Blas {}
// SAFETY: as above.
unsafe impl Sync for Blas {}

impl Drop for Blas {
    fn drop(&mut self) {
        self.plans.get_mut().clear();
        // SAFETY: made once, its plans are gone.
        unsafe { (self.table.destroy)(self.handle) };
    }
}

/// Whether libraries of NVIDIA's speak to the driver that this device does.
pub(super) fn libraries_fit(device: &CudaDevice) -> bool {
    let file = device.context().driver.path().file_name().unwrap_or_default();
    file.to_string_lossy().starts_with("libcuda.so")
}

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

impl Blas {
    /// The library, if it is installed and works with this driver.
    pub(super) fn find(device: &CudaDevice) -> Result<Option<Blas>> {
        if !libraries_fit(device) {
            return Ok(None);
        }
        let Some(table) = TABLE.as_ref() else { return Ok(None) };
        let _current = device.context().enter()?;
        let mut handle = null_mut();
        // SAFETY: `handle` outlives the call.
        let code = unsafe { (table.create)(&mut handle) };
        Ok((code == 0).then(|| Blas { table, handle, plans: Default::default() }))
    }

    fn plan(&self, key: Key) -> Result<Option<Arc<Plan>>> {
        let mut plans = self.plans.lock();
        if let Some(plan) = plans.get(&key) {
            return Ok(plan.clone());
        }
        let plan = self.make(&key)?.map(Arc::new);
        if plans.len() >= MOST_PLANS {
            plans.clear();
        }
        plans.insert(key, plan.clone());
        Ok(plan)
    }

    fn make(&self, key: &Key) -> Result<Option<Plan>> {
        let t = self.table;
        let null = null_mut();
        let mut p = Plan { table: t, desc: null, a: null, b: null, c: null, algo: [0; 8], workspace: 0 };
        let output = if key.element == Element::I8 { Element::I32 } else { key.element };
        // SAFETY: outputs outlive the calls; sizes are those of the values.
        unsafe {
            let scale = scale(key.element).number() as u32;
            check("cublasLtMatmulDescCreate", (t.desc_create)(&mut p.desc, key.compute, scale))?;
            // Theirs A is our B.
            let turned = OP_T;
            for (attribute, transposed) in [(DESC_TRANSA, key.transpose_b), (DESC_TRANSB, key.transpose_a)] {
                if transposed {
                    let code = (t.desc_set)(p.desc, attribute, (&raw const turned).cast(), 4);
                    check("cublasLtMatmulDescSetAttribute", code)?;
                }
            }
            for (to, (rows, cols, ld, stride, _), element) in
                [(&mut p.a, key.b, key.element), (&mut p.b, key.a, key.element), (&mut p.c, key.c, output)]
            {
                let code = (t.layout_create)(to, element.number() as u32, rows, cols, ld as i64);
                check("cublasLtMatrixLayoutCreate", code)?;
                if key.batch > 1 {
                    let (count, stride) = (key.batch as i32, stride as i64);
                    let code = (t.layout_set)(*to, LAYOUT_BATCH, (&raw const count).cast(), 4);
                    check("cublasLtMatrixLayoutSetAttribute", code)?;
                    let code = (t.layout_set)(*to, LAYOUT_STRIDE, (&raw const stride).cast(), 8);
                    check("cublasLtMatrixLayoutSetAttribute", code)?;
                }
            }
            let mut pref = null_mut();
            check("cublasLtMatmulPreferenceCreate", (t.pref_create)(&mut pref))?;
            let most = key.workspace as usize;
            let mut set = (t.pref_set)(pref, PREF_MAX_WORKSPACE, (&raw const most).cast(), 8);
            let mut also = |attribute: u32, value: u32| {
                let code = (t.pref_set)(pref, attribute, (&raw const value).cast(), 4);
                set = if set == 0 { code } else { set };
            };
            also(PREF_REDUCTION, REDUCE_IN_SUMS);
            for (i, (.., alignment)) in [key.b, key.a, key.c, key.c].into_iter().enumerate() {
                also(PREF_ALIGNMENT + i as u32, alignment);
            }
            let mut found = Heuristic { algo: [0; 8], workspace: 0, state: 1, waves: 0.0, reserved: [0; 4] };
            let mut count = 0;
            let code =
                (t.heuristic)(self.handle, p.desc, p.a, p.b, p.c, p.c, pref, 1, &mut found, &mut count);
            (t.pref_destroy)(pref);
            if set != 0 || code != 0 || count < 1 || found.state != 0 || found.workspace > most {
                return Ok(None);
            }
            p.algo = found.algo;
            p.workspace = found.workspace;
        }
        Ok(Some(p))
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
        matches!(blas.plan(key), Ok(Some(_)))
    }

    /// Does a product by the library; false when it cannot, and nothing was queued.
    pub(super) fn library_product(&self, o: &MatMul) -> Result<bool> {
        let Some((blas, key)) = self.blas.as_ref().zip(self.key(o)) else { return Ok(false) };
        let _current = self.cuda()?.context().enter()?;
        let Some(plan) = blas.plan(key)? else { return Ok(false) };
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
            (blas.table.matmul)(
                blas.handle,
                plan.desc,
                alpha,
                o.b.ptr as *const c_void,
                plan.a,
                o.a.ptr as *const c_void,
                plan.b,
                beta,
                o.c.ptr as *const c_void,
                plan.c,
                o.c.ptr as *mut c_void,
                plan.c,
                plan.algo.as_ptr().cast(),
                workspace as *mut c_void,
                plan.workspace,
                stream.raw(),
            )
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
