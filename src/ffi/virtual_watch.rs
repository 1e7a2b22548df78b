//! Watching virtual GPUs across the border.

use super::callback::UserData;
use super::guard::{guard, out};
use super::text::write_text;
use super::types::{cw_drop_function, cw_status};
use super::virtual_gpu::to_c;
use super::virtual_layout::pause;
use super::virtual_types::{cw_vgpu_info, cw_watch_function};
use crate::Error;
use crate::virtualization::{Driver, GpuInfo};
use std::ffi::{c_char, c_void};

/// Calls `function` every `interval_ms` milliseconds (at least 1), once for each virtual GPU by id, on a thread of its own, until
/// `cw_virtualization_unwatch` of the number that `*watch` gets, or `cw_virtualization_shutdown`. `drop` runs once, when it will not be
/// called any more; at once when this call fails.
///
/// # Safety
/// `watch` must be valid for a write, the function callable with `user_data` from another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_watch(
    interval_ms: f64,
    function: cw_watch_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
    watch: *mut u64,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    guard(call!("cw_virtualization_watch", interval_ms, function, user_data, drop, watch), || {
        // SAFETY: the caller's promise.
        let watch = unsafe { out("watch", watch)? };
        let function = function.ok_or_else(|| Error::argument("function", "is NULL"))?;
        let interval = pause("interval_ms", interval_ms)?;
        let told = move |all: &[GpuInfo]| {
            let user = &user;
            for info in all {
                let info = to_c(info, size_of::<cw_vgpu_info>());
                // SAFETY: the caller's promise; the figures live until the function returns.
                unsafe { function(user.data, &raw const info) };
            }
        };
        *watch = Driver::global().watch(interval, Box::new(told))?;
        Ok(())
    })
}

/// Ends a watch. A call that runs now is not waited for, so that it may end its own.
#[unsafe(no_mangle)]
pub extern "C" fn cw_virtualization_unwatch(watch: u64) -> cw_status {
    guard(call!("cw_virtualization_unwatch", watch), || Driver::global().unwatch(watch))
}

/// The figures of all virtual GPUs as Prometheus text (exposition format 0.0.4), to the caller's buffer, which may be `NULL` to ask
/// for the size.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_prometheus(
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_virtualization_prometheus", buffer, length, needed), || {
        // SAFETY: the caller's promise.
        unsafe { write_text(&Driver::global().prometheus()?, buffer, length, needed) }
    })
}
