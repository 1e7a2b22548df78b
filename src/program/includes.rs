//! Which files a source may include, so that a change of any of them is seen.
//!
//! NVRTC does not tell what it has read. So every `#include` and `__has_include` that stands anywhere in a text (in a
//! comment, in a branch that is not taken) is looked up everywhere where the compiler might look, and all files that
//! are found so are read and looked through in turn: more than is included, never less. Where a header computes a name by a macro,
//! names, sizes and times of all files of the include folders are taken as well; where the source itself does, nothing
//! can be told.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Beyond these the answer is that nothing can be said.
const MOST_FILES: usize = 10_000;
const MOST_BYTES: u64 = 256 << 20;
const MOST_LISTED: usize = 50_000;
const MOST_DEPTH: usize = 32;

/// One mention of another file.
#[derive(Debug, PartialEq, Eq)]
enum Mention {
    /// `"name"`: looked for beside the file that has it first.
    Quoted(String),
    /// `<name>`.
    Angled(String),
    /// Made by a macro.
    Computed,
}

/// The words that name a file, and whether they are directives.
const WORDS: [(&str, bool); 6] = [
    ("include", true),
    ("include_next", true),
    ("import", true),
    ("embed", true),
    ("__has_include", false),
    ("__has_include_next", false),
];

/// Everything that a text mentions.
fn mentions(text: &str) -> Vec<Mention> {
    let bytes = text.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        if !word(bytes[at]) {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && word(bytes[at]) {
            at += 1;
        }
        let Some((_, directive)) = WORDS.iter().find(|(w, _)| w.as_bytes() == &bytes[start..at]) else {
            continue;
        };
        if *directive && !after_hash(&text[..start]) {
            continue;
        }
        let mut rest = blank(&text[at..]);
        if !directive {
            match rest.strip_prefix('(') {
                Some(inner) => rest = blank(inner),
                // `defined(__has_include)` and the like.
                None => continue,
            }
        }
        let named = |close: char| {
            let line = rest[1..].split('\n').next().unwrap_or("");
            line.split_once(close).map(|(name, _)| name.to_owned())
        };
        found.push(match rest.as_bytes().first() {
            Some(b'"') => named('"').map_or(Mention::Computed, Mention::Quoted),
            Some(b'<') => named('>').map_or(Mention::Computed, Mention::Angled),
            _ => Mention::Computed,
        });
    }
    found
}

/// A text without the blanks, comments and joined lines at its beginning.
fn blank(mut text: &str) -> &str {
    loop {
        let next = text.trim_start_matches([' ', '\t', '\r', '\x0b', '\x0c']);
        let next = next.strip_prefix("\\\n").or_else(|| next.strip_prefix("\\\r\n")).unwrap_or(next);
        let next = match next.strip_prefix("/*") {
            Some(comment) => comment.split_once("*/").map_or("", |(_, rest)| rest),
            None => next,
        };
        if next.len() == text.len() {
            return text;
        }
        text = next;
    }
}

/// Whether a text ends in `#`, not counting blanks, comments and joined lines behind it.
fn after_hash(mut text: &str) -> bool {
    loop {
        let next = text.trim_end_matches([' ', '\t', '\r', '\x0b', '\x0c']);
        let next = next.strip_suffix("\\\n").or_else(|| next.strip_suffix("\\\r\n")).unwrap_or(next);
        let next = match next.strip_suffix("*/") {
            Some(comment) => comment.rfind("/*").map_or("", |at| &comment[..at]),
            None => next,
        };
        if next.len() == text.len() {
            return text.ends_with('#') || text.ends_with("%:") || text.ends_with("??=");
        }
        text = next;
    }
}

/// Where a compilation looks for headers.
pub(super) struct Search<'a> {
    /// Texts in memory: the source and its headers, with their names.
    pub texts: Vec<(&'a str, &'a str)>,
    /// Include folders, in order.
    pub folders: Vec<PathBuf>,
    /// Headers that options include before the source.
    pub first: Vec<&'a str>,
}

impl Search<'_> {
    /// A hash over every file that may be included, with its path; `None` when that cannot be told.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut files: BTreeMap<PathBuf, [u8; 32]> = BTreeMap::new();
        let mut waiting: Vec<PathBuf> = Vec::new();
        let (mut computed, mut bytes) = (0, 0u64);
        let mut beside: Vec<PathBuf> = vec![PathBuf::from(".")];
        beside.extend(self.texts.iter().filter_map(|(name, _)| Some(Path::new(name).parent()?.to_owned())));
        beside.sort();
        beside.dedup();
        let take = |text: &str, own: Option<&Path>, waiting: &mut Vec<PathBuf>| {
            let mut computed = 0;
            for mention in mentions(text) {
                let name = match mention {
                    Mention::Computed => {
                        computed += 1;
                        continue;
                    }
                    Mention::Quoted(name) | Mention::Angled(name) => name,
                };
                let folders = self.folders.iter().chain(&beside).map(PathBuf::as_path).chain(own);
                waiting.extend(folders.map(|f| f.join(&name)));
            }
            computed
        };
        for (_, text) in &self.texts {
            if take(text, None, &mut waiting) > 0 {
                return None;
            }
        }
        for name in &self.first {
            take(&format!("#include \"{name}\""), None, &mut waiting);
        }
        while let Some(path) = waiting.pop() {
            if files.contains_key(&path) || !path.is_file() {
                continue;
            }
            let content = std::fs::read(&path).ok()?;
            bytes += content.len() as u64;
            if files.len() >= MOST_FILES || bytes > MOST_BYTES {
                return None;
            }
            files.insert(path.clone(), Sha256::digest(&content).into());
            computed += take(&String::from_utf8_lossy(&content), path.parent(), &mut waiting);
        }
        let mut hash = Sha256::new();
        for (path, content) in &files {
            field(&mut hash, path.as_os_str().as_encoded_bytes());
            hash.update(content);
        }
        if computed > 0 {
            let mut left = MOST_LISTED;
            for folder in &self.folders {
                list(folder, &mut hash, &mut left, MOST_DEPTH)?;
            }
        }
        Some(hash.finalize().into())
    }
}

/// One field of a hash, so that no two different lists of fields are the same bytes.
pub(super) fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// Names, sizes and times of all files in a folder; `None` when there are too many.
fn list(folder: &Path, hash: &mut Sha256, left: &mut usize, depth: usize) -> Option<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Some(()) };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        *left = left.checked_sub(1)?;
        paths.push(entry.ok()?.path());
    }
    paths.sort();
    for path in paths {
        let Ok(data) = std::fs::metadata(&path) else { continue };
        if data.is_dir() {
            list(&path, hash, left, depth.checked_sub(1)?)?;
        } else {
            field(hash, path.as_os_str().as_encoded_bytes());
            for n in [data.len() as i64, data.mtime(), data.mtime_nsec()] {
                hash.update(n.to_le_bytes());
            }
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mention_is_seen() {
        let quoted = |n: &str| Mention::Quoted(n.into());
        let angled = |n: &str| Mention::Angled(n.into());
        let text = "#include \"a.h\"\n # /* x */ include <b.h>\n#\\\ninclude /**/ \"c.h\"\n%:include <d.h>\n\
                    const char* s = \"/*\";\n#include <e.h>\n#if __has_include(<f.h>)\n#endif\n#include MACRO\n\
                    #ifdef __has_include\nint include; // include \"g.h\"\n#include_next <i.h>\n";
        assert_eq!(
            mentions(text),
            [
                quoted("a.h"),
                angled("b.h"),
                quoted("c.h"),
                angled("d.h"),
                angled("e.h"),
                angled("f.h"),
                Mention::Computed,
                angled("i.h"),
            ]
        );
        assert!(mentions("include").is_empty() && mentions("#include").len() == 1);
        assert_eq!(mentions("// ö #include \"ö.h\""), [quoted("ö.h")]);
    }

    #[test]
    fn a_change_anywhere_changes_the_digest() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("one")).unwrap();
        std::fs::create_dir(at("two")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(at(name), text).unwrap();
        write("two/a.h", "#include \"deep.h\"\n");
        write("two/deep.h", "1");
        write("two/other.h", "1");
        let text = "#include \"a.h\"\n";
        let digest = |text: &str| {
            let folders = vec![at("one"), at("two")];
            Search { texts: vec![("k.cu", text)], folders, first: vec![] }.digest().unwrap()
        };
        let mut last = digest(text);
        assert_eq!(last, digest(text));
        write("two/other.h", "2");
        assert_eq!(last, digest(text), "a file that nobody includes");
        for change in [("two/deep.h", "2"), ("two/a.h", "#include \"deep.h\"\n\n"), ("one/a.h", "before it")]
        {
            write(change.0, change.1);
            let now = digest(text);
            assert_ne!(last, now, "{change:?}");
            last = now;
        }
        // With a computed name everything counts, but not where the source has it.
        write("two/a.h", "#include WHICH\n");
        let last = digest(text);
        write("two/other.h", "three");
        assert_ne!(last, digest(text));
        assert!(
            Search { texts: vec![("k.cu", "#include X")], folders: vec![], first: vec![] }.digest().is_none()
        );
    }
}
