//! The virtual GPUs of this process, by id, and what each consists of.

use super::MemoryManager;
use super::config::UnitConfig;
use super::work::{Executions, Lane};
use crate::device::{Device, Stream};
use crate::memory::{Allocation, Import};
use crate::ops::tensor::Rules;
use crate::program::Library;
use crate::tenant::{self, Tenant, TenantConfig};
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The tenant's id of a virtual GPU, as everything that names tenants shows it.
pub fn tenant_name(id: i32) -> String {
    format!("vgpu:{id}")
}

/// A virtual GPU: a tenant under a number, with the parts that it has at the moment.
pub struct VirtualGpu {
    id: i32,
    name: String,
    tenant: Arc<Tenant>,
    library: Library,
    /// Memory of others that it maps, by address.
    imports: Mutex<BTreeMap<u64, Arc<Import>>>,
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
    pub(super) lanes: Vec<Lane>,
    pub(super) executions: Executions,
}

impl Unit {
    /// The stream at `index`, 0 to the number of its streams - 1.
    pub(super) fn lane(&self, gpu: &VirtualGpu, index: i32) -> Result<&Lane> {
        usize::try_from(index).ok().and_then(|i| self.lanes.get(i)).ok_or_else(|| {
            Error::argument(
                "streamId",
                format!("{index} is not in 0 to {} of virtual GPU {}", self.lanes.len() - 1, gpu.id),
            )
        })
    }

    /// By which rules its matrix work goes.
    pub(super) fn rules(&self) -> Rules {
        self.asked.lock().rules()
    }

    /// The time that work may take whose call names none.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.asked.lock().timeout
    }

    /// Ends its streams: what waits is withdrawn with `why`, what runs is waited for.
    pub(super) fn end(&self, why: &Error) {
        for lane in &self.lanes {
            lane.same_queue().end(why.clone());
        }
        for lane in &self.lanes {
            // Errors of work that nobody waits for any more.
            let _ = lane.same_queue().synchronize();
        }
    }
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

    pub(super) fn imports(&self) -> &Mutex<BTreeMap<u64, Arc<Import>>> {
        &self.imports
    }

    /// Its programs and host functions.
    pub fn library(&self) -> &Library {
        &self.library
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

    /// Every stream of its compute unit as the device knows it now, in order.
    pub(super) fn streams(&self) -> Result<Vec<Arc<dyn Stream>>> {
        self.unit()?.lanes.iter().map(|lane| Ok(lane.queue(&self.tenant)?.stream())).collect()
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
        let library = Library::new(device.clone());
        let gpu = Arc::new(VirtualGpu {
            id: self.0,
            name,
            tenant,
            library,
            imports: Mutex::default(),
            parts: RwLock::default(),
        });
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
