//! The engine thread.

use super::{Inbox, Pages, Sequence, Shared, Want, panic_text};
use crate::llm::net::decoder::{Decoder, StepLimits};
use crate::llm::net::encoder::Encoder;
use crate::llm::net::scratch::Scratch;
use crate::llm::request::Finish;
use crate::memory::SharedMapping;
use crate::ops::Ops;
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// After this long without work the free end of the key/value cache is given back.
const IDLE: Duration = Duration::from_millis(500);

/// The network and what it runs on.
pub(crate) enum Net {
    /// Generates.
    Decoder { net: Decoder, pages: Pages, limits: StepLimits, prefill_rows: u32, mixed_rows: u32 },
    /// Embeds; so many rows a step.
    Encoder { net: Encoder, rows: u32 },
}

/// What a session keeps between turns.
struct Kept {
    tokens: Vec<u32>,
    pages: Vec<u32>,
    turn: u64,
}

/// The state of the engine thread. Dropping it gives all memory back.
pub(crate) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) tenant: Arc<Tenant>,
    pub(super) ops: Arc<dyn Ops>,
    pub(super) units: Vec<u32>,
    pub(super) node_version: u64,
    pub(super) net: Net,
    pub(super) vocab: u32,
    pub(super) dim: u32,
    pub(super) running: Vec<Sequence>,
    /// Set when a sequence gave up its pages: nobody joins until one has ended.
    pub(super) full: bool,
    pub(super) logits: Vec<f32>,
    pub(super) hidden: Vec<f32>,
    pub(super) scratch: Scratch,
    waiting: VecDeque<Sequence>,
    kept: HashMap<u64, Kept>,
    turn: u64,
    max_sequences: usize,
    /// Declared last: unmapped when nothing can use it any more.
    _weights: SharedMapping,
}

/// What a worker is made of.
pub(crate) struct Parts {
    pub shared: Arc<Shared>,
    pub tenant: Arc<Tenant>,
    pub ops: Arc<dyn Ops>,
    pub units: Vec<u32>,
    pub node_version: u64,
    pub net: Net,
    pub vocab: u32,
    pub dim: u32,
    pub scratch: Scratch,
    pub max_sequences: usize,
    pub weights: SharedMapping,
}

impl Worker {
    pub fn new(parts: Parts) -> Worker {
        Worker {
            shared: parts.shared,
            tenant: parts.tenant,
            ops: parts.ops,
            units: parts.units,
            node_version: parts.node_version,
            net: parts.net,
            vocab: parts.vocab,
            dim: parts.dim,
            running: Vec::new(),
            full: false,
            logits: Vec::new(),
            hidden: Vec::new(),
            scratch: parts.scratch,
            waiting: VecDeque::new(),
            kept: HashMap::new(),
            turn: 0,
            max_sequences: parts.max_sequences,
            _weights: parts.weights,
        }
    }

    /// Runs until the model is closed. Every request has ended when it returns.
    pub fn run(mut self) {
        let _ = self.shared.thread.set(std::thread::current().id());
        crate::compute::serve(self.tenant.id());
        let ended = catch_unwind(AssertUnwindSafe(|| while self.turn() {}));
        self.shared.stop();
        self.collect(false);
        let (finish, error) = match &ended {
            Ok(()) => match self.shared.lost() {
                Some(lost) => (Finish::Error, Some(lost)),
                None => (Finish::Cancelled, None),
            },
            Err(panic) => (
                Finish::Error,
                Some(Error::new(Status::Panic, format!("the engine panicked: {}", panic_text(&**panic)))),
            ),
        };
        for mut sequence in self.running.drain(..).chain(self.waiting.drain(..)) {
            sequence.finish(finish, error.clone());
        }
        // Recorded steps hold addresses of the memory that goes now.
        self.ops.forget();
        self.report();
    }

    /// One round: look at the inbox, admit, step. False when the model is closed.
    fn turn(&mut self) -> bool {
        let idle = self.running.is_empty() && self.waiting.is_empty();
        self.collect(idle);
        if self.shared.is_stopping() {
            return false;
        }
        self.drop_cancelled();
        self.admit();
        if self.running.is_empty() {
            self.report();
            return true;
        }
        if let Err(error) = self.follow_node() {
            self.fail_running(&error);
        }
        self.step();
        self.reap();
        self.report();
        crate::telemetry::log::flush();
        true
    }

    /// Takes what the inbox holds; with `wait`, waits for something first.
    fn collect(&mut self, wait: bool) {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.inbox.lock();
        let empty = |inbox: &Inbox| {
            inbox.new.is_empty() && inbox.ended_sessions.is_empty() && !inbox.poked && !inbox.closed
        };
        if wait && empty(&inbox) {
            let spare = matches!(&self.net, Net::Decoder { pages, .. } if pages.spare() > 0);
            if spare && shared.signal.wait_for(&mut inbox, IDLE).timed_out() && empty(&inbox) {
                drop(inbox);
                self.trim();
                self.report();
                inbox = shared.inbox.lock();
            }
            while empty(&inbox) {
                shared.signal.wait(&mut inbox);
            }
        }
        inbox.poked = false;
        let new = std::mem::take(&mut inbox.new);
        let ended = std::mem::take(&mut inbox.ended_sessions);
        drop(inbox);
        self.waiting.extend(new);
        for id in ended {
            self.forget_session(id);
        }
    }

    fn trim(&mut self) {
        if let Net::Decoder { pages, .. } = &mut self.net {
            // Not being able to give memory back early changes nothing for anybody's request.
            let _ = pages.trim();
        }
    }

    fn forget_session(&mut self, id: u64) {
        if let Some(kept) = self.kept.remove(&id) {
            self.give(kept.pages);
        }
        for sequence in self.running.iter_mut().chain(self.waiting.iter_mut()) {
            let linked = sequence.session.as_ref().is_some_and(|session| session.id == id);
            if let Some(session) = sequence.session.take_if(|_| linked) {
                session.history.lock().ended(&sequence.tokens, "");
            }
        }
    }

    fn drop_cancelled(&mut self) {
        for at in 0..self.running.len() {
            if self.running[at].ticket.is_cancelled() {
                self.running[at].finish(Finish::Cancelled, None);
            }
        }
        self.reap();
        for sequence in &mut self.waiting {
            if sequence.ticket.is_cancelled() {
                sequence.finish(Finish::Cancelled, None);
            }
        }
        let (done, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(Sequence::is_done);
        self.waiting = waiting;
        let done: VecDeque<Sequence> = done;
        for mut sequence in done {
            self.put_away(&mut sequence);
        }
    }

    fn admit(&mut self) {
        if self.running.is_empty() {
            self.full = false;
        }
        while !self.full && self.running.len() < self.max_sequences {
            let Some(mut sequence) = self.waiting.pop_front() else { break };
            self.take_up(&mut sequence);
            sequence.admit();
            self.running.push(sequence);
        }
    }

    /// Continues with what the session kept, as far as the tokens agree.
    fn take_up(&mut self, sequence: &mut Sequence) {
        let Some(session) = &sequence.session else { return };
        if !sequence.pages.is_empty() {
            return;
        }
        let Some(mut kept) = self.kept.remove(&session.id) else { return };
        let same = kept.tokens.iter().zip(&sequence.tokens).take_while(|(a, b)| a == b).count();
        // The last token is always read: its row yields the next one.
        sequence.cached = same.min(sequence.tokens.len() - 1);
        sequence.reused = sequence.cached.min(sequence.prompt);
        let surplus = match &self.net {
            Net::Decoder { pages, .. } => {
                let whole = sequence.cached.div_ceil(pages.layout().page_tokens as usize);
                kept.pages.split_off(whole.min(kept.pages.len()))
            }
            Net::Encoder { .. } => Vec::new(),
        };
        sequence.pages = kept.pages;
        self.give(surplus);
    }

    /// Keeps or gives back the pages of a sequence that has ended.
    fn put_away(&mut self, sequence: &mut Sequence) {
        let pages = std::mem::take(&mut sequence.pages);
        match &sequence.session {
            Some(session) if sequence.cached > 0 => {
                self.turn += 1;
                let mut tokens = std::mem::take(&mut sequence.tokens);
                tokens.truncate(sequence.cached);
                let kept = Kept { tokens, pages, turn: self.turn };
                if let Some(old) = self.kept.insert(session.id, kept) {
                    self.give(old.pages);
                }
            }
            // A session's turn that never ran leaves what the turns before it kept.
            _ => self.give(pages),
        }
        self.full = false;
    }

    /// Removes ended sequences from the batch.
    pub(super) fn reap(&mut self) {
        if !self.running.iter().any(Sequence::is_done) {
            return;
        }
        let (done, running) = std::mem::take(&mut self.running).into_iter().partition(Sequence::is_done);
        self.running = running;
        let done: Vec<Sequence> = done;
        for mut sequence in done {
            self.put_away(&mut sequence);
        }
    }

    pub(super) fn fail_running(&mut self, error: &Error) {
        // Once for all of them: what they hand on are clones.
        crate::telemetry::history::record(error);
        let (many, id) = (self.running.len(), self.tenant.id());
        crate::log!(Warn, "model", "{many} requests of tenant {id:?} failed: {error}");
        for sequence in &mut self.running {
            sequence.finish(Finish::Error, Some(error.clone()));
        }
        self.reap();
    }

    pub(super) fn give(&mut self, freed: Vec<u32>) {
        if let Net::Decoder { pages, .. } = &mut self.net {
            pages.give(freed);
        }
    }

    /// Takes the pages of the session that has been idle longest. False when none has any.
    pub(super) fn evict_idle(&mut self) -> bool {
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.turn).map(|(id, _)| *id);
        let Some(kept) = oldest.and_then(|id| self.kept.remove(&id)) else { return false };
        self.give(kept.pages);
        true
    }

    /// All running sequences found no page. The youngest gives up its own; one that is alone ends.
    pub(super) fn relieve(&mut self, error: Error) {
        let holds = |sequence: &Sequence| !sequence.pages.is_empty();
        let holders = self.running.iter().filter(|s| holds(s)).count();
        match self.running.iter().rposition(holds).filter(|at| *at > 0 && holders > 0) {
            Some(at) => {
                let mut sequence = self.running.remove(at);
                let pages = std::mem::take(&mut sequence.pages);
                sequence.cached = 0;
                sequence.values.clear();
                sequence.sum.clear();
                self.give(pages);
                self.waiting.push_front(sequence);
                self.full = true;
                self.shared.stats.lock().preemptions += 1;
            }
            None => {
                let made = self.running[0].tokens.len() - self.running[0].prompt;
                let error = error
                    .within(format!("key/value cache, after {made} tokens"))
                    .advise("raise the tenant's memory limit, shorten the prompt or max_tokens, or use a smaller KV type");
                self.running[0].finish(Finish::Error, Some(error));
                self.reap();
            }
        }
    }

    /// Moves to the tenant's present node when it was given another.
    fn follow_node(&mut self) -> Result<()> {
        let version = self.tenant.node_version();
        if version == self.node_version {
            return Ok(());
        }
        let node = self.tenant.node()?;
        let ops = self.tenant.ops()?;
        // Steps wait for their end, so the present operations do nothing any more; what they recorded holds addresses of
        // the scratch.
        self.ops.forget();
        self.scratch.hand_over(&*ops)?;
        self.ops = ops;
        self.units = node.units().to_vec();
        self.node_version = version;
        Ok(())
    }

    fn report(&self) {
        let queued = self.shared.inbox.lock().new.len();
        let mut stats = self.shared.stats.lock();
        stats.running = self.running.len() as u32;
        stats.waiting = (self.waiting.len() + queued) as u32;
        if let Net::Decoder { pages, .. } = &self.net {
            stats.kv_bytes = pages.bytes();
            stats.kv_pages = pages.used();
        }
    }

    /// Whether nobody in the batch wants its results any more.
    pub(super) fn all_cancelled(&self) -> bool {
        self.shared.is_stopping() || self.running.iter().all(|s| s.ticket.is_cancelled())
    }

    /// Logits that the sequence at `at` may want of its next rows.
    pub(super) fn wants_all_logits(&self, at: usize) -> bool {
        matches!(self.running[at].want, Want::Logits)
    }
}
