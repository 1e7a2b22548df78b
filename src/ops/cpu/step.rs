//! One step on the stream's thread.

use crate::device::{DEVICE_TO_HOST, HOST_TO_DEVICE, Stream};
use crate::ops::{Download, StepTime, Upload};
use crate::telemetry::profiler::{self, Kind, Track};
use crate::{Error, Result, Status};
use std::sync::{Arc, mpsc};
use std::time::Instant;

/// What the stream's thread works with. It borrows from the caller of [`run`], which waits for it.
struct Job<'u, 'b, 'd, 'e> {
    uploads: &'u [Upload<'u>],
    body: &'b mut (dyn FnMut() -> Result<()> + Send),
    downloads: &'d mut [Download<'e>],
    /// Whose step it is, when the profiler is on.
    track: Option<Arc<Track>>,
}

/// Runs uploads, `body` and downloads on the stream's thread, in its order, and waits.
///
/// Errors: what the body answers; what the stream refuses; [`Status::Panic`] when the body panicked.
pub fn run(
    stream: &dyn Stream,
    uploads: &[Upload<'_>],
    body: &mut (dyn FnMut() -> Result<()> + Send),
    downloads: &mut [Download<'_>],
) -> Result<StepTime> {
    let track = if profiler::on() { stream.track().cloned() } else { None };
    let job = Job { uploads, body, downloads, track };
    // SAFETY: only lifetimes change. The job is owned by the queued function, which the stream either runs or drops;
    // in both cases the sender is dropped after the job's last use, and this function does not return before that.
    let job =
        unsafe { std::mem::transmute::<Job<'_, '_, '_, '_>, Job<'static, 'static, 'static, 'static>>(job) };
    let (done, outcome) = mpsc::sync_channel(1);
    stream.host_fn(Box::new(move || {
        let result = job.run();
        // The receiver waits below; it cannot be gone.
        let _ = done.send(result);
    }))?;
    outcome.recv().unwrap_or_else(|_| {
        Err(Error::new(Status::Panic, "the step did not finish: it panicked or its stream was closed"))
    })
}

impl Job<'_, '_, '_, '_> {
    fn run(self) -> Result<StepTime> {
        let begin = Instant::now();
        let track = self.track.as_ref();
        let begun = if profiler::on() { profiler::now() } else { 0 };
        for (to, from) in self.uploads {
            profiler::measured(Kind::Copy, HOST_TO_DEVICE, from.len() as u64, track, || {
                // SAFETY: the engine's device memory, which on this device is memory of this process.
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), *to as *mut u8, from.len()) };
                Ok::<(), Error>(())
            })?;
        }
        (self.body)()?;
        for (to, from) in self.downloads {
            profiler::measured(Kind::Copy, DEVICE_TO_HOST, to.len() as u64, track, || {
                // SAFETY: as above.
                unsafe { std::ptr::copy_nonoverlapping(*from as *const u8, to.as_mut_ptr(), to.len()) };
                Ok::<(), Error>(())
            })?;
        }
        Ok(StepTime { device: begin.elapsed(), begun })
    }
}
