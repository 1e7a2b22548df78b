//! What kind of failure it is, and what is tried against it.

use super::context::Parameters;
use crate::device::DeviceChoice;
use crate::ops::cpu::isa::Isa;
use crate::{Error, Status};

/// What a GPU's failure is, by what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CudaFault {
    /// A kernel's fault lost the context: wrong address, assertion, launch failure.
    ContextLost,
    /// The hardware's fault lost it: uncorrectable memory or link errors, a kernel that never ended.
    Hardware,
    /// No memory is left on the device, or none of the tenant's.
    Memory,
    /// The launch asks for more threads, registers or shared memory than there are.
    Launch,
    /// The numbers are not what they have to be.
    Numerical,
    /// No device, no code for it, or a driver that refuses.
    Unavailable,
    /// The caller's fault, or nobody's: another try would fail, too.
    Caller,
}

/// What a CPU's failure is, by what can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CpuFault {
    /// The processor lacks the level's instructions.
    Level,
    /// The numbers are not what they have to be.
    Numerical,
    /// Data lies at an address that the kernel cannot use.
    Misaligned,
    /// The system gives no threads.
    Threads,
    /// No memory is left for what the threads need.
    Memory,
    /// The kernel panicked.
    Panicked,
    /// The caller's fault, or nobody's.
    Caller,
}

/// A failure of a kernel on a GPU.
#[derive(Clone, Debug)]
pub struct CudaError {
    /// Its kind.
    pub fault: CudaFault,
    /// What the driver or the kernel's host side said.
    pub error: Error,
}

/// A failure of a kernel on the CPU.
#[derive(Clone, Debug)]
pub struct CpuError {
    /// Its kind.
    pub fault: CpuFault,
    /// What it said.
    pub error: Error,
}

/// Driver codes for failures of the hardware: uncorrectable memory and link errors, containment, a launch that timed out, a
/// broken stack.
const HARDWARE: [u32; 5] = [214, 220, 226, 702, 714];
/// Launches that ask for too much.
const LAUNCH: [u32; 2] = [701, 720];

impl From<Error> for CudaError {
    fn from(error: Error) -> CudaError {
        let code = error.driver_code().unwrap_or(0);
        let fault = match error.status() {
            _ if LAUNCH.contains(&code) => CudaFault::Launch,
            Status::DeviceLost if HARDWARE.contains(&code) => CudaFault::Hardware,
            Status::DeviceLost => CudaFault::ContextLost,
            Status::OutOfMemory | Status::QuotaExceeded => CudaFault::Memory,
            Status::NoDevice | Status::Unsupported | Status::Driver | Status::NotInitialized | Status::Io => {
                CudaFault::Unavailable
            }
            _ => CudaFault::Caller,
        };
        CudaError { fault, error }
    }
}

impl From<Error> for CpuError {
    fn from(error: Error) -> CpuError {
        let fault = match error.status() {
            Status::Unsupported => CpuFault::Level,
            Status::OutOfMemory | Status::QuotaExceeded => CpuFault::Memory,
            Status::Io => CpuFault::Threads,
            Status::Panic => CpuFault::Panicked,
            _ => CpuFault::Caller,
        };
        CpuError { fault, error }
    }
}

/// A failure of a kernel.
#[derive(Clone, Debug)]
pub enum KernelError {
    /// On a GPU.
    Cuda(CudaError),
    /// On the CPU.
    Cpu(CpuError),
}

impl KernelError {
    /// A failure on this device, its kind found from status and driver code.
    pub fn of(device: DeviceChoice, error: Error) -> KernelError {
        match device {
            DeviceChoice::Cpu => KernelError::Cpu(error.into()),
            _ => KernelError::Cuda(error.into()),
        }
    }

    /// A failure of this kind on the CPU.
    pub fn cpu(fault: CpuFault, error: Error) -> KernelError {
        KernelError::Cpu(CpuError { fault, error })
    }

    /// Numbers that are not what they have to be, on this device.
    pub fn numerical(device: DeviceChoice, error: Error) -> KernelError {
        match device {
            DeviceChoice::Cpu => KernelError::cpu(CpuFault::Numerical, error),
            _ => KernelError::Cuda(CudaError { fault: CudaFault::Numerical, error }),
        }
    }

    /// What was said.
    pub fn error(&self) -> &Error {
        match self {
            KernelError::Cuda(e) => &e.error,
            KernelError::Cpu(e) => &e.error,
        }
    }

    /// `cuda.launch`, as in statistics.
    pub fn name(&self) -> &'static str {
        match self {
            KernelError::Cuda(e) => match e.fault {
                CudaFault::ContextLost => "cuda.context_lost",
                CudaFault::Hardware => "cuda.hardware",
                CudaFault::Memory => "cuda.memory",
                CudaFault::Launch => "cuda.launch",
                CudaFault::Numerical => "cuda.numerical",
                CudaFault::Unavailable => "cuda.unavailable",
                CudaFault::Caller => "cuda.caller",
            },
            KernelError::Cpu(e) => match e.fault {
                CpuFault::Level => "cpu.level",
                CpuFault::Numerical => "cpu.numerical",
                CpuFault::Misaligned => "cpu.misaligned",
                CpuFault::Threads => "cpu.threads",
                CpuFault::Memory => "cpu.memory",
                CpuFault::Panicked => "cpu.panicked",
                CpuFault::Caller => "cpu.caller",
            },
        }
    }
}

impl From<KernelError> for Error {
    fn from(e: KernelError) -> Error {
        match e {
            KernelError::Cuda(e) => e.error,
            KernelError::Cpu(e) => e.error,
        }
    }
}

/// What is tried against a GPU's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CudaRecoveryStrategy {
    /// The context is thrown away and made anew, and memory of the new one is written and read back before work goes there.
    DeviceReset,
    /// The context is thrown away and made anew.
    ContextRecreate,
    /// The CPU does it.
    FallbackToCPU,
    /// Half as many threads a block, or half as much at once.
    RetryWithReducedParameters,
    /// Nothing would help.
    NoRecovery,
}

/// What is tried against a CPU's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CpuRecoveryStrategy {
    /// Plain scalar code on one thread.
    FallbackToScalar,
    /// The next lower level of instructions.
    ReduceSIMDLevel,
    /// Data is copied to aligned addresses first.
    MemoryRealignment,
    /// Half as many threads.
    ThreadCountReduction,
    /// Nothing would help.
    NoRecovery,
}

/// Either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecoveryStrategy {
    /// Against a GPU's failure.
    Cuda(CudaRecoveryStrategy),
    /// Against a CPU's failure.
    Cpu(CpuRecoveryStrategy),
}

impl RecoveryStrategy {
    /// Every strategy that does something.
    pub const ALL: [RecoveryStrategy; 8] = [
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::DeviceReset),
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::ContextRecreate),
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::FallbackToCPU),
        RecoveryStrategy::Cuda(CudaRecoveryStrategy::RetryWithReducedParameters),
        RecoveryStrategy::Cpu(CpuRecoveryStrategy::FallbackToScalar),
        RecoveryStrategy::Cpu(CpuRecoveryStrategy::ReduceSIMDLevel),
        RecoveryStrategy::Cpu(CpuRecoveryStrategy::MemoryRealignment),
        RecoveryStrategy::Cpu(CpuRecoveryStrategy::ThreadCountReduction),
    ];

    /// Its name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            RecoveryStrategy::Cuda(CudaRecoveryStrategy::DeviceReset) => "device_reset",
            RecoveryStrategy::Cuda(CudaRecoveryStrategy::ContextRecreate) => "context_recreate",
            RecoveryStrategy::Cuda(CudaRecoveryStrategy::FallbackToCPU) => "fallback_to_cpu",
            RecoveryStrategy::Cuda(CudaRecoveryStrategy::RetryWithReducedParameters) => {
                "retry_with_reduced_parameters"
            }
            RecoveryStrategy::Cpu(CpuRecoveryStrategy::FallbackToScalar) => "fallback_to_scalar",
            RecoveryStrategy::Cpu(CpuRecoveryStrategy::ReduceSIMDLevel) => "reduce_simd_level",
            RecoveryStrategy::Cpu(CpuRecoveryStrategy::MemoryRealignment) => "memory_realignment",
            RecoveryStrategy::Cpu(CpuRecoveryStrategy::ThreadCountReduction) => "thread_count_reduction",
            RecoveryStrategy::Cuda(CudaRecoveryStrategy::NoRecovery)
            | RecoveryStrategy::Cpu(CpuRecoveryStrategy::NoRecovery) => "no_recovery",
        }
    }
}

/// What may be tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecoveryConfiguration {
    /// Steps for one failed execution.
    pub most_steps: u32,
    /// Whether a lost device may be thrown away and opened anew: all that is on it, of all tenants, ends with it.
    pub rebuild: bool,
    /// Whether the CPU may do a GPU's work.
    pub fall_back_to_cpu: bool,
    /// The fewest threads a block.
    pub least_block_threads: u32,
    /// The fewest items at once.
    pub least_items: u64,
}

impl Default for RecoveryConfiguration {
    fn default() -> Self {
        RecoveryConfiguration {
            most_steps: 16,
            rebuild: true,
            fall_back_to_cpu: true,
            least_block_threads: 32,
            least_items: 1024,
        }
    }
}

/// What to try next against a GPU's failure, when `tried` did not help this execution.
pub(super) fn for_cuda(
    error: &CudaError,
    now: &Parameters,
    items: u64,
    tried: &[RecoveryStrategy],
    configuration: &RecoveryConfiguration,
) -> CudaRecoveryStrategy {
    use CudaRecoveryStrategy::*;
    let new = |strategy| !tried.contains(&RecoveryStrategy::Cuda(strategy));
    let next = match error.fault {
        CudaFault::ContextLost if configuration.rebuild && new(ContextRecreate) => ContextRecreate,
        CudaFault::Hardware if configuration.rebuild && new(DeviceReset) => DeviceReset,
        CudaFault::Memory if now.launch.at_once(items) > configuration.least_items.max(1) => {
            RetryWithReducedParameters
        }
        CudaFault::Launch if now.launch.block_threads > configuration.least_block_threads.max(1) => {
            RetryWithReducedParameters
        }
        CudaFault::Caller => return NoRecovery,
        _ => FallbackToCPU,
    };
    if next == FallbackToCPU && !(configuration.fall_back_to_cpu && new(FallbackToCPU)) {
        NoRecovery
    } else {
        next
    }
}

/// What to try next against a CPU's failure.
pub(super) fn for_cpu(error: &CpuError, now: &Parameters) -> CpuRecoveryStrategy {
    use CpuRecoveryStrategy::*;
    let scalar = now.level == Isa::Scalar;
    match error.fault {
        CpuFault::Level if !scalar => ReduceSIMDLevel,
        CpuFault::Misaligned if !now.aligned => MemoryRealignment,
        CpuFault::Threads | CpuFault::Memory if now.threads > 1 => ThreadCountReduction,
        CpuFault::Numerical | CpuFault::Misaligned | CpuFault::Panicked if !scalar || now.threads > 1 => {
            FallbackToScalar
        }
        _ => NoRecovery,
    }
}
