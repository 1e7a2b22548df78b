//! What happens when a kernel fails: its operation is run again under other parameters until its result is right, or it
//! is said why nothing helps.

mod checks;
mod context;
mod history;
mod quantize;
mod strategy;

pub use checks::{DriftCheck, NumericalChecks};
pub use context::{ExecutionContext, LaunchSize, Operation, Parameters};
pub use history::{Diagnostics, ErrorEntry, ErrorStatistics, MOST_ERRORS};
pub use quantize::{ALIGNMENT, Aligned, OnGpu, Quantize};
pub use strategy::{
    CpuError, CpuFault, CpuRecoveryStrategy, CudaError, CudaFault, CudaRecoveryStrategy, KernelError,
    RecoveryConfiguration, RecoveryStrategy,
};

use crate::device::{self, DeviceChoice, DeviceKind};
use crate::lowbit::selection::below;
use crate::ops::cpu::isa::Isa;
use crate::telemetry::recovery::{Recovery, note};
use crate::{Error, Result, Status};
use history::ErrorHistory;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

/// How a failed execution was recovered. The operation's result is right when there is one of these.
#[derive(Clone, Debug)]
pub struct ErrorRecoveryResult {
    /// The step after which the result was right.
    pub recovery_strategy: RecoveryStrategy,
    /// All steps, it last.
    pub steps: Vec<RecoveryStrategy>,
    /// Always true: where nothing helps there is an error.
    pub recovery_successful: bool,
    /// The parameters under which it worked.
    pub parameters: Parameters,
    /// What was known when it failed first.
    pub diagnostics: Diagnostics,
    /// What would keep it from happening again.
    pub recommendations: Vec<String>,
}

/// Runs operations and recovers those that fail. Usable from any thread.
#[derive(Default)]
pub struct KernelErrorHandler {
    configuration: Mutex<RecoveryConfiguration>,
    checks: Mutex<NumericalChecks>,
    history: Mutex<ErrorHistory>,
}

impl KernelErrorHandler {
    /// A handler that may try everything and checks no numbers.
    pub fn new() -> KernelErrorHandler {
        KernelErrorHandler::default()
    }

    /// Sets what may be tried.
    pub fn set_configuration(&self, configuration: RecoveryConfiguration) {
        *self.configuration.lock() = configuration;
    }

    /// Turns checks of the numbers on or off.
    pub fn set_checks(&self, checks: NumericalChecks) {
        *self.checks.lock() = checks;
    }

    /// Runs an operation, and recovers it if it fails: `None` when the first try was right.
    ///
    /// Errors: the first failure's, when nothing that may be tried helps.
    pub fn execute(&self, context: &mut ExecutionContext<'_>) -> Result<Option<ErrorRecoveryResult>> {
        self.history.lock().statistics.executions += 1;
        match self.once(context) {
            Ok(()) => Ok(None),
            Err(error) => self.recover(error, context).map(Some),
        }
    }

    /// Recovers an operation that failed on a GPU.
    ///
    /// Errors: that failure's, when nothing that may be tried helps.
    pub fn handle_cuda_error(
        &self,
        error: CudaError,
        context: &mut ExecutionContext<'_>,
    ) -> Result<ErrorRecoveryResult> {
        self.recover(KernelError::Cuda(error), context)
    }

    /// Recovers an operation that failed on the CPU.
    ///
    /// Errors: that failure's, when nothing that may be tried helps.
    pub fn handle_cpu_error(
        &self,
        error: CpuError,
        context: &mut ExecutionContext<'_>,
    ) -> Result<ErrorRecoveryResult> {
        self.recover(KernelError::Cpu(error), context)
    }

    /// The failures that are kept, the newest first.
    pub fn history(&self) -> Vec<ErrorEntry> {
        self.history.lock().entries.iter().rev().cloned().collect()
    }

    /// Counts over this handler's life.
    pub fn statistics(&self) -> ErrorStatistics {
        self.history.lock().statistics.clone()
    }

    /// One try, with the checks that are on.
    fn once(&self, context: &mut ExecutionContext<'_>) -> std::result::Result<(), KernelError> {
        let parameters = context.parameters;
        // What the operation left half done is overwritten by the next try.
        let run = catch_unwind(AssertUnwindSafe(|| context.operation.run(&parameters)));
        run.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            let text = format!("{} panicked: {said}", context.operation.name());
            Err(KernelError::of(parameters.device, Error::new(Status::Panic, text)))
        })?;
        let checks = *self.checks.lock();
        if checks.is_on()
            && let Some(output) = context.operation.output()
        {
            let checked = checks.check(output, |at| context.operation.reference(at));
            checked.map_err(|e| KernelError::numerical(parameters.device, e))?;
        }
        Ok(())
    }

    fn recover(&self, first: KernelError, context: &mut ExecutionContext<'_>) -> Result<ErrorRecoveryResult> {
        let configuration = *self.configuration.lock();
        let (mut error, mut steps) = (first.clone(), Vec::new());
        let mut first_diagnostics = None;
        loop {
            let diagnostics = diagnostics(&error, context);
            first_diagnostics.get_or_insert_with(|| diagnostics.clone());
            let items = context.operation.items();
            let mut strategy = match &error {
                KernelError::Cuda(e) => RecoveryStrategy::Cuda(strategy::for_cuda(
                    e,
                    &context.parameters,
                    items,
                    &steps,
                    &configuration,
                )),
                KernelError::Cpu(e) => RecoveryStrategy::Cpu(strategy::for_cpu(e, &context.parameters)),
            };
            if steps.len() >= configuration.most_steps as usize {
                strategy = match strategy {
                    RecoveryStrategy::Cuda(_) => RecoveryStrategy::Cuda(CudaRecoveryStrategy::NoRecovery),
                    RecoveryStrategy::Cpu(_) => RecoveryStrategy::Cpu(CpuRecoveryStrategy::NoRecovery),
                };
            }
            let mut entry = ErrorEntry {
                sequence: 0,
                time: SystemTime::now(),
                operation: context.operation.name().to_owned(),
                parameters: context.parameters,
                error: error.clone(),
                diagnostics,
                strategy,
                recovered: false,
            };
            if strategy.name() == "no_recovery" {
                let mut history = self.history.lock();
                history.add(entry);
                history.statistics.given_up += 1;
                drop(history);
                return Err(given_up(first, &error, &steps));
            }
            steps.push(strategy);
            let tried = act(strategy, &error, context).and_then(|()| self.once(context));
            entry.recovered = tried.is_ok();
            crate::log!(
                Warn,
                "lowbit",
                "{} failed ({}): {}; {}: {}",
                context.operation.name(),
                error.name(),
                error.error(),
                strategy.name(),
                if entry.recovered { "its result is right now" } else { "that did not help" }
            );
            if strategy == RecoveryStrategy::Cuda(CudaRecoveryStrategy::FallbackToCPU) {
                note(Recovery::Fallback, entry.recovered);
            }
            let mut history = self.history.lock();
            history.add(entry);
            match tried {
                Ok(()) => {
                    history.statistics.recovered += 1;
                    return Ok(ErrorRecoveryResult {
                        recovery_strategy: strategy,
                        steps,
                        recovery_successful: true,
                        parameters: context.parameters,
                        diagnostics: first_diagnostics.unwrap_or_default(),
                        recommendations: recommendations(&first, &context.parameters),
                    });
                }
                Err(next) => error = next,
            }
        }
    }
}

/// The first failure, with what was tried.
fn given_up(first: KernelError, last: &KernelError, steps: &[RecoveryStrategy]) -> Error {
    let error = Error::from(first);
    if steps.is_empty() {
        return error;
    }
    let names: Vec<&str> = steps.iter().map(|s| s.name()).collect();
    error.advise(format!("tried in vain: {}; the last failure was: {}", names.join(", "), last.error()))
}

/// Changes the device or the parameters, so that the next try is another one.
fn act(
    strategy: RecoveryStrategy,
    error: &KernelError,
    context: &mut ExecutionContext<'_>,
) -> std::result::Result<(), KernelError> {
    let items = context.operation.items();
    let parameters = &mut context.parameters;
    let choice = parameters.device;
    let failed = |e| KernelError::of(choice, e);
    match strategy {
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::ContextRecreate) => {
            device::recover_choice(choice).map_err(failed)
        }
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::DeviceReset) => {
            device::recover_choice(choice).and_then(|()| probe(choice)).map_err(failed)
        }
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::FallbackToCPU) => {
            parameters.device = DeviceChoice::Cpu;
            Ok(())
        }
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::RetryWithReducedParameters) => {
            // What is kept for reuse only is given back first.
            if let Ok(device) = device::open(choice) {
                device.free_caches();
            }
            let launch = &mut parameters.launch;
            match error {
                KernelError::Cuda(CudaError { fault: CudaFault::Launch, .. }) => {
                    launch.block_threads = (launch.block_threads / 2).max(1)
                }
                _ => launch.items = launch.at_once(items).div_ceil(2).max(1),
            }
            Ok(())
        }
        RecoveryStrategy::Cpu(CpuRecoveryStrategy::FallbackToScalar) => {
            parameters.level = Isa::Scalar;
            parameters.threads = 1;
            Ok(())
        }
        RecoveryStrategy::Cpu(CpuRecoveryStrategy::ReduceSIMDLevel) => {
            parameters.level = below(parameters.level).unwrap_or(Isa::Scalar);
            Ok(())
        }
        RecoveryStrategy::Cpu(CpuRecoveryStrategy::MemoryRealignment) => {
            parameters.aligned = true;
            Ok(())
        }
        RecoveryStrategy::Cpu(CpuRecoveryStrategy::ThreadCountReduction) => {
            parameters.threads = (parameters.threads / 2).max(1);
            Ok(())
        }
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::NoRecovery)
        | RecoveryStrategy::Cpu(CpuRecoveryStrategy::NoRecovery) => Ok(()),
    }
}

/// Writes memory of a device and reads it back.
fn probe(choice: DeviceChoice) -> Result<()> {
    const BYTES: usize = 1 << 16;
    let device = device::open(choice)?;
    let address = device.plain_alloc(BYTES as u64)?;
    let wrote: Vec<u8> = (0..BYTES).map(|i| (i * 31 + i / 251) as u8).collect();
    let mut read = vec![0u8; BYTES];
    let tried = device
        .write(address, &wrote)
        .and_then(|()| device.read(&mut read, address))
        .and_then(|()| device.synchronize());
    let freed = device.plain_free(address, BYTES as u64);
    tried.and(freed)?;
    match read == wrote {
        true => Ok(()),
        false => Err(Error::new(
            Status::Driver,
            "memory of the device that was opened anew does not keep its content",
        )
        .advise("the GPU needs service; use another one")),
    }
}

/// What is known about a failure.
fn diagnostics(error: &KernelError, context: &ExecutionContext<'_>) -> Diagnostics {
    let e = error.error();
    let mut all = vec![
        ("fault", error.name().to_owned()),
        ("status", e.status().name().to_owned()),
        ("items", context.operation.items().to_string()),
    ];
    if let Some(code) = e.driver_code() {
        all.push(("driver_code", code.to_string()));
    }
    if let Some(call) = e.call() {
        all.push(("call", call.to_owned()));
    }
    let p = &context.parameters;
    match error {
        KernelError::Cuda(_) => {
            all.push(("block_threads", p.launch.block_threads.to_string()));
            all.push(("items_at_once", p.launch.at_once(context.operation.items()).to_string()));
        }
        KernelError::Cpu(_) => {
            all.push(("level", p.level.name().to_owned()));
            all.push(("highest_level", p.features.highest().name().to_owned()));
            all.push(("threads", p.threads.to_string()));
        }
    }
    let ordinal = match p.device {
        DeviceChoice::Cuda(n) => n,
        _ => 0,
    };
    let kind = if p.device == DeviceChoice::Cpu { DeviceKind::Cpu } else { DeviceKind::Cuda };
    // Only of one that is open: opening a lost one is an error, and asking it, too.
    let open = device::opened().into_iter().find(|d| d.kind() == kind && d.ordinal() == ordinal);
    if let Some(device) = open {
        all.push(("device", format!("{kind}:{ordinal}")));
        all.push(("lost", device.is_lost().to_string()));
        if !device.is_lost()
            && let Ok((free, total)) = device.memory()
        {
            all.push(("free_bytes", free.to_string()));
            all.push(("total_bytes", total.to_string()));
        }
    }
    Diagnostics(all)
}

/// What would keep a failure from happening again.
fn recommendations(first: &KernelError, now: &Parameters) -> Vec<String> {
    let text = match first {
        KernelError::Cuda(e) => match e.fault {
            CudaFault::ContextLost => {
                "run the kernel under compute-sanitizer: it wrote or read where it must not".into()
            }
            CudaFault::Hardware => {
                "see the GPU's health (ECC errors, retired pages); if it comes again it needs service".into()
            }
            CudaFault::Memory => format!(
                "work on {} items at once from the start, or leave the GPU more memory",
                now.launch.items
            ),
            CudaFault::Launch => {
                format!("launch {} threads a block from the start", now.launch.block_threads)
            }
            CudaFault::Numerical => "compare the GPU's kernel with the reference on this input".into(),
            CudaFault::Unavailable => "choose the CPU from the start, or install what the error names".into(),
            CudaFault::Caller => return vec![],
        },
        KernelError::Cpu(e) => match e.fault {
            CpuFault::Level => {
                format!("choose {} from the start: `Features::detect` tells it", now.level.name())
            }
            CpuFault::Numerical => "compare the level's kernel with the scalar one on this input".into(),
            CpuFault::Misaligned => {
                format!("allocate on multiples of {ALIGNMENT} bytes: the copy costs time")
            }
            CpuFault::Threads => {
                format!("use {} threads, or raise the limit of processes (ulimit -u)", now.threads)
            }
            CpuFault::Memory => format!("use {} threads, or leave more memory", now.threads),
            CpuFault::Panicked => "report it: a kernel never panics".into(),
            CpuFault::Caller => return vec![],
        },
    };
    let advice = first.error().advice().map(str::to_owned);
    std::iter::once(text).chain(advice).collect()
}

#[cfg(test)]
mod tests;
