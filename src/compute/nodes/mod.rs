//! Which tenant has which processors, which memory and which cache.

mod info;
mod ladder;

pub use info::{NodeInfo, NodeKind};
pub use ladder::{Layout, MOST_SLICES};

use super::gate::Gate;
use crate::device::{Device, DeviceKind, Node, PerDevice};
use crate::memory::{Bank, Ledger, Space};
use crate::{Error, Result, Status};
use ladder::{Numbers, Words};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

/// The nodes of one device: the ladder (processors, cut as the layout says), its memory banks, shared memory and parts of
/// the cache, and the nodes made for tenants. Usable from any thread.
pub struct Nodes {
    device: Weak<dyn Device>,
    ledger: Arc<Ledger>,
    numbers: Numbers,
    words: Words,
    memory: u64,
    table: Mutex<Table>,
}

struct Table {
    nodes: BTreeMap<u32, Entry>,
    layout: Layout,
    next_id: u32,
}

struct Entry {
    kind: NodeKind,
    units: Vec<u32>,
    processors: u32,
    memory: u64,
    numa_node: Option<u32>,
    detail: String,
    virtual_node: bool,
    held: Option<Held>,
}

struct Held {
    owner: String,
    since: SystemTime,
    grant: Grant,
}

/// What the holder was given, and loses with the node.
enum Grant {
    /// Being made.
    Nothing,
    /// Kept alive; the tenant's work runs on a node made of the units of all its nodes.
    Processors {
        _node: Arc<dyn Node>,
    },
    Bank(Arc<Bank>),
    /// An allocation in the holder's space.
    Block {
        space: Arc<Space>,
        address: u64,
    },
    Carveout,
    Cache,
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Grant::Block { space, address } = self {
            // Freed by hand before: then it is gone already.
            let _ = space.free(*address);
        }
    }
}

static TABLES: PerDevice<Nodes> = PerDevice::new();

impl Nodes {
    /// The nodes of a device; one table per device and process.
    pub fn of(device: &Arc<dyn Device>) -> Arc<Nodes> {
        TABLES.get(device, || {
            // A device that cannot be asked now has processors all the same.
            let info = device.info().unwrap_or_default();
            let numbers = Numbers::of(device.units().len() as u32, &info, device.kind());
            let words = Words::new(device.kind(), &info);
            let layout = Layout::default();
            let mut nodes = ladder::processors(device.as_ref(), &numbers, layout, info.total_memory, &words);
            nodes.extend(ladder::others(device, &info, &numbers));
            let next_id = nodes.last_key_value().map_or(0, |(last, _)| last + 1);
            Nodes {
                device: Arc::downgrade(device),
                ledger: Ledger::of(device),
                numbers,
                words,
                memory: info.total_memory,
                table: Mutex::new(Table { nodes, layout, next_id }),
            }
        })
    }

    /// All nodes by id: processors first.
    pub fn list(&self) -> Vec<NodeInfo> {
        let gate = self.device.upgrade().map(|d| Gate::of(&d));
        let table = self.table.lock();
        table.nodes.iter().map(|(&id, entry)| entry.info(id, gate.as_deref(), &self.ledger)).collect()
    }

    /// The node with this id.
    pub fn get(&self, id: u32) -> Result<NodeInfo> {
        let gate = self.device.upgrade().map(|d| Gate::of(&d));
        let table = self.table.lock();
        let entry = table.nodes.get(&id).ok_or_else(|| no_node(id))?;
        Ok(entry.info(id, gate.as_deref(), &self.ledger))
    }

    /// Gives a free node of the device to the tenant of `space` for itself. Asking again for what it holds already
    /// succeeds. What a node of each kind gives: see [`NodeKind`].
    pub fn allocate(&self, id: u32, space: &Arc<Space>) -> Result<()> {
        let device = self.device()?;
        let owner = space.account().name();
        let mut table = self.table.lock();
        let entry = table.nodes.get_mut(&id).ok_or_else(|| no_node(id))?;
        match &entry.held {
            Some(held) if held.owner == owner && matches!(held.grant, Grant::Nothing) => {
                return Err(Error::new(Status::Busy, format!("compute node {id} is being made ready")));
            }
            Some(held) if held.owner == owner => return Ok(()),
            Some(held) => {
                return Err(Error::new(
                    Status::Busy,
                    format!("compute node {id} is held by tenant {:?}", held.owner),
                )
                .advise("take another node of getAvailableComputeNodes, or make a virtual one"));
            }
            None => {}
        }
        let on_cpu = device.kind() == DeviceKind::Cpu;
        if entry.kind == NodeKind::MemoryBank || (entry.kind == NodeKind::SharedMemory && on_cpu) {
            // Memory may take long, and may wait for streams: others go on meanwhile.
            let (kind, bytes, numa_node) = (entry.kind, entry.memory, entry.numa_node);
            entry.hold(owner, Grant::Nothing);
            drop(table);
            let made = match kind {
                NodeKind::MemoryBank => {
                    Bank::open(&device, space.account(), bytes, numa_node).map(Grant::Bank)
                }
                _ => {
                    let tag = format!("shared memory of compute node {id}");
                    let block = |address| Grant::Block { space: space.clone(), address };
                    space.alloc(bytes, 4096, &tag).map(block)
                }
            };
            let mut table = self.table.lock();
            let entry = table.nodes.get_mut(&id).ok_or_else(|| no_node(id))?;
            return match made {
                Ok(grant) => {
                    entry.hold(owner, grant);
                    Ok(())
                }
                Err(e) => {
                    entry.held = None;
                    Err(e.within(format!("compute node {id}")))
                }
            };
        }
        let grant = match entry.kind {
            NodeKind::TensorCore | NodeKind::CudaCore => {
                Grant::Processors { _node: device.node_create(&entry.units)? }
            }
            NodeKind::SharedMemory => Grant::Carveout,
            _ => Grant::Cache,
        };
        let set_aside = entry.kind == NodeKind::L2Cache && entry.units.is_empty();
        entry.hold(owner, grant);
        if set_aside && let Err(e) = table.set_aside(&device) {
            if let Some(entry) = table.nodes.get_mut(&id) {
                entry.held = None;
            }
            return Err(e);
        }
        Ok(())
    }

    /// Makes a node of at least `processors` cores or SMs for `owner` out of the units that the fewest others use.
    /// Units are shared with other tenants only when too few are free; then the gate orders them.
    pub fn create(&self, owner: &str, processors: u32) -> Result<(NodeInfo, Arc<dyn Node>)> {
        self.create_instead(owner, processors, None)
    }

    /// Like [`Nodes::create`], as if `old` (which `owner` must hold) were free; gives it back when that succeeds.
    ///
    /// Where `owner` holds the caches of some cores, only these cores are taken, fewer than asked for if there are no more;
    /// units whose shared memory it holds come first.
    pub fn create_instead(
        &self,
        owner: &str,
        processors: u32,
        old: Option<u32>,
    ) -> Result<(NodeInfo, Arc<dyn Node>)> {
        let made = self.create_beside(owner, processors, old.as_slice())?;
        if let Some(old) = old {
            self.release(old, owner)?;
        }
        Ok(made)
    }

    /// Like [`Nodes::create`], choosing units as if the nodes of `old` were free; they stay as they are.
    pub fn create_beside(
        &self,
        owner: &str,
        processors: u32,
        old: &[u32],
    ) -> Result<(NodeInfo, Arc<dyn Node>)> {
        self.create_within(owner, processors, old, None)
    }

    /// Like [`Nodes::create_beside`], of these units alone where some are named; fewer processors where they have fewer.
    pub fn create_within(
        &self,
        owner: &str,
        processors: u32,
        old: &[u32],
        within: Option<&[u32]>,
    ) -> Result<(NodeInfo, Arc<dyn Node>)> {
        let device = self.device()?;
        if processors == 0 {
            return Err(Error::argument("processors", "must be at least 1"));
        }
        let total: u32 = device.units().iter().map(|u| u.processors).sum();
        if processors > total {
            return Err(Error::argument(
                "processors",
                format!("{processors} asked for, the device has {total}"),
            ));
        }
        let mut table = self.table.lock();
        let inside = table.cache_units(owner);
        let others = |id: &u32, e: &Entry| {
            let own = e.held.as_ref().is_some_and(|h| h.owner == owner);
            e.held.is_some() && !old.contains(id) && (e.kind.is_processors() || !own)
        };
        let users =
            |unit: u32| table.nodes.iter().filter(|(id, e)| others(id, e) && e.units.contains(&unit)).count();
        let wished = |unit: u32| {
            table
                .nodes
                .values()
                .any(|e| e.kind == NodeKind::SharedMemory && e.is_of(owner) && e.units.contains(&unit))
        };
        let mut ranked: Vec<_> = device
            .units()
            .iter()
            .filter(|u| inside.is_empty() || inside.contains(&u.index))
            .filter(|u| within.is_none_or(|within| within.contains(&u.index)))
            .map(|u| (!wished(u.index), users(u.index), u.index, u.processors))
            .collect();
        ranked.sort_unstable();
        let mut units = Vec::new();
        let mut have = 0;
        for (_, _, unit, size) in ranked {
            if have >= processors {
                break;
            }
            units.push(unit);
            have += size;
        }
        if units.is_empty() {
            return Err(Error::argument(
                "units",
                format!("none of {within:?} is one that {owner:?} may use ({inside:?})"),
            )
            .advise("give its L2_CACHE node back first"));
        }
        units.sort_unstable();
        let node = device.node_create(&units)?;
        let id = table.next_id;
        table.next_id += 1;
        let kind = if self.numbers.with.is_some() { NodeKind::TensorCore } else { NodeKind::CudaCore };
        let mut entry = Entry::new(kind, units, have, self.memory, "made for its holder".into());
        entry.virtual_node = true;
        entry.hold(owner, Grant::Processors { _node: node.clone() });
        let info = entry.info(id, None, &self.ledger);
        table.nodes.insert(id, entry);
        Ok((info, node))
    }

    /// Gives a node back; `owner` must hold it. Streams that still run on it keep it alive until they end.
    pub fn release(&self, id: u32, owner: &str) -> Result<()> {
        let device = self.device.upgrade();
        let mut table = self.table.lock();
        let entry = table.nodes.get_mut(&id).ok_or_else(|| no_node(id))?;
        match &entry.held {
            Some(held) if held.owner == owner => {
                if matches!(held.grant, Grant::Nothing) {
                    return Err(Error::new(Status::Busy, format!("compute node {id} is being made ready")));
                }
            }
            Some(held) => {
                return Err(Error::new(
                    Status::NotOwner,
                    format!("compute node {id} is held by tenant {:?}, not by {owner:?}", held.owner),
                ));
            }
            None => {
                return Err(Error::new(Status::NotOwner, format!("compute node {id} is held by nobody")));
            }
        }
        let held = entry.held.take();
        let set_aside = entry.kind == NodeKind::L2Cache && entry.units.is_empty();
        if entry.virtual_node {
            table.nodes.remove(&id);
        } else if entry.kind.is_processors()
            && let Some(device) = &device
        {
            // It may be of a layout that is no more.
            self.cut_again(&mut table, device.as_ref());
        }
        // Lowering what is set aside fails only with a device that is lost, and so is its cache.
        if set_aside && let Some(device) = &device {
            let _ = table.set_aside(device);
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

    /// How the processors are cut.
    pub fn layout(&self) -> Layout {
        self.table.lock().layout
    }

    /// Cuts the processors anew. Nodes that somebody holds keep their units until they are given back.
    pub fn set_layout(&self, layout: Layout) -> Result<()> {
        let device = self.device()?;
        let mut table = self.table.lock();
        table.layout = layout;
        self.cut_again(&mut table, device.as_ref());
        Ok(())
    }

    fn cut_again(&self, table: &mut Table, device: &dyn Device) {
        let others = self.numbers.others;
        table.nodes.retain(|&id, e| id >= others || e.held.is_some());
        for (id, entry) in ladder::processors(device, &self.numbers, table.layout, self.memory, &self.words) {
            table.nodes.entry(id).or_insert(entry);
        }
    }

    fn device(&self) -> Result<Arc<dyn Device>> {
        self.device
            .upgrade()
            .ok_or_else(|| Error::new(Status::NoDevice, "the device of these nodes was closed"))
    }
}

impl Table {
    /// The units whose caches `owner` holds; empty when it holds none.
    fn cache_units(&self, owner: &str) -> Vec<u32> {
        let own = self.nodes.values().filter(|e| e.kind == NodeKind::L2Cache && e.is_of(owner));
        let mut units: Vec<u32> = own.flat_map(|e| e.units.iter().copied()).collect();
        units.sort_unstable();
        units.dedup();
        units
    }

    /// Sets as much of the cache aside as is held.
    fn set_aside(&self, device: &Arc<dyn Device>) -> Result<u64> {
        let held = self.nodes.values().filter(|e| e.kind == NodeKind::L2Cache && e.held.is_some());
        device.cache_set_aside(held.map(|e| e.memory).sum())
    }
}

impl Entry {
    fn new(kind: NodeKind, units: Vec<u32>, processors: u32, memory: u64, detail: String) -> Entry {
        Entry { kind, units, processors, memory, numa_node: None, detail, virtual_node: false, held: None }
    }

    fn hold(&mut self, owner: &str, grant: Grant) {
        self.held = Some(Held { owner: owner.to_owned(), since: SystemTime::now(), grant });
    }

    fn is_of(&self, owner: &str) -> bool {
        self.held.as_ref().is_some_and(|h| h.owner == owner)
    }

    fn info(&self, id: u32, gate: Option<&Gate>, ledger: &Ledger) -> NodeInfo {
        let held = self.held.as_ref();
        let bank = held.and_then(|h| match &h.grant {
            Grant::Bank(bank) => Some(bank),
            _ => None,
        });
        let last_used = match bank {
            Some(bank) => bank.last_used(),
            None => gate.and_then(|g| g.last_used(&self.units)),
        };
        let memory_used = match (held, bank) {
            (None, _) => 0,
            (_, Some(bank)) => bank.used(),
            (Some(h), _) if self.kind.is_processors() => {
                let of = ledger.accounts().into_iter().find(|a| a.name() == h.owner);
                of.map_or(0, |a| a.held())
            }
            _ => self.memory,
        };
        let address = match held.map(|h| &h.grant) {
            Some(Grant::Block { address, .. }) => *address,
            _ => 0,
        };
        let active = match (held, bank) {
            (None, _) => false,
            (_, Some(bank)) => bank.used() > 0,
            // A slice of L2 belongs to no processors: it is in use from the moment it is set aside.
            (Some(_), _) if self.units.is_empty() => true,
            (Some(h), _) => last_used.is_some_and(|used| used >= h.since),
        };
        NodeInfo {
            id,
            kind: self.kind,
            units: self.units.clone(),
            processors: self.processors,
            memory: self.memory,
            memory_used,
            address,
            owner: held.map(|h| h.owner.clone()),
            active,
            virtual_node: self.virtual_node,
            last_used,
            detail: self.detail.clone(),
        }
    }
}

fn no_node(id: u32) -> Error {
    Error::not_found(format!("compute node {id} does not exist"))
}
