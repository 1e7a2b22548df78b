//! Streams and events of the CUDA device.

use super::context::Context;
use super::driver::done;
use super::info;
use super::node::Green;
use super::types::{self, AccessWindow, AttributeValue, Handle};
use crate::device::{CacheWindow, Event, HostFn, Stream};
use crate::telemetry::profiler::Track;
use crate::{Error, Result, Status};
use once_cell::sync::OnceCell;
use parking_lot::ReentrantMutex;
use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// An ordered queue on a node. It does not wait for the legacy default stream.
///
/// The driver runs the host functions of all streams on one thread, one after the other (two of 15 ms on two streams
/// of an H200 took 31 ms): keep them short, or hand their work to another thread.
pub struct CudaStream {
    pub(crate) context: Arc<Context>,
    raw: types::Stream,
    /// Held while the stream is being captured or waited for: waiting for a stream in capture is an error, and ends the
    /// capture. Reentrant, so that a body which waits for its own stream gets that error instead of hanging.
    pub(crate) recording: ReentrantMutex<()>,
    track: OnceLock<Arc<Track>>,
    /// Transfer streams beside this one, by direction; see `transfer.rs`.
    beside: [OnceCell<Box<CudaStream>>; 2],
    /// Percent of L1 that kernels want as shared memory, [`NO_CARVEOUT`] for the driver's choice.
    carveout: AtomicU32,
    // The node's processors, given back after the stream.
    green: Option<Arc<Green>>,
}

impl CudaStream {
    /// A stream on `green`, or on the whole device.
    pub(crate) fn create(
        context: Arc<Context>,
        green: Option<Arc<Green>>,
        priority: i32,
    ) -> Result<CudaStream> {
        let priority = context.clamp_priority(priority);
        let mut raw = Handle::NULL;
        {
            let _current = context.enter()?;
            let driver = &context.driver;
            // SAFETY: `raw` outlives the call; the green context is alive.
            unsafe {
                match &green {
                    Some(green) => driver.cuGreenCtxStreamCreate(
                        &mut raw,
                        green.raw(),
                        types::STREAM_NON_BLOCKING,
                        priority,
                    )?,
                    None => {
                        driver.cuStreamCreateWithPriority(&mut raw, types::STREAM_NON_BLOCKING, priority)?
                    }
                }
            }
        }
        Ok(CudaStream {
            context,
            raw,
            recording: ReentrantMutex::new(()),
            track: OnceLock::new(),
            beside: Default::default(),
            carveout: AtomicU32::new(NO_CARVEOUT),
            green,
        })
    }

    /// The CUDA stream behind a stream of the device room; an error names `argument` when it is another device's.
    pub fn of<'a>(stream: &'a dyn Stream, argument: &str) -> Result<&'a CudaStream> {
        stream
            .as_any()
            .downcast_ref::<CudaStream>()
            .ok_or_else(|| Error::argument(argument, "is not a stream of a CUDA device"))
    }

    /// The transfer stream beside this one with this number.
    pub(crate) fn beside(&self, number: usize) -> Result<&CudaStream> {
        let make = || CudaStream::create(self.context.clone(), None, 0).map(Box::new);
        Ok(self.beside[number].get_or_try_init(make)?)
    }

    /// The part of the processors that it runs on; none: all of them.
    pub(crate) fn green(&self) -> Option<&Arc<Green>> {
        self.green.as_ref()
    }

    /// The driver's handle.
    pub(crate) fn handle(&self) -> types::Stream {
        self.raw
    }

    /// Readies the profiler's clock for events that are recorded from now on.
    pub(crate) fn ready_clock(&self) {
        self.context.timeline.ready(&self.context);
    }

    /// Takes in what the profiler measured on this device and has ended.
    pub(crate) fn take_in(&self) {
        self.context.timeline.drain(&self.context);
        super::cupti::relieve();
    }

    /// Whether work queued now goes into a graph in place of running.
    pub fn is_capturing(&self) -> Result<bool> {
        let _current = self.context.enter()?;
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        unsafe { self.context.driver.cuStreamIsCapturing(self.raw, &mut status)? };
        Ok(status != 0)
    }
}

/// No wish about the carve-out of shared memory.
const NO_CARVEOUT: u32 = u32::MAX;

/// Runs a boxed host function once.
unsafe extern "C" fn run_host_fn(data: *mut c_void) {
    // SAFETY: `data` is the box that `host_fn` leaked for this one call.
    let f = unsafe { Box::from_raw(data.cast::<HostFn>()) };
    // A panic must not reach the driver's frames. The trait says that it is dropped.
    let _ = catch_unwind(AssertUnwindSafe(f));
}

impl Stream for CudaStream {
    fn host_fn(&self, f: HostFn) -> Result<()> {
        if self.is_capturing()? {
            return Err(Error::unsupported(
                "a host function runs once and cannot be captured into a CUDA graph",
            )
            .advise("queue it before or after the graph's launch"));
        }
        let _current = self.context.enter()?;
        let data = Box::into_raw(Box::new(f));
        // SAFETY: the driver calls `run_host_fn` once with the box, or answers an error and never does.
        let queued = unsafe { self.context.driver.cuLaunchHostFunc(self.raw, run_host_fn, data.cast()) };
        if queued.is_err() {
            // SAFETY: it was not queued, so the box is still ours.
            drop(unsafe { Box::from_raw(data) });
        }
        queued
    }

    fn synchronize(&self) -> Result<()> {
        let _no_capture = self.recording.lock();
        let _current = self.context.enter()?;
        // SAFETY: the stream is alive.
        unsafe { self.context.driver.cuStreamSynchronize(self.raw) }
    }

    fn is_idle(&self) -> Result<bool> {
        // Captured or waited for by another thread: not idle.
        let Some(_no_capture) = self.recording.try_lock() else { return Ok(false) };
        let _current = self.context.enter()?;
        // SAFETY: the stream is alive.
        done(unsafe { self.context.driver.cuStreamQuery(self.raw) })
    }

    fn record(&self) -> Result<Arc<dyn Event>> {
        let _current = self.context.enter()?;
        let event = CudaEvent { raw: self.context.event()?, context: self.context.clone() };
        // SAFETY: both are alive.
        unsafe { self.context.driver.cuEventRecord(event.raw, self.raw)? };
        Ok(Arc::new(event))
    }

    fn wait(&self, event: &Arc<dyn Event>) -> Result<()> {
        let event = CudaEvent::of(event.as_ref(), "event")?;
        self.context.same_as(&event.context, "event")?;
        let _current = self.context.enter()?;
        // SAFETY: both are alive; the driver notes the record at once, so the event may go away afterwards.
        unsafe { self.context.driver.cuStreamWaitEvent(self.raw, event.raw, 0) }
    }

    fn track(&self) -> Option<&Arc<Track>> {
        self.track.get()
    }

    fn set_track(&self, track: Arc<Track>) {
        // A second one would tear the stream's records apart.
        let _ = self.track.set(track);
    }

    fn set_cache_window(&self, window: Option<CacheWindow>) -> Result<()> {
        let driver = &self.context.driver;
        // No window: of no bytes, and both properties normal.
        let mut own = AccessWindow { base: 0, bytes: 0, ratio: 0.0, hit: 0, miss: types::ACCESS_NORMAL };
        if let Some(w) = window {
            let longest = u64::from(info::attribute(&self.context, types::attribute::MAX_ACCESS_WINDOW)?);
            if longest == 0 {
                return Err(Error::unsupported("this GPU has no access policy windows")
                    .advise("use a GPU of compute capability 8.0 or newer"));
            }
            own.base = w.base;
            own.bytes = w.bytes.min(longest) as usize;
            own.ratio = w.ratio.clamp(0.0, 1.0);
            own.hit = types::ACCESS_PERSISTING;
            own.miss = types::ACCESS_STREAMING;
        }
        let value = AttributeValue { window: own };
        // Not into the middle of a capture, whose kernels would not agree then.
        let _no_capture = self.recording.lock();
        let _current = self.context.enter()?;
        // SAFETY: the stream is alive, the value outlives the call.
        unsafe { driver.cuStreamSetAttribute(self.raw, types::ATTRIBUTE_ACCESS_WINDOW, &value) }
    }

    fn cache_window(&self) -> Result<Option<CacheWindow>> {
        let mut value = AttributeValue::ZERO;
        let _current = self.context.enter()?;
        // SAFETY: the stream is alive, the value outlives the call; the window is plain numbers.
        let window = unsafe {
            self.context.driver.cuStreamGetAttribute(self.raw, types::ATTRIBUTE_ACCESS_WINDOW, &mut value)?;
            value.window
        };
        let some = window.bytes > 0 && window.hit == types::ACCESS_PERSISTING;
        Ok(some.then_some(CacheWindow { base: window.base, bytes: window.bytes as u64, ratio: window.ratio }))
    }

    fn set_shared_carveout(&self, percent: Option<u32>) -> Result<()> {
        if let Some(percent) = percent {
            if percent > 100 {
                return Err(Error::argument("percent", format!("{percent} is more than 100")));
            }
            if let Some(since) = self.context.driver.lacks("cuLaunchKernelEx") {
                return Err(Error::unsupported(
                    "the driver has no cuLaunchKernelEx, which takes wishes with a launch",
                )
                .advise(format!("install a driver for CUDA {since} or newer")));
            }
            if self.context.driver.version() < 12050 {
                return Err(Error::unsupported("the driver takes no shared-memory carve-out with a launch")
                    .advise("install a driver for CUDA 12.5 or newer"));
            }
        }
        self.carveout.store(percent.unwrap_or(NO_CARVEOUT), Ordering::Relaxed);
        Ok(())
    }

    fn shared_carveout(&self) -> Option<u32> {
        Some(self.carveout.load(Ordering::Relaxed)).filter(|&percent| percent != NO_CARVEOUT)
    }

    fn raw(&self) -> *mut c_void {
        self.raw.0
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        let driver = &self.context.driver;
        let current = self.context.enter();
        if current.is_ok() {
            // SAFETY: the last owner gives it back; the driver lets queued work run first.
            driver.released(unsafe { driver.cuStreamDestroy_v2(self.raw) });
        }
    }
}

/// A marked point of a stream, with a time stamp.
pub struct CudaEvent {
    context: Arc<Context>,
    raw: types::Event,
}

impl CudaEvent {
    /// When it was passed, on the profiler's clock; after [`CudaStream::ready_clock`].
    pub(crate) fn passed(event: &dyn Event) -> Option<u64> {
        let event = CudaEvent::of(event, "event").ok()?;
        event.context.timeline.at(&event.context, event.raw)
    }

    fn of<'a>(event: &'a dyn Event, argument: &str) -> Result<&'a CudaEvent> {
        event
            .as_any()
            .downcast_ref::<CudaEvent>()
            .ok_or_else(|| Error::argument(argument, "is not an event of a CUDA device"))
    }
}

impl Event for CudaEvent {
    fn is_done(&self) -> Result<bool> {
        let _current = self.context.enter()?;
        // SAFETY: the event is alive.
        done(unsafe { self.context.driver.cuEventQuery(self.raw) })
    }

    fn synchronize(&self) -> Result<()> {
        let _current = self.context.enter()?;
        // SAFETY: the event is alive.
        unsafe { self.context.driver.cuEventSynchronize(self.raw) }
    }

    fn since(&self, earlier: &dyn Event) -> Result<Duration> {
        let earlier = CudaEvent::of(earlier, "earlier")?;
        self.context.same_as(&earlier.context, "earlier")?;
        let _current = self.context.enter()?;
        let mut ms = 0f32;
        // SAFETY: both are alive, `ms` outlives the call.
        match unsafe { self.context.driver.cuEventElapsedTime(&mut ms, earlier.raw, self.raw) } {
            Err(e) if e.status() == Status::Busy => {
                Err(e.advise("wait for both events before asking for the time between them"))
            }
            Err(e) => Err(e),
            Ok(()) if ms < 0.0 => Err(Error::argument("earlier", "was recorded after this event")),
            Ok(()) => Ok(Duration::from_secs_f64(f64::from(ms) / 1e3)),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        self.context.event_back(self.raw);
    }
}
