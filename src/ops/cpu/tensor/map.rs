//! Element-wise functions, shared out over the team.

use super::convert::{BLOCK, Floats, load, store};
use super::{Context, at, functions};
use crate::device::DevicePtr;
use crate::ops::cpu::crew::share;
use crate::ops::tensor::{Element, Function, Iterate, Map};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Blocks that one grab hands to a thread.
const GRAB: usize = 32;

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn map(context: &Context, o: &Map) {
    let (isa, o) = (context.isa, *o);
    let count = o.count as usize;
    share(&context.crew, count.div_ceil(BLOCK), GRAB, |first, last, _| {
        let (mut x, mut y, mut out) = (Floats::ZERO, Floats::ZERO, Floats::ZERO);
        for block in first..last {
            let from = block * BLOCK;
            let n = BLOCK.min(count - from);
            let pointer = |ptr: DevicePtr| at(ptr, o.element, from as u64);
            // SAFETY: `n` elements from here exist; an output in place of an input was read before.
            unsafe {
                if o.element == Element::I8 {
                    bytes(o.function, pointer(o.x), pointer(o.out), n);
                    continue;
                }
                if o.function.inputs() > 0 {
                    load(isa, o.element, pointer(o.x), &mut x.0[..n]);
                }
                if o.function.inputs() > 1 {
                    load(isa, o.element, pointer(o.y), &mut y.0[..n]);
                }
                functions::apply(isa, o.function, o.a, o.b, &x, &y, &mut out);
                store(isa, o.element, &out.0[..n], pointer(o.out));
            }
        }
    });
}

/// Bytes as they are, or the negative ones as 0.
unsafe fn bytes(function: Function, x: *const u8, out: *mut u8, n: usize) {
    let least = if function == Function::Relu { 0 } else { i8::MIN };
    for i in 0..n {
        // SAFETY: `n` elements of both exist, by the caller's promise.
        unsafe { *out.add(i).cast::<i8>() = (*x.add(i).cast::<i8>()).max(least) };
    }
}

/// Steps of a block between two looks at the flag: some tens of microseconds.
const STEPS: u64 = 1 << 12;

/// # Safety
/// The operation was checked, its memory and the flag are there.
pub unsafe fn iterate(context: &Context, o: &Iterate, cancel: Option<DevicePtr>) {
    let (isa, o) = (context.isa, *o);
    let count = o.count as usize;
    // SAFETY: 4 bytes that the caller keeps, aligned as its allocation is.
    let flag = cancel.map(|ptr| unsafe { AtomicU32::from_ptr(ptr as *mut u32) });
    let stopped = || flag.is_some_and(|flag| flag.load(Relaxed) != 0);
    share(&context.crew, count.div_ceil(BLOCK), 1, |first, last, _| {
        let mut x = Floats::ZERO;
        for block in first..last {
            let from = block * BLOCK;
            let n = BLOCK.min(count - from);
            let pointer = at(o.x, Element::F32, from as u64);
            // SAFETY: `n` elements from here exist.
            unsafe { load(isa, Element::F32, pointer, &mut x.0[..n]) };
            let mut left = o.times;
            while left > 0 && !stopped() {
                let now = left.min(STEPS);
                // SAFETY: the level was checked.
                unsafe { functions::iterate(isa, &mut x, o.a, o.b, now) };
                left -= now;
            }
            // SAFETY: as above.
            unsafe { store(isa, Element::F32, &x.0[..n], pointer) };
        }
    });
}
