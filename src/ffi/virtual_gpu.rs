//! Virtual GPUs across the border: what `CUDAVirtualizationDriver` calls. A virtual GPU is named by its id.

use super::guard::{guard, input, out, struct_size, write_list};
use super::kernel::pointer;
use super::text::{fixed, optional_text};
use super::types::cw_status;
use super::virtual_compute::unit_to_c;
use super::virtual_types::{cw_vgpu_config, cw_vgpu_info, cw_virtualization_config};
use crate::compute::Priority;
use crate::memory::Allocation;
use crate::virtualization::{
    self, CopyKind, Driver, DriverConfig, GpuConfig, GpuInfo, UnitConfig, precision,
};
use crate::{Error, Result};
use std::ffi::c_void;
use std::time::Duration;

/// A stream's index; `CW_NO_STREAM` for none.
pub(super) fn stream(index: i32) -> Option<i32> {
    (index != super::virtual_types::CW_NO_STREAM).then_some(index)
}

/// Bytes of allocations that nobody had freed.
pub(super) fn sum(left: &[Allocation]) -> u64 {
    left.iter().map(|a| a.bytes).sum()
}

/// A device of its own; -1 for none.
pub(super) fn own_device(index: i32) -> Option<i32> {
    (index != -1).then_some(index)
}

/// A count of the caller.
pub(super) fn count(name: &str, value: i32) -> Result<u32> {
    u32::try_from(value).map_err(|_| Error::argument(name, format!("{value} is below 0")))
}

/// A time as C has it.
pub(super) fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// A flag of the caller.
pub(super) fn flag(name: &str, value: i32) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::argument(name, format!("{value} is neither 0 nor 1"))),
    }
}

/// Fills a configuration with defaults: the default device, at most 16 virtual GPUs.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_config_default(
    config: *mut cw_virtualization_config,
) -> cw_status {
    guard(call!("cw_virtualization_config_default", config), || {
        let d = DriverConfig::default();
        // SAFETY: the caller's promise.
        *unsafe { out("config", config)? } = cw_virtualization_config {
            struct_size: size_of::<cw_virtualization_config>(),
            device: d.device,
            max_virtual_gpus: d.most_gpus as i32,
            max_streams: d.most_streams as i32,
        };
        Ok(())
    })
}

/// Initialises the driver of virtual GPUs. The same configuration again does nothing; another one is refused until
/// `cw_virtualization_shutdown`. `config` may be `NULL` for defaults.
///
/// # Safety
/// `config` must be null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_initialize(config: *const cw_virtualization_config) -> cw_status {
    guard(call!("cw_virtualization_initialize", config), || {
        let mut wanted = DriverConfig::default();
        if !config.is_null() {
            // SAFETY: the caller's promise.
            let config = unsafe { input("config", config)? };
            struct_size::<cw_virtualization_config>("config", config.struct_size)?;
            wanted = DriverConfig {
                device: config.device,
                most_gpus: count("maxVirtualGPUs", config.max_virtual_gpus)?,
                most_streams: count("numVirtualStreams", config.max_streams)?,
            };
        }
        Driver::global().initialize(&wanted)
    })
}

/// Destroys the virtual GPUs that `cw_vgpu_create` made. Does nothing when it is not initialised.
#[unsafe(no_mangle)]
pub extern "C" fn cw_virtualization_shutdown() -> cw_status {
    guard(call!("cw_virtualization_shutdown"), || {
        Driver::global().shutdown();
        Ok(())
    })
}

/// Writes 1 between `initialize` and `shutdown`, else 0.
///
/// # Safety
/// `initialized` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_is_initialized(initialized: *mut i32) -> cw_status {
    guard(call!("cw_virtualization_is_initialized", initialized), || {
        // SAFETY: the caller's promise.
        *unsafe { out("initialized", initialized)? } = i32::from(Driver::global().is_initialized());
        Ok(())
    })
}

/// The ids of all virtual GPUs, those with one part only included, ascending. As many as fit are written to `ids`, `*count`
/// gets how many there are.
///
/// # Safety
/// `ids` must be valid for writes of `capacity` elements, or `NULL` with a capacity of 0; `count` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_gpus(
    ids: *mut i32,
    capacity: usize,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_virtualization_gpus", ids, capacity, count), || {
        // SAFETY: the caller's promise.
        let count = unsafe { out("count", count)? };
        let all: Vec<i32> = virtualization::list().iter().map(|g| g.id()).collect();
        // SAFETY: the caller's promise.
        unsafe { write_list("ids", &all, ids, capacity, count) }
    })
}

/// Part of the time that the whole device was busy, 0 to 1, with work of all programs (a GPU: by NVML).
///
/// # Safety
/// `utilization` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_virtualization_utilization(utilization: *mut f32) -> cw_status {
    guard(call!("cw_virtualization_utilization", utilization), || {
        // SAFETY: the caller's promise.
        *unsafe { out("utilization", utilization)? } = Driver::global().utilization()? as f32;
        Ok(())
    })
}

/// Fills a configuration with defaults: id 0, no memory limit (one must be set), one stream, the whole device.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_config_default(config: *mut cw_vgpu_config) -> cw_status {
    guard(call!("cw_vgpu_config_default", config), || {
        let unit = UnitConfig::default();
        // SAFETY: the caller's promise.
        *unsafe { out("config", config)? } = cw_vgpu_config {
            struct_size: size_of::<cw_vgpu_config>(),
            id: 0,
            priority: unit.priority as i32,
            memory_limit: 0,
            memory_floor: 0,
            streams: unit.streams as i32,
            processors: unit.processors as i32,
            tensor_cores: i32::from(unit.tensor_cores),
            precision: unit.precision as i32,
            compute_share: unit.share,
            compute_cap: 0.0,
            device: -1,
            name: std::ptr::null(),
        };
        Ok(())
    })
}

/// Makes a virtual GPU with its memory space and its compute unit: the tenant `vgpu:<id>`. Nothing is left of it when that
/// fails.
///
/// # Safety
/// `config` must be valid, its `name` null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_create(config: *const cw_vgpu_config) -> cw_status {
    guard(call!("cw_vgpu_create", config), || {
        // SAFETY: the caller's promise.
        let config = unsafe { input("config", config)? };
        struct_size::<cw_vgpu_config>("config", config.struct_size)?;
        // SAFETY: the caller's promise.
        let name = unsafe { optional_text("name", config.name)? };
        Driver::global().create(&GpuConfig {
            id: config.id,
            memory_limit: config.memory_limit,
            memory_floor: config.memory_floor,
            name: name.unwrap_or_default().to_owned(),
            unit: UnitConfig {
                processors: count("numComputeUnits", config.processors)?,
                streams: count("numStreams", config.streams)?,
                tensor_cores: flag("tensor_cores", config.tensor_cores)?,
                precision: precision(config.precision)?,
                share: config.compute_share,
                priority: Priority::from_number(config.priority)?,
                cap: super::virtual_compute::cap(config.compute_cap),
                timeout: None,
                device: own_device(config.device),
            },
        })
    })
}

/// Ends a virtual GPU with all its parts: work that waits is withdrawn, work in flight waited for, its memory freed. `*leaked`
/// (may be `NULL`) gets the bytes that nobody had freed; the log names them.
///
/// # Safety
/// `leaked` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_destroy(virtual_gpu: i32, leaked: *mut u64) -> cw_status {
    guard(call!("cw_vgpu_destroy", virtual_gpu, leaked), || {
        // SAFETY: the caller's promise.
        let leaked = if leaked.is_null() { None } else { Some(unsafe { out("leaked", leaked)? }) };
        let left = Driver::global().destroy(virtual_gpu)?;
        if let Some(leaked) = leaked {
            *leaked = sum(&left);
        }
        Ok(())
    })
}

/// How a virtual GPU is: `CW_VGPU_*`; `CW_VGPU_NOT_CREATED` for an id that does not exist.
///
/// # Safety
/// `status` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_status(virtual_gpu: i32, status: *mut i32) -> cw_status {
    guard(call!("cw_vgpu_status", virtual_gpu, status), || {
        // SAFETY: the caller's promise.
        let status = unsafe { out("status", status)? };
        *status = Driver::global().status(virtual_gpu)? as i32;
        Ok(())
    })
}

pub(super) fn to_c(info: &GpuInfo, struct_size: usize) -> cw_vgpu_info {
    cw_vgpu_info {
        struct_size,
        id: info.id,
        status: info.status as i32,
        name: fixed(&info.name),
        device_kind: super::device::kind_number(info.device.0),
        device_ordinal: info.device.1 as i32,
        memory_limit: info.memory.limit,
        memory_floor: info.floor,
        memory_held: info.memory.held,
        memory_peak: info.memory.peak,
        memory_physical: info.memory.physical,
        allocations: info.memory.allocations,
        rejections: info.memory.rejections,
        compactions: info.compactions.compactions,
        longest_pause_ns: nanos(info.compactions.longest_pause),
        memory_spilled: info.spill.spilled,
        unit: unit_to_c(&info.unit, size_of::<super::virtual_types::cw_vcompute_info>()),
    }
}

/// The figures of a virtual GPU. Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_get_info(virtual_gpu: i32, info: *mut cw_vgpu_info) -> cw_status {
    guard(call!("cw_vgpu_get_info", virtual_gpu, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_vgpu_info>("info", info.struct_size)?;
        *info = to_c(&Driver::global().info(virtual_gpu)?, info.struct_size);
        Ok(())
    })
}

/// Allocates `size` bytes of the virtual GPU's memory, aligned to 256. On the CPU device the pointer is an ordinary address;
/// on a GPU it is a device address. Free it with `cw_vgpu_memory_free`.
///
/// # Safety
/// `memory` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_memory_alloc(
    virtual_gpu: i32,
    size: u64,
    memory: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_vgpu_memory_alloc", virtual_gpu, size, memory), || {
        // SAFETY: the caller's promise.
        let memory = unsafe { out("memory", memory)? };
        *memory = pointer(Driver::global().alloc(virtual_gpu, size)?);
        Ok(())
    })
}

/// Frees memory by the very pointer that was returned. Foreign, freed, inner and other virtual GPUs' pointers are refused,
/// saying which of these it is; so is `NULL`.
///
/// Work that was queued on streams of the virtual GPU before is waited for.
///
/// # Safety
/// No work that reached the device by other ways than these streams may still use the memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_memory_free(virtual_gpu: i32, memory: *mut c_void) -> cw_status {
    guard(call!("cw_vgpu_memory_free", virtual_gpu, memory), || {
        Driver::global().free(virtual_gpu, memory as u64)
    })
}

/// Copies `size` bytes (at least 1) as `kind` (`CW_COPY_*`) says; ends in the virtual GPU's memory must lie in one allocation
/// each, and ranges must not overlap. With `stream` `CW_NO_STREAM` the call waits; else the copy is queued on that stream (0 to
/// the number of streams - 1) and both ranges must stay valid until it has run.
///
/// # Safety
/// Ranges of the program's own memory must be valid for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_memory_copy(
    virtual_gpu: i32,
    dst: *mut c_void,
    src: *const c_void,
    size: u64,
    kind: i32,
    stream: i32,
) -> cw_status {
    guard(call!("cw_vgpu_memory_copy", virtual_gpu, dst, src, size, kind, stream), || {
        let kind = CopyKind::from_number(kind)?;
        let index = self::stream(stream);
        // SAFETY: the caller's promise.
        unsafe { Driver::global().copy(virtual_gpu, dst as u64, src as u64, size, kind, index) }
    })
}

/// Sets `size` bytes (at least 1) of one allocation to the low byte of `value`; `stream` as for `cw_vgpu_memory_copy`.
///
/// # Safety
/// No other work that uses the memory may be in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vgpu_memory_fill(
    virtual_gpu: i32,
    memory: *mut c_void,
    value: i32,
    size: u64,
    stream: i32,
) -> cw_status {
    guard(call!("cw_vgpu_memory_fill", virtual_gpu, memory, value, size, stream), || {
        Driver::global().fill(virtual_gpu, memory as u64, value as u8, size, self::stream(stream))
    })
}

/// Waits for everything queued on the stream, or (`CW_NO_STREAM`) on all of the virtual GPU; reports an error that it raised.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vgpu_synchronize(virtual_gpu: i32, stream: i32) -> cw_status {
    guard(call!("cw_vgpu_synchronize", virtual_gpu, stream), || {
        Driver::global().synchronize(virtual_gpu, self::stream(stream))
    })
}
