//! Files that readers see whole: written beside, then put in place.

use crate::{Error, Result};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Replaces the file at `path` by what `write` writes, at once when all is written; on an error it is as it was. `what` is
/// shown in errors ("the trace"). With `lasting` the content is on the disk before it takes the old one's place.
///
/// Errors: [`crate::Status::InvalidArgument`] naming `path` when it is empty or names no file; what the file system says,
/// with the path.
pub fn replace(
    path: &Path,
    what: &str,
    lasting: bool,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if path.as_os_str().is_empty() {
        return Err(Error::argument("path", "is empty"));
    }
    let name = path.file_name().ok_or_else(|| Error::argument("path", "names no file"))?;
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Relaxed)));
    let temporary = path.with_file_name(temporary);
    let done = || -> io::Result<()> {
        let mut to = BufWriter::with_capacity(1 << 16, File::create(&temporary)?);
        write(&mut to)?;
        let file = to.into_inner()?;
        if lasting {
            file.sync_data()?;
        }
        std::fs::rename(&temporary, path)
    };
    done().map_err(|e| {
        // It may never have been made; the error that matters is the first one.
        let _ = std::fs::remove_file(&temporary);
        Error::io(format_args!("argument `path`: writing {what} {}", path.display()), e)
    })
}
