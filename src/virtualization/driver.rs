//! Virtual GPUs as a whole: what the C++ class `CUDAVirtualizationDriver` mirrors.

use super::compute::make_unit;
use super::config::{DriverConfig, GpuConfig, check_id};
use super::copy::CopyKind;
use super::info::{GpuInfo, GpuStatus};
use super::memory::work;
use super::monitor::{self, DeviceUsage, Metrics};
use super::started::Switch;
use super::table::{self, Claim, VirtualGpu};
use super::work::{Activation, Convolution, operations};
use super::{MemoryManager, ends, shares};
use crate::memory::Allocation;
use crate::ops::tensor::{MatMul, Operation};
use crate::tenant::TenantConfig;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The virtual GPUs of this process. Usable from any thread. Every method but [`Driver::initialize`],
/// [`Driver::is_initialized`] and [`Driver::shutdown`] answers [`Status::NotInitialized`] before `initialize` and after
/// `shutdown`.
pub struct Driver {
    switch: Switch<DriverConfig>,
    /// Held while one is created, so that bounds on their number hold.
    counting: Mutex<()>,
}

static DRIVER: Driver = Driver { switch: Switch::new("virtualization driver"), counting: Mutex::new(()) };

impl Driver {
    /// The one of this process.
    pub fn global() -> &'static Driver {
        &DRIVER
    }

    /// Opens the device. The same configuration again does nothing; another one is [`Status::AlreadyExists`].
    pub fn initialize(&self, config: &DriverConfig) -> Result<()> {
        self.switch.on(config, config.device, config.check())
    }

    /// Destroys the virtual GPUs that were made here, as [`Driver::destroy`] does. Does nothing when it is not initialised.
    pub fn shutdown(&self) {
        if !self.switch.off() {
            return;
        }
        // While the virtual GPUs are there to be told of.
        monitor::stop_publishing();
        monitor::unhook();
        // Their ids alone: what is held here would keep their memory.
        let own: Vec<i32> = table::list().iter().filter(|g| g.is_whole()).map(|g| g.id()).collect();
        for id in own {
            // Destroyed by another thread meanwhile: then it is done.
            let _ = self.end(id);
        }
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.switch.is_on()
    }

    /// Makes a virtual GPU with its memory space and its compute unit. On failure nothing is left of it.
    ///
    /// Errors: [`Status::AlreadyExists`] when it or a part of it exists, [`Status::QuotaExceeded`] when there are as many
    /// virtual GPUs or streams as the configuration allows, [`Status::OutOfMemory`] when the floor cannot be set aside.
    pub fn create(&self, config: &GpuConfig) -> Result<()> {
        let started = self.switch.get()?;
        config.check()?;
        let _one = self.counting.lock();
        let claim = Claim::of(config.id);
        if let Ok(there) = table::find(config.id) {
            let parts = there.parts();
            let what = match (parts.whole, parts.memory) {
                (true, _) => "exists",
                (_, true) => "has a memory space already",
                _ => "has a compute unit already",
            };
            return Err(Error::new(Status::AlreadyExists, format!("virtual GPU {} {what}", config.id)));
        }
        bounded(&started.config, config)?;
        let device = &started.device;
        let all: u32 = device.units().iter().map(|u| u.processors).sum();
        let wanted = TenantConfig {
            memory_limit: config.memory_limit,
            memory_floor: config.memory_floor,
            processors: if config.unit.processors == 0 { all } else { config.unit.processors.min(all) },
            weight: 1.0,
            priority: config.unit.priority as u8,
        };
        let gpu = claim.open(device, &config.name, &wanted)?;
        let policy = MemoryManager::global().wished().policy();
        let made = gpu.tenant().space().set_policy(policy).and_then(|()| make_unit(&gpu, &config.unit));
        match made {
            Ok(unit) => gpu.change(|parts| {
                parts.whole = true;
                parts.memory = true;
                parts.unit = Some(unit);
            }),
            Err(e) => {
                claim.settle(&gpu);
                return Err(e);
            }
        }
        drop(claim);
        shares::weigh()
    }

    /// Ends a virtual GPU with all its parts: work that waits is withdrawn, work in flight waited for, its memory freed.
    /// Returns what had not been freed, which the log tells too.
    pub fn destroy(&self, id: i32) -> Result<Vec<Allocation>> {
        self.switch.must_be_on()?;
        self.end(id)
    }

    fn end(&self, id: i32) -> Result<Vec<Allocation>> {
        check_id(id)?;
        let claim = Claim::of(id);
        let gpu = whole(id)?;
        let left = ends::everything(&claim, &gpu);
        drop(claim);
        shares::weigh()?;
        ends::tell(&gpu, &left);
        ends::let_go(gpu);
        Ok(left)
    }

    /// How it is; [`GpuStatus::NotCreated`] for an id that does not exist.
    pub fn status(&self, id: i32) -> Result<GpuStatus> {
        self.switch.must_be_on()?;
        check_id(id)?;
        match table::find(id) {
            Ok(gpu) => GpuStatus::of(&gpu),
            Err(_) => Ok(GpuStatus::NotCreated),
        }
    }

    /// Its figures.
    pub fn info(&self, id: i32) -> Result<GpuInfo> {
        GpuInfo::of(&*self.find(id)?)
    }

    /// The figures of all, by id. Those of one part only are among them.
    pub fn all_info(&self) -> Result<Vec<GpuInfo>> {
        self.switch.must_be_on()?;
        table::list().iter().map(|gpu| GpuInfo::of(gpu)).collect()
    }

    /// Part of the last second that the whole device was busy, 0 to 1, with work of all programs: see
    /// [`crate::device::Device::busy`]. [`Status::Unsupported`] where nobody tells.
    pub fn utilization(&self) -> Result<f64> {
        self.switch.get()?.device.busy(monitor::WINDOW).ok_or_else(|| {
            Error::unsupported("the device does not tell how busy it is")
                .advise("install NVML with the driver; a second call may know")
        })
    }

    /// The whole device beside what its tenants had of it.
    pub fn device_usage(&self) -> Result<DeviceUsage> {
        Ok(DeviceUsage::of(&self.switch.get()?.device))
    }

    /// Calls `function` with no argument at every `interval`; see [`monitor::hook`]. [`Driver::shutdown`] ends the calls.
    pub fn set_monitor(&self, interval: Duration, function: impl FnMut() + Send + 'static) -> Result<()> {
        self.switch.must_be_on()?;
        monitor::hook(interval, function)?;
        // Shut down meanwhile: nobody else would end them.
        self.switch.must_be_on().inspect_err(|_| monitor::unhook())
    }

    /// Publishes `metrics` to a file; see [`monitor::publish`]. [`Driver::shutdown`] ends that.
    pub fn publish(&self, path: &Path, interval: Duration, metrics: Metrics) -> Result<()> {
        self.switch.must_be_on()?;
        monitor::publish(path, interval, metrics)?;
        self.switch.must_be_on().inspect_err(|_| monitor::stop_publishing())
    }

    /// Allocates `bytes` of its memory; see [`super::MemoryManager::alloc`].
    pub fn alloc(&self, id: i32, bytes: u64) -> Result<u64> {
        work::alloc(&*self.find(id)?, bytes, 1)
    }

    /// Frees what was allocated; see [`super::MemoryManager::free`].
    pub fn free(&self, id: i32, ptr: u64) -> Result<()> {
        work::free(&*self.find(id)?, ptr)
    }

    /// Copies; see [`super::MemoryManager::copy`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn copy(
        &self,
        id: i32,
        dst: u64,
        src: u64,
        bytes: u64,
        kind: CopyKind,
        stream: Option<i32>,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { work::copy(&*self.find(id)?, dst, src, bytes, kind, stream) }
    }

    /// Sets bytes; see [`super::MemoryManager::fill`].
    pub fn fill(&self, id: i32, ptr: u64, value: u8, bytes: u64, stream: Option<i32>) -> Result<()> {
        work::fill(&*self.find(id)?, ptr, value, bytes, stream)
    }

    /// Queues `C = A B`, row-major, or more than that (see [`MatMul`]) on a stream; the number of the execution.
    pub fn matrix_multiply(&self, id: i32, product: &MatMul, stream: i32) -> Result<i32> {
        let gpu = self.find(id)?;
        operations::submit(&gpu, stream, "matrix_multiply", Operation::MatMul(*product), None)
    }

    /// Queues a convolution on a stream; the number of the execution.
    pub fn convolution(&self, id: i32, convolution: &Convolution, stream: i32) -> Result<i32> {
        let gpu = self.find(id)?;
        operations::submit(&gpu, stream, "convolution_forward", convolution.operation()?, None)
    }

    /// Queues an activation on a stream; the number of the execution.
    pub fn activation(&self, id: i32, activation: &Activation<'_>, stream: i32) -> Result<i32> {
        let gpu = self.find(id)?;
        operations::submit(&gpu, stream, "activation_forward", activation.operation()?, None)
    }

    /// Waits for everything that was queued on one stream of it, or on all.
    pub fn synchronize(&self, id: i32, stream: Option<i32>) -> Result<()> {
        super::compute::wait(&*self.find(id)?, stream)
    }

    /// The virtual GPU with this id.
    pub fn find(&self, id: i32) -> Result<Arc<VirtualGpu>> {
        self.switch.must_be_on()?;
        check_id(id)?;
        table::find(id)
    }
}

/// The one that was made as a whole.
fn whole(id: i32) -> Result<Arc<VirtualGpu>> {
    let gpu = table::find(id)?;
    if gpu.is_whole() {
        return Ok(gpu);
    }
    Err(Error::not_found(format!("virtual GPU {id} was not made by createVirtualGPU"))
        .advise("destroyVirtualMemorySpace and destroyVirtualComputeUnit end its parts"))
}

/// Refuses more virtual GPUs or streams than the driver may have.
fn bounded(driver: &DriverConfig, config: &GpuConfig) -> Result<()> {
    let all: Vec<_> = table::list().into_iter().filter(|g| g.is_whole()).collect();
    if all.len() as u64 >= u64::from(driver.most_gpus) {
        return Err(Error::new(
            Status::QuotaExceeded,
            format!("there are {} virtual GPUs, as many as maxVirtualGPUs allows", all.len()),
        )
        .advise("destroy one, or initialize with more"));
    }
    let streams: usize = all.iter().filter_map(|g| Some(g.parts().unit?.lanes.len())).sum();
    let wanted = streams as u64 + u64::from(config.unit.streams);
    if driver.most_streams > 0 && wanted > u64::from(driver.most_streams) {
        return Err(Error::new(
            Status::QuotaExceeded,
            format!(
                "argument `numStreams`: {} more than the {streams} in use pass numVirtualStreams, which is {}",
                config.unit.streams, driver.most_streams
            ),
        ));
    }
    Ok(())
}
