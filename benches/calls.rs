//! What a call costs: through the C border, as a task, on a stream; on a GPU each beside the raw driver call that it
//! stands for, in the same run.
//!
//! `cargo bench --bench calls -- [--device cpu|cuda]`. Nanoseconds per call, the median of 15 rounds.

use cogniware::compute::Priority;
use cogniware::device::{self, Device, DeviceKind, Stream};
use cogniware::ffi::{cw_status, cw_tenant, cw_usage};
use cogniware::telemetry::profiler::{self, Kind};
use cogniware::tenant::{self, Tenant, TenantConfig};
use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;
use std::time::Instant;

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

/// Nanoseconds per call of `f`, `count` calls a round; `after` ends each round outside the measured time.
fn per_call(count: u32, mut f: impl FnMut(), mut after: impl FnMut()) -> f64 {
    let round = |f: &mut dyn FnMut()| {
        let begun = Instant::now();
        for _ in 0..count {
            f();
        }
        begun.elapsed().as_nanos() as f64 / f64::from(count)
    };
    round(&mut f);
    after();
    median(
        (0..15)
            .map(|_| {
                let time = round(&mut f);
                after();
                time
            })
            .collect(),
    )
}

fn line(name: &str, ours: f64, raw: Option<f64>) {
    match raw {
        None => println!("{name:<52} {ours:>10.0}"),
        Some(raw) => println!("{name:<52} {ours:>10.0} {raw:>10.0} {:>10.0} {:>7.2}", ours - raw, ours / raw),
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let wanted =
        args.iter().position(|a| a == "--device").and_then(|i| args.get(i + 1)).map_or("auto", |s| s);
    let device =
        device::open(device::parse_choice("--device", wanted).expect("--device")).expect("the device");
    let config = TenantConfig::default_on(&device).expect("defaults");
    let tenant = tenant::open("calls", &device, &config).expect("a tenant");
    println!("# {} ({})", device.info().expect("figures").name, device.kind());
    println!("{:<52} {:>10} {:>10} {:>10} {:>7}", "call", "ns", "raw ns", "over", "ratio");
    border(&tenant);
    tasks(&tenant);
    profiling(&tenant);
    let stream = tenant.new_stream(0).expect("a stream");
    let wait = || stream.synchronize().expect("the stream");
    let host = per_call(200, || stream.host_fn(Box::new(|| ())).expect("queueing"), wait);
    line("stream: queue a host function", host, None);
    let there_and_back = per_call(
        200,
        || {
            stream.host_fn(Box::new(|| ())).expect("queueing");
            stream.synchronize().expect("the stream");
        },
        || (),
    );
    line("stream: host function and wait", there_and_back, None);
    if device.kind() == DeviceKind::Cuda {
        raw_driver(&device, &tenant, &stream);
    }
    drop(stream);
    tenant::close("calls").expect("closing");
}

// As a C program declares them.
unsafe extern "C" {
    fn cw_tenant_find(id: *const c_char, tenant: *mut *mut cw_tenant) -> cw_status;
    fn cw_tenant_usage(tenant: *const cw_tenant, usage: *mut cw_usage) -> cw_status;
    fn cw_tenant_free(tenant: *mut cw_tenant) -> cw_status;
    fn cw_memory_alloc(
        tenant: *mut cw_tenant,
        bytes: u64,
        tag: *const c_char,
        pointer: *mut *mut c_void,
    ) -> cw_status;
    fn cw_memory_free(tenant: *mut cw_tenant, pointer: *mut c_void) -> cw_status;
}

fn usage() -> cw_usage {
    // SAFETY: plain numbers, for which zero is a value.
    let mut usage: cw_usage = unsafe { std::mem::zeroed() };
    usage.struct_size = size_of::<cw_usage>();
    usage
}

/// Calls of the C border against the same work in Rust.
fn border(tenant: &Arc<Tenant>) {
    let mut handle = std::ptr::null_mut();
    // SAFETY: valid arguments.
    unsafe { assert_eq!(cw_tenant_find(c"calls".as_ptr(), &mut handle), 0) };
    let mut usage = usage();
    // SAFETY: valid arguments.
    let c = per_call(10_000, || unsafe { assert_eq!(cw_tenant_usage(handle, &mut usage), 0) }, || ());
    let rust = per_call(10_000, || _ = std::hint::black_box(tenant.space().usage()), || ());
    line("C: cw_tenant_usage over the same in Rust", c, Some(rust));
    let mut memory = std::ptr::null_mut();
    let c = per_call(
        10_000,
        // SAFETY: valid arguments.
        || unsafe {
            assert_eq!(cw_memory_alloc(handle, 4096, std::ptr::null(), &mut memory), 0);
            assert_eq!(cw_memory_free(handle, memory), 0);
        },
        || (),
    );
    let space = tenant.space();
    let rust = per_call(
        10_000,
        || {
            let p = space.alloc(4096, 256, "memory").expect("memory");
            space.free(p).expect("freeing");
        },
        || (),
    );
    line("C: cw_memory_alloc + free over the same in Rust", c, Some(rust));
    // SAFETY: a handle of this library.
    unsafe { assert_eq!(cw_tenant_free(handle), 0) };
}

/// What instrumented code pays while the profiler is off, and what a record costs while it is on.
fn profiling(tenant: &Arc<Tenant>) {
    let work = || std::hint::black_box(Ok::<u64, ()>(1));
    let raw = per_call(1_000_000, || _ = work(), || ());
    let off = per_call(1_000_000, || _ = profiler::measured(Kind::Range, "bench", 0, None, work), || ());
    let line = |name: &str, ours: f64, raw: f64| {
        println!("{name:<52} {ours:>10.2} {raw:>10.2} {:>10.2} {:>7.2}", ours - raw, ours / raw);
    };
    line("profiler off: a measured call over a bare one", off, raw);
    tenant.subject().set(true);
    let _own = tenant.subject().enter();
    let on = per_call(10_000, || _ = profiler::measured(Kind::Range, "bench", 0, None, work), || ());
    tenant.subject().set(false);
    profiler::reset();
    line("profiler on: the same, recorded", on, raw);
}

fn tasks(tenant: &Arc<Tenant>) {
    let one = || {
        let body = Box::new(|_: &_| Ok(String::new()));
        let task = tenant.schedule(None, "bench", Priority::Normal, 0, 0, body).expect("a task");
        task.wait(None).expect("its end");
    };
    line("task: schedule an empty function and wait", per_call(200, one, || ()), None);
}

/// The driver's own functions, called on the very same stream.
fn raw_driver(device: &Arc<dyn Device>, tenant: &Arc<Tenant>, stream: &Arc<dyn Stream>) {
    type Query = unsafe extern "C" fn(*mut c_void) -> c_int;
    type Fill = unsafe extern "C" fn(u64, u8, usize, *mut c_void) -> c_int;
    type Alloc = unsafe extern "C" fn(*mut u64, usize, *mut c_void) -> c_int;
    type Free = unsafe extern "C" fn(u64, *mut c_void) -> c_int;
    // SAFETY: the driver is loaded already; the functions have these types.
    let (query, fill, alloc, free) = unsafe {
        let library = Box::leak(Box::new(libloading::Library::new("libcuda.so.1").expect("libcuda")));
        (
            library.get::<Query>(b"cuStreamQuery").expect("cuStreamQuery"),
            library.get::<Fill>(b"cuMemsetD8Async").expect("cuMemsetD8Async"),
            library.get::<Alloc>(b"cuMemAllocAsync").expect("cuMemAllocAsync"),
            library.get::<Free>(b"cuMemFreeAsync").expect("cuMemFreeAsync"),
        )
    };
    let cuda = cogniware::device::cuda::CudaDevice::of(&**device, "device").expect("a CUDA device");
    cuda.make_current().expect("the context");
    let raw = stream.raw();
    let wait = || stream.synchronize().expect("the stream");
    let ours = per_call(1000, || _ = stream.is_idle().expect("an answer"), || ());
    // SAFETY: the stream lives.
    let theirs = per_call(1000, || unsafe { assert_eq!(query(raw), 0) }, || ());
    line("stream: is_idle over cuStreamQuery", ours, Some(theirs));
    let area = tenant.space().alloc(4096, 256, "area").expect("memory");
    // SAFETY: the area is this tenant's.
    let ours =
        per_call(500, || unsafe { device.fill(area, 1, 4096, Some(&**stream)).expect("a fill") }, wait);
    // SAFETY: as above.
    let theirs = per_call(500, || unsafe { assert_eq!(fill(area, 1, 4096, raw), 0) }, wait);
    line("stream: fill over cuMemsetD8Async", ours, Some(theirs));
    tenant.space().free(area).expect("freeing");
    for bytes in [4096u64, 4 << 20] {
        let ours = per_call(
            500,
            || {
                let p = tenant.space().alloc(bytes, 256, "memory").expect("memory");
                tenant.space().free(p).expect("freeing");
            },
            wait,
        );
        let mut p = 0;
        let theirs = per_call(
            500,
            // SAFETY: the pointer comes from the first call.
            || unsafe {
                assert_eq!(alloc(&mut p, bytes as usize, raw), 0);
                assert_eq!(free(p, raw), 0);
            },
            wait,
        );
        line(&format!("memory: alloc + free of {bytes} over cuMemAllocAsync + Free"), ours, Some(theirs));
    }
}
