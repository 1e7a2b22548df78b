//! Tenants across the border.

use super::device::chosen;
use super::guard::{guard, input, out, struct_size};
use super::handle::Table;
use super::text::{text, write_text};
use super::types::{cw_status, cw_tenant, cw_tenant_config, cw_usage};
use crate::compute::Priority;
use crate::memory::Allocation;
use crate::tenant::{self, Tenant, TenantConfig};
use crate::{Error, Result};
use std::ffi::c_char;
use std::sync::Arc;

static TENANTS: Table<cw_tenant, Tenant> = Table::new(2, "cw_tenant");

/// The tenant behind a handle.
pub(super) fn get(tenant: *const cw_tenant) -> Result<Arc<Tenant>> {
    TENANTS.get("tenant", tenant)
}

/// Fills a configuration with defaults: a quarter of the device each of memory and processors, normal standing.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_config_default(config: *mut cw_tenant_config) -> cw_status {
    guard(call!("cw_tenant_config_default", config), || {
        // SAFETY: the caller's promise.
        *unsafe { out("config", config)? } = cw_tenant_config {
            struct_size: size_of::<cw_tenant_config>(),
            memory_limit: 0,
            memory_floor: 0,
            weight: 1.0,
            processors: 0,
            priority: Priority::Normal as i32,
        };
        Ok(())
    })
}

/// Opens a tenant on `device` (`cpu`, `cuda`, `cuda:N`, `auto`; `NULL` for the default device) under a new `id` (1 to 127
/// bytes without control characters).
/// `config` may be `NULL` for defaults. End it with `cw_tenant_close`.
///
/// # Safety
/// Texts must be NUL-terminated, `config` null or valid, `tenant` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_open(
    id: *const c_char,
    device: *const c_char,
    config: *const cw_tenant_config,
    tenant: *mut *mut cw_tenant,
) -> cw_status {
    guard(call!("cw_tenant_open", id, device, config, tenant), || {
        // SAFETY: the caller's promise.
        let (id, tenant) = unsafe { (text("id", id)?, out("tenant", tenant)?) };
        // SAFETY: the caller's promise.
        let device = unsafe { chosen("device", device)? };
        if id.is_empty() {
            return Err(Error::argument("id", "must not be empty"));
        }
        let mut wanted = TenantConfig::default_on(&device)?;
        if !config.is_null() {
            // SAFETY: the caller's promise.
            let config = unsafe { input("config", config)? };
            struct_size::<cw_tenant_config>("config", config.struct_size)?;
            if config.memory_limit > 0 {
                wanted.memory_limit = config.memory_limit;
            }
            wanted.memory_floor = config.memory_floor;
            wanted.processors = config.processors;
            wanted.weight = config.weight;
            wanted.priority = Priority::from_number(config.priority)? as u8;
        }
        *tenant = TENANTS.insert(tenant::open(id, &device, &wanted)?);
        Ok(())
    })
}

/// Another handle to the tenant with this id. Free it with `cw_tenant_free`.
///
/// # Safety
/// `id` must be NUL-terminated, `tenant` valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_find(id: *const c_char, tenant: *mut *mut cw_tenant) -> cw_status {
    guard(call!("cw_tenant_find", id, tenant), || {
        // SAFETY: the caller's promise.
        let (id, tenant) = unsafe { (text("id", id)?, out("tenant", tenant)?) };
        *tenant = TENANTS.insert(tenant::find(id)?);
        Ok(())
    })
}

/// Frees a handle; the tenant lives on. `NULL` is ignored.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_free(tenant: *mut cw_tenant) -> cw_status {
    guard(call!("cw_tenant_free", tenant), || TENANTS.remove("tenant", tenant).map(drop))
}

/// Closes the tenant and frees the handle: its tasks end as cancelled, its nodes and streams are given back, its id
/// is free again. `*leaked` (may be `NULL`) gets the bytes that were still allocated; they go back to the device too
/// once no model of the tenant is loaded any more.
///
/// # Safety
/// `leaked` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_close(tenant: *mut cw_tenant, leaked: *mut u64) -> cw_status {
    guard(call!("cw_tenant_close", tenant, leaked), || {
        // SAFETY: the caller's promise.
        let leaked = if leaked.is_null() { None } else { Some(unsafe { out("leaked", leaked)? }) };
        let left = tenant::close_this(&get(tenant)?)?;
        TENANTS.remove("tenant", tenant)?;
        if let Some(leaked) = leaked {
            *leaked = left.iter().map(|a| a.bytes).sum();
        }
        Ok(())
    })
}

/// The device that the tenant is on: `CW_DEVICE_*` and its index among devices of its kind.
///
/// # Safety
/// `kind` and `ordinal` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_device(
    tenant: *const cw_tenant,
    kind: *mut i32,
    ordinal: *mut i32,
) -> cw_status {
    guard(call!("cw_tenant_device", tenant, kind, ordinal), || {
        // SAFETY: the caller's promise.
        let (kind, ordinal) = unsafe { (out("kind", kind)?, out("ordinal", ordinal)?) };
        (*kind, *ordinal) = super::device::place(get(tenant)?.device().as_ref());
        Ok(())
    })
}

/// The tenant's figures. Set `usage->struct_size` first.
///
/// # Safety
/// `usage` must be valid for reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_usage(tenant: *const cw_tenant, usage: *mut cw_usage) -> cw_status {
    guard(call!("cw_tenant_usage", tenant, usage), || {
        // SAFETY: the caller's promise.
        let usage = unsafe { out("usage", usage)? };
        struct_size::<cw_usage>("usage", usage.struct_size)?;
        let tenant = get(tenant)?;
        let (memory, share) = (tenant.space().usage(), tenant.share());
        *usage = cw_usage {
            struct_size: usage.struct_size,
            memory_limit: memory.limit,
            memory_held: memory.held,
            memory_peak: memory.peak,
            memory_shared: memory.shared,
            memory_regions: memory.regions,
            memory_physical: memory.physical,
            allocations: memory.allocations,
            rejections: memory.rejections,
            device_time_ns: share.used().as_nanos() as u64,
            wait_time_ns: share.waited().as_nanos() as u64,
            admissions: share.admissions(),
            processors: tenant.processors_now(),
        };
        Ok(())
    })
}

/// Allocations as JSON.
pub(super) fn as_json(list: Vec<Allocation>) -> String {
    let list: Vec<_> = list
        .into_iter()
        .map(|a| {
            let age_ms = a.age.as_millis() as u64;
            serde_json::json!({"address": a.ptr, "bytes": a.bytes, "tag": a.tag, "age_ms": age_ms})
        })
        .collect();
    serde_json::Value::from(list).to_string()
}

/// What the tenant has allocated, as JSON: `[{"address": …, "bytes": …, "tag": "…", "age_ms": …}, …]`, oldest first.
///
/// # Safety
/// The buffer as the contract says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_allocations(
    tenant: *const cw_tenant,
    buffer: *mut c_char,
    length: usize,
    needed: *mut usize,
) -> cw_status {
    guard(call!("cw_tenant_allocations", tenant, buffer, length, needed), || {
        let text = as_json(get(tenant)?.space().leaks());
        // SAFETY: the caller's promise.
        unsafe { write_text(&text, buffer, length, needed) }
    })
}

/// Changes the most bytes the tenant may hold; refused when it holds more.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_set_memory_limit(tenant: *mut cw_tenant, bytes: u64) -> cw_status {
    guard(call!("cw_tenant_set_memory_limit", tenant, bytes), || {
        if bytes == 0 {
            return Err(Error::argument("bytes", "must not be 0"));
        }
        get(tenant)?.account().set_limit(bytes)
    })
}

/// Changes the tenant's weight (above 0) from now on.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_set_weight(tenant: *mut cw_tenant, weight: f64) -> cw_status {
    guard(call!("cw_tenant_set_weight", tenant, weight), || get(tenant)?.share().set_weight(weight))
}

/// Changes the tenant's priority (`CW_PRIORITY_*`) from now on.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_tenant_set_priority(tenant: *mut cw_tenant, priority: i32) -> cw_status {
    guard(call!("cw_tenant_set_priority", tenant, priority), || {
        get(tenant)?.share().set_priority(Priority::from_number(priority)? as u8)
    })
}
