//! Compute units over groups of a device's processors and over several devices, on every device that can be cut in two.

use cogniware::compute::ExecutionState;
use cogniware::compute::balance::Balancing;
use cogniware::device::{self, DeviceKind};
use cogniware::ops::tensor::Argument;
use cogniware::program::Launch;
use cogniware::virtualization::{
    ComputeConfig, ComputeManager, CopyKind, Driver, DriverConfig, GpuConfig, KernelCall, UnitConfig,
};
use cogniware::{Result, Status};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const COUNT: u64 = 1 << 14;
static ONE: Mutex<()> = Mutex::new(());

/// The managers, shut down in the end.
struct Rig {
    config: ComputeConfig,
    /// Cores or SMs of the smaller group.
    size: u32,
}

impl Rig {
    fn on(config: ComputeConfig) -> Rig {
        let driver = DriverConfig { device: config.device, ..DriverConfig::default() };
        Driver::global().initialize(&driver).unwrap();
        compute().initialize(&config).unwrap();
        let size = compute().groups(config.device).unwrap().iter().map(|g| g.processors).min().unwrap();
        Rig { config, size }
    }

    /// A virtual GPU that wants as many processors as a group has.
    fn create(&self, id: i32) -> u64 {
        let unit = UnitConfig { processors: self.size, ..UnitConfig::default() };
        let config = GpuConfig { id, memory_limit: 64 << 20, memory_floor: 0, name: String::new(), unit };
        Driver::global().create(&config).unwrap();
        let ptr = Driver::global().alloc(id, COUNT * 4).unwrap();
        Driver::global().fill(id, ptr, 0, COUNT * 4, None).unwrap();
        ptr
    }

    /// How many of these units are in each of the two groups.
    fn spread(&self, ids: &[i32]) -> [usize; 2] {
        [0, 1].map(|g| ids.iter().filter(|&&id| compute().group(id).unwrap() == Some(g)).count())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        compute().shutdown();
        Driver::global().shutdown();
    }
}

fn compute() -> &'static ComputeManager {
    ComputeManager::global()
}

fn two_groups(device: usize) -> ComputeConfig {
    ComputeConfig { device: device as i32, groups: 2, ..ComputeConfig::default() }
}

/// Runs a test on every device that has two units.
fn each(test: impl Fn(usize)) {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    for (index, device) in device::list().unwrap().iter().enumerate() {
        println!("on {}:{}, {} units", device.kind(), device.ordinal(), device.units().len());
        if device.units().len() > 1 {
            test(index);
        }
    }
}

/// Adds 1 to each element, `times` times.
fn add(ptr: u64, times: u64) -> KernelCall {
    let arguments = vec![
        Argument::Pointer(ptr),
        Argument::U64(COUNT),
        Argument::F32(1.0),
        Argument::F32(1.0),
        Argument::U64(times),
    ];
    let launch = Launch::new([1; 3], [32, 1, 1]);
    KernelCall { name: "iterate".into(), module: None, launch, arguments, timeout: None }
}

fn done(id: i32, number: i32) {
    let told = compute().execution(id, number, Some(Duration::from_secs(60))).unwrap();
    assert_eq!(told.state, ExecutionState::Finished, "{told:?}");
}

/// Keeps a unit busy until it is told to end; how often its elements were added to.
fn work(id: i32, ptr: u64, stop: &AtomicBool) -> u64 {
    let (mut sent, mut adds) = (Vec::new(), 0);
    while !stop.load(SeqCst) {
        sent.push(compute().execute(id, add(ptr, 200), 0).unwrap());
        adds += 200;
        if let Some(at) = sent.len().checked_sub(4) {
            done(id, sent[at]);
        }
    }
    compute().synchronize(id, None).unwrap();
    adds
}

/// Units that work, so many in each of the two groups, while `look` sees to them.
fn crowd<T>(rig: &Rig, wanted: [usize; 2], look: impl FnOnce() -> T) -> T {
    let each = wanted.into_iter().max().unwrap_or(0) as i32;
    let all: Vec<(i32, u64)> = (1..=2 * each).map(|id| (id, rig.create(id))).collect();
    let mut there = [0; 2];
    let (here, away): (Vec<_>, Vec<_>) = all.into_iter().partition(|(id, _)| {
        let group = compute().group(*id).unwrap().unwrap() as usize;
        there[group] += 1;
        there[group] <= wanted[group]
    });
    assert_eq!(there, [each as usize; 2]);
    for (id, ptr) in away {
        Driver::global().free(id, ptr).unwrap();
        Driver::global().destroy(id).unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        let workers: Vec<_> = here
            .iter()
            .map(|&(id, ptr)| {
                (
                    id,
                    ptr,
                    s.spawn({
                        let stop = &stop;
                        move || work(id, ptr, stop)
                    }),
                )
            })
            .collect();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
        stop.store(true, SeqCst);
        for (id, ptr, worker) in workers {
            let adds = worker.join().unwrap();
            // Nothing was lost or done twice on the way, and the pointers stayed.
            let mut got = vec![0f32; COUNT as usize];
            // SAFETY: the vector has as many bytes.
            unsafe {
                Driver::global().copy(
                    id,
                    got.as_mut_ptr() as u64,
                    ptr,
                    COUNT * 4,
                    CopyKind::DeviceToHost,
                    None,
                )
            }
            .unwrap();
            let wanted = (adds as f32).min((1 << 24) as f32);
            assert!(got.iter().all(|&x| x == wanted), "{} is not {wanted}", got[0]);
        }
        seen.unwrap_or_else(|e| std::panic::resume_unwind(e))
    })
}

#[test]
fn units_spread_over_the_groups_by_every_strategy() {
    each(|device| {
        for balancing in Balancing::ALL {
            let rig = Rig::on(ComputeConfig { balancing, ..two_groups(device) });
            for id in 1..5 {
                rig.create(id);
            }
            assert_eq!(rig.spread(&[1, 2, 3, 4]), [2, 2], "{balancing}");
            // Another size inside of a group stays there; the whole device is no group.
            let group = compute().group(1).unwrap();
            compute().scale(1, 1).unwrap();
            assert_eq!(compute().group(1).unwrap(), group);
            compute().scale(1, 0).unwrap();
            assert_eq!(compute().group(1).unwrap(), None);
            // The next goes where one left.
            if balancing != Balancing::RoundRobin {
                Driver::global().destroy(2).unwrap();
                let left = rig.spread(&[3, 4]);
                rig.create(5);
                let now = rig.spread(&[3, 4, 5]);
                assert_eq!(now.iter().sum::<usize>(), left.iter().sum::<usize>() + 1);
            }
        }
    });
}

#[test]
fn the_strategy_places_them_and_not_where_the_fewest_are() {
    each(|device| {
        let rig = Rig::on(ComputeConfig { balancing: Balancing::RoundRobin, ..two_groups(device) });
        for id in 1..4 {
            rig.create(id);
        }
        Driver::global().destroy(2).unwrap();
        rig.create(4);
        // In turn it is the first group's, though that has two.
        rig.create(5);
        assert_eq!(rig.spread(&[1, 3, 4, 5]), [3, 1]);
    });
}

#[test]
fn a_crowded_group_gives_one_away_beyond_the_threshold() {
    each(|device| {
        let rig = Rig::on(two_groups(device));
        let (moved, after) = crowd(&rig, [2, 0], || {
            thread::sleep(Duration::from_millis(500));
            let moved = compute().rebalance().unwrap();
            // At once again is too early to tell.
            assert!(compute().rebalance().unwrap().is_empty());
            let ids: Vec<i32> =
                compute().groups(rig.config.device).unwrap().iter().flat_map(|g| g.members.clone()).collect();
            thread::sleep(Duration::from_millis(500));
            assert!(compute().rebalance().unwrap().is_empty(), "it is even now");
            (moved, rig.spread(&ids))
        });
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert_eq!((moved[0].from, moved[0].to, after), (0, 1, [1, 1]));
        drop(rig);
        let rig = Rig::on(ComputeConfig { threshold: 2.5, ..two_groups(device) });
        let moved = crowd(&rig, [2, 0], || {
            thread::sleep(Duration::from_millis(500));
            compute().rebalance().unwrap()
        });
        assert!(moved.is_empty(), "{moved:?}");
    });
}

#[test]
fn waiting_counts_where_both_groups_are_busy_all_the_time() {
    each(|device| {
        let rig = Rig::on(two_groups(device));
        let (moved, after) = crowd(&rig, [3, 1], || {
            thread::sleep(Duration::from_millis(800));
            let moved = compute().rebalance().unwrap();
            let groups = compute().groups(rig.config.device).unwrap();
            (moved, [0, 1].map(|g: usize| groups[g].members.len()))
        });
        assert_eq!((moved.len(), after), (1, [2, 2]), "{moved:?}");
    });
}

#[test]
fn a_thread_does_it_by_itself_until_shutdown() {
    each(|device| {
        let rig = Rig::on(ComputeConfig { interval: Some(Duration::from_millis(200)), ..two_groups(device) });
        crowd(&rig, [2, 0], || {
            let begun = Instant::now();
            while !compute().groups(rig.config.device).unwrap().iter().all(|g| g.members.len() == 1) {
                assert!(begun.elapsed() < Duration::from_secs(30), "nothing was moved");
                thread::sleep(Duration::from_millis(20));
            }
        });
        compute().shutdown();
        assert_eq!(compute().rebalance().unwrap_err().status(), Status::NotInitialized);
    });
}

/// Gives launches to two units of which the second takes four times as long for each.
fn distribute(ptrs: [u64; 2], longer: u64) {
    let mut sent = [0u32; 2];
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let info = [1, 2].map(|id| compute().info(id).unwrap().work.pending);
        if info[0] + info[1] > 6 {
            thread::yield_now();
            continue;
        }
        let id = compute().choose(&[1, 2]).unwrap();
        let at = id as usize - 1;
        compute().execute(id, add(ptrs[at], longer * if at == 0 { 200 } else { 800 }), 0).unwrap();
        sent[at] += 1;
    }
    println!("{sent:?} launches");
    assert!(sent[1] > 0 && sent[0] > 2 * sent[1], "{sent:?}");
}

#[test]
fn measured_time_gives_the_faster_place_more() {
    each(|device| {
        // On a GPU a launch of a few microseconds takes as long as one four times as large.
        let longer = if device::list().unwrap()[device].kind() == DeviceKind::Cuda { 200 } else { 1 };
        let rig = Rig::on(ComputeConfig { balancing: Balancing::MeasuredTime, ..two_groups(device) });
        distribute([rig.create(1), rig.create(2)], longer);
    });
}

#[test]
fn units_are_spread_over_gpus() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let all = device::list().unwrap();
    let gpu = |i: &i32| all[*i as usize].kind() == DeviceKind::Cuda;
    let devices: Vec<i32> = (0..all.len() as i32).filter(gpu).collect();
    if devices.len() < 2 {
        println!("skipped: fewer than two GPUs");
        return;
    }
    for balancing in Balancing::ALL {
        let config = ComputeConfig { balancing, devices: devices.clone(), ..ComputeConfig::default() };
        compute().initialize(&config).unwrap();
        let n = devices.len() as i32;
        for id in 1..=2 * n {
            compute().create(id, &UnitConfig::default()).unwrap();
        }
        for &index in &devices {
            assert_eq!(compute().groups(index).unwrap()[0].members.len(), 2, "{balancing} on device {index}");
        }
        compute().shutdown();
    }
}

#[test]
fn wrong_configurations_are_named() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let bad = |config: ComputeConfig, word: &str| {
        let result: Result<()> = compute().initialize(&config);
        let e = result.expect_err(word);
        assert!(e.status() == Status::InvalidArgument && e.to_string().contains(word), "{word}: {e}");
        assert!(!compute().is_initialized());
    };
    let usual = ComputeConfig::default;
    bad(ComputeConfig { groups: 1 << 20, ..usual() }, "unitGroups");
    bad(ComputeConfig { threshold: f64::NAN, ..usual() }, "rebalanceThreshold");
    bad(ComputeConfig { threshold: -0.1, ..usual() }, "rebalanceThreshold");
    bad(ComputeConfig { devices: vec![0, 0], ..usual() }, "twice");
    bad(ComputeConfig { devices: vec![-1], ..usual() }, "devices");
    bad(ComputeConfig { interval: Some(Duration::from_secs(1)), ..usual() }, "rebalanceIntervalMs");
    let short = Some(Duration::from_millis(1));
    bad(ComputeConfig { interval: short, groups: 0, ..usual() }, "rebalanceIntervalMs");
    compute().initialize(&usual()).unwrap();
    let e = compute().rebalance().unwrap_err();
    assert!(e.status() == Status::Unsupported && e.to_string().contains("unitGroups"), "{e}");
    compute().shutdown();
    compute().initialize(&ComputeConfig { scaling: false, groups: 0, ..usual() }).unwrap();
    assert!(compute().rebalance().unwrap_err().to_string().contains("enableDynamicScaling"));
    compute().shutdown();
}
