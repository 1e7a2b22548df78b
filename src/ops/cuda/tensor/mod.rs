//! Operations on tensors on CUDA GPUs: libraries of NVIDIA's where they are found and do it right, own kernels
//! (`kernels/tensor`) otherwise.

mod blas;
mod convolution;
mod dnn;
mod product;
mod rows;

use super::kernels::{Kernels, args};
use crate::device::cuda::{CudaDevice, CudaStream};
use crate::device::{Device, DevicePtr, Node, Stream};
use crate::ops::Math;
use crate::ops::tensor::{
    Cast, Element, Iterate, Map, Operation, Pace, Precision, Rules, TensorOps, Transpose,
};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Workspace that a library asks for at most (what cuBLAS takes for itself on such a GPU).
const WORKSPACE: u64 = 32 << 20;

/// [`TensorOps`] of one stream of a CUDA device.
pub(crate) struct CudaTensorOps {
    // Plans go before the device they were made on.
    blas: Option<blas::Blas>,
    kernels: Arc<Kernels>,
    stream: Arc<dyn Stream>,
    device: Arc<dyn Device>,
    /// SMs of the node.
    processors: u32,
    /// Compute capability, major number.
    major: u32,
    /// Bytes a second of the device's memory.
    bandwidth: f64,
    rules: AtomicU32,
    scratch: Mutex<(DevicePtr, u64)>,
}

/// The suffix of kernels for a type.
fn suffix(element: Element) -> &'static str {
    match element {
        Element::F32 => "f32",
        Element::F64 => "f64",
        Element::F16 => "f16",
        Element::BF16 => "bf16",
        Element::I8 => "i8",
        Element::I32 => "i32",
    }
}

/// The names of all kernels of `kernels/tensor`.
#[cfg(test)]
pub(super) fn kernels() -> Vec<String> {
    let mut names: Vec<String> =
        ["cw_iterate", "cw_map_i8", "cw_reduce_join"].map(String::from).into_iter().collect();
    for e in Element::FLOATS {
        for kind in ["map", "softmax", "softmax_columns", "reduce", "norm", "quantize", "dequantize"] {
            names.push(format!("cw_{kind}_{}", suffix(e)));
        }
    }
    names.extend(Element::ALL.map(|e| format!("cw_cast_{}", suffix(e))));
    names.extend([1, 2, 4, 8].map(|bytes| format!("cw_transpose_{bytes}")));
    names.extend(["f32", "f16", "bf16", "i8", "f64"].map(|e| format!("cw_product_plain_{e}")));
    names.extend(["f16", "bf16", "tf32", "i8"].map(|e| format!("cw_product_mma_{e}")));
    names
}

/// Blocks for `count` elements, `each` a block.
fn blocks(count: u64, each: u64) -> Result<[u32; 3]> {
    let blocks = u32::try_from(count.div_ceil(each)).ok().filter(|b| *b <= i32::MAX as u32);
    let blocks = blocks
        .ok_or_else(|| Error::argument("count", format!("{count} elements are more than one launch")))?;
    Ok([blocks, 1, 1])
}

fn wide(pointers: &[DevicePtr]) -> i32 {
    i32::from(pointers.iter().all(|p| p.is_multiple_of(16)))
}

impl CudaTensorOps {
    /// Operations on `stream`, a stream of `node` of `device`.
    ///
    /// Errors: `InvalidArgument` when either is no CUDA object; `Unsupported` when the image has no code for this GPU.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        device: &Arc<dyn Device>,
        node: Arc<dyn Node>,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn TensorOps>> {
        let cuda = CudaDevice::of(device.as_ref(), "device")?;
        CudaStream::of(stream.as_ref(), "stream")?;
        let info = cuda.info()?;
        // Two transfers a clock.
        let known = f64::from(info.memory_clock_khz) * 2e3 * f64::from(info.memory_bus_bits) / 8.0;
        Ok(Arc::new(CudaTensorOps {
            blas: blas::Blas::find(cuda)?,
            kernels: Kernels::of(cuda)?,
            stream,
            device: device.clone(),
            processors: node.processors().max(1),
            major: info.compute_major,
            bandwidth: if known > 0.0 { known } else { 1e12 },
            rules: AtomicU32::new(Rules::default().to_bits()),
            scratch: Mutex::new((0, 0)),
        }))
    }

    fn cuda(&self) -> Result<&CudaDevice> {
        CudaDevice::of(self.device.as_ref(), "device")
    }

    fn own_stream(&self) -> Result<&CudaStream> {
        CudaStream::of(self.stream.as_ref(), "stream")
    }

    fn scratch(&self) -> (DevicePtr, u64) {
        *self.scratch.lock()
    }

    /// Queues a kernel of 256 threads a block.
    ///
    /// # Safety
    /// As `Function::launch`.
    unsafe fn launch(&self, name: &str, grid: [u32; 3], args: &mut [*mut c_void]) -> Result<()> {
        // SAFETY: the caller's duty.
        unsafe { self.kernels.launch(self.own_stream()?, name, grid, 256, 0, args) }
    }

    fn map(&self, o: &Map) -> Result<()> {
        let (x, y, out, count) = (o.x, o.y, o.out, o.count);
        let inputs = o.function.inputs();
        let wide = wide(&[if inputs > 0 { x } else { 0 }, if inputs > 1 { y } else { 0 }, out]);
        if o.element == Element::I8 {
            let least = if o.function as u32 == 0 { -128i32 } else { 0 };
            // SAFETY: the arguments are those of the kernel; the caller of `queue_checked` answers for the memory.
            return unsafe {
                self.launch("cw_map_i8", blocks(count, 4096)?, args![x, out, least, count, wide])
            };
        }
        let (f, a, b) = (o.function as i32, o.a, o.b);
        let name = format!("cw_map_{}", suffix(o.element));
        let grid = blocks(count, 512 * 16 / o.element.bytes())?;
        // SAFETY: as above.
        unsafe { self.launch(&name, grid, args![f, x, y, out, a, b, count, wide]) }
    }

    fn cast(&self, o: &Cast) -> Result<()> {
        let (x, out, to, count) = (o.x, o.out, o.to.number(), o.count);
        let name = format!("cw_cast_{}", suffix(o.from));
        // SAFETY: as in `map`.
        unsafe { self.launch(&name, blocks(count, 1024)?, args![x, out, to, count]) }
    }

    fn transpose(&self, o: &Transpose) -> Result<()> {
        let (x, out, ld, out_ld) = (o.x, o.out, o.ld, o.out_ld);
        let (rows, cols) = (o.rows as i32, o.cols as i32);
        let grid = blocks(o.rows.div_ceil(32) * o.cols.div_ceil(32), 1)?;
        let name = format!("cw_transpose_{}", o.element.bytes());
        // SAFETY: as in `map`.
        unsafe { self.launch(&name, grid, args![x, out, rows, cols, ld, out_ld]) }
    }

    fn iterate(&self, o: &Iterate, cancel: Option<DevicePtr>) -> Result<()> {
        let (x, count, a, b, times, flag) = (o.x, o.count, o.a, o.b, o.times, cancel.unwrap_or(0));
        // As many blocks as the node holds at once, so that all of them look at the flag.
        let resident = u64::from(self.kernels.occupancy("cw_iterate", 256, 0)? * self.processors);
        let grid = [count.div_ceil(1024).min(resident) as u32, 1, 1];
        // SAFETY: as in `map`; the flag is the caller's.
        unsafe { self.launch("cw_iterate", grid, args![x, count, a, b, times, flag]) }
    }
}

impl TensorOps for CudaTensorOps {
    fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    fn stream(&self) -> &Arc<dyn Stream> {
        &self.stream
    }

    fn rules(&self) -> Rules {
        Rules::from_bits(self.rules.load(Relaxed))
    }

    fn set_rules(&self, rules: Rules) {
        self.rules.store(rules.to_bits(), Relaxed);
    }

    fn pace(&self, element: Element) -> Pace {
        let rules = self.rules();
        // Operations a second of one SM: f32 units, and tensor cores with 16-bit inputs, at what kernels reach.
        let floats = 0.25e12;
        let tensor = match self.major {
            0..=7 => 0.4e12,
            8 => 1e12,
            _ => 4e12,
        } * if self.blas.is_some() { 1.0 } else { 0.4 };
        let products = match element {
            _ if rules.math == Math::Plain && element != Element::F64 => floats,
            Element::F64 => 0.1e12,
            Element::F32 if rules.rounding() == Precision::F32 || self.major < 8 => floats,
            Element::F32 => tensor / 2.0,
            Element::BF16 | Element::I8 if self.major < 8 => floats,
            _ => tensor,
        };
        let sms = f64::from(self.processors);
        // One SM reads about 100 GB/s at most.
        Pace {
            products: products * sms,
            others: 0.15e12 * sms,
            bytes: (1e11 * sms).min(self.bandwidth * 0.8),
        }
    }

    fn scratch_bytes(&self) -> u64 {
        WORKSPACE
    }

    fn set_scratch(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        if !ptr.is_multiple_of(256) {
            return Err(Error::argument("ptr", "is not aligned to 256 bytes"));
        }
        *self.scratch.lock() = if ptr == 0 { (0, 0) } else { (ptr, bytes) };
        Ok(())
    }

    unsafe fn queue_checked(&self, operation: &Operation, cancel: Option<DevicePtr>) -> Result<()> {
        if operation.is_empty() {
            return Ok(());
        }
        if crate::telemetry::profiler::on() {
            crate::device::cuda::expect_bytes(operation.cost().bytes as u64);
        }
        match operation {
            Operation::MatMul(o) => self.matmul(o),
            Operation::Conv2d(o) => self.conv2d(o),
            Operation::Map(o) => self.map(o),
            Operation::SoftMax(o) => self.softmax(o),
            Operation::Reduce(o) => self.reduce(o),
            Operation::Norm(o) => self.norm(o),
            Operation::Quantize(o) => self.quantize(o),
            Operation::Cast(o) => self.cast(o),
            Operation::Transpose(o) => self.transpose(o),
            // SAFETY: the caller's duty.
            Operation::Copy(o) => unsafe { self.device.copy(o.dst, o.src, o.bytes, Some(&*self.stream)) },
            // SAFETY: the caller's duty.
            Operation::Set(o) => unsafe { self.device.fill(o.dst, o.value, o.bytes, Some(&*self.stream)) },
            Operation::Iterate(o) => self.iterate(o, cancel),
        }
    }

    fn implementation(&self, operation: &Operation) -> &'static str {
        match operation {
            Operation::MatMul(o) if self.library_does(o) => "cublaslt",
            Operation::Conv2d(o) if self.dnn_does(o) => "cudnn",
            _ => "own",
        }
    }
}
