//! Memory of tenants: who may hold how much, and where it lies.
//!
//! The ledger is asked before the device is: bytes are reserved by compare-and-swap in the tenant's [`Account`], then
//! the device is called, and the reservation is rolled back when that fails.
//!
//! # What is charged
//! - An allocation: the bytes asked for, rounded up to 256. A region: the granules mapped in it. A shared image: its
//!   full size to every tenant that maps it, so that what a tenant can hold never depends on its neighbours. The sum
//!   never exceeds the tenant's limit, not by a byte.
//! - Physical memory: granules that a tenant's pool and regions are made of, together with the shared images it maps,
//!   never exceed its limit rounded up to a granule.
//! - An extent: its granules. Host memory that counts as a tenant's ([`Hosted`]): its bytes rounded up to 256; it is no
//!   physical memory of the device.
//!
//! # What is kept
//! Granules that fall free stay with the tenant for reuse while they are no more than two, or a sixteenth of what its
//! pool holds; beyond that they go back to the device at once. When the device has no memory left, or what is left is
//! set aside, the free granules of all tenants are given back before anybody is refused. A [`Bank`] keeps granules for one
//! tenant that it may never use: they are out of everybody else's reach from the moment it is opened.
//!
//! Pieces in which something is still allocated go only through compaction: [`Space::compact`] splits them, so that
//! after it memory that is idle goes back but for two granules or a tenth of what is used. It runs when asked, before an
//! allocation is refused because memory lies scattered, and by itself where [`SpacePolicy::auto`] says so. On a GPU
//! memory goes back by whole granules that hold nothing; on the CPU device by single pages.
//!
//! With [`crate::device::Path::pooled`] a half of what the pool holds is kept, and pools and regions grow in larger
//! pieces. With [`crate::device::Path::direct`] off an allocation is one of the device's driver, and nothing is kept.
//!
//! # Scrubbing
//! Granules are zero when a tenant gets them: the CPU device creates them so, on other devices they are set to zero on
//! creation, before their address is known to anybody. Within one tenant freed memory keeps its content.
//!
//! # Threads
//! Everything here may be used from any thread, but not from work that runs on a stream ([`crate::device::HostFn`]):
//! giving granules back waits for streams.

mod account;
mod away;
mod bank;
mod compaction;
mod cost;
mod door;
mod export;
mod extent;
mod fragmentation;
mod growth;
mod guards;
mod heap;
mod holes;
mod hosted;
mod import;
mod index;
mod lease;
mod ledger;
mod lend;
mod lone;
mod maintenance;
mod moving;
mod note;
mod pages;
mod policy;
mod region;
mod registry;
mod shared;
mod source;
mod space;
mod spill;
mod tag;
mod vacancy;

#[cfg(test)]
mod tests;

pub use account::{Account, Charge, LARGEST_LIMIT};
pub use bank::Bank;
pub use compaction::{Compaction, CompactionFigures};
pub use cost::SpillFigures;
pub use door::{Door, Entered};
pub use export::{Export, Lease};
pub use extent::{Extent, Kept};
pub use fragmentation::Fragmentation;
pub use guards::Overrun;
pub use hosted::Hosted;
pub use import::Import;
pub use ledger::Ledger;
pub use lend::{Advice, Lending, SpillPolicy};
pub use pages::{Page, PageState};
pub use policy::{LARGEST_GUARD, LARGEST_SMALL, SpacePolicy};
pub use region::Region;
pub use registry::{owner_of, tenant_of};
pub use shared::{Shared, SharedMapping};
pub use space::{Fence, Space};

use crate::device::DevicePtr;
use std::time::Duration;

/// Allocations are multiples of this many bytes, and aligned to it.
pub const UNIT: u64 = 256;

/// A live allocation, as found by an address inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// First byte.
    pub ptr: DevicePtr,
    /// Bytes asked for.
    pub bytes: u64,
    /// The tag given at allocation.
    pub tag: String,
    /// How long it has been alive, to a few milliseconds.
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

/// `bytes` rounded up to a multiple of `to`, or the largest such multiple.
fn round_up(bytes: u64, to: u64) -> u64 {
    bytes.checked_next_multiple_of(to).unwrap_or(u64::MAX / to * to)
}

/// Nanoseconds of a clock that only goes forward. It is coarse (a few milliseconds), because reading it takes 4 ns
/// where a fine one takes more than 20, and it is read on every allocation.
fn now() -> u64 {
    // SAFETY: writes a struct on the stack.
    let t = unsafe {
        let mut t = std::mem::zeroed::<libc::timespec>();
        libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut t);
        t
    };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

fn age(born: u64) -> Duration {
    Duration::from_nanos(now().saturating_sub(born))
}
