//! Where the file of a model is, when a configuration names a type and gives no path.

use crate::{Error, Result};
use std::ffi::{CStr, OsStr, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Names of the model that ships with Cogniware. `gpt` and `llama` are what documented examples ask for.
pub const DEFAULT_ALIASES: [&str; 4] = ["default", "cogniware-small", "gpt", "llama"];

/// Overrides the default model's path.
pub const MODEL_VARIABLE: &str = "COGNIWARE_MODEL";

const FILE: &str = "cogniware-small.gguf";

/// The path of the model that a configuration means: `path` when it is given; else, for a `model_type` that is empty or
/// one of [`DEFAULT_ALIASES`], the file that the environment variable `COGNIWARE_MODEL` names, else the model that is
/// installed with the library (`share/cogniware/models` beside the library's folder), else the one of the source tree.
pub fn model_path(model_type: &str, path: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) {
        return existing(path, "model_path");
    }
    let name = model_type.to_lowercase();
    if !name.is_empty() && !DEFAULT_ALIASES.contains(&name.as_str()) {
        return Err(Error::not_found(format!("no model is known as `{model_type}`")).advise(format!(
            "give model_path, or one of the names of the model that ships with Cogniware: {}",
            DEFAULT_ALIASES.join(", ")
        )));
    }
    if let Some(path) = std::env::var_os(MODEL_VARIABLE).filter(|path| !path.is_empty()) {
        return existing(Path::new(&path), MODEL_VARIABLE);
    }
    let places = places();
    places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
        let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
        Error::not_found(format!("the model that ships with Cogniware is not there: {}", looked.join(", ")))
            .advise("install Cogniware with its models, set COGNIWARE_MODEL, or give model_path")
    })
}

fn existing(path: &Path, argument: &str) -> Result<PathBuf> {
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    Err(Error::not_found(format!("argument `{argument}`: there is no {}", path.display())))
}

/// Where the shipped model may be, best first.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(library) = own_file() {
        // lib/libcogniware.so, lib/<triplet>/libcogniware.so, bin/program (linked statically).
        for up in library.ancestors().skip(2).take(2) {
            places.push(up.join("share/cogniware/models").join(FILE));
        }
    }
    places.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(FILE));
    places
}

/// The file that this code was loaded from: the shared library, or the program it is linked into.
fn own_file() -> Option<PathBuf> {
    // SAFETY: all zeros is a valid Dl_info.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr only looks the address up and writes `info`, whose name stays valid while the object is loaded.
    let name = unsafe {
        if libc::dladdr(own_file as *const c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        CStr::from_ptr(info.dli_fname)
    };
    std::fs::canonicalize(OsStr::from_bytes(name.to_bytes())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Status;

    #[test]
    fn an_unknown_type_lists_the_known_ones() {
        let error = model_path("starling", None).unwrap_err();
        assert_eq!(error.status(), Status::NotFound);
        assert!(error.to_string().contains("cogniware-small"), "{error}");
    }

    #[test]
    fn a_given_path_wins_and_must_exist() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(model_path("anything", Some(here)).unwrap(), here);
        assert!(model_path("gpt", Some(Path::new("/no/such/model.gguf"))).is_err());
    }

    #[test]
    fn this_program_is_found() {
        assert!(own_file().unwrap().is_file());
    }
}
