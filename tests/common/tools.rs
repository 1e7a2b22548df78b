//! Programs and folders that the package's tests need.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the crate.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of `.cache/venv` (which scripts/setup fills) or of the PATH.
pub fn program(name: &str) -> Command {
    let own = root().join(".cache/venv/bin").join(name);
    Command::new(if own.exists() { own } else { PathBuf::from(name) })
}

/// Runs a command; on failure the test ends with everything it said.
pub fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; scripts/setup installs what is missing"));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {}\n{out}\n{err}", done.status);
    out.into_owned()
}

/// The folder with CUDA's own headers: of the compiler that builds the kernels, or of the headers that scripts/setup
/// installs.
pub fn cuda_headers() -> PathBuf {
    let mut places: Vec<PathBuf> = std::env::var_os("CUDA_WHEELS").map(PathBuf::from).into_iter().collect();
    for cache in ["nvcc-13.0.88", "cuda-headers"] {
        let libraries = root().join(".cache").join(cache).join("lib");
        for python in std::fs::read_dir(libraries).into_iter().flatten().flatten() {
            places.push(python.path().join("site-packages/nvidia/cu13"));
        }
    }
    places
        .into_iter()
        .map(|place| place.join("include"))
        .find(|place| place.join("cuda_runtime_api.h").exists() && place.join("crt/host_defines.h").exists())
        .expect("CUDA's headers are not here; scripts/setup installs them")
}
