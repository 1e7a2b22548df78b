//! A tenant's standing at the gate.

use crate::telemetry::profiler::Subject;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A tenant's standing at the gate: its weight and priority, and what it has used. Usable from any thread.
pub struct Share {
    name: String,
    rank: Mutex<Rank>,
    used_ns: AtomicU64,
    waited_ns: AtomicU64,
    admissions: AtomicU64,
    subject: Arc<Subject>,
}

#[derive(Clone, Copy)]
pub(super) struct Rank {
    pub(super) weight: f64,
    pub(super) priority: u8,
    /// Seconds of device time over weight, moved forward when the tenant comes back from idleness.
    pub(super) virtual_time: f64,
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
            rank: Mutex::new(Rank { weight, priority, virtual_time: 0.0 }),
            used_ns: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            admissions: AtomicU64::new(0),
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

    /// Measured device time used so far.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Relaxed))
    }

    /// Time spent waiting at the gate so far.
    pub fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited_ns.load(Relaxed))
    }

    /// How often the gate let it in.
    pub fn admissions(&self) -> u64 {
        self.admissions.load(Relaxed)
    }

    pub(super) fn rank(&self) -> Rank {
        *self.rank.lock()
    }

    pub(super) fn catch_up(&self, virtual_time: f64) {
        let mut rank = self.rank.lock();
        rank.virtual_time = rank.virtual_time.max(virtual_time);
    }

    pub(super) fn admitted(&self, waited: Duration) {
        self.waited_ns.fetch_add(waited.as_nanos() as u64, Relaxed);
        self.admissions.fetch_add(1, Relaxed);
    }

    /// Adds measured time of work that has `weight` within the tenant's.
    pub(super) fn charge(&self, time: Duration, weight: f64) {
        self.used_ns.fetch_add(time.as_nanos() as u64, Relaxed);
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
