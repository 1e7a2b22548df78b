//! The tenants of this process, by id.

use super::{Tenant, TenantConfig, unknown};
use crate::device::Device;
use crate::memory::Allocation;
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

static TENANTS: Lazy<Mutex<BTreeMap<String, Arc<Tenant>>>> = Lazy::new(Mutex::default);

/// Opens a tenant. An id that is open already is refused.
pub fn open(id: &str, device: &Arc<dyn Device>, config: &TenantConfig) -> Result<Arc<Tenant>> {
    let mut tenants = TENANTS.lock();
    if tenants.contains_key(id) {
        return Err(Error::new(Status::AlreadyExists, format!("tenant {id:?} exists")));
    }
    let tenant = Arc::new(Tenant::new(id, device, config)?);
    tenants.insert(id.to_owned(), tenant.clone());
    Ok(tenant)
}

/// The tenant with this id, opened with default limits on `device` when nobody has opened it.
pub fn open_default(id: &str, device: &Arc<dyn Device>) -> Result<Arc<Tenant>> {
    let mut tenants = TENANTS.lock();
    if let Some(tenant) = tenants.get(id) {
        return Ok(tenant.clone());
    }
    let tenant = Arc::new(Tenant::new(id, device, &TenantConfig::default_on(device)?)?);
    tenants.insert(id.to_owned(), tenant.clone());
    Ok(tenant)
}

/// The tenant with this id.
pub fn find(id: &str) -> Result<Arc<Tenant>> {
    TENANTS.lock().get(id).cloned().ok_or_else(|| unknown(id))
}

/// All tenants, by id.
pub fn list() -> Vec<Arc<Tenant>> {
    TENANTS.lock().values().cloned().collect()
}

/// Closes a tenant: its nodes and streams are given back and its id is free again. Returns what it had still
/// allocated; that memory goes back to the device when the last object that uses it is dropped.
pub fn close(id: &str) -> Result<Vec<Allocation>> {
    let tenant = TENANTS.lock().remove(id).ok_or_else(|| unknown(id))?;
    crate::compute::Tasks::global().cancel_all(Some(id));
    tenant.release();
    Ok(tenant.space.leaks())
}
