//! What a queue has on the device, and how long it took.
//!
//! Launches are measured in segments: an event before the first and one behind the last of some launches that follow each
//! other without a gap. The device's clock says how long a segment took. A segment is closed when it is as long as a part of
//! the bound of what may be outstanding, when the launches stop coming, or when somebody waits; after a gap segments begin
//! at one launch and double, so that the launches of a burst are measured whether it is long or short.

use crate::Error;
use crate::Result;
use crate::compute::gate::SLICE;
use crate::device::{Event, Stream};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Device time that may be outstanding: what a tenant that comes waits for at most, but for single pieces that are longer.
pub(super) const BOUND: Duration = SLICE;
/// Most launches of a segment.
const LONGEST: u32 = 256;
/// What a launch is taken for before any was measured.
const UNKNOWN: f64 = 250e3;
/// Launches that are further apart on the host do not follow each other: the stream may have been idle between them.
const GAP: Duration = Duration::from_micros(20);

/// Launches that were measured together.
struct Segment {
    begin: Arc<dyn Event>,
    end: Arc<dyn Event>,
    launches: u32,
    last: u64,
    of: u64,
    /// The end was marked late, when the stream had nothing to do any more.
    late: bool,
}

/// A segment that has ended.
pub(super) struct Ended {
    pub end: Arc<dyn Event>,
    pub time: Duration,
    /// With it all executions up to this one have ended.
    pub last: u64,
    /// The execution of its last launch: the next one after `last` where more pieces of that follow.
    pub of: u64,
    pub failure: Option<Error>,
}

#[derive(Default)]
pub(super) struct Flight {
    begin: Option<Arc<dyn Event>>,
    filled: u32,
    last: u64,
    of: u64,
    launched_at: Option<Instant>,
    segments: VecDeque<Segment>,
    /// Launches in closed segments.
    closed: u32,
    mean_ns: Option<f64>,
    /// Launches of the next segment.
    step: u32,
}

impl Flight {
    pub fn is_empty(&self) -> bool {
        self.filled == 0 && self.segments.is_empty()
    }

    /// Launches that are not known to have ended.
    pub fn launches(&self) -> u32 {
        self.filled + self.closed
    }

    fn mean(&self) -> f64 {
        self.mean_ns.unwrap_or(UNKNOWN)
    }

    /// The device time that is outstanding, as far as it can be told from earlier launches.
    pub fn outstanding(&self) -> Duration {
        Duration::from_nanos((f64::from(self.launches()) * self.mean()) as u64)
    }

    /// How many launches may follow now, within `bound` of outstanding device time.
    pub fn room(&self, bound: Duration) -> u32 {
        let (there, mean) = (self.launches(), self.mean().max(1.0));
        let whole = (bound.as_nanos() as f64 / mean) as u32;
        // Of short work at least two, so that the device need not wait for us between them.
        let least = if bound.is_zero() {
            0
        } else if mean <= 2.0 * BOUND.as_nanos() as f64 && bound >= BOUND {
            2
        } else {
            1
        };
        whole.max(least).saturating_sub(there)
    }

    /// Launches until the segment is closed.
    pub fn until_closed(&self) -> u32 {
        self.step.max(1).saturating_sub(self.filled).max(1)
    }

    /// Call before a launch.
    pub fn before(&mut self, stream: &dyn Stream, now: Instant) -> Result<()> {
        let follows = self.launched_at.is_some_and(|at| now.saturating_duration_since(at) < GAP);
        if self.filled > 0 {
            if follows {
                return Ok(());
            }
            self.close(stream)?;
        }
        if !follows {
            self.step = 1;
        }
        let runs = match self.segments.back() {
            Some(last) => !last.end.is_done()?,
            None => false,
        };
        self.begin = Some(match self.segments.back() {
            Some(last) if runs => last.end.clone(),
            _ => stream.record()?,
        });
        Ok(())
    }

    /// Call behind a launch that was put on the stream: of execution `of`, and with it all up to `last` are there.
    pub fn behind(&mut self, stream: &dyn Stream, of: u64, last: u64, now: Instant) -> Result<()> {
        self.filled += 1;
        self.last = last;
        self.of = of;
        self.launched_at = Some(now);
        if self.filled >= self.step.max(1) {
            self.close(stream)?;
            let quarter = (BOUND.as_nanos() as f64 / 4.0 / self.mean().max(1.0)) as u32;
            self.step = (self.step.max(1) * 2).min(quarter.clamp(1, LONGEST));
        }
        Ok(())
    }

    /// Marks the end of the open segment, if there is one with launches. What cannot be marked is lost from sight.
    pub fn close(&mut self, stream: &dyn Stream) -> Result<()> {
        let begin = self.begin.take();
        let launches = std::mem::take(&mut self.filled);
        let Some(begin) = begin.filter(|_| launches > 0) else { return Ok(()) };
        let late = self.launched_at.is_some_and(|at| at.elapsed() >= GAP) && stream.is_idle()?;
        let end = stream.record()?;
        self.closed += launches;
        self.segments.push_back(Segment { begin, end, launches, last: self.last, of: self.of, late });
        Ok(())
    }

    /// Lets what is on the device count as launch `number`.
    pub fn rename_last(&mut self, number: u64) {
        self.last = number;
        if let Some(last) = self.segments.back_mut().filter(|_| self.filled == 0) {
            last.last = number;
        }
    }

    /// Closes what nobody has added to for a while.
    pub fn sweep(&mut self, stream: &dyn Stream, now: Instant) -> Result<()> {
        match self.launched_at {
            Some(at) if self.filled > 0 && now.saturating_duration_since(at) >= 4 * GAP => self.close(stream),
            _ => Ok(()),
        }
    }

    /// When the last launch was.
    pub fn launched_at(&self) -> Option<Instant> {
        self.launched_at
    }

    /// The end of what was closed last.
    pub fn end(&self) -> Option<Arc<dyn Event>> {
        self.segments.back().map(|s| s.end.clone())
    }

    /// The next segment that has ended.
    pub fn next_ended(&mut self) -> Option<Ended> {
        let first = self.segments.front()?;
        let mut failure = match first.end.is_done() {
            Ok(false) => return None,
            Ok(true) => first.end.failure(),
            // The device is lost, or the work broke it.
            Err(e) => Some(e),
        };
        let segment = self.segments.pop_front()?;
        self.closed -= segment.launches;
        let launches = f64::from(segment.launches);
        let mut time = Duration::ZERO;
        let busy = segment.end.busy_since(&*segment.begin);
        match busy.map_or_else(|| segment.end.since(&*segment.begin), Ok) {
            Ok(measured) => {
                time = measured;
                if segment.late && busy.is_none() {
                    // It holds time in which nothing ran.
                    time = time.min(Duration::from_nanos((launches * self.mean()) as u64));
                } else {
                    let one = time.as_nanos() as f64 / launches;
                    self.mean_ns = Some(self.mean_ns.map_or(one, |mean| 0.75 * mean + 0.25 * one));
                }
            }
            Err(e) if failure.is_none() => failure = Some(e),
            Err(_) => {}
        }
        Some(Ended { end: segment.end, time, last: segment.last, of: segment.of, failure })
    }
}
