//! Parts of mapped pieces that have no memory.

use std::collections::{BTreeMap, BTreeSet};

/// By units; no two touch within a piece.
#[derive(Default)]
pub(super) struct Holes {
    by_start: BTreeMap<u32, u32>,
    by_size: BTreeSet<(u32, u32)>,
}

impl Holes {
    fn put(&mut self, start: u32, units: u32) {
        self.by_start.insert(start, units);
        self.by_size.insert((units, start));
    }

    fn pull(&mut self, start: u32) -> Option<u32> {
        let units = self.by_start.remove(&start)?;
        self.by_size.remove(&(units, start));
        Some(units)
    }

    /// Notes a hole in the piece that covers the units of `piece`.
    pub fn add(&mut self, mut start: u32, units: u32, piece: std::ops::Range<u32>) {
        let mut end = start + units;
        let before = self.by_start.range(piece.start..start).next_back().map(|(s, n)| (*s, s + n));
        if let Some((first, _)) = before.filter(|(_, stop)| *stop == start) {
            self.pull(first);
            start = first;
        }
        if end < piece.end
            && let Some(more) = self.pull(end)
        {
            end += more;
        }
        self.put(start, end - start);
    }

    /// Takes a part of a hole out: it has memory now.
    pub fn remove(&mut self, start: u32, units: u32) {
        let Some((first, all)) = self.by_start.range(..=start).next_back().map(|(s, n)| (*s, *n)) else {
            return;
        };
        self.pull(first);
        if first < start {
            self.put(first, start - first);
        }
        if start + units < first + all {
            self.put(start + units, first + all - start - units);
        }
    }

    /// Forgets the holes of a piece that is gone.
    pub fn forget(&mut self, piece: std::ops::Range<u32>) {
        let starts: Vec<u32> = self.by_start.range(piece).map(|(s, _)| *s).collect();
        for start in starts {
            self.pull(start);
        }
    }

    /// The smallest hole of at least `units` units.
    pub fn fitting(&self, units: u32) -> Option<(u32, u32)> {
        self.by_size.range((units, 0)..).next().map(|(n, start)| (*start, *n))
    }

    /// All holes that start in a range, as (start, units).
    pub fn within(&self, range: std::ops::Range<u32>) -> impl Iterator<Item = (u32, u32)> {
        self.by_start.range(range).map(|(s, n)| (*s, *n))
    }

    /// All holes.
    pub fn all(&self) -> impl Iterator<Item = (u32, u32)> {
        self.by_start.iter().map(|(s, n)| (*s, *n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a flag a unit, in two pieces of 64 units.
        #[test]
        fn they_agree_with_a_map_of_units(steps in prop::collection::vec((any::<bool>(), 0..128u32, 1..40u32), 1..80)) {
            let (mut holes, mut model) = (Holes::default(), [false; 128]);
            for (add, start, units) in steps {
                let piece = start / 64 * 64..start / 64 * 64 + 64;
                let end = (start + units).min(piece.end);
                let range = start as usize..end as usize;
                if model[range.clone()].contains(&add) {
                    continue;
                }
                match add {
                    true => holes.add(start, end - start, piece),
                    false => holes.remove(start, end - start),
                }
                model[range].fill(add);
                let mut seen = [false; 128];
                let mut last = u32::MAX;
                for (s, n) in holes.all() {
                    prop_assert!(s != last || s == 64, "two holes touch");
                    seen[s as usize..(s + n) as usize].fill(true);
                    last = s + n;
                }
                prop_assert_eq!(seen, model);
                let largest = holes.all().map(|(_, n)| n).max().unwrap_or(0);
                prop_assert_eq!(holes.fitting(largest).map(|h| h.1), (largest > 0).then_some(largest).or(holes.fitting(0).map(|h| h.1)));
                prop_assert!(holes.fitting(largest + 1).is_none());
            }
            holes.forget(0..64);
            prop_assert!(holes.all().all(|(s, _)| s >= 64));
        }
    }
}
