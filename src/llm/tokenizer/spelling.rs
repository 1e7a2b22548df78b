//! How a token's spelling in the vocabulary stands for bytes.

use std::sync::LazyLock;

/// The ways of spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Each byte is one character, as GPT-2 does it.
    ByteLevel,
    /// U+2581 is a space; `<0x0A>` is a byte when `bytes`.
    Metaspace { bytes: bool },
    /// A token's text depends on its neighbours; only the crate's decoder knows.
    Whole,
}

impl Spelling {
    /// Appends the bytes that `token` stands for.
    pub(super) fn append(self, token: &str, out: &mut Vec<u8>) {
        match self {
            Spelling::ByteLevel => {
                let start = out.len();
                for c in token.chars() {
                    match BYTES.get(c as usize).copied().flatten() {
                        Some(b) => out.push(b),
                        // Not spelled in bytes at all: the token is its own text.
                        None => {
                            out.truncate(start);
                            out.extend_from_slice(token.as_bytes());
                            return;
                        }
                    }
                }
            }
            Spelling::Metaspace { bytes } => match byte_token(token).filter(|_| bytes) {
                Some(b) => out.push(b),
                None => out.extend_from_slice(token.replace('\u{2581}', " ").as_bytes()),
            },
            Spelling::Whole => out.extend_from_slice(token.as_bytes()),
        }
    }
}

/// The byte that `<0xHH>` spells.
pub(super) fn byte_token(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() != 2 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(hex, 16).ok()
}

/// For each character below U+0144, the byte it stands for: printable Latin-1 for itself, the others in order from
/// U+0100 on.
static BYTES: LazyLock<Vec<Option<u8>>> = LazyLock::new(|| {
    let mut table = vec![None; 0x144];
    let mut next = 0x100;
    for b in 0..=255u8 {
        if matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) {
            table[usize::from(b)] = Some(b);
        } else {
            table[next] = Some(b);
            next += 1;
        }
    }
    table
});
