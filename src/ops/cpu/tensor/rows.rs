//! Softmax, reductions, norms and quantization, row by row.

use super::convert::{BLOCK, Floats, load, store};
use super::functions::{Fold, exp_of_difference, fold};
use super::{Context, at};
use crate::device::DevicePtr;
use crate::ops::cpu::crew::share;
use crate::ops::cpu::math::exp;
use crate::ops::tensor::{Element, Function, Norm, Quantize, Reduce, Reduction, SoftMax};

/// Elements that one grab hands to a thread, about.
const GRAB: u64 = 16 << 10;

/// The value that changes nothing.
fn neutral(how: Fold) -> f32 {
    match how {
        Fold::Max => f32::NEG_INFINITY,
        Fold::Min => f32::INFINITY,
        _ => 0.0,
    }
}

/// Folds the sixteen parts of a block with what was there before.
fn join(how: Fold, before: f64, parts: &[f32; 16]) -> f64 {
    parts.iter().map(|&p| f64::from(p)).fold(before, |b, p| match how {
        Fold::Sum | Fold::Squares => b + p,
        Fold::Min if p < b || p.is_nan() => p,
        Fold::Max if p > b || p.is_nan() => p,
        Fold::Largest if p > b || p.is_nan() => p,
        _ => b,
    })
}

/// Folds `n` elements, block by block.
///
/// # Safety
/// They exist.
unsafe fn folded(context: &Context, how: Fold, element: Element, x: *const u8, n: u64, shift: f32) -> f64 {
    let mut block = Floats::ZERO;
    let mut parts = [0f32; 16];
    let mut value = f64::from(neutral(how));
    for first in (0..n).step_by(BLOCK) {
        let now = (n - first).min(BLOCK as u64) as usize;
        if now < BLOCK {
            block.0.fill(if how == Fold::Squares { shift } else { neutral(how) });
        }
        // SAFETY: elements of the caller's.
        unsafe {
            load(context.isa, element, x.add((first * element.bytes()) as usize), &mut block.0[..now]);
            fold(context.isa, how, &block, shift, &mut parts);
        }
        value = join(how, value, &parts);
    }
    value
}

/// Runs `f(row)` for all rows of `cols` elements.
fn each_row(context: &Context, rows: u64, cols: u64, f: impl Fn(u64) + Sync) {
    share(&context.crew, rows as usize, (GRAB / cols.max(1)) as usize, |first, last, _| {
        (first as u64..last as u64).for_each(&f);
    });
}

/// Runs `f(block, n)` on a row's elements as f32 and writes what it leaves.
///
/// # Safety
/// `n` elements of both exist.
unsafe fn rewrite(
    context: &Context,
    element: Element,
    x: *const u8,
    out: *mut u8,
    n: u64,
    mut f: impl FnMut(u64, &mut Floats),
) {
    let mut block = Floats::ZERO;
    for first in (0..n).step_by(BLOCK) {
        let now = (n - first).min(BLOCK as u64) as usize;
        let from = (first * element.bytes()) as usize;
        // SAFETY: the caller's promise.
        unsafe {
            load(context.isa, element, x.add(from), &mut block.0[..now]);
            f(first, &mut block);
            store(context.isa, element, &block.0[..now], out.add(from));
        }
    }
}

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn softmax(context: &Context, o: &SoftMax) {
    if o.inner > 1 {
        // SAFETY: the caller's promise.
        return unsafe { softmax_across(context, o) };
    }
    let (isa, e) = (context.isa, o.element);
    each_row(context, o.outer, o.axis, |row| {
        let first = row * o.axis * o.pitch;
        if o.pitch > 1 {
            // SAFETY: elements of this row.
            return unsafe { columns(context, o, first, 1) };
        }
        let (x, out) = (at(o.x, e, first), at(o.out, e, first));
        // SAFETY: elements of this row.
        unsafe {
            let max = folded(context, Fold::Max, e, x, o.axis, 0.0) as f32;
            let mut sum = 0f64;
            let (mut block, mut powers) = (Floats::ZERO, Floats::ZERO);
            let mut parts = [0f32; 16];
            for k in (0..o.axis).step_by(BLOCK) {
                let now = (o.axis - k).min(BLOCK as u64) as usize;
                load(isa, e, at(o.x, e, first + k), &mut block.0[..now]);
                exp_of_difference(isa, &block, max, &mut powers);
                powers.0[now..].fill(0.0);
                fold(isa, Fold::Sum, &powers, 0.0, &mut parts);
                sum = join(Fold::Sum, sum, &parts);
            }
            let (log, inverse) = (sum.ln() as f32, (1.0 / sum) as f32);
            rewrite(context, e, x, out, o.axis, |_, block| {
                if o.log {
                    block.0.iter_mut().for_each(|v| *v = *v - max - log);
                } else {
                    exp_of_difference(isa, block, max, &mut powers);
                    block.0.iter_mut().zip(&powers.0).for_each(|(v, p)| *v = p * inverse);
                }
            });
        }
    });
}

/// # Safety
/// As for [`softmax`].
unsafe fn softmax_across(context: &Context, o: &SoftMax) {
    let parts = o.inner.div_ceil(BLOCK as u64);
    share(&context.crew, (o.outer * parts) as usize, 1, |first, last, _| {
        for unit in first as u64..last as u64 {
            let (outer, part) = (unit / parts, unit % parts * BLOCK as u64);
            let n = (o.inner - part).min(BLOCK as u64) as usize;
            // SAFETY: columns of this operation.
            unsafe { columns(context, o, outer * o.axis * o.pitch + part, n) };
        }
    });
}

/// Softmax of `n` columns side by side.
///
/// # Safety
/// As for [`softmax`].
unsafe fn columns(context: &Context, o: &SoftMax, first: u64, n: usize) {
    let (isa, e) = (context.isa, o.element);
    let (mut x, mut max, mut sum) = (Floats::ZERO, Floats([f32::NEG_INFINITY; BLOCK]), Floats::ZERO);
    let from = |k: u64| at(o.x, e, first + k * o.pitch);
    for k in 0..o.axis {
        // SAFETY: `n` elements of this step of the axis.
        unsafe { load(isa, e, from(k), &mut x.0[..n]) };
        max.0.iter_mut().zip(&x.0).for_each(|(m, &x)| *m = if x > *m || x.is_nan() { x } else { *m });
    }
    for k in 0..o.axis {
        // SAFETY: as above.
        unsafe { load(isa, e, from(k), &mut x.0[..n]) };
        for i in 0..n {
            sum.0[i] += exp(x.0[i] - max.0[i]);
        }
    }
    for k in 0..o.axis {
        // SAFETY: as above; what is overwritten was read.
        unsafe {
            load(isa, e, from(k), &mut x.0[..n]);
            for i in 0..n {
                let d = x.0[i] - max.0[i];
                x.0[i] = if o.log { d - sum.0[i].ln() } else { exp(d) / sum.0[i] };
            }
            store(isa, e, &x.0[..n], at(o.out, e, first + k * o.pitch));
        }
    }
}

/// Columns that are folded by themselves, so that a long row is shared out too.
const PART: u64 = 64 << 10;

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn reduce(context: &Context, o: &Reduce) {
    let e = o.element;
    let how = match o.reduction {
        Reduction::Sum | Reduction::Mean => Fold::Sum,
        Reduction::L2Norm => Fold::Squares,
        Reduction::Max | Reduction::ArgMax => Fold::Max,
        Reduction::Min => Fold::Min,
    };
    let per_row = o.cols.div_ceil(PART).max(1);
    let one = |row: u64, part: u64| {
        let first = part * PART;
        let x = at(o.x, e, row * o.ld + first);
        // SAFETY: elements of this row.
        unsafe { folded(context, how, e, x, (o.cols - first).min(PART), 0.0) }
    };
    let finish = |row: u64, value: f64| {
        let out = (o.out as *mut f32).wrapping_add(row as usize);
        let value = match o.reduction {
            Reduction::Mean => value / o.cols as f64,
            Reduction::L2Norm => value.sqrt(),
            _ => value,
        };
        // SAFETY: the row's output.
        unsafe {
            match o.reduction {
                Reduction::ArgMax => *out.cast() = find(o, row, value as f32),
                _ => *out = value as f32,
            }
        }
    };
    if per_row == 1 {
        return each_row(context, o.rows, o.cols, |row| finish(row, one(row, 0)));
    }
    let mut values = vec![0f64; (o.rows * per_row) as usize];
    let to = values.as_mut_ptr() as usize;
    share(&context.crew, values.len(), 1, |first, last, _| {
        for i in first..last {
            // SAFETY: each is written by one thread, and read when all are done.
            unsafe { *(to as *mut f64).add(i) = one(i as u64 / per_row, i as u64 % per_row) };
        }
    });
    for (row, values) in values.chunks_exact(per_row as usize).enumerate() {
        let joined = values.iter().copied().reduce(|a, b| match how {
            Fold::Sum | Fold::Squares => a + b,
            Fold::Min if a < b || a.is_nan() => a,
            Fold::Max if a > b || a.is_nan() => a,
            _ => b,
        });
        finish(row as u64, joined.unwrap_or(0.0));
    }
}

/// The first column that holds `value`, or the first NaN when it is one.
///
/// # Safety
/// The row's elements exist.
unsafe fn find(o: &Reduce, row: u64, value: f32) -> i32 {
    for col in 0..o.cols {
        // SAFETY: an element of the row.
        let x = unsafe { super::convert::load_one(o.element, at(o.x, o.element, row * o.ld + col)) } as f32;
        if x == value || (x.is_nan() && value.is_nan()) {
            return col as i32;
        }
    }
    0
}

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn norm(context: &Context, o: &Norm) {
    let e = o.element;
    each_row(context, o.rows, o.cols, |row| {
        let (x, out) = (at(o.x, e, row * o.cols), at(o.out, e, row * o.cols));
        // SAFETY: elements of this row and of the weights.
        unsafe {
            let cols = o.cols as f64;
            let mean =
                if o.rms { 0.0 } else { (folded(context, Fold::Sum, e, x, o.cols, 0.0) / cols) as f32 };
            let squares = folded(context, Fold::Squares, e, x, o.cols, mean);
            let scale = 1.0 / ((squares / cols) as f32 + o.eps).sqrt();
            let mut weights = Floats::ZERO;
            rewrite(context, e, x, out, o.cols, |first, block| {
                let n = (o.cols - first).min(BLOCK as u64) as usize;
                block.0.iter_mut().for_each(|v| *v = (*v - mean) * scale);
                let mut with = |ptr: DevicePtr, f: fn(f32, f32) -> f32| {
                    if ptr != 0 {
                        load(context.isa, e, at(ptr, e, first), &mut weights.0[..n]);
                        block.0.iter_mut().zip(&weights.0).for_each(|(v, w)| *v = f(*v, *w));
                    }
                };
                with(o.weight, |v, w| v * w);
                with(o.bias, |v, b| v + b);
            });
        }
    });
}

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn quantize(context: &Context, o: &Quantize) {
    let (isa, e) = (context.isa, o.element);
    each_row(context, o.rows, o.cols, |row| {
        let first = row * o.cols;
        let scale = (o.scales as *mut f32).wrapping_add(row as usize);
        let (mut x, mut out) = (Floats::ZERO, Floats::ZERO);
        let zeros = Floats::ZERO;
        // SAFETY: elements of this row and its scale.
        unsafe {
            let inverse = if o.back {
                *scale
            } else {
                let largest = folded(context, Fold::Largest, e, at(o.x, e, first), o.cols, 0.0) as f32;
                *scale = match () {
                    () if !largest.is_finite() => f32::NAN,
                    () if largest < 1e-30 => 0.0,
                    () => largest / 127.0,
                };
                if largest.is_finite() && largest >= 1e-30 { 127.0 / largest } else { 0.0 }
            };
            for k in (0..o.cols).step_by(BLOCK) {
                let now = (o.cols - k).min(BLOCK as u64) as usize;
                let (x_at, q_at) = (at(o.x, e, first + k), at(o.codes, Element::I8, first + k));
                let (from, from_type, to, to_type) =
                    if o.back { (q_at, Element::I8, x_at, e) } else { (x_at, e, q_at, Element::I8) };
                load(isa, from_type, from, &mut x.0[..now]);
                if !o.back && inverse == 0.0 {
                    // Infinities and NaN would not become 0.
                    x.0.fill(0.0);
                }
                super::functions::apply(isa, Function::Scale, inverse, 0.0, &x, &zeros, &mut out);
                if !o.back {
                    // Adding and taking off 1.5 * 2^23 rounds to nearest even.
                    out.0.iter_mut().for_each(|v| *v = (*v + 12_582_912.0) - 12_582_912.0);
                }
                store(isa, to_type, &out.0[..now], to);
            }
        }
    });
}
