//! How much a device worked for its tenants.

use super::share::{Usage, Utilization};
use super::spans::Spans;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// What the tenants of one process have had of a device, as measured on it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Time in which work of any tenant ran; once where work of several ran at a time. Exact where tenants share all of their
    /// units or none; what they do at the same time on different ones is told apart by when it was measured, which is
    /// some milliseconds late at most.
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
    /// Work on each unit, which runs that of one tenant at a time.
    units: Vec<(u64, Usage)>,
}

impl Tally {
    pub fn new(units: usize, now: Instant) -> Tally {
        let sums = Sums {
            spans: Spans::default(),
            busy_ns: 0,
            processor_ns: 0,
            any: Usage::new(now),
            processors: Usage::new(now),
            units: (0..units).map(|_| (0, Usage::new(now))).collect(),
        };
        Tally { began: now, sums: Mutex::new(sums) }
    }

    /// Notes work of length `time` that ended at about `now` on these units, which have `processors` of `all`.
    pub fn add(&self, time: Duration, units: &[u32], processors: u32, all: u32, now: Instant) {
        let end = now.saturating_duration_since(self.began).as_nanos() as u64;
        let begin = end.saturating_sub(time.as_nanos() as u64);
        let sums = &mut *self.sums.lock();
        sums.processor_ns += time.as_nanos() as u64 * u64::from(processors);
        sums.processors.add(time.mul_f64(f64::from(processors) / f64::from(all.max(1))), now);
        for &unit in units {
            if let Some((busy_ns, usage)) = sums.units.get_mut(unit as usize) {
                *busy_ns += time.as_nanos() as u64;
                usage.add(time, now);
            }
        }
        let (busy_ns, any, began) = (&mut sums.busy_ns, &mut sums.any, self.began);
        sums.spans.add(begin, end, |from, to| {
            *busy_ns += to - from;
            any.add(Duration::from_nanos(to - from), began + Duration::from_nanos(to));
        });
    }

    pub fn read(&self, now: Instant) -> Load {
        let sums = &mut *self.sums.lock();
        // Turns that tenants took on one unit cannot overlap, though they may seem to by when they were measured.
        let (mut busy_ns, mut any) = (sums.busy_ns, sums.any.read(now));
        for (unit_ns, usage) in &mut sums.units {
            let unit = usage.read(now);
            busy_ns = busy_ns.max(*unit_ns);
            any = Utilization { second: any.second.max(unit.second), minute: any.minute.max(unit.minute) };
        }
        Load {
            busy: Duration::from_nanos(busy_ns),
            any,
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
        let (tally, at) = (Tally::new(2, start), |ms: u64| start + Duration::from_millis(ms));
        let ms = Duration::from_millis;
        // Two tenants on 2 and 1 of 4 processors, half a second at the same time; then one of them on all.
        for i in 1..=50 {
            tally.add(ms(10), &[0], 2, 4, at(i * 10));
            tally.add(ms(10), &[1], 1, 4, at(i * 10 + 3));
        }
        let load = tally.read(at(503));
        assert_eq!((load.busy, load.processor_time), (ms(503), ms(1500)));
        assert!((load.any.second - 1.0).abs() < 1e-9, "{load:?}");
        assert!((load.processors.second - 0.75 * 500.0 / 503.0).abs() < 0.01, "{load:?}");
        tally.add(ms(200), &[0, 1], 4, 4, at(1003));
        let load = tally.read(at(1003));
        assert!((load.any.second - 0.7).abs() < 0.02, "{load:?}");
        assert!((load.processors.minute - 0.575).abs() < 0.02, "{load:?}");
        assert_eq!(tally.read(at(200_000)).any, Utilization::default());
    }

    #[test]
    fn turns_that_are_noted_late_do_not_overlap() {
        let start = Instant::now();
        let (tally, ms) = (Tally::new(1, start), Duration::from_millis);
        // Two tenants took turns of 5 ms; both were noted 4 ms too late or in time.
        for i in 1..=100u64 {
            let late = if i % 2 == 0 { 4 } else { 0 };
            tally.add(ms(5), &[0], 1, 1, start + ms(i * 5 + late));
        }
        let load = tally.read(start + ms(504));
        assert_eq!(load.busy, ms(500));
        assert!(load.any.second > 0.98, "{load:?}");
    }
}
