//! Textures of the CPU device: the reads of a GPU's texture units, computed.

use super::super::texture::{Filter, Texture, TextureView, check_lengths};
use super::super::{Access, Stream};
use super::ranges::Ranges;
use crate::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A view that is read by [`Texture::sample`].
pub(super) struct CpuTexture {
    view: TextureView,
    handle: u64,
    ranges: Arc<Ranges>,
}

impl CpuTexture {
    pub(super) fn new(view: TextureView, ranges: &Arc<Ranges>) -> CpuTexture {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        CpuTexture { view, handle: NEXT.fetch_add(1, Ordering::Relaxed), ranges: ranges.clone() }
    }

    /// The element nearest to (x, y).
    fn element(&self, x: i64, y: i64) -> f32 {
        let v = &self.view;
        let column = x.clamp(0, v.width as i64 - 1) as u64;
        let row = y.clamp(0, v.height as i64 - 1) as u64;
        // SAFETY: inside the view, which `sample` has seen to be mapped.
        unsafe { ((v.address + row * v.pitch + column * 4) as *const f32).read() }
    }

    fn read(&self, [x, y]: [f32; 2]) -> f32 {
        if self.view.filter == Filter::Point {
            return self.element(x.floor() as i64, y.floor() as i64);
        }
        let ((i, a), (j, b)) = (between(x), between(y));
        let row = |j| (1.0 - a) * self.element(i, j) + a * self.element(i.saturating_add(1), j);
        if b == 0.0 {
            return row(j);
        }
        (1.0 - b) * row(j) + b * row(j.saturating_add(1))
    }
}

/// The element before a place and the weight of the one after it, in 256th parts as texture units have it.
fn between(place: f32) -> (i64, f32) {
    let place = place - 0.5;
    let whole = place.floor();
    // Not a number, and infinities: the weight of an element beyond the border does not matter.
    let part = if place.is_finite() { ((place - whole) * 256.0).round() / 256.0 } else { 0.0 };
    (whole as i64, part)
}

impl Texture for CpuTexture {
    fn handle(&self) -> u64 {
        self.handle
    }

    fn view(&self) -> TextureView {
        self.view
    }

    fn sample(&self, at: &[[f32; 2]], out: &mut [f32], stream: &dyn Stream) -> Result<()> {
        check_lengths(at, out)?;
        stream.synchronize()?;
        let v = &self.view;
        self.ranges.check("texture", v.address, v.bytes().unwrap_or(u64::MAX), Access::Read)?;
        for (place, value) in at.iter().zip(out) {
            *value = self.read(*place);
        }
        Ok(())
    }
}
