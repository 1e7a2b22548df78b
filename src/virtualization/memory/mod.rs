//! Memory spaces of virtual GPUs: what the C++ class `MemoryVirtualizationManager` mirrors.

mod layout;
mod lending;
mod sharing;
pub(super) mod work;

use super::config::{MemoryConfig, check_id, check_size};
use super::copy::CopyKind;
use super::ends;
use super::info::MemoryInfo;
use super::started::Switch;
use super::table::{self, Claim, VirtualGpu};
use crate::memory::Allocation;
use crate::tenant::TenantConfig;
use crate::{Error, Result, Status};
use std::sync::Arc;

/// The memory spaces of this process. Usable from any thread. Every method but [`MemoryManager::initialize`],
/// [`MemoryManager::is_initialized`] and [`MemoryManager::shutdown`] answers [`Status::NotInitialized`] before `initialize`
/// and after `shutdown`.
pub struct MemoryManager {
    switch: Switch<MemoryConfig>,
}

static MANAGER: MemoryManager = MemoryManager { switch: Switch::new("memory virtualization manager") };

impl MemoryManager {
    /// The one of this process.
    pub fn global() -> &'static MemoryManager {
        &MANAGER
    }

    /// Opens the device. The same configuration again does nothing; another one is [`Status::AlreadyExists`].
    pub fn initialize(&self, config: &MemoryConfig) -> Result<()> {
        self.switch.on(config, config.device, config.check())
    }

    /// Destroys the memory spaces that were made here, as [`MemoryManager::destroy`] does. Those of virtual GPUs that were
    /// made as a whole stay. Does nothing when it is not initialised.
    pub fn shutdown(&self) {
        if !self.switch.off() {
            return;
        }
        let all = table::list();
        let own: Vec<i32> = all.iter().filter(|g| !g.is_whole() && g.has_memory()).map(|g| g.id()).collect();
        drop(all);
        for id in own {
            // Destroyed by another thread meanwhile: then it is done.
            let _ = self.end(id);
        }
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.switch.is_on()
    }

    /// Makes a memory space of at most `bytes` bytes; the virtual GPU with it when there is none.
    pub fn create(&self, id: i32, bytes: u64) -> Result<()> {
        let started = self.switch.get()?;
        check_id(id)?;
        check_size("size", bytes)?;
        let claim = Claim::of(id);
        let device = &started.device;
        let wanted = TenantConfig { memory_limit: bytes, ..TenantConfig::default_on(device)? };
        let gpu = claim.open(device, "", &wanted)?;
        if gpu.has_memory() {
            return Err(Error::new(
                Status::AlreadyExists,
                format!("virtual GPU {id} has a memory space already"),
            ));
        }
        let tenant = gpu.tenant();
        let ready = tenant.space().set_policy(started.config.policy());
        if let Err(e) = ready.and_then(|()| tenant.account().set_limit(bytes)) {
            claim.settle(&gpu);
            return Err(e);
        }
        gpu.change(|parts| parts.memory = true);
        Ok(())
    }

    /// What spaces are made like now: as configured, or by default before `initialize`.
    pub(super) fn wished(&self) -> MemoryConfig {
        self.switch.get().map_or_else(|_| MemoryConfig::default(), |started| started.config.clone())
    }

    /// Ends a memory space: work in flight is waited for, then what is allocated is freed. Returns that, and the log tells
    /// it. The virtual GPU ends with it when it has no other part.
    pub fn destroy(&self, id: i32) -> Result<Vec<Allocation>> {
        self.switch.must_be_on()?;
        self.end(id)
    }

    fn end(&self, id: i32) -> Result<Vec<Allocation>> {
        check_id(id)?;
        let claim = Claim::of(id);
        let gpu = table::find(id)?;
        gpu.must_have_memory()?;
        let left = ends::memory(&claim, &gpu);
        drop(claim);
        ends::tell(&gpu, &left);
        ends::let_go(gpu);
        Ok(left)
    }

    /// Allocates `bytes` bytes, aligned to `alignment` (a power of two up to 2 GiB; 256 is always given).
    ///
    /// Errors: [`Status::QuotaExceeded`], [`Status::OutOfMemory`]; nothing has changed then.
    pub fn alloc(&self, id: i32, bytes: u64, alignment: u64) -> Result<u64> {
        work::alloc(&*self.find(id)?, bytes, alignment)
    }

    /// Frees an allocation by the very pointer that was returned, once what was queued on streams of the virtual GPU before
    /// has ended.
    pub fn free(&self, id: i32, ptr: u64) -> Result<()> {
        work::free(&*self.find(id)?, ptr)
    }

    /// Copies `bytes` bytes (at least 1) between this space and the program's own memory, within either, as `kind` says.
    /// Ends in this space must lie in one allocation each. Ranges that overlap are refused. Without a stream the call
    /// waits; with one the copy is ordered on it.
    ///
    /// # Safety
    /// Ranges of the program's own memory must be valid for `bytes` until the copy has run.
    pub unsafe fn copy(
        &self,
        id: i32,
        dst: u64,
        src: u64,
        bytes: u64,
        kind: CopyKind,
        stream: Option<i32>,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { work::copy(&*self.find(id)?, dst, src, bytes, kind, stream) }
    }

    /// Sets `bytes` bytes (at least 1) of one allocation to `value`; `stream` as for [`MemoryManager::copy`].
    pub fn fill(&self, id: i32, ptr: u64, value: u8, bytes: u64, stream: Option<i32>) -> Result<()> {
        work::fill(&*self.find(id)?, ptr, value, bytes, stream)
    }

    /// The figures of a memory space.
    pub fn info(&self, id: i32) -> Result<MemoryInfo> {
        let gpu = self.space_of(id)?;
        MemoryInfo::of(&gpu)
    }

    /// What is allocated in a space, oldest first.
    pub fn allocations(&self, id: i32) -> Result<Vec<Allocation>> {
        let gpu = self.space_of(id)?;
        Ok(gpu.tenant().space().leaks())
    }

    /// Changes the most bytes that a space may hold; refused when it holds more.
    pub fn set_limit(&self, id: i32, bytes: u64) -> Result<()> {
        let gpu = self.space_of(id)?;
        check_size("size", bytes)?;
        gpu.tenant().account().set_limit(bytes)
    }

    /// Changes the bytes that are set aside for a space.
    pub fn set_floor(&self, id: i32, bytes: u64) -> Result<()> {
        let gpu = self.space_of(id)?;
        gpu.tenant().account().set_floor(bytes)
    }

    fn find(&self, id: i32) -> Result<Arc<VirtualGpu>> {
        self.switch.must_be_on()?;
        check_id(id)?;
        table::find(id)
    }
}
