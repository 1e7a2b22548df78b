//! Configurations and requirements across the border: what `set…Configuration` and `optimizeForLLM` call.

use super::guard::{guard, out};
use super::map::{export, import};
use super::text::text;
use super::types::{cw_bridge, cw_kernel, cw_map, cw_status};
use super::{bridge, kernel};
use std::ffi::c_char;

/// Changes configuration keys of a kernel manager; the others stay, an empty value brings a key's default back. Keys:
/// `device` (`cpu`, `cuda`, `cuda:N`, `auto`), `fallback_device` (`cpu`, `none`), `max_memory` (MiB that all tenants of a device may have together),
/// `default_memory_limit` (MiB), `default_weight`, `default_priority` (`critical` to `background`), `default_cores` of
/// tenants that nobody opened with other wishes, `task_threads`, `max_tasks`, `task_timeout` (seconds) of the process.
/// All of it or nothing. May be called before `cw_kernel_initialize`, and survives `cw_kernel_shutdown`. A `NULL` `config`
/// counts as empty.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_configure(kernel: *mut cw_kernel, config: *const cw_map) -> cw_status {
    guard(call!("cw_kernel_configure", kernel, config), || {
        kernel::get(kernel)?.configure(&import("config", config)?)
    })
}

/// Every configuration key of a kernel manager with what is in force for it: what was set, else the default. Free the
/// map.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_configuration(
    kernel: *const cw_kernel,
    config: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_kernel_configuration", kernel, config), || {
        // SAFETY: the caller's promise.
        let config = unsafe { out("config", config)? };
        *config = export(kernel::get(kernel)?.configuration());
        Ok(())
    })
}

/// Gives tenant `llm` (opened with default limits when there is none) what it requires, all of it or nothing:
/// `memory_priority` (how much of its limit is set aside for it: all for `critical`, half for `high`, else nothing),
/// `compute_priority` (its priority at the gate), `stream_priority` (of its model's stream, and of streams made from
/// now on), `max_memory` (MiB), `max_cores`, `weight`, `enable_profiling` (`true` or `false`). Priorities are
/// `critical`, `high`, `normal`, `low`, `background`. Unknown keys are refused by name. A `NULL` `requirements`
/// counts as empty.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_optimize(
    kernel: *mut cw_kernel,
    llm: *const c_char,
    requirements: *const cw_map,
) -> cw_status {
    guard(call!("cw_kernel_optimize", kernel, llm, requirements), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        kernel::get(kernel)?.optimize(llm, &import("requirements", requirements)?)
    })
}

/// Changes configuration keys of a bridge; the others stay, an empty value brings a key's default back. Keys:
/// `max_llms`, `default_model` (a name or a path), `default_` and any key of `cw_bridge_llm_register` (its value for
/// registrations that do not give it), `cache_models` (of how many models the weights stay in memory after their last
/// LLM was unregistered). All of it or nothing. May be called before `cw_bridge_initialize`, and survives
/// `cw_bridge_shutdown`. A `NULL` `config`
/// counts as empty.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_configure(bridge: *mut cw_bridge, config: *const cw_map) -> cw_status {
    guard(call!("cw_bridge_configure", bridge, config), || {
        bridge::get(bridge)?.configure(&import("config", config)?)
    })
}

/// Every configuration key of a bridge with what is in force for it. Free the map.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_configuration(
    bridge: *const cw_bridge,
    config: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_configuration", bridge, config), || {
        // SAFETY: the caller's promise.
        let config = unsafe { out("config", config)? };
        *config = export(bridge::get(bridge)?.configuration());
        Ok(())
    })
}

/// Gives an LLM what it requires; see `cw_kernel_optimize`. A `NULL` `requirements`
/// counts as empty.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_optimize(
    bridge: *mut cw_bridge,
    llm: *const c_char,
    requirements: *const cw_map,
) -> cw_status {
    guard(call!("cw_bridge_optimize", bridge, llm, requirements), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        bridge::get(bridge)?.optimize(llm, &import("requirements", requirements)?)
    })
}
