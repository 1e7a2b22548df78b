//! How parts of a virtual GPU end, and what is said of memory that nobody had freed.

use super::table::{Claim, VirtualGpu};
use crate::memory::Allocation;
use crate::{Error, Status};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Allocations named one by one in the log.
const NAMED: usize = 8;

/// Ends all parts; what was still allocated.
pub(super) fn everything(claim: &Claim, gpu: &Arc<VirtualGpu>) -> Vec<Allocation> {
    let unit = gpu.parts().unit;
    gpu.change(|parts| *parts = super::table::Parts::default());
    if let Some(unit) = unit {
        unit.end(&ended(gpu));
    }
    drop_imports(gpu);
    claim.settle(gpu)
}

/// Ends the memory space; what was still allocated is freed once the tenant's work has passed.
pub(super) fn memory(claim: &Claim, gpu: &Arc<VirtualGpu>) -> Vec<Allocation> {
    gpu.change(|parts| parts.memory = false);
    drop_imports(gpu);
    let left = claim.settle(gpu);
    if !left.is_empty() || gpu.tenant().is_closed() {
        return left;
    }
    let tenant = gpu.tenant();
    if let Some(unit) = gpu.parts().unit {
        for lane in &unit.lanes {
            // Without their errors: these belong to whoever waits for that work.
            let _ = lane.same_queue().synchronize();
        }
    }
    let mut left = tenant.space().leaks();
    // Regions and shared images belong to whoever made them.
    left.retain(|a| tenant.free(a.ptr).is_ok());
    left
}

/// Unmaps what it has imported, which waits for its work.
fn drop_imports(gpu: &VirtualGpu) {
    let imports = std::mem::take(&mut *gpu.imports().lock());
    drop(imports);
}

/// Why work of a virtual GPU does not run any more.
pub(super) fn ended(gpu: &VirtualGpu) -> Error {
    Error::new(Status::Cancelled, format!("the compute unit of virtual GPU {} was destroyed", gpu.id()))
}

/// How long the threads of its streams may take to let go of what ended.
const LETTING_GO: Duration = Duration::from_secs(1);

/// Lets go of a virtual GPU. When it has ended this waits until its memory is back, which the threads of its streams hold for
/// a moment longer; who else holds some of it (a model, an array) is not waited for long.
pub(super) fn let_go(gpu: Arc<VirtualGpu>) {
    // The space holds it until all of the space's memory is given back.
    let account = Arc::downgrade(gpu.tenant().account());
    let ended = gpu.tenant().is_closed();
    drop(gpu);
    let begun = Instant::now();
    while ended && account.strong_count() > 0 && begun.elapsed() < LETTING_GO {
        std::thread::yield_now();
    }
}

/// Writes into the log what had not been freed.
pub(super) fn tell(gpu: &VirtualGpu, left: &[Allocation]) {
    if left.is_empty() {
        return;
    }
    let bytes: u64 = left.iter().map(|a| a.bytes).sum();
    crate::log_later!(
        Warn,
        "virtualization",
        "virtual GPU {} ({:?}) ended with {} allocations of {bytes} bytes that nobody had freed; they are freed now",
        gpu.id(),
        gpu.name(),
        left.len()
    );
    for a in left.iter().take(NAMED) {
        crate::log_later!(Warn, "virtualization", "  {} bytes at {:#x} ({:?})", a.bytes, a.ptr, a.tag);
    }
}
