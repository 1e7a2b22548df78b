//! What every exported function does first and last: catch panics, keep the last error, check pointers.

use super::arguments::Call;
use super::error::set_last;
use super::types::{CW_OK, cw_status};
use crate::telemetry::{history, log};
use crate::{Error, Result, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs the body of an exported function; a panic becomes an error. `what` is its name, or `call!` of its name and all
/// its arguments. The thread's last error is set or cleared, and an error goes into the history; a `_free` function that
/// succeeds leaves the last error, so that cleaning up after a failure does not hide the failure.
pub(super) fn guard<'a>(what: impl Into<Call<'a>>, body: impl FnOnce() -> Result<()>) -> cw_status {
    let what = what.into();
    let name = what.name;
    if crate::device::is_forked() {
        // Before anything that could wait: a lock that another thread held at the fork stays locked here for good.
        return set_last(Some(forked(name)));
    }
    let error = match catch_unwind(AssertUnwindSafe(|| {
        planted(name);
        body()
    })) {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(e.within(name)),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            // The payload's own destructor may panic; it must not do so here.
            std::mem::forget(panic);
            Some(
                Error::new(Status::Panic, format!("{name}: bug in Cogniware: {text}"))
                    .advise("please report it; the call had no effect that can be relied on"),
            )
        }
    };
    log::flush();
    if error.is_none() && name.ends_with("_free") {
        return CW_OK;
    }
    let error = error.map(|e| e.leaving(what.to_string()));
    if let Some(error) = &error {
        history::record(error);
    }
    set_last(error)
}

/// In builds for tests, `COGNIWARE_TEST_PANIC` names the function that is to panic (`*`: all), so that what follows a
/// panic can be tested at every function.
#[cfg(debug_assertions)]
fn planted(name: &str) {
    static NAME: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    if let Some(wanted) = NAME.get_or_init(|| std::env::var("COGNIWARE_TEST_PANIC").ok())
        && (wanted == name || wanted == "*")
    {
        panic!("planted in {name}");
    }
}

#[cfg(not(debug_assertions))]
fn planted(_: &str) {}

#[cold]
fn forked(name: &str) -> Error {
    Error::unsupported(format!(
        "{name}: this process was forked from one that had used Cogniware, whose threads and devices are not here"
    ))
    .advise("use Cogniware in the parent only, start the child with exec, or fork before the first use")
}

/// The caller's place for an output.
///
/// # Safety
/// A pointer that is not null must be valid for writes and not be aliased during the call.
pub(super) unsafe fn out<'a, T>(name: &str, pointer: *mut T) -> Result<&'a mut T> {
    aligned(name, pointer)?;
    // SAFETY: not null, aligned, and valid by the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// A struct or value that the caller passes by pointer.
///
/// # Safety
/// A pointer that is not null must be valid for reads.
pub(super) unsafe fn input<'a, T>(name: &str, pointer: *const T) -> Result<&'a T> {
    aligned(name, pointer)?;
    // SAFETY: not null, aligned, and valid by the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// An array: pointer and length. A length of 0 allows any pointer.
///
/// # Safety
/// With a length above 0 the pointer must be valid for reads of that many elements.
pub(super) unsafe fn slice<'a, T>(name: &str, pointer: *const T, length: usize) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    aligned(name, pointer)?;
    if length.checked_mul(size_of::<T>().max(1)).is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(Error::argument(name, format!("{length} elements overflow the address space")));
    }
    // SAFETY: not null, aligned, bounded, and valid by the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, length) })
}

/// The same of at most `most` elements, so that a length that is no length is refused before it is believed; `count` names it.
///
/// # Safety
/// As for [`slice`].
pub(super) unsafe fn few<'a, T>(
    name: &str,
    pointer: *const T,
    count: &str,
    length: usize,
    most: usize,
) -> Result<&'a [T]> {
    if length > most {
        return Err(Error::argument(count, format!("{length} is more than {most}")));
    }
    // SAFETY: the caller's promise.
    unsafe { slice(name, pointer, length) }
}

/// An array that the caller wants written: pointer and length. A length of 0 allows any pointer.
///
/// # Safety
/// With a length above 0 the pointer must be valid for reads and writes of that many elements, which nobody else uses
/// during the call.
pub(super) unsafe fn slice_mut<'a, T>(name: &str, pointer: *mut T, length: usize) -> Result<&'a mut [T]> {
    if length == 0 {
        return Ok(&mut []);
    }
    // SAFETY: the caller's promise.
    unsafe { slice(name, pointer.cast_const(), length)? };
    // SAFETY: checked just now.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, length) })
}

/// Writes a list to the caller's array: as many as fit, and to `count` how many there are. More than fit is an error.
///
/// # Safety
/// With a capacity above 0 the pointer must be valid for writes of that many elements.
pub(super) unsafe fn write_list<T: Copy>(
    name: &str,
    list: &[T],
    pointer: *mut T,
    capacity: usize,
    count: &mut usize,
) -> Result<()> {
    if capacity > 0 && pointer.is_null() {
        return Err(null(name));
    }
    aligned(name, pointer)?;
    *count = list.len();
    if pointer.is_null() {
        return Ok(());
    }
    // SAFETY: not more than the caller's capacity.
    unsafe { std::ptr::copy_nonoverlapping(list.as_ptr(), pointer, list.len().min(capacity)) };
    if list.len() <= capacity {
        return Ok(());
    }
    Err(Error::new(
        Status::BufferTooSmall,
        format!("argument `{name}`: has room for {capacity}, there are {}", list.len()),
    ))
}

/// Checks the `struct_size` that the caller set: it must be at least what this version needs to read or write.
pub(super) fn struct_size<T>(name: &str, given: usize) -> Result<()> {
    if given >= size_of::<T>() {
        return Ok(());
    }
    Err(Error::argument(
        name,
        format!("struct_size is {given}, this version of the library needs {}", size_of::<T>()),
    )
    .advise("set struct_size to sizeof of the struct, or fill it with its _default function"))
}

fn aligned<T>(name: &str, pointer: *const T) -> Result<()> {
    if pointer.is_aligned() {
        return Ok(());
    }
    Err(Error::argument(name, format!("{pointer:p} is not aligned to {} bytes", align_of::<T>())))
}

fn null(name: &str) -> Error {
    Error::argument(name, "is NULL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_as_far_as_they_fit() {
        let (mut count, mut room) = (77, [0u32; 3]);
        // SAFETY: the pointers are null with no or a refused capacity, or have the capacity given.
        let write = |pointer: *mut u32, capacity, count: &mut usize| unsafe {
            write_list("ids", &[1, 2, 3], pointer, capacity, count)
        };
        let e = write(std::ptr::null_mut(), 3, &mut count).unwrap_err();
        assert!(e.message().contains("`ids`: is NULL") && count == 77, "{e}");
        let odd = room.as_mut_ptr().wrapping_byte_add(1);
        assert!(write(odd, 2, &mut count).unwrap_err().message().contains("aligned"));
        assert_eq!(count, 77, "outputs are written only on success");
        write(std::ptr::null_mut(), 0, &mut count).unwrap();
        assert_eq!(std::mem::take(&mut count), 3);
        let e = write(room.as_mut_ptr(), 2, &mut count).unwrap_err();
        assert_eq!((e.status(), count), (Status::BufferTooSmall, 3));
        write(room.as_mut_ptr(), 3, &mut count).unwrap();
        assert_eq!(room, [1, 2, 3]);
    }

    #[test]
    fn slices_and_struct_sizes_are_checked() {
        // SAFETY: no length that is not refused is above 0.
        unsafe {
            assert!(slice("a", std::ptr::null::<u64>(), 0).unwrap().is_empty());
            assert!(slice("a", std::ptr::null::<u64>(), 1).is_err());
            let some = std::ptr::dangling::<u64>();
            assert!(slice("a", some, usize::MAX / 2).unwrap_err().message().contains("overflow"));
            assert!(out("a", some.wrapping_byte_add(4).cast_mut()).is_err());
        }
        assert!(struct_size::<u64>("a", 8).is_ok());
        assert!(struct_size::<u64>("a", 7).unwrap_err().advice().is_some());
    }
}
