//! Sessions: conversations whose keys and values stay in the cache between turns.

use super::engine::{Generation, SessionLink};
use super::model::Model;
use super::request::{Prompt, Request};
use super::template::Message;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

fn fresh_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// What a session has said and heard. The engine writes the outcome of a turn into it.
#[derive(Default)]
pub(crate) struct History {
    tokens: Vec<u32>,
    messages: Vec<Message>,
    /// A turn in flight was a chat: its answer becomes a message.
    chatting: bool,
    busy: bool,
}

impl History {
    /// The turn has ended: these are all tokens, that is the answer.
    pub fn ended(&mut self, tokens: &[u32], answer: &str) {
        self.tokens = tokens.to_vec();
        if std::mem::take(&mut self.chatting) {
            self.messages.push(Message::new("assistant", answer));
        }
        self.busy = false;
    }
}

/// One conversation on a model. Usable from any thread; one turn at a time.
///
/// Between turns the session's pages of the key/value cache stay with it, so that a turn reads only what is new. When
/// the tenant's quota has no room for somebody else, they are taken from the session that has been idle longest; its
/// next turn then reads the whole conversation again, with the same result.
pub struct Session {
    model: Arc<Model>,
    /// What the engine knows it by; another after each reset, so that old and new are never mixed up.
    id: AtomicU64,
    history: Arc<Mutex<History>>,
}

impl Session {
    /// An empty conversation on `model`, which must be a decoder.
    pub fn new(model: &Arc<Model>) -> Result<Session> {
        model.must_generate()?;
        Ok(Session { model: Arc::clone(model), id: AtomicU64::new(fresh_id()), history: Arc::default() })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// All tokens so far, prompts and answers. While a turn runs: those before it.
    pub fn tokens(&self) -> Vec<u32> {
        self.history.lock().tokens.clone()
    }

    /// All messages so far, of turns that were chats.
    pub fn messages(&self) -> Vec<Message> {
        self.history.lock().messages.clone()
    }

    /// Adds text or tokens that the next turn continues. Messages are added with the turn itself.
    pub fn append(&self, prompt: &Prompt) -> Result<()> {
        if matches!(prompt, Prompt::Chat(_)) {
            return Err(Error::argument("prompt", "messages are given to `generate`"));
        }
        let mut history = self.idle()?;
        let tokens = self.model.tokens_of(prompt, history.tokens.is_empty())?;
        self.model.check_length(history.tokens.len() + tokens.len())?;
        history.tokens.extend(tokens);
        Ok(())
    }

    /// Starts a turn. Text and tokens continue the conversation as it is (they may be empty when something was
    /// appended); messages are added to the earlier messages, and the template renders all of them: tokens that have
    /// not changed are not read again. [`Status::Busy`] while another turn runs. When it fails at once, nothing was
    /// added.
    pub fn generate(&self, request: Request) -> Result<Generation> {
        // The lock is not held beyond this: a request that is refused drops its callbacks.
        let (before, messages) = {
            let mut history = self.idle()?;
            history.busy = true;
            (history.tokens.clone(), history.messages.clone())
        };
        let started = self.start(request, before, &messages);
        if started.is_err() {
            let mut history = self.history.lock();
            history.messages = messages;
            history.chatting = false;
            history.busy = false;
        }
        started
    }

    fn start(&self, request: Request, before: Vec<u32>, messages: &[Message]) -> Result<Generation> {
        let mut tokens = before;
        let mut chat = None;
        match &request.prompt {
            Prompt::Chat(new) => {
                let all = [messages, new].concat();
                tokens = self.model.tokens_of(&Prompt::Chat(all.clone()), true)?;
                chat = Some(all);
            }
            prompt => {
                let begins = tokens.is_empty();
                tokens.extend(self.model.tokens_of(prompt, begins)?);
            }
        }
        let sequence = self.model.sequence(request, tokens)?;
        if let Some(all) = chat {
            // Before the engine can see the turn, whose end adds the answer.
            let mut history = self.history.lock();
            history.messages = all;
            history.chatting = true;
        }
        let id = self.id.load(Ordering::Relaxed);
        self.model.start(sequence, Some(SessionLink { id, history: Arc::clone(&self.history) }))
    }

    /// Forgets the conversation and gives its pages back. [`Status::Busy`] while a turn runs.
    pub fn reset(&self) -> Result<()> {
        let mut history = self.idle()?;
        *history = History::default();
        let old = self.id.swap(fresh_id(), Ordering::Relaxed);
        drop(history);
        self.model.shared().end_session(old);
        Ok(())
    }

    fn idle(&self) -> Result<parking_lot::MutexGuard<'_, History>> {
        let history = self.history.lock();
        if history.busy {
            return Err(Error::new(Status::Busy, "a turn of this session is running")
                .advise("wait for it or cancel it"));
        }
        Ok(history)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.model.shared().end_session(self.id.load(Ordering::Relaxed));
    }
}
