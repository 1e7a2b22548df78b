//! Streams of tenants across the border. A stream is a number, unique within its tenant; 0 is never one.

use super::callback::UserData;
use super::guard::{guard, out};
use super::tenant;
use super::types::{cw_drop_function, cw_function, cw_status, cw_tenant};
use crate::Error;
use std::ffi::c_void;

/// Makes a stream: an ordered queue on the tenant's node. Lower `priority` runs first; 0 is normal.
///
/// # Safety
/// `stream` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_stream_create(
    tenant: *mut cw_tenant,
    priority: i32,
    stream: *mut u64,
) -> cw_status {
    guard(call!("cw_stream_create", tenant, priority, stream), || {
        // SAFETY: the caller's promise.
        let stream = unsafe { out("stream", stream)? };
        *stream = tenant::get(tenant)?.open_stream(priority)?;
        Ok(())
    })
}

/// Waits for everything queued on the stream; reports an error that it raised.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_stream_synchronize(tenant: *mut cw_tenant, stream: u64) -> cw_status {
    guard(call!("cw_stream_synchronize", tenant, stream), || {
        tenant::get(tenant)?.stream(stream)?.synchronize()
    })
}

/// Waits for everything queued on the stream, then ends it.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_stream_destroy(tenant: *mut cw_tenant, stream: u64) -> cw_status {
    guard(call!("cw_stream_destroy", tenant, stream), || tenant::get(tenant)?.close_stream(stream))
}

/// Queues a function on the stream: it runs when everything before it has, on a thread of the device. It must not wait
/// for the stream it runs on. `drop` runs once, after the function or when queueing fails.
///
/// # Safety
/// The function must be callable with `user_data` from another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_stream_call(
    tenant: *mut cw_tenant,
    stream: u64,
    function: cw_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    guard(call!("cw_stream_call", tenant, stream, function, user_data, drop), || {
        let function = function.ok_or_else(|| Error::argument("function", "is NULL"))?;
        let stream = tenant::get(tenant)?.stream(stream)?;
        stream.host_fn(Box::new(move || {
            let user = user;
            // SAFETY: the caller's promise.
            unsafe { function(user.data) }
        }))
    })
}

/// The device's own stream object behind a stream: a `CUstream` on a CUDA device, `NULL` on the CPU.
///
/// # Safety
/// `native` must be valid for a write. The object belongs to Cogniware.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_stream_native(
    tenant: *mut cw_tenant,
    stream: u64,
    native: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_stream_native", tenant, stream, native), || {
        // SAFETY: the caller's promise.
        let native = unsafe { out("native", native)? };
        *native = tenant::get(tenant)?.stream(stream)?.raw();
        Ok(())
    })
}
