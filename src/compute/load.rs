//! How much a device worked for its tenants.

use super::share::{Usage, Utilization};
use super::spans::Spans;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// What the tenants of one process have had of a device, as measured on it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Time in which work of any tenant ran; once where work of several ran at a time.
    pub busy: Duration,
    /// Parts of the last second and minute in which work of any tenant ran.
    pub any: Utilization,
    /// Device time times the processors (SMs or cores) that it was used on, of all tenants together.
    pub processor_time: Duration,
    /// Parts of all processors' last second and minute that were used.
    pub processors: Utilization,
}

/// Measured work of all tenants of a device.
pub(super) struct Tally {
    began: Instant,
    sums: Mutex<Sums>,
}

struct Sums {
    spans: Spans,
    busy_ns: u64,
    processor_ns: u64,
    any: Usage,
    processors: Usage,
}

impl Tally {
    pub fn new(now: Instant) -> Tally {
        let (any, processors) = (Usage::new(now), Usage::new(now));
        let sums = Sums { spans: Spans::default(), busy_ns: 0, processor_ns: 0, any, processors };
        Tally { began: now, sums: Mutex::new(sums) }
    }

    /// Notes work of length `time` that ended at `now` on `processors` of `all`.
    pub fn add(&self, time: Duration, processors: u32, all: u32, now: Instant) {
        let end = now.saturating_duration_since(self.began).as_nanos() as u64;
        let begin = end.saturating_sub(time.as_nanos() as u64);
        let sums = &mut *self.sums.lock();
        sums.processor_ns += time.as_nanos() as u64 * u64::from(processors);
        sums.processors.add(time.mul_f64(f64::from(processors) / f64::from(all.max(1))), now);
        let (busy_ns, any, began) = (&mut sums.busy_ns, &mut sums.any, self.began);
        sums.spans.add(begin, end, |from, to| {
            *busy_ns += to - from;
            any.add(Duration::from_nanos(to - from), began + Duration::from_nanos(to));
        });
    }

    pub fn read(&self, now: Instant) -> Load {
        let sums = &mut *self.sums.lock();
        Load {
            busy: Duration::from_nanos(sums.busy_ns),
            any: sums.any.read(now),
            processor_time: Duration::from_nanos(sums.processor_ns),
            processors: sums.processors.read(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_side_by_side_is_one_time_and_twice_the_processors() {
        let start = Instant::now();
        let (tally, at) = (Tally::new(start), |ms: u64| start + Duration::from_millis(ms));
        let ms = Duration::from_millis;
        // Two tenants on 2 and 1 of 4 processors, half a second at the same time; then one of them on all.
        for i in 1..=50 {
            tally.add(ms(10), 2, 4, at(i * 10));
            tally.add(ms(10), 1, 4, at(i * 10 + 3));
        }
        let load = tally.read(at(503));
        assert_eq!((load.busy, load.processor_time), (ms(503), ms(1500)));
        assert!((load.any.second - 1.0).abs() < 1e-9, "{load:?}");
        assert!((load.processors.second - 0.75 * 500.0 / 503.0).abs() < 0.01, "{load:?}");
        tally.add(ms(200), 4, 4, at(1003));
        let load = tally.read(at(1003));
        assert!((load.any.second - 0.7).abs() < 0.02, "{load:?}");
        assert!((load.processors.minute - 0.575).abs() < 0.02, "{load:?}");
        assert_eq!(tally.read(at(200_000)).any, Utilization::default());
    }
}
