//! Figures of virtual GPUs for others, across the border.

use super::callback::UserData;
use super::guard::{guard, out, struct_size};
use super::text::text;
use super::types::{cw_drop_function, cw_status};
use super::virtual_gpu::nanos;
use super::virtual_types::{cw_device_usage, cw_monitor_function};
use crate::kernel::prometheus;
use crate::virtualization::{Driver, monitor};
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::time::Duration;

/// The driver's device as a whole, beside what the tenants of this process had of it. Set `usage->struct_size` first.
///
/// # Safety
/// `usage` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_device_usage(usage: *mut cw_device_usage) -> cw_status {
    guard(call!("cw_virtualization_device_usage", usage), || {
        // SAFETY: the caller's promise.
        let usage = unsafe { out("usage", usage)? };
        struct_size::<cw_device_usage>("usage", usage.struct_size)?;
        let now = Driver::global().device_usage()?;
        let known = |part: Option<f64>| part.map_or(-1.0, |p| p as f32);
        *usage = cw_device_usage {
            struct_size: usage.struct_size,
            device_kind: super::device::kind_number(now.device.0),
            device_ordinal: now.device.1 as i32,
            utilization: known(now.utilization),
            tenants_second: now.tenants_second() as f32,
            tenants_minute: now.tenants_minute() as f32,
            tenants_over_device: known(now.tenants_over_device()),
            memory_used: now.memory_used.unwrap_or(0),
            memory_total: now.memory_total.unwrap_or(0),
            processors: now.processors,
            tenants_busy_ns: nanos(now.tenants.busy),
            tenants_processor_time_ns: nanos(now.tenants.processor_time),
        };
        Ok(())
    })
}

/// Calls `function` every `interval_ms` milliseconds (10 to 86,400,000), for the first time that long from now, on one thread of
/// its own and with no lock held, until another function is set, a `function` of `NULL` is, or the driver is shut down. It may
/// call Cogniware, this function included. `drop` runs when the last call has returned; when the call that replaces it
/// or shuts down returns, that has happened, unless it is made by `function` itself. On an error the one before goes on.
///
/// # Safety
/// `function` and `drop` must be safe to call with `user_data` from any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_monitor_set(
    function: cw_monitor_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
    interval_ms: u64,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    guard(call!("cw_virtualization_monitor_set", function, user_data, drop, interval_ms), || {
        let Some(function) = function else {
            monitor::unhook();
            return Ok(());
        };
        Driver::global().set_monitor(Duration::from_millis(interval_ms), move || {
            let user = &user;
            // SAFETY: the caller's promise.
            unsafe { function(user.data) };
        })
    })
}

/// Writes what `cw_profiler_prometheus` tells to the file at `path` now, and again every `interval_ms` milliseconds (10 to
/// 86,400,000), until another path is published, `cw_virtualization_publish_stop` is called or the driver is shut down, when
/// it is written once more. Readers see a whole text each time. The file stays. On an error what was published before goes on.
///
/// # Safety
/// `path` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_publish(path: *const c_char, interval_ms: u64) -> cw_status {
    guard(call!("cw_virtualization_publish", path, interval_ms), || {
        // SAFETY: the caller's promise.
        let path = unsafe { text("path", path)? };
        Driver::global().publish(Path::new(path), Duration::from_millis(interval_ms), prometheus)
    })
}

/// Ends publishing: the metrics are written once more, and the file stays. Does nothing when nothing is published.
#[unsafe(no_mangle)]
pub extern "C" fn cw_virtualization_publish_stop() -> cw_status {
    guard(call!("cw_virtualization_publish_stop"), || {
        monitor::stop_publishing();
        Ok(())
    })
}
