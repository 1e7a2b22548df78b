//! One LLM or many: how a device's processors are cut, and how its gate deals with those that share them.

use super::Driver;
use crate::compute::{GRACE, Gate, Layout, Nodes};
use crate::{Error, Result};
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

    /// What is in force: `any`, `1`, or the number of slices.
    pub(super) fn arrangement(&self) -> Result<String> {
        let (_, device) = self.kernel()?.current_device()?;
        Ok(match Nodes::of(&device).layout() {
            Layout::Units => "any".into(),
            Layout::Whole => "1".into(),
            Layout::Slices(n) => n.to_string(),
        })
    }

    pub(super) fn set_arrangement(&self, llms: Option<u32>) -> Result<()> {
        match llms {
            None => self.optimize_for_any(),
            Some(1) => self.optimize_for_one(),
            Some(n) => self.optimize_for_many(n),
        }
    }

    fn arrange(&self, layout: Layout, grace: Duration) -> Result<()> {
        let (_, device) = self.kernel()?.current_device()?;
        Nodes::of(&device).set_layout(layout)?;
        Gate::of(&device).set_grace(grace);
        Ok(())
    }
}

/// `any`, or a number of LLMs.
pub(super) fn parse(text: &str) -> Result<Option<u32>> {
    match text.parse::<u32>() {
        _ if text == "any" => Ok(None),
        Ok(1) => Ok(Some(1)),
        Ok(n) => Layout::slices(n).map(|_| Some(n)),
        Err(_) => Err(Error::argument("multiple_llms", format!("{text:?} is not any or a number of LLMs"))),
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
