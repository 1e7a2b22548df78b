//! Text across the border.

use crate::{Error, Result, Status};
use std::ffi::{CStr, c_char};

/// Text of the caller: NUL-terminated UTF-8.
///
/// # Safety
/// A pointer that is not null must point to a NUL-terminated string that stays unchanged during the call.
pub(super) unsafe fn text<'a>(name: &str, pointer: *const c_char) -> Result<&'a str> {
    if pointer.is_null() {
        return Err(Error::argument(name, "is NULL")
            .advise("the C++ classes pass NULL for a text that has a NUL inside it"));
    }
    // SAFETY: not null, and NUL-terminated by the caller's promise.
    let bytes = unsafe { CStr::from_ptr(pointer) };
    bytes.to_str().map_err(|e| Error::argument(name, format!("is not UTF-8: {e}")))
}

/// Like [`text`], where null means that nothing was given.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn optional_text<'a>(name: &str, pointer: *const c_char) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { text(name, pointer) }.map(Some)
}

/// Writes text to the caller's buffer by the two-call rule (see the module's contract).
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes, `needed` null or valid for a write.
pub(super) unsafe fn write_text(
    text: &str,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> Result<()> {
    let bytes = text.as_bytes();
    if !needed.is_aligned() {
        return Err(Error::argument(
            "needed",
            format!("{needed:p} is not aligned to {} bytes", align_of::<usize>()),
        ));
    }
    if buffer.is_null() && length > 0 {
        return Err(Error::argument("buffer", "is NULL while length is not 0"));
    }
    if length > isize::MAX as usize {
        return Err(Error::argument("length", format!("{length} bytes overflow the address space")));
    }
    if !needed.is_null() {
        // SAFETY: the caller's promise.
        unsafe { needed.write(bytes.len() + 1) };
    }
    if buffer.is_null() {
        // Asking for the size alone is a success when there is somewhere to put it.
        if !needed.is_null() {
            return Ok(());
        }
        return Err(Error::argument("needed", "is NULL, and so is the buffer: nothing to write to"));
    }
    let fits = length.saturating_sub(1).min(bytes.len());
    if length > 0 {
        // SAFETY: fits + 1 <= length bytes of the caller's buffer.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast::<u8>(), fits);
            buffer.add(fits).write(0);
        }
    }
    if bytes.len() < length {
        return Ok(());
    }
    Err(Error::new(
        Status::BufferTooSmall,
        format!("the buffer has {length} bytes, the text needs {}", bytes.len() + 1),
    ))
}

/// Text in a fixed field of a struct: cut at a character so that it fits with its NUL; the rest is zero.
pub(super) fn fixed<const N: usize>(text: &str) -> [c_char; N] {
    let mut field = [0; N];
    let end = text.floor_char_boundary(N - 1);
    for (place, &byte) in field.iter_mut().zip(&text.as_bytes()[..end]) {
        *place = byte as c_char;
    }
    field
}
