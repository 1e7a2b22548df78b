//! Watching kernels: how long each execution took and what it used, whether that is slower than it was, and what would
//! help.
//!
//! Executions of a kernel at a size are judged in windows that do not overlap (20) against a baseline (64 executions): a
//! window is slower when its median is above the baseline's by at least 5 % and the one-sided Mann-Whitney U test gives
//! a probability of chance below 0.001. So at most one window of 1000 is a false alarm while executions are independent
//! and the machine is as it was; other work on the machine makes kernels slower, and that is told, too.

mod advice;
mod baseline;
mod counters;
mod history;
mod report;
pub mod statistic;

pub use advice::{Recommendation, RecommendationKind, recommend};
pub use baseline::{PerformanceBaselineDatabase, RegressionAnalysis, RegressionConfiguration, judge};
pub use counters::{Counters, Hardware, Session, Usage};
pub use history::{ExecutionFacts, ExecutionMetrics, KernelId, MOST_EXECUTIONS, MOST_SERIES, TimeRange};
pub use report::{Health, KernelReport, PerformanceReport, Regression};

use crate::lowbit::selection::{DeviceInventory, files};
use crate::telemetry::latency::{Latency, LatencyFigures};
use crate::{Error, Result};
use history::History;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Regressions that are kept.
const MOST_REGRESSIONS: usize = 256;

/// What [`KernelPerformanceMonitor::monitor_kernel_execution`] gives.
#[derive(Clone, Debug)]
pub struct MonitoredExecutionResult<R> {
    /// What the kernel gave.
    pub kernel_result: R,
    /// How it went.
    pub execution_metrics: ExecutionMetrics,
    /// What judging says: a full window's verdict comes with the execution that fills it.
    pub regression_analysis: RegressionAnalysis,
    /// With a full window: what follows from its executions. Else none.
    pub optimization_recommendations: Vec<Recommendation>,
}

#[derive(Default)]
struct State {
    history: History,
    baselines: PerformanceBaselineDatabase,
    /// Executions since the last verdict.
    waiting: HashMap<KernelId, usize>,
    verdicts: HashMap<KernelId, RegressionAnalysis>,
    regressions: VecDeque<Regression>,
    notes: Vec<String>,
}

/// Watches executions of kernels. Usable from any thread; what it adds to an execution are some microseconds.
pub struct KernelPerformanceMonitor {
    configuration: RegressionConfiguration,
    /// Whether the processor's counters are read; why not, where they cannot be.
    hardware: Result<bool>,
    state: Mutex<State>,
    latency: Latency,
    /// Where baselines are kept, and for which machine.
    file: Option<(PathBuf, String)>,
}

impl KernelPerformanceMonitor {
    /// A monitor with no baselines, that keeps none.
    ///
    /// Errors: a configuration that cannot be worked with.
    pub fn new(configuration: RegressionConfiguration) -> Result<KernelPerformanceMonitor> {
        Ok(KernelPerformanceMonitor {
            configuration: configuration.checked()?,
            hardware: Counters::open().map(|_| true),
            state: Mutex::default(),
            latency: Latency::default(),
            file: None,
        })
    }

    /// A monitor with the baselines of this machine from the user's cache folder, where
    /// [`KernelPerformanceMonitor::save_baselines`] keeps them. A file that cannot be used is left out with a note.
    ///
    /// Errors: no device answers.
    pub fn new_with_baselines() -> Result<KernelPerformanceMonitor> {
        let inventory = DeviceInventory::detect()?;
        let identity: Vec<String> = inventory.devices.iter().map(|d| d.identity()).collect();
        let identity = identity.join("\n");
        match files::folder_of_environment() {
            Some(folder) => {
                let name = format!("baselines-{}.json", files::key(&[&identity]));
                Self::with_file(RegressionConfiguration::default(), &folder.join(name), &identity)
            }
            None => {
                let monitor = Self::new(RegressionConfiguration::default())?;
                monitor.note("baselines are not kept: the environment names no folder".into());
                Ok(monitor)
            }
        }
    }

    /// A monitor with the baselines of this file, if it is of the machine `identity`.
    pub fn with_file(
        configuration: RegressionConfiguration,
        path: &Path,
        identity: &str,
    ) -> Result<KernelPerformanceMonitor> {
        let mut monitor = Self::new(configuration)?;
        match PerformanceBaselineDatabase::load(path, identity) {
            Ok(found) => monitor.state.lock().baselines = found.unwrap_or_default(),
            Err(why) => monitor.note(why),
        }
        monitor.file = Some((path.to_owned(), identity.to_owned()));
        Ok(monitor)
    }

    fn note(&self, text: String) {
        crate::log!(Warn, "lowbit", "{text}");
        self.state.lock().notes.push(text);
    }

    /// What could not be used or kept.
    pub fn notes(&self) -> Vec<String> {
        self.state.lock().notes.clone()
    }

    /// Turns reading the processor's counters on or off; it costs a few system calls an execution.
    ///
    /// Errors: they cannot be read here; the error says why.
    pub fn set_hardware_counters(&mut self, on: bool) -> Result<()> {
        if on {
            Counters::open()?;
        }
        self.hardware = Ok(on);
        Ok(())
    }

    /// Runs a kernel on this thread and writes down how it went; `kernel` returns when its work is done. What the calling
    /// thread used is counted, not what helpers of it did.
    ///
    /// Errors: the kernel's own; its execution is counted as failed.
    pub fn monitor_kernel_execution<R>(
        &self,
        id: &KernelId,
        facts: ExecutionFacts,
        kernel: impl FnOnce() -> Result<R>,
    ) -> Result<MonitoredExecutionResult<R>> {
        let session = Session::begin(matches!(self.hardware, Ok(true)));
        let (begun, start) = (SystemTime::now(), Instant::now());
        let result = kernel();
        let elapsed = start.elapsed();
        let usage = session.end();
        let metrics = ExecutionMetrics { begun, elapsed, succeeded: result.is_ok(), facts, usage };
        let (regression_analysis, optimization_recommendations) = self.record(id, metrics);
        Ok(MonitoredExecutionResult {
            kernel_result: result?,
            execution_metrics: metrics,
            regression_analysis,
            optimization_recommendations,
        })
    }

    /// Writes down an execution that was measured elsewhere, by a GPU's events for example.
    pub fn record(
        &self,
        id: &KernelId,
        metrics: ExecutionMetrics,
    ) -> (RegressionAnalysis, Vec<Recommendation>) {
        let c = &self.configuration;
        let state = &mut *self.state.lock();
        state.history.add(id, metrics);
        let Some(baseline) = state.baselines.get(id) else {
            let seconds = state.history.newest(id, c.baseline);
            let have = seconds.len();
            if c.establish && have >= c.baseline && metrics.succeeded {
                if let Err(e) = state.baselines.set(id.clone(), &seconds) {
                    let note = format!("no baseline of {id}: {e}");
                    if !state.notes.contains(&note) && state.notes.len() < 64 {
                        state.notes.push(note);
                    }
                }
                state.waiting.remove(id);
            }
            return (RegressionAnalysis::Establishing { have, need: c.baseline }, vec![]);
        };
        if !metrics.succeeded {
            let have = state.waiting.get(id).copied().unwrap_or(0);
            return (RegressionAnalysis::Collecting { have, need: c.window }, vec![]);
        }
        self.latency.add(metrics.elapsed);
        let have = state.waiting.entry(id.clone()).or_insert(0);
        *have += 1;
        if *have < c.window {
            return (RegressionAnalysis::Collecting { have: *have, need: c.window }, vec![]);
        }
        *have = 0;
        let recent = state.history.newest(id, c.window);
        let verdict = judge(&recent, baseline, c);
        state.verdicts.insert(id.clone(), verdict);
        if let RegressionAnalysis::Judged { regressed: true, ratio, chance } = verdict {
            crate::log_later!(
                Warn,
                "lowbit",
                "{id} is {:.1} % slower than its baseline",
                (ratio - 1.0) * 100.0
            );
            if state.regressions.len() >= MOST_REGRESSIONS {
                state.regressions.pop_front();
            }
            let time = metrics.begun + metrics.elapsed;
            state.regressions.push_back(Regression { id: id.clone(), time, ratio, chance });
        }
        let newest: Vec<ExecutionMetrics> = match state.history.series.get(id) {
            Some(series) => series.iter().skip(series.len().saturating_sub(c.window)).copied().collect(),
            None => vec![],
        };
        (verdict, recommend(&newest))
    }

    /// Quantiles of all monitored executions of judged kernels within the last minute.
    pub fn latency(&self) -> LatencyFigures {
        self.latency.figures()
    }

    /// Makes the newest executions of a kernel its baseline, as after a change that is meant to cost time.
    ///
    /// Errors: [`crate::Status::NotFound`] when fewer than 8 succeeded.
    pub fn establish_baseline(&self, id: &KernelId) -> Result<()> {
        let state = &mut *self.state.lock();
        let seconds = state.history.newest(id, self.configuration.baseline);
        if seconds.len() < 8 {
            return Err(Error::not_found(format!("{} good executions of {id} are known", seconds.len()))
                .advise("run it at least 8 times first"));
        }
        state.waiting.remove(id);
        state.verdicts.remove(id);
        state.baselines.set(id.clone(), &seconds)
    }

    /// Forgets a kernel's baseline, so that the next executions make a new one; whether there was one.
    pub fn forget_baseline(&self, id: &KernelId) -> bool {
        self.state.lock().baselines.remove(id)
    }

    /// The baselines.
    pub fn baselines(&self) -> PerformanceBaselineDatabase {
        self.state.lock().baselines.clone()
    }

    /// Writes the baselines into the file that they came from.
    ///
    /// Errors: the monitor has none; what the file system says.
    pub fn save_baselines(&self) -> Result<()> {
        let (path, identity) = self.file.as_ref().ok_or_else(|| {
            Error::unsupported("this monitor keeps no baselines").advise("make it with a file")
        })?;
        self.baselines().save(path, identity)
    }

    /// The executions of a kernel in a stretch of time that are still kept, the oldest first.
    pub fn history(&self, id: &KernelId, range: TimeRange) -> Vec<ExecutionMetrics> {
        let state = self.state.lock();
        let series = state.history.series.get(id);
        series.map(|s| s.iter().filter(|m| range.holds(m.begun)).copied().collect()).unwrap_or_default()
    }

    /// Everything over a stretch of time.
    pub fn generate_performance_report(&self, time_range: TimeRange) -> PerformanceReport {
        let (series, verdicts, regressions) = {
            let state = self.state.lock();
            let series: Vec<(KernelId, Vec<ExecutionMetrics>)> = state
                .history
                .series
                .iter()
                .map(|(id, s)| {
                    (id.clone(), s.iter().filter(|m| time_range.holds(m.begun)).copied().collect())
                })
                .collect();
            let regressions: Vec<Regression> =
                state.regressions.iter().filter(|r| time_range.holds(r.time)).cloned().collect();
            (series, state.verdicts.clone(), regressions)
        };
        let kernels: Vec<KernelReport> = series
            .iter()
            .filter(|(_, all)| !all.is_empty())
            .map(|(id, all)| {
                let verdict = verdicts.get(id).copied();
                // A regression that the newest window no longer has is over.
                let regressed =
                    verdict.is_some_and(|v| v.is_regression()) && regressions.iter().any(|r| r.id == *id);
                KernelReport::of(id, all, verdict, regressed)
            })
            .collect();
        let overall_health = kernels.iter().map(|k| k.health).max().unwrap_or(Health::Good);
        let counters = match &self.hardware {
            Ok(true) => None,
            Ok(false) => Some("turned off".into()),
            Err(e) => Some(e.to_string()),
        };
        PerformanceReport { time_range, kernels, regressions, overall_health, counters }
    }

    /// The time that monitoring adds to an execution here: the median of 200 empty ones.
    pub fn overhead(&self) -> Duration {
        let hardware = matches!(self.hardware, Ok(true));
        let mut all: Vec<Duration> = (0..200)
            .map(|_| {
                let start = Instant::now();
                Session::begin(hardware).end();
                start.elapsed()
            })
            .collect();
        all.sort();
        all[100]
    }
}

#[cfg(test)]
mod tests;
