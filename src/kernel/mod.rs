//! The kernel manager: devices, nodes, partitions, memory, streams and tasks of tenants that are named by their id.
//! What the C++ class `AdvancedCustomizedKernel` mirrors. It is thin: it finds the tenant and calls the rooms below.

mod memory;
mod partition;
mod report;
mod stream;

pub use partition::{Partition, PartitionType};

use crate::compute::{NodeInfo, Nodes, Task, TaskInfo, Tasks};
use crate::device::{self, Device};
use crate::tenant::{self, Tenant};
use crate::{Error, Result, Status};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// A kernel manager. Usable from any thread. Every method but [`Kernel::initialize`] and [`Kernel::is_initialized`]
/// answers [`Status::NotInitialized`] before `initialize` and after `shutdown`.
#[derive(Default)]
pub struct Kernel {
    state: RwLock<Option<State>>,
}

struct State {
    since: Instant,
    devices: Vec<Arc<dyn Device>>,
    current: usize,
    partitions: BTreeMap<i32, partition::Held>,
    next_partition: i32,
    streams: BTreeMap<u64, stream::Held>,
    slices: BTreeMap<String, Slice>,
    /// Tenants that exist only because somebody used their id here.
    opened: BTreeSet<String>,
}

/// What `create_virtual_node` gave a tenant.
struct Slice {
    node: u32,
    floor: u64,
    stream: u64,
}

impl Kernel {
    /// Finds the devices; the default device (`COGNIWARE_DEVICE`) becomes the current one. Does nothing when it was
    /// done already.
    pub fn initialize(&self) -> Result<()> {
        let mut state = self.state.write();
        if state.is_none() {
            *state = Some(State {
                since: Instant::now(),
                devices: device::list()?,
                current: 0,
                partitions: BTreeMap::new(),
                next_partition: 0,
                streams: BTreeMap::new(),
                slices: BTreeMap::new(),
                opened: BTreeSet::new(),
            });
        }
        Ok(())
    }

    /// Ends everything that was made here: tasks of its tenants are cancelled, streams, partitions and slices given
    /// back, tenants that nobody registered are closed. Does nothing when it is not initialised.
    pub fn shutdown(&self) {
        let Some(state) = self.state.write().take() else { return };
        for id in &state.opened {
            Tasks::global().cancel_all(Some(id));
        }
        for (_, held) in state.streams {
            // The tenant may have been closed in between, and its streams with it.
            let _ = held.tenant.close_stream(held.stream);
        }
        for held in state.partitions.into_values() {
            let _ = held.tenant.space().free(held.ptr);
        }
        for (id, slice) in state.slices {
            if let Ok(tenant) = tenant::find(&id) {
                slice.give_back(&tenant);
            }
        }
        for id in state.opened {
            // Closed by its owner already: nothing left to do.
            let _ = tenant::close(&id);
        }
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.state.read().is_some()
    }

    /// The devices, the default one first.
    pub fn devices(&self) -> Result<Vec<Arc<dyn Device>>> {
        self.read(|s| Ok(s.devices.clone()))
    }

    /// Makes the device at `index` the one on which tenants are opened from now on.
    pub fn select_device(&self, index: i32) -> Result<()> {
        self.write(|s| {
            let found = usize::try_from(index).ok().filter(|&i| i < s.devices.len());
            s.current = found.ok_or_else(|| {
                Error::argument("deviceId", format!("{index} is not in 0 to {}", s.devices.len() - 1))
            })?;
            Ok(())
        })
    }

    /// The current device and its index.
    pub fn current_device(&self) -> Result<(usize, Arc<dyn Device>)> {
        self.read(|s| Ok((s.current, s.devices[s.current].clone())))
    }

    /// The tenant with this id; opened with default limits on the current device when there is none.
    pub fn tenant(&self, llm: &str) -> Result<Arc<Tenant>> {
        self.write(|s| s.tenant(llm))
    }

    /// The current device's compute nodes.
    pub fn nodes(&self) -> Result<Vec<NodeInfo>> {
        let (_, device) = self.current_device()?;
        Ok(Nodes::of(&device).list())
    }

    /// Gives a free compute node of the tenant's device to it.
    pub fn allocate_node(&self, node: u32, llm: &str) -> Result<()> {
        self.tenant(llm)?.take_node(node)
    }

    /// Takes a compute node of the current device back from whoever holds it.
    pub fn deallocate_node(&self, node: u32) -> Result<()> {
        let (_, device) = self.current_device()?;
        let info = Nodes::of(&device).get(node)?;
        let owner = info
            .owner
            .ok_or_else(|| Error::new(Status::NotOwner, format!("compute node {node} is held by nobody")))?;
        tenant::find(&owner)?.give_node(node)
    }

    /// Makes a tenant's own slice: `bytes` more of guaranteed memory, a node of `cores` cores or SMs (at most what
    /// the device has; on a GPU whole groups of SMs), and a stream on it. One slice a tenant.
    pub fn create_virtual_node(&self, llm: &str, bytes: u64, cores: u32) -> Result<()> {
        if bytes == 0 {
            return Err(Error::argument("memorySize", "must not be 0"));
        }
        if cores == 0 {
            return Err(Error::argument("coreCount", "must not be 0"));
        }
        self.write(|s| {
            let tenant = s.tenant(llm)?;
            if s.slices.contains_key(llm) {
                return Err(Error::new(
                    Status::AlreadyExists,
                    format!("tenant {llm:?} has a virtual compute node"),
                )
                .advise("destroyVirtualComputeNode first"));
            }
            let all: u32 = tenant.device().units().iter().map(|u| u.processors).sum();
            let account = tenant.account();
            let floor = account.floor();
            let raised = floor.checked_add(bytes).filter(|&f| f <= account.limit()).ok_or_else(|| {
                Error::new(
                    Status::QuotaExceeded,
                    format!(
                        "argument `memorySize`: {bytes} bytes more than the {floor} that are set aside pass the \
                         tenant's limit of {}",
                        account.limit()
                    ),
                )
            })?;
            account.set_floor(raised)?;
            let made = tenant.make_node(cores.min(all)).and_then(|node| {
                tenant.open_stream(0).map(|stream| (node, stream)).inspect_err(|_| {
                    // Ours a moment ago; the error that matters is the stream's.
                    let _ = tenant.give_node(node);
                })
            });
            let (node, stream) = made.inspect_err(|_| {
                // Lowering a floor to what it was cannot fail.
                let _ = account.set_floor(floor);
            })?;
            s.slices.insert(llm.to_owned(), Slice { node, floor: bytes, stream });
            Ok(())
        })
    }

    /// Gives a tenant's slice back.
    pub fn destroy_virtual_node(&self, llm: &str) -> Result<()> {
        self.write(|s| {
            let slice = s
                .slices
                .remove(llm)
                .ok_or_else(|| Error::not_found(format!("tenant {llm:?} has no virtual compute node")))?;
            slice.give_back(&*tenant::find(llm)?);
            Ok(())
        })
    }

    /// The ids of all tenants of this process, each with its device.
    pub fn active_llms(&self) -> Result<BTreeMap<String, String>> {
        self.read(|_| Ok(()))?;
        let name = |t: &Tenant| format!("{}:{}", t.device().kind(), t.device().ordinal());
        Ok(tenant::list().iter().map(|t| (t.id().to_owned(), name(t))).collect())
    }

    /// Tasks that have not ended, of one tenant or of all.
    pub fn active_tasks(&self, llm: Option<&str>) -> Result<Vec<TaskInfo>> {
        self.read(|_| Ok(Tasks::global().active(llm)))
    }

    /// The task with this id.
    pub fn task(&self, id: &str) -> Result<Task> {
        self.read(|_| Tasks::global().get(id))
    }

    fn read<T>(&self, f: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        f(self.state.read().as_ref().ok_or_else(not_initialized)?)
    }

    fn write<T>(&self, f: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        f(self.state.write().as_mut().ok_or_else(not_initialized)?)
    }
}

impl State {
    fn tenant(&mut self, llm: &str) -> Result<Arc<Tenant>> {
        match tenant::find(llm) {
            Ok(found) => Ok(found),
            Err(_) => {
                let opened = tenant::open_default(llm, &self.devices[self.current])?;
                self.opened.insert(llm.to_owned());
                Ok(opened)
            }
        }
    }
}

impl Slice {
    fn give_back(&self, tenant: &Tenant) {
        let account = tenant.account();
        // Each part may have been given back on its own by now; what is left goes.
        let _ = tenant.close_stream(self.stream);
        let _ = tenant.give_node(self.node);
        let _ = account.set_floor(account.floor().saturating_sub(self.floor));
    }
}

fn not_initialized() -> Error {
    Error::new(Status::NotInitialized, "the kernel is not initialised")
        .advise("call initialize() (or KernelDriverManager::initializeSystem()) first")
}
