//! Arrays that other processes open, across the border.

use super::bridge::{ARRAYS, get, live};
use super::guard::{guard, out};
use super::kernel::pointer;
use super::text::{text, write_text};
use super::types::{cw_array, cw_bridge, cw_status};
use std::ffi::{c_char, c_void};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

/// Makes an array of `count` f32, zero at first, that other processes can open, charged to tenant `llm` (opened with
/// default limits when there is none). Its size never changes. Free the handle with `cw_array_free` or
/// `cw_bridge_shared_array_destroy`; the memory goes when no process has it any more.
///
/// # Safety
/// `llm` must be NUL-terminated, `array` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_shared_array_create(
    bridge: *mut cw_bridge,
    count: u64,
    llm: *const c_char,
    array: *mut *mut cw_array,
) -> cw_status {
    guard(call!("cw_bridge_shared_array_create", bridge, count, llm, array), || {
        // SAFETY: the caller's promise.
        let (llm, array) = unsafe { (text("llm", llm)?, out("array", array)?) };
        *array = ARRAYS.insert(Arc::new(get(bridge)?.shared_array(count, llm)?));
        Ok(())
    })
}

/// Opens the shared array of another process: `name` is what `cw_array_shared_name` wrote there, or the number of a
/// descriptor that this process got. Charged to tenant `llm` in full.
///
/// # Safety
/// Texts must be NUL-terminated, `array` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_shared_array_open(
    bridge: *mut cw_bridge,
    name: *const c_char,
    llm: *const c_char,
    array: *mut *mut cw_array,
) -> cw_status {
    guard(call!("cw_bridge_shared_array_open", bridge, name, llm, array), || {
        // SAFETY: the caller's promise.
        let (name, llm, array) = unsafe { (text("name", name)?, text("llm", llm)?, out("array", array)?) };
        *array = ARRAYS.insert(Arc::new(get(bridge)?.open_shared_array(name, llm)?));
        Ok(())
    })
}

/// Gives a shared array's memory back here and frees the handle; refused for another tenant than `llm` and for an array
/// that is not shared. Other processes that opened it keep it.
///
/// # Safety
/// `llm` must be NUL-terminated. Nobody in this process may use the array's memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_shared_array_destroy(
    bridge: *mut cw_bridge,
    array: *mut cw_array,
    llm: *const c_char,
) -> cw_status {
    guard(call!("cw_bridge_shared_array_destroy", bridge, array, llm), || {
        live(bridge)?;
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        let found = ARRAYS.get("array", array)?;
        found.shared_address()?;
        found.check_owner(llm)?;
        ARRAYS.remove("array", array).map(drop)
    })
}

/// Where a shared array lies, for host and device alike; an error for an array that is not shared.
///
/// # Safety
/// `memory` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_shared_array_pointer(
    bridge: *const cw_bridge,
    array: *const cw_array,
    memory: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_bridge_shared_array_pointer", bridge, array, memory), || {
        live(bridge)?;
        // SAFETY: the caller's promise.
        let memory = unsafe { out("memory", memory)? };
        *memory = pointer(ARRAYS.get("array", array)?.shared_address()?);
        Ok(())
    })
}

/// What another process of the same user opens a shared array by, while this process has it. Text out as described at the
/// top.
///
/// # Safety
/// `buffer` must be valid for `length` writes, `needed` null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_array_shared_name(
    array: *const cw_array,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_array_shared_name", array, buffer, length, needed), || {
        let name = ARRAYS.get("array", array)?.shared_name()?;
        // SAFETY: the caller's promise.
        unsafe { write_text(&name, buffer, length, needed) }
    })
}

/// A file descriptor of a shared array, to be passed on to a process that cannot open it by name. The caller's to close.
///
/// # Safety
/// `fd` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_array_shared_fd(array: *const cw_array, fd: *mut i32) -> cw_status {
    guard(call!("cw_array_shared_fd", array, fd), || {
        // SAFETY: the caller's promise.
        let fd = unsafe { out("fd", fd)? };
        *fd = ARRAYS.get("array", array)?.shared_descriptor()?.into_raw_fd();
        Ok(())
    })
}
