//! Virtual GPUs, their memory spaces and compute units, on the CPU device and on a GPU where there is one.

use cogniware::compute::ExecutionState;
use cogniware::device::{self, Access, DeviceKind};
use cogniware::memory::SpillPolicy;
use cogniware::ops::Math;
use cogniware::ops::tensor::{Argument, Element, MatMul, Precision};
use cogniware::program::{Calls, HostLaunch, Launch, ParameterKind};
use cogniware::virtualization::{
    ComputeConfig, ComputeManager, CopyKind, Driver, DriverConfig, GpuConfig, GpuStatus, KernelCall,
    MemoryConfig, MemoryManager, UnitConfig,
};
use cogniware::{Error, Result, Status, tenant};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// The three managers on one device, shut down in the end; one test at a time.
struct Rig {
    device: i32,
    kind: DeviceKind,
    _one: MutexGuard<'static, ()>,
}

impl Rig {
    fn driver(&self) -> &'static Driver {
        Driver::global()
    }

    fn memory(&self) -> &'static MemoryManager {
        MemoryManager::global()
    }

    fn compute(&self) -> &'static ComputeManager {
        ComputeManager::global()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        ComputeManager::global().shutdown();
        MemoryManager::global().shutdown();
        Driver::global().shutdown();
    }
}

/// Runs a test on every device.
fn each(test: impl Fn(&Rig)) {
    static ONE: Mutex<()> = Mutex::new(());
    for (index, device) in device::list().unwrap().iter().enumerate() {
        let one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        let rig = Rig { device: index as i32, kind: device.kind(), _one: one };
        println!("on {}:{}", device.kind(), device.ordinal());
        rig.driver().initialize(&DriverConfig { device: rig.device, ..DriverConfig::default() }).unwrap();
        rig.memory().initialize(&MemoryConfig { device: rig.device, ..MemoryConfig::default() }).unwrap();
        rig.compute().initialize(&ComputeConfig { device: rig.device, ..ComputeConfig::default() }).unwrap();
        test(&rig);
    }
}

fn gpu(id: i32) -> GpuConfig {
    GpuConfig {
        id,
        memory_limit: 64 * MIB,
        memory_floor: 0,
        name: String::new(),
        unit: UnitConfig { streams: 2, ..UnitConfig::default() },
    }
}

/// An error of this status whose text names what is wrong.
fn refused<T>(result: Result<T>, status: Status, word: &str) -> Error {
    let Err(e) = result else { panic!("{word}: was accepted") };
    assert_eq!(e.status(), status, "{word}: {e}");
    assert!(e.to_string().contains(word), "{word} is not in {e}");
    e
}

fn copy(rig: &Rig, id: i32, dst: u64, src: u64, bytes: u64, kind: CopyKind) -> Result<()> {
    // SAFETY: host ranges of the tests are valid for what they say, or refused.
    unsafe { rig.memory().copy(id, dst, src, bytes, kind, None) }
}

#[test]
fn nothing_goes_before_initialize_and_after_shutdown() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        // The same again does nothing, another configuration is refused.
        rig.driver().initialize(&DriverConfig { device: rig.device, ..DriverConfig::default() }).unwrap();
        let other = DriverConfig { device: rig.device, most_gpus: 3, most_streams: 0 };
        refused(rig.driver().initialize(&other), Status::AlreadyExists, "another configuration");
        rig.driver().shutdown();
        rig.driver().shutdown();
        assert!(!rig.driver().is_initialized());
        assert!(tenant::find("vgpu:1").is_err(), "shutdown ends what was made");
        for e in [
            rig.driver().create(&gpu(1)),
            rig.driver().alloc(1, 16).map(drop),
            rig.driver().status(1).map(drop),
            rig.driver().info(1).map(drop),
            rig.driver().destroy(1).map(drop),
        ] {
            refused(e, Status::NotInitialized, "virtualization driver");
        }
        rig.memory().shutdown();
        refused(rig.memory().create(1, MIB), Status::NotInitialized, "memory virtualization manager");
        refused(rig.memory().alloc(1, 16, 1), Status::NotInitialized, "memory virtualization manager");
        rig.compute().shutdown();
        let unit = UnitConfig::default();
        refused(rig.compute().create(1, &unit), Status::NotInitialized, "compute virtualization manager");
        refused(rig.compute().set_share(1, 0.5), Status::NotInitialized, "compute virtualization manager");
    });
}

#[test]
fn wrong_configurations_are_refused_by_name() {
    each(|rig| {
        let bad = |change: &dyn Fn(&mut GpuConfig), status: Status, word: &str| {
            let mut config = gpu(1);
            change(&mut config);
            refused(rig.driver().create(&config), status, word);
            assert_eq!(
                rig.driver().status(1).unwrap_or(GpuStatus::NotCreated),
                GpuStatus::NotCreated,
                "{word}"
            );
        };
        use Status::{InvalidArgument, OutOfMemory};
        bad(&|c| c.id = -1, InvalidArgument, "virtualGPUId");
        bad(&|c| c.memory_limit = 0, InvalidArgument, "memoryLimit");
        bad(&|c| c.memory_limit = 1 << 63, InvalidArgument, "memoryLimit");
        bad(&|c| c.memory_floor = c.memory_limit + 1, InvalidArgument, "memoryFloor");
        bad(&|c| c.unit.streams = 0, InvalidArgument, "numStreams");
        bad(&|c| c.unit.streams = u32::MAX, InvalidArgument, "numStreams");
        for share in [-0.1, 1.1, f32::NAN, f32::INFINITY] {
            bad(&|c| c.unit.share = share, InvalidArgument, "computeShare");
        }
        bad(&|c| c.name = "x".repeat(128), InvalidArgument, "name");
        bad(&|c| c.name = "a\nb".into(), InvalidArgument, "name");
        bad(
            &|c| (c.memory_limit, c.memory_floor) = (1 << 39, 1 << 39),
            OutOfMemory,
            "set 549755813888 bytes aside",
        );
        rig.driver().shutdown();
        let config = DriverConfig { device: 99, ..DriverConfig::default() };
        refused(rig.driver().initialize(&config), InvalidArgument, "deviceId");
        let config = DriverConfig { device: rig.device, most_gpus: 0, ..DriverConfig::default() };
        refused(rig.driver().initialize(&config), InvalidArgument, "maxVirtualGPUs");
        rig.memory().shutdown();
        for (config, word) in [
            (MemoryConfig { device: -1, ..MemoryConfig::default() }, "deviceId"),
            (MemoryConfig { page_size: 3000, ..MemoryConfig::default() }, "pageSize"),
            (MemoryConfig { threshold: 2.0, ..MemoryConfig::default() }, "defragmentationThreshold"),
            (MemoryConfig { guard_bytes: 1 << 40, ..MemoryConfig::default() }, "guardBytes"),
        ] {
            refused(rig.memory().initialize(&config), InvalidArgument, word);
        }
    });
}

#[test]
fn a_virtual_gpu_is_one_tenant_whoever_made_which_part() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        for e in [
            rig.driver().create(&gpu(1)),
            rig.memory().create(1, MIB),
            rig.compute().create(1, &UnitConfig::default()),
        ] {
            refused(e, Status::AlreadyExists, "virtual GPU 1");
        }
        // Both managers see the same memory and the same tenant.
        let ptr = rig.memory().alloc(1, MIB, 4096).unwrap();
        assert!(ptr.is_multiple_of(4096));
        assert_eq!(rig.driver().info(1).unwrap().memory.held, MIB);
        assert_eq!(tenant::find("vgpu:1").unwrap().account().held(), MIB);
        rig.driver().free(1, ptr).unwrap();
        rig.driver().destroy(1).unwrap();
        assert!(tenant::find("vgpu:1").is_err());
        refused(rig.driver().destroy(1), Status::NotFound, "virtual GPU 1");

        // Part by part, in either order; the tenant goes with its last part.
        rig.memory().create(2, 8 * MIB).unwrap();
        refused(rig.driver().create(&gpu(2)), Status::AlreadyExists, "memory space");
        refused(rig.compute().synchronize(2, Some(0)), Status::NotFound, "compute unit");
        rig.compute().create(2, &UnitConfig::default()).unwrap();
        refused(rig.driver().destroy(2), Status::NotFound, "createVirtualGPU");
        assert_eq!(tenant::find("vgpu:2").unwrap().account().limit(), 8 * MIB);
        rig.memory().destroy(2).unwrap();
        refused(rig.memory().alloc(2, 16, 1), Status::NotFound, "no memory space");
        rig.compute().synchronize(2, Some(0)).unwrap();
        rig.memory().create(2, 4 * MIB).unwrap();
        assert_eq!(rig.memory().info(2).unwrap().usage.limit, 4 * MIB);
        rig.compute().destroy(2).unwrap();
        refused(rig.compute().destroy(2), Status::NotFound, "compute unit");
        rig.memory().alloc(2, 16, 1).unwrap();
        let left = rig.memory().destroy(2).unwrap();
        assert_eq!(left.iter().map(|a| a.bytes).sum::<u64>(), 16);
        assert!(tenant::find("vgpu:2").is_err());
        refused(rig.memory().destroy(2), Status::NotFound, "virtual GPU 2");
    });
}

#[test]
fn what_was_not_freed_is_told_and_freed() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        let physical = tenant::find("vgpu:1").unwrap().account().ledger().physical();
        rig.driver().alloc(1, 5 * MIB).unwrap();
        rig.driver().alloc(1, 1000).unwrap();
        // Its memory alone ends, its compute unit lives.
        let left = rig.memory().destroy(1).unwrap();
        assert_eq!(left.iter().map(|a| a.bytes).sum::<u64>(), 5 * MIB + 1000);
        let ledger = tenant::find("vgpu:1").unwrap().account().ledger().clone();
        assert_eq!(tenant::find("vgpu:1").unwrap().account().held(), 0);
        rig.memory().create(1, 16 * MIB).unwrap();
        rig.driver().alloc(1, 3 * MIB).unwrap();
        let left = rig.driver().destroy(1).unwrap();
        assert_eq!(left.iter().map(|a| a.bytes).sum::<u64>(), 3 * MIB);
        assert_eq!(ledger.physical(), physical, "all of it went back");
    });
}

#[test]
fn a_quota_is_exact_and_leaves_others_alone() {
    each(|rig| {
        rig.driver().create(&GpuConfig { memory_limit: 8 * MIB, ..gpu(1) }).unwrap();
        rig.driver().create(&GpuConfig { memory_limit: 8 * MIB, ..gpu(2) }).unwrap();
        let a = rig.driver().alloc(1, 8 * MIB).unwrap();
        refused(rig.driver().alloc(1, 1), Status::QuotaExceeded, "vgpu:1");
        rig.driver().alloc(2, 8 * MIB).unwrap();
        refused(rig.driver().free(2, a), Status::NotOwner, "vgpu:1");
        refused(rig.memory().set_limit(1, 4 * MIB), Status::Busy, "holds 8388608");
        rig.driver().free(1, a).unwrap();
        refused(rig.driver().free(1, a), Status::InvalidArgument, "freed");
        rig.memory().set_limit(1, 4 * MIB).unwrap();
        refused(rig.driver().alloc(1, 5 * MIB), Status::QuotaExceeded, "its limit is 4194304");
        assert_eq!(rig.driver().info(1).unwrap().memory.rejections, 2);
    });
}

#[test]
fn sizes_and_alignments_are_checked() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        refused(rig.driver().alloc(1, 0), Status::InvalidArgument, "`size`");
        refused(rig.driver().alloc(1, 1 << 63), Status::QuotaExceeded, "9223372036854775808");
        refused(rig.driver().alloc(7, 16), Status::NotFound, "virtual GPU 7");
        refused(rig.driver().alloc(-7, 16), Status::InvalidArgument, "virtualGPUId");
        for alignment in [0, 3, 1 << 40] {
            refused(rig.memory().alloc(1, 16, alignment), Status::InvalidArgument, "alignment");
        }
        for size in [0, 1 << 63] {
            refused(rig.memory().create(2, size), Status::InvalidArgument, "`size`");
        }
        assert!(tenant::find("vgpu:2").is_err());
    });
}

#[test]
fn copies_go_by_their_kind_and_stay_inside() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        rig.driver().create(&gpu(2)).unwrap();
        let (a, b) = (rig.driver().alloc(1, 4096).unwrap(), rig.driver().alloc(1, 4096).unwrap());
        let foreign = rig.driver().alloc(2, 4096).unwrap();
        let from: Vec<u8> = (0..4096u32).map(|i| (i * 7) as u8).collect();
        let mut to = vec![0u8; 4096];
        let (host, back) = (from.as_ptr() as u64, to.as_mut_ptr() as u64);
        copy(rig, 1, a, host, 4096, CopyKind::HostToDevice).unwrap();
        copy(rig, 1, b, a, 4096, CopyKind::DeviceToDevice).unwrap();
        copy(rig, 1, back, b, 4096, CopyKind::DeviceToHost).unwrap();
        assert_eq!(from, to);
        to.fill(0);
        copy(rig, 1, back, host, 100, CopyKind::HostToHost).unwrap();
        copy(rig, 1, back + 100, a + 100, 3996, CopyKind::Default).unwrap();
        assert_eq!(from, to);

        use CopyKind::*;
        for (dst, src, kind) in [
            (a, host, DeviceToHost),
            (a, host, HostToHost),
            (a, host, DeviceToDevice),
            (back, a, HostToDevice),
            (b, a, DeviceToHost),
            (back, host, DeviceToDevice),
        ] {
            refused(copy(rig, 1, dst, src, 16, kind), Status::InvalidArgument, "`kind`");
        }
        refused(CopyKind::from_number(5), Status::InvalidArgument, "`kind`");
        refused(copy(rig, 1, a, host, 0, HostToDevice), Status::InvalidArgument, "`size`");
        refused(copy(rig, 1, a, host, 4097, HostToDevice), Status::InvalidArgument, "beyond");
        refused(copy(rig, 1, a, host, 1 << 63, HostToDevice), Status::InvalidArgument, "`dst`");
        refused(copy(rig, 1, a + 8, a, 16, DeviceToDevice), Status::InvalidArgument, "overlap");
        refused(copy(rig, 1, 0, host, 16, Default), Status::InvalidArgument, "`dst`");
        refused(copy(rig, 1, a, 0, 16, Default), Status::InvalidArgument, "`src`");
        refused(copy(rig, 1, foreign, host, 16, HostToDevice), Status::NotOwner, "vgpu:2");
        refused(copy(rig, 1, back, foreign, 16, DeviceToHost), Status::NotOwner, "vgpu:2");
        rig.driver().free(1, b).unwrap();
        refused(copy(rig, 1, b, host, 16, HostToDevice), Status::InvalidArgument, "freed");

        rig.memory().fill(1, a + 10, 0xEE, 20, None).unwrap();
        copy(rig, 1, back, a, 4096, DeviceToHost).unwrap();
        assert!(to[10..30].iter().all(|&x| x == 0xEE) && to[9] == from[9] && to[30] == from[30]);
        refused(rig.memory().fill(1, a, 0, 0, None), Status::InvalidArgument, "`size`");
        refused(rig.memory().fill(1, a, 0, 4097, None), Status::InvalidArgument, "beyond");
        refused(rig.memory().fill(1, foreign, 0, 16, None), Status::NotOwner, "vgpu:2");
        refused(rig.memory().fill(1, host, 0, 16, None), Status::NotOwner, "foreign");
    });
}

#[test]
fn work_goes_to_the_virtual_gpus_own_streams() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        let a = rig.driver().alloc(1, MIB).unwrap();
        for index in [-1, 2, i32::MAX, i32::MIN] {
            let e = rig.memory().fill(1, a, 1, 16, Some(index));
            refused(e, Status::InvalidArgument, "streamId");
            refused(rig.compute().synchronize(1, Some(index)), Status::InvalidArgument, "streamId");
        }
        rig.memory().fill(1, a, 3, MIB, Some(0)).unwrap();
        rig.driver().synchronize(1, Some(0)).unwrap();
        let mut to = vec![0u8; MIB as usize];
        copy(rig, 1, to.as_mut_ptr() as u64, a, MIB, CopyKind::DeviceToHost).unwrap();
        assert!(to.iter().all(|&x| x == 3));
        assert_eq!(rig.driver().status(1).unwrap(), GpuStatus::Idle);
        assert_eq!(rig.driver().status(9).unwrap(), GpuStatus::NotCreated);
        let streams = rig.compute().streams(1).unwrap();
        assert_eq!(streams.len(), 2);
        assert_eq!(streams[0].raw().is_null(), rig.kind == DeviceKind::Cpu);
        rig.compute().synchronize(1, None).unwrap();
    });
}

#[test]
fn bounds_on_their_number_hold() {
    each(|rig| {
        rig.driver().shutdown();
        let config = DriverConfig { device: rig.device, most_gpus: 2, most_streams: 5 };
        rig.driver().initialize(&config).unwrap();
        rig.driver().create(&gpu(1)).unwrap();
        let wide = GpuConfig { unit: UnitConfig { streams: 4, ..UnitConfig::default() }, ..gpu(2) };
        refused(rig.driver().create(&wide), Status::QuotaExceeded, "numVirtualStreams");
        rig.driver().create(&gpu(2)).unwrap();
        refused(rig.driver().create(&gpu(3)), Status::QuotaExceeded, "maxVirtualGPUs");
        rig.driver().destroy(1).unwrap();
        rig.driver().create(&gpu(3)).unwrap();
        rig.compute().shutdown();
        let config = ComputeConfig { device: rig.device, most_units: 1, ..ComputeConfig::default() };
        rig.compute().initialize(&config).unwrap();
        rig.compute().create(11, &UnitConfig::default()).unwrap();
        let e = rig.compute().create(12, &UnitConfig::default());
        refused(e, Status::QuotaExceeded, "maxVirtualComputeUnits");
        assert!(tenant::find("vgpu:12").is_err());
    });
}

#[test]
fn shares_and_precision_take_hold() {
    each(|rig| {
        let asked = |id, share| GpuConfig { unit: UnitConfig { share, ..UnitConfig::default() }, ..gpu(id) };
        rig.driver().create(&asked(1, 0.0)).unwrap();
        rig.driver().create(&asked(2, 0.0)).unwrap();
        let due = |id| rig.driver().info(id).unwrap().unit.share_due;
        assert!((due(1) - 0.5).abs() < 1e-6 && (due(2) - 0.5).abs() < 1e-6);
        rig.compute().set_share(1, 0.9).unwrap();
        assert!((due(1) - 0.9).abs() < 1e-6 && (due(2) - 0.1).abs() < 1e-6, "{} {}", due(1), due(2));
        assert!((tenant::find("vgpu:1").unwrap().share().weight() - 0.9).abs() < 1e-6);
        for share in [0.0, -1.0, 1.5, f32::NAN] {
            refused(rig.compute().set_share(1, share), Status::InvalidArgument, "computeShare");
        }
        rig.driver().destroy(1).unwrap();
        assert_eq!(due(2), 1.0);

        let math = || tenant::find("vgpu:2").unwrap().math();
        assert_eq!(math(), Math::Exact);
        rig.compute().set_tensor_cores(2, false).unwrap();
        assert_eq!((math(), rig.compute().info(2).unwrap().math), (Math::Plain, Math::Plain));
        rig.compute().set_precision(2, Precision::BF16).unwrap();
        assert_eq!(math(), Math::Plain);
        rig.compute().set_tensor_cores(2, true).unwrap();
        assert_eq!(math(), Math::Fast);
        refused(rig.compute().set_tensor_cores(5, true), Status::NotFound, "virtual GPU 5");
    });
}

#[test]
fn the_same_id_is_made_once_by_many_threads() {
    each(|rig| {
        let made = std::sync::atomic::AtomicUsize::new(0);
        for _ in 0..20 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        if rig.driver().create(&gpu(1)).is_ok() {
                            made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            let p = rig.driver().alloc(1, 4096).unwrap();
                            rig.driver().free(1, p).unwrap();
                            rig.driver().destroy(1).unwrap();
                        }
                    });
                }
            });
            assert!(tenant::find("vgpu:1").is_err());
        }
        assert!(made.load(std::sync::atomic::Ordering::SeqCst) >= 20);
    });
}

#[test]
fn scattered_memory_is_compacted_under_pointers_that_stay() {
    each(|rig| {
        rig.memory().shutdown();
        let config = MemoryConfig { device: rig.device, automatic: false, ..MemoryConfig::default() };
        rig.memory().initialize(&config).unwrap();
        rig.driver().create(&GpuConfig { memory_limit: 64 * MIB, ..gpu(1) }).unwrap();
        let granularity = rig.memory().info(1).unwrap().page_size;
        assert!(granularity >= 4096 && granularity.is_power_of_two());
        // A GPU's memory goes back by whole granules: tests/compaction.rs has the sizes for it.
        if rig.kind != DeviceKind::Cpu {
            return;
        }
        let piece = 512 << 10;
        let all: Vec<u64> = (0..128).map(|_| rig.driver().alloc(1, piece).unwrap()).collect();
        for (i, &ptr) in all.iter().enumerate() {
            rig.memory().fill(1, ptr, i as u8, piece, None).unwrap();
        }
        for ptr in all.iter().skip(1).step_by(2) {
            rig.driver().free(1, *ptr).unwrap();
        }
        let mut policy = rig.memory().policy(1).unwrap();
        policy.before_refusal = false;
        rig.memory().set_policy(1, policy).unwrap();
        let before = rig.memory().info(1).unwrap().fragmentation;
        assert!(before.level > 0.5 && before.free == 32 * MIB, "{before:?}");
        refused(rig.driver().alloc(1, 16 * MIB), Status::QuotaExceeded, "scattered");
        let done = rig.memory().compact(1, None).unwrap();
        assert!(done.complete && done.given_back > 0, "{done:?}");
        let info = rig.memory().info(1).unwrap();
        assert!(info.fragmentation.level < 0.01 && info.compactions.compactions == 1, "{info:?}");
        let large = rig.driver().alloc(1, info.fragmentation.largest).unwrap();
        assert!(info.fragmentation.largest >= 32 * MIB / 100 * 99);
        let mut back = vec![0u8; piece as usize];
        for (i, &ptr) in all.iter().enumerate().step_by(2) {
            copy(rig, 1, back.as_mut_ptr() as u64, ptr, piece, CopyKind::DeviceToHost).unwrap();
            assert!(back.iter().all(|&b| b == i as u8), "allocation {i} kept its content");
        }
        let pages = rig.memory().pages(1).unwrap();
        let live: u64 = pages.iter().map(|p| p.live).sum();
        assert_eq!(live, 32 * MIB + info.fragmentation.largest.next_multiple_of(256));
        rig.driver().free(1, large).unwrap();
        refused(
            rig.memory().compact(1, Some(std::time::Duration::ZERO)),
            Status::InvalidArgument,
            "max_pause",
        );
        policy.threshold = 2.0;
        refused(rig.memory().set_policy(1, policy), Status::InvalidArgument, "threshold");
    });
}

#[test]
fn what_writes_beyond_its_end_is_found() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        refused(rig.memory().check_guards(1), Status::InvalidArgument, "pattern");
        let mut policy = rig.memory().policy(1).unwrap();
        (policy.guard_bytes, policy.guard_pattern) = (256, true);
        rig.memory().set_policy(1, policy).unwrap();
        let ptr = rig.driver().alloc(1, 1000).unwrap();
        assert!(rig.memory().check_guards(1).unwrap().is_empty());
        refused(rig.memory().fill(1, ptr, 1, 1001, None), Status::InvalidArgument, "beyond");
        let tenant = tenant::find("vgpu:1").unwrap();
        // SAFETY: the gap behind the allocation is mapped; as a kernel of its owner would, past all checks.
        unsafe { tenant.device().fill(ptr + 1000, 7, 3, None).unwrap() };
        let found = rig.memory().check_guards(1).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].allocation.ptr, found[0].address, found[0].bytes), (ptr, ptr + 1000, 3));
    });
}

fn upload(rig: &Rig, id: i32, values: &[f32]) -> u64 {
    let bytes = values.len() as u64 * 4;
    let ptr = rig.driver().alloc(id, bytes).unwrap();
    copy(rig, id, ptr, values.as_ptr() as u64, bytes, CopyKind::HostToDevice).unwrap();
    ptr
}

fn download(rig: &Rig, id: i32, ptr: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0f32; count];
    copy(rig, id, values.as_mut_ptr() as u64, ptr, count as u64 * 4, CopyKind::DeviceToHost).unwrap();
    values
}

fn call(name: &str, arguments: Vec<Argument>) -> KernelCall {
    KernelCall {
        name: name.into(),
        module: None,
        launch: Launch::new([1; 3], [32, 1, 1]),
        arguments,
        timeout: None,
    }
}

#[test]
fn operations_run_on_the_virtual_gpus_streams() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        let (m, n, k) = (33, 17, 65);
        let a: Vec<f32> = (0..m * k).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| ((i * 5) % 11) as f32 - 5.0).collect();
        let (pa, pb) = (upload(rig, 1, &a), upload(rig, 1, &b));
        let pc = upload(rig, 1, &vec![9.0; m * n]);
        let product = MatMul::new(Element::F32, pa, pb, pc, m as u64, n as u64, k as u64);
        let number = rig.driver().matrix_multiply(1, &product, 1).unwrap();
        rig.driver().synchronize(1, Some(1)).unwrap();
        let c = download(rig, 1, pc, m * n);
        for i in 0..m {
            for j in 0..n {
                let want: f32 = (0..k).map(|x| a[i * k + x] * b[x * n + j]).sum();
                assert_eq!(c[i * n + j], want, "C[{i}][{j}]");
            }
        }
        assert_eq!(rig.compute().last_execution(1).unwrap(), number);
        let told = rig.compute().execution(1, number, None).unwrap();
        assert_eq!((told.state, told.stream), (ExecutionState::Finished, 1));
        let info = rig.compute().info(1).unwrap();
        assert!(info.work.launches >= 1 && !info.device_time.is_zero(), "{info:?}");

        // The same as a built-in kernel, by name.
        let arguments = vec![
            Argument::Pointer(pa),
            Argument::Pointer(pb),
            Argument::Pointer(pc),
            Argument::I32(m as i32),
            Argument::I32(n as i32),
            Argument::I32(k as i32),
            Argument::I32(0),
        ];
        rig.memory().fill(1, pc, 0, (m * n * 4) as u64, None).unwrap();
        rig.compute().execute(1, call("matrix_multiply", arguments.clone()), 0).unwrap();
        rig.compute().synchronize(1, Some(0)).unwrap();
        assert_eq!(download(rig, 1, pc, m * n), c);

        // What is wrong is told before anything is queued.
        let launches = rig.compute().info(1).unwrap().work.launches;
        let bad = |arguments: Vec<Argument>, status, word| {
            refused(rig.compute().execute(1, call("matrix_multiply", arguments), 0), status, word);
        };
        bad(arguments[..6].to_vec(), Status::InvalidArgument, "dataType");
        let mut wrong = arguments.clone();
        wrong[3] = Argument::F32(1.0);
        bad(wrong, Status::InvalidArgument, "`m`");
        let mut wrong = arguments.clone();
        wrong[2] = Argument::Pointer(pa);
        bad(wrong, Status::InvalidArgument, "`C`");
        let mut wrong = arguments.clone();
        wrong[0] = Argument::Pointer(0);
        bad(wrong, Status::InvalidArgument, "`A`");
        let mut wrong = arguments.clone();
        wrong[0] = Argument::Pointer(a.as_ptr() as u64);
        bad(wrong, Status::NotOwner, "`A`");
        let mut wrong = arguments.clone();
        wrong[5] = Argument::I32(66);
        bad(wrong, Status::InvalidArgument, "beyond");
        refused(
            rig.compute().execute(1, call("matrix_multiplu", vec![]), 0),
            Status::NotFound,
            "matrix_multiply",
        );
        refused(
            rig.compute().execute(1, call("matrix_multiply", arguments), 2),
            Status::InvalidArgument,
            "streamId",
        );
        assert_eq!(rig.compute().info(1).unwrap().work.launches, launches);
        let mut shape = call("set", vec![]);
        shape.launch.grid[1] = 0;
        refused(rig.compute().execute(1, shape, 0), Status::InvalidArgument, "gridDim");
    });
}

#[test]
fn host_functions_are_kernels_of_the_cpu_device() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        let gpu = rig.compute().gpu(1).unwrap();
        let body = |launch: &HostLaunch<'_>, arguments: &[Argument]| {
            let (Argument::Pointer(x), Argument::F32(by)) = (&arguments[0], &arguments[1]) else {
                panic!("kinds")
            };
            let threads = launch.block[0] as usize;
            let first = launch.index[0] as usize * threads;
            for i in first..first + threads {
                // SAFETY: the test's allocation has as many elements as the launch has threads.
                unsafe { *(*x as *mut f32).add(i) *= by };
            }
            Ok(())
        };
        let kinds = vec![ParameterKind::Pointer, ParameterKind::F32];
        gpu.library().register("scale_by", kinds, Calls::PerBlock, Arc::new(body)).unwrap();
        let ptr = upload(rig, 1, &[2.0; 128]);
        let mut scale = call("scale_by", vec![Argument::Pointer(ptr), Argument::F32(1.5)]);
        scale.launch = Launch::new([4, 1, 1], [32, 1, 1]);
        let started = rig.compute().execute(1, scale.clone(), 0);
        if rig.kind != DeviceKind::Cpu {
            refused(started, Status::Unsupported, "host function");
            return;
        }
        let number = started.unwrap();
        let told = rig.compute().execution(1, number, Some(Duration::from_secs(20))).unwrap();
        assert_eq!(told.state, ExecutionState::Finished, "{told:?}");
        assert_eq!(download(rig, 1, ptr, 128), [3.0; 128]);
        scale.arguments.pop();
        refused(rig.compute().execute(1, scale, 0), Status::InvalidArgument, "2 parameters");
        assert!(rig.compute().kernels(1).unwrap()["scale_by"] == "own");
        gpu.library().unregister("scale_by").unwrap();
    });
}

#[test]
fn memory_is_freed_behind_the_work_that_was_queued_with_it() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        let ptr = upload(rig, 1, &vec![1.0; 1 << 16]);
        let arguments = [Argument::Pointer(ptr), Argument::U64(1 << 16)];
        let more = [Argument::F32(1.0), Argument::F32(0.0), Argument::U64(2_000)];
        let iterate = call("iterate", arguments.into_iter().chain(more).collect());
        let queued: Vec<i32> =
            (0..6).map(|_| rig.compute().execute(1, iterate.clone(), 0).unwrap()).collect();
        rig.memory().free(1, ptr).unwrap();
        for execution in queued {
            let told = rig.compute().execution(1, execution, None).unwrap();
            assert_eq!((told.state, told.running), (ExecutionState::Finished, false), "{told:?}");
        }
    });
}

#[test]
fn executions_are_cancelled_and_time_out() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        let ptr = upload(rig, 1, &vec![1.0; 1 << 16]);
        let long = |times: u64| {
            let arguments = vec![
                Argument::Pointer(ptr),
                Argument::U64(1 << 16),
                Argument::F32(1.0),
                Argument::F32(0.0),
                Argument::U64(times),
            ];
            call("iterate", arguments)
        };
        let endless = 1 << 40;
        let running = rig.compute().execute(1, long(endless), 0).unwrap();
        let queued = rig.compute().execute(1, long(1), 0).unwrap();
        while rig.compute().execution(1, running, None).unwrap().state == ExecutionState::Queued {
            std::thread::yield_now();
        }
        assert_eq!(rig.driver().status(1).unwrap(), GpuStatus::Busy);
        let begun = std::time::Instant::now();
        rig.compute().cancel(1, running).unwrap();
        let told = rig.compute().execution(1, running, Some(Duration::from_secs(30))).unwrap();
        assert_eq!((told.state, told.running), (ExecutionState::Cancelled, false), "{told:?}");
        println!("stopped after {:?}", begun.elapsed());
        let told = rig.compute().execution(1, queued, Some(Duration::from_secs(30))).unwrap();
        assert_eq!(told.state, ExecutionState::Finished, "{told:?}");
        refused(rig.compute().cancel(1, queued), Status::NotFound, "ended already: finished");
        refused(rig.compute().cancel(1, 999_999), Status::NotFound, "execution 999999");
        refused(rig.compute().cancel(1, -5), Status::NotFound, "execution -5");

        let mut late = long(endless);
        late.timeout = Some(Duration::from_millis(20));
        let late = rig.compute().execute(1, late, 1).unwrap();
        let told = rig.compute().execution(1, late, Some(Duration::from_secs(30))).unwrap();
        assert_eq!((told.state, told.running), (ExecutionState::TimedOut, false), "{told:?}");
        rig.compute().set_timeout(1, Some(Duration::from_millis(20))).unwrap();
        let late = rig.compute().execute(1, long(endless), 1).unwrap();
        let told = rig.compute().execution(1, late, Some(Duration::from_secs(30))).unwrap();
        assert_eq!(told.state, ExecutionState::TimedOut, "{told:?}");
        refused(rig.compute().set_timeout(1, Some(Duration::ZERO)), Status::InvalidArgument, "timeoutMs");

        // Destroyed in use: nothing waits for work without end.
        rig.compute().set_timeout(1, None).unwrap();
        rig.compute().execute(1, long(endless), 0).unwrap();
        rig.compute().execute(1, long(endless), 0).unwrap();
        assert_eq!(rig.driver().destroy(1).unwrap().len(), 1);
    });
}

#[test]
fn a_live_unit_gets_other_processors() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        let ptr = upload(rig, 1, &vec![0.0; 1 << 16]);
        let all: u32 = tenant::find("vgpu:1").unwrap().device().units().iter().map(|u| u.processors).sum();
        let add = call(
            "iterate",
            vec![
                Argument::Pointer(ptr),
                Argument::U64(1 << 16),
                Argument::F32(1.0),
                Argument::F32(1.0),
                Argument::U64(1),
            ],
        );
        assert_eq!(rig.compute().info(1).unwrap().processors, all);
        for i in 0..100 {
            rig.compute().execute(1, add.clone(), 0).unwrap();
            if i % 20 == 10 {
                rig.compute().scale(1, if i % 40 == 10 { 1 } else { 0 }).unwrap();
            }
        }
        rig.compute().synchronize(1, None).unwrap();
        assert!(
            download(rig, 1, ptr, 1 << 16).iter().all(|&x| x == 100.0),
            "in order, none lost, none twice"
        );
        rig.compute().scale(1, 1).unwrap();
        let info = rig.compute().info(1).unwrap();
        assert!(info.processors < all || all == 1, "{info:?}");
        refused(rig.compute().scale(1, all + 1), Status::InvalidArgument, "numComputeUnits");
        rig.compute().shutdown();
        let config = ComputeConfig { device: rig.device, scaling: false, ..ComputeConfig::default() };
        rig.compute().initialize(&config).unwrap();
        refused(rig.compute().scale(1, 1), Status::Unsupported, "enableDynamicScaling");
    });
}

#[test]
fn memory_is_leased_and_asked_back() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        rig.driver().create(&gpu(2)).unwrap();
        let plain = rig.driver().alloc(1, MIB).unwrap();
        refused(rig.memory().export(1, plain, Access::Read), Status::Unsupported, "not allocated for export");
        let ptr = rig.memory().alloc_exportable(1, MIB).unwrap();
        rig.memory().fill(1, ptr, 0x5A, MIB, None).unwrap();
        let longest = Duration::from_secs(20);
        let lease = rig.memory().export(1, ptr, Access::Read).unwrap();
        let held = rig.driver().info(2).unwrap().memory.held;
        let (there, bytes) = rig.memory().import(2, lease, longest).unwrap();
        assert!(bytes >= MIB && rig.driver().info(2).unwrap().memory.held == held, "its owner is charged");
        let mut back = vec![0u8; MIB as usize];
        copy(rig, 2, back.as_mut_ptr() as u64, there, MIB, CopyKind::DeviceToHost).unwrap();
        assert!(back.iter().all(|&b| b == 0x5A));
        assert_eq!(rig.memory().leases(1, ptr).unwrap().len(), 1);
        refused(rig.driver().free(1, ptr), Status::Busy, "1 lease");
        assert!(!rig.memory().is_revoked(2, there, Duration::ZERO).unwrap());
        assert_eq!(rig.memory().revoke(1, ptr, Duration::ZERO).unwrap(), 1, "still mapped");
        assert!(rig.memory().is_revoked(2, there, longest).unwrap());
        refused(rig.memory().export(1, ptr, Access::Read), Status::Cancelled, "revoked");
        rig.memory().release_import(2, there).unwrap();
        refused(rig.memory().release_import(2, there), Status::InvalidArgument, "`ptr`");
        assert_eq!(rig.memory().revoke(1, ptr, longest).unwrap(), 0);
        rig.driver().free(1, ptr).unwrap();
        let file: std::os::fd::OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        refused(rig.memory().import(2, file, longest), Status::InvalidArgument, "lease");
    });
}

#[test]
fn over_commit_is_refused_where_memory_is_the_hosts_and_costed_elsewhere() {
    each(|rig| {
        rig.driver().create(&gpu(1)).unwrap();
        let set = rig.memory().set_spill_policy(1, SpillPolicy::Coldest, None);
        if rig.kind == DeviceKind::Cpu {
            refused(set, Status::Unsupported, "host's");
            refused(rig.memory().set_lending(1, true), Status::Unsupported, "lend_floor");
            refused(rig.memory().spill(1, MIB), Status::Unsupported, "not moved");
            return;
        }
        set.unwrap();
        let values: Vec<f32> = (0..1 << 21).map(|i| i as f32).collect();
        let ptr = upload(rig, 1, &values);
        assert!(rig.memory().spill(1, 8 * MIB).unwrap() >= 8 * MIB);
        let away = rig.memory().spill_figures(1).unwrap();
        assert!(away.spilled >= 8 * MIB && rig.driver().info(1).unwrap().memory.held == 8 * MIB, "{away:?}");
        assert_eq!(download(rig, 1, ptr, values.len()), values, "it comes back by itself");
        let back = rig.memory().spill_figures(1).unwrap();
        assert!(back.fetches >= 1 && back.bytes_in >= 8 * MIB && back.speed_in() > 0.0, "{back:?}");
        // Work of which the operation names the memory brings it back too.
        rig.memory().spill(1, 8 * MIB).unwrap();
        let scale = vec![
            Argument::Pointer(ptr),
            Argument::U64(values.len() as u64),
            Argument::F32(1.0),
            Argument::F32(1.0),
            Argument::U64(1),
        ];
        rig.compute().execute(1, call("iterate", scale), 0).unwrap();
        rig.compute().synchronize(1, None).unwrap();
        let wanted: Vec<f32> = values.iter().map(|v| v + 1.0).collect();
        assert_eq!(download(rig, 1, ptr, values.len()), wanted);
    });
}
