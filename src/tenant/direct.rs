//! Allocations by pointer, and those that the host may read and write without copies.

use super::Tenant;
use crate::device::DeviceKind;
use crate::memory::{self, Hosted};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Whether a tenant's new allocations are for the host too, and those that are.
#[derive(Default)]
pub(super) struct Direct {
    enabled: AtomicBool,
    hosted: Mutex<BTreeMap<u64, Hosted>>,
}

impl Tenant {
    /// From here on [`Tenant::alloc`] gives memory that host and device address alike, and [`Tenant::direct_pointer`]
    /// answers. On the CPU device all memory is so. On a GPU new allocations are pinned host memory that the GPU reads and
    /// writes over its bus (a host cannot address a GPU's own memory without a driver of its own); what was allocated
    /// before stays where it is. The quota is the same. Fails where the device has no such memory; doing it twice
    /// is fine.
    pub fn enable_direct(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(Status::NotInitialized, format!("tenant {:?} was closed", self.id)));
        }
        if self.device.kind() != DeviceKind::Cpu {
            // Seen to work before anybody relies on it.
            drop(self.device.host_memory(memory::UNIT)?);
        }
        self.direct.enabled.store(true, SeqCst);
        Ok(())
    }

    /// Ends it: new allocations are the device's own, and [`Tenant::direct_pointer`] is an error. Memory that was
    /// allocated meanwhile stays valid for the device and for copies until it is freed.
    pub fn disable_direct(&self) -> Result<()> {
        if self.direct.enabled.swap(false, SeqCst) {
            return Ok(());
        }
        Err(no_direct(&self.id))
    }

    /// Whether direct access is enabled.
    pub fn is_direct(&self) -> bool {
        self.direct.enabled.load(SeqCst)
    }

    /// The address by which the host reads and writes `bytes` bytes at `ptr`, which must lie in one allocation of this
    /// tenant. It is valid until the allocation is freed or direct access is disabled; ordering with work of the device
    /// is the caller's.
    pub fn direct_pointer(&self, ptr: u64, bytes: u64) -> Result<u64> {
        if !self.is_direct() {
            return Err(no_direct(&self.id));
        }
        self.space.check("ptr", ptr, bytes)?;
        if self.device.kind() == DeviceKind::Cpu {
            return Ok(ptr);
        }
        let hosted = self.direct.hosted.lock();
        let found = hosted.range(..=ptr).next_back().is_some_and(|(start, h)| ptr - start < h.bytes());
        if found {
            return Ok(ptr);
        }
        Err(Error::unsupported(format!(
            "{ptr:#x} lies in the GPU's own memory, which the host cannot address"
        ))
        .advise("allocate it after enableDirectMemoryAccess, or copy it"))
    }

    /// Allocates memory of the tenant, for the host too when direct access is enabled. Free it with [`Tenant::free`].
    pub fn alloc(&self, bytes: u64, tag: &str) -> Result<u64> {
        if self.device.kind() == DeviceKind::Cpu || !self.is_direct() {
            return self.space.alloc(bytes, memory::UNIT, tag);
        }
        let hosted = Hosted::new(&self.space, bytes, tag, || self.device.host_memory(bytes))?;
        let ptr = hosted.ptr();
        self.direct.hosted.lock().insert(ptr, hosted);
        Ok(ptr)
    }

    /// Frees what [`Tenant::alloc`] gave, by the very pointer; errors as for [`memory::Space::free`].
    pub fn free(&self, ptr: u64) -> Result<()> {
        let hosted = self.direct.hosted.lock().remove(&ptr);
        match hosted {
            // Waits for work, so without the lock.
            Some(hosted) => {
                drop(hosted);
                Ok(())
            }
            None => self.space.free(ptr),
        }
    }
}

fn no_direct(id: &str) -> Error {
    Error::new(Status::NotInitialized, format!("tenant {id:?} has no direct memory access"))
        .advise("enableDirectMemoryAccess first")
}
