//! Memory by pointer: the tenant is found by the address.

use super::Kernel;
use crate::device::Place;
use crate::memory;
use crate::tenant::{self, Tenant};
use crate::{Error, Result, Status};
use std::sync::Arc;

impl Kernel {
    /// Allocates `bytes` of the tenant's memory.
    pub fn alloc(&self, bytes: u64, llm: &str) -> Result<u64> {
        if bytes == 0 {
            return Err(Error::argument("size", "must not be 0"));
        }
        self.tenant(llm)?.alloc(bytes, "allocateMemory")
    }

    /// Frees an allocation of any tenant by its pointer. A partition is destroyed instead.
    pub fn free(&self, ptr: u64) -> Result<()> {
        self.read(|s| match s.partitions.iter().find(|(_, held)| ptr != 0 && held.info.device_ptr == ptr) {
            Some((id, _)) => Err(Error::argument("ptr", format!("{ptr:#x} is memory partition {id}"))
                .advise("destroyMemoryPartition gives it back")),
            None => Ok(()),
        })?;
        let foreign = || {
            Error::new(Status::NotOwner, format!("argument `ptr`: {ptr:#x} lies in no tenant's memory"))
                .advise("it never came from allocateMemory, or its tenant was closed")
        };
        // The space itself tells freed and inner pointers apart.
        let owner = tenant::find(&memory::tenant_of(ptr).ok_or_else(foreign)?).map_err(|_| foreign())?;
        owner.free(ptr)
    }

    /// Lets the host read and write what the tenant allocates from here on without copies; see
    /// [`Tenant::enable_direct`]. The tenant is opened with default limits when there is none.
    pub fn enable_direct(&self, llm: &str) -> Result<()> {
        self.tenant(llm)?.enable_direct()
    }

    /// Ends it; see [`Tenant::disable_direct`]. [`Status::NotFound`] for an id that nobody opened.
    pub fn disable_direct(&self, llm: &str) -> Result<()> {
        self.read(|_| Ok(()))?;
        tenant::find(llm)?.disable_direct()
    }

    /// The host's address of `bytes` bytes at `ptr`, which must lie in one allocation of a tenant whose direct access is
    /// enabled; see [`Tenant::direct_pointer`].
    pub fn direct_pointer(&self, ptr: u64, bytes: u64) -> Result<u64> {
        self.read(|_| Ok(()))?;
        if ptr == 0 {
            return Err(Error::argument("ptr", "is null"));
        }
        let name = memory::tenant_of(ptr).ok_or_else(|| {
            Error::new(Status::NotOwner, format!("argument `ptr`: {ptr:#x} lies in no tenant's memory"))
        })?;
        tenant::find(&name)?.direct_pointer(ptr, bytes)
    }

    /// Copies between host memory and memory of one tenant, in any direction, and waits.
    ///
    /// # Safety
    /// Host ranges must be valid for `bytes` bytes.
    pub unsafe fn copy(&self, dst: u64, src: u64, bytes: u64) -> Result<()> {
        let tenant = self.party(dst, src)?;
        // SAFETY: the caller's promise about host ranges.
        unsafe { tenant.copy(dst, src, bytes, None) }
    }

    /// Queues a copy on a stream that [`Kernel::create_stream`] made; the stream's tenant must be the memory's.
    ///
    /// # Safety
    /// As for [`Kernel::copy`], until the copy has run.
    pub unsafe fn copy_async(&self, dst: u64, src: u64, bytes: u64, stream: u64) -> Result<()> {
        let (tenant, stream) = self.stream(stream)?;
        // SAFETY: the caller's promise about host ranges.
        unsafe { tenant.copy(dst, src, bytes, Some(&*stream)) }
    }

    /// The tenant on whose behalf a copy runs: the owner of either end.
    fn party(&self, dst: u64, src: u64) -> Result<Arc<Tenant>> {
        let (_, device) = self.current_device()?;
        for (argument, address) in [("dst", dst), ("src", src)] {
            if address == 0 {
                return Err(Error::argument(argument, "is null"));
            }
            if let Some(tenant) = owner(argument, address)? {
                return Ok(tenant);
            }
            if device.place(address) == Place::Device {
                return Err(Error::new(
                    Status::NotOwner,
                    format!("argument `{argument}`: {address:#x} is device memory that no tenant holds"),
                ));
            }
        }
        Err(Error::argument("dst", "neither end of the copy is memory of a tenant")
            .advise("use memcpy for copies within the program's own memory"))
    }
}

fn owner(argument: &str, address: u64) -> Result<Option<Arc<Tenant>>> {
    match memory::owner_of(address) {
        None => Ok(None),
        Some((_, name, _)) => {
            tenant::find(&name).map(Some).map_err(|e| e.within(format!("argument `{argument}`")))
        }
    }
}
