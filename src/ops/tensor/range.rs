//! The memory that an operation reads and writes, and what is checked of it.

use super::Element;
use crate::device::DevicePtr;
use crate::{Error, Result};
use std::ops::Deref;

/// A piece of memory that an operation reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The parameter that names it.
    pub name: &'static str,
    /// Its first byte.
    pub ptr: DevicePtr,
    /// Bytes from the first to behind the last that may be touched.
    pub bytes: u64,
    /// Whether it is written (it may be read too).
    pub write: bool,
}

impl Range {
    fn meets(&self, other: &Range) -> bool {
        self.bytes > 0
            && other.bytes > 0
            && self.ptr < other.ptr + other.bytes
            && other.ptr < self.ptr + self.bytes
    }
}

/// Up to six ranges; those of no bytes are left out.
#[derive(Clone, Copy, Debug)]
pub struct Ranges {
    all: [Range; 6],
    count: usize,
}

impl Deref for Ranges {
    type Target = [Range];

    fn deref(&self) -> &[Range] {
        &self.all[..self.count]
    }
}

impl Ranges {
    pub(super) fn new() -> Ranges {
        Ranges { all: [Range { name: "", ptr: 0, bytes: 0, write: false }; 6], count: 0 }
    }

    /// Adds `elements` elements at `ptr`, which are read.
    ///
    /// Errors: null, misaligned for its type, or reaching beyond the address space.
    pub(super) fn read(
        &mut self,
        name: &'static str,
        ptr: DevicePtr,
        elements: u64,
        element: Element,
    ) -> Result<()> {
        self.bytes(name, ptr, elements, element.bytes(), false)
    }

    /// Adds `elements` elements at `ptr`, which are written; errors as for [`Ranges::read`].
    pub(super) fn write(
        &mut self,
        name: &'static str,
        ptr: DevicePtr,
        elements: u64,
        element: Element,
    ) -> Result<()> {
        self.bytes(name, ptr, elements, element.bytes(), true)
    }

    /// Adds `count` units of `unit` bytes.
    pub(super) fn bytes(
        &mut self,
        name: &'static str,
        ptr: DevicePtr,
        count: u64,
        unit: u64,
        write: bool,
    ) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        if ptr == 0 {
            return Err(Error::argument(name, "is null"));
        }
        if !ptr.is_multiple_of(unit) {
            let text = format!("{ptr:#x} is not aligned to its elements of {unit} bytes");
            return Err(Error::argument(name, text));
        }
        let bytes = count.checked_mul(unit).filter(|b| ptr.checked_add(*b).is_some_and(|e| e <= 1 << 63));
        let Some(bytes) = bytes else {
            let text =
                format!("{count} elements of {unit} bytes from {ptr:#x} reach beyond the address space");
            return Err(Error::argument(name, text));
        };
        self.all[self.count] = Range { name, ptr, bytes, write };
        self.count += 1;
        Ok(())
    }

    /// Checks that no written range meets another. With `in_place` a written range may be exactly one that is read.
    pub(super) fn apart(self, in_place: bool) -> Result<Ranges> {
        for (i, w) in self.iter().enumerate().filter(|(_, r)| r.write) {
            for (j, other) in self.iter().enumerate() {
                let same = w.ptr == other.ptr && w.bytes == other.bytes;
                if i == j || !w.meets(other) || (in_place && same && !other.write) {
                    continue;
                }
                let how = if in_place { "overlaps part of" } else { "overlaps" };
                return Err(Error::argument(w.name, format!("{how} `{}`", other.name)));
            }
        }
        Ok(self)
    }
}

/// The largest extent of a tensor: kernels count in 32 bits, in steps of a tile.
pub(super) const MOST: u64 = (1 << 31) - 1024;

/// Checks that an extent fits what kernels count with.
pub(super) fn extent(name: &str, value: u64) -> Result<()> {
    if value > MOST {
        return Err(Error::argument(name, format!("{value} is more than {MOST}")));
    }
    Ok(())
}

/// The product of extents, or an error that names `name`.
pub(super) fn product(name: &str, factors: &[u64]) -> Result<u64> {
    factors.iter().try_fold(1u64, |p, f| p.checked_mul(*f)).filter(|p| *p < 1 << 62).ok_or_else(|| {
        let text: Vec<String> = factors.iter().map(u64::to_string).collect();
        Error::argument(name, format!("{} elements are more than memory can hold", text.join(" x ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_ranges_are_named() {
        let mut r = Ranges::new();
        assert!(r.read("a", 0, 1, Element::F32).unwrap_err().message().contains("`a`: is null"));
        assert!(r.read("a", 2, 1, Element::F32).unwrap_err().message().contains("aligned"));
        assert!(r.read("a", 4, 1 << 61, Element::F32).unwrap_err().message().contains("beyond"));
        assert!(r.read("a", 4, u64::MAX, Element::F32).is_err());
        r.read("a", 0, 0, Element::F32).unwrap();
        assert!(r.is_empty());
    }

    #[test]
    fn overlaps_are_seen() {
        let ranges = |out: u64| {
            let mut r = Ranges::new();
            r.read("x", 256, 16, Element::F32).unwrap();
            r.write("out", out, 16, Element::F32).unwrap();
            r
        };
        assert!(ranges(320).apart(false).is_ok() && ranges(192).apart(false).is_ok());
        assert!(ranges(316).apart(true).is_err() && ranges(196).apart(true).is_err());
        assert!(ranges(256).apart(false).is_err() && ranges(256).apart(true).is_ok());
    }
}
