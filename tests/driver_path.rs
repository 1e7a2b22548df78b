//! The driver manager's switches, figures and self-test, on every device: the CPU and the GPUs there are, and once more on
//! two GPUs of the mock driver, in a process of its own.

#[cfg(feature = "cuda")]
mod mock_driver;

use cogniware::Status;
use cogniware::bridge::Bridge;
use cogniware::bridge::config::Map;
use cogniware::device::{
    Access, Count, Device, DeviceInfo, DeviceKind, DevicePtr, Granule, Node, Path, Place, Stream, Unit,
};
use cogniware::driver::Driver;
use cogniware::driver::diagnostics::{self, Outcome, Part};
use cogniware::kernel::Kernel;
use cogniware::tenant::{self, Tenant, TenantConfig};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

const MIB: u64 = 1 << 20;

/// Devices are switched for the whole process: one test at a time, and all as it was afterwards.
struct Turn {
    driver: Arc<Driver>,
    _one: MutexGuard<'static, ()>,
}

impl Turn {
    fn new() -> Turn {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(|broken| broken.into_inner());
        let kernel = Arc::new(Kernel::default());
        let driver = Arc::new(Driver::new(kernel));
        driver.initialize().unwrap();
        Turn { driver, _one: one }
    }

    fn each_device(&self, mut test: impl FnMut(&Arc<dyn Device>)) {
        for device in self.driver.kernel().unwrap().devices().unwrap() {
            test(&device);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.driver.configure(&map(&[("optimization_level", "low")]));
    }
}

fn map(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// On the mock: how many mappings its second GPU may use beside its own.
fn open_to_peers(device: &Arc<dyn Device>) -> Option<std::ffi::c_long> {
    let path = is_mock(device).then(|| std::env::var_os("COGNIWARE_LIBCUDA"))??;
    // SAFETY: the mock that this process uses already; the function is as its source has it.
    unsafe {
        let library = libloading::Library::new(path).unwrap();
        let count: libloading::Symbol<unsafe extern "C" fn(i32) -> std::ffi::c_long> =
            library.get(b"mock_peer_mappings").unwrap();
        Some(count(1))
    }
}

/// A tenant with the smallest node, closed at the end.
struct Guest(Arc<Tenant>);

impl Guest {
    fn new(device: &Arc<dyn Device>, bytes: u64) -> Guest {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("path-{}", NEXT.fetch_add(1, Ordering::SeqCst));
        let config = TenantConfig {
            memory_limit: bytes,
            memory_floor: 0,
            processors: device.units()[0].processors,
            weight: 1.0,
            priority: 2,
        };
        Guest(tenant::open(&id, device, &config).unwrap())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = tenant::close_this(&self.0);
    }
}

fn is_mock(device: &Arc<dyn Device>) -> bool {
    device.info().unwrap().name.contains("Mock")
}

fn read(device: &Arc<dyn Device>, at: u64, bytes: usize) -> Vec<u8> {
    let mut out = vec![0x11; bytes];
    device.read(&mut out, at).unwrap();
    out
}

#[test]
fn the_standard_path_takes_each_allocation_from_the_driver_and_keeps_quotas() {
    let turn = Turn::new();
    turn.each_device(|device| {
        let (guest, other) = (Guest::new(device, 8 * MIB), Guest::new(device, 8 * MIB));
        let space = guest.0.space();
        let made = || device.path().counted(Count::StandardAllocations);
        let before = made();
        let pooled = space.alloc(MIB, 256, "pooled").unwrap();
        assert_eq!(made(), before, "the direct path is the default");

        turn.driver.disable_direct_access().unwrap();
        let lone = space.alloc(MIB + 1, 256, "lone").unwrap();
        assert_eq!(made(), before + 1);
        assert!(!(pooled..pooled + MIB).contains(&lone) && lone.is_multiple_of(256));
        assert!(read(device, lone, MIB as usize + 1).iter().all(|&b| b == 0), "what was there shows");
        device.write(lone, &[7; 100]).unwrap();
        guest.0.fill(lone + 100, 9, MIB - 99, None).unwrap();
        let content = read(device, lone, MIB as usize + 1);
        assert!(content[..100].iter().all(|&b| b == 7) && content[100..].iter().all(|&b| b == 9));

        // Found and checked as the pool's are.
        let found = space.find(lone + MIB).unwrap();
        assert_eq!((found.ptr, found.bytes, found.tag.as_str()), (lone, MIB + 1, "lone"));
        assert!(space.check("p", lone + 1, MIB).is_ok());
        assert_eq!(space.check("p", lone + 1, MIB + 1).unwrap_err().status(), Status::InvalidArgument);
        assert_eq!(other.0.space().free(lone).unwrap_err().status(), Status::NotOwner);
        let mut host = [0u8; 8];
        // SAFETY: refused before anything is copied.
        let foreign = unsafe { other.0.copy(host.as_mut_ptr() as u64, lone, 8, None) };
        assert_eq!(foreign.unwrap_err().status(), Status::NotOwner);
        let inner = space.free(lone + 256).unwrap_err();
        assert!(inner.status() == Status::InvalidArgument && inner.message().contains("inside"), "{inner}");
        assert_eq!(space.leaks().iter().filter(|l| l.ptr == lone || l.ptr == pooled).count(), 2);
        assert_eq!(space.usage().allocations, 2);

        // To the byte, once the pool's part-filled granule is gone.
        assert_eq!(guest.0.account().held(), MIB + MIB + 256);
        space.free(pooled).unwrap();
        let held = guest.0.account().held();
        let rest = 8 * MIB - held;
        assert_eq!(space.alloc(rest + 1, 256, "x").unwrap_err().status(), Status::QuotaExceeded);
        let last = space.alloc(rest, 256, "x").unwrap();
        assert_eq!(space.alloc(1, 256, "x").unwrap_err().status(), Status::QuotaExceeded);
        assert_eq!(guest.0.account().held(), 8 * MIB);

        // An alignment that the driver does not promise.
        space.free(last).unwrap();
        for align in [4096, 1 << 16, 1 << 21] {
            let ptr = space.alloc(1000, align, "aligned").unwrap();
            assert!(ptr.is_multiple_of(align));
            space.free(ptr).unwrap();
        }

        // Each is freed as it came, on either path.
        turn.driver.enable_direct_access().unwrap();
        space.free(lone).unwrap();
        assert!(space.free(lone).is_err(), "freed twice");
        assert_eq!((guest.0.account().held(), space.usage().allocations), (0, 0));
        let count = made();
        space.alloc(MIB, 256, "pooled").unwrap();
        assert_eq!(made(), count);

        // What is left goes with the tenant.
        turn.driver.disable_direct_access().unwrap();
        let left = space.alloc(MIB, 256, "left").unwrap();
        assert_eq!(device.place(left), Place::Device);
        drop(guest);
        turn.driver.enable_direct_access().unwrap();
        assert!(cogniware::memory::owner_of(left).is_none());
    });
}

#[test]
fn threads_on_the_standard_path_never_pass_the_quota() {
    let turn = Turn::new();
    turn.driver.disable_direct_access().unwrap();
    turn.each_device(|device| {
        let guest = Guest::new(device, MIB);
        std::thread::scope(|scope| {
            for t in 0..4u64 {
                let tenant = &guest.0;
                scope.spawn(move || {
                    for i in 0..100 {
                        let taken: Vec<_> = (0..6)
                            .filter_map(|n| {
                                tenant.space().alloc((t * 77 + i * 31 + n) % 60_000 + 1, 256, "x").ok()
                            })
                            .collect();
                        assert!(tenant.account().held() <= MIB);
                        taken.into_iter().for_each(|ptr| tenant.space().free(ptr).unwrap());
                    }
                });
            }
        });
        assert_eq!(guest.0.account().held(), 0);
    });
}

#[test]
fn the_direct_path_records_steps_and_the_standard_one_launches_each_kernel() {
    let turn = Turn::new();
    turn.each_device(|device| {
        if device.kind() == DeviceKind::Cpu {
            return;
        }
        let guest = Guest::new(device, 32 * MIB);
        let ops = guest.0.ops().unwrap();
        let (x, y) =
            (guest.0.space().alloc(1024, 256, "x").unwrap(), guest.0.space().alloc(1024, 256, "y").unwrap());
        let launches = |direct: bool| {
            if direct {
                turn.driver.enable_direct_access().unwrap();
            } else {
                turn.driver.disable_direct_access().unwrap();
            }
            let step = || {
                let mut body = || (0..10).try_for_each(|_| ops.add(x, y, 256));
                ops.step(Some(1), &[], &mut body, &mut []).unwrap();
            };
            step();
            let before = device.path().counted(Count::Launches);
            step();
            device.path().counted(Count::Launches) - before
        };
        assert_eq!(launches(true), 1);
        assert_eq!(launches(false), 10);
        assert_eq!(launches(true), 1);
        ops.forget();
    });
}

#[test]
fn memory_optimization_takes_larger_pieces_and_keeps_them() {
    let turn = Turn::new();
    turn.each_device(|device| {
        let pieces = |on: bool| {
            if on {
                turn.driver.enable_memory_optimization().unwrap();
            } else {
                turn.driver.disable_memory_optimization().unwrap();
            }
            assert_eq!(turn.driver.memory_optimization().unwrap(), on);
            let guest = Guest::new(device, 200 * MIB);
            let space = guest.0.space();
            let before = device.path().counted(Count::Granules);
            let large = space.alloc(96 * MIB, 256, "large").unwrap();
            let region = space.region(64 * MIB, "region").unwrap();
            (1..=16).for_each(|n| region.grow(n * 4 * MIB).unwrap());
            let made = device.path().counted(Count::Granules) - before;
            let content = read(device, large + 95 * MIB, MIB as usize);
            assert!(content.iter().all(|&b| b == 0));
            drop(region);
            space.free(large).unwrap();
            let kept = space.usage().physical;
            // Undoing it gives back what it kept.
            turn.driver.disable_memory_optimization().unwrap();
            assert_eq!(guest.0.account().held(), 0);
            (made, kept, space.usage().physical)
        };
        let (frugal, frugal_kept, _) = pieces(false);
        let (pooled, pooled_kept, after) = pieces(true);
        assert!(pooled < frugal, "{pooled} pieces instead of {frugal}");
        assert!(pooled_kept > frugal_kept, "{pooled_kept} bytes kept instead of {frugal_kept}");
        assert_eq!(after, 0, "bytes kept after it was undone");
    });
}

#[test]
fn pools_that_keep_more_still_give_way() {
    let turn = Turn::new();
    turn.driver.enable_memory_optimization().unwrap();
    turn.each_device(|device| {
        let fill = |guest: &Guest, size: u64| {
            let space = guest.0.space();
            let mut all = Vec::new();
            while let Ok(ptr) = space.alloc(size, 256, "x") {
                all.push(ptr);
            }
            all.iter().for_each(|&ptr| space.free(ptr).unwrap());
            all.len() as u64
        };
        // What it keeps must not refuse it a large piece elsewhere.
        let guest = Guest::new(device, 64 * MIB);
        for size in [MIB, 3 * MIB + 256, 20 * MIB, 64 * MIB] {
            assert_eq!(fill(&Guest::new(device, 64 * MIB), size), 64 * MIB / size, "pieces of {size}");
            let again = fill(&guest, size);
            assert!(again >= 1 && again + 1 >= 64 * MIB / size, "{again} pieces of {size}");
        }
    });
}

/// Random copies, fills and waits on two streams, each followed in host memory: with transfer streams as without.
#[test]
fn transfers_keep_their_order() {
    const BYTES: usize = 256 << 10;
    let turn = Turn::new();
    turn.each_device(|device| {
        for on in [true, false] {
            if on {
                turn.driver.enable_async_transfers().unwrap();
            } else {
                turn.driver.disable_async_transfers().unwrap();
            }
            let beside = || device.path().counted(Count::OwnStreamCopies);
            let before = beside();
            let guest = Guest::new(device, 16 * MIB);
            let tenant = &guest.0;
            let streams = [tenant.new_stream(0).unwrap(), tenant.new_stream(0).unwrap()];
            let slots: Vec<u64> =
                (0..4).map(|_| tenant.space().alloc(BYTES as u64, 256, "slot").unwrap()).collect();
            let mut model = vec![0u8; slots.len()];
            let mut state = 0x1234_5678_9abc_def1u64;
            let mut dice = |below: usize| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 33) as usize % below
            };
            // Host memory of each copy lives until everything has run.
            let mut sources: Vec<Vec<u8>> = Vec::new();
            let mut results: Vec<(Box<[u8]>, u8)> = Vec::new();
            for round in 0..200u32 {
                let (stream, slot) = (&streams[dice(2)], dice(slots.len()));
                let value = round as u8 | 1;
                match dice(5) {
                    0 => {
                        sources.push(vec![value; BYTES]);
                        let from = sources.last().unwrap().as_ptr() as u64;
                        // SAFETY: the source lives until the streams were waited for.
                        unsafe {
                            tenant.copy(slots[slot], from, BYTES as u64, Some(stream.as_ref())).unwrap()
                        };
                        model[slot] = value;
                    }
                    1 => {
                        results.push((vec![0u8; BYTES].into(), model[slot]));
                        let to = results.last_mut().unwrap().0.as_mut_ptr() as u64;
                        // SAFETY: the target lives until the streams were waited for.
                        unsafe { tenant.copy(to, slots[slot], BYTES as u64, Some(stream.as_ref())).unwrap() };
                    }
                    2 => {
                        tenant.fill(slots[slot], value, BYTES as u64, Some(stream.as_ref())).unwrap();
                        model[slot] = value;
                    }
                    3 => {
                        let from = dice(slots.len());
                        if from != slot {
                            let (to, from_at) = (slots[slot], slots[from]);
                            // SAFETY: two allocations of that size.
                            unsafe { tenant.copy(to, from_at, BYTES as u64, Some(stream.as_ref())).unwrap() };
                            model[slot] = model[from];
                        }
                    }
                    _ => stream.synchronize().unwrap(),
                }
                // The next operation may come on the other stream: only an event may order the two.
                let event = stream.record().unwrap();
                streams.iter().for_each(|s| s.wait(&event).unwrap());
            }
            streams.iter().for_each(|s| s.synchronize().unwrap());
            for (i, (bytes, value)) in results.iter().enumerate() {
                assert!(bytes.iter().all(|b| b == value), "result {i}, transfer streams {on}");
            }
            for (slot, value) in slots.iter().zip(&model) {
                assert!(read(device, *slot, BYTES).iter().all(|b| b == value), "transfer streams {on}");
            }
            assert_eq!(beside() > before, on, "copies over transfer streams");
        }
    });
}

/// With transfer streams, memory that the driver allocated and page-locked memory go through no buffer.
#[test]
fn transfers_take_memory_of_every_kind() {
    const BYTES: usize = 1 << 20;
    let turn = Turn::new();
    turn.driver.enable_async_transfers().unwrap();
    turn.each_device(|device| {
        let guest = Guest::new(device, 16 * MIB);
        let tenant = &guest.0;
        let stream = tenant.new_stream(0).unwrap();
        let pooled = tenant.space().alloc(BYTES as u64, 256, "pooled").unwrap();
        turn.driver.disable_direct_access().unwrap();
        let lone = tenant.space().alloc(BYTES as u64, 256, "lone").unwrap();
        turn.driver.enable_direct_access().unwrap();
        let pinned = device.host_memory(BYTES as u64).ok();
        let ordinary = vec![0u8; BYTES];
        let mut ends = vec![pooled, lone, ordinary.as_ptr() as u64];
        ends.extend(pinned.as_ref().map(|p| p.address()));
        let mut back = vec![0u8; BYTES];
        let mut value = 0;
        for &from in &ends {
            for &to in &ends {
                if from == to || tenant.space().find(from).or(tenant.space().find(to)).is_none() {
                    continue;
                }
                value += 1;
                let source = vec![value; BYTES];
                // SAFETY: all are that long and live until the stream was waited for.
                unsafe {
                    device.copy(from, source.as_ptr() as u64, BYTES as u64, None).unwrap();
                    tenant.copy(to, from, BYTES as u64, Some(stream.as_ref())).unwrap();
                    stream.synchronize().unwrap();
                    device.copy(back.as_mut_ptr() as u64, to, BYTES as u64, None).unwrap();
                }
                assert!(back.iter().all(|&b| b == value), "{from:#x} to {to:#x}");
            }
        }
    });
}

/// The caller goes on while earlier work of the stream runs, though its memory is pageable.
#[cfg(feature = "cuda")]
#[test]
fn transfers_do_not_hold_the_caller() {
    use cogniware::device::cuda::{CudaDevice, CudaStream, Module};
    use std::ffi::c_void;
    const BYTES: usize = 4 << 20;
    const BLOCKS: u32 = 1 << 20;
    let turn = Turn::new();
    turn.driver.enable_async_transfers().unwrap();
    turn.each_device(|device| {
        let Ok(cuda) = CudaDevice::of(device.as_ref(), "device") else { return };
        if is_mock(device) {
            return;
        }
        let guest = Guest::new(device, 64 * MIB);
        let tenant = &guest.0;
        let stream = tenant.new_stream(0).unwrap();
        // Blocks of 20 microseconds each: long enough on every GPU.
        let kernel = Module::load(cuda, mock_driver::IMAGE).unwrap().function("mock_smid").unwrap();
        let mut out = tenant.space().alloc(u64::from(BLOCKS) * 4, 256, "out").unwrap();
        let (up, down) = (
            tenant.space().alloc(BYTES as u64, 256, "up").unwrap(),
            tenant.space().alloc(BYTES as u64, 256, "down").unwrap(),
        );
        let source = vec![5u8; BYTES];
        let mut back = vec![0u8; BYTES];
        let mut args = [(&raw mut out).cast::<c_void>()];
        // Both directions once before, so that streams and buffers are there.
        for timed in [false, true] {
            let before = stream.record().unwrap();
            // SAFETY: one parameter, an address with room for a word a block.
            unsafe {
                kernel
                    .launch(
                        CudaStream::of(stream.as_ref(), "stream").unwrap(),
                        [BLOCKS, 1, 1],
                        [32, 1, 1],
                        0,
                        &mut args,
                    )
                    .unwrap();
            }
            let after = stream.record().unwrap();
            // SAFETY: both live until the stream was waited for.
            unsafe {
                tenant.copy(up, source.as_ptr() as u64, BYTES as u64, Some(stream.as_ref())).unwrap();
                tenant.copy(back.as_mut_ptr() as u64, up, BYTES as u64, Some(stream.as_ref())).unwrap();
            }
            let held = after.is_done().unwrap();
            stream.synchronize().unwrap();
            println!("kernel {:?}, caller held: {held}", after.since(before.as_ref()).unwrap());
            assert!(!timed || !held, "the copies held the caller until the kernel had run");
            assert!(back.iter().all(|&b| b == 5));
        }
        let _ = down;
    });
}

#[test]
fn nvlink_joins_gpus_or_says_why_not() {
    let turn = Turn::new();
    let devices = turn.driver.kernel().unwrap().devices().unwrap();
    let gpus: Vec<_> = devices.iter().filter(|d| d.kind() == DeviceKind::Cuda).collect();
    let linked = turn.driver.enable_nvlink();
    if gpus.len() < 2 {
        let e = linked.unwrap_err();
        assert!(e.status() == Status::Unsupported && e.advice().unwrap().contains("two NVIDIA GPUs"), "{e}");
        assert!(turn.driver.nvlink_pairs().is_empty());
        let named = turn.driver.configure(&map(&[("nvlink", "true")])).unwrap_err();
        assert!(named.status() == Status::Unsupported && named.message().contains("nvlink"), "{named}");
        return turn.driver.disable_nvlink().unwrap();
    }
    let pairs = match linked {
        // GPUs without a way between them say so.
        Err(e) => return assert_eq!(e.status(), Status::Unsupported, "{e}"),
        Ok(pairs) => pairs,
    };
    assert_eq!(turn.driver.nvlink_pairs(), pairs);
    assert_eq!(turn.driver.configuration().unwrap()["nvlink"], "true");
    let of = |n: u32| gpus.iter().find(|d| d.ordinal() == n).unwrap();
    for &(a, b) in &pairs {
        let (a, b) = (of(a), of(b));
        let (one, two) = (Guest::new(a, 32 * MIB), Guest::new(b, 32 * MIB));
        let from = one.0.space().alloc(8 * MIB, 256, "from").unwrap();
        let to = two.0.space().alloc(8 * MIB, 256, "to").unwrap();
        one.0.fill(from, 0x5a, 8 * MIB, None).unwrap();
        let begun = std::time::Instant::now();
        // SAFETY: two allocations of that size; nothing is in flight.
        unsafe { b.copy(to, from, 8 * MIB, None).unwrap() };
        println!("8 MiB between GPUs in {:?}", begun.elapsed());
        assert!(read(b, to, 8 * MIB as usize).iter().all(|&byte| byte == 0x5a));
    }
    turn.driver.enable_nvlink().unwrap();
    // What is mapped afterwards is open to the peer too, and nothing is when it was undone.
    let guest = Guest::new(gpus[0], 32 * MIB);
    guest.0.space().alloc(MIB, 256, "later").unwrap();
    assert!(open_to_peers(gpus[0]).is_none_or(|n| n > 0));
    turn.driver.disable_nvlink().unwrap();
    assert!(open_to_peers(gpus[0]).is_none_or(|n| n == 0));
    assert!(turn.driver.nvlink_pairs().is_empty());
    assert_eq!(turn.driver.configuration().unwrap()["nvlink"], "false");
}

#[test]
fn a_configuration_is_checked_and_in_force_whole_or_not_at_all() {
    let turn = Turn::new();
    let driver = &turn.driver;
    let switches = || {
        let c = driver.configuration().unwrap();
        let on = |key: &str| c[key] == "true";
        (
            c["optimization_level"].clone(),
            on("direct_access"),
            on("async_transfers"),
            on("memory_optimization"),
        )
    };
    assert_eq!(switches(), ("low".into(), true, false, false));
    for (level, direct, transfers, memory) in [
        ("none", false, false, false),
        ("medium", true, true, false),
        ("high", true, true, true),
        ("low", true, false, false),
    ] {
        driver.configure(&map(&[("optimization_level", level)])).unwrap();
        assert_eq!(switches(), (level.into(), direct, transfers, memory));
        turn.each_device(|device| {
            let path = device.path();
            assert_eq!((path.direct(), path.own_streams(), path.pooled()), (direct, transfers, memory));
        });
    }
    driver.configure(&map(&[("optimization_level", "high"), ("direct_access", "false")])).unwrap();
    assert_eq!(switches(), ("custom".into(), false, true, true));
    let off = [("direct_access", "1"), ("memory_optimization", "0"), ("nvlink", "0"), ("tensor_cores", "0")];
    driver.configure(&map(&off)).unwrap();
    assert_eq!(switches(), ("medium".into(), true, true, false));
    let before = driver.configuration().unwrap();
    for (key, value) in [
        ("optimisation_level", "high"),
        ("optimization_level", "highest"),
        ("optimization_level", ""),
        ("direct_access", "yes"),
        ("async_transfers", ""),
        ("max_memory", "1"),
    ] {
        let e = driver.configure(&map(&[("direct_access", "false"), (key, value)])).unwrap_err();
        assert!(e.status() == Status::InvalidArgument && e.message().contains(key), "{e}");
        assert_eq!(driver.configuration().unwrap(), before, "{key} = {value:?} left something");
    }
    // The last one that cannot take effect takes the others back.
    if driver.enable_nvlink().is_err() {
        let e = driver.configure(&map(&[("direct_access", "false"), ("nvlink", "true")])).unwrap_err();
        assert_eq!(e.status(), Status::Unsupported, "{e}");
        assert_eq!(driver.configuration().unwrap(), before);
    }
}

#[test]
fn what_is_configured_before_initialize_takes_effect_there() {
    let turn = Turn::new();
    let early = Driver::new(Arc::new(Kernel::default()));
    assert_eq!(early.configuration().unwrap()["optimization_level"], "low");
    early.configure(&map(&[("optimization_level", "high")])).unwrap();
    early.configure(&map(&[("memory_optimization", "false")])).unwrap();
    assert!(early.configure(&map(&[("no_such_key", "1")])).is_err());
    assert_eq!(early.configuration().unwrap()["async_transfers"], "true");
    assert_eq!(turn.driver.configuration().unwrap()["async_transfers"], "false");
    early.initialize().unwrap();
    let now = turn.driver.configuration().unwrap();
    assert_eq!((now["async_transfers"].as_str(), now["memory_optimization"].as_str()), ("true", "false"));
    let never = Driver::new(Arc::new(Kernel::default()));
    for refused in [
        never.enable_direct_access(),
        never.disable_memory_optimization(),
        never.enable_async_transfers(),
        never.disable_nvlink(),
        never.run_diagnostics(),
        never.performance_stats().map(drop),
    ] {
        assert_eq!(refused.unwrap_err().status(), Status::NotInitialized);
    }
}

#[test]
fn information_tells_the_path_and_what_it_saves() {
    let turn = Turn::new();
    let info = turn.driver.info().unwrap();
    let number =
        |key: &str| -> f64 { info.get(key).unwrap_or_else(|| panic!("{key}: {info:#?}")).parse().unwrap() };
    let mut i = 0;
    turn.each_device(|device| {
        assert_eq!(info[&format!("device.{i}.path")], "direct");
        for path in ["direct", "standard"] {
            for figure in [
                "alloc_free_1MiB_{}_ns",
                "copy_64KiB_{}_us",
                "copy_1MiB_{}_us",
                "copy_32MiB_{}_us",
                "launch_{}_us",
            ] {
                let figure = figure.replace("{}", path);
                assert!(number(&format!("device.{i}.path.{figure}")) > 0.0, "{figure}");
            }
        }
        let of = |path: &str| number(&format!("device.{i}.path.alloc_free_1MiB_{path}_ns"));
        assert!(of("direct") < of("standard"), "{info:#?}");
        let saves = number(&format!("device.{i}.path.saves_alloc_free_ns"));
        assert!((saves - (of("standard") - of("direct"))).abs() < 1.0);
        if device.kind() == DeviceKind::Cuda {
            assert!(number(&format!("device.{i}.path.copy_32MiB_pinned_us")) > 0.0);
            assert!(number(&format!("device.{i}.path.alloc_free_1MiB_driver_pool_ns")) > 0.0);
        }
        println!("{:#?}", info.iter().filter(|(k, _)| k.contains("path")).collect::<Vec<_>>());
        i += 1;
    });
    // Measured once, and told as it is now.
    turn.driver.disable_direct_access().unwrap();
    let again = turn.driver.info().unwrap();
    assert_eq!(again["device.0.path"], "standard");
    assert_eq!(again["device.0.path.launch_direct_us"], info["device.0.path.launch_direct_us"]);
    assert!(tenant::list().iter().all(|t| !t.id().starts_with("cogniware-measure")));
}

#[test]
fn figures_move_with_the_work() {
    let turn = Turn::new();
    let mut i = 0;
    turn.each_device(|device| {
        let get = |key: &str| {
            let stats = turn.driver.performance_stats().unwrap();
            stats.get(&format!("device.{i}.{key}")).copied().unwrap_or(0.0)
        };
        let keys = [
            "allocations_pool",
            "allocations_standard",
            "granules_created",
            "launches",
            "copies_up",
            "copied_up_bytes",
            "copies_down",
            "copied_down_bytes",
            "copies_within",
            "copied_within_bytes",
        ];
        let before = keys.map(get);
        let guest = Guest::new(device, 16 * MIB);
        let (a, b) =
            (guest.0.space().alloc(MIB, 256, "a").unwrap(), guest.0.space().alloc(MIB, 256, "b").unwrap());
        device.write(a, &vec![1; MIB as usize]).unwrap();
        // SAFETY: two allocations of that size.
        unsafe { guest.0.copy(b, a, MIB, None).unwrap() };
        read(device, b, MIB as usize);
        turn.driver.disable_direct_access().unwrap();
        guest.0.space().alloc(100, 256, "c").unwrap();
        turn.driver.enable_direct_access().unwrap();
        let ops = guest.0.ops().unwrap();
        ops.step(None, &[], &mut || ops.add(a, b, 16), &mut []).unwrap();
        let moved: Vec<f64> = keys.map(get).iter().zip(before).map(|(now, then)| now - then).collect();
        let mib = MIB as f64;
        for (key, (moved, least)) in
            keys.iter().zip(moved.iter().zip([2.0, 1.0, 1.0, 1.0, 1.0, mib, 1.0, mib, 1.0, mib]))
        {
            assert!(*moved >= least, "{key} moved by {moved}, not {least}");
        }
        assert!(get("copied_up_gb_per_s") > 0.0 && get("copied_down_gb_per_s") > 0.0);
        // What a tenant did stays counted when it is gone.
        let pool = get("allocations_pool");
        drop(ops);
        drop(guest);
        assert!(get("allocations_pool") >= pool);
        i += 1;
    });
}

#[test]
fn the_embedded_kernels_name_their_gpus() {
    let turn = Turn::new();
    let gpus = turn.driver.supported_gpus().unwrap();
    for name in ["sm_75", "sm_80", "sm_90", "sm_120"] {
        assert!(gpus.contains_key(name), "{gpus:#?}");
    }
    assert!(gpus["sm_90"].contains("H200") && gpus.keys().any(|k| k.starts_with("compute_")));
    turn.each_device(|device| {
        if device.kind() == DeviceKind::Cuda {
            let line = format!("cuda:{} (", device.ordinal());
            assert!(gpus.values().any(|v| v.contains(&line)), "{line} is nowhere in {gpus:#?}");
        }
    });
}

/// The parts whose kernels the mock driver does not run.
const KERNELS: [&str; 4] = ["matrix_product", "quantized_product", "norm", "softmax"];

fn failed(parts: &[Part]) -> Vec<&'static str> {
    parts.iter().filter(|p| p.outcome == Outcome::Failed).map(|p| p.name).collect()
}

#[test]
fn the_self_test_passes_on_each_device() {
    let turn = Turn::new();
    let kernel = turn.driver.kernel().unwrap().clone();
    assert!(turn.driver.diagnostic_results().is_empty());
    for (i, device) in kernel.devices().unwrap().iter().enumerate() {
        kernel.select_device(i as i32).unwrap();
        let verdict = turn.driver.run_diagnostics();
        let parts = turn.driver.diagnostic_results();
        println!(
            "{:#?}",
            parts.iter().map(|p| (p.name, p.outcome, &p.detail, p.seconds)).collect::<Vec<_>>()
        );
        assert_eq!(parts.len(), 10);
        if is_mock(device) {
            assert_eq!(failed(&parts), KERNELS);
            assert!(
                verdict.unwrap_err().message().contains("4 of 10 parts failed, first \"matrix_product\"")
            );
        } else {
            assert_eq!(failed(&parts), Vec::<&str>::new());
            verdict.unwrap();
        }
        let text = diagnostics::as_map(&parts);
        assert!(text["copies"] == "passed" && text["copies.detail"].contains("GB/s"), "{text:#?}");
        assert!(text["copies.seconds"].parse::<f64>().unwrap() > 0.0);
    }
    assert!(tenant::list().iter().all(|t| !t.id().starts_with("cogniware-diagnostics")));
}

#[test]
fn the_bridges_self_test_runs_a_model_and_arrays() {
    let _turn = Turn::new();
    let bridge = Bridge::default();
    assert_eq!(bridge.run_diagnostics().unwrap_err().status(), Status::NotInitialized);
    bridge.initialize().unwrap();
    let verdict = bridge.run_diagnostics();
    let parts = bridge.diagnostic_results();
    println!("{:#?}", parts.iter().map(|p| (p.name, p.outcome, &p.detail, p.seconds)).collect::<Vec<_>>());
    assert_eq!(parts.len(), 12);
    let part = |name: &str| parts.iter().find(|p| p.name == name).unwrap().outcome;
    assert_eq!(part("arrays"), Outcome::Passed);
    if !is_mock(&bridge.device().unwrap()) {
        verdict.unwrap();
        assert_eq!(part("generation"), Outcome::Passed);
    }
    assert!(bridge.active_llms().unwrap().is_empty());
}

/// The CPU device with a fault that a test chooses.
struct Faulty {
    host: Arc<dyn Device>,
    fault: &'static str,
}

impl Device for Faulty {
    fn kind(&self) -> DeviceKind {
        self.host.kind()
    }
    fn ordinal(&self) -> u32 {
        self.host.ordinal()
    }
    fn info(&self) -> cogniware::Result<DeviceInfo> {
        let mut info = self.host.info()?;
        if self.fault == "info" {
            info.free_memory = info.total_memory + 1;
        }
        Ok(info)
    }
    fn memory(&self) -> cogniware::Result<(u64, u64)> {
        self.host.memory()
    }
    fn granularity(&self) -> u64 {
        self.host.granularity()
    }
    fn granule_create(&self, bytes: u64) -> cogniware::Result<Granule> {
        self.host.granule_create(bytes)
    }
    fn granule_release(&self, granule: Granule) {
        self.host.granule_release(granule);
    }
    fn granule_export(&self, granule: &Granule) -> cogniware::Result<OwnedFd> {
        self.host.granule_export(granule)
    }
    fn range_reserve(&self, bytes: u64) -> cogniware::Result<DevicePtr> {
        self.host.range_reserve(bytes)
    }
    fn range_release(&self, address: DevicePtr, bytes: u64) {
        self.host.range_release(address, bytes);
    }
    fn map(&self, address: DevicePtr, granule: &Granule, access: Access) -> cogniware::Result<()> {
        self.host.map(address, granule, access)?;
        if self.fault == "dirty" {
            self.host.write(address, &[1])?;
        }
        Ok(())
    }
    fn unmap(&self, address: DevicePtr, bytes: u64) -> cogniware::Result<()> {
        self.host.unmap(address, bytes)
    }
    fn write(&self, dst: DevicePtr, src: &[u8]) -> cogniware::Result<()> {
        self.host.write(dst, src)
    }
    fn read(&self, dst: &mut [u8], src: DevicePtr) -> cogniware::Result<()> {
        self.host.read(dst, src)?;
        if self.fault == "read" && dst.len() == 32 << 20 {
            dst[20_000_000] ^= 4;
        }
        if self.fault == "numbers" && dst.len() < 1 << 16 {
            // The sign of a number.
            let last = dst.len() - 1;
            dst[last] ^= 0x80;
        }
        Ok(())
    }
    unsafe fn copy(
        &self,
        dst: u64,
        src: u64,
        bytes: u64,
        stream: Option<&dyn Stream>,
    ) -> cogniware::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.host.copy(dst, src, bytes, if self.fault == "order" { None } else { stream }) }
    }
    unsafe fn fill(
        &self,
        dst: DevicePtr,
        value: u8,
        bytes: u64,
        stream: Option<&dyn Stream>,
    ) -> cogniware::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.host.fill(dst, value, bytes, stream) }
    }
    fn place(&self, address: u64) -> Place {
        self.host.place(address)
    }
    fn units(&self) -> &[Unit] {
        self.host.units()
    }
    fn node_create(&self, units: &[u32]) -> cogniware::Result<Arc<dyn Node>> {
        self.host.node_create(units)
    }
    fn synchronize(&self) -> cogniware::Result<()> {
        self.host.synchronize()
    }
    fn path(&self) -> &Path {
        self.host.path()
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self.host.as_any()
    }
}

#[test]
fn a_planted_fault_fails_its_part() {
    let _turn = Turn::new();
    for (fault, wanted) in [
        ("none", vec![]),
        ("info", vec!["device"]),
        ("read", vec!["copies", "patterns"]),
        ("dirty", vec!["allocation", "isolation"]),
        ("numbers", vec!["copies", "matrix_product", "quantized_product", "norm", "softmax"]),
        ("order", vec!["streams"]),
    ] {
        let host = cogniware::device::open(cogniware::device::DeviceChoice::Cpu).unwrap();
        let device: Arc<dyn Device> = Arc::new(Faulty { host, fault });
        let parts = diagnostics::run(&device);
        for part in &parts {
            println!("{fault}: {} {} {}", part.name, part.outcome, part.detail);
        }
        assert_eq!(failed(&parts), wanted, "{fault}");
        let verdict = diagnostics::verdict(&parts);
        assert_eq!(verdict.is_err(), !wanted.is_empty());
        assert!(parts.iter().all(|p| p.error.is_some() == (p.outcome == Outcome::Failed)));
    }
}

/// Everything above once more on two GPUs of the mock driver: its library is chosen once a process.
#[cfg(feature = "cuda")]
#[test]
fn on_the_mock() {
    if std::env::var_os("COGNIWARE_PATH_INNER").is_some() {
        return;
    }
    let library = mock_driver::build(&[]);
    let run = |filter: &[&str], faults: &str| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(filter)
            .args(["--nocapture", "--test-threads=1"])
            .env("COGNIWARE_PATH_INNER", "1")
            .env("COGNIWARE_LIBCUDA", &library)
            .env("COGNIWARE_DEVICE", "cuda")
            .env("COGNIWARE_MOCK_DEVICES", "2")
            .env("COGNIWARE_MOCK_FAIL", faults)
            .output()
            .unwrap()
    };
    let said = |out: &std::process::Output| {
        format!("{}\n{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    };
    let out = run(&[], "");
    assert!(out.status.success(), "{}", said(&out));
    // A driver that fails a copy now and then is found out.
    let out = run(&["--exact", "the_self_test_passes_on_each_device"], "cuMemcpyAsync:3:1");
    assert!(!out.status.success() && said(&out).contains("\"copies\",\n        Failed"), "{}", said(&out));
    std::fs::remove_file(library).unwrap();
}
