//! The gate: who may run on which units now.

use super::share::Share;
use crate::device::{Device, PerDevice};
use crate::{Error, Result, Status};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// How often a waiting thread looks whether its work was cancelled.
const POLL: Duration = Duration::from_millis(2);

/// How long units are kept for a tenant that just left and is still owed time. A tenant that generates comes back
/// within this time (it samples a token in between); without the pause two tenants would always take turns, whatever
/// their weights.
pub const GRACE: Duration = Duration::from_micros(300);

/// Admits work on a device: at any moment a unit runs work of one tenant only; among those that wait for a unit the
/// more urgent priority goes first, then the least virtual time (used device time over weight). Work-conserving: who
/// is alone never waits, and units are kept idle for a tenant that is owed time for at most 0.3 ms.
pub struct Gate {
    grace_ns: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    units: Vec<Unit>,
    waiting: Vec<Waiting>,
    running: Vec<Waiting>,
    next_ticket: u64,
}

#[derive(Clone, Default)]
struct Unit {
    busy: bool,
    last_used: Option<SystemTime>,
    kept: Option<(Arc<Share>, Instant)>,
}

#[derive(Clone)]
struct Waiting {
    ticket: u64,
    share: Arc<Share>,
    units: Vec<u32>,
}

impl Waiting {
    fn overlaps(&self, units: &[u32]) -> bool {
        self.units.iter().any(|u| units.contains(u))
    }
}

static GATES: PerDevice<Gate> = PerDevice::new();

impl Gate {
    /// The gate of a device; one per device and process.
    pub fn of(device: &Arc<dyn Device>) -> Arc<Gate> {
        GATES.get(device, || Gate::with_units(device.units().len()))
    }

    /// A gate before `units` units, for tests and simulations.
    pub fn with_units(units: usize) -> Gate {
        let state = State { units: vec![Unit::default(); units], ..State::default() };
        Gate {
            grace_ns: AtomicU64::new(GRACE.as_nanos() as u64),
            state: Mutex::new(state),
            changed: Condvar::new(),
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
        let begun = Instant::now();
        // Before the lock, so that it is dropped after it: leaves the queue on every way out, a panic of `cancelled`
        // included. A place that stayed behind would keep others out for good.
        let mut place = Place { gate: self, ticket: None };
        let mut state = self.state.lock();
        if units.is_empty() || units.iter().any(|&u| u as usize >= state.units.len()) {
            return Err(Error::argument(
                "units",
                format!("{units:?} must name at least one of the device's {} units", state.units.len()),
            ));
        }
        state.wake(share, units);
        state.next_ticket += 1;
        let me = Waiting { ticket: state.next_ticket, share: share.clone(), units: units.to_vec() };
        state.waiting.push(me.clone());
        place.ticket = Some(me.ticket);
        loop {
            if state.may_run(&me, Instant::now()) {
                state.admit(&me);
                place.ticket = None;
                share.admitted(begun.elapsed());
                return Ok(Permit { gate: self.clone(), me: Some(me), since: Instant::now() });
            }
            if MutexGuard::unlocked(&mut state, cancelled) {
                return Err(Error::new(Status::Cancelled, "cancelled while waiting for its processors"));
            }
            // Somebody may have left meanwhile, unheard.
            if !state.may_run(&me, Instant::now()) {
                let wait = state.patience(&me);
                self.changed.wait_for(&mut state, wait);
            }
        }
    }

    /// Notes that work runs on these units without having been admitted: a task's own code on the CPU device.
    pub fn note_use(&self, units: &[u32]) {
        let mut state = self.state.lock();
        for &u in units {
            let at = u as usize;
            if state.units.len() <= at {
                state.units.resize(at + 1, Unit::default());
            }
            state.units[at].last_used = Some(SystemTime::now());
        }
    }

    /// When a unit was last given to anybody, if ever.
    pub fn last_used(&self, units: &[u32]) -> Option<SystemTime> {
        let state = self.state.lock();
        units.iter().filter_map(|&u| state.units.get(u as usize)?.last_used).max()
    }

    fn leave(&self, me: Waiting, time: Duration, weight: f64) {
        me.share.charge(time, weight);
        let mut state = self.state.lock();
        state.running.retain(|r| r.ticket != me.ticket);
        let until = Instant::now() + self.grace();
        let rank = me.share.rank();
        let owed = state.waiting.iter().any(|w| w.overlaps(&me.units) && rank.before(&w.share.rank()));
        for &u in &me.units {
            let unit = &mut state.units[u as usize];
            unit.busy = false;
            unit.kept = owed.then(|| (me.share.clone(), until));
        }
        drop(state);
        self.changed.notify_all();
    }
}

/// A place in the queue, while its ticket is set.
struct Place<'a> {
    gate: &'a Gate,
    ticket: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.gate.state.lock().waiting.retain(|w| w.ticket != ticket);
            self.gate.changed.notify_all();
        }
    }
}

impl State {
    /// A tenant that was idle starts level with those that are active on the same units: idleness saves nothing up.
    fn wake(&self, share: &Arc<Share>, units: &[u32]) {
        let active = || self.running.iter().chain(&self.waiting);
        let now = Instant::now();
        let keeps =
            |u: &Unit| u.kept.as_ref().is_some_and(|(s, until)| *until > now && Arc::ptr_eq(s, share));
        let kept = self.units.iter().any(keeps);
        if kept || active().any(|a| Arc::ptr_eq(&a.share, share)) {
            return;
        }
        let level = active().filter(|a| a.overlaps(units)).map(|a| a.share.rank().virtual_time);
        if let Some(least) = level.min_by(f64::total_cmp) {
            share.catch_up(least);
        }
    }

    fn may_run(&self, me: &Waiting, now: Instant) -> bool {
        let mine = me.share.rank();
        for &u in &me.units {
            let unit = &self.units[u as usize];
            let kept_for_other = unit.kept.as_ref().is_some_and(|(owner, until)| {
                !Arc::ptr_eq(owner, &me.share) && *until > now && owner.rank().before(&mine)
            });
            if unit.busy || kept_for_other {
                return false;
            }
        }
        // Whoever is before me on any of my units goes first, also when it still waits for others of its units:
        // otherwise a wide node would never get in past narrow ones.
        !self.waiting.iter().any(|w| {
            w.ticket != me.ticket && w.overlaps(&me.units) && {
                let other = w.share.rank();
                other.before(&mine) || (!mine.before(&other) && w.ticket < me.ticket)
            }
        })
    }

    fn admit(&mut self, me: &Waiting) {
        self.waiting.retain(|w| w.ticket != me.ticket);
        for &u in &me.units {
            self.units[u as usize] = Unit { busy: true, last_used: Some(SystemTime::now()), kept: None };
        }
        self.running.push(me.clone());
    }

    /// How long to wait before looking again: until units that are kept for somebody else are free for all.
    fn patience(&self, me: &Waiting) -> Duration {
        let kept = me.units.iter().filter_map(|&u| self.units[u as usize].kept.as_ref());
        let soonest = kept.map(|(_, until)| until.saturating_duration_since(Instant::now())).min();
        soonest.filter(|d| !d.is_zero()).map_or(POLL, |d| d.min(POLL))
    }
}

/// Leave to run. Dropping it opens the gate for the next; call [`Permit::finish`] to charge measured device time
/// (dropping without it charges the wall time since admission).
pub struct Permit {
    gate: Arc<Gate>,
    me: Option<Waiting>,
    since: Instant,
}

impl Permit {
    /// Charges `device` time and leaves.
    pub fn finish(self, device: Duration) {
        self.finish_as(device, 1.0);
    }

    /// The same for work of its own weight within the tenant's (see [`super::Effort`]): it counts against the tenant's
    /// share as `device` over `weight`. The figure of device time used stays what was measured.
    pub fn finish_as(mut self, device: Duration, weight: f64) {
        if let Some(me) = self.me.take() {
            self.gate.leave(me, device, weight);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(me) = self.me.take() {
            self.gate.leave(me, self.since.elapsed(), 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    const MS: Duration = Duration::from_millis(1);

    fn share(name: &str, weight: f64, priority: u8) -> Arc<Share> {
        Share::new(name, weight, priority).unwrap()
    }

    /// Lets `shares` (each on its units) contend without threads: every tenant waits whenever it does not run, one
    /// step takes 1 ms. Returns how many steps each ran in `rounds` rounds.
    fn contend(units: usize, shares: &[(Arc<Share>, Vec<u32>)], rounds: u32) -> Vec<u32> {
        let gate = Gate::with_units(units);
        let mut state = gate.state.lock();
        let mut steps = vec![0; shares.len()];
        for (i, (share, units)) in shares.iter().enumerate() {
            state.wake(share, units);
            state.waiting.push(Waiting { ticket: i as u64, share: share.clone(), units: units.clone() });
        }
        let mut ticket = shares.len() as u64;
        for _ in 0..rounds {
            while let Some(next) = state.waiting.iter().find(|w| state.may_run(w, Instant::now())).cloned() {
                state.admit(&next);
            }
            for done in std::mem::take(&mut state.running) {
                for &u in &done.units {
                    state.units[u as usize].busy = false;
                }
                done.share.charge(MS, 1.0);
                let i = shares.iter().position(|(s, _)| Arc::ptr_eq(s, &done.share)).unwrap();
                steps[i] += 1;
                ticket += 1;
                state.waiting.push(Waiting { ticket, ..done });
            }
        }
        steps
    }

    #[test]
    fn weights_divide_a_contended_unit() {
        let shares =
            [(share("a", 3.0, 2), vec![0]), (share("b", 1.0, 2), vec![0]), (share("c", 6.0, 2), vec![0])];
        let steps = contend(1, &shares, 10_000);
        for (got, want) in steps.iter().zip([3000, 1000, 6000]) {
            assert!(got.abs_diff(want) <= 6, "{steps:?}");
        }
    }

    #[test]
    fn disjoint_nodes_do_not_wait_for_each_other() {
        let shares = [(share("a", 1.0, 2), vec![0]), (share("b", 1.0, 4), vec![1])];
        assert_eq!(contend(2, &shares, 100), [100, 100]);
    }

    #[test]
    fn urgent_work_goes_first() {
        let shares = [(share("a", 1.0, 0), vec![0]), (share("b", 9.0, 3), vec![0])];
        assert_eq!(contend(1, &shares, 100), [100, 0]);
    }

    #[test]
    fn a_wide_node_gets_in_past_narrow_ones() {
        let shares = [
            (share("n0", 1.0, 2), vec![0]),
            (share("n1", 1.0, 2), vec![1]),
            (share("wide", 1.0, 2), vec![0, 1]),
        ];
        let steps = contend(2, &shares, 300);
        assert!(steps[2] >= 140, "the wide node starved: {steps:?}");
    }

    #[test]
    fn idleness_saves_nothing_up() {
        let gate = Arc::new(Gate::with_units(1));
        let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
        for _ in 0..1000 {
            gate.enter(&a, &[0], &|| false).unwrap().finish(MS);
        }
        let running = gate.enter(&a, &[0], &|| false).unwrap();
        let state = &mut *gate.state.lock();
        state.wake(&b, &[0]);
        assert!(b.rank().virtual_time >= 1.0, "an idle tenant would have gone first for a second");
        std::mem::forget(running);
    }

    #[test]
    fn a_unit_runs_one_tenant_at_a_time() {
        let gate = Arc::new(Gate::with_units(2));
        let inside = [AtomicU32::new(0), AtomicU32::new(0)];
        std::thread::scope(|scope| {
            for t in 0..6u32 {
                let (gate, inside) = (&gate, &inside);
                let units: Vec<u32> = [vec![0], vec![1], vec![0, 1]][t as usize % 3].clone();
                scope.spawn(move || {
                    let me = share(&format!("t{t}"), 1.0 + f64::from(t), (t % 5) as u8);
                    for _ in 0..200 {
                        let permit = gate.enter(&me, &units, &|| false).unwrap();
                        for &u in &units {
                            assert_eq!(inside[u as usize].fetch_add(1, SeqCst), 0);
                        }
                        for &u in &units {
                            inside[u as usize].fetch_sub(1, SeqCst);
                        }
                        permit.finish(Duration::from_micros(10));
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_while_waiting_gives_the_place_up() {
        let gate = Arc::new(Gate::with_units(1));
        let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 0));
        let permit = gate.enter(&a, &[0], &|| false).unwrap();
        let waits = || gate.enter(&b, &[0], &|| panic!("asked")).map(drop);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(waits)).is_err());
        drop(permit);
        // More urgent than a: had it kept its place, a would wait without end.
        let begun = Instant::now();
        let late = || begun.elapsed() > Duration::from_secs(5);
        gate.enter(&a, &[0], &late).unwrap();
    }

    #[test]
    fn the_grace_is_how_long_a_unit_waits_for_who_is_owed_time() {
        for grace in [Duration::ZERO, 40 * MS] {
            let gate = Arc::new(Gate::with_units(1));
            gate.set_grace(grace);
            let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
            b.charge(Duration::from_secs(1), 1.0);
            let permit = gate.enter(&a, &[0], &|| false).unwrap();
            let waited = std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    drop(gate.enter(&b, &[0], &|| false).unwrap());
                    Instant::now()
                });
                while gate.state.lock().waiting.is_empty() {
                    std::thread::yield_now();
                }
                let left = Instant::now();
                permit.finish(MS);
                waiter.join().unwrap() - left
            });
            assert!(waited >= grace, "let in after {waited:?} of {grace:?}");
            assert!(grace > Duration::ZERO || waited < 30 * MS, "kept idle for nobody: {waited:?}");
        }
    }

    #[test]
    fn units_are_not_kept_for_a_tenant_that_stays_away() {
        let gate = Arc::new(Gate::with_units(2));
        let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
        b.charge(Duration::from_secs(1), 1.0);
        let wide = gate.enter(&a, &[0, 1], &|| false).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| gate.enter(&b, &[0], &|| false).unwrap());
            while gate.state.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            wide.finish(MS);
            let permit = waiter.join().unwrap();
            // Unit 1 was kept for a and nobody took it since; a has been away for longer than that.
            std::thread::sleep(2 * GRACE);
            gate.state.lock().wake(&a, &[0]);
            assert!(a.rank().virtual_time >= 1.0, "away, it saved up {}", a.rank().virtual_time);
            permit.finish(MS);
        });
    }

    #[test]
    fn cancelled_waiters_leave() {
        let gate = Arc::new(Gate::with_units(1));
        let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
        let permit = gate.enter(&a, &[0], &|| false).unwrap();
        let refused = gate.enter(&b, &[0], &|| true).err().unwrap();
        assert_eq!(refused.status(), Status::Cancelled);
        drop(permit);
        gate.enter(&b, &[0], &|| false).unwrap();
        assert!(gate.enter(&b, &[7], &|| false).is_err());
    }
}
