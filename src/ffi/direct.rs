//! Direct memory access across the border.

use super::guard::{guard, out};
use super::kernel::{get, pointer};
use super::text::text;
use super::types::{cw_kernel, cw_status};
use std::ffi::{c_char, c_void};

/// Lets the host read and write what tenant `llm` allocates from here on without copies: ask `cw_kernel_direct_pointer`.
/// On the CPU device all memory is so. On a GPU new allocations are pinned host memory that the GPU addresses over its bus;
/// what was allocated before stays in the GPU's own memory, which a host cannot address. Doing it twice is fine.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_direct_enable(kernel: *mut cw_kernel, llm: *const c_char) -> cw_status {
    guard(call!("cw_kernel_direct_enable", kernel, llm), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(kernel)?.enable_direct(llm)
    })
}

/// Ends it: direct pointers of tenant `llm` must not be used any more, new allocations are the device's own. An error when
/// it was not enabled.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_direct_disable(kernel: *mut cw_kernel, llm: *const c_char) -> cw_status {
    guard(call!("cw_kernel_direct_disable", kernel, llm), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(kernel)?.disable_direct(llm)
    })
}

/// The address by which the host reads and writes `bytes` bytes at the device address `memory`, which must lie in one
/// allocation of a tenant whose direct access is enabled. Valid until that is freed or direct access disabled. Ordering
/// with work of the device is the caller's.
///
/// # Safety
/// `host` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_direct_pointer(
    kernel: *const cw_kernel,
    memory: *const c_void,
    bytes: u64,
    host: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_kernel_direct_pointer", kernel, memory, bytes, host), || {
        // SAFETY: the caller's promise.
        let host = unsafe { out("host", host)? };
        *host = pointer(get(kernel)?.direct_pointer(memory as u64, bytes)?);
        Ok(())
    })
}
