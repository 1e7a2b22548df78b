//! Tenants: an account on a device, with its memory, its node, its streams and its share. An LLM (string id) and a
//! virtual GPU (integer id) are both tenants.

mod cache;
mod copy;
mod direct;
pub mod keys;
mod math;
mod optimize;
mod queues;
mod registry;
mod slice;

pub use optimize::{REQUIREMENT_KEYS, Requirements};
pub use registry::{
    Wishes, close, close_this, find, find_or_open, list, open, open_default, open_with_pages,
};

use crate::compute::{
    Gate, Layout, NodeInfo, NodeKind, Nodes, Priority, Queue, Share, Stack, Task, TaskBody, TaskSpec, Tasks,
};
use crate::device::{Device, DeviceKind, Node, Stream};
use crate::memory::{Account, Ledger, Space};
use crate::ops::{self, Math, MathPolicy, Ops};
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
    /// Of the floor: bytes that [`Tenant::optimize`] has set aside. Held while the floor is moved from what it is.
    aside: Mutex<u64>,
    compute: Mutex<Compute>,
    streams: Mutex<BTreeMap<u64, Arc<dyn Stream>>>,
    /// Virtual streams, by the numbers of `streams`; 0 is its own. Taken before `compute`.
    queues: Mutex<BTreeMap<u64, Arc<Queue>>>,
    made: Arc<Made>,
    /// Streams made so far.
    numbered: AtomicU64,
    policy: Arc<MathPolicy>,
    /// Set for this tenant alone.
    own_math: Mutex<Option<Math>>,
    cache: Mutex<cache::Cache>,
    direct: direct::Direct,
    slice: Mutex<Option<slice::Slice>>,
    /// Bounds of its task threads' stack; the largest counts.
    stacks: Mutex<Vec<Weak<Stack>>>,
    /// Its device was lost and thrown away.
    lost: AtomicBool,
    /// Called when that happens.
    when_lost: Mutex<Vec<Box<dyn Fn() + Send + Sync>>>,
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
    /// Set by hand; else it follows from the priority.
    stream_priority: Option<i32>,
    version: u64,
    next_stream: u64,
}

/// Most bytes of an id: structs of the C interface show owners in 128 bytes with the final NUL.
const LONGEST_ID: usize = 127;

/// An id must be shown whole and on one line wherever figures and tables name it.
fn check_id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::argument("llmId", "must not be empty"));
    }
    if id.len() > LONGEST_ID {
        return Err(Error::argument(
            "llmId",
            format!("has {} bytes, at most {LONGEST_ID} are allowed", id.len()),
        ));
    }
    if id.chars().any(char::is_control) {
        return Err(Error::argument("llmId", format!("{id:?} has control characters")));
    }
    Ok(())
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
    fn new(id: &str, device: &Arc<dyn Device>, config: &TenantConfig, page_size: u64) -> Result<Tenant> {
        check_id(id)?;
        fits(device, config.processors)?;
        // A tool that is attached to the process hears of everything from the first tenant on.
        nvtx::attach();
        let share = Share::new(id, config.weight, config.priority)?;
        let account = Ledger::of(device).open(id, config.memory_limit, config.memory_floor)?;
        account.set_rank(config.priority);
        let space = Space::with_pages(device.clone(), account.clone(), page_size)?;
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
            aside: Mutex::new(0),
            compute: Mutex::new(Compute { processors: config.processors, ..Compute::default() }),
            streams: Mutex::default(),
            queues: Mutex::default(),
            made,
            numbered: AtomicU64::new(0),
            policy: MathPolicy::of(device),
            own_math: Mutex::default(),
            cache: Mutex::default(),
            direct: direct::Direct::default(),
            slice: Mutex::default(),
            stacks: Mutex::default(),
            lost: AtomicBool::new(false),
            when_lost: Mutex::default(),
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

    /// Whether its device was lost and opened anew since: it is closed, and everything in it answers
    /// [`Status::DeviceLost`].
    pub fn is_lost(&self) -> bool {
        self.lost.load(SeqCst)
    }

    /// Has `told` called when the device of this tenant is lost and about to be thrown away; at once when it was. What
    /// runs on the device must end then, without waiting for others.
    pub fn when_lost(&self, told: Box<dyn Fn() + Send + Sync>) {
        let mut waiting = self.when_lost.lock();
        if self.is_lost() {
            drop(waiting);
            told();
        } else {
            waiting.push(told);
        }
    }

    fn lose(&self) {
        let told = {
            // Under the lock, so that who asks meanwhile is either in the list or sees it.
            let mut waiting = self.when_lost.lock();
            self.lost.store(true, SeqCst);
            std::mem::take(&mut *waiting)
        };
        for f in told {
            f();
        }
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
        if !self.has_processors(&compute) {
            let wanted = self.automatic_processors(compute.processors);
            let (info, _) = Nodes::of(&self.device).create(&self.id, wanted)?;
            compute.held.push(info.id);
            compute.automatic = Some(info.id);
        }
        let node = self.device.node_create(&self.units(&compute)?)?;
        compute.node = Some(node.clone());
        Ok(node)
    }

    /// Changes whenever [`Tenant::node`], [`Tenant::math`] or what its streams are given does. Long-running work compares
    /// it between steps and moves.
    pub fn node_version(&self) -> u64 {
        self.compute.lock().version + self.policy.version()
    }

    /// The ids of the nodes it holds.
    pub fn nodes_held(&self) -> Vec<u32> {
        self.compute.lock().held.clone()
    }

    /// Takes a free node of the device in addition to those that it was given. Running work moves between two steps.
    ///
    /// Errors: [`Status::Busy`] when another tenant holds it; what the node's kind refuses, see [`NodeKind`].
    pub fn take_node(&self, id: u32) -> Result<()> {
        let nodes = Nodes::of(&self.device);
        let kind = nodes.get(id)?.kind;
        if !kind.is_processors() {
            return self.take_other(id, kind);
        }
        let mut compute = self.compute.lock();
        self.must_be_open(&compute)?;
        if compute.automatic == Some(id) {
            // Asked for by its id: from now on it is one that the tenant was given.
            compute.automatic = None;
            return Ok(());
        }
        if compute.held.contains(&id) {
            return Ok(());
        }
        let mine = self.held(&compute);
        let within = cache_units(&mine);
        if !within.is_empty() && !nodes.get(id)?.units.iter().any(|u| within.contains(u)) {
            return Err(Error::argument(
                "nodeId",
                format!(
                    "compute node {id} lies outside of the cache on whose cores tenant {:?} stays",
                    self.id
                ),
            )
            .advise("give its L2_CACHE node back first, or take a node of the same cache"));
        }
        nodes.allocate(id, &self.space)?;
        self.drop_automatic(&mut compute);
        compute.held.push(id);
        let old = compute.changed();
        drop(compute);
        drop(old);
        Ok(())
    }

    /// Memory, shared memory or a part of the cache.
    fn take_other(&self, id: u32, kind: NodeKind) -> Result<()> {
        let nodes = Nodes::of(&self.device);
        let units = nodes.get(id)?.units;
        {
            let compute = self.compute.lock();
            self.must_be_open(&compute)?;
            if !units.is_empty() && !compute.held.contains(&id) {
                // Of processors: these must be among its own. A node that was made for it can be made anew.
                let own = self.units(&compute)?;
                let explicit = self.has_processors(&compute) && compute.automatic.is_none();
                if explicit && !own.iter().any(|u| units.contains(u)) {
                    return Err(Error::argument(
                        "nodeId",
                        format!(
                            "compute node {id} ({}) belongs to units {units:?}, tenant {:?} runs on {own:?}",
                            kind.name(),
                            self.id
                        ),
                    )
                    .advise("take a node of these processors first"));
                }
            }
        }
        nodes.allocate(id, &self.space)?;
        let mut compute = self.compute.lock();
        if let Err(e) = self.must_be_open(&compute) {
            // Closed meanwhile, too early for the closing to see the node.
            let _ = nodes.release(id, &self.id);
            return Err(e);
        }
        if compute.held.contains(&id) {
            return Ok(());
        }
        if !units.is_empty() && !self.units(&compute)?.iter().any(|u| units.contains(u))
            || kind == NodeKind::L2Cache
        {
            // The next use makes one that fits.
            self.drop_automatic(&mut compute);
        }
        compute.held.push(id);
        let old = if kind == NodeKind::MemoryBank { None } else { compute.changed() };
        drop(compute);
        drop(old);
        self.refresh_streams().inspect_err(|_| {
            // A stream that takes no such thing: all of it goes back.
            let _ = self.give_node(id);
        })
    }

    /// Gives the node back that was made because there was none. The caller marks the change.
    fn drop_automatic(&self, compute: &mut Compute) {
        if let Some(automatic) = compute.automatic.take() {
            compute.held.retain(|&held| held != automatic);
            // Ours by construction; nothing else can have released it.
            let _ = Nodes::of(&self.device).release(automatic, &self.id);
        }
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
        // What its streams had from the node ends. One that cannot be told is as good as gone.
        let _ = self.refresh_streams();
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

    /// A new stream on this node, which must be one of its device.
    pub(crate) fn stream_on(&self, node: &Arc<dyn Node>, priority: i32) -> Result<Arc<dyn Stream>> {
        let stream = node.stream_create(priority)?;
        stream.set_track(Track::new(
            self.subject(),
            format!("stream {}", self.numbered.fetch_add(1, SeqCst) + 1),
        ));
        self.dress(&*stream)?;
        let mut made = self.made.lock();
        made.retain(|s| s.strong_count() > 0);
        made.push(Arc::downgrade(&stream));
        Ok(stream)
    }

    /// Tensor operations on a new stream of its node.
    pub fn ops(&self) -> Result<Arc<dyn Ops>> {
        let node = self.node()?;
        let stream = self.stream_on(&node, self.stream_priority())?;
        ops::with_math(&self.device, node, stream, self.math())
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
        let queue = self.queues.lock().remove(&id);
        match queue {
            Some(queue) => queue.synchronize(),
            None => stream.synchronize(),
        }
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
        let gate = on_cpu.then(|| Gate::of(&self.device));
        let used = node.units().to_vec();
        let body: TaskBody = Box::new(move |context| {
            if let Some(gate) = gate {
                gate.note_use(&used);
            }
            body(context)
        });
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
            stack: self.stack(),
            body,
        })?;
        if self.is_closed() {
            // Closed since the beginning of this call, perhaps too late for the closing to see the task.
            task.cancel();
        }
        Ok(task)
    }

    /// Bounds the stack of the threads that run its tasks, from the next task on and for as long as `stack` lives. Of
    /// several bounds the largest counts.
    pub fn bound_stack(&self, stack: &Arc<Stack>) {
        let mut stacks = self.stacks.lock();
        stacks.retain(|s| s.strong_count() > 0);
        stacks.push(Arc::downgrade(stack));
    }

    fn stack(&self) -> Option<Arc<Stack>> {
        self.stacks.lock().iter().filter_map(Weak::upgrade).max_by_key(|s| s.bytes())
    }

    fn no_stream(&self, id: u64) -> Error {
        Error::not_found(format!("tenant {:?} has no stream {id}", self.id))
    }

    /// The priority of its model's stream and of streams that are made now: what was set, else what goes with its
    /// priority at the gate (normal is 0, more urgent is lower).
    pub fn stream_priority(&self) -> i32 {
        let own = self.compute.lock().stream_priority;
        own.unwrap_or_else(|| i32::from(self.share.priority()) - 2)
    }

    /// Changes the priority of its streams, or (`None`) lets it follow from its priority at the gate. Its model moves to
    /// a stream of the new priority between two steps; streams that exist otherwise keep theirs.
    pub fn set_stream_priority(&self, priority: Option<i32>) {
        let before = self.stream_priority();
        self.compute.lock().stream_priority = priority;
        self.move_streams(before);
    }

    /// Changes its priority at the gate, 0 (critical) to 4 (background), and with it that of its streams where no other
    /// was set.
    pub fn set_priority(&self, priority: u8) -> Result<()> {
        let before = self.stream_priority();
        self.share.set_priority(priority)?;
        // Whose memory is spared when room is made goes by the priority too.
        self.account.set_rank(priority);
        self.move_streams(before);
        Ok(())
    }

    /// Lets running work take new streams when their priority is not what it was.
    fn move_streams(&self, before: i32) {
        if self.stream_priority() != before {
            let old = self.compute.lock().changed();
            drop(old);
        }
    }

    /// The nodes it holds.
    fn held(&self, compute: &Compute) -> Vec<NodeInfo> {
        let nodes = Nodes::of(&self.device);
        compute.held.iter().filter_map(|&id| nodes.get(id).ok()).collect()
    }

    fn has_processors(&self, compute: &Compute) -> bool {
        self.held(compute).iter().any(|n| n.kind.is_processors())
    }

    /// The units of the nodes it holds, ascending; of these the ones whose cache it holds, if it holds any.
    fn units(&self, compute: &Compute) -> Result<Vec<u32>> {
        let held = self.held(compute);
        let within = cache_units(&held);
        let processors = held.into_iter().filter(|n| n.kind.is_processors());
        let mut units: Vec<u32> =
            processors.flat_map(|n| n.units).filter(|u| within.is_empty() || within.contains(u)).collect();
        units.sort_unstable();
        units.dedup();
        Ok(units)
    }

    /// An error when the tenant was closed.
    fn must_be_open(&self, compute: &Compute) -> Result<()> {
        if self.is_lost() {
            return Err(Error::new(
                Status::DeviceLost,
                format!("tenant {:?} went with its lost device", self.id),
            )
            .advise("open it again"));
        }
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
        let part = match Nodes::of(&self.device).layout() {
            Layout::Units => 4,
            Layout::Slices(n) => n,
            Layout::Whole => return if wanted > 0 { (wanted / group * group).max(group) } else { total },
        };
        let wanted = if wanted > 0 { wanted } else { total / part };
        (wanted / group * group).max(group)
    }

    /// Marks it as closed; false when it was already.
    fn begin_close(&self) -> bool {
        self.subject().set(false);
        !std::mem::replace(&mut self.compute.lock().closed, true)
    }

    /// Gives nodes and streams back.
    fn release(&self) {
        self.end_queues();
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

/// The cores to which these nodes keep their tenant; empty: any.
fn cache_units(held: &[NodeInfo]) -> Vec<u32> {
    held.iter().filter(|n| n.kind == NodeKind::L2Cache).flat_map(|n| n.units.iter().copied()).collect()
}

/// The error for an id that nobody opened.
fn unknown(id: &str) -> Error {
    Error::new(Status::NotFound, format!("tenant {id:?} does not exist"))
}

#[cfg(test)]
mod tests;
