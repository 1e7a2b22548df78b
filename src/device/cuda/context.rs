//! The primary context of one GPU, made current for each call and put back after it.

use super::cupti;
use super::driver::CudaDriver;
use super::timeline::Timeline;
use super::types::{Context as RawContext, Event, Handle};
use crate::device::Path;
use crate::{Error, Result, Status};
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// How many events are kept for use again.
const SPARE_EVENTS: usize = 256;

/// `CU_LIMIT_STACK_SIZE`.
const LIMIT_STACK: u32 = 0;

/// A retained primary context: the one that the CUDA runtime and its libraries use too. Every object of the device
/// holds it, so that it outlives them.
pub(crate) struct Context {
    pub(crate) driver: Arc<CudaDriver>,
    pub(crate) device: i32,
    raw: RawContext,
    /// Least and greatest stream priority: (0, -5) on current GPUs.
    priorities: (i32, i32),
    spare_events: Mutex<Vec<Event>>,
    /// Thrown away after it was lost: its handle, and those of all its objects, mean nothing any more.
    dead: AtomicBool,
    /// Page-locked buffers of it that the host may touch: they would go with it.
    pub(super) pinned: AtomicUsize,
    /// Read while a stream is being captured, written while the whole context is waited for: the driver refuses to wait
    /// then, and the capture would be lost.
    pub(crate) capturing: RwLock<()>,
    /// What the profiler measures here.
    pub(crate) timeline: Timeline,
    /// Whether CUPTI sees what is done here.
    pub(crate) cupti: cupti::Trial,
    /// Switches and counts of the device.
    pub(crate) path: Path,
    /// See [`Context::overlaps_launches`].
    overlaps: OnceLock<bool>,
}

/// The context is current on this thread until this is dropped.
pub(crate) struct Current<'a> {
    driver: &'a CudaDriver,
    previous: Option<RawContext>,
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if let Some(previous) = self.previous {
            // SAFETY: it was current before.
            self.driver.released(unsafe { self.driver.cuCtxSetCurrent(previous) });
        }
    }
}

impl Context {
    /// Retains the primary context of `device`.
    pub(crate) fn retain(driver: Arc<CudaDriver>, device: i32) -> Result<Arc<Context>> {
        let mut raw = Handle::NULL;
        // SAFETY: `raw` outlives the call.
        unsafe { driver.cuDevicePrimaryCtxRetain(&mut raw, device)? };
        let mut context = Context {
            driver,
            device,
            raw,
            priorities: (0, 0),
            spare_events: Mutex::new(Vec::new()),
            dead: AtomicBool::new(false),
            pinned: AtomicUsize::new(0),
            capturing: RwLock::new(()),
            timeline: Timeline::default(),
            cupti: cupti::Trial::default(),
            path: Path::default(),
            overlaps: OnceLock::new(),
        };
        context.priorities = {
            let _current = context.enter()?;
            let (mut least, mut greatest) = (0, 0);
            // SAFETY: both outlive the call.
            unsafe { context.driver.cuCtxGetStreamPriorityRange(&mut least, &mut greatest)? };
            (least, greatest)
        };
        Ok(Arc::new(context))
    }

    /// Makes the context current on this thread. A context that the application had current comes back afterwards;
    /// where there was none, this one stays, which makes the next call cheaper.
    pub(crate) fn enter(&self) -> Result<Current<'_>> {
        self.must_live()?;
        let mut previous = Handle::NULL;
        // SAFETY: `previous` outlives the call; `raw` is retained.
        unsafe {
            self.driver.cuCtxGetCurrent(&mut previous)?;
            if previous != self.raw {
                self.driver.cuCtxSetCurrent(self.raw)?;
            }
        }
        let restore = previous != self.raw && !previous.is_null();
        Ok(Current { driver: &self.driver, previous: restore.then_some(previous) })
    }

    /// Whether a kernel may begin while the one before it still runs, recorded in graphs too: compute capability 9.0 and a driver
    /// for CUDA 12.3.
    pub(crate) fn overlaps_launches(&self) -> bool {
        *self.overlaps.get_or_init(|| {
            self.driver.lacks("cuLaunchKernelEx").is_none()
                && self.driver.version() >= 12030
                && super::info::attribute(self, super::types::attribute::MAJOR).is_ok_and(|major| major >= 9)
        })
    }

    /// The driver's handle.
    pub(crate) fn handle(&self) -> RawContext {
        self.raw
    }

    /// Makes the context current on this thread and leaves it so.
    pub(crate) fn make_current(&self) -> Result<()> {
        self.must_live()?;
        // SAFETY: `raw` is retained.
        unsafe { self.driver.cuCtxSetCurrent(self.raw) }
    }

    /// Bytes of stack that a thread of a kernel may have.
    pub(crate) fn stack_limit(&self) -> Result<u64> {
        let mut bytes = 0usize;
        let _current = self.enter()?;
        // SAFETY: `bytes` outlives the call.
        unsafe { self.driver.cuCtxGetLimit(&mut bytes, LIMIT_STACK)? };
        Ok(bytes as u64)
    }

    /// Changes it. The driver may make its memory for stacks anew, which waits for the device: never during a capture.
    pub(crate) fn set_stack_limit(&self, bytes: u64) -> Result<()> {
        let bytes = usize::try_from(bytes).map_err(|_| Error::argument("size", "is too large"))?;
        let _no_capture = self.capturing.write();
        let _current = self.enter()?;
        // SAFETY: plain numbers.
        unsafe { self.driver.cuCtxSetLimit(LIMIT_STACK, bytes) }
    }

    /// Whether it was thrown away. Objects of it have gone with it and must not be given back to the driver.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Whether the driver said that it is lost, or it was thrown away since.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_dead() || self.driver.is_lost(self.raw)
    }

    fn must_live(&self) -> Result<()> {
        if !self.is_dead() {
            return Ok(());
        }
        Err(Error::new(
            Status::DeviceLost,
            format!("CUDA device {} was lost and opened anew since", self.device),
        )
        .advise("this object went with the lost device: close it and make it again"))
    }

    /// Throws a lost context away with everything in it, so that the next one to retain it gets a new one.
    ///
    /// Errors: [`Status::Busy`] while page-locked buffers of it are in use, which would vanish under the host's hands.
    pub(crate) fn throw_away(&self) -> Result<()> {
        let pinned = self.pinned.load(Ordering::Acquire);
        if pinned > 0 {
            let text =
                format!("{pinned} page-locked buffers of the lost CUDA device {} are in use", self.device);
            return Err(Error::new(Status::Busy, text)
                .advise("free the arrays and models on that device, then recover it"));
        }
        if self.dead.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // SAFETY: from here on nobody enters it, and destructors of its objects leave the driver alone.
        unsafe {
            // A context that goes must not stay current here.
            self.driver.released(self.driver.cuCtxSetCurrent(Handle::NULL));
            self.driver.cuDevicePrimaryCtxReset_v2(self.device).inspect_err(|_| {
                // It is there still, and the next call tries again.
                self.dead.store(false, Ordering::Release);
            })?;
        }
        self.driver.thrown_away(self.raw);
        Ok(())
    }

    /// The nearest priority that the device has.
    pub(crate) fn clamp_priority(&self, priority: i32) -> i32 {
        let (least, greatest) = self.priorities;
        priority.clamp(greatest.min(least), least.max(greatest))
    }

    /// An event with timing, new or used before. The context must be current.
    pub(crate) fn event(&self) -> Result<Event> {
        if let Some(event) = self.spare_events.lock().pop() {
            return Ok(event);
        }
        let mut event = Handle::NULL;
        // SAFETY: `event` outlives the call.
        unsafe { self.driver.cuEventCreate(&mut event, 0)? };
        Ok(event)
    }

    /// Takes an event back. What waits for its last record goes on waiting for that.
    pub(crate) fn event_back(&self, event: Event) {
        {
            let mut spare = self.spare_events.lock();
            if spare.len() < SPARE_EVENTS {
                spare.push(event);
                return;
            }
        }
        if self.is_dead() {
            return;
        }
        // SAFETY: nobody else has it.
        self.driver.released(unsafe { self.driver.cuEventDestroy_v2(event) });
    }

    /// That `other` is this context, as objects used together must share one.
    pub(crate) fn same_as(&self, other: &Context, argument: &str) -> Result<()> {
        if std::ptr::eq(self, other) {
            return Ok(());
        }
        Err(Error::argument(argument, "belongs to another CUDA device"))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.is_dead() {
            return;
        }
        let measured = self.timeline.take_events();
        for event in self.spare_events.get_mut().drain(..).chain(measured) {
            // SAFETY: nobody else has it.
            self.driver.released(unsafe { self.driver.cuEventDestroy_v2(event) });
        }
        // SAFETY: retained once in `retain`.
        self.driver.released(unsafe { self.driver.cuDevicePrimaryCtxRelease_v2(self.device) });
    }
}
