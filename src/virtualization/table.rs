//! The virtual GPUs of this process, by id, and what each consists of.

use super::MemoryManager;
use super::config::UnitConfig;
use crate::device::{Device, Stream};
use crate::memory::Allocation;
use crate::tenant::{self, Tenant, TenantConfig};
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The tenant's id of a virtual GPU, as everything that names tenants shows it.
pub fn tenant_name(id: i32) -> String {
    format!("vgpu:{id}")
}

/// A virtual GPU: a tenant under a number, with the parts that it has at the moment.
pub struct VirtualGpu {
    id: i32,
    name: String,
    tenant: Arc<Tenant>,
    parts: RwLock<Parts>,
}

/// What exists of a virtual GPU. It ends with the last of them.
#[derive(Clone, Default)]
pub(super) struct Parts {
    /// Made by [`super::Driver::create`].
    pub(super) whole: bool,
    /// It has a memory space.
    pub(super) memory: bool,
    /// Its compute unit.
    pub(super) unit: Option<Arc<Unit>>,
}

impl Parts {
    fn is_empty(&self) -> bool {
        !self.whole && !self.memory && self.unit.is_none()
    }
}

/// A compute unit: the streams on which work of a virtual GPU runs, and how it was asked for.
pub(super) struct Unit {
    pub(super) asked: Mutex<UnitConfig>,
    /// The tenant's numbers of its streams, by index.
    pub(super) streams: Vec<u64>,
}

impl VirtualGpu {
    /// Its id.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Its name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tenant that it is.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Whether [`super::Driver::create`] made it.
    pub fn is_whole(&self) -> bool {
        self.parts.read().whole
    }

    pub(super) fn parts(&self) -> Parts {
        self.parts.read().clone()
    }

    pub(super) fn has_memory(&self) -> bool {
        self.parts.read().memory
    }

    /// Its compute unit.
    pub(super) fn unit(&self) -> Result<Arc<Unit>> {
        self.parts.read().unit.clone().ok_or_else(|| {
            Error::not_found(format!("virtual GPU {} has no compute unit", self.id))
                .advise("createVirtualComputeUnit makes one")
        })
    }

    /// An error when it has no memory space.
    pub(super) fn must_have_memory(&self) -> Result<()> {
        if self.has_memory() {
            return Ok(());
        }
        Err(Error::not_found(format!("virtual GPU {} has no memory space", self.id))
            .advise("createVirtualMemorySpace makes one"))
    }

    /// The stream at `index`, 0 to the number of its streams - 1.
    pub(super) fn stream(&self, index: i32) -> Result<Arc<dyn Stream>> {
        let unit = self.unit()?;
        let number = usize::try_from(index).ok().and_then(|i| unit.streams.get(i)).ok_or_else(|| {
            Error::argument(
                "streamId",
                format!("{index} is not in 0 to {} of virtual GPU {}", unit.streams.len() - 1, self.id),
            )
        })?;
        self.tenant.stream(*number)
    }

    /// Every stream of its compute unit, in order.
    pub(super) fn streams(&self) -> Result<Vec<Arc<dyn Stream>>> {
        self.unit()?.streams.iter().map(|&n| self.tenant.stream(n)).collect()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Parts)) {
        change(&mut self.parts.write());
    }
}

static GPUS: Lazy<RwLock<BTreeMap<i32, Arc<VirtualGpu>>>> = Lazy::new(RwLock::default);
static CHANGING: Lazy<Mutex<BTreeSet<i32>>> = Lazy::new(Mutex::default);
static CHANGED: Condvar = Condvar::new();

/// The right to make and end parts of the virtual GPU with one id; others who want to wait.
pub(super) struct Claim(i32);

impl Claim {
    /// Waits until nobody else changes it.
    pub(super) fn of(id: i32) -> Claim {
        let mut changing = CHANGING.lock();
        while !changing.insert(id) {
            CHANGED.wait(&mut changing);
        }
        Claim(id)
    }

    /// The virtual GPU, opened as a tenant when there is none yet. One that is opened and gets no part must be given to
    /// [`Claim::settle`].
    pub(super) fn open(
        &self,
        device: &Arc<dyn Device>,
        name: &str,
        config: &TenantConfig,
    ) -> Result<Arc<VirtualGpu>> {
        if let Ok(found) = find(self.0) {
            let there = found.tenant.device();
            if (there.kind(), there.ordinal()) != (device.kind(), device.ordinal()) {
                return Err(Error::argument(
                    "deviceId",
                    format!(
                        "virtual GPU {} is on {}:{}, not on {}:{}",
                        self.0,
                        there.kind(),
                        there.ordinal(),
                        device.kind(),
                        device.ordinal()
                    ),
                ));
            }
            return Ok(found);
        }
        let pages = MemoryManager::global().wished().page_size;
        let tenant = tenant::open_with_pages(&tenant_name(self.0), device, config, pages)?;
        let name = if name.is_empty() { tenant.id().to_owned() } else { name.to_owned() };
        let gpu = Arc::new(VirtualGpu { id: self.0, name, tenant, parts: RwLock::default() });
        GPUS.write().insert(self.0, gpu.clone());
        Ok(gpu)
    }

    /// Closes the tenant when no part is left. Returns what it had still allocated.
    pub(super) fn settle(&self, gpu: &Arc<VirtualGpu>) -> Vec<Allocation> {
        if !gpu.parts.read().is_empty() {
            return Vec::new();
        }
        // First, so that nobody finds a tenant that is being closed.
        GPUS.write().remove(&self.0);
        // Closed by its tenant's name or with its lost device: then it is done.
        tenant::close_this(&gpu.tenant).unwrap_or_default()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CHANGING.lock().remove(&self.0);
        CHANGED.notify_all();
    }
}

/// The virtual GPU with this id.
pub(super) fn find(id: i32) -> Result<Arc<VirtualGpu>> {
    GPUS.read()
        .get(&id)
        .cloned()
        .ok_or_else(|| Error::new(Status::NotFound, format!("virtual GPU {id} does not exist")))
}

/// All of them, by id.
pub fn list() -> Vec<Arc<VirtualGpu>> {
    GPUS.read().values().cloned().collect()
}
