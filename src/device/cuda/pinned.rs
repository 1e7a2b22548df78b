//! Page-locked host memory: the GPU copies from and to it at full speed and without the host's help.

use super::CudaDevice;
use super::context::Context;
use crate::device::HostMemory;
use crate::{Error, Result};
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Visible to every context of the process.
const PORTABLE: u32 = 1;
/// Addressable by kernels.
const DEVICE_MAP: u32 = 2;

/// A page-locked host buffer, zeroed at first. Kernels may use its address too. The GPU may still read or write it
/// after an asynchronous copy was queued: keep it until the stream has passed that point.
pub struct PinnedBuffer {
    context: Arc<Context>,
    ptr: *mut u8,
    len: usize,
    /// Whether the context is kept for it; see [`PinnedBuffer::of_driver`].
    holds: bool,
}

// SAFETY: it owns its memory; access follows Rust's borrows.
unsafe impl Send for PinnedBuffer {}
// SAFETY: as above.
unsafe impl Sync for PinnedBuffer {}

impl HostMemory for PinnedBuffer {
    fn address(&self) -> u64 {
        self.ptr as u64
    }
}

impl PinnedBuffer {
    /// Allocates `bytes` (at least one).
    pub fn new(device: &CudaDevice, bytes: usize) -> Result<PinnedBuffer> {
        PinnedBuffer::in_context(device.context(), bytes)
    }

    /// A buffer that the host touches only where the driver has run what was queued before. A lost context, which runs
    /// nothing more, may be thrown away under it.
    pub(super) fn of_driver(context: &Arc<Context>, bytes: usize) -> Result<PinnedBuffer> {
        let mut buffer = PinnedBuffer::in_context(context, bytes)?;
        buffer.holds = false;
        context.pinned.fetch_sub(1, Ordering::AcqRel);
        Ok(buffer)
    }

    pub(crate) fn in_context(context: &Arc<Context>, bytes: usize) -> Result<PinnedBuffer> {
        if bytes == 0 {
            return Err(Error::argument("bytes", "must not be 0"));
        }
        let mut ptr: *mut c_void = std::ptr::null_mut();
        {
            let _current = context.enter()?;
            // SAFETY: `ptr` outlives the call.
            unsafe { context.driver.cuMemHostAlloc(&mut ptr, bytes, PORTABLE | DEVICE_MAP)? };
        }
        // SAFETY: the driver gave `bytes` writable bytes. Other processes' data must not show through.
        unsafe { std::ptr::write_bytes(ptr.cast::<u8>(), 0, bytes) };
        context.pinned.fetch_add(1, Ordering::AcqRel);
        Ok(PinnedBuffer { context: context.clone(), ptr: ptr.cast(), len: bytes, holds: true })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: a buffer has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: owned, initialised, `len` long.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }

    /// The bytes, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: owned, initialised, `len` long, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr, self.len) }
    }

    /// Start of the buffer.
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    /// Start of the buffer, for writing.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr
    }

    /// The address for copies and kernels: with unified addressing the same as the host's.
    pub fn address(&self) -> u64 {
        self.ptr as u64
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        let driver = &self.context.driver;
        if let Ok(_current) = self.context.enter() {
            // SAFETY: allocated by `cuMemHostAlloc`, freed once.
            driver.released(unsafe { driver.cuMemFreeHost(self.ptr.cast()) });
        }
        if self.holds {
            self.context.pinned.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
