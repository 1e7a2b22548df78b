//! Plain loops, for any processor.

use super::layout::{LINE, ROWS, STEP};
use super::{Kernel, Kernels, Operands};

pub(super) static KERNELS: Kernels = &[one as Kernel];

/// One token.
///
/// # Safety
/// As [`Kernel`] says.
unsafe fn one(o: Operands, sums: *mut i32) {
    // SAFETY: as promised.
    let (x, sums) = unsafe {
        (std::slice::from_raw_parts(o.x, o.steps * STEP), std::slice::from_raw_parts_mut(sums, ROWS))
    };
    sums.fill(0);
    for (strip, sums) in sums.chunks_exact_mut(ROWS / 4).enumerate() {
        // SAFETY: as promised.
        let lines = unsafe { std::slice::from_raw_parts(o.w.add(strip * o.apart), o.steps * LINE) };
        for (line, x) in lines.chunks_exact(LINE).zip(x.chunks_exact(STEP)) {
            for (row, sum) in line.chunks_exact(4).zip(sums.iter_mut()) {
                for (k, a) in x.iter().enumerate() {
                    *sum += i32::from(row[k % 4] >> (k / 4 * 2) & 3) * i32::from(*a);
                }
            }
        }
    }
}
