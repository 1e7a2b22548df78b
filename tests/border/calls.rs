//! The exports as the header declares them, and a C library with one wrapper for each, so that a test can call any of
//! them with words for arguments.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What an argument is, by its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A handle of this type.
    Handle(String),
    /// A place for a handle of this type.
    HandleOut(String),
    /// A struct of this type; read only when true.
    Struct(String, bool),
    /// Text of the caller.
    Text,
    /// A place for text.
    Buffer,
    /// A place for values of this many bytes.
    Out(usize),
    /// Values of the caller, of this many bytes.
    In(usize),
    /// User data of a callback.
    UserData,
    /// The function that gives user data back.
    Drop,
    /// Another function of the application.
    Function,
    /// An integer.
    Integer,
    /// A floating-point number of this many bytes.
    Float(usize),
}

#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    pub kind: Kind,
    c_type: String,
}

#[derive(Clone, Debug)]
pub struct Export {
    pub name: String,
    pub parameters: Vec<Parameter>,
    /// Whether it returns a `cw_status`.
    pub status: bool,
    /// Its comment.
    pub comment: String,
}

pub struct Header {
    pub exports: Vec<Export>,
    pub structs: Vec<String>,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Header {
    pub fn read() -> Header {
        let text = std::fs::read_to_string(root().join("include/cogniware/cogniware.h")).expect("the header");
        let named = |line: &str, end: &str| {
            let name = line.strip_prefix("typedef struct ")?.strip_suffix(end)?;
            Some(name.split_whitespace().next()?.to_owned())
        };
        let structs: Vec<String> = text.lines().filter_map(|l| named(l, " {")).collect();
        let opaque: Vec<String> = text.lines().filter_map(|l| named(l, ";")).collect();
        let functions: Vec<&str> = text
            .match_indices("(*cw_")
            .map(|(at, _)| text[at + 2..].split(')').next().expect("the end of a name"))
            .collect();
        let mut exports = Vec::new();
        let mut comment = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if let Some(text) = line.strip_prefix("//") {
                comment.push_str(text);
                continue;
            }
            if line.starts_with("CW_API") {
                let mut declaration = line.trim_start_matches("CW_API").trim().to_owned();
                while !declaration.ends_with(';') {
                    declaration.push(' ');
                    declaration.push_str(lines.next().expect("the end of a declaration").trim());
                }
                exports.push(export(&declaration, &comment, &structs, &opaque, &functions));
            }
            comment.clear();
        }
        assert!(exports.len() > 100, "only {} exports were found", exports.len());
        Header { exports, structs }
    }

    pub fn find(&self, name: &str) -> Option<&Export> {
        self.exports.iter().find(|e| e.name == name)
    }
}

fn export(
    declaration: &str,
    comment: &str,
    structs: &[String],
    opaque: &[String],
    functions: &[&str],
) -> Export {
    let (head, rest) = declaration.split_once('(').expect("parameters");
    let name = head.rsplit([' ', '*']).next().expect("a name").to_owned();
    let result = head[..head.len() - name.len()].trim();
    let inside = rest.trim_end_matches(';').trim_end_matches(')');
    let list: Vec<&str> = inside.split(',').map(str::trim).filter(|p| *p != "void").collect();
    let parameters = list.iter().map(|text| {
        let name = text.rsplit([' ', '*']).next().expect("a name").to_owned();
        let c_type = text[..text.len() - name.len()].trim().to_owned();
        let kind = kind(&name, &c_type, structs, opaque, functions).unwrap_or_else(|| {
            panic!("what is `{c_type}` of {declaration}? tests/border/calls.rs must know")
        });
        Parameter { name, kind, c_type }
    });
    Export {
        parameters: parameters.collect(),
        name,
        status: result == "cw_status",
        comment: comment.to_owned(),
    }
}

fn kind(name: &str, c_type: &str, structs: &[String], opaque: &[String], functions: &[&str]) -> Option<Kind> {
    let reads = c_type.starts_with("const ");
    let bare = c_type.trim_start_matches("const ").trim_start_matches("struct ");
    let stars = bare.matches('*').count();
    let base = bare.split([' ', '*']).next()?;
    let size = match base {
        "char" | "uint8_t" | "int8_t" | "void" => 1,
        "uint16_t" | "int16_t" => 2,
        "uint32_t" | "int32_t" | "float" | "cw_status" => 4,
        "uint64_t" | "int64_t" | "size_t" | "double" => 8,
        _ => 0,
    };
    Some(match stars {
        0 if base == "cw_drop_function" => Kind::Drop,
        0 if functions.contains(&base) => Kind::Function,
        0 if base == "float" || base == "double" => Kind::Float(size),
        0 if size > 0 => Kind::Integer,
        1 if base == "char" && reads => Kind::Text,
        1 if base == "char" => Kind::Buffer,
        1 if name == "user_data" => Kind::UserData,
        1 if opaque.iter().any(|o| o == base) => Kind::Handle(base.to_owned()),
        1 if structs.iter().any(|s| s == base) => Kind::Struct(base.to_owned(), reads),
        1 if size > 0 && reads => Kind::In(size),
        1 if size > 0 => Kind::Out(size),
        2 if opaque.iter().any(|o| o == base) => Kind::HandleOut(base.to_owned()),
        2 if reads || c_type.contains("* const") || c_type.contains("*const") => Kind::In(8),
        2 => Kind::Out(8),
        _ => return None,
    })
}

/// Writes, compiles and links the wrappers: `border_<name>(const uint64_t *words)` for each export.
pub fn library(header: &Header, folder: &Path) -> PathBuf {
    let mut text = String::from(PREAMBLE);
    for e in &header.exports {
        let words: Vec<String> = e
            .parameters
            .iter()
            .enumerate()
            .map(|(i, p)| match p.kind {
                Kind::Float(_) => format!("*(const {} *)&w[{i}]", p.c_type),
                Kind::Integer => format!("({})w[{i}]", p.c_type),
                Kind::Drop | Kind::Function => format!("({})(uintptr_t)w[{i}]", p.c_type),
                _ => format!("({})(uintptr_t)w[{i}]", p.c_type),
            })
            .collect();
        let call = format!("{}({})", e.name, words.join(", "));
        text +=
            &format!("int64_t border_{}(const uint64_t *w) {{ (void)w; return (int64_t){call}; }}\n", e.name);
    }
    for s in &header.structs {
        text += &format!("size_t border_size_{s}(void) {{ return sizeof(struct {s}); }}\n");
    }
    let (source, object) = (folder.join("border.c"), folder.join("border.so"));
    std::fs::write(&source, text).expect("a file for the wrappers");
    let done = Command::new("gcc")
        .args(["-std=c11", "-shared", "-fPIC", "-fno-strict-aliasing", "-Wall", "-Werror"])
        .args(["-Wno-pointer-to-int-cast", "-Wno-int-to-pointer-cast", "-Wno-cast-function-type", "-I"])
        .arg(root().join("include"))
        .arg("-o")
        .arg(&object)
        .arg(&source)
        .arg(shared_library())
        .output()
        .expect("gcc; scripts/setup installs it");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    object
}

/// The library of this build, beside the test's own folder.
pub fn shared_library() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.parent().and_then(Path::parent).expect("target/<profile>");
    let library = folder.join("deps/libcogniware.so");
    assert!(library.exists(), "no {}; cargo build --lib makes it", library.display());
    library
}

const PREAMBLE: &str = r#"
#include <cogniware/cogniware.h>
#include <stdint.h>
/* How often each user data was given back; they are numbers below 65536. */
static _Atomic unsigned char drops[65536];
static void drop_(void *user_data) { drops[(uintptr_t)user_data & 65535]++; }
int64_t border_drops(const uint64_t *w) { return drops[w[0] & 65535]; }
uintptr_t border_drop(void) { return (uintptr_t)drop_; }
/* Serves for every callback: each may answer 0, and C lets it ignore its arguments. */
static int64_t function_(void) { return 0; }
uintptr_t border_function(void) { return (uintptr_t)function_; }
/* What a struct needs beside its defaults to be of use. */
int64_t border_prepare(const uint64_t *w) {
    struct cw_generate_params *p = (struct cw_generate_params *)(uintptr_t)w[0];
    p->prompt = "Once";
    p->max_tokens = 2;
    return 0;
}
"#;
