//! The kernel manager: devices, nodes, partitions, memory, streams and tasks of tenants that are named by their id.
//! What the C++ class `AdvancedCustomizedKernel` mirrors. It is thin: it finds the tenant and calls the rooms below.

mod config;
mod memory;
mod metrics;
mod partition;
mod profile;
mod report;
mod stream;

pub use config::KERNEL_KEYS;
pub use metrics::prometheus;
pub use partition::{Partition, PartitionType, TextureShape};

use crate::compute::{NodeInfo, Nodes, Task, TaskInfo, Tasks};
use crate::device::{self, Device};
use crate::telemetry::profiler::Hold;
use crate::tenant::keys::Map;
use crate::tenant::{self, Requirements, Tenant};
use crate::{Error, Result, Status};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// A kernel manager. Usable from any thread. Every method but [`Kernel::initialize`] and [`Kernel::is_initialized`]
/// answers [`Status::NotInitialized`] before `initialize` and after `shutdown`. Dropping it shuts it down.
#[derive(Default)]
pub struct Kernel {
    /// Locked only to look up and to note: never while a device works or is waited for, whose functions may call the
    /// kernel.
    state: RwLock<Option<State>>,
    /// Held while the kernel is initialised, configured or shut down; never asked for by what these wait for.
    configuring: Mutex<()>,
    config: Mutex<config::Config>,
}

struct State {
    since: Instant,
    devices: Vec<Arc<dyn Device>>,
    current: usize,
    partitions: BTreeMap<i32, partition::Held>,
    next_partition: i32,
    streams: BTreeMap<u64, stream::Held>,
    /// Tenants whose slices were made here.
    slices: Vec<Weak<Tenant>>,
    /// Tenants that exist only because somebody used their id here.
    opened: Vec<Weak<Tenant>>,
    /// While it is there, everybody's work is recorded.
    profiling: Option<Hold>,
}

impl State {
    fn note(&mut self, opened: Weak<Tenant>) -> Result<()> {
        self.opened.retain(|t| t.strong_count() > 0);
        self.opened.push(opened);
        Ok(())
    }
}

impl Kernel {
    /// Finds the devices; the one that is configured, else the default device (`COGNIWARE_DEVICE`), becomes the current
    /// one. Does nothing when it was done already.
    pub fn initialize(&self) -> Result<()> {
        let _one = self.configuring.lock();
        if self.is_initialized() {
            return Ok(());
        }
        let devices = device::list()?;
        let current = self.begin(&devices)?;
        *self.state.write() = Some(State {
            since: Instant::now(),
            devices,
            current,
            partitions: BTreeMap::new(),
            next_partition: 0,
            streams: BTreeMap::new(),
            slices: Vec::new(),
            opened: Vec::new(),
            profiling: None,
        });
        Ok(())
    }

    /// Ends everything that was made here: tasks of its tenants are cancelled, streams, partitions and slices given
    /// back, tenants that nobody registered are closed. Does nothing when it is not initialised.
    pub fn shutdown(&self) {
        let one = self.configuring.lock();
        let Some(state) = self.state.write().take() else { return };
        self.finish(&state.devices);
        drop(one);
        // Who was registered meanwhile is not ours any more.
        let opened = state.opened.iter().filter_map(Weak::upgrade).filter(|t| t.is_implicit());
        let opened: Vec<_> = opened.collect();
        for tenant in &opened {
            Tasks::global().cancel_all(Some(tenant.id()));
        }
        for (_, held) in state.streams {
            // The tenant may have been closed in between, and its streams with it.
            let _ = held.tenant.close_stream(held.stream);
        }
        drop(state.partitions);
        for tenant in state.slices.iter().filter_map(Weak::upgrade) {
            // Given back by hand already: nothing left to do.
            let _ = tenant.give_slice();
        }
        for tenant in opened {
            // Closed by its owner already: nothing left to do.
            let _ = tenant::close_this(&tenant);
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

    /// Opens the device at `index` anew when it was lost; see [`device::recover`]. Its tenants are closed as lost, their
    /// partitions, streams and slices are gone. Does nothing to a device that answers.
    pub fn recover_device(&self, index: i32) -> Result<()> {
        let (at, lost) = self.read(|s| {
            let found = usize::try_from(index).ok().filter(|&i| i < s.devices.len());
            let at = found.ok_or_else(|| {
                Error::argument("deviceId", format!("{index} is not in 0 to {}", s.devices.len() - 1))
            })?;
            Ok((at, s.devices[at].clone()))
        })?;
        // Waits for engines, whose callbacks may call the kernel: without the lock.
        let anew = device::recover(&lost)?;
        let (gone, former) = self.write(|s| {
            let lost = s.partitions.extract_if(.., |_, held| held.tenant.is_lost()).collect::<Vec<_>>();
            let streams = s.streams.extract_if(.., |_, held| held.tenant.is_lost()).collect::<Vec<_>>();
            s.slices.retain(|tenant| tenant.upgrade().is_some_and(|t| !t.is_lost()));
            let former = s.devices.get_mut(at).map(|place| std::mem::replace(place, anew));
            Ok(((lost, streams), former))
        })?;
        drop((gone, former));
        Ok(())
    }

    /// The current device and its index.
    pub fn current_device(&self) -> Result<(usize, Arc<dyn Device>)> {
        self.read(|s| Ok((s.current, s.devices[s.current].clone())))
    }

    /// The tenant with this id; opened with default limits on the current device when there is none.
    pub fn tenant(&self, llm: &str) -> Result<Arc<Tenant>> {
        let (_, device) = self.current_device()?;
        let wishes = || {
            let defaults = self.tenant_defaults(&device)?;
            Ok((device, defaults))
        };
        tenant::find_or_open(llm, wishes, |opened| self.write(|s| s.note(opened)))
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

    /// Makes a tenant's own slice; see [`Tenant::make_slice`]. Its stream is one of [`Kernel::streams`].
    pub fn create_virtual_node(&self, llm: &str, bytes: u64, cores: u32) -> Result<()> {
        let tenant = self.tenant(llm)?;
        let stream = tenant.make_slice(bytes, cores)?;
        let noted = self.hold_stream(&tenant, stream).and_then(|_| {
            self.write(|s| {
                s.slices.retain(|t| t.strong_count() > 0);
                s.slices.push(Arc::downgrade(&tenant));
                Ok(())
            })
        });
        noted.inspect_err(|_| {
            // Shut down meanwhile: nobody else would give it back.
            let _ = tenant.give_slice();
        })
    }

    /// Gives a tenant's slice back.
    pub fn destroy_virtual_node(&self, llm: &str) -> Result<()> {
        self.read(|_| Ok(()))?;
        let none = |_| Error::not_found(format!("tenant {llm:?} has no virtual compute node"));
        tenant::find(llm).map_err(none)?.give_slice()
    }

    /// The ids of all tenants of this process, each with its device.
    pub fn active_llms(&self) -> Result<BTreeMap<String, String>> {
        self.read(|_| Ok(()))?;
        let name = |t: &Tenant| format!("{}:{}", t.device().kind(), t.device().ordinal());
        Ok(tenant::list().iter().map(|t| (t.id().to_owned(), name(t))).collect())
    }

    /// Gives a tenant what an LLM requires; see [`Requirements`] and [`Tenant::optimize`]. Opened with default limits
    /// when there is none.
    pub fn optimize(&self, llm: &str, requirements: &Map) -> Result<()> {
        let wanted = Requirements::read(requirements)?;
        self.tenant(llm)?.optimize(&wanted)
    }

    /// Changes the weight of a task; see [`Task::set_weight`].
    pub fn set_task_weight(&self, id: &str, weight: f64) -> Result<()> {
        self.task(id)?.set_weight(weight)
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

impl Drop for Kernel {
    fn drop(&mut self) {
        self.shutdown();
    }
}

fn not_initialized() -> Error {
    Error::new(Status::NotInitialized, "the kernel is not initialised")
        .advise("call initialize() (or KernelDriverManager::initializeSystem()) first")
}
