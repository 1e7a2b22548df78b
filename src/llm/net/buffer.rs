//! Working memory of a model: one allocation of the tenant's space, cut into parts.

use crate::Result;
use crate::device::DevicePtr;
use crate::memory::Space;
use std::sync::Arc;

/// An allocation that is freed when dropped.
pub(crate) struct Buffer {
    space: Arc<Space>,
    ptr: DevicePtr,
    bytes: u64,
}

impl Buffer {
    pub fn new(space: &Arc<Space>, bytes: u64, tag: &str) -> Result<Buffer> {
        let bytes = bytes.max(256);
        let ptr = space.alloc(bytes, 256, tag).map_err(|e| e.within(tag))?;
        Ok(Buffer { space: Arc::clone(space), ptr, bytes })
    }

    pub fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // The space knows the pointer: it gave it out, and nobody else frees it.
        let _ = self.space.free(self.ptr);
    }
}

/// Adds up parts, each aligned to 256 bytes.
#[derive(Default)]
pub(crate) struct Cutter {
    used: u64,
}

impl Cutter {
    /// The offset of a part of `elements` 4-byte elements.
    pub fn cut(&mut self, elements: u64) -> u64 {
        let at = self.used;
        self.used += (elements * 4).next_multiple_of(256);
        at
    }

    /// Bytes of all parts.
    pub fn bytes(&self) -> u64 {
        self.used
    }
}

/// Plain numbers as the bytes that a device reads.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: Plain types have no padding and every byte of them is initialised; the length is the slice's own.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), std::mem::size_of_val(values)) }
}

/// Plain numbers as bytes that a device writes.
pub(crate) fn bytes_of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    // SAFETY: as above, and any bytes make valid values of Plain types.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), std::mem::size_of_val(values)) }
}

/// Types whose values are any bytes.
pub(crate) trait Plain: Copy {}
impl Plain for f32 {}
impl Plain for i32 {}
