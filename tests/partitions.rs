//! Every kind of memory partition, direct memory access and shared arrays: on the CPU device, on the mock driver, and on a
//! GPU where there is one. A second process is this program run again (see `child`).

#[cfg(feature = "cuda")]
mod mock_driver;

use cogniware::bridge::Array;
use cogniware::compute::Priority;
use cogniware::device::{self, Device, DeviceChoice, DeviceKind, Filter};
use cogniware::kernel::{Kernel, Partition, PartitionType, TextureShape};
use cogniware::tenant::{self, Tenant, TenantConfig};
use cogniware::{Error, Result, Status};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const MIB: u64 = 1 << 20;

/// A kernel manager and the device that its tenants here are on.
struct Rig {
    kernel: Kernel,
    device: Arc<dyn Device>,
}

impl Rig {
    fn new(device: Arc<dyn Device>) -> Rig {
        let kernel = Kernel::default();
        kernel.initialize().unwrap();
        Rig { kernel, device }
    }

    fn tenant_of(&self, limit: u64) -> Arc<Tenant> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("partitions-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let config = TenantConfig { memory_limit: limit, ..TenantConfig::default_on(&self.device).unwrap() };
        tenant::open(&id, &self.device, &config).unwrap()
    }

    fn tenant(&self) -> Arc<Tenant> {
        self.tenant_of(64 * MIB)
    }

    fn on_cpu(&self) -> bool {
        self.device.kind() == DeviceKind::Cpu
    }

    fn make(&self, tenant: &Tenant, bytes: u64, kind: PartitionType) -> Partition {
        let id = self.kernel.create_partition(bytes, kind, tenant.id()).unwrap();
        self.kernel.partition(id).unwrap()
    }

    fn read(&self, id: i32, bytes: usize) -> Vec<u8> {
        let mut data = vec![0xEE; bytes];
        self.kernel.read_partition(id, 0, &mut data).unwrap();
        data
    }

    /// Ends a tenant that must hold nothing any more.
    fn done(&self, tenant: &Arc<Tenant>) {
        let usage = tenant.space().usage();
        assert_eq!((usage.held, usage.allocations), (0, 0), "something of {} stayed", tenant.id());
        assert!(tenant::close_this(tenant).unwrap().is_empty());
    }
}

fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[track_caller]
fn refused<T>(result: Result<T>, status: Status, text: &str) -> Error {
    let e = result.err().expect("it was taken");
    assert!(e.status() == status && e.to_string().contains(text), "{:?}: {e}", e.status());
    e
}

fn suite(rig: &Rig) {
    type Part = (&'static str, fn(&Rig));
    let parts: [Part; 9] = [
        ("global", global),
        ("constant", constant),
        ("shared", shared),
        ("texture", texture),
        ("local", local),
        ("direct", direct),
        ("arrays", arrays),
        ("refusals", refusals),
        ("threads", threads),
    ];
    for (name, part) in parts {
        println!("  {name}");
        part(rig);
    }
}

fn global(rig: &Rig) {
    let tenant = rig.tenant();
    let p = rig.make(&tenant, 5000, PartitionType::Global);
    assert_eq!((p.bytes, p.texture), (5000, 0));
    assert_eq!(p.offset, p.device_ptr - tenant.space().base());
    assert_eq!(p.host_ptr, if rig.on_cpu() { p.device_ptr } else { 0 });
    assert!(p.created.elapsed().unwrap().as_secs() < 60);
    assert_eq!(tenant.space().usage().held, 5120);
    rig.kernel.write_partition(p.id, 1000, &pattern(1, 4000)).unwrap();
    let mut back = vec![0; 4000];
    rig.kernel.read_partition(p.id, 1000, &mut back).unwrap();
    assert_eq!(back, pattern(1, 4000));
    refused(rig.kernel.write_partition(p.id, 1001, &back), Status::InvalidArgument, "offset");
    refused(rig.kernel.read_partition(p.id, u64::MAX, &mut back), Status::InvalidArgument, "offset");
    // Only the partition's own call gives it back.
    refused(rig.kernel.free(p.device_ptr), Status::InvalidArgument, "partition");
    refused(tenant.free(p.device_ptr), Status::InvalidArgument, "partition");
    assert!(rig.kernel.export_partition(p.id).unwrap_err().message().contains("no shared memory"));
    refused(rig.kernel.sample_texture(p.id, &[], &mut []), Status::InvalidArgument, "no texture memory");
    rig.kernel.destroy_partition(p.id).unwrap();
    refused(rig.kernel.destroy_partition(p.id), Status::NotFound, "does not exist");
    rig.done(&tenant);
}

fn constant(rig: &Rig) {
    let (kernel, tenant) = (&rig.kernel, rig.tenant());
    let p = rig.make(&tenant, 5000, PartitionType::Constant);
    assert_eq!(p.bytes, rig.device.granularity(), "whole granules");
    assert_eq!(tenant.space().usage().held, p.bytes);
    assert_eq!(p.offset, p.device_ptr - tenant.space().base());
    let data = pattern(3, 5000);
    // SAFETY: the host ranges have the size given.
    let (into, out_of) = unsafe {
        let mut out = vec![0u8; 5000];
        (
            kernel.copy(p.device_ptr, data.as_ptr() as u64, 5000),
            kernel.copy(out.as_mut_ptr() as u64, p.device_ptr, 5000).map(|()| out),
        )
    };
    refused(into, Status::InvalidArgument, "dst");
    assert_eq!(out_of.unwrap(), vec![0; 5000], "zero before it is written");
    kernel.write_partition(p.id, 0, &data).unwrap();
    assert_eq!(rig.read(p.id, 5000), data);
    refused(kernel.write_partition(p.id, 0, &[1]), Status::AlreadyExists, "written already");
    // SAFETY: as above.
    let again = unsafe { kernel.copy(p.device_ptr, data.as_ptr() as u64 + 1, 4000) };
    refused(again, Status::InvalidArgument, "dst");
    refused(tenant.fill(p.device_ptr, 1, 100, None), Status::InvalidArgument, "dst");
    assert_eq!(rig.read(p.id, 5000), data, "a refused copy changed it");
    assert_eq!(rig.read(p.id, p.bytes as usize)[5000..], vec![0; p.bytes as usize - 5000]);
    // Who reads it while it is written for the first time finds zeros or the data, and no hole.
    for _ in 0..20 {
        let other = rig.make(&tenant, 5000, PartitionType::Constant);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| while rig.read(other.id, 5000) != data {});
            kernel.write_partition(other.id, 0, &data).unwrap();
            reader.join().unwrap();
        });
        kernel.destroy_partition(other.id).unwrap();
    }
    // Its neighbours in the tenant's range are not read-only.
    let beside = tenant.alloc(100, "beside").unwrap();
    tenant.fill(beside, 1, 100, None).unwrap();
    tenant.free(beside).unwrap();
    kernel.destroy_partition(p.id).unwrap();
    rig.done(&tenant);
}

fn shared(rig: &Rig) {
    let (kernel, one, two) = (&rig.kernel, rig.tenant(), rig.tenant());
    let p = rig.make(&one, 3 * MIB, PartitionType::Shared);
    assert_eq!(p.bytes, (3 * MIB).next_multiple_of(rig.device.granularity()));
    let fd = kernel.export_partition(p.id).unwrap();
    let copy = kernel.import_partition(fd.as_fd(), p.bytes, two.id()).unwrap();
    let twin = kernel.partition(copy).unwrap();
    assert_eq!((twin.kind, twin.bytes, &twin.owner[..]), (PartitionType::Shared, p.bytes, two.id()));
    assert_eq!((one.space().usage().held, two.space().usage().held), (p.bytes, p.bytes));
    kernel.write_partition(p.id, 0, &pattern(5, 3000)).unwrap();
    assert_eq!(rig.read(copy, 3000), pattern(5, 3000), "the same memory");
    kernel.write_partition(copy, 0, &pattern(6, 3000)).unwrap();
    assert_eq!(rig.read(p.id, 3000), pattern(6, 3000));
    if rig.on_cpu() {
        refused(
            kernel.import_partition(fd.as_fd(), 2 * p.bytes, two.id()),
            Status::InvalidArgument,
            "the memory has",
        );
    }
    let file = tempfile::tempfile().unwrap();
    assert!(kernel.import_partition(file.as_fd(), p.bytes, two.id()).is_err(), "a file is no granule");
    assert_eq!(two.space().usage().held, p.bytes, "a refused import was charged");
    drop(fd);
    kernel.destroy_partition(p.id).unwrap();
    rig.done(&one);
    assert_eq!(rig.read(copy, 3000), pattern(6, 3000), "it lives as long as somebody maps it");
    kernel.destroy_partition(copy).unwrap();
    rig.done(&two);
}

/// What a texture of `width` by `height` elements reads at a place, written as the definition says it.
fn expected(data: &[f32], width: i64, height: i64, filter: Filter, [x, y]: [f32; 2]) -> f32 {
    let at = |i: i64, j: i64| data[(j.clamp(0, height - 1) * width + i.clamp(0, width - 1)) as usize];
    if filter == Filter::Point {
        return at(x.floor() as i64, y.floor() as i64);
    }
    let (i, j) = ((x - 0.5).floor(), (y - 0.5).floor());
    let (a, b) = (x - 0.5 - i, y - 0.5 - j);
    let (i, j) = (i as i64, j as i64);
    (1.0 - a) * (1.0 - b) * at(i, j)
        + a * (1.0 - b) * at(i + 1, j)
        + (1.0 - a) * b * at(i, j + 1)
        + a * b * at(i + 1, j + 1)
}

fn texture(rig: &Rig) {
    let (kernel, tenant) = (&rig.kernel, rig.tenant());
    let p = rig.make(&tenant, 4096, PartitionType::Texture);
    assert!(p.texture != 0 && p.device_ptr.is_multiple_of(512));
    let data: Vec<f32> = (0..1024).map(|i| ((i * 37) % 101) as f32).collect();
    let bytes: Vec<u8> = data.iter().flat_map(|v| v.to_ne_bytes()).collect();
    kernel.write_partition(p.id, 0, &bytes).unwrap();
    let compare = |width: u64, height: u64, filter| {
        let mut places = vec![[0.5, 0.5], [-7.0, 0.5], [1e6, -1e6], [width as f32, height as f32]];
        for k in 0..500 {
            let k = k as f32;
            places
                .push([(k * 0.731) % (width as f32 + 2.0) - 1.0, (k * 0.377) % (height as f32 + 2.0) - 1.0]);
        }
        let mut values = vec![f32::NAN; places.len()];
        kernel.sample_texture(p.id, &places, &mut values).unwrap();
        let mut between = 0;
        for (place, value) in places.iter().zip(&values) {
            let want = expected(&data, width as i64, height as i64, filter, *place);
            between += u32::from(value.fract() != 0.0);
            // Texture units know places to a 256th part: beside an edge either element is right.
            let edge = |v: f32| (v - v.round()).abs() < 0.005 && v > 0.0;
            if filter == Filter::Point && !rig.on_cpu() && (edge(place[0]) || edge(place[1])) {
                continue;
            }
            // Weights have 8 bits: a step of 1/256 over differences of up to 100, in two directions.
            assert!(
                (value - want).abs() <= 0.8,
                "{width}x{height} {filter:?} {place:?}: {value}, not {want}"
            );
            assert!(filter == Filter::Linear || *value == want, "{place:?}: {value}, not {want}");
        }
        assert_eq!(between > 50, filter == Filter::Linear, "{between} values lie between elements");
    };
    // As it was made: one row, linear.
    compare(1024, 1, Filter::Linear);
    for (width, height, filter) in [
        (1024, 1, Filter::Point),
        (32, 32, Filter::Linear),
        (32, 32, Filter::Point),
        (8, 128, Filter::Linear),
    ] {
        let before = kernel.partition(p.id).unwrap().texture;
        let handle = kernel.bind_texture(p.id, TextureShape { width, height, pitch: 0, filter }).unwrap();
        assert!(handle != 0 && (handle != before || !rig.on_cpu()));
        assert_eq!(kernel.partition(p.id).unwrap().texture, handle);
        compare(width, height, filter);
    }
    let filter = Filter::Linear;
    for (width, height, pitch, named) in [
        (0, 1, 0, "width"),
        (8, 0, 0, "height"),
        (1025, 1, 0, "pass"),
        (32, 33, 0, "pass"),
        (32, 32, 100, "pitch"),
        (32, 32, 64, "pitch"),
        (u64::MAX, 1, 0, "overflow"),
        (8, u64::MAX, 0, "pass"),
    ] {
        let shape = TextureShape { width, height, pitch, filter };
        refused(kernel.bind_texture(p.id, shape), Status::InvalidArgument, named);
    }
    compare(8, 128, Filter::Linear);
    refused(
        kernel.create_partition(30, PartitionType::Texture, tenant.id()),
        Status::InvalidArgument,
        "size",
    );
    refused(kernel.sample_texture(p.id, &[[0.0; 2]], &mut []), Status::InvalidArgument, "out");
    kernel.destroy_partition(p.id).unwrap();
    rig.done(&tenant);
}

/// Bytes of stack of the thread that calls it.
fn own_stack() -> u64 {
    // SAFETY: the structures are filled by the calls before they are read.
    unsafe {
        let mut attributes = std::mem::zeroed::<libc::pthread_attr_t>();
        assert_eq!(libc::pthread_getattr_np(libc::pthread_self(), &mut attributes), 0);
        let (mut at, mut bytes) = (std::ptr::null_mut(), 0);
        assert_eq!(libc::pthread_attr_getstack(&attributes, &mut at, &mut bytes), 0);
        libc::pthread_attr_destroy(&mut attributes);
        bytes as u64
    }
}

fn deep(levels: u64) -> u64 {
    let frame = std::hint::black_box([levels as u8; 4096]);
    if levels == 0 { 0 } else { 1 + deep(levels - 1) + u64::from(frame[7] != levels as u8) }
}

fn local(rig: &Rig) {
    if !rig.on_cpu() {
        return local_gpu(rig);
    }
    let (kernel, tenant) = (&rig.kernel, rig.tenant());
    let stack_of = |tenant: &Arc<Tenant>| -> u64 {
        let body = Box::new(|_: &_| Ok(own_stack().to_string()));
        let task = tenant.schedule(None, "stack", Priority::Normal, 0, 0, body).unwrap();
        task.wait(None).unwrap().result.parse().unwrap()
    };
    let usual = stack_of(&tenant);
    let p = rig.make(&tenant, 16 * MIB + 1, PartitionType::Local);
    assert_eq!((p.bytes, p.device_ptr, p.offset, p.host_ptr), (16 * MIB + 4096, 0, 0, 0));
    assert_eq!(tenant.space().usage().held, p.bytes);
    let bound = stack_of(&tenant);
    assert!(bound != usual && bound.abs_diff(p.bytes) < 128 << 10, "{bound} instead of {}", p.bytes);
    // What needs more than the usual stack runs; two at a time are charged two stacks.
    let (tell, told) = std::sync::mpsc::channel();
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(std::sync::Mutex::new(gate));
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let (tell, gate) = (tell.clone(), gate.clone());
            let body = Box::new(move |_: &_| {
                let levels = deep(2500);
                tell.send(levels).unwrap();
                let _ = gate.lock().unwrap().recv();
                Ok(levels.to_string())
            });
            tenant.schedule(None, "deep", Priority::Normal, 0, 0, body).unwrap()
        })
        .collect();
    assert_eq!((told.recv().unwrap(), told.recv().unwrap()), (2500, 2500));
    assert_eq!(tenant.space().usage().held, 2 * p.bytes);
    drop(go);
    for task in tasks {
        assert_eq!(task.wait(None).unwrap().result, "2500");
    }
    assert_eq!(tenant.space().usage().held, p.bytes);
    // Within the tenant's limit: two of 40 MiB are not.
    let large = rig.make(&tenant, 40 * MIB, PartitionType::Local);
    assert_eq!(stack_of(&tenant) >> 20, 40, "the largest counts");
    refused(
        kernel.create_partition(40 * MIB, PartitionType::Local, tenant.id()),
        Status::QuotaExceeded,
        "stack",
    );
    for bad in [1, 1 << 40] {
        refused(
            kernel.create_partition(bad, PartitionType::Local, tenant.id()),
            Status::InvalidArgument,
            "size",
        );
    }
    refused(kernel.write_partition(p.id, 0, &[1]), Status::Unsupported, "local");
    kernel.destroy_partition(large.id).unwrap();
    kernel.destroy_partition(p.id).unwrap();
    assert_eq!(stack_of(&tenant), usual);
    rig.done(&tenant);
}

fn local_gpu(rig: &Rig) {
    let (before, threads) = rig.device.thread_stack().unwrap();
    assert!(threads >= 1024);
    let wanted = 2 * before;
    let tenant = rig.tenant_of(4 * wanted * threads);
    let p = rig.make(&tenant, wanted, PartitionType::Local);
    assert_eq!((p.bytes, p.device_ptr), (wanted, 0));
    assert_eq!(tenant.space().usage().held, wanted * threads);
    assert!(rig.device.thread_stack().unwrap().0 >= wanted);
    let small = rig.make(&tenant, before / 2, PartitionType::Local);
    assert!(rig.device.thread_stack().unwrap().0 >= wanted, "the largest counts");
    refused(
        rig.kernel.create_partition(8 * wanted, PartitionType::Local, tenant.id()),
        Status::QuotaExceeded,
        "local",
    );
    assert!(rig.device.thread_stack().unwrap().0 < 8 * wanted);
    rig.kernel.destroy_partition(p.id).unwrap();
    assert_eq!(rig.device.thread_stack().unwrap().0, before, "never below what it was");
    rig.kernel.destroy_partition(small.id).unwrap();
    rig.done(&tenant);
}

fn direct(rig: &Rig) {
    let (kernel, tenant, other) = (&rig.kernel, rig.tenant(), rig.tenant());
    let early = kernel.alloc(1000, tenant.id()).unwrap();
    refused(kernel.direct_pointer(early, 1), Status::NotInitialized, "enableDirectMemoryAccess");
    refused(kernel.disable_direct(tenant.id()), Status::NotInitialized, "no direct memory access");
    refused(kernel.disable_direct("nobody at all"), Status::NotFound, "nobody");
    kernel.enable_direct(tenant.id()).unwrap();
    kernel.enable_direct(tenant.id()).unwrap();
    if !rig.on_cpu() {
        refused(kernel.direct_pointer(early, 1), Status::Unsupported, "the GPU's own memory");
    }
    let held = tenant.space().usage().held;
    let memory = kernel.alloc(1000, tenant.id()).unwrap();
    assert_eq!(tenant.space().usage().held, held + 1024);
    let host = kernel.direct_pointer(memory + 8, 992).unwrap();
    // SAFETY: 992 bytes that the call said the host may use.
    let seen = unsafe { std::slice::from_raw_parts_mut(host as *mut u8, 992) };
    assert_eq!(seen, vec![0; 992]);
    seen.copy_from_slice(&pattern(9, 992));
    let mut back = vec![0u8; 992];
    // SAFETY: the host range has the size given.
    unsafe { kernel.copy(back.as_mut_ptr() as u64, memory + 8, 992).unwrap() };
    assert_eq!(back, pattern(9, 992), "the device sees what the host wrote");
    tenant.fill(memory + 8, 7, 10, None).unwrap();
    assert_eq!(seen[..11], [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, back[10]], "the host sees what the device wrote");
    refused(kernel.direct_pointer(memory + 8, 993), Status::InvalidArgument, "go beyond");
    refused(kernel.direct_pointer(0, 1), Status::InvalidArgument, "null");
    refused(kernel.direct_pointer(back.as_ptr() as u64, 1), Status::NotOwner, "no tenant's memory");
    let foreign = kernel.alloc(64, other.id()).unwrap();
    refused(kernel.direct_pointer(foreign, 1), Status::NotInitialized, other.id());
    refused(tenant.direct_pointer(foreign, 1), Status::NotOwner, other.id());
    refused(kernel.alloc(1 << 40, tenant.id()), Status::QuotaExceeded, "wanted");
    kernel.disable_direct(tenant.id()).unwrap();
    refused(kernel.direct_pointer(memory, 1), Status::NotInitialized, "enableDirectMemoryAccess");
    // Still the device's, until it is freed.
    // SAFETY: as above.
    unsafe { kernel.copy(back.as_mut_ptr() as u64, memory + 8, 992).unwrap() };
    assert_eq!(back[0], 7);
    for p in [memory, early, foreign] {
        kernel.free(p).unwrap();
    }
    assert!(kernel.free(memory).is_err());
    // SAFETY: as above; what was freed is refused or, as plain host memory, never reached: neither end is a tenant's.
    assert!(unsafe { kernel.copy(memory, back.as_ptr() as u64, 10) }.is_err());
    rig.done(&tenant);
    rig.done(&other);
}

fn arrays(rig: &Rig) {
    let (tenant, other) = (rig.tenant(), rig.tenant());
    let array = Array::shared(&tenant, 1000).unwrap();
    assert_eq!(tenant.space().usage().held, 4096);
    assert_eq!(array.shared_address().unwrap(), array.address());
    // SAFETY: 1000 elements of the array, which this test alone uses.
    let own = unsafe { std::slice::from_raw_parts_mut(array.address() as *mut f32, 1000) };
    assert!(own.iter().all(|&v| v == 0.0));
    own[3] = 1.5;
    let fd = array.shared_descriptor().unwrap();
    let names = [array.shared_name().unwrap(), fd.as_raw_fd().to_string()];
    for (name, value) in names.iter().zip([2.5, 3.5]) {
        let opened = Array::open_shared(&other, name).unwrap();
        assert_eq!((opened.len(), other.space().usage().held), (1000, 4096));
        assert_ne!(opened.address(), array.address());
        // SAFETY: as above.
        let seen = unsafe { std::slice::from_raw_parts_mut(opened.address() as *mut f32, 1000) };
        assert!(seen[3] == own[3]);
        seen[999] = value;
        assert_eq!(own[999], value);
    }
    assert_eq!(other.space().usage().held, 0);
    // The device works on it, and only within it and its tenant.
    tenant.fill(array.address(), 0, 4, None).unwrap();
    refused(tenant.fill(array.address() + 4, 0, 4000, None), Status::InvalidArgument, "go beyond");
    refused(other.fill(array.address(), 0, 4, None), Status::NotOwner, tenant.id());
    let memory = tenant.alloc(4000, "copy").unwrap();
    let freed = tenant.alloc(4000, "freed").unwrap();
    tenant.free(freed).unwrap();
    let foreign = other.alloc(4000, "foreign").unwrap();
    // SAFETY: the array's size, in memory of the tenant; the others are refused.
    unsafe {
        array.copy_to(memory).unwrap();
        own.fill(0.0);
        array.copy_from(memory).unwrap();
        assert_eq!((own[3], own[999]), (1.5, 3.5));
        for bad in [0, memory + 4, freed, foreign, array.address() + 4] {
            let e = array.copy_to(bad).unwrap_err();
            assert!(e.message().contains("gpuPtr"), "{e}");
            assert!(array.copy_from(bad).is_err());
        }
    }
    refused(rig.kernel.free(array.address()), Status::InvalidArgument, "ptr");
    for bad in ["", "x", "-1", "987654", "/nowhere/at/all", "/dev/null", "/proc/self/exe"] {
        let e = Array::open_shared(&tenant, bad).err().unwrap_or_else(|| panic!("{bad:?} was opened"));
        assert!(e.message().contains("name"), "{bad:?}: {e}");
    }
    let plain = Array::new(&tenant, 10).unwrap();
    assert!(plain.shared_name().unwrap_err().message().contains("not shared"));
    refused(Array::shared(&tenant, 1 << 40).map(|_| ()), Status::QuotaExceeded, "shared array");
    refused(Array::shared(&tenant, 0).map(|_| ()), Status::InvalidArgument, "size");
    refused(Array::shared(&tenant, u64::MAX).map(|_| ()), Status::InvalidArgument, "size");
    // Nobody can take its pages away.
    // SAFETY: a plain system call.
    assert_eq!(unsafe { libc::ftruncate(fd.as_raw_fd(), 0) }, -1);
    drop((plain, array));
    tenant.free(memory).unwrap();
    other.free(foreign).unwrap();
    rig.done(&tenant);
    rig.done(&other);
}

fn refusals(rig: &Rig) {
    let tenant = rig.tenant_of(5 * MIB);
    let all = [
        PartitionType::Global,
        PartitionType::Shared,
        PartitionType::Constant,
        PartitionType::Texture,
        PartitionType::Local,
    ];
    for kind in all {
        refused(rig.kernel.create_partition(0, kind, tenant.id()), Status::InvalidArgument, "size");
        refused(rig.kernel.create_partition(16 * MIB, kind, tenant.id()), Status::QuotaExceeded, "wanted");
        let e = rig.kernel.create_partition(u64::MAX / 4 * 4, kind, tenant.id()).unwrap_err();
        assert!(matches!(e.status(), Status::QuotaExceeded | Status::InvalidArgument), "{kind:?}: {e}");
    }
    // What a kind leaves of the limit is what another gets.
    let g = rig.device.granularity();
    if g == 2 * MIB {
        let a = rig.make(&tenant, 1, PartitionType::Constant);
        let b = rig.make(&tenant, 1, PartitionType::Shared);
        refused(
            rig.kernel.create_partition(1, PartitionType::Constant, tenant.id()),
            Status::QuotaExceeded,
            "wanted",
        );
        let c = rig.make(&tenant, MIB, PartitionType::Global);
        for p in [a, b, c] {
            rig.kernel.destroy_partition(p.id).unwrap();
        }
    }
    let usage = tenant.space().usage();
    assert!(usage.physical <= 2 * g, "{} physical bytes stayed", usage.physical);
    rig.done(&tenant);
    refused(rig.kernel.partition(-1), Status::NotFound, "-1");
    refused(rig.kernel.write_partition(i32::MAX, 0, &[]), Status::NotFound, "does not exist");
    assert!(PartitionType::from_number(5).is_err() && PartitionType::from_number(-1).is_err());
}

fn threads(rig: &Rig) {
    let tenant = rig.tenant();
    std::thread::scope(|scope| {
        for t in 0..4u8 {
            let tenant = &tenant;
            scope.spawn(move || {
                for i in 0..10u8 {
                    let kind = [PartitionType::Constant, PartitionType::Shared, PartitionType::Texture]
                        [usize::from(i) % 3];
                    let p = rig.make(tenant, 4096, kind);
                    let other = tenant.alloc(3000, "beside").unwrap();
                    let data = pattern(t.wrapping_mul(50) + i, 4096);
                    rig.kernel.write_partition(p.id, 0, &data).unwrap();
                    tenant.fill(other, 0xFF, 3000, None).unwrap();
                    assert_eq!(rig.read(p.id, 4096), data);
                    tenant.free(other).unwrap();
                    rig.kernel.destroy_partition(p.id).unwrap();
                }
            });
        }
    });
    rig.done(&tenant);
}

fn cpu() -> Rig {
    Rig::new(device::open(DeviceChoice::Cpu).unwrap())
}

#[test]
fn on_the_cpu() {
    suite(&cpu());
}

#[cfg(feature = "cuda")]
#[test]
fn on_the_mock_driver() {
    let mock = mock_driver::Mock::new();
    mock.configure(1, 8 << 30);
    let device = mock_driver::erased(&mock.device());
    suite(&Rig::new(device));
    mock.assert_clean();
}

#[cfg(feature = "cuda")]
#[test]
fn on_a_gpu() {
    let Some(device) = mock_driver::real_gpu() else { return };
    suite(&Rig::new(mock_driver::erased(&device)));
}

/// Runs this program again as `child` and waits; `inherited` stays open there under its number.
fn second_process(what: &str, device: &str, inherited: Option<&OwnedFd>, more: &str) -> std::process::Output {
    if let Some(fd) = inherited {
        // SAFETY: a plain system call on a descriptor that lives.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) };
    }
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env("COGNIWARE_TEST_CHILD", format!("{what} {device} {more}"))
        .output()
        .unwrap()
}

/// The second process of the tests below; nothing by itself.
#[test]
fn child() {
    let Ok(orders) = std::env::var("COGNIWARE_TEST_CHILD") else { return };
    let orders: Vec<&str> = orders.split(' ').collect();
    let rig = match orders[1] {
        "cpu" => cpu(),
        #[cfg(feature = "cuda")]
        "cuda" => Rig::new(mock_driver::erased(&mock_driver::real_gpu().unwrap())),
        #[cfg(feature = "cuda")]
        path => {
            let driver = cogniware::device::cuda::CudaDriver::open(std::path::Path::new(path)).unwrap();
            Rig::new(cogniware::device::cuda::CudaDevice::with_driver(driver, 0).unwrap())
        }
        #[cfg(not(feature = "cuda"))]
        other => panic!("no device {other:?}"),
    };
    let tenant = rig.tenant();
    match orders[0] {
        "import" => {
            let (number, bytes): (i32, u64) = (orders[2].parse().unwrap(), orders[3].parse().unwrap());
            // SAFETY: inherited, open for as long as the process lives.
            let fd = unsafe { BorrowedFd::borrow_raw(number) };
            let id = rig.kernel.import_partition(fd, bytes, tenant.id()).unwrap();
            assert_eq!(tenant.space().usage().held, bytes);
            assert_eq!(rig.read(id, 5000), pattern(11, 5000));
            rig.kernel.write_partition(id, 0, &pattern(12, 5000)).unwrap();
            rig.kernel.destroy_partition(id).unwrap();
            rig.done(&tenant);
        }
        "array" => {
            let array = Array::open_shared(&tenant, orders[2]).unwrap();
            // SAFETY: its elements; the other process waits for this one.
            let seen =
                unsafe { std::slice::from_raw_parts_mut(array.address() as *mut f32, array.len() as usize) };
            assert_eq!((seen.len(), seen[0], seen[999]), (1000, 0.0, 999.0));
            seen.iter_mut().for_each(|v| *v += 0.5);
            drop(array);
            rig.done(&tenant);
        }
        "store" => {
            let p = rig.make(&tenant, 100, PartitionType::Constant);
            rig.kernel.write_partition(p.id, 0, &[1; 100]).unwrap();
            println!("now");
            // SAFETY: none: it must fault.
            unsafe { (p.host_ptr as *mut u8).write_volatile(2) };
            println!("it was written");
        }
        other => panic!("no order {other:?}"),
    }
    println!("child done");
}

#[track_caller]
fn succeeded(output: &std::process::Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("child done"), "{said}\n{wrong}");
}

fn two_processes(rig: &Rig, place: &str) {
    let tenant = rig.tenant();
    let p = rig.make(&tenant, 5000, PartitionType::Shared);
    rig.kernel.write_partition(p.id, 0, &pattern(11, 5000)).unwrap();
    let fd = rig.kernel.export_partition(p.id).unwrap();
    let more = format!("{} {}", fd.as_raw_fd(), p.bytes);
    succeeded(&second_process("import", place, Some(&fd), &more));
    assert_eq!(rig.read(p.id, 5000), pattern(12, 5000), "what the other process wrote");
    rig.kernel.destroy_partition(p.id).unwrap();
    let array = Array::shared(&tenant, 1000).unwrap();
    // SAFETY: its elements; the other process is waited for.
    let own = unsafe { std::slice::from_raw_parts_mut(array.address() as *mut f32, 1000) };
    own.iter_mut().zip(0..).for_each(|(v, i)| *v = i as f32);
    succeeded(&second_process("array", place, None, &array.shared_name().unwrap()));
    assert_eq!((own[0], own[999]), (0.5, 999.5));
    let fd = array.shared_descriptor().unwrap();
    own.iter_mut().zip(0..).for_each(|(v, i)| *v = i as f32);
    succeeded(&second_process("array", place, Some(&fd), &fd.as_raw_fd().to_string()));
    assert_eq!((own[0], own[999]), (0.5, 999.5));
    drop(array);
    rig.done(&tenant);
}

#[test]
fn two_processes_on_the_cpu() {
    two_processes(&cpu(), "cpu");
}

#[cfg(feature = "cuda")]
#[test]
fn two_processes_on_the_mock_driver() {
    let mock = mock_driver::Mock::new();
    let rig = Rig::new(mock_driver::erased(&mock.device()));
    two_processes(&rig, mock.path().to_str().unwrap());
}

#[cfg(feature = "cuda")]
#[test]
fn two_processes_on_a_gpu() {
    let Some(device) = mock_driver::real_gpu() else { return };
    two_processes(&Rig::new(mock_driver::erased(&device)), "cuda");
}

#[test]
fn a_store_into_constant_memory_faults() {
    use std::os::unix::process::ExitStatusExt;
    let output = second_process("store", "cpu", None, "");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "{said}");
    assert!(said.contains("now") && !said.contains("it was written"), "{said}");
}
