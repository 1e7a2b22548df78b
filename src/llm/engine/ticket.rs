//! What a caller holds of a request in the engine, and what the engine writes into it.

use crate::llm::request::{Finish, Output, Piece};
use crate::{Error, Result, Status};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It waits for a place in the batch.
    Queued,
    /// Its prompt is being read.
    Prefill,
    /// It makes tokens.
    Decode,
    /// It has ended.
    Done,
}

struct State {
    stage: Stage,
    pieces: Vec<Piece>,
    output: Option<Arc<Output>>,
}

/// The shared half of a request: the engine writes, handles read.
pub(crate) struct Ticket {
    cancelled: AtomicBool,
    engine: Arc<std::sync::OnceLock<ThreadId>>,
    wake: Arc<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
    changed: Condvar,
}

impl Ticket {
    pub fn new(engine: Arc<std::sync::OnceLock<ThreadId>>, wake: Arc<dyn Fn() + Send + Sync>) -> Arc<Ticket> {
        Arc::new(Ticket {
            cancelled: AtomicBool::new(false),
            engine,
            wake,
            state: Mutex::new(State { stage: Stage::Queued, pieces: Vec::new(), output: None }),
            changed: Condvar::new(),
        })
    }

    pub fn cancel(&self) {
        if !self.cancelled.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    pub fn set_stage(&self, stage: Stage) {
        self.state.lock().stage = stage;
    }

    pub fn push(&self, piece: Piece) {
        self.state.lock().pieces.push(piece);
        self.changed.notify_all();
    }

    pub fn finish(&self, output: Output) {
        let mut state = self.state.lock();
        state.stage = Stage::Done;
        state.output = Some(Arc::new(output));
        drop(state);
        self.changed.notify_all();
    }

    fn may_wait(&self) -> Result<()> {
        if self.engine.get() == Some(&std::thread::current().id()) {
            return Err(Error::new(
                Status::Busy,
                "waiting for a request inside a callback of the same model would never end",
            )
            .advise("wait on another thread"));
        }
        Ok(())
    }

    /// Waits for the outcome, at most until `deadline`.
    pub fn outcome(&self, deadline: Option<Instant>) -> Result<Arc<Output>> {
        let mut state = self.state.lock();
        loop {
            if let Some(output) = &state.output {
                return Ok(Arc::clone(output));
            }
            match deadline {
                Some(at) if Instant::now() >= at => {
                    return Err(Error::new(Status::Timeout, "the generation has not ended yet"));
                }
                Some(at) => {
                    self.may_wait()?;
                    self.changed.wait_until(&mut state, at);
                }
                None => {
                    self.may_wait()?;
                    self.changed.wait(&mut state);
                }
            }
        }
    }
}

/// A handle to a running generation. Usable from any thread. Dropping it cancels the generation unless it is done or
/// was [detached](Generation::detach).
pub struct Generation {
    ticket: Arc<Ticket>,
    read: usize,
    detached: bool,
}

impl Generation {
    pub(crate) fn new(ticket: Arc<Ticket>) -> Generation {
        Generation { ticket, read: 0, detached: false }
    }

    /// Asks it to end. It does between two steps; what it made until then is in its output. May be called at any time,
    /// from any thread and from its callback.
    pub fn cancel(&self) {
        self.ticket.cancel();
    }

    /// A handle that can only cancel, for another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.ticket))
    }

    /// Where it is.
    pub fn stage(&self) -> Stage {
        self.ticket.state.lock().stage
    }

    /// Waits for the end. An error when it failed; [`Generation::outcome`] also has what was made until then.
    pub fn wait(&self) -> Result<Output> {
        let output = self.outcome()?;
        match (&output.finish, &output.error) {
            (Finish::Error, Some(error)) => Err(error.clone()),
            _ => Ok(output),
        }
    }

    /// Waits for the end, however it came. An error only when called from a callback of the same model.
    pub fn outcome(&self) -> Result<Output> {
        self.outcome_within(None)
    }

    /// Like [`Generation::outcome`], waiting at most `timeout`: then [`Status::Timeout`].
    pub fn outcome_within(&self, timeout: Option<Duration>) -> Result<Output> {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        Ok((*self.ticket.outcome(deadline)?).clone())
    }

    /// The outcome, if it has ended.
    pub fn poll(&self) -> Option<Output> {
        self.ticket.state.lock().output.as_deref().cloned()
    }

    /// The next piece that this handle has not returned yet; waits for it; `None` at the end.
    pub fn next_piece(&mut self) -> Result<Option<Piece>> {
        let mut state = self.ticket.state.lock();
        loop {
            if let Some(piece) = state.pieces.get(self.read) {
                self.read += 1;
                return Ok(Some(piece.clone()));
            }
            if state.output.is_some() {
                return Ok(None);
            }
            self.ticket.may_wait()?;
            self.ticket.changed.wait(&mut state);
        }
    }

    /// Lets the generation go on without this handle.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl Iterator for Generation {
    type Item = Piece;

    /// The next piece; `None` at the end or where [`Generation::next_piece`] would fail.
    fn next(&mut self) -> Option<Piece> {
        self.next_piece().ok().flatten()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.detached && self.ticket.state.lock().output.is_none() {
            self.ticket.cancel();
        }
    }
}

/// Cancels one generation; see [`Generation::cancel`].
#[derive(Clone)]
pub struct Canceller(Arc<Ticket>);

impl Canceller {
    /// Asks it to end.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}
