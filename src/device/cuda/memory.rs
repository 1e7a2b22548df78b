//! Copies and fills. On the standard path ([`crate::device::Path`]) a copy is one call of the driver, whatever its size.
//!
//! A call without a stream runs on a transfer stream of its own and waits for it: the driver's synchronous copies use
//! the legacy default stream, and return before pageable bytes have reached the device.

use super::context::Context;
use super::space::AddressSpace;
use super::staging::{self, Staging};
use super::stream::CudaStream;
use super::timeline::{Work, measured};
use super::transfer::{self, Beside};
use crate::device::{Count, DevicePtr, Direction, HOST_TO_DEVICE, Place, Stream, direction};
use crate::telemetry::profiler::{self, Kind, Span};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// Transfer streams kept for use again.
const SPARE: usize = 16;

/// The device's transfer streams.
pub(crate) struct Transfers {
    context: Arc<Context>,
    space: Arc<AddressSpace>,
    spare: Mutex<Vec<CudaStream>>,
    staging: Staging,
    beside: Beside,
}

/// A copy that the caller waits for, noted when it has run.
struct Noted<'a> {
    context: &'a Context,
    direction: Direction,
    bytes: u64,
    begun: Instant,
}

impl Noted<'_> {
    fn new(context: &Context, direction: Direction, bytes: u64) -> Noted<'_> {
        Noted { context, direction, bytes, begun: Instant::now() }
    }

    fn done(self, result: Result<()>) -> Result<()> {
        if result.is_ok() {
            self.context.path.copied(self.direction, self.bytes, Some(self.begun.elapsed()));
        }
        result
    }
}

impl Transfers {
    pub(crate) fn new(context: Arc<Context>, space: Arc<AddressSpace>) -> Transfers {
        Transfers {
            staging: Staging::new(context.clone()),
            beside: Beside::new(context.clone()),
            context,
            space,
            spare: Mutex::new(Vec::new()),
        }
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

    /// Gives back the streams and page-locked buffers that nobody uses now.
    pub(crate) fn free_caches(&self) {
        let spare = std::mem::take(&mut *self.spare.lock());
        drop(spare);
        self.staging.free_caches();
        self.beside.free_caches();
    }

    pub(crate) fn write(&self, dst: DevicePtr, src: &[u8]) -> Result<()> {
        let bytes = self.check("dst", dst, src.len() as u64, true)?;
        if bytes == 0 {
            return Ok(());
        }
        let noted = Noted::new(&self.context, Direction::Up, src.len() as u64);
        if bytes >= staging::LARGE && self.context.path.direct() {
            let write = || {
                // SAFETY: `dst` was checked; memory that others allocated is checked by the driver.
                unsafe { self.staging.write(dst, src) }
            };
            let written = match profiler::on() {
                // Several streams share the work, so only the caller's own time is the whole.
                true => {
                    let span = Span::begin(Kind::Copy, HOST_TO_DEVICE, None).bytes(src.len() as u64);
                    let written = write();
                    if matches!(written, Some(Ok(()))) {
                        span.end();
                    }
                    written
                }
                false => write(),
            };
            if let Some(written) = written {
                return noted.done(written);
            }
        }
        // SAFETY: `src` is borrowed until the copy has run; the driver refuses an unmapped `dst`.
        noted.done(self.waiting(|stream| unsafe { self.queue_copy(dst, src.as_ptr() as u64, bytes, stream) }))
    }

    pub(crate) fn read(&self, dst: &mut [u8], src: DevicePtr) -> Result<()> {
        let bytes = self.check("src", src, dst.len() as u64, false)?;
        if bytes == 0 {
            return Ok(());
        }
        let noted = Noted::new(&self.context, Direction::Down, dst.len() as u64);
        // SAFETY: `dst` is borrowed until the copy has run; the driver refuses an unmapped `src`.
        noted.done(
            self.waiting(|stream| unsafe { self.queue_copy(dst.as_mut_ptr() as u64, src, bytes, stream) }),
        )
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
        let path = &self.context.path;
        match stream {
            Some(stream) => {
                let stream = self.own(stream)?;
                if path.own_streams() && size >= transfer::SHORTEST && !stream.is_capturing()? {
                    let direction = self.direction(dst, src);
                    if direction != Direction::Within {
                        // SAFETY: the caller's duty.
                        unsafe { self.beside.copy(dst, src, size, direction, stream)? };
                        path.copied(direction, bytes, None);
                        path.count(Count::OwnStreamCopies, 1);
                        return Ok(());
                    }
                }
                // SAFETY: the caller's duty.
                unsafe { self.queue_copy(dst, src, size, stream)? };
                path.copied(self.direction(dst, src), bytes, None);
                Ok(())
            }
            None => {
                let noted = Noted::new(&self.context, self.direction(dst, src), bytes);
                // SAFETY: the caller's duty.
                noted.done(self.waiting(|stream| unsafe { self.queue_copy(dst, src, size, stream) }))
            }
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
        let queue = |stream: &CudaStream| match profiler::on() {
            true => measured(stream, Work::new(Kind::Fill, "fill", bytes), || queue(stream)),
            false => queue(stream),
        };
        match stream {
            Some(stream) => queue(self.own(stream)?),
            None => self.waiting(queue),
        }
    }

    /// From where to where, for the counts: the driver is asked only when neither end lies in a range of this device, so
    /// that a step of a model does not pay for it.
    fn direction(&self, dst: u64, src: u64) -> Direction {
        match (self.space.reserved(dst), self.space.reserved(src)) {
            (true, true) => Direction::Within,
            (true, false) => Direction::Up,
            (false, true) => Direction::Down,
            (false, false) => match (self.space.place(dst), self.space.place(src)) {
                (Place::Device, Place::Host) => Direction::Up,
                (Place::Host, _) => Direction::Down,
                (Place::Device, Place::Device) => Direction::Within,
            },
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
        let queue = || {
            let _current = self.context.enter()?;
            // SAFETY: the caller's duty. With unified addressing the driver tells host from device by the address.
            unsafe { self.context.driver.cuMemcpyAsync(dst, src, bytes, stream.handle()) }
        };
        if profiler::on() {
            let name = direction(self.space.place(dst), self.space.place(src));
            return measured(stream, Work::new(Kind::Copy, name, bytes as u64), queue);
        }
        queue()
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
