//! Compute of tenants: nodes made of processors, and the gate that orders work where nodes overlap.

use crate::Result;
use crate::device::{Device, Node};
use std::sync::Arc;
use std::time::Duration;

/// One node of a device's ladder, or a node made for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Identifier, unique on the device.
    pub id: u32,
    /// Units it is made of (indices into [`Device::units`]).
    pub units: Vec<u32>,
    /// Cores or SMs.
    pub processors: u32,
    /// The tenant that holds it, if any.
    pub owner: Option<String>,
    /// Made by [`Nodes::create`] for one tenant, rather than a rung of the ladder.
    pub virtual_node: bool,
    /// Last time work was admitted on it, if ever.
    pub last_used: Option<std::time::SystemTime>,
}

/// The nodes of one device: the ladder (one node per unit) and those made for tenants.
pub struct Nodes {}

impl Nodes {
    /// The nodes of a device; one table per device and process.
    pub fn of(device: &Arc<dyn Device>) -> Arc<Nodes> {
        let _ = device;
        unimplemented!()
    }
    /// All nodes, ladder first, by id.
    pub fn list(&self) -> Vec<NodeInfo> {
        unimplemented!()
    }
    /// Gives a free ladder node to `owner` for itself.
    pub fn allocate(&self, id: u32, owner: &str) -> Result<Arc<dyn Node>> {
        let _ = (id, owner);
        unimplemented!()
    }
    /// Makes a node of at least `processors` cores or SMs for `owner` out of the units that the fewest others use.
    /// Units are shared with other tenants only when too few are free; then the gate orders them.
    pub fn create(&self, owner: &str, processors: u32) -> Result<(NodeInfo, Arc<dyn Node>)> {
        let _ = (owner, processors);
        unimplemented!()
    }
    /// Gives a node back; `owner` must hold it.
    pub fn release(&self, id: u32, owner: &str) -> Result<()> {
        let _ = (id, owner);
        unimplemented!()
    }
}

/// A tenant's standing at the gate: its weight and priority, and what it has used.
pub struct Share {}

impl Share {
    /// A standing. `weight` > 0 (1 is normal), `priority` 0 (critical) to 4 (background).
    pub fn new(name: &str, weight: f64, priority: u8) -> Result<Arc<Share>> {
        let _ = (name, weight, priority);
        unimplemented!()
    }
    /// Changes the weight from now on.
    pub fn set_weight(&self, weight: f64) -> Result<()> {
        let _ = weight;
        unimplemented!()
    }
    /// Changes the priority from now on.
    pub fn set_priority(&self, priority: u8) -> Result<()> {
        let _ = priority;
        unimplemented!()
    }
    /// Device time used so far.
    pub fn used(&self) -> Duration {
        unimplemented!()
    }
    /// Time spent waiting at the gate so far.
    pub fn waited(&self) -> Duration {
        unimplemented!()
    }
}

/// Admits work on a device: at any moment a unit runs work of one tenant only; among those that wait for a unit the
/// more urgent priority goes first, then the least virtual time (used device time over weight). Work-conserving: who
/// is alone never waits.
pub struct Gate {}

impl Gate {
    /// The gate of a device; one per device and process.
    pub fn of(device: &Arc<dyn Device>) -> Arc<Gate> {
        let _ = device;
        unimplemented!()
    }
    /// Waits until work of `share` may run on `units`. `cancelled` is polled while waiting and ends the wait with
    /// [`crate::Status::Cancelled`].
    pub fn enter(
        self: &Arc<Self>,
        share: &Arc<Share>,
        units: &[u32],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Permit> {
        let _ = (share, units, cancelled);
        unimplemented!()
    }
}

/// Leave to run. Dropping it opens the gate for the next; call [`Permit::finish`] to charge measured device time
/// (dropping without it charges the wall time since admission).
pub struct Permit {}

impl Permit {
    /// Charges `device` time and leaves.
    pub fn finish(self, device: Duration) {
        let _ = device;
        unimplemented!()
    }
}
