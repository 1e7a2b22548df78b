//! Products tile by tile: each tile's inputs are brought into a thread's own buffers, converted on the way, and its sums
//! stay there until they are whole. Which thread does a tile changes nothing in it.

use super::Context;
use super::convert::{load, store};
use super::dot::{self, Kernel};
use crate::ops::cpu::crew::share;
use crate::ops::tensor::Element;
use std::cell::RefCell;

/// Rows of a tile.
const ROWS: u64 = 192;
/// Columns of a tile.
const COLS: u64 = 256;
/// Inner extent that is brought in at once.
const DEPTH: u64 = 256;

/// Where the inputs of a product come from.
pub trait Source<T>: Sync {
    /// Rows `row..` of the left side, inner indices `k..`: `out` is `[rows][depth]`.
    ///
    /// # Safety
    /// The indices exist.
    unsafe fn left(&self, part: u64, row: u64, k: u64, depth: usize, out: &mut [T]);

    /// Inner indices `k..` of the right side, columns `col..`: `out` is `[depth][cols]`.
    ///
    /// # Safety
    /// The indices exist.
    unsafe fn right(&self, part: u64, k: u64, col: u64, cols: usize, out: &mut [T]);
}

/// Where sums go: `parts` matrices of `rows` x `cols`.
pub struct Shape {
    pub parts: u64,
    pub rows: u64,
    pub cols: u64,
    pub depth: u64,
}

/// A type of inputs that tiles are multiplied in, and the type of their sums.
pub trait Lane: Copy + Default + Send + Sync + 'static {
    type Sum: Copy + Default + Send + Sync + 'static;

    /// `sums += left right`, left `[rows][depth]`, right `[depth][cols]`, sums `[rows][cols]`.
    ///
    /// # Safety
    /// The processor has what `kernel` needs.
    unsafe fn multiply(
        kernel: Kernel,
        shape: (usize, usize, usize),
        left: &[Self],
        right: &[Self],
        sums: &mut [Self::Sum],
        packed: &mut (Vec<u32>, Vec<u32>),
    );

    fn with_buffers<R>(f: impl FnOnce(&mut Buffers<Self>) -> R) -> R;
}

/// A thread's own memory for tiles: at most about a megabyte, kept while the thread lives.
pub struct Buffers<T: Lane> {
    left: Vec<T>,
    right: Vec<T>,
    sums: Vec<T::Sum>,
    packed: (Vec<u32>, Vec<u32>),
}

impl<T: Lane> Buffers<T> {
    const fn new() -> Buffers<T> {
        Buffers { left: Vec::new(), right: Vec::new(), sums: Vec::new(), packed: (Vec::new(), Vec::new()) }
    }
}

macro_rules! buffers {
    ($type:ty) => {
        fn with_buffers<R>(f: impl FnOnce(&mut Buffers<Self>) -> R) -> R {
            thread_local! {
                static BUFFERS: RefCell<Buffers<$type>> = const { RefCell::new(Buffers::new()) };
            }
            BUFFERS.with_borrow_mut(f)
        }
    };
}

impl Lane for f32 {
    type Sum = f32;

    unsafe fn multiply(
        _kernel: Kernel,
        (rows, cols, depth): (usize, usize, usize),
        left: &[f32],
        right: &[f32],
        sums: &mut [f32],
        _packed: &mut (Vec<u32>, Vec<u32>),
    ) {
        debug_assert!(left.len() >= rows * depth && right.len() >= depth * cols && sums.len() >= rows * cols);
        // SAFETY: the slices hold these matrices, which do not overlap.
        unsafe {
            gemm::gemm(
                rows,
                cols,
                depth,
                sums.as_mut_ptr(),
                1,
                cols as isize,
                true,
                left.as_ptr(),
                1,
                depth as isize,
                right.as_ptr(),
                1,
                cols as isize,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    buffers!(f32);
}

impl Lane for u16 {
    type Sum = f32;

    unsafe fn multiply(
        kernel: Kernel,
        shape: (usize, usize, usize),
        left: &[u16],
        right: &[u16],
        sums: &mut [f32],
        packed: &mut (Vec<u32>, Vec<u32>),
    ) {
        // SAFETY: the caller's promise.
        unsafe { dot::bf16(kernel, shape, left, right, sums, packed) }
    }

    buffers!(u16);
}

impl Lane for i8 {
    type Sum = i32;

    unsafe fn multiply(
        kernel: Kernel,
        shape: (usize, usize, usize),
        left: &[i8],
        right: &[i8],
        sums: &mut [i32],
        packed: &mut (Vec<u32>, Vec<u32>),
    ) {
        // SAFETY: the caller's promise.
        unsafe { dot::bytes(kernel, shape, left, right, sums, packed) }
    }

    buffers!(i8);
}

fn room<T: Copy + Default>(v: &mut Vec<T>, n: usize) -> &mut [T] {
    if v.len() < n {
        v.resize(n, T::default());
    }
    &mut v[..n]
}

/// All tiles of a product; `put(part, row, col, sums)` takes each row of sums that is whole.
pub fn run<T: Lane>(
    context: &Context,
    kernel: Kernel,
    shape: &Shape,
    source: &impl Source<T>,
    put: impl Fn(u64, u64, u64, &[T::Sum]) + Sync,
) {
    let (down, across) = (shape.rows.div_ceil(ROWS), shape.cols.div_ceil(COLS));
    let tiles = shape.parts * down * across;
    share(&context.crew, tiles as usize, 1, |first, last, _| {
        T::with_buffers(|buffers| {
            for tile in first as u64..last as u64 {
                let (part, at) = (tile / (down * across), tile % (down * across));
                let (row, col) = (at % down * ROWS, at / down * COLS);
                let (rows, cols) = ((shape.rows - row).min(ROWS), (shape.cols - col).min(COLS));
                let (r, c) = (rows as usize, cols as usize);
                let sums = room(&mut buffers.sums, r * c);
                sums.fill(T::Sum::default());
                for k in (0..shape.depth).step_by(DEPTH as usize) {
                    let d = (shape.depth - k).min(DEPTH) as usize;
                    let left = room(&mut buffers.left, r * d);
                    let right = room(&mut buffers.right, d * c);
                    // SAFETY: indices within the shape; the kernel was chosen by what the processor has.
                    unsafe {
                        source.left(part, row, k, d, left);
                        source.right(part, k, col, c, right);
                        T::multiply(kernel, (r, c, d), left, right, sums, &mut buffers.packed);
                    }
                }
                for (i, sums) in sums.chunks_exact(c).enumerate() {
                    put(part, row + i as u64, col, sums);
                }
            }
        });
    });
}

/// One row of an output: `alpha * sums + beta * out`.
///
/// # Safety
/// `to` holds as many elements of this type.
pub unsafe fn put_floats(
    context: &Context,
    element: Element,
    sums: &[f32],
    to: *mut u8,
    alpha: f32,
    beta: f32,
) {
    let mut held = [0f32; COLS as usize];
    let held = &mut held[..sums.len()];
    // SAFETY: the caller's promise.
    unsafe {
        match beta == 0.0 {
            true => held.iter_mut().zip(sums).for_each(|(h, s)| *h = alpha * s),
            false => {
                load(context.isa, element, to, held);
                held.iter_mut().zip(sums).for_each(|(h, s)| *h = alpha * s + beta * *h);
            }
        }
        store(context.isa, element, held, to);
    }
}

/// The same for int32, modulo 2^32.
///
/// # Safety
/// `to` holds as many int32.
pub unsafe fn put_integers(sums: &[i32], to: *mut i32, alpha: i32, beta: i32) {
    // SAFETY: the caller's promise.
    let to = unsafe { std::slice::from_raw_parts_mut(to, sums.len()) };
    match beta {
        0 => to.iter_mut().zip(sums).for_each(|(t, s)| *t = s.wrapping_mul(alpha)),
        _ => to
            .iter_mut()
            .zip(sums)
            .for_each(|(t, s)| *t = s.wrapping_mul(alpha).wrapping_add(t.wrapping_mul(beta))),
    }
}
