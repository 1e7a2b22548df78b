//! Tokenizers of Hugging Face folders.

use super::around::Around;
use super::crated::{Crated, guard};
use super::json::Json;
use super::spelling::Spelling;
use super::{Engine, Inner, Tokenizer};
use crate::llm::file::bytes::read_bounded;
use crate::{Error, Result, Status};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// Most bytes of a `tokenizer.json`.
const MAX_TOKENIZER: u64 = 256 << 20;
const MAX_CONFIG: u64 = 64 << 20;

fn optional(path: &Path, max: u64) -> Result<Option<Vec<u8>>> {
    match read_bounded(path, max) {
        Ok(b) => Ok(Some(b)),
        Err(e) if e.status() == Status::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn parse(bytes: Option<Vec<u8>>, name: &str) -> Result<Value> {
    match bytes {
        None => Ok(Value::Null),
        Some(b) => serde_json::from_slice(&b).map_err(|e| Error::format(format!("{name}: {e}"))),
    }
}

fn read_json(dir: &Path, name: &str) -> Result<Value> {
    parse(optional(&dir.join(name), MAX_CONFIG)?, name)
}

/// Builds the tokenizer; `None` for a folder without one.
pub(in crate::llm) fn from_folder(dir: &Path) -> Result<Option<Tokenizer>> {
    let Some(bytes) = optional(&dir.join("tokenizer.json"), MAX_TOKENIZER)? else {
        for slow in ["tokenizer.model", "vocab.txt", "vocab.json"] {
            if dir.join(slow).exists() {
                return Err(Error::unsupported(format!(
                    "{} has {slow} but no tokenizer.json",
                    dir.display()
                ))
                .advise("save the tokenizer with AutoTokenizer.from_pretrained(…).save_pretrained(…)"));
            }
        }
        return Ok(None);
    };
    let map = read_json(dir, "special_tokens_map.json")?;
    let config = read_json(dir, "tokenizer_config.json")?;
    let model = read_json(dir, "config.json")?;
    let generation = read_json(dir, "generation_config.json")?;
    let ends = [model.get("eos_token_id"), generation.get("eos_token_id")];
    let ends: Vec<u32> = ends.into_iter().flatten().flat_map(ids).collect();
    build(&bytes, &[&config, &map], &ends).map(Some)
}

pub(super) fn from_json(tokenizer: &[u8], config: Option<&[u8]>) -> Result<Tokenizer> {
    let config = parse(config.map(<[u8]>::to_vec), "tokenizer_config.json")?;
    build(tokenizer, &[&config], &[])
}

/// The texts of BOS and EOS, for templates.
pub(in crate::llm) fn special_texts(dir: &Path) -> Result<(String, String)> {
    let config = read_json(dir, "tokenizer_config.json")?;
    let map = read_json(dir, "special_tokens_map.json")?;
    let text = |name: &str| named(&[&config, &map], name).unwrap_or_default().to_owned();
    Ok((text("bos_token"), text("eos_token")))
}

/// The ids in a number or an array of numbers.
fn ids(v: &Value) -> Vec<u32> {
    let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match v {
        Value::Array(a) => a.iter().filter_map(id).collect(),
        v => id(v).into_iter().collect(),
    }
}

/// The token that one of `files` gives under `key`: a string, or an object with its `content`.
fn named<'a>(files: &[&'a Value], key: &str) -> Option<&'a str> {
    files.iter().find_map(|f| {
        let v = f.get(key)?;
        v.as_str().or_else(|| v.get("content")?.as_str())
    })
}

fn build(tokenizer: &[u8], files: &[&Value], ends: &[u32]) -> Result<Tokenizer> {
    // The crate panics on some texts that are not JSON at all, so that is settled first.
    serde_json::from_slice::<Json>(tokenizer).map_err(|e| Error::format(format!("tokenizer.json: {e}")))?;
    let mut t = guard("tokenizer.json", || tokenizers::Tokenizer::from_bytes(tokenizer))?;
    // What a training run once cut or filled texts to is no business of ours.
    t.with_padding(None);
    guard("tokenizer.json", || t.with_truncation(None).map(|_| ()))?;

    let vocab = t.get_vocab(true);
    let highest = vocab.values().copied().max().unwrap_or(0) as usize;
    if highest > 4 * vocab.len() + (1 << 16) {
        return Err(Error::format(format!("tokenizer.json: {} tokens, but an id of {highest}", vocab.len())));
    }
    let mut texts = vec![None; if vocab.is_empty() { 0 } else { highest + 1 }];
    for (text, id) in vocab {
        texts[id as usize] = Some(text);
    }
    let mut control = HashSet::new();
    let mut verbatim = HashSet::new();
    for (id, added) in t.get_added_tokens_decoder() {
        if added.special {
            control.insert(id)
        } else {
            verbatim.insert(id)
        };
    }
    let decoder = serde_json::to_value(t.get_decoder())
        .map_err(|e| Error::format(format!("tokenizer.json: decoder: {e}")))?;
    let id = |names: [&str; 2]| {
        let text = names.into_iter().find_map(|n| named(files, n))?;
        t.token_to_id(text)
    };
    let bos = id(["bos_token", "cls_token"]);
    let eos = id(["eos_token", "sep_token"]);
    let mut inner = Inner {
        spelling: spelling(&decoder),
        texts,
        control,
        verbatim,
        around: Around::Processor,
        bos,
        eos: eos.or(ends.first().copied()),
        ends: HashSet::new(),
        strips_space: false,
        engine: Engine::Crated(Box::new(Crated::new(t))),
    };
    inner.find_ends(ends.iter().copied());
    Ok(Tokenizer(Arc::new(inner)))
}

/// How the decoder of a `tokenizer.json` reads a token that stands in the middle of a text.
fn spelling(decoder: &Value) -> Spelling {
    let kind = |d: &Value| d.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    match kind(decoder).as_str() {
        "ByteLevel" => Spelling::ByteLevel,
        "Metaspace" if decoder.get("replacement").and_then(Value::as_str) == Some("\u{2581}") => {
            Spelling::Metaspace { bytes: false }
        }
        "Sequence" => {
            let steps = decoder.get("decoders").and_then(Value::as_array).cloned().unwrap_or_default();
            let names: Vec<String> = steps.iter().map(kind).collect();
            let space = |s: &Value| {
                s.get("content").and_then(Value::as_str) == Some(" ")
                    && s.pointer("/pattern/String").and_then(Value::as_str) == Some("\u{2581}")
            };
            // Strip, when it is there, removes the space in front of a whole text.
            match names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["Replace", "ByteFallback", "Fuse"] | ["Replace", "ByteFallback", "Fuse", "Strip"]
                    if space(&steps[0]) =>
                {
                    Spelling::Metaspace { bytes: true }
                }
                _ => Spelling::Whole,
            }
        }
        _ => Spelling::Whole,
    }
}
