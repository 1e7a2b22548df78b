//! SentencePiece's BPE as GGUF files of tokenizer model `llama` hold it: no merge list, but a score for each token.
//!
//! A text begins as single characters, with spaces written U+2581. Of all neighbouring pairs that together are a token
//! the one with the highest score is joined first, the leftmost among equals, until there is none. A character that
//! is no token becomes its UTF-8 bytes, each the token `<0xHH>`.

use super::spelling::byte_token;
use crate::{Error, Result};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// What a token is for, as `tokenizer.ggml.token_type` numbers it.
pub(super) mod kind {
    pub(in super::super) const UNKNOWN: u32 = 2;
    pub(in super::super) const CONTROL: u32 = 3;
    pub(in super::super) const USER: u32 = 4;
    pub(in super::super) const BYTE: u32 = 6;
}

pub(super) struct Pieces {
    ids: HashMap<Box<str>, u32>,
    scores: Vec<f32>,
    kinds: Vec<u32>,
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
    /// Tokens cut out of a text before anything else, longest first, and whether they are control tokens.
    whole: Vec<(Box<str>, u32, bool)>,
    /// Whether a text gets a space in front.
    space: bool,
}

/// A stretch of text being joined; `len` 0 means that it went into its left neighbour.
struct Symbol {
    start: usize,
    len: usize,
    prev: usize,
    next: usize,
}

const NONE: usize = usize::MAX;

/// A pair that could be joined.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both when this was found; if one has changed since, the pair is stale.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl Pieces {
    /// `scores` and `kinds` are as long as `tokens`.
    pub(super) fn new(
        tokens: &[&str],
        scores: Vec<f32>,
        kinds: Vec<u32>,
        unknown: Option<u32>,
        space: bool,
    ) -> Pieces {
        let mut ids = HashMap::with_capacity(tokens.len());
        let mut bytes = [None; 256];
        let mut whole = Vec::new();
        for (id, (&token, &kind)) in tokens.iter().zip(&kinds).enumerate() {
            let id = id as u32;
            ids.entry(token.into()).or_insert(id);
            if kind == kind::BYTE
                && let Some(b) = byte_token(token)
            {
                bytes[usize::from(b)].get_or_insert(id);
            }
            if matches!(kind, kind::CONTROL | kind::USER | kind::UNKNOWN) && !token.is_empty() {
                whole.push((token.into(), id, kind != kind::USER));
            }
        }
        whole.sort_by(|a: &(Box<str>, _, _), b| b.0.len().cmp(&a.0.len()).then(a.1.cmp(&b.1)));
        Pieces { ids, scores, kinds, bytes, unknown, whole, space }
    }

    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    pub(super) fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<u32>> {
        let mut out = Vec::new();
        // The first stretch of text and each one after a special token gets the space in front.
        let mut fresh = true;
        for part in self.cut(text, parse_special) {
            match part {
                Part::Token(id) => {
                    out.push(id);
                    fresh = true;
                }
                Part::Text(t) => {
                    let lead = if self.space && fresh { "\u{2581}" } else { "" };
                    self.join(&format!("{lead}{}", t.replace(' ', "\u{2581}")), &mut out)?;
                    fresh = false;
                }
            }
        }
        Ok(out)
    }

    /// Cuts out the tokens that are found whole, each through the entire text, longest first.
    fn cut<'t>(&self, text: &'t str, parse_special: bool) -> Vec<Part<'t>> {
        let mut parts = if text.is_empty() { Vec::new() } else { vec![Part::Text(text)] };
        for (token, id, control) in &self.whole {
            if (*control && !parse_special) || !text.contains(&**token) {
                continue;
            }
            let mut cut = Vec::new();
            for part in parts {
                let Part::Text(mut t) = part else {
                    cut.push(part);
                    continue;
                };
                while let Some(at) = t.find(&**token) {
                    if at > 0 {
                        cut.push(Part::Text(&t[..at]));
                    }
                    cut.push(Part::Token(*id));
                    t = &t[at + token.len()..];
                }
                if !t.is_empty() {
                    cut.push(Part::Text(t));
                }
            }
            parts = cut;
        }
        parts
    }

    /// The token that ordinary text may become.
    fn ordinary(&self, text: &str) -> Option<u32> {
        let id = *self.ids.get(text)?;
        let special = matches!(self.kinds[id as usize], kind::CONTROL | kind::UNKNOWN | kind::BYTE);
        (!special).then_some(id)
    }

    fn join(&self, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let mut symbols: Vec<Symbol> = Vec::new();
        for (start, c) in text.char_indices() {
            let at = symbols.len();
            symbols.push(Symbol {
                start,
                len: c.len_utf8(),
                prev: if at == 0 { NONE } else { at - 1 },
                next: at + 1,
            });
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        let mut heap = BinaryHeap::new();
        let pair = |symbols: &[Symbol], left: usize, right: usize| {
            let start = symbols[left].start;
            let len = symbols[left].len + symbols[right].len;
            let id = self.ordinary(&text[start..start + len])?;
            Some(Pair { score: self.scores[id as usize], left, right, len })
        };
        for right in 1..symbols.len() {
            heap.extend(pair(&symbols, right - 1, right));
        }
        while let Some(p) = heap.pop() {
            let (left, right) = (&symbols[p.left], &symbols[p.right]);
            if left.len == 0 || right.len == 0 || left.next != p.right || left.len + right.len != p.len {
                continue;
            }
            let after = right.next;
            symbols[p.left].len = p.len;
            symbols[p.left].next = after;
            symbols[p.right].len = 0;
            if after != NONE {
                symbols[after].prev = p.left;
                heap.extend(pair(&symbols, p.left, after));
            }
            let before = symbols[p.left].prev;
            if before != NONE {
                heap.extend(pair(&symbols, before, p.left));
            }
        }
        for s in symbols.iter().filter(|s| s.len > 0) {
            let piece = &text[s.start..s.start + s.len];
            match self.ordinary(piece) {
                Some(id) => out.push(id),
                None => self.spell(piece, out)?,
            }
        }
        Ok(())
    }

    /// A character that is no token, in bytes.
    fn spell(&self, piece: &str, out: &mut Vec<u32>) -> Result<()> {
        let bytes: Option<Vec<u32>> = piece.bytes().map(|b| self.bytes[usize::from(b)]).collect();
        match (bytes, self.unknown) {
            (Some(ids), _) => out.extend(ids),
            (None, Some(id)) => out.push(id),
            (None, None) => {
                return Err(Error::format(format!(
                    "the vocabulary has no token for {piece:?}, no byte tokens and no unknown token"
                )));
            }
        }
        Ok(())
    }
}

enum Part<'t> {
    Text(&'t str),
    Token(u32),
}
