//! Text to token ids and back.
//!
//! `tokenizer.json` and the byte-level BPE and WordPiece vocabularies of GGUF files run on the `tokenizers` crate; the
//! SentencePiece BPE of GGUF's `llama` vocabularies is our own.

mod around;
mod crated;
mod gguf;
mod hf;
mod json;
mod pieces;
mod pretokenize;
mod spelling;
mod stream;
#[cfg(test)]
mod tests;

use crate::{Error, Result};
use around::Around;
use crated::Crated;
pub(in crate::llm) use gguf::{from_gguf, special_texts as gguf_special_texts};
pub(in crate::llm) use hf::{from_folder, special_texts as folder_special_texts};
use pieces::Pieces;
use spelling::Spelling;
use std::collections::HashSet;
use std::sync::Arc;
pub use stream::DecodeStream;

/// A model's tokenizer. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

struct Inner {
    engine: Engine,
    /// How a token's spelling becomes bytes.
    spelling: Spelling,
    /// The spelling of each id.
    texts: Vec<Option<String>>,
    /// Ids that are no text: left out when special tokens are skipped.
    control: HashSet<u32>,
    /// Ids whose spelling is their text as it is.
    verbatim: HashSet<u32>,
    around: Around,
    bos: Option<u32>,
    eos: Option<u32>,
    ends: HashSet<u32>,
    /// Whether a whole text's first space is the tokenizer's own.
    strips_space: bool,
}

enum Engine {
    Crated(Box<Crated>),
    Pieces(Box<Pieces>),
}

/// Tokens with these spellings end a generation, whatever else the files say.
const ENDS: [&str; 11] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
];

impl Tokenizer {
    /// A tokenizer from the text of a `tokenizer.json`; `config` is that of `tokenizer_config.json`, when there is
    /// one: it names BOS and EOS.
    pub fn from_json(tokenizer: &[u8], config: Option<&[u8]>) -> Result<Tokenizer> {
        hf::from_json(tokenizer, config)
    }

    /// The ids of `text`. With `add_special`, the tokens that the model expects around a text (BOS, CLS, …) are added
    /// as its files say. With `parse_special`, control tokens spelled out in the text become their ids; without it
    /// they are ordinary text: text from users goes in without it. A rendered chat template goes in with
    /// `add_special = false, parse_special = true`.
    ///
    /// A file may name tokens beyond the rows of the model's embedding; compare with the configuration's `vocab`.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        let t = &*self.0;
        let ids = match &t.engine {
            Engine::Crated(c) => {
                c.encode(text, add_special && t.around == Around::Processor, parse_special)?
            }
            Engine::Pieces(p) => p.encode(text, parse_special)?,
        };
        Ok(if add_special { t.around.add(ids, t.bos, t.eos) } else { ids })
    }

    /// The text of `ids`; bytes that are no UTF-8 become U+FFFD. With `skip_special`, control tokens have no text.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let t = &*self.0;
        if let Some(id) = ids.iter().find(|&&id| self.token_text(id).is_none()) {
            return Err(Error::argument("ids", format!("{id} is no token of this model")));
        }
        if let Engine::Crated(c) = &t.engine
            && (t.around == Around::Processor || t.spelling == Spelling::Whole)
        {
            return c.decode(ids, skip_special);
        }
        let mut bytes = Vec::new();
        for &id in ids {
            self.append(id, skip_special, &mut bytes);
        }
        let own_space = t.strips_space && bytes.first() == Some(&b' ');
        Ok(String::from_utf8_lossy(&bytes[usize::from(own_space)..]).into_owned())
    }

    /// Decodes ids one by one as they are generated. Control tokens have no text. Where a vocabulary marks words by
    /// a space in front, the first word's space is kept, since what is generated continues a text.
    pub fn stream(&self) -> DecodeStream {
        DecodeStream::new(self.clone())
    }

    /// Appends the bytes of a token; nothing for an unknown id.
    fn append(&self, id: u32, skip_special: bool, out: &mut Vec<u8>) {
        let t = &*self.0;
        let Some(text) = self.token_text(id) else { return };
        if t.control.contains(&id) {
            if !skip_special {
                out.extend_from_slice(text.as_bytes());
            }
        } else if t.verbatim.contains(&id) {
            out.extend_from_slice(text.as_bytes());
        } else {
            t.spelling.append(text, out);
        }
    }

    /// One more than the highest id that has a token.
    pub fn vocab_size(&self) -> u32 {
        self.0.texts.len() as u32
    }

    /// The token as the vocabulary spells it.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.0.texts.get(id as usize)?.as_deref()
    }

    /// The id of a token that the vocabulary spells so.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        match &self.0.engine {
            Engine::Crated(c) => c.token_id(token),
            Engine::Pieces(p) => p.token_id(token),
        }
    }

    /// The token that begins a text (BERT: CLS).
    pub fn bos(&self) -> Option<u32> {
        self.0.bos
    }

    /// The token that ends a text (BERT: SEP).
    pub fn eos(&self) -> Option<u32> {
        self.0.eos
    }

    /// Whether a model that yields `id` is done: end of text, end of turn and their like.
    pub fn is_end(&self, id: u32) -> bool {
        self.0.ends.contains(&id)
    }

    /// Whether `encode` with `add_special` puts BOS in front.
    pub fn adds_bos(&self) -> bool {
        match self.0.around {
            Around::Own { bos, .. } => bos && self.0.bos.is_some(),
            Around::Processor => {
                self.0.bos.is_some()
                    && self.encode("", true, false).is_ok_and(|ids| ids.first() == self.0.bos.as_ref())
            }
        }
    }
}

impl Inner {
    /// Adds the well-known end tokens, and those that the files name, to the ends.
    fn find_ends(&mut self, named: impl IntoIterator<Item = u32>) {
        self.ends.extend(self.eos);
        self.ends.extend(named);
        for &id in self.control.iter().chain(&self.verbatim) {
            let text = self.texts.get(id as usize).and_then(Option::as_deref);
            if text.is_some_and(|t| ENDS.contains(&t)) {
                self.ends.insert(id);
            }
        }
    }
}
