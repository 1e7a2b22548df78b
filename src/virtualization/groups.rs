//! Groups of a device's units, and the device and the group into which a compute unit is put.

use super::config::{UnitConfig, device_at};
use super::info::UnitInfo;
use super::table::{self, VirtualGpu};
use crate::compute::Nodes;
use crate::compute::balance::{Balancing, Chooser, Load};
use crate::device::{Device, DeviceKind};
use crate::tenant::{self, Tenant};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The shortest window over which what is asked of groups is measured.
pub const WINDOW: Duration = Duration::from_millis(100);

/// Parts of a GPU where the hardware's groups are asked for: a quarter each, as a tenant gets that asks for no size.
const GPU_GROUPS: u32 = 4;

/// A group of a device's units at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupInfo {
    /// Its units, indices into [`Device::units`].
    pub units: Vec<u32>,
    /// Cores or SMs of these.
    pub processors: u32,
    /// The virtual GPUs whose compute unit is kept in it.
    pub members: Vec<i32>,
    /// Part of the last second in which its processors were used by tenants, 0 to 1.
    pub busy: f64,
}

/// Whose turn it is: among devices (`None`), and among the groups of each.
#[derive(Default)]
pub(super) struct Turns(BTreeMap<Option<(u8, u32)>, Chooser>);

impl Turns {
    fn choose(&mut self, of: Option<&dyn Device>, by: Balancing, places: &[Load]) -> Result<usize> {
        let key = of.map(|d| (d.kind() as u8, d.ordinal()));
        self.0.entry(key).or_insert_with(|| Chooser::new(by)).choose(places)
    }

    /// The device for a unit that may be on any of these (indices).
    pub(super) fn device(&mut self, by: Balancing, indices: &[i32]) -> Result<Arc<dyn Device>> {
        let mut all = indices.iter().map(|&i| device_at(i)).collect::<Result<Vec<_>>>()?;
        let whole =
            |d: &Arc<dyn Device>| load(&**d, &d.units().iter().map(|u| u.index).collect::<Vec<_>>(), None);
        let at = self.choose(None, by, &all.iter().map(whole).collect::<Vec<_>>())?;
        Ok(all.swap_remove(at))
    }

    /// Puts a unit that is about to be made into a group of its device. One that asks for the whole device, or for more than
    /// each group has, is left where it is; and one whose tenant was given nodes of the device by hand.
    pub(super) fn put(
        &mut self,
        gpu: &VirtualGpu,
        asked: &UnitConfig,
        by: Balancing,
        groups: u32,
    ) -> Result<()> {
        let tenant = gpu.tenant();
        let device = &**tenant.device();
        let all = cut(device, groups)?;
        let fits = |g: &&Vec<u32>| asked.processors > 0 && processors(device, g) >= asked.processors;
        let large: Vec<_> = all.iter().filter(fits).collect();
        if groups == 1 || large.is_empty() || is_by_hand(tenant) {
            return Ok(());
        }
        let loads: Vec<Load> = large.iter().map(|g| load(device, g, Some(tenant))).collect();
        let at = self.choose(Some(device), by, &loads)?;
        tenant.scale_within(asked.processors, Some(large[at])).map(drop)
    }
}

/// The groups of a device's units (each a list of indices into [`Device::units`]), disjoint and together all of them: `count`
/// of nearly the same size side by side; for 0 those of the hardware, which are on the host its NUMA nodes, where it has one
/// of these its last-level caches, where it has one of these too its cores; on a GPU four parts of its groups of SMs.
///
/// Errors: more than the device has units.
pub fn cut(device: &dyn Device, count: u32) -> Result<Vec<Vec<u32>>> {
    let units = device.units();
    let n = units.len() as u32;
    if count > n {
        return Err(Error::argument(
            "unitGroups",
            format!("{count} asked for, {}:{} has {n} units", device.kind(), device.ordinal()),
        ));
    }
    if count == 0 && device.kind() == DeviceKind::Cpu {
        let mut by_node: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for unit in units {
            by_node.entry(unit.numa_node).or_default().push(unit.index);
        }
        if by_node.len() > 1 {
            return Ok(by_node.into_values().collect());
        }
        let caches: Vec<Vec<u32>> = device.cache_parts().into_iter().map(|part| part.units).collect();
        let mut covered = caches.concat();
        covered.sort_unstable();
        // Where the system tells of caches for some cores only, they are no way to cut.
        if caches.len() > 1 && covered.iter().copied().eq(0..n) {
            return Ok(caches);
        }
    }
    let count = match (count, device.kind()) {
        (0, DeviceKind::Cpu) => n,
        (0, _) => GPU_GROUPS.min(n),
        _ => count,
    };
    Ok((0..count).map(|i| (i * n / count..(i + 1) * n / count).collect()).collect())
}

/// Cores or SMs of these units.
pub(super) fn processors(device: &dyn Device, units: &[u32]) -> u32 {
    device.units().iter().filter(|u| units.contains(&u.index)).map(|u| u.processors).sum()
}

/// The tenants of a device with the units on which each runs; those that run on none yet are left out.
pub(super) fn tenants(device: &dyn Device) -> Vec<(Arc<Tenant>, Vec<u32>)> {
    let here =
        |t: &Arc<Tenant>| (t.device().kind(), t.device().ordinal()) == (device.kind(), device.ordinal());
    let units = |t: Arc<Tenant>| {
        let nodes = Nodes::of(t.device()).held_by(t.id());
        let mut units: Vec<u32> =
            nodes.into_iter().filter(|n| n.kind.is_processors()).flat_map(|n| n.units).collect();
        units.sort_unstable();
        units.dedup();
        (t, units)
    };
    tenant::list().into_iter().filter(here).map(units).filter(|(_, units)| !units.is_empty()).collect()
}

/// The virtual GPU with a compute unit that this tenant is.
pub(super) fn unit_of(tenant: &Arc<Tenant>) -> Option<Arc<VirtualGpu>> {
    table::list().into_iter().find(|g| Arc::ptr_eq(g.tenant(), tenant) && g.parts().unit.is_some())
}

/// Whether it holds nodes of the device's own, which somebody took for it.
pub(super) fn is_by_hand(tenant: &Tenant) -> bool {
    let held = Nodes::of(tenant.device()).held_by(tenant.id());
    held.iter().any(|n| n.kind.is_processors() && !n.virtual_node)
}

/// The part of these units that lies in a group, 0 to 1.
pub(super) fn overlap(units: &[u32], group: &[u32]) -> f64 {
    units.iter().filter(|u| group.contains(u)).count() as f64 / units.len().max(1) as f64
}

/// What is asked of these units by tenants other than `except`.
fn load(device: &dyn Device, units: &[u32], except: Option<&Arc<Tenant>>) -> Load {
    let mut sum = Load { processors: processors(device, units), ..Load::default() };
    let (mut time, mut launches, mut busy) = (Duration::ZERO, 0, 0.0);
    for (tenant, own) in tenants(device) {
        let part = overlap(&own, units);
        if part == 0.0 || except.is_some_and(|e| Arc::ptr_eq(e, &tenant)) {
            continue;
        }
        busy += tenant.share().utilization().second * f64::from(processors(device, &own)) * part;
        sum.shares += tenant.share().weight() * part;
        // Ended meanwhile: then it asks for nothing.
        if let Some(info) = unit_of(&tenant).and_then(|g| UnitInfo::of(&g).ok()) {
            sum.pending += info.work.pending + u64::from(info.busy_streams);
            launches += info.work.launches;
            time += info.device_time;
        }
    }
    sum.mean = time.checked_div(launches.min(u64::from(u32::MAX)) as u32).unwrap_or_default();
    sum.busy = (busy / f64::from(sum.processors.max(1))).min(1.0);
    sum
}

/// The groups of a device with who is in them.
pub(super) fn list(device: &dyn Device, count: u32) -> Result<Vec<GroupInfo>> {
    let tenants = tenants(device);
    let group = |units: Vec<u32>| {
        let inside = tenants.iter().filter(|(_, own)| overlap(own, &units) == 1.0);
        let mut members: Vec<i32> = inside.filter_map(|(t, _)| Some(unit_of(t)?.id())).collect();
        members.sort_unstable();
        let Load { processors, busy, .. } = load(device, &units, None);
        GroupInfo { units, processors, members, busy }
    };
    Ok(cut(device, count)?.into_iter().map(group).collect())
}
