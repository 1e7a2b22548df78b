//! Lanes: one tenant's lease at the gate for some units, shared by its queues there, and the thread that looks after it.

use super::flight::Ended;
use super::inner::{Inner, Pumped};
use crate::compute::gate::{Gate, Permit, Signal, Verdict};
use crate::compute::share::Share;
use crate::device::{Device, Event, PerDevice};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How soon work is looked at again while the tenant's memory moves.
const BLOCKED: Duration = Duration::from_micros(100);

pub(super) struct Lane {
    gate: Arc<Gate>,
    share: Arc<Share>,
    pub units: Vec<u32>,
    /// Clear while work may go straight to the device.
    pub signal: Arc<Signal>,
    thread: Arc<OnceLock<Thread>>,
    hold: Mutex<Hold>,
    queues: Mutex<Vec<Arc<Inner>>>,
    count: AtomicUsize,
    /// Nanoseconds of device time that are not charged yet.
    owed: AtomicU64,
    /// The device time up to which all is charged, where several queues run side by side.
    covered: Mutex<Option<Arc<dyn Event>>>,
}

enum Hold {
    Nothing,
    /// The thread waits at the gate.
    Entering,
    Lease(Permit),
}

type Lanes = Mutex<Vec<Weak<Lane>>>;

static LANES: PerDevice<Lanes> = PerDevice::new();

/// Adds a queue to the tenant's lane for these units, which is made if there is none. `make` gives the queue; no other lock
/// may be held.
pub(super) fn attach(
    device: &Arc<dyn Device>,
    share: &Arc<Share>,
    units: &[u32],
    make: impl FnOnce(&Arc<Lane>) -> Arc<Inner>,
) -> Result<Arc<Inner>> {
    let lanes = LANES.get(device, Lanes::default);
    let mut all = lanes.lock();
    all.retain(|lane| lane.strong_count() > 0);
    let fits = |lane: &Arc<Lane>| Arc::ptr_eq(&lane.share, share) && lane.units == units;
    if let Some(lane) = all.iter().filter_map(Weak::upgrade).find(fits) {
        // Under the lock: a lane that has no queues is taken off the list under it.
        let inner = make(&lane);
        lane.queues.lock().push(inner.clone());
        lane.count.fetch_add(1, SeqCst);
        return Ok(inner);
    }
    let thread = Arc::new(OnceLock::<Thread>::new());
    let wakes = thread.clone();
    let signal = Signal::new(move || {
        if let Some(thread) = wakes.get() {
            thread.unpark();
        }
    });
    let lane = Arc::new(Lane {
        gate: Gate::of(device),
        share: share.clone(),
        units: units.to_vec(),
        signal,
        thread,
        hold: Mutex::new(Hold::Nothing),
        queues: Mutex::default(),
        count: AtomicUsize::new(1),
        owed: AtomicU64::new(0),
        covered: Mutex::default(),
    });
    let inner = make(&lane);
    lane.queues.lock().push(inner.clone());
    let (own, list) = (lane.clone(), lanes.clone());
    let started = std::thread::Builder::new().name("cw-queue".into()).spawn(move || {
        wake_on_time();
        own.serve(&list);
    });
    match started {
        Ok(handle) => {
            let _ = lane.thread.set(handle.thread().clone());
            all.push(Arc::downgrade(&lane));
            Ok(inner)
        }
        Err(e) => {
            // Breaks the ring.
            lane.queues.lock().clear();
            Err(Error::io("starting the thread of a queue", e))
        }
    }
}

/// Timers of this thread are not to be put together with others: the default lets them come 50 µs late.
fn wake_on_time() {
    // SAFETY: a plain system call about the calling thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000 as libc::c_ulong) };
}

impl Lane {
    pub fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Takes the lease if it can be had without waiting; whether work may go straight to the device then.
    pub fn try_open(&self) -> bool {
        let Some(mut hold) = self.hold.try_lock() else { return false };
        if !matches!(*hold, Hold::Nothing) {
            return false;
        }
        let Some(permit) = self.gate.try_lease(&self.share, &self.units, &self.signal) else { return false };
        *hold = Hold::Lease(permit);
        self.signal.set_open(true);
        drop(hold);
        self.wake();
        self.signal.is_clear()
    }

    /// Notes what has ended and is to be charged. Time in which several queues of the lane ran counts once.
    pub fn owe(&self, ended: &Ended) {
        let mut time = ended.time;
        if self.count.load(Relaxed) > 1 {
            let mut covered = self.covered.lock();
            if let Some(until) = covered.as_ref() {
                match ended.end.since(&**until) {
                    // It began before: of that only what goes beyond is new.
                    Ok(beyond) => time = time.min(beyond),
                    Err(_) => time = Duration::ZERO,
                }
            }
            if !time.is_zero() || covered.is_none() {
                *covered = Some(ended.end.clone());
            }
        }
        self.owed.fetch_add(time.as_nanos() as u64, SeqCst);
    }

    pub fn owed(&self) -> Duration {
        Duration::from_nanos(self.owed.load(SeqCst))
    }

    /// Charges what is owed.
    pub fn pay(&self) {
        if let Hold::Lease(permit) = &mut *self.hold.lock() {
            permit.charge(Duration::from_nanos(self.owed.swap(0, SeqCst)));
        }
    }

    fn verdict(&self) -> Option<Verdict> {
        match &*self.hold.lock() {
            Hold::Lease(permit) => Some(permit.verdict()),
            _ => None,
        }
    }

    pub fn detach(&self, queue: &Arc<Inner>) {
        let mut queues = self.queues.lock();
        let before = queues.len();
        queues.retain(|q| !Arc::ptr_eq(q, queue));
        self.count.fetch_sub(before - queues.len(), SeqCst);
        drop(queues);
        self.wake();
    }

    fn serve(self: Arc<Self>, list: &Lanes) {
        let mut idle_since: Option<Instant> = None;
        loop {
            let queues = self.queues.lock().clone();
            self.pay();
            let Some(verdict) = self.verdict() else {
                idle_since = None;
                if !self.without_lease(&queues, list) {
                    return;
                }
                continue;
            };
            if matches!(verdict, Verdict::Due | Verdict::Capped) {
                self.make_way();
                continue;
            }
            let looks: Vec<Pumped> = queues.iter().map(|q| q.pump(&self)).collect();
            for (queue, look) in queues.iter().zip(&looks) {
                if look.moving {
                    queue.move_if_due(&self);
                }
                if look.over {
                    self.detach(queue);
                }
            }
            let idle = looks
                .iter()
                .all(|l| !l.flying && (!l.pending || (l.blocked && verdict == Verdict::Contended)));
            let since = match idle {
                true => Some(*idle_since.get_or_insert_with(Instant::now)),
                false => None,
            };
            idle_since = since;
            let worked = looks.iter().filter_map(|l| l.launched_at).max();
            let quiet = since.max(worked.filter(|_| idle)).map(|at| at.elapsed());
            if let Some(quiet) = quiet
                && (verdict == Verdict::Contended || quiet > self.gate.grace())
                && self.close_idle(looks.iter().any(|l| l.blocked))
            {
                if looks.iter().any(|l| l.blocked) {
                    std::thread::park_timeout(BLOCKED);
                }
                continue;
            }
            if verdict == Verdict::Alone {
                self.signal.set_open(true);
            }
            let now = Instant::now();
            let wait = looks.iter().map(|l| l.patience(now)).min().unwrap_or(Duration::from_millis(1));
            std::thread::park_timeout(if idle { wait.min(self.gate.grace().max(BLOCKED)) } else { wait });
        }
    }

    /// Waits for work, then for leave; false when there is nothing left to serve.
    fn without_lease(self: &Arc<Self>, queues: &[Arc<Inner>], list: &Lanes) -> bool {
        let mut wanted = false;
        for queue in queues {
            let look = queue.tend();
            if look.moving {
                queue.move_if_due(self);
                if look.flying {
                    std::thread::park_timeout(BLOCKED);
                }
                // It may have stayed, with work that came since it was told to move.
                return true;
            }
            if look.over {
                self.detach(queue);
            }
            wanted |= look.pending || look.flying;
        }
        if !wanted {
            let mut all = list.lock();
            if self.queues.lock().is_empty() && matches!(*self.hold.lock(), Hold::Nothing) {
                all.retain(|lane| !std::ptr::eq(lane.as_ptr(), Arc::as_ptr(self)));
                return false;
            }
            drop(all);
            // Who submits work, moves or drops a queue wakes this thread; a wake before this line is not lost.
            let open = matches!(*self.hold.lock(), Hold::Lease(_));
            if !open {
                std::thread::park();
            }
            return true;
        }
        {
            let mut hold = self.hold.lock();
            if !matches!(*hold, Hold::Nothing) {
                return true;
            }
            *hold = Hold::Entering;
        }
        let nothing_left = || {
            let queues = self.queues.lock().clone();
            queues.iter().all(|q| {
                let look = q.tend();
                !look.pending && !look.flying
            })
        };
        let entered = self.gate.lease(&self.share, &self.units, &nothing_left, &self.signal);
        let mut hold = self.hold.lock();
        match entered {
            Ok(permit) => {
                *hold = Hold::Lease(permit);
                self.signal.set_open(true);
            }
            Err(e) => {
                *hold = Hold::Nothing;
                drop(hold);
                if e.status() != Status::Cancelled {
                    for queue in queues {
                        queue.end(e.clone());
                    }
                }
            }
        }
        true
    }

    /// Lets what is on the device end, charges it and leaves the gate.
    fn make_way(&self) {
        self.signal.set_open(false);
        // Whoever saw it open has put its work on the device by the time that its queue's lock is had.
        let queues = self.queues.lock().clone();
        for queue in &queues {
            while let Some(end) = queue.close_flight() {
                let look = queue.tend();
                if !look.flying {
                    break;
                }
                let now = Instant::now();
                let half = look.outstanding / 2;
                if look.deadline.is_some() || half > Duration::from_micros(100) {
                    let until = look.deadline.map_or(half, |d| d.saturating_duration_since(now).min(half));
                    std::thread::park_timeout(
                        until.clamp(Duration::from_micros(20), Duration::from_millis(1)),
                    );
                } else {
                    // Its error shows in the queue's own look.
                    let _ = end.synchronize();
                }
            }
        }
        self.leave();
    }

    /// Leaves the gate if there is really nothing to do; `blocked`: or nothing that can be done now.
    fn close_idle(&self, blocked: bool) -> bool {
        self.signal.set_open(false);
        let queues = self.queues.lock().clone();
        let busy = |q: &Arc<Inner>| {
            let look = q.tend();
            look.flying || (look.pending && !blocked)
        };
        if queues.iter().any(busy) {
            return false;
        }
        self.leave();
        true
    }

    fn leave(&self) {
        let mut hold = self.hold.lock();
        if let Hold::Lease(mut permit) = std::mem::replace(&mut *hold, Hold::Nothing) {
            permit.charge(Duration::from_nanos(self.owed.swap(0, SeqCst)));
            permit.finish(Duration::ZERO);
        }
        *self.covered.lock() = None;
    }
}

impl Pumped {
    /// How long nothing needs to be looked at.
    fn patience(&self, now: Instant) -> Duration {
        let wait = if self.blocked {
            BLOCKED
        } else if self.pending {
            (self.outstanding / 2).clamp(Duration::from_micros(20), Duration::from_micros(500))
        } else if self.flying {
            (self.outstanding / 2).clamp(Duration::from_micros(50), Duration::from_millis(1))
        } else {
            Duration::from_millis(1)
        };
        match self.deadline {
            Some(d) => wait.min(d.saturating_duration_since(now).max(Duration::from_micros(20))),
            None => wait,
        }
    }
}
