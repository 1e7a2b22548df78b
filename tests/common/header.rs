//! Writes the C header from `src/ffi`, in memory.

use std::path::{Path, PathBuf};

/// The folder of the crate.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of `src/ffi`, the types first, then by name.
pub fn sources() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join("src/ffi"))
        .expect("src/ffi")
        .map(|entry| entry.expect("an entry of src/ffi").path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect();
    let types = |path: &PathBuf| path.ends_with("types.rs") || path.ends_with("virtual_types.rs");
    files.sort_by_key(|path| (!types(path), path.clone()));
    files
}

/// The header as it should be.
pub fn generate() -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    config.after_includes = Some(macros());
    config.header = config.header.map(|text| format!("{}\n{}", text.trim_end(), contract()));
    let mut builder = cbindgen::Builder::new().with_config(config);
    // mod.rs would bring every module in a second time.
    for file in sources().into_iter().filter(|f| !f.ends_with("mod.rs")) {
        builder = builder.with_src(file);
    }
    let mut text = Vec::new();
    builder.generate().expect("cbindgen").write(&mut text);
    polish(&String::from_utf8(text).expect("a header in UTF-8"))
}

/// The version of the crate and what makes a function visible.
fn macros() -> String {
    let part = |text: &str| text.parse::<u32>().expect("a number in the version");
    let (major, minor, patch) = (
        part(env!("CARGO_PKG_VERSION_MAJOR")),
        part(env!("CARGO_PKG_VERSION_MINOR")),
        part(env!("CARGO_PKG_VERSION_PATCH")),
    );
    let number = major * 1_000_000 + minor * 1_000 + patch;
    format!(
        "
/* The version of this header; cw_version_number tells the library's. */
#define CW_VERSION_MAJOR {major}
#define CW_VERSION_MINOR {minor}
#define CW_VERSION_PATCH {patch}
#define CW_VERSION_NUMBER {number}

#ifndef CW_API
#if defined(__GNUC__) || defined(__clang__)
#define CW_API __attribute__((visibility(\"default\")))
#else
#define CW_API
#endif
#endif"
    )
}

/// The contract of the border, from the docs of `src/ffi/mod.rs`.
fn contract() -> String {
    let text = std::fs::read_to_string(root().join("src/ffi/mod.rs")).expect("src/ffi/mod.rs");
    let mut lines: Vec<String> = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(|line| format!(" *{}", line.replace('`', "")))
        .collect();
    lines.insert(0, "/*".to_owned());
    lines.push(" */".to_owned());
    lines.join("\n")
}

/// Makes handles opaque (an array of no bytes is not C11) and drops the headings meant for Rust.
fn polish(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut opaque = Vec::new();
    while let Some(at) = lines.iter().position(|line| line.trim() == "uint8_t _opaque[0];") {
        assert!(
            lines[at - 1].starts_with("typedef struct ") && lines[at - 1].ends_with(" {"),
            "{}",
            lines[at - 1]
        );
        let name = lines[at - 1].trim_start_matches("typedef struct ").trim_end_matches(" {").to_owned();
        lines[at - 1] = "@opaque";
        lines.drain(at..at + 2);
        opaque.push(name);
    }
    let mut out = String::new();
    let mut names = opaque.iter();
    let mut after_heading = false;
    for line in lines {
        let bare = line.trim();
        if bare == "// # Safety" {
            after_heading = true;
            continue;
        }
        if bare.starts_with("// Always safe;") {
            // Says nothing to C; nor does the empty line before it.
            out.truncate(out.trim_end().trim_end_matches('/').len());
            continue;
        }
        if std::mem::take(&mut after_heading) && bare == "//" {
            continue;
        }
        if line == "@opaque" {
            let name = names.next().expect("as many names as marks");
            out.push_str(&format!("typedef struct {name} {name};\n"));
        } else {
            out.push_str(&line.replace('`', ""));
            out.push('\n');
        }
    }
    out
}
