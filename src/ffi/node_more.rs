//! What nodes give beside processors: rules for products, windows of memory that persist in L2.

use super::guard::{guard, out};
use super::kernel;
use super::map::export;
use super::text::text;
use super::types::{CW_MATH_EXACT, CW_MATH_FAST, CW_MATH_PLAIN, cw_bridge, cw_kernel, cw_map, cw_status};
use crate::ops::Math;
use std::ffi::{c_char, c_void};

/// By which rules the products of tenant `llm` are computed: `CW_MATH_*`. Its nodes decide, else its device's default.
///
/// # Safety
/// `llm` must be NUL-terminated, `math` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_math(
    kernel: *const cw_kernel,
    llm: *const c_char,
    math: *mut i32,
) -> cw_status {
    guard(call!("cw_kernel_math", kernel, llm, math), || {
        // SAFETY: the caller's promise.
        let (llm, math) = unsafe { (text("llm", llm)?, out("math", math)?) };
        *math = match kernel::get(kernel)?.tenant(llm)?.math() {
            Math::Plain => CW_MATH_PLAIN,
            Math::Exact => CW_MATH_EXACT,
            Math::Fast => CW_MATH_FAST,
        };
        Ok(())
    })
}

/// Names the memory of tenant `llm` that persists in the slices of L2 that it holds (nodes of kind `CW_NODE_L2_CACHE` on a
/// GPU): `bytes` bytes from `memory`. 0 bytes leave the choice to Cogniware, which takes the beginning of the largest thing
/// that the tenant has: the weights, once a model is loaded. `CW_ERROR_UNSUPPORTED` on the CPU device.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_cache_window_set(
    kernel: *mut cw_kernel,
    llm: *const c_char,
    memory: *const c_void,
    bytes: u64,
) -> cw_status {
    guard(call!("cw_kernel_cache_window_set", kernel, llm, memory, bytes), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        kernel::get(kernel)?.tenant(llm)?.set_cache_window(memory as u64, bytes)
    })
}

/// The window of tenant `llm`: its first byte, its bytes (0: it has none), and the part of its lines that can persist, 0 to
/// 1.
///
/// # Safety
/// `llm` must be NUL-terminated, the outputs valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_cache_window(
    kernel: *const cw_kernel,
    llm: *const c_char,
    memory: *mut *mut c_void,
    bytes: *mut u64,
    part: *mut f64,
) -> cw_status {
    guard(call!("cw_kernel_cache_window", kernel, llm, memory, bytes, part), || {
        // SAFETY: the caller's promise.
        let (llm, memory, bytes, part) =
            unsafe { (text("llm", llm)?, out("memory", memory)?, out("bytes", bytes)?, out("part", part)?) };
        let window = kernel::get(kernel)?.tenant(llm)?.cache_window();
        *memory = window.map_or(0, |w| w.base) as *mut c_void;
        *bytes = window.map_or(0, |w| w.bytes);
        *part = window.map_or(0.0, |w| f64::from(w.ratio));
        Ok(())
    })
}

/// What is known of one compute node of the current device, held or free: `id`, `type` (`tensor_core`, `cuda_core`,
/// `memory_bank`, `shared_memory`, `l2_cache`), `processors`, `units`, `memory_bytes`, `memory_used_bytes`,
/// `compute_capability`, `is_allocated`, `is_active`, `is_virtual`, `owner`, `last_used_us` (microseconds since 1970; 0:
/// never), `detail`. Free the map.
///
/// # Safety
/// `info` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_node_info(
    bridge: *const cw_bridge,
    node: i32,
    info: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_node_info", bridge, node, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        *info = export(super::bridge::get(bridge)?.node_info(super::node::number(node)?)?);
        Ok(())
    })
}
