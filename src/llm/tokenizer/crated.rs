//! The `tokenizers` crate behind our errors.

use crate::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use tokenizers::Tokenizer;

/// A tokenizer of the crate, in two settings.
pub(super) struct Crated {
    /// Finds special tokens in text.
    finding: Tokenizer,
    /// Takes special tokens spelled out in text for text. Made when first needed: the setting belongs to the whole
    /// tokenizer, so it takes a second copy.
    plain: OnceLock<Tokenizer>,
}

/// The crate panics on some inputs that it should refuse (files are untrusted here); make that an error.
pub(super) fn guard<T>(
    what: &str,
    f: impl FnOnce() -> std::result::Result<T, tokenizers::Error>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(x)) => Ok(x),
        Ok(Err(e)) => Err(Error::format(format!("{what}: {e}"))),
        Err(_) => Err(Error::format(format!("{what}: the tokenizer's settings contradict each other"))),
    }
}

impl Crated {
    pub(super) fn new(mut tokenizer: Tokenizer) -> Crated {
        tokenizer.set_encode_special_tokens(false);
        Crated { finding: tokenizer, plain: OnceLock::new() }
    }

    pub(super) fn inner(&self) -> &Tokenizer {
        &self.finding
    }

    pub(super) fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        guard("encoding a text", || {
            let t = if parse_special {
                &self.finding
            } else {
                self.plain.get_or_init(|| {
                    let mut t = self.finding.clone();
                    t.set_encode_special_tokens(true);
                    t
                })
            };
            Ok(t.encode_fast(text, add_special)?.get_ids().to_vec())
        })
    }

    pub(super) fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        guard("decoding tokens", || self.finding.decode(ids, skip_special))
    }

    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        self.finding.token_to_id(token)
    }
}
