//! Executions of kernels, the newest of each kernel and size.

use super::counters::Usage;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

/// A kernel and the size of its work: what executions are compared within.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId {
    /// The kernel's name.
    pub kernel: String,
    /// The size, in the words of whoever runs it: `4096x4096x1`.
    pub shape: String,
}

impl KernelId {
    /// A kernel at a size.
    pub fn new(kernel: impl Into<String>, shape: impl Into<String>) -> KernelId {
        KernelId { kernel: kernel.into(), shape: shape.into() }
    }
}

impl std::fmt::Display for KernelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.kernel, self.shape)
    }
}

/// What is known of an execution before it runs. What is not known stays `None`: nothing is concluded from it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExecutionFacts {
    /// Bytes read and written.
    pub bytes: Option<u64>,
    /// Operations done.
    pub operations: Option<u64>,
    /// The most bytes a second that this device was measured to move.
    pub bytes_ceiling: Option<f64>,
    /// The most operations a second that it was measured to do.
    pub operations_ceiling: Option<f64>,
    /// GPU: part of the threads that an SM can hold that are there, 0 to 1.
    pub occupancy: Option<f64>,
    /// Threads that take part; 0 counts as 1.
    pub threads: u32,
}

/// One execution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExecutionMetrics {
    /// When it began.
    pub begun: SystemTime,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether it did its work.
    pub succeeded: bool,
    /// What was known before.
    pub facts: ExecutionFacts,
    /// What the calling thread used.
    pub usage: Usage,
}

impl ExecutionMetrics {
    /// Bytes a second over the ceiling; `None` where either is not known.
    pub fn of_bytes_ceiling(&self) -> Option<f64> {
        Some(self.facts.bytes? as f64 / self.elapsed.as_secs_f64().max(1e-9) / self.facts.bytes_ceiling?)
    }

    /// Operations a second over the ceiling; `None` where either is not known.
    pub fn of_operations_ceiling(&self) -> Option<f64> {
        let rate = self.facts.operations? as f64 / self.elapsed.as_secs_f64().max(1e-9);
        Some(rate / self.facts.operations_ceiling?)
    }
}

/// A stretch of time, its ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeRange {
    /// Its begin.
    pub from: SystemTime,
    /// Its end.
    pub to: SystemTime,
}

impl TimeRange {
    /// All there is.
    pub fn all() -> TimeRange {
        let far = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(1 << 40));
        TimeRange { from: SystemTime::UNIX_EPOCH, to: far.unwrap_or_else(SystemTime::now) }
    }

    /// The last stretch of this length.
    pub fn last(length: Duration) -> TimeRange {
        let to = SystemTime::now();
        TimeRange { from: to.checked_sub(length).unwrap_or(SystemTime::UNIX_EPOCH), to }
    }

    /// Whether it holds this moment.
    pub fn holds(&self, time: SystemTime) -> bool {
        self.from <= time && time <= self.to
    }
}

/// The newest executions of each kernel and size.
#[derive(Default)]
pub(super) struct History {
    pub series: BTreeMap<KernelId, VecDeque<ExecutionMetrics>>,
    /// Executions of kernels for which there was no room.
    pub left_out: u64,
}

/// Executions kept of a kernel and size.
pub const MOST_EXECUTIONS: usize = 1024;
/// Kernels and sizes kept.
pub const MOST_SERIES: usize = 512;

impl History {
    pub fn add(&mut self, id: &KernelId, metrics: ExecutionMetrics) {
        let series = match self.series.get_mut(id) {
            Some(series) => series,
            None => {
                if self.series.len() >= MOST_SERIES {
                    // The one that has been quiet for longest makes room.
                    let oldest = self.series.iter().min_by_key(|(_, s)| s.back().map(|m| m.begun));
                    if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                        self.left_out += self.series.remove(&id).map_or(0, |s| s.len() as u64);
                    }
                }
                self.series.entry(id.clone()).or_default()
            }
        };
        if series.len() >= MOST_EXECUTIONS {
            series.pop_front();
        }
        series.push_back(metrics);
    }

    /// Seconds of the newest `count` that succeeded, the oldest first.
    pub fn newest(&self, id: &KernelId, count: usize) -> Vec<f64> {
        let Some(series) = self.series.get(id) else { return vec![] };
        let good = series.iter().rev().filter(|m| m.succeeded).take(count);
        let mut seconds: Vec<f64> = good.map(|m| m.elapsed.as_secs_f64()).collect();
        seconds.reverse();
        seconds
    }
}
