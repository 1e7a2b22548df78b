//! Durations in buckets whose width grows with the value, so that memory is bounded and the relative error too.

/// Buckets of one power of two.
const SUB: u32 = 32;
/// Its logarithm.
const SUB_BITS: u32 = 5;
/// Powers of two from `SUB` on that have buckets of their own; what is longer (about 4.8 hours) counts in the last.
const POWERS: u32 = 40;
const BUCKETS: usize = ((POWERS + 1) * SUB) as usize;

/// Counts of durations in nanoseconds. A quantile is off by at most 1/64 of its value (half a bucket of 1/32), and
/// exact below 32 ns.
#[derive(Clone)]
pub(in crate::telemetry) struct Histogram {
    counts: Vec<u32>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0 }
    }

    pub fn add(&mut self, ns: u64) {
        self.add_many(ns, 1);
    }

    pub fn add_many(&mut self, ns: u64, many: u32) {
        let count = &mut self.counts[bucket(ns)];
        *count = count.saturating_add(many);
        self.total += u64::from(many);
    }

    pub fn merge(&mut self, other: &Histogram) {
        for (a, b) in self.counts.iter_mut().zip(&other.counts) {
            *a = a.saturating_add(*b);
        }
        self.total += other.total;
    }

    /// Durations counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The duration below which a part `q` (0 to 1) of all lies: the middle of its bucket.
    pub fn quantile(&self, q: f64) -> u64 {
        let wanted = ((self.total as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted {
                return middle(at as u32);
            }
        }
        0
    }
}

fn bucket(ns: u64) -> usize {
    if ns < u64::from(SUB) {
        return ns as usize;
    }
    let power = ns.ilog2() - SUB_BITS;
    if power >= POWERS {
        return BUCKETS - 1;
    }
    let within = (ns >> power) as u32 - SUB;
    ((power + 1) * SUB + within) as usize
}

fn middle(bucket: u32) -> u64 {
    if bucket < SUB {
        return u64::from(bucket);
    }
    let power = bucket / SUB - 1;
    let low = u64::from(SUB + bucket % SUB) << power;
    low + (1u64 << power) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_as_narrow_as_it_says() {
        let mut last = 0;
        for exponent in 0..440 {
            let ns = (2f64.powf(f64::from(exponent) / 10.0)) as u64;
            let at = bucket(ns);
            assert!(at >= last, "{ns}");
            last = at;
            let error = (middle(at as u32) as f64 - ns as f64).abs();
            assert!(error <= ns as f64 / 64.0, "{ns} ns counts as {}", middle(at as u32));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_known_values() {
        let mut h = Histogram::new();
        for ns in 1..=10_000u64 {
            h.add(ns * 1000);
        }
        for (q, want) in [(0.5, 5_000_000.0), (0.99, 9_900_000.0), (1.0, 10_000_000.0)] {
            let got = h.quantile(q) as f64;
            assert!((got - want).abs() / want < 0.017, "{q}: {got}");
        }
        let mut twice = h.clone();
        twice.merge(&h);
        assert_eq!((twice.quantile(0.5), twice.total), (h.quantile(0.5), 20_000));
        assert_eq!(Histogram::new().quantile(0.5), 0);
    }
}
