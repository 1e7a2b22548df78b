//! Copies beside the stream that they are ordered on: each stream has one transfer stream a direction, made when it is
//! first needed. Events keep the order: the copy starts after what its stream has queued, and what the stream queues
//! afterwards waits for the copy.
//!
//! Ordinary memory goes through a page-locked buffer. The driver holds a caller that copies from or to ordinary memory
//! until the stream's earlier work has run; here the caller's bytes are taken at once (or given back by a host function
//! on the transfer stream), so the caller goes on queueing while the GPU computes.

use super::context::Context;
use super::pinned::PinnedBuffer;
use super::stream::CudaStream;
use super::timeline::{Work, measured};
use super::types;
use crate::Result;
use crate::device::{Direction, Place, Stream, direction};
use crate::telemetry::profiler::{self, Kind};
use parking_lot::Mutex;
use std::sync::Arc;

/// Copies shorter than this stay on their own stream: two events cost as much as they take.
pub(crate) const SHORTEST: usize = 64 << 10;
/// The longest copy that goes through a buffer; beyond it the driver takes ordinary memory itself.
const LONGEST_BOUNCE: usize = 16 << 20;
/// Page-locked bytes in all; when they are in use the driver takes ordinary memory itself.
const MOST: usize = 64 << 20;

/// `CUDA_ERROR_INVALID_VALUE`.
const INVALID_VALUE: u32 = 1;

/// What the profiler calls a copy.
fn name(up: bool) -> &'static str {
    if up { direction(Place::Device, Place::Host) } else { direction(Place::Host, Place::Device) }
}

/// Page-locked buffers, kept for use again.
#[derive(Default)]
struct Buffers {
    spare: Vec<PinnedBuffer>,
    /// Bytes of all buffers, in use and spare, and how many they are.
    held: usize,
    made: usize,
}

/// What the transfer streams of a device share.
pub(crate) struct Beside {
    context: Arc<Context>,
    buffers: Arc<Mutex<Buffers>>,
}

impl Beside {
    pub(crate) fn new(context: Arc<Context>) -> Beside {
        Beside { context, buffers: Arc::default() }
    }

    /// Gives back the buffers that nobody uses now.
    pub(crate) fn free_caches(&self) {
        let spare = {
            let mut buffers = self.buffers.lock();
            let spare = std::mem::take(&mut buffers.spare);
            buffers.held -= spare.iter().map(PinnedBuffer::len).sum::<usize>();
            buffers.made -= spare.len();
            spare
        };
        drop(spare);
    }

    /// Queues the copy.
    ///
    /// # Safety
    /// Both ranges must be valid until the copy has run.
    pub(crate) unsafe fn copy(
        &self,
        dst: u64,
        src: u64,
        bytes: usize,
        direction: Direction,
        stream: &CudaStream,
    ) -> Result<()> {
        let up = direction == Direction::Up;
        let lane = stream.beside(usize::from(up))?;
        if lane.track().is_none()
            && let Some(track) = stream.track()
        {
            // It runs beside its stream, so a trace shows it on a lane of its own.
            lane.set_track(track.beside(name(up)));
        }
        lane.wait(&stream.record()?)?;
        let ordinary = self.is_ordinary(if up { src } else { dst });
        let buffer = if ordinary { self.take(bytes) } else { None };
        let queued = match buffer {
            // SAFETY: the caller's duty.
            None => unsafe { self.queue(dst, src, bytes, up, lane) },
            Some(mut buffer) if up => {
                // SAFETY: the caller's range is readable; the buffer is at least as long.
                unsafe { std::ptr::copy_nonoverlapping(src as *const u8, buffer.as_mut_ptr(), bytes) };
                // SAFETY: the caller's duty for `dst`; the buffer goes back behind the copy.
                let queued = unsafe { self.queue(dst, buffer.address(), bytes, up, lane) };
                self.give_behind(buffer, lane, queued, |_| ())
            }
            Some(buffer) => {
                // SAFETY: the caller's duty for `src`; the buffer goes back behind the copy.
                let queued = unsafe { self.queue(buffer.address(), src, bytes, up, lane) };
                self.give_behind(buffer, lane, queued, move |buffer| {
                    // SAFETY: the caller keeps `dst` writable until the copy has run, which ends here.
                    unsafe { std::ptr::copy_nonoverlapping(buffer.as_ptr(), dst as *mut u8, bytes) }
                })
            }
        };
        // Also after a failure: what was queued must be over before the stream goes on.
        let joined = lane.record().and_then(|after| stream.wait(&after));
        if joined.is_err() {
            // Without the event the order is kept by waiting.
            let _ = lane.synchronize();
        }
        queued.and(joined)
    }

    /// # Safety
    /// Both ranges must be valid until the copy has run.
    unsafe fn queue(&self, dst: u64, src: u64, bytes: usize, up: bool, lane: &CudaStream) -> Result<()> {
        let queue = || {
            let _current = self.context.enter()?;
            // SAFETY: the caller's duty.
            unsafe { self.context.driver.cuMemcpyAsync(dst, src, bytes, lane.handle()) }
        };
        if profiler::on() {
            return measured(lane, Work::new(Kind::Copy, name(up), bytes as u64), queue);
        }
        queue()
    }

    /// Lets `last` run with the buffer behind what the lane has queued, then keeps the buffer for use again.
    fn give_behind(
        &self,
        buffer: PinnedBuffer,
        lane: &CudaStream,
        queued: Result<()>,
        last: impl FnOnce(&PinnedBuffer) + Send + 'static,
    ) -> Result<()> {
        let home = self.buffers.clone();
        // Shared with the host function, so that it is not lost when that cannot be queued.
        let held = Arc::new(Mutex::new(Some((buffer, last))));
        let inside = held.clone();
        let good = queued.is_ok();
        let put_back = lane.host_fn(Box::new(move || {
            if let Some((buffer, last)) = inside.lock().take() {
                if good {
                    last(&buffer);
                }
                home.lock().spare.push(buffer);
            }
        }));
        if put_back.is_err() {
            // The copy may still run: wait for it here, then do by hand what the function would have done.
            let _ = lane.synchronize();
            if let Some((buffer, last)) = held.lock().take() {
                if good {
                    last(&buffer);
                }
                self.buffers.lock().spare.push(buffer);
            }
        }
        queued
    }

    /// Whether the driver knows nothing of this address: neither page-locked, nor memory of this or another GPU, which
    /// the host must not touch.
    fn is_ordinary(&self, address: u64) -> bool {
        let mut kind = 0u32;
        let Ok(_current) = self.context.enter() else { return false };
        // SAFETY: the output has the type of its attribute. Ordinary memory is answered with an error.
        let asked = unsafe {
            self.context.driver.cuPointerGetAttribute(
                (&raw mut kind).cast(),
                types::POINTER_MEMORY_TYPE,
                address,
            )
        };
        asked.is_err_and(|e| e.driver_code() == Some(INVALID_VALUE))
    }

    fn take(&self, bytes: usize) -> Option<PinnedBuffer> {
        if bytes > LONGEST_BOUNCE {
            return None;
        }
        let size = bytes.next_power_of_two();
        {
            let mut buffers = self.buffers.lock();
            if let Some(i) = buffers.spare.iter().position(|b| b.len() >= bytes) {
                return Some(buffers.spare.swap_remove(i));
            }
            if buffers.held + size > MOST {
                return None;
            }
            buffers.held += size;
            buffers.made += 1;
        }
        let made = PinnedBuffer::of_driver(&self.context, size);
        if made.is_err() {
            let mut buffers = self.buffers.lock();
            buffers.held -= size;
            buffers.made -= 1;
        }
        made.ok()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let in_use = {
            let buffers = self.buffers.lock();
            buffers.made > buffers.spare.len()
        };
        if in_use && let Ok(_current) = self.context.enter() {
            // A buffer must not be given back by a host function, which may not call the driver.
            // SAFETY: the context is current.
            self.context.driver.released(unsafe { self.context.driver.cuCtxSynchronize() });
        }
    }
}
