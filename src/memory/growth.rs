//! The slow half of a space: mapping granules when the pool has no block that fits, and giving back idle ones.
//!
//! The range is divided into slots of one granule. A piece (one granule of the device) covers one slot or several and
//! can only go as a whole, so pieces are kept small against what the pool holds: a sixteenth of it, at most 16 slots,
//! and an eighth of a large allocation.

use super::UNIT;
use super::heap::Heap;
use super::lend::Purpose;
use super::source::{Piece, Shortage};
use super::space::Space;
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

/// What is mapped: pieces by their first slot.
#[derive(Default)]
pub(super) struct Maps {
    pub pieces: BTreeMap<u32, Piece>,
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

/// Slots to map.
struct Plan {
    slot: u32,
    slots: u32,
    /// How many slots are free there.
    room: u32,
}

impl Space {
    /// Maps what is needed for `units` units and allocates them. Returns with the heap locked.
    pub(super) fn grow(&self, units: u32, align: u32, tag: &str) -> Result<(u32, MutexGuard<'_, Heap>)> {
        let mut maps = self.maps.lock();
        let mut reclaimed = false;
        let mut relieved = false;
        let mut _room = None;
        let mut rounds = 0;
        loop {
            let mut heap = self.heap.lock();
            // Another thread may have mapped or freed something meanwhile.
            if let Some(id) = heap.alloc(units, align) {
                if relieved {
                    self.source.relief(true);
                }
                return Ok((id, heap));
            }
            let Some(plan) = self.plan(&maps, &heap, units, align) else {
                return Err(Error::new(
                    Status::OutOfMemory,
                    format!(
                        "tenant {:?}: no addresses left for {} bytes for {tag:?}",
                        self.account.name(),
                        u64::from(units) * UNIT
                    ),
                )
                .advise("free allocations, or open the space anew"));
            };
            let largest = u64::from(heap.largest_free()) * UNIT;
            drop(heap);
            let shortage = match self.map_plan(&mut maps, &plan) {
                Ok(id) => {
                    let mut heap = self.heap.lock();
                    let id = self.take_in(&mut heap, id);
                    if let Some(live) = heap.carve(id, units, align) {
                        if relieved {
                            self.source.relief(true);
                        }
                        return Ok((live, heap));
                    }
                    return Err(Error::new(Status::Internal, "a mapped block is smaller than planned"));
                }
                Err(shortage) => shortage,
            };
            let bytes = u64::from(units) * UNIT;
            if reclaimed && rounds < ROUNDS && matches!(shortage, Shortage::Device(_)) {
                rounds += 1;
                // Without the lock: who is to give way may be here at the same time.
                drop(maps);
                let whole = u64::from(plan.slots) * u64::from(self.slot) * UNIT;
                _room = self.source.ledger.make_room(Some(&self.account), whole, true, &Purpose::New);
                maps = self.maps.lock();
                if _room.is_some() {
                    continue;
                }
            }
            if reclaimed {
                if relieved {
                    self.source.relief(false);
                }
                return Err(match shortage {
                    Shortage::Account => self.account.scattered(bytes, tag, largest),
                    Shortage::Device(e) => self.refused(e, bytes, tag),
                    Shortage::Other(e) => {
                        e.within(format!("tenant {:?} wanted {bytes} bytes for {tag:?}", self.account.name()))
                    }
                });
            }
            reclaimed = true;
            match shortage {
                Shortage::Other(e) => return Err(e),
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

    /// The error for memory that the device does not have.
    #[cold]
    pub(super) fn refused(&self, e: Error, bytes: u64, tag: &str) -> Error {
        let (name, holders) = (self.account.name(), self.source.ledger.who_holds());
        e.within(format!("tenant {name:?} wanted {bytes} bytes for {tag:?} ({holders})"))
    }

    /// The free slots that need the fewest granules for an allocation, free blocks beside them counted in.
    fn plan(&self, maps: &Maps, heap: &Heap, units: u32, align: u32) -> Option<Plan> {
        let slot = u64::from(self.slot);
        let total = (self.bytes / UNIT / slot) as u32;
        let mut best: Option<Plan> = None;
        let mut consider = |from: u32, to: u32| {
            if from >= to {
                return;
            }
            let (start, end) = (u64::from(from) * slot, u64::from(to) * slot);
            let before = heap.free_before(start as u32);
            let first = start as u32 - before;
            let need = u64::from(first) + u64::from(heap.pad(first, align)) + u64::from(units);
            let slots = need.saturating_sub(start).div_ceil(slot).max(1);
            let after = if to < total { u64::from(heap.free_after(end as u32)) } else { 0 };
            let slots = if slots <= u64::from(to - from) {
                slots as u32
            } else if need <= end + after {
                to - from
            } else {
                return;
            };
            if best.as_ref().is_none_or(|b| slots < b.slots) {
                best = Some(Plan { slot: from, slots, room: to - from });
            }
        };
        let mut from = 0;
        for (&at, piece) in &maps.pieces {
            consider(from, at);
            from = at + (piece.granule.bytes / UNIT / slot) as u32;
        }
        consider(from, total);
        best
    }

    /// Maps the slots of a plan, a few more when that is cheap, or nothing at all. Returns the units mapped.
    fn map_plan(&self, maps: &mut Maps, plan: &Plan) -> std::result::Result<(u32, u32), Shortage> {
        let pooled = self.source.device.path().pooled();
        let largest = if pooled { LARGEST_POOLED } else { LARGEST_PIECE };
        if plan.slots == 1 {
            // A small allocation: map in larger pieces as the pool grows.
            let mapped = self.mapped.load(Ordering::Relaxed) / u64::from(self.slot);
            let wanted = if pooled { (mapped / 4).max(4) } else { mapped / 16 };
            let slots = wanted.clamp(1, u64::from(largest.min(plan.room))) as u32;
            let slots = 1 << slots.ilog2();
            if slots > 1
                && let Ok(piece) = self.map_piece(plan.slot, slots)
            {
                maps.pieces.insert(plan.slot, piece);
                return Ok((plan.slot * self.slot, slots * self.slot));
            }
        }
        // The last slot of a large allocation is shared with others: it is a piece of its own.
        let size = (plan.slots / if pooled { 2 } else { 8 }).clamp(1, largest);
        let mut done = 0;
        while done < plan.slots {
            let slots = size.min((plan.slots - done - 1).max(1));
            match self.map_piece(plan.slot + done, slots) {
                Ok(piece) => {
                    maps.pieces.insert(plan.slot + done, piece);
                    done += slots;
                }
                Err(shortage) => {
                    let mine: Vec<u32> =
                        maps.pieces.range(plan.slot..plan.slot + done).map(|(s, _)| *s).collect();
                    for slot in mine {
                        if let Some(piece) = maps.pieces.remove(&slot) {
                            self.source.abandon(Some(&self.account), piece);
                        }
                    }
                    return Err(shortage);
                }
            }
        }
        Ok((plan.slot * self.slot, plan.slots * self.slot))
    }

    fn map_piece(&self, slot: u32, slots: u32) -> std::result::Result<Piece, Shortage> {
        let address = self.address(slot * self.slot);
        let bytes = u64::from(slots) * u64::from(self.slot) * UNIT;
        self.source.take_movable(&self.account, address, bytes)
    }

    fn take_in(&self, heap: &mut Heap, (start, units): (u32, u32)) -> u32 {
        self.mapped.fetch_add(u64::from(units), Ordering::Relaxed);
        heap.add(start, units)
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

    /// Gives back idle granules until at most `keep` mapped units are free, or none is idle. Where pools keep what falls
    /// free, a large piece does not go when less than half of `keep` would stay.
    pub(super) fn trim(&self, maps: &mut Maps, keep: u64) {
        let slot = self.slot;
        let mut heap = self.heap.lock();
        let mut leaving = Vec::new();
        let least = if self.source.device.path().pooled() { keep / 2 } else { 0 };
        let mut spare = self.mapped.load(Ordering::Relaxed).saturating_sub(heap.used);
        let mut blocks = heap.free_blocks(slot);
        // From the top, so that what stays is at the bottom.
        blocks.sort_unstable_by_key(|b| std::cmp::Reverse(b.0));
        for (start, units) in blocks {
            let (first, end) =
                (start.div_ceil(slot), ((u64::from(start) + u64::from(units)) / u64::from(slot)) as u32);
            if first >= end {
                continue;
            }
            for (&at, piece) in maps.pieces.range(first..end).rev() {
                let units = (piece.granule.bytes / UNIT) as u32;
                if at + units / slot > end || spare <= keep || spare - u64::from(units).min(spare) < least {
                    continue;
                }
                spare = spare.saturating_sub(u64::from(units));
                leaving.push((at, units));
            }
        }
        if leaving.is_empty() {
            return;
        }
        // From here on nobody can allocate in them, and work in flight can be waited for without the lock.
        for &(at, units) in &leaving {
            heap.remove(at * slot, units);
            self.mapped.fetch_sub(u64::from(units), Ordering::Relaxed);
        }
        drop(heap);
        let fenced = self.wait_for_work().is_ok();
        for (at, units) in leaving {
            if fenced {
                match maps.pieces.remove(&at).map(|piece| self.source.give(Some(&self.account), piece)) {
                    Some(Err((piece, _))) => maps.pieces.insert(at, piece),
                    _ => continue,
                };
            }
            let mut heap = self.heap.lock();
            self.take_in(&mut heap, (at * slot, units));
        }
    }
}
