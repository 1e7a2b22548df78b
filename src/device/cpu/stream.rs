//! Streams: ordered queues, each with a thread of its own.

use super::super::{Event, HostFn, Stream};
use super::node::CpuNode;
use super::topology::pin;
use crate::device::fork;
use crate::telemetry::profiler::Track;
use crate::{Error, Result, Status};
use once_cell::sync::OnceCell;
use parking_lot::{Condvar, Mutex};
use std::any::Any;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// How long an idle stream looks for more work before it sleeps.
const LINGER: Duration = Duration::from_micros(20);

type Work = Box<dyn FnOnce() -> Result<()> + Send>;

enum Item {
    Run(Work),
    Mark(Arc<Point>),
    Wait(Arc<Point>),
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    /// Items queued and items finished since the start.
    queued: u64,
    done: u64,
    closed: bool,
    /// The worker sleeps and must be woken.
    asleep: bool,
    /// The first failure since it was last reported.
    failure: Option<Error>,
}

/// What a stream shares with its thread.
pub(super) struct Queue {
    state: Mutex<State>,
    more: Condvar,
    finished: Condvar,
    /// A hint for the lingering worker, so that it need not take the lock.
    pending: AtomicBool,
    born: u32,
}

thread_local! {
    /// The queue whose thread this is.
    static CURRENT: Cell<*const Queue> = const { Cell::new(std::ptr::null()) };
}

static SUBMITTED: AtomicU64 = AtomicU64::new(0);

/// How many pieces of work were given to CPU streams since the process began.
pub fn submitted() -> u64 {
    SUBMITTED.load(Ordering::Relaxed)
}

/// An ordered queue of work on the cores of a node.
pub struct CpuStream {
    queue: Arc<Queue>,
    node: Arc<CpuNode>,
    track: OnceLock<Arc<Track>>,
    queues: Arc<Mutex<Vec<Weak<Queue>>>>,
    /// The streams on which copies run beside this one: to the device, and from it.
    beside: [OnceCell<Box<CpuStream>>; 2],
}

impl CpuStream {
    pub(super) fn new(
        node: Arc<CpuNode>,
        priority: i32,
        queues: &Arc<Mutex<Vec<Weak<Queue>>>>,
    ) -> Result<CpuStream> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            more: Condvar::new(),
            finished: Condvar::new(),
            pending: AtomicBool::new(false),
            born: fork::generation(),
        });
        let (own, at) = (queue.clone(), node.clone());
        std::thread::Builder::new()
            .name("cw-stream".into())
            .spawn(move || {
                pin(at.cpus());
                renice(priority);
                CURRENT.set(Arc::as_ptr(&own));
                work(&own);
                drop(at);
            })
            .map_err(|e| Error::io("starting the thread of a stream", e))?;
        let mut all = queues.lock();
        all.retain(|q| q.strong_count() > 0);
        all.push(Arc::downgrade(&queue));
        Ok(CpuStream {
            queue,
            node,
            queues: queues.clone(),
            beside: Default::default(),
            track: OnceLock::new(),
        })
    }

    /// The node that the stream runs on.
    pub fn node(&self) -> &Arc<CpuNode> {
        &self.node
    }

    /// Queues work. Its error, or its panic, is reported by the next [`Stream::synchronize`]; work behind it still
    /// runs.
    pub fn submit(&self, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        SUBMITTED.fetch_add(1, Ordering::Relaxed);
        self.queue.push(Item::Run(Box::new(work)))
    }

    /// Queues work on a stream beside this one (one for each direction), after what is queued here and before what will be.
    pub(super) fn submit_beside(
        &self,
        down: bool,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let beside = self.beside[usize::from(down)]
            .get_or_try_init(|| CpuStream::new(self.node.clone(), 0, &self.queues).map(Box::new))?;
        let (before, after) = (Arc::new(Point::default()), Arc::new(Point::default()));
        self.queue.push(Item::Mark(before.clone()))?;
        beside.queue.push(Item::Wait(before))?;
        beside.submit(work)?;
        beside.queue.push(Item::Mark(after.clone()))?;
        self.queue.push(Item::Wait(after))
    }
}

impl Drop for CpuStream {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.closed = true;
        self.queue.pending.store(true, Ordering::Release);
        self.queue.more.notify_one();
    }
}

impl Queue {
    fn push(&self, item: Item) -> Result<()> {
        fork::check(self.born, "stream")?;
        let mut state = self.state.lock();
        state.items.push_back(item);
        state.queued += 1;
        self.pending.store(true, Ordering::Release);
        let wake = state.asleep;
        drop(state);
        if wake {
            self.more.notify_one();
        }
        Ok(())
    }

    /// Waits for all that was queued before the call. Takes a failure with it when `report` is set.
    fn synchronize(&self, report: bool) -> Result<()> {
        fork::check(self.born, "stream")?;
        if std::ptr::eq(CURRENT.get(), self) {
            return Err(Error::new(Status::Busy, "work of a stream cannot wait for its own stream"));
        }
        let mut state = self.state.lock();
        let until = state.queued;
        while state.done < until {
            self.finished.wait(&mut state);
        }
        match state.failure.take_if(|_| report) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }
}

/// Waits for all streams. Their failures stay with them.
pub(super) fn synchronize_all(queues: &Mutex<Vec<Weak<Queue>>>) -> Result<()> {
    if !CURRENT.get().is_null() {
        return Err(Error::new(Status::Busy, "work of a stream cannot wait for the whole device"));
    }
    let all: Vec<_> = queues.lock().iter().filter_map(Weak::upgrade).collect();
    let now = fork::generation();
    all.iter().filter(|q| q.born == now).try_for_each(|q| q.synchronize(false))
}

fn work(queue: &Queue) {
    let mut state = queue.state.lock();
    let mut passed = Passed { at: Instant::now(), ran: Duration::ZERO, failure: None };
    loop {
        while let Some(item) = state.items.pop_front() {
            drop(state);
            let failure = run(item, &mut passed).err();
            state = queue.state.lock();
            state.done += 1;
            if state.failure.is_none() {
                state.failure = failure;
            }
            queue.finished.notify_all();
        }
        if state.closed {
            return;
        }
        queue.pending.store(false, Ordering::Relaxed);
        drop(state);
        linger(&queue.pending);
        state = queue.state.lock();
        if state.items.is_empty() && !state.closed {
            state.asleep = true;
            queue.more.wait(&mut state);
            state.asleep = false;
        }
    }
}

fn linger(pending: &AtomicBool) {
    let start = Instant::now();
    while !pending.load(Ordering::Acquire) {
        let waited = start.elapsed();
        if waited > LINGER {
            return;
        }
        if waited > LINGER / 8 {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

/// `passed` is what the thread knows of itself since it began, its failures since the last mark.
fn run(item: Item, passed: &mut Passed) -> Result<()> {
    match item {
        Item::Run(work) => {
            let begun = Instant::now();
            let ran = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                let text = panic
                    .downcast_ref::<&str>()
                    .map(|s| s.to_string())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "no message".into());
                Err(Error::new(Status::Panic, format!("work on a cpu stream panicked: {text}")))
            });
            passed.ran += begun.elapsed();
            if let Err(e) = &ran
                && passed.failure.is_none()
            {
                passed.failure = Some(e.clone());
            }
            ran
        }
        Item::Mark(point) => {
            passed.at = Instant::now();
            let failure = passed.failure.take();
            *point.reached.lock() = Some(Passed { failure, ..*passed });
            point.changed.notify_all();
            Ok(())
        }
        Item::Wait(point) => {
            point.wait();
            Ok(())
        }
    }
}

/// Sets the thread's nice value. Below 0 needs a privilege; without it the thread stays normal.
fn renice(priority: i32) {
    if priority != 0 {
        // SAFETY: plain system calls about the calling thread.
        unsafe {
            let thread = libc::syscall(libc::SYS_gettid) as libc::id_t;
            libc::setpriority(libc::PRIO_PROCESS, thread, priority.clamp(-5, 19));
        }
    }
}

impl Stream for CpuStream {
    fn host_fn(&self, f: HostFn) -> Result<()> {
        self.submit(move || {
            f();
            Ok(())
        })
    }

    fn synchronize(&self) -> Result<()> {
        self.queue.synchronize(true)
    }

    fn is_idle(&self) -> Result<bool> {
        fork::check(self.queue.born, "stream")?;
        let state = self.queue.state.lock();
        Ok(state.done == state.queued)
    }

    fn record(&self) -> Result<Arc<dyn Event>> {
        let point = Arc::new(Point::default());
        self.queue.push(Item::Mark(point.clone()))?;
        Ok(Arc::new(CpuEvent { point, stream: Arc::as_ptr(&self.queue) as usize, born: self.queue.born }))
    }

    fn wait(&self, event: &Arc<dyn Event>) -> Result<()> {
        let point = &CpuEvent::of("event", &**event)?.point;
        self.queue.push(Item::Wait(point.clone()))
    }

    fn track(&self) -> Option<&Arc<Track>> {
        self.track.get()
    }

    fn set_track(&self, track: Arc<Track>) {
        // A second one would tear the stream's records apart.
        let _ = self.track.set(track);
    }

    fn raw(&self) -> *mut c_void {
        std::ptr::null_mut()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How a stream stood when it passed a mark.
struct Passed {
    at: Instant,
    /// Time that its thread has spent in work so far.
    ran: Duration,
    failure: Option<Error>,
}

#[derive(Default)]
struct Point {
    reached: Mutex<Option<Passed>>,
    changed: Condvar,
}

impl Point {
    fn wait(&self) {
        let mut reached = self.reached.lock();
        while reached.is_none() {
            self.changed.wait(&mut reached);
        }
    }
}

/// A marked point of a [`CpuStream`], with the time at which the stream passed it.
pub struct CpuEvent {
    point: Arc<Point>,
    /// Which stream's it is: an address that is compared only.
    stream: usize,
    born: u32,
}

impl CpuEvent {
    fn of<'a>(argument: &str, event: &'a dyn Event) -> Result<&'a CpuEvent> {
        event
            .as_any()
            .downcast_ref()
            .ok_or_else(|| Error::argument(argument, "belongs to another device than this stream"))
    }
}

impl Event for CpuEvent {
    fn is_done(&self) -> Result<bool> {
        Ok(self.point.reached.lock().is_some())
    }

    fn synchronize(&self) -> Result<()> {
        fork::check(self.born, "event")?;
        self.point.wait();
        Ok(())
    }

    fn since(&self, earlier: &dyn Event) -> Result<Duration> {
        let earlier = CpuEvent::of("earlier", earlier)?;
        let at = |event: &CpuEvent| event.point.reached.lock().as_ref().map(|p| p.at);
        let (from, to) = (at(earlier), at(self));
        match (from, to) {
            (Some(from), Some(to)) => to
                .checked_duration_since(from)
                .ok_or_else(|| Error::argument("earlier", "was recorded after this event")),
            _ => Err(Error::new(Status::Busy, "an event has not been reached yet")
                .advise("call synchronize on both events first")),
        }
    }

    fn busy_since(&self, earlier: &dyn Event) -> Option<Duration> {
        let earlier = CpuEvent::of("earlier", earlier).ok().filter(|e| e.stream == self.stream)?;
        let ran = |event: &CpuEvent| event.point.reached.lock().as_ref().map(|p| p.ran);
        ran(self)?.checked_sub(ran(earlier)?)
    }

    fn failure(&self) -> Option<Error> {
        self.point.reached.lock().as_ref()?.failure.clone()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
