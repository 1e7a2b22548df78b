//! Matrix products.

use super::convert::{load, load_bf16};
use super::dot::Kernel;
use super::tiles::{self, Lane, Shape, Source};
use super::{Context, Way, at};
use crate::ops::cpu::crew::share;
use crate::ops::tensor::{Element, MatMul, Matrix};

/// Rows and columns of C that one grab hands to a thread where the gemm crate works in place.
const ROWS: u64 = 192;
const COLS: u64 = 512;

/// # Safety
/// The operation was checked and its memory is there.
pub unsafe fn matmul(context: &Context, o: &MatMul, way: Way) {
    let shape = Shape { parts: o.batch, rows: o.m, cols: o.n, depth: o.depth() };
    let to = |part: u64, row: u64, col: u64| at(o.c.ptr, o.output(), part * o.c.stride + row * o.c.ld + col);
    let floats = |part, row, col, sums: &[f32]| {
        // SAFETY: elements of C.
        unsafe {
            tiles::put_floats(context, o.element, sums, to(part, row, col), o.alpha as f32, o.beta as f32)
        }
    };
    let integers = |part, row, col, sums: &[i32]| {
        // SAFETY: elements of C.
        unsafe { tiles::put_integers(sums, to(part, row, col).cast(), o.alpha as i32, o.beta as i32) }
    };
    let source = Matrices { context, o };
    match way {
        // SAFETY: the caller's promise.
        Way::Gemm if o.element == Element::F64 => unsafe { in_place(context, o, o.alpha, o.beta) },
        // SAFETY: the caller's promise.
        Way::Gemm => unsafe { in_place(context, o, o.alpha as f32, o.beta as f32) },
        Way::Floats => tiles::run::<f32>(context, Kernel::None, &shape, &source, floats),
        Way::Bf16 => tiles::run::<u16>(context, Kernel::Bf16, &shape, &source, floats),
        Way::Bytes => tiles::run::<i8>(context, Kernel::Bytes, &shape, &source, integers),
        Way::Words => tiles::run::<i8>(context, Kernel::Words(context.isa), &shape, &source, integers),
    }
}

/// A number that the gemm crate multiplies.
trait Number: Copy + PartialEq + Default + Sync + std::ops::Mul<Output = Self> + 'static {}
impl Number for f32 {}
impl Number for f64 {}

/// Tiles of C straight from A and B.
///
/// # Safety
/// As for [`matmul`]; the elements are `T`.
unsafe fn in_place<T: Number>(context: &Context, o: &MatMul, alpha: T, beta: T) {
    let (down, across) = (o.m.div_ceil(ROWS), o.n.div_ceil(COLS));
    let depth = o.depth();
    let strides = |m: &Matrix, transposed: bool| {
        if transposed { (m.ld as isize, 1) } else { (1, m.ld as isize) }
    };
    let element = |m: &Matrix, transposed: bool, part: u64, row: u64, col: u64| {
        let (row, col) = if transposed { (col, row) } else { (row, col) };
        (m.ptr as *mut T).wrapping_add((part * m.stride + row * m.ld + col) as usize)
    };
    share(&context.crew, (o.batch * down * across) as usize, 1, |first, last, _| {
        for tile in first as u64..last as u64 {
            let (part, at) = (tile / (down * across), tile % (down * across));
            let (row, col) = (at % down * ROWS, at / down * COLS);
            let (rows, cols) = ((o.m - row).min(ROWS), (o.n - col).min(COLS));
            let c = element(&o.c, false, part, row, col);
            if depth == 0 {
                for r in 0..rows {
                    for i in 0..cols {
                        let c = c.wrapping_add((r * o.c.ld + i) as usize);
                        // SAFETY: an element of C.
                        unsafe { *c = if beta == T::default() { beta } else { *c * beta } };
                    }
                }
                continue;
            }
            let (a_cs, a_rs) = strides(&o.a, o.transpose_a);
            let (b_cs, b_rs) = strides(&o.b, o.transpose_b);
            // SAFETY: elements of the matrices by their strides; C overlaps neither.
            unsafe {
                gemm::gemm(
                    rows as usize,
                    cols as usize,
                    depth as usize,
                    c,
                    1,
                    o.c.ld as isize,
                    beta != T::default(),
                    element(&o.a, o.transpose_a, part, row, 0).cast_const(),
                    a_cs,
                    a_rs,
                    element(&o.b, o.transpose_b, part, 0, col).cast_const(),
                    b_cs,
                    b_rs,
                    beta,
                    alpha,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        }
    });
}

/// A and B of a product.
struct Matrices<'a> {
    context: &'a Context,
    o: &'a MatMul,
}

/// A type that parts of a matrix are read as.
pub trait Load: Lane {
    /// # Safety
    /// `from` holds `out.len()` elements.
    unsafe fn load(context: &Context, element: Element, from: *const u8, out: &mut [Self]);
}

impl Load for f32 {
    unsafe fn load(context: &Context, element: Element, from: *const u8, out: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { load(context.isa, element, from, out) }
    }
}

impl Load for u16 {
    unsafe fn load(context: &Context, element: Element, from: *const u8, out: &mut [u16]) {
        // SAFETY: the caller's promise.
        unsafe { load_bf16(context.isa, element, from, out) }
    }
}

impl Load for i8 {
    unsafe fn load(_context: &Context, _element: Element, from: *const u8, out: &mut [i8]) {
        // SAFETY: the caller's promise.
        out.copy_from_slice(unsafe { std::slice::from_raw_parts(from.cast(), out.len()) });
    }
}

impl Matrices<'_> {
    /// Rows of `inner` elements of a matrix from (row, col), or, when it is transposed, the columns that become them.
    ///
    /// # Safety
    /// The elements exist.
    unsafe fn part<T: Load>(
        &self,
        (m, transposed): (&Matrix, bool),
        part: u64,
        (row, col): (u64, u64),
        inner: usize,
        out: &mut [T],
    ) {
        let element = self.o.element;
        if !transposed {
            for (i, out) in out.chunks_exact_mut(inner).enumerate() {
                let from = at(m.ptr, element, part * m.stride + (row + i as u64) * m.ld + col);
                // SAFETY: the caller's promise.
                unsafe { T::load(self.context, element, from, out) };
            }
            return;
        }
        // Line by line of what lies in memory, into a column each.
        let rows = out.len() / inner;
        let mut line = [T::default(); 64];
        for k in 0..inner {
            for first in (0..rows).step_by(64) {
                let line = &mut line[..(rows - first).min(64)];
                let from = at(m.ptr, element, part * m.stride + (col + k as u64) * m.ld + row + first as u64);
                // SAFETY: the caller's promise.
                unsafe { T::load(self.context, element, from, line) };
                for (i, value) in line.iter().enumerate() {
                    out[(first + i) * inner + k] = *value;
                }
            }
        }
    }
}

impl<T: Load> Source<T> for Matrices<'_> {
    unsafe fn left(&self, part: u64, row: u64, k: u64, depth: usize, out: &mut [T]) {
        // SAFETY: the caller's promise.
        unsafe { self.part((&self.o.a, self.o.transpose_a), part, (row, k), depth, out) }
    }

    unsafe fn right(&self, part: u64, k: u64, col: u64, cols: usize, out: &mut [T]) {
        // SAFETY: the caller's promise.
        unsafe { self.part((&self.o.b, self.o.transpose_b), part, (k, col), cols, out) }
    }
}
