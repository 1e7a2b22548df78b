//! The profiler across the border: switches, figures, traces, Prometheus text, ranges.

use super::guard::{guard, out};
use super::map::export;
use super::text::{optional_text, text, write_text};
use super::types::{cw_bridge, cw_kernel, cw_map, cw_status};
use super::{bridge, kernel};
use crate::system::System;
use crate::telemetry::{profiler, trace};
use crate::{kernel as managers, tenant};
use std::ffi::c_char;
use std::path::Path;

/// Records the work of every tenant of this process from now on: kernels, copies, steps, tasks, waits. Does nothing when
/// that was done. Off, which is how a process begins, the profiler costs a branch.
#[unsafe(no_mangle)]
pub extern "C" fn cw_profiler_enable() -> cw_status {
    guard(call!("cw_profiler_enable"), || {
        profiler::enable();
        Ok(())
    })
}

/// Ends what `cw_profiler_enable` began; the figures stay. What a manager or a bridge switched on stays on.
#[unsafe(no_mangle)]
pub extern "C" fn cw_profiler_disable() -> cw_status {
    guard(call!("cw_profiler_disable"), || {
        profiler::disable();
        Ok(())
    })
}

/// Writes 1 when the work of tenant `llm` is recorded (`NULL`: of anybody), else 0.
///
/// # Safety
/// `llm` must be NULL or NUL-terminated, `enabled` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_profiler_is_enabled(llm: *const c_char, enabled: *mut i32) -> cw_status {
    guard(call!("cw_profiler_is_enabled", llm, enabled), || {
        // SAFETY: the caller's promise.
        let (llm, enabled) = unsafe { (optional_text("llm", llm)?, out("enabled", enabled)?) };
        *enabled = i32::from(match llm {
            Some(llm) => tenant::find(llm)?.subject().recorded(),
            None => profiler::is_recording(),
        });
        Ok(())
    })
}

/// Forgets all figures and trace events, of everybody. What is in flight is recorded when it ends.
#[unsafe(no_mangle)]
pub extern "C" fn cw_profiler_reset() -> cw_status {
    guard(call!("cw_profiler_reset"), || {
        profiler::reset();
        Ok(())
    })
}

/// The figures of tenant `llm`, or of all tenants together (`NULL`): `<kind>.<name>.<figure>` with kinds `kernel`, `copy`,
/// `fill`, `step`, `task`, `wait`, `memory`, `range` and figures `count`, `min_us`, `mean_us`, `p50_us`, `p99_us`, `max_us`,
/// `total_seconds`, where known `bytes`, `gb_per_s`, `occupancy`, `tokens`, `tokens_per_s`; and `profiling_enabled`, `profiling_source`, `records`,
/// `trace_events`, `trace_events_dropped`, `records_lost`. Device work that has not ended yet comes with a later call.
/// Free the map.
///
/// # Safety
/// `llm` must be NULL or NUL-terminated, `data` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_profiler_data(llm: *const c_char, data: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_profiler_data", llm, data), || {
        // SAFETY: the caller's promise.
        let (llm, data) = unsafe { (optional_text("llm", llm)?, out("data", data)?) };
        let enabled = llm.map(tenant::find).transpose()?.map(|t| t.subject().recorded());
        *data = export(profiler::map(llm, enabled));
        Ok(())
    })
}

/// The same as a table for people, to the caller's buffer.
///
/// # Safety
/// `llm` must be NULL or NUL-terminated; the buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_profiler_summary(
    llm: *const c_char,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_profiler_summary", llm, buffer, length, needed), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { optional_text("llm", llm)? };
        if let Some(llm) = llm {
            tenant::find(llm)?;
        }
        // SAFETY: the caller's promise.
        unsafe { write_text(&profiler::summary(llm), buffer, length, needed) }
    })
}

/// Figures of tenants, tasks, devices and the profiler as Prometheus text (exposition format 0.0.4), to the caller's
/// buffer. It can grow between two calls: ask again while `CW_ERROR_BUFFER_TOO_SMALL` is the answer.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_profiler_prometheus(
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_profiler_prometheus", buffer, length, needed), || {
        // SAFETY: the caller's promise.
        unsafe { write_text(&managers::prometheus(), buffer, length, needed) }
    })
}

/// Writes the last 262,144 events as a trace for Perfetto (ui.perfetto.dev) or `chrome://tracing`: JSON, a process for each
/// tenant, a thread for each stream. The file is replaced when all is written; on an error it is as it was. Writes how
/// many events it holds to `events`, which may be `NULL`.
///
/// # Safety
/// `path` must be NUL-terminated, `events` NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_profiler_trace_export(path: *const c_char, events: *mut u64) -> cw_status {
    guard(call!("cw_profiler_trace_export", path, events), || {
        // SAFETY: the caller's promise.
        let path = unsafe { text("path", path)? };
        let events = match events.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => Some(unsafe { out("events", events)? }),
        };
        let written = trace::export(Path::new(path))?;
        if let Some(events) = events {
            *events = written;
        }
        Ok(())
    })
}

/// Opens a range on this thread, which `cw_profiler_range_pop` on the same thread ends: ranges are recorded by name, shown in
/// traces, and told to a tool that listens to NVTX. It belongs to tenant `llm`, or to nobody (`NULL`).
///
/// # Safety
/// `name` must be NUL-terminated, `llm` NULL or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_profiler_range_push(name: *const c_char, llm: *const c_char) -> cw_status {
    guard(call!("cw_profiler_range_push", name, llm), || {
        // SAFETY: the caller's promise.
        let (name, llm) = unsafe { (text("name", name)?, optional_text("llm", llm)?) };
        let tenant = llm.map(tenant::find).transpose()?;
        profiler::push(name, tenant.as_ref().map(|t| t.subject()))
    })
}

/// Ends the range that was opened last on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn cw_profiler_range_pop() -> cw_status {
    guard(call!("cw_profiler_range_pop"), profiler::pop)
}

/// Records everybody's work until `cw_kernel_profiling_disable` or the kernel's shutdown. Does nothing when it does already.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_profiling_enable(kernel: *mut cw_kernel) -> cw_status {
    guard(call!("cw_kernel_profiling_enable", kernel), || kernel::get(kernel)?.enable_profiling())
}

/// Ends what `cw_kernel_profiling_enable` began; the figures stay.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_profiling_disable(kernel: *mut cw_kernel) -> cw_status {
    guard(call!("cw_kernel_profiling_disable", kernel), || kernel::get(kernel)?.disable_profiling())
}

/// Records everybody's work until `cw_system_profiling_disable` or the system's shutdown.
#[unsafe(no_mangle)]
pub extern "C" fn cw_system_profiling_enable() -> cw_status {
    guard(call!("cw_system_profiling_enable"), || System::global().enable_profiling())
}

/// Ends what `cw_system_profiling_enable` began; the figures stay.
#[unsafe(no_mangle)]
pub extern "C" fn cw_system_profiling_disable() -> cw_status {
    guard(call!("cw_system_profiling_disable"), || System::global().disable_profiling())
}

/// Records the work of tenant `llm` (opened with default limits when there is none) until
/// `cw_bridge_profiling_disable` or the tenant's end.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_profiling_enable(bridge: *mut cw_bridge, llm: *const c_char) -> cw_status {
    guard(call!("cw_bridge_profiling_enable", bridge, llm), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        bridge::get(bridge)?.enable_profiling(llm)
    })
}

/// Ends what `cw_bridge_profiling_enable` began for tenant `llm`; the figures stay.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_profiling_disable(
    bridge: *mut cw_bridge,
    llm: *const c_char,
) -> cw_status {
    guard(call!("cw_bridge_profiling_disable", bridge, llm), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        bridge::get(bridge)?.disable_profiling(llm)
    })
}

/// What was recorded of tenant `llm`; see `cw_profiler_data`. Free the map.
///
/// # Safety
/// `llm` must be NUL-terminated, `data` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_profiling_data(
    bridge: *const cw_bridge,
    llm: *const c_char,
    data: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_profiling_data", bridge, llm, data), || {
        // SAFETY: the caller's promise.
        let (llm, data) = unsafe { (text("llm", llm)?, out("data", data)?) };
        *data = export(bridge::get(bridge)?.profiling_data(llm)?);
        Ok(())
    })
}
