//! The profiler against known work, on every device: the CPU always, the mock driver for the CUDA device's host logic,
//! a real GPU where there is one.

#[path = "common/exposition.rs"]
mod exposition;
#[cfg(feature = "cuda")]
mod mock_driver;

use cogniware::Status;
use cogniware::bridge::{Bridge, config::Map};
use cogniware::compute::Priority;
use cogniware::device::{self, Device, DeviceChoice};
use cogniware::kernel::{Kernel, prometheus};
use cogniware::system::System;
use cogniware::telemetry::{profiler, trace};
use cogniware::tenant::{self, Tenant, TenantConfig};
use exposition::parsed;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The profiler is the process's: tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let guard = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    profiler::disable();
    profiler::reset();
    guard
}

fn id(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("profiler-{what}-{}", NEXT.fetch_add(1, SeqCst))
}

/// A tenant that closes when dropped.
struct Home(Arc<Tenant>);

impl Home {
    fn on(device: &Arc<dyn Device>, what: &str) -> Home {
        let config =
            TenantConfig { memory_limit: 64 << 20, memory_floor: 0, processors: 1, weight: 1.0, priority: 2 };
        Home(tenant::open(&id(what), device, &config).unwrap())
    }

    fn figures(&self) -> BTreeMap<String, f64> {
        profiler::numbers(Some(self.0.id()))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = tenant::close(self.0.id());
    }
}

fn cpu() -> Arc<dyn Device> {
    device::open(DeviceChoice::Cpu).unwrap()
}

/// Runs `test` on the CPU and on a mock GPU, where times mean nothing. Those on a real GPU are in the module `gpu`.
fn each(test: impl Fn(&Arc<dyn Device>, bool)) {
    test(&cpu(), true);
    #[cfg(feature = "cuda")]
    {
        let mock = mock_driver::Mock::new();
        let gpu = mock_driver::erased(&mock.device());
        test(&gpu, false);
        drop(gpu);
        mock.assert_clean();
    }
}

/// Figures of one series agree with each other and stay below the wall.
fn plausible(figures: &BTreeMap<String, f64>, series: &str, wall: Duration, timed: bool) {
    let get = |figure: &str| {
        *figures
            .get(&format!("{series}.{figure}"))
            .unwrap_or_else(|| panic!("no {series}.{figure} in {figures:#?}"))
    };
    let (min, p50, p99, max) = (get("min_us"), get("p50_us"), get("p99_us"), get("max_us"));
    assert!(min <= p50 && p50 <= p99 && p99 <= max, "{series}: {min} {p50} {p99} {max}");
    assert!(min <= get("mean_us") && get("mean_us") <= max, "{series}: mean {}", get("mean_us"));
    assert!(
        (get("mean_us") * get("count") / 1e6 - get("total_seconds")).abs() <= 1e-9 * get("count"),
        "{series}"
    );
    assert!(get("total_seconds") <= wall.as_secs_f64(), "{series}: {} s of {wall:?}", get("total_seconds"));
    if timed {
        assert!(get("total_seconds") > 0.0, "{series} took no time");
    }
}

#[test]
fn copies_and_fills_count_once_with_their_bytes() {
    let _turn = turn();
    each(copies);
}

#[test]
fn copies_on_streams_of_their_own_count_for_their_tenant() {
    let _turn = turn();
    each(|device, _| {
        const BYTES: u64 = 256 << 10;
        let home = Home::on(device, "beside");
        let own = home.0.space().alloc(BYTES, 256, "test").unwrap();
        let stream = home.0.new_stream(0).unwrap();
        let mut data = vec![7u8; BYTES as usize];
        home.0.subject().set(true);
        device.path().set_own_streams(true);
        // SAFETY: the host range stays until the stream was waited for.
        unsafe {
            home.0.copy(own, data.as_ptr() as u64, BYTES, Some(&*stream)).unwrap();
            home.0.copy(data.as_mut_ptr() as u64, own, BYTES, Some(&*stream)).unwrap();
        }
        stream.synchronize().unwrap();
        device.path().set_own_streams(false);
        home.0.subject().set(false);
        let figures = home.figures();
        for series in ["copy.host_to_device", "copy.device_to_host"] {
            assert_eq!(figures.get(&format!("{series}.count")), Some(&1.0), "{series}: {figures:#?}");
            assert_eq!(figures[&format!("{series}.bytes")], BYTES as f64, "{series}");
        }
        home.0.space().free(own).unwrap();
    });
}

fn copies(device: &Arc<dyn Device>, timed: bool) {
    let (home, other) = (Home::on(device, "copies"), Home::on(device, "quiet"));
    const BYTES: usize = 300_000;
    let data = vec![7u8; BYTES];
    let mut back = vec![0u8; BYTES];
    let own = home.0.space().alloc(BYTES as u64, 256, "test").unwrap();
    let theirs = other.0.space().alloc(BYTES as u64, 256, "test").unwrap();
    let stream = home.0.new_stream(0).unwrap();
    let work = |back: &mut [u8]| {
        // SAFETY: host ranges hold the bytes until the stream was waited for.
        unsafe {
            for _ in 0..5 {
                home.0.copy(own, data.as_ptr() as u64, BYTES as u64, None).unwrap();
                other.0.copy(theirs, data.as_ptr() as u64, BYTES as u64, None).unwrap();
            }
            for _ in 0..3 {
                let to = back.as_mut_ptr() as u64;
                home.0.copy(to, own, BYTES as u64, Some(&*stream)).unwrap();
            }
        }
        home.0.fill(own, 9, 1000, Some(&*stream)).unwrap();
        stream.synchronize().unwrap();
    };
    work(&mut back);
    assert!(home.figures().is_empty(), "recorded while off: {:#?}", home.figures());
    home.0.subject().set(true);
    let begun = Instant::now();
    work(&mut back);
    let wall = begun.elapsed();
    home.0.subject().set(false);
    work(&mut back);
    assert!(!profiler::on(), "still on after the last switch");
    let figures = home.figures();
    for (series, count, bytes) in [
        ("copy.host_to_device", 5.0, 5 * BYTES),
        ("copy.device_to_host", 3.0, 3 * BYTES),
        ("fill.fill", 1.0, 1000),
    ] {
        plausible(&figures, series, wall, timed);
        assert_eq!(figures[&format!("{series}.count")], count, "{series}");
        assert_eq!(figures[&format!("{series}.bytes")], bytes as f64, "{series}");
        if timed {
            let rate = bytes as f64 / figures[&format!("{series}.total_seconds")] / 1e9;
            assert!((figures[&format!("{series}.gb_per_s")] / rate - 1.0).abs() < 1e-9, "{series}");
        }
    }
    assert!(other.figures().is_empty(), "not asked for: {:#?}", other.figures());
    home.0.space().free(own).unwrap();
    other.0.space().free(theirs).unwrap();
    // A tenant that goes takes its switch with it.
    home.0.subject().set(true);
    let kept = home.0.clone();
    drop((stream, home));
    assert!(!profiler::on(), "the tenant is closed, though somebody still holds it");
    drop(kept);
}

#[test]
fn a_hundred_operations_are_a_hundred_kernels() {
    let _turn = turn();
    operations(&cpu(), "kernel.add");
}

fn operations(device: &Arc<dyn Device>, name: &str) {
    let home = Home::on(device, "ops");
    const COUNT: u64 = 1 << 16;
    let x = home.0.space().alloc(COUNT * 4, 256, "x").unwrap();
    let y = home.0.space().alloc(COUNT * 4, 256, "y").unwrap();
    home.0.fill(x, 0, COUNT * 4, None).unwrap();
    home.0.fill(y, 0, COUNT * 4, None).unwrap();
    let ops = home.0.ops().unwrap();
    let step = |key| ops.step(key, &[], &mut || (0..50).try_for_each(|_| ops.add(x, y, COUNT)), &mut []);
    step(Some(1)).unwrap();
    home.0.subject().set(true);
    let begun = Instant::now();
    // Also a step that may be recorded as a whole shows its kernels.
    let times = [step(None).unwrap(), step(Some(1)).unwrap()];
    let wall = begun.elapsed();
    home.0.subject().set(false);
    let figures = home.figures();
    plausible(&figures, name, wall, true);
    assert_eq!(figures[&format!("{name}.count")], 100.0);
    assert_eq!(figures[&format!("{name}.bytes")], (100 * COUNT * 12) as f64);
    let occupancy = figures[&format!("{name}.occupancy")];
    assert!(occupancy > 0.0 && occupancy <= 1.0, "{occupancy}");
    let device: Duration = times.iter().map(|t| t.device).sum();
    let total = figures[&format!("{name}.total_seconds")];
    assert!(total <= device.as_secs_f64() * 1.001 + 1e-5, "kernels {total} s in steps of {device:?}");
    assert!(times.iter().all(|t| t.begun > 0));
    assert!(!figures.contains_key("kernel.cuda_graph.count"), "the recorded step hides its kernels");
}

#[cfg(feature = "cuda")]
#[test]
fn launches_are_measured_by_events_and_captures_left_alone() {
    let _turn = turn();
    let mock = mock_driver::Mock::new();
    let gpu = mock_driver::erased(&mock.device());
    launches(&gpu, false);
    drop(gpu);
    mock.assert_clean();
}

#[cfg(feature = "cuda")]
fn launches(device: &Arc<dyn Device>, timed: bool) {
    use cogniware::device::cuda::{CudaDevice, CudaStream, Graph, Module};
    use std::ffi::c_void;
    {
        let cuda = CudaDevice::of(device.as_ref(), "device").unwrap();
        let home = Home::on(device, "kernels");
        let words = 1u32 << 20;
        let memory = home.0.space().alloc(u64::from(words) * 4, 256, "words").unwrap();
        let stream = home.0.new_stream(0).unwrap();
        let own = CudaStream::of(stream.as_ref(), "stream").unwrap();
        let fill = Module::load(cuda, mock_driver::IMAGE).unwrap().function("mock_fill").unwrap();
        let launch = || {
            let (mut at, mut value, mut count) = (memory, 5u32, words);
            let mut args: [*mut c_void; 3] =
                [(&raw mut at).cast(), (&raw mut value).cast(), (&raw mut count).cast()];
            // SAFETY: the kernel's three parameters; the memory holds the words.
            unsafe { fill.launch(own, [64, 1, 1], [256, 1, 1], 0, &mut args) }
        };
        home.0.subject().set(true);
        let begun = Instant::now();
        (0..100).try_for_each(|_| launch()).unwrap();
        let graph = Graph::capture(own, || (0..4).try_for_each(|_| launch())).unwrap();
        assert_eq!(graph.nodes(), 4, "the profiler put something of its own into the graph");
        graph.launch(own).unwrap();
        stream.synchronize().unwrap();
        let wall = begun.elapsed();
        let figures = home.figures();
        home.0.subject().set(false);
        plausible(&figures, "kernel.mock_fill", wall, timed);
        // CUPTI sees into the graph.
        if profiler::source() == "cupti" {
            assert_eq!(figures["kernel.mock_fill.count"], 104.0);
            assert!(!figures.contains_key("kernel.cuda_graph.count"));
            drop(graph);
            return home.0.space().free(memory).unwrap();
        }
        assert_eq!(figures["kernel.mock_fill.count"], 100.0);
        let occupancy = figures["kernel.mock_fill.occupancy"];
        assert!(occupancy > 0.0 && occupancy <= 1.0, "{occupancy}");
        assert_eq!(figures["kernel.cuda_graph.count"], 1.0);
        if timed {
            assert!(figures["kernel.cuda_graph.min_us"] > figures["kernel.mock_fill.min_us"]);
            // 4 MiB written take an H200 a microsecond or two; with the events' own distance not a hundred.
            assert!(figures["kernel.mock_fill.p50_us"] < 1000.0, "{figures:#?}");
        }
        assert_eq!(profiler::counts().lost, 0);
        drop(graph);
        home.0.space().free(memory).unwrap();
    }
}

#[cfg(feature = "cuda")]
#[test]
fn what_the_driver_refuses_to_measure_still_runs() {
    let _turn = turn();
    let mock = mock_driver::Mock::new();
    let gpu = mock_driver::erased(&mock.device());
    let home = Home::on(&gpu, "refused");
    let memory = home.0.space().alloc(4096, 256, "test").unwrap();
    home.0.subject().set(true);
    for fault in ["cuEventRecord:-1:2", "cuEventElapsedTime:-1:400", "cuStreamIsCapturing:-1:801"] {
        mock.fail(fault);
        let data = [3u8; 4096];
        let mut back = [0u8; 4096];
        // SAFETY: host ranges hold the bytes.
        unsafe {
            home.0.copy(memory, data.as_ptr() as u64, 4096, None).unwrap_or_else(|e| panic!("{fault}: {e}"));
            home.0.copy(back.as_mut_ptr() as u64, memory, 4096, None).unwrap();
        }
        assert_eq!(back, data, "{fault}");
        profiler::collect();
        mock.fail("");
    }
    assert!(profiler::counts().lost >= 3, "{:?}", profiler::counts());
    assert!(!home.figures().keys().any(|k| k.starts_with("copy")), "{:#?}", home.figures());
    home.0.space().free(memory).unwrap();
    drop((home, gpu));
    mock.assert_clean();
}

#[test]
fn tasks_and_their_waits_are_measured() {
    let _turn = turn();
    each(tasks);
}

fn tasks(device: &Arc<dyn Device>, _timed: bool) {
    let home = Home::on(device, "tasks");
    home.0.subject().set(true);
    let nap = Duration::from_millis(20);
    let task = |kind: &str, nap: Duration| {
        let body = Box::new(move |_: &_| {
            std::thread::sleep(nap);
            Ok(String::new())
        });
        home.0.schedule(None, kind, Priority::Normal, 0, 1, body).unwrap()
    };
    // The tenant has one group of processors: the second task needs all of it, and waits for the first.
    let processors = home.0.node().unwrap().processors();
    let hold = Box::new(move |_: &_| {
        std::thread::sleep(nap);
        Ok(String::new())
    });
    let first = home.0.schedule(None, "hold", Priority::Normal, 0, processors, hold).unwrap();
    let second = task("after", Duration::ZERO);
    first.wait(None).unwrap();
    second.wait(None).unwrap();
    let begun = Instant::now();
    // A task counts when its body has returned, a moment before its end is told.
    let figures = loop {
        let figures = home.figures();
        if figures.contains_key("task.after.count") || begun.elapsed() > Duration::from_secs(10) {
            break figures;
        }
    };
    assert_eq!((figures["task.hold.count"], figures["task.after.count"]), (1.0, 1.0));
    assert!(figures["task.hold.min_us"] >= 20_000.0 && figures["task.hold.max_us"] < 10_000_000.0);
    assert!(figures["task.after.min_us"] < figures["task.hold.min_us"]);
    assert!(figures["wait.after.min_us"] >= 10_000.0, "{figures:#?}");
    home.0.subject().set(false);
}

fn bridge() -> Arc<Bridge> {
    let bridge = Arc::new(Bridge::default());
    bridge.initialize().unwrap();
    bridge
}

fn registered(bridge: &Bridge, llm: &str, device: &str) {
    let config = [("device", device), ("max_memory", "64"), ("context", "1024"), ("max_sequences", "2")];
    let config: Map = config.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    bridge.register(llm, &config).unwrap();
}

fn generate(bridge: &Bridge, llm: &str, tokens: &str) {
    let how = [("prompt", "Once upon a time"), ("max_tokens", tokens), ("ignore_eos", "true")];
    let how: Map = how.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let task = bridge.schedule(llm, "inference", &how).unwrap();
    let ended = task.wait(Some(Duration::from_secs(120))).unwrap();
    assert_eq!(ended.status, None, "{}", ended.result);
}

#[test]
fn an_llm_shows_its_steps_kernels_and_tokens_and_a_trace_nests_them() {
    let _turn = turn();
    llm("cpu");
    let bridge = bridge();
    assert_eq!(bridge.profiling_data("profiler-nobody").unwrap_err().status(), Status::NotFound);
    assert_eq!(bridge.disable_profiling("profiler-nobody").unwrap_err().status(), Status::NotFound);
    bridge.shutdown();
    assert_eq!(bridge.enable_profiling("x").unwrap_err().status(), Status::NotInitialized);
}

fn llm(device: &str) {
    let (bridge, llm) = (bridge(), id("llm"));
    registered(&bridge, &llm, device);
    generate(&bridge, &llm, "4");
    let quiet = bridge.profiling_data(&llm).unwrap();
    assert_eq!(quiet["profiling_enabled"], "false");
    assert!(!quiet.keys().any(|k| k.contains('.')), "recorded while off: {quiet:#?}");
    bridge.enable_profiling(&llm).unwrap();
    let (model, begun) = (bridge.llm(&llm).unwrap(), Instant::now());
    let before = model.model().stats();
    generate(&bridge, &llm, "12");
    let (after, wall) = (model.model().stats(), begun.elapsed());
    bridge.disable_profiling(&llm).unwrap();
    let data = bridge.profiling_data(&llm).unwrap();
    let figures = profiler::numbers(Some(&llm));
    assert_eq!(data["step.decode.count"], figures["step.decode.count"].to_string());
    let read = (after.prompt_tokens - before.prompt_tokens) as f64;
    assert_eq!(figures["step.prefill.tokens"], read, "{figures:#?}");
    let steps = figures["step.decode.count"] + figures["step.prefill.count"];
    assert_eq!(steps, (after.steps - before.steps) as f64);
    assert_eq!(figures["step.decode.tokens"], figures["step.decode.count"]);
    assert_eq!(figures["wait.gate.count"], steps);
    assert_eq!(figures["task.inference.count"], 1.0);
    for series in
        ["step.decode", "step.prefill", "task.inference", "copy.host_to_device", "copy.device_to_host"]
    {
        plausible(&figures, series, wall, true);
    }
    let of = |figure: &str| -> f64 {
        figures.iter().filter(|(k, _)| k.starts_with("kernel.") && k.ends_with(figure)).map(|(_, v)| v).sum()
    };
    let in_steps = figures["step.decode.total_seconds"] + figures["step.prefill.total_seconds"];
    assert!(
        // By CUPTI without the gaps between launches.
        of(".total_seconds") > in_steps / if profiler::source() == "cupti" { 50.0 } else { 10.0 }
            && of(".total_seconds") <= in_steps * 1.05,
        "{figures:#?}"
    );
    assert!(of(".count") > steps * 10.0);
    let summary = profiler::summary(Some(&llm));
    assert!(
        summary.contains("decode") && summary.contains("p99 us") && summary.lines().count() > 8,
        "{summary}"
    );
    trace_nests(&llm, figures["step.decode.count"] as usize, device == "cpu");
    // Of the system: the kernel's figures have it too.
    let kernel = Kernel::default();
    kernel.initialize().unwrap();
    let metrics = kernel.metrics().unwrap();
    let key = format!("llm.{llm}.profile.step.decode.count");
    assert_eq!(metrics[&key], figures["step.decode.count"]);
    assert_eq!(metrics["profile.step.decode.count"], figures["step.decode.count"]);
    bridge.unregister(&llm).unwrap();
    profiler::reset();
    assert!(profiler::numbers(None).is_empty());
}

fn number(event: &Value, key: &str) -> f64 {
    event[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {event}"))
}

/// The trace of what was recorded: valid, and events of one thread lie inside of each other or apart.
fn trace_nests(llm: &str, decodes: usize, exact: bool) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    std::fs::write(&path, "what was there").unwrap();
    let count = trace::export(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    let of = |phase: &str| events.iter().filter(|e| e["ph"] == phase).collect::<Vec<_>>();
    assert_eq!(of("X").len() + of("b").len(), count as usize);
    assert_eq!(of("b").len(), of("e").len());
    let named =
        of("M").into_iter().find(|e| e["name"] == "process_name" && e["args"]["name"] == llm).unwrap();
    let pid = &named["pid"];
    let mut lanes: HashMap<i64, Vec<(f64, f64, &str)>> = HashMap::new();
    for event in of("X").into_iter().filter(|e| e["pid"] == *pid) {
        let (ts, dur) = (number(event, "ts"), number(event, "dur"));
        assert!(ts >= 0.0 && dur >= 0.0);
        let lane = lanes.entry(event["tid"].as_i64().unwrap()).or_default();
        lane.push((ts, ts + dur, event["cat"].as_str().unwrap()));
    }
    let threads: BTreeSet<i64> = of("M")
        .iter()
        .filter(|e| e["name"] == "thread_name" && e["pid"] == *pid)
        .map(|e| e["tid"].as_i64().unwrap())
        .collect();
    let mut steps = 0;
    // Device clocks are told in f32 milliseconds since an anchor: some microseconds.
    // CUPTI's clock is fitted to the host's by CUPTI.
    let slack = match (exact, profiler::source()) {
        (true, _) => 0.002,
        (false, "cupti") => 200.0,
        (false, _) => 5.0,
    };
    for (tid, mut lane) in lanes {
        assert!(threads.contains(&tid), "thread {tid} has no name");
        lane.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut open: Vec<(f64, f64, &str)> = Vec::new();
        for event in lane {
            while open.last().is_some_and(|o| o.1 <= event.0 + slack) {
                open.pop();
            }
            if let Some(outer) = open.last() {
                assert!(event.1 <= outer.1 + slack, "{event:?} crosses the end of {outer:?}");
            }
            if event.2 == "kernel" {
                assert!(open.iter().any(|o| o.2 == "step") || !exact, "{event:?} lies in no step");
            }
            steps += usize::from(event.2 == "step");
            open.push(event);
        }
    }
    assert!(steps > decodes, "{steps} steps in the trace, {decodes} decoded");
}

#[test]
fn a_trace_that_cannot_be_written_names_its_path_and_leaves_the_file() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    for (path, status) in [
        (folder.path().join("no/such/folder/trace.json"), Status::NotFound),
        (folder.path().to_owned(), Status::Io),
        ("".into(), Status::InvalidArgument),
        ("/".into(), Status::InvalidArgument),
    ] {
        let e = trace::export(&path).unwrap_err();
        assert_eq!(e.status(), status, "{e}");
        assert!(e.message().contains("path"), "{e}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // Names that need escapes.
    profiler::enable();
    profiler::push("a \"quoted\"\n\\name\u{1} \u{1f980}", None).unwrap();
    profiler::pop().unwrap();
    profiler::disable();
    let path = folder.path().join("t.json");
    assert_eq!(trace::export(&path).unwrap(), 1);
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let event = trace["traceEvents"].as_array().unwrap().iter().find(|e| e["ph"] == "X").unwrap().clone();
    assert_eq!(event["name"], "a \"quoted\"\n\\name\u{1} \u{1f980}");
}

#[test]
fn prometheus_text_is_correct_and_complete() {
    let _turn = turn();
    let device = cpu();
    let config =
        TenantConfig { memory_limit: 8 << 20, memory_floor: 0, processors: 1, weight: 2.5, priority: 2 };
    let odd = format!("{}\"\\{{}},=\u{e9}", id("odd"));
    let home = Home(tenant::open(&odd, &device, &config).unwrap());
    profiler::enable();
    let memory = home.0.space().alloc(1 << 20, 256, "x").unwrap();
    home.0.fill(memory, 1, 1 << 20, None).unwrap();
    profiler::push("range", Some(home.0.subject())).unwrap();
    profiler::pop().unwrap();
    profiler::disable();
    let text = prometheus();
    let samples = parsed(&text);
    let get = |name: &str, with: &[(&str, &str)]| -> f64 {
        let fits = |l: &BTreeMap<String, String>| with.iter().all(|(k, v)| l.get(*k).is_some_and(|x| x == v));
        let found: Vec<_> = samples.iter().filter(|(n, l, _)| n == name && fits(l)).collect();
        assert_eq!(found.len(), 1, "{name} {with:?} in\n{text}");
        found[0].2
    };
    let own = [("tenant", odd.as_str())];
    assert_eq!(get("cogniware_tenant_memory_limit_bytes", &own), 8.0 * 1048576.0);
    assert_eq!(get("cogniware_tenant_memory_held_bytes", &own), 1048576.0);
    assert_eq!(get("cogniware_tenant_weight", &own), 2.5);
    let fill = [("tenant", odd.as_str()), ("kind", "fill"), ("name", "fill")];
    assert_eq!(get("cogniware_profile_duration_seconds_count", &fill), 1.0);
    let sum = get("cogniware_profile_duration_seconds_sum", &fill);
    assert!(sum > 0.0 && sum < 10.0);
    let median = [fill[0], fill[1], fill[2], ("quantile", "0.5")];
    assert_eq!(get("cogniware_profile_duration_seconds", &median), sum);
    assert_eq!(get("cogniware_profile_bytes_total", &fill), 1048576.0);
    assert_eq!(get("cogniware_profiler_enabled", &[]), 0.0);
    assert!(get("cogniware_device_memory_total_bytes", &[("device", "cpu:0")]) > 1e6);
    let ended = get("cogniware_tasks_ended_total", &[("outcome", "completed")]);
    home.0
        .schedule(None, "x", Priority::Normal, 0, 1, Box::new(|_| Ok(String::new())))
        .unwrap()
        .wait(None)
        .unwrap();
    let again = parsed(&prometheus());
    let now =
        again.iter().find(|(n, l, _)| n == "cogniware_tasks_ended_total" && l["outcome"] == "completed");
    assert_eq!(now.unwrap().2, ended + 1.0);
    home.0.space().free(memory).unwrap();
    // The parser itself refuses what is wrong.
    for wrong in
        ["# HELP a b\n# TYPE a counter\na 1\n", "# HELP a b\n# TYPE a gauge\na{x=\"\n\"} 1\n", "b 1\n"]
    {
        assert!(std::panic::catch_unwind(|| parsed(wrong)).is_err(), "{wrong}");
    }
}

#[test]
fn many_threads_record_while_others_export() {
    let _turn = turn();
    let device = cpu();
    let homes: Vec<Home> = (0..4).map(|_| Home::on(&device, "busy")).collect();
    profiler::enable();
    let folder = tempfile::tempdir().unwrap();
    const ROUNDS: usize = 2000;
    std::thread::scope(|scope| {
        for home in &homes {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        profiler::push("outer", Some(home.0.subject())).unwrap();
                        profiler::push("inner", Some(home.0.subject())).unwrap();
                        profiler::pop().unwrap();
                        profiler::pop().unwrap();
                    }
                });
            }
        }
        for reader in 0..2 {
            let path = folder.path().join(format!("{reader}.json"));
            scope.spawn(move || {
                for _ in 0..10 {
                    trace::export(&path).unwrap();
                    let text = std::fs::read_to_string(&path).unwrap();
                    assert!(serde_json::from_str::<Value>(&text).is_ok());
                    parsed(&prometheus());
                    profiler::summary(None);
                }
            });
        }
    });
    profiler::disable();
    for home in &homes {
        for name in ["outer", "inner"] {
            assert_eq!(home.figures()[&format!("range.{name}.count")], 2.0 * ROUNDS as f64);
        }
    }
    assert_eq!(profiler::numbers(None)["range.inner.count"], 8.0 * ROUNDS as f64);
    assert_eq!(profiler::counts().records, 16 * ROUNDS as u64);
}

#[test]
fn memory_is_bounded_and_what_is_dropped_is_counted() {
    let _turn = turn();
    profiler::enable();
    for n in 0..5000 {
        profiler::push(&format!("range {n}"), None).unwrap();
        profiler::pop().unwrap();
    }
    for _ in 0..profiler::TRACE_EVENTS {
        profiler::push("again", None).unwrap();
        profiler::pop().unwrap();
    }
    profiler::disable();
    let counts = profiler::counts();
    let all = 5000 + profiler::TRACE_EVENTS as u64;
    assert_eq!((counts.records, counts.events, counts.dropped), (all, profiler::TRACE_EVENTS as u64, 5000));
    let figures = profiler::figures(None);
    assert!(figures.len() <= 2050, "{} series", figures.len());
    assert_eq!(figures.iter().map(|f| f.count).sum::<u64>(), all, "every record counts");
    assert!(figures.iter().any(|f| f.name == "(other)" && f.count > 2900));
}

#[test]
fn switches_add_up_and_shutdown_ends_its_own() {
    let _turn = turn();
    let kernel = Kernel::default();
    assert_eq!(kernel.enable_profiling().unwrap_err().status(), Status::NotInitialized);
    kernel.initialize().unwrap();
    kernel.enable_profiling().unwrap();
    kernel.enable_profiling().unwrap();
    assert!(profiler::records_all());
    profiler::enable();
    kernel.disable_profiling().unwrap();
    assert!(profiler::records_all(), "the other switch is still on");
    profiler::disable();
    assert!(!profiler::on());
    kernel.enable_profiling().unwrap();
    kernel.shutdown();
    assert!(!profiler::on(), "the kernel is shut down");

    let system = System::global();
    assert_eq!(system.enable_profiling().unwrap_err().status(), Status::NotInitialized);
    system.initialize().unwrap();
    system.enable_profiling().unwrap();
    assert!(profiler::records_all());
    system.disable_profiling().unwrap();
    assert!(!profiler::on());
    system.enable_profiling().unwrap();
    system.shutdown();
    assert!(!profiler::on(), "the system is shut down");
}

#[test]
fn ranges_end_where_they_began() {
    let _turn = turn();
    assert_eq!(profiler::pop().unwrap_err().status(), Status::InvalidArgument);
    assert!(profiler::push("", None).unwrap_err().message().contains("name"));
    // Begun while it was off: ended for nothing, and the next one is not taken for it.
    profiler::push("off", None).unwrap();
    profiler::enable();
    profiler::push("on", None).unwrap();
    profiler::pop().unwrap();
    profiler::pop().unwrap();
    assert!(profiler::pop().is_err());
    profiler::disable();
    let figures = profiler::numbers(None);
    assert_eq!((figures.get("range.on.count"), figures.get("range.off.count")), (Some(&1.0), None));
}

/// The tool of [`an_attached_tool_hears_ranges`]: writes what it hears to the file that `NVTX_TEST_LOG` names.
const TOOL: &str = r#"
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
typedef void (*fn)(void);
typedef struct { size_t size; int (*table)(int, fn ***, unsigned *); } callbacks;
static FILE *out;
static int depth;
static int push(const char *text) { fprintf(out, "push %s\n", text); fflush(out); return depth++; }
static int pop(void) { fprintf(out, "pop\n"); fflush(out); return --depth; }
int InitializeInjectionNvtx2(const void *(*tables)(uint32_t)) {
    const callbacks *c = tables(1);
    fn **slots = 0;
    unsigned count = 0;
    if (!c || c->size < sizeof *c || !c->table(1, &slots, &count) || count <= 11 || c->table(99, 0, 0)) return 0;
    if (tables(77)) return 0;
    out = fopen(getenv("NVTX_TEST_LOG"), "w");
    if (!out) return 0;
    *slots[9] = (fn)push;
    *slots[11] = (fn)pop;
    return 1;
}
"#;

#[test]
fn an_attached_tool_hears_ranges() {
    if std::env::var_os("NVTX_TEST_LOG").is_some() {
        // The child: with the profiler off, which shows that a tool alone is enough.
        let home = Home::on(&cpu(), "nvtx");
        let memory = home.0.space().alloc(4096, 256, "x").unwrap();
        home.0.fill(memory, 1, 4096, None).unwrap();
        profiler::push("mine", None).unwrap();
        let task =
            home.0.schedule(None, "inside", Priority::Normal, 0, 1, Box::new(|_| Ok(String::new()))).unwrap();
        task.wait(None).unwrap();
        profiler::pop().unwrap();
        home.0.space().free(memory).unwrap();
        assert!(home.figures().is_empty() && profiler::counts().records == 0);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, library, log) =
        (folder.path().join("tool.c"), folder.path().join("tool.so"), folder.path().join("log"));
    std::fs::write(&source, TOOL).unwrap();
    let built = std::process::Command::new("gcc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    let run = |tool: &std::path::Path| {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "an_attached_tool_hears_ranges", "--nocapture"])
            .env("NVTX_INJECTION64_PATH", tool)
            .env("NVTX_TEST_LOG", &log)
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        std::fs::read_to_string(&log)
    };
    let heard = run(&library).unwrap();
    for wanted in
        ["push allocate\npop\n", "push fill\npop\n", "push mine\n", "push inside\npop\n", "push free\npop\n"]
    {
        assert!(heard.contains(wanted), "{wanted:?} is missing in\n{heard}");
    }
    assert_eq!(heard.matches("push ").count(), heard.matches("pop\n").count(), "{heard}");
    // A tool that is not there, or is none, changes nothing.
    std::fs::remove_file(&log).unwrap();
    assert!(run(&folder.path().join("absent.so")).is_err());
    assert!(run(std::path::Path::new("libm.so.6")).is_err());
}

#[test]
fn devices_tell_how_they_are() {
    let _turn = turn();
    for device in device::open_all() {
        let health = device.health();
        let known = health.known();
        println!("{}: {known:?}", device.kind());
        for (name, value) in known {
            assert!(value.is_finite() && value >= 0.0, "{name} {value}");
            assert!(!name.ends_with("_ratio") || value <= 1.0, "{name} {value}");
        }
        assert!(health.memory_used <= health.memory_total);
    }
    let cpu = cpu();
    cpu.health();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(150) {
        std::hint::black_box(begun);
    }
    let busy = cpu.health().utilization.expect("two readings apart");
    assert!(busy > 0.0, "a thread was busy all the time");
}

/// The same on a real GPU; skipped where there is none.
#[cfg(feature = "cuda")]
mod gpu {
    use super::*;

    fn gpu() -> Option<Arc<dyn Device>> {
        mock_driver::real_gpu().map(|gpu| mock_driver::erased(&gpu))
    }

    #[test]
    fn copies_and_fills_count_once_with_their_bytes() {
        let (_turn, Some(gpu)) = (turn(), gpu()) else { return };
        copies(&gpu, true);
    }

    #[test]
    fn a_hundred_operations_are_a_hundred_kernels() {
        let (_turn, Some(gpu)) = (turn(), gpu()) else { return };
        operations(&gpu, "kernel.cw_add");
    }

    #[test]
    fn launches_are_measured_by_events_and_captures_left_alone() {
        let (_turn, Some(gpu)) = (turn(), gpu()) else { return };
        launches(&gpu, true);
    }

    #[test]
    fn tasks_and_their_waits_are_measured() {
        let (_turn, Some(gpu)) = (turn(), gpu()) else { return };
        tasks(&gpu, true);
    }

    #[test]
    fn an_llm_shows_its_steps_kernels_and_tokens() {
        let (_turn, Some(_gpu)) = (turn(), gpu()) else { return };
        llm("cuda");
    }

    #[test]
    fn its_health_is_told() {
        let (_turn, Some(gpu)) = (turn(), gpu()) else { return };
        let health = gpu.health();
        println!("{health:?}");
        // Where NVML is there it knows at least the memory.
        let total = gpu.info().unwrap().total_memory;
        assert!(health.memory_total.is_none_or(|told| told >= total / 2), "{health:?}, {total} bytes");
    }
}
