//! Stretches of time that some work covered, counted once where they overlap.

use std::collections::VecDeque;

/// Stretches kept apart. Work that follows work without a gap is one stretch.
const MOST: usize = 4096;

/// The union of stretches of time, in nanoseconds of one clock. Stretches may come late and in any order; of what begins
/// before the last [`MOST`] stretches only the part after them counts.
#[derive(Default)]
pub(super) struct Spans {
    /// Disjoint, ascending, with gaps between them.
    spans: VecDeque<(u64, u64)>,
    /// What is before is settled.
    settled: u64,
}

impl Spans {
    /// Adds `begin..end`; calls `fresh` with each part that was not covered before.
    pub fn add(&mut self, begin: u64, end: u64, mut fresh: impl FnMut(u64, u64)) {
        let begin = begin.max(self.settled);
        if begin >= end {
            return;
        }
        // Those that overlap or touch it are `first..behind`.
        let first = self.spans.partition_point(|s| s.1 < begin);
        let behind = self.spans.partition_point(|s| s.0 <= end);
        let mut at = begin;
        for &(from, to) in self.spans.range(first..behind) {
            if at < from {
                fresh(at, from);
            }
            at = at.max(to);
        }
        if at < end {
            fresh(at, end);
        }
        let merged = match first < behind {
            true => (begin.min(self.spans[first].0), end.max(self.spans[behind - 1].1)),
            false => (begin, end),
        };
        if behind == first {
            self.spans.insert(first, merged);
        } else {
            self.spans[first] = merged;
            self.spans.drain(first + 1..behind);
        }
        if self.spans.len() > MOST
            && let Some(oldest) = self.spans.pop_front()
        {
            self.settled = oldest.1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_nanosecond_counts_once(list in prop::collection::vec((0u64..400, 0u64..60), 1..80)) {
            let (mut spans, mut seen) = (Spans::default(), [false; 512]);
            for (begin, length) in list {
                let mut new = Vec::new();
                spans.add(begin, begin + length, |from, to| new.extend(from..to));
                let want: Vec<u64> = (begin..begin + length).filter(|&t| !seen[t as usize]).collect();
                prop_assert_eq!(&new, &want);
                for t in new {
                    seen[t as usize] = true;
                }
                let apart = spans.spans.iter().zip(spans.spans.iter().skip(1)).all(|(a, b)| a.1 < b.0);
                prop_assert!(apart && spans.spans.iter().all(|s| s.0 < s.1));
            }
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_settled_stays_so() {
        let (mut spans, mut covered) = (Spans::default(), 0);
        for i in 0..2 * MOST as u64 {
            spans.add(10 * i, 10 * i + 4, |from, to| covered += to - from);
        }
        assert_eq!((spans.spans.len(), covered), (MOST, 8 * MOST as u64));
        spans.add(0, 10 * MOST as u64 - 6, |from, to| panic!("{from} to {to} counts twice"));
        spans.add(0, 30 * MOST as u64, |from, to| covered += to - from);
        assert_eq!(covered, 8 * MOST as u64 + 16 * MOST as u64 + 6);
    }
}
