//! Tests of the CPU device.

use super::super::{DeviceChoice, Granule, Stream, open as open_choice};
use super::*;
use crate::Status;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant};

fn device() -> Arc<dyn Device> {
    open_choice(DeviceChoice::Cpu).unwrap()
}

fn node() -> Arc<dyn Node> {
    let device = device();
    let all: Vec<u32> = (0..device.units().len() as u32).collect();
    device.node_create(&all).unwrap()
}

fn stream() -> Arc<dyn Stream> {
    node().stream_create(0).unwrap()
}

fn seals(granule: &Granule) -> i32 {
    // SAFETY: asks about a descriptor that the granule owns.
    unsafe { libc::fcntl(granule.handle as i32, libc::F_GET_SEALS) }
}

#[test]
fn a_granule_is_sealed_zero_and_keeps_its_content_where_it_is_mapped() {
    let device = device();
    let granule = device.granule_create(2 * GRANULARITY).unwrap();
    assert_eq!(seals(&granule), libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL);
    let base = device.range_reserve(8 * GRANULARITY).unwrap();
    assert!(base.is_multiple_of(GRANULARITY));
    device.map(base, &granule, Access::ReadWrite).unwrap();
    let mut bytes = vec![1; 2 * GRANULARITY as usize];
    device.read(&mut bytes, base).unwrap();
    assert!(bytes.iter().all(|b| *b == 0));
    device.write(base + GRANULARITY - 2, &[1, 2, 3, 4]).unwrap();
    let second = base + 4 * GRANULARITY;
    device.map(second, &granule, Access::Read).unwrap();
    device.unmap(base, 2 * GRANULARITY).unwrap();
    let mut four = [0; 4];
    device.read(&mut four, second + GRANULARITY - 2).unwrap();
    assert_eq!(four, [1, 2, 3, 4]);
    assert!(device.write(second, &[1]).unwrap_err().message().contains("read-only"));
    assert!(device.read(&mut four, base).unwrap_err().message().contains("`src`"));
    assert!(device.read(&mut four, second + 2 * GRANULARITY - 2).is_err());
    let fd = device.granule_export(&granule).unwrap();
    assert_eq!(fs::File::from(fd).metadata().unwrap().len(), 2 * GRANULARITY);
    assert_eq!((device.place(second), device.place(&four as *const _ as u64)), (Place::Device, Place::Host));
    device.unmap(second, 2 * GRANULARITY).unwrap();
    device.range_release(base, 8 * GRANULARITY);
    assert_eq!(device.place(second), Place::Host);
    device.granule_release(granule);
}

#[test]
fn wrong_mappings_are_refused() {
    let device = device();
    assert!(device.granule_create(0).is_err() && device.granule_create(4096).is_err());
    assert!(device.range_reserve(1).is_err());
    let e = device.granule_create(1 << 50).unwrap_err();
    assert_eq!(e.status(), Status::OutOfMemory, "{e}");
    let granule = device.granule_create(GRANULARITY).unwrap();
    let base = device.range_reserve(2 * GRANULARITY).unwrap();
    let map = |at| device.map(at, &granule, Access::ReadWrite);
    assert!(map(base + 4096).is_err());
    assert!(map(base + 2 * GRANULARITY).is_err());
    assert!(map(base - GRANULARITY).is_err());
    map(base).unwrap();
    assert_eq!(map(base).unwrap_err().status(), Status::Busy);
    assert!(device.unmap(base, 2 * GRANULARITY).is_err());
    assert!(device.unmap(base + GRANULARITY, GRANULARITY).is_err());
    device.unmap(base, GRANULARITY).unwrap();
    assert!(device.unmap(base, GRANULARITY).is_err());
    // Not ours: must stay what it is.
    let stack = [7u8; 64];
    device.range_release(stack.as_ptr() as u64, 64);
    assert_eq!(stack[63], 7);
    device.range_release(base, 2 * GRANULARITY);
    device.granule_release(granule);
}

#[test]
fn copies_and_fills_are_ordered_on_a_stream() {
    let (device, stream) = (device(), stream());
    let (mut a, mut b) = (vec![0u8; 1 << 16], vec![0u8; 1 << 16]);
    let (pa, pb) = (a.as_mut_ptr() as u64, b.as_mut_ptr() as u64);
    for n in 1..=100u8 {
        // SAFETY: both vectors outlive the synchronisation below and are not touched before.
        unsafe {
            device.fill(pa, n, 1 << 16, Some(&*stream)).unwrap();
            device.copy(pb, pa, 1 << 16, Some(&*stream)).unwrap();
        }
    }
    stream.synchronize().unwrap();
    assert!(b.iter().all(|x| *x == 100));
    // SAFETY: as above.
    unsafe { device.copy(pb + 1, pb, 100, None).unwrap() };
    // SAFETY: refused before anything is touched.
    assert!(unsafe { device.fill(0, 1, 1, None) }.unwrap_err().message().contains("`dst`"));
}

#[test]
fn a_stream_keeps_order_and_waits_for_events_of_others() {
    let (first, second) = (stream(), stream());
    let log = Arc::new(Mutex::new(Vec::new()));
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    first
        .host_fn(Box::new(move || {
            while !gate.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }))
        .unwrap();
    let start = first.record().unwrap();
    for n in 0..100 {
        let log = log.clone();
        first.host_fn(Box::new(move || log.lock().push(n))).unwrap();
    }
    let event = first.record().unwrap();
    second.wait(&event).unwrap();
    let late = log.clone();
    second.host_fn(Box::new(move || late.lock().push(100))).unwrap();
    assert!(!first.is_idle().unwrap() && !event.is_done().unwrap());
    assert_eq!(event.since(&*start).unwrap_err().status(), Status::Busy);
    open.store(true, Ordering::Release);
    second.synchronize().unwrap();
    assert!(event.is_done().unwrap() && second.is_idle().unwrap());
    assert_eq!(*log.lock(), (0..=100).collect::<Vec<_>>());
    assert!(event.since(&*start).unwrap() < Duration::from_secs(5));
    assert!(start.since(&*event).is_err() || event.since(&*start).unwrap().is_zero());
}

#[test]
fn failures_are_reported_once_and_work_goes_on() {
    let stream = stream();
    let ran = Arc::new(AtomicBool::new(false));
    let flag = ran.clone();
    stream.host_fn(Box::new(|| panic!("boom {}", 1))).unwrap();
    stream.host_fn(Box::new(move || flag.store(true, Ordering::Release))).unwrap();
    let e = stream.synchronize().unwrap_err();
    assert!(e.status() == Status::Panic && e.message().contains("boom 1"), "{e}");
    assert!(ran.load(Ordering::Acquire));
    stream.synchronize().unwrap();
    let cpu = stream.as_any().downcast_ref::<CpuStream>().unwrap();
    cpu.submit(|| Err(Error::format("odd"))).unwrap();
    assert_eq!(stream.synchronize().unwrap_err().status(), Status::Format);
}

#[test]
fn a_dropped_stream_still_runs_what_was_queued() {
    let stream = stream();
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let ran = ran.clone();
        stream
            .host_fn(Box::new(move || {
                std::thread::yield_now();
                ran.fetch_add(1, Ordering::AcqRel);
            }))
            .unwrap();
    }
    drop(stream);
    device().synchronize().unwrap();
    assert_eq!(ran.load(Ordering::Acquire), 50);
}

#[test]
fn waiting_for_oneself_is_an_error() {
    let stream = stream();
    let (inner, device) = (stream.clone(), device());
    let cpu = stream.as_any().downcast_ref::<CpuStream>().unwrap();
    cpu.submit(move || {
        assert_eq!(device.synchronize().unwrap_err().status(), Status::Busy);
        inner.synchronize()
    })
    .unwrap();
    assert_eq!(stream.synchronize().unwrap_err().status(), Status::Busy);
}

#[test]
fn a_team_runs_each_worker_once_a_call() {
    for workers in [1, 2, 5] {
        let team = Team::new(workers, &device().units().iter().map(|u| u.os_index).collect::<Vec<_>>());
        let counts: Vec<AtomicUsize> = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        for round in 1..=300 {
            team.run(&|worker, of| {
                assert_eq!(of, workers);
                counts[worker].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == round));
        }
        // Helpers that have gone to sleep come back.
        std::thread::sleep(Duration::from_millis(2));
        team.run(&|worker, _| {
            counts[worker].fetch_add(1, Ordering::Relaxed);
        });
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 301));
    }
}

#[test]
fn a_panic_of_any_worker_reaches_the_caller_and_the_team_lives_on() {
    let team = Team::new(3, &[0, 1]);
    for bad in 0..3 {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            team.run(&|worker, _| assert!(worker != bad, "worker {bad}"));
        }));
        let text = *caught.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains(&format!("worker {bad}")));
        let count = AtomicUsize::new(0);
        team.run(&|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }
}

#[test]
fn calls_from_several_threads_and_nested_calls_do_not_block() {
    let team = Team::new(3, &[0, 1]);
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    team.run(&|worker, _| {
                        if worker == 0 {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two calls at once");
                            team.run(&|w, n| assert_eq!((w, n), (0, 1)));
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    });
                }
            });
        }
    });
}

#[test]
fn threads_stay_on_the_cores_of_their_node_and_end_with_it() {
    let device = device();
    let last = device.units().len() as u32 - 1;
    let node = device.node_create(&[last]).unwrap();
    let stream = node.stream_create(0).unwrap();
    let allowed = node.as_any().downcast_ref::<CpuNode>().unwrap().cpus().to_vec();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let out = seen.clone();
    stream
        .host_fn(Box::new(move || {
            // SAFETY: asks for a number.
            out.lock().push(unsafe { libc::sched_getcpu() } as u32);
        }))
        .unwrap();
    stream.synchronize().unwrap();
    assert!(seen.lock().iter().all(|cpu| allowed.contains(cpu)));
    let weak = Arc::downgrade(&node);
    drop((node, stream));
    let deadline = Instant::now() + Duration::from_secs(10);
    while weak.strong_count() > 0 {
        assert!(Instant::now() < deadline, "the thread of a dropped stream does not end");
        std::thread::yield_now();
    }
}

#[test]
fn bad_units_are_named() {
    let device = device();
    for units in [&[][..], &[0, 0], &[9999]] {
        let e = device.node_create(units).err().unwrap();
        assert!(e.message().contains("`units`"), "{e}");
    }
}

#[test]
fn a_forked_child_gets_errors_and_no_hang() {
    let (node, stream) = (node(), stream());
    node.as_any().downcast_ref::<CpuNode>().unwrap().team().run(&|_, _| {});
    // SAFETY: the child uses only what is lock-free here, and leaves without unwinding.
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::alarm(20);
            let team = node.as_any().downcast_ref::<CpuNode>().unwrap().team();
            let alone = AtomicUsize::new(0);
            team.run(&|_, workers| {
                alone.store(workers, Ordering::Relaxed);
            });
            let refused = stream.host_fn(Box::new(|| {})).is_err() && stream.synchronize().is_err();
            libc::_exit(if refused && alone.load(Ordering::Relaxed) == 1 { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    };
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
}

#[test]
fn the_description_is_true_here() {
    let device = device();
    let info = device.info().unwrap();
    assert!(!info.name.is_empty() && !info.isa.is_empty());
    assert_eq!(info.multiprocessors as usize, device.units().len());
    assert!(info.free_memory > 0 && info.free_memory <= info.total_memory);
    assert!(info.integrated && info.unified_addressing && info.compute_major == 0);
    let (_, total) = device.memory().unwrap();
    assert_eq!(total, info.total_memory);
}

/// Writes a file of a made-up host.
fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_made_up_host_is_read_as_written() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    put(root, "proc/cpuinfo", "processor : 0\nmodel name\t: Test CPU 9000\n");
    put(root, "proc/meminfo", "MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: 800000 kB\n");
    put(root, "proc/self/cgroup", "0::/a/b\n");
    put(root, "sys/fs/cgroup/a/b/memory.max", "max\n");
    put(root, "sys/fs/cgroup/a/memory.max", "512000000\n");
    put(root, "sys/fs/cgroup/a/memory.current", "300000000\n");
    put(root, "sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 100000000\n");
    put(root, "sys/devices/system/node/node0/cpulist", "0-1,4-5\n");
    put(root, "sys/devices/system/node/node1/cpulist", "2-3,6-7\n");
    for cpu in 0..8 {
        let base = format!("sys/devices/system/cpu/cpu{cpu}");
        let (low, half) = (cpu % 4, cpu % 4 / 2);
        put(root, &format!("{base}/topology/thread_siblings_list"), &format!("{low},{}", low + 4));
        for (index, level, kind, size, shared) in [
            (0, 1, "Data", "48K", format!("{low},{}", low + 4)),
            (1, 1, "Instruction", "64K", format!("{low},{}", low + 4)),
            (2, 2, "Unified", "1024K", format!("{low},{}", low + 4)),
            (3, 3, "Unified", "32M", format!("{half}")),
        ] {
            let cache = format!("{base}/cache/index{index}");
            put(root, &format!("{cache}/level"), &level.to_string());
            put(root, &format!("{cache}/type"), kind);
            put(root, &format!("{cache}/size"), size);
            put(root, &format!("{cache}/shared_cpu_list"), &shared);
        }
        put(root, &format!("{base}/cpufreq/cpuinfo_max_freq"), "3500000\n");
    }
    let t = Topology::read_for(root, &[0, 1, 2, 4, 7]).unwrap();
    let cores: Vec<_> = t.cores.iter().map(|c| (c.cpus.clone(), c.numa_node)).collect();
    assert_eq!(cores, [(vec![0, 4], 0), (vec![1], 0), (vec![2], 1), (vec![7], 1)]);
    assert_eq!((t.l1_cache, t.l2_cache, t.l3_cache), (48 << 10, 1 << 20, 64 << 20));
    assert_eq!((t.name.as_str(), t.clock_khz, t.threads_per_core()), ("Test CPU 9000", 3_500_000, 2));
    assert_eq!(t.numa_nodes, [0, 1]);
    assert_eq!(t.memory().unwrap(), (312_000_000, 512_000_000));
    put(root, "sys/fs/cgroup/a/memory.max", "max\n");
    assert_eq!(t.memory().unwrap(), (800_000 * 1024, 1_000_000 * 1024));
}

#[test]
fn a_host_that_tells_nothing_still_has_its_cores() {
    let dir = tempfile::tempdir().unwrap();
    let t = Topology::read_for(dir.path(), &[3, 5]).unwrap();
    assert_eq!(t.units().iter().map(|u| u.os_index).collect::<Vec<_>>(), [3, 5]);
    assert_eq!((t.l1_cache, t.l3_cache, t.clock_khz), (0, 0, 0));
    assert!(t.memory().is_err());
}
