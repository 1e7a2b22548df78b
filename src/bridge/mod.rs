//! The bridge: LLMs by name, their models, their arrays and their tasks. What the C++ class
//! `AdvancedPythonCppBridge` mirrors.

mod array;
pub mod config;
mod copying;
mod diagnostics;
mod multiply;
mod nodes;
mod profile;
mod report;
mod settings;
mod shared;
mod task;

pub use array::Array;
pub use settings::BRIDGE_KEYS;
pub use task::{TASK_TYPES, TaskFunction, request};

use crate::compute::{Nodes, Task};
use crate::device::{self, Device};
use crate::driver::diagnostics::Part;
use crate::llm::{Model, model_path};
use crate::system::System;
use crate::telemetry::recovery::{self, Recovery};
use crate::tenant::{self, Requirements, Tenant, TenantConfig, Wishes};
use crate::{Error, Result, Status};
use config::{GENERATION_KEYS, Generating, LIVE_KEYS, Map, Placement, TENANT_KEYS};
use once_cell::sync::Lazy;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// A registered LLM: a tenant with a model.
pub struct Llm {
    tenant: Arc<Tenant>,
    model: Arc<Model>,
    config: Mutex<Map>,
    /// Updates run one at a time, and not under the configuration's lock: callbacks may ask for it.
    updating: Mutex<()>,
    /// The tenant was opened by the registration, so unregistering closes it.
    own_tenant: bool,
    /// It is one of the `max_llms`: every LLM but that of the self-test.
    counts: bool,
}

impl Llm {
    /// Its tenant.
    pub fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Its model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Its configuration as registered and updated.
    pub fn config(&self) -> Map {
        self.config.lock().clone()
    }

    /// Its way of generating, with `overrides` on top.
    pub fn generating(&self, overrides: &Map) -> Result<Generating> {
        let mut merged = self.config();
        merged.extend(overrides.iter().map(|(k, v)| (k.clone(), v.clone())));
        config::generating(&merged)
    }
}

/// A bridge. Usable from any thread. Every method but [`Bridge::initialize`] and [`Bridge::is_initialized`] answers
/// [`Status::NotInitialized`] before `initialize` and after `shutdown`. Dropping it shuts it down.
#[derive(Default)]
pub struct Bridge {
    state: RwLock<Option<State>>,
    /// Registrations run one at a time, and not under the state's lock: loading a model takes long.
    registering: Mutex<()>,
    config: Mutex<settings::Config>,
    cache: Mutex<settings::Cache>,
    /// The results of the last self-test.
    diagnosed: Mutex<Vec<Part>>,
}

struct State {
    since: Instant,
    llms: BTreeMap<String, Arc<Llm>>,
    /// Kinds of tasks that the application registered.
    types: BTreeMap<String, TaskFunction>,
    /// Scheduled here for tenants that need not end with the bridge; those that have ended are taken out now and then.
    tasks: Vec<Task>,
    /// Tenants that exist only because somebody used their id here.
    opened: Vec<Weak<Tenant>>,
}

impl State {
    fn note_task(&mut self, task: &Task) {
        if self.tasks.len() == self.tasks.capacity() {
            // Before it grows, so that each task is looked at a few times only.
            self.tasks.retain(|t| !t.info().state.is_final());
        }
        self.tasks.push(task.clone());
    }

    fn note(&mut self, opened: Weak<Tenant>) -> Result<()> {
        self.opened.retain(|t| t.strong_count() > 0);
        self.opened.push(opened);
        Ok(())
    }
}

static GLOBAL: Lazy<Arc<Bridge>> = Lazy::new(Arc::default);

impl Bridge {
    /// The bridge of this process.
    pub fn global() -> &'static Arc<Bridge> {
        &GLOBAL
    }

    /// Makes the bridge ready. Does nothing when that was done.
    pub fn initialize(&self) -> Result<()> {
        self.device()?;
        let mut state = self.state.write();
        state.get_or_insert_with(|| State {
            since: Instant::now(),
            llms: BTreeMap::new(),
            types: BTreeMap::new(),
            tasks: Vec::new(),
            opened: Vec::new(),
        });
        Ok(())
    }

    /// Unregisters every LLM and every kind of task: what they do ends as cancelled. Does nothing when it is not initialised.
    pub fn shutdown(&self) {
        let Some(state) = self.state.write().take() else { return };
        for task in &state.tasks {
            task.cancel();
        }
        for task in &state.tasks {
            // Fails only for tasks that wait for this thread.
            let _ = task.wait(None);
        }
        for llm in state.llms.into_values() {
            llm.end();
        }
        // Who was registered meanwhile (perhaps by another bridge) is not ours any more.
        for tenant in state.opened.iter().filter_map(Weak::upgrade).filter(|t| t.is_implicit()) {
            // Closed by somebody else already: nothing left to do.
            let _ = tenant::close_this(&tenant);
        }
        drop(self.trim_cache(0));
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.state.read().is_some()
    }

    /// Registers an LLM: opens its tenant (or takes over the one with this id) and loads its model. Keys are
    /// [`TENANT_KEYS`] and [`GENERATION_KEYS`]; others are refused by name. What is not given is as the bridge's
    /// configuration says ([`Bridge::configure`]). On failure nothing is left behind.
    ///
    /// When the GPU has no memory left for it, or is lost, and a fallback is set (see [`device::fallback`]), it is
    /// registered on that device instead.
    pub fn register(&self, id: &str, config: &Map) -> Result<Arc<Llm>> {
        let was_there = tenant::find(id).is_ok();
        match self.register_on(id, config, true) {
            Err(e)
                if matches!(e.status(), Status::OutOfMemory | Status::DeviceLost)
                    && !was_there
                    && device::fallback().is_some()
                    && config.get("device").is_none_or(|d| d != "cpu") =>
            {
                let mut config = config.clone();
                config.insert("device".to_owned(), "cpu".to_owned());
                let registered = self.register_on(id, &config, true);
                recovery::note(Recovery::Fallback, registered.is_ok());
                crate::log!(Warn, "bridge", "LLM {id:?} goes to the CPU device: {e}");
                registered.map_err(|_| e)
            }
            other => other,
        }
    }

    /// `counts`: as one of the `max_llms`, which may refuse it.
    fn register_on(&self, id: &str, config: &Map, counts: bool) -> Result<Arc<Llm>> {
        config::check_keys(config, &[&TENANT_KEYS, &GENERATION_KEYS])?;
        let config = &self.with_defaults(config);
        config::generating(config)?;
        let placement = config::placement(config)?;
        let path = model_path(&placement.model_type, placement.model_path.as_deref())?;
        let _one = self.registering.lock();
        // One that went with a lost device makes room.
        let lost = self.write(|s| {
            Ok(s.llms.extract_if(..=id.to_owned(), |k, llm| k == id && llm.tenant.is_lost()).next())
        })?;
        if let Some((_, llm)) = lost {
            llm.end();
        }
        let registered = self.read(|s| match s.llms.contains_key(id) {
            true => Err(Error::new(Status::AlreadyExists, format!("LLM {id:?} is registered already"))
                .advise("unregister it first, or change it with updateLLMConfig")),
            false => Ok(s.llms.values().filter(|llm| llm.counts).count()),
        })?;
        if counts {
            self.admits(registered)?;
        }
        let device = match &placement.device {
            Some(name) => Some(device::open(device::parse_choice("device", name)?)?),
            None => None,
        };
        let found = tenant::find(id).ok();
        let made = found.is_none();
        let tenant = match found {
            Some(tenant) => tenant,
            None => {
                let device = device.clone().map_or_else(|| self.device(), Ok)?;
                let default = self.tenant_defaults(&device)?;
                let memory_limit = placement.memory_limit.unwrap_or(default.memory_limit);
                tenant::open(id, &device, &TenantConfig { memory_limit, ..default }).map_err(|e| {
                    let named = placement.memory_limit.is_some() && e.message().contains("`memory_limit`");
                    if named { e.within("max_memory") } else { e }
                })?
            }
        };
        // A tenant that nobody opened on purpose belongs to the LLM from here on.
        let adopted = tenant.adopt();
        let own_tenant = made || adopted;
        let before = Standing::of(&tenant);
        let load = || match Model::load(&tenant, &path, &placement.options, None) {
            // Weights that are only kept give way.
            Err(e) if e.status() == Status::OutOfMemory && !self.trim_cache(0).is_empty() => {
                Model::load(&tenant, &path, &placement.options, None)
            }
            other => other,
        };
        let loaded = standing(&tenant, &placement, device.as_ref()).and_then(|()| load());
        let noted = loaded.and_then(|model| {
            let (tenant, config) = (tenant.clone(), Mutex::new(config.clone()));
            let llm = Arc::new(Llm { tenant, model, config, updating: Mutex::default(), own_tenant, counts });
            self.write(|s| {
                s.llms.insert(id.to_owned(), llm.clone());
                Ok(())
            })?;
            Ok(llm)
        });
        match &noted {
            Ok(_) => crate::log_later!(Info, "bridge", "registered LLM {id:?}"),
            Err(e) => crate::log_later!(Warn, "bridge", "LLM {id:?} was not registered: {e}"),
        }
        noted.inspect_err(|_| {
            if adopted {
                tenant.disown();
            }
            // The error that matters is the one that brought us here.
            let _ = if made { tenant::close_this(&tenant).map(drop) } else { before.restore(&tenant) };
        })
    }

    /// Unregisters an LLM: what it generates ends as cancelled, its model is dropped, its tenant closed.
    pub fn unregister(&self, id: &str) -> Result<()> {
        let llm = self.write(|s| s.llms.remove(id).ok_or_else(|| not_registered(id)))?;
        self.keep_weights(&llm);
        llm.end();
        Ok(())
    }

    /// The registered LLM with this id.
    pub fn llm(&self, id: &str) -> Result<Arc<Llm>> {
        self.read(|s| s.llms.get(id).cloned().ok_or_else(|| not_registered(id)))
    }

    /// The registered LLM with this id; registered with defaults (the model that ships with Cogniware) when there is
    /// none.
    pub fn llm_or_default(&self, id: &str) -> Result<Arc<Llm>> {
        match self.llm(id) {
            Err(e) if e.status() == Status::NotFound => match self.register(id, &Map::new()) {
                Err(e) if e.status() == Status::AlreadyExists => self.llm(id),
                other => other,
            },
            other => other,
        }
    }

    /// Changes how an LLM generates, and its weight, priority, memory limit and cores, all of it or nothing; other keys
    /// take effect only at registration and are refused. Tasks that run go on as they began; its model moves to another
    /// node or stream between two steps.
    pub fn update(&self, id: &str, changes: &Map) -> Result<()> {
        let llm = self.llm(id)?;
        if let Some(fixed) =
            changes.keys().find(|k| TENANT_KEYS.contains(&k.as_str()) && !LIVE_KEYS.contains(&k.as_str()))
        {
            return Err(Error::argument(fixed, "cannot be changed while the LLM is registered")
                .advise("unregister it, then register it with the new value"));
        }
        config::check_keys(changes, &[&TENANT_KEYS, &GENERATION_KEYS])?;
        config::generating(changes)?;
        let placement = config::placement(changes)?;
        // Two updates at a time would undo each other's halves.
        let _one = llm.updating.lock();
        let before = Standing::of(&llm.tenant);
        standing(&llm.tenant, &placement, None).inspect_err(|_| {
            // Back to what was allowed a moment ago.
            let _ = before.restore(&llm.tenant);
        })?;
        llm.config.lock().extend(changes.iter().map(|(k, v)| (k.clone(), v.clone())));
        Ok(())
    }

    /// Gives an LLM's tenant what it requires; see [`Tenant::optimize`]. What a registration knows too shows in its
    /// configuration. Opened with default limits when there is no such tenant.
    pub fn optimize(&self, id: &str, requirements: &Map) -> Result<()> {
        let wanted = Requirements::read(requirements)?;
        self.tenant(id)?.optimize(&wanted)?;
        if let Ok(llm) = self.llm(id) {
            let mut config = llm.config.lock();
            for (key, shown) in [
                ("max_memory", "max_memory"),
                ("max_cores", "max_cores"),
                ("weight", "weight"),
                ("compute_priority", "priority"),
            ] {
                if let Some(value) = requirements.get(key) {
                    config.insert(shown.to_owned(), value.clone());
                }
            }
        }
        Ok(())
    }

    /// The ids of the registered LLMs, each with its model's name.
    pub fn active_llms(&self) -> Result<Map> {
        self.read(|s| Ok(s.llms.iter().map(|(id, l)| (id.clone(), l.model.config().name.clone())).collect()))
    }

    /// The tenant with this id; opened with default limits on the current device when there is none.
    pub fn tenant(&self, id: &str) -> Result<Arc<Tenant>> {
        self.read(|_| Ok(()))?;
        tenant::find_or_open(id, || self.wishes(), |opened| self.write(|s| s.note(opened)))
    }

    /// An array of `count` f32 in the tenant's memory.
    pub fn array(&self, count: u64, id: &str) -> Result<Array> {
        Array::new(&self.tenant(id)?, count)
    }

    /// An array of `count` f32 that other processes can open, charged to the tenant.
    pub fn shared_array(&self, count: u64, id: &str) -> Result<Array> {
        Array::shared(&self.tenant(id)?, count)
    }

    /// The shared array of another process; see [`Array::open_shared`].
    pub fn open_shared_array(&self, name: &str, id: &str) -> Result<Array> {
        Array::open_shared(&self.tenant(id)?, name)
    }

    /// The ids of the current device's compute nodes that nobody holds.
    pub fn available_nodes(&self) -> Result<Vec<u32>> {
        self.read(|_| Ok(()))?;
        let nodes = Nodes::of(&self.device()?).list();
        Ok(nodes.into_iter().filter(|n| n.owner.is_none()).map(|n| n.id).collect())
    }

    /// The device on which tenants are opened: the process-wide kernel's current one when it is initialised, else the
    /// default device.
    pub fn device(&self) -> Result<Arc<dyn Device>> {
        match System::global().kernel().current_device() {
            Ok((_, device)) => Ok(device),
            Err(_) => device::default_device(),
        }
    }

    /// What a tenant gets that nobody opened with other wishes: as the process-wide kernel's configuration says.
    fn tenant_defaults(&self, device: &Arc<dyn Device>) -> Result<TenantConfig> {
        System::global().kernel().tenant_defaults(device)
    }

    fn wishes(&self) -> Result<Wishes> {
        let device = self.device()?;
        let defaults = self.tenant_defaults(&device)?;
        Ok((device, defaults))
    }

    fn read<T>(&self, f: impl FnOnce(&State) -> Result<T>) -> Result<T> {
        f(self.state.read().as_ref().ok_or_else(not_initialized)?)
    }

    fn write<T>(&self, f: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        f(self.state.write().as_mut().ok_or_else(not_initialized)?)
    }
}

impl Llm {
    fn end(&self) {
        crate::compute::Tasks::global().cancel_all(Some(self.tenant.id()));
        self.model.close();
        if self.own_tenant {
            // Somebody may have closed it by hand before.
            let _ = tenant::close_this(&self.tenant);
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// Gives a tenant what an LLM's configuration asks for. What cannot be given is named.
fn standing(tenant: &Tenant, placement: &Placement, device: Option<&Arc<dyn Device>>) -> Result<()> {
    if device.is_some_and(|d| !Arc::ptr_eq(d, tenant.device())) {
        let (kind, ordinal) = (tenant.device().kind(), tenant.device().ordinal());
        return Err(Error::argument("device", format!("tenant {:?} lives on {kind}:{ordinal}", tenant.id()))
            .advise("leave the key out, or close the tenant first"));
    }
    if let Some(limit) = placement.memory_limit {
        tenant.account().set_limit(limit).map_err(|e| e.within("max_memory"))?;
    }
    if placement.processors > 0 {
        tenant.set_processors(placement.processors).map_err(|e| e.within("max_cores"))?;
    }
    placement.weight.map_or(Ok(()), |w| tenant.share().set_weight(w))?;
    placement.priority.map_or(Ok(()), |p| tenant.set_priority(p as u8))
}

/// What a registration changes of a tenant that was there before.
struct Standing {
    limit: u64,
    weight: f64,
    priority: u8,
    processors: u32,
}

impl Standing {
    fn of(tenant: &Tenant) -> Standing {
        let share = tenant.share();
        Standing {
            limit: tenant.account().limit(),
            weight: share.weight(),
            priority: share.priority(),
            processors: tenant.processors_wanted(),
        }
    }

    fn restore(&self, tenant: &Tenant) -> Result<()> {
        tenant.share().set_weight(self.weight)?;
        tenant.set_priority(self.priority)?;
        tenant.set_processors(self.processors)?;
        tenant.account().set_limit(self.limit)
    }
}

fn not_registered(id: &str) -> Error {
    Error::not_found(format!("LLM {id:?} is not registered")).advise("registerLLM first")
}

fn not_initialized() -> Error {
    Error::new(Status::NotInitialized, "the bridge is not initialised")
        .advise("call initialize() (or PythonCppBridgeManager::initializeBridge()) first")
}
