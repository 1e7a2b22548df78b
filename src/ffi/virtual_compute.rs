//! Compute units of virtual GPUs across the border: what `ComputeVirtualizationManager` calls.

use super::guard::{few, guard, input, out, struct_size, write_list};
use super::types::cw_status;
use super::virtual_gpu::{count as number, flag, nanos, stream as chosen};
use super::virtual_types::{cw_vcompute_config, cw_vcompute_group, cw_vcompute_info, cw_vcompute_unit};
use crate::compute::Priority;
use crate::compute::balance::Balancing;
use crate::virtualization::{self, ComputeConfig, ComputeManager, UnitConfig, UnitInfo, precision};
use crate::{Error, Result};
use std::ffi::c_void;
use std::time::Duration;

/// A cap as C has it: 0 for none.
pub(super) fn cap(part: f32) -> Option<f32> {
    (part != 0.0).then_some(part)
}

/// A bound in milliseconds: 0 for none.
pub(super) fn bound(argument: &str, ms: f64) -> Result<Option<Duration>> {
    if ms == 0.0 { Ok(None) } else { super::virtual_layout::pause(argument, ms).map(Some) }
}

/// Fills a configuration with defaults: the default device, at most 64 compute units, scaling allowed.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_config_default(config: *mut cw_vcompute_config) -> cw_status {
    guard(call!("cw_vcompute_config_default", config), || {
        let d = ComputeConfig::default();
        // SAFETY: the caller's promise.
        *unsafe { out("config", config)? } = cw_vcompute_config {
            struct_size: size_of::<cw_vcompute_config>(),
            device: d.device,
            max_units: d.most_units as i32,
            scaling: i32::from(d.scaling),
            balancing: d.balancing as i32,
            groups: d.groups as i32,
            devices: std::ptr::null(),
            device_count: 0,
            rebalance_threshold: d.threshold,
            rebalance_interval_ms: 0.0,
        };
        Ok(())
    })
}

/// Initialises the manager of compute units. The same configuration again does nothing; another one is refused until
/// `cw_vcompute_shutdown`. `config` may be `NULL` for defaults.
///
/// # Safety
/// `config` must be null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_initialize(config: *const cw_vcompute_config) -> cw_status {
    guard(call!("cw_vcompute_initialize", config), || {
        let mut wanted = ComputeConfig::default();
        if !config.is_null() {
            // SAFETY: the caller's promise.
            let config = unsafe { input("config", config)? };
            struct_size::<cw_vcompute_config>("config", config.struct_size)?;
            wanted = ComputeConfig {
                device: config.device,
                most_units: number("maxVirtualComputeUnits", config.max_units)?,
                scaling: flag("scaling", config.scaling)?,
                balancing: match config.balancing {
                    0 => Balancing::RoundRobin,
                    1 => Balancing::LeastLoaded,
                    2 => Balancing::MeasuredTime,
                    other => return Err(Error::argument("strategy", format!("{other} is not in 0 to 2"))),
                },
                // SAFETY: the caller's promise.
                devices: unsafe {
                    few("devices", config.devices, "device_count", config.device_count, 65_536)?
                }
                .to_vec(),
                groups: number("unitGroups", config.groups)?,
                threshold: config.rebalance_threshold,
                interval: bound("rebalanceIntervalMs", config.rebalance_interval_ms)?,
            };
        }
        ComputeManager::global().initialize(&wanted)
    })
}

/// Destroys the compute units that `cw_vcompute_create` made. Does nothing when it is not initialised.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_shutdown() -> cw_status {
    guard(call!("cw_vcompute_shutdown"), || {
        ComputeManager::global().shutdown();
        Ok(())
    })
}

/// Writes 1 between `initialize` and `shutdown`, else 0.
///
/// # Safety
/// `initialized` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_is_initialized(initialized: *mut i32) -> cw_status {
    guard(call!("cw_vcompute_is_initialized", initialized), || {
        // SAFETY: the caller's promise.
        *unsafe { out("initialized", initialized)? } = i32::from(ComputeManager::global().is_initialized());
        Ok(())
    })
}

/// Fills what a compute unit is asked for with defaults: the whole device, one stream, tensor cores, full precision.
///
/// # Safety
/// `unit` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_unit_default(unit: *mut cw_vcompute_unit) -> cw_status {
    guard(call!("cw_vcompute_unit_default", unit), || {
        let d = UnitConfig::default();
        // SAFETY: the caller's promise.
        *unsafe { out("unit", unit)? } = cw_vcompute_unit {
            struct_size: size_of::<cw_vcompute_unit>(),
            processors: d.processors as i32,
            streams: d.streams as i32,
            tensor_cores: i32::from(d.tensor_cores),
            precision: d.precision as i32,
            compute_share: d.share,
            priority: d.priority as i32,
            compute_cap: 0.0,
            timeout_ms: 0.0,
            device: -1,
        };
        Ok(())
    })
}

/// Makes a compute unit; the virtual GPU with it when there is none. `unit` may be `NULL` for defaults.
///
/// # Safety
/// `unit` must be null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_create(virtual_gpu: i32, unit: *const cw_vcompute_unit) -> cw_status {
    guard(call!("cw_vcompute_create", virtual_gpu, unit), || {
        let mut wanted = UnitConfig::default();
        if !unit.is_null() {
            // SAFETY: the caller's promise.
            let unit = unsafe { input("unit", unit)? };
            struct_size::<cw_vcompute_unit>("unit", unit.struct_size)?;
            wanted = UnitConfig {
                processors: number("numComputeUnits", unit.processors)?,
                streams: number("numStreams", unit.streams)?,
                tensor_cores: flag("tensor_cores", unit.tensor_cores)?,
                precision: precision(unit.precision)?,
                share: unit.compute_share,
                priority: Priority::from_number(unit.priority)?,
                cap: cap(unit.compute_cap),
                timeout: bound("timeout_ms", unit.timeout_ms)?,
                device: super::virtual_gpu::own_device(unit.device),
            };
        }
        ComputeManager::global().create(virtual_gpu, &wanted)
    })
}

/// Ends a compute unit: work that waits is withdrawn, work in flight waited for. The virtual GPU ends with it when it has no
/// other part.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_destroy(virtual_gpu: i32) -> cw_status {
    guard(call!("cw_vcompute_destroy", virtual_gpu), || ComputeManager::global().destroy(virtual_gpu))
}

pub(super) fn unit_to_c(info: &UnitInfo, struct_size: usize) -> cw_vcompute_info {
    cw_vcompute_info {
        struct_size,
        processors_asked: info.processors_asked,
        processors: info.processors,
        streams: info.streams,
        busy_streams: info.busy_streams,
        math: info.math as i32,
        priority: i32::from(info.priority),
        share_asked: info.share_asked,
        share_due: info.share_due,
        device_time_ns: info.device_time.as_nanos() as u64,
        wait_time_ns: info.wait.as_nanos() as u64,
        admissions: info.admissions,
        processor_time_ns: nanos(info.processor_time),
        queue_wait_ns: nanos(info.work.waited),
        launches: info.work.launches,
        pending: info.work.pending,
        failed: info.work.failed,
        cancelled: info.work.cancelled,
        timed_out: info.work.timed_out,
        utilization_second: info.utilization.second,
        utilization_minute: info.utilization.minute,
        share_got: info.share_got.second as f32,
        share_got_minute: info.share_got.minute as f32,
        latency_mean_ns: nanos(info.latency.mean),
        latency_p50_ns: nanos(info.latency.p50),
        latency_p99_ns: nanos(info.latency.p99),
        precision: info.precision as i32,
        compute_cap: info.cap.unwrap_or(0.0),
        tensor_cores: i32::from(info.streams > 0 && info.math != crate::ops::Math::Plain),
    }
}

/// The figures of a compute unit. Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_get_info(virtual_gpu: i32, info: *mut cw_vcompute_info) -> cw_status {
    guard(call!("cw_vcompute_get_info", virtual_gpu, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_vcompute_info>("info", info.struct_size)?;
        *info = unit_to_c(&ComputeManager::global().info(virtual_gpu)?, info.struct_size);
        Ok(())
    })
}

/// Waits for everything queued on the stream, or (`CW_NO_STREAM`) on all of the unit; reports an error that it raised.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_synchronize(virtual_gpu: i32, stream: i32) -> cw_status {
    guard(call!("cw_vcompute_synchronize", virtual_gpu, stream), || {
        ComputeManager::global().synchronize(virtual_gpu, chosen(stream))
    })
}

/// The device's own streams behind those of the unit, in order: a `CUstream` each on a CUDA device, for the program's own
/// CUDA code; `NULL` each on the CPU. As many as fit are written to `streams`, `*count` gets how many there are. They belong to
/// Cogniware. Work that the program puts there by itself passes no gate and is not charged.
///
/// # Safety
/// `streams` must be valid for writes of `capacity` elements, or `NULL` with a capacity of 0; `count` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_streams(
    virtual_gpu: i32,
    streams: *mut *mut c_void,
    capacity: usize,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_vcompute_streams", virtual_gpu, streams, capacity, count), || {
        // SAFETY: the caller's promise.
        let count = unsafe { out("count", count)? };
        let all: Vec<_> = ComputeManager::global().streams(virtual_gpu)?.iter().map(|s| s.raw()).collect();
        // SAFETY: the caller's promise.
        unsafe { write_list("streams", &all, streams, capacity, count) }
    })
}

/// Changes the part of contended processors that the unit asks for, above 0 to 1, from now on.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_set_share(virtual_gpu: i32, compute_share: f32) -> cw_status {
    guard(call!("cw_vcompute_set_share", virtual_gpu, compute_share), || {
        ComputeManager::global().set_share(virtual_gpu, compute_share)
    })
}

/// Lets the unit's matrix work use matrix circuits (1) or forbids them (0), from the next operation on.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_set_tensor_cores(virtual_gpu: i32, on: i32) -> cw_status {
    guard(call!("cw_vcompute_set_tensor_cores", virtual_gpu, on), || {
        ComputeManager::global().set_tensor_cores(virtual_gpu, flag("on", on)?)
    })
}

/// Changes what the unit's matrix work may round to (`CW_PRECISION_*`), from the next operation on.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_set_precision(virtual_gpu: i32, precision: i32) -> cw_status {
    guard(call!("cw_vcompute_set_precision", virtual_gpu, precision), || {
        ComputeManager::global().set_precision(virtual_gpu, virtualization::precision(precision)?)
    })
}

/// The most of its processors' time that the unit gets from now on, above 0 to 1, also when nobody else wants them; 0 for no
/// cap.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_set_cap(virtual_gpu: i32, compute_cap: f32) -> cw_status {
    guard(call!("cw_vcompute_set_cap", virtual_gpu, compute_cap), || {
        ComputeManager::global().set_cap(virtual_gpu, cap(compute_cap))
    })
}

/// Gives the unit another number of cores or SMs (0: the whole device; on a GPU whole groups) while it lives: what is on the
/// device ends where it is, what comes after runs on the new ones, in order.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_scale(virtual_gpu: i32, processors: i32) -> cw_status {
    guard(call!("cw_vcompute_scale", virtual_gpu, processors), || {
        ComputeManager::global().scale(virtual_gpu, number("numComputeUnits", processors)?)
    })
}

/// Milliseconds from submission to the end that work may take whose call names no bound; 0 for none.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vcompute_set_timeout(virtual_gpu: i32, timeout_ms: f64) -> cw_status {
    guard(call!("cw_vcompute_set_timeout", virtual_gpu, timeout_ms), || {
        ComputeManager::global().set_timeout(virtual_gpu, bound("timeout_ms", timeout_ms)?)
    })
}

/// The one of these virtual GPUs whose unit the next work should go to, by the configured strategy (`CW_BALANCE_*`). They may be on
/// several devices.
///
/// # Safety
/// `ids` must be valid for reads of `count` elements, `chosen` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_choose(ids: *const i32, count: usize, chosen: *mut i32) -> cw_status {
    guard(call!("cw_vcompute_choose", ids, count, chosen), || {
        // SAFETY: the caller's promise.
        let (ids, chosen) = unsafe { (few("ids", ids, "count", count, 65_536)?, out("chosen", chosen)?) };
        *chosen = ComputeManager::global().choose(ids)?;
        Ok(())
    })
}

/// Moves compute units between the groups of each device while what is asked of these, as measured since the last call, lies
/// further apart than the configured threshold; how many were moved. Units stay on their device, where their memory is. Within
/// 100 ms of the last call nothing is moved.
///
/// # Safety
/// `moved` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_rebalance(moved: *mut usize) -> cw_status {
    guard(call!("cw_vcompute_rebalance", moved), || {
        let steps = ComputeManager::global().rebalance()?;
        if !moved.is_null() {
            // SAFETY: the caller's promise.
            *unsafe { out("moved", moved)? } = steps.len();
        }
        Ok(())
    })
}

/// The group of its device in which a compute unit is kept; -1 for one that runs on units of several.
///
/// # Safety
/// `group` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_group_of(virtual_gpu: i32, group: *mut i32) -> cw_status {
    guard(call!("cw_vcompute_group_of", virtual_gpu, group), || {
        // SAFETY: the caller's promise.
        let group = unsafe { out("group", group)? };
        *group = ComputeManager::global().group(virtual_gpu)?.map_or(-1, |at| at as i32);
        Ok(())
    })
}

/// How many groups the units of this device are cut into.
///
/// # Safety
/// `count` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_group_count(device: i32, count: *mut usize) -> cw_status {
    guard(call!("cw_vcompute_group_count", device, count), || {
        // SAFETY: the caller's promise.
        *unsafe { out("count", count)? } = ComputeManager::global().groups(device)?.len();
        Ok(())
    })
}

/// A group of a device's units, 0 to their number - 1. Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vcompute_get_group(
    device: i32,
    group: i32,
    info: *mut cw_vcompute_group,
) -> cw_status {
    guard(call!("cw_vcompute_get_group", device, group, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_vcompute_group>("info", info.struct_size)?;
        let all = ComputeManager::global().groups(device)?;
        let found = usize::try_from(group)
            .ok()
            .and_then(|at| all.get(at))
            .ok_or_else(|| Error::argument("group", format!("{group} is not in 0 to {}", all.len() - 1)))?;
        *info = cw_vcompute_group {
            struct_size: info.struct_size,
            processors: found.processors,
            members: found.members.len() as u32,
            busy: found.busy,
        };
        Ok(())
    })
}
