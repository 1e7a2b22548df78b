//! One request inside the engine: its tokens, its pages, its sampling, its text.

use super::ticket::{Stage, Ticket};
use crate::compute::Effort;
use crate::llm::config::Pooling;
use crate::llm::request::{Finish, OnDone, OnToken, Output, Piece, Timings, TokenLogprobs};
use crate::llm::sampling::{Choice, Sampler, Stops};
use crate::llm::session::History;
use crate::llm::tokenizer::{DecodeStream, Tokenizer};
use crate::{Error, Status};
use parking_lot::Mutex;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a sequence is run for.
pub(crate) enum Want {
    /// Tokens.
    Tokens(Box<Answer>),
    /// The logits of every position.
    Logits,
    /// The pooled vector of the last layer.
    Pooled(Pooling),
    /// The last layer's vectors of every position.
    Vectors,
}

/// The session that a sequence continues.
pub(crate) struct SessionLink {
    pub id: u64,
    pub history: Arc<Mutex<History>>,
}

/// How tokens are drawn and told.
pub(crate) struct Answer {
    pub sampler: Sampler,
    pub tokenizer: Option<Tokenizer>,
    pub stream: Option<DecodeStream>,
    pub stops: Stops,
    pub max_tokens: usize,
    pub on_token: Option<OnToken>,
    pub on_done: Option<OnDone>,
    pub text: String,
    pub logprobs: Vec<TokenLogprobs>,
}

/// A request in the engine.
pub(crate) struct Sequence {
    pub ticket: Arc<Ticket>,
    pub want: Want,
    /// Prompt and answer.
    pub tokens: Vec<u32>,
    /// Token types of an encoder's text; empty for zeros.
    pub types: Vec<u32>,
    pub prompt: usize,
    /// Tokens whose keys and values are in the cache.
    pub cached: usize,
    /// Of the prompt, what the session still held.
    pub reused: usize,
    pub pages: Vec<u32>,
    pub session: Option<SessionLink>,
    /// Most tokens that prompt and answer may have together.
    pub context: usize,
    /// Logits or vectors so far.
    pub values: Vec<f32>,
    /// Sum of vectors, for the mean.
    pub sum: Vec<f64>,
    /// Its weight, and where its device time is counted.
    pub effort: Arc<Effort>,
    /// What it has saved up of its part of the batch's steps: at 1 it takes part in one.
    pub credit: f64,
    submitted: Instant,
    admitted: Option<Instant>,
    first: Option<Instant>,
    last: Option<Instant>,
    done: bool,
}

impl Sequence {
    pub fn new(ticket: Arc<Ticket>, want: Want, tokens: Vec<u32>, context: usize) -> Sequence {
        Sequence {
            ticket,
            want,
            prompt: tokens.len(),
            tokens,
            types: Vec::new(),
            cached: 0,
            reused: 0,
            pages: Vec::new(),
            session: None,
            context,
            values: Vec::new(),
            sum: Vec::new(),
            effort: Arc::default(),
            credit: 0.0,
            submitted: Instant::now(),
            admitted: None,
            first: None,
            last: None,
            done: false,
        }
    }

    /// Tokens not yet in the cache.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.cached
    }

    /// Whether its next row makes a token and nothing else is to be read before.
    pub fn is_decoding(&self) -> bool {
        matches!(self.want, Want::Tokens(_)) && self.pending() == 1 && self.tokens.len() > self.prompt
    }

    pub fn is_done(&self) -> bool {
        self.done
    }

    pub fn admit(&mut self) {
        self.admitted.get_or_insert_with(Instant::now);
        self.ticket.set_stage(if self.first.is_some() { Stage::Decode } else { Stage::Prefill });
    }

    /// Takes the token that `logits` yield. Returns why the sequence ends, if it does.
    pub fn take(&mut self, logits: &mut [f32]) -> Option<(Finish, Option<Error>)> {
        let Want::Tokens(answer) = &mut self.want else { return None };
        let choice = match answer.sampler.choose(logits, &self.tokens) {
            Ok(choice) => choice,
            Err(error) => return Some((Finish::Error, Some(error))),
        };
        let now = Instant::now();
        if self.first.is_none() {
            self.first = Some(now);
            self.ticket.set_stage(Stage::Decode);
        }
        if answer.tokenizer.as_ref().is_some_and(|t| t.is_end(choice.token)) {
            return Some((Finish::Stop, None));
        }
        self.last = Some(now);
        self.tokens.push(choice.token);
        let count = self.tokens.len() - self.prompt;
        let (told, stopped) = answer.tell(&self.ticket, choice, count as u32);
        if let Err(end) = told {
            return Some(end);
        }
        if stopped {
            return Some((Finish::StopString, None));
        }
        (count >= answer.max_tokens || self.tokens.len() >= self.context).then_some((Finish::Length, None))
    }

    /// Ends the request: tells what was held back, updates its session, and wakes who waits. Only the first call
    /// counts. The pages are the engine's to take back.
    pub fn finish(&mut self, finish: Finish, error: Option<Error>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let mut output = Output {
            text: String::new(),
            tokens: self.tokens[self.prompt..].to_vec(),
            prompt_tokens: self.prompt as u32,
            cached_tokens: self.reused as u32,
            finish,
            error,
            logprobs: Vec::new(),
            seed: 0,
            timings: self.timings(),
            values: std::mem::take(&mut self.values),
        };
        let mut on_done = None;
        if let Want::Tokens(answer) = &mut self.want {
            let natural = matches!(finish, Finish::Stop | Finish::Length);
            answer.flush(&self.ticket, finish != Finish::StopString, natural, output.tokens.len() as u32);
            output.text = std::mem::take(&mut answer.text);
            output.logprobs = std::mem::take(&mut answer.logprobs);
            output.seed = answer.sampler.seed();
            answer.on_token = None;
            on_done = answer.on_done.take();
        }
        if let Some(session) = &self.session {
            session.history.lock().ended(&self.tokens, &output.text);
        }
        if let Some(on_done) = on_done {
            // A panic here has nobody left to tell: the outcome is decided.
            let _ = catch_unwind(AssertUnwindSafe(|| on_done(&output)));
        }
        self.ticket.finish(output);
    }

    fn timings(&self) -> Timings {
        let end = Instant::now();
        let since = |from: Instant, to: Option<Instant>| to.map_or(Duration::ZERO, |to| to - from);
        let (first, last) = (self.first, self.last);
        let decode = first.map_or(Duration::ZERO, |first| since(first, last));
        let made = self.tokens.len() - self.prompt;
        let tokens_per_second =
            if made > 1 && !decode.is_zero() { (made - 1) as f64 / decode.as_secs_f64() } else { 0.0 };
        Timings {
            queue: self.admitted.unwrap_or(end) - self.submitted,
            prefill: self.admitted.map_or(Duration::ZERO, |admitted| since(admitted, first)),
            first_token: since(self.submitted, first),
            decode,
            total: end - self.submitted,
            tokens_per_second,
        }
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        // Only when the engine itself failed: nobody may be left waiting.
        self.finish(
            Finish::Error,
            Some(Error::new(Status::Internal, "the model's engine ended before this request did")),
        );
    }
}

impl Answer {
    /// Tells a token. Whether the request may go on, and whether a stop string is complete.
    fn tell(
        &mut self,
        ticket: &Ticket,
        choice: Choice,
        count: u32,
    ) -> (Result<(), (Finish, Option<Error>)>, bool) {
        let decoded = self.stream.as_mut().and_then(|stream| stream.push(choice.token)).unwrap_or_default();
        let (text, stopped) = self.stops.push(&decoded);
        self.text.push_str(&text);
        if let Some(logprob) = choice.logprob {
            self.logprobs.push(TokenLogprobs { token: choice.token, logprob, top: choice.top });
        }
        let piece = Piece { token: Some(choice.token), text, logprob: choice.logprob, count };
        (self.call(ticket, piece), stopped)
    }

    /// Tells what was held back: to the handle, and to the callback when the answer ended by itself.
    fn flush(&mut self, ticket: &Ticket, keep: bool, call: bool, count: u32) {
        let tail = self.stream.as_mut().and_then(DecodeStream::finish).unwrap_or_default();
        if !keep {
            return;
        }
        let (mut text, stopped) = self.stops.push(&tail);
        if !stopped {
            text.push_str(&self.stops.finish());
        }
        if text.is_empty() {
            return;
        }
        self.text.push_str(&text);
        let piece = Piece { token: None, text, logprob: None, count };
        if call {
            // The answer is complete, so what the callback says about going on changes nothing.
            let _ = self.call(ticket, piece);
        } else {
            ticket.push(piece);
        }
    }

    fn call(&mut self, ticket: &Ticket, piece: Piece) -> Result<(), (Finish, Option<Error>)> {
        let answer = match &mut self.on_token {
            None => Ok(Ok(true)),
            Some(on_token) => catch_unwind(AssertUnwindSafe(|| on_token(&piece))),
        };
        ticket.push(piece);
        match answer {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err((Finish::Cancelled, None)),
            Ok(Err(error)) => Err((Finish::Error, Some(error.within("the token callback failed")))),
            Err(panic) => Err((
                Finish::Error,
                Some(Error::new(
                    Status::Callback,
                    format!("the token callback panicked: {}", panic_text(&*panic)),
                )),
            )),
        }
    }
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
