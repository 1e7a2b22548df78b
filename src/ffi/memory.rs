//! Memory of tenants across the border.

use super::guard::{guard, out};
use super::tenant;
use super::text::optional_text;
use super::types::{cw_status, cw_tenant};
use crate::Error;
use std::ffi::{c_char, c_void};

/// Allocates `bytes` of the tenant's memory, aligned to 256 bytes. `tag` (may be `NULL`) names it in reports. On the
/// CPU device the pointer is an ordinary address; on a GPU it is a device address. Free it with `cw_memory_free`.
///
/// # Safety
/// `tag` must be null or NUL-terminated, `pointer` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_memory_alloc(
    tenant: *mut cw_tenant,
    bytes: u64,
    tag: *const c_char,
    pointer: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_memory_alloc", tenant, bytes, tag, pointer), || {
        // SAFETY: the caller's promise.
        let (tag, pointer) = unsafe { (optional_text("tag", tag)?, out("pointer", pointer)?) };
        if bytes == 0 {
            return Err(Error::argument("bytes", "must not be 0"));
        }
        let address = tenant::get(tenant)?.alloc(bytes, tag.unwrap_or("memory"))?;
        *pointer = std::ptr::with_exposed_provenance_mut(address as usize);
        Ok(())
    })
}

/// Frees what `cw_memory_alloc` gave this tenant. `NULL` is ignored. Foreign, freed, inner and other tenants'
/// pointers are refused, saying which of these it is.
///
/// # Safety
/// No work that uses the memory may be in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_memory_free(tenant: *mut cw_tenant, pointer: *mut c_void) -> cw_status {
    guard(call!("cw_memory_free", tenant, pointer), || {
        let tenant = tenant::get(tenant)?;
        if pointer.is_null() {
            return Ok(());
        }
        tenant.free(pointer as u64)
    })
}

/// Copies `bytes` bytes between host memory and memory of the tenant, in any direction. With `stream` 0 the call waits
/// for the copy; else it is queued on that stream of the tenant and both ranges must stay valid until it has run.
///
/// # Safety
/// Host ranges must be valid for `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_memory_copy(
    tenant: *mut cw_tenant,
    dst: *mut c_void,
    src: *const c_void,
    bytes: u64,
    stream: u64,
) -> cw_status {
    guard(call!("cw_memory_copy", tenant, dst, src, bytes, stream), || {
        let tenant = tenant::get(tenant)?;
        let stream = if stream == 0 { None } else { Some(tenant.stream(stream)?) };
        // SAFETY: the caller's promise about host ranges.
        unsafe { tenant.copy(dst as u64, src as u64, bytes, stream.as_deref()) }
    })
}

/// Sets `bytes` bytes of the tenant's memory to the low byte of `value`; `stream` as for `cw_memory_copy`.
///
/// # Safety
/// No other work that uses the memory may be in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_memory_fill(
    tenant: *mut cw_tenant,
    dst: *mut c_void,
    value: i32,
    bytes: u64,
    stream: u64,
) -> cw_status {
    guard(call!("cw_memory_fill", tenant, dst, value, bytes, stream), || {
        let tenant = tenant::get(tenant)?;
        let stream = if stream == 0 { None } else { Some(tenant.stream(stream)?) };
        tenant.fill(dst as u64, value as u8, bytes, stream.as_deref())
    })
}
