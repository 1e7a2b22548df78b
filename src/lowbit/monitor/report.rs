//! Reports over a stretch of time, as text and as JSON.

use super::advice::{Recommendation, recommend};
use super::baseline::RegressionAnalysis;
use super::history::{ExecutionMetrics, KernelId, TimeRange};
use super::statistic::{Trend, quantile, trend};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// How things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing is wrong.
    Good,
    /// Executions grow slower, or some fail.
    Watch,
    /// A kernel is slower than its baseline.
    Regressed,
    /// At least half of a kernel's executions fail.
    Failing,
}

impl Health {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Health::Good => "good",
            Health::Watch => "watch",
            Health::Regressed => "regressed",
            Health::Failing => "failing",
        }
    }
}

/// A window that was judged slower.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// The kernel and size.
    pub id: KernelId,
    /// When the window was full.
    pub time: SystemTime,
    /// Median of the window over that of the baseline.
    pub ratio: f64,
    /// Probability of chance.
    pub chance: f64,
}

/// One kernel at one size.
#[derive(Clone, Debug)]
pub struct KernelReport {
    /// Which.
    pub id: KernelId,
    /// Executions in the range that are still kept.
    pub executions: usize,
    /// Those that failed.
    pub failures: usize,
    /// Seconds of those that succeeded: mean, median, and what 99 of 100 are below.
    pub mean: f64,
    /// See `mean`.
    pub p50: f64,
    /// See `mean`.
    pub p99: f64,
    /// Median of the part of the memory's ceiling.
    pub of_bytes_ceiling: Option<f64>,
    /// Median of the part of the processors' ceiling.
    pub of_operations_ceiling: Option<f64>,
    /// Processor time of the calling thread over the time that went by.
    pub utilization: f64,
    /// Growth of the seconds over time (a second of time as unit).
    pub trend: Option<Trend>,
    /// What the newest full window said.
    pub judged: Option<RegressionAnalysis>,
    /// What to do.
    pub recommendations: Vec<Recommendation>,
    /// How it is.
    pub health: Health,
}

impl KernelReport {
    pub(super) fn of(
        id: &KernelId,
        all: &[ExecutionMetrics],
        judged: Option<RegressionAnalysis>,
        regressed: bool,
    ) -> KernelReport {
        let good: Vec<&ExecutionMetrics> = all.iter().filter(|m| m.succeeded).collect();
        let seconds: Vec<f64> = good.iter().map(|m| m.elapsed.as_secs_f64()).collect();
        let median = |of: &dyn Fn(&ExecutionMetrics) -> Option<f64>| {
            quantile(&good.iter().filter_map(|m| of(m)).collect::<Vec<_>>(), 0.5)
        };
        let first = all.first().map_or(UNIX_EPOCH, |m| m.begun);
        let age = |m: &ExecutionMetrics| m.begun.duration_since(first).unwrap_or_default().as_secs_f64();
        let points: Vec<(f64, f64)> = good.iter().map(|m| (age(m), m.elapsed.as_secs_f64())).collect();
        let trend = trend(&points);
        let failures = all.len() - good.len();
        let total: f64 = seconds.iter().sum();
        let used: f64 = good.iter().map(|m| m.usage.cpu_seconds).sum();
        let slower = trend.is_some_and(|t| t.is_significant() && t.slope > 0.0);
        let health = match () {
            () if failures * 2 >= all.len().max(1) => Health::Failing,
            () if regressed => Health::Regressed,
            () if slower || failures > 0 => Health::Watch,
            () => Health::Good,
        };
        KernelReport {
            id: id.clone(),
            executions: all.len(),
            failures,
            mean: if seconds.is_empty() { 0.0 } else { total / seconds.len() as f64 },
            p50: quantile(&seconds, 0.5).unwrap_or(0.0),
            p99: quantile(&seconds, 0.99).unwrap_or(0.0),
            of_bytes_ceiling: median(&|m| m.of_bytes_ceiling()),
            of_operations_ceiling: median(&|m| m.of_operations_ceiling()),
            utilization: if total > 0.0 { used / total } else { 0.0 },
            trend,
            judged,
            recommendations: recommend(all),
            health,
        }
    }

    fn json(&self) -> Value {
        let judged = self.judged.map(|j| match j {
            RegressionAnalysis::Establishing { have, need } => {
                json!({ "state": "establishing", "have": have, "need": need })
            }
            RegressionAnalysis::Collecting { have, need } => {
                json!({ "state": "collecting", "have": have, "need": need })
            }
            RegressionAnalysis::Judged { regressed, ratio, chance } => {
                json!({ "state": if regressed { "regressed" } else { "usual" }, "ratio": ratio, "chance": chance })
            }
        });
        let trend = self.trend.map(|t| {
            json!({
                "slope": t.slope,
                "standard_error": t.standard_error,
                "points": t.count,
                "significant": t.is_significant(),
            })
        });
        let recommendations: Vec<Value> = self
            .recommendations
            .iter()
            .map(|r| json!({ "kind": r.kind.name(), "figure": r.figure, "text": r.text }))
            .collect();
        json!({
            "kernel": self.id.kernel,
            "shape": self.id.shape,
            "health": self.health.name(),
            "executions": self.executions,
            "failures": self.failures,
            "seconds": { "mean": self.mean, "p50": self.p50, "p99": self.p99 },
            "of_bytes_ceiling": self.of_bytes_ceiling,
            "of_operations_ceiling": self.of_operations_ceiling,
            "utilization": self.utilization,
            "trend": trend,
            "judged": judged,
            "recommendations": recommendations,
        })
    }
}

/// All kernels over a stretch of time.
#[derive(Clone, Debug)]
pub struct PerformanceReport {
    /// The stretch.
    pub time_range: TimeRange,
    /// Each kernel and size with executions in it, by name.
    pub kernels: Vec<KernelReport>,
    /// Windows in it that were judged slower, the oldest first.
    pub regressions: Vec<Regression>,
    /// The worst of all.
    pub overall_health: Health,
    /// Why the processor's counters are not in it, where they are not.
    pub counters: Option<String>,
}

fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl PerformanceReport {
    /// For programs. Times are seconds since 1970.
    pub fn to_json(&self) -> String {
        let regressions: Vec<Value> = self
            .regressions
            .iter()
            .map(|r| {
                json!({
                    "kernel": r.id.kernel,
                    "shape": r.id.shape,
                    "time": since_epoch(r.time),
                    "ratio": r.ratio,
                    "chance": r.chance,
                })
            })
            .collect();
        json!({
            "from": since_epoch(self.time_range.from),
            "to": since_epoch(self.time_range.to),
            "health": self.overall_health.name(),
            "counters": self.counters,
            "kernels": self.kernels.iter().map(KernelReport::json).collect::<Vec<_>>(),
            "regressions": regressions,
        })
        .to_string()
    }

    /// For people.
    pub fn to_text(&self) -> String {
        // Writing to a string does not fail.
        let mut text = format!("health: {}\n", self.overall_health.name());
        if let Some(why) = &self.counters {
            let _ = writeln!(text, "processor's counters: {why}");
        }
        for k in &self.kernels {
            let _ = writeln!(
                text,
                "{}: {}, {} executions, {} failed, mean {:.2} us, median {:.2} us, 99 % below {:.2} us",
                k.id,
                k.health.name(),
                k.executions,
                k.failures,
                k.mean * 1e6,
                k.p50 * 1e6,
                k.p99 * 1e6
            );
            for (part, what) in [(k.of_bytes_ceiling, "memory's"), (k.of_operations_ceiling, "processors'")] {
                if let Some(part) = part {
                    let _ = writeln!(text, "  {:.1} % of the {what} ceiling", part * 100.0);
                }
            }
            if let Some(t) = k.trend.filter(|t| t.mean > 0.0) {
                let hourly = 3600.0 * 100.0 / t.mean;
                let word = if t.is_significant() { "" } else { " (not significant)" };
                let _ = writeln!(
                    text,
                    "  trend {:+.2} % an hour, standard error {:.2} %{word}",
                    t.slope * hourly,
                    t.standard_error * hourly
                );
            }
            for r in &k.recommendations {
                let _ = writeln!(text, "  {}: {}", r.kind.name(), r.text);
            }
        }
        for r in &self.regressions {
            let _ = writeln!(
                text,
                "slower: {} by {:.1} % (chance {:.1e})",
                r.id,
                (r.ratio - 1.0) * 100.0,
                r.chance
            );
        }
        text
    }
}
