//! What is asked of a model, and what comes back.

use crate::compute::Effort;
use crate::llm::sampling::Sampling;
use crate::llm::template::Message;
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// What the model continues.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// Ordinary text: control tokens spelled out in it stay text.
    Text(String),
    /// Token ids, taken as they are.
    Tokens(Vec<u32>),
    /// Messages, through the model's chat template.
    Chat(Vec<Message>),
}

/// Text that became certain with a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The token; `None` for text that was held back and comes out at the end.
    pub token: Option<u32>,
    /// The text; empty while a character or a possible stop string is incomplete.
    pub text: String,
    /// Natural logarithm of the token's probability, when asked for.
    pub logprob: Option<f32>,
    /// Tokens of the answer so far, this one included.
    pub count: u32,
}

/// Sees each token as it is made. `Ok(false)` cancels the request; an error or a panic ends it with
/// [`Finish::Error`]. Either way other requests go on.
///
/// It runs on the model's engine thread with no lock held, so the next step of all requests of this model waits for
/// it: be quick. It may call the model (submit, cancel) but must not wait for one of its requests; that is refused
/// with [`crate::Status::Busy`].
pub type OnToken = Box<dyn FnMut(&Piece) -> Result<bool> + Send>;

/// Sees the outcome, exactly once, on the engine thread, before those who wait for it. As for [`OnToken`]: be quick.
pub type OnDone = Box<dyn FnOnce(&Output) + Send>;

/// One generation.
pub struct Request {
    /// What to continue.
    pub prompt: Prompt,
    /// The most tokens to make; `None` for as many as the context holds.
    pub max_tokens: Option<u32>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The answer ends before the first of these.
    pub stop: Vec<String>,
    /// Never draw the tokens that end a text.
    pub ignore_eos: bool,
    /// Report each token's log-probability and those of this many alternatives.
    pub logprobs: Option<u32>,
    /// Called for each token.
    pub on_token: Option<OnToken>,
    /// Called with the outcome.
    pub on_done: Option<OnDone>,
    /// Its weight beside others and where its device time is counted; `None` for weight 1.
    pub effort: Option<Arc<Effort>>,
}

impl Request {
    /// A request with default sampling and up to 256 tokens.
    pub fn new(prompt: Prompt) -> Request {
        Request {
            prompt,
            max_tokens: Some(256),
            sampling: Sampling::default(),
            stop: Vec::new(),
            ignore_eos: false,
            logprobs: None,
            on_token: None,
            on_done: None,
            effort: None,
        }
    }

    /// Continues a text.
    pub fn text(prompt: impl Into<String>) -> Request {
        Request::new(Prompt::Text(prompt.into()))
    }

    /// Continues token ids.
    pub fn tokens(prompt: impl Into<Vec<u32>>) -> Request {
        Request::new(Prompt::Tokens(prompt.into()))
    }

    /// Answers messages.
    pub fn chat(messages: impl Into<Vec<Message>>) -> Request {
        Request::new(Prompt::Chat(messages.into()))
    }

    /// The same with another limit of tokens.
    #[must_use]
    pub fn with_max_tokens(mut self, n: u32) -> Request {
        self.max_tokens = Some(n);
        self
    }

    /// The same with other sampling.
    #[must_use]
    pub fn with_sampling(mut self, sampling: Sampling) -> Request {
        self.sampling = sampling;
        self
    }

    /// The same with stop strings.
    #[must_use]
    pub fn with_stop<S: Into<String>>(mut self, stop: impl IntoIterator<Item = S>) -> Request {
        self.stop = stop.into_iter().map(Into::into).collect();
        self
    }

    /// The same with a token callback.
    #[must_use]
    pub fn with_on_token(mut self, f: impl FnMut(&Piece) -> Result<bool> + Send + 'static) -> Request {
        self.on_token = Some(Box::new(f));
        self
    }
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its text.
    Stop,
    /// A stop string came.
    StopString,
    /// `max_tokens` were made, or the context is full.
    Length,
    /// It was cancelled: by its handle, its callback, or because the model was closed.
    Cancelled,
    /// It failed; see [`Output::error`]. [`crate::Status::QuotaExceeded`] when the tenant's quota left no room for its
    /// key/value cache.
    Error,
}

impl Finish {
    /// A short stable name.
    pub fn name(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::StopString => "stop_string",
            Finish::Length => "length",
            Finish::Cancelled => "cancelled",
            Finish::Error => "error",
        }
    }
}

/// When things happened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// From submission until a place in the batch was free.
    pub queue: Duration,
    /// From then until the prompt had been read and the first token drawn; zero when it never was.
    pub prefill: Duration,
    /// From submission to the first token; zero when there was none.
    pub first_token: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// From submission to the end.
    pub total: Duration,
    /// Tokens after the first, per second of `decode`; 0 for fewer than two tokens.
    pub tokens_per_second: f64,
}

/// A token's log-probability among those of its alternatives.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token drawn.
    pub token: u32,
    /// Its log-probability under the model's own distribution (temperature 1, no penalties).
    pub logprob: f32,
    /// The most likely tokens with theirs, most likely first.
    pub top: Vec<(u32, f32)>,
}

/// What a generation made.
#[derive(Clone, Debug)]
pub struct Output {
    /// The answer, without the stop string or the end token.
    pub text: String,
    /// Its tokens, without the end token; with those that made the stop string.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, tokens whose keys and values the session still held.
    pub cached_tokens: u32,
    /// Why it ended.
    pub finish: Finish,
    /// What failed, for [`Finish::Error`].
    pub error: Option<Error>,
    /// One entry a token, when asked for.
    pub logprobs: Vec<TokenLogprobs>,
    /// The seed that was used.
    pub seed: u64,
    /// When things happened.
    pub timings: Timings,
    /// Vectors or logits of requests of the crate's own.
    pub(crate) values: Vec<f32>,
}
