//! The profiler: how long kernels, copies, steps and tasks took, for each tenant and all together.
//!
//! Off, it costs its callers one relaxed load and a branch that is not taken: everything starts with [`on`]. On, a
//! record goes under one lock into its series (count, least, most, sum, a bounded histogram) and into a ring of
//! events for [`super::trace`]. Times of device work come from the device (CUPTI or events on a GPU, the stream's
//! own thread on the CPU device), in nanoseconds of one clock ([`now`]).

pub(super) mod histogram;
mod ranges;
mod report;
pub(crate) mod store;

pub use ranges::{disable, enable, pop, push};
pub use report::{map, numbers, summary};
pub use store::{Counts, TRACE_EVENTS};

use super::nvtx;
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A kernel, an operation of the CPU device, or a library's product.
    Kernel,
    /// A copy, by direction.
    Copy,
    /// A fill of memory.
    Fill,
    /// A step of a model's engine; its items are tokens.
    Step,
    /// The run of a task's body, by the kind of task.
    Task,
    /// Time in a queue: of a task before its run, of an engine at its gate.
    Wait,
    /// An allocation or a release of a tenant's memory.
    Memory,
    /// A range that the application marked.
    Range,
}

impl Kind {
    /// The name used in keys, traces and Prometheus labels.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Kernel => "kernel",
            Kind::Copy => "copy",
            Kind::Fill => "fill",
            Kind::Step => "step",
            Kind::Task => "task",
            Kind::Wait => "wait",
            Kind::Memory => "memory",
            Kind::Range => "range",
        }
    }
}

/// Figures of one series. Times in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// What it is of.
    pub kind: Kind,
    /// The kernel's, copy's, … name.
    pub name: String,
    /// The tenant; empty for work of no tenant and for figures of all tenants together.
    pub tenant: String,
    /// How often.
    pub count: u64,
    /// All times together.
    pub total: f64,
    /// The shortest, exact.
    pub min: f64,
    /// The mean, exact.
    pub mean: f64,
    /// The median, within 1/64.
    pub p50: f64,
    /// What 99 of 100 stay below, within 1/64.
    pub p99: f64,
    /// The longest, exact.
    pub max: f64,
    /// Bytes read and written, as far as they are known; else 0.
    pub bytes: u64,
    /// Tokens of steps; else 0.
    pub items: u64,
    /// Kernels: the part of the processors that they kept busy, weighted by time. On the CPU device measured (busy time
    /// of the node's threads over all of their time), on a GPU theoretical (resident warps over the most that an SM holds).
    pub occupancy: Option<f64>,
}

impl Figures {
    /// Bytes (10^9 of them) a second, where bytes are known.
    pub fn gigabytes_per_second(&self) -> Option<f64> {
        (self.bytes > 0 && self.total > 0.0).then(|| self.bytes as f64 / self.total / 1e9)
    }
}

/// One thing that took time.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'a str,
    /// Whose it is; empty for nobody's.
    pub tenant: &'a str,
    /// On which stream or thread, and how that is called.
    pub lane: u32,
    /// Name of the lane.
    pub lane_name: &'a str,
    /// Nanoseconds of the clock [`now`].
    pub start: u64,
    /// Nanoseconds.
    pub duration: u64,
    /// Bytes moved; 0 when not known.
    pub bytes: u64,
    /// Tokens; 0 for none.
    pub items: u64,
    /// From 0 to 1, where known.
    pub occupancy: Option<f32>,
}

const RECORDING: u8 = 1;
const ATTACHED: u8 = 2;

/// Bits: somebody records; a tool listens to NVTX ranges.
static MODE: AtomicU8 = AtomicU8::new(0);
static ALL: AtomicBool = AtomicBool::new(false);
static SWITCHES: Mutex<Switches> = Mutex::new(Switches { all: 0, tenants: 0 });
static EPOCH: Lazy<Instant> = Lazy::new(Instant::now);
static NEXT_LANE: AtomicU32 = AtomicU32::new(1);
static BY_CUPTI: AtomicBool = AtomicBool::new(false);
static WATCHERS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());
static COLLECTORS: Mutex<Vec<Arc<Collector>>> = Mutex::new(Vec::new());

/// Brings records in that a device still holds back; false when the device is gone.
pub type Collector = dyn Fn() -> bool + Send + Sync;

struct Switches {
    all: u32,
    tenants: u32,
}

impl Switches {
    fn apply(&self) {
        ALL.store(self.all > 0, Relaxed);
        if self.all > 0 || self.tenants > 0 {
            MODE.fetch_or(RECORDING, Relaxed);
        } else {
            MODE.fetch_and(!RECORDING, Relaxed);
        }
    }
}

/// Whether anything is to be measured or told to a tool. All that instrumented code does when it is off.
#[inline(always)]
pub fn on() -> bool {
    MODE.load(Relaxed) != 0
}

/// Whether anybody's work is recorded.
pub fn is_recording() -> bool {
    MODE.load(Relaxed) & RECORDING != 0
}

/// Whether everybody's work is recorded.
pub fn records_all() -> bool {
    ALL.load(Relaxed)
}

/// A tool listens to NVTX ranges from now on.
pub(super) fn attached() {
    MODE.fetch_or(ATTACHED, Relaxed);
}

/// Nanoseconds of the profiler's clock: monotonic, from its first use in this process.
pub fn now() -> u64 {
    EPOCH.elapsed().as_nanos() as u64
}

/// Records the work of every tenant, and of none, while it lives. Several add up.
#[must_use]
pub struct Hold(());

impl Hold {
    /// Begins to record everything.
    pub fn new() -> Hold {
        Lazy::force(&EPOCH);
        let mut switches = SWITCHES.lock();
        switches.all += 1;
        switches.apply();
        Hold(())
    }
}

impl Default for Hold {
    fn default() -> Self {
        Hold::new()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        {
            let mut switches = SWITCHES.lock();
            switches.all -= 1;
            switches.apply();
        }
        switched();
    }
}

/// A tenant, as the profiler knows it: its name and whether its work is recorded.
pub struct Subject {
    name: Arc<str>,
    wanted: AtomicBool,
}

impl Subject {
    /// A tenant of this name, not recorded yet.
    pub fn new(name: &str) -> Arc<Subject> {
        Arc::new(Subject { name: name.into(), wanted: AtomicBool::new(false) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Records its work from now on, or no longer (unless everybody's is recorded). False when it was so already.
    pub fn set(&self, wanted: bool) -> bool {
        Lazy::force(&EPOCH);
        {
            let mut switches = SWITCHES.lock();
            if self.wanted.swap(wanted, Relaxed) == wanted {
                return false;
            }
            if wanted {
                switches.tenants += 1;
            } else {
                switches.tenants -= 1;
            }
            switches.apply();
        }
        switched();
        true
    }

    /// Whether its work was asked for by itself.
    pub fn is_set(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// Whether its work is recorded.
    pub fn recorded(&self) -> bool {
        records_all() || self.is_set()
    }

    /// Work without a stream that this thread does until the end of the scope is this tenant's.
    pub fn enter(self: &Arc<Self>) -> Scope {
        SCOPES.with_borrow_mut(|scopes| scopes.push(self.clone()));
        Scope(std::marker::PhantomData)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.set(false);
    }
}

thread_local! {
    static SCOPES: RefCell<Vec<Arc<Subject>>> = const { RefCell::new(Vec::new()) };
    static OWN: RefCell<Option<(u32, Arc<str>)>> = const { RefCell::new(None) };
}

/// See [`Subject::enter`]. Stays on its thread.
pub struct Scope(std::marker::PhantomData<*const ()>);

impl Drop for Scope {
    fn drop(&mut self) {
        SCOPES.with_borrow_mut(Vec::pop);
    }
}

/// A stream of a tenant: whose work it is, and where a trace shows it.
pub struct Track {
    subject: Arc<Subject>,
    lane: u32,
    name: Arc<str>,
}

impl Track {
    /// A lane of its own in a trace.
    pub fn new(subject: &Arc<Subject>, name: impl Into<Arc<str>>) -> Arc<Track> {
        Arc::new(Track { subject: subject.clone(), lane: NEXT_LANE.fetch_add(1, Relaxed), name: name.into() })
    }

    /// Another lane of the same tenant, for what runs at the same time as this one.
    pub fn beside(&self, what: &str) -> Arc<Track> {
        Track::new(&self.subject, format!("{} {what}", self.name))
    }

    /// Whose it is.
    pub fn subject(&self) -> &Arc<Subject> {
        &self.subject
    }
}

/// Where a record belongs: resolved when it begins.
#[derive(Clone)]
pub struct Place {
    subject: Option<Arc<Subject>>,
    lane: u32,
    name: Arc<str>,
}

impl Place {
    /// Of work on a stream, or without one on this thread for the tenant of the thread's scope. `None` when that
    /// tenant's work is not recorded.
    pub fn of(track: Option<&Arc<Track>>) -> Option<Place> {
        match track {
            Some(track) => track.subject.recorded().then(|| Place {
                subject: Some(track.subject.clone()),
                lane: track.lane,
                name: track.name.clone(),
            }),
            None => {
                let subject = SCOPES.with_borrow(|scopes| scopes.last().cloned());
                if !subject.as_ref().map_or_else(records_all, |s| s.recorded()) {
                    return None;
                }
                let (lane, name) = own_lane();
                Some(Place { subject, lane, name })
            }
        }
    }

    /// Of this thread, for this tenant.
    pub fn of_thread(subject: &Arc<Subject>) -> Option<Place> {
        let (lane, name) = subject.recorded().then(own_lane)?;
        Some(Place { subject: Some(subject.clone()), lane, name })
    }

    /// Takes a record in.
    #[allow(clippy::too_many_arguments)]
    pub fn record(
        &self,
        kind: Kind,
        name: &str,
        start: u64,
        duration: u64,
        bytes: u64,
        items: u64,
        occupancy: Option<f32>,
    ) {
        store::add(&Record {
            kind,
            name,
            tenant: self.subject.as_ref().map_or("", |s| s.name()),
            lane: self.lane,
            lane_name: &self.name,
            start,
            duration,
            bytes,
            items,
            occupancy,
        });
    }
}

/// This thread's lane.
fn own_lane() -> (u32, Arc<str>) {
    OWN.with_borrow_mut(|own| {
        let made = own.get_or_insert_with(|| {
            let lane = NEXT_LANE.fetch_add(1, Relaxed);
            let thread = std::thread::current();
            let name = thread.name().map_or_else(|| format!("thread {lane}"), |n| format!("{n} {lane}"));
            (lane, name.into())
        });
        made.clone()
    })
}

/// Work that is being measured on the thread that does it. [`Span::end`] records it; dropped without, it was a failure
/// and leaves nothing.
pub struct Span {
    kind: Kind,
    name: Cow<'static, str>,
    place: Option<Place>,
    start: u64,
    bytes: u64,
    items: u64,
    occupancy: Option<f32>,
    ranged: bool,
}

impl Span {
    /// Begins. Call only when [`on`] says so.
    #[cold]
    pub fn begin(kind: Kind, name: impl Into<Cow<'static, str>>, track: Option<&Arc<Track>>) -> Span {
        Span::at(kind, name, Place::of(track))
    }

    /// Begins at a place that was resolved before, perhaps on another thread.
    pub fn at(kind: Kind, name: impl Into<Cow<'static, str>>, place: Option<Place>) -> Span {
        let name = name.into();
        let ranged = nvtx::push(&name);
        Span { kind, name, place, start: now(), bytes: 0, items: 0, occupancy: None, ranged }
    }

    /// Whether it will be recorded, and figures for it are worth their cost.
    pub fn is_recorded(&self) -> bool {
        self.place.is_some()
    }

    /// Says how many bytes it moves.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Span {
        self.bytes = bytes;
        self
    }

    /// Says how many tokens it is about.
    #[must_use]
    pub fn items(mut self, items: u64) -> Span {
        self.items = items;
        self
    }

    /// Says how much of its processors it keeps busy.
    pub fn set_occupancy(&mut self, occupancy: f32) {
        self.occupancy = Some(occupancy);
    }

    /// Time since its beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(now().saturating_sub(self.start))
    }

    /// It is done: takes it in.
    pub fn end(self) {
        if let Some(place) = &self.place {
            let duration = now().saturating_sub(self.start);
            let Span { kind, name, start, bytes, items, occupancy, .. } = &self;
            place.record(*kind, name, *start, duration, *bytes, *items, *occupancy);
        }
    }

    /// Ends it where it went well.
    pub fn end_if<T, E>(self, result: std::result::Result<T, E>) -> std::result::Result<T, E> {
        if result.is_ok() {
            self.end();
        }
        result
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.ranged {
            nvtx::pop();
        }
    }
}

/// Runs `work`, measured when the profiler is on. One branch when it is off.
#[inline(always)]
pub fn measured<T, E>(
    kind: Kind,
    name: &'static str,
    bytes: u64,
    track: Option<&Arc<Track>>,
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    if !on() {
        return work();
    }
    Span::begin(kind, name, track).bytes(bytes).end_if(work())
}

/// Device work whose time could not be read.
pub fn lost(count: u64) {
    store::lost(count);
}

/// Adds what brings records of a device in before figures are read.
pub fn add_collector(collector: Arc<Collector>) {
    COLLECTORS.lock().push(collector);
}

/// Adds what is called, with no lock held, when recording may have ended.
pub(crate) fn add_watcher(watcher: fn()) {
    WATCHERS.lock().push(watcher);
}

/// A switch was thrown.
fn switched() {
    if !is_recording() {
        let all = WATCHERS.lock().clone();
        for watcher in all {
            watcher();
        }
    }
}

/// Says whether times of a GPU's work come from CUPTI now.
pub(crate) fn by_cupti(yes: bool) {
    BY_CUPTI.store(yes, Relaxed);
}

/// Where times of a GPU's work come from, by the last that was measured: `events` or `cupti`.
pub fn source() -> &'static str {
    if BY_CUPTI.load(Relaxed) { "cupti" } else { "events" }
}

/// Brings in what devices hold back: work that has ended since. Work in flight comes with a later call.
pub fn collect() {
    let all = COLLECTORS.lock().clone();
    let gone: Vec<_> = all.into_iter().filter(|collector| !collector()).collect();
    COLLECTORS.lock().retain(|c| !gone.iter().any(|g| Arc::ptr_eq(c, g)));
}

/// Figures of one tenant, or of all of them together; by kind, then the longest first.
pub fn figures(tenant: Option<&str>) -> Vec<Figures> {
    collect();
    store::figures(tenant, true)
}

/// Figures of every tenant by itself.
pub fn figures_by_tenant() -> Vec<Figures> {
    collect();
    store::figures(None, false)
}

/// How much was recorded.
pub fn counts() -> Counts {
    collect();
    store::counts()
}

/// Forgets all figures and events. What is in flight is recorded when it ends.
pub fn reset() {
    collect();
    store::clear();
}
