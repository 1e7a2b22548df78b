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
    let found = fs::read_to_string(path).unwrap_or_default();
    if found == wanted {
        return;
    }
    if std::env::var_os("CW_BLESS").is_some_and(|v| v == "1") {
        fs::write(path, wanted).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
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

/// Where the first argument of the guard that names the function stands in its body.
fn guarded(body: &str, name: &str) -> Option<std::ops::Range<usize>> {
    body.match_indices("guard(").find_map(|(at, opening)| {
        let rest = &body[at + opening.len()..];
        let start = at + opening.len() + (rest.len() - rest.trim_start().len());
        let rest = rest.trim_start();
        let (plain, called) = (format!("\"{name}\""), format!("call!(\"{name}\""));
        if rest.starts_with(&plain) {
            return Some(start..start + plain.len());
        }
        // Its arguments are plain names.
        rest.starts_with(&called).then(|| start..start + rest.find(')').expect("the end of call!") + 1)
    })
}

/// The source with each exported function's arguments told to the guard: `guard("cw_x", …)` becomes
/// `guard(call!("cw_x", a, b), …)`.
fn with_arguments(text: &str) -> String {
    let squeezed = |t: &str| t.split_whitespace().collect::<String>().replace(",)", ")");
    let mark = "#[unsafe(no_mangle)]";
    let mut parts = text.split(mark);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (head, body) = part.split_once('{').expect("a function has a body");
        let (name, rest) = head.split_once(" fn ").and_then(|(_, f)| f.split_once('(')).expect("a function");
        let parameters = rest.rsplit_once(')').expect("the end of the parameters").0;
        // No type of the border has a comma or a colon in it.
        let names = parameters.split(',').filter_map(|p| p.split_once(':'));
        let list: String = names.map(|(n, _)| format!(", {}", n.trim().trim_start_matches("mut "))).collect();
        let wanted = format!("call!(\"{name}\"{list})");
        let mut body = body.to_owned();
        if let Some(there) = guarded(&body, name).filter(|r| squeezed(&body[r.clone()]) != squeezed(&wanted))
        {
            body.replace_range(there, &wanted);
        }
        out.push_str(&format!("{mark}{head}{{{body}"));
    }
    out
}

#[test]
fn every_export_tells_the_guard_its_arguments() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a source of src/ffi");
        compare(&file, &with_arguments(&text));
    }
    // The check itself.
    let source = "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn cw_x(a: *mut u8, n: usize) -> s {\n    guard(\"cw_x\", || {})\n}\n";
    assert!(with_arguments(source).contains("guard(call!(\"cw_x\", a, n), || {})"));
    let stale = source.replace("\"cw_x\",", "call!(\"cw_x\", a),");
    assert!(
        with_arguments(&stale).contains("guard(call!(\"cw_x\", a, n), || {})"),
        "{}",
        with_arguments(&stale)
    );
    let good = with_arguments(source);
    assert_eq!(with_arguments(&good), good);
}
