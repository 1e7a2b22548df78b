//! What the bridge tells of compute nodes.

use super::Bridge;
use super::config::Map;
use crate::Result;
use crate::compute::Nodes;
use std::time::UNIX_EPOCH;

impl Bridge {
    /// What is known of one compute node of the current device, as text; the keys are those of `cw_bridge_node_info`.
    pub fn node_info(&self, id: u32) -> Result<Map> {
        self.read(|_| Ok(()))?;
        let device = self.device()?;
        let node = Nodes::of(&device).get(id)?;
        let info = device.info()?;
        let units: Vec<String> = node.units.iter().map(u32::to_string).collect();
        let used = node.last_used.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let pairs = [
            ("id", node.id.to_string()),
            ("type", node.kind.name().to_owned()),
            ("processors", node.processors.to_string()),
            ("units", units.join(",")),
            ("memory_bytes", node.memory.to_string()),
            ("memory_used_bytes", node.memory_used.to_string()),
            ("compute_capability", (info.compute_major * 10 + info.compute_minor).to_string()),
            ("is_allocated", node.owner.is_some().to_string()),
            ("is_active", node.active.to_string()),
            ("is_virtual", node.virtual_node.to_string()),
            ("owner", node.owner.unwrap_or_default()),
            ("last_used_us", used.map_or(0, |d| d.as_micros()).to_string()),
            ("detail", node.detail),
        ];
        Ok(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }
}
