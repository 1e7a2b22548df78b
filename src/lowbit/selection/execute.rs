//! Doing the work with the kernel that was chosen, and with the next one where it fails.

use super::work::scale_count;
use super::{
    DeviceAwareKernelManager, DeviceId, OptimalKernelSelection, PerformanceRequirements, QuantizationFormat,
    QuantizationOperation, Tensor, TensorCharacteristics, ValidationResult, Work, validate,
};
use crate::{Error, Result, Status};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Which kernel did a piece of work.
#[derive(Clone, Debug)]
pub struct Executed {
    /// Its name.
    pub kernel: String,
    /// Its device.
    pub device: DeviceId,
    /// How long it took, from the call to the end of the work.
    pub elapsed: Duration,
    /// Those that were tried before it, and how they failed.
    pub failed: Vec<(String, Error)>,
}

/// A quantized tensor.
#[derive(Clone, Debug)]
pub struct QuantizedTensor {
    /// A code for each number.
    pub codes: Vec<i8>,
    /// A scale for each block.
    pub scales: Vec<f32>,
    /// Numbers that share a scale; 0 for all.
    pub block: u32,
    /// How it was done.
    pub executed: Executed,
}

/// What was reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PerformanceAchieved {
    /// Time of all kernels, without choosing and checking.
    pub elapsed: Duration,
    /// Numbers quantized in a second.
    pub items_per_second: f64,
    /// Bytes read and written in a second.
    pub bytes_per_second: f64,
    /// Requirements that were not kept by what was measured now.
    pub unmet: Vec<String>,
}

/// What [`DeviceAwareKernelManager::execute_quantization_optimized`] gives.
#[derive(Clone)]
pub struct OptimizedQuantizationResult {
    /// Each tensor, in order.
    pub quantization_result: Vec<QuantizedTensor>,
    /// The kernel chosen for the largest tensor.
    pub kernel_selection: OptimalKernelSelection,
    /// What checking a part of the codes against the formula found.
    pub validation_result: ValidationResult,
    /// How fast it was.
    pub performance_achieved: PerformanceAchieved,
}

/// Numbers that are to be quantized, owned.
#[derive(Clone, Debug)]
pub struct OwnedTensor {
    /// The numbers.
    pub values: Vec<f32>,
    /// Numbers that share a scale; 0 for all.
    pub block: u32,
}

/// Quantization that runs on a thread of its own.
pub struct Pending(JoinHandle<Result<OptimizedQuantizationResult>>);

impl Pending {
    /// Whether it has finished, so that [`Pending::wait`] returns at once.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits for it.
    pub fn wait(self) -> Result<OptimizedQuantizationResult> {
        self.0.join().unwrap_or_else(|_| Err(Error::new(Status::Panic, "the quantization panicked")))
    }
}

impl DeviceAwareKernelManager {
    /// Does a piece of work with the chosen kernel; with the next of the ranking where that fails for a reason of its own.
    /// A kernel that failed is left out from then on ([`DeviceAwareKernelManager::reinstate`]).
    ///
    /// Errors: the work itself is wrong (arguments, format), no fallback is allowed, or all failed: then the first error.
    pub fn execute(&self, selection: &OptimalKernelSelection, work: &mut Work<'_>) -> Result<Executed> {
        let mut failed: Vec<(String, Error)> = Vec::new();
        for candidate in &selection.order {
            if !failed.is_empty() && !self.may_follow(selection.device, candidate.device()) {
                continue;
            }
            let start = Instant::now();
            match candidate.run(work) {
                Ok(()) => {
                    let (kernel, device) = (candidate.name().to_owned(), candidate.device());
                    return Ok(Executed { kernel, device, elapsed: start.elapsed(), failed });
                }
                // Another kernel would say the same.
                Err(e)
                    if matches!(e.status(), Status::InvalidArgument | Status::Format | Status::Cancelled) =>
                {
                    return Err(e);
                }
                Err(e) => {
                    crate::log!(Warn, "lowbit", "{} on {} failed: {e}", candidate.name(), candidate.device());
                    let mut all = self.failing.lock();
                    if !all.iter().any(|f| f.0 == candidate.device() && f.1 == candidate.name()) {
                        all.push((candidate.device(), candidate.name().to_owned(), e.clone()));
                    }
                    failed.push((candidate.name().to_owned(), e));
                }
            }
        }
        let first = failed.into_iter().next().map(|(name, e)| e.within(name));
        Err(first.unwrap_or_else(|| Error::new(Status::Internal, "a choice without a kernel")))
    }

    /// Quantizes tensors, each with the kernel chosen for its size, checks a part of the codes against the formula, and says
    /// how fast it was. Returns when all is done; [`DeviceAwareKernelManager::execute_in_background`] does not wait.
    ///
    /// Errors: as [`DeviceAwareKernelManager::select_optimal_kernel`] and the kernels; [`Status::Internal`] when a check
    /// finds wrong codes.
    pub fn execute_quantization_optimized(
        &self,
        tensors: &[Tensor<'_>],
        format: QuantizationFormat,
        requirements: PerformanceRequirements,
    ) -> Result<OptimizedQuantizationResult> {
        let operation = QuantizationOperation::new(format);
        let largest = TensorCharacteristics::analyze(tensors);
        let kernel_selection = self.select_optimal_kernel(operation, &largest, &requirements)?;
        let mut quantization_result = Vec::with_capacity(tensors.len());
        let mut validation_result = ValidationResult::default();
        let mut achieved = PerformanceAchieved::default();
        let (mut items, mut bytes) = (0u64, 0u64);
        for tensor in tensors {
            let count = tensor.values.len();
            let shape = TensorCharacteristics::elements(count as u64, tensor.block);
            let selection = match shape.class() == largest.class() {
                true => kernel_selection.clone(),
                false => self.select_optimal_kernel(operation, &shape, &requirements)?,
            };
            let mut codes = vec![0i8; count];
            let mut scales = vec![0f32; scale_count(count, tensor.block)];
            let executed = self.execute(
                &selection,
                &mut Work::Quantize {
                    format,
                    values: tensor.values,
                    block: tensor.block,
                    scales: &mut scales,
                    codes: &mut codes,
                },
            )?;
            let found = validate(format, tensor.values, tensor.block, &scales, &codes)?;
            if !found.is_right() {
                let text = format!("{} gave wrong codes: {found:?}", executed.kernel);
                return Err(Error::new(Status::Internal, text)
                    .advise("name another kernel in COGNIWARE_LOWBIT_KERNEL, and report it"));
            }
            validation_result.add(&found);
            achieved.elapsed += executed.elapsed;
            items += count as u64;
            bytes += (count * 5 + scales.len() * 4) as u64;
            quantization_result.push(QuantizedTensor { codes, scales, block: tensor.block, executed });
        }
        let seconds = achieved.elapsed.as_secs_f64();
        if seconds > 0.0 {
            achieved.items_per_second = items as f64 / seconds;
            achieved.bytes_per_second = bytes as f64 / seconds;
        }
        if let Some(most) = requirements.max_latency {
            let late = quantization_result.iter().filter(|t| t.executed.elapsed > most).count();
            if late > 0 {
                achieved
                    .unmet
                    .push(format!("latency: {late} of {} tensors took longer than {most:?}", tensors.len()));
            }
        }
        if let Some(least) = requirements.min_throughput.filter(|least| achieved.items_per_second < *least) {
            let reached = achieved.items_per_second;
            achieved
                .unmet
                .push(format!("throughput: {reached:.3e} items/s, at least {least:.3e} are wanted"));
        }
        Ok(OptimizedQuantizationResult {
            quantization_result,
            kernel_selection,
            validation_result,
            performance_achieved: achieved,
        })
    }

    /// As [`DeviceAwareKernelManager::execute_quantization_optimized`], on a thread of its own.
    ///
    /// Errors: the system starts no thread.
    pub fn execute_in_background(
        self: &Arc<Self>,
        tensors: Vec<OwnedTensor>,
        format: QuantizationFormat,
        requirements: PerformanceRequirements,
    ) -> Result<Pending> {
        let manager = self.clone();
        let work = move || {
            let borrowed: Vec<Tensor<'_>> =
                tensors.iter().map(|t| Tensor { values: &t.values, block: t.block }).collect();
            manager.execute_quantization_optimized(&borrowed, format, requirements)
        };
        let thread = std::thread::Builder::new().name("cw-quantize".into()).spawn(work);
        thread.map(Pending).map_err(|e| Error::io("starting a thread", e))
    }
}
