//! Device work measured for the profiler: by CUPTI where it sees the device (`cupti`), else by events.
//!
//! Each launch or copy that is measured has an event before and one behind it; their distance is its time on the
//! device, read when both have passed. It includes what the device waits between the two for the work itself to
//! arrive, so very short kernels that are queued one by one look a few microseconds longer than they are. To place
//! records on the profiler's clock an anchor is kept: an event on an idle stream whose host time is known.

use super::context::Context;
pub(crate) use super::cupti::Parts;
use super::cupti::{self, Queued};
use super::stream::CudaStream;
use super::types::{Event, Handle};
use crate::Result;
use crate::device::Stream;
use crate::telemetry::nvtx;
use crate::telemetry::profiler::{self, Kind, Place};
use parking_lot::Mutex;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Measured work that has not been read yet; beyond this it is lost and counted.
const MOST_PENDING: usize = 8192;
/// An anchor is used so long: the distance between two events is told in f32 milliseconds, whose steps grow with it.
const ANCHOR_NS: u64 = 8_000_000_000;

thread_local! {
    /// Bytes that the next kernel launched by this thread moves.
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// Says how many bytes the next kernel that this thread launches reads and writes. Call only when the profiler is on.
pub(crate) fn expect_bytes(bytes: u64) {
    BYTES.set(bytes);
}

/// What is about to be queued.
pub(crate) struct Work<'a> {
    kind: Kind,
    name: &'a str,
    bytes: u64,
    occupancy: Option<Box<dyn FnOnce() -> Option<f32> + 'a>>,
    parts: Parts,
}

impl<'a> Work<'a> {
    pub fn new(kind: Kind, name: &'a str, bytes: u64) -> Work<'a> {
        Work { kind, name, bytes, occupancy: None, parts: Parts::One }
    }

    /// A kernel that moves the bytes that [`expect_bytes`] told of.
    pub fn kernel(name: &'a str) -> Work<'a> {
        Work::new(Kind::Kernel, name, BYTES.take())
    }

    pub fn occupied(mut self, occupancy: Box<dyn FnOnce() -> Option<f32> + 'a>) -> Work<'a> {
        self.occupancy = Some(occupancy);
        self
    }

    /// Of how many kernels, copies and fills it consists.
    pub fn parts(mut self, parts: Parts) -> Work<'a> {
        self.parts = parts;
        self
    }
}

struct Pending {
    kind: Kind,
    name: Box<str>,
    place: Place,
    bytes: u64,
    occupancy: Option<f32>,
    start: Event,
    end: Event,
    /// The host's clock when it was queued: where it is placed when the anchor cannot tell.
    queued: u64,
    anchor: Option<u64>,
}

struct Anchor {
    id: u64,
    event: Event,
    host: u64,
}

#[derive(Default)]
struct State {
    anchors: VecDeque<Anchor>,
    anchored: u64,
    pending: VecDeque<Pending>,
    occupancy: HashMap<(usize, u32, u32), Option<f32>>,
    registered: bool,
}

/// What is being measured on one context.
#[derive(Default)]
pub(crate) struct Timeline(Mutex<State>);

/// Queues `work` by `queue`, measured when its tenant's work is recorded. Call only when the profiler is on. What goes
/// wrong with measuring never becomes an error of the work.
#[cold]
pub(crate) fn measured(
    stream: &CudaStream,
    work: Work<'_>,
    queue: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let _range = nvtx::range(work.name);
    let Some(place) = place(stream) else { return queue() };
    let context = &stream.context;
    let collector = cupti::of(stream);
    profiler::by_cupti(collector.is_some());
    if let Some(collector) = collector {
        let Work { kind, name, bytes, occupancy, parts } = work;
        let occupancy = occupancy.and_then(|look_up| look_up());
        return collector.measured(Queued { kind, name, place, bytes, occupancy, parts }, queue);
    }
    let Some((anchor, start)) = begin(stream) else { return queue() };
    let queued = profiler::now();
    let done = queue();
    let end = done.is_ok().then(|| marked(stream).ok()).flatten();
    let Some(end) = end else {
        context.event_back(start);
        if done.is_ok() {
            profiler::lost(1);
        }
        return done;
    };
    let occupancy = work.occupancy.and_then(|look_up| look_up());
    let (kind, name, bytes) = (work.kind, work.name.into(), work.bytes);
    context
        .timeline
        .push(context, Pending { kind, name, place, bytes, occupancy, start, end, queued, anchor });
    done
}

/// Where the work belongs; `None` when it is not to be measured.
fn place(stream: &CudaStream) -> Option<Place> {
    let place = Place::of(stream.track())?;
    // What is captured does not run now.
    (!stream.is_capturing().unwrap_or(true)).then_some(place)
}

/// The anchor, and the event before the work; `None` when it cannot be measured.
fn begin(stream: &CudaStream) -> Option<(Option<u64>, Event)> {
    let anchor = stream.context.timeline.ready(&stream.context);
    match marked(stream) {
        Ok(start) => Some((anchor, start)),
        Err(_) => {
            profiler::lost(1);
            None
        }
    }
}

/// An event at the present end of the stream.
fn marked(stream: &CudaStream) -> Result<Event> {
    let context = &stream.context;
    let _current = context.enter()?;
    let event = context.event()?;
    // SAFETY: both are alive.
    match unsafe { context.driver.cuEventRecord(event, stream.handle()) } {
        Ok(()) => Ok(event),
        Err(e) => {
            context.event_back(event);
            Err(e)
        }
    }
}

impl Timeline {
    /// The anchor for what is queued from now on, made anew when the last one is old; none when the driver refuses.
    pub fn ready(&self, context: &Arc<Context>) -> Option<u64> {
        let mut state = self.0.lock();
        let now = profiler::now();
        if let Some(last) = state.anchors.back()
            && now.saturating_sub(last.host) < ANCHOR_NS
        {
            return Some(last.id);
        }
        let (event, host) = anchor(context).ok()?;
        state.anchored += 1;
        let id = state.anchored;
        state.anchors.push_back(Anchor { id, event, host });
        Some(id)
    }

    /// When `event`, recorded after [`Timeline::ready`] and passed since, was passed: on the profiler's clock.
    pub fn at(&self, context: &Context, event: Event) -> Option<u64> {
        let state = self.0.lock();
        let anchor = state.anchors.back()?;
        let _current = context.enter().ok()?;
        after(context, anchor, event)
    }

    /// The occupancy of a launch shape, looked up once. `look_up` must not use the timeline.
    pub fn occupancy(&self, key: (usize, u32, u32), look_up: impl FnOnce() -> Option<f32>) -> Option<f32> {
        if let Some(known) = self.0.lock().occupancy.get(&key) {
            return *known;
        }
        let found = look_up();
        self.0.lock().occupancy.insert(key, found);
        found
    }

    fn push(&self, context: &Arc<Context>, pending: Pending) {
        let mut state = self.0.lock();
        state.pending.push_back(pending);
        let full = state.pending.len() >= MOST_PENDING;
        let first = !std::mem::replace(&mut state.registered, true);
        drop(state);
        if first {
            let context = Arc::downgrade(context);
            profiler::add_collector(Arc::new(move || match context.upgrade() {
                Some(context) => {
                    context.timeline.drain(&context);
                    true
                }
                None => false,
            }));
        }
        if full {
            self.drain(context);
            let mut state = self.0.lock();
            let over = state.pending.len().saturating_sub(MOST_PENDING - 1);
            for old in state.pending.drain(..over) {
                context.event_back(old.start);
                context.event_back(old.end);
            }
            profiler::lost(over as u64);
        }
    }

    /// Takes in what has ended.
    pub fn drain(&self, context: &Context) {
        let mut state = self.0.lock();
        if state.pending.is_empty() {
            return;
        }
        let Ok(_current) = context.enter() else { return };
        let mut lost = 0;
        for _ in 0..state.pending.len() {
            let Some(work) = state.pending.pop_front() else { break };
            // SAFETY: the event is alive.
            match super::driver::done(unsafe { context.driver.cuEventQuery(work.end) }) {
                Ok(false) => {
                    state.pending.push_back(work);
                    continue;
                }
                Ok(true) => match elapsed(context, work.start, work.end) {
                    Some(duration) => {
                        let anchor = state.anchors.iter().find(|a| Some(a.id) == work.anchor);
                        let start = anchor.and_then(|a| after(context, a, work.start)).unwrap_or(work.queued);
                        work.place.record(
                            work.kind,
                            &work.name,
                            start,
                            duration,
                            work.bytes,
                            0,
                            work.occupancy,
                        );
                    }
                    None => lost += 1,
                },
                Err(_) => lost += 1,
            }
            context.event_back(work.start);
            context.event_back(work.end);
        }
        let oldest = state.pending.iter().filter_map(|w| w.anchor).min();
        while state.anchors.len() > 1 && oldest.is_none_or(|id| state.anchors[0].id < id) {
            if let Some(old) = state.anchors.pop_front() {
                context.event_back(old.event);
            }
        }
        drop(state);
        if lost > 0 {
            profiler::lost(lost);
        }
    }

    /// For the end of the context: every event that is left.
    pub fn take_events(&mut self) -> Vec<Event> {
        let state = std::mem::take(self.0.get_mut());
        let pending = state.pending.into_iter().flat_map(|w| [w.start, w.end]);
        pending.chain(state.anchors.into_iter().map(|a| a.event)).collect()
    }
}

/// Nanoseconds between two events that have passed.
fn elapsed(context: &Context, from: Event, to: Event) -> Option<u64> {
    let mut ms = 0f32;
    // SAFETY: both are alive, `ms` outlives the call; the context is current.
    unsafe { context.driver.cuEventElapsedTime(&mut ms, from, to).ok()? };
    (ms >= 0.0).then(|| (f64::from(ms) * 1e6).round() as u64)
}

/// When an event was passed, by an anchor before it.
fn after(context: &Context, anchor: &Anchor, event: Event) -> Option<u64> {
    Some(anchor.host + elapsed(context, anchor.event, event)?)
}

/// An event on a stream that has nothing else to do, and the host's clock when it was passed.
fn anchor(context: &Arc<Context>) -> Result<(Event, u64)> {
    let stream = CudaStream::create(context.clone(), None, 0)?;
    let mut event = Handle::NULL;
    let before = profiler::now();
    let marked = marked(&stream).and_then(|marked| {
        event = marked;
        let _current = context.enter()?;
        // SAFETY: the event is alive.
        unsafe { context.driver.cuEventSynchronize(event) }
    });
    let host = before + (profiler::now() - before) / 2;
    if let Err(e) = marked {
        if !event.is_null() {
            context.event_back(event);
        }
        return Err(e);
    }
    Ok((event, host))
}
