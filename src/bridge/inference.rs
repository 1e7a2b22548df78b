//! The kinds of work that an LLM's tasks do.

use super::Llm;
use super::config::{self, GENERATION_KEYS, Generating, Map};
use crate::compute::{TaskBody, TaskContext};
use crate::llm::{EmbedOptions, Finish, Message, Prompt, Request};
use crate::{Error, Result, Status};
use std::sync::Arc;

/// Tokens of an answer when nothing is said.
const DEFAULT_TOKENS: u32 = 128;

/// Checks what a task of this kind was given.
pub(super) fn check(kind: &str, parameters: &Map) -> Result<()> {
    match kind {
        "inference" => {
            config::check_keys(parameters, &[&GENERATION_KEYS])?;
            config::generating(parameters).map(drop)
        }
        "embedding" | "tokenize" => only_text(parameters).map(drop),
        other => Err(unknown(other)),
    }
}

/// The body of a task of this kind, whose parameters [`check`] has seen.
pub(super) fn body(llm: &Arc<Llm>, kind: &str, parameters: &Map) -> Result<TaskBody> {
    match kind {
        "inference" => {
            let request = request(llm.generating(parameters)?);
            let llm = llm.clone();
            Ok(Box::new(move |context| generate(&llm, request, context)))
        }
        "embedding" => {
            let (llm, text) = (llm.clone(), only_text(parameters)?);
            Ok(Box::new(move |_| {
                let vectors = llm.model().embed(&[text], &EmbedOptions::default())?;
                Ok(serde_json::json!(vectors[0]).to_string())
            }))
        }
        "tokenize" => {
            let (llm, text) = (llm.clone(), only_text(parameters)?);
            Ok(Box::new(move |_| {
                let ids = llm.model().tokenizer()?.encode(&text, true, false)?;
                Ok(serde_json::json!(ids).to_string())
            }))
        }
        other => Err(unknown(other)),
    }
}

fn unknown(kind: &str) -> Error {
    Error::argument("taskType", format!("{kind:?} is not known"))
        .advise("known are inference, embedding and tokenize")
}

/// The engine's request for a way of generating.
pub fn request(how: Generating) -> Request {
    let prompt = match (how.prompt, how.chat) {
        (Some(text), true) => {
            let system = how.system.map(|s| Message::new("system", s));
            Prompt::Chat(system.into_iter().chain([Message::new("user", text)]).collect())
        }
        (text, _) => Prompt::Text(text.unwrap_or_default()),
    };
    Request {
        max_tokens: Some(how.max_tokens.unwrap_or(DEFAULT_TOKENS)),
        sampling: how.sampling,
        stop: how.stop,
        ignore_eos: how.ignore_eos,
        logprobs: how.logprobs,
        ..Request::new(prompt)
    }
}

fn generate(llm: &Llm, request: Request, context: &TaskContext) -> Result<String> {
    let generation = llm.model().generate(request)?;
    let canceller = generation.canceller();
    context.on_cancel(move || canceller.cancel());
    let output = generation.wait()?;
    if output.finish == Finish::Cancelled {
        return Err(Error::new(Status::Cancelled, format!("cancelled after {} tokens", output.tokens.len())));
    }
    Ok(output.text)
}

fn only_text(parameters: &Map) -> Result<String> {
    config::check_keys(parameters, &[&["text"]])?;
    parameters.get("text").cloned().ok_or_else(|| Error::argument("text", "is missing"))
}
