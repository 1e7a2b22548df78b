//! The committed header is the one that `src/ffi` gives, every export has words in it, and the library exports exactly
//! the committed list. `CW_BLESS=1 cargo test --test header` rewrites both files.

#[path = "common/header.rs"]
mod header;

use header::{generate, root, sources};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compares with a committed file, or rewrites that when blessing.
fn compare(path: &Path, wanted: &str) {
    if std::env::var_os("CW_BLESS").is_some_and(|v| v == "1") {
        fs::write(path, wanted).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    if found == wanted {
        return;
    }
    let at = found.lines().zip(wanted.lines()).take_while(|(a, b)| a == b).count();
    panic!(
        "{} differs from what the sources give, first in line {}:\n  committed: {}\n  sources:   {}\n\
         CW_BLESS=1 cargo test --test header rewrites it",
        path.display(),
        at + 1,
        found.lines().nth(at).unwrap_or("(end)"),
        wanted.lines().nth(at).unwrap_or("(end)"),
    );
}

/// Names of the exported functions in the sources, and of those without a doc comment.
fn exports() -> (BTreeSet<String>, Vec<String>) {
    let (mut all, mut undocumented) = (BTreeSet::new(), Vec::new());
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source of src/ffi");
        let lines: Vec<&str> = text.lines().collect();
        for (at, _) in lines.iter().enumerate().filter(|(_, l)| l.trim() == "#[unsafe(no_mangle)]") {
            let declaration =
                lines[at..].iter().find(|l| l.contains(" fn ")).expect("a function after no_mangle");
            let name =
                declaration.split(" fn ").nth(1).and_then(|rest| rest.split('(').next()).expect("a name");
            let above = lines[..at].iter().rev().find(|l| !l.trim().starts_with("#["));
            if !above.is_some_and(|l| l.trim().starts_with("///")) {
                undocumented.push(format!("{name} in {}", file.display()));
            }
            all.insert(name.to_owned());
        }
    }
    (all, undocumented)
}

#[test]
fn the_committed_header_is_what_the_sources_give() {
    compare(&root().join("include/cogniware/cogniware.h"), &generate());
}

#[test]
fn every_export_is_documented_and_declared() {
    let (all, undocumented) = exports();
    assert!(undocumented.is_empty(), "no /// before {undocumented:?}");
    let header = generate();
    for name in &all {
        let declared =
            header.find(&format!("{name}(")).unwrap_or_else(|| panic!("{name} is not in the header"));
        let paragraph = header[..declared].rsplit("\n\n").next().unwrap_or("");
        assert!(paragraph.starts_with("// "), "{name} has no comment of its own in the header: {paragraph}");
        assert_eq!(header.matches(&format!("{name}(")).count(), 1, "{name} is declared more than once");
    }
}

/// The shared library of this build, beside the test's own folder.
fn shared_library() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.parent().and_then(Path::parent).expect("target/<profile>");
    // What cargo last built; `cargo test` leaves the copy one level up as an earlier `cargo build` made it.
    let library = folder.join("deps/libcogniware.so");
    assert!(library.exists(), "no {}; cargo build --lib makes it", library.display());
    library
}

fn output(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

#[test]
fn the_library_exports_the_committed_list_and_nothing_else() {
    let symbols =
        output(Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(shared_library()));
    let mut names: Vec<&str> = symbols.lines().filter_map(|l| l.split_whitespace().next()).collect();
    names.sort_unstable();
    compare(&root().join("tests/abi/symbols.txt"), &format!("{}\n", names.join("\n")));
    let (sources, _) = exports();
    assert_eq!(names, sources.iter().map(String::as_str).collect::<Vec<_>>(), "library against sources");
}

#[test]
fn the_library_has_its_soname() {
    let dynamic = output(Command::new("readelf").arg("-d").arg(shared_library()));
    let (major, minor) = (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"));
    let abi = if major == "0" { format!("0.{minor}") } else { major.to_owned() };
    assert!(dynamic.contains(&format!("Library soname: [libcogniware.so.{abi}]")), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
}
