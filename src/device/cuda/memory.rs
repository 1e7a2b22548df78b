//! Copies and fills.
//!
//! A call without a stream runs on a transfer stream of its own and waits for it: the driver's synchronous copies use
//! the legacy default stream, and return before pageable bytes have reached the device.

use super::context::Context;
use super::space::AddressSpace;
use super::staging::{self, Staging};
use super::stream::CudaStream;
use crate::device::{DevicePtr, Stream};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::sync::Arc;

/// Transfer streams kept for use again.
const SPARE: usize = 16;

/// The device's transfer streams.
pub(crate) struct Transfers {
    context: Arc<Context>,
    space: Arc<AddressSpace>,
    spare: Mutex<Vec<CudaStream>>,
    staging: Staging,
}

impl Transfers {
    pub(crate) fn new(context: Arc<Context>, space: Arc<AddressSpace>) -> Transfers {
        Transfers { staging: Staging::new(context.clone()), context, space, spare: Mutex::new(Vec::new()) }
    }

    /// Runs `queue` with a stream and waits for what it queued, also when it fails half way: nothing of the caller's
    /// memory may be touched after the return.
    fn waiting(&self, queue: impl FnOnce(&CudaStream) -> Result<()>) -> Result<()> {
        let spare = self.spare.lock().pop();
        let stream = match spare {
            Some(stream) => stream,
            None => CudaStream::create(self.context.clone(), None, 0)?,
        };
        let queued = queue(&stream);
        let waited = stream.synchronize();
        let result = queued.and(waited);
        let mut spare = self.spare.lock();
        if spare.len() < SPARE {
            spare.push(stream);
        }
        result
    }

    /// Gives back the streams and staging buffers that nobody uses now.
    pub(crate) fn free_caches(&self) {
        let spare = std::mem::take(&mut *self.spare.lock());
        drop(spare);
        self.staging.free_caches();
    }

    pub(crate) fn write(&self, dst: DevicePtr, src: &[u8]) -> Result<()> {
        let bytes = self.check("dst", dst, src.len() as u64, true)?;
        if bytes == 0 {
            return Ok(());
        }
        if bytes >= staging::LARGE {
            // SAFETY: `dst` was checked; memory that others allocated is checked by the driver.
            if let Some(written) = unsafe { self.staging.write(dst, src) } {
                return written;
            }
        }
        // SAFETY: `src` is borrowed until the copy has run; the driver refuses an unmapped `dst`.
        self.waiting(|stream| unsafe { self.queue_copy(dst, src.as_ptr() as u64, bytes, stream) })
    }

    pub(crate) fn read(&self, dst: &mut [u8], src: DevicePtr) -> Result<()> {
        let bytes = self.check("src", src, dst.len() as u64, false)?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: `dst` is borrowed until the copy has run; the driver refuses an unmapped `src`.
        self.waiting(|stream| unsafe { self.queue_copy(dst.as_mut_ptr() as u64, src, bytes, stream) })
    }

    /// As [`crate::device::Device::copy`].
    ///
    /// # Safety
    /// Both ranges must be valid until the copy has run.
    pub(crate) unsafe fn copy(
        &self,
        dst: u64,
        src: u64,
        bytes: u64,
        stream: Option<&dyn Stream>,
    ) -> Result<()> {
        self.check("dst", dst, bytes, true)?;
        let size = self.check("src", src, bytes, false)?;
        if size == 0 || dst == src {
            return Ok(());
        }
        match stream {
            Some(stream) => {
                let stream = self.own(stream)?;
                // SAFETY: the caller's duty.
                unsafe { self.queue_copy(dst, src, size, stream) }
            }
            // SAFETY: the caller's duty.
            None => self.waiting(|stream| unsafe { self.queue_copy(dst, src, size, stream) }),
        }
    }

    /// As [`crate::device::Device::fill`].
    ///
    /// # Safety
    /// The range must be valid until the fill has run.
    pub(crate) unsafe fn fill(
        &self,
        dst: DevicePtr,
        value: u8,
        bytes: u64,
        stream: Option<&dyn Stream>,
    ) -> Result<()> {
        let size = self.check("dst", dst, bytes, true)?;
        if size == 0 {
            return Ok(());
        }
        let queue = |stream: &CudaStream| -> Result<()> {
            let _current = self.context.enter()?;
            // SAFETY: the caller's duty.
            unsafe { self.context.driver.cuMemsetD8Async(dst, value, size, stream.handle()) }
        };
        match stream {
            Some(stream) => queue(self.own(stream)?),
            None => self.waiting(queue),
        }
    }

    fn own<'a>(&self, stream: &'a dyn Stream) -> Result<&'a CudaStream> {
        let stream = CudaStream::of(stream, "stream")?;
        self.context.same_as(&stream.context, "stream")?;
        Ok(stream)
    }

    /// # Safety
    /// Both ranges must be valid until the copy has run.
    unsafe fn queue_copy(&self, dst: u64, src: u64, bytes: usize, stream: &CudaStream) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: the caller's duty. With unified addressing the driver tells host from device by the address.
        unsafe { self.context.driver.cuMemcpyAsync(dst, src, bytes, stream.handle()) }
    }

    /// That `bytes` bytes at `address` may be touched.
    fn check(&self, name: &str, address: u64, bytes: u64, write: bool) -> Result<usize> {
        if bytes > 0 && address == 0 {
            return Err(Error::argument(name, "must not be null"));
        }
        if address.checked_add(bytes).is_none() {
            return Err(Error::argument(
                name,
                format!("{bytes} bytes at {address:#x} run past the address space"),
            ));
        }
        self.space.check(name, address, bytes, write)?;
        usize::try_from(bytes).map_err(|_| Error::argument("bytes", "is beyond the address space"))
    }
}
