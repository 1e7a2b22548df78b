//! Memory of tenants: who may hold how much, and where it lies.
//!
//! The ledger is asked before the device is: bytes are reserved by compare-and-swap in the tenant's [`Account`], then
//! the device is called, and the reservation is rolled back when that fails.

use crate::Result;
use crate::device::{Device, DevicePtr};
use std::sync::Arc;
use std::time::Duration;

/// The books of one device: every account that was opened on it.
pub struct Ledger {}

impl Ledger {
    /// The ledger of a device; one per device and process.
    pub fn of(device: &Arc<dyn Device>) -> Arc<Ledger> {
        let _ = device;
        unimplemented!()
    }

    /// Opens an account. `limit` is the most bytes it may ever hold; `floor` of them are set aside for it.
    pub fn open(&self, name: &str, limit: u64, floor: u64) -> Result<Arc<Account>> {
        let _ = (name, limit, floor);
        unimplemented!()
    }
}

/// What one tenant may hold and holds. Shared between threads; all counters are exact at every moment.
pub struct Account {}

impl Account {
    /// The most bytes the tenant may hold.
    pub fn limit(&self) -> u64 {
        unimplemented!()
    }
    /// Bytes held now.
    pub fn held(&self) -> u64 {
        unimplemented!()
    }
    /// The most bytes ever held.
    pub fn peak(&self) -> u64 {
        unimplemented!()
    }
    /// Requests refused because of the limit.
    pub fn rejections(&self) -> u64 {
        unimplemented!()
    }
    /// Bytes set aside for the tenant.
    pub fn floor(&self) -> u64 {
        unimplemented!()
    }
    /// Changes the floor; refused when it passes the limit or what the device has left to promise.
    pub fn set_floor(&self, floor: u64) -> Result<()> {
        let _ = floor;
        unimplemented!()
    }
    /// Changes the limit; refused when more is held.
    pub fn set_limit(&self, limit: u64) -> Result<()> {
        let _ = limit;
        unimplemented!()
    }
}

/// A live allocation, as found by an address inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// First byte.
    pub ptr: DevicePtr,
    /// Bytes asked for.
    pub bytes: u64,
    /// The tag given at allocation.
    pub tag: String,
    /// How long it has been alive.
    pub age: Duration,
}

/// A tenant's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The most the tenant may hold.
    pub limit: u64,
    /// Bytes charged now: allocations rounded up to 256 bytes, mapped regions, shared weights.
    pub held: u64,
    /// The most ever held.
    pub peak: u64,
    /// Of `held`: bytes of read-only weights that other tenants may share physically.
    pub shared: u64,
    /// Of `held`: bytes of regions (key/value cache).
    pub regions: u64,
    /// Live allocations.
    pub allocations: u64,
    /// Physical bytes mapped for this tenant alone (whole granules).
    pub physical: u64,
    /// Requests refused.
    pub rejections: u64,
}

/// A tenant's address range and what is mapped in it.
pub struct Space {}

impl Space {
    /// A space on a device, charged to `account`.
    pub fn new(device: Arc<dyn Device>, account: Arc<Account>) -> Result<Arc<Space>> {
        let _ = (device, account);
        unimplemented!()
    }
    /// The first address of the space's range.
    pub fn base(&self) -> DevicePtr {
        unimplemented!()
    }
    /// Allocates `bytes` (at least 1), aligned to `align` (a power of two; at least 256 is always given).
    pub fn alloc(&self, bytes: u64, align: u64, tag: &str) -> Result<DevicePtr> {
        let _ = (bytes, align, tag);
        unimplemented!()
    }
    /// Frees an allocation by the very pointer that was returned. The memory is scrubbed before anybody else gets it.
    pub fn free(&self, ptr: DevicePtr) -> Result<()> {
        let _ = ptr;
        unimplemented!()
    }
    /// The live allocation that holds `address`.
    pub fn find(&self, address: DevicePtr) -> Option<Allocation> {
        let _ = address;
        unimplemented!()
    }
    /// Checks that `bytes` bytes from `address` lie inside one live allocation; `argument` names it in the error.
    pub fn check(&self, argument: &str, address: DevicePtr, bytes: u64) -> Result<()> {
        let _ = (argument, address, bytes);
        unimplemented!()
    }
    /// Reserves addresses for up to `max_bytes`, nothing mapped yet: memory that grows without moving.
    pub fn region(self: &Arc<Self>, max_bytes: u64, tag: &str) -> Result<Region> {
        let _ = (max_bytes, tag);
        unimplemented!()
    }
    /// Maps a shared read-only image into this space and charges its full size to this tenant.
    pub fn map_shared(self: &Arc<Self>, image: &Arc<Shared>, tag: &str) -> Result<SharedMapping> {
        let _ = (image, tag);
        unimplemented!()
    }
    /// What is still allocated, oldest first.
    pub fn leaks(&self) -> Vec<Allocation> {
        unimplemented!()
    }
    /// Figures.
    pub fn usage(&self) -> Usage {
        unimplemented!()
    }
}

/// Memory that grows at its end under a fixed address. Unmapped and refunded when dropped.
pub struct Region {}

impl Region {
    /// The fixed start.
    pub fn base(&self) -> DevicePtr {
        unimplemented!()
    }
    /// Bytes mapped and charged now (whole granules).
    pub fn mapped(&self) -> u64 {
        unimplemented!()
    }
    /// Makes at least `bytes` from the start usable; maps and charges what is missing, or changes nothing.
    pub fn grow(&self, bytes: u64) -> Result<()> {
        let _ = bytes;
        unimplemented!()
    }
    /// Unmaps and refunds whole granules beyond `bytes`. No work that touches them may be in flight.
    pub fn shrink(&self, bytes: u64) -> Result<()> {
        let _ = bytes;
        unimplemented!()
    }
}

/// A read-only physical image (weights) that several spaces map. One copy per device and key while anybody uses it.
pub struct Shared {}

impl Shared {
    /// The image of `key` on `device`; when nobody holds it, creates `bytes` of granules, maps them writable at a
    /// private address and calls `fill` with it (loads of one key at the same time wait for the first).
    pub fn open(
        device: &Arc<dyn Device>,
        key: &str,
        bytes: u64,
        fill: &mut dyn FnMut(DevicePtr) -> Result<()>,
    ) -> Result<Arc<Shared>> {
        let _ = (device, key, bytes, fill);
        unimplemented!()
    }
    /// Size in bytes (whole granules).
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }
    /// How many spaces map it now.
    pub fn mappings(&self) -> u32 {
        unimplemented!()
    }
}

/// A [`Shared`] image mapped in a space. Unmapped and refunded when dropped.
pub struct SharedMapping {}

impl SharedMapping {
    /// Where it is mapped.
    pub fn base(&self) -> DevicePtr {
        unimplemented!()
    }
    /// The image.
    pub fn image(&self) -> &Arc<Shared> {
        unimplemented!()
    }
}

/// The tenant and the live allocation that hold `address`, on any device of this process.
pub fn owner_of(address: DevicePtr) -> Option<(String, Allocation)> {
    let _ = address;
    unimplemented!()
}
