//! Tenants: an account on a device, with its memory, its node, its streams and its share. An LLM (string id) and a
//! virtual GPU (integer id) are both tenants.

use crate::Result;
use crate::compute::Share;
use crate::device::{Device, Node, Stream};
use crate::memory::{Account, Space};
use crate::ops::Ops;
use std::sync::Arc;

/// What a tenant asks for.
#[derive(Clone, Debug)]
pub struct TenantConfig {
    /// The most bytes it may hold.
    pub memory_limit: u64,
    /// Bytes set aside for it.
    pub memory_floor: u64,
    /// Cores or SMs of its own node, 0 for the default (an equal part for four tenants).
    pub processors: u32,
    /// Weight at the gate; 1 is normal.
    pub weight: f64,
    /// 0 (critical) to 4 (background); 2 is normal.
    pub priority: u8,
}

/// An account on a device. Usable from any thread.
pub struct Tenant {}

impl Tenant {
    /// The tenant's id.
    pub fn id(&self) -> &str {
        unimplemented!()
    }
    /// The device it lives on.
    pub fn device(&self) -> &Arc<dyn Device> {
        unimplemented!()
    }
    /// Its account.
    pub fn account(&self) -> &Arc<Account> {
        unimplemented!()
    }
    /// Its space.
    pub fn space(&self) -> &Arc<Space> {
        unimplemented!()
    }
    /// Its standing at the gate.
    pub fn share(&self) -> &Arc<Share> {
        unimplemented!()
    }
    /// Its node; made on first use when none was allocated.
    pub fn node(&self) -> Result<Arc<dyn Node>> {
        unimplemented!()
    }
    /// A new stream on its node.
    pub fn stream(&self) -> Result<Arc<dyn Stream>> {
        unimplemented!()
    }
    /// Tensor operations on a new stream of its node.
    pub fn ops(&self) -> Result<Arc<dyn Ops>> {
        unimplemented!()
    }
}
