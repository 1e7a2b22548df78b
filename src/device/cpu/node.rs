//! Compute nodes: sets of cores.

use super::super::{Node, Stream};
use super::stream::{CpuStream, Queue};
use super::team::Team;
use super::topology::Topology;
use crate::device::fork;
use crate::{Error, Result};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use std::any::Any;
use std::sync::{Arc, Weak};

/// A set of cores with the threads that work on them. The threads start with the first use and end with the node.
pub struct CpuNode {
    units: Vec<u32>,
    cpus: Vec<u32>,
    team: OnceCell<Team>,
    queues: Arc<Mutex<Vec<Weak<Queue>>>>,
    this: Weak<CpuNode>,
    born: u32,
}

impl CpuNode {
    pub(super) fn new(
        topology: &Topology,
        units: &[u32],
        queues: Arc<Mutex<Vec<Weak<Queue>>>>,
    ) -> Result<Arc<CpuNode>> {
        let mut sorted = units.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.is_empty() {
            return Err(Error::argument("units", "is empty"));
        }
        if sorted.len() != units.len() {
            return Err(Error::argument("units", "names a unit twice"));
        }
        let mut cpus = Vec::new();
        for &unit in &sorted {
            let core = topology.cores.get(unit as usize).ok_or_else(|| {
                let there = topology.cores.len();
                Error::argument("units", format!("there is no unit {unit}, the device has {there}"))
            })?;
            cpus.extend(&core.cpus);
        }
        let born = fork::generation();
        Ok(Arc::new_cyclic(|this| CpuNode {
            units: sorted,
            cpus,
            team: OnceCell::new(),
            queues,
            this: this.clone(),
            born,
        }))
    }

    /// The operating system's numbers of the hardware threads that the node may use.
    pub fn cpus(&self) -> &[u32] {
        &self.cpus
    }

    /// The node's fork-join team: one worker a core. Its threads start here, on the first call.
    pub fn team(&self) -> &Team {
        self.team.get_or_init(|| Team::new(self.units.len(), &self.cpus))
    }
}

impl Node for CpuNode {
    fn units(&self) -> &[u32] {
        &self.units
    }

    fn processors(&self) -> u32 {
        self.units.len() as u32
    }

    fn stream_create(&self, priority: i32) -> Result<Arc<dyn Stream>> {
        fork::check(self.born, "compute node")?;
        let node = self.this.upgrade().ok_or_else(|| Error::argument("node", "is being dropped"))?;
        Ok(Arc::new(CpuStream::new(node, priority, &self.queues)?))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
