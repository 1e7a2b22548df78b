//! On which NUMA node new pages of this thread lie.

use crate::{Error, Result};

const MPOL_BIND: libc::c_ulong = 2;
/// Room for the numbers of NUMA nodes that Linux can have.
const WORDS: usize = 16;

/// Runs `work` while new pages of this thread come from NUMA node `node` alone; then the thread's policy is what it was.
pub(super) fn on_node<T>(node: u32, work: impl FnOnce() -> T) -> Result<T> {
    let word = node as usize / 64;
    if word >= WORDS {
        return Err(Error::argument("numa_node", format!("{node} is beyond any machine")));
    }
    let mut before_mode = 0i32;
    let (mut before, mut wanted) = ([0u64; WORDS], [0u64; WORDS]);
    wanted[word] = 1 << (node % 64);
    let bits = (WORDS * 64) as libc::c_ulong;
    // SAFETY: the kernel writes one number and at most `bits` bits.
    let known = unsafe {
        libc::syscall(
            libc::SYS_get_mempolicy,
            &raw mut before_mode,
            before.as_mut_ptr(),
            bits,
            0usize,
            0usize,
        )
    } == 0;
    // SAFETY: the kernel reads `bits` bits.
    if unsafe { libc::syscall(libc::SYS_set_mempolicy, MPOL_BIND, wanted.as_ptr(), bits) } != 0 {
        return Err(Error::io(
            format!("binding memory to NUMA node {node}"),
            std::io::Error::last_os_error(),
        ));
    }
    let done = work();
    // SAFETY: as above. Mode 0 takes no nodes.
    unsafe {
        match known && before_mode != 0 {
            true => libc::syscall(libc::SYS_set_mempolicy, before_mode, before.as_ptr(), bits),
            false => libc::syscall(libc::SYS_set_mempolicy, 0, std::ptr::null::<u64>(), 0usize),
        }
    };
    Ok(done)
}
