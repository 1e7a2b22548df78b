//! Operations on CUDA GPUs: the kernels of `kernels/`, launched on the tenant's stream.
//!
//! Results are the same from run to run on one device: nothing is added in an order that chance decides. A token's
//! logits may differ in the last bits between steps of different shapes where a longer context is cut differently
//! or cuBLASLt takes part. Which node a step ran on changes nothing. `products.rs` says what holds for products.

mod attention;
mod cublaslt;
mod kernels;
mod library;
mod pack;
mod products;
mod simple;
mod step;
pub(crate) mod tensor;
mod ternary;

use super::{
    Activation, Attention, Download, KvLayout, Math, Ops, Product, RopeStyle, Rows, StepTime, Upload, Weight,
};
use crate::device::cuda::{CudaDevice, CudaStream, expect_bytes};
use crate::device::{Device, DevicePtr, Node, Stream};
use crate::quant::DType;
use crate::telemetry::profiler;
use crate::{Error, Result, Status};
use kernels::Kernels;
use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::Arc;

/// The embedded kernel image: a fatbin with the code for every supported GPU.
pub fn image() -> &'static [u8] {
    kernels::IMAGE
}

/// Operations on one stream of a CUDA device.
pub struct CudaOps {
    // Fields drop in this order: recorded graphs before the stream and the device they belong to.
    steps: Mutex<step::Steps>,
    library: Option<library::Library>,
    kernels: Arc<Kernels>,
    stream: Arc<dyn Stream>,
    device: Arc<dyn Device>,
    scratch: Mutex<(DevicePtr, u64)>,
    /// SMs of the whole device: what results may depend on.
    multiprocessors: u32,
    /// SMs of the node: what only the shape of a grid depends on, never a result.
    processors: u32,
    math: Math,
    /// Compute capability 8.0 or newer.
    has_tf32: bool,
}

impl CudaOps {
    /// Operations on `stream`, a stream of `node` of `device`, with products by the rules of `math`.
    ///
    /// Errors: `InvalidArgument` when either is no CUDA object; `Unsupported` when the image has no code for this GPU.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        device: &Arc<dyn Device>,
        node: Arc<dyn Node>,
        stream: Arc<dyn Stream>,
        math: Math,
    ) -> Result<Arc<dyn Ops>> {
        let cuda = CudaDevice::of(device.as_ref(), "device")?;
        CudaStream::of(stream.as_ref(), "stream")?;
        let info = cuda.info()?;
        Ok(Arc::new(CudaOps {
            steps: Default::default(),
            library: library::Library::find(cuda)?,
            kernels: Kernels::of(cuda)?,
            multiprocessors: info.multiprocessors.max(1),
            has_tf32: info.compute_major >= 8,
            math,
            processors: node.processors().max(1),
            stream,
            device: device.clone(),
            scratch: Mutex::new((0, 0)),
        }))
    }

    fn cuda(&self) -> Result<&CudaDevice> {
        CudaDevice::of(self.device.as_ref(), "device")
    }

    /// Tells the profiler how many bytes the next kernel reads and writes.
    #[inline]
    fn moves(&self, bytes: impl FnOnce() -> u64) {
        if profiler::on() {
            expect_bytes(bytes());
        }
    }

    /// Queues a kernel.
    ///
    /// # Safety
    /// As `Function::launch`.
    unsafe fn launch(
        &self,
        name: &str,
        grid: [u32; 3],
        block: u32,
        smem: u32,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        if grid.contains(&0) {
            self.moves(|| 0);
            return Ok(()); // nothing to do
        }
        // SAFETY: the caller's duty.
        unsafe { self.kernels.launch(self.own_stream()?, name, grid, block, smem, args) }
    }

    /// The same for kernels that wait for their input by themselves, and may begin before it is there.
    ///
    /// # Safety
    /// As `Function::launch_overlapped`.
    unsafe fn launch_overlapped(
        &self,
        name: &str,
        grid: [u32; 3],
        block: u32,
        smem: u32,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        let function = self.kernels.get(name)?;
        // SAFETY: the caller's duty.
        unsafe { function.launch_overlapped(self.own_stream()?, grid, [block, 1, 1], smem, args) }
    }

    /// Blocks of a kernel that the node holds at once.
    fn resident(&self, name: &str, threads: u32, smem: u32) -> Result<u32> {
        Ok(self.kernels.occupancy(name, threads, smem)? * self.processors)
    }

    /// The scratch memory, when it holds `bytes`.
    fn scratch(&self, bytes: u64, what: &str) -> Result<DevicePtr> {
        let (ptr, held) = *self.scratch.lock();
        if bytes > held {
            let text = format!("{what} needs {bytes} bytes of scratch, {held} were given");
            return Err(Error::new(Status::Internal, text).advise("size it with scratch_bytes, set_scratch"));
        }
        Ok(ptr)
    }
}

impl Ops for CudaOps {
    fn stream(&self) -> &Arc<dyn Stream> {
        &self.stream
    }

    fn math(&self) -> Math {
        self.math
    }

    fn packed_bytes(&self, dtype: DType, rows: u32, cols: u32) -> Result<u64> {
        pack::packed_bytes(dtype, rows, cols)
    }

    fn pack(&self, dtype: DType, rows: u32, cols: u32, src: &[u8], dst: &mut [u8]) -> Result<()> {
        pack::pack(dtype, rows, cols, src, dst)
    }

    fn scratch_bytes(
        &self,
        rows: u32,
        cols: u32,
        outputs: u32,
        _tokens: u32,
        heads: u32,
        head_dim: u32,
    ) -> u64 {
        // Operations run one after another, so they share it.
        products::split_bytes(rows, cols)
            .max(attention::parts_bytes(self.multiprocessors, rows, heads, head_dim))
            .max(self.library_bytes(rows, cols, outputs))
            .max(ternary::scratch_bytes(rows, cols))
            .next_multiple_of(256)
    }

    fn set_scratch(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        if !ptr.is_multiple_of(256) {
            return Err(Error::argument("ptr", "is not aligned to 256 bytes"));
        }
        // Records point into the old scratch.
        self.forget();
        *self.scratch.lock() = (ptr, bytes);
        Ok(())
    }

    fn step(
        &self,
        key: Option<u64>,
        uploads: &[Upload<'_>],
        body: &mut (dyn FnMut() -> Result<()> + Send),
        downloads: &mut [Download<'_>],
    ) -> Result<StepTime> {
        self.run_step(key, uploads, body, downloads)
    }

    fn forget(&self) {
        *self.steps.lock() = Default::default();
    }

    fn embed(&self, table: &Weight, ids: DevicePtr, out: DevicePtr, n: u32) -> Result<()> {
        self.run_embed(table, ids, out, n)
    }

    fn rms_norm(
        &self,
        x: DevicePtr,
        weight: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
        eps: f32,
    ) -> Result<()> {
        self.run_rms_norm(x, weight, out, n, dim, eps)
    }

    fn layer_norm(
        &self,
        x: DevicePtr,
        weight: DevicePtr,
        bias: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
        eps: f32,
    ) -> Result<()> {
        self.run_layer_norm(x, weight, bias, out, n, dim, eps)
    }

    fn matmul(&self, x: DevicePtr, n: u32, products: &[Product]) -> Result<()> {
        self.run_matmul(x, n, products)
    }

    fn rope_store(
        &self,
        rows: &Rows,
        kv: &KvLayout,
        layer: u32,
        heads: u32,
        q: DevicePtr,
        k: DevicePtr,
        v: DevicePtr,
        frequencies: DevicePtr,
        magnitude: f32,
        style: RopeStyle,
    ) -> Result<()> {
        self.run_rope_store(rows, kv, layer, heads, q, k, v, frequencies, magnitude, style)
    }

    fn attention(
        &self,
        rows: &Rows,
        kv: &KvLayout,
        layer: u32,
        how: &Attention,
        q: DevicePtr,
        out: DevicePtr,
    ) -> Result<()> {
        self.run_attention(rows, kv, layer, how, q, out)
    }

    fn attention_full(
        &self,
        q: DevicePtr,
        k: DevicePtr,
        v: DevicePtr,
        out: DevicePtr,
        starts: DevicePtr,
        sequences: u32,
        longest: u32,
        heads: u32,
        head_dim: u32,
        scale: f32,
    ) -> Result<()> {
        self.run_attention_full(q, k, v, out, starts, sequences, longest, heads, head_dim, scale)
    }

    fn gated(&self, activation: Activation, gate: DevicePtr, up: DevicePtr, count: u64) -> Result<()> {
        self.run_gated(activation, gate, up, count)
    }

    fn activate(&self, activation: Activation, x: DevicePtr, count: u64) -> Result<()> {
        self.run_activate(activation, x, count)
    }

    fn add(&self, x: DevicePtr, y: DevicePtr, count: u64) -> Result<()> {
        self.run_add(x, y, count)
    }

    fn gather(&self, x: DevicePtr, index: DevicePtr, out: DevicePtr, n: u32, dim: u32) -> Result<()> {
        self.run_gather(x, index, out, n, dim)
    }
}
