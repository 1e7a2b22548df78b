//! Memory bound as a texture of f32.

use crate::device::{Filter, Texture, TextureView};
use crate::memory::Kept;
use crate::tenant::Tenant;
use crate::{Error, Result};
use parking_lot::RwLock;

/// Texture objects start at multiples of this.
const ALIGN: u64 = 512;
/// Rows start at multiples of this.
const ROW_ALIGN: u64 = 32;
/// Elements of a row of the first shape: below what every GPU allows.
const FIRST_WIDTH: u64 = 65536;

/// Rows and columns of a texture, and how it reads between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextureShape {
    /// Elements in a row.
    pub width: u64,
    /// Rows; 1 for one dimension.
    pub height: u64,
    /// Bytes from a row to the next, a multiple of 32; 0 for the least that holds a row.
    pub pitch: u64,
    /// How it reads between elements.
    pub filter: Filter,
}

pub(super) struct Bound {
    // Before the memory, which it reads.
    texture: RwLock<Box<dyn Texture>>,
    block: Kept,
    bytes: u64,
}

impl Bound {
    pub(super) fn new(tenant: &Tenant, bytes: u64) -> Result<Bound> {
        let count = bytes / 4;
        let width = count.min(FIRST_WIDTH);
        if width < 8 || !bytes.is_multiple_of(4) {
            return Err(Error::argument("size", format!("{bytes} is not a multiple of 4 from 32 on"))
                .advise("textures are made of f32"));
        }
        // A row takes whole units of 32 bytes.
        let whole = bytes
            .checked_next_multiple_of(ROW_ALIGN)
            .ok_or_else(|| Error::argument("size", format!("{bytes} bytes overflow")))?;
        let block = tenant.space().block(whole, ALIGN, "texture partition")?;
        let shape = TextureShape { width, height: count / width, pitch: 0, filter: Filter::Linear };
        let view = view(block.ptr(), bytes, shape)?;
        let texture = RwLock::new(tenant.device().texture(view)?);
        Ok(Bound { texture, block, bytes })
    }

    pub(super) fn place(&self) -> (u64, u64) {
        (self.block.ptr(), self.bytes)
    }

    pub(super) fn handle(&self) -> u64 {
        self.texture.read().handle()
    }

    pub(super) fn bind(&self, tenant: &Tenant, shape: TextureShape) -> Result<u64> {
        let view = view(self.block.ptr(), self.bytes, shape)?;
        let texture = tenant.device().texture(view)?;
        let handle = texture.handle();
        let former = std::mem::replace(&mut *self.texture.write(), texture);
        drop(former);
        Ok(handle)
    }

    pub(super) fn sample(&self, tenant: &Tenant, at: &[[f32; 2]], out: &mut [f32]) -> Result<()> {
        let stream = tenant.new_stream(0)?;
        self.texture.read().sample(at, out, &*stream)
    }
}

fn view(address: u64, bytes: u64, shape: TextureShape) -> Result<TextureView> {
    let TextureShape { width, height, pitch, filter } = shape;
    if width == 0 || height == 0 {
        let name = if width == 0 { "width" } else { "height" };
        return Err(Error::argument(name, "must not be 0"));
    }
    let row = width
        .checked_mul(4)
        .and_then(|row| row.checked_next_multiple_of(ROW_ALIGN))
        .ok_or_else(|| Error::argument("width", format!("{width} elements overflow")))?;
    let pitch = if pitch == 0 { row } else { pitch };
    if pitch < width * 4 || !pitch.is_multiple_of(ROW_ALIGN) {
        let text = format!("{pitch} is not a multiple of {ROW_ALIGN} from {} on", width * 4);
        return Err(Error::argument("pitch", text));
    }
    let view = TextureView { address, width, height, pitch, filter };
    if view.bytes().is_none_or(|needed| needed > bytes) {
        let text =
            format!("{width} by {height} elements with rows of {pitch} bytes pass the partition's {bytes}");
        return Err(Error::argument("height", text));
    }
    Ok(view)
}
