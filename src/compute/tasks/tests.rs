use super::*;
use crate::compute::Share;
use crate::device::{self, DeviceChoice};
use crate::memory::{Account, Ledger};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize};
use std::sync::mpsc;

const SOON: Option<Duration> = Some(Duration::from_secs(20));
const KIB: u64 = 1024;

/// A tenant as the scheduler sees it.
#[derive(Clone)]
struct Who {
    name: String,
    account: Arc<Account>,
    share: Arc<Share>,
}

fn who(name: &str, weight: f64) -> Who {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let device = device::open(DeviceChoice::Cpu).unwrap();
    let name = format!("tasks-test-{name}-{}", NEXT.fetch_add(1, SeqCst));
    let account = Ledger::of(&device).open(&name, 64 * KIB, 0).unwrap();
    let share = Share::new(&name, weight, 2).unwrap();
    Who { name, account, share }
}

fn spec(who: &Who, body: impl FnOnce(&TaskContext) -> Result<String> + Send + 'static) -> TaskSpec {
    TaskSpec {
        id: None,
        kind: "test".into(),
        tenant: who.name.clone(),
        account: who.account.clone(),
        share: who.share.clone(),
        processors: 4,
        priority: Priority::Normal,
        memory: 0,
        cores: 0,
        affinity: Vec::new(),
        stack: None,
        body: Box::new(body),
    }
}

fn text(text: &str) -> impl FnOnce(&TaskContext) -> Result<String> + Send + 'static + use<> {
    let text = text.to_owned();
    move |_| Ok(text)
}

/// A body that runs until the sender is dropped or sends.
fn held() -> (mpsc::Sender<()>, impl FnOnce(&TaskContext) -> Result<String> + Send + 'static) {
    let (open, gate) = mpsc::channel::<()>();
    let body = move |_: &TaskContext| {
        let _ = gate.recv();
        Ok("held".to_owned())
    };
    (open, body)
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The queue's own order: which tenants' tasks start, one after the other, each running for `seconds` of its tenant.
fn order(specs: Vec<TaskSpec>, seconds: f64) -> Vec<String> {
    let mut state = State::default();
    for (seq, spec) in specs.into_iter().enumerate() {
        let tasks = Tasks::new();
        // Made by a scheduler of its own only for the entry.
        let entry = tasks.schedule(TaskSpec { body: Box::new(text("")), ..copy(&spec) }).unwrap().entry;
        entry.info.lock().state = TaskState::Pending;
        let entry = Arc::new(Entry {
            info: Mutex::new(entry.info.lock().clone()),
            ended: Condvar::new(),
            context: TaskContext::new(),
            seq: seq as u64,
        });
        state.arrive(&spec.tenant);
        state.pending.push(Pending { entry, spec });
    }
    let mut started = Vec::new();
    while let Some(Pending { spec, entry }) = state.take() {
        let promised = state.tenants.get_mut(&spec.tenant).unwrap();
        promised.ran += seconds / spec.share.weight();
        promised.memory -= spec.memory;
        promised.cores -= spec.cores;
        state.end(&entry, TaskState::Completed, String::new(), None);
        started.push(spec.tenant);
    }
    started
}

fn copy(spec: &TaskSpec) -> TaskSpec {
    TaskSpec {
        id: None,
        kind: spec.kind.clone(),
        tenant: spec.tenant.clone(),
        account: spec.account.clone(),
        share: spec.share.clone(),
        affinity: Vec::new(),
        stack: spec.stack.clone(),
        body: Box::new(text("")),
        ..*spec
    }
}

#[test]
fn urgent_tasks_start_first_then_the_oldest() {
    let tenants: Vec<_> = (0..4).map(|i| who(&format!("p{i}"), 1.0)).collect();
    let priorities = [Priority::Low, Priority::Normal, Priority::Critical, Priority::Normal];
    let specs =
        tenants.iter().zip(priorities).map(|(w, priority)| TaskSpec { priority, ..spec(w, text("")) });
    let started = order(specs.collect(), 1.0);
    let want: Vec<_> = [2, 1, 3, 0].iter().map(|&i: &usize| tenants[i].name.clone()).collect();
    assert_eq!(started, want);
}

#[test]
fn weights_order_tasks_of_one_priority() {
    let (light, heavy) = (who("light", 1.0), who("heavy", 3.0));
    let specs = (0..200).map(|i| spec(if i % 2 == 0 { &light } else { &heavy }, text("")));
    let started = order(specs.collect(), 1.0);
    let heavy_first = started[..80].iter().filter(|t| **t == heavy.name).count();
    assert!(heavy_first.abs_diff(60) <= 2, "{heavy_first} of the first 80 instead of 60");
}

#[test]
fn idleness_saves_nothing_up() {
    let mut state = State::default();
    state.arrive("old");
    state.tenants.get_mut("old").unwrap().ran = 1000.0;
    state.arrive("new");
    assert_eq!(state.tenants["new"].ran, 1000.0);
    state.tenants.get_mut("old").unwrap().ran = 1500.0;
    state.arrive("new");
    assert_eq!(state.tenants["new"].ran, 1000.0, "a tenant with tasks keeps its place");
}

#[test]
fn results_errors_and_panics_end_tasks() {
    let (tasks, w) = (Tasks::new(), who("ends", 1.0));
    let done = tasks.schedule(spec(&w, text("forty-two"))).unwrap().wait(SOON).unwrap();
    assert_eq!((done.state, &*done.result, done.status), (TaskState::Completed, "forty-two", None));
    let failing = |_: &TaskContext| Err(Error::new(Status::Callback, "no luck"));
    let failed = tasks.schedule(spec(&w, failing)).unwrap().wait(SOON).unwrap();
    assert_eq!(
        (failed.state, &*failed.result, failed.status),
        (TaskState::Failed, "no luck", Some(Status::Callback))
    );
    let panicked = tasks.schedule(spec(&w, |_| panic!("oh {}", 1))).unwrap().wait(SOON).unwrap();
    assert_eq!((panicked.state, panicked.status), (TaskState::Failed, Some(Status::Panic)));
    assert!(panicked.result.contains("oh 1"), "{}", panicked.result);
    assert_eq!(tasks.ended(), Ended { completed: 1, failed: 2, cancelled: 0 });
    // The promises of all of them were taken back, and nothing of the tenant stays.
    until("the tenant is forgotten", || tasks.0.state.lock().tenants.is_empty());
}

#[test]
fn a_panic_whose_payload_panics_ends_the_task() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("again");
        }
    }
    let (tasks, w) = (Tasks::new(), who("bomb", 1.0));
    let ended = tasks.schedule(spec(&w, |_| std::panic::panic_any(Bomb))).unwrap().wait(SOON).unwrap();
    assert_eq!((ended.state, ended.status), (TaskState::Failed, Some(Status::Panic)));
}

#[test]
fn tasks_run_side_by_side_however_quickly_they_come() {
    let w = who("side", 1.0);
    for _ in 0..10 {
        let tasks = Tasks::new();
        tasks.schedule(spec(&w, text(""))).unwrap().wait(SOON).unwrap();
        until("its only worker is idle", || tasks.0.state.lock().idle == 1);
        // It is woken for both tasks below, which can only end when they run at the same time.
        let (to_a, from_b) = mpsc::channel::<()>();
        let (to_b, from_a) = mpsc::channel::<()>();
        let meet = |to: mpsc::Sender<()>, from: mpsc::Receiver<()>| {
            move |_: &TaskContext| {
                let _ = to.send(());
                from.recv_timeout(Duration::from_secs(20))
                    .map_err(|e| Error::new(Status::Timeout, e.to_string()))?;
                Ok(String::new())
            }
        };
        let (a, b) = (spec(&w, meet(to_b, from_b)), spec(&w, meet(to_a, from_a)));
        // Both come in before the worker can be awake.
        let state = tasks.0.state.lock();
        let (a, b) = std::thread::scope(|scope| {
            let a = scope.spawn(|| tasks.schedule(a).unwrap());
            let b = scope.spawn(|| tasks.schedule(b).unwrap());
            std::thread::sleep(Duration::from_millis(5));
            drop(state);
            (a.join().unwrap(), b.join().unwrap())
        });
        assert_eq!(a.wait(SOON).unwrap().state, TaskState::Completed);
        assert_eq!(b.wait(SOON).unwrap().state, TaskState::Completed);
    }
}

#[test]
fn memory_is_promised_and_a_blocked_task_blocks_nobody() {
    let (tasks, w, other) = (Tasks::new(), who("memory", 1.0), who("other", 1.0));
    let too_much = TaskSpec { memory: 64 * KIB + 1, ..spec(&w, text("")) };
    assert_eq!(tasks.schedule(too_much).err().unwrap().status(), Status::QuotaExceeded);
    let charge = w.account.charge(8 * KIB, "model").unwrap();
    let (open, body) = held();
    let first = tasks.schedule(TaskSpec { memory: 40 * KIB, ..spec(&w, body) }).unwrap();
    until("the first runs", || first.info().state == TaskState::Running);
    let second = tasks.schedule(TaskSpec { memory: 20 * KIB, ..spec(&w, text("second")) }).unwrap();
    // Neither smaller tasks of the tenant nor those of others wait behind it.
    let small = tasks.schedule(TaskSpec { memory: 16 * KIB, ..spec(&w, text("small")) }).unwrap();
    assert_eq!(small.wait(SOON).unwrap().result, "small");
    let else_where = tasks.schedule(TaskSpec { memory: 64 * KIB, ..spec(&other, text("other")) }).unwrap();
    assert_eq!(else_where.wait(SOON).unwrap().result, "other");
    assert_eq!(second.info().state, TaskState::Pending);
    assert_eq!(second.wait(Some(Duration::from_millis(20))).unwrap_err().status(), Status::Timeout);
    drop(open);
    assert_eq!(second.wait(SOON).unwrap().state, TaskState::Completed);
    // Freed outside of any task: found by looking.
    let all = tasks.schedule(TaskSpec { memory: 64 * KIB, ..spec(&w, text("all")) }).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(all.info().state, TaskState::Pending);
    drop(charge);
    assert_eq!(all.wait(SOON).unwrap().result, "all");
}

#[test]
fn cores_are_promised() {
    let (tasks, w) = (Tasks::new(), who("cores", 1.0));
    let refused = tasks.schedule(TaskSpec { cores: 5, ..spec(&w, text("")) }).err().unwrap();
    assert!(refused.message().contains("requiredCores"), "{refused}");
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let scheduled: Vec<_> = (0..12)
        .map(|_| {
            let (now, most) = (now.clone(), most.clone());
            let body = move |_: &TaskContext| {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                now.fetch_sub(1, SeqCst);
                Ok(String::new())
            };
            tasks.schedule(TaskSpec { cores: 2, ..spec(&w, body) }).unwrap()
        })
        .collect();
    for task in &scheduled {
        assert_eq!(task.wait(SOON).unwrap().state, TaskState::Completed);
    }
    assert_eq!(most.load(SeqCst), 2, "two tasks of two cores fit on four");
}

#[test]
fn a_cancelled_pending_task_never_runs_and_its_body_is_dropped_without_the_lock() {
    let (tasks, w) = (Arc::new(Tasks::new()), who("pending", 1.0));
    let (open, body) = held();
    let first = tasks.schedule(TaskSpec { cores: 4, ..spec(&w, body) }).unwrap();
    struct CallsBack(Arc<Tasks>, mpsc::Sender<usize>);
    impl Drop for CallsBack {
        fn drop(&mut self) {
            let _ = self.1.send(self.0.active(None).len());
        }
    }
    let (dropped, was_dropped) = mpsc::channel();
    let guard = CallsBack(tasks.clone(), dropped);
    let body = move |_: &TaskContext| {
        let _guard = guard;
        Ok("ran".to_owned())
    };
    let second = tasks.schedule(TaskSpec { cores: 4, ..spec(&w, body) }).unwrap();
    let canceller = second.clone();
    std::thread::spawn(move || assert!(canceller.cancel()));
    was_dropped.recv_timeout(Duration::from_secs(20)).expect("the body was not dropped, or under the lock");
    let info = second.wait(SOON).unwrap();
    assert_eq!((info.state, info.started), (TaskState::Cancelled, None));
    assert!(!second.cancel(), "it had ended");
    drop(open);
    assert_eq!(first.wait(SOON).unwrap().state, TaskState::Completed);
}

#[test]
fn a_running_task_is_told_and_its_hook_is_called_once_and_dropped() {
    let (tasks, w) = (Tasks::new(), who("running", 1.0));
    let kept = Arc::new(());
    let (hook, tell) = (kept.clone(), mpsc::channel::<()>());
    let (to_body, ready) = (tell.0, mpsc::channel::<()>());
    let task = tasks
        .schedule(spec(&w, move |context| {
            context.on_cancel(move || {
                let _hook = hook;
                to_body.send(()).unwrap();
            });
            ready.0.send(()).unwrap();
            tell.1.recv_timeout(Duration::from_secs(20)).unwrap();
            assert!(context.is_cancelled());
            // Too late for the hook above: this one is called at once.
            let at_once = Arc::new(AtomicBool::new(false));
            let seen = at_once.clone();
            context.on_cancel(move || seen.store(true, SeqCst));
            assert!(at_once.load(SeqCst));
            Err(Error::new(Status::Callback, "stopped"))
        }))
        .unwrap();
    ready.1.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(task.cancel());
    let info = task.wait(SOON).unwrap();
    assert_eq!((info.state, info.status), (TaskState::Cancelled, Some(Status::Cancelled)));
    until("the hook is dropped", || Arc::strong_count(&kept) == 1);
    // A hook that was never called goes with the body too, not with the history.
    let hook = kept.clone();
    let quiet = tasks.schedule(spec(&w, move |context| {
        context.on_cancel(move || drop(hook));
        Ok(String::new())
    }));
    quiet.unwrap().wait(SOON).unwrap();
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[test]
fn ids_are_used_again_only_after_their_end() {
    let (tasks, w) = (Tasks::new(), who("ids", 1.0));
    let named = |id: &str| TaskSpec { id: Some(id.into()), ..spec(&w, text("second")) };
    let (open, body) = held();
    let first = tasks.schedule(TaskSpec { body: Box::new(body), ..named("x") }).unwrap();
    assert_eq!(tasks.schedule(named("x")).err().unwrap().status(), Status::AlreadyExists);
    assert_eq!(tasks.schedule(named("")).err().unwrap().status(), Status::InvalidArgument);
    drop(open);
    first.wait(SOON).unwrap();
    tasks.schedule(named("x")).unwrap().wait(SOON).unwrap();
    assert_eq!(tasks.get("x").unwrap().info().result, "second");
    assert_eq!(first.info().result, "held", "the handle of the first is still its own");
    assert_eq!(tasks.get("y").err().unwrap().status(), Status::NotFound);
}

#[test]
fn history_is_bounded_and_drops_the_oldest_run_of_an_id() {
    let mut state = State::default();
    let (tasks, w) = (Tasks::new(), who("history", 1.0));
    let entry = |id: &str, seq| {
        let id = Some(format!("{id}-{seq}"));
        let done = tasks.schedule(TaskSpec { id, ..spec(&w, text("")) }).unwrap();
        let info = done.wait(SOON).unwrap();
        Arc::new(Entry { info: Mutex::new(info), ended: Condvar::new(), context: TaskContext::new(), seq })
    };
    let (old, new) = (entry("again", 0), entry("again", 1));
    for again in [&old, &new] {
        again.info.lock().id = "again".into();
        state.known.insert("again".into(), again.clone());
        state.end(again, TaskState::Completed, String::new(), None);
    }
    for seq in 2..HISTORY as u64 + 1 {
        let filler = Entry {
            info: Mutex::new(TaskInfo { id: format!("f{seq}"), ..new.info.lock().clone() }),
            ended: Condvar::new(),
            context: TaskContext::new(),
            seq,
        };
        let filler = Arc::new(filler);
        state.known.insert(format!("f{seq}"), filler.clone());
        state.end(&filler, TaskState::Completed, String::new(), None);
    }
    assert_eq!(state.history.len(), HISTORY);
    assert!(state.known.contains_key("again"), "the newer run is still in the history");
    assert_eq!(state.known.len(), HISTORY);
}

#[test]
fn a_task_can_cancel_everybody_without_waiting_for_itself() {
    let (tasks, w) = (Arc::new(Tasks::new()), who("self", 1.0));
    let (own, name) = (tasks.clone(), w.name.clone());
    let task = tasks
        .schedule(TaskSpec {
            id: Some("self".into()),
            ..spec(&w, move |context| {
                assert_eq!(own.get("self")?.wait(None).unwrap_err().status(), Status::Busy);
                own.cancel_all(Some(&name));
                assert!(context.is_cancelled());
                Err(Error::new(Status::Cancelled, "as asked"))
            })
        })
        .unwrap();
    assert_eq!(task.wait(SOON).unwrap().state, TaskState::Cancelled);
}

#[test]
fn a_thread_that_serves_a_tenant_never_waits_for_its_tasks() {
    let (tasks, w) = (Tasks::new(), who("served", 1.0));
    let (open, body) = held();
    let task = tasks.schedule(spec(&w, body)).unwrap();
    // What has not started would be withdrawn.
    until("it runs", || task.info().state == TaskState::Running);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            serve(&w.name);
            assert_eq!(task.wait(None).unwrap_err().status(), Status::Busy);
            tasks.cancel_all(None);
        });
    });
    drop(open);
    assert_eq!(task.wait(SOON).unwrap().state, TaskState::Completed);
}

#[test]
fn waiting_for_ever_so_long_does_not_overflow() {
    let (tasks, w) = (Tasks::new(), who("long", 1.0));
    let task = tasks.schedule(spec(&w, text("done"))).unwrap();
    assert_eq!(task.wait(Some(Duration::MAX)).unwrap().result, "done");
}

#[test]
fn more_weight_goes_first_and_waiting_counts() {
    let tasks = Tasks::new();
    tasks.set_limits(TaskLimits { threads: 1, ..TaskLimits::default() }).unwrap();
    let one = who("order", 1.0);
    let (open, body) = held();
    let first = tasks.schedule(spec(&one, body)).unwrap();
    until("it runs", || first.info().state == TaskState::Running);
    let started = Arc::new(Mutex::new(Vec::new()));
    let add = |name: &'static str| {
        let started = started.clone();
        let body = move |_: &TaskContext| {
            started.lock().push(name);
            Ok(String::new())
        };
        tasks.schedule(spec(&one, body)).unwrap()
    };
    let old = add("old and light");
    old.set_weight(0.5).unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let plain = add("plain");
    let heavy = add("heavy");
    heavy.set_weight(500.0).unwrap();
    std::thread::sleep(Duration::from_millis(5));
    // The light one has waited for more than twice as long as the plain one.
    drop(open);
    for task in [&old, &plain, &heavy] {
        task.wait(SOON).unwrap();
    }
    assert_eq!(*started.lock(), ["heavy", "old and light", "plain"]);
    assert_eq!(heavy.info().weight, 500.0);
}

#[test]
fn threads_beyond_a_lowered_limit_end() {
    let tasks = Tasks::new();
    let one = who("limit", 1.0);
    let mut open = Vec::new();
    let mut held_tasks = Vec::new();
    for _ in 0..6 {
        let (go, body) = held();
        open.push(go);
        held_tasks.push(tasks.schedule(spec(&one, body)).unwrap());
    }
    until("all run", || held_tasks.iter().all(|t| t.info().state == TaskState::Running));
    tasks.set_limits(TaskLimits { threads: 1, ..TaskLimits::default() }).unwrap();
    drop(open);
    for task in &held_tasks {
        task.wait(SOON).unwrap();
    }
    until("five of six threads end", || tasks.0.state.lock().workers <= 1);
    assert_eq!(tasks.schedule(spec(&one, text("still"))).unwrap().wait(SOON).unwrap().result, "still");
    assert!(tasks.set_limits(TaskLimits { threads: 0, ..TaskLimits::default() }).is_err());
}

#[test]
fn a_task_with_a_stack_of_its_own_is_weighed_measured_and_may_wait_for_another() {
    let tasks = Arc::new(Tasks::new());
    tasks.set_limits(TaskLimits { threads: 1, ..TaskLimits::default() }).unwrap();
    let w = who("stack", 1.0);
    let stack = Stack::new(&w.account, Stack::LEAST).unwrap();
    // One thread is all there is: waiting must leave its place to the other.
    let (inner, who) = (tasks.clone(), w.clone());
    let waits =
        move |_: &TaskContext| inner.schedule(spec(&who, text("inner")))?.wait(SOON).map(|i| i.result);
    let outer = tasks.schedule(TaskSpec { stack: Some(stack.clone()), ..spec(&w, waits) }).unwrap();
    assert_eq!(outer.wait(SOON).unwrap().result, "inner");

    let (running, starts) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let own_nice = || {
        // SAFETY: a plain system call.
        unsafe { libc::getpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t) }
    };
    let base = own_nice();
    let body = move |_: &TaskContext| {
        running.send(()).unwrap();
        let _ = gate.recv();
        let used = nice::cpu_time();
        while nice::cpu_time() - used < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        Ok(own_nice().to_string())
    };
    let task = tasks.schedule(TaskSpec { stack: Some(stack), affinity: vec![0], ..spec(&w, body) }).unwrap();
    starts.recv().unwrap();
    task.set_weight(0.5).unwrap();
    drop(open);
    let info = task.wait(SOON).unwrap();
    assert_eq!(info.result, (base + 3).min(19).to_string(), "half the weight is three steps of nice");
    assert!(info.device_time >= Duration::from_millis(20), "{:?}", info.device_time);
}
