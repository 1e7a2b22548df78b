//! Figures of a GPU, from its driver, from NVML where that is installed, and from sysfs.

use super::context::Context;
use super::types::attribute::*;
use crate::Result;
use crate::device::{DeviceInfo, NvLink};
use std::ffi::CString;

/// One attribute of the device.
pub(crate) fn attribute(context: &Context, which: i32) -> Result<u32> {
    let mut value = 0;
    // SAFETY: `value` outlives the call.
    unsafe { context.driver.cuDeviceGetAttribute(&mut value, which, context.device)? };
    Ok(value.max(0) as u32)
}

/// FP32 lanes and tensor cores per SM, by compute capability; 0 where unknown. From the tables "Arithmetic
/// Instructions" and "Technical Specifications per Compute Capability" of NVIDIA's CUDA C++ Programming Guide and the
/// architecture white papers.
fn lanes(major: u32, minor: u32) -> (u32, u32) {
    match (major, minor) {
        (7, 0 | 2 | 5) => (64, 8),
        (8, 0) => (64, 4),
        (8, 6 | 7 | 9) | (9, 0) | (10, 0 | 1 | 3) | (11, 0) | (12, 0 | 1) => (128, 4),
        _ => (0, 0),
    }
}

/// Everything that does not change while the process runs.
pub(crate) fn read(context: &Context) -> Result<DeviceInfo> {
    let driver = &context.driver;
    let get = |which| attribute(context, which);
    let (major, minor, sms) = (get(MAJOR)?, get(MINOR)?, get(MULTIPROCESSORS)?);
    let (fp32, tensor) = lanes(major, minor);
    let mut total = 0usize;
    // SAFETY: `total` outlives the call.
    unsafe { driver.cuDeviceTotalMem_v2(&mut total, context.device)? };
    // SAFETY: the function writes at most `n` bytes, zero included.
    let name = text(256, |p, n| unsafe { driver.cuDeviceGetName(p, n, context.device) })?;
    let pci = pci(context)?;
    let three = |first: i32| -> Result<[u32; 3]> { Ok([get(first)?, get(first + 1)?, get(first + 2)?]) };
    let max_grid_dim = three(MAX_GRID_DIM_X)?;
    Ok(DeviceInfo {
        name,
        total_memory: total as u64,
        compute_major: major,
        compute_minor: minor,
        isa: format!("sm_{major}{minor}"),
        multiprocessors: sms,
        cuda_cores: sms * fp32,
        tensor_cores: sms * tensor,
        warp_size: get(WARP_SIZE)?,
        max_threads_per_block: get(MAX_THREADS_PER_BLOCK)?,
        max_threads_per_multiprocessor: get(MAX_THREADS_PER_SM)?,
        max_grid_x: max_grid_dim[0],
        max_block_dim: three(MAX_BLOCK_DIM_X)?,
        max_grid_dim,
        shared_memory_per_block: get(MAX_SHARED_PER_BLOCK)?,
        shared_memory_per_block_optin: get(MAX_SHARED_PER_BLOCK_OPTIN)?,
        shared_memory_per_multiprocessor: get(MAX_SHARED_PER_SM)?,
        registers_per_block: get(MAX_REGISTERS_PER_BLOCK)?,
        registers_per_multiprocessor: get(MAX_REGISTERS_PER_SM)?,
        l2_cache: u64::from(get(L2_CACHE)?),
        clock_khz: get(CLOCK_RATE)?,
        memory_clock_khz: get(MEMORY_CLOCK_RATE)?,
        memory_bus_bits: get(MEMORY_BUS_WIDTH)?,
        ecc: get(ECC_ENABLED)? != 0,
        integrated: get(INTEGRATED)? != 0,
        unified_addressing: get(UNIFIED_ADDRESSING)? != 0,
        concurrent_kernels: get(CONCURRENT_KERNELS)? != 0,
        async_engines: get(ASYNC_ENGINES)?,
        managed_memory: get(MANAGED_MEMORY)? != 0,
        numa_nodes: numa_node(&pci).into_iter().collect(),
        driver_version: driver.version(),
        nvlinks: nvlinks(context, &pci).unwrap_or_default(),
        pci_bus_id: pci,
        ..DeviceInfo::default()
    })
}

/// The GPU's address on the bus, as sysfs and NVML write it.
pub(crate) fn pci(context: &Context) -> Result<String> {
    // SAFETY: the function writes at most `n` bytes, zero included.
    let pci = text(32, |p, n| unsafe { context.driver.cuDeviceGetPCIBusId(p, n, context.device) })?;
    Ok(pci.to_lowercase())
}

fn text(length: usize, fill: impl FnOnce(*mut std::ffi::c_char, i32) -> Result<()>) -> Result<String> {
    let mut bytes = vec![0u8; length];
    fill(bytes.as_mut_ptr().cast(), length as i32)?;
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(length);
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// The NUMA node to which the GPU is attached, when the system knows it.
fn numa_node(pci: &str) -> Option<u32> {
    let node = std::fs::read_to_string(format!("/sys/bus/pci/devices/{pci}/numa_node")).ok()?;
    node.trim().parse().ok()
}

/// The GPU's NVLinks and what is at their other ends; an error where NVML is missing or does not know the GPU.
fn nvlinks(context: &Context, pci: &str) -> std::result::Result<Vec<NvLink>, nvml_wrapper::error::NvmlError> {
    /// `NVML_NVLINK_MAX_LINKS`.
    const MAX_LINKS: u32 = 18;
    let nvml = nvml_wrapper::Nvml::init()?;
    let device = nvml.device_by_pci_bus_id(pci)?;
    let mut links = Vec::new();
    for link in 0..MAX_LINKS {
        let wrapper = device.link_wrapper_for(link);
        // A link that the GPU does not have is answered with an error.
        let Ok(active) = wrapper.is_active() else { continue };
        let peer = if active { wrapper.remote_pci_info().ok() } else { None };
        let peer = peer.and_then(|info| ordinal_at(context, &info.bus_id));
        links.push(NvLink { link, active, peer });
    }
    Ok(links)
}

/// The CUDA ordinal of the GPU at a PCI address, when this process sees it.
fn ordinal_at(context: &Context, pci: &str) -> Option<u32> {
    let pci = CString::new(pci).ok()?;
    let mut device = 0;
    // SAFETY: text and output outlive the call.
    unsafe { context.driver.cuDeviceGetByPCIBusId(&mut device, pci.as_ptr()).ok()? };
    u32::try_from(device).ok()
}
