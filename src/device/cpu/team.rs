//! Fork and join on the cores of a node.
//!
//! A waiting thread spins for a few microseconds, then lets others run, then sleeps on a futex. Between two operations
//! of one decode step it is still awake; on a machine with more teams than cores it is soon out of the way.

use super::topology::pin;
use crate::device::fork;
use parking_lot::Mutex;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

/// Busy waiting, with other work on the core held up.
const SPIN: Duration = Duration::from_micros(4);
/// Waiting with `sched_yield` between two looks.
const YIELD: Duration = Duration::from_micros(40);

type Job = *const (dyn Fn(usize, usize) + Sync);

struct Inner {
    /// Counts jobs; helpers sleep on it.
    epoch: AtomicU32,
    /// Helpers that have not finished the current job; the caller sleeps on it.
    remaining: AtomicU32,
    sleepers: AtomicU32,
    stop: AtomicBool,
    job: UnsafeCell<Option<(Job, usize)>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written by the caller before `epoch` is raised and read by helpers after they saw it raised; the
// caller leaves `run` only after every helper is done with it.
unsafe impl Sync for Inner {}
// SAFETY: as above.
unsafe impl Send for Inner {}

/// A team of threads: the one that calls [`Team::run`] and helpers, one less than the node has cores. The helpers end
/// when the team is dropped.
pub struct Team {
    inner: Arc<Inner>,
    helpers: u32,
    turn: Mutex<()>,
    born: u32,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Team {
    /// A team of `workers` threads (at least 1) whose helpers may run on `cpus` only.
    ///
    /// When the system refuses to start a thread the team is smaller and does the same work.
    pub(super) fn new(workers: usize, cpus: &[u32]) -> Team {
        let inner = Arc::new(Inner {
            epoch: AtomicU32::new(0),
            remaining: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        let mut team = Team { inner, helpers: 0, turn: Mutex::new(()), born: fork::generation() };
        for worker in 1..workers {
            let (inner, cpus) = (team.inner.clone(), cpus.to_vec());
            let started = std::thread::Builder::new().name(format!("cw-team-{worker}")).spawn(move || {
                pin(&cpus);
                help(&inner, worker);
            });
            if started.is_err() {
                break;
            }
            team.helpers += 1;
        }
        team
    }

    /// How many threads take part, the caller included.
    pub fn workers(&self) -> usize {
        self.helpers as usize + 1
    }

    /// Runs `f(worker, workers)` once for each worker at the same time, the calling thread being worker 0, and returns
    /// when all are done. Calls from several threads take turns. Inside of `f` the team is taken: a nested call runs
    /// `f(0, 1)` on the calling thread, and so does any call in a forked child, where the helpers do not exist.
    ///
    /// # Panics
    /// When `f` panics on any worker the others still finish, then the (first) panic goes on in the caller.
    pub fn run(&self, f: &(dyn Fn(usize, usize) + Sync)) {
        if self.helpers == 0 || INSIDE.get() || fork::generation() != self.born {
            return f(0, 1);
        }
        let turn = self.turn.lock();
        let inner = &*self.inner;
        // SAFETY: no helper looks at the job before `epoch` is raised; only the lifetime is changed, and this function
        // does not return before all helpers are done with it.
        unsafe {
            let job = std::mem::transmute::<&(dyn Fn(usize, usize) + Sync), Job>(f);
            *inner.job.get() = Some((job, self.workers()));
        }
        inner.remaining.store(self.helpers, Ordering::Relaxed);
        inner.epoch.fetch_add(1, Ordering::SeqCst);
        if inner.sleepers.load(Ordering::SeqCst) > 0 {
            futex_wake(&inner.epoch);
        }
        INSIDE.set(true);
        let mine = catch_unwind(AssertUnwindSafe(|| f(0, self.workers())));
        INSIDE.set(false);
        wait_while(&inner.remaining, |left| left != 0);
        let theirs = inner.panic.lock().take();
        drop(turn);
        if let Some(panic) = mine.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::SeqCst);
        self.inner.epoch.fetch_add(1, Ordering::SeqCst);
        futex_wake(&self.inner.epoch);
    }
}

fn help(inner: &Inner, worker: usize) {
    INSIDE.set(true);
    let mut seen = 0;
    loop {
        // The thread may have come up after the first job was posted, so it counts from 0 and not from what it finds.
        wait_counting(inner, seen);
        seen = seen.wrapping_add(1);
        if inner.stop.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: the caller posted a job before raising `epoch` and keeps it alive until `remaining` is 0.
        let job = unsafe { (*inner.job.get()).map(|(job, workers)| (&*job, workers)) };
        if let Some((job, workers)) = job
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(worker, workers)))
        {
            inner.panic.lock().get_or_insert(panic);
        }
        if inner.remaining.fetch_sub(1, Ordering::Release) == 1 {
            futex_wake(&inner.remaining);
        }
    }
}

/// Waits until `epoch` is not `seen`.
fn wait_counting(inner: &Inner, seen: u32) {
    if awake(&inner.epoch, |epoch| epoch == seen) {
        return;
    }
    inner.sleepers.fetch_add(1, Ordering::SeqCst);
    while inner.epoch.load(Ordering::SeqCst) == seen {
        futex_wait(&inner.epoch, seen);
    }
    inner.sleepers.fetch_sub(1, Ordering::SeqCst);
}

fn wait_while(word: &AtomicU32, pending: impl Fn(u32) -> bool) {
    if !awake(word, &pending) {
        loop {
            let now = word.load(Ordering::Acquire);
            if !pending(now) {
                break;
            }
            futex_wait(word, now);
        }
    }
    fence(Ordering::Acquire);
}

/// Waits without sleeping for a bounded time; true when the wait is over.
fn awake(word: &AtomicU32, pending: impl Fn(u32) -> bool) -> bool {
    if !pending(word.load(Ordering::Acquire)) {
        return true;
    }
    let start = Instant::now();
    loop {
        for _ in 0..16 {
            std::hint::spin_loop();
            if !pending(word.load(Ordering::Acquire)) {
                return true;
            }
        }
        let waited = start.elapsed();
        if waited > YIELD {
            return false;
        }
        if waited > SPIN {
            std::thread::yield_now();
        }
    }
}

fn futex_wait(word: &AtomicU32, expected: u32) {
    let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word outlives the call; a spurious return is handled by the callers' loops.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), op, expected, std::ptr::null::<libc::timespec>());
    }
}

fn futex_wake(word: &AtomicU32) {
    let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word outlives the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), op, i32::MAX);
    }
}
