//! A device with little memory of its own, held apart from the host's: what is not mapped cannot be copied.

use super::*;
use crate::device::{
    Access, DeviceInfo, DeviceKind, DevicePtr, Granule, HostMemory, Node, Place, Stream, Unit,
};
use crate::{Error, Result, Status};
use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

pub(super) struct Small {
    host: Arc<dyn Device>,
    ordinal: u32,
    pub capacity: u64,
    pub used: AtomicU64,
    /// Calls until one fails; below 0 none does.
    pub copies: AtomicI64,
    pub unmaps: AtomicI64,
    pub buffers: AtomicI64,
}

pub(super) fn small(ordinal: u32, capacity: u64) -> Arc<Small> {
    let never = || AtomicI64::new(i64::MIN);
    Arc::new(Small {
        host: device(),
        ordinal,
        capacity,
        used: AtomicU64::new(0),
        copies: never(),
        unmaps: never(),
        buffers: never(),
    })
}

/// A space in the books of this device.
pub(super) fn tenant(device: &Arc<Small>, name: &str, limit: u64, floor: u64) -> Arc<Space> {
    let device: Arc<dyn Device> = device.clone();
    let space = Space::new(device.clone(), Ledger::of(&device).open(name, limit, floor).unwrap()).unwrap();
    space.set_fence(Box::new(|| Ok(())));
    space
}

fn tick(counter: &AtomicI64) -> Result<()> {
    match counter.fetch_sub(1, Ordering::SeqCst) {
        0 => Err(Error::new(Status::Driver, "injected")),
        _ => Ok(()),
    }
}

struct Host(Vec<u64>);

impl HostMemory for Host {
    fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

impl Device for Small {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Cuda
    }
    fn ordinal(&self) -> u32 {
        self.ordinal
    }
    fn info(&self) -> Result<DeviceInfo> {
        self.host.info()
    }
    fn memory(&self) -> Result<(u64, u64)> {
        Ok((self.capacity - self.used.load(Ordering::SeqCst), self.capacity))
    }
    fn granularity(&self) -> u64 {
        GRANULE
    }
    fn granule_create(&self, bytes: u64) -> Result<Granule> {
        let take = |used: u64| (used + bytes <= self.capacity).then_some(used + bytes);
        if self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
            return Err(Error::new(Status::OutOfMemory, "the small device is full"));
        }
        self.host.granule_create(bytes)
    }
    fn granule_release(&self, granule: Granule) {
        self.used.fetch_sub(granule.bytes, Ordering::SeqCst);
        self.host.granule_release(granule);
    }
    fn granule_export(&self, granule: &Granule) -> Result<OwnedFd> {
        self.host.granule_export(granule)
    }
    fn granule_import(&self, fd: BorrowedFd<'_>, bytes: u64) -> Result<Granule> {
        let granule = self.host.granule_import(fd, bytes)?;
        self.used.fetch_add(bytes, Ordering::SeqCst);
        Ok(granule)
    }
    fn range_reserve(&self, bytes: u64) -> Result<DevicePtr> {
        self.host.range_reserve(bytes)
    }
    fn range_release(&self, address: DevicePtr, bytes: u64) {
        self.host.range_release(address, bytes);
    }
    fn map(&self, address: DevicePtr, granule: &Granule, access: Access) -> Result<()> {
        self.host.map(address, granule, access)
    }
    fn unmap(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        tick(&self.unmaps)?;
        self.host.unmap(address, bytes)
    }
    fn write(&self, dst: DevicePtr, src: &[u8]) -> Result<()> {
        self.host.write(dst, src)
    }
    fn read(&self, dst: &mut [u8], src: DevicePtr) -> Result<()> {
        self.host.read(dst, src)
    }
    unsafe fn copy(&self, dst: u64, src: u64, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        tick(&self.copies)?;
        // SAFETY: the caller's promise.
        unsafe { self.host.copy(dst, src, bytes, stream) }
    }
    unsafe fn fill(&self, dst: DevicePtr, value: u8, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.host.fill(dst, value, bytes, stream) }
    }
    fn place(&self, address: u64) -> Place {
        self.host.place(address)
    }
    fn host_memory(&self, bytes: u64) -> Result<Box<dyn HostMemory>> {
        tick(&self.buffers)?;
        Ok(Box::new(Host(vec![0; bytes.div_ceil(8) as usize])))
    }
    fn units(&self) -> &[Unit] {
        self.host.units()
    }
    fn node_create(&self, units: &[u32]) -> Result<Arc<dyn Node>> {
        self.host.node_create(units)
    }
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}
