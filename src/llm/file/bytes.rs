//! A file's bytes: mapped, or held in memory.

use crate::{Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Read-only bytes.
pub(in crate::llm) enum Bytes {
    Map(Mmap),
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Map(m) => m,
            Bytes::Owned(v) => v,
        }
    }
}

impl Bytes {
    /// Maps the file at `path`. The second value identifies the file: canonical path, device, inode, size, time.
    pub(in crate::llm) fn map(path: &Path) -> Result<(Bytes, String)> {
        let fail = |e| Error::io(path.display(), e);
        let file = open_regular(path)?;
        let meta = file.metadata().map_err(fail)?;
        let key = identity(path, &meta)?;
        if meta.len() == 0 {
            return Ok((Bytes::Owned(Vec::new()), key));
        }
        // SAFETY: the mapping is private and read-only. That nobody changes the file underneath is asked of the
        // caller in the documentation of `ModelFile::open`.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok((Bytes::Map(map), key))
    }
}

/// Opens a file, but no pipe or device, where opening or reading could block for ever.
fn open_regular(path: &Path) -> Result<File> {
    let fail = |e| Error::io(path.display(), e);
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Err(Error::argument("path", format!("{} is not a regular file", path.display())));
    }
    File::open(path).map_err(fail)
}

fn identity(path: &Path, meta: &std::fs::Metadata) -> Result<String> {
    let canonical = path.canonicalize().map_err(|e| Error::io(path.display(), e))?;
    Ok(format!(
        "{}|{}|{}|{}|{}.{:09}",
        canonical.display(),
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    ))
}

/// Reads a small file (configuration, tokenizer) whole; `max` bounds what a hostile folder can make us read.
pub(in crate::llm) fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = open_regular(path)?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path.display(), e))?;
    if bytes.len() as u64 > max {
        return Err(Error::format(format!("{} is larger than {max} bytes", path.display())));
    }
    Ok(bytes)
}
