//! Configurations of kernel and bridge, and requirements of LLMs: what is set takes effect, what is wrong is refused by
//! name, and nothing is half done.

use cogniware::Status;
use cogniware::bridge::{Bridge, config::Map};
use cogniware::compute::{TaskState, Tasks};
use cogniware::device::{self, Device};
use cogniware::driver::diagnostics::Outcome;
use cogniware::kernel::{KERNEL_KEYS, Kernel};
use cogniware::memory::Ledger;
use cogniware::tenant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn id(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("configuration-{what}-{}", NEXT.fetch_add(1, SeqCst))
}

/// All devices that can be opened, or the one that COGNIWARE_DEVICE names.
fn devices() -> Vec<Arc<dyn Device>> {
    match std::env::var("COGNIWARE_DEVICE") {
        Ok(_) => vec![device::default_device().unwrap()],
        Err(_) => device::open_all(),
    }
}

fn name(device: &Arc<dyn Device>) -> String {
    format!("{}:{}", device.kind(), device.ordinal())
}

/// A kernel of its own whose current device is this one.
fn kernel(device: &Arc<dyn Device>) -> Kernel {
    let kernel = Kernel::default();
    kernel.configure(&map(&[("device", &name(device))])).unwrap();
    kernel.initialize().unwrap();
    kernel
}

fn small() -> Map {
    map(&[("device", "cpu"), ("max_memory", "64"), ("context", "1024"), ("max_sequences", "2")])
}

#[test]
fn wrong_kernel_configurations_are_named_and_change_nothing() {
    let kernel = Kernel::default();
    for initialized in [false, true] {
        if initialized {
            kernel.initialize().unwrap();
        }
        let before = kernel.configuration();
        for (key, value) in [
            ("max_memroy", "8192"),
            ("max_memory", "0"),
            ("max_memory", "lots"),
            ("max_memory", "99999999999999999999"),
            ("max_memory", "18446744073709551615"),
            ("device", "tpu"),
            ("default_memory_limit", "-1"),
            ("default_weight", "0"),
            ("default_weight", "NaN"),
            ("default_priority", "urgent"),
            ("default_cores", "many"),
            ("task_threads", "0"),
            ("task_threads", "5000"),
            ("max_tasks", "0"),
            ("task_timeout", "0"),
            ("task_timeout", "1e300"),
        ] {
            let e = kernel.configure(&map(&[("default_weight", "7"), (key, value)])).unwrap_err();
            assert_eq!(e.status(), Status::InvalidArgument, "{key}={value}: {e}");
            assert!(e.message().contains(key), "{key}={value}: {e}");
            assert_eq!(kernel.configuration(), before, "{key}={value} changed half of it");
        }
    }
    let all = kernel.configuration();
    assert!(KERNEL_KEYS.iter().all(|key| all.contains_key(*key)) && all.len() == KERNEL_KEYS.len());
    // What the getter says is understood by the setter.
    kernel.configure(&all).unwrap();
    assert_eq!(kernel.configuration(), all);
}

#[test]
fn max_memory_bounds_all_tenants_together() {
    for device in devices() {
        let kernel = Kernel::default();
        let granule = device.granularity();
        let (one, two) = (id("capped"), id("capped"));
        // Before it is initialised: in force from then on. Others may use the device meanwhile.
        let used = Ledger::of(&device).physical();
        let most = (used + 24 * granule).div_ceil(MIB);
        kernel.configure(&map(&[("device", &name(&device)), ("max_memory", &most.to_string())])).unwrap();
        kernel.initialize().unwrap();
        assert_eq!(kernel.configuration()["max_memory"], most.to_string());
        let mut kept = Vec::new();
        let mut refused = None;
        for i in 0..40 {
            match kernel.alloc(granule, if i % 2 == 0 { &one } else { &two }) {
                Ok(memory) => kept.push(memory),
                Err(e) => refused = Some(e),
            }
            assert!(Ledger::of(&device).physical() <= most * MIB, "the bound was passed");
        }
        let e = refused.expect("40 granules were given where 24 may be");
        assert!([Status::OutOfMemory, Status::QuotaExceeded].contains(&e.status()), "{e}");
        assert!(kept.len() >= 4, "only {} were given", kept.len());
        let e = kernel.configure(&map(&[("max_memory", "1")])).unwrap_err();
        assert_eq!(e.status(), Status::Busy, "{e}");
        assert!(e.message().contains("max_memory"), "{e}");
        assert_eq!(kernel.configuration()["max_memory"], most.to_string());
        // Without the bound there is more.
        kernel.configure(&map(&[("max_memory", "")])).unwrap();
        assert_eq!(kernel.configuration()["max_memory"], "unlimited");
        kernel.alloc(granule, &id("free")).unwrap();
        kernel.configure(&map(&[("max_memory", &(most + 1024).to_string())])).unwrap();
        assert_eq!(Ledger::of(&device).cap(), Some((most + 1024) * MIB));
        kernel.shutdown();
        assert_eq!(Ledger::of(&device).cap(), None, "the bound outlived its kernel's use");
    }
}

#[test]
fn defaults_are_what_tenants_get() {
    for device in devices() {
        let kernel = kernel(&device);
        let all: u32 = device.units().iter().map(|u| u.processors).sum();
        let too_many = (all + 1).to_string();
        assert!(
            kernel.configure(&map(&[("default_cores", &too_many)])).unwrap_err().message().contains("cores")
        );
        kernel
            .configure(&map(&[
                ("default_memory_limit", "32"),
                ("default_weight", "2.5"),
                ("default_priority", "high"),
                ("default_cores", "1"),
            ]))
            .unwrap();
        let tenant = kernel.tenant(&id("default")).unwrap();
        assert_eq!(tenant.account().limit(), 32 * MIB);
        assert_eq!((tenant.share().weight(), tenant.share().priority()), (2.5, 1));
        assert_eq!(tenant.processors_wanted(), 1);
        assert_eq!(kernel.configuration()["device"], name(&device));
        kernel.configure(&map(&[("default_memory_limit", ""), ("default_priority", "")])).unwrap();
        let later = kernel.tenant(&id("default")).unwrap();
        assert!(later.account().limit() != 32 * MIB && later.share().priority() == 2);
        assert_eq!(later.share().weight(), 2.5);
        assert_eq!(tenant.account().limit(), 32 * MIB, "a tenant that is open changed");
    }
}

#[test]
fn the_device_is_chosen_by_configuration() {
    let kernel = Kernel::default();
    kernel.configure(&map(&[("device", "cuda:77")])).unwrap();
    let e = kernel.initialize().unwrap_err();
    assert!(!kernel.is_initialized() && e.message().contains("device"), "{e}");
    kernel.configure(&map(&[("device", "cpu")])).unwrap();
    kernel.initialize().unwrap();
    assert_eq!(name(&kernel.current_device().unwrap().1), "cpu:0");
    let e = kernel.configure(&map(&[("device", "cuda:77")])).unwrap_err();
    assert!(e.message().contains("device"), "{e}");
    assert_eq!(kernel.configuration()["device"], "cpu:0");
}

/// The scheduler is one for the process, so its keys are tested in one test.
#[test]
fn the_bounds_of_tasks_hold() {
    let kernel = kernel(&devices()[0]);
    let llm = id("tasks");
    let tenant = kernel.tenant(&llm).unwrap();
    kernel.configure(&map(&[("task_threads", "2"), ("max_tasks", "3"), ("task_timeout", "0.2")])).unwrap();
    let running = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let schedule = || {
        let (running, most) = (running.clone(), most.clone());
        let body = move |context: &cogniware::compute::TaskContext| {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            let begun = Instant::now();
            while !context.is_cancelled() && begun.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(1));
            }
            running.fetch_sub(1, SeqCst);
            Err(cogniware::Error::new(Status::Cancelled, "asked to end"))
        };
        tenant.schedule(None, "test", cogniware::compute::Priority::Normal, 0, 0, Box::new(body))
    };
    let tasks: Vec<_> = (0..3).map(|_| schedule().unwrap()).collect();
    let e = schedule().err().expect("a fourth task was taken");
    assert!(e.status() == Status::Busy && e.message().contains("max_tasks"), "{e}");
    for task in &tasks {
        let info = task.wait(Some(Duration::from_secs(20))).unwrap();
        assert_eq!((info.state, info.status), (TaskState::Failed, Some(Status::Timeout)), "{}", info.result);
        assert!(info.result.contains("task_timeout"), "{}", info.result);
    }
    assert_eq!(most.load(SeqCst), 2, "with two threads two run at a time");
    kernel.shutdown();
    assert_eq!(Tasks::global().limits(), cogniware::compute::TaskLimits::default());
}

#[test]
fn the_eleventh_llm_is_refused_by_name() {
    let bridge = Bridge::default();
    bridge.configure(&map(&[("max_llms", "2"), ("default_max_tokens", "3")])).unwrap();
    bridge.initialize().unwrap();
    let ids = [id("many"), id("many"), id("many")];
    bridge.register(&ids[0], &small()).unwrap();
    bridge.register(&ids[1], &small()).unwrap();
    let e = bridge.register(&ids[2], &small()).err().expect("the third was taken");
    assert!(e.message().contains("max_llms"), "{e}");
    assert!(tenant::find(&ids[2]).is_err(), "it left a tenant");
    // The self-test registers an LLM of its own, and a full bridge is no fault.
    bridge.run_diagnostics().unwrap();
    let results = bridge.diagnostic_results();
    let part = results.iter().find(|p| p.name == "generation").unwrap();
    assert!(part.outcome == Outcome::Passed, "{part:?}");
    assert_eq!(bridge.configuration()["max_llms"], "2");
    bridge.unregister(&ids[0]).unwrap();
    let third = bridge.register(&ids[2], &small()).unwrap();
    // The default shows and works.
    assert_eq!(third.config()["max_tokens"], "3");
    let how = map(&[("prompt", "Once upon a time"), ("ignore_eos", "true"), ("seed", "1")]);
    let info = bridge.schedule(&ids[2], "inference", &how).unwrap().wait(None).unwrap();
    assert_eq!(info.state, TaskState::Completed, "{}", info.result);
    assert_eq!(third.model().stats().generated_tokens, 3);
    bridge.configure(&map(&[("max_llms", "unlimited")])).unwrap();
    bridge.register(&ids[0], &small()).unwrap();
    for (key, value) in [
        ("max_lms", "1"),
        ("max_llms", "0"),
        ("max_llms", "ten"),
        ("default_temperature", "hot"),
        ("default_nonsense", "1"),
        ("default_model", "gpt-99"),
        ("cache_models", "-1"),
    ] {
        let before = bridge.configuration();
        let e = bridge.configure(&map(&[("default_top_k", "9"), (key, value)])).unwrap_err();
        let named = key.strip_prefix("default_").unwrap_or(key);
        assert!(e.message().contains(named) || e.message().contains(value), "{key}={value}: {e}");
        assert_eq!(bridge.configuration(), before);
    }
    bridge.shutdown();
}

#[test]
fn cached_weights_are_not_read_again() {
    let bridge = Bridge::default();
    bridge.initialize().unwrap();
    // A file of its own: other tests may hold the model that ships.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.gguf");
    std::fs::copy(cogniware::llm::model_path("", None).unwrap(), &file).unwrap();
    let mut config = small();
    config.insert("model_path".into(), file.to_str().unwrap().into());
    let again = |expected: bool, what: &str| {
        let llm = id("cached");
        let registered = bridge.register(&llm, &config).unwrap();
        assert_eq!(registered.model().load_stats().shared, expected, "{what}");
        drop(registered);
        bridge.unregister(&llm).unwrap();
    };
    again(false, "the first time");
    again(false, "without a cache");
    bridge.configure(&map(&[("cache_models", "1")])).unwrap();
    again(false, "the first time with a cache");
    again(true, "from the cache");
    bridge.configure(&map(&[("cache_models", "")])).unwrap();
    again(false, "the cache was given up");
}

#[test]
fn requirements_become_limits_and_priorities() {
    for device in devices() {
        let kernel = kernel(&device);
        let llm = id("optimized");
        let tenant = kernel.tenant(&llm).unwrap();
        let limit = 64 * device.granularity();
        let mib = (limit / MIB).to_string();
        kernel
            .optimize(
                &llm,
                &map(&[
                    ("memory_priority", "high"),
                    ("compute_priority", "critical"),
                    ("stream_priority", "low"),
                    ("max_memory", &mib),
                    ("max_cores", "1"),
                    ("weight", "3"),
                ]),
            )
            .unwrap();
        assert_eq!((tenant.account().limit(), tenant.account().floor()), (limit, limit / 2));
        assert_eq!((tenant.share().priority(), tenant.share().weight()), (0, 3.0));
        assert_eq!((tenant.stream_priority(), tenant.processors_wanted()), (1, 1));
        // The document's own: a stream's priority follows from that of the work where nothing else is said.
        let other = id("optimized");
        kernel.optimize(&other, &map(&[("compute_priority", "high")])).unwrap();
        assert_eq!(tenant::find(&other).unwrap().stream_priority(), -1);
        let before = (tenant.account().limit(), tenant.account().floor(), tenant.share().priority());
        for (key, value, named) in [
            ("memory_prioritty", "high", "memory_prioritty"),
            ("memory_priority", "highest", "memory_priority"),
            ("compute_priority", "1", "compute_priority"),
            ("stream_priority", "", "stream_priority"),
            ("max_memory", "0", "max_memory"),
            ("max_cores", "0", "max_cores"),
            ("max_cores", "4294967295", "max_cores"),
            ("weight", "-1", "weight"),
            ("enable_profiling", "maybe", "enable_profiling"),
        ] {
            let mut wanted = map(&[("compute_priority", "low"), ("memory_priority", "low")]);
            wanted.insert(key.to_owned(), value.to_owned());
            let e = kernel.optimize(&llm, &wanted).unwrap_err();
            assert!(e.message().contains(named), "{key}={value}: {e}");
            let now = (tenant.account().limit(), tenant.account().floor(), tenant.share().priority());
            assert_eq!(now, before, "{key}={value} changed half of it");
        }
        // What is set aside for one cannot be promised to another.
        let total = Ledger::of(&device).capacity();
        let greedy = map(&[("memory_priority", "critical"), ("max_memory", &(total / MIB).to_string())]);
        if total <= cogniware::memory::LARGEST_LIMIT {
            let e = kernel.optimize(&other, &greedy).unwrap_err();
            assert_eq!(e.status(), Status::OutOfMemory, "{e}");
            assert_eq!(tenant::find(&other).unwrap().account().floor(), 0);
        }
        // A slice's part stays when the optimisation's is taken back.
        kernel.create_virtual_node(&llm, device.granularity(), 1).unwrap();
        assert_eq!(tenant.account().floor(), limit / 2 + device.granularity());
        kernel.optimize(&llm, &map(&[("memory_priority", "normal")])).unwrap();
        assert_eq!(tenant.account().floor(), device.granularity());
        kernel.destroy_virtual_node(&llm).unwrap();
        assert_eq!(tenant.account().floor(), 0);
    }
}

#[test]
fn an_optimised_model_moves_and_its_configuration_shows_it() {
    let (bridge, llm) = (Bridge::default(), id("moves"));
    bridge.initialize().unwrap();
    let registered = bridge.register(&llm, &small()).unwrap();
    let how = map(&[("prompt", "Once"), ("max_tokens", "100000"), ("ignore_eos", "true")]);
    let task = bridge.schedule(&llm, "inference", &how).unwrap();
    let tokens = || registered.model().stats().generated_tokens;
    let goes_on = |from: u64| {
        let begun = Instant::now();
        while tokens() <= from + 2 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it stopped at {from}");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    goes_on(0);
    let version = registered.tenant().node_version();
    bridge.optimize(&llm, &map(&[("stream_priority", "low"), ("max_memory", "80")])).unwrap();
    assert!(registered.tenant().node_version() > version, "the model was not told to move");
    goes_on(tokens());
    assert_eq!(registered.config()["max_memory"], "80");
    bridge.update(&llm, &map(&[("max_cores", "1"), ("priority", "high"), ("max_memory", "96")])).unwrap();
    goes_on(tokens());
    assert_eq!(registered.tenant().account().limit(), 96 * MIB);
    assert_eq!((registered.tenant().processors_wanted(), registered.tenant().share().priority()), (1, 1));
    // Not a part of it when another part cannot be had.
    let e = bridge.update(&llm, &map(&[("max_memory", "70"), ("max_cores", "99999")])).unwrap_err();
    assert!(e.message().contains("max_cores"), "{e}");
    assert_eq!(registered.tenant().account().limit(), 96 * MIB);
    assert_eq!(registered.config()["max_memory"], "96");
    task.cancel();
    bridge.shutdown();
}
