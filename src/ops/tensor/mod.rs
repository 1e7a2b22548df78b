//! Operations on tensors that an application brings: products, convolutions, activations and the built-in kernels.
//!
//! Every tensor is **row-major**: the last index is the one whose elements lie together, and a leading dimension (`ld`)
//! counts elements from one row to the next. That is the convention of C, NumPy and PyTorch, not that of BLAS.
//!
//! A [`TensorOps`] belongs to one tenant: everything is queued on that tenant's stream, in order, and the calls return
//! before it ran. What is wrong with an argument is found before anything is queued. On the CPU device the work is done by
//! the cores of the stream's node and no others.
//!
//! Numbers: sums are f32 for f32, f16 and bf16 and results are rounded to nearest even. Against exact arithmetic on the
//! same inputs an output of a product or a convolution of inner extent k is off by at most `e * sum |a| |b|`, beside the
//! rounding to the output's type, with e = 2^-24 (8 + k) under [`Math::Plain`] and [`Math::Exact`] (as a rule less than
//! a tenth of it) and the rounding of both inputs (2^-10 for TF32 and F16, 2^-7 for BF16) added under [`Math::Fast`].
//! f64 has 2^-53 in place of 2^-24; int8 is exact. Functions of single elements are within 2e-6 (absolute, or relative
//! where larger) before they are rounded to the type. The same call on the same device gives the same bits, as long as the
//! same libraries are found.
//!
//! [`Math::Plain`]: crate::ops::Math::Plain
//! [`Math::Exact`]: crate::ops::Math::Exact
//! [`Math::Fast`]: crate::ops::Math::Fast

mod activation;
mod argument;
mod builtin;
mod convolution;
mod element;
mod map;
mod pieces;
mod product;
mod range;
mod rows;
mod rules;
mod shape;

pub use activation::{Activate, activation_names};
pub use argument::Argument;
pub use builtin::{BUILTINS, Builtin, Kind, Parameter, Prepared, builtin};
pub use convolution::Conv2d;
pub use element::Element;
pub use map::{Function, Map};
pub use pieces::{Cost, Pace};
pub use product::{MatMul, Matrix};
pub use range::{Range, Ranges};
pub use rows::{Norm, Quantize, Reduce, Reduction, SoftMax};
pub use rules::{Precision, Rules};
pub use shape::{Cast, Copy, Iterate, Set, Transpose};

use crate::Result;
use crate::device::{Device, DeviceKind, DevicePtr, Node, Stream};
use pieces::Cutter;
use std::sync::Arc;

/// One operation with all it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operation {
    /// See [`MatMul`].
    MatMul(MatMul),
    /// See [`Conv2d`].
    Conv2d(Conv2d),
    /// See [`Map`].
    Map(Map),
    /// See [`SoftMax`].
    SoftMax(SoftMax),
    /// See [`Reduce`].
    Reduce(Reduce),
    /// See [`Norm`].
    Norm(Norm),
    /// See [`Quantize`].
    Quantize(Quantize),
    /// See [`Cast`].
    Cast(Cast),
    /// See [`Transpose`].
    Transpose(Transpose),
    /// See [`struct@Copy`].
    Copy(Copy),
    /// See [`Set`].
    Set(Set),
    /// See [`Iterate`].
    Iterate(Iterate),
}

/// Does the same with whatever operation it is.
macro_rules! each {
    ($operation:expr, $o:ident => $does:expr) => {
        match $operation {
            Operation::MatMul($o) => $does,
            Operation::Conv2d($o) => $does,
            Operation::Map($o) => $does,
            Operation::SoftMax($o) => $does,
            Operation::Reduce($o) => $does,
            Operation::Norm($o) => $does,
            Operation::Quantize($o) => $does,
            Operation::Cast($o) => $does,
            Operation::Transpose($o) => $does,
            Operation::Copy($o) => $does,
            Operation::Set($o) => $does,
            Operation::Iterate($o) => $does,
        }
    };
}

impl Operation {
    /// Checks everything that can be checked without a device; the memory it reads and writes.
    ///
    /// Errors: [`crate::Status::InvalidArgument`] that names the argument; [`crate::Status::Unsupported`] for a type of
    /// element that the operation does not take.
    pub fn check(&self) -> Result<Ranges> {
        each!(self, o => o.check())
    }

    /// What it asks of a device.
    pub fn cost(&self) -> Cost {
        each!(self, o => o.cost())
    }

    /// Whether it looks at its flag while it runs.
    pub fn polls(&self) -> bool {
        matches!(self, Operation::Iterate(_))
    }

    fn cutter(&self, pace: &Pace) -> Cutter {
        match self {
            Operation::MatMul(o) => o.cutter(pace),
            Operation::Conv2d(o) => o.cutter(pace),
            Operation::Map(o) => o.cutter(pace),
            Operation::SoftMax(o) => o.cutter(pace),
            Operation::Reduce(o) => o.cutter(pace),
            Operation::Norm(o) => o.cutter(pace),
            Operation::Quantize(o) => o.cutter(pace),
            Operation::Cast(o) => o.cutter(pace),
            Operation::Transpose(o) => o.cutter(pace),
            Operation::Copy(o) => o.cutter(pace),
            Operation::Set(o) => o.cutter(pace),
            Operation::Iterate(_) => Cutter::new(1),
        }
    }

    fn piece(&self, cutter: &Cutter, index: u64) -> Operation {
        match self {
            Operation::MatMul(o) => Operation::MatMul(o.piece(cutter, index)),
            Operation::Conv2d(o) => Operation::Conv2d(o.piece(cutter, index)),
            Operation::Map(o) => Operation::Map(o.piece(cutter, index)),
            Operation::SoftMax(o) => Operation::SoftMax(o.piece(cutter, index)),
            Operation::Reduce(o) => Operation::Reduce(o.piece(cutter, index)),
            Operation::Norm(o) => Operation::Norm(o.piece(cutter, index)),
            Operation::Quantize(o) => Operation::Quantize(o.piece(cutter, index)),
            Operation::Cast(o) => Operation::Cast(o.piece(cutter, index)),
            Operation::Transpose(o) => Operation::Transpose(o.piece(cutter, index)),
            Operation::Copy(o) => Operation::Copy(o.piece(cutter, index)),
            Operation::Set(o) => Operation::Set(o.piece(cutter, index)),
            Operation::Iterate(o) => Operation::Iterate(*o),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Operation::MatMul(o) => o.is_empty(),
            Operation::Conv2d(o) => o.is_empty(),
            Operation::Map(o) => o.count == 0,
            Operation::SoftMax(o) => o.is_empty(),
            Operation::Reduce(o) => o.rows == 0,
            Operation::Norm(o) => o.is_empty(),
            Operation::Quantize(o) => o.is_empty(),
            Operation::Cast(o) => o.count == 0,
            Operation::Transpose(o) => o.is_empty(),
            Operation::Copy(o) => o.bytes == 0,
            Operation::Set(o) => o.bytes == 0,
            Operation::Iterate(o) => o.count == 0 || o.times == 0,
        }
    }

    /// The name in the profiler.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::MatMul(_) => "matrix_multiply",
            Operation::Conv2d(_) => "convolution_forward",
            Operation::Map(_) => "element_wise",
            Operation::SoftMax(_) => "softmax",
            Operation::Reduce(_) => "reduce",
            Operation::Norm(_) => "norm",
            Operation::Quantize(_) => "quantize",
            Operation::Cast(_) => "cast",
            Operation::Transpose(_) => "transpose",
            Operation::Copy(_) => "copy",
            Operation::Set(_) => "set",
            Operation::Iterate(_) => "iterate",
        }
    }
}

/// Operations on one stream. Usable from any thread; what is queued by one thread runs in that order. All pointers are
/// memory of the stream's device, which must stay mapped until the work has run: who calls has checked that it is the
/// tenant's ([`Operation::check`] says which memory it is).
pub trait TensorOps: Send + Sync {
    /// The device.
    fn device(&self) -> &Arc<dyn Device>;

    /// The stream on which everything runs.
    fn stream(&self) -> &Arc<dyn Stream>;

    /// The rules for products and convolutions.
    fn rules(&self) -> Rules;

    /// Sets the rules for what is queued from now on.
    fn set_rules(&self, rules: Rules);

    /// About how fast the node is with elements of this type under the present rules.
    fn pace(&self, element: Element) -> Pace;

    /// Bytes of scratch that make some operations faster (libraries' workspace, long reductions); 0 where none would.
    fn scratch_bytes(&self) -> u64;

    /// Gives scratch: device memory of the tenant, aligned to 256 bytes, that nothing else uses until it is replaced (null
    /// and 0 take it away) and the stream has passed that point. Without it everything works, some of it slower.
    ///
    /// Errors: misaligned.
    fn set_scratch(&self, ptr: DevicePtr, bytes: u64) -> Result<()>;

    /// Queues an operation that was checked. With `cancel`, the address of 4 bytes, aligned to 4, that the device reads (host
    /// memory of [`Device::host_memory`], or the device's own), an operation that polls stops soon after they are not 0.
    ///
    /// Errors: what the device answers. On the CPU device errors of running work come with the stream's synchronize.
    ///
    /// # Safety
    /// [`Operation::check`] found nothing wrong, and the ranges that it named are memory of the device until the work has
    /// run.
    unsafe fn queue_checked(&self, operation: &Operation, cancel: Option<DevicePtr>) -> Result<()>;

    /// Which implementation computes an operation, for figures: `cublaslt`, `cudnn`, `own`, `gemm` …
    fn implementation(&self, operation: &Operation) -> &'static str;

    /// Checks an operation and queues it.
    ///
    /// Errors: as [`Operation::check`] and [`TensorOps::queue_checked`].
    ///
    /// # Safety
    /// The ranges that [`Operation::check`] names are memory of the device until the work has run.
    unsafe fn queue(&self, operation: &Operation) -> Result<()> {
        operation.check()?;
        // SAFETY: checked; the caller's duty.
        unsafe { self.queue_checked(operation, None) }
    }
}

/// The operations for a stream of `node`, by the kind of device, with the rules of [`Rules::default`].
///
/// Errors: there are no operations for this kind of device in this build; a stream of another device.
pub fn for_stream(
    device: &Arc<dyn Device>,
    node: Arc<dyn Node>,
    stream: Arc<dyn Stream>,
) -> Result<Arc<dyn TensorOps>> {
    match device.kind() {
        DeviceKind::Cpu => super::cpu::tensor::CpuTensorOps::new(device, node, stream),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => super::cuda::tensor::CudaTensorOps::new(device, node, stream),
        #[cfg(not(feature = "cuda"))]
        kind => {
            Err(crate::Error::unsupported(format!("this build has no operations for devices of kind {kind}")))
        }
    }
}
