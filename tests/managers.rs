//! The managers over the Rust API: kernels and bridges of their own, on the CPU device, with the model that ships.

use cogniware::Status;
use cogniware::bridge::{Array, Bridge, config::Map};
use cogniware::compute::{TaskInfo, TaskState};
use cogniware::device::DeviceKind;
use cogniware::kernel::{Kernel, PartitionType};
use cogniware::tenant;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn id(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("managers-{what}-{}", NEXT.fetch_add(1, SeqCst))
}

/// Every test here is about the CPU device, whatever the environment names.
fn bridge() -> Arc<Bridge> {
    let bridge = Arc::new(Bridge::default());
    bridge.initialize().unwrap();
    bridge
}

fn kernel() -> Arc<Kernel> {
    let kernel = Arc::new(Kernel::default());
    kernel.initialize().unwrap();
    let cpu = kernel.devices().unwrap().iter().position(|d| d.kind() == DeviceKind::Cpu).unwrap();
    kernel.select_device(cpu as i32).unwrap();
    kernel
}

/// A registration that is small and quick to run.
fn small() -> Map {
    map(&[("device", "cpu"), ("max_memory", "64"), ("context", "1024"), ("max_sequences", "2")])
}

fn long(task: &str) -> Map {
    map(&[("prompt", "Once"), ("max_tokens", "100000"), ("ignore_eos", "true"), ("task_id", task)])
}

/// Fails the test instead of hanging it.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let worker = std::thread::spawn(work);
    let begun = Instant::now();
    while !worker.is_finished() {
        assert!(begun.elapsed() < limit, "deadlock: not done after {limit:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn ended(task: &cogniware::compute::Task) -> TaskInfo {
    task.wait(Some(SOON)).unwrap()
}

fn running(task: &cogniware::compute::Task) {
    let begun = Instant::now();
    while task.info().state == TaskState::Pending {
        assert!(begun.elapsed() < SOON, "it never started");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn bad_registrations_name_the_key_and_leave_nothing() {
    let bridge = bridge();
    let llm = id("bad");
    let too_many = u32::MAX.to_string();
    for (key, value, status) in [
        ("temprature", "1", Status::InvalidArgument),
        ("temperature", "hot", Status::InvalidArgument),
        ("max_tokens", "0", Status::InvalidArgument),
        ("weight", "0", Status::InvalidArgument),
        ("weight", "inf", Status::InvalidArgument),
        ("priority", "urgent", Status::InvalidArgument),
        ("kv_type", "q9", Status::InvalidArgument),
        ("device", "tpu", Status::InvalidArgument),
        ("max_cores", &too_many, Status::InvalidArgument),
        ("model_path", "/nowhere/model.gguf", Status::NotFound),
        ("context", "0", Status::InvalidArgument),
        ("max_memory", "9999999", Status::InvalidArgument),
    ] {
        let mut config = small();
        config.insert(key.into(), value.into());
        let e = bridge.register(&llm, &config).err().unwrap_or_else(|| panic!("{key}={value} was taken"));
        assert_eq!(e.status(), status, "{key}={value}: {e}");
        assert!(e.message().contains(key), "{key}={value}: {e}");
        assert!(tenant::find(&llm).is_err(), "{key}={value} left a tenant");
    }
    let e = bridge.register(&llm, &map(&[("model_type", "gpt-99")])).err().unwrap();
    assert!(e.message().contains("gpt-99") && e.advice().is_some(), "{e}");
    assert!(bridge.active_llms().unwrap().is_empty());
    bridge.register(&llm, &small()).unwrap();
    let e = bridge.register(&llm, &small()).err().unwrap();
    assert_eq!(e.status(), Status::AlreadyExists);
    assert!(e.advice().unwrap().contains("unregister"), "{e}");
}

#[test]
fn a_quota_that_is_too_small_leaves_nothing_behind() {
    let (bridge, llm) = (bridge(), id("quota"));
    let mut config = small();
    config.insert("max_memory".into(), "2".into());
    let e = bridge.register(&llm, &config).err().unwrap();
    assert_eq!(e.status(), Status::QuotaExceeded, "{e}");
    assert!(tenant::find(&llm).is_err());
    // A tenant that was there before stays as it was.
    let device = kernel().current_device().unwrap().1;
    let own = tenant::open_default(&llm, &device).unwrap();
    let limit = own.account().limit();
    config.insert("weight".into(), "5".into());
    config.insert("priority".into(), "low".into());
    config.insert("max_cores".into(), "2".into());
    assert!(bridge.register(&llm, &config).is_err());
    assert!(!own.is_closed() && own.is_implicit());
    assert_eq!(own.account().limit(), limit);
    assert_eq!((own.share().weight(), own.share().priority(), own.processors_wanted()), (1.0, 2, 0));
    bridge.register(&llm, &small()).unwrap();
    assert_eq!(bridge.register(&llm, &small()).err().unwrap().status(), Status::AlreadyExists);
    bridge.unregister(&llm).unwrap();
    assert!(own.is_closed(), "nobody opened the tenant on purpose: it goes with its LLM");
    assert_eq!(bridge.unregister(&llm).unwrap_err().status(), Status::NotFound);
}

#[test]
fn updates_are_taken_whole_or_not_at_all() {
    let (bridge, llm) = (bridge(), id("update"));
    let registered = bridge.register(&llm, &small()).unwrap();
    let limit = registered.tenant().account().limit();
    for (key, value) in [("weight", "-1"), ("context", "8"), ("top_p", "x"), ("nonsense", "1")] {
        let e = bridge.update(&llm, &map(&[("max_memory", "100"), (key, value)])).unwrap_err();
        assert!(e.message().contains(key), "{e}");
        assert_eq!(registered.tenant().account().limit(), limit, "{key} changed half of it");
    }
    bridge.update(&llm, &map(&[("max_memory", "100"), ("weight", "2"), ("seed", "5")])).unwrap();
    assert_eq!(registered.tenant().account().limit(), 100 << 20);
    assert_eq!(registered.config()["seed"], "5");
    bridge.shutdown();
    assert!(registered.tenant().is_closed());
}

#[test]
fn inference_is_text_and_the_same_for_a_seed() {
    let (bridge, llm) = (bridge(), id("inference"));
    bridge.register(&llm, &small()).unwrap();
    let run = |seed: &str| {
        let how = map(&[("prompt", "Once upon a time"), ("max_tokens", "24"), ("seed", seed)]);
        let info = ended(&bridge.schedule(&llm, "inference", &how).unwrap());
        assert_eq!(info.state, TaskState::Completed, "{}", info.result);
        info.result
    };
    let first = run("7");
    assert!(!first.trim().is_empty());
    assert_eq!(first, run("7"));
    assert!((8..12).any(|seed| run(&seed.to_string()) != first), "the seed changes nothing");
    let ids = ended(&bridge.schedule(&llm, "tokenize", &map(&[("text", "hello world")])).unwrap());
    assert!(ids.result.starts_with('[') && ids.result.len() > 2, "{}", ids.result);
    let usage = bridge.resource_usage(&llm).unwrap();
    assert!(usage["generated_tokens"].parse::<u64>().unwrap() >= 24, "{usage:?}");
    bridge.shutdown();
}

#[test]
fn wrong_tasks_are_refused_before_anything_is_registered() {
    let (bridge, llm) = (bridge(), id("wrong"));
    for (kind, parameters, named) in [
        ("dance", map(&[]), "taskType"),
        ("inference", map(&[("prompt", "x"), ("temprature", "1")]), "temprature"),
        ("inference", map(&[("max_tokens", "0")]), "max_tokens"),
        ("inference", map(&[("priority", "soonest")]), "priority"),
        ("inference", map(&[("task_type", "embedding")]), "task_type"),
        ("embedding", map(&[]), "text"),
    ] {
        let e = bridge.schedule(&llm, kind, &parameters).err().unwrap();
        assert_eq!(e.status(), Status::InvalidArgument, "{e}");
        assert!(e.message().contains(named), "{e}");
        assert!(
            tenant::find(&llm).is_err() && bridge.active_llms().unwrap().is_empty(),
            "{kind} left an LLM"
        );
    }
}

#[test]
fn tasks_are_cancelled_by_hand_by_unregistering_and_by_shutdown() {
    within(SOON, || {
        let bridge = bridge();
        let (one, two) = (id("cancel"), id("cancel"));
        bridge.register(&one, &small()).unwrap();
        bridge.register(&two, &small()).unwrap();
        let by_hand = bridge.schedule(&one, "inference", &long(&id("task"))).unwrap();
        running(&by_hand);
        assert!(by_hand.cancel());
        assert_eq!(ended(&by_hand).state, TaskState::Cancelled);
        // One runs, others of the same LLM wait for the engine or their start.
        let waiting: Vec<_> =
            (0..6).map(|_| bridge.schedule(&one, "inference", &long(&id("task"))).unwrap()).collect();
        running(&waiting[0]);
        let llm = bridge.llm(&one).unwrap();
        bridge.unregister(&one).unwrap();
        for task in &waiting {
            assert_eq!(ended(task).state, TaskState::Cancelled);
        }
        assert!(llm.tenant().is_closed() && tenant::find(&one).is_err());
        assert!(
            llm.model().generate(cogniware::bridge::request(llm.generating(&map(&[])).unwrap())).is_err()
        );
        let in_flight = bridge.schedule(&two, "inference", &long(&id("task"))).unwrap();
        running(&in_flight);
        bridge.shutdown();
        assert_eq!(ended(&in_flight).state, TaskState::Cancelled);
        assert!(!bridge.is_initialized() && tenant::find(&two).is_err());
        assert_eq!(bridge.active_llms().unwrap_err().status(), Status::NotInitialized);
    });
}

#[test]
fn a_callback_may_unregister_its_own_llm() {
    within(SOON, || {
        let (bridge, llm) = (bridge(), id("callback"));
        let registered = bridge.register(&llm, &small()).unwrap();
        let task = bridge.schedule(&llm, "inference", &long(&id("task"))).unwrap();
        running(&task);
        let (inner, name) = (bridge.clone(), llm.clone());
        let how = registered.generating(&map(&[("prompt", "Once"), ("ignore_eos", "true")])).unwrap();
        let once = AtomicBool::new(false);
        let request = cogniware::bridge::request(how).with_on_token(move |_| {
            if !once.swap(true, SeqCst) {
                inner.unregister(&name).unwrap();
            }
            Ok(true)
        });
        let generation = registered.model().generate(request).unwrap();
        let output = generation.outcome().unwrap();
        assert_eq!(output.finish, cogniware::llm::Finish::Cancelled);
        assert_eq!(ended(&task).state, TaskState::Cancelled);
        assert!(registered.tenant().is_closed());
    });
}

#[test]
fn a_limited_wait_ends_in_time_beside_an_endless_one() {
    within(SOON, || {
        let (bridge, llm) = (bridge(), id("wait"));
        let registered = bridge.register(&llm, &small()).unwrap();
        let how = registered.generating(&map(&[("prompt", "Once"), ("ignore_eos", "true")])).unwrap();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let request = cogniware::bridge::request(how).with_on_token(move |_| {
            // Until the sender is dropped.
            let _ = gate.lock().unwrap().recv();
            Ok(false)
        });
        let generation = registered.model().generate(request).unwrap();
        std::thread::scope(|scope| {
            let endless = scope.spawn(|| generation.outcome().unwrap().finish);
            for ms in [0, 20] {
                let begun = Instant::now();
                let e = generation.outcome_within(Some(Duration::from_millis(ms))).unwrap_err();
                assert_eq!(e.status(), Status::Timeout);
                assert!(begun.elapsed() < Duration::from_secs(10));
            }
            drop(go);
            assert_eq!(
                generation.outcome_within(Some(SOON)).unwrap().finish,
                cogniware::llm::Finish::Cancelled
            );
            assert_eq!(endless.join().unwrap(), cogniware::llm::Finish::Cancelled);
        });
        generation.outcome_within(Some(Duration::ZERO)).unwrap();
        bridge.shutdown();
    });
}

#[test]
fn a_bridge_that_is_shut_down_while_registering_leaves_nothing() {
    within(SOON, || {
        for round in 0..6 {
            let (bridge, llm) = (bridge(), id("late"));
            let (inner, name) = (bridge.clone(), llm.clone());
            let registering = std::thread::spawn(move || inner.register(&name, &small()).err());
            std::thread::sleep(Duration::from_millis(3 * round));
            bridge.shutdown();
            if let Some(e) = registering.join().unwrap() {
                assert_eq!(e.status(), Status::NotInitialized, "{e}");
            }
            assert!(tenant::find(&llm).is_err(), "the tenant stayed");
        }
    });
}

#[test]
fn dropped_managers_leave_nothing() {
    let (llm, other) = (id("dropped"), id("dropped"));
    let bridge = bridge();
    bridge.tenant(&other).unwrap();
    bridge.register(&llm, &small()).unwrap();
    drop(bridge);
    assert!(tenant::find(&llm).is_err() && tenant::find(&other).is_err());
    let kernel = kernel();
    kernel.alloc(100, &llm).unwrap();
    drop(kernel);
    assert!(tenant::find(&llm).is_err());
}

#[test]
fn kernels_close_only_what_nobody_registered() {
    let (kernel, bridge) = (kernel(), bridge());
    let (llm, idle) = (id("both"), id("both"));
    kernel.alloc(100, &llm).unwrap();
    kernel.alloc(100, &idle).unwrap();
    bridge.register(&llm, &small()).unwrap();
    kernel.shutdown();
    assert!(tenant::find(&idle).is_err());
    let how = map(&[("prompt", "Once"), ("max_tokens", "4")]);
    assert_eq!(ended(&bridge.schedule(&llm, "inference", &how).unwrap()).state, TaskState::Completed);
    bridge.shutdown();
    assert!(tenant::find(&llm).is_err());
}

#[test]
fn arrays_outlive_their_llm_and_name_foreign_pointers() {
    let (bridge, llm, other) = (bridge(), id("array"), id("array"));
    bridge.register(&llm, &small()).unwrap();
    let array = bridge.array(1000, &llm).unwrap();
    let foreign = bridge.array(1000, &other).unwrap();
    assert_eq!(bridge.array(0, &llm).err().unwrap().status(), Status::InvalidArgument);
    assert!(bridge.array(u64::MAX, &llm).err().unwrap().message().contains("size"));
    assert!(array.check_owner(&other).unwrap_err().message().contains("array"));
    let mut host = vec![1.5f32; 1000];
    // SAFETY: host ranges have the arrays' size; the others are refused.
    unsafe {
        array.copy_to(array.address()).unwrap();
        array.copy_from(array.address()).unwrap();
        array.copy_from(host.as_ptr() as u64).unwrap();
        for bad in [0, foreign.address(), array.address() + 4] {
            let e = array.copy_to(bad).unwrap_err();
            assert!(e.message().contains("gpuPtr"), "{e}");
        }
    }
    let held = array.tenant().space().usage().held;
    bridge.unregister(&llm).unwrap();
    assert!(tenant::find(&llm).is_err());
    host.fill(0.0);
    // SAFETY: as above.
    unsafe { array.copy_to(host.as_mut_ptr() as u64).unwrap() };
    assert!(host.iter().all(|&x| x == 1.5), "the array's memory went with its LLM");
    let (space, again) = (array.tenant().space().clone(), Array::new(array.tenant(), 10).unwrap());
    assert!(space.usage().held < held, "the model's memory stayed");
    drop((array, again));
    assert_eq!(space.usage().held, 0);
    bridge.shutdown();
}

#[test]
fn partitions_have_offsets_and_come_back() {
    let (kernel, llm) = (kernel(), id("partition"));
    let first = kernel.create_partition(5000, PartitionType::Global, &llm).unwrap();
    let second = kernel.create_partition(300, PartitionType::Global, &llm).unwrap();
    let base = tenant::find(&llm).unwrap().space().base();
    let list = kernel.partitions().unwrap();
    assert_eq!(list.iter().map(|p| (p.id, p.bytes)).collect::<Vec<_>>(), [(first, 5000), (second, 300)]);
    for p in &list {
        assert_eq!((p.offset, p.host_ptr, &p.owner), (p.device_ptr - base, p.device_ptr, &llm));
    }
    assert!(list[0].offset.abs_diff(list[1].offset) >= 300, "they overlap");
    let e = kernel.free(list[0].device_ptr).unwrap_err();
    assert!(e.message().contains("partition"), "{e}");
    assert_eq!(
        kernel.create_partition(0, PartitionType::Global, &llm).unwrap_err().status(),
        Status::InvalidArgument
    );
    let textures = kernel.create_partition(1, PartitionType::Texture, &llm).unwrap_err();
    assert_eq!(textures.status(), Status::InvalidArgument, "{textures}");
    kernel.destroy_partition(first).unwrap();
    assert_eq!(kernel.destroy_partition(first).unwrap_err().status(), Status::NotFound);
    let tenant = tenant::find(&llm).unwrap();
    kernel.shutdown();
    assert_eq!(tenant.space().usage().held, 0);
    assert!(tenant.is_closed());
}

#[test]
fn memory_by_pointer_finds_its_tenant() {
    let (kernel, llm, other) = (kernel(), id("memory"), id("memory"));
    let (a, b) = (kernel.alloc(64, &llm).unwrap(), kernel.alloc(64, &other).unwrap());
    let host = [3u8; 64];
    // SAFETY: the host range has the size given.
    let copy = |dst, src| unsafe { kernel.copy(dst, src, 64) };
    copy(a, host.as_ptr() as u64).unwrap();
    copy(a, a).unwrap();
    assert!(copy(a, b).unwrap_err().message().contains("`src`"));
    assert!(copy(0, a).unwrap_err().message().contains("`dst`"));
    assert!(copy(host.as_ptr() as u64, host.as_ptr() as u64).is_err());
    kernel.free(a).unwrap();
    let again = kernel.free(a).unwrap_err();
    assert!(again.message().contains("freed"), "{again}");
    assert_eq!(kernel.free(host.as_ptr() as u64).unwrap_err().status(), Status::NotOwner);
    assert!(copy(a, host.as_ptr() as u64).is_err());
    let stream = kernel.create_stream(&other).unwrap();
    assert_eq!(kernel.streams(&other).unwrap(), [stream]);
    kernel.synchronize_stream(stream).unwrap();
    kernel.destroy_stream(stream).unwrap();
    assert_eq!(kernel.destroy_stream(stream).unwrap_err().status(), Status::NotFound);
}

#[test]
fn virtual_nodes_are_made_once_and_given_back() {
    let (kernel, llm) = (kernel(), id("virtual"));
    assert!(kernel.create_virtual_node(&llm, 0, 1).unwrap_err().message().contains("memorySize"));
    assert!(kernel.create_virtual_node(&llm, 1, 0).unwrap_err().message().contains("coreCount"));
    let e = kernel.create_virtual_node(&llm, u64::MAX, 1).unwrap_err();
    assert_eq!(e.status(), Status::QuotaExceeded, "{e}");
    let tenant = tenant::find(&llm).unwrap();
    assert_eq!((tenant.account().floor(), tenant.nodes_held().len(), tenant.streams().len()), (0, 0, 0));
    kernel.create_virtual_node(&llm, 1 << 20, 4096).unwrap();
    assert_eq!(
        (tenant.account().floor(), tenant.nodes_held().len(), tenant.streams().len()),
        (1 << 20, 1, 1)
    );
    assert_eq!(kernel.create_virtual_node(&llm, 1 << 20, 1).unwrap_err().status(), Status::AlreadyExists);
    // A function of its own stream that calls the kernel does not stand in the way.
    let (inner, stream) = (kernel.clone(), tenant.stream(tenant.streams()[0]).unwrap());
    let called = Arc::new(AtomicBool::new(false));
    let seen = called.clone();
    let calls = move || {
        std::thread::sleep(Duration::from_millis(50));
        seen.store(inner.active_llms().is_ok(), SeqCst);
    };
    stream.host_fn(Box::new(calls)).unwrap();
    drop(stream);
    let (inner, name) = (kernel.clone(), llm.clone());
    within(SOON, move || inner.destroy_virtual_node(&name).unwrap());
    assert!(called.load(SeqCst));
    assert_eq!((tenant.account().floor(), tenant.nodes_held().len(), tenant.streams().len()), (0, 0, 0));
    assert_eq!(kernel.destroy_virtual_node(&llm).unwrap_err().status(), Status::NotFound);
    // One that went with its tenant does not block the next tenant of that name.
    kernel.create_virtual_node(&llm, 1 << 20, 1).unwrap();
    tenant::close(&llm).unwrap();
    kernel.create_virtual_node(&llm, 1 << 20, 1).unwrap();
    kernel.shutdown();
    assert!(tenant::find(&llm).is_err());
}

#[test]
fn devices_are_selected_within_bounds() {
    let kernel = Kernel::default();
    assert_eq!(kernel.devices().err().unwrap().status(), Status::NotInitialized);
    assert_eq!(kernel.alloc(1, "x").unwrap_err().status(), Status::NotInitialized);
    kernel.initialize().unwrap();
    let count = kernel.devices().unwrap().len() as i32;
    for bad in [-1, count, i32::MIN, i32::MAX] {
        let e = kernel.select_device(bad).unwrap_err();
        assert!(e.message().contains("deviceId"), "{e}");
    }
    kernel.select_device(count - 1).unwrap();
    assert_eq!(kernel.current_device().unwrap().0 as i32, count - 1);
    kernel.shutdown();
    kernel.shutdown();
    assert!(!kernel.is_initialized());
}

#[test]
fn eight_threads_initialise_use_and_shut_down_at_once() {
    within(SOON, || {
        let (kernel, bridge) = (Arc::new(Kernel::default()), Arc::new(Bridge::default()));
        let ids: Vec<_> = (0..3).map(|_| id("storm")).collect();
        std::thread::scope(|scope| {
            for t in 0..8usize {
                let (kernel, bridge, ids) = (&kernel, &bridge, &ids);
                scope.spawn(move || {
                    for i in 0..60 {
                        let llm = &ids[(t + i) % ids.len()];
                        kernel.initialize().unwrap();
                        bridge.initialize().unwrap();
                        // Each may fail because another thread shut the manager down or closes the tenant.
                        let fine = |e: cogniware::Error| {
                            let known = [
                                Status::NotInitialized,
                                Status::Busy,
                                Status::NotFound,
                                Status::AlreadyExists,
                                Status::NotOwner,
                            ];
                            // A pointer of a tenant that was closed: its addresses are somebody else's by now.
                            let stale =
                                e.status() == Status::InvalidArgument && e.message().contains("`ptr`");
                            assert!(stale || known.contains(&e.status()), "{:?}: {e}", e.status());
                        };
                        let _ = kernel.alloc(1000, llm).and_then(|p| kernel.free(p)).map_err(fine);
                        let _ =
                            kernel.create_stream(llm).and_then(|s| kernel.destroy_stream(s)).map_err(fine);
                        let _ = kernel.create_partition(64, PartitionType::Global, llm).map_err(fine);
                        let _ = kernel.create_virtual_node(llm, 4096, 1).map_err(fine);
                        let _ = bridge.array(16, llm).map_err(fine);
                        let _ = kernel.destroy_virtual_node(llm).map_err(fine);
                        let wishes = map(&[("default_weight", "2"), ("default_memory_limit", "64")]);
                        kernel.configure(&wishes).unwrap();
                        let urgent = map(&[("compute_priority", "high"), ("stream_priority", "low")]);
                        let _ = kernel.optimize(llm, &urgent).map_err(fine);
                        let _ = bridge
                            .register_task_type("storm", Arc::new(|_, _, _| Ok("calm".to_owned())))
                            .map_err(fine);
                        // Ended by its tenant's end at the latest.
                        match bridge.schedule(llm, "storm", &map(&[("weight", "0.5")])) {
                            Ok(task) => drop(task.wait(Some(SOON)).unwrap()),
                            Err(e) if e.message().contains("taskType") => {}
                            Err(e) => fine(e),
                        }
                        if i % 7 == t % 7 {
                            kernel.shutdown();
                        }
                        if i % 11 == t % 11 {
                            bridge.shutdown();
                        }
                    }
                });
            }
        });
        kernel.shutdown();
        bridge.shutdown();
        for llm in &ids {
            assert!(tenant::find(llm).is_err(), "{llm} stayed");
        }
    });
}
