//! The rules of direction between the rooms of the source tree.

use std::path::{Path, PathBuf};

/// Rooms from the lowest to the highest; those of one line may use each other's lower neighbours only.
const ORDER: [&str; 17] = [
    "error",
    "telemetry",
    "device",
    "memory",
    "compute",
    "quant",
    "ops",
    "program",
    "tenant",
    "lowbit",
    "llm",
    "virtualization",
    "kernel",
    "driver",
    "system",
    "bridge",
    "ffi",
];

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|e| ending.split(' ').any(|w| e == w)) {
            found.push(path);
        }
    }
}

fn sources(folder: &str, ending: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    files(&root.join(folder), ending, &mut found);
    assert!(!found.is_empty(), "nothing in {folder}");
    let name = |p: &Path| p.strip_prefix(root).unwrap().display().to_string();
    found.iter().map(|p| (name(p), std::fs::read_to_string(p).unwrap())).collect()
}

/// The room of a file of `src`.
fn room(file: &str) -> &str {
    let rest = file.strip_prefix("src/").unwrap();
    rest.split('/').next().unwrap().trim_end_matches(".rs")
}

fn level(room: &str) -> Option<usize> {
    ORDER.iter().position(|r| *r == room)
}

/// Uses of higher rooms in one file, as text.
fn upward(file: &str, text: &str) -> Vec<String> {
    let own = room(file);
    let Some(mine) = level(own) else {
        return if own == "lib" {
            vec![]
        } else {
            vec![format!("{file}: the room {own:?} has no place in the order")]
        };
    };
    let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
    let mut found = Vec::new();
    for line in code {
        for rest in line.split("crate::").skip(1) {
            let used: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if level(&used).is_some_and(|l| l > mine) {
                found.push(format!("{file} ({own}) uses {used}: {}", line.trim()));
            }
        }
    }
    found
}

#[test]
fn no_room_uses_a_higher_one() {
    let found: Vec<String> = sources("src", "rs").iter().flat_map(|(f, t)| upward(f, t)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    // The check itself: a planted use is seen.
    assert_eq!(upward("src/memory/x.rs", "use crate::tenant::Tenant;").len(), 1);
    assert_eq!(upward("src/tenant/x.rs", "use crate::memory::Space;").len(), 0);
    assert_eq!(upward("src/attic/x.rs", "").len(), 1);
}

/// Files other than those of `allowed` in which `word` stands.
fn strays(files: &[(String, String)], word: &str, allowed: &str) -> Vec<String> {
    let outside = files.iter().filter(|(f, _)| !f.starts_with(allowed));
    outside.filter(|(_, t)| t.contains(word)).map(|(f, _)| f.clone()).collect()
}

#[test]
fn exports_cuda_and_python_stay_where_they_belong() {
    let rust = sources("src", "rs");
    assert_eq!(strays(&rust, "no_mangle", "src/ffi/"), [""; 0]);
    assert_eq!(strays(&rust, "cudarc::", "src/device/cuda/"), [""; 0]);
    let headers = sources("include", "h hpp");
    assert_eq!(strays(&headers, "pybind11/", "include/cogniware/python/"), [""; 0]);
    let cuda = headers.iter().filter(|(f, t)| t.contains("#include <cuda") && !f.ends_with("cuda_compat.h"));
    assert_eq!(cuda.count(), 0, "CUDA's headers are included in cuda_compat.h alone");
    // The checks themselves.
    let planted = [("src/llm/x.rs".to_owned(), "#[unsafe(no_mangle)]".to_owned())];
    assert_eq!(strays(&planted, "no_mangle", "src/ffi/"), ["src/llm/x.rs"]);
}
