//! Device work measured by CUPTI, for the profiler: when each kernel, copy and fill began and ended on the GPU itself,
//! also inside of CUDA graphs.
//!
//! Each piece of work is queued with a number of ours pushed as CUPTI's external correlation. CUPTI tells later which
//! of its own correlation numbers was made under which of ours, and for each activity its correlation number and its
//! times. Its clock is the host's, read beside the profiler's whenever records are taken in.
//!
//! CUPTI is used while the profiler records, where its library is found, of a known version, and willing: another
//! profiler that is attached to this process is served first. Every context is tried once (and once on a part of its
//! processors), by a fill whose record must come and fit the clock. Where that fails events measure as they do without CUPTI; the reason is logged once.
//!
//! Locks: CUPTI calls [`completed`] on its own thread and on ours, so that no lock that it takes is held over a call
//! into CUPTI or the driver.

mod library;
mod record;

use super::context::Context;
use super::stream::CudaStream;
use crate::telemetry::profiler::{self, Kind, Place};
use crate::{Error, Result, Status};
use library::{Cupti, Refusal};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use record::{Activity, Item};
use std::collections::{BTreeMap, HashMap};
use std::ffi::c_void;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Work whose records have not come yet; beyond this it is lost and counted.
const MOST_PENDING: usize = 8192;
/// Records of others' work, and such that came before what says whose they are, are kept up to here.
const MOST_STRANGE: usize = 65_536;
/// Records that nobody looked at yet are kept up to about here.
const MOST_UNREAD: usize = 1 << 17;
/// How often records are looked at again when nothing says yet whose they are.
const LOOKS: u8 = 3;
/// A buffer for records: about a thousand kernels with what correlates them.
const BUFFER: usize = 256 << 10;
/// CUPTI wants buffers aligned.
const ALIGNMENT: usize = 8;
/// Milliseconds that a reader of figures waits at most for a thread of CUPTI's to deliver.
const PATIENCE: u32 = 3;
/// When recording has ended, work whose records did not come in this time is lost.
const LONGEST: u64 = 10_000_000_000;
/// How far the times of a trial may lie outside of what the host saw.
const SKEW: u64 = 1_000_000;

/// Whether CUPTI sees the work of a context: on streams of all its processors, and on those of a part of them.
#[derive(Default)]
pub(crate) struct Trial([AtomicU8; 2]);
const SEEN: u8 = 1;
const NOT_SEEN: u8 = 2;

/// How many records a piece of work has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Parts {
    /// One.
    One,
    /// A library's call: a kernel, and perhaps others that it needs.
    Open,
    /// A graph of so many nodes, each shown by its own name.
    Graph(usize),
}

/// What is about to be queued.
pub(crate) struct Queued<'a> {
    pub kind: Kind,
    pub name: &'a str,
    pub place: Place,
    pub bytes: u64,
    pub occupancy: Option<f32>,
    pub parts: Parts,
}

/// Whose a record is.
enum Owner {
    Place(Place),
    /// Where a trial puts the times: start and end.
    Trial(Arc<OnceCell<(u64, u64)>>),
}

struct Pending {
    kind: Kind,
    name: Box<str>,
    owner: Owner,
    bytes: u64,
    occupancy: Option<f32>,
    parts: Parts,
    /// Records that are still to come; an open one stays beyond its first.
    left: usize,
    queued: u64,
    /// CUPTI's numbers for it.
    correlations: Vec<u32>,
}

#[derive(Default)]
struct State {
    pending: BTreeMap<u64, Pending>,
    /// From CUPTI's numbers to ours.
    external: HashMap<u32, u64>,
    /// Records that nothing says yet whose they are, and how often they were looked at.
    strange: Vec<(Activity, u8)>,
}

/// CUPTI, for this process.
pub(crate) struct Collector {
    cupti: Cupti,
    process: u32,
    enabled: AtomicBool,
    /// Some context was seen.
    works: AtomicBool,
    /// Held while it is switched or a context is tried.
    switch: Mutex<Kinds>,
    next: AtomicU64,
    state: Mutex<State>,
}

/// What has to be enabled; found out by the first trial.
#[derive(Clone, Copy)]
struct Kinds {
    /// CUPTI numbers calls only when calls are recorded too.
    calls: bool,
}

impl Kinds {
    fn list(self) -> impl Iterator<Item = u32> {
        let work = [
            record::EXTERNAL_CORRELATION,
            record::CONCURRENT_KERNEL,
            record::MEMCPY,
            record::MEMCPY_PEER,
            record::MEMSET,
        ];
        let calls = [record::DRIVER, record::RUNTIME].into_iter().filter(move |_| self.calls);
        calls.chain(work)
    }
}

static COLLECTOR: OnceCell<Option<Collector>> = OnceCell::new();
/// What CUPTI delivered and nobody looked at yet.
static INBOX: Mutex<Vec<Item>> = Mutex::new(Vec::new());

/// The collector for work on `stream`, switched on; `None` where events have to do. Only while work is recorded.
pub(crate) fn of(stream: &CudaStream) -> Option<&'static Collector> {
    let trial = &stream.context.cupti.0[usize::from(stream.green().is_some())];
    if trial.load(Relaxed) == NOT_SEEN {
        return None;
    }
    if trial.load(Relaxed) == 0 && !is_nvidias(&stream.context) {
        unused(&"the driver library is not libcuda.so");
        stream.context.cupti.0.iter().for_each(|trial| trial.store(NOT_SEEN, Relaxed));
        return None;
    }
    let collector = COLLECTOR.get_or_init(found).as_ref()?;
    if collector.enabled.load(Relaxed) && trial.load(Relaxed) == SEEN {
        return Some(collector);
    }
    let mut kinds = collector.switch.lock();
    if collector.process != std::process::id() {
        return None;
    }
    if !collector.enabled.load(Relaxed) {
        if let Err(refusal) = collector.enable(*kinds) {
            unused(&refusal);
            trial.store(NOT_SEEN, Relaxed);
            return None;
        }
        collector.enabled.store(true, Relaxed);
    }
    if trial.load(Relaxed) == 0 {
        let seen = collector.tried(stream, &mut kinds);
        if let Err(e) = &seen {
            unused(e);
        }
        collector.works.fetch_or(seen.is_ok(), Relaxed);
        if !collector.works.load(Relaxed) {
            // Nobody has anything of it.
            collector.enabled.store(false, Relaxed);
            collector.disable(*kinds);
        }
        trial.store(if seen.is_ok() { SEEN } else { NOT_SEEN }, Relaxed);
    }
    (trial.load(Relaxed) == SEEN).then_some(collector)
}

/// Says why CUPTI is not used, the first time.
fn unused(why: &dyn std::fmt::Display) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        crate::log_later!(Info, "profiler", "GPU times come from events: {why}");
    }
}

/// The library that was asked for.
fn chosen() -> Option<PathBuf> {
    std::env::var_os("COGNIWARE_LIBCUPTI").filter(|v| !v.is_empty()).map(PathBuf::from)
}

/// Whether CUPTI can see the work of this context: what it finds by itself watches NVIDIA's own driver library.
fn is_nvidias(context: &Context) -> bool {
    let file = context.driver.path().file_name().unwrap_or_default();
    chosen().is_some() || file.to_string_lossy().starts_with("libcuda.so")
}

/// CUPTI, for its first user; `None` where it is not to be used or does not want.
fn found() -> Option<Collector> {
    match begun() {
        Ok((collector, what)) => {
            profiler::add_collector(Arc::new(|| {
                if let Some(collector) = ready() {
                    collector.drain(true);
                }
                true
            }));
            profiler::add_watcher(|| {
                if let Some(collector) = ready() {
                    collector.drain(true);
                }
            });
            crate::log_later!(Info, "profiler", "GPU times may come from {what}");
            Some(collector)
        }
        Err(e) => {
            unused(&e);
            None
        }
    }
}

/// The collector when it has begun, in the process that began it.
fn ready() -> Option<&'static Collector> {
    COLLECTOR.get()?.as_ref().filter(|c| c.process == std::process::id())
}

/// Takes records in when many are awaited: for places that would be slowed down by looking every time.
pub(crate) fn relieve() {
    if let Some(collector) = ready()
        && collector.state.lock().pending.len() > MOST_PENDING / 4
    {
        collector.drain(false);
    }
}

fn begun() -> Result<(Collector, String)> {
    let unwanted = |why: &str| Err(Error::new(Status::Unsupported, why));
    if std::env::var_os("COGNIWARE_CUPTI").is_some_and(|v| v == "0") {
        return unwanted("COGNIWARE_CUPTI=0");
    }
    if std::env::var_os("CUDA_INJECTION64_PATH").is_some_and(|v| !v.is_empty()) {
        return unwanted("CUDA_INJECTION64_PATH is set, whose tool uses CUPTI itself");
    }
    let (cupti, path) = Cupti::open(chosen())?;
    let within = |e: Error| e.within(path.display());
    let version = cupti.known_version().map_err(within)?;
    // SAFETY: both live as long as the process.
    unsafe { cupti.cuptiActivityRegisterCallbacks(requested, completed) }
        .map_err(|e| within(Error::new(Status::Unsupported, e.to_string())))?;
    let what = format!("CUPTI {version} ({})", path.display());
    let collector = Collector {
        cupti,
        process: std::process::id(),
        enabled: AtomicBool::new(false),
        works: AtomicBool::new(false),
        switch: Mutex::new(Kinds { calls: false }),
        next: AtomicU64::new(1),
        state: Mutex::default(),
    };
    Ok((collector, what))
}

fn layout() -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(BUFFER, ALIGNMENT).expect("a small power of two")
}

/// CUPTI wants a buffer.
unsafe extern "C" fn requested(buffer: *mut *mut u8, bytes: *mut usize, most_records: *mut usize) {
    // SAFETY: the places are CUPTI's. A null buffer means that there is no memory: records are dropped.
    unsafe {
        *buffer = std::alloc::alloc(layout());
        *bytes = if (*buffer).is_null() { 0 } else { BUFFER };
        *most_records = 0;
    }
}

/// CUPTI gives a buffer back. Names in it are only read here: they may go with their module.
unsafe extern "C" fn completed(_: *mut c_void, _: u32, buffer: *mut u8, _bytes: usize, valid: usize) {
    if buffer.is_null() {
        return;
    }
    if let Some(Some(collector)) = COLLECTOR.get()
        && valid > 0
    {
        let mut items = Vec::new();
        let mut record = std::ptr::null_mut();
        // SAFETY: the buffer holds `valid` bytes of records; a next one is whole.
        unsafe {
            while collector.cupti.cuptiActivityGetNextRecord(buffer, valid, &mut record).is_ok() {
                items.extend(record::read(record));
            }
        }
        let mut inbox = INBOX.lock();
        if inbox.len() > MOST_UNREAD {
            // Others are at work while nobody looks: the older half goes, and what was ours of it counts as lost later.
            inbox.drain(..MOST_UNREAD / 2);
        }
        inbox.append(&mut items);
    }
    // SAFETY: `requested` made it with this layout.
    unsafe { std::alloc::dealloc(buffer, layout()) };
}

impl Collector {
    fn enable(&self, kinds: Kinds) -> std::result::Result<(), Refusal> {
        for kind in kinds.list() {
            // SAFETY: plain numbers.
            if let Err(refusal) = unsafe { self.cupti.cuptiActivityEnable(kind) } {
                self.disable(kinds);
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn disable(&self, kinds: Kinds) {
        for kind in kinds.list() {
            // SAFETY: plain numbers. What was not enabled is refused, which is well.
            let _ = unsafe { self.cupti.cuptiActivityDisable(kind) };
        }
    }

    /// Queues `work` by `queue` so that its records are known. What goes wrong with measuring is no error of the work.
    pub fn measured(&self, work: Queued<'_>, queue: impl FnOnce() -> Result<()>) -> Result<()> {
        let Queued { kind, name, place, bytes, occupancy, parts } = work;
        let owner = Owner::Place(place);
        let (done, id) = self.numbered(kind, name, owner, bytes, occupancy, parts, queue);
        if done.is_ok() && id.is_none() {
            profiler::lost(1);
        }
        if self.state.lock().pending.len() >= MOST_PENDING {
            self.drain(false);
            self.forget_oldest();
        }
        done
    }

    /// Runs `queue` under a number of its own: by which its records are known when it went well.
    #[allow(clippy::too_many_arguments)]
    fn numbered<T>(
        &self,
        kind: Kind,
        name: &str,
        owner: Owner,
        bytes: u64,
        occupancy: Option<f32>,
        parts: Parts,
        queue: impl FnOnce() -> Result<T>,
    ) -> (Result<T>, Option<u64>) {
        let left = match parts {
            Parts::Graph(nodes) => nodes,
            Parts::One | Parts::Open => 1,
        };
        let id = self.next.fetch_add(1, Relaxed);
        let queued = profiler::now();
        let correlations = Vec::new();
        let pending =
            Pending { kind, name: name.into(), owner, bytes, occupancy, parts, left, queued, correlations };
        if left > 0 {
            self.state.lock().pending.insert(id, pending);
        }
        // SAFETY: plain numbers, popped below on the same thread.
        let known =
            unsafe { self.cupti.cuptiActivityPushExternalCorrelationId(record::OWN_CORRELATION, id) }.is_ok();
        let done = queue();
        if known {
            let mut last = 0;
            // SAFETY: `last` outlives the call.
            let _ = unsafe {
                self.cupti.cuptiActivityPopExternalCorrelationId(record::OWN_CORRELATION, &mut last)
            };
        }
        if done.is_err() || !known {
            let gone = self.state.lock().take(id);
            drop(gone);
            return (done, None);
        }
        (done, Some(id))
    }

    /// Takes in what CUPTI knows by now, and switches it off when nobody records any more. `patient`: gives CUPTI a
    /// moment for the records of work that may have ended just now.
    fn drain(&self, patient: bool) {
        if !self.enabled.load(Relaxed) {
            return;
        }
        self.take_in();
        for _ in 0..PATIENCE {
            if !patient || !self.state.lock().pending.values().any(|p| p.left > 0) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
            self.take_in();
        }
        if profiler::is_recording() {
            return;
        }
        let kinds = self.switch.lock();
        let now = profiler::now();
        let mut state = self.state.lock();
        let awaited = state.pending.values().any(|p| p.left > 0 && now.saturating_sub(p.queued) < LONGEST);
        if awaited || profiler::is_recording() || !self.enabled.load(Relaxed) {
            return;
        }
        // Nothing is in flight: from here on new work finds it off, and waits for the switch.
        self.enabled.store(false, Relaxed);
        let old = std::mem::take(&mut *state);
        drop(state);
        self.disable(*kinds);
        drop(kinds);
        let lost: usize = old.pending.values().map(|p| p.left).sum();
        // May be the last to hold a tenant's subject, whose end comes back here: with no lock held.
        drop(old);
        if lost > 0 {
            profiler::lost(lost as u64);
        }
    }

    /// Takes in what CUPTI knows by now.
    fn take_in(&self) {
        // SAFETY: a plain number. Only buffers whose records are all complete come.
        let _ = unsafe { self.cupti.cuptiActivityFlushAll(0) };
        let Some(ahead) = self.clock() else { return };
        let items = std::mem::take(&mut *INBOX.lock());
        let (mut gone, mut lost) = (Vec::new(), 0);
        let mut state = self.state.lock();
        let mut activities = std::mem::take(&mut state.strange);
        for item in items {
            match item {
                Item::Activity(activity) => activities.push((activity, 0)),
                Item::External { correlation, id } => state.correlate(correlation, id),
            }
        }
        for (activity, looks) in activities {
            match state.external.get(&activity.correlation).copied() {
                Some(id) => {
                    let (removed, told) = state.assign(id, &activity, ahead);
                    gone.extend(removed);
                    lost += u64::from(!told);
                }
                None if looks < LOOKS && state.strange.len() < MOST_STRANGE => {
                    state.strange.push((activity, looks + 1));
                }
                None => {} // work of others
            }
        }
        drop(state);
        drop(gone);
        if lost > 0 {
            profiler::lost(lost);
        }
    }

    /// Makes room: what waited longest is lost.
    fn forget_oldest(&self) {
        let (mut gone, mut lost) = (Vec::new(), 0);
        let mut state = self.state.lock();
        while state.pending.len() >= MOST_PENDING
            && let Some(&id) = state.pending.keys().next()
        {
            let old = state.take(id);
            lost += old.iter().map(|p| p.left as u64).sum::<u64>();
            gone.extend(old);
        }
        drop(state);
        drop(gone);
        if lost > 0 {
            profiler::lost(lost);
        }
    }

    /// How far CUPTI's clock is ahead of the profiler's: read between two readings of the latter, the nearest of a few.
    fn clock(&self) -> Option<i128> {
        let mut best: Option<(u64, i128)> = None;
        for _ in 0..5 {
            let mut theirs = 0;
            let before = profiler::now();
            // SAFETY: `theirs` outlives the call.
            unsafe { self.cupti.cuptiGetTimestamp(&mut theirs) }.ok()?;
            let apart = profiler::now() - before;
            if best.is_none_or(|(least, _)| apart < least) {
                best = Some((apart, i128::from(theirs) - i128::from(before + apart / 2)));
            }
        }
        best.map(|(_, ahead)| ahead)
    }

    /// Whether a fill on such a stream is seen, at a time that fits; finds out what has to be enabled for that.
    fn tried(&self, like: &CudaStream, kinds: &mut Kinds) -> Result<()> {
        let first = self.fill_seen(like);
        if first.is_ok() || kinds.calls {
            return first;
        }
        let more = Kinds { calls: true };
        if let Err(refusal) = self.enable(more) {
            self.enabled.store(false, Relaxed);
            return Err(Error::new(Status::Unsupported, refusal.to_string()));
        }
        let second = self.fill_seen(like);
        if second.is_ok() {
            *kinds = more;
        } else {
            for kind in [record::DRIVER, record::RUNTIME] {
                // SAFETY: a plain number.
                let _ = unsafe { self.cupti.cuptiActivityDisable(kind) };
            }
        }
        second
    }

    fn fill_seen(&self, like: &CudaStream) -> Result<()> {
        const BYTES: usize = 64 << 10;
        let context = &like.context;
        // Its own: what is queued on the other may wait for the application.
        let stream = CudaStream::create(context.clone(), like.green().cloned(), 0)?;
        let driver = &context.driver;
        let _current = context.enter()?;
        let mut memory = 0;
        // SAFETY: `memory` outlives the call.
        unsafe { driver.cuMemAlloc_v2(&mut memory, BYTES)? };
        let told = Arc::new(OnceCell::new());
        let before = profiler::now();
        let owner = Owner::Trial(told.clone());
        let (done, id) = self.numbered(Kind::Fill, "fill", owner, 0, None, Parts::One, || {
            // SAFETY: the memory holds the bytes and is freed after the stream was waited for.
            unsafe {
                driver.cuMemsetD8Async(memory, 0, BYTES, stream.handle())?;
                driver.cuStreamSynchronize(stream.handle())
            }
        });
        let after = profiler::now();
        // SAFETY: nothing uses it any more.
        driver.released(unsafe { driver.cuMemFree_v2(memory) });
        done?;
        // Records come by a thread of CUPTI's.
        for wait in [0, 0, 1, 2, 5, 10, 20] {
            std::thread::sleep(Duration::from_millis(wait));
            self.take_in();
            if told.get().is_some() {
                break;
            }
        }
        // What did not come is not waited for any longer.
        let gone = id.and_then(|id| self.state.lock().take(id));
        drop(gone);
        match told.get() {
            Some(&(start, end)) if start + SKEW >= before && end <= after + SKEW => Ok(()),
            Some((start, end)) => Err(Error::new(
                Status::Unsupported,
                format!("CUPTI says {start} to {end} ns of work done from {before} to {after} ns"),
            )),
            None => Err(Error::new(Status::Unsupported, "CUPTI does not see the work of this device")),
        }
    }
}

impl State {
    fn correlate(&mut self, correlation: u32, id: u64) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.correlations.push(correlation);
            self.external.insert(correlation, id);
        }
    }

    /// Takes work out with all that leads to it. The caller drops it without the lock.
    fn take(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        for correlation in &pending.correlations {
            self.external.remove(correlation);
        }
        Some(pending)
    }

    /// Records an activity of the work `id`: the work when it is complete, and false when the activity had no time.
    fn assign(&mut self, id: u64, activity: &Activity, ahead: i128) -> (Option<Pending>, bool) {
        let Some(pending) = self.pending.get_mut(&id) else { return (None, true) };
        let first = pending.left > 0;
        let timed = activity.start > 0 && activity.end >= activity.start;
        let own = match pending.parts {
            Parts::One => true,
            Parts::Open => first && activity.kind == pending.kind,
            Parts::Graph(_) => false,
        };
        // What a library does beside its kernel is told but not what is waited for.
        if own || pending.parts != Parts::Open {
            pending.left = pending.left.saturating_sub(1);
        }
        if timed {
            let on_our_clock = |theirs: u64| (i128::from(theirs) - ahead).max(0) as u64;
            let (start, duration) = (on_our_clock(activity.start), activity.end - activity.start);
            match &pending.owner {
                Owner::Trial(told) => {
                    let _ = told.set((start, start + duration));
                }
                Owner::Place(place) if own => {
                    let Pending { kind, name, bytes, occupancy, .. } = &*pending;
                    place.record(*kind, name, start, duration, *bytes, 0, *occupancy);
                }
                Owner::Place(place) => {
                    place.record(activity.kind, &activity.name, start, duration, activity.bytes, 0, None);
                }
            }
        }
        let complete = pending.left == 0 && pending.parts != Parts::Open;
        (complete.then(|| self.take(id)).flatten(), timed)
    }
}
