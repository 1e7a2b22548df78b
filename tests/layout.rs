//! The structs, aliases and constants of `src/ffi/types.rs` and `src/ffi/virtual_types.rs` agree with the committed header, as a C compiler sees it.

use ctest2::TestGenerator;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

/// `src/ffi/types.rs` and `src/ffi/virtual_types.rs` as one file that can be included: without inner attributes and docs,
/// and with one `use` for both.
fn types() -> String {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi").join(name);
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let more = read("virtual_types.rs");
    let more = more.lines().filter(|l| !l.starts_with("use "));
    let text = read("types.rs");
    let lines = text.lines().chain(more).filter(|l| !l.starts_with("//!") && !l.starts_with("#!["));
    format!("{}\n", lines.collect::<Vec<_>>().join("\n"))
}

/// Generates, compiles and runs the comparison in a folder.
fn compare(types: &str, folder: &Path) -> Result<Output, String> {
    let file = folder.join("types.rs");
    fs::write(&file, types).map_err(|e| e.to_string())?;
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/cogniware");
    let mut generator = TestGenerator::new();
    generator.header("cogniware.h").include(&include).edition(2021).out_dir(folder);
    // Handles have no layout in C.
    generator.skip_struct(|s| s.ident().starts_with("cw_") && OPAQUE.contains(&s.ident()));
    generator.skip_private(true);
    ctest2::generate_test(&mut generator, &file, "comparison.rs").map_err(|e| e.to_string())?;

    let main = folder.join("main.rs");
    let text = format!(
        "#![allow(warnings)]\ninclude!({:?});\ninclude!({:?});\n",
        file.display().to_string(),
        folder.join("comparison.rs").display().to_string()
    );
    fs::write(&main, text).map_err(|e| e.to_string())?;
    let program = folder.join("comparison");
    let rustc = env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let built = Command::new(rustc)
        .arg(&main)
        .args(["--edition", "2021", "-lstatic=comparison", "-L"])
        .arg(folder)
        .arg("-o")
        .arg(&program)
        .output()
        .map_err(|e| e.to_string())?;
    if !built.status.success() {
        return Err(String::from_utf8_lossy(&built.stderr).into_owned());
    }
    Command::new(program).output().map_err(|e| e.to_string())
}

/// The opaque types of the border.
const OPAQUE: &[&str] = &[
    "cw_map",
    "cw_tenant",
    "cw_task",
    "cw_task_context",
    "cw_kernel",
    "cw_driver",
    "cw_bridge",
    "cw_array",
    "cw_model",
    "cw_generation",
];

/// ctest and cc ask for what cargo tells build scripts.
fn pretend_to_be_a_build_script() {
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    for (name, value) in
        [("TARGET", triple.as_str()), ("HOST", &triple), ("OPT_LEVEL", "0"), ("DEBUG", "false")]
    {
        // SAFETY: this file has one test, and it has started no thread yet.
        unsafe { env::set_var(name, value) };
    }
}

#[test]
fn the_header_has_the_layouts_and_constants_of_the_library() {
    pretend_to_be_a_build_script();
    let types = types();

    let folder = tempfile::tempdir().expect("a temporary folder");
    let good = compare(&types, folder.path()).expect("the comparison builds");
    let text = String::from_utf8_lossy(&good.stdout);
    assert!(good.status.success(), "{text}{}", String::from_utf8_lossy(&good.stderr));
    assert!(text.contains("PASSED"), "{text}");

    // The comparison can fail: a field that went missing, and a constant that moved.
    for (from, to) in [("    pub kind: i32,", ""), ("CW_TASK_FAILED: i32 = 3", "CW_TASK_FAILED: i32 = 5")] {
        assert!(types.contains(from), "the planted fault {from:?} finds its place");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bad = compare(&types.replace(from, to), folder.path()).expect("the comparison builds");
        assert!(!bad.status.success(), "{to} went unnoticed");
    }
}
