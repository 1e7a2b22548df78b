//! Monitoring of virtual GPUs: metrics, the callback, publishing, and the sum of tenants against the device, on the CPU device
//! and on a GPU where there is one.

#[path = "common/exposition.rs"]
mod exposition;

use cogniware::Status;
use cogniware::device::{self, DeviceKind, Stream};
use cogniware::kernel::prometheus;
use cogniware::virtualization::{Driver, DriverConfig, GpuConfig, UnitConfig};
use exposition::{Samples, parsed};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// The driver on one device, shut down in the end; one test at a time.
struct Rig {
    kind: DeviceKind,
    _one: MutexGuard<'static, ()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        Driver::global().shutdown();
    }
}

impl Rig {
    fn on(index: usize, kind: DeviceKind) -> Rig {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let config = DriverConfig { device: index as i32, ..DriverConfig::default() };
        Driver::global().initialize(&config).unwrap();
        Rig { kind, _one: one }
    }
}

/// Runs a test on every device.
fn each(test: impl Fn(&Rig)) {
    for (index, device) in device::list().unwrap().iter().enumerate() {
        println!("on {}:{}", device.kind(), device.ordinal());
        test(&Rig::on(index, device.kind()));
    }
}

fn gpu(id: i32, share: f32) -> GpuConfig {
    GpuConfig {
        id,
        memory_limit: 64 * MIB,
        memory_floor: 0,
        name: format!("name {id}"),
        unit: UnitConfig { streams: 1, share, ..UnitConfig::default() },
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The one sample of this name with these labels.
fn value(samples: &Samples, name: &str, with: &[(&str, &str)]) -> f64 {
    let fits = |l: &BTreeMap<String, String>| with.iter().all(|(k, v)| l.get(*k).is_some_and(|x| x == v));
    let found: Vec<_> = samples.iter().filter(|(n, l, _)| n == name && fits(l)).collect();
    assert_eq!(found.len(), 1, "{name} {with:?}: {found:?}");
    found[0].2
}

/// Half a millisecond of work, or more where others had the core.
fn spin() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(500) {
        std::hint::spin_loop();
    }
    SPUN.fetch_add(begun.elapsed().as_nanos() as u64, SeqCst);
}

/// Keeps virtual GPUs busy on all processors of the device for a while.
fn work(ids: &[i32], time: Duration) {
    let until = Instant::now() + time;
    std::thread::scope(|scope| {
        for &id in ids {
            scope.spawn(move || {
                let tenant = Driver::global().find(id).unwrap().tenant().clone();
                let bytes = 48 * MIB;
                let memory = tenant.space().alloc(bytes, 256, "work").unwrap();
                let queue = tenant.queue(0).unwrap();
                while Instant::now() < until {
                    let device = tenant.device().clone();
                    let launch = move |stream: &dyn Stream| match device.kind() {
                        DeviceKind::Cpu => stream.host_fn(Box::new(spin)),
                        // Some tenths of a millisecond, so that the device never waits for the host.
                        // SAFETY: the memory lives until the queue has ended its work, below.
                        _ => (0..16).try_for_each(|i| unsafe { device.fill(memory, i, bytes, Some(stream)) }),
                    };
                    queue.run(launch).unwrap();
                    // Some are always there, but not without end.
                    while queue.figures().pending > 16 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
                queue.synchronize().unwrap();
                tenant.space().free(memory).unwrap();
            });
        }
    });
}

#[test]
fn metrics_tell_what_the_figures_tell() {
    each(|_| {
        let driver = Driver::global();
        driver.create(&gpu(71, 0.75)).unwrap();
        driver.create(&gpu(72, 0.25)).unwrap();
        let memory = driver.alloc(71, 3 * MIB).unwrap();
        driver.free(71, driver.alloc(71, MIB).unwrap()).unwrap();
        assert!(driver.alloc(72, 65 * MIB).is_err());
        let samples = parsed(&prometheus());
        let of = |name: &str, id: i32| value(&samples, name, &[("tenant", &format!("vgpu:{id}"))]);
        assert_eq!(of("cogniware_tenant_memory_limit_bytes", 71), 64.0 * MIB as f64);
        assert_eq!(of("cogniware_tenant_memory_held_bytes", 71), 3.0 * MIB as f64);
        assert_eq!(of("cogniware_tenant_memory_peak_bytes", 71), 4.0 * MIB as f64);
        assert_eq!(of("cogniware_tenant_rejections_total", 72), 1.0);
        assert!((of("cogniware_vgpu_share_asked_ratio", 71) - 0.75).abs() < 1e-6);
        assert!((of("cogniware_vgpu_share_due_ratio", 72) - 0.25).abs() < 1e-6);
        assert_eq!(of("cogniware_vgpu_status", 71), 1.0);
        let info = driver.info(71).unwrap();
        let device = format!("{}:{}", info.device.0, info.device.1);
        let labels = [("tenant", "vgpu:71"), ("vgpu", "71"), ("name", "name 71"), ("device", &*device)];
        assert_eq!(value(&samples, "cogniware_vgpu_info", &labels), 1.0);
        assert_eq!(value(&samples, "cogniware_tenant_info", &[labels[0], labels[3]]), 1.0);
        // LLMs are tenants too, and no virtual GPUs.
        for (_, labels, _) in samples.iter().filter(|(n, _, _)| n.starts_with("cogniware_vgpu_")) {
            assert!(labels["tenant"].starts_with("vgpu:"));
        }
        driver.free(71, memory).unwrap();
    });
}

/// The names in the tables of docs/monitoring.md, with their labels.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|l| l.strip_prefix("| `cogniware_"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let name = format!("cogniware_{}", cells.next().unwrap().trim_end_matches('`'));
        let labels = cells.next().unwrap();
        (name, labels.split_whitespace().map(|l| l.trim_matches([',', '`']).to_owned()).collect())
    })
    .collect()
}

#[test]
fn the_documentation_lists_every_family_with_its_labels() {
    each(|rig| {
        let driver = Driver::global();
        driver.create(&gpu(75, 0.0)).unwrap();
        work(&[75], Duration::from_millis(150));
        // The device is asked twice, so that it can tell what was between.
        prometheus();
        std::thread::sleep(Duration::from_millis(150));
        let samples = parsed(&prometheus());
        let listed = documented();
        let mut seen = BTreeSet::new();
        for (name, labels, _) in samples.iter().filter(|(n, _, _)| !n.starts_with("cogniware_profile")) {
            let family = name.strip_suffix("_sum").or(name.strip_suffix("_count")).unwrap_or(name);
            let wanted =
                listed.get(family).unwrap_or_else(|| panic!("{family} is not in docs/monitoring.md"));
            assert!(labels.keys().all(|l| wanted.contains(l)), "{name}: {labels:?}, documented {wanted:?}");
            seen.insert(family.to_owned());
        }
        // What no machine tells here may be missing.
        let known =
            ["temperature", "power", "clock", "energy", "memory_utilization", "busy_ratio", "over_device"];
        let kernel = rig.kind == DeviceKind::Cpu;
        for name in listed.keys().filter(|n| !seen.contains(*n)) {
            let excused = known.iter().any(|k| name.contains(k) && (!kernel || !name.contains("busy_ratio")))
                || name.contains("publish");
            assert!(excused, "{name} is documented, but there is none");
        }
    });
}

#[test]
fn a_callback_is_called_until_it_is_replaced_or_the_driver_shuts_down() {
    each(|_| {
        struct Dropped(Arc<AtomicU32>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let driver = Driver::global();
        driver.create(&gpu(73, 0.0)).unwrap();
        let make = || (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let function = |calls: &Arc<AtomicU32>, drops: &Arc<AtomicU32>| {
            let (calls, dropped) = (calls.clone(), Dropped(drops.clone()));
            move || {
                let _ = &dropped;
                // It may call the driver.
                if Driver::global().all_info().is_ok_and(|all| all.iter().any(|i| i.id == 73)) {
                    calls.fetch_add(1, SeqCst);
                }
            }
        };
        let wrong = Duration::from_millis(1);
        let (calls, drops) = make();
        let e = driver.set_monitor(wrong, function(&calls, &drops)).unwrap_err();
        assert!(e.message().contains("intervalMs") && drops.load(SeqCst) == 1, "{e}");
        let (first, first_drops) = make();
        driver.set_monitor(Duration::from_millis(10), function(&first, &first_drops)).unwrap();
        until("a second call", || first.load(SeqCst) >= 2);
        let (second, second_drops) = make();
        driver.set_monitor(Duration::from_millis(10), function(&second, &second_drops)).unwrap();
        assert_eq!((first_drops.load(SeqCst), second_drops.load(SeqCst)), (1, 0));
        let there = first.load(SeqCst);
        until("a call of the second", || second.load(SeqCst) >= 2);
        driver.shutdown();
        assert_eq!((first.load(SeqCst), second_drops.load(SeqCst)), (there, 1));
        let e = driver.set_monitor(Duration::from_millis(10), || {}).unwrap_err();
        assert_eq!(e.status(), Status::NotInitialized);
    });
}

#[test]
fn published_metrics_end_with_the_driver() {
    each(|_| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cogniware.prom");
        let driver = Driver::global();
        driver.create(&gpu(74, 0.5)).unwrap();
        driver.publish(&path, Duration::from_millis(20), prometheus).unwrap();
        let read = || parsed(&std::fs::read_to_string(&path).unwrap());
        let at = |samples: &Samples| value(samples, "cogniware_published_timestamp_seconds", &[]);
        let first = at(&read());
        until("a second publication", || at(&read()) > first);
        assert_eq!(value(&read(), "cogniware_publish_interval_seconds", &[]), 0.02);
        driver.shutdown();
        let last = read();
        // Written once more while the virtual GPUs were there.
        assert_eq!(value(&last, "cogniware_vgpu_info", &[("vgpu", "74")]), 1.0);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(at(&read()), at(&last));
        let e = driver.publish(&path, Duration::from_secs(1), prometheus).unwrap_err();
        assert_eq!(e.status(), Status::NotInitialized);
    });
}

/// Seconds that threads of streams of this process ran, by the system's own books.
fn stream_threads() -> f64 {
    let mut sum = 0.0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        if read("comm").trim() == "cw-stream" {
            let first = read("schedstat").split_whitespace().next().and_then(|f| f.parse::<f64>().ok());
            sum += first.unwrap_or(0.0) / 1e9;
        }
    }
    sum
}

/// Nanoseconds that work of the CPU device took, by its own clock.
static SPUN: AtomicU64 = AtomicU64::new(0);

/// What is charged to tenants is what the device says that it worked, within 5 %.
#[test]
fn the_sum_of_tenants_is_what_the_device_did() {
    each(|rig| {
        let driver = Driver::global();
        driver.create(&gpu(76, 0.5)).unwrap();
        driver.create(&gpu(77, 0.5)).unwrap();
        // Queues and memory are there, and samplers have begun.
        work(&[76, 77], Duration::from_millis(200));
        let _ = driver.device_usage().unwrap();
        let seconds = if rig.kind == DeviceKind::Cpu { 2 } else { 5 };
        let before = driver.device_usage().unwrap().tenants;
        let (threads, spun) = (stream_threads(), SPUN.load(SeqCst));
        let (devices, own, begun) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()), Instant::now());
        std::thread::scope(|scope| {
            scope.spawn(|| work(&[76, 77], Duration::from_secs(seconds)));
            for _ in 0..seconds {
                std::thread::sleep(Duration::from_secs(1));
                let usage = driver.device_usage().unwrap();
                devices.lock().unwrap().extend(usage.utilization);
                own.lock().unwrap().push(usage.tenants_second());
            }
        });
        let whole = begun.elapsed().as_secs_f64();
        let load = driver.device_usage().unwrap().tenants;
        let busy = (load.busy - before.busy).as_secs_f64();
        let (devices, own) = (devices.into_inner().unwrap(), own.into_inner().unwrap());
        println!("busy {busy:.3} s of {whole:.3} s; device {devices:?}; tenants {own:?}");
        match rig.kind {
            DeviceKind::Cpu => {
                // Two tenants of all cores take turns, so the device's time is that of both one after the other: by the
                // work's own clock, and never less than what the system's books say of the threads.
                let spun = (SPUN.load(SeqCst) - spun) as f64 / 1e9;
                let threads = stream_threads() - threads;
                println!("work {spun:.3} s, threads {threads:.3} s");
                assert!((busy / spun - 1.0).abs() < 0.05, "{busy} s charged, {spun} s worked");
                assert!(threads < 1.1 * busy + 0.1, "{busy} s charged, threads ran {threads} s");
                let processors = (load.processor_time - before.processor_time).as_secs_f64();
                let all = f64::from(driver.device_usage().unwrap().processors);
                assert!((processors / all / spun - 1.0).abs() < 0.05, "{processors} core-seconds");
            }
            _ => {
                let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
                if devices.is_empty() {
                    return println!("NVML does not tell");
                }
                // The first sample may hold time from before.
                let (device, tenants) = (mean(&devices[1..]), mean(&own[1..]));
                assert!((tenants / device - 1.0).abs() < 0.05, "tenants {tenants}, device {device}");
            }
        }
        let text = prometheus();
        let samples = parsed(&text);
        for id in ["vgpu:76", "vgpu:77"] {
            let of = |name: &str, more: &[(&str, &str)]| {
                let labels: Vec<_> = [("tenant", id)].iter().chain(more).copied().collect();
                value(&samples, name, &labels)
            };
            let got = of("cogniware_tenant_share_ratio", &[("window", "60s")]);
            assert!((got - 0.5).abs() < 0.15, "{id} got {got}");
            let launches = of("cogniware_tenant_executions_total", &[]);
            let count = of("cogniware_tenant_latency_seconds_count", &[]);
            assert!(launches > 10.0 && launches == count, "{launches} launches");
            let (p50, p99) = ("0.5", "0.99");
            let p50 = of("cogniware_tenant_latency_seconds", &[("quantile", p50)]);
            let p99 = of("cogniware_tenant_latency_seconds", &[("quantile", p99)]);
            assert!(0.0 < p50 && p50 <= p99 && p99 < 60.0, "p50 {p50}, p99 {p99}");
            assert!(of("cogniware_tenant_queue_wait_seconds_total", &[]) > 0.0);
            let processors = of("cogniware_tenant_processor_seconds_total", &[]);
            assert!(processors >= of("cogniware_tenant_device_seconds_total", &[]));
        }
    });
}
