//! Memory partitions across the border.

use super::guard::{guard, out, struct_size};
use super::kernel::{at, get, pointer};
use super::node;
use super::text::{fixed, text};
use super::types::{cw_kernel, cw_partition_info, cw_status};
use crate::kernel::PartitionType;
use std::ffi::c_char;

/// Reserves `bytes` of the memory of tenant `llm` as a partition of `type` (`CW_PARTITION_*`); `*id` gets its number.
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
        };
        Ok(())
    })
}
