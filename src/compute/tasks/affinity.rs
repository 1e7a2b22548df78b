//! Keeping a worker thread on the cores of the tenant it works for.

/// Restricts this thread to `cores`; returns the affinity it had. Best effort: a core that is gone changes nothing.
pub(super) fn pin(cores: &[u32]) -> Option<libc::cpu_set_t> {
    if cores.is_empty() {
        return None;
    }
    // SAFETY: plain system calls on sets that live on this stack frame; a zeroed cpu_set_t is the empty set.
    unsafe {
        let mut before: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &mut before) != 0 {
            return None;
        }
        let mut wanted: libc::cpu_set_t = std::mem::zeroed();
        for &core in cores.iter().filter(|&&c| (c as usize) < 8 * size) {
            libc::CPU_SET(core as usize, &mut wanted);
        }
        (libc::sched_setaffinity(0, size, &wanted) == 0).then_some(before)
    }
}

pub(super) fn unpin(before: Option<libc::cpu_set_t>) {
    if let Some(set) = before {
        // SAFETY: the set was filled by sched_getaffinity.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    }
}
