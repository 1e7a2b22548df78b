//! Memory that is written once and mapped for reading only before and after: whole granules, since access is a property
//! of a mapping. A store into it is a fault (a signal on the CPU, a lost context on a GPU); copies into it are refused.

use crate::device::Access;
use crate::memory::Extent;
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use parking_lot::Mutex;

pub(super) struct Constant {
    extent: Extent,
    written: Mutex<bool>,
}

impl Constant {
    pub(super) fn new(tenant: &Tenant, bytes: u64) -> Result<Constant> {
        let extent = Extent::new(tenant.space(), bytes, "constant partition")?;
        extent.set_access(Access::Read)?;
        Ok(Constant { extent, written: Mutex::new(false) })
    }

    pub(super) fn place(&self) -> (u64, u64) {
        (self.extent.ptr(), self.extent.bytes())
    }

    /// Reads it. Not while it is written, when its addresses are without memory for a moment.
    pub(super) fn read(&self, tenant: &Tenant, data: &mut [u8], at: u64) -> Result<()> {
        let _not_written_meanwhile = self.written.lock();
        tenant.device().read(data, at)
    }

    /// Writes it, the first time. A write that failed does not count.
    pub(super) fn fill(&self, tenant: &Tenant, at: u64, data: &[u8]) -> Result<()> {
        let mut written = self.written.lock();
        if *written {
            return Err(Error::new(
                Status::AlreadyExists,
                "constant memory was written already: it is read-only",
            )
            .advise("destroy the partition and make a new one"));
        }
        self.extent.set_access(Access::ReadWrite)?;
        let filled = tenant.device().write(at, data);
        self.extent.set_access(Access::Read)?;
        filled?;
        *written = true;
        Ok(())
    }
}
