//! Which of the measured kernels it is to be.

use super::known::Measurement;
use super::work::{PerformanceRequirements, Preference, TensorCharacteristics};
use crate::{Error, Result};
use std::cmp::Ordering;

/// Times within this factor of each other decide nothing.
const ALIKE: f64 = 1.02;

/// A kernel that did its measurement, at the size that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    /// Its place among the candidates.
    pub at: usize,
    pub measured: Measurement,
    pub seconds: f64,
    pub memory: u64,
    pub threads: u32,
}

/// The runners in the order in which they are to be tried, and what the first one does not keep.
///
/// Errors: none keeps what must be kept; the message says what the nearest one would.
pub(super) fn order(
    mut all: Vec<Runner>,
    shape: &TensorCharacteristics,
    wanted: &PerformanceRequirements,
) -> Result<(Vec<Runner>, Vec<String>)> {
    if all.is_empty() {
        return Err(Error::unsupported("no kernel does this work at this size")
            .advise("register one, or see the manager's notes for those that failed"));
    }
    if let Some(most) = wanted.max_error {
        if most.is_nan() || most < 0.0 {
            return Err(Error::argument("max_error", format!("{most} is no error")));
        }
        let least = all.iter().filter_map(|r| r.measured.error).fold(f64::INFINITY, f64::min);
        all.retain(|r| r.measured.error.is_some_and(|e| e <= most));
        if all.is_empty() {
            return Err(Error::unsupported(format!("no kernel's error is at most {most:e}"))
                .advise(format!("the most accurate one has {least:e}")));
        }
    }
    if let Some(most) = wanted.max_memory {
        let least = all.iter().map(|r| r.memory).min().unwrap_or(0);
        all.retain(|r| r.memory <= most);
        if all.is_empty() {
            return Err(Error::unsupported(format!("no kernel takes at most {most} bytes"))
                .advise(format!("the smallest takes {least}")));
        }
    }
    let items = shape.items() as f64;
    let late = |r: &Runner| wanted.max_latency.is_some_and(|most| r.seconds > most.as_secs_f64());
    let slow = |r: &Runner| wanted.min_throughput.is_some_and(|least| items / r.seconds < least);
    let by_time = |a: &Runner, b: &Runner| a.seconds.total_cmp(&b.seconds);
    all.sort_by(|a, b| {
        let first = match wanted.preference {
            Preference::Fastest => Ordering::Equal,
            Preference::FewestThreads => a.threads.cmp(&b.threads),
            Preference::LeastMemory => a.memory.cmp(&b.memory),
            Preference::MostAccurate => {
                let error = |r: &Runner| r.measured.error.unwrap_or(f64::INFINITY);
                error(a).total_cmp(&error(b))
            }
        };
        // Those that keep the times come first; among those that do not the fastest.
        let (a_fails, b_fails) = (late(a) || slow(a), late(b) || slow(b));
        a_fails.cmp(&b_fails).then(if a_fails { by_time(a, b) } else { first.then(by_time(a, b)) })
    });
    // Times this close are alike: then fewer threads are better, which other work disturbs less.
    if wanted.preference == Preference::Fastest && !(late(&all[0]) || slow(&all[0])) {
        let bar = all[0].seconds * ALIKE;
        let close = all.iter().take_while(|r| r.seconds <= bar && !late(r) && !slow(r)).count();
        all[..close].sort_by_key(|r| r.threads);
    }
    let best = &all[0];
    let mut unmet = Vec::new();
    if late(best) {
        let most = wanted.max_latency.unwrap_or_default().as_secs_f64();
        unmet.push(format!("latency: {:.3e} s, at most {most:.3e} s are wanted", best.seconds));
    }
    if slow(best) {
        let least = wanted.min_throughput.unwrap_or(0.0);
        unmet.push(format!(
            "throughput: {:.3e} items/s, at least {least:.3e} are wanted",
            items / best.seconds
        ));
    }
    if wanted.strict && !unmet.is_empty() {
        return Err(Error::unsupported(format!("no kernel keeps the requirements: {}", unmet.join("; ")))
            .advise("this is the fastest one; lower the requirements, or leave `strict` off"));
    }
    Ok((all, unmet))
}

#[cfg(test)]
mod tests {
    use super::super::candidate::DeviceId;
    use super::*;
    use std::time::Duration;

    fn runner(at: usize, seconds: f64, threads: u32, memory: u64, error: f64) -> Runner {
        let measured = Measurement {
            name: at.to_string(),
            device: DeviceId::CPU,
            version: 1,
            seconds: Ok(seconds),
            items: 1000,
            error: Some(error),
            from_disk: false,
        };
        Runner { at, measured, seconds, memory, threads }
    }

    #[test]
    fn each_requirement_takes_part() {
        let all = || {
            vec![
                runner(0, 4e-3, 1, 0, 0.0),
                runner(1, 1e-3, 8, 4096, 1e-3),
                runner(2, 2e-3, 2, 64, 1e-5),
                runner(3, 9e-3, 1, 10, 0.0),
            ]
        };
        let shape = TensorCharacteristics::elements(1000, 0);
        let first = |wanted: PerformanceRequirements| {
            order(all(), &shape, &wanted).map(|(order, unmet)| (order[0].at, unmet.len()))
        };
        let free = PerformanceRequirements::default();
        assert_eq!(first(free).unwrap(), (1, 0));
        assert_eq!(first(PerformanceRequirements { max_error: Some(1e-4), ..free }).unwrap(), (2, 0));
        assert_eq!(first(PerformanceRequirements { max_memory: Some(20), ..free }).unwrap(), (0, 0));
        let e = first(PerformanceRequirements { max_error: Some(0.0), max_memory: Some(0), ..free });
        assert_eq!(e.unwrap(), (0, 0));
        assert!(first(PerformanceRequirements { max_error: Some(f64::NAN), ..free }).is_err());
        let few = PerformanceRequirements { preference: Preference::FewestThreads, ..free };
        assert_eq!(first(few).unwrap(), (0, 0));
        // The one with fewest threads that is fast enough.
        let few = PerformanceRequirements { max_latency: Some(Duration::from_millis(3)), ..few };
        assert_eq!(first(few).unwrap(), (2, 0));
        let few = PerformanceRequirements { min_throughput: Some(0.9e6), ..few };
        assert_eq!(first(few).unwrap(), (1, 0));
        // Alike within 2 %: the one with fewer threads.
        for (seconds, want) in [(1.015e-3, 4), (1.03e-3, 1)] {
            let mut close = all();
            close.push(runner(4, seconds, 2, 0, 0.0));
            assert_eq!(order(close, &shape, &free).unwrap().0[0].at, want);
        }
        let least = PerformanceRequirements { preference: Preference::LeastMemory, ..free };
        assert_eq!(first(least).unwrap(), (0, 0));
        let exact = PerformanceRequirements { preference: Preference::MostAccurate, ..free };
        assert_eq!(first(exact).unwrap(), (0, 0));
        // Nobody is as fast as that: the fastest, and what is missing.
        let never = PerformanceRequirements {
            max_latency: Some(Duration::from_micros(1)),
            min_throughput: Some(1e12),
            ..few
        };
        assert_eq!(first(never).unwrap(), (1, 2));
        let e = first(PerformanceRequirements { strict: true, ..never }).unwrap_err();
        assert!(e.message().contains("latency") && e.message().contains("throughput"), "{e}");
        assert!(order(vec![], &shape, &free).is_err());
    }
}
