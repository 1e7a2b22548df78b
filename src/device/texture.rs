//! Textures: memory read through a filter.

use super::Stream;
use crate::{Error, Result};

/// How a texture reads between its elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Filter {
    /// The element in which the place lies.
    Point = 0,
    /// Weighted between the nearest two (in a row) or four.
    Linear = 1,
}

impl Filter {
    /// The filter with this number.
    pub fn from_number(n: i32) -> Result<Filter> {
        match n {
            0 => Ok(Filter::Point),
            1 => Ok(Filter::Linear),
            _ => Err(Error::argument("filter", format!("{n} is neither 0 (point) nor 1 (linear)"))),
        }
    }
}

/// Rows of f32 as a texture sees them. Places are given in elements: element (i, j) lies at (i + 0.5, j + 0.5); beyond the
/// border the nearest element is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextureView {
    /// First element; a multiple of 512.
    pub address: u64,
    /// Elements in a row.
    pub width: u64,
    /// Rows; 1 for a texture of one dimension.
    pub height: u64,
    /// Bytes from a row to the next: a multiple of 32, at least 4 times the width.
    pub pitch: u64,
    /// How it reads between elements.
    pub filter: Filter,
}

impl TextureView {
    /// Bytes from the first element to the end of the last.
    pub fn bytes(&self) -> Option<u64> {
        self.pitch.checked_mul(self.height.checked_sub(1)?)?.checked_add(self.width.checked_mul(4)?)
    }
}

/// A view bound for reading. Its memory must outlive it; no work that reads it may be in flight when it is dropped.
pub trait Texture: Send + Sync {
    /// What kernels read by: the `CUtexObject` on a GPU; elsewhere a number that only tells textures apart. Never 0.
    fn handle(&self) -> u64;

    /// The view.
    fn view(&self) -> TextureView;

    /// Reads the texture at places (x, y), in order after what is queued on `stream` (one of the device), and waits. On a
    /// GPU a kernel does it through the texture units, whose weights have 8 bits; elsewhere the same is computed.
    fn sample(&self, at: &[[f32; 2]], out: &mut [f32], stream: &dyn Stream) -> Result<()>;
}

pub(super) fn check_lengths(at: &[[f32; 2]], out: &[f32]) -> Result<()> {
    if at.len() == out.len() {
        return Ok(());
    }
    Err(Error::argument("out", format!("has {} elements for {} places", out.len(), at.len())))
}
