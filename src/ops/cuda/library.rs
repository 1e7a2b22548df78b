//! Products of many rows through cuBLASLt, when it is installed.
//!
//! Quantized matrices are turned into f16 panel by panel in scratch memory;
//! activations become f16 (of x / 16, so that 1e6 fits) or bf16; sums are f32. F32 stays f32
//! throughout, never TF32, unless the rules are [`Math::Fast`]. With [`Math::Plain`] F32 alone comes here, and is computed
//! without tensor cores.
//! Where the library has no algorithm, our own kernels do the product.

use super::cublaslt::{
    COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_32F_PEDANTIC, CublasLt, DESC_TRANSA, Layout, Wanted, check,
};
use super::kernels::args;
use super::simple::{blocks, suffix};
use super::{CudaOps, pack};
use crate::Result;
use crate::device::cuda::{Parts, Work, measured};
use crate::device::{DevicePtr, Stream};
use crate::ops::{Math, Product};
use crate::quant::DType;
use crate::telemetry::profiler::{self, Kind};

/// From this many rows on the library multiplies by a tiled type: below, unpacking the matrix costs more than it saves.
const LEAST_ROWS: u32 = 64;
/// The same for F32 and BF16, which need no unpacking.
pub(super) const LEAST_ROWS_PLAIN: u32 = 16;
/// Most elements that are unpacked at once.
const PANEL: u64 = 16 << 20;
/// Scratch that the library may use.
const WORKSPACE: u64 = 4 << 20;

// From library_types.h.
const R_32F: u32 = 0;
const R_16F: u32 = 2;
const R_16BF: u32 = 14;

/// Type and compute type, outputs, inputs, stride of a row of weights, outputs of the whole matrix, rows.
type Key = ((u32, u32), u32, u32, u32, u32, u32);

/// The library with plans for products of the model engine.
pub(super) type Library = CublasLt<Key>;

/// How a plan is looked for: weights are `[cols x rows]` to the library and taken transposed, activations `[cols x n]`, the
/// output `[rows x n]`.
fn wanted(((element, compute), rows, cols, stride, out_stride, n): Key) -> Wanted {
    let layout = |element, rows: u32, cols: u32, ld: u32| Layout {
        element,
        rows: rows.into(),
        cols: cols.into(),
        ld: ld.into(),
        stride: 0,
    };
    Wanted {
        compute,
        scale: R_32F,
        transposed: &[DESC_TRANSA],
        layouts: [
            layout(element, cols, rows, stride),
            layout(element, cols, n, cols),
            layout(R_32F, rows, n, out_stride),
        ],
        batch: 1,
        workspace: WORKSPACE,
        preferences: Vec::new(),
    }
}

/// `CUBLAS_STATUS_EXECUTION_FAILED`.
const EXECUTION_FAILED: u32 = 13;
/// Tries of one product.
const ATTEMPTS: u32 = 3;

/// Weights unpacked at once: whole tiles of 16 rows.
fn panel_rows(rows: u32, cols: u32) -> u32 {
    let most = (PANEL / u64::from(cols)).clamp(16, u64::from(u32::MAX)) as u32 / 16 * 16;
    rows.min(most)
}

/// The compute type for matrices of `element`, or `None` where the rules of `math` leave the library nothing to do.
fn compute_type(element: u32, math: Math) -> Option<u32> {
    match (math, element) {
        // Pedantic: f32 arithmetic as it is written down, so no tensor cores.
        (Math::Plain, R_32F) => Some(COMPUTE_32F_PEDANTIC),
        // Narrow inputs are multiplied on tensor cores or not at all.
        (Math::Plain, _) => None,
        (Math::Fast, R_32F) => Some(COMPUTE_32F_FAST_TF32),
        _ => Some(COMPUTE_32F),
    }
}

/// Narrow parts that an f32 activation is split into. Matrices that a file holds in 16 bits get two, so that their
/// products are as exact as with f32 activations; quantized ones are coarser than one part's rounding.
fn parts(dtype: DType, math: Math) -> u32 {
    match dtype {
        DType::F16 | DType::BF16 if math != Math::Fast => 2,
        _ => 1,
    }
}

/// Bytes of one narrow part of the activations, so that the next one is aligned as the library wants it.
fn part_bytes(n: u32, cols: u32) -> u64 {
    (u64::from(n) * u64::from(cols) * 2).next_multiple_of(256)
}

/// Scratch of one product: workspace, activations, panel.
fn bytes(dtype: DType, n: u32, rows: u32, cols: u32) -> (u64, u64, u64) {
    // For the rules that take most, so that a change of them needs no more.
    let x = part_bytes(n, cols) * u64::from(parts(dtype, Math::Exact));
    match pack::tile(dtype) {
        _ if dtype == DType::F32 => (WORKSPACE, 0, 0),
        None => (WORKSPACE, x, 0),
        Some(_) => {
            (WORKSPACE, x, (u64::from(panel_rows(rows, cols)) * u64::from(cols) * 2).next_multiple_of(256))
        }
    }
}

impl CudaOps {
    /// Scratch that the library's products need for steps of up to `n` rows.
    pub(super) fn library_bytes(&self, n: u32, cols: u32, outputs: u32) -> u64 {
        if self.library.is_none() || n < LEAST_ROWS.min(LEAST_ROWS_PLAIN) {
            return 0;
        }
        let dtype = if n < LEAST_ROWS { DType::BF16 } else { DType::F16 };
        // F16 takes most: two parts and a panel. A matrix with fewer inputs may have a panel of more rows, but none has more elements than this.
        let (w, x, p) = bytes(dtype, n, outputs, cols);
        w + x + if p == 0 { 0 } else { p.max((u64::from(outputs) * u64::from(cols)).min(PANEL) * 2 + 256) }
    }

    /// Runs a product of the library measured; what it answers passes through.
    fn seen(
        &self,
        element: u32,
        rows: u32,
        n: u32,
        cols: u32,
        tries: impl FnOnce() -> Option<u32>,
    ) -> Result<Option<u32>> {
        let size = if element == R_32F { 4 } else { 2 };
        let (rows, n, cols) = (u64::from(rows), u64::from(n), u64::from(cols));
        let bytes = (rows + n) * cols * size + rows * n * 4;
        let mut code = None;
        // Its answer is judged by the caller.
        let work = Work::new(Kind::Kernel, "cublaslt_matmul", bytes).parts(Parts::Open);
        measured(self.own_stream()?, work, || {
            code = tries();
            Ok(())
        })?;
        Ok(code)
    }

    /// Does one product by the library; false when it cannot or when our own kernels are the better choice.
    pub(super) fn library_product(&self, x: DevicePtr, n: u32, p: &Product) -> Result<bool> {
        let w = p.weight;
        let least = if pack::tile(w.dtype).is_some() { LEAST_ROWS } else { LEAST_ROWS_PLAIN };
        let Some(library) = self.library.as_ref().filter(|_| n >= least) else { return Ok(false) };
        let element = match w.dtype {
            DType::F32 => R_32F,
            DType::BF16 => R_16BF,
            _ => R_16F,
        };
        let Some(compute) = compute_type(element, self.math) else { return Ok(false) };
        let (workspace_bytes, x_bytes, panel_bytes) = bytes(w.dtype, n, w.rows, w.cols);
        let workspace = self.scratch(workspace_bytes + x_bytes + panel_bytes, "matmul")?;
        let (narrow, panel) = (workspace + workspace_bytes, workspace + workspace_bytes + x_bytes);
        let (at_once, stride) = match panel_bytes {
            0 => (w.rows, pack::stride(w.cols)),
            _ => (panel_rows(w.rows, w.cols), w.cols),
        };
        let mut plans = Vec::new();
        for first in (0..w.rows).step_by(at_once as usize) {
            let now = at_once.min(w.rows - first);
            let key = ((element, compute), now, w.cols, stride, w.rows, n);
            match library.plan(key, || wanted(key))? {
                Some(plan) => plans.push((first, now, plan)),
                None => return Ok(false),
            }
        }
        let count = u64::from(n) * u64::from(w.cols);
        let (b, alpha) = match element {
            R_32F => (x, 1.0f32),
            R_16BF => (narrow, 1.0),
            _ => (narrow, 16.0),
        };
        if element != R_32F {
            let second = if parts(w.dtype, self.math) == 2 { part_bytes(n, w.cols) / 2 } else { 0 };
            let name = if element == R_16F { "cw_to_f16" } else { "cw_to_bf16" };
            // SAFETY: the arguments are those of the kernel; scratch holds `count` elements of 2 bytes.
            unsafe { self.launch(name, blocks(count), 256, 0, args![x, narrow, count, second])? };
        }
        let beta = if p.add { 1.0f32 } else { 0.0 };
        for (first, now, plan) in plans {
            let a = match panel_bytes {
                0 => w.ptr,
                _ => {
                    let (chunks, cols) = (pack::chunks(w.dtype, w.cols), w.cols as i32);
                    let tile = pack::tile(w.dtype).map_or(0, |(_, bytes)| bytes);
                    let from = w.ptr + u64::from(first / 16) * u64::from(chunks) * tile;
                    let chunks = chunks as i32;
                    let grid = [now, w.cols.div_ceil(256), 1];
                    let name = format!("cw_unpack_{}", suffix(w.dtype));
                    // SAFETY: as above; the panel holds `now` rows.
                    unsafe { self.launch(&name, grid, 256, 0, args![from, panel, cols, chunks])? };
                    panel
                }
            };
            let out = p.out + u64::from(first) * 4;
            let _current = self.cuda()?.context().enter()?;
            let stream = self.own_stream()?;
            for part in 0..u64::from(parts(w.dtype, self.math)) {
                let b = b + part * part_bytes(n, w.cols);
                let beta = if part == 0 { beta } else { 1.0 };
                // SAFETY: descriptors match the memory: weights or panel, activations, `out` with its stride; alpha
                // and beta are read during the call.
                let multiply = || unsafe {
                    let scales = ((&raw const alpha).cast(), (&raw const beta).cast());
                    library.multiply(&plan, scales, (a, b, out), workspace, stream.raw())
                };
                // Seen to fail in 5 of 40 runs of the engine's tests, many models at once on one GPU; why is not known.
                // With this the same runs pass.
                let tries = || (0..ATTEMPTS).map(|_| multiply()).find(|&code| code != EXECUTION_FAILED);
                let code = match profiler::on() {
                    // Panels and parts count by what each product reads and writes itself.
                    true => self.seen(element, now, n, w.cols, tries)?,
                    false => tries(),
                };
                match code {
                    Some(code) => check("cublasLtMatmul", code)?,
                    // Nothing was written yet, so our own kernels can do all of it.
                    None if first == 0 && part == 0 => return Ok(false),
                    None => check("cublasLtMatmul", EXECUTION_FAILED)?,
                }
            }
        }
        if let Some(bias) = p.bias {
            let (out, rows) = (p.out, w.rows as i32);
            // SAFETY: as above.
            unsafe { self.launch("cw_bias", [n, w.rows.div_ceil(256), 1], 256, 0, args![out, bias, rows])? };
        }
        Ok(true)
    }
}
