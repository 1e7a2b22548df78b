//! Where an allocation could lie that the pool has no block for: the places without memory, what each would cost, and
//! the largest allocation that would succeed.

use super::UNIT;
use super::growth::Maps;
use super::heap::{Heap, Zone};
use super::space::Space;
use std::collections::BTreeMap;

/// Units side by side that have no memory.
#[derive(Clone, Copy)]
pub(super) struct Vacancy {
    pub start: u32,
    pub units: u64,
    /// Whether nothing is mapped there; else it is a hole in a mapped piece.
    pub unmapped: bool,
}

impl Vacancy {
    /// Units that must get memory for an allocation that begins at or before the vacancy and may reach beyond it, free
    /// units of `zone` beside it counted in. `grain` is what memory comes in.
    pub fn cost(&self, heap: &Heap, zone: Zone, units: u32, align: u32, grain: u32) -> Option<u32> {
        let start = u64::from(self.start);
        let first = self.start - heap.free_before(self.start, zone);
        let end = u64::from(first) + u64::from(heap.pad(first, align)) + u64::from(units);
        let cost = end.saturating_sub(start).max(1).next_multiple_of(u64::from(grain));
        if cost <= self.units {
            return u32::try_from(cost).ok();
        }
        (end <= start + self.units + u64::from(self.after(heap, zone)))
            .then(|| u32::try_from(self.units).ok())
            .flatten()
    }

    /// The largest allocation that it allows when `most` units can get memory. What is free beside it counts only
    /// within `bounds`: beyond lies memory that is taken as gone.
    fn largest(&self, heap: &Heap, zone: Zone, most: u64, bounds: (u64, u64)) -> u64 {
        let (start, end) = (u64::from(self.start), u64::from(self.start) + self.units);
        let before = u64::from(heap.free_before(self.start, zone)).min(start - bounds.0.min(start));
        let after = u64::from(self.after(heap, zone)).min(bounds.1.max(end) - end);
        match most {
            0 => 0,
            _ if most >= self.units => before + self.units + after,
            _ => before + most,
        }
    }

    fn after(&self, heap: &Heap, zone: Zone) -> u32 {
        let end = u64::from(self.start) + self.units;
        u32::try_from(end).map_or(0, |end| heap.free_after(end, zone))
    }
}

impl Space {
    /// Units of a piece.
    pub(super) fn units_of(&self, bytes: u64) -> u32 {
        // A piece lies within the range, which has fewer than 2^32 units.
        (bytes / UNIT) as u32
    }

    /// All slots in the range.
    pub(super) fn slots(&self) -> u32 {
        (self.bytes / UNIT / u64::from(self.slot)) as u32
    }

    /// The gaps between pieces; those that `passes` refuses are taken as gone.
    pub(super) fn gaps(&self, maps: &Maps, passes: impl Fn(u32) -> bool) -> Vec<Vacancy> {
        let slot = u64::from(self.slot);
        let mut all = Vec::new();
        let mut from = 0;
        let ends = maps.pieces.iter().filter(|(at, _)| passes(**at));
        let ends = ends.map(|(at, p)| (*at, at + self.units_of(p.granule.bytes) / self.slot));
        for (at, next) in ends.chain([(self.slots(), 0)]) {
            if from < at {
                let (start, end) = (u64::from(from) * slot, u64::from(at) * slot);
                all.push(Vacancy { start: start as u32, units: end - start, unmapped: true });
            }
            from = next;
        }
        all
    }

    /// The largest allocation that would succeed now without compaction, in units.
    pub(super) fn largest_possible(&self, maps: &Maps, heap: &Heap, device_room: u64) -> u64 {
        let idle = self.idle_pieces(maps, heap, 0);
        let idle_bytes: u64 = idle.iter().map(|at| maps.pieces[at].held()).sum();
        let most =
            self.account.headroom().saturating_add(idle_bytes).min(device_room.saturating_add(idle_bytes));
        let most = most / UNIT;
        let gone: BTreeMap<u32, u32> = idle
            .into_iter()
            .map(|at| self.range_of(at, &maps.pieces[&at]))
            .map(|r| (r.start, r.end))
            .collect();
        let stays = |at: u32| !gone.contains_key(&(at * self.slot));
        let mut vacancies = self.gaps(maps, stays);
        for (&at, piece) in maps.pieces.iter().filter(|(at, p)| p.vacant > 0 && stays(**at)) {
            let first = at * self.slot;
            let holes = maps.holes.within(first..first + self.units_of(piece.granule.bytes));
            vacancies.extend(holes.map(|(start, n)| Vacancy { start, units: n.into(), unmapped: false }));
        }
        let grain = u64::from(self.grain());
        let mut largest = u64::from(heap.largest_free());
        for vacancy in vacancies {
            // Memory of idle pieces is counted in `most`, so not beside a vacancy as well.
            let lower = gone.range(..vacancy.start).next_back().map_or(0, |(_, end)| u64::from(*end));
            let upper = gone.range(vacancy.start..).map(|(start, _)| u64::from(*start));
            let mut upper = upper.skip_while(|at| *at < u64::from(vacancy.start) + vacancy.units);
            let bounds = (lower, upper.next().unwrap_or(u64::MAX));
            for zone in Zone::ALL {
                largest = largest.max(vacancy.largest(heap, zone, most / grain * grain, bounds));
            }
        }
        if !self.source.device.path().direct() {
            // Allocations of the device's own driver need no whole granules.
            largest = largest.max(most);
        }
        largest
    }

    /// What memory comes in at the least, in units.
    pub(super) fn grain(&self) -> u32 {
        if self.page > 0 { self.page } else { self.slot }
    }
}
