//! The documented error scenarios in a C++ program: each error's status, category, call and advice; the history; the log.
#![cfg(feature = "cuda")]

mod mock_driver;

use mock_driver::Mock;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The library of this build, under the name that programs look for.
fn library(folder: &Path) {
    let test = std::env::current_exe().expect("the test's own path");
    let deps = test.parent().and_then(Path::parent).expect("target/<profile>").join("deps");
    let name = format!("libcogniware.so.0.{}", env!("CARGO_PKG_VERSION_MINOR"));
    std::os::unix::fs::symlink(deps.join("libcogniware.so"), folder.join(name)).expect("a link");
}

/// The compiled program, once a process.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, program) = PROGRAM.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        library(folder.path());
        let program = folder.path().join("program");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let name = format!("libcogniware.so.0.{}", env!("CARGO_PKG_VERSION_MINOR"));
        let done = Command::new("g++")
            .args(["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-I"])
            .arg(root.join("include"))
            .arg("-o")
            .arg(&program)
            .arg(root.join("tests/errors/program.cpp"))
            .arg(folder.path().join(name))
            .arg(format!("-Wl,-rpath,{}", folder.path().display()))
            .output()
            .expect("g++; scripts/setup installs it");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        (folder, program)
    });
    program
}

fn run(mode: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program());
    command.arg(mode).env_remove("COGNIWARE_FALLBACK").env_remove("COGNIWARE_LOG");
    command.env("COGNIWARE_DEVICE", "cpu").envs(variables.iter().copied());
    let done = command.output().expect("it runs");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && done.stdout == b"well\n", "{mode}: {}\n{errors}", done.status);
    done
}

#[test]
fn without_cuda() {
    run("no_cuda", &[("COGNIWARE_DEVICE", "cuda"), ("COGNIWARE_LIBCUDA", "/nonexistent/libcuda.so.1")]);
}

#[test]
fn without_a_gpu() {
    let mock = Mock::new();
    let path = mock.path().to_str().expect("a path");
    let variables =
        [("COGNIWARE_DEVICE", "cuda"), ("COGNIWARE_LIBCUDA", path), ("COGNIWARE_MOCK_DEVICES", "0")];
    run("no_device", &variables);
}

#[test]
fn memory_tasks_bridge_history_and_log() {
    let silent = run("cpu", &[]);
    assert!(silent.stderr.is_empty(), "{}", String::from_utf8_lossy(&silent.stderr));
    let told = run("cpu", &[("COGNIWARE_LOG", "debug:stderr")]);
    let text = String::from_utf8_lossy(&told.stderr);
    assert!(text.contains("cogniware info device: opened cpu:0"), "{text}");
    assert!(text.contains("cogniware debug error: memory: quota_exceeded: cw_kernel_memory_alloc"), "{text}");
    assert!(text.contains("cogniware warn task: task \"twice\""), "{text}");
}
