//! What a queue knows, and how its work gets to the device.

use super::flag::{CancelFlag, Flags};
use super::flight::{Asked, BOUND, Flight};
use super::lane::{self, Lane};
use super::work::{Body, ExecutionState, QueueFigures, Work};
use super::{HISTORY, MOST_PENDING, unknown};
use crate::compute::share::Share;
use crate::device::{Device, DevicePtr, Node, Stream};
use crate::memory::Space;
use crate::{Error, Result, Status};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// An execution's id is its queue's number and, in so many bits, its own.
pub(super) const SEQUENCE_BITS: u32 = 40;

static NUMBERS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The queue whose launch function this thread is in.
    static LAUNCHING: Cell<u64> = const { Cell::new(0) };
}

pub(super) struct Inner {
    pub number: u64,
    pub device: Arc<dyn Device>,
    pub share: Arc<Share>,
    pub space: Arc<Space>,
    pub flags: Flags,
    pub(super) state: Mutex<State>,
    /// Something was put on the device, ended or was withdrawn.
    pub(super) progress: Condvar,
}

pub(super) struct State {
    pub node: Arc<dyn Node>,
    pub stream: Arc<dyn Stream>,
    pub lane: Arc<Lane>,
    pub moving: Option<(Arc<dyn Node>, Arc<dyn Stream>)>,
    pub pending: VecDeque<Pending>,
    pub flight: Flight,
    /// Launches that may follow without looking at anything.
    pub(super) left: u32,
    /// The number given last, the last one that was put on the device, and the last one that is known to have ended.
    pub next: u64,
    pub launched: u64,
    pub(super) done: u64,
    /// Work on the device that has a deadline or can be stopped.
    pub watched: BTreeMap<u64, Watched>,
    /// What ended otherwise than well.
    pub(super) past: BTreeMap<u64, (ExecutionState, Error)>,
    /// The earliest deadline of what is pending or watched, or one before it.
    deadline: Option<Instant>,
    pub ended: Option<Error>,
    /// The handle is gone.
    pub closed: bool,
    pub(super) error: Option<Error>,
    pub(super) figures: QueueFigures,
}

pub(super) struct Pending {
    pub number: u64,
    pub name: Cow<'static, str>,
    since: Instant,
    deadline: Option<Instant>,
    pub touches: Option<Arc<[(DevicePtr, u64)]>>,
    pub(super) body: Body,
    /// Pieces that are on the device.
    pub piece: u32,
}

pub(super) struct Watched {
    pub name: Cow<'static, str>,
    pub flag: Option<CancelFlag>,
    deadline: Option<Instant>,
    /// How it ends.
    pub end: Option<(ExecutionState, Error)>,
}

impl Inner {
    pub fn start(
        device: &Arc<dyn Device>,
        share: &Arc<Share>,
        space: &Arc<Space>,
        node: &Arc<dyn Node>,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<Inner>> {
        lane::attach(device, share, node.units(), |lane| {
            Arc::new(Inner {
                number: NUMBERS.fetch_add(1, Relaxed),
                device: device.clone(),
                share: share.clone(),
                space: space.clone(),
                flags: Flags::default(),
                state: Mutex::new(State {
                    node: node.clone(),
                    stream,
                    lane: lane.clone(),
                    moving: None,
                    pending: VecDeque::new(),
                    flight: Flight::default(),
                    left: 0,
                    next: 0,
                    launched: 0,
                    done: 0,
                    watched: BTreeMap::new(),
                    past: BTreeMap::new(),
                    deadline: None,
                    ended: None,
                    closed: false,
                    error: None,
                    figures: QueueFigures::default(),
                }),
                progress: Condvar::new(),
            })
        })
    }

    /// The state, unless this thread is in one of the queue's own launch functions.
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_, State>> {
        if LAUNCHING.get() == self.number {
            return Err(Error::new(Status::Busy, "a launch function cannot use its own stream's queue"));
        }
        Ok(self.state.lock())
    }

    fn id(&self, number: u64) -> u64 {
        self.number << SEQUENCE_BITS | number
    }

    pub fn number_in(&self, execution: u64) -> Result<u64> {
        let number = execution & ((1 << SEQUENCE_BITS) - 1);
        if execution >> SEQUENCE_BITS == self.number && number > 0 {
            return Ok(number);
        }
        Err(unknown(execution))
    }

    /// The state when work may go straight to the device.
    #[inline]
    pub fn lock_ready(&self) -> Result<Option<MutexGuard<'_, State>>> {
        let mut state = self.lock()?;
        if !state.pending.is_empty() || state.moving.is_some() || state.ended.is_some() {
            return Ok(None);
        }
        if state.lane.signal.is_clear() && state.left > 0 {
            return Ok(Some(state));
        }
        Ok(self.make_ready(&mut state).then_some(state))
    }

    #[cold]
    fn make_ready(&self, state: &mut State) -> bool {
        let lane = state.lane.clone();
        if !lane.signal.is_clear() && !lane.try_open() {
            return false;
        }
        self.collect(state);
        state.flight.alone = lane.signal.is_quiet();
        state.left = state.room(&self.share).min(state.flight.until_closed());
        state.left > 0
    }

    /// Puts work on the device now. An error of the launch is the caller's.
    #[inline]
    pub fn put_now(&self, state: &mut State, launch: impl FnOnce(&dyn Stream) -> Result<()>) -> Result<u64> {
        state.next += 1;
        let number = state.next;
        state.left -= 1;
        match self.put(state, number, number, launch) {
            Ok(()) => Ok(self.id(number)),
            Err(e) => {
                state.remember(number, ExecutionState::Failed, e.clone());
                Err(e)
            }
        }
    }

    /// Puts one launch of execution `of` on the stream; with it everything up to `last` is there.
    #[inline]
    fn put(
        &self,
        state: &mut State,
        of: u64,
        last: u64,
        launch: impl FnOnce(&dyn Stream) -> Result<()>,
    ) -> Result<()> {
        struct Inside(u64);
        impl Drop for Inside {
            fn drop(&mut self) {
                LAUNCHING.set(self.0);
            }
        }
        let now = Instant::now();
        state.launched = last;
        state.flight.before(&*state.stream, now)?;
        let inside = Inside(LAUNCHING.replace(self.number));
        launch(&*state.stream)?;
        drop(inside);
        state.figures.launches += 1;
        state.flight.behind(&*state.stream, of, last, now)
    }

    pub fn submit(&self, work: Work) -> Result<u64> {
        if matches!(work.body, Body::Pieces { count: 0, .. }) {
            return Err(Error::argument("pieces", "must be at least 1"));
        }
        if work.timeout.is_some_and(|t| t.is_zero()) {
            return Err(Error::argument("timeout", "must not be 0"));
        }
        let since = Instant::now();
        let deadline = work.timeout.and_then(|t| since.checked_add(t));
        let door = self.space.door().try_enter();
        let mut state = self.lock()?;
        if door.is_some()
            && state.pending.is_empty()
            && state.moving.is_none()
            && state.ended.is_none()
            && ((state.lane.signal.is_clear() && state.left > 0) || self.make_ready(&mut state))
        {
            state.next += 1;
            let number = state.next;
            state.left -= 1;
            let Work { name, touches, body, .. } = work;
            let pending = Pending { number, name, since, deadline, touches, body, piece: 0 };
            self.begin(&mut state, pending);
            let unfinished = !state.pending.is_empty();
            let lane = state.lane.clone();
            let watch = state.deadline.is_some();
            drop(state);
            if unfinished || watch {
                lane.wake();
            }
            return Ok(self.id(number));
        }
        drop(door);
        while state.pending.len() >= MOST_PENDING && state.ended.is_none() {
            self.progress.wait(&mut state);
        }
        if let Some(why) = &state.ended {
            return Err(why.clone());
        }
        state.next += 1;
        let number = state.next;
        state.note_deadline(deadline);
        state.pending.push_back(Pending {
            number,
            name: work.name,
            since,
            deadline,
            touches: work.touches,
            body: work.body,
            piece: 0,
        });
        let lane = state.lane.clone();
        // The first one wakes the lane; it looks at the others without being told.
        let first = state.pending.len() == 1;
        drop(state);
        if first {
            lane.wake();
        }
        Ok(self.id(number))
    }

    /// Puts work, or its next piece, on the device; what is left of it goes back to the front of the list.
    pub(super) fn begin(&self, state: &mut State, mut work: Pending) {
        let number = work.number;
        if work.piece == 0 {
            let waited = work.since.elapsed();
            state.figures.waited += waited;
            self.share.note_queued(waited);
        }
        let flag = match &work.body {
            Body::Polled(_) => match self.flags.take(&*self.device) {
                Ok(Some(flag)) => Some(flag),
                Ok(None) => return state.pending.push_front(work),
                Err(e) => return state.fail(number, e.within(format_args!("work {:?}", work.name))),
            },
            _ => None,
        };
        let watched = flag.is_some() || work.deadline.is_some();
        let pieces = matches!(work.body, Body::Pieces { .. });
        if watched || pieces {
            // It is measured, and its end seen, apart from what is before it.
            let _ = state.flight.close(&*state.stream);
        }
        let ends = !matches!(work.body, Body::Pieces { count, .. } if work.piece + 1 < count);
        state.flight.next_asked = if ends { Asked::At(work.since) } else { Asked::Never };
        let mut rest = None;
        let ran = match work.body {
            Body::Once(launch) => caught(|| self.put(state, number, number, launch)),
            Body::Polled(launch) => {
                let given = flag.clone();
                caught(|| {
                    self.put(state, number, number, |stream| match &given {
                        Some(flag) => launch(stream, flag),
                        None => Ok(()),
                    })
                })
            }
            Body::Pieces { count, mut run } => {
                let last = work.piece + 1 == count;
                let up_to = if last { number } else { number - 1 };
                let ran = caught(|| self.put(state, number, up_to, |stream| run(work.piece, stream)));
                if !last && ran.is_ok() {
                    rest = Some(Body::Pieces { count, run });
                }
                ran
            }
        };
        if watched || pieces {
            let _ = state.flight.close(&*state.stream);
        }
        state.note_deadline(work.deadline);
        if let Some(body) = rest {
            work.piece += 1;
            state.pending.push_front(Pending { body, ..work });
            return;
        }
        match ran {
            Ok(()) if watched => {
                let watched = Watched { name: work.name, flag, deadline: work.deadline, end: None };
                state.watched.insert(number, watched);
            }
            Ok(()) => {}
            Err(e) => {
                if let Some(flag) = flag {
                    self.flags.give_back(&flag);
                }
                state.launched = number;
                state.fail(number, e.within(format_args!("work {:?}", work.name)));
            }
        }
    }

    /// Takes in what has ended on the device.
    pub fn collect(&self, state: &mut State) {
        let mut changed = false;
        while let Some(ended) = state.flight.next_ended() {
            changed = true;
            state.figures.device_time += ended.time;
            state.figures.processor_time += ended.time * state.node.processors();
            state.lane.owe(&ended);
            if let Some(latency) = ended.latency.filter(|_| ended.failure.is_none()) {
                self.share.latency().add_many(latency, ended.launches);
            }
            let from = state.done + 1;
            state.done = state.done.max(ended.last);
            if let Some(e) = ended.failure {
                if state.pending.front().is_some_and(|p| p.number == ended.of) {
                    // More pieces of it would follow.
                    state.pending.pop_front();
                    state.launched = ended.of;
                }
                for number in from..=ended.last.max(ended.of) {
                    if !state.watched.contains_key(&number) {
                        state.fail(number, e.clone());
                    } else if let Some(w) = state.watched.get_mut(&number) {
                        w.end.get_or_insert((ExecutionState::Failed, e.clone()));
                    }
                }
            }
        }
        if state.flight.is_empty() {
            state.done = state.launched;
        }
        while let Some(first) = state.watched.first_entry().filter(|w| *w.key() <= state.done) {
            let (number, watched) = first.remove_entry();
            changed = true;
            if let Some(flag) = &watched.flag {
                self.flags.give_back(flag);
            }
            match watched.end {
                Some((ExecutionState::Failed, e)) => state.fail(number, e),
                Some((how, e)) if !state.past.contains_key(&number) => state.remember(number, how, e),
                _ => {}
            }
        }
        if state.ended.is_some() && state.flight.is_empty() {
            self.flags.clear();
        }
        if changed {
            self.progress.notify_all();
        }
    }

    /// Ends what is late.
    pub fn expire(&self, state: &mut State, now: Instant) {
        if state.deadline.is_none_or(|d| now < d) {
            return;
        }
        self.collect(state);
        let late = |d: Option<Instant>| d.is_some_and(|d| d <= now);
        let mut at = 0;
        while at < state.pending.len() {
            if late(state.pending[at].deadline) {
                let e = Error::new(
                    Status::Timeout,
                    format!("work {:?} was late and was withdrawn", state.pending[at].name),
                );
                self.withdraw(state, at, ExecutionState::TimedOut, e);
            } else {
                at += 1;
            }
        }
        let running: Vec<u64> = state
            .watched
            .iter()
            .filter(|(_, w)| late(w.deadline) && w.end.is_none())
            .map(|(n, _)| *n)
            .collect();
        for number in running {
            let Some(watched) = state.watched.get_mut(&number) else { continue };
            let e = Error::new(Status::Timeout, format!("work {:?} is late", watched.name));
            let e = match &watched.flag {
                Some(flag) => {
                    flag.raise();
                    e
                }
                None => e.advise("it cannot be stopped on the device and runs on; submit work of pieces, or work that polls"),
            };
            watched.end = Some((ExecutionState::TimedOut, e.clone()));
            state.remember(number, ExecutionState::TimedOut, e.clone());
            state.error.get_or_insert(e);
        }
        let pending = state.pending.iter().filter_map(|p| p.deadline);
        let watched = state.watched.values().filter(|w| w.end.is_none()).filter_map(|w| w.deadline);
        state.deadline = pending.chain(watched).min();
        self.progress.notify_all();
    }

    /// Takes work out of the list. Of what has begun the pieces on the device run to their end.
    pub fn withdraw(&self, state: &mut State, at: usize, how: ExecutionState, why: Error) {
        let Some(work) = state.pending.remove(at) else { return };
        if work.piece > 0 && !state.flight.is_empty() {
            state.launched = work.number;
            state.flight.rename_last(work.number);
            let end = Some((how, why.clone()));
            state.watched.insert(work.number, Watched { name: work.name, flag: None, deadline: None, end });
        } else if work.piece > 0 {
            state.launched = work.number;
        }
        if how == ExecutionState::TimedOut {
            state.error.get_or_insert(why.clone());
        }
        state.remember(work.number, how, why);
        self.progress.notify_all();
    }
}

/// How a queue stands after a look.
pub(super) struct Pumped {
    pub pending: bool,
    pub flying: bool,
    /// The tenant's memory moves: work waits for that.
    pub blocked: bool,
    pub moving: bool,
    /// Nobody holds it and it has nothing to do.
    pub over: bool,
    pub outstanding: Duration,
    pub launched_at: Option<Instant>,
    pub deadline: Option<Instant>,
}

impl State {
    /// How many launches may follow now.
    pub(super) fn room(&self, share: &Share) -> u32 {
        let bound = match share.allowance(Instant::now()) {
            Some(allowance) => allowance.saturating_sub(self.lane.owed()).min(BOUND),
            None => BOUND,
        };
        self.flight.room(bound)
    }

    pub(super) fn pumped(&self, blocked: bool) -> Pumped {
        Pumped {
            pending: !self.pending.is_empty(),
            flying: !self.flight.is_empty(),
            blocked: blocked && !self.pending.is_empty(),
            moving: self.moving.is_some(),
            over: self.closed && self.pending.is_empty() && self.flight.is_empty(),
            outstanding: self.flight.outstanding(),
            launched_at: self.flight.launched_at(),
            deadline: self.deadline,
        }
    }

    /// Whether the thread that launches looks after all there is. The lane's thread then asks the driver for nothing: that
    /// would hold up the launches, which costs more than they do.
    pub(super) fn needs_nobody(&self, now: Instant) -> bool {
        self.flight.alone
            && self.flight.goes_on(now)
            && self.pending.is_empty()
            && self.watched.is_empty()
            && self.deadline.is_none()
            && self.moving.is_none()
            && self.ended.is_none()
            && !self.closed
    }

    fn note_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = [self.deadline, deadline].into_iter().flatten().min();
    }

    pub fn remember(&mut self, number: u64, how: ExecutionState, why: Error) {
        match how {
            ExecutionState::Cancelled => self.figures.cancelled += 1,
            ExecutionState::TimedOut => self.figures.timed_out += 1,
            _ => self.figures.failed += 1,
        }
        self.past.insert(number, (how, why));
        if self.past.len() > HISTORY {
            self.past.pop_first();
        }
    }

    fn fail(&mut self, number: u64, why: Error) {
        if !self.past.contains_key(&number) {
            self.remember(number, ExecutionState::Failed, why.clone());
        }
        self.error.get_or_insert(why);
    }

    pub fn has_ended(&self, number: u64) -> bool {
        number <= self.done || (self.past.contains_key(&number) && !self.watched.contains_key(&number))
    }
}

/// A launch function's panic is its execution's error.
fn caught(f: impl FnOnce() -> Result<()>) -> Result<()> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
        let text =
            text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into());
        Err(Error::new(Status::Panic, format!("a launch function panicked: {text}")))
    })
}
