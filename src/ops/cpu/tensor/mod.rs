//! Operations on tensors on the CPU device: queued on the stream, done by the team of its node.

mod convert;
mod convolution;
mod dot;
mod functions;
mod map;
mod product;
mod rows;
mod shape;
mod tiles;

use super::crew::{Crew, NodeCrew};
use super::isa::{self, Isa};
use crate::device::cpu::{CpuNode, CpuStream};
use crate::device::{Device, DeviceKind, DevicePtr, Node, Stream};
use crate::ops::Math;
use crate::ops::tensor::{Element, Operation, Pace, Precision, Rules, TensorOps};
use crate::telemetry::profiler::{self, Kind, Span};
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What running work needs.
struct Context {
    crew: NodeCrew,
    isa: Isa,
}

/// [`TensorOps`] of one stream of the CPU device.
pub(crate) struct CpuTensorOps {
    device: Arc<dyn Device>,
    stream: Arc<dyn Stream>,
    context: Arc<Context>,
    rules: AtomicU32,
}

impl CpuTensorOps {
    /// Operations on `stream`, done by the team of `node`.
    ///
    /// Errors: any of the three is not the CPU device's; a level in `COGNIWARE_CPU_ISA` that does not exist here.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        device: &Arc<dyn Device>,
        node: Arc<dyn Node>,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn TensorOps>> {
        if device.kind() != DeviceKind::Cpu {
            return Err(Error::argument("device", format!("is of kind {:?}, not the CPU", device.kind())));
        }
        if !stream.as_any().is::<CpuStream>() {
            return Err(Error::argument("stream", "belongs to another kind of device than the CPU"));
        }
        debug_assert!(node.as_any().is::<CpuNode>() || NodeCrew::new(node.clone()).is_err());
        let context = Arc::new(Context { crew: NodeCrew::new(node)?, isa: Isa::choose()? });
        let rules = AtomicU32::new(Rules::default().to_bits());
        Ok(Arc::new(CpuTensorOps { device: device.clone(), stream, context, rules }))
    }
}

/// How products of these elements are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The gemm crate, in place.
    Gemm,
    /// The gemm crate on parts turned into f32.
    Floats,
    /// Dot products of two bf16.
    Bf16,
    /// Dot products of four bytes.
    Bytes,
    /// Sums of products of 16-bit integers.
    Words,
}

impl Context {
    fn way(&self, element: Element, rules: Rules) -> Way {
        let circuits = rules.math != Math::Plain;
        let bf16 = circuits && self.isa >= Isa::Avx512 && isa::has_bf16();
        match element {
            Element::F32 if bf16 && rules.rounding() == Precision::BF16 => Way::Bf16,
            Element::F32 | Element::F64 => Way::Gemm,
            Element::BF16 if bf16 => Way::Bf16,
            Element::I8 if circuits && self.isa >= Isa::Avx512Vnni => Way::Bytes,
            Element::I8 | Element::I32 => Way::Words,
            _ => Way::Floats,
        }
    }

    fn run(&self, operation: &Operation, rules: Rules, cancel: Option<DevicePtr>) {
        if operation.is_empty() {
            return;
        }
        // SAFETY: the operation was checked, and who queued it keeps its memory.
        unsafe {
            match operation {
                Operation::MatMul(o) => product::matmul(self, o, self.way(o.element, rules)),
                Operation::Conv2d(o) => convolution::conv2d(self, o, self.way(o.element, rules)),
                Operation::Map(o) => map::map(self, o),
                Operation::SoftMax(o) => rows::softmax(self, o),
                Operation::Reduce(o) => rows::reduce(self, o),
                Operation::Norm(o) => rows::norm(self, o),
                Operation::Quantize(o) => rows::quantize(self, o),
                Operation::Cast(o) => shape::cast(self, o),
                Operation::Transpose(o) => shape::transpose(self, o),
                Operation::Copy(o) => shape::copy(self, o),
                Operation::Set(o) => shape::set(self, o),
                Operation::Iterate(o) => map::iterate(self, o, cancel),
            }
        }
    }
}

impl TensorOps for CpuTensorOps {
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
        // One core of today's servers; the vector width is what differs most.
        let width = match self.context.isa {
            Isa::Scalar => 1.0,
            Isa::Avx2 => 8.0,
            Isa::Avx512 | Isa::Avx512Vnni => 16.0,
        };
        let wider = match self.context.way(element, self.rules()) {
            Way::Gemm if element == Element::F64 => 0.5,
            Way::Gemm | Way::Floats => 1.0,
            Way::Bf16 => 2.0,
            Way::Bytes => 4.0,
            Way::Words => 1.0,
        };
        let cores = self.context.crew.workers() as f64;
        Pace {
            products: cores * 5e9 * width * wider,
            others: cores * 1e9 * width,
            bytes: 8e9 * cores.min(8.0),
        }
    }

    fn scratch_bytes(&self) -> u64 {
        0
    }

    fn set_scratch(&self, ptr: DevicePtr, _bytes: u64) -> Result<()> {
        if !ptr.is_multiple_of(256) {
            return Err(Error::argument("ptr", "is not aligned to 256 bytes"));
        }
        Ok(())
    }

    unsafe fn queue_checked(&self, operation: &Operation, cancel: Option<DevicePtr>) -> Result<()> {
        let stream = self.stream.as_any().downcast_ref::<CpuStream>();
        let stream = stream.ok_or_else(|| Error::argument("stream", "is not a stream of the CPU device"))?;
        let (context, operation, rules) = (self.context.clone(), *operation, self.rules());
        let track = if profiler::on() { self.stream.track().cloned() } else { None };
        stream.submit(move || {
            if profiler::on() {
                let span = Span::begin(Kind::Kernel, operation.name(), track.as_ref());
                let span = span.bytes(operation.cost().bytes as u64);
                context.run(&operation, rules, cancel);
                span.end();
            } else {
                context.run(&operation, rules, cancel);
            }
            Ok(())
        })
    }

    fn implementation(&self, operation: &Operation) -> &'static str {
        let element = match operation {
            Operation::MatMul(o) => o.element,
            Operation::Conv2d(o) => o.element,
            _ => return "own",
        };
        match self.context.way(element, self.rules()) {
            Way::Gemm | Way::Floats => "gemm",
            Way::Bf16 | Way::Bytes | Way::Words => "own",
        }
    }
}

/// An element of a tensor of the caller's.
fn at(ptr: DevicePtr, element: Element, index: u64) -> *mut u8 {
    (ptr as *mut u8).wrapping_add((index * element.bytes()) as usize)
}
