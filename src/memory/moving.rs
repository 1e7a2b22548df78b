//! Compaction where a granule goes only as a whole: what is live in a piece is copied into smaller pieces, which are
//! then mapped at the very addresses; the rest of the old piece goes back to the device.
//!
//! The tenant's [`super::Door`] is closed meanwhile and its work in flight has passed, so nothing reads or writes the
//! memory while it moves. The copy is made before the old mapping goes: when anything fails, all is as it was.

use super::compaction::{Course, busy};
use super::growth::Maps;
use super::heap::Zone;
use super::round_up;
use super::source::Piece;
use super::space::Space;
use crate::device::{Access, Granule};
use crate::{Error, Result, Status};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Mapping, unmapping and waiting for a copy take as long as copying about so many bytes.
const FIXED: u64 = 8 << 20;

/// A piece of which some slots hold nothing.
struct Job {
    at: u32,
    /// Slots with something in them, side by side: first and number.
    runs: Vec<(u32, u32)>,
    /// Free units in the other slots.
    idle: Vec<(u32, u32, Zone)>,
    live: u64,
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
        // Most of what is in flight ends before anybody is held up.
        self.wait_for_work()?;
        let closed = self.door().close_within(course.patience).ok_or_else(busy)?;
        let closing = Instant::now();
        let mut maps = self.maps.try_lock_for(course.max_pause).ok_or_else(busy)?;
        let fence = Instant::now();
        self.wait_for_work()?;
        let wait = fence.elapsed();
        let ran = self.move_pieces(course, &mut maps, closing + wait);
        drop(maps);
        let pause = closing.elapsed().saturating_sub(wait);
        drop(closed);
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

    fn move_pieces(&self, course: &mut Course, maps: &mut Maps, begun: Instant) -> Result<()> {
        let mut one = false;
        while let Some(at) = course.pieces.as_mut().and_then(Vec::pop) {
            let Some(job) = self.job(maps, at) else { continue };
            if one && begun.elapsed() + self.expected(job.live) > course.max_pause {
                course.pieces.get_or_insert_default().push(at);
                return Ok(());
            }
            let start = Instant::now();
            let live = job.live;
            match self.carry(maps, job) {
                Ok(given) => {
                    course.done.moved += live;
                    course.done.given_back += given;
                }
                Err(e) => {
                    if e.status() == Status::OutOfMemory && !course.relieved {
                        course.pieces.get_or_insert_default().push(at);
                    }
                    return Err(e);
                }
            }
            self.measured(live, start.elapsed());
            one = true;
            if course.enough() {
                return Ok(());
            }
        }
        course.done.complete = true;
        Ok(())
    }

    /// How long a piece with so many live bytes will take, by what those before took.
    fn expected(&self, live: u64) -> Duration {
        let rate = f64::from_bits(self.pace.load(Ordering::Relaxed));
        // The first is a guess: 20 GB/s.
        let rate = if rate > 0.0 { rate } else { 0.05 };
        Duration::from_nanos((rate * (live + FIXED) as f64) as u64)
    }

    fn measured(&self, live: u64, time: Duration) {
        let before = f64::from_bits(self.pace.load(Ordering::Relaxed));
        let rate = time.as_nanos() as f64 / (live + FIXED) as f64;
        // The slower of late ones: a pause is a bound.
        self.pace.store(rate.max(before * 0.9).to_bits(), Ordering::Relaxed);
    }

    /// Pieces that are worth moving, the one with the least in it last.
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
        let moved = self.copy_out(maps, &job).and_then(|granules| self.exchange(maps, &job, granules));
        if moved.is_err() {
            let mut heap = self.heap.lock();
            for &(start, units, zone) in &job.idle {
                self.take_in(&mut heap, start, units, zone);
            }
        }
        moved
    }

    /// Copies the runs of a job into new granules, which are mapped nowhere then.
    fn copy_out(&self, maps: &Maps, job: &Job) -> Result<Vec<Granule>> {
        let mut granules = Vec::with_capacity(job.runs.len());
        let mut made = Ok(());
        for &(_, slots) in &job.runs {
            match self.source.take_to_move(&self.account, u64::from(slots) * self.page_size()) {
                Ok(granule) => granules.push(granule),
                Err(e) => {
                    made = Err(e);
                    break;
                }
            }
        }
        let copied = made.and_then(|()| {
            let piece = maps.pieces.get(&job.at).ok_or_else(lost)?;
            let device = &self.source.device;
            let room = round_up(piece.granule.bytes, device.granularity());
            let desk = device.range_reserve(room)?;
            let copied = job.runs.iter().zip(&granules).try_for_each(|(&(slot, _), granule)| {
                let from = self.address(slot * self.slot);
                let to = desk + (from - piece.address);
                device.map(to, granule, Access::ReadWrite)?;
                // SAFETY: both are mapped, of this size, and nobody else uses them now.
                let copied = unsafe { device.copy(to, from, granule.bytes, None) };
                let unmapped = device.unmap(to, granule.bytes);
                copied.and(unmapped)
            });
            device.range_release(desk, room);
            copied
        });
        match copied {
            Ok(()) => Ok(granules),
            Err(e) => {
                self.drop_new(granules);
                Err(e)
            }
        }
    }

    /// Puts the new granules into the place of the old one.
    fn exchange(&self, maps: &mut Maps, job: &Job, granules: Vec<Granule>) -> Result<u64> {
        let device = &self.source.device;
        let piece = maps.pieces.get(&job.at).ok_or_else(lost)?;
        let all = piece.granule.bytes;
        if let Err(e) = device.unmap(piece.address, all) {
            self.drop_new(granules);
            return Err(e);
        }
        let places: Vec<_> = job.runs.iter().map(|(slot, _)| self.address(slot * self.slot)).collect();
        for (n, (address, granule)) in places.iter().zip(&granules).enumerate() {
            let Err(e) = device.map(*address, granule, Access::ReadWrite) else { continue };
            for (address, granule) in places.iter().zip(&granules).take(n) {
                // What cannot be unmapped keeps the old one from coming back, which is told below.
                let _ = device.unmap(*address, granule.bytes);
            }
            let back = device.map(piece.address, &piece.granule, Access::ReadWrite);
            self.drop_new(granules);
            return Err(match back {
                Ok(()) => e,
                Err(back) => Error::new(
                    Status::Internal,
                    format!("{all} bytes at {:#x} cannot be mapped any more: {back}", piece.address),
                )
                .advise("the device's driver refuses mappings: close the tenant and open it anew"),
            });
        }
        let kept: u64 = granules.iter().map(|g| g.bytes).sum();
        if let Some(old) = maps.pieces.remove(&job.at) {
            self.source.release(Some(&self.account), old.granule);
        }
        for ((&(slot, _), address), granule) in job.runs.iter().zip(places).zip(granules) {
            maps.pieces.insert(slot, Piece::new(address, granule));
        }
        Ok(all - kept)
    }

    /// Gives granules back that nobody has seen.
    fn drop_new(&self, granules: Vec<Granule>) {
        for granule in granules {
            self.source.release(Some(&self.account), granule);
        }
    }
}

fn lost() -> Error {
    Error::new(Status::Internal, "a piece went away while it was being moved")
}
