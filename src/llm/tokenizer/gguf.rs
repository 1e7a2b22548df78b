//! Tokenizers from the keys of a GGUF file.

use super::around::Around;
use super::crated::{Crated, guard};
use super::pieces::{Pieces, kind};
use super::spelling::Spelling;
use super::{Engine, Inner, Tokenizer, pretokenize};
use crate::llm::file::gguf::Gguf;
use crate::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::{bert::BertNormalizer, unicode::NFC};
use tokenizers::pre_tokenizers::{
    PreTokenizerWrapper,
    bert::BertPreTokenizer,
    byte_level::ByteLevel,
    sequence::Sequence,
    split::{Split, SplitPattern},
};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

const NORMAL: u32 = 1;

/// The vocabulary as the file gives it.
struct Vocabulary<'a> {
    file: &'a Gguf,
    tokens: Vec<&'a str>,
    kinds: Vec<u32>,
}

/// Builds the tokenizer; `None` for a file without one.
pub(in crate::llm) fn from_gguf(file: &Gguf) -> Result<Option<Tokenizer>> {
    let model = match file.text("tokenizer.ggml.model")? {
        None | Some("none" | "no_vocab") => return Ok(None),
        Some(m) => m,
    };
    let tokens = file
        .texts("tokenizer.ggml.tokens")?
        .ok_or_else(|| Error::format("GGUF: `tokenizer.ggml.tokens` is missing"))?;
    let kinds = file.ints("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![NORMAL; tokens.len()]);
    if tokens.is_empty() || kinds.len() != tokens.len() || tokens.len() > 1 << 24 {
        return Err(Error::format(format!(
            "GGUF: {} tokens and {} token types do not fit together",
            tokens.len(),
            kinds.len()
        )));
    }
    let v = Vocabulary { file, tokens, kinds };
    let inner = match model {
        "gpt2" => v.byte_level()?,
        "llama" => v.pieces()?,
        "bert" => v.word_pieces()?,
        other => {
            return Err(Error::unsupported(format!("the tokenizer model `{other}` is not supported"))
                .advise(
                    "gpt2, llama and bert are; a Hugging Face folder with tokenizer.json works for all",
                ));
        }
    };
    Ok(Some(Tokenizer(Arc::new(inner))))
}

/// The texts of BOS and EOS, for templates.
pub(in crate::llm) fn special_texts(file: &Gguf) -> Result<(String, String)> {
    let tokens = file.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let text = |key: &str| -> Result<String> {
        let id = file.uint(key)?.and_then(|id| usize::try_from(id).ok());
        Ok(id.and_then(|id| tokens.get(id)).map_or_else(String::new, |&t| t.to_owned()))
    };
    Ok((text("tokenizer.ggml.bos_token_id")?, text("tokenizer.ggml.eos_token_id")?))
}

impl Vocabulary<'_> {
    /// An id that a key names.
    fn id(&self, key: &str) -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{key}");
        match self.file.uint(&key)? {
            None => Ok(None),
            Some(id) if id < self.tokens.len() as u64 => Ok(Some(id as u32)),
            // Converters write -1 for a token that there is not.
            Some(id) if id == u64::from(u32::MAX) => Ok(None),
            Some(id) => Err(Error::format(format!(
                "GGUF: `{key}` is {id}, but there are {} tokens",
                self.tokens.len()
            ))),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.file.bool(&format!("tokenizer.ggml.{key}"))?.unwrap_or(default))
    }

    fn position(&self, token: &str) -> Option<u32> {
        self.tokens.iter().position(|&t| t == token).map(|i| i as u32)
    }

    fn of_kind(&self, wanted: &[u32]) -> HashSet<u32> {
        let ids = (0u32..).zip(&self.kinds);
        ids.filter(|(_, k)| wanted.contains(k)).map(|(id, _)| id).collect()
    }

    fn inner(&self, engine: Engine, spelling: Spelling, around: Around) -> Result<Inner> {
        let mut inner = Inner {
            engine,
            spelling,
            texts: self.tokens.iter().map(|&t| Some(t.to_owned())).collect(),
            control: self.of_kind(&[kind::CONTROL, kind::UNKNOWN]),
            verbatim: self.of_kind(&[kind::USER]),
            around,
            bos: self.id("bos_token_id")?,
            eos: self.id("eos_token_id")?,
            ends: HashSet::new(),
            strips_space: false,
        };
        inner.find_ends([self.id("eot_token_id")?, self.id("eom_token_id")?].into_iter().flatten());
        Ok(inner)
    }

    fn vocab(&self) -> Vocab {
        let mut vocab = Vocab::with_capacity(self.tokens.len());
        for (id, &token) in (0u32..).zip(&self.tokens) {
            vocab.entry(token.to_owned()).or_insert(id);
        }
        vocab
    }

    fn byte_level(&self) -> Result<Inner> {
        // Files of BitNet models do not say how they cut: as Llama 3.
        let bitnet = self.file.text("general.architecture")?.is_some_and(|a| a.starts_with("bitnet"));
        let default = if bitnet { "llama-bpe" } else { "default" };
        let cuts = pretokenize::cuts(self.file.text("tokenizer.ggml.pre")?.unwrap_or(default))?;
        let merges = self
            .file
            .texts("tokenizer.ggml.merges")?
            .ok_or_else(|| Error::format("GGUF: `tokenizer.ggml.merges` is missing"))?
            .into_iter()
            .map(|m| match m.split_once(' ') {
                Some((a, b)) if !a.is_empty() && !b.is_empty() => Ok((a.to_owned(), b.to_owned())),
                _ => Err(Error::format(format!("GGUF: the merge {m:?} is not two tokens"))),
            })
            .collect::<Result<Vec<_>>>()?;
        let tokenizer = guard("GGUF: the byte-level BPE vocabulary", || {
            let model = BPE::builder()
                .vocab_and_merges(self.vocab(), merges)
                .ignore_merges(cuts.whole_first)
                .build()?;
            let mut t = tokenizers::Tokenizer::new(model);
            if cuts.nfc {
                t.with_normalizer(Some(NFC))?;
            }
            let mut steps: Vec<PreTokenizerWrapper> = Vec::new();
            for pattern in cuts.patterns {
                let pattern = SplitPattern::Regex((*pattern).to_owned());
                steps.push(Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?.into());
            }
            steps.push(ByteLevel::new(false, false, false).into());
            t.with_pre_tokenizer(Some(Sequence::new(steps)));
            t.with_decoder(Some(ByteLevel::default()));
            self.add_whole(&mut t)?;
            Ok(t)
        })?;
        let around = Around::Own {
            bos: self.flag("add_bos_token", cuts.bos)?,
            eos: self.flag("add_eos_token", false)?,
        };
        self.inner(Engine::Crated(Box::new(Crated::new(tokenizer))), Spelling::ByteLevel, around)
    }

    /// Tells the crate which tokens are found whole in a text.
    fn add_whole(&self, t: &mut tokenizers::Tokenizer) -> std::result::Result<(), tokenizers::Error> {
        let added = self.tokens.iter().zip(&self.kinds).filter(|(text, _)| !text.is_empty());
        let added = added.filter_map(|(&text, &k)| match k {
            kind::CONTROL | kind::UNKNOWN => Some(AddedToken::from(text, true).normalized(false)),
            kind::USER => Some(AddedToken::from(text, false).normalized(false)),
            _ => None,
        });
        let (special, plain): (Vec<_>, Vec<_>) = added.partition(|a| a.special);
        t.add_special_tokens(special)?;
        t.add_tokens(plain)?;
        Ok(())
    }

    fn pieces(&self) -> Result<Inner> {
        let scores = self
            .file
            .floats("tokenizer.ggml.scores")?
            .ok_or_else(|| Error::format("GGUF: `tokenizer.ggml.scores` is missing"))?;
        if scores.len() != self.tokens.len() {
            return Err(Error::format(format!(
                "GGUF: {} tokens, but {} scores",
                self.tokens.len(),
                scores.len()
            )));
        }
        let space = self.flag("add_space_prefix", true)?;
        let unknown = self.id("unknown_token_id")?.or_else(|| self.position("<unk>"));
        let pieces = Pieces::new(&self.tokens, scores, self.kinds.clone(), unknown, space);
        let around =
            Around::Own { bos: self.flag("add_bos_token", true)?, eos: self.flag("add_eos_token", false)? };
        let spelling = Spelling::Metaspace { bytes: true };
        let mut inner = self.inner(Engine::Pieces(Box::new(pieces)), spelling, around)?;
        inner.strips_space = space;
        inner.bos = inner.bos.or_else(|| self.position("<s>"));
        inner.eos = inner.eos.or_else(|| self.position("</s>"));
        inner.ends.extend(inner.eos);
        Ok(inner)
    }

    /// WordPiece. Converters write a word's first piece with U+2581 in front and the others bare; the crate wants
    /// them bare and with `##` in front. Tokens in brackets are as they are.
    fn word_pieces(&self) -> Result<Inner> {
        let bracketed = |t: &str| t.starts_with('[') && t.ends_with(']');
        let spelled: Vec<String> = self
            .tokens
            .iter()
            .zip(&self.kinds)
            .map(|(&t, &k)| match t.strip_prefix('\u{2581}') {
                Some(word) => word.to_owned(),
                None if bracketed(t) || k == kind::CONTROL || k == kind::UNKNOWN => t.to_owned(),
                None => format!("##{t}"),
            })
            .collect();
        // A vocabulary without capitals was made for text without them.
        let lowercase = !self.tokens.iter().any(|t| !bracketed(t) && t.chars().any(char::is_uppercase));
        let by_name = |name: &str| spelled.iter().position(|t| t == name).map(|i| i as u32);
        let unknown = match self.id("unknown_token_id")?.or_else(|| by_name("[UNK]")) {
            Some(id) => spelled[id as usize].clone(),
            None => return Err(Error::format("GGUF: the WordPiece vocabulary has no unknown token")),
        };
        let tokenizer = guard("GGUF: the WordPiece vocabulary", || {
            let mut vocab = Vocab::with_capacity(spelled.len());
            for (id, token) in (0u32..).zip(&spelled) {
                vocab.entry(token.clone()).or_insert(id);
            }
            let model = WordPiece::builder().vocab(vocab).unk_token(unknown).build()?;
            let mut t = tokenizers::Tokenizer::new(model);
            t.with_normalizer(Some(BertNormalizer::new(true, true, None, lowercase)))?;
            t.with_pre_tokenizer(Some(BertPreTokenizer));
            t.with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::default()));
            self.add_whole(&mut t)?;
            Ok(t)
        })?;
        let around = Around::Own { bos: true, eos: true };
        let mut inner =
            self.inner(Engine::Crated(Box::new(Crated::new(tokenizer))), Spelling::Whole, around)?;
        inner.bos = self.id("cls_token_id")?.or_else(|| by_name("[CLS]")).or(inner.bos);
        // The key is spelled so in the format.
        let separator = match self.id("seperator_token_id")? {
            Some(id) => Some(id),
            None => self.id("separator_token_id")?,
        };
        inner.eos = separator.or_else(|| by_name("[SEP]")).or(inner.eos);
        inner.texts = spelled.into_iter().map(Some).collect();
        Ok(inner)
    }
}
