//! Small files of figures in the user's cache folder. What cannot be trusted counts as not there, with a note.

use crate::telemetry::file;
use crate::{Error, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs::{DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// More than a file of figures ever has.
const MOST_BYTES: u64 = 8 << 20;

/// `lowbit` in the folder `COGNIWARE_CACHE`, else `cogniware/lowbit` in `XDG_CACHE_HOME`, else in `~/.cache`; `None` where
/// the environment names none, or `COGNIWARE_CACHE_BYTES` is 0.
pub fn folder_of_environment() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if std::env::var("COGNIWARE_CACHE_BYTES").is_ok_and(|v| v.trim() == "0") {
        return None;
    }
    set("COGNIWARE_CACHE").map(|f| f.join("lowbit")).or_else(|| {
        let caches = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        // A relative path would be another folder wherever the process goes.
        caches.filter(|f| f.is_absolute()).map(|f| f.join("cogniware").join("lowbit"))
    })
}

/// A hash of texts by which a file is named.
pub(in crate::lowbit) fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize()[..12])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Whether nobody but this user can have put anything there.
fn trusted(folder: &Path) -> std::result::Result<(), String> {
    let data = std::fs::metadata(folder).map_err(|e| e.to_string())?;
    // SAFETY: a plain question about the process.
    if data.uid() != unsafe { libc::geteuid() } {
        return Err("it belongs to another user".into());
    }
    match data.mode() & 0o022 {
        _ if !data.is_dir() => Err("it is no folder".into()),
        0 => Ok(()),
        _ => Err("others may write there".into()),
    }
}

/// The body of a file that [`write`] made with the same `kind` and `key`. `Ok(None)` where there is no file; the text says
/// why one is not used.
pub(in crate::lowbit) fn read(
    path: &Path,
    kind: &str,
    key: &str,
) -> std::result::Result<Option<Value>, String> {
    let named = |why: &str| format!("{} is not used: {why}", path.display());
    let folder = path.parent().ok_or_else(|| named("it lies in no folder"))?;
    // Without waiting for a writer where somebody put a pipe, and not through a link.
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(named(&e.to_string())),
    };
    trusted(folder).map_err(|why| named(&format!("its folder cannot be trusted: {why}")))?;
    if !file.metadata().is_ok_and(|data| data.is_file()) {
        return Err(named("it is no plain file"));
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|e| named(&e.to_string()))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(named("it is too long"));
    }
    // The first line says what the second one is.
    let at = bytes.iter().position(|b| *b == b'\n').ok_or_else(|| named("it is cut short"))?;
    let (head, body) = (&bytes[..at], &bytes[at + 1..]);
    let head: Value = serde_json::from_slice(head).map_err(|e| named(&e.to_string()))?;
    let text = |name: &str| head.get(name).and_then(Value::as_str).unwrap_or("");
    if text("kind") != kind {
        return Err(named("it holds something else"));
    }
    if text("key") != key {
        return Err(named("it is for another device, driver or version"));
    }
    if text("hash") != hash(body) {
        return Err(named("it is damaged"));
    }
    serde_json::from_slice(body).map(Some).map_err(|e| named(&e.to_string()))
}

/// Writes a body so that readers see the old file or the new one whole. The folder is made for this user alone.
pub(in crate::lowbit) fn write(path: &Path, kind: &str, key: &str, body: Value) -> Result<()> {
    let folder = path.parent().ok_or_else(|| Error::argument("path", "names no file in a folder"))?;
    if !folder.is_dir() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|e| Error::io(format_args!("making {}", folder.display()), e))?;
    }
    trusted(folder).map_err(|why| {
        Error::new(crate::Status::Io, format!("{} cannot be trusted: {why}", folder.display()))
            .advise("name a folder of this user alone in COGNIWARE_CACHE")
    })?;
    let body = body.to_string();
    let head = json!({ "kind": kind, "key": key, "hash": hash(body.as_bytes()) });
    file::replace(path, "figures of kernels", false, |to| write!(to, "{head}\n{body}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn own() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o700)).unwrap();
        folder
    }

    #[test]
    fn a_file_comes_back_whole_or_not_at_all() {
        let folder = own();
        let path = folder.path().join("deeper/x.json");
        assert_eq!(read(&path, "k", "1"), Ok(None));
        let body = json!({ "a": [1, 2.5e-7, 0.1, 1.5], "b": "text" });
        write(&path, "k", "1", body.clone()).unwrap();
        assert_eq!(read(&path, "k", "1"), Ok(Some(body.clone())));
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert!(read(&path, "other", "1").unwrap_err().contains("something else"));
        assert!(read(&path, "k", "2").unwrap_err().contains("another device"));
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            for flip in [1, 0x20, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                std::fs::write(&path, &bad).unwrap();
                let found = read(&path, "k", "1");
                assert!(found.is_err(), "byte {at} as {:?}", bad[at] as char);
            }
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(read(&path, "k", "1").is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_others_could_have_put_there_is_not_used() {
        let folder = own();
        let path = folder.path().join("x.json");
        write(&path, "k", "1", json!(1)).unwrap();
        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link, "k", "1").is_err());
        let pipe = folder.path().join("pipe.json");
        let name = std::ffi::CString::new(pipe.to_str().unwrap()).unwrap();
        // SAFETY: a C string.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        assert!(read(&pipe, "k", "1").unwrap_err().contains("no plain file"));
        std::fs::write(&path, "[".repeat(1 << 20)).unwrap();
        assert!(read(&path, "k", "1").is_err());
        File::create(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
        assert!(read(&path, "k", "1").unwrap_err().contains("too long"));
        write(&path, "k", "1", json!(1)).unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(read(&path, "k", "1").unwrap_err().contains("others may write"));
        assert!(write(&path, "k", "1", json!(2)).unwrap_err().message().contains("others may write"));
    }
}
