//! Text to token ids and back.

use crate::Result;

/// A model's tokenizer. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Tokenizer {}

impl Tokenizer {
    /// The ids of `text`. With `add_special`, the tokens that the model expects around a text (BOS, CLS, …) are added
    /// as its files say. With `parse_special`, control tokens spelled out in the text become their ids; without it
    /// they are ordinary text: text from users goes in without it. A rendered chat template goes in with
    /// `add_special = false, parse_special = true`.
    pub fn encode(&self, _text: &str, _add_special: bool, _parse_special: bool) -> Result<Vec<u32>> {
        unimplemented!()
    }

    /// The text of `ids`; bytes that are no UTF-8 become U+FFFD. With `skip_special`, control tokens have no text.
    pub fn decode(&self, _ids: &[u32], _skip_special: bool) -> Result<String> {
        unimplemented!()
    }

    /// Decodes ids one by one as they are generated. Control tokens have no text.
    pub fn stream(&self) -> DecodeStream {
        unimplemented!()
    }

    /// Number of ids that have a token.
    pub fn vocab_size(&self) -> u32 {
        unimplemented!()
    }

    /// The token as the vocabulary spells it.
    pub fn token_text(&self, _id: u32) -> Option<&str> {
        unimplemented!()
    }

    /// The id of a token that the vocabulary spells so.
    pub fn token_id(&self, _token: &str) -> Option<u32> {
        unimplemented!()
    }

    /// The token that begins a text (BERT: CLS).
    pub fn bos(&self) -> Option<u32> {
        unimplemented!()
    }

    /// The token that ends a text (BERT: SEP).
    pub fn eos(&self) -> Option<u32> {
        unimplemented!()
    }

    /// Whether a model that yields `id` is done: end of text, end of turn and their like.
    pub fn is_end(&self, _id: u32) -> bool {
        unimplemented!()
    }

    /// Whether `encode` with `add_special` puts BOS in front.
    pub fn adds_bos(&self) -> bool {
        unimplemented!()
    }
}

/// Text of a growing sequence of ids: each push returns the text that became certain. Owns a share of its tokenizer.
pub struct DecodeStream {}

impl DecodeStream {
    /// The text that `id` completes; `None` while the bytes so far are the start of a character (or `id` has none).
    pub fn push(&mut self, _id: u32) -> Option<String> {
        unimplemented!()
    }

    /// What is held back, with U+FFFD for an incomplete character; `None` when nothing is.
    pub fn finish(&mut self) -> Option<String> {
        unimplemented!()
    }
}
