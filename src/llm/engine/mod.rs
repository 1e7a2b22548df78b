//! The engine of one model: a thread that forms steps out of the requests at hand (continuous batching) and runs them
//! through the tenant's gate.
//!
//! Each step has one row for every decoding sequence, then prompt chunks in order of arrival up to a budget, which is
//! smaller while others decode. New requests join between steps, in order of arrival. A sequence is its tokens and
//! the number of them whose keys and values are cached: what is not cached is read, then tokens are drawn. So a
//! sequence that had to give up its pages is simply read again.
//!
//! When the quota leaves no page: pages of sessions between turns go first, longest unused first (they are read
//! again at their next turn); then sequences wait for others to end; when all wait, the youngest gives up its pages;
//! a sequence that is alone and still finds no room ends with [`crate::Status::QuotaExceeded`].

mod pages;
mod plan;
mod run;
mod sequence;
mod ticket;
mod worker;

pub use ticket::{Canceller, Generation, Stage};

pub(crate) use pages::Pages;
pub(crate) use sequence::{Answer, Sequence, SessionLink, Want, panic_text};
pub(crate) use ticket::Ticket;
pub(crate) use worker::{Net, Parts as WorkerParts, Worker};

use crate::{Error, Result, Status};
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

/// What the engine was told and has not looked at yet.
#[derive(Default)]
struct Inbox {
    new: Vec<Sequence>,
    ended_sessions: Vec<u64>,
    poked: bool,
    closed: bool,
}

/// Figures of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelStats {
    /// Sequences in the batch.
    pub running: u32,
    /// Sequences that wait for a place in it.
    pub waiting: u32,
    /// Steps run.
    pub steps: u64,
    /// Tokens drawn.
    pub generated_tokens: u64,
    /// Prompt tokens read (again, after pages were given up).
    pub prompt_tokens: u64,
    /// Measured device time of all steps.
    pub device_time: Duration,
    /// Bytes charged for the key/value cache.
    pub kv_bytes: u64,
    /// Pages of it in use.
    pub kv_pages: u32,
    /// Times that a sequence gave up its pages for an older one.
    pub preemptions: u64,
}

/// What the engine thread and everybody else share.
#[derive(Default)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    signal: Condvar,
    stats: Mutex<ModelStats>,
    stopping: AtomicBool,
    /// The device was lost: what is queued ends with that error.
    lost: AtomicBool,
    thread: Arc<OnceLock<ThreadId>>,
}

impl Shared {
    /// A ticket whose cancellation wakes this engine.
    pub fn ticket(self: &Arc<Self>) -> Arc<Ticket> {
        // Weak: tickets live in the inbox, which must not keep itself alive.
        let engine = Arc::downgrade(self);
        let wake = move || {
            if let Some(engine) = engine.upgrade() {
                engine.inbox.lock().poked = true;
                engine.signal.notify_all();
            }
        };
        Ticket::new(Arc::clone(&self.thread), Arc::new(wake))
    }

    /// Queues sequences, all or none.
    pub fn submit(&self, sequences: Vec<Sequence>) -> Result<()> {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            drop(inbox);
            let error = self.lost().unwrap_or_else(|| {
                Error::new(Status::NotInitialized, "the model was closed").advise("load it again")
            });
            for mut sequence in sequences {
                // The session's turn never began.
                sequence.session = None;
                sequence.finish(crate::llm::Finish::Error, Some(error.clone()));
            }
            return Err(error);
        }
        self.stats.lock().waiting += sequences.len() as u32;
        inbox.new.extend(sequences);
        drop(inbox);
        self.signal.notify_all();
        Ok(())
    }

    /// Gives back what the engine keeps for a session.
    pub fn end_session(&self, id: u64) {
        self.inbox.lock().ended_sessions.push(id);
        self.signal.notify_all();
    }

    /// Asks the engine thread to end.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.inbox.lock().closed = true;
        self.signal.notify_all();
    }

    /// Asks the engine thread to end because the device was lost.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.stop();
    }

    /// The error of everything that is asked of it after [`Shared::lose`].
    pub fn lost(&self) -> Option<Error> {
        self.lost.load(Ordering::Acquire).then(|| {
            Error::new(Status::DeviceLost, "the model went with its lost device").advise("load it again")
        })
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub fn stats(&self) -> ModelStats {
        *self.stats.lock()
    }

    /// Whether the caller is the engine's own thread.
    pub fn is_engine_thread(&self) -> bool {
        self.thread.get() == Some(&std::thread::current().id())
    }
}
