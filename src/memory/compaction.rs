//! Compaction: memory that is free inside of pieces in use goes back to the device, so that it can come again in one
//! piece. No pointer changes: what is allocated keeps its address, and addresses are plenty; what lies scattered is the
//! memory behind them.
//!
//! Where the device gives and takes parts of a granule (the CPU device: single pages), the free parts are given back
//! and nothing moves. Elsewhere (a GPU) a piece goes only as a whole: what is live in it is copied into smaller pieces
//! that are then mapped at the same addresses (see `moving.rs`), so memory goes back by whole granules.

use super::UNIT;
use super::space::Space;
use crate::{Error, Result, Status};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Bytes that were copied to other physical memory.
    pub moved: u64,
    /// Bytes of physical memory that went back to the device (or into the tenant's bank).
    pub given_back: u64,
    /// In how many slices it was done.
    pub slices: u32,
    /// The longest that a slice held the tenant's new work up, its own work in flight not counted.
    pub longest_pause: Duration,
    /// All pauses together.
    pub paused: Duration,
    /// The longest wait for the tenant's own work in flight, once new work was held up.
    pub longest_wait: Duration,
    /// From the first slice to the last.
    pub time: Duration,
    /// Nothing is left to be done.
    pub complete: bool,
}

/// Figures of a space's compactions since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionFigures {
    /// Compactions that gave something back or moved something.
    pub compactions: u64,
    /// Of these those that the process's own thread made, and those made before an allocation would have been refused.
    pub automatic: u64,
    /// See `automatic`.
    pub before_refusal: u64,
    /// Compactions that ended with an error; nothing was lost.
    pub failed: u64,
    /// Slices of all.
    pub slices: u64,
    /// Bytes copied to other physical memory.
    pub moved: u64,
    /// Bytes of physical memory that went back.
    pub given_back: u64,
    /// The longest pause of the last one.
    pub last_pause: Duration,
    /// The longest pause of all.
    pub longest_pause: Duration,
    /// All pauses together.
    pub total_pause: Duration,
    /// Time of all compactions, pauses and what lies between them.
    pub total_time: Duration,
}

/// Who wants it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Asked,
    Automatic,
    Refusal,
}

/// What is to be done, and how far it is.
pub(super) struct Course {
    pub max_pause: Duration,
    /// It ends when so many bytes went back.
    pub wanted: u64,
    /// How long to wait for those who queue work.
    pub patience: Duration,
    /// Where to go on, for devices that take parts: the unit.
    pub from: u32,
    /// Pieces that are still to be looked at, the best one last; none before they were listed.
    pub pieces: Option<Vec<u32>>,
    /// Whether others gave back what they keep for reuse, because there was no memory to move to.
    pub relieved: bool,
    /// Time of its slices, where they are not one after the other.
    pub spent: Duration,
    pub done: Compaction,
}

impl Course {
    fn new(max_pause: Duration, wanted: u64, patience: Duration) -> Course {
        Course {
            max_pause,
            wanted,
            patience,
            from: 0,
            pieces: None,
            relieved: false,
            spent: Duration::ZERO,
            done: Compaction::default(),
        }
    }

    /// Counts a slice that held others up for so long.
    pub fn paused(&mut self, pause: Duration, wait: Duration) {
        let done = &mut self.done;
        done.slices += 1;
        done.paused += pause;
        done.longest_pause = done.longest_pause.max(pause);
        done.longest_wait = done.longest_wait.max(wait);
    }

    pub fn enough(&self) -> bool {
        self.done.given_back >= self.wanted
    }
}

/// Blocks that are looked at between two looks at the clock.
const AT_A_TIME: usize = 128;

/// How long a compaction that was asked for waits for those who queue work.
const PATIENCE: Duration = Duration::from_secs(2);

/// The same before a refusal: the thread that allocates may be the one that queues.
const SHORT_PATIENCE: Duration = Duration::from_millis(100);

impl Space {
    /// Gives back all memory that is free inside of pieces in use, so that (nearly) all that is free can be allocated in
    /// one piece. Addresses and contents stay. New work of the tenant is held up for at most `max_pause` at a time (one
    /// piece is moved at least), what is in flight is waited for; other tenants go on. Extents, kept blocks, regions and
    /// shared mappings stay where they are. Granules of a bank are given back as wholes only.
    ///
    /// Errors: [`Status::InvalidArgument`] for a `max_pause` of 0; [`Status::Busy`] when work was being queued without a
    /// break; what the device says when it has no memory to move to. Nothing is lost then, and what was done stays done.
    pub fn compact(&self, max_pause: Duration) -> Result<Compaction> {
        if max_pause.is_zero() {
            return Err(Error::argument("max_pause", "must not be 0"));
        }
        let mut course = Course::new(max_pause, u64::MAX, PATIENCE);
        let _one_at_a_time = self.compacting.lock();
        self.run_through(&mut course, Cause::Asked)?;
        Ok(course.done)
    }

    /// The same, one slice of it: for those who choose their own moments. [`Compaction::complete`] says whether anything
    /// is left.
    pub fn compact_slice(&self, max_pause: Duration) -> Result<Compaction> {
        if max_pause.is_zero() {
            return Err(Error::argument("max_pause", "must not be 0"));
        }
        let _one_at_a_time = self.compacting.lock();
        let mut course = Course::new(max_pause, u64::MAX, PATIENCE);
        let begun = Instant::now();
        let ran = self.compact_on(&mut course);
        self.note(&mut course.done, begun.elapsed(), Cause::Asked, ran.is_err());
        ran.map(|()| course.done)
    }

    /// Its compactions so far.
    pub fn compaction_figures(&self) -> CompactionFigures {
        *self.figures.lock()
    }

    /// One slice of what the process's own thread does, and how long it held work up; nothing when it is over.
    pub(super) fn slice_by_itself(&self, course: &mut Option<Course>) -> Option<Duration> {
        let policy = self.policy();
        if !policy.auto {
            return None;
        }
        let max_pause = policy.max_pause;
        let course = course.get_or_insert_with(|| Course::new(max_pause, u64::MAX, SHORT_PATIENCE));
        let _one_at_a_time = self.compacting.lock();
        let (begun, before) = (Instant::now(), course.done.paused);
        let ran = self.compact_on(course);
        course.spent += begun.elapsed();
        if ran.is_err() || course.done.complete {
            let spent = course.spent;
            self.note(&mut course.done, spent, Cause::Automatic, ran.is_err());
            return None;
        }
        Some(course.done.paused - before)
    }

    /// Compacts before an allocation of `bytes` is refused; whether anything went back.
    pub(super) fn make_room(&self, bytes: u64) -> bool {
        let policy = self.policy();
        if !policy.before_refusal {
            return false;
        }
        let wanted = bytes.saturating_add(self.page_size());
        let mut course = Course::new(policy.max_pause, wanted, SHORT_PATIENCE);
        // Whoever compacts now may be waiting for this very thread.
        let Some(one_at_a_time) = self.compacting.try_lock_for(SHORT_PATIENCE) else { return false };
        let _ = self.run_through(&mut course, Cause::Refusal);
        drop(one_at_a_time);
        course.done.given_back > 0
    }

    fn run_through(&self, course: &mut Course, cause: Cause) -> Result<()> {
        let begun = Instant::now();
        let mut ran = Ok(());
        while ran.is_ok() && !course.done.complete && !course.enough() {
            ran = self.compact_on(course);
            // Whoever waits at the door goes first.
            std::thread::yield_now();
        }
        self.note(&mut course.done, begun.elapsed(), cause, ran.is_err());
        ran
    }

    /// One slice.
    fn compact_on(&self, course: &mut Course) -> Result<()> {
        let before = self.account.footprint();
        {
            let mut maps = self.maps.lock();
            self.trim(&mut maps, 0);
        }
        course.done.given_back += before.saturating_sub(self.account.footprint());
        if course.enough() {
            return Ok(());
        }
        if self.page > 0 { self.discard_slice(course) } else { self.move_slice(course) }
    }

    /// Gives back the free parts of pieces in use: as many as are taken out of the pool in the time of a pause.
    fn discard_slice(&self, course: &mut Course) -> Result<()> {
        let mut maps = self.maps.lock();
        if self.account.banked() > 0 {
            // A bank promises whole granules.
            course.done.complete = true;
            return Ok(());
        }
        let mut parts = Vec::new();
        let mut heap = self.heap.lock();
        let begun = Instant::now();
        let mut found = 0;
        course.done.complete = true;
        'pieces: for (&at, piece) in maps.pieces.range(self.piece_at(&maps, course.from)..) {
            let range = self.range_of(at, piece);
            let mut from = course.from.max(range.start);
            while from < range.end {
                let late = begun.elapsed() >= course.max_pause / 2 && !parts.is_empty();
                if late || course.done.given_back + found >= course.wanted {
                    course.done.complete = false;
                    course.from = from;
                    break 'pieces;
                }
                let blocks: Vec<_> = heap
                    .between(from, range.end)
                    .take(AT_A_TIME)
                    .map(|b| {
                        (b.start.max(range.start), b.end().min(range.end), b.is_free().then(|| b.zone()))
                    })
                    .collect();
                from = if blocks.len() < AT_A_TIME { range.end } else { blocks[AT_A_TIME - 1].1 };
                for (start, end, zone) in blocks {
                    let (start, end) = (start.next_multiple_of(self.page), end / self.page * self.page);
                    let Some(zone) = zone.filter(|_| start < end) else { continue };
                    self.take_out(&mut heap, start, end - start);
                    found += u64::from(end - start) * UNIT;
                    parts.push((at, start, end - start, zone));
                }
            }
        }
        drop(heap);
        course.paused(begun.elapsed(), Duration::ZERO);
        let fenced = if parts.is_empty() { Ok(()) } else { self.wait_for_work() };
        for (at, start, units, zone) in parts {
            let bytes = u64::from(units) * UNIT;
            let given = fenced.is_ok()
                && maps.pieces.get_mut(&at).is_some_and(|piece| {
                    let offset = u64::from(start - at * self.slot) * UNIT;
                    self.source.discard(&self.account, piece, offset, bytes).is_ok()
                });
            if given {
                let range = self.range_of(at, &maps.pieces[&at]);
                maps.holes.add(start, units, range);
                self.holed.store(true, Ordering::Relaxed);
                course.done.given_back += bytes;
            } else {
                self.take_in(&mut self.heap.lock(), start, units, zone);
            }
        }
        fenced
    }

    /// The piece that covers a unit, or else the next one.
    fn piece_at(&self, maps: &super::growth::Maps, unit: u32) -> u32 {
        let slot = unit / self.slot;
        let before = maps.pieces.range(..=slot).next_back();
        before.filter(|(at, piece)| self.range_of(**at, piece).contains(&unit)).map_or(slot, |(at, _)| *at)
    }

    fn note(&self, done: &mut Compaction, time: Duration, cause: Cause, failed: bool) {
        done.time = time;
        let mut figures = self.figures.lock();
        figures.failed += u64::from(failed);
        figures.slices += u64::from(done.slices);
        figures.total_time += done.time;
        figures.total_pause += done.paused;
        if done.given_back == 0 && done.moved == 0 {
            return;
        }
        figures.compactions += 1;
        figures.automatic += u64::from(cause == Cause::Automatic);
        figures.before_refusal += u64::from(cause == Cause::Refusal);
        figures.moved += done.moved;
        figures.given_back += done.given_back;
        figures.last_pause = done.longest_pause;
        figures.longest_pause = figures.longest_pause.max(done.longest_pause);
    }
}

/// What is said when work of the tenant was queued without a break.
pub(super) fn busy() -> Error {
    Error::new(Status::Busy, "work of this tenant is being queued without a break, so its memory cannot move")
        .advise("compact when fewer threads queue work, and not from a thread that is queueing it")
}
