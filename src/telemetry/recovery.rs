//! What was tried to go on after a failure, and how often it helped.

use std::sync::atomic::{AtomicU64, Ordering};

/// A way of going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The device had no memory left: caches were freed and the call made once more.
    Memory,
    /// A device was lost: its context was thrown away and the device opened anew.
    Context,
    /// No GPU could be used: the CPU device took its place, as configured.
    Fallback,
}

impl Recovery {
    /// Every way.
    pub const ALL: [Recovery; 3] = [Recovery::Memory, Recovery::Context, Recovery::Fallback];

    /// A short stable name, as used in figures.
    pub fn name(self) -> &'static str {
        match self {
            Recovery::Memory => "memory",
            Recovery::Context => "context",
            Recovery::Fallback => "fallback",
        }
    }
}

static ATTEMPTS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
static SUCCESSES: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// Notes that recovery was tried and whether it helped.
pub fn note(way: Recovery, helped: bool) {
    ATTEMPTS[way as usize].fetch_add(1, Ordering::Relaxed);
    if helped {
        SUCCESSES[way as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// How often a way was tried, and how often it helped, since the process began.
pub fn counts(way: Recovery) -> (u64, u64) {
    (ATTEMPTS[way as usize].load(Ordering::Relaxed), SUCCESSES[way as usize].load(Ordering::Relaxed))
}
