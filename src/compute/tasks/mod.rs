//! Tasks: units of work with a priority, a weight and needs, admitted when the needs can be met.
//!
//! A task's body runs on a worker thread of the scheduler (never on a device's queue, so it may call anything in
//! Cogniware). It starts when its tenant has the memory and the cores that it asked for, counting what other running
//! tasks of that tenant were promised; among those that could start, the more urgent priority goes first, then the
//! tenant whose tasks have run least (run time over weight), then the task whose waiting time times weight is most
//! (with equal weights the oldest).
//!
//! A task that waits for another one ([`Task::wait`]) leaves its place to others meanwhile. Tasks that wait for each
//! other in ways that the scheduler cannot see (a lock, a condition variable) keep their places: with more of them than
//! [`TaskLimits::threads`] nobody goes on.

mod affinity;
mod effort;
mod limits;
mod nice;
mod stack;
mod types;

pub use effort::Effort;
pub use limits::TaskLimits;
pub use stack::Stack;
pub use types::{Priority, TaskBody, TaskContext, TaskInfo, TaskSpec, TaskState};

use super::Share;
use crate::telemetry::profiler::{self, Kind, Place, Scope, Span};
use crate::telemetry::{history, log};
use crate::{Category, Error, Result, Status};
use affinity::{pin, unpin};
use limits::Away;
use once_cell::sync::Lazy;
use parking_lot::{Condvar, Mutex};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

/// An idle worker ends after this.
const IDLE: Duration = Duration::from_secs(2);
/// While tasks wait for memory, what tenants freed is looked at this often.
const POLL: Duration = Duration::from_millis(5);
/// Finished tasks that can still be asked about.
const HISTORY: usize = 4096;

thread_local! {
    /// The task whose body runs on this thread.
    static OWN: Cell<*const Entry> = const { Cell::new(std::ptr::null()) };
    /// The scheduler that this thread is a worker of.
    static POOL: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
    /// The tenant whose tasks may depend on what this thread does next.
    static SERVED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Says that tasks of `tenant` may depend on this thread going on (it runs a model of the tenant and calls the
/// application back): from here on it never waits for them.
pub(crate) fn serve(tenant: &str) {
    SERVED.set(Some(tenant.to_owned()));
}

/// A scheduled task. Dropping the handle does not cancel it.
#[derive(Clone)]
pub struct Task {
    entry: Arc<Entry>,
    tasks: Weak<Shared>,
}

struct Entry {
    info: Mutex<TaskInfo>,
    ended: Condvar,
    context: TaskContext,
    seq: u64,
}

impl Entry {
    fn snapshot(&self) -> TaskInfo {
        self.complete(self.info.lock().clone())
    }

    /// What is not kept in the information itself.
    fn complete(&self, info: TaskInfo) -> TaskInfo {
        let effort = &self.context.effort;
        TaskInfo { weight: effort.weight(), device_time: effort.used(), ..info }
    }
}

impl Task {
    /// The task's id.
    pub fn id(&self) -> String {
        self.entry.info.lock().id.clone()
    }

    /// What is known of it now.
    pub fn info(&self) -> TaskInfo {
        self.entry.snapshot()
    }

    /// Changes the weight of its work (1 is normal), from now on: its part of the device time that its tenant's share
    /// allows (see [`Effort`]); before it starts also its place in the queue. On the CPU device a function's own code
    /// is weighed by its thread's nice value, which only a privileged process may lower.
    pub fn set_weight(&self, weight: f64) -> Result<()> {
        effort::check(weight)?;
        let info = self.entry.info.lock();
        if info.state.is_final() {
            let text = format!("argument `taskId`: task {:?} has ended: {}", info.id, info.state.name());
            return Err(Error::new(Status::InvalidArgument, text));
        }
        self.entry.context.runner.weigh(weight)?;
        self.entry.context.effort.set_weight(weight)
    }

    /// The weight that it was scheduled with. Where its thread cannot have it (see [`Task::set_weight`]), only the rest does.
    pub(crate) fn begin_with(&self, weight: f64) -> Result<()> {
        self.entry.context.effort.set_weight(weight)?;
        let _ = self.entry.context.runner.weigh(weight);
        Ok(())
    }

    /// Asks for its end. Work that has not started never will; a running body is told. False when it had ended.
    pub fn cancel(&self) -> bool {
        if self.entry.info.lock().state.is_final() {
            return false;
        }
        self.entry.context.cancel();
        if let Some(shared) = self.tasks.upgrade() {
            shared.withdraw(&self.entry);
        }
        true
    }

    /// Waits for its end, at most `timeout`; the information it then has. [`Status::Busy`] where waiting would never
    /// end: inside the task itself, and on a thread that the tenant's tasks depend on (a callback of its model).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<TaskInfo> {
        let deadline = timeout.and_then(|t| Instant::now().checked_add(t));
        // Declared first: taken and given back without the lock below.
        let mut _away = None;
        if !OWN.get().is_null() && !self.entry.info.lock().state.is_final() {
            _away =
                self.tasks.upgrade().filter(|s| POOL.get() == Arc::as_ptr(s)).map(Away::leave).transpose()?;
        }
        let mut info = self.entry.info.lock();
        while !info.state.is_final() {
            if std::ptr::eq(OWN.get(), &*self.entry)
                || SERVED.with_borrow(|s| s.as_ref() == Some(&info.tenant))
            {
                return Err(Error::new(
                    Status::Busy,
                    format!("waiting for task {:?} here would never end: it depends on this thread", info.id),
                )
                .advise("wait on another thread"));
            }
            match deadline {
                None => self.entry.ended.wait(&mut info),
                Some(at) => {
                    if self.entry.ended.wait_until(&mut info, at).timed_out() && !info.state.is_final() {
                        return Err(Error::new(
                            Status::Timeout,
                            format!("task {:?} has not ended yet", info.id),
                        ));
                    }
                }
            }
        }
        Ok(self.entry.complete(info.clone()))
    }
}

/// Tasks that have ended, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// With a result.
    pub completed: u64,
    /// With an error.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

/// Records how long a task waited, and begins to measure its run.
#[cold]
fn seen(entry: &Entry, kind: &str, share: &Share) -> (Span, Scope) {
    let place = Place::of_thread(share.subject());
    if let Some(place) = &place {
        let info = entry.info.lock();
        let started = info.started.unwrap_or(info.created);
        let waited = started.duration_since(info.created).unwrap_or_default().as_nanos() as u64;
        drop(info);
        place.record(Kind::Wait, kind, profiler::now().saturating_sub(waited), waited, 0, 0, None);
    }
    (Span::at(Kind::Task, kind.to_owned(), place), share.subject().enter())
}

/// The scheduler of tasks. One per process is enough: [`Tasks::global`].
pub struct Tasks(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    timer: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<Pending>,
    known: HashMap<String, Arc<Entry>>,
    /// Ids of ended tasks with their numbers (an id may be used again), oldest first.
    history: VecDeque<(String, u64)>,
    /// Tenants with unfinished tasks, and those that ran more than these.
    tenants: BTreeMap<String, Promised>,
    limits: TaskLimits,
    workers: usize,
    idle: usize,
    /// Of the workers: those whose task waits for another.
    away: usize,
    /// When running tasks are told to end; empty without such a limit.
    deadlines: BTreeMap<(Instant, u64), Weak<Entry>>,
    /// The timer's thread lives.
    timing: bool,
    /// An idle worker looks now and then whether memory has become free.
    polling: bool,
    next: u64,
    ended: Ended,
}

/// What running tasks of a tenant were promised, and how long its tasks have run.
#[derive(Default)]
struct Promised {
    memory: u64,
    cores: u32,
    ran: f64,
    unfinished: u32,
}

struct Pending {
    entry: Arc<Entry>,
    spec: TaskSpec,
}

static GLOBAL: Lazy<Tasks> = Lazy::new(Tasks::new);

impl Tasks {
    /// A scheduler of its own (for tests).
    pub fn new() -> Tasks {
        Tasks(Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), timer: Condvar::new() }))
    }

    /// The scheduler of this process.
    pub fn global() -> &'static Tasks {
        &GLOBAL
    }

    /// The bounds in force.
    pub fn limits(&self) -> TaskLimits {
        self.0.state.lock().limits
    }

    /// Changes the bounds: threads beyond the new number end when their tasks do, tasks that run keep the timeout with
    /// which they started.
    pub fn set_limits(&self, limits: TaskLimits) -> Result<()> {
        if !(1..=1024).contains(&limits.threads) {
            return Err(Error::argument("task_threads", format!("{} is not in 1 to 1024", limits.threads)));
        }
        let mut state = self.0.state.lock();
        state.limits = limits;
        // There may be room for more now.
        let waiting = state.pending.len().min(limits.threads);
        for _ in 0..waiting {
            self.0.rouse(&mut state);
        }
        Ok(())
    }

    /// Schedules a task. Refused at once: needs that can never be met, an id that is in use, more than
    /// [`TaskLimits::tasks`].
    pub fn schedule(&self, spec: TaskSpec) -> Result<Task> {
        let limit = spec.account.limit();
        if spec.memory > limit {
            return Err(Error::new(
                Status::QuotaExceeded,
                format!(
                    "task of tenant {:?} asks for {} bytes of memory, the tenant's limit is {limit}",
                    spec.tenant, spec.memory
                ),
            )
            .advise("ask for less (requiredMemory), or raise the tenant's limit"));
        }
        if spec.cores > spec.processors {
            return Err(Error::argument(
                "requiredCores",
                format!("{} asked for, the tenant's node has {}", spec.cores, spec.processors),
            ));
        }
        let mut state = self.0.state.lock();
        state.next += 1;
        let id = spec.id.clone().unwrap_or_else(|| format!("task-{}", state.next));
        if id.is_empty() {
            return Err(Error::argument("taskId", "must not be empty"));
        }
        if state.known.get(&id).is_some_and(|e| !e.info.lock().state.is_final()) {
            return Err(Error::new(Status::AlreadyExists, format!("task {id:?} exists and has not ended")));
        }
        let info = TaskInfo {
            id: id.clone(),
            tenant: spec.tenant.clone(),
            kind: spec.kind.clone(),
            priority: spec.priority,
            memory: spec.memory,
            cores: spec.cores,
            state: TaskState::Pending,
            created: SystemTime::now(),
            started: None,
            finished: None,
            result: String::new(),
            status: None,
            weight: 1.0,
            device_time: Duration::ZERO,
        };
        state.admits()?;
        let first = state.present() == 0;
        if first {
            // With no worker the task would never run.
            self.0.spawn(&mut state)?;
        }
        let context = TaskContext::new();
        let entry =
            Arc::new(Entry { info: Mutex::new(info), ended: Condvar::new(), context, seq: state.next });
        state.arrive(&spec.tenant);
        state.known.insert(id, entry.clone());
        state.pending.push(Pending { entry: entry.clone(), spec });
        if !first {
            self.0.rouse(&mut state);
        }
        drop(state);
        Ok(Task { entry, tasks: Arc::downgrade(&self.0) })
    }

    /// The task with this id: waiting, running, or one of the last few thousand that ended.
    pub fn get(&self, id: &str) -> Result<Task> {
        let state = self.0.state.lock();
        let entry =
            state.known.get(id).ok_or_else(|| Error::not_found(format!("task {id:?} is not known")))?;
        Ok(Task { entry: entry.clone(), tasks: Arc::downgrade(&self.0) })
    }

    /// Tasks that have not ended, oldest first; of one tenant or of all.
    pub fn active(&self, tenant: Option<&str>) -> Vec<TaskInfo> {
        let state = self.0.state.lock();
        let mut entries: Vec<_> = state.known.values().cloned().collect();
        drop(state);
        entries.sort_by_key(|e| e.seq);
        let infos = entries.into_iter().map(|e| e.snapshot());
        infos.filter(|i| !i.state.is_final() && tenant.is_none_or(|t| t == i.tenant)).collect()
    }

    /// How many tasks have ended, and how.
    pub fn ended(&self) -> Ended {
        self.0.state.lock().ended
    }

    /// Cancels every task of a tenant (or of all) and waits for those that run, except where that would never end
    /// (see [`Task::wait`]): those end later.
    pub fn cancel_all(&self, tenant: Option<&str>) {
        let tasks: Vec<_> = self.active(tenant).iter().filter_map(|i| self.get(&i.id).ok()).collect();
        for task in &tasks {
            task.cancel();
        }
        for task in &tasks {
            // Fails only for tasks that wait for this thread.
            let _ = task.wait(None);
        }
    }
}

impl Default for Tasks {
    fn default() -> Self {
        Tasks::new()
    }
}

impl Shared {
    fn work(self: Arc<Self>) {
        POOL.set(Arc::as_ptr(&self));
        let mut state = self.state.lock();
        loop {
            if state.present() > state.limits.threads {
                // One too many: the limit was lowered, or one that waited for another task came back.
                state.workers -= 1;
                if state.next().is_some() {
                    self.work.notify_one();
                }
                return;
            }
            if let Some(next) = state.take() {
                // One worker may have been woken for several tasks: the others must not wait until this one ends.
                if state.next().is_some() {
                    self.rouse(&mut state);
                }
                drop(state);
                let fit = self.run(next);
                state = self.state.lock();
                if !fit {
                    state.workers -= 1;
                    if state.next().is_some() {
                        self.rouse(&mut state);
                    }
                    return;
                }
                continue;
            }
            // One worker is enough to look for memory that became free.
            let polls = !state.pending.is_empty() && !state.polling;
            state.polling |= polls;
            state.idle += 1;
            let timed_out = self.work.wait_for(&mut state, if polls { POLL } else { IDLE }).timed_out();
            state.idle -= 1;
            state.polling &= !polls;
            if timed_out && !polls && (state.pending.is_empty() || state.idle > 0) {
                state.workers -= 1;
                return;
            }
        }
    }

    /// Sees to it that a worker looks at the queue.
    fn rouse(self: &Arc<Self>, state: &mut State) {
        if state.idle > 0 {
            self.work.notify_one();
        } else if state.present() < state.limits.threads {
            // With another worker alive the task only waits longer.
            let _ = self.spawn(state);
        }
    }

    fn spawn(self: &Arc<Self>, state: &mut State) -> Result<()> {
        let shared = self.clone();
        let thread = std::thread::Builder::new().name("cw-task".into());
        thread.spawn(move || shared.work()).map_err(|e| Error::io("starting a task thread", e))?;
        state.workers += 1;
        Ok(())
    }

    /// Runs a task. False when the thread must not run another.
    fn run(self: &Arc<Self>, Pending { entry, spec }: Pending) -> bool {
        let begun = Instant::now();
        let until = self.watch(&entry);
        // On the CPU device the body's own code is the tenant's work.
        let on_cpu = !spec.affinity.is_empty();
        let body = spec.body;
        // All that belongs to the thread that runs the body is done there, since a bounded stack has a thread of its own.
        let work = || {
            let pool = POOL.replace(Arc::as_ptr(self));
            let saved = pin(&spec.affinity);
            let cpu = nice::cpu_time();
            if on_cpu {
                entry.context.runner.begin(&entry.context.effort);
            }
            // Host work without a stream that the body does is its tenant's, and a trace shows it inside of the task.
            let span = profiler::on().then(|| seen(&entry, &spec.kind, &spec.share));
            OWN.set(&*entry);
            let outcome = catch_unwind(AssertUnwindSafe(|| body(&entry.context)));
            OWN.set(std::ptr::null());
            if let Some((span, scope)) = span {
                span.end();
                drop(scope);
            }
            let fit = entry.context.runner.end();
            if on_cpu {
                entry.context.effort.charge(nice::cpu_time().saturating_sub(cpu));
            }
            unpin(saved);
            POOL.set(pool);
            log::flush();
            (outcome, fit)
        };
        // Let go before anybody hears of the end: a bound that is given back then must not outlive that here.
        let (outcome, fit) = match spec.stack {
            None => work(),
            // That thread ends with the body, however it was left.
            Some(stack) => match stack.run(work) {
                Ok((outcome, _)) => (outcome, true),
                Err(e) => (Ok(Err(e)), true),
            },
        };
        let cancelled = entry.context.is_cancelled();
        let expired = entry.context.expired.load(SeqCst);
        let (end, result, status) = match outcome {
            Ok(Ok(result)) => (TaskState::Completed, result, None),
            Ok(Err(e)) if expired => {
                let text =
                    format!("told to end after {:.3} s (task_timeout): {e}", begun.elapsed().as_secs_f64());
                (TaskState::Failed, text, Some(Status::Timeout))
            }
            Ok(Err(e)) if cancelled || e.status() == Status::Cancelled => {
                (TaskState::Cancelled, e.to_string(), Some(Status::Cancelled))
            }
            Ok(Err(e)) => {
                let e = e.in_category(Category::Task);
                history::record(&e);
                (TaskState::Failed, e.to_string(), Some(e.status()))
            }
            Err(panic) => {
                let text = panic_text(&*panic);
                // The payload's own destructor may panic; the task must end all the same.
                std::mem::forget(panic);
                history::record(&Error::new(Status::Panic, text.clone()).in_category(Category::Task));
                (TaskState::Failed, text, Some(Status::Panic))
            }
        };
        if end == TaskState::Failed {
            let id = &entry.info.lock().id.clone();
            crate::log!(
                Warn,
                "task",
                "task {id:?} ({}) of tenant {:?} failed: {result}",
                spec.kind,
                spec.tenant
            );
        }
        // What the hook holds goes with the body, not with the history.
        drop(entry.context.on_cancel.lock().take());
        let weight = spec.share.weight() * entry.context.effort.weight();
        let mut state = self.state.lock();
        if let Some(until) = until {
            state.deadlines.remove(&(until, entry.seq));
        }
        if let Some(promised) = state.tenants.get_mut(&spec.tenant) {
            promised.memory -= spec.memory;
            promised.cores -= spec.cores;
            promised.ran += begun.elapsed().as_secs_f64() / weight;
        }
        state.end(&entry, end, result, status);
        drop(state);
        self.work.notify_all();
        fit
    }

    /// Takes a task that has not started out of the queue.
    fn withdraw(&self, entry: &Arc<Entry>) {
        let mut state = self.state.lock();
        let Some(at) = state.pending.iter().position(|p| Arc::ptr_eq(&p.entry, entry)) else { return };
        let withdrawn = state.pending.remove(at);
        let text = "cancelled before it started".to_owned();
        state.end(entry, TaskState::Cancelled, text, Some(Status::Cancelled));
        drop(state);
        // The body may own callbacks with destructors of the application: never under the lock.
        drop(withdrawn);
    }
}

impl State {
    /// A task of `tenant` comes in. A tenant that had none starts level with those that have: idleness saves nothing up.
    fn arrive(&mut self, tenant: &str) {
        let level = self.level().unwrap_or(0.0);
        let promised = self.tenants.entry(tenant.to_owned()).or_default();
        if promised.unfinished == 0 {
            promised.ran = promised.ran.max(level);
        }
        promised.unfinished += 1;
    }

    /// The least that a tenant with unfinished tasks has run.
    fn level(&self) -> Option<f64> {
        self.tenants.values().filter(|t| t.unfinished > 0).map(|t| t.ran).min_by(f64::total_cmp)
    }

    /// Which of the waiting tasks is to start now, if any can.
    fn next(&self) -> Option<usize> {
        let none = Promised::default();
        let promised = |p: &Pending| self.tenants.get(&p.spec.tenant).unwrap_or(&none);
        let fits = |p: &Pending| {
            let free = p.spec.account.limit().saturating_sub(p.spec.account.held());
            p.spec.memory.saturating_add(promised(p).memory) <= free
                && p.spec.cores.saturating_add(promised(p).cores) <= p.spec.processors.max(p.spec.cores)
        };
        let now = Instant::now();
        // Waiting counts for more with more weight, but counts: light tasks are not passed over for good.
        let waited = |p: &Pending| {
            let context = &p.entry.context;
            now.saturating_duration_since(context.born).as_secs_f64() * context.effort.weight()
        };
        let order = |p: &Pending| (p.spec.priority, promised(p).ran, waited(p), p.entry.seq);
        (0..self.pending.len()).filter(|&i| fits(&self.pending[i])).min_by(|&a, &b| {
            let (a, b) = (order(&self.pending[a]), order(&self.pending[b]));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(b.2.total_cmp(&a.2)).then(a.3.cmp(&b.3))
        })
    }

    /// Takes the task to start now, its needs promised; none when nothing can start.
    fn take(&mut self) -> Option<Pending> {
        let taken = self.pending.remove(self.next()?);
        let promised = self.tenants.entry(taken.spec.tenant.clone()).or_default();
        promised.memory += taken.spec.memory;
        promised.cores += taken.spec.cores;
        let mut info = taken.entry.info.lock();
        info.state = TaskState::Running;
        info.started = Some(SystemTime::now());
        drop(info);
        Some(taken)
    }

    fn end(&mut self, entry: &Entry, end: TaskState, result: String, status: Option<Status>) {
        match end {
            TaskState::Failed => self.ended.failed += 1,
            TaskState::Cancelled => self.ended.cancelled += 1,
            _ => self.ended.completed += 1,
        }
        let mut info = entry.info.lock();
        info.state = end;
        info.result = result;
        info.status = status;
        info.finished = Some(SystemTime::now());
        self.history.push_back((info.id.clone(), entry.seq));
        if let Some(promised) = self.tenants.get_mut(&info.tenant) {
            promised.unfinished -= 1;
        }
        drop(info);
        entry.ended.notify_all();
        // A tenant without tasks that ran no more than those with some starts level with them anyway.
        let level = self.level().unwrap_or(f64::INFINITY);
        self.tenants.retain(|_, t| t.unfinished > 0 || t.ran > level);
        while self.history.len() > HISTORY {
            if let Some((old, seq)) = self.history.pop_front()
                && self.known.get(&old).is_some_and(|e| e.seq == seq)
            {
                self.known.remove(&old);
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the task panicked: {}", text.as_deref().unwrap_or("no message"))
}

#[cfg(test)]
mod tests;
