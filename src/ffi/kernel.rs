//! The kernel manager across the border: what `AdvancedCustomizedKernel` calls.

use super::callback::UserData;
use super::device;
use super::guard::{guard, out, struct_size};
use super::handle::Table;
use super::map::export;
use super::node;
use super::task::schedule;
use super::text::{optional_text, text};
use super::types::{
    cw_device_info, cw_drop_function, cw_kernel, cw_map, cw_node_info, cw_status, cw_task, cw_task_config,
    cw_task_function,
};
use crate::kernel::Kernel;
use crate::{Error, Result};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

static KERNELS: Table<cw_kernel, Kernel> = Table::new(4, "cw_kernel");

/// The kernel manager behind a handle.
pub(super) fn get(kernel: *const cw_kernel) -> Result<Arc<Kernel>> {
    KERNELS.get("kernel", kernel)
}

/// Gives a kernel manager a handle.
pub(super) fn handle(kernel: &Arc<Kernel>) -> *mut cw_kernel {
    KERNELS.insert(kernel.clone())
}

/// The element at `index` of a list that the caller walks through.
pub(super) fn at<'a, T>(list: &'a [T], index: usize, what: &str) -> Result<&'a T> {
    list.get(index)
        .ok_or_else(|| Error::argument("index", format!("{index} is beyond the {} {what}", list.len())))
}

/// An address as C sees it.
pub(super) fn pointer(address: u64) -> *mut c_void {
    std::ptr::with_exposed_provenance_mut(address as usize)
}

/// Makes a kernel manager of its own, not initialised. Free it with `cw_kernel_free`.
///
/// # Safety
/// `kernel` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_create(kernel: *mut *mut cw_kernel) -> cw_status {
    guard(call!("cw_kernel_create", kernel), || {
        // SAFETY: the caller's promise.
        *unsafe { out("kernel", kernel)? } = KERNELS.insert(Arc::default());
        Ok(())
    })
}

/// Frees the handle. A manager of its own is shut down when its last handle is freed. `NULL` is ignored.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_free(kernel: *mut cw_kernel) -> cw_status {
    guard(call!("cw_kernel_free", kernel), || {
        // Dropping the last reference shuts it down, also when another thread is inside a call on it now.
        KERNELS.remove("kernel", kernel).map(drop)
    })
}

/// Finds the devices; the default device becomes the current one. Does nothing when it was done.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_initialize(kernel: *mut cw_kernel) -> cw_status {
    guard(call!("cw_kernel_initialize", kernel), || get(kernel)?.initialize())
}

/// Ends everything that was made through this manager. Does nothing when it is not initialised.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_shutdown(kernel: *mut cw_kernel) -> cw_status {
    guard(call!("cw_kernel_shutdown", kernel), || {
        get(kernel)?.shutdown();
        Ok(())
    })
}

/// Writes 1 between `initialize` and `shutdown`, else 0.
///
/// # Safety
/// `initialized` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_is_initialized(
    kernel: *const cw_kernel,
    initialized: *mut i32,
) -> cw_status {
    guard(call!("cw_kernel_is_initialized", kernel, initialized), || {
        // SAFETY: the caller's promise.
        *unsafe { out("initialized", initialized)? } = i32::from(get(kernel)?.is_initialized());
        Ok(())
    })
}

/// How many devices there are, the default one first.
///
/// # Safety
/// `count` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_device_count(kernel: *const cw_kernel, count: *mut usize) -> cw_status {
    guard(call!("cw_kernel_device_count", kernel, count), || {
        // SAFETY: the caller's promise.
        *unsafe { out("count", count)? } = get(kernel)?.devices()?.len();
        Ok(())
    })
}

/// Opens the device at `index` anew when it was lost; see `cw_device_recover`. Partitions, streams and slices of its
/// tenants are gone.
#[unsafe(no_mangle)]
pub extern "C" fn cw_kernel_device_recover(kernel: *mut cw_kernel, index: i32) -> cw_status {
    guard(call!("cw_kernel_device_recover", kernel, index), || get(kernel)?.recover_device(index))
}

/// The figures of the device at `index`. Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_device_info(
    kernel: *const cw_kernel,
    index: usize,
    info: *mut cw_device_info,
) -> cw_status {
    guard(call!("cw_kernel_device_info", kernel, index, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_device_info>("info", info.struct_size)?;
        let devices = get(kernel)?.devices()?;
        let device = at(&devices, index, "devices")?;
        *info = device::to_c(device, &device.info()?, info.struct_size);
        Ok(())
    })
}

/// Makes the device at `index` the one on which tenants are opened from now on.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_select_device(kernel: *mut cw_kernel, index: i32) -> cw_status {
    guard(call!("cw_kernel_select_device", kernel, index), || get(kernel)?.select_device(index))
}

/// The index of the current device.
///
/// # Safety
/// `index` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_current_device(kernel: *const cw_kernel, index: *mut i32) -> cw_status {
    guard(call!("cw_kernel_current_device", kernel, index), || {
        // SAFETY: the caller's promise.
        *unsafe { out("index", index)? } = get(kernel)?.current_device()?.0 as i32;
        Ok(())
    })
}

/// How many compute nodes the current device has.
///
/// # Safety
/// `count` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_node_count(kernel: *const cw_kernel, count: *mut usize) -> cw_status {
    guard(call!("cw_kernel_node_count", kernel, count), || {
        // SAFETY: the caller's promise.
        *unsafe { out("count", count)? } = get(kernel)?.nodes()?.len();
        Ok(())
    })
}

/// The compute node at `index` of the current device. Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_node_info_at(
    kernel: *const cw_kernel,
    index: usize,
    info: *mut cw_node_info,
) -> cw_status {
    guard(call!("cw_kernel_node_info_at", kernel, index, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_node_info>("info", info.struct_size)?;
        let nodes = get(kernel)?.nodes()?;
        *info = node::to_c(at(&nodes, index, "compute nodes")?, info.struct_size);
        Ok(())
    })
}

/// Gives a free compute node to the tenant `llm`, which is opened with default limits when there is none.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_node_allocate(
    kernel: *mut cw_kernel,
    node: i32,
    llm: *const c_char,
) -> cw_status {
    guard(call!("cw_kernel_node_allocate", kernel, node, llm), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(kernel)?.allocate_node(node::number(node)?, llm)
    })
}

/// Takes a compute node of the current device back from whoever holds it.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_node_deallocate(kernel: *mut cw_kernel, node: i32) -> cw_status {
    guard(call!("cw_kernel_node_deallocate", kernel, node), || {
        get(kernel)?.deallocate_node(node::number(node)?)
    })
}

/// Allocates `bytes` of the memory of tenant `llm`.
///
/// # Safety
/// `llm` must be NUL-terminated, `memory` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_memory_alloc(
    kernel: *mut cw_kernel,
    bytes: u64,
    llm: *const c_char,
    memory: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_kernel_memory_alloc", kernel, bytes, llm, memory), || {
        // SAFETY: the caller's promise.
        let (llm, memory) = unsafe { (text("llm", llm)?, out("memory", memory)?) };
        *memory = pointer(get(kernel)?.alloc(bytes, llm)?);
        Ok(())
    })
}

/// Frees an allocation of any tenant by its pointer. `NULL` is an error here: nothing was meant.
///
/// # Safety
/// No work that uses the memory may be in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_memory_free(kernel: *mut cw_kernel, memory: *mut c_void) -> cw_status {
    guard(call!("cw_kernel_memory_free", kernel, memory), || get(kernel)?.free(memory as u64))
}

/// Copies between host memory and memory of one tenant, in any direction, and waits.
///
/// # Safety
/// Host ranges must be valid for `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_memory_copy(
    kernel: *mut cw_kernel,
    dst: *mut c_void,
    src: *const c_void,
    bytes: u64,
) -> cw_status {
    guard(call!("cw_kernel_memory_copy", kernel, dst, src, bytes), || {
        // SAFETY: the caller's promise.
        unsafe { get(kernel)?.copy(dst as u64, src as u64, bytes) }
    })
}

/// Queues a copy on a stream of `cw_kernel_stream_create`.
///
/// # Safety
/// As for `cw_kernel_memory_copy`, until the copy has run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_memory_copy_async(
    kernel: *mut cw_kernel,
    dst: *mut c_void,
    src: *const c_void,
    bytes: u64,
    stream: *mut c_void,
) -> cw_status {
    guard(call!("cw_kernel_memory_copy_async", kernel, dst, src, bytes, stream), || {
        // SAFETY: the caller's promise.
        unsafe { get(kernel)?.copy_async(dst as u64, src as u64, bytes, stream as u64) }
    })
}

/// Schedules a function as a task of tenant `llm`; see `cw_task_schedule`. `config` may be `NULL` for defaults.
///
/// # Safety
/// As for `cw_task_schedule`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_task_schedule(
    kernel: *mut cw_kernel,
    llm: *const c_char,
    config: *const cw_task_config,
    function: cw_task_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
    task: *mut *mut cw_task,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    guard(call!("cw_kernel_task_schedule", kernel, llm, config, function, user_data, drop, task), || {
        // SAFETY: the caller's promise.
        unsafe {
            let tenant = get(kernel)?.tenant(text("llm", llm)?)?;
            schedule(&tenant, config, function, user, task)
        }
    })
}

/// Tasks that have not ended, of tenant `llm` or (with `NULL`) of all: their ids, each with its state. Free the map.
///
/// # Safety
/// `llm` must be null or NUL-terminated, `tasks` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_active_tasks(
    kernel: *const cw_kernel,
    llm: *const c_char,
    tasks: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_kernel_active_tasks", kernel, llm, tasks), || {
        // SAFETY: the caller's promise.
        let (llm, tasks) = unsafe { (optional_text("llm", llm)?, out("tasks", tasks)?) };
        let active = get(kernel)?.active_tasks(llm)?;
        *tasks = export(active.into_iter().map(|t| (t.id, t.state.name().to_owned())).collect());
        Ok(())
    })
}

/// Changes the weight of the task with this id; see `cw_task_set_weight`.
///
/// # Safety
/// `id` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_task_set_weight(
    kernel: *mut cw_kernel,
    id: *const c_char,
    weight: f64,
) -> cw_status {
    guard(call!("cw_kernel_task_set_weight", kernel, id, weight), || {
        // SAFETY: the caller's promise.
        let id = unsafe { text("id", id)? };
        get(kernel)?.set_task_weight(id, weight)
    })
}

/// Makes a stream of tenant `llm`: the `CUstream` on a CUDA device; on the CPU a value that only these functions
/// understand. Never `NULL`.
///
/// # Safety
/// `llm` must be NUL-terminated, `stream` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_stream_create(
    kernel: *mut cw_kernel,
    llm: *const c_char,
    stream: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_kernel_stream_create", kernel, llm, stream), || {
        // SAFETY: the caller's promise.
        let (llm, stream) = unsafe { (text("llm", llm)?, out("stream", stream)?) };
        *stream = pointer(get(kernel)?.create_stream(llm)?);
        Ok(())
    })
}

/// Waits for everything queued on the stream.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_stream_synchronize(
    kernel: *mut cw_kernel,
    stream: *mut c_void,
) -> cw_status {
    guard(call!("cw_kernel_stream_synchronize", kernel, stream), || {
        get(kernel)?.synchronize_stream(stream as u64)
    })
}

/// Waits for everything queued on the stream, then ends it.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_stream_destroy(kernel: *mut cw_kernel, stream: *mut c_void) -> cw_status {
    guard(call!("cw_kernel_stream_destroy", kernel, stream), || get(kernel)?.destroy_stream(stream as u64))
}

/// The streams of tenant `llm`: writes up to `capacity` of them and to `*count` how many there are.
///
/// # Safety
/// `streams` must be valid for `capacity` writes, `count` for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_streams(
    kernel: *const cw_kernel,
    llm: *const c_char,
    streams: *mut *mut c_void,
    capacity: usize,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_kernel_streams", kernel, llm, streams, capacity, count), || {
        // SAFETY: the caller's promise.
        let (llm, count) = unsafe { (text("llm", llm)?, out("count", count)?) };
        let list: Vec<_> = get(kernel)?.streams(llm)?.into_iter().map(pointer).collect();
        // SAFETY: the caller's promise.
        unsafe { super::guard::write_list("streams", &list, streams, capacity, count) }
    })
}

/// Makes the slice of tenant `llm`: `bytes` more of guaranteed memory, a node of `cores` cores or SMs (at most what
/// the device has; whole groups of SMs on a GPU), a stream on it. One a tenant.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_virtual_node_create(
    kernel: *mut cw_kernel,
    llm: *const c_char,
    bytes: u64,
    cores: u32,
) -> cw_status {
    guard(call!("cw_kernel_virtual_node_create", kernel, llm, bytes, cores), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(kernel)?.create_virtual_node(llm, bytes, cores)
    })
}

/// Gives the slice of tenant `llm` back.
///
/// # Safety
/// `llm` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_virtual_node_destroy(
    kernel: *mut cw_kernel,
    llm: *const c_char,
) -> cw_status {
    guard(call!("cw_kernel_virtual_node_destroy", kernel, llm), || {
        // SAFETY: the caller's promise.
        let llm = unsafe { text("llm", llm)? };
        get(kernel)?.destroy_virtual_node(llm)
    })
}

/// The ids of all tenants, each with its device (`cpu:0`, `cuda:1`). Free the map.
///
/// # Safety
/// `llms` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_active_llms(
    kernel: *const cw_kernel,
    llms: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_kernel_active_llms", kernel, llms), || {
        // SAFETY: the caller's promise.
        let llms = unsafe { out("llms", llms)? };
        *llms = export(get(kernel)?.active_llms()?);
        Ok(())
    })
}

/// Performance figures of the system, units in the names: seconds, shares from 0 to 1, counts. Free the map.
///
/// # Safety
/// `metrics` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_metrics(kernel: *const cw_kernel, metrics: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_kernel_metrics", kernel, metrics), || {
        // SAFETY: the caller's promise.
        let metrics = unsafe { out("metrics", metrics)? };
        *metrics = export(get(kernel)?.metrics()?.into_iter().map(|(k, v)| (k, v.to_string())).collect());
        Ok(())
    })
}

/// Resources in use: bytes and counts. Free the map.
///
/// # Safety
/// `usage` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_usage(kernel: *const cw_kernel, usage: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_kernel_usage", kernel, usage), || {
        // SAFETY: the caller's promise.
        let usage = unsafe { out("usage", usage)? };
        *usage = export(get(kernel)?.usage()?.into_iter().map(|(k, v)| (k, v.to_string())).collect());
        Ok(())
    })
}
