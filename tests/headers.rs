//! Every header compiles alone, as each language it is for, with and without CUDA's headers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The folder of the crate.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder with CUDA's own headers: those of the compiler that builds the kernels.
fn cuda_headers() -> PathBuf {
    let mut places: Vec<PathBuf> = std::env::var_os("CUDA_WHEELS").map(PathBuf::from).into_iter().collect();
    let libraries = root().join(".cache/nvcc-13.0.88/lib");
    for python in std::fs::read_dir(libraries).into_iter().flatten().flatten() {
        places.push(python.path().join("site-packages/nvidia/cu13"));
    }
    places
        .into_iter()
        .map(|place| place.join("include"))
        .find(|place| place.join("cuda_runtime_api.h").exists() && place.join("crt/host_defines.h").exists())
        .expect("CUDA's headers are not here; scripts/setup installs them")
}

/// The headers under a folder, relative to `include/`.
fn headers(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of headers") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            headers(&path, found);
        } else if path.extension().is_some_and(|e| e == "h" || e == "hpp") {
            found.push(path.strip_prefix(root().join("include")).expect("below include/").to_owned());
        }
    }
}

/// What the compiler says about a file with just this text; empty when it likes it.
fn compile(language: &str, standard: &str, extra: &[&str], text: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(if language == "c" { "t.c" } else { "t.cpp" });
    std::fs::write(&file, text).expect("a file to compile");
    let include = root().join("include");
    let done = Command::new(if language == "c" { "gcc" } else { "g++" })
        .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I"])
        .arg(&include)
        .arg("-I")
        .arg(include.join("cogniware"))
        .args(extra)
        .arg(&file)
        .output()
        .expect("gcc and g++; scripts/setup installs them");
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// Compiles every header in every given way, two at a time.
fn all_alone(ways: &[(&str, &[&str])]) {
    let mut list = Vec::new();
    headers(&root().join("include/cogniware"), &mut list);
    list.sort();
    // This one needs pybind11 and Python, as its name says.
    list.retain(|h| !h.starts_with("cogniware/python"));
    assert!(list.len() > 10, "{list:?}");
    let jobs: Vec<(&PathBuf, &str, &[&str])> =
        ways.iter().flat_map(|(standard, extra)| list.iter().map(move |h| (h, *standard, *extra))).collect();
    let (next, wrong) = (Mutex::new(jobs.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((header, standard, extra)) = next.lock().expect("the jobs").next() else {
                        break;
                    };
                    // Twice: the include guard holds.
                    let line = format!("#include <{}>\n", header.display());
                    let said = compile("c++", standard, extra, &line.repeat(2));
                    if !said.is_empty() {
                        wrong
                            .lock()
                            .expect("the errors")
                            .push(format!("{standard} {}:\n{said}", header.display()));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("the errors");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_header_compiles_alone_as_cpp_17_and_20() {
    all_alone(&[("-std=c++17", &[]), ("-std=c++20", &[])]);
}

#[test]
fn each_header_compiles_alone_with_the_headers_of_cuda() {
    let cuda = cuda_headers();
    let place = cuda.to_str().expect("a path in UTF-8");
    // Cogniware's warnings count, those of CUDA's own headers do not.
    all_alone(&[("-std=c++17", &["-isystem", place])]);
    let both = "#include <cogniware/cuda_compat.h>\nstatic_assert(COGNIWARE_CUDA_HEADERS == 1, \"found\");\n\
                static_assert(sizeof(cudaStream_t) == sizeof(void*), \"a pointer\");\n";
    assert_eq!(compile("c++", "-std=c++17", &["-isystem", place], both), "");
    // The stand-in and the real type are the same, in either order.
    let mixed = "#include <cogniware/cuda_compat.h>\n#include <driver_types.h>\ncudaStream_t stream;\n";
    let forced = ["-isystem", place, "-DCOGNIWARE_CUDA_HEADERS=0"];
    assert_eq!(compile("c++", "-std=c++17", &forced, mixed), "");
}

#[test]
fn the_c_headers_are_c11_and_nothing_is_let_through() {
    for header in ["cogniware/cogniware.h", "cogniware/cuda_compat.h"] {
        let said =
            compile("c", "-std=c11", &[], &format!("#include <{header}>\nint main(void) {{ return 0; }}\n"));
        assert!(said.is_empty(), "{header}: {said}");
    }
    // The check itself can fail.
    let said = compile("c", "-std=c11", &[], "#include <cogniware/cogniware.h>\nint empty[0];\n");
    assert!(said.contains("zero-size"), "{said}");
}
