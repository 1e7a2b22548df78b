//! What is done with a virtual GPU's memory, through whichever manager.

use crate::virtualization::copy::{self, CopyKind};
use crate::virtualization::table::VirtualGpu;
use crate::{Error, Result};

/// What these allocations are called in reports.
const TAG: &str = "virtual GPU memory";

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

pub(in crate::virtualization) fn free(gpu: &VirtualGpu, ptr: u64) -> Result<()> {
    gpu.must_have_memory()?;
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
    let stream = stream.map(|index| gpu.stream(index)).transpose()?;
    if bytes == 0 {
        return Err(Error::argument("size", "must not be 0"));
    }
    copy::check(gpu.tenant(), kind, dst, src)?;
    // SAFETY: the caller's promise about its own memory; the rest is checked there.
    unsafe { gpu.tenant().copy(dst, src, bytes, stream.as_deref()) }
}

pub(in crate::virtualization) fn fill(
    gpu: &VirtualGpu,
    ptr: u64,
    value: u8,
    bytes: u64,
    stream: Option<i32>,
) -> Result<()> {
    gpu.must_have_memory()?;
    let stream = stream.map(|index| gpu.stream(index)).transpose()?;
    if bytes == 0 {
        return Err(Error::argument("size", "must not be 0"));
    }
    gpu.tenant().space().check("ptr", ptr, bytes)?;
    gpu.tenant().fill(ptr, value, bytes, stream.as_deref())
}
