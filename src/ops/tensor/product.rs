//! Matrix products.

use super::pieces::{Cut, Cutter};
use super::range::{MOST, Ranges, extent, product};
use super::{Cost, Element, Pace};
use crate::device::DevicePtr;
use crate::{Error, Result};

/// A matrix in memory, or a batch of them. Row-major: element (row, column) of matrix `i` lies at
/// `ptr + (i * stride + row * ld + column) * size of an element`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Element (0, 0) of the first matrix.
    pub ptr: DevicePtr,
    /// Elements from one row to the next; at least the number of columns.
    pub ld: u64,
    /// Elements from one matrix of the batch to the next; 0 repeats one matrix (not for the output).
    pub stride: u64,
}

impl Matrix {
    /// A batch of dense matrices of `rows` rows and `cols` columns, one after another.
    pub fn dense(ptr: DevicePtr, rows: u64, cols: u64) -> Matrix {
        Matrix { ptr, ld: cols, stride: rows.saturating_mul(cols) }
    }

    /// Elements from the first to behind the last.
    fn span(&self, name: &'static str, rows: u64, cols: u64, batch: u64) -> Result<u64> {
        if self.ld < cols {
            let text = format!("a leading dimension of {} is less than the {cols} columns of a row", self.ld);
            return Err(Error::argument(name, text));
        }
        if self.ld > MOST {
            return Err(Error::argument(
                name,
                format!("a leading dimension of {} is more than {MOST}", self.ld),
            ));
        }
        if rows == 0 || cols == 0 || batch == 0 {
            return Ok(0);
        }
        let one = product(name, &[rows - 1, self.ld])? + cols;
        let all = product(name, &[batch - 1, self.stride])?;
        Ok(all + one)
    }

    fn at(&self, element: Element, batch: u64, row: u64, col: u64) -> Matrix {
        // Empty matrices may name any address.
        let elements =
            batch.wrapping_mul(self.stride).wrapping_add(row.wrapping_mul(self.ld)).wrapping_add(col);
        Matrix { ptr: self.ptr.wrapping_add(elements.wrapping_mul(element.bytes())), ..*self }
    }
}

/// `C = alpha * op(A) op(B) + beta * C`, row-major, with op(A) m x k, op(B) k x n and C m x n.
///
/// | elements of A and B | sums | C |
/// |---|---|---|
/// | f32, f16, bf16 | f32 | as A and B |
/// | f64 | f64 | f64 |
/// | int8 | int32, exact | int32; `alpha` and `beta` are whole numbers, results wrap modulo 2^32 |
///
/// With `beta` 0 what C holds is not read; with `alpha` 0 or `k` 0 neither A nor B is. Where m, n or `batch` is 0 nothing
/// happens. C must not overlap A or B.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMul {
    /// The elements of A and B.
    pub element: Element,
    /// Rows of op(A) and C.
    pub m: u64,
    /// Columns of op(B) and C.
    pub n: u64,
    /// Columns of op(A), rows of op(B).
    pub k: u64,
    /// A as it lies: m x k, or k x m when it is transposed.
    pub a: Matrix,
    /// B as it lies: k x n, or n x k when it is transposed.
    pub b: Matrix,
    /// C: m x n.
    pub c: Matrix,
    /// op(A) is A transposed.
    pub transpose_a: bool,
    /// op(B) is B transposed.
    pub transpose_b: bool,
    /// Factor on the product.
    pub alpha: f64,
    /// Factor on what C holds.
    pub beta: f64,
    /// Products, each with matrices of its own by their strides.
    pub batch: u64,
}

impl MatMul {
    /// One product of dense matrices: `C = A B`.
    #[allow(clippy::many_single_char_names)]
    pub fn new(element: Element, a: DevicePtr, b: DevicePtr, c: DevicePtr, m: u64, n: u64, k: u64) -> MatMul {
        MatMul {
            element,
            m,
            n,
            k,
            a: Matrix::dense(a, m, k),
            b: Matrix::dense(b, k, n),
            c: Matrix::dense(c, m, n),
            transpose_a: false,
            transpose_b: false,
            alpha: 1.0,
            beta: 0.0,
            batch: 1,
        }
    }

    /// The elements of C.
    pub fn output(&self) -> Element {
        if self.element == Element::I8 { Element::I32 } else { self.element }
    }

    /// The inner extent that counts: 0 when A and B are not read.
    pub(crate) fn depth(&self) -> u64 {
        if self.alpha == 0.0 { 0 } else { self.k }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.m == 0 || self.n == 0 || self.batch == 0
    }

    pub(super) fn check(&self) -> Result<Ranges> {
        const TYPES: [Element; 5] = [Element::F32, Element::F16, Element::BF16, Element::I8, Element::F64];
        self.element.among(&TYPES, "a matrix product")?;
        for (name, value) in [("m", self.m), ("n", self.n), ("k", self.k), ("batch", self.batch)] {
            extent(name, value)?;
        }
        for (name, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if self.element == Element::I8 && (value.fract() != 0.0 || value.abs() > f64::from(i32::MAX)) {
                let text = format!("{value} is no whole number of 32 bits, as products of int8 want it");
                return Err(Error::argument(name, text));
            }
        }
        if self.element == Element::I8 && self.k > 1 << 17 {
            let text =
                format!("{} products of int8 may not fit the sum's 32 bits; at most {} do", self.k, 1 << 17);
            return Err(Error::argument("k", text));
        }
        let dims = |transposed, rows, cols| if transposed { (cols, rows) } else { (rows, cols) };
        let (a_rows, a_cols) = dims(self.transpose_a, self.m, self.k);
        let (b_rows, b_cols) = dims(self.transpose_b, self.k, self.n);
        let a = self.a.span("A", a_rows, a_cols, self.batch)?;
        let b = self.b.span("B", b_rows, b_cols, self.batch)?;
        let c = self.c.span("C", self.m, self.n, self.batch)?;
        if self.batch > 1 && self.m > 0 && self.n > 0 {
            let one = (self.m - 1) * self.c.ld + self.n;
            // One behind another, or side by side within the rows.
            let beside = self.c.stride >= self.n
                && product("C", &[self.batch - 1, self.c.stride])? + self.n <= self.c.ld;
            if self.c.stride < one && !beside {
                let text = format!(
                    "a stride of {} lets the matrices of the batch overlap, which take {one}",
                    self.c.stride
                );
                return Err(Error::argument("C", text));
            }
        }
        let mut ranges = Ranges::new();
        if !self.is_empty() {
            if self.depth() > 0 {
                ranges.read("A", self.a.ptr, a, self.element)?;
                ranges.read("B", self.b.ptr, b, self.element)?;
            }
            ranges.write("C", self.c.ptr, c, self.output())?;
        }
        ranges.apart(false)
    }

    pub(super) fn cost(&self) -> Cost {
        let (m, n, k, batch) = (self.m as f64, self.n as f64, self.depth() as f64, self.batch as f64);
        let size = self.element.bytes() as f64;
        let once = |matrix: &Matrix| if matrix.stride == 0 { 1.0 } else { batch };
        Cost {
            flops: 2.0 * m * n * k * batch,
            bytes: size * (m * k * once(&self.a) + k * n * once(&self.b))
                + self.output().bytes() as f64 * m * n * batch * if self.beta == 0.0 { 1.0 } else { 2.0 },
            matrix: true,
        }
    }

    /// Cut by batch, then by rows, then by columns of C.
    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.batch, 1);
        cutter.cut(self.m, 256);
        cutter.cut(self.n, 256);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> MatMul {
        let [batch, rows, cols] = cutter.piece(index);
        let Cut { first: b, .. } = batch;
        let (r, c) = (rows.first, cols.first);
        let a = if self.transpose_a { (0, r) } else { (r, 0) };
        let at_b = if self.transpose_b { (c, 0) } else { (0, c) };
        MatMul {
            m: rows.count,
            n: cols.count,
            batch: batch.count,
            a: self.a.at(self.element, b, a.0, a.1),
            b: self.b.at(self.element, b, at_b.0, at_b.1),
            c: self.c.at(self.output(), b, r, c),
            ..*self
        }
    }
}
