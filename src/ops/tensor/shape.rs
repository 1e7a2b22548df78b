//! Operations that move elements: conversion, transposition, copies, bytes set; and a long one that can be stopped.

use super::pieces::Cutter;
use super::range::{Ranges, extent, product};
use super::{Cost, Element, Pace};
use crate::device::DevicePtr;
use crate::{Error, Result};

/// `out[i] = x[i]` in another type. To nearest even; to integers saturating, NaN to 0; to narrower floats overflowing to
/// infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// The elements of `x`.
    pub from: Element,
    /// The elements of `out`.
    pub to: Element,
    /// The input.
    pub x: DevicePtr,
    /// The output; must not overlap `x`.
    pub out: DevicePtr,
    /// Elements.
    pub count: u64,
}

impl Cast {
    pub(super) fn check(&self) -> Result<Ranges> {
        let mut ranges = Ranges::new();
        ranges.read("x", self.x, self.count, self.from)?;
        ranges.write("out", self.out, self.count, self.to)?;
        ranges.apart(false)
    }

    pub(super) fn cost(&self) -> Cost {
        let bytes = self.count as f64 * (self.from.bytes() + self.to.bytes()) as f64;
        Cost { flops: self.count as f64, bytes, matrix: false }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.count, 4096);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Cast {
        let [part, ..] = cutter.piece(index);
        Cast {
            x: self.x + part.first * self.from.bytes(),
            out: self.out + part.first * self.to.bytes(),
            count: part.count,
            ..*self
        }
    }
}

/// `out[col][row] = x[row][col]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transpose {
    /// Any type: only its size matters.
    pub element: Element,
    /// The input.
    pub x: DevicePtr,
    /// The output; must not overlap `x`.
    pub out: DevicePtr,
    /// Rows of `x`.
    pub rows: u64,
    /// Columns of `x`.
    pub cols: u64,
    /// Elements from one row of `x` to the next, at least `cols`.
    pub ld: u64,
    /// Elements from one row of `out` to the next, at least `rows`.
    pub out_ld: u64,
}

impl Transpose {
    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0 || self.cols == 0
    }

    pub(super) fn check(&self) -> Result<Ranges> {
        extent("rows", self.rows)?;
        extent("cols", self.cols)?;
        if self.ld < self.cols {
            return Err(Error::argument("ld", format!("{} is less than the {} columns", self.ld, self.cols)));
        }
        if self.out_ld < self.rows {
            return Err(Error::argument(
                "out_ld",
                format!("{} is less than the {} rows", self.out_ld, self.rows),
            ));
        }
        let mut ranges = Ranges::new();
        if !self.is_empty() {
            let x = product("x", &[self.rows - 1, self.ld])? + self.cols;
            let out = product("out", &[self.cols - 1, self.out_ld])? + self.rows;
            ranges.read("x", self.x, x, self.element)?;
            ranges.write("out", self.out, out, self.element)?;
        }
        ranges.apart(false)
    }

    pub(super) fn cost(&self) -> Cost {
        let count = self.rows as f64 * self.cols as f64;
        Cost { flops: count, bytes: count * self.element.bytes() as f64 * 2.5, matrix: false }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.rows, 64);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Transpose {
        let [rows, ..] = cutter.piece(index);
        let size = self.element.bytes();
        Transpose {
            x: self.x + rows.first * self.ld * size,
            out: self.out + rows.first * size,
            rows: rows.count,
            ..*self
        }
    }
}

/// `bytes` bytes from `src` to `dst`, which must not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Where to.
    pub dst: DevicePtr,
    /// Where from.
    pub src: DevicePtr,
    /// Bytes.
    pub bytes: u64,
}

impl Copy {
    pub(super) fn check(&self) -> Result<Ranges> {
        let mut ranges = Ranges::new();
        ranges.bytes("src", self.src, self.bytes, 1, false)?;
        ranges.bytes("dst", self.dst, self.bytes, 1, true)?;
        ranges.apart(false)
    }

    pub(super) fn cost(&self) -> Cost {
        Cost { flops: 0.0, bytes: self.bytes as f64 * 2.0, matrix: false }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.bytes, 4096);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Copy {
        let [part, ..] = cutter.piece(index);
        Copy { dst: self.dst + part.first, src: self.src + part.first, bytes: part.count }
    }
}

/// `bytes` bytes set to `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Where.
    pub dst: DevicePtr,
    /// The byte.
    pub value: u8,
    /// Bytes.
    pub bytes: u64,
}

impl Set {
    pub(super) fn check(&self) -> Result<Ranges> {
        let mut ranges = Ranges::new();
        ranges.bytes("dst", self.dst, self.bytes, 1, true)?;
        Ok(ranges)
    }

    pub(super) fn cost(&self) -> Cost {
        Cost { flops: 0.0, bytes: self.bytes as f64, matrix: false }
    }

    pub(super) fn cutter(&self, pace: &Pace) -> Cutter {
        let mut cutter = Cutter::new(self.cost().pieces(pace));
        cutter.cut(self.bytes, 4096);
        cutter
    }

    pub(super) fn piece(&self, cutter: &Cutter, index: u64) -> Set {
        let [part, ..] = cutter.piece(index);
        Set { dst: self.dst + part.first, bytes: part.count, ..*self }
    }
}

/// `x[i] = x[i] * a + b`, `times` times over, each with one rounding of the product and one of the sum. As long as one
/// likes, and the one operation that looks at its flag while it runs: at least every millisecond on each processor. When
/// it is stopped each element has taken between none and all of the steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Iterate {
    /// f32.
    pub x: DevicePtr,
    /// Elements.
    pub count: u64,
    /// The factor.
    pub a: f32,
    /// The addend.
    pub b: f32,
    /// Steps.
    pub times: u64,
}

impl Iterate {
    pub(super) fn check(&self) -> Result<Ranges> {
        let mut ranges = Ranges::new();
        ranges.write("x", self.x, self.count, Element::F32)?;
        Ok(ranges)
    }

    pub(super) fn cost(&self) -> Cost {
        let count = self.count as f64;
        Cost { flops: count * self.times as f64 * 2.0, bytes: count * 8.0, matrix: false }
    }
}
