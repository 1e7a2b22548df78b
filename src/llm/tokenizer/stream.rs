//! Text of a growing sequence of ids.

use super::{Engine, Spelling, Tokenizer};

/// Text of a growing sequence of ids: each push returns the text that became certain. Owns a share of its tokenizer.
pub struct DecodeStream {
    tokenizer: Tokenizer,
    /// Bytes that are the start of a character.
    held: Vec<u8>,
    /// For vocabularies whose tokens depend on their neighbours: the ids since the last emitted text.
    ids: Vec<u32>,
    prefix: String,
    prefix_index: usize,
}

impl DecodeStream {
    pub(super) fn new(tokenizer: Tokenizer) -> DecodeStream {
        DecodeStream { tokenizer, held: Vec::new(), ids: Vec::new(), prefix: String::new(), prefix_index: 0 }
    }

    /// The text that `id` completes; `None` while the bytes so far are the start of a character (or `id` has none).
    pub fn push(&mut self, id: u32) -> Option<String> {
        if let (Spelling::Whole, Engine::Crated(c)) = (self.tokenizer.0.spelling, &self.tokenizer.0.engine) {
            return tokenizers::step_decode_stream(
                c.inner(),
                vec![id],
                true,
                &mut self.ids,
                &mut self.prefix,
                &mut self.prefix_index,
            )
            .ok()
            .flatten();
        }
        self.tokenizer.append(id, true, &mut self.held);
        let keep = incomplete_tail(&self.held);
        let ready = self.held.len() - keep;
        if ready == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&self.held[..ready]).into_owned();
        self.held.drain(..ready);
        Some(text)
    }

    /// What is held back, with U+FFFD for an incomplete character; `None` when nothing is.
    pub fn finish(&mut self) -> Option<String> {
        if self.held.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        Some(text)
    }
}

/// Number of bytes at the end that could become a character with more bytes after them.
fn incomplete_tail(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let rest = &bytes[bytes.len() - back..];
        match rest[0] {
            0x80..=0xbf => continue,
            0xc2..=0xf4 => {
                return match std::str::from_utf8(rest) {
                    Err(e) if e.error_len().is_none() && e.valid_up_to() == 0 => back,
                    _ => 0,
                };
            }
            _ => return 0,
        }
    }
    0
}
