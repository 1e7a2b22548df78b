//! Chat templates: the Jinja text in a model's files that turns messages into a prompt.

use crate::Result;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of `role` that says `content`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// A compiled chat template. Usable from any thread.
#[derive(Clone)]
pub struct ChatTemplate {}

impl ChatTemplate {
    /// Compiles `source`. `bos` and `eos` are the texts of these tokens, which templates name as `bos_token` and
    /// `eos_token`.
    pub fn new(_source: &str, _bos: &str, _eos: &str) -> Result<ChatTemplate> {
        unimplemented!()
    }

    /// The prompt for `messages`. With `add_generation_prompt` it ends where the assistant's answer begins. Encode it
    /// with `add_special = false, parse_special = true`. A template that runs away or asks for too much is an error.
    pub fn render(&self, _messages: &[Message], _add_generation_prompt: bool) -> Result<String> {
        unimplemented!()
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        unimplemented!()
    }
}
