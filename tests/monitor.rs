//! Monitoring of virtual GPUs: metrics, the callback, publishing, and the sum of tenants against the device, on the CPU device
//! and on a GPU where there is one.

#[path = "common/exposition.rs"]
mod exposition;

use cogniware::device::{self, DeviceKind};
use cogniware::kernel::prometheus;
use cogniware::virtualization::{Driver, DriverConfig, GpuConfig, UnitConfig};
use cogniware::{Status, tenant};
use exposition::{Samples, parsed};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
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
        work(rig, &[75], Duration::from_millis(150));
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
