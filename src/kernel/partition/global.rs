//! Device memory of the tenant's pool.

use crate::Result;
use crate::memory::Kept;
use crate::tenant::Tenant;

pub(super) struct Global {
    block: Kept,
    bytes: u64,
}

impl Global {
    pub(super) fn new(tenant: &Tenant, bytes: u64) -> Result<Global> {
        Ok(Global { block: tenant.space().block(bytes, 256, "partition")?, bytes })
    }

    pub(super) fn place(&self) -> (u64, u64) {
        (self.block.ptr(), self.bytes)
    }
}
