//! Memory of a tenant that lies in host memory for a while, because others asked their room back.
//!
//! Whole pieces move: the tenant's door is closed, its streams are waited for, the content is copied to page-locked host
//! memory, and the granule goes back to the device. Addresses stay reserved and allocations stay charged. Before work
//! that may touch it runs it is fetched, by name ([`Space::enter_for`], [`Space::fetch`]) or all of it
//! ([`Door::enter`](super::Door::enter), [`Space::fetch_all`]). Where only part of a piece finds room, it comes back by
//! the granule.

use super::UNIT;
use super::away::{Copied, Spares};
use super::cost::SpillFigures;
use super::door::Entered;
use super::growth::Maps;
use super::lend::{Advice, Purpose, SpillPolicy};
use super::source::{Lies, Piece};
use super::space::Space;
use crate::device::{DevicePtr, Granule};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a tenant that is to give way may keep its door open or its maps locked.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often room is asked for before a fetch is given up.
const ROUNDS: u32 = 256;

/// A space's part in moving memory to the host.
#[derive(Default)]
pub(super) struct Spilling {
    /// Held from before something is fetched until its user is inside the door.
    pub fetching: Mutex<()>,
    pub notes: super::note::Notes,
    spares: Arc<Spares>,
    /// The most bytes that may lie in host memory; 0: no bound.
    pub most: AtomicU64,
    cost: Mutex<SpillFigures>,
}

/// What is known of a piece that may go.
#[derive(Default)]
struct Score {
    pinned: bool,
    /// Somebody asked for nothing special, so that it goes after what is cold.
    normal: bool,
    touched: u64,
    largest: u32,
}

impl Space {
    /// Enters the door ([`Door::enter`](super::Door::enter)) for work that touches these ranges (address, bytes) and no other
    /// memory of the pool: they are fetched when they lie in host memory, the rest may stay there. Ranges elsewhere (host
    /// memory, regions, shared images) never move and are passed over.
    ///
    /// Errors: [`Status::OutOfMemory`] when they do not fit on the device at once.
    pub fn enter_for(&self, ranges: &[(DevicePtr, u64)]) -> Result<Entered<'_>> {
        self.note_touch(ranges);
        let inside = self.door().enter_as_is();
        if self.is_here(ranges) {
            return Ok(inside);
        }
        drop(inside);
        self.door().fetching(|space| space.bring(Some(ranges)), |space| space.is_here(ranges))
    }

    /// Fetches what of these bytes lies in host memory. It may be moved again at any time unless the door is held: work is
    /// queued with [`Space::enter_for`].
    ///
    /// Errors: as [`Space::check`]; [`Status::OutOfMemory`], naming who holds the memory.
    pub fn fetch(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        self.check("ptr", ptr, bytes)?;
        self.note_touch(&[(ptr, bytes)]);
        let _alone = self.spilling.fetching.lock();
        self.bring(Some(&[(ptr, bytes)]))
    }

    /// Fetches everything that lies in host memory; see [`Space::fetch`].
    pub fn fetch_all(&self) -> Result<()> {
        self.bring(None)
    }

    /// Moves about `bytes` to the host, as if others had asked for them: what the policy names first. Returns how many
    /// bytes the device has got back; fewer when there is no more to move.
    ///
    /// Errors: [`Status::Unsupported`] where nothing may be moved.
    pub fn spill_now(&self, bytes: u64) -> Result<u64> {
        if bytes == 0 {
            return Err(Error::argument("bytes", "must not be 0"));
        }
        if !self.account.can_spill() {
            return Err(Error::unsupported(format!(
                "memory of tenant {:?} is not moved",
                self.account.name()
            ))
            .advise("set a spill policy; memory banks are never moved"));
        }
        let _one = self.source.ledger.spilling.lock();
        Ok(self.move_to_host(bytes, &[], true))
    }

    /// What moving memory has cost this tenant.
    pub fn spill_figures(&self) -> SpillFigures {
        SpillFigures {
            spilled: self.account.spilled(),
            spilled_peak: self.account.spilled_peak(),
            host_bytes: self.spilling.spares.bytes(),
            ..*self.spilling.cost.lock()
        }
    }

    /// Whether any of these bytes lies in host memory now.
    pub fn is_away(&self, ptr: DevicePtr, bytes: u64) -> bool {
        self.door().list().touches((ptr, bytes))
    }

    fn is_here(&self, ranges: &[(DevicePtr, u64)]) -> bool {
        self.door().away() == 0 || !ranges.iter().any(|range| self.door().list().touches(*range))
    }

    /// Moves about `bytes` of what may go and touches nothing of `spare`; how many the device has got back. Waits for work
    /// of this tenant, and gives up when its door stays open for too long. `own`: for this tenant itself, whose door this
    /// thread may hold.
    pub(super) fn move_to_host(&self, bytes: u64, spare: &[(u64, u64)], own: bool) -> u64 {
        // Most of what is in flight ends before anybody is held up.
        if self.wait_for_work().is_err() {
            return 0;
        }
        let door = self.door();
        let closed = if own { door.close_within(PATIENCE) } else { door.close_of_other(PATIENCE) };
        let Some(_closed) = closed else { return 0 };
        let begun = Instant::now();
        if self.wait_for_work().is_err() {
            return 0;
        }
        let Some(mut maps) = self.maps.try_lock_for(PATIENCE) else { return 0 };
        let before = self.account.footprint();
        self.trim(&mut maps, 0);
        let mut freed = before.saturating_sub(self.account.footprint());
        let mut moved = false;
        if freed < bytes {
            for slot in self.candidates(&maps, spare) {
                match self.move_out(&mut maps, slot) {
                    Ok(piece) => freed += piece,
                    Err(e) => {
                        let name = self.account.name();
                        crate::log_later!(Warn, "memory", "tenant {name:?}: moving memory to the host: {e}");
                        break;
                    }
                }
                moved = true;
                if freed >= bytes {
                    break;
                }
            }
        }
        if moved {
            self.spilling.cost.lock().pause(begun.elapsed());
        }
        freed
    }

    /// The first slots of pieces that may go, in the order of the policy.
    fn candidates(&self, maps: &Maps, spare: &[(u64, u64)]) -> Vec<u32> {
        let touches = |piece: &Piece| {
            let (at, end) = (piece.address, piece.address + piece.granule.bytes);
            spare.iter().any(|(ptr, bytes)| *ptr < end && at < ptr.saturating_add(*bytes))
        };
        let may = |piece: &Piece| piece.is_movable() && !touches(piece);
        let mut scores: BTreeMap<u32, Score> =
            maps.pieces.iter().filter(|(_, p)| may(p)).map(|(slot, _)| (*slot, Score::default())).collect();
        let heap = self.heap.lock();
        let notes = self.spilling.notes.all();
        for block in heap.live_blocks() {
            let note = notes.get(&block.start).copied().unwrap_or_default();
            let (first, last) = (block.start / self.slot, (block.start + (block.units - 1)) / self.slot);
            // The piece that began before the block, and those that begin in it.
            let from = maps.pieces.range(..=first).next_back().map_or(first, |(slot, _)| *slot);
            for (_, score) in scores.range_mut(from..=last) {
                score.pinned |= note.advice == Advice::Pinned;
                score.normal |= note.advice != Advice::Cold;
                score.touched = score.touched.max(note.touched.max(block.born));
                score.largest = score.largest.max(block.units);
            }
        }
        drop((notes, heap));
        let mut all: Vec<(u32, Score)> = scores.into_iter().filter(|(_, s)| !s.pinned).collect();
        let largest = self.account.spill_policy() == SpillPolicy::Largest;
        all.sort_by_key(|(slot, s)| {
            let size = if largest { u32::MAX - s.largest } else { 0 };
            (s.normal, size, s.touched, *slot)
        });
        all.into_iter().map(|(slot, _)| slot).collect()
    }

    /// Copies a piece to the host and gives its granule back. The door is closed and nothing is in flight.
    fn move_out(&self, maps: &mut Maps, slot: u32) -> Result<u64> {
        let Some(piece) = maps.pieces.get_mut(&slot) else { return Ok(0) };
        let (bytes, device) = (piece.granule.bytes, &self.source.device);
        let most = self.spilling.most.load(Ordering::Relaxed);
        if most > 0 && self.account.spilled() + bytes > most {
            return Err(Error::new(
                Status::QuotaExceeded,
                format!("{most} bytes of host memory are all that it may have"),
            ));
        }
        let block = self.spilling.spares.take(&**device, bytes)?;
        let begun = Instant::now();
        // SAFETY: the piece is mapped, the block is as large, and the copy has run when this returns.
        unsafe { device.copy(block.address(), piece.address, bytes, None)? };
        self.spilling.cost.lock().copied_out(bytes, begun.elapsed());
        device.unmap(piece.address, bytes)?;
        // In both places for a moment rather than in none.
        let copied = Copied::new(block, self.door().list(), &self.account, piece.address);
        piece.lies = Lies::Away(copied);
        let granule = std::mem::replace(&mut piece.granule, Granule { handle: 0, bytes });
        device.granule_release(granule);
        self.source.ledger.give(bytes);
        self.account.give_footprint(bytes);
        Ok(bytes)
    }

    /// Fetches what of `wanted` (`None`: everything) is away.
    fn bring(&self, wanted: Option<&[(u64, u64)]>) -> Result<()> {
        if self.door().away() == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        let mut by_granule = false;
        let mut relieved = false;
        let mut _room = None;
        for _ in 0..ROUNDS {
            let mut maps = self.maps.lock();
            let short = self.bring_once(&mut maps, wanted, by_granule)?;
            drop(maps);
            let Some((need, e)) = short else {
                self.spilling.cost.lock().fetched(begun.elapsed());
                return Ok(());
            };
            if !relieved {
                relieved = true;
                self.source.relieve();
                continue;
            }
            // Without the lock: who is to give way may be here at the same time.
            _room = self.source.ledger.make_room(Some(&self.account), need, true, &Purpose::Fetch(wanted));
            if _room.is_none() {
                if by_granule {
                    let (name, holders) = (self.account.name(), self.source.ledger.who_holds());
                    return Err(e
                        .within(format!("tenant {name:?} fetching memory from the host ({holders})"))
                        .advise(
                            "raise the tenant's floor, name what work touches, or let others free memory",
                        ));
                }
                by_granule = true;
            }
        }
        Err(Error::new(
            Status::Busy,
            format!("tenant {:?}: others take the room for its memory again and again", self.account.name()),
        )
        .advise("raise the tenant's floor"))
    }

    /// Fetches piece by piece until the device is full: then how much was wanted next, and the error.
    fn bring_once(
        &self,
        maps: &mut Maps,
        wanted: Option<&[(u64, u64)]>,
        by_granule: bool,
    ) -> Result<Option<(u64, Error)>> {
        let size = u64::from(self.slot) * UNIT;
        let is_wanted = |at: u64, bytes: u64| {
            wanted.is_none_or(|w| {
                w.iter().any(|(ptr, len)| *ptr < at + bytes && at < ptr.saturating_add((*len).max(1)))
            })
        };
        for at in self.door().list().starts() {
            let slot = self.slot_of(at);
            let Some(bytes) = maps.pieces.get(&slot).filter(|p| p.is_away()).map(|p| p.granule.bytes) else {
                continue;
            };
            if !is_wanted(at, bytes) {
                continue;
            }
            let parts = if by_granule && bytes > size { self.divide(maps, slot) } else { vec![slot] };
            for slot in parts {
                let Some(piece) = maps.pieces.get_mut(&slot) else { continue };
                let bytes = piece.granule.bytes;
                if !is_wanted(piece.address, bytes) {
                    continue;
                }
                match self.move_in(piece) {
                    Ok(()) => {}
                    Err(e) if e.status() == Status::OutOfMemory => return Ok(Some((bytes, e))),
                    Err(e) => return Err(e.within(format!("tenant {:?}", self.account.name()))),
                }
            }
        }
        Ok(None)
    }

    /// Makes pieces of one slot each out of one that is away; their first slots.
    fn divide(&self, maps: &mut Maps, slot: u32) -> Vec<u32> {
        let size = u64::from(self.slot) * UNIT;
        let Some(Piece { address, lies: Lies::Away(copied), .. }) = maps.pieces.remove(&slot) else {
            return Vec::new();
        };
        let parts = copied.divide(size).into_iter().zip(0u32..);
        parts
            .map(|(copied, n)| {
                let address = address + u64::from(n) * size;
                let granule = Granule { handle: 0, bytes: size };
                let piece = Piece { lies: Lies::Away(copied), ..Piece::new(address, granule) };
                maps.pieces.insert(slot + n, piece);
                slot + n
            })
            .collect()
    }

    /// Brings a piece back; on an error it stays away.
    fn move_in(&self, piece: &mut Piece) -> Result<()> {
        let Lies::Away(copied) = &piece.lies else { return Ok(()) };
        let (bytes, source) = (piece.granule.bytes, &self.source);
        self.account.force_footprint(bytes);
        let made = source.ledger.take_as(Some(&self.account), bytes, true).and_then(|()| {
            let made = source.create_from(piece.address, bytes, copied.address(), |time| {
                self.spilling.cost.lock().copied_in(bytes, time);
            });
            made.inspect_err(|_| source.ledger.give(bytes))
        });
        match made {
            Ok(granule) => {
                piece.granule = granule;
                piece.lies = Lies::Here;
                Ok(())
            }
            Err(e) => {
                self.account.give_footprint(bytes);
                Err(e)
            }
        }
    }

    /// Drops the host copies of memory in which nothing is allocated any more.
    #[cold]
    pub(super) fn drop_copies(&self) {
        let Some(mut maps) = self.maps.try_lock() else { return };
        let mut heap = self.heap.lock();
        let starts = self.door().list().starts();
        for slot in starts.into_iter().map(|at| self.slot_of(at)) {
            let Some(piece) = maps.pieces.get(&slot).filter(|p| p.is_away()) else { continue };
            let range = self.range_of(slot, piece);
            if !heap.between(range.start, range.end).all(|block| block.is_free()) {
                continue;
            }
            let free: Vec<(u32, u32)> =
                heap.between(range.start, range.end).map(|b| (b.start.max(range.start), b.end())).collect();
            for (start, end) in free {
                self.take_out(&mut heap, start, end.min(range.end) - start);
            }
            maps.pieces.remove(&slot);
        }
    }

    /// Gives page-locked memory back that is kept for the next time.
    pub(super) fn free_spares(&self) {
        self.spilling.spares.free();
    }
}
