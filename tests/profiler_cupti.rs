//! The profiler by CUPTI: a fake of it over the mock driver, the ways in which it may not want, and on a real GPU the
//! real one against events. CUPTI is chosen once a process, so each case is a child of its own.
#![cfg(feature = "cuda")]

mod mock_driver;

use cogniware::device::Device;
use cogniware::device::cuda::{CudaDevice, CudaStream, Graph, Module};
use cogniware::telemetry::{log, profiler, trace};
use cogniware::tenant::{self, Tenant, TenantConfig};
use libloading::Library;
use mock_driver::{IMAGE, Mock};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Which part of a test a child runs.
const PART: &str = "CUPTI_TEST_PART";

type Figures = BTreeMap<String, f64>;

/// Runs the test `name` of this file in a child with these variables; what it said.
fn child(name: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]);
    for gone in ["COGNIWARE_CUPTI", "COGNIWARE_LIBCUPTI", "CUDA_INJECTION64_PATH", "FAKE_CUPTI"] {
        command.env_remove(gone);
    }
    let out = command.env(PART, name).envs(variables.iter().copied()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{variables:?}: {said}");
    said.into_owned()
}

fn is_child() -> bool {
    std::env::var_os(PART).is_some()
}

/// The fake, built in a folder of its own.
fn fake() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libfake_cupti.so");
    let root = std::env::var("COGNIWARE_SOURCE").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into());
    let source = format!("{root}/tests/mock_driver/fake_cupti.c");
    let flags =
        ["-std=gnu11", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-o"];
    let built = Command::new("gcc").args(flags).arg(&library).arg(source).args(["-lpthread"]).status();
    assert!(built.unwrap().success());
    (folder, library)
}

fn home(device: &Arc<dyn Device>, id: &str) -> Arc<Tenant> {
    let config =
        TenantConfig { memory_limit: 512 << 20, memory_floor: 0, processors: 1, weight: 1.0, priority: 2 };
    tenant::open(id, device, &config).unwrap()
}

/// A hundred kernels, five copies each way, a fill, and a graph of four kernels; recorded.
fn work(device: &Arc<dyn Device>, home: &Arc<Tenant>, words: u32) -> Figures {
    let cuda = CudaDevice::of(device.as_ref(), "device").unwrap();
    let bytes = u64::from(words) * 4;
    let memory = home.space().alloc(bytes, 256, "words").unwrap();
    let stream = home.new_stream(0).unwrap();
    let own = CudaStream::of(stream.as_ref(), "stream").unwrap();
    let fill = Module::load(cuda, IMAGE).unwrap().function("mock_fill").unwrap();
    let launch = || {
        let (mut at, mut value, mut count) = (memory, 5u32, words);
        let mut args: [*mut c_void; 3] =
            [(&raw mut at).cast(), (&raw mut value).cast(), (&raw mut count).cast()];
        // SAFETY: the kernel's three parameters; the memory holds the words.
        unsafe { fill.launch(own, [256, 1, 1], [256, 1, 1], 0, &mut args) }
    };
    let mut host = vec![1u8; 5000];
    home.subject().set(true);
    profiler::push("all of it", Some(home.subject())).unwrap();
    (0..100).try_for_each(|_| launch()).unwrap();
    // SAFETY: the bytes live until the stream was waited for.
    unsafe {
        for _ in 0..5 {
            home.copy(memory, host.as_ptr() as u64, 5000, Some(&*stream)).unwrap();
            home.copy(host.as_mut_ptr() as u64, memory, 5000, Some(&*stream)).unwrap();
        }
    }
    home.fill(memory, 3, 1000, Some(&*stream)).unwrap();
    let graph = Graph::capture(own, || (0..4).try_for_each(|_| launch())).unwrap();
    graph.launch(own).unwrap();
    stream.synchronize().unwrap();
    profiler::pop().unwrap();
    home.subject().set(false);
    // Not recorded any more.
    launch().unwrap();
    stream.synchronize().unwrap();
    home.space().free(memory).unwrap();
    profiler::numbers(Some(home.id()))
}

/// What holds whoever measures.
fn whole(figures: &Figures, id: &str) {
    assert_eq!(figures["copy.host_to_device.count"], 5.0, "{figures:#?}");
    assert_eq!(figures["copy.device_to_host.count"], 5.0);
    assert_eq!(figures["copy.host_to_device.bytes"], 25_000.0);
    assert_eq!((figures["fill.fill.count"], figures["fill.fill.bytes"]), (1.0, 1000.0));
    let occupancy = figures["kernel.mock_fill.occupancy"];
    assert!(occupancy > 0.0 && occupancy <= 1.0);
    assert_eq!(profiler::map(Some(id), None)["profiling_source"], profiler::source());
}

/// Every kernel, copy and fill lies in the range around all of them: the clocks are one.
fn inside_of_the_range(slack: f64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    trace::export(&path).unwrap();
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let events: Vec<&Value> =
        trace["traceEvents"].as_array().unwrap().iter().filter(|e| e["ph"] == "X").collect();
    let times = |e: &Value| {
        let start = e["ts"].as_f64().unwrap();
        (start, start + e["dur"].as_f64().unwrap())
    };
    let range = times(events.iter().find(|e| e["name"] == "all of it").unwrap());
    let mut seen = 0;
    for event in events.iter().filter(|e| ["kernel", "copy", "fill"].contains(&e["cat"].as_str().unwrap())) {
        let (start, end) = times(event);
        assert!(start + slack >= range.0 && end <= range.1 + slack, "{event} lies outside of {range:?}");
        seen += 1;
    }
    assert!(seen >= 111, "{seen} events");
}

fn by_cupti(figures: &Figures, id: &str) {
    assert_eq!(profiler::source(), "cupti");
    whole(figures, id);
    assert_eq!(figures["kernel.mock_fill.count"], 104.0, "{figures:#?}");
    assert!(!figures.contains_key("kernel.cuda_graph.count"), "{figures:#?}");
    assert_eq!(profiler::counts().lost, 0);
}

fn by_events(figures: &Figures, id: &str) {
    assert_eq!(profiler::source(), "events");
    whole(figures, id);
    assert_eq!(figures["kernel.mock_fill.count"], 100.0, "{figures:#?}");
    assert_eq!(figures["kernel.cuda_graph.count"], 1.0);
    assert_eq!(profiler::counts().lost, 0);
}

/// A mock that the fake watches, where there is one. The fake stays loaded.
fn watched() -> (Mock, Option<&'static Library>) {
    let mock = Mock::new();
    let path = std::env::var_os("COGNIWARE_LIBCUPTI").filter(|_| std::env::var_os("FAKE_CUPTI").is_some());
    let fake = path.map(|path| {
        // SAFETY: the fake has no initialisers.
        let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(path) }.unwrap()));
        mock.watched_by(library);
        library
    });
    (mock, fake)
}

fn ask(fake: &Library, name: &str) -> i32 {
    // SAFETY: the C file has such functions.
    unsafe { fake.get::<unsafe extern "C" fn() -> c_int>(name.as_bytes()).unwrap()() }
}

fn on_a_mock(mut then: impl FnMut(&Figures, &str, Option<&Library>)) {
    let (mock, fake) = watched();
    let device = mock_driver::erased(&mock.device());
    let (one, quiet) = (home(&device, "one"), home(&device, "quiet"));
    // Twice: it is switched off between, and on again.
    for _ in 0..2 {
        profiler::reset();
        let figures = work(&device, &one, 4096);
        then(&figures, "one", fake);
        assert!(profiler::numbers(Some("quiet")).is_empty());
    }
    drop((one, quiet));
    tenant::close("one").unwrap();
    tenant::close("quiet").unwrap();
    drop(device);
    mock.assert_clean();
}

#[test]
fn kernels_copies_fills_and_graphs_are_seen_one_by_one() {
    if is_child() {
        return on_a_mock(|figures, id, fake| {
            by_cupti(figures, id);
            inside_of_the_range(0.002 + 1.0);
            let fake = fake.unwrap();
            assert_eq!(ask(fake, "fake_depth"), 0, "a number stayed pushed");
            assert_eq!(ask(fake, "fake_enabled"), 0, "it goes on recording when nobody asks");
        });
    }
    let (_folder, library) = fake();
    let library = library.to_str().unwrap();
    // As it is; when it numbers calls only while they are recorded; and when records come in another order.
    for manner in ["", "calls", "unordered"] {
        let name = "kernels_copies_fills_and_graphs_are_seen_one_by_one";
        child(name, &[("COGNIWARE_LIBCUPTI", library), ("FAKE_CUPTI", manner)]);
    }
}

#[test]
fn without_a_willing_cupti_events_measure() {
    if is_child() {
        log::set(Some(log::Level::Info), |record| {
            if record.target == "profiler" {
                println!("LOG {}", record.message);
            }
        });
        on_a_mock(|figures, id, fake| {
            by_events(figures, id);
            if let Some(fake) = fake {
                assert_eq!((ask(fake, "fake_depth"), ask(fake, "fake_enabled")), (0, 0));
            }
        });
        log::flush();
        return;
    }
    let name = "without_a_willing_cupti_events_measure";
    let (folder, library) = fake();
    let library = library.to_str().unwrap();
    let absent = folder.path().join("absent.so");
    let absent = absent.to_str().unwrap();
    let manner = |manner| [("COGNIWARE_LIBCUPTI", library), ("FAKE_CUPTI", manner)];
    for (variables, why) in [
        (manner("version17"), "version 17"),
        (manner("enable999"), "answered 999"),
        (manner("enable35"), "may not profile"),
        (manner("enable39"), "another profiler is attached"),
        (manner("callbacks39"), "another profiler is attached"),
        (manner("deaf"), "does not see the work"),
        (manner("mute"), "does not see the work"),
        (manner("late"), "of work done from"),
        ([("COGNIWARE_LIBCUPTI", library), ("COGNIWARE_CUPTI", "0")], "COGNIWARE_CUPTI=0"),
        ([("COGNIWARE_LIBCUPTI", library), ("CUDA_INJECTION64_PATH", "/tool.so")], "CUDA_INJECTION64_PATH"),
        ([("COGNIWARE_LIBCUPTI", absent), ("_", "")], "absent.so"),
        ([("COGNIWARE_LIBCUPTI", "libm.so.6"), ("_", "")], "has no cuptiGetVersion"),
        ([("COGNIWARE_LIBCUPTI", ""), ("_", "")], "not libcuda.so"),
    ] {
        let said = child(name, &variables);
        let told: Vec<&str> = said.lines().filter(|l| l.contains("GPU times come from events")).collect();
        assert!(told.len() == 1 && told[0].contains(why), "{why:?} once, and not\n{said}");
    }
}

#[test]
fn what_has_no_times_is_lost_and_counted() {
    let name = "what_has_no_times_is_lost_and_counted";
    if is_child() {
        return on_a_mock(|figures, id, _| {
            assert_eq!(profiler::source(), "cupti");
            assert_eq!(profiler::counts().lost, 104, "{figures:#?}");
            assert!(!figures.contains_key("kernel.mock_fill.count"), "{id}: {figures:#?}");
            assert_eq!(figures["copy.host_to_device.count"], 5.0);
        });
    }
    let (_folder, library) = fake();
    child(name, &[("COGNIWARE_LIBCUPTI", library.to_str().unwrap()), ("FAKE_CUPTI", "untimed")]);
}

/// A real library where no GPU is (named by `COGNIWARE_TEST_LIBCUPTI`) must not disturb.
#[test]
fn a_real_library_without_a_gpu_leaves_it_to_events() {
    let name = "a_real_library_without_a_gpu_leaves_it_to_events";
    if is_child() {
        return on_a_mock(|figures, id, _| by_events(figures, id));
    }
    let Some(library) = std::env::var_os("COGNIWARE_TEST_LIBCUPTI") else { return };
    child(name, &[("COGNIWARE_LIBCUPTI", Path::new(&library).to_str().unwrap())]);
}

/// On a real GPU; skipped where there is none.
mod gpu {
    use super::*;

    /// 256 MiB: some 100 microseconds on an H200.
    const WORDS: u32 = 64 << 20;

    fn measured(name: &str) {
        let device = mock_driver::erased(&mock_driver::real_gpu().expect("the parent saw it"));
        log::set(Some(log::Level::Info), |record| println!("LOG {}", record.message));
        let one = home(&device, "one");
        work(&device, &one, WORDS); // the first use loads and tries
        profiler::reset();
        let figures = work(&device, &one, WORDS);
        match name {
            "cupti" => by_cupti(&figures, "one"),
            _ => by_events(&figures, "one"),
        }
        inside_of_the_range(20.0);
        for figure in ["min_us", "p50_us", "mean_us", "max_us"] {
            println!("\nFIGURE {figure} {}", figures[&format!("kernel.mock_fill.{figure}")]);
        }
        println!("FIGURE copy_us {}", figures["copy.host_to_device.p50_us"]);
        log::flush();
        drop(one);
        tenant::close("one").unwrap();
    }

    fn figures(said: &str) -> Figures {
        let lines = said.lines().filter_map(|l| l.strip_prefix("FIGURE "));
        lines
            .map(|l| l.split_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn cupti_and_events_agree_and_a_graph_shows_its_kernels() {
        let name = "gpu::cupti_and_events_agree_and_a_graph_shows_its_kernels";
        if is_child() {
            let off = std::env::var_os("COGNIWARE_CUPTI").is_some();
            return measured(if off { "events" } else { "cupti" });
        }
        // The driver is left to the children.
        if mock_driver::real_gpu().is_none() {
            return;
        }
        let named = ["libcupti.so.13", "libcupti.so.12", "libcupti.so"];
        // SAFETY: loading it is what the children do.
        if !named.iter().any(|n| unsafe { Library::new(*n) }.is_ok()) {
            println!("skipped, no CUPTI library by name");
            return;
        }
        let cupti = figures(&child(name, &[]));
        let events = figures(&child(name, &[("COGNIWARE_CUPTI", "0")]));
        println!("by CUPTI {cupti:?}, by events {events:?}");
        let (a, b) = (cupti["p50_us"], events["p50_us"]);
        assert!((a - b).abs() <= 8.0 + 0.05 * b, "a kernel takes {a} us by CUPTI and {b} by events");
        assert!(cupti["min_us"] > 20.0, "256 MiB in {} us", cupti["min_us"]);
    }
}
