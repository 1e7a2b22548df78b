//! Over-commit and sharing of virtual GPUs' memory across the border.

use super::guard::{guard, out, struct_size};
use super::kernel::pointer;
use super::types::cw_status;
use super::virtual_gpu::{flag, nanos};
use super::virtual_layout::pause;
use super::virtual_types::cw_vmem_spill_info;
use crate::device::Access;
use crate::memory::{Advice, SpillPolicy};
use crate::virtualization::MemoryManager;
use crate::{Error, Result};
use std::ffi::c_void;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// Whether others may use the part of its floor that the space does not use (1), and give it back when it asks.
/// `CW_ERROR_UNSUPPORTED` on the CPU device, where nobody could be made to.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vmem_set_lending(virtual_gpu: i32, lend_floor: i32) -> cw_status {
    guard(call!("cw_vmem_set_lending", virtual_gpu, lend_floor), || {
        MemoryManager::global().set_lending(virtual_gpu, flag("lend_floor", lend_floor)?)
    })
}

/// Which of the space's memory is moved to the host (`CW_SPILL_*`) when what it has above its floor is asked back, and how many
/// bytes of host memory that may take (0: no bound). `CW_ERROR_UNSUPPORTED` on the CPU device, whose memory is the host's.
#[unsafe(no_mangle)]
pub extern "C" fn cw_vmem_set_spill_policy(virtual_gpu: i32, policy: i32, most_host_bytes: u64) -> cw_status {
    guard(call!("cw_vmem_set_spill_policy", virtual_gpu, policy, most_host_bytes), || {
        let wanted = match policy {
            0 => SpillPolicy::Never,
            1 => SpillPolicy::Coldest,
            2 => SpillPolicy::Largest,
            _ => return Err(Error::argument("policy", format!("{policy} is not in 0 to 2"))),
        };
        let most = (most_host_bytes > 0).then_some(most_host_bytes);
        MemoryManager::global().set_spill_policy(virtual_gpu, wanted, most)
    })
}

/// Says something about one allocation, by the very pointer that was returned: `CW_ADVICE_*`. Pinning fetches it.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_advise(virtual_gpu: i32, memory: *mut c_void, advice: i32) -> cw_status {
    guard(call!("cw_vmem_advise", virtual_gpu, memory, advice), || {
        let wanted = match advice {
            0 => Advice::Normal,
            1 => Advice::Pinned,
            2 => Advice::Cold,
            _ => return Err(Error::argument("advice", format!("{advice} is not in 0 to 2"))),
        };
        MemoryManager::global().advise(virtual_gpu, memory as u64, wanted)
    })
}

/// Moves about `size` bytes to the host now, as if others had asked for them. `*freed` gets the bytes that the device has got back.
///
/// # Safety
/// `freed` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_spill(virtual_gpu: i32, size: u64, freed: *mut u64) -> cw_status {
    guard(call!("cw_vmem_spill", virtual_gpu, size, freed), || {
        // SAFETY: the caller's promise.
        let freed = unsafe { out("freed", freed)? };
        *freed = MemoryManager::global().spill(virtual_gpu, size)?;
        Ok(())
    })
}

/// Fetches `size` bytes at `memory` from the host, or, when that is `NULL`, everything. Work fetches what it needs by itself.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_fetch(virtual_gpu: i32, memory: *mut c_void, size: u64) -> cw_status {
    guard(call!("cw_vmem_fetch", virtual_gpu, memory, size), || {
        let range = (!memory.is_null()).then_some((memory as u64, size));
        MemoryManager::global().fetch(virtual_gpu, range)
    })
}

/// What moving memory to the host and back has cost. Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_get_spill_info(
    virtual_gpu: i32,
    info: *mut cw_vmem_spill_info,
) -> cw_status {
    guard(call!("cw_vmem_get_spill_info", virtual_gpu, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_vmem_spill_info>("info", info.struct_size)?;
        let now = MemoryManager::global().spill_figures(virtual_gpu)?;
        *info = cw_vmem_spill_info {
            struct_size: info.struct_size,
            spilled: now.spilled,
            spilled_peak: now.spilled_peak,
            host_bytes: now.host_bytes,
            spills: now.spills,
            fetches: now.fetches,
            bytes_out: now.bytes_out,
            bytes_in: now.bytes_in,
            speed_out: now.speed_out(),
            speed_in: now.speed_in(),
            paused_ns: nanos(now.paused),
            longest_pause_ns: nanos(now.longest_pause),
            fetching_ns: nanos(now.fetching),
            longest_fetch_ns: nanos(now.longest_fetch),
        };
        Ok(())
    })
}

/// Allocates at least `size` bytes as whole pages that can be exported. They never move. Freed by `cw_vmem_free` once no lease is
/// out.
///
/// # Safety
/// `memory` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_alloc_exportable(
    virtual_gpu: i32,
    size: u64,
    memory: *mut *mut c_void,
) -> cw_status {
    guard(call!("cw_vmem_alloc_exportable", virtual_gpu, size, memory), || {
        // SAFETY: the caller's promise.
        let memory = unsafe { out("memory", memory)? };
        *memory = pointer(MemoryManager::global().alloc_exportable(virtual_gpu, size)?);
        Ok(())
    })
}

/// A lease of exportable memory for one importer: `*fd` gets a descriptor to hand to another process by any means (inheritance,
/// `SCM_RIGHTS`); close it here then. With `read_only` 1 the importer maps it for reading. The memory stays charged, and cannot be freed,
/// until the importer has unmapped it or has ended.
///
/// # Safety
/// `fd` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_export(
    virtual_gpu: i32,
    memory: *mut c_void,
    read_only: i32,
    fd: *mut i32,
) -> cw_status {
    guard(call!("cw_vmem_export", virtual_gpu, memory, read_only, fd), || {
        // SAFETY: the caller's promise.
        let fd = unsafe { out("fd", fd)? };
        let access = if flag("read_only", read_only)? { Access::Read } else { Access::ReadWrite };
        *fd = MemoryManager::global().export(virtual_gpu, memory as u64, access)?.into_raw_fd();
        Ok(())
    })
}

/// A time to wait in milliseconds; 0 for none.
fn patience(ms: f64) -> Result<Duration> {
    if ms == 0.0 { Ok(Duration::ZERO) } else { pause("timeout_ms", ms) }
}

/// How many leases of exportable memory are out.
///
/// # Safety
/// `count` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_leases(
    virtual_gpu: i32,
    memory: *mut c_void,
    count: *mut usize,
) -> cw_status {
    guard(call!("cw_vmem_leases", virtual_gpu, memory, count), || {
        // SAFETY: the caller's promise.
        let count = unsafe { out("count", count)? };
        *count = MemoryManager::global().leases(virtual_gpu, memory as u64)?.len();
        Ok(())
    })
}

/// Asks all importers to unmap and gives no more leases, then waits for at most `timeout_ms` milliseconds until none is out.
/// `*remaining` gets how many still are. A descriptor that was given cannot be taken back by force.
///
/// # Safety
/// `remaining` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_revoke(
    virtual_gpu: i32,
    memory: *mut c_void,
    timeout_ms: f64,
    remaining: *mut usize,
) -> cw_status {
    guard(call!("cw_vmem_revoke", virtual_gpu, memory, timeout_ms, remaining), || {
        // SAFETY: the caller's promise.
        let remaining = unsafe { out("remaining", remaining)? };
        *remaining = MemoryManager::global().revoke(virtual_gpu, memory as u64, patience(timeout_ms)?)?;
        Ok(())
    })
}

/// Maps what a lease of another process offers into the space; `*memory` and `*size` get what was mapped. The descriptor is
/// consumed, also when this fails. It is charged to its owner, not here.
///
/// # Safety
/// `memory` and `size` must be valid for a write; `fd` must be a descriptor that nothing else uses.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_import(
    virtual_gpu: i32,
    fd: i32,
    timeout_ms: f64,
    memory: *mut *mut c_void,
    size: *mut u64,
) -> cw_status {
    guard(call!("cw_vmem_import", virtual_gpu, fd, timeout_ms, memory, size), || {
        // SAFETY: the caller's promise.
        let (memory, size) = unsafe { (out("memory", memory)?, out("size", size)?) };
        // SAFETY: asks about a number.
        if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            return Err(Error::argument("fd", format!("{fd} is no open descriptor")));
        }
        // The standard ones are never leases, and whoever names them by mistake keeps them.
        if fd <= 2 {
            return Err(Error::argument("fd", format!("{fd} is a standard descriptor")));
        }
        // SAFETY: open, and the caller's to give away.
        let lease = unsafe { OwnedFd::from_raw_fd(fd) };
        let (ptr, bytes) = MemoryManager::global().import(virtual_gpu, lease, patience(timeout_ms)?)?;
        (*memory, *size) = (pointer(ptr), bytes);
        Ok(())
    })
}

/// Writes 1 when the exporter asks for what was imported at `memory` back, or is gone, else 0; waits for that for at most
/// `timeout_ms` milliseconds. The answer to it is `cw_vmem_release_import`.
///
/// # Safety
/// `revoked` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_is_revoked(
    virtual_gpu: i32,
    memory: *mut c_void,
    timeout_ms: f64,
    revoked: *mut i32,
) -> cw_status {
    guard(call!("cw_vmem_is_revoked", virtual_gpu, memory, timeout_ms, revoked), || {
        // SAFETY: the caller's promise.
        let revoked = unsafe { out("revoked", revoked)? };
        let longest = patience(timeout_ms)?;
        *revoked = i32::from(MemoryManager::global().is_revoked(virtual_gpu, memory as u64, longest)?);
        Ok(())
    })
}

/// Unmaps what was imported at `memory` once work in flight has passed, and tells the exporter.
///
/// # Safety
/// No work that uses the memory may be queued.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_vmem_release_import(virtual_gpu: i32, memory: *mut c_void) -> cw_status {
    guard(call!("cw_vmem_release_import", virtual_gpu, memory), || {
        MemoryManager::global().release_import(virtual_gpu, memory as u64)
    })
}
