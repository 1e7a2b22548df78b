//! How long work took lately.

use super::profiler::histogram::Histogram;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Half of the stretch that "lately" is at most.
const HALF: Duration = Duration::from_secs(30);

/// What is known of the durations of some kind of work.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyFigures {
    /// Durations counted since the beginning.
    pub count: u64,
    /// Their sum.
    pub total: Duration,
    /// The mean of all.
    pub mean: Duration,
    /// The median of those of the last 30 to 60 seconds; 0 when there were none.
    pub p50: Duration,
    /// What 99 of 100 of these are below; 0 when there were none.
    pub p99: Duration,
}

/// Durations of some kind of work: their number and sum since the beginning, and quantiles (off by at most 1/64 of their value)
/// of the last 30 to 60 seconds. About 10 KiB once it is used. Usable from any thread.
#[derive(Default)]
pub struct Latency(Mutex<State>);

#[derive(Default)]
struct State {
    count: u64,
    total: Duration,
    recent: Option<Box<Recent>>,
}

struct Recent {
    since: Instant,
    now: Histogram,
    before: Histogram,
}

impl Recent {
    /// Forgets what is too old.
    fn forward(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age < HALF {
            return;
        }
        self.before = std::mem::replace(&mut self.now, Histogram::new());
        if age >= 2 * HALF {
            self.before = Histogram::new();
        }
        self.since = now;
    }
}

impl Latency {
    /// Counts one duration that ended now.
    pub fn add(&self, duration: Duration) {
        self.add_at(duration, 1, Instant::now());
    }

    /// Counts `count` durations of about this length that ended now.
    pub fn add_many(&self, duration: Duration, count: u32) {
        self.add_at(duration, count, Instant::now());
    }

    fn add_at(&self, duration: Duration, count: u32, now: Instant) {
        let state = &mut *self.0.lock();
        state.count += u64::from(count);
        state.total += duration * count;
        let fresh = || Box::new(Recent { since: now, now: Histogram::new(), before: Histogram::new() });
        let recent = state.recent.get_or_insert_with(fresh);
        recent.forward(now);
        recent.now.add_many(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), count);
    }

    /// The figures now.
    pub fn figures(&self) -> LatencyFigures {
        self.figures_at(Instant::now())
    }

    fn figures_at(&self, now: Instant) -> LatencyFigures {
        let state = &mut *self.0.lock();
        let mut figures = LatencyFigures { count: state.count, total: state.total, ..Default::default() };
        if state.count > 0 {
            figures.mean = Duration::from_secs_f64(state.total.as_secs_f64() / state.count as f64);
        }
        if let Some(recent) = &mut state.recent {
            recent.forward(now);
            let mut both = recent.before.clone();
            both.merge(&recent.now);
            if both.total() > 0 {
                figures.p50 = Duration::from_nanos(both.quantile(0.5));
                figures.p99 = Duration::from_nanos(both.quantile(0.99));
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_minute_and_sums_of_all() {
        let (latency, start) = (Latency::default(), Instant::now());
        let at = |s: u64| start + Duration::from_secs(s);
        assert_eq!(latency.figures_at(start), LatencyFigures::default());
        for i in 1..=1000u64 {
            latency.add_at(Duration::from_micros(i), 1, at(0));
        }
        let near = |d: Duration, us: f64| (d.as_secs_f64() * 1e6 - us).abs() <= us / 60.0;
        let f = latency.figures_at(at(1));
        assert!(near(f.p50, 500.0) && near(f.p99, 990.0) && near(f.mean, 500.5), "{f:?}");
        // Slower work comes: both are seen, then the old is forgotten.
        latency.add_at(Duration::from_millis(50), 1, at(35));
        let f = latency.figures_at(at(36));
        assert!(near(f.p50, 501.0) && f.count == 1001, "{f:?}");
        let f = latency.figures_at(at(70));
        assert!(near(f.p50, 50_000.0) && near(f.p99, 50_000.0), "{f:?}");
        let f = latency.figures_at(at(1000));
        assert_eq!((f.p50, f.p99, f.count), (Duration::ZERO, Duration::ZERO, 1001));
        assert!(f.total > Duration::from_millis(550));
    }
}
