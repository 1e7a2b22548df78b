//! Quantizing as an operation that can be run again.

use super::context::{Operation, Parameters};
use super::strategy::{CpuFault, KernelError};
use crate::device::DeviceChoice;
use crate::lowbit::selection::{Features, QuantizationFormat, plain, scale_count};
use crate::ops::cpu::{Crew, NodeCrew};
use crate::{Error, Result, device};

/// Quantization on a GPU: numbers and parameters in, scales and codes out.
pub type OnGpu<'a> = Box<dyn FnMut(&[f32], &Parameters, &mut [f32], &mut [i8]) -> Result<()> + 'a>;

/// Alignment that some kernels want.
pub const ALIGNMENT: usize = 64;

/// Numbers at an address that is a multiple of [`ALIGNMENT`].
#[derive(Default)]
pub struct Aligned {
    lines: Vec<Line>,
    count: usize,
}

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; 16]);

impl Aligned {
    /// A copy of these.
    ///
    /// Errors: no memory is left.
    pub fn copy(values: &[f32]) -> Result<Aligned> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(values.len().div_ceil(16)).map_err(|_| {
            Error::new(
                crate::Status::OutOfMemory,
                format!("no memory for a copy of {} numbers", values.len()),
            )
        })?;
        for part in values.chunks(16) {
            let mut line = Line([0.0; 16]);
            line.0[..part.len()].copy_from_slice(part);
            lines.push(line);
        }
        Ok(Aligned { lines, count: values.len() })
    }

    /// The numbers.
    pub fn values(&self) -> &[f32] {
        // SAFETY: a line is 16 numbers without gaps, and the lines hold this many.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.count) }
    }
}

/// Quantizes a tensor into buffers of its own.
pub struct Quantize<'a> {
    format: QuantizationFormat,
    values: &'a [f32],
    block: u32,
    scales: Vec<f32>,
    codes: Vec<i8>,
    wants_alignment: bool,
    gpu: Option<OnGpu<'a>>,
}

impl<'a> Quantize<'a> {
    /// These numbers in blocks of `block` (0: one).
    pub fn new(format: QuantizationFormat, values: &'a [f32], block: u32) -> Quantize<'a> {
        let scales = vec![0.0; scale_count(values.len(), block)];
        let codes = vec![0; values.len()];
        Quantize { format, values, block, scales, codes, wants_alignment: false, gpu: None }
    }

    /// The same for a kernel that reads whole aligned lines only.
    #[must_use]
    pub fn with_alignment(mut self) -> Quantize<'a> {
        self.wants_alignment = true;
        self
    }

    /// The same with what does it on a GPU.
    #[must_use]
    pub fn with_gpu(mut self, gpu: OnGpu<'a>) -> Quantize<'a> {
        self.gpu = Some(gpu);
        self
    }

    /// Scales and codes of the last run.
    pub fn result(&self) -> (&[f32], &[i8]) {
        (&self.scales, &self.codes)
    }
}

impl Operation for Quantize<'_> {
    fn name(&self) -> &str {
        "quantize"
    }

    fn items(&self) -> u64 {
        self.values.len() as u64
    }

    fn run(&mut self, parameters: &Parameters) -> std::result::Result<(), KernelError> {
        let failed = |e| KernelError::of(parameters.device, e);
        if parameters.device != DeviceChoice::Cpu {
            let none = || Error::unsupported("this quantization was given no GPU kernel");
            let gpu = self.gpu.as_mut().ok_or_else(none).map_err(failed)?;
            return gpu(self.values, parameters, &mut self.scales, &mut self.codes).map_err(failed);
        }
        if !parameters.features.include(Features::required(parameters.level)) {
            let text = format!("this processor lacks instructions of {}", parameters.level.name());
            return Err(KernelError::cpu(CpuFault::Level, Error::unsupported(text)));
        }
        let copy;
        let mut values = self.values;
        if self.wants_alignment && !(values.as_ptr() as usize).is_multiple_of(ALIGNMENT) {
            if !parameters.aligned {
                let text = format!("{:p} is no multiple of {ALIGNMENT}", values.as_ptr());
                return Err(KernelError::cpu(CpuFault::Misaligned, Error::argument("values", text)));
            }
            copy = Aligned::copy(values).map_err(failed)?;
            values = copy.values();
        }
        let crew = match parameters.threads {
            0 | 1 => None,
            threads => Some(crew(threads).map_err(failed)?),
        };
        let crew = crew.as_ref().map(|crew| crew as &dyn Crew);
        plain::quantize(
            parameters.level,
            crew,
            self.format,
            values,
            self.block,
            &mut self.scales,
            &mut self.codes,
        )
        .map_err(failed)
    }

    fn output(&self) -> Option<&[f32]> {
        Some(&self.scales)
    }

    fn reference(&self, at: usize) -> Option<f32> {
        let block = if self.block == 0 { self.values.len() } else { self.block as usize };
        let part = self.values.chunks(block.max(1)).nth(at)?;
        let (mut scale, mut codes) = ([0.0], vec![0; part.len()]);
        let scalar = crate::ops::cpu::isa::Isa::Scalar;
        plain::quantize(scalar, None, self.format, part, 0, &mut scale, &mut codes).ok()?;
        Some(scale[0])
    }
}

/// Threads on the first units of the host.
fn crew(threads: u32) -> Result<NodeCrew> {
    let host = device::open(DeviceChoice::Cpu)?;
    let units: Vec<u32> = (0..threads.min(host.units().len() as u32)).collect();
    NodeCrew::new(host.node_create(&units)?)
}
