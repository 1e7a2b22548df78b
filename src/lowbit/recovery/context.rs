//! An operation that can be run again under other parameters.

use super::strategy::KernelError;
use crate::device::DeviceChoice;
use crate::lowbit::selection::Features;
use crate::ops::cpu::isa::Isa;

/// The size of a GPU's launches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchSize {
    /// Threads of a block.
    pub block_threads: u32,
    /// Items of one launch and of its memory; 0 for all at once.
    pub items: u64,
}

impl LaunchSize {
    /// Items of one launch of work with so many.
    pub fn at_once(&self, items: u64) -> u64 {
        if self.items == 0 { items } else { self.items.min(items) }
    }
}

/// How an operation is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Where.
    pub device: DeviceChoice,
    /// CPU: the level of instructions.
    pub level: Isa,
    /// CPU: what the processor has; a level that needs more is refused.
    pub features: Features,
    /// CPU: threads.
    pub threads: u32,
    /// CPU: whether data is copied to aligned addresses first.
    pub aligned: bool,
    /// GPU: the size of launches.
    pub launch: LaunchSize,
}

impl Parameters {
    /// On the host with its highest level and so many threads.
    pub fn cpu(threads: u32) -> Parameters {
        let features = Features::detect();
        Parameters {
            device: DeviceChoice::Cpu,
            level: features.highest(),
            features,
            threads: threads.max(1),
            aligned: false,
            launch: LaunchSize { block_threads: 256, items: 0 },
        }
    }

    /// On this GPU; should the CPU have to do it, with so many threads.
    pub fn cuda(ordinal: u32, threads: u32) -> Parameters {
        Parameters { device: DeviceChoice::Cuda(ordinal), ..Parameters::cpu(threads) }
    }
}

/// Work that can be done again from the start, whatever an earlier try left: inputs stay, outputs are overwritten.
pub trait Operation {
    /// Its name in the history.
    fn name(&self) -> &str;

    /// Items that it works on, of which launches take a part.
    fn items(&self) -> u64;

    /// Does all of it under these parameters and returns when it is done. It opens the device by its name each time, as a
    /// device that was lost is another one afterwards. A panic counts as a failure of the CPU.
    fn run(&mut self, parameters: &Parameters) -> Result<(), KernelError>;

    /// What the last run gave, for checks of its numbers; `None` when there is nothing to look at.
    fn output(&self) -> Option<&[f32]> {
        None
    }

    /// What stands at this place of the output by the plain formula, for checks of drift.
    fn reference(&self, at: usize) -> Option<f32> {
        let _ = at;
        None
    }
}

/// An operation with its parameters, which a recovery changes.
pub struct ExecutionContext<'a> {
    /// How it is run next.
    pub parameters: Parameters,
    pub(super) operation: &'a mut dyn Operation,
}

impl<'a> ExecutionContext<'a> {
    /// This operation under these parameters.
    pub fn new(operation: &'a mut dyn Operation, parameters: Parameters) -> ExecutionContext<'a> {
        ExecutionContext { parameters, operation }
    }

    /// The operation's name.
    pub fn name(&self) -> &str {
        self.operation.name()
    }
}
