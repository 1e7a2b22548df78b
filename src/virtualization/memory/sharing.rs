//! Memory that other processes map, and memory of theirs.

use super::{MemoryManager, work};
use crate::device::Access;
use crate::memory::{Export, Import, Lease};
use crate::{Error, Result};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

impl MemoryManager {
    /// Allocates at least `bytes` as whole pages that can be exported. Freed like all memory, once no lease is out.
    pub fn alloc_exportable(&self, id: i32, bytes: u64) -> Result<u64> {
        if bytes == 0 {
            return Err(Error::argument("size", "must not be 0"));
        }
        self.space_of(id)?.tenant().space().alloc_exportable(bytes, work::TAG)
    }

    fn export_of(&self, id: i32, ptr: u64) -> Result<Export> {
        Export::new(self.space_of(id)?.tenant().space(), ptr)
    }

    /// A lease for one importer, as a descriptor to hand over; see [`Export::lease`].
    pub fn export(&self, id: i32, ptr: u64, access: Access) -> Result<OwnedFd> {
        self.export_of(id, ptr)?.lease(access)
    }

    /// The leases of an exportable allocation that are out.
    pub fn leases(&self, id: i32, ptr: u64) -> Result<Vec<Lease>> {
        Ok(self.export_of(id, ptr)?.leases())
    }

    /// Asks all importers to unmap, and gives no more leases; then waits for at most `longest` until none is out. How many still
    /// are: they stay charged, and cannot be freed, until their importers have unmapped or ended.
    pub fn revoke(&self, id: i32, ptr: u64, longest: Duration) -> Result<usize> {
        let export = self.export_of(id, ptr)?;
        export.revoke();
        match export.wait(longest) {
            Err(e) if e.status() != crate::Status::Timeout => Err(e),
            _ => Ok(export.leases().len()),
        }
    }

    /// Maps what a lease offers into the space; its first address and its bytes. The descriptor is consumed. It is charged to
    /// its owner, not here. Unmapped by [`MemoryManager::release_import`], or when the memory space ends.
    pub fn import(&self, id: i32, lease: OwnedFd, longest: Duration) -> Result<(u64, u64)> {
        let gpu = self.space_of(id)?;
        let import = Import::new(gpu.tenant().space(), lease, "imported memory", longest)?;
        let found = (import.ptr(), import.bytes());
        gpu.imports().lock().insert(found.0, Arc::new(import));
        Ok(found)
    }

    /// Whether the exporter asks for what was imported at `ptr` back, or is gone; waits for that for at most `longest`.
    pub fn is_revoked(&self, id: i32, ptr: u64, longest: Duration) -> Result<bool> {
        let gpu = self.space_of(id)?;
        let import = gpu.imports().lock().get(&ptr).cloned().ok_or_else(|| no_import(id, ptr))?;
        Ok(import.is_revoked() || (!longest.is_zero() && import.wait_revoked(longest)?))
    }

    /// Unmaps what was imported at `ptr` once work in flight has passed, and tells the exporter.
    pub fn release_import(&self, id: i32, ptr: u64) -> Result<()> {
        let gpu = self.space_of(id)?;
        let import = gpu.imports().lock().remove(&ptr).ok_or_else(|| no_import(id, ptr))?;
        // Waits for work: without the lock.
        drop(import);
        Ok(())
    }
}

fn no_import(id: i32, ptr: u64) -> Error {
    Error::argument("ptr", format!("{ptr:#x} is not what virtual GPU {id} has imported"))
        .advise("pass the address that the import returned")
}
