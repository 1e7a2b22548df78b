//! Gaps behind allocations that show what wrote beyond its end.

use super::space::Space;
use super::{Allocation, UNIT};
use crate::Result;
use crate::device::DevicePtr;

/// What gaps are filled with.
const PATTERN: u8 = 0xFD;

/// An allocation behind whose end somebody wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// The allocation.
    pub allocation: Allocation,
    /// The first byte beyond its end that was changed.
    pub address: DevicePtr,
    /// How many bytes of the gap have changed.
    pub bytes: u64,
}

impl Space {
    /// Fills the gap behind a new allocation. When that fails the allocation is freed.
    pub(super) fn guard_new(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        let unit = ((ptr - self.base) / UNIT) as u32;
        let gap = u64::from(self.units_at(unit)) * UNIT - bytes;
        let filled = {
            let device = &self.source.device;
            self.enter_for(&[(ptr + bytes, gap)]).and_then(|_door| {
                // SAFETY: the gap belongs to an allocation that nobody knows yet.
                unsafe { device.fill(ptr + bytes, PATTERN, gap, None) }
            })
        };
        if let Err(e) = filled {
            let _ = self.release(ptr);
            return Err(e);
        }
        let mut heap = self.heap.lock();
        if let Some(id) = heap.live_at(unit) {
            heap.guard(id);
        }
        Ok(())
    }

    fn units_at(&self, unit: u32) -> u32 {
        let heap = self.heap.lock();
        heap.live_at(unit).map_or(0, |id| heap.block(id).units)
    }

    /// Looks at the gaps behind all allocations that were made with [`super::SpacePolicy::guard_pattern`], and returns
    /// those that somebody wrote into. Work in flight of the tenant may still write: wait for it first.
    pub fn check_guards(&self) -> Result<Vec<Overrun>> {
        let guarded: Vec<(u32, u32, Allocation)> = {
            let heap = self.heap.lock();
            heap.live_blocks().filter(|b| b.guarded).map(|b| (b.start, b.units, self.describe(b))).collect()
        };
        let mut overruns = Vec::new();
        let mut content = Vec::new();
        for (start, units, allocation) in guarded {
            let first = allocation.ptr + allocation.bytes;
            content.resize((u64::from(units) * UNIT - allocation.bytes) as usize, 0);
            let read = {
                let bytes = content.len() as u64;
                self.enter_for(&[(first, bytes)])
                    .and_then(|_door| self.source.device.read(&mut content, first))
            };
            // Freed meanwhile, it is nobody's any more.
            let same = {
                let heap = self.heap.lock();
                let id = heap.live_at(start).filter(|id| heap.block(*id).guarded);
                id.is_some_and(|id| heap.block(id).units == units && heap.block(id).bytes == allocation.bytes)
            };
            if !same {
                continue;
            }
            read?;
            if let Some(at) = content.iter().position(|b| *b != PATTERN) {
                let bytes = content.iter().filter(|b| **b != PATTERN).count() as u64;
                overruns.push(Overrun { allocation, address: first + at as u64, bytes });
            }
        }
        overruns.sort_by_key(|o| o.address);
        Ok(overruns)
    }
}
