//! Where NVRTC may be installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Majors of CUDA whose NVRTC is looked for.
const MAJORS: [u32; 2] = [13, 12];

/// Paths and names to try, in order: for each major (that of the driver first: older drivers refuse newer code) what
/// the system's loader knows, then toolkits, then Python packages.
pub(super) fn places(driver: u32) -> Vec<PathBuf> {
    let mut majors = MAJORS.to_vec();
    majors.sort_by_key(|&m| m > driver / 1000 && driver > 0);
    let folders = folders();
    let mut all = Vec::new();
    for major in majors {
        let name = format!("libnvrtc.so.{major}");
        all.push(PathBuf::from(&name));
        all.extend(folders.iter().map(|f| f.join(&name)).filter(|p| p.is_file()));
    }
    all.push("libnvrtc.so".into());
    all
}

/// The library that a path means: itself, or the newest in a folder or in its `lib` or `lib64`.
pub(super) fn chosen(path: &Path) -> Option<PathBuf> {
    if !path.is_dir() {
        return Some(path.to_owned());
    }
    let folders = [path.to_owned(), path.join("lib64"), path.join("lib")];
    let files = folders.iter().flat_map(|f| {
        MAJORS.iter().map(|m| f.join(format!("libnvrtc.so.{m}"))).chain([f.join("libnvrtc.so")])
    });
    files.into_iter().find(|f| f.is_file())
}

/// Folders with libraries of toolkits and of Python packages.
fn folders() -> Vec<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v: &OsString| !v.is_empty()).map(PathBuf::from);
    let mut found = Vec::new();
    let mut toolkits: Vec<PathBuf> = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(set).collect();
    toolkits.push("/usr/local/cuda".into());
    let mut versions = inside(Path::new("/usr/local"), "cuda-");
    versions.sort();
    toolkits.extend(versions.into_iter().rev());
    toolkits.push("/opt/cuda".into());
    for toolkit in toolkits {
        found.extend([toolkit.join("lib64"), toolkit.join("targets/x86_64-linux/lib"), toolkit.join("lib")]);
    }
    let conda = set("CONDA_PREFIX");
    found.extend(conda.iter().map(|c| c.join("lib")));
    let mut pythons: Vec<PathBuf> = set("VIRTUAL_ENV").into_iter().chain(conda).collect();
    pythons.extend(set("HOME").map(|home| home.join(".local")));
    pythons.extend(["/usr/local".into(), "/usr".into()]);
    for python in pythons {
        let lib = python.join("lib");
        let mut versions = inside(&lib, "python3");
        versions.sort();
        for version in versions.into_iter().rev() {
            for packages in ["site-packages", "dist-packages"] {
                let nvidia = version.join(packages).join("nvidia");
                found.extend([nvidia.join("cu13/lib"), nvidia.join("cuda_nvrtc/lib")]);
            }
        }
    }
    found
}

/// The folders in `folder` whose names begin so.
fn inside(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect()
}

/// Folders with CUDA's headers of the toolkit (or the packages) that a library belongs to.
pub(super) fn headers(library: &Path) -> Vec<PathBuf> {
    let Some(folder) = library.parent() else { return Vec::new() };
    let up = |levels: usize| folder.ancestors().nth(levels).map(Path::to_owned);
    let mut found: Vec<PathBuf> = [
        up(1).map(|p| p.join("include")),
        up(2).map(|p| p.join("include")),
        up(2).map(|p| p.join("cuda_runtime/include")),
    ]
    .into_iter()
    .flatten()
    .filter(|f| f.join("cuda_fp16.h").is_file())
    .take(1)
    .collect();
    let more: Vec<PathBuf> = found.iter().map(|f| f.join("cccl")).filter(|f| f.is_dir()).collect();
    found.extend(more);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_of_the_driver_comes_first() {
        let first = |driver| places(driver)[0].display().to_string();
        assert_eq!(first(13_000), "libnvrtc.so.13");
        assert_eq!(first(12_040), "libnvrtc.so.12");
        assert_eq!(first(0), "libnvrtc.so.13");
    }

    #[test]
    fn a_folder_stands_for_the_library_in_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(chosen(folder.path()), None);
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        let file = folder.path().join("lib/libnvrtc.so.12");
        std::fs::write(&file, "").unwrap();
        assert_eq!(chosen(folder.path()), Some(file.clone()));
        assert_eq!(chosen(&file), Some(file));
    }
}
