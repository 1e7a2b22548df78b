//! The bridge across the border: what `AdvancedPythonCppBridge` and `PythonCppBridgeManager` call.

use super::guard::{guard, out};
use super::handle::Table;
use super::map::{export, import};
use super::text::text;
use super::types::{cw_array, cw_bridge, cw_map, cw_model, cw_status, cw_task};
use super::{model, node, task};
use crate::bridge::{Array, Bridge};
use crate::driver::diagnostics;
use crate::tenant;
use crate::{Error, Result};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

static BRIDGES: Table<cw_bridge, Bridge> = Table::new(8, "cw_bridge");
pub(super) static ARRAYS: Table<cw_array, Array> = Table::new(10, "cw_array");

/// The bridge behind a handle.
pub(super) fn get(bridge: *const cw_bridge) -> Result<Arc<Bridge>> {
    BRIDGES.get("bridge", bridge)
}

pub(super) fn live(bridge: *const cw_bridge) -> Result<Arc<Bridge>> {
    let bridge = get(bridge)?;
    bridge.active_llms()?;
    Ok(bridge)
}

/// Makes a bridge of its own, not initialised. Free it with `cw_bridge_free`.
///
/// # Safety
/// `bridge` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_create(bridge: *mut *mut cw_bridge) -> cw_status {
    guard(call!("cw_bridge_create", bridge), || {
        // SAFETY: the caller's promise.
        *unsafe { out("bridge", bridge)? } = BRIDGES.insert(Arc::default());
        Ok(())
    })
}

/// A handle to the process-wide bridge. Free it with `cw_bridge_free`; the bridge stays.
///
/// # Safety
/// `bridge` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_global(bridge: *mut *mut cw_bridge) -> cw_status {
    guard(call!("cw_bridge_global", bridge), || {
        // SAFETY: the caller's promise.
        *unsafe { out("bridge", bridge)? } = BRIDGES.insert(Bridge::global().clone());
        Ok(())
    })
}

/// Frees the handle. A bridge of its own is shut down when its last handle is freed. `NULL` is ignored.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_free(bridge: *mut cw_bridge) -> cw_status {
    guard(call!("cw_bridge_free", bridge), || {
        // Dropping the last reference shuts it down, also when another thread is inside a call on it now.
        BRIDGES.remove("bridge", bridge).map(drop)
    })
}

/// Makes the bridge ready. Does nothing when that was done.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_initialize(bridge: *mut cw_bridge) -> cw_status {
    guard(call!("cw_bridge_initialize", bridge), || get(bridge)?.initialize())
}

/// Unregisters every LLM: what they generate ends as cancelled. Does nothing when it is not initialised.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_shutdown(bridge: *mut cw_bridge) -> cw_status {
    guard(call!("cw_bridge_shutdown", bridge), || {
        get(bridge)?.shutdown();
        Ok(())
    })
}

/// Writes 1 between `initialize` and `shutdown`, else 0.
///
/// # Safety
/// `initialized` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_is_initialized(
    bridge: *const cw_bridge,
    initialized: *mut i32,
) -> cw_status {
    guard(call!("cw_bridge_is_initialized", bridge, initialized), || {
        // SAFETY: the caller's promise.
        *unsafe { out("initialized", initialized)? } = i32::from(get(bridge)?.is_initialized());
        Ok(())
    })
}

/// Registers an LLM: opens its tenant (or takes over the one with this id) and loads its model. `config` (may be
/// `NULL`) knows `model_type` (`gpt`, `llama`, `default`: the model that ships with Cogniware), `model_path`,
/// `device`, `max_memory` (MiB), `max_cores`, `weight`, `priority` (`critical` to `background`), `context`,
/// `max_sequences`, `kv_type` (`f16`, `f32`), `exact_head` (`true`, `false`), and how it generates: `max_tokens`, `temperature`, `top_k`, `top_p`,
/// `min_p`, `repeat_penalty`, `presence_penalty`, `frequency_penalty`, `seed`, `stop` (one a line), `ignore_eos`,
/// `chat`, `system`, `prompt`, `logprobs`. Unknown keys are refused by name; on failure nothing is left behind.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_llm_register(
    bridge: *mut cw_bridge,
    llm: *const c_char,
    config: *const cw_map,
) -> cw_status {
    guard(call!("cw_bridge_llm_register", bridge, llm, config), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(bridge)?.register(llm, &import("config", config)?).map(drop)
    })
}

/// Unregisters an LLM: what it generates ends as cancelled, its memory goes back.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_llm_unregister(bridge: *mut cw_bridge, llm: *const c_char) -> cw_status {
    guard(call!("cw_bridge_llm_unregister", bridge, llm), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(bridge)?.unregister(llm)
    })
}

/// The configuration of an LLM as registered and updated. Free the map.
///
/// # Safety
/// `llm` must be NUL-terminated, `config` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_llm_config(
    bridge: *const cw_bridge,
    llm: *const c_char,
    config: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_llm_config", bridge, llm, config), || {
        // SAFETY: the caller's promise.
        let (llm, config) = unsafe { (text("llm", llm)?, out("config", config)?) };
        *config = export(get(bridge)?.llm(llm)?.config());
        Ok(())
    })
}

/// Changes how an LLM generates, its `weight`, `priority`, `max_memory` and `max_cores`, all of it or nothing. What can't
/// change while it is registered is refused by name.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_llm_update(
    bridge: *mut cw_bridge,
    llm: *const c_char,
    config: *const cw_map,
) -> cw_status {
    guard(call!("cw_bridge_llm_update", bridge, llm, config), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(bridge)?.update(llm, &import("config", config)?)
    })
}

/// The ids of the registered LLMs, each with its model's name. Free the map.
///
/// # Safety
/// `llms` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_active_llms(
    bridge: *const cw_bridge,
    llms: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_active_llms", bridge, llms), || {
        // SAFETY: the caller's promise.
        let llms = unsafe { out("llms", llms)? };
        *llms = export(get(bridge)?.active_llms()?);
        Ok(())
    })
}

/// Writes 1 when an LLM with this id is registered, else 0.
///
/// # Safety
/// `llm` must be NUL-terminated, `active` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_llm_is_active(
    bridge: *const cw_bridge,
    llm: *const c_char,
    active: *mut i32,
) -> cw_status {
    guard(call!("cw_bridge_llm_is_active", bridge, llm, active), || {
        // SAFETY: the caller's promise.
        let (llm, active) = unsafe { (text("llm", llm)?, out("active", active)?) };
        *active = i32::from(get(bridge)?.active_llms()?.contains_key(llm));
        Ok(())
    })
}

/// A handle to the model of a registered LLM. Free it with `cw_model_free`.
///
/// # Safety
/// `llm` must be NUL-terminated, `model` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_model(
    bridge: *const cw_bridge,
    llm: *const c_char,
    model: *mut *mut cw_model,
) -> cw_status {
    guard(call!("cw_bridge_model", bridge, llm, model), || {
        // SAFETY: the caller's promise.
        let (llm, model) = unsafe { (text("llm", llm)?, out("model", model)?) };
        *model = model::handle(get(bridge)?.llm(llm)?.model());
        Ok(())
    })
}

/// Makes an array of `count` f32, zero at first, in the memory of tenant `llm` (opened with default limits when there
/// is none). Free the handle with `cw_array_free`; with the last one the memory goes back.
///
/// # Safety
/// `llm` must be NUL-terminated, `array` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_array_allocate(
    bridge: *mut cw_bridge,
    count: u64,
    llm: *const c_char,
    array: *mut *mut cw_array,
) -> cw_status {
    guard(call!("cw_bridge_array_allocate", bridge, count, llm, array), || {
        // SAFETY: the caller's promise.
        let (llm, array) = unsafe { (text("llm", llm)?, out("array", array)?) };
        *array = ARRAYS.insert(Arc::new(get(bridge)?.array(count, llm)?));
        Ok(())
    })
}

/// Frees the handle and gives the array's memory back, unless `cw_array_share` made other handles; refused when it belongs to another tenant than `llm`.
///
/// # Safety
/// `llm` must be NUL-terminated. Nobody may use the array's memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_array_deallocate(
    bridge: *mut cw_bridge,
    array: *mut cw_array,
    llm: *const c_char,
) -> cw_status {
    guard(call!("cw_bridge_array_deallocate", bridge, array, llm), || {
        live(bridge)?;
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        ARRAYS.get("array", array)?.check_owner(llm)?;
        ARRAYS.remove("array", array).map(drop)
    })
}

/// Where the array's elements are and how many. Host code reads and writes them directly.
///
/// # Safety
/// `data` and `count` must be valid for a write. The elements are valid while the handle lives.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_array_data(
    array: *const cw_array,
    data: *mut *mut f32,
    count: *mut u64,
) -> cw_status {
    guard(call!("cw_array_data", array, data, count), || {
        // SAFETY: the caller's promise.
        let (data, count) = unsafe { (out("data", data)?, out("count", count)?) };
        let array = ARRAYS.get("array", array)?;
        *data = std::ptr::with_exposed_provenance_mut(array.address() as usize);
        *count = array.len();
        Ok(())
    })
}

/// The device that addresses the array: `CW_DEVICE_*` and its index among devices of its kind.
///
/// # Safety
/// `kind` and `ordinal` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_array_device(
    array: *const cw_array,
    kind: *mut i32,
    ordinal: *mut i32,
) -> cw_status {
    guard(call!("cw_array_device", array, kind, ordinal), || {
        // SAFETY: the caller's promise.
        let (kind, ordinal) = unsafe { (out("kind", kind)?, out("ordinal", ordinal)?) };
        (*kind, *ordinal) = super::device::place(ARRAYS.get("array", array)?.tenant().device().as_ref());
        Ok(())
    })
}

/// Frees the handle; with the last handle to this array its memory goes back. `NULL` is ignored.
///
/// # Safety
/// Nobody may use the array's memory any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_array_free(array: *mut cw_array) -> cw_status {
    guard(call!("cw_array_free", array), || ARRAYS.remove("array", array).map(drop))
}

/// A second handle to the same array, to be freed by itself: the memory goes with the last one, also after
/// `cw_bridge_array_deallocate` of the first.
///
/// # Safety
/// `other` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_array_share(array: *const cw_array, other: *mut *mut cw_array) -> cw_status {
    guard(call!("cw_array_share", array, other), || {
        // SAFETY: the caller's promise.
        let other = unsafe { out("other", other)? };
        *other = ARRAYS.insert(ARRAYS.get("array", array)?);
        Ok(())
    })
}

/// The array's address for host and device alike.
///
/// # Safety
/// `pointer` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_array_pointer(
    bridge: *const cw_bridge,
    array: *const cw_array,
    pointer: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_bridge_array_pointer", bridge, array, pointer), || {
        live(bridge)?;
        // SAFETY: the caller's promise.
        let pointer = unsafe { out("pointer", pointer)? };
        *pointer = std::ptr::with_exposed_provenance_mut(ARRAYS.get("array", array)?.address() as usize);
        Ok(())
    })
}

/// Copies the whole array to memory of its tenant (its own included: then nothing moves) or of the host, and waits.
///
/// # Safety
/// A host range must be valid for writes of the array's size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_copy_to_gpu(
    bridge: *mut cw_bridge,
    array: *const cw_array,
    destination: *mut c_void,
) -> cw_status {
    guard(call!("cw_bridge_copy_to_gpu", bridge, array, destination), || {
        live(bridge)?;
        // SAFETY: the caller's promise.
        unsafe { ARRAYS.get("array", array)?.copy_to(destination as u64) }
    })
}

/// Fills the whole array from memory of its tenant (its own included: then nothing moves) or of the host, and waits.
///
/// # Safety
/// A host range must be valid for reads of the array's size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_copy_from_gpu(
    bridge: *mut cw_bridge,
    source: *const c_void,
    array: *mut cw_array,
) -> cw_status {
    guard(call!("cw_bridge_copy_from_gpu", bridge, source, array), || {
        live(bridge)?;
        // SAFETY: the caller's promise.
        unsafe { ARRAYS.get("array", array)?.copy_from(source as u64) }
    })
}

/// How many compute nodes of the current device nobody holds: writes up to `capacity` of their ids to `nodes` and how
/// many there are to `*count`.
///
/// # Safety
/// `nodes` must be valid for `capacity` writes, `count` for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_available_nodes(
    bridge: *const cw_bridge,
    nodes: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_bridge_available_nodes", bridge, nodes, capacity, count), || {
        // SAFETY: the caller's promise.
        let count = unsafe { out("count", count)? };
        let list = get(bridge)?.available_nodes()?;
        // SAFETY: the caller's promise.
        unsafe { super::guard::write_list("nodes", &list, nodes, capacity, count) }
    })
}

/// Gives a free compute node to tenant `llm` (opened with default limits when there is none).
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_node_allocate(
    bridge: *mut cw_bridge,
    node: i32,
    llm: *const c_char,
) -> cw_status {
    guard(call!("cw_bridge_node_allocate", bridge, node, llm), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(bridge)?.tenant(llm)?.take_node(node::number(node)?)
    })
}

/// Takes a compute node back from tenant `llm`, which must hold it.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_node_deallocate(
    bridge: *mut cw_bridge,
    node: i32,
    llm: *const c_char,
) -> cw_status {
    guard(call!("cw_bridge_node_deallocate", bridge, node, llm), || {
        live(bridge)?;
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        tenant::find(llm)?.give_node(node::number(node)?)
    })
}

/// Schedules work of an LLM. Types: `inference` (`params`: how to generate; the task's result is the text), `embedding`
/// and `tokenize` (`params`: `text`; the result is a JSON array), each for an LLM that is registered with defaults when
/// nobody did; `memory_copy` (`source`, `destination`: addresses in its memory or arrays; `bytes`), `matrix_multiply` (`a`
/// m × k, `b` k × n, `c` m × n: addresses of row-major f32 in its memory; `m`, `n`, `k`; `transpose`: `none`, `a`, `b`,
/// `ab`; `dtype`: `f32`), whose results are JSON figures; and those of `cw_bridge_task_type_register`. `params` also knows
/// `task_type`, `task_id`, `priority` and `weight`. What the task reads and writes must live until it has ended. Free
/// the task.
///
/// # Safety
/// Texts must be NUL-terminated, `task` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_task_schedule(
    bridge: *mut cw_bridge,
    llm: *const c_char,
    r#type: *const c_char,
    params: *const cw_map,
    task: *mut *mut cw_task,
) -> cw_status {
    guard(call!("cw_bridge_task_schedule", bridge, llm, r#type, params, task), || {
        // SAFETY: the caller's promise.
        let (llm, kind, task) = unsafe { (text("llm", llm)?, text("type", r#type)?, out("task", task)?) };
        *task = task::export(get(bridge)?.schedule(llm, kind, &import("params", params)?)?);
        Ok(())
    })
}

/// What the tenant of an LLM uses: bytes, seconds, shares, tokens, units in the names. Free the map.
///
/// # Safety
/// `llm` must be NUL-terminated, `usage` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_resource_usage(
    bridge: *const cw_bridge,
    llm: *const c_char,
    usage: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_resource_usage", bridge, llm, usage), || {
        // SAFETY: the caller's promise.
        let (llm, usage) = unsafe { (text("llm", llm)?, out("usage", usage)?) };
        *usage = export(get(bridge)?.resource_usage(llm)?);
        Ok(())
    })
}

/// The memory of an LLM's tenant, in bytes and counts. Free the map.
///
/// # Safety
/// `llm` must be NUL-terminated, `usage` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_memory_usage(
    bridge: *const cw_bridge,
    llm: *const c_char,
    usage: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_memory_usage", bridge, llm, usage), || {
        // SAFETY: the caller's promise.
        let (llm, usage) = unsafe { (text("llm", llm)?, out("usage", usage)?) };
        *usage = export(get(bridge)?.memory_usage(llm)?);
        Ok(())
    })
}

/// Figures of all LLMs together. Free the map.
///
/// # Safety
/// `metrics` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_metrics(bridge: *const cw_bridge, metrics: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_bridge_metrics", bridge, metrics), || {
        // SAFETY: the caller's promise.
        let metrics = unsafe { out("metrics", metrics)? };
        *metrics = export(get(bridge)?.metrics()?);
        Ok(())
    })
}

/// The device in use and the library. Free the map.
///
/// # Safety
/// `info` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_system_info(
    bridge: *const cw_bridge,
    info: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_system_info", bridge, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        *info = export(get(bridge)?.system_info()?);
        Ok(())
    })
}

/// Makes the slice of tenant `llm`; see `cw_kernel_virtual_node_create`.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_virtual_node_create(
    bridge: *mut cw_bridge,
    llm: *const c_char,
    bytes: u64,
    cores: u32,
) -> cw_status {
    guard(call!("cw_bridge_virtual_node_create", bridge, llm, bytes, cores), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(bridge)?.tenant(llm)?.make_slice(bytes, cores).map(drop)
    })
}

/// Gives the slice of tenant `llm` back.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_virtual_node_destroy(
    bridge: *mut cw_bridge,
    llm: *const c_char,
) -> cw_status {
    guard(call!("cw_bridge_virtual_node_destroy", bridge, llm), || {
        live(bridge)?;
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        let none = |_| Error::not_found(format!("tenant {llm:?} has no virtual compute node"));
        tenant::find(llm).map_err(none)?.give_slice()
    })
}

/// Tests the device in use part by part, as `cw_driver_diagnostics_run` does, then `arrays` and `generation` (the model that
/// ships, twice for the same text). `CW_OK` when no part failed, else the error of the first that did.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_diagnostics_run(bridge: *mut cw_bridge) -> cw_status {
    guard(call!("cw_bridge_diagnostics_run", bridge), || get(bridge)?.run_diagnostics())
}

/// The results of the last run; see `cw_driver_diagnostics_results`. Empty before the first. Free the map.
///
/// # Safety
/// `results` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_bridge_diagnostics_results(
    bridge: *const cw_bridge,
    results: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_bridge_diagnostics_results", bridge, results), || {
        // SAFETY: the caller's promise.
        let results = unsafe { out("results", results)? };
        *results = export(diagnostics::as_map(&get(bridge)?.diagnostic_results()));
        Ok(())
    })
}
