//! Devices across the border.

use super::guard::{guard, out};
use super::text::{fixed, optional_text, write_text};
use super::types::{CW_DEVICE_CPU, CW_DEVICE_CUDA, cw_device_info, cw_status};
use crate::device::{self, Device, DeviceInfo, DeviceKind};
use crate::{Error, Result};
use std::ffi::c_char;
use std::sync::Arc;

/// The device that a caller's text names; null means the default device (`COGNIWARE_DEVICE`, else `auto`).
///
/// # Safety
/// As for [`optional_text`].
pub(super) unsafe fn chosen(argument: &str, name: *const c_char) -> Result<Arc<dyn Device>> {
    // SAFETY: the caller's promise.
    match unsafe { optional_text(argument, name)? } {
        None => device::default_device(),
        Some(name) => device::open(device::parse_choice(argument, name)?),
    }
}

/// How many devices there are: the default device first, then the others, GPUs before the CPU.
///
/// # Safety
/// `count` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_device_count(count: *mut usize) -> cw_status {
    guard(call!("cw_device_count", count), || {
        // SAFETY: the caller's promise.
        *unsafe { out("count", count)? } = device::list()?.len();
        Ok(())
    })
}

/// The figures of the device at `index` (0 to count - 1; 0 is the default device). Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_device_info_at(index: usize, info: *mut cw_device_info) -> cw_status {
    guard(call!("cw_device_info_at", index, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        super::guard::struct_size::<cw_device_info>("info", info.struct_size)?;
        let devices = device::list()?;
        let device = devices.get(index).ok_or_else(|| {
            Error::argument("index", format!("{index} is beyond the {} devices", devices.len()))
        })?;
        *info = to_c(device, &device.info()?, info.struct_size);
        Ok(())
    })
}

/// Opens `device` (`cuda`, `cuda:N`; `NULL` for the default device) anew when it was lost: its tenants are closed, what
/// runs on them ends with `CW_ERROR_DEVICE_LOST`, its context is thrown away and a new one made. What was made on the
/// lost device answers `CW_ERROR_DEVICE_LOST` from then on; close it and make it again. Does nothing to a device that
/// answers. `CW_ERROR_BUSY` while page-locked memory of it is in use, such as arrays. With the environment variable
/// `COGNIWARE_RECOVER=auto` the next use of a lost device does this by itself.
///
/// # Safety
/// `device` must be null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_device_recover(device: *const c_char) -> cw_status {
    guard(call!("cw_device_recover", device), || {
        // SAFETY: the caller's promise.
        let choice = match unsafe { optional_text("device", device)? } {
            None => device::default_choice()?,
            Some(name) => device::parse_choice("device", name)?,
        };
        device::recover_choice(choice)
    })
}

/// Sets which device takes the place of a GPU that does not answer, is lost, or has no memory left when an LLM is
/// registered: `cpu`, or `none` (as `NULL`) for an error instead, which is the default unless the environment variable
/// `COGNIWARE_FALLBACK` says `cpu`.
///
/// # Safety
/// `device` must be null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_device_set_fallback(device: *const c_char) -> cw_status {
    guard(call!("cw_device_set_fallback", device), || {
        // SAFETY: the caller's promise.
        let device = unsafe { optional_text("device", device)? };
        device::set_fallback(device::parse_fallback("device", device.unwrap_or("none"))?)
    })
}

/// The device that takes the place of a GPU, as set: `cpu` or `none`. To the caller's buffer, which may be `NULL` to ask
/// for the size.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_device_fallback(
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_device_fallback", buffer, length, needed), || {
        let name = if device::fallback().is_some() { "cpu" } else { "none" };
        // SAFETY: the caller's promise.
        unsafe { write_text(name, buffer, length, needed) }
    })
}

/// `CW_DEVICE_*` and the index among devices of this kind.
pub(super) fn place(device: &dyn Device) -> (i32, i32) {
    (kind_number(device.kind()), device.ordinal() as i32)
}

/// `CW_DEVICE_*`.
pub(super) fn kind_number(kind: DeviceKind) -> i32 {
    match kind {
        DeviceKind::Cpu => CW_DEVICE_CPU,
        DeviceKind::Cuda => CW_DEVICE_CUDA,
    }
}

pub(super) fn to_c(device: &Arc<dyn Device>, info: &DeviceInfo, struct_size: usize) -> cw_device_info {
    let mut nvlink_peers = [-1; 32];
    let mut nvlink_active = 0;
    for link in info.nvlinks.iter().filter(|l| l.link < 32) {
        nvlink_peers[link.link as usize] = link.peer.map_or(-1, |p| p as i32);
        nvlink_active |= u32::from(link.active) << link.link;
    }
    let (kind, ordinal) = place(device.as_ref());
    cw_device_info {
        struct_size,
        kind,
        ordinal,
        name: fixed(&info.name),
        isa: fixed(&info.isa),
        pci_bus_id: fixed(&info.pci_bus_id),
        total_memory: info.total_memory,
        free_memory: info.free_memory,
        compute_major: info.compute_major,
        compute_minor: info.compute_minor,
        multiprocessors: info.multiprocessors,
        cuda_cores: info.cuda_cores,
        tensor_cores: info.tensor_cores,
        warp_size: info.warp_size,
        max_threads_per_block: info.max_threads_per_block,
        max_threads_per_multiprocessor: info.max_threads_per_multiprocessor,
        max_block_dim: info.max_block_dim,
        max_grid_dim: info.max_grid_dim,
        shared_memory_per_block: info.shared_memory_per_block,
        shared_memory_per_block_optin: info.shared_memory_per_block_optin,
        shared_memory_per_multiprocessor: info.shared_memory_per_multiprocessor,
        registers_per_block: info.registers_per_block,
        registers_per_multiprocessor: info.registers_per_multiprocessor,
        clock_khz: info.clock_khz,
        memory_clock_khz: info.memory_clock_khz,
        memory_bus_bits: info.memory_bus_bits,
        l1_cache: info.l1_cache,
        l2_cache: info.l2_cache,
        l3_cache: info.l3_cache,
        async_engines: info.async_engines,
        driver_version: info.driver_version,
        ecc: i32::from(info.ecc),
        integrated: i32::from(info.integrated),
        unified_addressing: i32::from(info.unified_addressing),
        concurrent_kernels: i32::from(info.concurrent_kernels),
        managed_memory: i32::from(info.managed_memory),
        nvlink_count: info.nvlinks.len() as u32,
        nvlink_active,
        nvlink_peers,
    }
}
