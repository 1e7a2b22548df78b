//! The bridge: LLMs by name, their models, their arrays and their tasks. What the C++ class
//! `AdvancedPythonCppBridge` mirrors.

mod array;
pub mod config;
mod inference;
mod nodes;
mod profile;
mod report;

pub use array::Array;
pub use inference::request;

use crate::compute::{Nodes, Priority, Task};
use crate::device::{self, Device};
use crate::llm::{Model, model_path};
use crate::system::System;
use crate::tenant::{self, Tenant, TenantConfig};
use crate::{Error, Result, Status};
use config::{GENERATION_KEYS, Generating, Map, Placement, TENANT_KEYS};
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
    /// The tenant was opened by the registration, so unregistering closes it.
    own_tenant: bool,
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
}

struct State {
    since: Instant,
    llms: BTreeMap<String, Arc<Llm>>,
    /// Tenants that exist only because somebody used their id here.
    opened: Vec<Weak<Tenant>>,
}

impl State {
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
            opened: Vec::new(),
        });
        Ok(())
    }

    /// Unregisters every LLM: what they generate ends as cancelled. Does nothing when it is not initialised.
    pub fn shutdown(&self) {
        let Some(state) = self.state.write().take() else { return };
        for llm in state.llms.into_values() {
            llm.end();
        }
        // Who was registered meanwhile (perhaps by another bridge) is not ours any more.
        for tenant in state.opened.iter().filter_map(Weak::upgrade).filter(|t| t.is_implicit()) {
            // Closed by somebody else already: nothing left to do.
            let _ = tenant::close_this(&tenant);
        }
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.state.read().is_some()
    }

    /// Registers an LLM: opens its tenant (or takes over the one with this id) and loads its model. Keys are
    /// [`TENANT_KEYS`] and [`GENERATION_KEYS`]; others are refused by name. On failure nothing is left behind.
    pub fn register(&self, id: &str, config: &Map) -> Result<Arc<Llm>> {
        config::check_keys(config, &[&TENANT_KEYS, &GENERATION_KEYS])?;
        config::generating(config)?;
        let placement = config::placement(config)?;
        let path = model_path(&placement.model_type, placement.model_path.as_deref())?;
        let _one = self.registering.lock();
        if self.read(|s| Ok(s.llms.contains_key(id)))? {
            return Err(Error::new(Status::AlreadyExists, format!("LLM {id:?} is registered")));
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
                let default = TenantConfig::default_on(&device)?;
                let memory_limit = placement.memory_limit.unwrap_or(default.memory_limit);
                tenant::open(id, &device, &TenantConfig { memory_limit, ..default })?
            }
        };
        // A tenant that nobody opened on purpose belongs to the LLM from here on.
        let adopted = tenant.adopt();
        let own_tenant = made || adopted;
        let before = Standing::of(&tenant);
        let loaded = standing(&tenant, &placement, device.as_ref())
            .and_then(|()| Model::load(&tenant, &path, &placement.options, None));
        let noted = loaded.and_then(|model| {
            let (tenant, config) = (tenant.clone(), Mutex::new(config.clone()));
            let llm = Arc::new(Llm { tenant, model, config, own_tenant });
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

    /// Changes how an LLM generates, and its weight, priority and memory limit; other keys take effect only at
    /// registration and are refused.
    pub fn update(&self, id: &str, changes: &Map) -> Result<()> {
        let llm = self.llm(id)?;
        if let Some(fixed) = changes.keys().find(|k| {
            TENANT_KEYS.contains(&k.as_str()) && !["weight", "priority", "max_memory"].contains(&k.as_str())
        }) {
            return Err(Error::argument(fixed, "cannot be changed while the LLM is registered")
                .advise("unregister it, then register it with the new value"));
        }
        config::check_keys(changes, &[&TENANT_KEYS, &GENERATION_KEYS])?;
        config::generating(changes)?;
        let placement = config::placement(changes)?;
        if let Some(limit) = placement.memory_limit {
            llm.tenant.account().set_limit(limit)?;
        }
        if let Some(weight) = placement.weight {
            llm.tenant.share().set_weight(weight)?;
        }
        if let Some(priority) = placement.priority {
            llm.tenant.share().set_priority(priority as u8)?;
        }
        llm.config.lock().extend(changes.iter().map(|(k, v)| (k.clone(), v.clone())));
        Ok(())
    }

    /// The ids of the registered LLMs, each with its model's name.
    pub fn active_llms(&self) -> Result<Map> {
        self.read(|s| Ok(s.llms.iter().map(|(id, l)| (id.clone(), l.model.config().name.clone())).collect()))
    }

    /// The tenant with this id; opened with default limits on the current device when there is none.
    pub fn tenant(&self, id: &str) -> Result<Arc<Tenant>> {
        self.read(|_| Ok(()))?;
        tenant::find_or_open(id, || self.device(), |opened| self.write(|s| s.note(opened)))
    }

    /// An array of `count` f32 in the tenant's memory.
    pub fn array(&self, count: u64, id: &str) -> Result<Array> {
        Array::new(&self.tenant(id)?, count)
    }

    /// The ids of the current device's compute nodes that nobody holds.
    pub fn available_nodes(&self) -> Result<Vec<u32>> {
        self.read(|_| Ok(()))?;
        let nodes = Nodes::of(&self.device()?).list();
        Ok(nodes.into_iter().filter(|n| n.owner.is_none()).map(|n| n.id).collect())
    }

    /// Schedules work of an LLM; its result is text. Types: `inference` (parameters: [`GENERATION_KEYS`]; the result
    /// is the text), `embedding` (`text`; JSON array of numbers), `tokenize` (`text`; JSON array of ids). Every type
    /// takes `task_type` (must be the type itself), `task_id` and `priority`. An LLM that nobody registered is
    /// registered with defaults.
    pub fn schedule(&self, id: &str, kind: &str, parameters: &Map) -> Result<Task> {
        let mut own = parameters.clone();
        if let Some(named) = own.remove("task_type")
            && named != kind
        {
            return Err(Error::argument(
                "task_type",
                format!("is {named:?} while the task's type is {kind:?}"),
            ));
        }
        let priority = own.remove("priority").map_or(Ok(Priority::Normal), |p| Priority::from_name(&p))?;
        let task_id = own.remove("task_id");
        // Before anything is registered for it.
        inference::check(kind, &own)?;
        let llm = self.llm_or_default(id)?;
        let body = inference::body(&llm, kind, &own)?;
        llm.tenant.schedule(task_id, kind, priority, 0, 0, body)
    }

    /// The device on which tenants are opened: the process-wide kernel's current one when it is initialised, else the
    /// default device.
    pub fn device(&self) -> Result<Arc<dyn Device>> {
        match System::global().kernel().current_device() {
            Ok((_, device)) => Ok(device),
            Err(_) => device::default_device(),
        }
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
    placement.priority.map_or(Ok(()), |p| tenant.share().set_priority(p as u8))
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
        tenant.share().set_priority(self.priority)?;
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
