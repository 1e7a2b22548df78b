//! Notices that this process is a fork of the one that started a thread, at the price of one load.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);
static HOOK: Once = Once::new();

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// The number of forks between the process that loaded this library and this one.
pub(super) fn generation() -> u32 {
    HOOK.call_once(|| {
        // SAFETY: the hook touches one atomic only. When registering fails (out of memory) forks go unnoticed.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    GENERATION.load(Ordering::Relaxed)
}

/// An error when threads started in `born` are not in this process.
pub(super) fn check(born: u32, what: &str) -> crate::Result<()> {
    if generation() == born {
        return Ok(());
    }
    Err(crate::Error::unsupported(format!(
        "this {what} was made before fork(); its threads are not in this process"
    ))
    .advise("open the device, nodes and streams in the child process"))
}
