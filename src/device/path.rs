//! How work reaches a device: switches that change it, and counts of what went over it.
//!
//! **Direct path** (the default): allocations come from a tenant's pool, large copies go through page-locked buffers,
//! recorded steps are launched as one command. **Standard path**: what a program has that calls the driver for each
//! thing: one driver allocation each, copies in one pageable piece, one launch each. Quotas hold on both.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The switches and counters of one device. Usable from any thread; a switch holds for what is asked for afterwards.
#[derive(Debug)]
pub struct Path {
    direct: AtomicBool,
    pooled: AtomicBool,
    own_streams: AtomicBool,
    counts: [AtomicU64; COUNTS],
}

/// Copies by their direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the host to the device.
    Up,
    /// From the device to the host.
    Down,
    /// Within the device.
    Within,
}

/// What [`Path::count`] counts. Kept as one list so that reading them all is one loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Count {
    /// Copies to the device.
    UpCopies,
    /// Bytes of them.
    UpBytes,
    /// Bytes of those that the caller waited for.
    UpWaitedBytes,
    /// Nanoseconds that those took.
    UpWaitedNanos,
    /// Copies from the device.
    DownCopies,
    /// Bytes of them.
    DownBytes,
    /// Bytes of those that the caller waited for.
    DownWaitedBytes,
    /// Nanoseconds that those took.
    DownWaitedNanos,
    /// Copies within the device.
    WithinCopies,
    /// Bytes of them.
    WithinBytes,
    /// Bytes of those that the caller waited for.
    WithinWaitedBytes,
    /// Nanoseconds that those took.
    WithinWaitedNanos,
    /// Copies that went over a transfer stream beside the caller's.
    OwnStreamCopies,
    /// Kernels and recorded steps launched; on the CPU device pieces of work given to streams.
    Launches,
    /// Allocations of the pools of spaces that are gone.
    PoolAllocations,
    /// Allocations made one by one by the driver.
    StandardAllocations,
    /// Pieces of physical memory created.
    Granules,
}

const COUNTS: usize = Count::Granules as usize + 1;

impl Default for Path {
    fn default() -> Path {
        Path {
            direct: AtomicBool::new(true),
            pooled: AtomicBool::new(false),
            own_streams: AtomicBool::new(false),
            counts: [const { AtomicU64::new(0) }; COUNTS],
        }
    }
}

thread_local! {
    /// What this thread measures at the moment, whatever the switch says.
    static FORCED: Cell<Option<bool>> = const { Cell::new(None) };
}

impl Path {
    /// Whether the direct path is on.
    #[inline]
    pub fn direct(&self) -> bool {
        FORCED.get().unwrap_or_else(|| self.direct.load(Relaxed))
    }

    /// Runs `f` with the direct path on or off for calls of this thread only.
    pub fn with_direct<T>(direct: bool, f: impl FnOnce() -> T) -> T {
        struct Back(Option<bool>);
        impl Drop for Back {
            fn drop(&mut self) {
                FORCED.set(self.0);
            }
        }
        let _back = Back(FORCED.replace(Some(direct)));
        f()
    }

    /// Chooses the direct or the standard path. What was allocated on either stays where it is and is freed as it came.
    pub fn set_direct(&self, on: bool) {
        self.direct.store(on, Relaxed);
    }

    /// Whether pools map in large pieces and keep what falls free.
    #[inline]
    pub fn pooled(&self) -> bool {
        self.pooled.load(Relaxed)
    }

    /// Chooses pools that grow in larger pieces and keep more for reuse. Fewer calls of the driver; memory goes back
    /// later, though always before anybody is refused.
    pub fn set_pooled(&self, on: bool) {
        self.pooled.store(on, Relaxed);
    }

    /// Whether copies ordered on a stream run on transfer streams of their own.
    #[inline]
    pub fn own_streams(&self) -> bool {
        self.own_streams.load(Relaxed)
    }

    /// Lets copies ordered on a stream run on a transfer stream beside it, one for each direction, with events that keep
    /// the order; the caller is not held while earlier work of the stream runs, also when its memory is pageable.
    pub fn set_own_streams(&self, on: bool) {
        self.own_streams.store(on, Relaxed);
    }

    /// Adds to a count.
    #[inline]
    pub fn count(&self, what: Count, n: u64) {
        self.counts[what as usize].fetch_add(n, Relaxed);
    }

    /// A count since the device was opened.
    pub fn counted(&self, what: Count) -> u64 {
        self.counts[what as usize].load(Relaxed)
    }

    /// Notes a copy; `waited` is how long the caller waited for it, when it did.
    pub fn copied(&self, direction: Direction, bytes: u64, waited: Option<Duration>) {
        let [copies, all, waited_bytes, nanos] = match direction {
            Direction::Up => [Count::UpCopies, Count::UpBytes, Count::UpWaitedBytes, Count::UpWaitedNanos],
            Direction::Down => {
                [Count::DownCopies, Count::DownBytes, Count::DownWaitedBytes, Count::DownWaitedNanos]
            }
            Direction::Within => {
                [Count::WithinCopies, Count::WithinBytes, Count::WithinWaitedBytes, Count::WithinWaitedNanos]
            }
        };
        self.count(copies, 1);
        self.count(all, bytes);
        if let Some(time) = waited {
            self.count(waited_bytes, bytes);
            self.count(nanos, time.as_nanos() as u64);
        }
    }
}
