//! What tasks do and what they weigh: the kinds of the bridge, those of the application, and measured shares.

use cogniware::Status;
use cogniware::bridge::{Bridge, config::Map};
use cogniware::compute::{Task, TaskContext, TaskState};
use cogniware::device::{self, Device};
use cogniware::tenant::{self, Tenant, TenantConfig};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn id(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("task-work-{what}-{}", NEXT.fetch_add(1, SeqCst))
}

/// All devices that can be opened, or the one that COGNIWARE_DEVICE names.
fn devices() -> Vec<Arc<dyn Device>> {
    match std::env::var("COGNIWARE_DEVICE") {
        Ok(_) => vec![device::default_device().unwrap()],
        Err(_) => device::open_all(),
    }
}

fn bridge() -> Bridge {
    let bridge = Bridge::default();
    bridge.initialize().unwrap();
    bridge
}

/// A tenant with all processors of its device, so that any two of them contend.
fn wide(device: &Arc<dyn Device>, what: &str) -> Arc<Tenant> {
    let all = device.units().iter().map(|u| u.processors).sum();
    let config = TenantConfig {
        memory_limit: 128 * device.granularity(),
        processors: all,
        ..TenantConfig::default_on(device).unwrap()
    };
    tenant::open(&id(what), device, &config).unwrap()
}

fn put(tenant: &Tenant, values: &[f32]) -> u64 {
    let at = tenant.space().alloc(values.len() as u64 * 4, 256, "test").unwrap();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    tenant.device().write(at, &bytes).unwrap();
    at
}

fn get(tenant: &Tenant, at: u64, count: usize) -> Vec<f32> {
    let mut bytes = vec![0; count * 4];
    tenant.device().read(&mut bytes, at).unwrap();
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn copies_copy_and_name_what_is_wrong() {
    for device in devices() {
        let (bridge, tenant, other) = (bridge(), wide(&device, "copy"), wide(&device, "copy"));
        let values = numbers(5000, 1);
        let (from, to) = (put(&tenant, &numbers(6000, 1)), put(&tenant, &vec![0.0; 5000]));
        let foreign = put(&other, &values);
        let run = |source: String, destination: u64, bytes: &str| {
            let how =
                [("source", &source[..]), ("destination", &destination.to_string()[..]), ("bytes", bytes)];
            bridge.schedule(tenant.id(), "memory_copy", &map(&how))
        };
        let info = run(format!("{from:#x}"), to, "20000").unwrap().wait(Some(SOON)).unwrap();
        assert_eq!(info.state, TaskState::Completed, "{}", info.result);
        assert!(info.result.contains("\"bytes\":20000"), "{}", info.result);
        assert_eq!(get(&tenant, to, 5000), values);
        // An array of the LLM, wherever its memory is on this device.
        let array = bridge.array(5000, tenant.id()).unwrap();
        let info = run(from.to_string(), array.address(), "20000").unwrap().wait(Some(SOON)).unwrap();
        assert_eq!(info.state, TaskState::Completed, "{}", info.result);
        // SAFETY: an array is host memory of its length.
        let seen = unsafe { std::slice::from_raw_parts(array.address() as *const f32, 5000) };
        assert_eq!(seen, values);
        for (source, destination, bytes, named) in [
            ("0".to_owned(), to, "4", "source"),
            ("pointer".to_owned(), to, "4", "source"),
            (from.to_string(), to, "0", "bytes"),
            (from.to_string(), to, "18446744073709551615", "source"),
            (from.to_string(), to, "20480000", "source"),
            (from.to_string(), from + 4, "8", "destination"),
            (foreign.to_string(), to, "4", "source"),
            (from.to_string(), foreign, "4", "destination"),
            (from.to_string(), std::ptr::from_ref(&values) as u64, "4", "destination"),
            (from.to_string(), array.address(), "20004", "destination"),
        ] {
            let e = run(source.clone(), destination, bytes).err().expect("it was taken");
            assert!(e.message().contains(named), "{source} -> {destination:#x}, {bytes}: {e}");
        }
        assert!(bridge.schedule(tenant.id(), "memory_copy", &map(&[("bytes", "1")])).is_err());
        drop(array);
        bridge.shutdown();
        for t in [tenant, other] {
            tenant::close_this(&t).unwrap();
        }
    }
}

#[test]
fn products_are_right_in_every_arrangement() {
    for device in devices() {
        let (bridge, tenant) = (bridge(), wide(&device, "multiply"));
        for (m, n, k, transpose) in
            [(3, 5, 7, "none"), (300, 33, 20, "b"), (17, 64, 48, "a"), (1, 1, 1, "ab"), (40, 9, 130, "ab")]
        {
            let (a, b) = (numbers(m * k, 2), numbers(k * n, 3));
            let turn = |v: &[f32], rows: usize, cols: usize| -> Vec<f32> {
                (0..rows * cols).map(|i| v[(i % rows) * cols + i / rows]).collect()
            };
            let stored_a = if transpose.contains('a') { turn(&a, m, k) } else { a.clone() };
            let stored_b = if transpose.contains('b') { turn(&b, k, n) } else { b.clone() };
            let (pa, pb) = (put(&tenant, &stored_a), put(&tenant, &stored_b));
            let pc = put(&tenant, &vec![f32::NAN; m * n]);
            let size = |x: usize| x.to_string();
            let held = tenant.space().usage().held;
            let how = map(&[
                ("a", &pa.to_string()),
                ("b", &pb.to_string()),
                ("c", &pc.to_string()),
                ("m", &size(m)),
                ("n", &size(n)),
                ("k", &size(k)),
                ("transpose", transpose),
                ("dtype", "f32"),
            ]);
            let task = bridge.schedule(tenant.id(), "matrix_multiply", &how).unwrap();
            let info = task.wait(Some(SOON)).unwrap();
            assert_eq!(info.state, TaskState::Completed, "{}", info.result);
            assert!(info.device_time > Duration::ZERO, "nothing was measured");
            assert_eq!(tenant.space().usage().held, held, "it kept memory");
            let got = get(&tenant, pc, m * n);
            for row in 0..m {
                for col in 0..n {
                    let want: f64 =
                        (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + col])).sum();
                    let got = f64::from(got[row * n + col]);
                    assert!(
                        (got - want).abs() < 1e-4,
                        "{transpose} {m}x{n}x{k} at {row},{col}: {got} for {want}"
                    );
                }
            }
            for (key, value) in [
                ("m", "0"),
                ("n", "many"),
                ("k", "4294967295"),
                ("a", "1"),
                ("c", &pa.to_string()[..]),
                ("transpose", "c"),
                ("dtype", "f16"),
                ("kk", "1"),
            ] {
                let mut wrong = how.clone();
                wrong.insert(key.to_owned(), value.to_owned());
                let e = bridge.schedule(tenant.id(), "matrix_multiply", &wrong).err().expect("it was taken");
                // A size that is too large shows as a matrix that is too small.
                let named = if key == "k" { "`a`" } else { key };
                assert!(e.message().contains(named), "{key}={value}: {e}");
            }
            for p in [pa, pb, pc] {
                tenant.space().free(p).unwrap();
            }
        }
        bridge.shutdown();
        tenant::close_this(&tenant).unwrap();
    }
}

#[test]
fn types_of_the_application_run_fail_and_are_cancelled() {
    struct Held(Arc<AtomicBool>);
    impl Drop for Held {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let (bridge, llm) = (bridge(), id("own"));
    let dropped = Arc::new(AtomicBool::new(false));
    let held = Held(dropped.clone());
    bridge
        .register_task_type(
            "greet",
            Arc::new(move |context: &TaskContext, llm: &str, parameters: &Map| {
                let _ = &held;
                match parameters.get("how").map(String::as_str) {
                    Some("wait") => {
                        while !context.is_cancelled() {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        Err(cogniware::Error::new(Status::Cancelled, "told to end"))
                    }
                    Some("fail") => Err(cogniware::Error::new(Status::Callback, "no luck")),
                    _ => Ok(format!("{llm}: {parameters:?}")),
                }
            }),
        )
        .unwrap();
    for taken in ["greet", "inference", "memory_copy", ""] {
        let e = bridge.register_task_type(taken, Arc::new(|_, _, _| Ok(String::new()))).unwrap_err();
        assert!(e.message().contains("name"), "{e}");
    }
    assert!(bridge.task_types().unwrap().contains(&"greet".to_owned()));
    let run = |pairs: &[(&str, &str)]| bridge.schedule(&llm, "greet", &map(pairs)).unwrap();
    let info = run(&[("a", "b"), ("task_type", "greet"), ("priority", "low")]).wait(Some(SOON)).unwrap();
    assert_eq!(info.state, TaskState::Completed);
    assert_eq!(info.result, format!("{llm}: {{\"a\": \"b\"}}"));
    assert_eq!(info.kind, "greet");
    let info = run(&[("how", "fail")]).wait(Some(SOON)).unwrap();
    assert_eq!((info.state, info.status), (TaskState::Failed, Some(Status::Callback)));
    let waiting = run(&[("how", "wait"), ("task_id", "greeting"), ("weight", "0.5")]);
    until("it runs", || waiting.info().state == TaskState::Running);
    let active = bridge.active_tasks(Some(&llm)).unwrap();
    assert_eq!(active.iter().map(|t| (&t.id[..], t.weight)).collect::<Vec<_>>(), [("greeting", 0.5)]);
    // Taken away while one runs: that one goes on, new ones are refused, and what it held goes with the last.
    bridge.unregister_task_type("greet").unwrap();
    assert!(
        bridge.unregister_task_type("greet").is_err() && bridge.unregister_task_type("tokenize").is_err()
    );
    let e = bridge.schedule(&llm, "greet", &map(&[])).err().unwrap();
    assert!(e.message().contains("greet"), "{e}");
    assert!(!dropped.load(SeqCst));
    assert!(waiting.cancel());
    assert_eq!(waiting.wait(Some(SOON)).unwrap().state, TaskState::Cancelled);
    until("what it held is dropped", || dropped.load(SeqCst));
    assert!(bridge.active_tasks(Some(&llm)).unwrap().is_empty());
    bridge.shutdown();
    assert_eq!(bridge.task_types().unwrap_err().status(), Status::NotInitialized);
}

#[test]
fn work_in_flight_ends_with_the_bridge_also_for_tenants_of_others() {
    let device = device::open(device::DeviceChoice::Cpu).unwrap();
    let (bridge, tenant) = (bridge(), wide(&device, "flight"));
    let wait = |context: &TaskContext, _: &str, _: &Map| {
        while !context.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(cogniware::Error::new(Status::Cancelled, "told to end"))
    };
    bridge.register_task_type("wait", Arc::new(wait)).unwrap();
    let tasks: Vec<_> = (0..20).map(|_| bridge.schedule(tenant.id(), "wait", &Map::new()).unwrap()).collect();
    bridge.shutdown();
    for task in &tasks {
        assert_eq!(task.info().state, TaskState::Cancelled);
    }
    assert!(!tenant.is_closed(), "a tenant that the bridge did not open was closed");
    tenant::close_this(&tenant).unwrap();
}

/// Generations of one LLM, one after the other without end, all of one weight. The model that ships holds 1024 tokens,
/// so a single one would be over too soon.
struct Load {
    weight: Mutex<f64>,
    /// The task of each lane, and the device time of those before it.
    lanes: Vec<Mutex<(Option<Task>, Duration)>>,
    stop: AtomicBool,
}

impl Load {
    fn new(lanes: usize) -> Load {
        let lanes = (0..lanes).map(|_| Mutex::default()).collect();
        Load { weight: Mutex::new(1.0), lanes, stop: AtomicBool::new(false) }
    }

    fn run(&self, lane: usize, bridge: &Bridge, llm: &str) {
        while !self.stop.load(SeqCst) {
            let how = [("prompt", "Once"), ("max_tokens", "900"), ("ignore_eos", "true")];
            let mut how = map(&how);
            how.insert("weight".to_owned(), self.weight.lock().unwrap().to_string());
            let task = bridge.schedule(llm, "inference", &how).unwrap();
            self.lanes[lane].lock().unwrap().0 = Some(task.clone());
            // Changed since it was read above, it went past this task. One that has ended already refuses.
            let _ = task.set_weight(*self.weight.lock().unwrap());
            while task.wait(Some(Duration::from_millis(5))).is_err() {
                if self.stop.load(SeqCst) {
                    task.cancel();
                }
            }
            let mut own = self.lanes[lane].lock().unwrap();
            own.0 = None;
            own.1 += task.info().device_time;
        }
    }

    fn set_weight(&self, weight: f64) {
        *self.weight.lock().unwrap() = weight;
        for lane in &self.lanes {
            if let Some(task) = &lane.lock().unwrap().0 {
                // It may have ended just now.
                let _ = task.set_weight(weight);
            }
        }
    }

    fn used(&self) -> f64 {
        let lane = |lane: &Mutex<(Option<Task>, Duration)>| {
            let lane = lane.lock().unwrap();
            (lane.1 + lane.0.as_ref().map_or(Duration::ZERO, |t| t.info().device_time)).as_secs_f64()
        };
        self.lanes.iter().map(lane).sum()
    }
}

/// How much more device time the first of two got while both ran.
fn ratio(one: &Load, two: &Load) -> f64 {
    let start = (one.used(), two.used());
    until("both run", || one.used() > start.0 + 0.02 && two.used() > start.1 + 0.02);
    let before = (one.used(), two.used());
    std::thread::sleep(Duration::from_millis(1500));
    (one.used() - before.0) / (two.used() - before.1)
}

/// The ratio comes to lie within the range. On a machine with more to do than this it takes a few measurements.
fn settles(what: &str, one: &Load, two: &Load, range: std::ops::Range<f64>) {
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(ratio(one, two));
        if range.contains(&seen[seen.len() - 1]) {
            return;
        }
    }
    panic!("{what}: {seen:.2?} are not in {range:?}");
}

/// Runs `test` while two loads run, each `lanes` wide, and ends them however it goes.
fn beside(bridge: &Bridge, llms: [&str; 2], lanes: usize, test: impl FnOnce(&Load, &Load)) {
    struct Stop<'a>(&'a [Load; 2]);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.iter().for_each(|load| load.stop.store(true, SeqCst));
        }
    }
    let loads = [Load::new(lanes), Load::new(lanes)];
    std::thread::scope(|scope| {
        let _stop = Stop(&loads);
        for (load, llm) in loads.iter().zip(llms) {
            for lane in 0..lanes {
                scope.spawn(move || load.run(lane, bridge, llm));
            }
        }
        test(&loads[0], &loads[1]);
    });
}

#[test]
fn a_weight_moves_the_measured_share_beside_a_saturating_neighbour() {
    for device in devices() {
        let (bridge, one, two) = (bridge(), wide(&device, "weight"), wide(&device, "weight"));
        for t in [&one, &two] {
            bridge.register(t.id(), &map(&[("context", "1024"), ("max_sequences", "2")])).unwrap();
        }
        // Two of each, so that no model is idle between two of its generations.
        beside(&bridge, [one.id(), two.id()], 2, |a, b| {
            settles("equal weights", a, b, 0.6..1.6);
            b.set_weight(0.25);
            settles("a quarter", a, b, 2.6..6.0);
            a.set_weight(0.25);
            settles("equal weights again", a, b, 0.6..1.6);
        });
        let task =
            bridge.schedule(one.id(), "inference", &map(&[("prompt", "Once"), ("max_tokens", "1")])).unwrap();
        for wrong in [0.0, -0.5, f64::NAN, f64::INFINITY] {
            assert!(task.set_weight(wrong).unwrap_err().message().contains("weight"));
        }
        task.wait(Some(SOON)).unwrap();
        assert!(task.set_weight(1.0).unwrap_err().message().contains("ended"));
        bridge.shutdown();
    }
}

#[test]
fn a_weight_counts_within_the_batch_of_one_model() {
    for device in devices() {
        let (bridge, tenant) = (bridge(), wide(&device, "batch"));
        bridge.register(tenant.id(), &map(&[("context", "1024"), ("max_sequences", "4")])).unwrap();
        beside(&bridge, [tenant.id(), tenant.id()], 1, |a, b| {
            b.set_weight(0.25);
            // Rows are divided exactly; measured time follows.
            settles("a quarter", a, b, 2.6..6.0);
        });
        bridge.shutdown();
    }
}

#[test]
fn the_code_of_a_function_is_weighed_on_its_core() {
    let device = device::open(device::DeviceChoice::Cpu).unwrap();
    let config = TenantConfig { processors: 1, ..TenantConfig::default_on(&device).unwrap() };
    let tenant = tenant::open(&id("function"), &device, &config).unwrap();
    let spin = |context: &TaskContext| {
        while !context.is_cancelled() {
            std::hint::spin_loop();
        }
        Ok(String::new())
    };
    let schedule = || {
        let normal = cogniware::compute::Priority::Normal;
        tenant.schedule(None, "function", normal, 0, 0, Box::new(spin)).unwrap()
    };
    let (a, b) = (schedule(), schedule());
    until("both run", || [&a, &b].iter().all(|t| t.info().state == TaskState::Running));
    b.set_weight(0.1).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    for t in [&a, &b] {
        t.cancel();
    }
    let used = |t: &Task| t.wait(Some(SOON)).unwrap().device_time.as_secs_f64();
    let ratio = used(&a) / used(&b);
    // Both are pinned to one core; nice 10 gets about a tenth.
    assert!(ratio > 3.0, "a tenth of the weight gave {ratio}");
    tenant::close_this(&tenant).unwrap();
}

#[test]
fn an_embedding_is_cancelled_while_it_waits_or_runs() {
    let (bridge, llm) = (bridge(), id("embedding"));
    let config = map(&[("device", "cpu"), ("max_memory", "64"), ("context", "1024"), ("max_sequences", "1")]);
    let model = bridge.register(&llm, &config).unwrap().model().clone();
    // The one place is taken, by a generation that stands still until it is let go on.
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let request = cogniware::llm::Request::text("Once").with_max_tokens(900).with_on_token(move |_| {
        let _ = gate.recv();
        Ok(true)
    });
    let first = model.generate(request).unwrap();
    let task = bridge.schedule(&llm, "embedding", &map(&[("text", "a river")])).unwrap();
    until("it waits in the engine", || model.stats().waiting > 0);
    assert!(task.cancel());
    drop(go);
    assert_eq!(task.wait(Some(SOON)).unwrap().state, TaskState::Cancelled);
    first.cancel();
    let info =
        bridge.schedule(&llm, "embedding", &map(&[("text", "a river")])).unwrap().wait(Some(SOON)).unwrap();
    assert_eq!(info.state, TaskState::Completed, "{}", info.result);
    bridge.shutdown();
}

#[test]
fn an_empty_stop_text_is_refused() {
    let (bridge, llm) = (bridge(), id("stop"));
    let config = map(&[("device", "cpu"), ("max_memory", "64"), ("context", "1024")]);
    let model = bridge.register(&llm, &config).unwrap().model().clone();
    let request = cogniware::llm::Request::text("Once").with_stop(["END", ""]);
    let e = model.generate(request).err().expect("it was taken");
    assert!(e.status() == Status::InvalidArgument && e.message().contains("stop"), "{e}");
    bridge.shutdown();
}

#[test]
fn tasks_that_wait_for_tasks_do_not_use_up_the_threads() {
    let device = device::open(device::DeviceChoice::Cpu).unwrap();
    let tenant = tenant::open(&id("chain"), &device, &TenantConfig::default_on(&device).unwrap()).unwrap();
    let normal = cogniware::compute::Priority::Normal;
    /// Each waits for the next; only the last one just ends.
    fn link(tenant: &Arc<Tenant>, left: u32) -> cogniware::Result<Task> {
        let next = tenant.clone();
        let body = move |_: &TaskContext| {
            if left > 0 {
                link(&next, left - 1)?.wait(Some(SOON))?;
            }
            Ok(left.to_string())
        };
        tenant.schedule(None, "link", cogniware::compute::Priority::Normal, 0, 0, Box::new(body))
    }
    let info = link(&tenant, 200).unwrap().wait(Some(SOON)).unwrap();
    assert_eq!((info.state, &info.result[..]), (TaskState::Completed, "200"));
    // And the scheduler works as before.
    let task = tenant.schedule(None, "after", normal, 0, 0, Box::new(|_| Ok("well".into()))).unwrap();
    assert_eq!(task.wait(Some(SOON)).unwrap().result, "well");
    tenant::close_this(&tenant).unwrap();
}
