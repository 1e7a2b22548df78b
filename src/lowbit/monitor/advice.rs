//! What the figures of executions say should be done.

use super::history::ExecutionMetrics;
use super::statistic::quantile;

/// What a recommendation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecommendationKind {
    /// It moves bytes as fast as the device can.
    AtMemoryCeiling,
    /// It computes as fast as the device can.
    AtComputeCeiling,
    /// Neither bytes nor operations are near what the device can.
    BelowCeilings,
    /// Too few threads are on the GPU's SMs to hide latency.
    LowOccupancy,
    /// Many accesses miss the caches.
    CacheMisses,
    /// Few instructions are completed in a cycle.
    FewInstructionsPerCycle,
    /// Threads were put aside for others.
    Preempted,
    /// The calling thread waited for most of the time.
    Waiting,
    /// Pages are made while it runs.
    PageFaults,
    /// Executions take very different times.
    Unsteady,
    /// Executions fail.
    Failing,
}

impl RecommendationKind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            RecommendationKind::AtMemoryCeiling => "at_memory_ceiling",
            RecommendationKind::AtComputeCeiling => "at_compute_ceiling",
            RecommendationKind::BelowCeilings => "below_ceilings",
            RecommendationKind::LowOccupancy => "low_occupancy",
            RecommendationKind::CacheMisses => "cache_misses",
            RecommendationKind::FewInstructionsPerCycle => "few_instructions_per_cycle",
            RecommendationKind::Preempted => "preempted",
            RecommendationKind::Waiting => "waiting",
            RecommendationKind::PageFaults => "page_faults",
            RecommendationKind::Unsteady => "unsteady",
            RecommendationKind::Failing => "failing",
        }
    }
}

/// Something to do, and the figure from which it follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// What it is about.
    pub kind: RecommendationKind,
    /// The figure: a part of a ceiling, a rate, a count for an execution, as `text` says.
    pub figure: f64,
    /// For people.
    pub text: String,
}

/// At the ceiling from this part of it on, and far below it up to that.
const NEAR: f64 = 0.85;
const FAR: f64 = 0.6;

/// What follows from these executions of one kernel at one size. Each rule needs its own figure and says nothing without.
pub fn recommend(executions: &[ExecutionMetrics]) -> Vec<Recommendation> {
    let mut found = Vec::new();
    let mut say = |kind, figure: f64, text: String| found.push(Recommendation { kind, figure, text });
    let good: Vec<&ExecutionMetrics> = executions.iter().filter(|m| m.succeeded).collect();
    let failed = executions.len() - good.len();
    if failed > 0 {
        let part = failed as f64 / executions.len() as f64;
        say(
            RecommendationKind::Failing,
            part,
            format!("{failed} of {} executions failed: see the errors' history", executions.len()),
        );
    }
    let median = |of: &dyn Fn(&ExecutionMetrics) -> Option<f64>| {
        quantile(&good.iter().filter_map(|m| of(m)).collect::<Vec<_>>(), 0.5)
    };
    let bytes = median(&|m| m.of_bytes_ceiling());
    let operations = median(&|m| m.of_operations_ceiling());
    let percent = |part: f64| format!("{:.0} %", part * 100.0);
    match (bytes, operations) {
        (Some(b), _) if b >= NEAR => say(
            RecommendationKind::AtMemoryCeiling,
            b,
            format!(
                "{} of the memory's ceiling: only fewer bytes help (fewer bits, fused operations)",
                percent(b)
            ),
        ),
        (_, Some(o)) if o >= NEAR => say(
            RecommendationKind::AtComputeCeiling,
            o,
            format!(
                "{} of the processors' ceiling: only fewer operations or narrower types help",
                percent(o)
            ),
        ),
        (Some(b), o) if b < FAR && o.is_none_or(|o| o < FAR) => {
            let of_operations =
                o.map(|o| format!(" and {} of the processors'", percent(o))).unwrap_or_default();
            say(
                RecommendationKind::BelowCeilings,
                b,
                format!(
                    "{} of the memory's ceiling{of_operations}: look for latency (prefetch, larger pages, more loads in \
                     flight), for work that is too small, or try another kernel",
                    percent(b)
                ),
            );
        }
        _ => {}
    }
    if let Some(o) = median(&|m| m.facts.occupancy).filter(|o| *o < 0.25)
        && bytes.is_none_or(|b| b < NEAR)
    {
        let text = format!(
            "occupancy is {}: fewer registers or less shared memory a thread, or more blocks",
            percent(o)
        );
        say(RecommendationKind::LowOccupancy, o, text);
    }
    let misses = |m: &ExecutionMetrics| {
        let h = m.usage.hardware.filter(|h| h.cache_references > 1000)?;
        Some(h.cache_misses as f64 / h.cache_references as f64)
    };
    if let Some(part) = median(&misses).filter(|part| *part > 0.3)
        && bytes.is_none_or(|b| b < NEAR)
    {
        let text =
            format!("{} of the accesses to the last cache miss: smaller tiles, or prefetch", percent(part));
        say(RecommendationKind::CacheMisses, part, text);
    }
    let per_cycle = |m: &ExecutionMetrics| {
        let h = m.usage.hardware.filter(|h| h.cycles > 10_000 && h.instructions > 0)?;
        Some(h.instructions as f64 / h.cycles as f64)
    };
    if let Some(rate) = median(&per_cycle).filter(|rate| *rate < 1.0)
        && bytes.is_none_or(|b| b < NEAR)
    {
        let text = format!("{rate:.2} instructions a cycle: it waits for memory or for its own results");
        say(RecommendationKind::FewInstructionsPerCycle, rate, text);
    }
    if good.is_empty() {
        return found;
    }
    let count = good.len() as f64;
    let preempted = good.iter().map(|m| m.usage.preempted as f64).sum::<f64>() / count;
    if preempted > 0.5 {
        let text = format!(
            "put aside {preempted:.1} times an execution: fewer threads, or cores of its own (a compute node)"
        );
        say(RecommendationKind::Preempted, preempted, text);
    }
    let busy = |m: &ExecutionMetrics| {
        // A GPU's work is waited for: that says nothing.
        let long = m.elapsed.as_secs_f64() > 1e-4 && m.facts.occupancy.is_none();
        (long && m.usage.cpu_seconds > 0.0).then(|| m.usage.cpu_seconds / m.elapsed.as_secs_f64())
    };
    if let Some(part) = median(&busy).filter(|part| *part < 0.8) {
        let text = format!(
            "the calling thread worked {} of the time: it waits for others; balance the work",
            percent(part)
        );
        say(RecommendationKind::Waiting, part, text);
    }
    let faults = good.iter().map(|m| m.usage.page_faults as f64).sum::<f64>() / count;
    if faults > 8.0 {
        let text = format!("{faults:.0} pages are made an execution: reuse buffers, or use large pages");
        say(RecommendationKind::PageFaults, faults, text);
    }
    let seconds: Vec<f64> = good.iter().map(|m| m.elapsed.as_secs_f64()).collect();
    if let (true, Some(p50), Some(p95)) =
        (good.len() >= 20, quantile(&seconds, 0.5), quantile(&seconds, 0.95))
        && p95 > 2.0 * p50
    {
        let text = format!(
            "one of 20 takes {:.1} times the median: look for other work on these processors",
            p95 / p50
        );
        say(RecommendationKind::Unsteady, p95 / p50, text);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::counters::{Hardware, Usage};
    use super::super::history::ExecutionFacts;
    use super::*;
    use std::time::{Duration, SystemTime};

    fn one() -> ExecutionMetrics {
        ExecutionMetrics {
            begun: SystemTime::UNIX_EPOCH,
            elapsed: Duration::from_millis(1),
            succeeded: true,
            facts: ExecutionFacts { threads: 1, ..Default::default() },
            usage: Usage { cpu_seconds: 1e-3, ..Default::default() },
        }
    }

    fn kinds(m: ExecutionMetrics) -> Vec<RecommendationKind> {
        recommend(&[m; 30]).into_iter().map(|r| r.kind).collect()
    }

    #[test]
    fn each_follows_from_its_figure_alone() {
        use RecommendationKind::*;
        let facts =
            |bytes: u64| ExecutionFacts { bytes: Some(bytes), bytes_ceiling: Some(1e9), ..one().facts };
        let hardware = |references, misses, instructions| Usage {
            hardware: Some(Hardware {
                cycles: 1_000_000,
                instructions,
                cache_references: references,
                cache_misses: misses,
            }),
            ..one().usage
        };
        assert_eq!(kinds(one()), []);
        assert_eq!(kinds(ExecutionMetrics { facts: facts(950_000), ..one() }), [AtMemoryCeiling]);
        assert_eq!(kinds(ExecutionMetrics { facts: facts(700_000), ..one() }), []);
        assert_eq!(kinds(ExecutionMetrics { facts: facts(300_000), ..one() }), [BelowCeilings]);
        let computing =
            ExecutionFacts { operations: Some(900), operations_ceiling: Some(1e6), ..facts(300_000) };
        assert_eq!(kinds(ExecutionMetrics { facts: computing, ..one() }), [AtComputeCeiling]);
        let thin = ExecutionFacts { occupancy: Some(0.1), ..one().facts };
        assert_eq!(kinds(ExecutionMetrics { facts: thin, ..one() }), [LowOccupancy]);
        assert_eq!(
            kinds(ExecutionMetrics { usage: hardware(10_000, 6000, 3_000_000), ..one() }),
            [CacheMisses]
        );
        assert_eq!(
            kinds(ExecutionMetrics { usage: hardware(10_000, 10, 300_000), ..one() }),
            [FewInstructionsPerCycle]
        );
        let at_ceiling =
            ExecutionMetrics { facts: facts(950_000), usage: hardware(10_000, 6000, 300_000), ..one() };
        assert_eq!(kinds(at_ceiling), [AtMemoryCeiling], "at the ceiling it misses and waits as it must");
        let used = |usage| ExecutionMetrics { usage, ..one() };
        assert_eq!(kinds(used(Usage { preempted: 2, ..one().usage })), [Preempted]);
        assert_eq!(kinds(used(Usage { cpu_seconds: 5e-4, ..one().usage })), [Waiting]);
        assert_eq!(kinds(used(Usage { page_faults: 100, ..one().usage })), [PageFaults]);
        assert_eq!(kinds(ExecutionMetrics { succeeded: false, ..one() }), [Failing]);
        let mut unsteady = vec![one(); 30];
        unsteady[..5].iter_mut().for_each(|m| {
            m.elapsed *= 5;
            m.usage.cpu_seconds *= 5.0;
        });
        assert_eq!(recommend(&unsteady).iter().map(|r| r.kind).collect::<Vec<_>>(), [Unsteady]);
        assert_eq!(recommend(&[]), []);
    }
}
