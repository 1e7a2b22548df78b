//! Compute nodes across the border.

use super::device::chosen;
use super::guard::{guard, out, struct_size};
use super::tenant;
use super::text::fixed;
use super::types::{cw_node_info, cw_status, cw_tenant};
use crate::Error;
use crate::compute::{NodeInfo, Nodes};
use std::ffi::c_char;
use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, 0 for never.
pub(super) fn micros(time: Option<SystemTime>) -> u64 {
    time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_micros() as u64)
}

pub(super) fn to_c(node: &NodeInfo, struct_size: usize) -> cw_node_info {
    let mut units = [0; 64];
    let count = node.units.len().min(units.len());
    units[..count].copy_from_slice(&node.units[..count]);
    cw_node_info {
        struct_size,
        id: node.id,
        processors: node.processors,
        unit_count: count as u32,
        is_virtual: i32::from(node.virtual_node),
        units,
        owner: fixed(node.owner.as_deref().unwrap_or_default()),
        last_used_us: micros(node.last_used),
        kind: node.kind as i32,
        is_active: i32::from(node.active),
        memory: node.memory,
        memory_used: node.memory_used,
        address: node.address,
        detail: fixed(&node.detail),
    }
}

/// How many compute nodes a device has: its processors (a node of each kind for every core or group of SMs), memory banks,
/// shared memory, parts of the cache, and the nodes made for tenants.
///
/// # Safety
/// `device` must be null (default device) or NUL-terminated, `count` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_node_count(device: *const c_char, count: *mut usize) -> cw_status {
    guard(call!("cw_node_count", device, count), || {
        // SAFETY: the caller's promise.
        let (device, count) = unsafe { (chosen("device", device)?, out("count", count)?) };
        *count = Nodes::of(&device).list().len();
        Ok(())
    })
}

/// The compute node at `index` (0 to count - 1) of a device. Set `info->struct_size` first.
///
/// # Safety
/// `device` must be null (default device) or NUL-terminated, `info` valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_node_info_at(
    device: *const c_char,
    index: usize,
    info: *mut cw_node_info,
) -> cw_status {
    guard(call!("cw_node_info_at", device, index, info), || {
        // SAFETY: the caller's promise.
        let (device, info) = unsafe { (chosen("device", device)?, out("info", info)?) };
        struct_size::<cw_node_info>("info", info.struct_size)?;
        let nodes = Nodes::of(&device).list();
        let node = nodes.get(index).ok_or_else(|| {
            Error::argument("index", format!("{index} is beyond the {} nodes", nodes.len()))
        })?;
        *info = to_c(node, info.struct_size);
        Ok(())
    })
}

/// Gives the tenant a free node of its device, in addition to those that it was given; `CW_NODE_*` says what each kind gives.
/// With processors the node goes back that is made for a tenant that was given none.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_node_take(tenant: *mut cw_tenant, node: u32) -> cw_status {
    guard(call!("cw_node_take", tenant, node), || tenant::get(tenant)?.take_node(node))
}

/// Makes a node of `processors` cores or SMs for the tenant (a GPU rounds up to whole groups of SMs), in addition to
/// those that it was given; `*node` gets its id.
///
/// # Safety
/// `node` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_node_make(tenant: *mut cw_tenant, processors: u32, node: *mut u32) -> cw_status {
    guard(call!("cw_node_make", tenant, processors, node), || {
        // SAFETY: the caller's promise.
        let node = unsafe { out("node", node)? };
        *node = tenant::get(tenant)?.make_node(processors)?;
        Ok(())
    })
}

/// Takes a node back from the tenant that holds it.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_node_give_back(tenant: *mut cw_tenant, node: u32) -> cw_status {
    guard(call!("cw_node_give_back", tenant, node), || tenant::get(tenant)?.give_node(node))
}

/// A node's number as the application says it.
pub(super) fn number(node: i32) -> crate::Result<u32> {
    u32::try_from(node).map_err(|_| crate::Error::not_found(format!("compute node {node} does not exist")))
}
