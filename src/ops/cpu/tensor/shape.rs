//! Conversions, transpositions, copies, bytes set.

use super::convert::{BLOCK, Floats, load, load_one, store, store_one};
use super::{Context, at};
use crate::ops::cpu::crew::share;
use crate::ops::tensor::{Cast, Copy, Element, Set, Transpose};

/// Elements of a part, and bytes of a part of a copy.
const PART: usize = 8 << 10;
const BYTES: u64 = 256 << 10;

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn cast(context: &Context, o: &Cast) {
    let count = o.count as usize;
    let narrow = |e: Element| Element::FLOATS.contains(&e) || (e == Element::I8 && o.from == e);
    let by_f32 = narrow(o.from) && Element::FLOATS.contains(&o.to);
    share(&context.crew, count.div_ceil(PART), 1, |first, last, _| {
        let mut block = Floats::ZERO;
        for first in (first * PART..count.min(last * PART)).step_by(BLOCK) {
            let n = BLOCK.min(count - first);
            let (from, to) = (at(o.x, o.from, first as u64), at(o.out, o.to, first as u64));
            // SAFETY: `n` elements of both.
            unsafe {
                if by_f32 {
                    load(context.isa, o.from, from, &mut block.0[..n]);
                    store(context.isa, o.to, &block.0[..n], to);
                    continue;
                }
                for i in 0..n {
                    let (from, to) =
                        (from.add(i * o.from.bytes() as usize), to.add(i * o.to.bytes() as usize));
                    store_one(o.to, load_one(o.from, from), to);
                }
            }
        }
    });
}

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn transpose(context: &Context, o: &Transpose) {
    // SAFETY: the caller's promise; only the size of elements matters.
    unsafe {
        match o.element.bytes() {
            1 => transposed::<u8>(context, o),
            2 => transposed::<u16>(context, o),
            4 => transposed::<u32>(context, o),
            _ => transposed::<u64>(context, o),
        }
    }
}

/// Squares of this side stay in the nearest cache.
const SIDE: u64 = 32;

unsafe fn transposed<T: std::marker::Copy>(context: &Context, o: &Transpose) {
    let (down, across) = (o.rows.div_ceil(SIDE), o.cols.div_ceil(SIDE));
    share(&context.crew, (down * across) as usize, 8, |first, last, _| {
        for square in first as u64..last as u64 {
            let (row, col) = (square / across * SIDE, square % across * SIDE);
            for c in col..o.cols.min(col + SIDE) {
                for r in row..o.rows.min(row + SIDE) {
                    let from = (o.x as *const T).wrapping_add((r * o.ld + c) as usize);
                    let to = (o.out as *mut T).wrapping_add((c * o.out_ld + r) as usize);
                    // SAFETY: an element of each.
                    unsafe { *to = *from };
                }
            }
        }
    });
}

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn copy(context: &Context, o: &Copy) {
    share(&context.crew, o.bytes.div_ceil(BYTES) as usize, 1, |first, last, _| {
        let (first, last) = (first as u64 * BYTES, o.bytes.min(last as u64 * BYTES));
        let (from, to) = ((o.src + first) as *const u8, (o.dst + first) as *mut u8);
        // SAFETY: bytes of both, which do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from, to, (last - first) as usize) };
    });
}

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn set(context: &Context, o: &Set) {
    share(&context.crew, o.bytes.div_ceil(BYTES) as usize, 1, |first, last, _| {
        let (first, last) = (first as u64 * BYTES, o.bytes.min(last as u64 * BYTES));
        // SAFETY: bytes of the operation.
        unsafe { std::ptr::write_bytes((o.dst + first) as *mut u8, o.value, (last - first) as usize) };
    });
}
