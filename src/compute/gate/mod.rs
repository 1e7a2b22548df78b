//! The gate: who may run on which units now.

mod lease;
mod state;

pub(super) use lease::Signal;
pub use lease::{Permit, SLICE, Verdict};

use super::load::{Load, Tally};
use super::share::Share;
use crate::device::{Device, PerDevice};
use crate::{Error, Result, Status};
use parking_lot::{Condvar, Mutex, MutexGuard};
use state::{State, Waiting};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// How often a waiting thread looks whether its work was cancelled.
const POLL: Duration = Duration::from_millis(2);

/// How long units are kept for a tenant that just left and is still owed time. A tenant that generates comes back
/// within this time (it samples a token in between); without the pause two tenants would always take turns, whatever
/// their weights.
pub const GRACE: Duration = Duration::from_micros(300);

/// Admits work on a device: at any moment a unit runs work of one permit only; among those that wait for a unit the
/// more urgent priority goes first, then the least virtual time (used device time over weight). Work-conserving: who
/// is alone never waits (unless it has a cap), and units are kept idle for a tenant that is owed time for at most 0.3 ms.
///
/// Who has one piece of work enters, runs it and leaves ([`Gate::enter`]). A queue holds its permit for as long as nobody
/// else should go first: a lease.
pub struct Gate {
    grace_ns: AtomicU64,
    /// Processors by unit.
    processors: Vec<u32>,
    state: Mutex<State>,
    changed: Condvar,
    tally: Tally,
}

static GATES: PerDevice<Gate> = PerDevice::new();

impl Gate {
    /// The gate of a device; one per device and process.
    pub fn of(device: &Arc<dyn Device>) -> Arc<Gate> {
        GATES.get(device, || Gate::before(device.units().iter().map(|u| u.processors).collect()))
    }

    /// A gate before `units` units, for tests and simulations.
    pub fn with_units(units: usize) -> Gate {
        Gate::before(vec![1; units])
    }

    fn before(processors: Vec<u32>) -> Gate {
        let tally = Tally::new(processors.len(), Instant::now());
        Gate {
            grace_ns: AtomicU64::new(GRACE.as_nanos() as u64),
            state: Mutex::new(State::new(processors.len())),
            processors,
            changed: Condvar::new(),
            tally,
        }
    }

    /// How long units are kept idle for a tenant that just left and is owed time.
    pub fn grace(&self) -> Duration {
        Duration::from_nanos(self.grace_ns.load(Relaxed))
    }

    /// Changes that from the next departure on: longer keeps shares to their weights where tenants pause between steps,
    /// zero leaves no unit idle. At most a second.
    pub fn set_grace(&self, grace: Duration) {
        self.grace_ns.store(grace.min(Duration::from_secs(1)).as_nanos() as u64, Relaxed);
    }

    /// Waits until work of `share` may run on `units`. `cancelled` is polled while waiting, with no lock held, and ends
    /// the wait with [`Status::Cancelled`].
    pub fn enter(
        self: &Arc<Self>,
        share: &Arc<Share>,
        units: &[u32],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Permit> {
        self.wait(share, units, cancelled, None)
    }

    /// Like [`Gate::enter`], for a permit that is held while there is work: `signal` is raised as soon as somebody else
    /// waits for any of the units.
    pub(super) fn lease(
        self: &Arc<Self>,
        share: &Arc<Share>,
        units: &[u32],
        cancelled: &dyn Fn() -> bool,
        signal: &Arc<Signal>,
    ) -> Result<Permit> {
        self.wait(share, units, cancelled, Some(signal))
    }

    /// Like [`Gate::lease`] where it need not wait; `None` where it must.
    pub(super) fn try_lease(
        self: &Arc<Self>,
        share: &Arc<Share>,
        units: &[u32],
        signal: &Arc<Signal>,
    ) -> Option<Permit> {
        let now = Instant::now();
        let mut state = self.state.lock();
        if units.is_empty() || units.iter().any(|&u| u as usize >= self.processors.len()) {
            return None;
        }
        state.wake(share, units, now);
        let me = state.ticket(share, units, Some(signal));
        if !state.may_run(&me, now) {
            state.gone(share, now);
            return None;
        }
        state.admit(&me);
        share.admitted(Duration::ZERO);
        Some(Permit::new(self, me, now))
    }

    fn wait(
        self: &Arc<Self>,
        share: &Arc<Share>,
        units: &[u32],
        cancelled: &dyn Fn() -> bool,
        signal: Option<&Arc<Signal>>,
    ) -> Result<Permit> {
        let begun = Instant::now();
        // Before the lock, so that it is dropped after it: leaves the queue on every way out, a panic of `cancelled`
        // included. A place that stayed behind would keep others out for good.
        let mut place = Place { gate: self, waits: None };
        let mut state = self.state.lock();
        if units.is_empty() || units.iter().any(|&u| u as usize >= state.units.len()) {
            return Err(Error::argument(
                "units",
                format!("{units:?} must name at least one of the device's {} units", state.units.len()),
            ));
        }
        state.wake(share, units, begun);
        let me = state.ticket(share, units, signal);
        state.waiting.push(me.clone());
        place.waits = Some(me.clone());
        loop {
            if state.may_run(&me, Instant::now()) {
                state.admit(&me);
                place.waits = None;
                share.admitted(begun.elapsed());
                let permit = Permit::new(self, me, Instant::now());
                if signal.is_some() {
                    return Ok(permit);
                }
                share.note_queued(begun.elapsed());
                return Ok(permit.for_one(begun));
            }
            state.alert(&me, Instant::now());
            if MutexGuard::unlocked(&mut state, cancelled) {
                return Err(Error::new(Status::Cancelled, "cancelled while waiting for its processors"));
            }
            // Somebody may have left meanwhile, unheard.
            if !state.may_run(&me, Instant::now()) {
                let wait = state.patience(&me, Instant::now());
                self.changed.wait_for(&mut state, wait);
            }
        }
    }

    /// Notes that work runs on these units without having been admitted: a task's own code on the CPU device.
    pub fn note_use(&self, units: &[u32]) {
        let mut state = self.state.lock();
        let there = state.units.len();
        for &u in units.iter().filter(|&&u| (u as usize) < there) {
            state.units[u as usize].last_used = Some(SystemTime::now());
        }
    }

    /// What all tenants together have had of the device.
    pub fn load(&self) -> Load {
        self.tally.read(Instant::now())
    }

    /// When a unit was last given to anybody, if ever.
    pub fn last_used(&self, units: &[u32]) -> Option<SystemTime> {
        let state = self.state.lock();
        units.iter().filter_map(|&u| state.units.get(u as usize)?.last_used).max()
    }

    fn charge(&self, me: &Waiting, time: Duration, weight: f64) {
        let processors = me.units.iter().map(|&u| self.processors[u as usize]).sum();
        let now = Instant::now();
        me.share.charge(time, weight, processors, now);
        self.tally.add(time, &me.units, processors, self.processors.iter().sum(), now);
    }

    fn leave(&self, me: Waiting, time: Duration, weight: f64) {
        self.charge(&me, time, weight);
        self.state.lock().depart(&me, self.grace(), Instant::now());
        self.changed.notify_all();
    }
}

/// A place in the queue, while somebody waits there.
struct Place<'a> {
    gate: &'a Gate,
    waits: Option<Waiting>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(me) = self.waits.take() {
            let mut state = self.gate.state.lock();
            state.waiting.retain(|w| w.ticket != me.ticket);
            state.gone(&me.share, Instant::now());
            drop(state);
            self.gate.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
