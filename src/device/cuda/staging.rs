//! Large writes from ordinary memory: several threads copy pieces into page-locked buffers, from where the GPU takes
//! them at full speed. The driver does the same with one thread.

use super::context::Context;
use super::pinned::PinnedBuffer;
use super::stream::CudaStream;
use crate::Result;
use crate::device::{Event, Stream};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of one piece.
const PIECE: usize = 4 << 20;
/// Below this one thread is as fast.
pub(crate) const LARGE: usize = 4 * PIECE;
/// More threads than this are no faster: together they reach the bus's speed.
const THREADS: usize = 6;

/// What one thread works with: a stream, and two buffers so that one fills while the other is sent.
struct Lane {
    stream: CudaStream,
    buffers: [PinnedBuffer; 2],
}

/// The lanes of a device, made when first needed and kept.
pub(crate) struct Staging {
    context: Arc<Context>,
    spare: Mutex<Vec<Lane>>,
}

impl Staging {
    pub(crate) fn new(context: Arc<Context>) -> Staging {
        Staging { context, spare: Mutex::new(Vec::new()) }
    }

    /// Gives back the lanes that nobody uses now.
    pub(crate) fn free_caches(&self) {
        let spare = std::mem::take(&mut *self.spare.lock());
        drop(spare);
    }

    fn lane(&self) -> Result<Lane> {
        if let Some(lane) = self.spare.lock().pop() {
            return Ok(lane);
        }
        let buffer = || PinnedBuffer::in_context(&self.context, PIECE);
        Ok(Lane {
            stream: CudaStream::create(self.context.clone(), None, 0)?,
            buffers: [buffer()?, buffer()?],
        })
    }

    /// Copies `src` to `dst` and waits. `None` when there is no page-locked memory to be had or only one processor:
    /// then nothing was done.
    ///
    /// # Safety
    /// `dst` must be writable device memory for the length of `src`.
    pub(crate) unsafe fn write(&self, dst: u64, src: &[u8]) -> Option<Result<()>> {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let wanted = THREADS.min(processors).min(src.len() / PIECE);
        if wanted < 2 {
            return None;
        }
        let lanes: Vec<Lane> = (0..wanted).map_while(|_| self.lane().ok()).collect();
        if lanes.len() < 2 {
            return None;
        }
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (next, failed) = (&next, &failed);
        let mut result = Ok(());
        std::thread::scope(|scope| {
            let work = |mut lane: Lane| {
                move || {
                    // SAFETY: the caller's duty.
                    let sent = unsafe { self.send(&mut lane, dst, src, next, failed) };
                    // Waited for also on failure: the buffers must be idle before they are used again.
                    let sent = sent.and(lane.stream.synchronize());
                    failed.fetch_or(sent.is_err(), Ordering::Relaxed);
                    (lane, sent)
                }
            };
            let mut lanes = lanes.into_iter();
            let own = lanes.next();
            let threads: Vec<_> = lanes.map(|lane| scope.spawn(work(lane))).collect();
            let mut done: Vec<(Lane, Result<()>)> = own.map(|lane| work(lane)()).into_iter().collect();
            // A thread cannot panic: copying bytes and driver calls answer errors.
            done.extend(threads.into_iter().filter_map(|t| t.join().ok()));
            let mut spare = self.spare.lock();
            for (lane, sent) in done {
                if result.is_ok() {
                    result = sent;
                }
                if spare.len() < THREADS {
                    spare.push(lane);
                }
            }
        });
        Some(result)
    }

    /// Takes pieces until none is left.
    ///
    /// # Safety
    /// As [`Staging::write`].
    unsafe fn send(
        &self,
        lane: &mut Lane,
        dst: u64,
        src: &[u8],
        next: &AtomicUsize,
        failed: &AtomicBool,
    ) -> Result<()> {
        let _current = self.context.enter()?;
        let mut sent: [Option<Arc<dyn Event>>; 2] = [None, None];
        for turn in 0.. {
            let start = next.fetch_add(1, Ordering::Relaxed).saturating_mul(PIECE);
            if start >= src.len() || failed.load(Ordering::Relaxed) {
                break;
            }
            let piece = &src[start..src.len().min(start + PIECE)];
            if let Some(event) = sent[turn % 2].take() {
                event.synchronize()?;
            }
            let buffer = &mut lane.buffers[turn % 2];
            buffer.as_mut_slice()[..piece.len()].copy_from_slice(piece);
            // SAFETY: the caller's duty for `dst`; the buffer rests until its event was waited for.
            unsafe {
                self.context.driver.cuMemcpyAsync(
                    dst + start as u64,
                    buffer.address(),
                    piece.len(),
                    lane.stream.handle(),
                )?;
            }
            sent[turn % 2] = Some(lane.stream.record()?);
        }
        Ok(())
    }
}
