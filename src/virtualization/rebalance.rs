//! Moving compute units from groups of a device of which much is asked to groups of which little is.

use super::ComputeManager;
use super::config::device_at;
use super::groups::{self, GroupInfo, Turns, WINDOW, cut, is_by_hand, overlap, processors, unit_of};
use super::monitor::Ticker;
use super::table::{Claim, VirtualGpu};
use crate::compute::balance::{self, Member};
use crate::device::Device;
use crate::telemetry::log::{self, Level};
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A compute unit that went to another group of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The virtual GPU.
    pub id: i32,
    /// The group where it was.
    pub from: u32,
    /// The group where it is.
    pub to: u32,
}

/// What a tenant had asked for in all when somebody looked: time in which its work ran or waited for processors.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    asked: Duration,
}

impl Look {
    fn at(tenant: &Tenant) -> Look {
        Look { at: Instant::now(), asked: tenant.share().used() + tenant.share().waited() }
    }
}

/// The latest looks at tenants, by id, and when they were all looked at.
struct Looks {
    all_at: Option<Instant>,
    of: BTreeMap<String, Look>,
}

/// What placing and moving remembers.
pub(super) struct Balance {
    turns: Mutex<Option<Turns>>,
    /// Held while units are moved: one at a time moves them.
    looks: Mutex<Looks>,
    ticker: Mutex<Option<Ticker>>,
}

impl Balance {
    pub(super) const fn new() -> Balance {
        Balance {
            turns: Mutex::new(None),
            looks: Mutex::new(Looks { all_at: None, of: BTreeMap::new() }),
            ticker: Mutex::new(None),
        }
    }

    /// Calls `rebalance` at this interval, unless somebody does already.
    pub(super) fn start(&self, interval: Option<Duration>) -> Result<()> {
        let mut ticker = self.ticker.lock();
        if let (Some(interval), None) = (interval, &*ticker) {
            let work = || {
                if let Err(e) = ComputeManager::global().rebalance()
                    && e.status() != Status::NotInitialized
                {
                    log::emit(Level::Warn, "virtualization", format_args!("rebalancing: {e}"));
                }
            };
            *ticker = Some(Ticker::start("cw-rebalance", "rebalanceIntervalMs", interval, false, work)?);
        }
        Ok(())
    }

    /// Ends these calls, a running one waited for, and forgets.
    pub(super) fn stop(&self) {
        let ticker = self.ticker.lock().take();
        drop(ticker);
        *self.turns.lock() = None;
        *self.looks.lock() = Looks { all_at: None, of: BTreeMap::new() };
    }

    /// What `choose` does with whose turn it is.
    pub(super) fn in_turn<T>(&self, choose: impl FnOnce(&mut Turns) -> Result<T>) -> Result<T> {
        choose(self.turns.lock().get_or_insert_default())
    }

    /// From now on it is looked at.
    pub(super) fn note(&self, tenant: &Tenant) {
        self.looks.lock().of.insert(tenant.id().to_owned(), Look::at(tenant));
    }
}

/// How much of its processors' time a tenant asked for since it was looked at last, 0 to 1; of one that is looked at for the
/// first time what it got in the last second.
fn asked(tenant: &Tenant, now: Look, before: Option<&Look>) -> f64 {
    let part = match before {
        // Less than before: another tenant of the same name.
        Some(b) if now.asked >= b.asked => {
            (now.asked - b.asked).as_secs_f64() / (now.at - b.at).as_secs_f64()
        }
        _ => tenant.share().utilization().second,
    };
    // Waiting for more than its cap gives is not its group's fault.
    part.min(tenant.share().cap().map_or(1.0, f64::from))
}

impl ComputeManager {
    /// Moves compute units between the groups of each device while what is asked of these, as measured since the last call
    /// (work that ran, and work that waited for processors), lies further apart than the configured threshold. What is on the
    /// device ends where it is, what comes after runs on the new processors, in order. Units stay on their device, where their
    /// memory is. Nothing is moved within 100 ms of the last call: that is too short to tell.
    ///
    /// Errors: [`Status::Unsupported`] when the configuration has one group, or forbids scaling. A unit that cannot be moved is
    /// told in the log and stays.
    pub fn rebalance(&self) -> Result<Vec<Moved>> {
        let started = self.switch.get()?;
        let config = &started.config;
        if config.groups == 1 {
            return Err(Error::unsupported("unitGroups is 1: there is no other group to move units to")
                .advise("initialize the compute virtualization manager with several groups"));
        }
        if !config.scaling {
            return Err(Error::unsupported("enableDynamicScaling is off")
                .advise("initialize the compute virtualization manager with it on"));
        }
        let mut looks = self.balance.looks.lock();
        if looks.all_at.is_some_and(|at| at.elapsed() < WINDOW) {
            return Ok(Vec::new());
        }
        let (mut after, mut moved) = (BTreeMap::new(), Vec::new());
        for device in self.devices(config.device, &config.devices)? {
            let groups = cut(&*device, config.groups)?;
            let sizes: Vec<u32> = groups.iter().map(|g| processors(&*device, g)).collect();
            let least = sizes.iter().copied().min().unwrap_or(0);
            let mut members = Vec::new();
            for (tenant, own) in groups::tenants(&*device) {
                let now = Look::at(&tenant);
                // One that is too young for a window keeps its first look.
                let before = looks.of.get(tenant.id());
                let young = before.filter(|b| now.at - b.at < WINDOW);
                let busy = asked(&tenant, now, before.filter(|_| young.is_none()));
                let demand = busy * f64::from(processors(&*device, &own));
                let unit = unit_of(&tenant);
                let size = unit.as_ref().and_then(|g| Some(g.parts().unit?.asked.lock().processors));
                for (place, group) in groups.iter().enumerate() {
                    let part = overlap(&own, group);
                    let movable =
                        part == 1.0 && size.is_some_and(|s| s > 0 && s <= least) && !is_by_hand(&tenant);
                    let id = unit.as_ref().map_or(-1, |g| i64::from(g.id()));
                    members.push(Member { id, place, demand: demand * part, movable });
                }
                after.insert(tenant.id().to_owned(), young.copied().unwrap_or(now));
            }
            for step in balance::rebalance(&sizes, &members, config.threshold) {
                let id = step.id as i32;
                match move_unit(id, &groups[step.to]) {
                    Ok(()) => moved.push(Moved { id, from: step.from as u32, to: step.to as u32 }),
                    Err(e) => log::emit(
                        Level::Warn,
                        "virtualization",
                        format_args!("virtual GPU {id} stays in group {}: {e}", step.from),
                    ),
                }
            }
        }
        *looks = Looks { all_at: Some(Instant::now()), of: after };
        Ok(moved)
    }

    /// The groups of a device (its index in [`crate::device::list`]) with the compute units in each.
    pub fn groups(&self, device: i32) -> Result<Vec<GroupInfo>> {
        let started = self.switch.get()?;
        groups::list(&*device_at(device)?, started.config.groups)
    }

    /// The group of its device in which a compute unit is kept; `None` for one that runs on units of several.
    pub fn group(&self, id: i32) -> Result<Option<u32>> {
        let gpu = self.find(id)?;
        gpu.unit()?;
        let all = groups::list(&**gpu.tenant().device(), self.switch.get()?.config.groups)?;
        Ok(all.iter().position(|g| g.members.contains(&id)).map(|at| at as u32))
    }

    fn devices(&self, own: i32, others: &[i32]) -> Result<Vec<Arc<dyn Device>>> {
        let own = [own].into_iter().filter(|i| !others.contains(i));
        own.chain(others.iter().copied()).map(device_at).collect()
    }
}

/// Moves a unit's streams to units of this group, between two launches.
fn move_unit(id: i32, group: &[u32]) -> Result<()> {
    let _claim = Claim::of(id);
    let gpu = super::table::find(id)?;
    let unit = gpu.unit()?;
    let asked = unit.asked.lock();
    gpu.tenant().scale_within(asked.processors, Some(group))?;
    unit.lanes.iter().try_for_each(|lane| lane.queue(gpu.tenant()).map(drop))
}

/// Puts a unit that is about to be made into a group, where the manager keeps units in groups.
pub(super) fn put(gpu: &VirtualGpu, asked: &super::UnitConfig) -> Result<()> {
    let manager = ComputeManager::global();
    let Ok(started) = manager.switch.get() else { return Ok(()) };
    let config = &started.config;
    if config.groups != 1 {
        manager.balance.in_turn(|t| t.put(gpu, asked, config.balancing, config.groups))?;
        manager.balance.note(gpu.tenant());
    }
    Ok(())
}
