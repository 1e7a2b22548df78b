//! One LLM or many: how a device's processors are cut, and how its gate deals with those that share them.

use super::Driver;
use crate::Result;
use crate::compute::{GRACE, Gate, Layout, Nodes};
use std::time::Duration;

/// With many tenants a gate keeps units longer for one that is owed time: it comes back when it has sampled its tokens, and
/// without that two tenants take turns whatever their weights are.
const PATIENT: Duration = Duration::from_millis(1);

impl Driver {
    /// Cuts the current device's processors into `llms` slices of the same size (1 to 16), and lets its gate keep shares to
    /// their weights also for tenants that pause up to 1 ms between steps. Where there are fewer units than slices, slices
    /// share units. Nodes that are held keep their units until they are given back; tenants that are given none get a
    /// slice's size.
    pub fn optimize_for_many(&self, llms: u32) -> Result<()> {
        self.arrange(Layout::slices(llms)?, PATIENT)
    }

    /// Makes one node of all the current device's processors, and lets its gate never keep a unit idle.
    pub fn optimize_for_one(&self) -> Result<()> {
        self.arrange(Layout::Whole, Duration::ZERO)
    }

    /// Back to how a device begins: one node a unit, and the gate's usual patience of 0.3 ms.
    pub fn optimize_for_any(&self) -> Result<()> {
        self.arrange(Layout::Units, GRACE)
    }

    fn arrange(&self, layout: Layout, grace: Duration) -> Result<()> {
        let (_, device) = self.kernel()?.current_device()?;
        Nodes::of(&device).set_layout(layout)?;
        Gate::of(&device).set_grace(grace);
        Ok(())
    }
}

/// A layout in figures: `units`, `whole`, `slices:4`.
pub(super) fn name(layout: Layout) -> String {
    match layout {
        Layout::Units => "units".into(),
        Layout::Whole => "whole".into(),
        Layout::Slices(n) => format!("slices:{n}"),
    }
}
