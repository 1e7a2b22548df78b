//! Operations on rows: softmax, reductions, norms, quantization.

use super::pieces::Cutter;
use super::range::{Ranges, extent, product};
use super::{Cost, Element, Pace};
use crate::device::DevicePtr;
use crate::{Error, Result};

/// Softmax over the middle of three extents: `out[o][a][i] = e^(x[o][a][i] - max) / sum`, or its logarithm. Element
/// (o, a, i) lies at `(o * axis + a) * pitch + i`. `out` may be `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftMax {
    /// The logarithm of it.
    pub log: bool,
    /// f32, f16 or bf16; sums are f32.
    pub element: Element,
    /// The input.
    pub x: DevicePtr,
    /// The output.
    pub out: DevicePtr,
    /// The outer extent.
    pub outer: u64,
    /// What is summed over.
    pub axis: u64,
    /// The inner extent; 1 for plain rows.
    pub inner: u64,
    /// Elements from one step of the axis to the next, at least `inner`.
    pub pitch: u64,
}

impl SoftMax {
    pub(super) fn is_empty(&self) -> bool {
        self.outer == 0 || self.axis == 0 || self.inner == 0
    }

    pub(super) fn check(&self) -> Result<Ranges> {
        self.element.among(&Element::FLOATS, "softmax")?;
        for (name, value) in [("outer", self.outer), ("axis", self.axis), ("inner", self.inner)] {
            extent(name, value)?;
        }
        if self.pitch < self.inner {
            return Err(Error::argument(
                "pitch",
                format!("{} is less than the {} within", self.pitch, self.inner),
            ));
        }
        let count = product("x", &[self.outer, self.axis, self.pitch])?;
        let used = if self.is_empty() { 0 } else { count - self.pitch + self.inner };
        let mut ranges = Ranges::new();
        ranges.read("x", self.x, used, self.element)?;
        ranges.write("out", self.out, used, self.element)?;
        ranges.apart(true)
    }

    pub(super) fn cost(&self) -> Cost {
        let count = self.outer as f64 * self.axis as f64 * self.inner as f64;
        Cost { flops: count * 30.0, bytes: count * self.element.bytes() as f64 * 3.0, matrix: false }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.outer, 1);
        cutter.cut(self.inner, 512);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> SoftMax {
        let [outer, inner, _] = cutter.piece(index);
        let from = (outer.first * self.axis * self.pitch + inner.first) * self.element.bytes();
        SoftMax { x: self.x + from, out: self.out + from, outer: outer.count, inner: inner.count, ..*self }
    }
}

/// What a row becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Reduction {
    /// The sum; 0 of nothing.
    Sum = 0,
    /// The mean.
    Mean = 1,
    /// The largest; NaN if one is.
    Max = 2,
    /// The smallest; NaN if one is.
    Min = 3,
    /// The square root of the sum of squares.
    L2Norm = 4,
    /// The column of the largest: the first of equals, the first NaN if there is one. The output is int32.
    ArgMax = 5,
}

/// `out[row] = reduction(x[row][0..cols])`; `out` is dense, f32 (int32 for [`Reduction::ArgMax`]), whatever `x` is. Sums
/// are f32, in a fixed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// What a row becomes.
    pub reduction: Reduction,
    /// The elements of `x`: f32, f16 or bf16.
    pub element: Element,
    /// The input.
    pub x: DevicePtr,
    /// The output, one number a row; must not overlap `x`.
    pub out: DevicePtr,
    /// Rows.
    pub rows: u64,
    /// Columns; 0 for sums only.
    pub cols: u64,
    /// Elements from one row to the next, at least `cols`.
    pub ld: u64,
}

fn spread(name: &'static str, rows: u64, cols: u64, ld: u64) -> Result<u64> {
    extent("rows", rows)?;
    extent("cols", cols)?;
    if ld < cols {
        return Err(Error::argument("ld", format!("{ld} is less than the {cols} columns of a row")));
    }
    if rows == 0 || cols == 0 {
        return Ok(0);
    }
    Ok(product(name, &[rows - 1, ld])? + cols)
}

impl Reduce {
    pub(super) fn check(&self) -> Result<Ranges> {
        self.element.among(&Element::FLOATS, "a reduction")?;
        let count = spread("x", self.rows, self.cols, self.ld)?;
        if self.cols == 0 && self.rows > 0 && !matches!(self.reduction, Reduction::Sum | Reduction::L2Norm) {
            return Err(Error::argument("cols", "is zero, and only sums of nothing have a value"));
        }
        let out = if self.reduction == Reduction::ArgMax { Element::I32 } else { Element::F32 };
        let mut ranges = Ranges::new();
        ranges.read("x", self.x, count, self.element)?;
        ranges.write("out", self.out, self.rows, out)?;
        ranges.apart(false)
    }

    pub(super) fn cost(&self) -> Cost {
        let count = self.rows as f64 * self.cols as f64;
        Cost { flops: count * 2.0, bytes: count * self.element.bytes() as f64, matrix: false }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.rows, 1);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Reduce {
        let [rows, ..] = cutter.piece(index);
        let from = rows.first * self.ld * self.element.bytes();
        let x = if self.x == 0 { 0 } else { self.x + from };
        Reduce { x, out: self.out + rows.first * 4, rows: rows.count, ..*self }
    }
}

/// A norm of dense rows: `out = (x - mean) / sqrt(var + eps) * weight + bias` with the biased variance, or, when it is
/// `rms`, `out = x / sqrt(mean(x^2) + eps) * weight`. `out` may be `x`. Sums are f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// Root mean square: no mean is taken off, no bias is added.
    pub rms: bool,
    /// f32, f16 or bf16, of all tensors.
    pub element: Element,
    /// `[rows][cols]`.
    pub x: DevicePtr,
    /// `[cols]`, or 0 for ones.
    pub weight: DevicePtr,
    /// `[cols]`, or 0 for zeros.
    pub bias: DevicePtr,
    /// `[rows][cols]`.
    pub out: DevicePtr,
    /// Rows.
    pub rows: u64,
    /// Columns.
    pub cols: u64,
    /// Added to the variance; not negative.
    pub eps: f32,
}

impl Norm {
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    pub(super) fn check(&self) -> Result<Ranges> {
        self.element.among(&Element::FLOATS, "a norm")?;
        let count = spread("x", self.rows, self.cols, self.cols)?;
        if !(self.eps >= 0.0 && self.eps.is_finite()) {
            return Err(Error::argument("eps", format!("{} is no number from 0 up", self.eps)));
        }
        if self.rms && self.bias != 0 {
            return Err(Error::argument("bias", "a norm by the root mean square has none"));
        }
        let mut ranges = Ranges::new();
        let each = if self.is_empty() { 0 } else { self.cols };
        ranges.read("x", self.x, count, self.element)?;
        if self.weight != 0 {
            ranges.read("weight", self.weight, each, self.element)?;
        }
        if self.bias != 0 {
            ranges.read("bias", self.bias, each, self.element)?;
        }
        ranges.write("out", self.out, count, self.element)?;
        let ranges = ranges.apart(true)?;
        // With a single row the weights are as long as the rows; they are read for every row all the same.
        if self.out != 0 && (self.out == self.weight || self.out == self.bias) {
            return Err(Error::argument("out", "overlaps `weight` or `bias`"));
        }
        Ok(ranges)
    }

    pub(super) fn cost(&self) -> Cost {
        let count = self.rows as f64 * self.cols as f64;
        Cost { flops: count * 6.0, bytes: count * self.element.bytes() as f64 * 3.0, matrix: false }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.rows, 1);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Norm {
        let [rows, ..] = cutter.piece(index);
        let from = rows.first * self.cols * self.element.bytes();
        Norm { x: self.x + from, out: self.out + from, rows: rows.count, ..*self }
    }
}

/// Dense rows to and from 8 bits: `q = round(x * (127 / max |x|))` to nearest even, `scale = max |x| / 127`, row by row;
/// back, `x = q * scale`. A row whose largest is below 1e-30 has scale and codes 0; one that holds an infinity or a NaN
/// has a NaN as scale and codes 0, so that it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantize {
    /// From 8 bits back to `element`.
    pub back: bool,
    /// The elements of `x`: f32, f16 or bf16.
    pub element: Element,
    /// `[rows][cols]`; the output when it is `back`.
    pub x: DevicePtr,
    /// int8 `[rows][cols]`.
    pub codes: DevicePtr,
    /// f32 `[rows]`.
    pub scales: DevicePtr,
    /// Rows.
    pub rows: u64,
    /// Columns.
    pub cols: u64,
}

impl Quantize {
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    pub(super) fn check(&self) -> Result<Ranges> {
        self.element.among(&Element::FLOATS, "quantization")?;
        let count = spread("x", self.rows, self.cols, self.cols)?;
        let rows = if self.is_empty() { 0 } else { self.rows };
        let mut ranges = Ranges::new();
        ranges.bytes("x", self.x, count, self.element.bytes(), self.back)?;
        ranges.bytes("q", self.codes, count, 1, !self.back)?;
        ranges.bytes("scales", self.scales, rows, 4, !self.back)?;
        ranges.apart(false)
    }

    pub(super) fn cost(&self) -> Cost {
        let count = self.rows as f64 * self.cols as f64;
        let reads = if self.back { 1.0 } else { 2.0 };
        Cost { flops: count * 4.0, bytes: count * (self.element.bytes() as f64 * reads + 1.0), matrix: false }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.rows, 1);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Quantize {
        let [rows, ..] = cutter.piece(index);
        let from = rows.first * self.cols;
        Quantize {
            x: self.x + from * self.element.bytes(),
            codes: self.codes + from,
            scales: self.scales + rows.first * 4,
            rows: rows.count,
            ..*self
        }
    }
}
