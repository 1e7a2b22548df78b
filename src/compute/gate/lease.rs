//! Leave to run: for one piece of work, or for as long as nobody else should go first.

use super::Gate;
use super::state::Waiting;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Measured device time that a lease may use before it makes way for somebody of its own priority. Shares are the same
/// with any other; a shorter one costs more changes, each of which leaves the units idle for some microseconds, a longer
/// one lets others wait longer.
pub const SLICE: Duration = Duration::from_millis(2);

/// What the gate says to the holder of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody waits for any of its units.
    Alone,
    /// Somebody waits, and the holder goes first for now.
    Contended,
    /// Somebody else should run now.
    Due,
    /// Its cap allows no more now.
    Capped,
}

/// How the gate reaches the holder of a lease.
pub(in crate::compute) struct Signal {
    bits: AtomicU32,
    /// When somebody last began to wait.
    raised: Mutex<Option<Instant>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// After so long without anybody waiting a holder is taken to be alone.
const QUIET: Duration = Duration::from_secs(1);

const OPEN: u32 = 1;
const WANTED: u32 = 2;

impl Signal {
    /// `wake` is called, with the gate locked, when somebody begins to wait.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Arc<Signal> {
        Arc::new(Signal { bits: AtomicU32::new(0), raised: Mutex::default(), wake: Box::new(wake) })
    }

    /// Whether the holder lets work through without asking, and nobody waits.
    #[inline]
    pub fn is_clear(&self) -> bool {
        self.bits.load(SeqCst) == OPEN
    }

    /// Whether somebody waits.
    #[cfg(test)]
    pub fn is_wanted(&self) -> bool {
        self.bits.load(SeqCst) & WANTED != 0
    }

    /// The holder lets work through, or no more.
    pub fn set_open(&self, open: bool) {
        if open {
            self.bits.fetch_or(OPEN, SeqCst);
        } else {
            self.bits.fetch_and(!OPEN, SeqCst);
        }
    }

    pub fn raise(&self) {
        if self.bits.fetch_or(WANTED, SeqCst) & WANTED == 0 {
            *self.raised.lock() = Some(Instant::now());
            (self.wake)();
        }
    }

    /// Whether nobody waited for so long that the holder may take itself to be alone.
    pub fn is_quiet(&self) -> bool {
        self.raised.lock().is_none_or(|at| at.elapsed() >= QUIET)
    }

    pub fn calm(&self) {
        self.bits.fetch_and(!WANTED, SeqCst);
    }
}

/// Leave to run. Dropping it opens the gate for the next; call [`Permit::finish`] to charge measured device time
/// (dropping without it charges the wall time since admission).
pub struct Permit {
    gate: Arc<Gate>,
    me: Option<Waiting>,
    since: Instant,
    /// Charged before its end.
    ran: Duration,
    /// When one piece of work asked for it.
    asked: Option<Instant>,
}

impl Permit {
    pub(super) fn new(gate: &Arc<Gate>, me: Waiting, since: Instant) -> Permit {
        Permit { gate: gate.clone(), me: Some(me), since, ran: Duration::ZERO, asked: None }
    }

    /// For one piece of work, whose latency counts from `asked`.
    pub(super) fn for_one(mut self, asked: Instant) -> Permit {
        self.asked = Some(asked);
        self
    }

    fn note_latency(&self, me: &Waiting) {
        if let Some(asked) = self.asked {
            me.share.latency().add(asked.elapsed());
        }
    }

    /// Charges `device` time and leaves.
    pub fn finish(self, device: Duration) {
        self.finish_as(device, 1.0);
    }

    /// The same for work of its own weight within the tenant's (see [`crate::compute::Effort`]): it counts against the tenant's
    /// share as `device` over `weight`. The figure of device time used stays what was measured.
    pub fn finish_as(mut self, device: Duration, weight: f64) {
        if let Some(me) = self.me.take() {
            self.note_latency(&me);
            self.gate.leave(me, device, weight);
        }
    }

    /// Charges measured device time and stays.
    pub(in crate::compute) fn charge(&mut self, device: Duration) {
        if let Some(me) = self.me.as_ref().filter(|_| !device.is_zero()) {
            self.gate.charge(me, device, 1.0);
            self.ran += device;
        }
    }

    /// Whether its holder goes on. Takes what was charged so far into account.
    pub(in crate::compute) fn verdict(&self) -> Verdict {
        match &self.me {
            Some(me) => self.gate.state.lock().verdict(me, self.ran, Instant::now()),
            None => Verdict::Due,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(me) = self.me.take() {
            self.note_latency(&me);
            self.gate.leave(me, self.since.elapsed().saturating_sub(self.ran), 1.0);
        }
    }
}
