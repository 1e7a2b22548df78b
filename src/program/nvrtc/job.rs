//! What the compiler is asked for, and the key under which its answer is kept.

use super::super::cuda_source::{Architecture, CudaSource};
use super::super::includes::{Search, field};
use super::Compiler;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// Options with which more is read or written than is known here.
const NOT_CACHED: [&str; 8] = [
    "--pch",
    "-pch",
    "--create-pch",
    "--use-pch",
    "--time",
    "-time",
    "--fdevice-time-trace",
    "-fdevice-time-trace",
];

/// What the compiler is asked for.
pub(super) struct Job<'a> {
    pub compiler: &'a Compiler,
    pub source: &'a CudaSource,
    pub target: Architecture,
    pub options: Vec<String>,
}

impl<'a> Job<'a> {
    pub fn new(
        compiler: &'a Compiler,
        source: &'a CudaSource,
        target: Architecture,
        given: &[&str],
    ) -> Job<'a> {
        let mut options = vec![format!("--gpu-architecture={target}")];
        options.extend(given.iter().map(|o| o.to_string()));
        let folders = source.include_paths.iter().chain(&compiler.headers);
        options.extend(folders.map(|f| format!("--include-path={}", f.display())));
        Job { compiler, source, target, options }
    }

    /// The hash over all that the image depends on; `None` where that is not known.
    pub fn key(&self) -> Option<[u8; 32]> {
        let source = self.source;
        let texts: Vec<(&str, &str)> = std::iter::once((source.name_or_default(), source.text.as_str()))
            .chain(source.headers.iter().map(|(n, t)| (n.as_str(), t.as_str())))
            .collect();
        let clock = |text: &str| ["__TIME__", "__DATE__", "__TIMESTAMP__"].iter().any(|w| text.contains(w));
        if texts.iter().any(|(_, text)| clock(text))
            || self.options.iter().any(|o| NOT_CACHED.iter().any(|n| named(o, n)))
        {
            return None;
        }
        let folders =
            values(&self.options, &["--include-path", "-I"]).into_iter().map(PathBuf::from).collect();
        let first = values(&self.options, &["--pre-include", "-include"]);
        let files = Search { texts: texts.clone(), folders, first }.digest()?;
        let compiler = self.compiler;
        let mut hash = Sha256::new();
        for text in [env!("CARGO_PKG_VERSION"), &compiler.title(), &compiler.stamp, &self.target.to_string()]
        {
            field(&mut hash, text.as_bytes());
        }
        for list in [&self.options, &source.expressions] {
            hash.update((list.len() as u64).to_le_bytes());
            list.iter().for_each(|text| field(&mut hash, text.as_bytes()));
        }
        for (name, text) in texts {
            field(&mut hash, name.as_bytes());
            field(&mut hash, text.as_bytes());
        }
        hash.update(files);
        Some(hash.finalize().into())
    }
}

impl CudaSource {
    pub(super) fn name_or_default(&self) -> &str {
        if self.name.is_empty() { "source.cu" } else { &self.name }
    }
}

/// Whether an option is the one of this name, with a value or without.
pub(super) fn named(option: &str, name: &str) -> bool {
    option.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', ' ']))
}

/// The values of options of these names: `--name=value`, `--name value` in one or in two, `-Ivalue`.
pub(super) fn values<'a>(options: &'a [String], names: &[&str]) -> Vec<&'a str> {
    let mut found = Vec::new();
    for (at, option) in options.iter().enumerate() {
        for name in names {
            let Some(rest) = option.trim().strip_prefix(name) else { continue };
            let joined = name.len() == 2 || rest.starts_with(['=', ' ']);
            match rest {
                "" => found.extend(options.get(at + 1).map(|next| next.trim())),
                rest if joined => found.push(rest.trim_start_matches(['=', ' '])),
                _ => {}
            }
        }
    }
    found
}
