//! Which tenant has which processors.

use super::gate::Gate;
use crate::device::{Device, Node, PerDevice};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

/// One node of a device's ladder, or a node made for one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Identifier, unique on the device. The ladder's ids are those of its units.
    pub id: u32,
    /// Units it is made of (indices into [`Device::units`]), ascending.
    pub units: Vec<u32>,
    /// Cores or SMs.
    pub processors: u32,
    /// The tenant that holds it, if any.
    pub owner: Option<String>,
    /// Made by [`Nodes::create`] for one tenant, rather than a rung of the ladder.
    pub virtual_node: bool,
    /// Last time work was admitted on any of its units, if ever.
    pub last_used: Option<SystemTime>,
}

/// The nodes of one device: the ladder (one node per unit) and those made for tenants. Usable from any thread.
pub struct Nodes {
    device: Weak<dyn Device>,
    table: Mutex<Table>,
}

struct Table {
    nodes: BTreeMap<u32, Entry>,
    next_id: u32,
}

struct Entry {
    units: Vec<u32>,
    processors: u32,
    virtual_node: bool,
    held: Option<(String, Arc<dyn Node>)>,
}

static TABLES: PerDevice<Nodes> = PerDevice::new();

impl Nodes {
    /// The nodes of a device; one table per device and process.
    pub fn of(device: &Arc<dyn Device>) -> Arc<Nodes> {
        TABLES.get(device, || {
            let ladder = device.units().iter().map(|u| {
                let entry =
                    Entry { units: vec![u.index], processors: u.processors, virtual_node: false, held: None };
                (u.index, entry)
            });
            let nodes: BTreeMap<_, _> = ladder.collect();
            let next_id = nodes.len() as u32;
            Nodes { device: Arc::downgrade(device), table: Mutex::new(Table { nodes, next_id }) }
        })
    }

    /// All nodes, ladder first, by id.
    pub fn list(&self) -> Vec<NodeInfo> {
        let gate = self.device.upgrade().map(|d| Gate::of(&d));
        let table = self.table.lock();
        table.nodes.iter().map(|(&id, entry)| entry.info(id, gate.as_deref())).collect()
    }

    /// The node with this id.
    pub fn get(&self, id: u32) -> Result<NodeInfo> {
        self.list().into_iter().find(|n| n.id == id).ok_or_else(|| no_node(id))
    }

    /// Gives a free ladder node to `owner` for itself. Asking again for what `owner` holds already succeeds.
    pub fn allocate(&self, id: u32, owner: &str) -> Result<Arc<dyn Node>> {
        let device = self.device()?;
        let mut table = self.table.lock();
        let entry = table.nodes.get_mut(&id).ok_or_else(|| no_node(id))?;
        match &entry.held {
            Some((holder, node)) if holder == owner => return Ok(node.clone()),
            Some((holder, _)) => {
                return Err(Error::new(
                    Status::Busy,
                    format!("compute node {id} is held by tenant {holder:?}"),
                )
                .advise("take another node of getAvailableComputeNodes, or make a virtual one"));
            }
            None => {}
        }
        let node = device.node_create(&entry.units)?;
        entry.held = Some((owner.to_owned(), node.clone()));
        Ok(node)
    }

    /// Makes a node of at least `processors` cores or SMs for `owner` out of the units that the fewest others use.
    /// Units are shared with other tenants only when too few are free; then the gate orders them.
    pub fn create(&self, owner: &str, processors: u32) -> Result<(NodeInfo, Arc<dyn Node>)> {
        self.create_instead(owner, processors, None)
    }

    /// Like [`Nodes::create`], as if `old` (which `owner` must hold) were free; gives it back when that succeeds.
    pub fn create_instead(
        &self,
        owner: &str,
        processors: u32,
        old: Option<u32>,
    ) -> Result<(NodeInfo, Arc<dyn Node>)> {
        let device = self.device()?;
        if processors == 0 {
            return Err(Error::argument("processors", "must be at least 1"));
        }
        let mut table = self.table.lock();
        let others = |id: &u32, e: &Entry| e.held.is_some() && Some(*id) != old;
        let users =
            |unit: u32| table.nodes.iter().filter(|(id, e)| others(id, e) && e.units.contains(&unit)).count();
        let mut ranked: Vec<_> =
            device.units().iter().map(|u| (users(u.index), u.index, u.processors)).collect();
        ranked.sort_unstable();
        let mut units = Vec::new();
        let mut have = 0;
        for (_, unit, size) in ranked {
            if have >= processors {
                break;
            }
            units.push(unit);
            have += size;
        }
        if have < processors {
            return Err(Error::argument(
                "processors",
                format!("{processors} asked for, the device has {have}"),
            ));
        }
        units.sort_unstable();
        let node = device.node_create(&units)?;
        let id = table.next_id;
        table.next_id += 1;
        let held = Some((owner.to_owned(), node.clone()));
        let entry = Entry { units, processors: have, virtual_node: true, held };
        let info = entry.info(id, None);
        table.nodes.insert(id, entry);
        drop(table);
        if let Some(old) = old {
            self.release(old, owner)?;
        }
        Ok((info, node))
    }

    /// Gives a node back; `owner` must hold it. Streams that still run on it keep it alive until they end.
    pub fn release(&self, id: u32, owner: &str) -> Result<()> {
        let mut table = self.table.lock();
        let entry = table.nodes.get_mut(&id).ok_or_else(|| no_node(id))?;
        match &entry.held {
            Some((holder, _)) if holder == owner => {}
            Some((holder, _)) => {
                return Err(Error::new(
                    Status::NotOwner,
                    format!("compute node {id} is held by tenant {holder:?}, not by {owner:?}"),
                ));
            }
            None => {
                return Err(Error::new(Status::NotOwner, format!("compute node {id} is held by nobody")));
            }
        }
        let held = entry.held.take();
        if entry.virtual_node {
            table.nodes.remove(&id);
        }
        // With the last reference the device's node goes, and its threads are waited for.
        drop(table);
        drop(held);
        Ok(())
    }

    /// The nodes that `owner` holds, by id.
    pub fn held_by(&self, owner: &str) -> Vec<NodeInfo> {
        self.list().into_iter().filter(|n| n.owner.as_deref() == Some(owner)).collect()
    }

    fn device(&self) -> Result<Arc<dyn Device>> {
        self.device
            .upgrade()
            .ok_or_else(|| Error::new(Status::NoDevice, "the device of these nodes was closed"))
    }
}

impl Entry {
    fn info(&self, id: u32, gate: Option<&Gate>) -> NodeInfo {
        NodeInfo {
            id,
            units: self.units.clone(),
            processors: self.processors,
            owner: self.held.as_ref().map(|(owner, _)| owner.clone()),
            virtual_node: self.virtual_node,
            last_used: gate.and_then(|g| g.last_used(&self.units)),
        }
    }
}

fn no_node(id: u32) -> Error {
    Error::not_found(format!("compute node {id} does not exist"))
}
