//! Compute units of virtual GPUs: what the C++ class `ComputeVirtualizationManager` mirrors.

use super::config::{ComputeConfig, UnitConfig, check_cap, check_id, check_share, device_at};
use super::info::UnitInfo;
use super::started::Switch;
use super::table::{self, Claim, Unit, VirtualGpu};
use super::work::{ExecutionInfo, Executions, KernelCall, Lane, Stopped, executions, programs};
use super::{ends, shares};
use crate::compute::balance::{Chooser, Load};
use crate::device::Stream;
use crate::ops::tensor::Precision;
use crate::tenant::TenantConfig;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The compute units of this process. Usable from any thread. Every method but [`ComputeManager::initialize`],
/// [`ComputeManager::is_initialized`] and [`ComputeManager::shutdown`] answers [`Status::NotInitialized`] before
/// `initialize` and after `shutdown`.
pub struct ComputeManager {
    switch: Switch<ComputeConfig>,
    /// Held while one is created, so that the bound on their number holds.
    counting: Mutex<()>,
    /// Whose turn it is among units, once somebody has asked.
    chooser: Mutex<Option<Chooser>>,
}

static MANAGER: ComputeManager = ComputeManager {
    switch: Switch::new("compute virtualization manager"),
    counting: Mutex::new(()),
    chooser: Mutex::new(None),
};

impl ComputeManager {
    /// The one of this process.
    pub fn global() -> &'static ComputeManager {
        &MANAGER
    }

    /// Opens the device. The same configuration again does nothing; another one is [`Status::AlreadyExists`].
    pub fn initialize(&self, config: &ComputeConfig) -> Result<()> {
        self.switch.on(config, config.device, config.check())
    }

    /// Destroys the compute units that were made here, as [`ComputeManager::destroy`] does. Those of virtual GPUs that were
    /// made as a whole stay. Does nothing when it is not initialised.
    pub fn shutdown(&self) {
        if !self.switch.off() {
            return;
        }
        let all = table::list();
        let own: Vec<i32> =
            all.iter().filter(|g| !g.is_whole() && g.parts().unit.is_some()).map(|g| g.id()).collect();
        drop(all);
        for id in own {
            // Destroyed by another thread meanwhile: then it is done.
            let _ = self.end(id);
        }
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.switch.is_on()
    }

    /// Makes a compute unit; the virtual GPU with it when there is none (on this manager's device).
    ///
    /// Errors: [`Status::AlreadyExists`] when it has one, [`Status::QuotaExceeded`] when there are as many as the
    /// configuration allows.
    pub fn create(&self, id: i32, config: &UnitConfig) -> Result<()> {
        let started = self.switch.get()?;
        check_id(id)?;
        config.check()?;
        let _one = self.counting.lock();
        let claim = Claim::of(id);
        if table::find(id).is_ok_and(|g| g.parts().unit.is_some()) {
            return Err(Error::new(
                Status::AlreadyExists,
                format!("virtual GPU {id} has a compute unit already"),
            ));
        }
        let own = table::list().iter().filter(|g| !g.is_whole() && g.parts().unit.is_some()).count();
        if own as u64 >= u64::from(started.config.most_units) {
            return Err(Error::new(
                Status::QuotaExceeded,
                format!("there are {own} compute units, as many as maxVirtualComputeUnits allows"),
            )
            .advise("destroy one, or initialize with more"));
        }
        let own = config.device.map(device_at).transpose()?;
        let device = own.as_ref().unwrap_or(&started.device);
        let gpu = claim.open(device, "", &TenantConfig::default_on(device)?)?;
        match make_unit(&gpu, config) {
            Ok(unit) => gpu.change(|parts| parts.unit = Some(unit)),
            Err(e) => {
                claim.settle(&gpu);
                return Err(e);
            }
        }
        drop(claim);
        shares::weigh()
    }

    /// Ends a compute unit: work that waits is withdrawn, work in flight waited for, its node and streams given back. The
    /// virtual GPU ends with it when it has no other part.
    pub fn destroy(&self, id: i32) -> Result<()> {
        self.switch.must_be_on()?;
        self.end(id)
    }

    fn end(&self, id: i32) -> Result<()> {
        check_id(id)?;
        let claim = Claim::of(id);
        let gpu = table::find(id)?;
        let unit = gpu.unit()?;
        gpu.change(|parts| parts.unit = None);
        unit.end(&ends::ended(&gpu));
        let left = claim.settle(&gpu);
        drop(claim);
        ends::tell(&gpu, &left);
        drop(unit);
        ends::let_go(gpu);
        shares::weigh()
    }

    /// The figures of a compute unit.
    pub fn info(&self, id: i32) -> Result<UnitInfo> {
        UnitInfo::of(&*self.find(id)?)
    }

    /// Waits for everything that was queued on one stream, or on all of the unit; reports an error that it raised.
    pub fn synchronize(&self, id: i32, stream: Option<i32>) -> Result<()> {
        wait(&*self.find(id)?, stream)
    }

    /// The unit's streams, in order.
    pub fn streams(&self, id: i32) -> Result<Vec<Arc<dyn Stream>>> {
        self.find(id)?.streams()
    }

    /// Changes the part of contended processors that it asks for, above 0 to 1, from now on.
    pub fn set_share(&self, id: i32, share: f32) -> Result<()> {
        let unit = self.find(id)?.unit()?;
        check_share(share)?;
        if share == 0.0 {
            return Err(Error::argument("computeShare", "must be above 0"));
        }
        unit.asked.lock().share = share;
        shares::weigh()
    }

    /// Lets its matrix work use matrix circuits, or forbids them.
    pub fn set_tensor_cores(&self, id: i32, on: bool) -> Result<()> {
        let gpu = self.find(id)?;
        let unit = gpu.unit()?;
        let mut asked = unit.asked.lock();
        asked.tensor_cores = on;
        gpu.tenant().set_math(Some(asked.rules().math));
        Ok(())
    }

    /// Changes what its matrix work may round to.
    pub fn set_precision(&self, id: i32, precision: Precision) -> Result<()> {
        let gpu = self.find(id)?;
        let unit = gpu.unit()?;
        let mut asked = unit.asked.lock();
        asked.precision = precision;
        gpu.tenant().set_math(Some(asked.rules().math));
        Ok(())
    }

    /// The most of its processors' time that it gets from now on, also when nobody else wants them; `None` for no cap.
    pub fn set_cap(&self, id: i32, cap: Option<f32>) -> Result<()> {
        let gpu = self.find(id)?;
        let unit = gpu.unit()?;
        check_cap(cap)?;
        gpu.tenant().share().set_cap(cap)?;
        unit.asked.lock().cap = cap;
        Ok(())
    }

    /// Gives the unit another number of cores or SMs (0: the whole device; on a GPU whole groups) while it lives: what is on
    /// the device ends where it is, what comes after runs on the new ones, in order. Nothing changes when that fails.
    ///
    /// Errors: [`Status::Unsupported`] when the configuration forbids it; more than the device has.
    pub fn scale(&self, id: i32, processors: u32) -> Result<()> {
        let started = self.switch.get()?;
        let gpu = self.find(id)?;
        let unit = gpu.unit()?;
        if !started.config.scaling {
            return Err(Error::unsupported("enableDynamicScaling is off")
                .advise("initialize the compute virtualization manager with it on"));
        }
        let tenant = gpu.tenant();
        let all: u32 = tenant.device().units().iter().map(|u| u.processors).sum();
        if processors > all {
            return Err(Error::argument(
                "numComputeUnits",
                format!("{processors} asked for, the device has {all}"),
            ));
        }
        let mut asked = unit.asked.lock();
        tenant.scale(if processors == 0 { all } else { processors })?;
        asked.processors = processors;
        // Now, and not with their next work: what waits in them goes to the new processors too.
        unit.lanes.iter().try_for_each(|lane| lane.queue(tenant).map(drop))
    }

    /// The one of these units that the next work should go to, by the configured strategy: in turn, by what is asked of each of
    /// its processors (shares, queued work), or by measured time (queued work at its mean length, and use in the last second).
    /// They may be on several devices.
    pub fn choose(&self, ids: &[i32]) -> Result<i32> {
        let started = self.switch.get()?;
        if ids.is_empty() {
            return Err(Error::argument("ids", "must not be empty"));
        }
        let loads = ids
            .iter()
            .map(|&id| {
                let info = UnitInfo::of(&*self.find(id)?)?;
                Ok(Load {
                    processors: info.processors,
                    shares: f64::from(info.share_due),
                    pending: info.work.pending + u64::from(info.busy_streams),
                    mean: info
                        .device_time
                        .checked_div(info.work.launches.min(u64::from(u32::MAX)) as u32)
                        .unwrap_or_default(),
                    busy: info.utilization.second,
                })
            })
            .collect::<Result<Vec<Load>>>()?;
        let mut chooser = self.chooser.lock();
        let wanted = started.config.balancing;
        let chooser = match &mut *chooser {
            Some(chooser) if chooser.strategy() == wanted => chooser,
            other => other.insert(Chooser::new(wanted)),
        };
        Ok(ids[chooser.choose(&loads)?])
    }

    /// Queues a kernel on a stream once its name, shape, arguments and memory were found right; the number of its execution.
    pub fn execute(&self, id: i32, call: KernelCall, stream: i32) -> Result<i32> {
        programs::submit(&*self.find(id)?, stream, call)
    }

    /// The number of the unit's latest execution; 0 when there was none.
    pub fn last_execution(&self, id: i32) -> Result<i32> {
        executions::last(&*self.find(id)?)
    }

    /// Where an execution stands; with a `timeout`, once it has ended or so much time has passed.
    pub fn execution(&self, id: i32, number: i32, timeout: Option<Duration>) -> Result<ExecutionInfo> {
        executions::info(&*self.find(id)?, number, timeout)
    }

    /// Cancels an execution: queued work is withdrawn; work of pieces and work that polls is told to stop.
    ///
    /// Errors: [`Status::NotFound`] for an unknown number and for work that has ended, which the text tells apart;
    /// [`Status::Unsupported`] for work on the device that cannot be stopped.
    pub fn cancel(&self, id: i32, number: i32) -> Result<Stopped> {
        executions::cancel(&*self.find(id)?, number)
    }

    /// The time from submission to the end that work may take whose call names none; `None` for no bound.
    pub fn set_timeout(&self, id: i32, timeout: Option<Duration>) -> Result<()> {
        let unit = self.find(id)?.unit()?;
        if timeout.is_some_and(|t| t.is_zero()) {
            return Err(Error::argument("timeoutMs", "must be above 0"));
        }
        unit.asked.lock().timeout = timeout;
        Ok(())
    }

    /// The programs and host functions of a virtual GPU: what [`ComputeManager::execute`] finds by name.
    pub fn gpu(&self, id: i32) -> Result<Arc<VirtualGpu>> {
        self.find(id)
    }

    /// All kernels that it can execute by name: `own`, or what a built-in one takes and does.
    pub fn kernels(&self, id: i32) -> Result<BTreeMap<String, String>> {
        Ok(programs::names(&*self.find(id)?))
    }

    fn find(&self, id: i32) -> Result<Arc<VirtualGpu>> {
        self.switch.must_be_on()?;
        check_id(id)?;
        table::find(id)
    }
}

/// Gives a tenant what a compute unit has. On failure nothing is left.
pub(super) fn make_unit(gpu: &VirtualGpu, config: &UnitConfig) -> Result<Arc<Unit>> {
    let tenant = gpu.tenant();
    let all: u32 = tenant.device().units().iter().map(|u| u.processors).sum();
    tenant.set_processors(if config.processors == 0 { all } else { config.processors.min(all) })?;
    tenant.set_priority(config.priority as u8)?;
    tenant.set_math(Some(config.rules().math));
    tenant.share().set_cap(config.cap)?;
    let lanes: Result<Vec<Lane>> = (0..config.streams).map(|_| Lane::open(tenant)).collect();
    let asked = Mutex::new(config.clone());
    let unit = Arc::new(Unit { asked, lanes: lanes?, executions: Executions::default() });
    // What runs on a lost device never ends by itself.
    let weak = Arc::downgrade(&unit);
    let id = gpu.id();
    tenant.when_lost(Box::new(move || {
        if let Some(unit) = weak.upgrade() {
            for lane in &unit.lanes {
                let text = format!("the device of virtual GPU {id} was lost");
                lane.same_queue().end(Error::new(Status::DeviceLost, text));
            }
        }
    }));
    Ok(unit)
}

/// Waits for one stream of a virtual GPU, or for all.
pub(super) fn wait(gpu: &VirtualGpu, stream: Option<i32>) -> Result<()> {
    let unit = gpu.unit()?;
    match stream {
        Some(index) => unit.lane(gpu, index)?.same_queue().synchronize(),
        None => {
            // Every one is waited for, also when the first has an error to tell.
            let outcomes: Vec<_> = unit.lanes.iter().map(|lane| lane.same_queue().synchronize()).collect();
            outcomes.into_iter().collect()
        }
    }
}
