//! A thread that does something again and again.

use crate::telemetry::log::{self, Level};
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// The shortest time between two rounds.
pub const SHORTEST: Duration = Duration::from_millis(10);
/// The longest.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);

struct Signal {
    ended: Mutex<bool>,
    /// Whether there is one more call at the end.
    last: Mutex<bool>,
    changed: Condvar,
}

/// Calls a function at an interval, on a thread of its own, until it is dropped. Dropping it waits for a call that runs; done
/// by that call itself it only sees to it that there is no further one. The function is dropped when its last call has ended,
/// on that thread.
pub(super) struct Ticker {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
    id: ThreadId,
}

impl Ticker {
    /// Begins; the first call is one interval from now. `argument` is the interval's name in errors. With `last` there is one
    /// more call at the end.
    pub fn start(
        name: &'static str,
        argument: &str,
        interval: Duration,
        last: bool,
        work: impl FnMut() + Send + 'static,
    ) -> Result<Ticker> {
        if !(SHORTEST..=LONGEST).contains(&interval) {
            return Err(Error::argument(
                argument,
                format!(
                    "{} is not in {} to {}",
                    interval.as_millis(),
                    SHORTEST.as_millis(),
                    LONGEST.as_millis()
                ),
            ));
        }
        let signal =
            Arc::new(Signal { ended: Mutex::new(false), last: Mutex::new(last), changed: Condvar::new() });
        let heard = signal.clone();
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || run(name, &heard, interval, work))
            .map_err(|e| Error::io(format_args!("starting the thread {name}"), e))?;
        let id = thread.thread().id();
        Ok(Ticker { signal, thread: Some(thread), id })
    }
}

impl Ticker {
    /// Ends it without the last call.
    pub fn cancel(self) {
        *self.signal.last.lock() = false;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.signal.ended.lock() = true;
        self.signal.changed.notify_all();
        if self.id != thread::current().id()
            && let Some(thread) = self.thread.take()
        {
            // Its panics are caught inside.
            let _ = thread.join();
        }
    }
}

fn run(name: &str, signal: &Signal, interval: Duration, mut work: impl FnMut()) {
    let mut next = Instant::now() + interval;
    loop {
        let ended = {
            let mut ended = signal.ended.lock();
            while !*ended && !signal.changed.wait_until(&mut ended, next).timed_out() {}
            *ended
        };
        if ended && !*signal.last.lock() {
            return;
        }
        if catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
            log::emit(Level::Error, "monitor", format_args!("{name} panicked and is not called any more"));
            return;
        }
        if ended {
            return;
        }
        // At a fixed rate; rounds that are missed are left out.
        let now = Instant::now();
        while next <= now {
            next += interval.max((now - next) / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    struct Dropped(Arc<AtomicU32>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn until(what: impl Fn() -> bool) {
        let begun = Instant::now();
        while !what() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it never came");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_calls_until_it_is_dropped_and_drops_once() {
        let (calls, drops) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (counted, dropped) = (calls.clone(), Dropped(drops.clone()));
        let ticker = Ticker::start("cw-test", "interval", SHORTEST, false, move || {
            let _ = &dropped;
            counted.fetch_add(1, SeqCst);
        })
        .unwrap();
        until(|| calls.load(SeqCst) >= 3);
        drop(ticker);
        let there = calls.load(SeqCst);
        assert_eq!(drops.load(SeqCst), 1);
        thread::sleep(3 * SHORTEST);
        assert_eq!(calls.load(SeqCst), there, "called after its end");
    }

    #[test]
    fn a_call_may_end_its_own_ticker() {
        let drops = Arc::new(AtomicU32::new(0));
        let own: Arc<Mutex<Option<Ticker>>> = Arc::default();
        let (inside, dropped) = (own.clone(), Dropped(drops.clone()));
        *own.lock() = Some(
            Ticker::start("cw-test", "interval", SHORTEST, false, move || {
                let _ = &dropped;
                let ticker = inside.lock().take();
                drop(ticker);
            })
            .unwrap(),
        );
        until(|| drops.load(SeqCst) == 1);
    }

    #[test]
    fn a_last_call_comes_and_a_panic_ends_it() {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let work = move || {
            counted.fetch_add(1, SeqCst);
        };
        drop(Ticker::start("cw-test", "interval", LONGEST, true, work).unwrap());
        assert_eq!(calls.load(SeqCst), 1);
        let drops = Arc::new(AtomicU32::new(0));
        let dropped = Dropped(drops.clone());
        let _ticker = Ticker::start("cw-test", "interval", SHORTEST, false, move || {
            let _ = &dropped;
            panic!("planted");
        })
        .unwrap();
        until(|| drops.load(SeqCst) == 1);
    }

    #[test]
    fn wrong_intervals_are_refused() {
        for wrong in [Duration::ZERO, SHORTEST / 2, LONGEST * 2] {
            let e = Ticker::start("cw-test", "intervalMs", wrong, false, || {}).err().unwrap();
            assert!(e.message().contains("intervalMs"), "{e}");
        }
    }
}
