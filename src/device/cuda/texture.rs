//! Texture objects over linear memory.

use super::context::Context;
use super::info;
use super::module::{Function, Module};
use super::pinned::PinnedBuffer;
use super::stream::CudaStream;
use super::types::{self, ResourceView, TextureSettings, attribute};
use crate::device::Stream;
use crate::device::texture::{Filter, Texture, TextureView, check_lengths};
use crate::{Error, Result};
use once_cell::sync::OnceCell;
use std::ffi::c_void;
use std::sync::Arc;

/// Machine code of `kernels/texture.cu` for every supported GPU.
static IMAGE: &[u8] = include_bytes!("../../../kernels/images/texture.fatbin");

/// Threads of a block of the sampling kernel.
const BLOCK: u32 = 256;

/// A texture object.
pub(super) struct CudaTexture {
    context: Arc<Context>,
    raw: u64,
    view: TextureView,
    sampler: OnceCell<Function>,
}

impl CudaTexture {
    pub(super) fn new(context: &Arc<Context>, view: TextureView) -> Result<CudaTexture> {
        let limit = |which| info::attribute(context, which).map(u64::from);
        for (argument, value, most) in [
            ("width", view.width, limit(attribute::TEXTURE_2D_LINEAR_WIDTH)?),
            ("height", view.height, limit(attribute::TEXTURE_2D_LINEAR_HEIGHT)?),
            ("pitch", view.pitch, limit(attribute::TEXTURE_2D_LINEAR_PITCH)?),
        ] {
            if value > most {
                let text = format!("{value} is more than the {most} that textures of this GPU can have");
                return Err(Error::argument(argument, text));
            }
        }
        let resource = ResourceView {
            kind: types::RESOURCE_PITCH_2D,
            address: view.address,
            format: types::FORMAT_FLOAT,
            channels: 1,
            width: view.width as usize,
            height: view.height as usize,
            pitch: view.pitch as usize,
            rest: [0; 88],
            flags: 0,
        };
        let settings = TextureSettings {
            address_mode: [types::ADDRESS_CLAMP; 3],
            filter: u32::from(view.filter == Filter::Linear),
            ..TextureSettings::NONE
        };
        let mut raw = 0u64;
        let _current = context.enter()?;
        // SAFETY: the structs outlive the call; the driver checks the address.
        unsafe {
            context.driver.cuTexObjectCreate(&mut raw, &resource, &settings, std::ptr::null())?;
        }
        Ok(CudaTexture { context: context.clone(), raw, view, sampler: OnceCell::new() })
    }

    fn sampler(&self) -> Result<&Function> {
        self.sampler
            .get_or_try_init(|| Module::in_context(&self.context, IMAGE)?.function("cw_texture_sample"))
    }
}

impl Texture for CudaTexture {
    fn handle(&self) -> u64 {
        self.raw
    }

    fn view(&self) -> TextureView {
        self.view
    }

    fn sample(&self, at: &[[f32; 2]], out: &mut [f32], stream: &dyn Stream) -> Result<()> {
        check_lengths(at, out)?;
        if at.is_empty() {
            return Ok(());
        }
        let count =
            u32::try_from(at.len()).map_err(|_| Error::argument("at", "has more than 2^32 places"))?;
        let stream = CudaStream::of(stream, "stream")?;
        self.context.same_as(&stream.context, "stream")?;
        // The GPU reads the places and writes the values where they are: both are small.
        let mut places = PinnedBuffer::in_context(&self.context, at.len() * 8)?;
        let values = PinnedBuffer::in_context(&self.context, at.len() * 4)?;
        for (to, from) in places.as_mut_slice().chunks_exact_mut(8).zip(at) {
            to[..4].copy_from_slice(&from[0].to_ne_bytes());
            to[4..].copy_from_slice(&from[1].to_ne_bytes());
        }
        let (from, to) = (places.address(), values.address());
        let mut arguments: [*mut c_void; 4] = [
            (&raw const self.raw).cast_mut().cast(),
            (&raw const from).cast_mut().cast(),
            (&raw const to).cast_mut().cast(),
            (&raw const count).cast_mut().cast(),
        ];
        // SAFETY: the kernel's four parameters in order; all memory is kept until the stream was waited for.
        let queued = unsafe {
            self.sampler()?.launch(stream, [count.div_ceil(BLOCK), 1, 1], [BLOCK, 1, 1], 0, &mut arguments)
        };
        queued.and(Stream::synchronize(stream))?;
        for (to, from) in out.iter_mut().zip(values.as_slice().chunks_exact(4)) {
            *to = f32::from_ne_bytes([from[0], from[1], from[2], from[3]]);
        }
        Ok(())
    }
}

impl Drop for CudaTexture {
    fn drop(&mut self) {
        let driver = &self.context.driver;
        if let Ok(_current) = self.context.enter() {
            // SAFETY: created in `new`, ends here.
            driver.released(unsafe { driver.cuTexObjectDestroy(self.raw) });
        }
    }
}
