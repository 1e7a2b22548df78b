//! Where byte-level BPE cuts a text before it joins bytes, by the name in `tokenizer.ggml.pre`.

use crate::{Error, Result};

/// The cuts of one family of vocabularies.
pub(super) struct Cuts {
    /// Applied one after another, each to the pieces that the one before left.
    pub(super) patterns: &'static [&'static str],
    /// A piece that is a token as it stands is taken without joining.
    pub(super) whole_first: bool,
    /// BOS is added unless the file says otherwise.
    pub(super) bos: bool,
    /// Text is brought into Unicode's composed form first.
    pub(super) nfc: bool,
}

/// English contractions, words, numbers, punctuation, spaces: each with a space in front.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// As the one before; a word may take another character than a space in front, numbers have up to three digits, and
/// ends of lines stay with the punctuation before them.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// As the one before with single digits.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words are cut where lower case is followed by upper case.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";
/// What llama.cpp applies to files that name no family or `default`.
const DEFAULT: &[&str] = &[
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// The cuts for `tokenizer.ggml.pre`.
pub(super) fn cuts(pre: &str) -> Result<Cuts> {
    let plain = |patterns| Cuts { patterns, whole_first: false, bos: false, nfc: false };
    Ok(match pre {
        "default" => plain(DEFAULT),
        "gpt-2" | "gpt2" | "phi-2" | "mpt" | "olmo" | "jais" | "roberta-bpe" => plain(&[GPT2]),
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" => {
            Cuts { whole_first: true, bos: true, ..plain(&[LLAMA3]) }
        }
        "dbrx" | "smaug-bpe" => plain(&[LLAMA3]),
        "qwen2" | "deepseek-r1-qwen" => Cuts { nfc: true, ..plain(&[QWEN2]) },
        "stablelm2" | "hunyuan" | "megrez" => plain(&[QWEN2]),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => plain(&[DIGIT, GPT2]),
        "tekken" => Cuts { whole_first: true, bos: true, ..plain(&[TEKKEN]) },
        other => {
            return Err(Error::unsupported(format!(
                "the pre-tokenizer `{other}` (key tokenizer.ggml.pre) is not known"
            ))
            .advise(
                "default, gpt-2, llama-bpe, qwen2, smollm, tekken and their like are; a Hugging Face folder with \
                 tokenizer.json works for all",
            ));
        }
    })
}
