//! The last error of each thread, and versions.

use super::guard::{guard, out};
use super::text::write_text;
use super::types::{CW_CATEGORY_NONE, CW_OK, cw_status};
use crate::{Error, Status};
use std::cell::RefCell;
use std::ffi::{CStr, c_char};

thread_local! {
    static LAST: RefCell<Option<Error>> = const { RefCell::new(None) };
}

pub(super) fn set_last(error: Option<Error>) -> cw_status {
    let status = error.as_ref().map_or(CW_OK, |e| e.status() as cw_status);
    // While a thread is being torn down there is nobody left to ask.
    let _ = LAST.try_with(|last| *last.borrow_mut() = error);
    status
}

/// The text of the last error of this thread: what failed, which argument, and what would help. Empty after a call
/// that succeeded. Does not change the last error itself.
///
/// # Safety
/// `buffer` must hold `length` bytes; `needed` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_last_error(buffer: *mut c_char, length: usize, needed: *mut usize) -> cw_status {
    // SAFETY: the caller's promise.
    unsafe { write_of_last(|e| Some(e.to_string()), buffer, length, needed) }
}

/// Writes a text of the last error. Not through the guard, which would clear what is asked for.
///
/// # Safety
/// `buffer` must hold `length` bytes; `needed` may be null.
unsafe fn write_of_last(
    part: impl Fn(&Error) -> Option<String> + std::panic::UnwindSafe,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    let written = std::panic::catch_unwind(|| {
        let text = LAST.try_with(|last| last.borrow().as_ref().and_then(part)).ok().flatten();
        // SAFETY: the caller's promise about the buffer.
        unsafe { write_text(&text.unwrap_or_default(), buffer, length, needed) }
    });
    match written {
        Ok(Ok(())) => CW_OK,
        Ok(Err(e)) => e.status() as cw_status,
        Err(_) => Status::Panic as cw_status,
    }
}

/// What the last error of this thread says would help, which is also at the end of its text; empty when there is
/// nothing to say. Does not change the last error.
///
/// # Safety
/// `buffer` must hold `length` bytes; `needed` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_last_error_advice(
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    // SAFETY: the caller's promise.
    unsafe { write_of_last(|e| e.advice().map(str::to_owned), buffer, length, needed) }
}

/// The call of the device's driver or of the operating system that refused, with its arguments, such as
/// `cuMemCreate(handle=0x7f…, bytes=2097152, …)`, when that is the cause of this thread's last error; else empty. Does
/// not change the last error.
///
/// # Safety
/// `buffer` must hold `length` bytes; `needed` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_last_error_call(
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    // SAFETY: the caller's promise.
    unsafe { write_of_last(|e| e.call().map(str::to_owned), buffer, length, needed) }
}

/// The exported function whose failure is this thread's last error, with its arguments: its
/// name, then in parentheses `tenant=0x200000100000001, bytes=0, pointer=0x7f…`; empty after a call that succeeded. Texts are cut
/// after 48 bytes. Does not change the last error.
///
/// # Safety
/// `buffer` must hold `length` bytes; `needed` may be null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_last_error_function(
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    // SAFETY: the caller's promise.
    unsafe { write_of_last(|e| e.place().map(str::to_owned), buffer, length, needed) }
}

/// What part of the work the last error of this thread belongs to (`CW_CATEGORY_*`); `CW_CATEGORY_NONE` after a call
/// that succeeded.
#[unsafe(no_mangle)]
pub extern "C" fn cw_last_error_category() -> i32 {
    let category = |e: &Error| e.category() as i32;
    LAST.try_with(|last| last.borrow().as_ref().map_or(CW_CATEGORY_NONE, category))
        .unwrap_or(CW_CATEGORY_NONE)
}

/// A short stable name of a category, such as `memory`; `none` for `CW_CATEGORY_NONE`, `unknown` for a number that is
/// none. Never null.
#[unsafe(no_mangle)]
pub extern "C" fn cw_category_name(category: i32) -> *const c_char {
    const NAMES: [&CStr; 13] = [
        c"none",
        c"initialization",
        c"driver",
        c"device",
        c"memory",
        c"kernel",
        c"task",
        c"bridge",
        c"model",
        c"tenant",
        c"system",
        c"argument",
        c"internal",
    ];
    let found = usize::try_from(category).ok().and_then(|i| NAMES.get(i));
    found.unwrap_or(&c"unknown").as_ptr()
}

/// The status of the last error of this thread, `CW_OK` after a call that succeeded.
#[unsafe(no_mangle)]
pub extern "C" fn cw_last_status() -> cw_status {
    LAST.try_with(|last| last.borrow().as_ref().map_or(CW_OK, |e| e.status() as cw_status)).unwrap_or(CW_OK)
}

/// The raw code of the device's driver behind the last error of this thread (a `CUresult`), or 0.
#[unsafe(no_mangle)]
pub extern "C" fn cw_last_driver_code() -> u32 {
    LAST.try_with(|last| last.borrow().as_ref().and_then(Error::driver_code).unwrap_or(0)).unwrap_or(0)
}

/// A short stable name of a status, such as `quota_exceeded`; `unknown` for a number that is none. Never null.
#[unsafe(no_mangle)]
pub extern "C" fn cw_status_name(status: cw_status) -> *const c_char {
    const NAMES: [&CStr; 21] = [
        c"ok",
        c"invalid_argument",
        c"not_found",
        c"already_exists",
        c"out_of_memory",
        c"quota_exceeded",
        c"not_owner",
        c"not_initialized",
        c"unsupported",
        c"no_device",
        c"device_lost",
        c"driver",
        c"io",
        c"format",
        c"cancelled",
        c"timeout",
        c"busy",
        c"callback",
        c"panic",
        c"internal",
        c"buffer_too_small",
    ];
    let found = usize::try_from(status).ok().and_then(|i| NAMES.get(i));
    found.unwrap_or(&c"unknown").as_ptr()
}

/// The version of the library that is loaded, such as `0.1.0`. Never null.
#[unsafe(no_mangle)]
pub extern "C" fn cw_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(text) => text,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// The version of the library that is loaded as `major * 1000000 + minor * 1000 + patch`, to compare with
/// `CW_VERSION_NUMBER` of the header.
///
/// # Safety
/// `version` must point to a writable number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_version_number(version: *mut u32) -> cw_status {
    guard(call!("cw_version_number", version), || {
        // SAFETY: the caller's promise.
        let version = unsafe { out("version", version)? };
        let mut parts = env!("CARGO_PKG_VERSION").split('.').map(|p| p.parse().unwrap_or(0));
        let mut next = || parts.next().unwrap_or(0);
        *version = next() * 1_000_000 + next() * 1_000 + next();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Category;

    #[test]
    fn names_at_the_border_are_those_of_the_library() {
        // SAFETY: both functions answer constants.
        let name = |p| unsafe { CStr::from_ptr(p) }.to_str().unwrap();
        for status in Status::ALL {
            assert_eq!(name(cw_status_name(status as i32)), status.name());
        }
        for category in Category::ALL {
            assert_eq!(name(cw_category_name(category as i32)), category.name());
        }
        assert_eq!((name(cw_category_name(-1)), name(cw_category_name(13))), ("unknown", "unknown"));
    }
}
