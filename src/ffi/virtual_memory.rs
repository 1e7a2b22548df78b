//! Memory spaces of virtual GPUs across the border: what `MemoryVirtualizationManager` calls.

use super::guard::{guard, input, out, struct_size};
use super::kernel::pointer;
use super::text::write_text;
use super::types::cw_status;
use super::virtual_gpu::{flag, nanos, stream as chosen, sum};
use super::virtual_types::{cw_vmem_config, cw_vmem_info};
use crate::Result;
use crate::virtualization::{CopyKind, MemoryConfig, MemoryManager};
use std::ffi::{c_char, c_void};

fn to_c(config: &MemoryConfig) -> cw_vmem_config {
    cw_vmem_config {
        struct_size: size_of::<cw_vmem_config>(),
        device: config.device,
        automatic: i32::from(config.automatic),
        threshold: config.threshold,
        small_pools: i32::from(config.small_pools),
        page_size: config.page_size,
        guard_bytes: config.guard_bytes,
        max_pause_ms: config.max_pause.as_secs_f64() * 1e3,
    }
}

fn from_c(config: &cw_vmem_config) -> Result<MemoryConfig> {
    struct_size::<cw_vmem_config>("config", config.struct_size)?;
    Ok(MemoryConfig {
        device: config.device,
        page_size: config.page_size,
        automatic: flag("automatic", config.automatic)?,
        threshold: config.threshold,
        max_pause: super::virtual_layout::pause("maxPauseMs", config.max_pause_ms)?,
        guard_bytes: config.guard_bytes,
        small_pools: flag("small_pools", config.small_pools)?,
    })
}

/// Fills a configuration with defaults: the default device, defragmented from a half on, pauses of at most 5 ms, no guards.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_config_default(config: *mut cw_vmem_config) -> cw_status {
    guard(call!("cw_vmem_config_default", config), || {
        // SAFETY: the caller's promise.
        *unsafe { out("config", config)? } = to_c(&MemoryConfig::default());
        Ok(())
    })
}

/// Initialises the manager of memory spaces. The same configuration again does nothing; another one is refused until
/// `cw_vmem_shutdown`. `config` may be `NULL` for defaults.
///
/// # Safety
/// `config` must be null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_initialize(config: *const cw_vmem_config) -> cw_status {
    guard(call!("cw_vmem_initialize", config), || {
        // SAFETY: the caller's promise.
        let wanted = if config.is_null() {
            MemoryConfig::default()
        } else {
            // SAFETY: the caller's promise.
            from_c(unsafe { input("config", config)? })?
        };
        MemoryManager::global().initialize(&wanted)
    })
}

/// Destroys the memory spaces that `cw_vmem_create` made. Does nothing when it is not initialised.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vmem_shutdown() -> cw_status {
    guard(call!("cw_vmem_shutdown"), || {
        MemoryManager::global().shutdown();
        Ok(())
    })
}

/// Writes 1 between `initialize` and `shutdown`, else 0.
///
/// # Safety
/// `initialized` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_is_initialized(initialized: *mut i32) -> cw_status {
    guard(call!("cw_vmem_is_initialized", initialized), || {
        // SAFETY: the caller's promise.
        *unsafe { out("initialized", initialized)? } = i32::from(MemoryManager::global().is_initialized());
        Ok(())
    })
}

/// Makes a memory space of at most `size` bytes; the virtual GPU with it when there is none.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vmem_create(virtual_gpu: i32, size: u64) -> cw_status {
    guard(call!("cw_vmem_create", virtual_gpu, size), || MemoryManager::global().create(virtual_gpu, size))
}

/// Ends a memory space: work in flight is waited for, its memory freed. `*leaked` (may be `NULL`) gets the bytes that nobody
/// had freed; the log names them. The virtual GPU ends with it when it has no other part.
///
/// # Safety
/// `leaked` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_destroy(virtual_gpu: i32, leaked: *mut u64) -> cw_status {
    guard(call!("cw_vmem_destroy", virtual_gpu, leaked), || {
        // SAFETY: the caller's promise.
        let leaked = if leaked.is_null() { None } else { Some(unsafe { out("leaked", leaked)? }) };
        let left = MemoryManager::global().destroy(virtual_gpu)?;
        if let Some(leaked) = leaked {
            *leaked = sum(&left);
        }
        Ok(())
    })
}

/// Allocates `size` bytes of the space, aligned to `alignment` (a power of two up to 2 GiB; 256 is always given).
///
/// # Safety
/// `memory` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_alloc(
    virtual_gpu: i32,
    size: u64,
    alignment: u64,
    memory: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_vmem_alloc", virtual_gpu, size, alignment, memory), || {
        // SAFETY: the caller's promise.
        let memory = unsafe { out("memory", memory)? };
        *memory = pointer(MemoryManager::global().alloc(virtual_gpu, size, alignment)?);
        Ok(())
    })
}

/// Frees memory by the very pointer that was returned; see `cw_vgpu_memory_free`, which refuses `NULL` too.
///
/// Work that was queued on streams of the virtual GPU before is waited for.
///
/// # Safety
/// No work that reached the device by other ways than these streams may still use the memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_free(virtual_gpu: i32, memory: *mut c_void) -> cw_status {
    guard(call!("cw_vmem_free", virtual_gpu, memory), || {
        MemoryManager::global().free(virtual_gpu, memory as u64)
    })
}

/// Copies; see `cw_vgpu_memory_copy`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_copy(
    virtual_gpu: i32,
    dst: *mut c_void,
    src: *const c_void,
    size: u64,
    kind: i32,
    stream: i32,
) -> cw_status {
    guard(call!("cw_vmem_copy", virtual_gpu, dst, src, size, kind, stream), || {
        let kind = CopyKind::from_number(kind)?;
        let index = chosen(stream);
        // SAFETY: the caller's promise.
        unsafe { MemoryManager::global().copy(virtual_gpu, dst as u64, src as u64, size, kind, index) }
    })
}

/// Sets bytes; see `cw_vgpu_memory_fill`.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_fill(
    virtual_gpu: i32,
    memory: *mut c_void,
    value: i32,
    size: u64,
    stream: i32,
) -> cw_status {
    guard(call!("cw_vmem_fill", virtual_gpu, memory, value, size, stream), || {
        MemoryManager::global().fill(virtual_gpu, memory as u64, value as u8, size, chosen(stream))
    })
}

/// The figures of a memory space. Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_get_info(virtual_gpu: i32, info: *mut cw_vmem_info) -> cw_status {
    guard(call!("cw_vmem_get_info", virtual_gpu, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_vmem_info>("info", info.struct_size)?;
        let now = MemoryManager::global().info(virtual_gpu)?;
        *info = cw_vmem_info {
            struct_size: info.struct_size,
            page_size: now.page_size,
            base: now.base,
            total: now.usage.limit,
            used: now.usage.held,
            free: now.fragmentation.free,
            largest_free: now.fragmentation.largest,
            fragmentation: now.fragmentation.level,
            peak: now.usage.peak,
            floor: now.floor,
            physical: now.usage.physical,
            allocations: now.usage.allocations,
            rejections: now.usage.rejections,
            compactions: now.compactions.compactions,
            automatic_compactions: now.compactions.automatic,
            bytes_moved: now.compactions.moved,
            bytes_given_back: now.compactions.given_back,
            last_pause_ns: nanos(now.compactions.last_pause),
            longest_pause_ns: nanos(now.compactions.longest_pause),
            total_pause_ns: nanos(now.compactions.total_pause),
        };
        Ok(())
    })
}

/// What is allocated in a space, as JSON; see `cw_tenant_allocations`.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_allocations(
    virtual_gpu: i32,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_vmem_allocations", virtual_gpu, buffer, length, needed), || {
        let list = MemoryManager::global().allocations(virtual_gpu)?;
        // SAFETY: the caller's promise.
        unsafe { write_text(&super::tenant::as_json(list), buffer, length, needed) }
    })
}

/// Changes the most bytes that a space may hold; refused when it holds more.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vmem_set_limit(virtual_gpu: i32, size: u64) -> cw_status {
    guard(call!("cw_vmem_set_limit", virtual_gpu, size), || {
        MemoryManager::global().set_limit(virtual_gpu, size)
    })
}

/// Changes the bytes that are set aside for a space; refused when the device has not so many left to promise.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vmem_set_floor(virtual_gpu: i32, size: u64) -> cw_status {
    guard(call!("cw_vmem_set_floor", virtual_gpu, size), || {
        MemoryManager::global().set_floor(virtual_gpu, size)
    })
}
