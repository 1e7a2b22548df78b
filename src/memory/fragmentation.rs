//! How far free memory lies scattered.

use super::UNIT;
use super::space::Space;
use std::sync::atomic::Ordering;

/// What is free in a space, and how much of it one allocation can have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fragmentation {
    /// Bytes that the tenant may still allocate: its limit less what it holds, or what the device has left where that is
    /// less.
    pub free: u64,
    /// The largest single allocation that would succeed at this moment without compaction.
    pub largest: u64,
    /// The share of `free` that no allocation of `largest` bytes can use: `1 - largest / free`, and 0 when nothing is
    /// free.
    pub level: f64,
    /// Bytes that have memory, allocated or not.
    pub mapped: u64,
    /// Of these the bytes of live allocations.
    pub used: u64,
}

impl Space {
    /// How far its free memory lies scattered, exactly as of now: an allocation of [`Fragmentation::largest`] bytes
    /// succeeds, and one of 256 bytes more does not unless compaction helps it or other tenants give way. Only the device's own free memory is a
    /// reading: other processes may take it meanwhile.
    pub fn fragmentation(&self) -> Fragmentation {
        let device_room = self.device_room();
        let maps = self.maps.lock();
        let heap = self.heap.lock();
        let (limit, held) = (self.account.limit() / UNIT * UNIT, self.account.held());
        let mapped = self.mapped.load(Ordering::Relaxed) * UNIT;
        let used = heap.used * UNIT;
        let free = limit.saturating_sub(held).min((mapped - used).saturating_add(device_room));
        let guard = self.guard.load(Ordering::Relaxed);
        let most = self.largest_possible(&maps, &heap, device_room).saturating_mul(UNIT);
        let largest = most.min(limit.saturating_sub(held)).saturating_sub(guard);
        let level = if free == 0 { 0.0 } else { (1.0 - largest as f64 / free as f64).max(0.0) };
        Fragmentation { free, largest, level, mapped, used }
    }

    /// Bytes that the device would still give this tenant, as far as anybody can tell.
    fn device_room(&self) -> u64 {
        let free = self.source.device.memory().map_or(u64::MAX, |(free, _)| free);
        self.source.ledger.room(&self.account).min(free)
    }
}
