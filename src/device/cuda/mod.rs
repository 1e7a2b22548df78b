//! The CUDA device: NVIDIA GPUs through the driver API, looked up at run time.
//!
//! Nothing of the CUDA toolkit is needed, to build or to run. What an installed driver lacks is an error value with
//! advice, or a smaller set of [`Capability`]s. The primary context is used, as the CUDA runtime does, so that its
//! libraries and the application share one context with Cogniware.

mod cache;
mod capability;
mod codes;
mod context;
mod cupti;
mod driver;
mod graph;
mod health;
mod info;
mod measure;
mod memory;
mod module;
mod node;
mod peer;
mod pinned;
mod registered;
mod space;
mod staging;
mod stream;
mod texture;
mod timeline;
mod transfer;
#[allow(missing_docs)]
pub(crate) mod types;

pub use capability::Capability;
pub use driver::CudaDriver;
pub use graph::Graph;
pub use module::{Function, FunctionAttributes, Module};
pub use node::CudaNode;
pub use pinned::PinnedBuffer;
pub use stream::{CudaEvent, CudaStream};
pub(crate) use timeline::{Parts, Work, expect_bytes, measured};

use super::{
    Access, CachePart, Count, Device, DeviceHealth, DeviceInfo, DeviceKind, DevicePtr, Granule, HostMemory,
    Node, Path, Place, Stream, Texture, TextureView, Unit,
};
use crate::{Error, Result};
use context::Context;
use node::Ladder;
use once_cell::sync::OnceCell;
use space::AddressSpace;
use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// An NVIDIA GPU. Usable from any thread; not from a forked child.
pub struct CudaDevice {
    ordinal: u32,
    context: Arc<Context>,
    ladder: Ladder,
    space: Arc<AddressSpace>,
    transfers: memory::Transfers,
    capabilities: Vec<Capability>,
    fixed_info: OnceCell<DeviceInfo>,
    /// The GPU's address on the bus, for NVML.
    pci: OnceCell<String>,
}

impl CudaDevice {
    /// Opens the GPU with this ordinal through the process's driver.
    pub fn open(ordinal: u32) -> Result<Arc<dyn Device>> {
        Ok(CudaDevice::with_driver(CudaDriver::shared()?, ordinal)?)
    }

    /// Opens the GPU with this ordinal through `driver`.
    ///
    /// Errors: `NoDevice` when there is no such GPU; `Unsupported` when it has no virtual memory management, which
    /// every GPU since Pascal has with a driver of CUDA 10.2 or newer.
    pub fn with_driver(driver: Arc<CudaDriver>, ordinal: u32) -> Result<Arc<CudaDevice>> {
        let count = driver.device_count()?;
        if ordinal >= count {
            return Err(Error::new(
                crate::Status::NoDevice,
                format!("there is no CUDA device {ordinal}: the driver shows {count}"),
            )
            .advise("check nvidia-smi and CUDA_VISIBLE_DEVICES"));
        }
        let mut device = 0;
        // SAFETY: `device` outlives the call.
        unsafe { driver.cuDeviceGet(&mut device, ordinal as i32)? };
        let context = Context::retain(driver, device)?;
        let space = Arc::new(AddressSpace::new(context.clone())?);
        let sms = info::attribute(&context, types::attribute::MULTIPROCESSORS)?;
        let ladder = Ladder::new(context.clone(), sms);
        let capabilities = capability::list(&context, &ladder, &space)?;
        Ok(Arc::new(CudaDevice {
            ordinal,
            ladder,
            transfers: memory::Transfers::new(context.clone(), space.clone()),
            space,
            capabilities,
            fixed_info: OnceCell::new(),
            pci: OnceCell::new(),
            context,
        }))
    }

    /// What this GPU and driver can do, and why not where they cannot.
    pub fn capabilities(&self) -> &[Capability] {
        &self.capabilities
    }

    /// The driver that this device uses.
    pub fn driver(&self) -> &Arc<CudaDriver> {
        &self.context.driver
    }

    /// The CUDA device behind a device of the device room; an error names `argument` when it is another kind.
    pub fn of<'a>(device: &'a dyn Device, argument: &str) -> Result<&'a CudaDevice> {
        device
            .as_any()
            .downcast_ref::<CudaDevice>()
            .ok_or_else(|| Error::argument(argument, "is not a CUDA device"))
    }

    /// Makes the device's primary context current on this thread until the next change: for libraries such as
    /// cuBLASLt that work in the current context.
    pub fn make_current(&self) -> Result<()> {
        self.context.make_current()
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Device for CudaDevice {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cuda
    }

    fn ordinal(&self) -> u32 {
        self.ordinal
    }

    fn info(&self) -> Result<DeviceInfo> {
        let mut info = self.fixed_info.get_or_try_init(|| info::read(&self.context))?.clone();
        (info.free_memory, info.total_memory) = self.memory()?;
        Ok(info)
    }

    fn health(&self) -> DeviceHealth {
        let pci = self.pci.get_or_try_init(|| info::pci(&self.context));
        pci.map_or_else(|_| DeviceHealth::default(), |pci| health::read(pci))
    }

    fn busy(&self, window: Duration) -> Option<f64> {
        health::busy(self.pci.get_or_try_init(|| info::pci(&self.context)).ok()?, window)
    }

    fn memory(&self) -> Result<(u64, u64)> {
        let _current = self.context.enter()?;
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: both outlive the call.
        unsafe { self.context.driver.cuMemGetInfo_v2(&mut free, &mut total)? };
        Ok((free as u64, total as u64))
    }

    fn granularity(&self) -> u64 {
        self.space.granularity()
    }

    fn granule_create(&self, bytes: u64) -> Result<Granule> {
        self.space.granule_create(bytes)
    }

    fn granule_release(&self, granule: Granule) {
        self.space.granule_release(granule);
    }

    fn granule_export(&self, granule: &Granule) -> Result<OwnedFd> {
        self.space.granule_export(granule)
    }

    fn granule_import(&self, fd: BorrowedFd<'_>, bytes: u64) -> Result<Granule> {
        self.space.granule_import(fd, bytes)
    }

    fn range_reserve(&self, bytes: u64) -> Result<DevicePtr> {
        self.space.range_reserve(bytes)
    }

    fn range_release(&self, address: DevicePtr, bytes: u64) {
        self.space.range_release(address, bytes);
    }

    fn map(&self, address: DevicePtr, granule: &Granule, access: Access) -> Result<()> {
        self.space.map(address, granule, access)
    }

    fn unmap(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        self.space.unmap(address, bytes)
    }

    fn write(&self, dst: DevicePtr, src: &[u8]) -> Result<()> {
        self.transfers.write(dst, src)
    }

    fn read(&self, dst: &mut [u8], src: DevicePtr) -> Result<()> {
        self.transfers.read(dst, src)
    }

    unsafe fn copy(&self, dst: u64, src: u64, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        // SAFETY: the caller's duty.
        unsafe { self.transfers.copy(dst, src, bytes, stream) }
    }

    unsafe fn fill(&self, dst: DevicePtr, value: u8, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        // SAFETY: the caller's duty.
        unsafe { self.transfers.fill(dst, value, bytes, stream) }
    }

    fn place(&self, address: u64) -> Place {
        self.space.place(address)
    }

    fn host_memory(&self, bytes: u64) -> Result<Box<dyn HostMemory>> {
        let bytes = usize::try_from(bytes).map_err(|_| Error::argument("bytes", "is too large"))?;
        Ok(Box::new(PinnedBuffer::new(self, bytes)?))
    }

    fn host_buffer(&self, bytes: u64) -> Result<Box<dyn HostMemory>> {
        let bytes = usize::try_from(bytes).map_err(|_| Error::argument("bytes", "is too large"))?;
        Ok(Box::new(PinnedBuffer::of_driver(self.context(), bytes)?))
    }

    fn path(&self) -> &Path {
        &self.context.path
    }

    fn plain_alloc(&self, bytes: u64) -> Result<DevicePtr> {
        let size = usize::try_from(bytes).map_err(|_| Error::argument("bytes", "is too large"))?;
        let mut address = 0u64;
        let _current = self.context.enter()?;
        // SAFETY: `address` outlives the call.
        unsafe { self.context.driver.cuMemAlloc_v2(&mut address, size)? };
        self.context.path.count(Count::StandardAllocations, 1);
        Ok(address)
    }

    fn plain_free(&self, address: DevicePtr, _bytes: u64) -> Result<()> {
        // It waits for the whole context, which a stream in capture does not survive.
        let _no_capture = self.context.capturing.write();
        let _current = self.context.enter()?;
        // SAFETY: the driver refuses what it did not allocate.
        unsafe { self.context.driver.cuMemFree_v2(address) }
    }

    unsafe fn host_register(&self, address: u64, bytes: u64) -> Result<Box<dyn HostMemory>> {
        let bytes = usize::try_from(bytes).map_err(|_| Error::argument("bytes", "is too large"))?;
        Ok(Box::new(registered::Registered::new(&self.context, address, bytes)?))
    }

    fn texture(&self, view: TextureView) -> Result<Box<dyn Texture>> {
        Ok(Box::new(texture::CudaTexture::new(&self.context, view)?))
    }

    fn thread_stack(&self) -> Result<(u64, u64)> {
        let info = self.info()?;
        let threads = u64::from(info.multiprocessors) * u64::from(info.max_threads_per_multiprocessor);
        Ok((self.context.stack_limit()?, threads))
    }

    fn set_thread_stack(&self, bytes: u64) -> Result<u64> {
        self.context.set_stack_limit(bytes)?;
        self.context.stack_limit()
    }

    fn units(&self) -> &[Unit] {
        self.ladder.units()
    }

    fn node_create(&self, units: &[u32]) -> Result<Arc<dyn Node>> {
        Ok(Arc::new(self.ladder.node(units)?))
    }

    fn is_lost(&self) -> bool {
        self.context.is_lost()
    }

    fn throw_away(&self) -> Result<()> {
        if !self.is_lost() {
            return Err(Error::new(crate::Status::Busy, format!("CUDA device {} is not lost", self.ordinal)));
        }
        self.free_caches();
        self.context.throw_away()?;
        self.space.collect();
        Ok(())
    }

    fn free_caches(&self) {
        self.transfers.free_caches();
        self.ladder.free_caches();
    }

    fn cache_parts(&self) -> Vec<CachePart> {
        cache::parts(&self.context)
    }

    fn cache_set_aside(&self, bytes: u64) -> Result<u64> {
        cache::set_aside(&self.context, bytes)
    }

    fn synchronize(&self) -> Result<()> {
        let _no_capture = self.context.capturing.write();
        let _current = self.context.enter()?;
        // SAFETY: the context is current; its green contexts are waited for too.
        unsafe { self.context.driver.cuCtxSynchronize() }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
