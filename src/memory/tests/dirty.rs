//! A device whose new memory is full of somebody else's bytes and which fails on demand: what holds here holds
//! through the trait alone.

use super::super::Shared;
use super::*;
use crate::device::{Access, DeviceInfo, DeviceKind, DevicePtr, Granule, Node, Path, Place, Stream, Unit};
use crate::{Error, Result, Status};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicI64, Ordering};

const SECRET: u8 = 0xA5;

pub(super) struct Dirty {
    host: Arc<dyn Device>,
    ordinal: u32,
    /// Granules and mappings that exist.
    granules: AtomicI64,
    mappings: AtomicI64,
    way: Path,
    /// Calls until one fails; below 0 none does.
    pub(super) creates: AtomicI64,
    pub(super) maps: AtomicI64,
    pub(super) fills: AtomicI64,
    pub(super) waits: AtomicI64,
}

pub(super) fn dirty(ordinal: u32) -> Arc<Dirty> {
    let never = || AtomicI64::new(i64::MIN);
    Arc::new(Dirty {
        host: device(),
        ordinal,
        granules: AtomicI64::new(0),
        mappings: AtomicI64::new(0),
        way: Path::default(),
        creates: never(),
        maps: never(),
        fills: never(),
        waits: never(),
    })
}

fn tick(counter: &AtomicI64, status: Status) -> Result<()> {
    match counter.fetch_sub(1, Ordering::SeqCst) {
        0 => Err(Error::new(status, "injected")),
        _ => Ok(()),
    }
}

impl Device for Dirty {
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
        Ok((256 * MIB, 256 * MIB))
    }
    fn granularity(&self) -> u64 {
        GRANULE
    }
    fn granule_create(&self, bytes: u64) -> Result<Granule> {
        tick(&self.creates, Status::OutOfMemory)?;
        let granule = self.host.granule_create(bytes)?;
        let at = self.host.range_reserve(bytes)?;
        self.host.map(at, &granule, Access::ReadWrite)?;
        // SAFETY: mapped above.
        unsafe { self.host.fill(at, SECRET, bytes, None)? };
        self.host.unmap(at, bytes)?;
        self.host.range_release(at, bytes);
        self.granules.fetch_add(1, Ordering::SeqCst);
        Ok(granule)
    }
    fn granule_release(&self, granule: Granule) {
        self.granules.fetch_sub(1, Ordering::SeqCst);
        self.host.granule_release(granule);
    }
    fn granule_export(&self, granule: &Granule) -> Result<OwnedFd> {
        self.host.granule_export(granule)
    }
    fn range_reserve(&self, bytes: u64) -> Result<DevicePtr> {
        self.host.range_reserve(bytes)
    }
    fn range_release(&self, address: DevicePtr, bytes: u64) {
        self.host.range_release(address, bytes);
    }
    fn map(&self, address: DevicePtr, granule: &Granule, access: Access) -> Result<()> {
        tick(&self.maps, Status::Driver)?;
        self.host.map(address, granule, access)?;
        self.mappings.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    fn unmap(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        self.host.unmap(address, bytes)?;
        self.mappings.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
    fn write(&self, dst: DevicePtr, src: &[u8]) -> Result<()> {
        self.host.write(dst, src)
    }
    fn read(&self, dst: &mut [u8], src: DevicePtr) -> Result<()> {
        self.host.read(dst, src)
    }
    unsafe fn copy(&self, dst: u64, src: u64, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.host.copy(dst, src, bytes, stream) }
    }
    unsafe fn fill(&self, dst: DevicePtr, value: u8, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        tick(&self.fills, Status::Driver)?;
        // SAFETY: the caller's promise.
        unsafe { self.host.fill(dst, value, bytes, stream) }
    }
    fn place(&self, address: u64) -> Place {
        self.host.place(address)
    }
    fn path(&self) -> &Path {
        &self.way
    }
    fn units(&self) -> &[Unit] {
        self.host.units()
    }
    fn node_create(&self, units: &[u32]) -> Result<Arc<dyn Node>> {
        self.host.node_create(units)
    }
    fn synchronize(&self) -> Result<()> {
        tick(&self.waits, Status::Driver)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub(super) fn space_on(device: &Arc<Dirty>, limit: u64) -> Arc<Space> {
    let device: Arc<dyn Device> = device.clone();
    Space::new(device.clone(), Ledger::of(&device).open("t", limit, 0).unwrap()).unwrap()
}

pub(super) fn all_zero(device: &Dirty, at: DevicePtr, bytes: u64) -> bool {
    let mut content = vec![SECRET; bytes as usize];
    device.read(&mut content, at).unwrap();
    content.iter().all(|b| *b == 0)
}

pub(super) fn is_clean(device: &Dirty) {
    assert_eq!(device.mappings.load(Ordering::SeqCst), 0);
    assert_eq!(device.granules.load(Ordering::SeqCst), 0);
}

#[test]
fn nobody_sees_what_was_in_memory_before() {
    let device = dirty(100);
    {
        let space = space_on(&device, 32 * MIB);
        let small = space.alloc(GRANULE, 1, "a").unwrap();
        assert!(all_zero(&device, small, GRANULE));
        let large = space.alloc(9 * MIB, 1, "b").unwrap();
        assert!(all_zero(&device, large, 9 * MIB));
        let region = space.region(8 * MIB, "r").unwrap();
        region.grow(8 * MIB).unwrap();
        assert!(all_zero(&device, region.base(), 8 * MIB));
        let dynamic: Arc<dyn Device> = device.clone();
        let image = Shared::open(&dynamic, "dirty", GRANULE, &mut |at| {
            assert!(all_zero(&device, at, GRANULE));
            Ok(())
        });
        let mapping = space.map_shared(&image.unwrap(), "w").unwrap();
        assert!(all_zero(&device, mapping.base(), GRANULE));
    }
    is_clean(&device);
}

/// Every call of each kind fails once, at each place: nothing may be charged, mapped or lost.
#[test]
fn whatever_fails_is_rolled_back() {
    let device = dirty(101);
    let counters = [&device.creates, &device.maps, &device.fills, &device.waits];
    for (n, counter) in counters.into_iter().enumerate() {
        for at in 0..14 {
            let space = space_on(&device, 64 * MIB);
            let account = space.account.clone();
            let live = space.alloc(100, 1, "live").unwrap();
            let region = space.region(64 * MIB, "r").unwrap();
            let physical = || account.ledger().physical();
            counter.store(at, Ordering::SeqCst);
            for _ in 0..3 {
                let before = (account.held(), region.mapped());
                if region.grow(region.mapped() + 5 * MIB).is_err() {
                    assert_eq!((account.held(), region.mapped()), before);
                }
                let held = account.held();
                match space.alloc(7 * MIB, 1, "x") {
                    Ok(ptr) => space.free(ptr).unwrap(),
                    Err(e) => assert!(e.message().contains("injected"), "{e}"),
                }
                assert_eq!(account.held(), held);
                assert_eq!(account.physical(), physical());
                let dynamic: Arc<dyn Device> = device.clone();
                let image = Shared::open(&dynamic, "rolled", 3 * MIB, &mut |_| Ok(()));
                let mapping = image.and_then(|image| space.map_shared(&image, "w"));
                assert_eq!(account.held(), held + if mapping.is_ok() { 4 * MIB } else { 0 });
                drop(mapping);
            }
            counter.store(i64::MIN, Ordering::SeqCst);
            assert_eq!(space.find(live).unwrap().bytes, 100);
            assert_eq!(space.usage().allocations, 1, "counter {n} at {at}");
            drop((region, space));
            assert_eq!((account.held(), account.footprint(), physical()), (0, 0, 0), "counter {n} at {at}");
            is_clean(&device);
        }
    }
}

#[test]
fn idle_memory_of_others_is_used_before_anybody_is_refused() {
    let device = dirty(102);
    let (a, b) = (space_on(&device, 64 * MIB), space_on(&device, 64 * MIB));
    let ptr = a.alloc(4 * MIB, 1, "x").unwrap();
    a.free(ptr).unwrap();
    assert!(a.usage().physical > 0);
    // The device is out of memory once; then what `a` kept has come back.
    device.creates.store(0, Ordering::SeqCst);
    b.alloc(MIB, 1, "y").unwrap();
    assert_eq!(a.usage().physical, 0);
}

#[test]
fn granules_leave_only_after_the_fence() {
    let device = dirty(103);
    let space = space_on(&device, 64 * MIB);
    let ptr = space.alloc(30 * MIB, 1, "x").unwrap();
    let before = device.mappings.load(Ordering::SeqCst);
    let (seen, watched) = (Arc::new(AtomicI64::new(0)), device.clone());
    let at_fence = seen.clone();
    space.set_fence(Box::new(move || {
        at_fence.store(watched.mappings.load(Ordering::SeqCst), Ordering::SeqCst);
        Ok(())
    }));
    space.free(ptr).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), before);
    assert!(device.mappings.load(Ordering::SeqCst) < before);
    // A fence that fails keeps the memory with the tenant, usable.
    let ptr = space.alloc(30 * MIB, 1, "x").unwrap();
    let before = device.mappings.load(Ordering::SeqCst);
    space.set_fence(Box::new(|| Err(Error::new(Status::DeviceLost, "gone"))));
    space.free(ptr).unwrap();
    assert_eq!(device.mappings.load(Ordering::SeqCst), before);
    assert_eq!(space.alloc(30 * MIB, 1, "again").unwrap(), ptr);
}
