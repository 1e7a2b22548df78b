//! Memory that other processes can map: whole granules, handed over by file descriptor.

use crate::Result;
use crate::memory::Extent;
use crate::tenant::Tenant;
use std::os::fd::{BorrowedFd, OwnedFd};

pub(super) struct Shared(Extent);

impl Shared {
    pub(super) fn new(tenant: &Tenant, bytes: u64) -> Result<Shared> {
        Ok(Shared(Extent::new(tenant.space(), bytes, "shared partition")?))
    }

    pub(super) fn import(tenant: &Tenant, fd: BorrowedFd<'_>, bytes: u64) -> Result<Shared> {
        Ok(Shared(Extent::import(tenant.space(), fd, bytes, "imported partition")?))
    }

    pub(super) fn place(&self) -> (u64, u64) {
        (self.0.ptr(), self.0.bytes())
    }

    pub(super) fn export(&self) -> Result<OwnedFd> {
        self.0.export()
    }
}
