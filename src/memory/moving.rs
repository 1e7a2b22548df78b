//! Compaction where a granule goes only as a whole: what is live in a piece is copied into smaller pieces that lie at
//! the very addresses; the rest of the old piece goes back to the device.
//!
//! The tenant's [`super::Door`] is closed meanwhile and its work in flight has passed, so nothing reads or writes the
//! memory while it moves. The old piece stays mapped at a second place until the copy has been made: when anything fails
//! it comes back to its own, and all is as it was.
//!
//! While a piece moves there is memory for both, old and new. The books of the device have it (or, where those allow no
//! more, nobody else creates memory meanwhile); the tenant's own bound does not count it, since it ends before the
//! tenant goes on.

use super::compaction::{Course, busy};
use super::growth::Maps;
use super::heap::Zone;
use super::source::Piece;
use super::space::Space;
use crate::device::{Access, DevicePtr, Granule};
use crate::{Error, Result, Status};
use parking_lot::{MutexGuard, RwLockWriteGuard};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What is taken as copied for each mapping, when time is foretold.
const A_MAPPING: u64 = 1 << 20;

/// The longest between two tries to close the door.
const LONGEST_REST: Duration = Duration::from_millis(5);

/// A piece of which some slots hold nothing.
struct Job {
    at: u32,
    /// Slots with something in them, side by side: first and number.
    runs: Vec<(u32, u32)>,
    /// Free units in the other slots.
    idle: Vec<(u32, u32, Zone)>,
    /// Bytes of the runs.
    live: u64,
}

impl Job {
    /// What its time goes by.
    fn weight(&self) -> u64 {
        self.live + (self.runs.len() as u64 + 2) * A_MAPPING
    }
}

impl Space {
    /// Moves as many pieces as a pause allows, at least one.
    pub(super) fn move_slice(&self, course: &mut Course) -> Result<()> {
        if course.pieces.is_none() {
            course.pieces = Some(self.movable(&self.maps.lock()));
        }
        if course.pieces.as_ref().is_none_or(Vec::is_empty) {
            course.done.complete = true;
            return Ok(());
        }
        let (closed, mut maps, closing) = self.shut(course)?;
        let fence = Instant::now();
        let fenced = self.wait_for_work();
        let wait = fence.elapsed();
        let ran = fenced.and_then(|()| self.move_pieces(course, &mut maps, closing + wait));
        drop(maps);
        let pause = closing.elapsed().saturating_sub(wait);
        // Who came meanwhile goes in before the door closes again.
        RwLockWriteGuard::unlock_fair(closed);
        course.paused(pause, wait);
        match ran {
            Err(e) if e.status() == Status::OutOfMemory && !course.relieved => {
                // What others keep for reuse may be room enough to go on.
                course.relieved = true;
                self.source.relieve();
                Ok(())
            }
            other => other,
        }
    }

    /// Closes the door and takes the maps. While somebody is inside for long, others are held up for one pause at a time.
    fn shut(&self, course: &Course) -> Result<(RwLockWriteGuard<'_, ()>, MutexGuard<'_, Maps>, Instant)> {
        let until = Instant::now() + course.patience;
        loop {
            // Most of what is in flight ends before anybody is held up.
            self.wait_for_work()?;
            if let Some(closed) = self.door().close_within(course.max_pause) {
                let closing = Instant::now();
                if let Some(maps) = self.maps.try_lock_for(course.max_pause) {
                    return Ok((closed, maps, closing));
                }
                RwLockWriteGuard::unlock_fair(closed);
            }
            if Instant::now() >= until || self.door().is_held_here() {
                return Err(busy());
            }
            std::thread::sleep(course.max_pause.min(LONGEST_REST));
        }
    }

    fn move_pieces(&self, course: &mut Course, maps: &mut Maps, begun: Instant) -> Result<()> {
        let mut one = false;
        while let Some(at) = course.pieces.as_mut().and_then(Vec::pop) {
            let Some(job) = self.job(maps, at) else { continue };
            let (live, weight) = (job.live, job.weight());
            if one && begun.elapsed() + self.expected(weight) > course.max_pause {
                course.pieces.get_or_insert_default().push(at);
                return Ok(());
            }
            let start = Instant::now();
            match self.carry(maps, job) {
                Ok(given) => {
                    course.done.moved += if given > 0 { live } else { 0 };
                    course.done.given_back += given;
                }
                Err(e) => {
                    if e.status() == Status::OutOfMemory && !course.relieved {
                        course.pieces.get_or_insert_default().push(at);
                    }
                    return Err(e);
                }
            }
            self.measured(weight, start.elapsed());
            one = true;
            if course.enough() {
                return Ok(());
            }
        }
        course.done.complete = true;
        Ok(())
    }

    /// How long a job of this weight will take, by what those before took.
    fn expected(&self, weight: u64) -> Duration {
        let rate = f64::from_bits(self.pace.load(Ordering::Relaxed));
        // The first is a guess: 20 GB/s.
        let rate = if rate > 0.0 { rate } else { 0.05 };
        Duration::from_nanos((rate * weight as f64) as u64)
    }

    fn measured(&self, weight: u64, time: Duration) {
        let before = f64::from_bits(self.pace.load(Ordering::Relaxed));
        let rate = time.as_nanos() as f64 / weight as f64;
        // The slower of late ones: a pause is a bound.
        self.pace.store(rate.max(before * 0.9).to_bits(), Ordering::Relaxed);
    }

    /// Pieces that are worth moving, the one with the least in it last: what it frees makes room for the others.
    fn movable(&self, maps: &Maps) -> Vec<u32> {
        let mut all: Vec<(u64, u32)> =
            maps.pieces.keys().filter_map(|&at| self.job(maps, at).map(|job| (job.live, at))).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.into_iter().map(|(_, at)| at).collect()
    }

    /// What moving this piece would be; none when nothing or all of it is in use, or when it has to stay.
    fn job(&self, maps: &Maps, at: u32) -> Option<Job> {
        let piece = maps.pieces.get(&at)?;
        let range = self.range_of(at, piece);
        let slots = (range.end - range.start) / self.slot;
        if slots < 2 || piece.holed || !piece.is_movable() {
            return None;
        }
        let heap = self.heap.lock();
        let mut full = vec![false; slots as usize];
        for block in heap.between(range.start, range.end).filter(|b| !b.is_free()) {
            if block.is_kept() {
                return None;
            }
            let first = (block.start.max(range.start) - range.start) / self.slot;
            let last = (block.end().min(range.end) - 1 - range.start) / self.slot;
            full[first as usize..=last as usize].fill(true);
        }
        if full.iter().all(|f| *f) || !full.contains(&true) {
            return None;
        }
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut idle = Vec::new();
        let mut slot = 0;
        for group in full.chunk_by(|a, b| a == b) {
            let n = group.len() as u32;
            if group[0] {
                runs.push((at + slot, n));
            } else {
                let (from, to) = (range.start + slot * self.slot, range.start + (slot + n) * self.slot);
                for block in heap.between(from, to) {
                    let start = block.start.max(from);
                    idle.push((start, block.end().min(to) - start, block.zone()));
                }
            }
            slot += n;
        }
        let live = runs.iter().map(|(_, n)| u64::from(*n) * self.page_size()).sum();
        Some(Job { at, runs, idle, live })
    }

    /// Moves one piece. Returns the bytes that went back.
    fn carry(&self, maps: &mut Maps, job: Job) -> Result<u64> {
        {
            // An allocation may have come into an idle slot since the job was looked at.
            let mut heap = self.heap.lock();
            let still = |&(start, units, _): &(u32, u32, Zone)| {
                heap.between(start, start + units).all(|b| b.is_free())
            };
            if !job.idle.iter().all(still) {
                return Ok(0);
            }
            for &(start, units, _) in &job.idle {
                self.take_out(&mut heap, start, units);
            }
        }
        let moved = self.replace(maps, &job);
        if moved.is_err() {
            let mut heap = self.heap.lock();
            for &(start, units, zone) in &job.idle {
                self.take_in(&mut heap, start, units, zone);
            }
        }
        moved
    }

    /// Puts new granules with the same content into the place of the old one. Returns the bytes that went back.
    fn replace(&self, maps: &mut Maps, job: &Job) -> Result<u64> {
        let (source, account) = (&self.source, &self.account);
        let old = maps.pieces.get(&job.at).ok_or_else(lost)?;
        let all = old.granule.bytes;
        let booked = source.ledger.take_as(Some(account), job.live, true);
        // Where the books allow no more, nobody else may create anything until the old piece is gone. With a bank
        // nothing goes back to the device, so that would not be true.
        let (_others, _alone) = match &booked {
            Ok(()) => (Some(source.ledger.dividing.read()), None),
            Err(e) if account.banked() > 0 => return Err(e.clone()),
            Err(_) => (None, Some(source.ledger.dividing.write())),
        };
        let exchanged = self.create(job).and_then(|granules| match self.exchange(old, job, &granules) {
            Ok(()) => Ok(granules),
            Err(e) => {
                self.throw_away(granules);
                Err(e)
            }
        });
        let granules = exchanged.inspect_err(|_| {
            if booked.is_ok() {
                source.ledger.give(job.live);
            }
        })?;
        if let Some(old) = maps.pieces.remove(&job.at) {
            // A bank that takes it keeps its bytes in the books.
            if let Some(granule) = account.park(old.granule) {
                source.device.granule_release(granule);
                source.ledger.give(if booked.is_ok() { all } else { all - job.live });
            }
            account.give_footprint(all - job.live);
        }
        for (&(slot, _), granule) in job.runs.iter().zip(granules) {
            maps.pieces.insert(slot, Piece::new(self.address(slot * self.slot), granule));
        }
        Ok(all - job.live)
    }

    /// A new granule for each run, mapped nowhere.
    fn create(&self, job: &Job) -> Result<Vec<Granule>> {
        let mut granules = Vec::with_capacity(job.runs.len());
        for &(_, slots) in &job.runs {
            match self.source.device.granule_create(u64::from(slots) * self.page_size()) {
                Ok(granule) => granules.push(granule),
                Err(e) => {
                    self.throw_away(granules);
                    return Err(e);
                }
            }
        }
        Ok(granules)
    }

    /// Maps the old piece aside and the new granules at its addresses, and copies. On an error the old one is back.
    fn exchange(&self, old: &Piece, job: &Job, granules: &[Granule]) -> Result<()> {
        let device = &self.source.device;
        let bytes = old.granule.bytes;
        let aside = device.range_reserve(bytes)?;
        let moved = device.map(aside, &old.granule, Access::ReadWrite).and_then(|()| {
            let moved = self.exchange_with(old, aside, job, granules);
            // What cannot be unmapped stays mapped at addresses that nobody uses.
            let _ = device.unmap(aside, bytes);
            moved
        });
        device.range_release(aside, bytes);
        moved
    }

    fn exchange_with(&self, old: &Piece, aside: DevicePtr, job: &Job, granules: &[Granule]) -> Result<()> {
        let device = &self.source.device;
        device.unmap(old.address, old.granule.bytes)?;
        let places = || job.runs.iter().map(|(slot, _)| self.address(slot * self.slot)).zip(granules);
        let mut mapped = 0;
        let copied = places()
            .try_for_each(|(address, granule)| {
                device.map(address, granule, Access::ReadWrite)?;
                mapped += 1;
                Ok(())
            })
            .and_then(|()| {
                places().try_for_each(|(address, granule)| {
                    let from = aside + (address - old.address);
                    // SAFETY: both are mapped, of this size, and nobody else uses them now. The call waits.
                    unsafe { device.copy(address, from, granule.bytes, None) }
                })
            });
        let Err(e) = copied else { return Ok(()) };
        for (address, granule) in places().take(mapped) {
            // What cannot be unmapped keeps the old one from coming back, which is told below.
            let _ = device.unmap(address, granule.bytes);
        }
        // Once more, should it be refused: nothing else would bring the content back.
        let mut back = device.map(old.address, &old.granule, Access::ReadWrite);
        if back.is_err() {
            back = device.map(old.address, &old.granule, Access::ReadWrite);
        }
        Err(match back {
            Ok(()) => e,
            Err(back) => Error::new(
                Status::Internal,
                format!(
                    "{} bytes at {:#x} cannot be mapped any more: {back}",
                    old.granule.bytes, old.address
                ),
            )
            .advise("the device's driver refuses mappings: close the tenant and open it anew"),
        })
    }

    /// Gives back granules that nobody has seen.
    fn throw_away(&self, granules: Vec<Granule>) {
        for granule in granules {
            self.source.device.granule_release(granule);
        }
    }
}

fn lost() -> Error {
    Error::new(Status::Internal, "a piece went away while it was being moved")
}
