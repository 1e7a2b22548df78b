//! The slow half of a space: mapping granules when the pool has no block that fits, and giving back idle ones.
//!
//! The range is divided into slots of one granule. A piece (one granule of the device) covers one slot or several and
//! can only go as a whole, so pieces are kept small against what the pool holds: a sixteenth of it, at most 16 slots,
//! and an eighth of a large allocation. Where the device gives and takes parts of a granule
//! ([`crate::device::Device::granule_page`]) a piece may have holes, and the last piece of an allocation only as much
//! memory as it needs when no more is to be had.

use super::UNIT;
use super::heap::{Heap, Zone};
use super::holes::Holes;
use super::lend::Purpose;
use super::source::{Piece, Shortage};
use super::space::Space;
use super::vacancy::Vacancy;
use crate::{Error, Result, Status};
use parking_lot::MutexGuard;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// The most slots a piece covers.
const LARGEST_PIECE: u32 = 16;

/// The same where pools grow in large pieces.
const LARGEST_POOLED: u32 = 64;

/// How often others are asked to give way before an allocation is refused.
const ROUNDS: u32 = 8;

/// Units of a hole that get memory at once where there is enough.
const AT_ONCE: u32 = 256;

/// What is mapped: pieces by their first slot, and the parts of them that have no memory.
#[derive(Default)]
pub(super) struct Maps {
    pub pieces: BTreeMap<u32, Piece>,
    pub holes: Holes,
}

impl Maps {
    /// The first of `wanted` free slots of `slot_bytes` that lie side by side, among `total`.
    pub fn gap(&self, slot_bytes: u64, total: u64, wanted: u64) -> Option<u32> {
        let mut from = 0;
        for (&at, piece) in &self.pieces {
            if u64::from(at) >= from + wanted {
                break;
            }
            from = u64::from(at) + piece.granule.bytes / slot_bytes;
        }
        from.checked_add(wanted).filter(|&end| end <= total).map(|_| from as u32)
    }
}

/// Units to give memory to.
struct Plan {
    place: Vacancy,
    /// From the start of the place.
    units: u32,
    zone: Zone,
}

/// Why nothing grew.
enum Stop {
    /// There is too little memory for it as it lies now; the largest free block has so many bytes, and so many more need
    /// memory.
    Short(Shortage, u64, u64),
    Other(Error),
}

impl Space {
    /// Maps what is needed for `units` units and allocates them. Returns with the heap locked.
    pub(super) fn grow(&self, units: u32, align: u32, tag: &str) -> Result<(u32, MutexGuard<'_, Heap>)> {
        let bytes = u64::from(units) * UNIT;
        let mut compacted = false;
        let mut rounds = 0;
        // What is made free for it is nobody else's until it is taken.
        let mut _room = None;
        loop {
            let (shortage, largest, missing) = match self.grow_now(units, align, tag) {
                Ok(grown) => return Ok(grown),
                Err(Stop::Other(e)) => return Err(e),
                Err(Stop::Short(shortage, largest, missing)) => (shortage, largest, missing),
            };
            if !compacted && self.make_room(bytes) {
                compacted = true;
                continue;
            }
            if rounds < ROUNDS && matches!(shortage, Shortage::Device(_)) {
                rounds += 1;
                _room = self.source.ledger.make_room(Some(&self.account), missing, true, &Purpose::New);
                if _room.is_some() {
                    continue;
                }
            }
            return Err(match shortage {
                Shortage::Account => self.account.scattered(bytes, tag, largest),
                Shortage::Device(e) => self.refused(e, bytes, tag),
                Shortage::Other(e) => {
                    e.within(format!("tenant {:?} wanted {bytes} bytes for {tag:?}", self.account.name()))
                }
            });
        }
    }

    /// The error for memory that the device does not have.
    #[cold]
    pub(super) fn refused(&self, e: Error, bytes: u64, tag: &str) -> Error {
        let (name, holders) = (self.account.name(), self.source.ledger.who_holds());
        e.within(format!("tenant {name:?} wanted {bytes} bytes for {tag:?} ({holders})"))
    }

    /// The same as memory lies now; idle granules are given back when that may help.
    fn grow_now(
        &self,
        units: u32,
        align: u32,
        tag: &str,
    ) -> std::result::Result<(u32, MutexGuard<'_, Heap>), Stop> {
        let (zone, wide) = self.sort(units, align);
        let mut maps = self.maps.lock();
        // The second time everything that is free was given back: any place will do.
        let mut last = false;
        let mut relieved = false;
        loop {
            let mut heap = self.heap.lock();
            // Another thread may have mapped or freed something meanwhile.
            let mut found = heap.alloc(units, wide, zone);
            if last && found.is_none() {
                found = Zone::ALL.into_iter().find_map(|zone| heap.alloc(units, align, zone));
            }
            if let Some(id) = found {
                if relieved {
                    self.source.relief(true);
                }
                return Ok((id, heap));
            }
            let plan = match last {
                false => self.plan(&maps, &heap, units, wide, zone),
                true => self.any_plan(&maps, &heap, units, align),
            };
            let Some(plan) = plan else {
                if !last {
                    last = true;
                    continue;
                }
                let bytes = u64::from(units) * UNIT;
                let text = format!(
                    "tenant {:?}: no addresses left for {bytes} bytes for {tag:?}",
                    self.account.name()
                );
                return Err(Stop::Other(
                    Error::new(Status::OutOfMemory, text).advise("free allocations, or open the space anew"),
                ));
            };
            let largest = u64::from(heap.largest_free()) * UNIT;
            drop(heap);
            let align = if last { align } else { wide };
            let shortage = match self.carry_out(&mut maps, &plan, last) {
                Ok((start, mapped)) => {
                    let mut heap = self.heap.lock();
                    let id = self.take_in(&mut heap, start, mapped, plan.zone);
                    if let Some(live) = heap.carve(id, units, align) {
                        if relieved {
                            self.source.relief(true);
                        }
                        return Ok((live, heap));
                    }
                    return Err(Stop::Other(Error::new(
                        Status::Internal,
                        "a mapped block is smaller than planned",
                    )));
                }
                Err(shortage) => shortage,
            };
            if last {
                if relieved {
                    self.source.relief(false);
                }
                let missing = plan.units.next_multiple_of(self.grain());
                return Err(Stop::Short(shortage, largest, u64::from(missing) * UNIT));
            }
            last = true;
            match shortage {
                Shortage::Other(e) => return Err(Stop::Other(e)),
                Shortage::Account => {
                    self.trim(&mut maps, 0);
                }
                Shortage::Device(_) => {
                    self.trim(&mut maps, 0);
                    self.source.relieve();
                    relieved = true;
                }
            }
        }
    }

    /// The hole that fits best, or else the free slots that need the fewest granules, free blocks beside them counted in.
    fn plan(&self, maps: &Maps, heap: &Heap, units: u32, align: u32, zone: Zone) -> Option<Plan> {
        if self.page > 0
            && let Some((start, room)) = units.checked_add(align - 1).and_then(|n| maps.holes.fitting(n))
        {
            let need = (heap.pad(start, align) + units).next_multiple_of(self.page);
            let place = Vacancy { start, units: room.into(), unmapped: false };
            return Some(Plan { place, units: need.max(AT_ONCE).min(room), zone });
        }
        let gaps = self.gaps(maps, |_| true);
        cheapest(heap, gaps.into_iter(), &[zone], (units, align), self.slot)
    }

    /// The place that needs the least memory of all.
    fn any_plan(&self, maps: &Maps, heap: &Heap, units: u32, align: u32) -> Option<Plan> {
        let holes = maps.holes.all().map(|(start, n)| Vacancy { start, units: n.into(), unmapped: false });
        let places = self.gaps(maps, |_| true).into_iter().chain(holes);
        cheapest(heap, places, &Zone::ALL, (units, align), self.grain())
    }

    /// Gives memory to what was planned, or changes nothing. Returns the units that have memory now.
    fn carry_out(
        &self,
        maps: &mut Maps,
        plan: &Plan,
        last: bool,
    ) -> std::result::Result<(u32, u32), Shortage> {
        let start = plan.place.start;
        if !plan.place.unmapped {
            self.fill_hole(maps, start, plan.units)?;
            return Ok((start, plan.units));
        }
        let slots = plan.units.div_ceil(self.slot);
        let whole = match self.map_slots(maps, plan, slots) {
            // With parts of granules a smaller piece may fit.
            Err(Shortage::Account | Shortage::Device(_)) if last && self.page > 0 => None,
            other => Some(other?),
        };
        if let Some(mapped) = whole {
            return Ok(mapped);
        }
        let (address, bytes) = (self.address(start), u64::from(slots) * u64::from(self.slot) * UNIT);
        let used = u64::from(plan.units) * UNIT;
        let piece = self.source.take_part(&self.account, address, bytes, used)?;
        let end = start + slots * self.slot;
        if start + plan.units < end {
            maps.holes.add(start + plan.units, end - start - plan.units, start..end);
            self.holed.store(true, Ordering::Relaxed);
        }
        maps.pieces.insert(start / self.slot, piece);
        Ok((start, plan.units))
    }

    fn fill_hole(&self, maps: &mut Maps, start: u32, units: u32) -> std::result::Result<(), Shortage> {
        let piece = maps.pieces.range_mut(..=start / self.slot).next_back();
        let Some((&at, piece)) = piece else {
            return Err(Shortage::Other(Error::new(Status::Internal, "a hole in no piece")));
        };
        let offset = u64::from(start - at * self.slot) * UNIT;
        self.source.fill(&self.account, piece, offset, u64::from(units) * UNIT)?;
        maps.holes.remove(start, units);
        Ok(())
    }

    /// Maps slots, a few more when that is cheap, or nothing at all.
    fn map_slots(
        &self,
        maps: &mut Maps,
        plan: &Plan,
        slots: u32,
    ) -> std::result::Result<(u32, u32), Shortage> {
        let first = plan.place.start / self.slot;
        let room = (plan.place.units / u64::from(self.slot)) as u32;
        let pooled = self.source.device.path().pooled();
        let largest = if pooled { LARGEST_POOLED } else { LARGEST_PIECE };
        if slots == 1 {
            // A small allocation: map in larger pieces as the pool grows.
            let mapped = self.mapped.load(Ordering::Relaxed) / u64::from(self.slot);
            let wanted = if pooled { (mapped / 4).max(4) } else { mapped / 16 };
            let slots = wanted.clamp(1, u64::from(largest.min(room))) as u32;
            let slots = 1 << slots.ilog2();
            if slots > 1
                && let Ok(piece) = self.map_piece(first, slots)
            {
                maps.pieces.insert(first, piece);
                return Ok((plan.place.start, slots * self.slot));
            }
        }
        // The last slot of a large allocation is shared with others: it is a piece of its own.
        let size = (slots / if pooled { 2 } else { 8 }).clamp(1, largest);
        let mut done = 0;
        while done < slots {
            let part = size.min((slots - done - 1).max(1));
            match self.map_piece(first + done, part) {
                Ok(piece) => {
                    maps.pieces.insert(first + done, piece);
                    done += part;
                }
                Err(shortage) => {
                    let mine: Vec<u32> = maps.pieces.range(first..first + done).map(|(s, _)| *s).collect();
                    for slot in mine {
                        if let Some(piece) = maps.pieces.remove(&slot) {
                            self.source.abandon(Some(&self.account), piece);
                        }
                    }
                    return Err(shortage);
                }
            }
        }
        Ok((plan.place.start, slots * self.slot))
    }

    fn map_piece(&self, slot: u32, slots: u32) -> std::result::Result<Piece, Shortage> {
        let address = self.address(slot * self.slot);
        let bytes = u64::from(slots) * u64::from(self.slot) * UNIT;
        self.source.take_movable(&self.account, address, bytes)
    }

    pub(super) fn take_in(&self, heap: &mut Heap, start: u32, units: u32, zone: Zone) -> u32 {
        self.mapped.fetch_add(u64::from(units), Ordering::Relaxed);
        heap.add(start, units, zone)
    }

    /// Takes free units out of the heap: nobody can allocate in them from here on.
    pub(super) fn take_out(&self, heap: &mut Heap, start: u32, units: u32) {
        heap.remove(start, units);
        self.mapped.fetch_sub(u64::from(units), Ordering::Relaxed);
    }

    /// Gives back idle granules beyond the bound, unless another thread is at it or the streams cannot be waited for.
    pub(super) fn trim_soon(&self) {
        if let Some(mut maps) = self.maps.try_lock() {
            let used = self.heap.lock().used;
            self.trim(&mut maps, self.cached(used));
        }
    }

    /// Gives back all idle granules, unless another thread maps or unmaps at the moment.
    pub(super) fn trim_all(&self) {
        if let Some(mut maps) = self.maps.try_lock() {
            self.trim(&mut maps, 0);
        }
    }

    /// The pieces in which nothing is allocated, from the top, until at most `keep` mapped units are free. Where pools
    /// keep what falls free, a large piece does not go when less than half of `keep` would stay.
    pub(super) fn idle_pieces(&self, maps: &Maps, heap: &Heap, keep: u64) -> Vec<u32> {
        let slot = self.slot;
        let least = if self.source.device.path().pooled() { keep / 2 } else { 0 };
        let mut idle: Vec<u32> = Vec::new();
        for (start, units) in heap.free_blocks(slot) {
            let (first, end) = (start.div_ceil(slot), (start + units) / slot);
            let range = maps.pieces.range(first..end.max(first));
            let whole = |at: u32, p: &Piece| !p.holed && at + self.units_of(p.granule.bytes) / slot <= end;
            idle.extend(range.filter(|(at, p)| whole(**at, p)).map(|(at, _)| *at));
        }
        // What has or had holes is free in several blocks, or in none.
        for (&at, piece) in maps.pieces.iter().filter(|(_, p)| p.holed) {
            let start = at * slot;
            if heap.between(start, start + self.units_of(piece.granule.bytes)).all(|b| b.is_free()) {
                idle.push(at);
            }
        }
        // From the top, so that what stays is at the bottom.
        idle.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
        let mut spare = self.mapped.load(Ordering::Relaxed).saturating_sub(heap.used);
        let mut all: u64 = idle.iter().map(|at| maps.pieces[at].held() / UNIT).sum();
        idle.retain(|at| {
            let units = maps.pieces[at].held() / UNIT;
            // The last page stays however much is free beside: what comes and goes page by page finds one.
            if keep > 0 && units == all && units <= u64::from(self.slot) {
                return false;
            }
            if units > 0 && (spare <= keep || spare - units.min(spare) < least) {
                return false;
            }
            (spare, all) = (spare.saturating_sub(units), all - units);
            true
        });
        idle
    }

    /// Gives back idle granules until at most `keep` mapped units are free, or none is idle.
    pub(super) fn trim(&self, maps: &mut Maps, keep: u64) {
        let mut heap = self.heap.lock();
        let leaving = self.idle_pieces(maps, &heap, keep);
        if leaving.is_empty() {
            return;
        }
        // From here on nobody can allocate in them, and work in flight can be waited for without the lock.
        let mut out = Vec::with_capacity(leaving.len());
        for at in leaving {
            let range = self.range_of(at, &maps.pieces[&at]);
            let free: Vec<_> =
                heap.between(range.start, range.end).map(|b| (b.start, b.end(), b.zone())).collect();
            for (start, end, _) in &free {
                let start = (*start).max(range.start);
                self.take_out(&mut heap, start, (*end).min(range.end) - start);
            }
            out.push((at, range, free));
        }
        drop(heap);
        let fenced = self.wait_for_work().is_ok();
        for (at, range, free) in out {
            if fenced {
                match maps.pieces.remove(&at).map(|piece| self.source.give(Some(&self.account), piece)) {
                    Some(Err((piece, _))) => maps.pieces.insert(at, piece),
                    _ => {
                        maps.holes.forget(range);
                        continue;
                    }
                };
            }
            let mut heap = self.heap.lock();
            for (start, end, zone) in free {
                let start = start.max(range.start);
                self.take_in(&mut heap, start, end.min(range.end) - start, zone);
            }
        }
    }

    /// The units that a piece covers.
    pub(super) fn range_of(&self, at: u32, piece: &Piece) -> std::ops::Range<u32> {
        let start = at * self.slot;
        start..start + self.units_of(piece.granule.bytes)
    }
}

/// The place where the least memory is needed for `units` units at this alignment.
fn cheapest(
    heap: &Heap,
    places: impl Iterator<Item = Vacancy>,
    zones: &[Zone],
    (units, align): (u32, u32),
    grain: u32,
) -> Option<Plan> {
    let mut best: Option<Plan> = None;
    for place in places {
        for &zone in zones {
            if let Some(units) = place.cost(heap, zone, units, align, grain)
                && best.as_ref().is_none_or(|b| units < b.units)
            {
                best = Some(Plan { place, units, zone });
            }
        }
    }
    best
}
