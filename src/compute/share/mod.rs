//! A tenant's standing at the gate.

mod cap;
mod usage;

pub use cap::CAP_WINDOW;
pub(super) use usage::Usage;
pub use usage::Utilization;

use crate::telemetry::latency::Latency;
use crate::telemetry::profiler::Subject;
use crate::{Error, Result};
use cap::Cap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A tenant's standing at the gate: its weight and priority, and what it has used. Usable from any thread.
pub struct Share {
    name: String,
    rank: Mutex<Rank>,
    cap: Mutex<Option<Cap>>,
    usage: Mutex<Usage>,
    used_ns: AtomicU64,
    processor_ns: AtomicU64,
    waited_ns: AtomicU64,
    queued_ns: AtomicU64,
    admissions: AtomicU64,
    latency: Latency,
    subject: Arc<Subject>,
}

#[derive(Clone, Copy)]
pub(super) struct Rank {
    pub(super) weight: f64,
    pub(super) priority: u8,
    /// Seconds of device time over weight, moved forward when the tenant comes back from idleness.
    pub(super) virtual_time: f64,
    /// When it last had neither work that runs nor work that waits; `None` before its first and while it has.
    away: Option<Instant>,
    /// It was at the gate before.
    known: bool,
}

impl Rank {
    /// Who goes first: the more urgent priority, then the least virtual time.
    pub(super) fn before(&self, other: &Rank) -> bool {
        (self.priority, self.virtual_time) < (other.priority, other.virtual_time)
    }
}

impl Share {
    /// A standing. `weight` > 0 and finite (1 is normal), `priority` 0 (critical) to 4 (background).
    pub fn new(name: &str, weight: f64, priority: u8) -> Result<Arc<Share>> {
        check_weight(weight)?;
        check_priority(priority)?;
        Ok(Arc::new(Share {
            name: name.to_owned(),
            rank: Mutex::new(Rank { weight, priority, virtual_time: 0.0, away: None, known: false }),
            cap: Mutex::default(),
            usage: Mutex::new(Usage::new(Instant::now())),
            used_ns: AtomicU64::new(0),
            processor_ns: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            queued_ns: AtomicU64::new(0),
            admissions: AtomicU64::new(0),
            latency: Latency::default(),
            subject: Subject::new(name),
        }))
    }

    /// Whose standing it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tenant, as the profiler knows it.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }

    /// The weight in force.
    pub fn weight(&self) -> f64 {
        self.rank.lock().weight
    }

    /// Changes the weight from now on.
    pub fn set_weight(&self, weight: f64) -> Result<()> {
        check_weight(weight)?;
        self.rank.lock().weight = weight;
        Ok(())
    }

    /// The priority in force, 0 (critical) to 4 (background).
    pub fn priority(&self) -> u8 {
        self.rank.lock().priority
    }

    /// Changes the priority from now on.
    pub fn set_priority(&self, priority: u8) -> Result<()> {
        check_priority(priority)?;
        self.rank.lock().priority = priority;
        Ok(())
    }

    /// The most of its units' time that it gets, if that is bounded.
    pub fn cap(&self) -> Option<f32> {
        self.cap.lock().as_ref().map(|c| c.part as f32)
    }

    /// Bounds the part of its units' time that it gets, above 0 to 1, over any [`CAP_WINDOW`], also when nobody else wants
    /// them; `None` or 1 ends that. Work that is longer than what is left of its part runs to its end and is made up
    /// for by waiting longer afterwards, so over some windows the bound holds exactly.
    pub fn set_cap(&self, part: Option<f32>) -> Result<()> {
        if let Some(part) = part
            && !(part.is_finite() && part > 0.0 && part <= 1.0)
        {
            return Err(Error::argument("cap", format!("{part} is not above 0 and at most 1")));
        }
        let part = part.filter(|p| *p < 1.0);
        *self.cap.lock() = part.map(|p| Cap::new(f64::from(p), Instant::now()));
        Ok(())
    }

    /// Part of the last second and minute in which its units were busy with its work, as measured on the device. Work
    /// counts when its measurement is read, at the latest some milliseconds after its end.
    pub fn utilization(&self) -> Utilization {
        self.usage.lock().read(Instant::now())
    }

    /// Device time times the processors (SMs or cores) on which it was used: SM-seconds.
    pub fn processor_time(&self) -> Duration {
        Duration::from_nanos(self.processor_ns.load(Relaxed))
    }

    /// Measured device time used so far.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Relaxed))
    }

    /// Time spent waiting at the gate so far.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Relaxed))
    }

    /// Time that its pieces of work have waited between submission and their beginning, added up: for the gate, and behind
    /// each other.
    pub fn queued(&self) -> Duration {
        Duration::from_nanos(self.queued_ns.load(Relaxed))
    }

    pub(super) fn note_queued(&self, waited: Duration) {
        self.queued_ns.fetch_add(waited.as_nanos() as u64, Relaxed);
    }

    /// How long its work took, from asking for processors (a queue: from submission) to the end: launches of virtual GPUs, steps
    /// of LLMs, tasks.
    pub fn latency(&self) -> &Latency {
        &self.latency
    }

    /// How often the gate let it in.
    pub fn admissions(&self) -> u64 {
        self.admissions.load(Relaxed)
    }

    pub(super) fn rank(&self) -> Rank {
        *self.rank.lock()
    }

    /// It comes to the gate after having been away. Who was away starts level with `level`, so that idleness saves nothing
    /// up, but is set back by no more than it could have used in that time: a pause of a millisecond does not cost what it
    /// is owed.
    pub(super) fn come_back(&self, level: f64, now: Instant) {
        let mut rank = self.rank.lock();
        let most = match rank.away {
            Some(since) => {
                rank.virtual_time + now.saturating_duration_since(since).as_secs_f64() / rank.weight
            }
            None if rank.known => rank.virtual_time,
            None => f64::INFINITY,
        };
        rank.virtual_time = rank.virtual_time.max(level.min(most));
        rank.known = true;
        rank.away = None;
    }

    /// It has no work left at the gate.
    pub(super) fn go_away(&self, now: Instant) {
        self.rank.lock().away = Some(now);
    }

    /// How long it must wait before its work may begin, by its cap.
    pub(super) fn capped(&self, now: Instant) -> Option<Duration> {
        let wait = self.cap.lock().as_ref()?.wait(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// What it may use now by its cap; `None` without one.
    pub(super) fn allowance(&self, now: Instant) -> Option<Duration> {
        self.cap.lock().as_ref().map(|c| c.allowance(now))
    }

    pub(super) fn admitted(&self, waited: Duration) {
        self.waited_ns.fetch_add(waited.as_nanos() as u64, Relaxed);
        self.admissions.fetch_add(1, Relaxed);
    }

    /// Adds measured time, which ended at `now`, of work that has `weight` within the tenant's, on so many processors.
    pub(super) fn charge(&self, time: Duration, weight: f64, processors: u32, now: Instant) {
        self.used_ns.fetch_add(time.as_nanos() as u64, Relaxed);
        self.processor_ns.fetch_add(time.as_nanos() as u64 * u64::from(processors), Relaxed);
        self.usage.lock().add(time, now);
        if let Some(cap) = self.cap.lock().as_mut() {
            cap.spend(time, now);
        }
        let mut rank = self.rank.lock();
        rank.virtual_time += time.as_secs_f64() / (rank.weight * weight);
    }
}

fn check_weight(weight: f64) -> Result<()> {
    if weight.is_finite() && weight > 0.0 {
        return Ok(());
    }
    Err(Error::argument("weight", format!("{weight} is not a finite number above 0")))
}

fn check_priority(priority: u8) -> Result<()> {
    if priority <= 4 {
        return Ok(());
    }
    Err(Error::argument("priority", format!("{priority} is not in 0 (critical) to 4 (background)")))
}
