//! What is done with a virtual GPU's memory, through whichever manager.

use crate::device::Stream;
use crate::virtualization::copy::{self, CopyKind};
use crate::virtualization::table::VirtualGpu;
use crate::{Error, Result};

/// What these allocations are called in reports.
pub(super) const TAG: &str = "virtual GPU memory";

/// Largest alignment.
const MOST_ALIGNMENT: u64 = 1 << 31;

pub(in crate::virtualization) fn alloc(gpu: &VirtualGpu, bytes: u64, alignment: u64) -> Result<u64> {
    gpu.must_have_memory()?;
    if bytes == 0 {
        return Err(Error::argument("size", "must not be 0"));
    }
    if !alignment.is_power_of_two() || alignment > MOST_ALIGNMENT {
        return Err(Error::argument(
            "alignment",
            format!("{alignment} is not a power of two up to {MOST_ALIGNMENT}"),
        ));
    }
    gpu.tenant().space().alloc(bytes, alignment, TAG)
}

/// Frees once everything that was queued before has ended: it may use the memory.
pub(in crate::virtualization) fn free(gpu: &VirtualGpu, ptr: u64) -> Result<()> {
    gpu.must_have_memory()?;
    gpu.tenant().space().check("ptr", ptr, 1)?;
    if let Some(unit) = gpu.parts().unit {
        for lane in &unit.lanes {
            // A device that answers errors has no work in flight that matters.
            let _ = lane.same_queue().settle();
        }
    }
    gpu.tenant().free(ptr)
}

/// See [`crate::virtualization::MemoryManager::copy`].
///
/// # Safety
/// As there.
pub(in crate::virtualization) unsafe fn copy(
    gpu: &VirtualGpu,
    dst: u64,
    src: u64,
    bytes: u64,
    kind: CopyKind,
    stream: Option<i32>,
) -> Result<()> {
    gpu.must_have_memory()?;
    let unit = stream.map(|_| gpu.unit()).transpose()?;
    let lane = unit.as_ref().zip(stream).map(|(unit, index)| unit.lane(gpu, index)).transpose()?;
    if bytes == 0 {
        return Err(Error::argument("size", "must not be 0"));
    }
    let tenant = gpu.tenant();
    copy::check(tenant, kind, dst, src)?;
    let Some(lane) = lane else {
        // SAFETY: the caller's promise about its own memory; the rest is checked there.
        return unsafe { tenant.copy(dst, src, bytes, None) };
    };
    // Now and not when its turn has come, so that the caller hears of it.
    tenant.check_copy(dst, src, bytes)?;
    let own = tenant.clone();
    // SAFETY: as above.
    let work = move |stream: &dyn Stream| unsafe { own.copy(dst, src, bytes, Some(stream)) };
    lane.queue(tenant)?.run(work).map(drop)
}

pub(in crate::virtualization) fn fill(
    gpu: &VirtualGpu,
    ptr: u64,
    value: u8,
    bytes: u64,
    stream: Option<i32>,
) -> Result<()> {
    gpu.must_have_memory()?;
    let unit = stream.map(|_| gpu.unit()).transpose()?;
    let lane = unit.as_ref().zip(stream).map(|(unit, index)| unit.lane(gpu, index)).transpose()?;
    if bytes == 0 {
        return Err(Error::argument("size", "must not be 0"));
    }
    let tenant = gpu.tenant();
    tenant.space().check("ptr", ptr, bytes)?;
    let Some(lane) = lane else { return tenant.fill(ptr, value, bytes, None) };
    let own = tenant.clone();
    lane.queue(tenant)?.run(move |stream| own.fill(ptr, value, bytes, Some(stream))).map(drop)
}
