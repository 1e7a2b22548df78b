//! Plain loops, for any processor.

use super::layout::{PANEL, STEP, STEP_BYTES};
use super::{Kernel, Kernels};

pub(super) static KERNELS: Kernels = Kernels { take: &[one as Kernel] };

/// One token.
///
/// # Safety
/// As [`Kernel`] says.
unsafe fn one(w: *const u8, x: *const i8, _: usize, steps: usize, sums: *mut i32) {
    // SAFETY: as promised.
    let (w, x, sums) = unsafe {
        (
            std::slice::from_raw_parts(w, steps * STEP_BYTES),
            std::slice::from_raw_parts(x, steps * STEP),
            std::slice::from_raw_parts_mut(sums, PANEL),
        )
    };
    sums.fill(0);
    for (step, x) in w.chunks_exact(STEP_BYTES).zip(x.chunks_exact(STEP)) {
        for (row, sum) in step.chunks_exact(4).zip(sums.iter_mut()) {
            for (k, a) in x.iter().enumerate() {
                *sum += i32::from(row[k % 4] >> (k / 4 * 2) & 3) * i32::from(*a);
            }
        }
    }
}
