//! Compute units of virtual GPUs: what the C++ class `ComputeVirtualizationManager` mirrors.

use super::config::{ComputeConfig, Precision, UnitConfig, check_id, check_share};
use super::info::UnitInfo;
use super::started::Switch;
use super::table::{self, Claim, Unit, VirtualGpu};
use super::{ends, shares};
use crate::device::Stream;
use crate::ops::Math;
use crate::tenant::TenantConfig;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::Arc;

/// The compute units of this process. Usable from any thread. Every method but [`ComputeManager::initialize`],
/// [`ComputeManager::is_initialized`] and [`ComputeManager::shutdown`] answers [`Status::NotInitialized`] before
/// `initialize` and after `shutdown`.
pub struct ComputeManager {
    switch: Switch<ComputeConfig>,
    /// Held while one is created, so that the bound on their number holds.
    counting: Mutex<()>,
}

static MANAGER: ComputeManager =
    ComputeManager { switch: Switch::new("compute virtualization manager"), counting: Mutex::new(()) };

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
        for gpu in table::list().iter().filter(|g| !g.is_whole() && g.parts().unit.is_some()) {
            // Destroyed by another thread meanwhile: then it is done.
            let _ = self.end(gpu.id());
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
        let gpu = claim.open(&started.device, "", &TenantConfig::default_on(&started.device)?)?;
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
        for &stream in &unit.streams {
            // An error of its last work has nobody left to go to.
            let _ = gpu.tenant().close_stream(stream);
        }
        let left = claim.settle(&gpu);
        drop(claim);
        ends::tell(&gpu, &left);
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
        gpu.tenant().set_math(Some(math(&asked)));
        Ok(())
    }

    /// Changes what its matrix work may round to.
    pub fn set_precision(&self, id: i32, precision: Precision) -> Result<()> {
        let gpu = self.find(id)?;
        let unit = gpu.unit()?;
        let mut asked = unit.asked.lock();
        asked.precision = precision;
        gpu.tenant().set_math(Some(math(&asked)));
        Ok(())
    }

    fn find(&self, id: i32) -> Result<Arc<VirtualGpu>> {
        self.switch.must_be_on()?;
        check_id(id)?;
        table::find(id)
    }
}

/// By which rules matrix work of such a unit goes.
fn math(config: &UnitConfig) -> Math {
    match (config.tensor_cores, config.precision) {
        (false, _) => Math::Plain,
        (true, Precision::Full) => Math::Exact,
        (true, Precision::Mixed) => Math::Fast,
    }
}

/// Gives a tenant what a compute unit has. On failure nothing is left.
pub(super) fn make_unit(gpu: &VirtualGpu, config: &UnitConfig) -> Result<Arc<Unit>> {
    let tenant = gpu.tenant();
    let all: u32 = tenant.device().units().iter().map(|u| u.processors).sum();
    tenant.set_processors(if config.processors == 0 { all } else { config.processors.min(all) })?;
    tenant.set_priority(config.priority as u8)?;
    tenant.set_math(Some(math(config)));
    let mut streams = Vec::with_capacity(config.streams as usize);
    for _ in 0..config.streams {
        match tenant.open_stream(tenant.stream_priority()) {
            Ok(stream) => streams.push(stream),
            Err(e) => {
                for stream in streams {
                    // Ours a moment ago; the error that matters is the one above.
                    let _ = tenant.close_stream(stream);
                }
                return Err(e);
            }
        }
    }
    Ok(Arc::new(Unit { asked: Mutex::new(config.clone()), streams }))
}

/// Waits for one stream of a virtual GPU, or for all.
pub(super) fn wait(gpu: &VirtualGpu, stream: Option<i32>) -> Result<()> {
    match stream {
        Some(index) => gpu.stream(index)?.synchronize(),
        None => gpu.streams()?.iter().try_for_each(|s| s.synchronize()),
    }
}
