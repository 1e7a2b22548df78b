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
const LONGEST: u32 = 64;
/// Most launches that are not known to have ended, however short those before were: the next ones may be long.
const MOST: u32 = 192;
/// The same while the queue has its units for itself: fewer marks, each of which costs microseconds. A tenant that comes waits
/// for more once, if the lengths of launches change just then.
const LONGEST_ALONE: u32 = 512;
/// See [`LONGEST_ALONE`]; no more than the driver's own queue holds.
const MOST_ALONE: u32 = 1024;
/// Launches of the first segment after a pause, alone; else 1.
const FIRST_ALONE: u32 = 256;
/// What a launch is taken for before any was measured, in nanoseconds.
const UNKNOWN: f64 = 1e6;
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
    /// When its begin was marked, if the stream had nothing to do then: the device's time by the host's clock.
    begun: Option<Instant>,
    /// When the execution that ends with its last launch was submitted.
    asked: Option<Instant>,
}

/// Since when an execution's latency counts.
#[derive(Clone, Copy, Default)]
pub(super) enum Asked {
    /// It was submitted when it was launched.
    #[default]
    Now,
    /// It was submitted earlier.
    At(Instant),
    /// It does not end with this launch.
    Never,
}

/// A segment that has ended.
pub(super) struct Ended {
    pub end: Arc<dyn Event>,
    pub time: Duration,
    /// With it all executions up to this one have ended.
    pub last: u64,
    /// The execution of its last launch: the next one after `last` where more pieces of that follow.
    pub of: u64,
    /// Its launches, and the time from the submission of the last of them to its end.
    pub launches: u32,
    pub latency: Option<Duration>,
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
    /// Whether the queue has its units for itself.
    pub alone: bool,
    begun: Option<Instant>,
    asked: Option<Instant>,
    /// Of the next launch.
    pub next_asked: Asked,
    /// When what ended last ended on the device, by the host's clock.
    ended_at: Option<Instant>,
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
        whole.max(least).min(if self.alone { MOST_ALONE } else { MOST }).saturating_sub(there)
    }

    /// Most launches of a segment: a quarter of what may be outstanding, as far as can be told; half of it, alone.
    fn longest(&self) -> u32 {
        let (part, most) = if self.alone { (2.0, LONGEST_ALONE) } else { (4.0, LONGEST) };
        ((BOUND.as_nanos() as f64 / part / self.mean().max(1.0)) as u32).clamp(1, most)
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
            self.step = if self.alone { self.longest().min(FIRST_ALONE) } else { 1 };
        }
        let runs = match self.segments.back() {
            Some(last) => !last.end.is_done()?,
            None => false,
        };
        self.begin = Some(match self.segments.back() {
            Some(last) if runs => last.end.clone(),
            _ => stream.record()?,
        });
        self.begun = (!runs).then_some(now);
        Ok(())
    }

    /// Call behind a launch that was put on the stream: of execution `of`, and with it all up to `last` are there.
    pub fn behind(&mut self, stream: &dyn Stream, of: u64, last: u64, now: Instant) -> Result<()> {
        self.filled += 1;
        self.last = last;
        self.of = of;
        self.launched_at = Some(now);
        self.asked = match std::mem::take(&mut self.next_asked) {
            Asked::Now => Some(now),
            Asked::At(at) => Some(at),
            Asked::Never => None,
        };
        if self.filled >= self.step.max(1) {
            self.close(stream)?;
            self.step = (self.step.max(1) * 2).min(self.longest());
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
        let (begun, asked) = (self.begun.take(), self.asked.take());
        self.segments.push_back(Segment {
            begin,
            end,
            launches,
            last: self.last,
            of: self.of,
            late,
            begun,
            asked,
        });
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
        match self.filled > 0 && !self.goes_on(now) {
            true => self.close(stream),
            false => Ok(()),
        }
    }

    /// Whether launches still follow each other.
    pub fn goes_on(&self, now: Instant) -> bool {
        self.launched_at.is_some_and(|at| now.saturating_duration_since(at) < 4 * GAP)
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
        let latency = self.latency(&segment, time);
        Some(Ended {
            end: segment.end,
            time,
            last: segment.last,
            of: segment.of,
            launches: segment.launches,
            latency,
            failure,
        })
    }

    /// From the submission of a segment's last launch to its end on the device, which is so much later than the end of the
    /// segment before, or than its own begin where the stream was idle. That it is seen later does not count.
    fn latency(&mut self, segment: &Segment, time: Duration) -> Option<Duration> {
        let now = Instant::now();
        // Of what was marked late the measured time is the nearer one.
        let whole = segment.end.since(&*segment.begin).ok().filter(|_| !segment.late).unwrap_or(time);
        let end = segment
            .begun
            .or(self.ended_at)
            .and_then(|begin| begin.checked_add(whole))
            .map_or(now, |end| end.min(now));
        self.ended_at = Some(end);
        Some(end.saturating_duration_since(segment.asked?))
    }
}
