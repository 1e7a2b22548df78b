//! Failures of kernels, what was tried, and what helped.

use super::context::Parameters;
use super::strategy::{KernelError, RecoveryStrategy};
use std::collections::{BTreeMap, VecDeque};
use std::time::SystemTime;

/// Failures kept.
pub const MOST_ERRORS: usize = 256;

/// What was known when a kernel failed: names and values, for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnostics(pub Vec<(&'static str, String)>);

impl Diagnostics {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str())
    }
}

/// A failure and the step taken against it.
#[derive(Clone, Debug)]
pub struct ErrorEntry {
    /// Counts up from 1 over the handler's life.
    pub sequence: u64,
    /// When.
    pub time: SystemTime,
    /// The operation.
    pub operation: String,
    /// How it was run.
    pub parameters: Parameters,
    /// The failure.
    pub error: KernelError,
    /// What was known.
    pub diagnostics: Diagnostics,
    /// What was tried.
    pub strategy: RecoveryStrategy,
    /// Whether the operation's result was right after that.
    pub recovered: bool,
}

/// Counts over the handler's life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorStatistics {
    /// Executions.
    pub executions: u64,
    /// Failures, each try counted.
    pub failures: u64,
    /// Executions that failed at first and were recovered.
    pub recovered: u64,
    /// Executions that were given up.
    pub given_up: u64,
    /// Failures by kind (`cuda.launch`).
    pub by_fault: BTreeMap<&'static str, u64>,
    /// How often a strategy was tried, and how often the result was right after it.
    pub by_strategy: BTreeMap<&'static str, (u64, u64)>,
}

/// The newest failures, and counts of all.
#[derive(Default)]
pub(super) struct ErrorHistory {
    pub entries: VecDeque<ErrorEntry>,
    pub statistics: ErrorStatistics,
    sequence: u64,
}

impl ErrorHistory {
    pub fn add(&mut self, mut entry: ErrorEntry) {
        self.sequence += 1;
        entry.sequence = self.sequence;
        self.statistics.failures += 1;
        *self.statistics.by_fault.entry(entry.error.name()).or_default() += 1;
        let tried = self.statistics.by_strategy.entry(entry.strategy.name()).or_default();
        tried.0 += 1;
        tried.1 += u64::from(entry.recovered);
        if self.entries.len() >= MOST_ERRORS {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }
}
