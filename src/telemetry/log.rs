//! Logging: what Cogniware does, told to a function of the application. Silent by default.
//!
//! A record is made only when somebody listens at its level: otherwise the cost is one comparison. The function is
//! called on the thread that does the work, with no lock held; it may call Cogniware (what that would log is left out),
//! may be replaced while other threads are inside it, and its panics end with it.

use crate::{Error, Result};
use parking_lot::RwLock;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// How important a record is. The numbers are those of `CW_LOG_*` in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something is lost: a device, work of a tenant.
    Error = 1,
    /// Something was avoided or got slower: a fallback, a retry, a task that failed.
    Warn = 2,
    /// What an operator wants to see: devices opened, models loaded, registrations.
    Info = 3,
    /// What a developer wants to see: errors that were returned, growth, compaction.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

impl Level {
    /// The level's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }

    /// The level with this number; `None` for 0, which is off.
    pub fn from_number(number: i32) -> Result<Option<Level>> {
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        match usize::try_from(number) {
            Ok(0) => Ok(None),
            Ok(n) if n <= levels.len() => Ok(Some(levels[n - 1])),
            _ => Err(Error::argument("level", format!("{number} is not in 0 (off) to 5 (trace)"))),
        }
    }

    /// The level with this name; `None` for `off`.
    fn from_name(name: &str) -> Result<Option<Level>> {
        if name == "off" {
            return Ok(None);
        }
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        levels.into_iter().find(|l| l.name() == name).map(Some).ok_or_else(|| {
            Error::argument("level", format!("{name:?} is not one of off, error, warn, info, debug, trace"))
        })
    }
}

/// What is told.
pub struct Record<'a> {
    /// How important it is.
    pub level: Level,
    /// The part that tells: `device`, `memory`, `task`, `model`, …
    pub target: &'a str,
    /// What happened, in one line.
    pub message: &'a str,
}

type Waiting = (Level, &'static str, String);
type Sink = dyn Fn(&Record<'_>) + Send + Sync;

/// Level in force; this value until the environment was read, so that the first record does that.
const UNREAD: u8 = u8::MAX;
static LEVEL: AtomicU8 = AtomicU8::new(UNREAD);
static SINK: RwLock<Option<Arc<Sink>>> = RwLock::new(None);
static FAILURES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// This thread is inside the sink.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Records that were made while this thread held locks.
    static LATER: RefCell<Vec<Waiting>> = const { RefCell::new(Vec::new()) };
}

/// Whether somebody listens at this level.
#[inline]
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Sends records of `level` and more important ones to `sink` from now on; `None` turns logging off. The former sink is
/// dropped when the last thread has left it. What `COGNIWARE_LOG` says no longer counts.
pub fn set(level: Option<Level>, sink: impl Fn(&Record<'_>) + Send + Sync + 'static) {
    match level {
        Some(level) => put(level as u8, Some(Arc::new(sink))),
        None => {
            put(0, None);
            drop(sink);
        }
    }
}

/// Nobody listens any more.
pub fn off() {
    put(0, None);
}

fn put(level: u8, sink: Option<Arc<Sink>>) {
    let former = {
        let mut place = SINK.write();
        LEVEL.store(level, Ordering::Relaxed);
        std::mem::replace(&mut *place, sink)
    };
    // Outside of the lock: it may own things of the application.
    drop(former);
}

/// How often the sink panicked.
pub fn failures() -> u64 {
    FAILURES.load(Ordering::Relaxed)
}

/// Tells the sink, if it listens at this level. Use the macro [`log!`](crate::log), which builds nothing otherwise.
#[cold]
pub fn emit(level: Level, target: &str, message: fmt::Arguments<'_>) {
    if LEVEL.load(Ordering::Relaxed) == UNREAD {
        from_environment();
    }
    // What waits on this thread came first.
    flush();
    if !enabled(level) {
        return;
    }
    // A thread that is being torn down has no say any more.
    if INSIDE.try_with(|inside| inside.replace(true)).unwrap_or(true) {
        return;
    }
    let sink = SINK.read().clone();
    if let Some(sink) = sink {
        let text = message.to_string();
        let told = catch_unwind(AssertUnwindSafe(|| sink(&Record { level, target, message: &text })));
        if let Err(panic) = told {
            FAILURES.fetch_add(1, Ordering::Relaxed);
            // The payload's own destructor may panic.
            std::mem::forget(panic);
        }
        // The last thread out drops a sink that was replaced meanwhile; its destructor is the application's too.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(sink))) {
            std::mem::forget(panic);
        }
    }
    let _ = INSIDE.try_with(|inside| inside.set(false));
}

/// Like [`emit`], where locks are held: the record waits on this thread until [`flush`] or its next record. At the C
/// border that is the end of the call. Use the macro [`log_later!`](crate::log_later).
#[cold]
pub fn defer(level: Level, target: &'static str, message: fmt::Arguments<'_>) {
    // A thread that is being torn down tells nobody.
    let _ = LATER.try_with(|later| later.borrow_mut().push((level, target, message.to_string())));
}

/// Tells the records that wait on this thread. Call it with no lock held.
pub fn flush() {
    let waiting = LATER.try_with(|later| match later.try_borrow_mut() {
        Ok(mut later) if !later.is_empty() => std::mem::take(&mut *later),
        _ => Vec::new(),
    });
    for (level, target, text) in waiting.unwrap_or_default() {
        emit(level, target, format_args!("{text}"));
    }
}

/// `COGNIWARE_LOG=level` or `level:stderr`. A value that is neither is told on the only channel there is then.
fn from_environment() {
    let text = std::env::var("COGNIWARE_LOG").unwrap_or_default();
    let mut place = SINK.write();
    if LEVEL.load(Ordering::Relaxed) != UNREAD {
        return;
    }
    let level = match parse(&text) {
        Ok(level) => level,
        Err(e) => {
            to_stderr(&Record { level: Level::Warn, target: "log", message: &e.to_string() });
            None
        }
    };
    if level.is_some() {
        *place = Some(Arc::new(to_stderr));
    }
    LEVEL.store(level.map_or(0, |l| l as u8), Ordering::Relaxed);
}

fn parse(text: &str) -> Result<Option<Level>> {
    let (level, channel) = text.split_once(':').unwrap_or((text, "stderr"));
    if level.is_empty() && channel == "stderr" {
        return Ok(None);
    }
    if channel != "stderr" {
        return Err(Error::argument(
            "COGNIWARE_LOG",
            format!("{channel:?} is no channel; stderr is the only one"),
        ));
    }
    Level::from_name(level).map_err(|e| e.within("COGNIWARE_LOG"))
}

fn to_stderr(record: &Record<'_>) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(
        std::io::stderr(),
        "cogniware {} {}: {}",
        record.level.name(),
        record.target,
        record.message
    );
}

/// Tells the application's log: `log!(Info, "device", "opened {name}")`. The arguments are looked at only when somebody
/// listens at this level.
#[macro_export]
macro_rules! log {
    ($level:ident, $target:expr, $($message:tt)+) => {
        if $crate::telemetry::log::enabled($crate::telemetry::log::Level::$level) {
            $crate::telemetry::log::emit($crate::telemetry::log::Level::$level, $target, format_args!($($message)+));
        }
    };
}

/// Like [`log!`](crate::log), where locks are held: see [`telemetry::log::defer`](crate::telemetry::log::defer).
#[macro_export]
macro_rules! log_later {
    ($level:ident, $target:expr, $($message:tt)+) => {
        if $crate::telemetry::log::enabled($crate::telemetry::log::Level::$level) {
            $crate::telemetry::log::defer($crate::telemetry::log::Level::$level, $target, format_args!($($message)+));
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;

    /// The sink is the process's.
    static ONE: Mutex<()> = Mutex::new(());

    #[test]
    fn levels_are_read_and_nonsense_is_named() {
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("off").unwrap(), None);
        assert_eq!(parse("debug").unwrap(), Some(Level::Debug));
        assert_eq!(parse("trace:stderr").unwrap(), Some(Level::Trace));
        for bad in ["loud", "debug:file", ":x"] {
            assert!(parse(bad).unwrap_err().message().contains("COGNIWARE_LOG"), "{bad}");
        }
        assert_eq!(Level::from_number(0).unwrap(), None);
        assert_eq!(Level::from_number(5).unwrap(), Some(Level::Trace));
        assert!(Level::from_number(6).is_err() && Level::from_number(-1).is_err());
    }

    #[test]
    fn records_pass_by_level_and_what_the_sink_causes_is_left_out() {
        let _one = ONE.lock();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = {
            let seen = seen.clone();
            move |r: &Record<'_>| {
                if r.target != "log-test" {
                    return;
                }
                crate::log!(Error, "log-test", "from inside");
                seen.lock().push((r.level, r.message.to_owned()));
            }
        };
        set(Some(Level::Info), sink);
        let mut built = 0;
        let mut built_text = || {
            built += 1;
            "text"
        };
        crate::log_later!(Info, "log-test", "later");
        assert!(seen.lock().is_empty());
        flush();
        crate::log_later!(Info, "log-test", "before");
        crate::log!(Warn, "log-test", "a {}", 1);
        crate::log!(Debug, "log-test", "{}", built_text());
        off();
        crate::log!(Error, "log-test", "{}", built_text());
        let told: Vec<_> = seen.lock().iter().map(|(level, text)| (*level, text.clone())).collect();
        let expected = [(Level::Info, "later"), (Level::Info, "before"), (Level::Warn, "a 1")];
        assert_eq!(told, expected.map(|(level, text)| (level, text.to_owned())));
        assert_eq!(built, 0, "nothing is built for nobody");
    }

    #[test]
    fn a_sink_may_panic_and_is_dropped_once_while_threads_are_inside() {
        let _one = ONE.lock();
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let drops = Arc::new(AtomicUsize::new(0));
        let (inside, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let before = failures();
        let counted = Counted(drops.clone());
        let (i, l) = (inside.clone(), leave.clone());
        set(Some(Level::Error), move |r| {
            let _owned = &counted;
            if r.target == "log-drop-test" {
                i.wait();
                l.wait();
                panic!("planted");
            }
        });
        let thread = std::thread::spawn(|| crate::log!(Error, "log-drop-test", "x"));
        inside.wait();
        off();
        assert_eq!(drops.load(Ordering::SeqCst), 0, "a thread is still inside");
        leave.wait();
        thread.join().unwrap();
        assert_eq!((drops.load(Ordering::SeqCst), failures() - before), (1, 1));
    }
}
