//! The tenants of this process, by id.

use super::{Tenant, TenantConfig, unknown};
use crate::device::{self, Device};
use crate::memory::Allocation;
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};

static TENANTS: Lazy<Mutex<BTreeMap<String, Arc<Tenant>>>> = Lazy::new(Mutex::default);

/// Opens a tenant. An id that is open already is refused; so is one whose tenant is being closed ([`Status::Busy`]).
pub fn open(id: &str, device: &Arc<dyn Device>, config: &TenantConfig) -> Result<Arc<Tenant>> {
    open_with_pages(id, device, config, 0)
}

/// The same with pages of at least `page_size` bytes; see [`crate::memory::Space::with_pages`].
pub fn open_with_pages(
    id: &str,
    device: &Arc<dyn Device>,
    config: &TenantConfig,
    page_size: u64,
) -> Result<Arc<Tenant>> {
    device::on_recovery(lose_all);
    let mut tenants = TENANTS.lock();
    if let Some(there) = tenants.get(id) {
        still_open(there)?;
        return Err(Error::new(Status::AlreadyExists, format!("tenant {id:?} exists")));
    }
    let tenant = Arc::new(Tenant::new(id, device, config, page_size)?);
    tenants.insert(id.to_owned(), tenant.clone());
    Ok(tenant)
}

/// The tenant with this id, opened with default limits on `device` when nobody has opened it; it is then
/// [implicit](Tenant::is_implicit). [`Status::Busy`] while the tenant with this id is being closed.
pub fn open_default(id: &str, device: &Arc<dyn Device>) -> Result<Arc<Tenant>> {
    open_implicit(id, || Ok((device.clone(), TenantConfig::default_on(device)?)))
}

/// A device, and how a tenant is opened on it.
pub type Wishes = (Arc<dyn Device>, TenantConfig);

fn open_implicit(id: &str, wishes: impl FnOnce() -> Result<Wishes>) -> Result<Arc<Tenant>> {
    device::on_recovery(lose_all);
    let mut tenants = TENANTS.lock();
    if let Some(tenant) = tenants.get(id) {
        still_open(tenant)?;
        return Ok(tenant.clone());
    }
    let (device, config) = wishes()?;
    let tenant = Arc::new(Tenant::new(id, &device, &config, 0)?);
    tenant.implicit.store(true, SeqCst);
    tenants.insert(id.to_owned(), tenant.clone());
    Ok(tenant)
}

/// The tenant with this id, or one opened like by [`open_default`] but as `wishes` says. `note` writes an implicit one down for whoever closes it
/// later; when it cannot, the tenant is closed again.
pub fn find_or_open(
    id: &str,
    wishes: impl FnOnce() -> Result<Wishes>,
    note: impl FnOnce(Weak<Tenant>) -> Result<()>,
) -> Result<Arc<Tenant>> {
    if let Ok(found) = find(id) {
        return Ok(found);
    }
    let opened = open_implicit(id, wishes)?;
    if opened.is_implicit() {
        note(Arc::downgrade(&opened)).inspect_err(|_| {
            // Shut down meanwhile: nobody else would close it.
            let _ = close_this(&opened);
        })?;
    }
    Ok(opened)
}

/// Tells the tenants of a lost device, and closes them.
fn lose_all(lost: &Arc<dyn Device>) {
    for tenant in list().iter().filter(|t| Arc::ptr_eq(&t.device, lost)) {
        crate::log_later!(Error, "tenant", "tenant {:?} is lost with its device", tenant.id());
        tenant.lose();
        // Closed by somebody else meanwhile: nothing left to do.
        let _ = close_this(tenant);
    }
}

fn still_open(tenant: &Tenant) -> Result<()> {
    if tenant.is_closed() {
        return Err(Error::new(Status::Busy, format!("tenant {:?} is being closed", tenant.id))
            .advise("try again when the call that closes it has returned"));
    }
    Ok(())
}

/// The tenant with this id.
pub fn find(id: &str) -> Result<Arc<Tenant>> {
    let found = TENANTS.lock().get(id).cloned();
    found.filter(|t| !t.is_closed()).ok_or_else(|| unknown(id))
}

/// All tenants, by id.
pub fn list() -> Vec<Arc<Tenant>> {
    let all: Vec<_> = TENANTS.lock().values().cloned().collect();
    all.into_iter().filter(|t| !t.is_closed()).collect()
}

/// Closes the tenant with this id; see [`close_this`].
pub fn close(id: &str) -> Result<Vec<Allocation>> {
    close_this(&find(id)?)
}

/// Closes a tenant: its tasks end as cancelled, its nodes and streams are given back, then its id is free again.
/// Returns what it had still allocated; that memory goes back to the device when the last object that uses it is
/// dropped. [`Status::NotFound`] when it was closed before, whoever has its id now.
pub fn close_this(tenant: &Arc<Tenant>) -> Result<Vec<Allocation>> {
    if !tenant.begin_close() {
        return Err(unknown(&tenant.id));
    }
    // The id is kept until the end: nothing here can then meet a new tenant of the same name.
    crate::compute::Tasks::global().cancel_all(Some(&tenant.id));
    tenant.release();
    let removed = TENANTS.lock().remove(&tenant.id);
    drop(removed);
    Ok(tenant.space.leaks())
}
