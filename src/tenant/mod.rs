//! Tenants: an account on a device, with its memory, its node, its streams and its share. An LLM (string id) and a
//! virtual GPU (integer id) are both tenants.

mod copy;
mod registry;

pub use registry::{close, close_this, find, find_or_open, list, open, open_default};

use crate::compute::{Nodes, Priority, Share, Task, TaskBody, TaskSpec, Tasks};
use crate::device::{Device, DeviceKind, Node, Stream};
use crate::memory::{Account, Ledger, Space};
use crate::ops::{self, Ops};
use crate::telemetry::nvtx;
use crate::telemetry::profiler::{Subject, Track};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};

/// What a tenant asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantConfig {
    /// The most bytes it may hold.
    pub memory_limit: u64,
    /// Bytes set aside for it.
    pub memory_floor: u64,
    /// Cores or SMs of the node that is made for it when it was given none; 0 for a quarter of the device. On a GPU
    /// rounded down to whole groups of SMs, at least one.
    pub processors: u32,
    /// Weight at the gate; 1 is normal.
    pub weight: f64,
    /// 0 (critical) to 4 (background); 2 is normal.
    pub priority: u8,
}

impl TenantConfig {
    /// The default on a device: a quarter of its memory as the limit, a quarter of its processors, normal weight and
    /// priority. Four tenants fit side by side.
    pub fn default_on(device: &Arc<dyn Device>) -> Result<TenantConfig> {
        let (_, total) = device.memory()?;
        let granularity = device.granularity();
        let memory_limit = (total / 4 / granularity * granularity).max(granularity);
        Ok(TenantConfig { memory_limit, memory_floor: 0, processors: 0, weight: 1.0, priority: 2 })
    }
}

/// An account on a device. Usable from any thread. Everything it holds is given back when the last reference to it
/// (and to models and arrays in its memory) is dropped after [`close`]. A closed tenant's memory stays usable until
/// then; it gets no nodes, streams and tasks any more ([`Status::NotInitialized`]).
pub struct Tenant {
    id: String,
    device: Arc<dyn Device>,
    account: Arc<Account>,
    space: Arc<Space>,
    share: Arc<Share>,
    implicit: AtomicBool,
    compute: Mutex<Compute>,
    streams: Mutex<BTreeMap<u64, Arc<dyn Stream>>>,
    made: Arc<Made>,
    /// Streams made so far.
    numbered: AtomicU64,
}

/// Every stream that was made for a tenant, while it lives.
type Made = Mutex<Vec<Weak<dyn Stream>>>;

/// The nodes a tenant holds, and the one node made of all their units on which its work runs.
#[derive(Default)]
struct Compute {
    /// Given at opening; see [`TenantConfig::processors`].
    processors: u32,
    held: Vec<u32>,
    /// Of `held`: the node that was made because there was none. It goes when the tenant is given one.
    automatic: Option<u32>,
    node: Option<Arc<dyn Node>>,
    closed: bool,
    version: u64,
    next_stream: u64,
}

/// Refuses more processors than the device has.
fn fits(device: &Arc<dyn Device>, processors: u32) -> Result<()> {
    let most: u32 = device.units().iter().map(|u| u.processors).sum();
    if processors > most {
        return Err(Error::argument("processors", format!("{processors} asked for, the device has {most}")));
    }
    Ok(())
}

impl Tenant {
    fn new(id: &str, device: &Arc<dyn Device>, config: &TenantConfig) -> Result<Tenant> {
        if id.is_empty() {
            return Err(Error::argument("llmId", "must not be empty"));
        }
        fits(device, config.processors)?;
        // A tool that is attached to the process hears of everything from the first tenant on.
        nvtx::attach();
        let share = Share::new(id, config.weight, config.priority)?;
        let account = Ledger::of(device).open(id, config.memory_limit, config.memory_floor)?;
        let space = Space::new(device.clone(), account.clone())?;
        space.set_subject(share.subject());
        let made = Arc::<Made>::default();
        let running = made.clone();
        // Memory is unmapped only when this tenant's own work has passed; others need not wait for that.
        space.set_fence(Box::new(move || {
            let streams: Vec<_> = running.lock().iter().filter_map(Weak::upgrade).collect();
            streams.iter().try_for_each(|s| s.synchronize())
        }));
        Ok(Tenant {
            id: id.to_owned(),
            device: device.clone(),
            account,
            space,
            share,
            implicit: AtomicBool::new(false),
            compute: Mutex::new(Compute { processors: config.processors, ..Compute::default() }),
            streams: Mutex::default(),
            made,
            numbered: AtomicU64::new(0),
        })
    }

    /// The tenant's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The device it lives on.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// Its account.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Its space.
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// Its standing at the gate.
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }

    /// It, as the profiler knows it.
    pub fn subject(&self) -> &Arc<Subject> {
        self.share.subject()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.compute.lock().closed
    }

    /// Whether it exists only because somebody used its id: nobody opened or registered it.
    pub fn is_implicit(&self) -> bool {
        self.implicit.load(SeqCst)
    }

    /// Makes a tenant that exists only because its id was used the caller's own. False when it is somebody's already.
    pub fn adopt(&self) -> bool {
        self.implicit.swap(false, SeqCst)
    }

    /// Undoes [`Tenant::adopt`].
    pub fn disown(&self) {
        self.implicit.store(true, SeqCst);
    }

    /// The node on which its work runs: the units of all nodes it holds. When it holds none, a node of its own is
    /// made (see [`TenantConfig::processors`]); that one goes back when the tenant takes or makes another.
    pub fn node(&self) -> Result<Arc<dyn Node>> {
        let mut compute = self.compute.lock();
        if let Some(node) = &compute.node {
            return Ok(node.clone());
        }
        self.must_be_open(&compute)?;
        if compute.held.is_empty() {
            let wanted = self.automatic_processors(compute.processors);
            let (info, _) = Nodes::of(&self.device).create(&self.id, wanted)?;
            compute.held.push(info.id);
            compute.automatic = Some(info.id);
        }
        let node = self.device.node_create(&self.units(&compute)?)?;
        compute.node = Some(node.clone());
        Ok(node)
    }

    /// Changes whenever [`Tenant::node`] does. Long-running work compares it between steps and moves.
    pub fn node_version(&self) -> u64 {
        self.compute.lock().version
    }

    /// The ids of the nodes it holds.
    pub fn nodes_held(&self) -> Vec<u32> {
        self.compute.lock().held.clone()
    }

    /// Takes a free node of the device's ladder in addition to those that it was given. Running work moves between two
    /// steps.
    pub fn take_node(&self, id: u32) -> Result<()> {
        let mut compute = self.compute.lock();
        self.must_be_open(&compute)?;
        let nodes = Nodes::of(&self.device);
        if compute.automatic == Some(id) {
            // Asked for by its id: from now on it is one that the tenant was given.
            compute.automatic = None;
            return Ok(());
        }
        nodes.allocate(id, &self.id)?;
        if compute.held.contains(&id) {
            return Ok(());
        }
        if let Some(automatic) = compute.automatic.take() {
            compute.held.retain(|&held| held != automatic);
            // Ours by construction; nothing else can have released it.
            let _ = nodes.release(automatic, &self.id);
        }
        compute.held.push(id);
        let old = compute.changed();
        drop(compute);
        drop(old);
        Ok(())
    }

    /// Makes a node of `processors` cores or SMs for it, in addition to those that it was given; its id.
    pub fn make_node(&self, processors: u32) -> Result<u32> {
        let mut compute = self.compute.lock();
        self.must_be_open(&compute)?;
        let automatic = compute.automatic;
        let (info, _) = Nodes::of(&self.device).create_instead(&self.id, processors, automatic)?;
        compute.automatic = None;
        compute.held.retain(|&held| Some(held) != automatic);
        compute.held.push(info.id);
        let old = compute.changed();
        drop(compute);
        drop(old);
        Ok(info.id)
    }

    /// Gives a node back that it holds. With the last one gone it gets one of its own again.
    pub fn give_node(&self, id: u32) -> Result<()> {
        let mut compute = self.compute.lock();
        Nodes::of(&self.device).release(id, &self.id)?;
        compute.held.retain(|&held| held != id);
        compute.automatic.take_if(|automatic| *automatic == id);
        let old = compute.changed();
        drop(compute);
        drop(old);
        Ok(())
    }

    /// The size of the node that is made for it when it was given none; see [`TenantConfig::processors`].
    pub fn processors_wanted(&self) -> u32 {
        self.compute.lock().processors
    }

    /// Changes the size of the node that is made for it when it was given none (0: a quarter of the device).
    pub fn set_processors(&self, processors: u32) -> Result<()> {
        fits(&self.device, processors)?;
        let mut compute = self.compute.lock();
        self.must_be_open(&compute)?;
        if std::mem::replace(&mut compute.processors, processors) == processors {
            return Ok(());
        }
        let automatic = compute.automatic;
        drop(compute);
        // The next use makes one of the new size.
        automatic.map_or(Ok(()), |id| self.give_node(id))
    }

    /// A new stream on its node, not known to [`Tenant::stream`].
    pub fn new_stream(&self, priority: i32) -> Result<Arc<dyn Stream>> {
        self.stream_on(&self.node()?, priority)
    }

    fn stream_on(&self, node: &Arc<dyn Node>, priority: i32) -> Result<Arc<dyn Stream>> {
        let stream = node.stream_create(priority)?;
        stream.set_track(Track::new(
            self.subject(),
            format!("stream {}", self.numbered.fetch_add(1, SeqCst) + 1),
        ));
        let mut made = self.made.lock();
        made.retain(|s| s.strong_count() > 0);
        made.push(Arc::downgrade(&stream));
        Ok(stream)
    }

    /// Tensor operations on a new stream of its node.
    pub fn ops(&self) -> Result<Arc<dyn Ops>> {
        let node = self.node()?;
        let stream = self.stream_on(&node, self.stream_priority())?;
        ops::for_stream(&self.device, node, stream)
    }

    /// Makes a stream that is kept under a number until [`Tenant::close_stream`]. Lower priorities run first.
    pub fn open_stream(&self, priority: i32) -> Result<u64> {
        let stream = self.new_stream(priority)?;
        let id = {
            let mut compute = self.compute.lock();
            compute.next_stream += 1;
            compute.next_stream
        };
        self.streams.lock().insert(id, stream);
        Ok(id)
    }

    /// The stream with this number.
    pub fn stream(&self, id: u64) -> Result<Arc<dyn Stream>> {
        self.streams.lock().get(&id).cloned().ok_or_else(|| self.no_stream(id))
    }

    /// The numbers of its streams, ascending.
    pub fn streams(&self) -> Vec<u64> {
        self.streams.lock().keys().copied().collect()
    }

    /// Waits for what is queued on the stream, then forgets it.
    pub fn close_stream(&self, id: u64) -> Result<()> {
        let stream = self.streams.lock().remove(&id).ok_or_else(|| self.no_stream(id))?;
        stream.synchronize()
    }

    /// Cores or SMs of the nodes it holds; 0 when it has none yet.
    pub fn processors_now(&self) -> u32 {
        let units = self.units(&self.compute.lock()).unwrap_or_default();
        let all = self.device.units();
        units.iter().filter_map(|&u| all.get(u as usize)).map(|u| u.processors).sum()
    }

    /// Schedules a task of this tenant; see [`Tasks::schedule`].
    pub fn schedule(
        &self,
        id: Option<String>,
        kind: &str,
        priority: Priority,
        memory: u64,
        cores: u32,
        body: TaskBody,
    ) -> Result<Task> {
        let node = self.node()?;
        let on_cpu = self.device.kind() == DeviceKind::Cpu;
        let units = self.device.units();
        // On the CPU device a task's own code counts as the tenant's work, so it stays on the tenant's cores.
        let affinity = node.units().iter().filter(|_| on_cpu).filter_map(|&u| units.get(u as usize));
        let task = Tasks::global().schedule(TaskSpec {
            id,
            kind: kind.to_owned(),
            tenant: self.id.clone(),
            account: self.account.clone(),
            share: self.share.clone(),
            processors: node.processors(),
            priority,
            memory,
            cores,
            affinity: affinity.map(|u| u.os_index).collect(),
            body,
        })?;
        if self.is_closed() {
            // Closed since the beginning of this call, perhaps too late for the closing to see the task.
            task.cancel();
        }
        Ok(task)
    }

    fn no_stream(&self, id: u64) -> Error {
        Error::not_found(format!("tenant {:?} has no stream {id}", self.id))
    }

    /// The stream priority that goes with its task priority: normal is 0, more urgent is lower.
    fn stream_priority(&self) -> i32 {
        i32::from(self.share.priority()) - 2
    }

    /// The units of the nodes it holds, ascending.
    fn units(&self, compute: &Compute) -> Result<Vec<u32>> {
        let nodes = Nodes::of(&self.device);
        let mut units = Vec::new();
        for &id in &compute.held {
            units.extend(nodes.get(id)?.units);
        }
        units.sort_unstable();
        units.dedup();
        Ok(units)
    }

    /// An error when the tenant was closed.
    fn must_be_open(&self, compute: &Compute) -> Result<()> {
        if compute.closed {
            return Err(Error::new(Status::NotInitialized, format!("tenant {:?} was closed", self.id)));
        }
        Ok(())
    }

    /// Whole units only, and never more than asked for: so that as many tenants as divide a device between them find
    /// room side by side.
    fn automatic_processors(&self, wanted: u32) -> u32 {
        let units = self.device.units();
        let total: u32 = units.iter().map(|u| u.processors).sum();
        let group = units.iter().map(|u| u.processors).min().unwrap_or(1).max(1);
        let wanted = if wanted > 0 { wanted } else { total / 4 };
        (wanted / group * group).max(group)
    }

    /// Marks it as closed; false when it was already.
    fn begin_close(&self) -> bool {
        self.subject().set(false);
        !std::mem::replace(&mut self.compute.lock().closed, true)
    }

    /// Gives nodes and streams back.
    fn release(&self) {
        let streams = std::mem::take(&mut *self.streams.lock());
        for stream in streams.values() {
            // The stream is going away; an error of its last work has nobody left to go to.
            let _ = stream.synchronize();
        }
        let mut compute = self.compute.lock();
        let nodes = Nodes::of(&self.device);
        for id in std::mem::take(&mut compute.held) {
            // Ours by construction; nothing else can have released it.
            let _ = nodes.release(id, &self.id);
        }
        compute.automatic = None;
        let old = compute.changed();
        drop(compute);
        drop(old);
    }
}

impl Compute {
    /// The nodes held are others now. The caller drops the former node without the lock: with the last reference its
    /// threads are waited for.
    #[must_use]
    fn changed(&mut self) -> Option<Arc<dyn Node>> {
        self.version += 1;
        self.node.take()
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.release();
    }
}

/// The error for an id that nobody opened.
fn unknown(id: &str) -> Error {
    Error::new(Status::NotFound, format!("tenant {id:?} does not exist"))
}

#[cfg(test)]
mod tests;
