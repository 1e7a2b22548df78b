//! Memory partitions across the border.

use super::guard::{guard, out, slice, slice_mut, struct_size};
use super::kernel::{at, get, pointer};
use super::node;
use super::text::{fixed, text};
use super::types::{cw_kernel, cw_partition_info, cw_status};
use crate::Error;
use crate::device::Filter;
use crate::kernel::{PartitionType, TextureShape};
use std::ffi::{c_char, c_void};
use std::os::fd::{BorrowedFd, IntoRawFd};

/// Makes a partition of the memory of tenant `llm`, of `type` (`CW_PARTITION_*`); `*id` gets its number. Shared and constant
/// memory comes in whole granules (2 MiB), which the partition's size says. `bytes` of a local partition are those of one
/// thread's stack: of each task of the tenant on the CPU device, of each thread of a kernel on a GPU.
///
/// # Safety
/// `llm` must be NUL-terminated, `id` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_create(
    kernel: *mut cw_kernel,
    bytes: u64,
    r#type: i32,
    llm: *const c_char,
    id: *mut i32,
) -> cw_status {
    guard(call!("cw_kernel_partition_create", kernel, bytes, r#type, llm, id), || {
        // SAFETY: the caller's promise.
        let (llm, id) = unsafe { (text("llm", llm)?, out("id", id)?) };
        *id = get(kernel)?.create_partition(bytes, PartitionType::from_number(r#type)?, llm)?;
        Ok(())
    })
}

/// Gives a partition's memory back.
///
/// # Safety
/// No work that uses the memory may be in flight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_destroy(kernel: *mut cw_kernel, id: i32) -> cw_status {
    guard(call!("cw_kernel_partition_destroy", kernel, id), || get(kernel)?.destroy_partition(id))
}

/// How many partitions there are.
///
/// # Safety
/// `count` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_count(kernel: *const cw_kernel, count: *mut usize) -> cw_status {
    guard(call!("cw_kernel_partition_count", kernel, count), || {
        // SAFETY: the caller's promise.
        *unsafe { out("count", count)? } = get(kernel)?.partitions()?.len();
        Ok(())
    })
}

/// The partition at `index` (in the order of their numbers). Set `info->struct_size` first.
///
/// # Safety
/// `info` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_info_at(
    kernel: *const cw_kernel,
    index: usize,
    info: *mut cw_partition_info,
) -> cw_status {
    guard(call!("cw_kernel_partition_info_at", kernel, index, info), || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        struct_size::<cw_partition_info>("info", info.struct_size)?;
        let partitions = get(kernel)?.partitions()?;
        let found = at(&partitions, index, "partitions")?;
        *info = cw_partition_info {
            struct_size: info.struct_size,
            id: found.id,
            r#type: found.kind as i32,
            bytes: found.bytes,
            offset: found.offset,
            device_pointer: pointer(found.device_ptr),
            host_pointer: pointer(found.host_ptr),
            owner: fixed(&found.owner),
            created_us: node::micros(Some(found.created)),
            texture: found.texture,
        };
        Ok(())
    })
}

/// Writes `bytes` host bytes at `offset` of a partition and waits. Constant memory is written once: what the call leaves
/// out is zero for good, and a second call is `CW_ERROR_ALREADY_EXISTS`. Local memory has no address and is refused.
///
/// # Safety
/// `data` must be valid for reads of `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_write(
    kernel: *mut cw_kernel,
    id: i32,
    offset: u64,
    data: *const c_void,
    bytes: usize,
) -> cw_status {
    guard(call!("cw_kernel_partition_write", kernel, id, offset, data, bytes), || {
        // SAFETY: the caller's promise.
        let data = unsafe { slice("data", data.cast::<u8>(), bytes)? };
        get(kernel)?.write_partition(id, offset, data)
    })
}

/// Reads `bytes` bytes from `offset` of a partition to the host and waits.
///
/// # Safety
/// `data` must be valid for writes of `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_read(
    kernel: *mut cw_kernel,
    id: i32,
    offset: u64,
    data: *mut c_void,
    bytes: usize,
) -> cw_status {
    guard(call!("cw_kernel_partition_read", kernel, id, offset, data, bytes), || {
        // SAFETY: the caller's promise.
        let data = unsafe { slice_mut("data", data.cast::<u8>(), bytes)? };
        get(kernel)?.read_partition(id, offset, data)
    })
}

/// A file descriptor by which another process can map a shared partition with `cw_kernel_partition_import`; pass the
/// partition's size along. It is the caller's to close. The memory lives for as long as somebody maps it or holds a descriptor.
///
/// # Safety
/// `fd` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_export(
    kernel: *mut cw_kernel,
    id: i32,
    fd: *mut i32,
) -> cw_status {
    guard(call!("cw_kernel_partition_export", kernel, id, fd), || {
        // SAFETY: the caller's promise.
        let fd = unsafe { out("fd", fd)? };
        *fd = get(kernel)?.export_partition(id)?.into_raw_fd();
        Ok(())
    })
}

/// Maps the memory behind a descriptor of `cw_kernel_partition_export`, of this or another process, as a shared partition
/// of tenant `llm`, which is charged all of it; `*id` gets its number. `bytes` is the size that the partition has there.
/// The descriptor stays the caller's.
///
/// # Safety
/// `llm` must be NUL-terminated, `id` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_import(
    kernel: *mut cw_kernel,
    fd: i32,
    bytes: u64,
    llm: *const c_char,
    id: *mut i32,
) -> cw_status {
    guard(call!("cw_kernel_partition_import", kernel, fd, bytes, llm, id), || {
        // SAFETY: the caller's promise.
        let (llm, id) = unsafe { (text("llm", llm)?, out("id", id)?) };
        // SAFETY: asks whether the number is a descriptor.
        if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            return Err(Error::argument("fd", format!("{fd} is no open file descriptor")));
        }
        // SAFETY: it is open; it stays the caller's and is used during the call only.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        *id = get(kernel)?.import_partition(fd, bytes, llm)?;
        Ok(())
    })
}

/// Binds a texture partition anew: `height` rows of `width` f32, `pitch` bytes from row to row (a multiple of 32; 0 for the
/// least), `filter` 0 (point) or 1 (linear). `*handle` gets what kernels read it by: the `CUtexObject` on a GPU. The
/// former handle is invalid then: no work that reads it may be in flight.
///
/// # Safety
/// `handle` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_texture_bind(
    kernel: *mut cw_kernel,
    id: i32,
    width: u64,
    height: u64,
    pitch: u64,
    filter: i32,
    handle: *mut u64,
) -> cw_status {
    guard(call!("cw_kernel_partition_texture_bind", kernel, id, width, height, pitch, filter, handle), || {
        // SAFETY: the caller's promise.
        let handle = unsafe { out("handle", handle)? };
        let shape = TextureShape { width, height, pitch, filter: Filter::from_number(filter)? };
        *handle = get(kernel)?.bind_texture(id, shape)?;
        Ok(())
    })
}

/// Reads a texture partition at `count` places, x and y of each in turn, and waits. Places are in elements: the middle of
/// element (i, j) is (i + 0.5, j + 0.5); beyond the border the nearest element is read. On a GPU a kernel reads through the
/// texture units, whose weights have 8 bits; the CPU computes the same.
///
/// # Safety
/// `places` must be valid for reads of `2 * count` floats, `values` for writes of `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_kernel_partition_texture_sample(
    kernel: *mut cw_kernel,
    id: i32,
    places: *const f32,
    count: usize,
    values: *mut f32,
) -> cw_status {
    guard(call!("cw_kernel_partition_texture_sample", kernel, id, places, count, values), || {
        // SAFETY: the caller's promise; two floats lie as an array of two.
        let (places, values) = unsafe {
            (slice("places", places.cast::<[f32; 2]>(), count)?, slice_mut("values", values, count)?)
        };
        get(kernel)?.sample_texture(id, places, values)
    })
}
