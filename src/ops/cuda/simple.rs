//! Embeddings, norms, and element-wise operations.

use super::kernels::args;
use super::{CudaOps, pack};
use crate::Result;
use crate::device::DevicePtr;
use crate::ops::{Activation, Weight, bytes};
use crate::quant::DType;

/// The suffix of kernels for a type.
pub(crate) fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::Q8_0 => "q8_0",
        DType::Q4_0 => "q4_0",
        DType::Q4_K => "q4_k",
        DType::Q6_K => "q6_k",
        DType::TQ1_0 | DType::TQ2_0 | DType::I2_S => {
            unreachable!("{dtype:?} has no kernels here: packing refuses it")
        }
    }
}

pub(crate) fn embed_kernel(dtype: DType) -> String {
    format!("cw_embed_{}", suffix(dtype))
}

fn number(activation: Activation) -> i32 {
    match activation {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::SquaredRelu => 3,
    }
}

/// Blocks of 256 threads for `count` elements.
pub(crate) fn blocks(count: u64) -> [u32; 3] {
    [u32::try_from(count.div_ceil(256)).unwrap_or(u32::MAX), 1, 1]
}

impl CudaOps {
    pub(super) fn run_embed(&self, table: &Weight, ids: DevicePtr, out: DevicePtr, n: u32) -> Result<()> {
        let (ptr, cols) = (table.ptr, table.cols as i32);
        let step = match pack::tile(table.dtype) {
            None => pack::stride(table.cols) as i32,
            Some(_) => pack::chunks(table.dtype, table.cols) as i32,
        };
        let grid = [n, table.cols.div_ceil(256), 1];
        self.moves(|| bytes::embed(table, n, pack::packed_bytes(table.dtype, table.rows, table.cols)));
        // SAFETY: the arguments are those of `cw_embed`; the caller's pointers hold what the trait says.
        unsafe { self.launch(&embed_kernel(table.dtype), grid, 256, 0, args![ptr, ids, out, cols, step]) }
    }

    pub(super) fn run_rms_norm(
        &self,
        x: DevicePtr,
        weight: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
        eps: f32,
    ) -> Result<()> {
        let (rows, width) = (n as i32, dim as i32);
        self.moves(|| bytes::rows(n, dim, 2) + bytes::rows(1, dim, 1));
        if dim <= 256 {
            let grid = [n.div_ceil(8), 1, 1];
            // SAFETY: as in `run_embed`.
            return unsafe {
                self.launch("cw_rms_norm_small", grid, 256, 0, args![x, weight, out, rows, width, eps])
            };
        }
        // SAFETY: as in `run_embed`.
        unsafe { self.launch("cw_rms_norm", [n, 1, 1], 512, 0, args![x, weight, out, width, eps]) }
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn run_layer_norm(
        &self,
        x: DevicePtr,
        weight: DevicePtr,
        bias: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
        eps: f32,
    ) -> Result<()> {
        let width = dim as i32;
        let threads = if dim <= 512 { 128 } else { 512 };
        self.moves(|| bytes::rows(n, dim, 2) + bytes::rows(1, dim, 2));
        // SAFETY: as in `run_embed`.
        unsafe {
            self.launch("cw_layer_norm", [n, 1, 1], threads, 0, args![x, weight, bias, out, width, eps])
        }
    }

    pub(super) fn run_gated(&self, a: Activation, gate: DevicePtr, up: DevicePtr, count: u64) -> Result<()> {
        let kind = number(a);
        self.moves(|| count * 12);
        // SAFETY: as in `run_embed`.
        unsafe { self.launch("cw_gated", blocks(count), 256, 0, args![kind, gate, up, count]) }
    }

    pub(super) fn run_activate(&self, a: Activation, x: DevicePtr, count: u64) -> Result<()> {
        let kind = number(a);
        self.moves(|| count * 8);
        // SAFETY: as in `run_embed`.
        unsafe { self.launch("cw_activate", blocks(count), 256, 0, args![kind, x, count]) }
    }

    pub(super) fn run_add(&self, x: DevicePtr, y: DevicePtr, count: u64) -> Result<()> {
        self.moves(|| count * 12);
        // SAFETY: as in `run_embed`.
        unsafe { self.launch("cw_add", blocks(count), 256, 0, args![x, y, count]) }
    }

    pub(super) fn run_gather(
        &self,
        x: DevicePtr,
        index: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
    ) -> Result<()> {
        let width = dim as i32;
        self.moves(|| bytes::rows(n, dim, 2) + u64::from(n) * 4);
        // SAFETY: as in `run_embed`.
        unsafe { self.launch("cw_gather", [n, dim.div_ceil(256), 1], 256, 0, args![x, index, out, width]) }
    }
}
