//! What a launch through a queue costs: on a GPU over the driver's own `cuLaunchKernel`, on the CPU device over queueing the
//! same host function on the stream.
//!
//! `cargo bench --bench launch -- [--device cpu|cuda]`. Nanoseconds per launch, the median of 31 rounds that take turns.

use cogniware::device::{self, DeviceKind, Stream};
use cogniware::tenant::{self, TenantConfig};
use std::time::Instant;

/// Launches of a round: fewer than the driver's own queue holds, so that none waits for the GPU.
const ROUND: u32 = 500;
const ROUNDS: usize = 31;

/// A way to launch, and what ends a round of it.
struct Way<'a> {
    name: &'a str,
    launch: Box<dyn FnMut() + 'a>,
    wait: Box<dyn FnMut() + 'a>,
}

fn measure(mut ways: Vec<Way<'_>>) {
    let mut times = vec![Vec::new(); ways.len()];
    for round in 0..=ROUNDS {
        for (way, times) in ways.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            for _ in 0..ROUND {
                (way.launch)();
            }
            let ns = begun.elapsed().as_nanos() as f64 / f64::from(ROUND);
            (way.wait)();
            if round > 0 {
                times.push(ns);
            }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let all: Vec<f64> = times.iter_mut().map(median).collect();
    println!("{:<52} {:>10} {:>10}", "launch", "ns", "over raw");
    for (way, ns) in ways.iter().zip(&all) {
        println!("{:<52} {ns:>10.0} {:>10.0}", way.name, ns - all[0]);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let wanted =
        args.iter().position(|a| a == "--device").and_then(|i| args.get(i + 1)).map_or("auto", |s| s);
    let device =
        device::open(device::parse_choice("--device", wanted).expect("--device")).expect("the device");
    let config = TenantConfig::default_on(&device).expect("defaults");
    let tenant = tenant::open("launch", &device, &config).expect("a tenant");
    println!("# {} ({})", device.info().expect("figures").name, device.kind());
    let queue = tenant.queue(0).expect("a queue");
    let stream = tenant.new_stream(0).expect("a stream");
    let wait_queue = || queue.synchronize().expect("the queue");
    let wait_stream = || stream.synchronize().expect("the stream");
    if device.kind() == DeviceKind::Cpu {
        let nothing = |s: &dyn Stream| s.host_fn(Box::new(|| ()));
        measure(vec![
            Way {
                name: "a host function on the stream",
                launch: Box::new(|| nothing(&*stream).expect("queueing")),
                wait: Box::new(wait_stream),
            },
            Way {
                name: "the same by Queue::run",
                launch: Box::new(|| _ = queue.run(nothing).expect("queueing")),
                wait: Box::new(wait_queue),
            },
        ]);
    } else {
        #[cfg(feature = "cuda")]
        gpu::measure_on(&device, &stream, &queue);
    }
    drop((stream, queue));
    tenant::close("launch").expect("closing");
}

#[cfg(feature = "cuda")]
mod gpu {
    use super::{Way, measure};
    use cogniware::compute::Queue;
    use cogniware::device::cuda::{CudaDevice, CudaStream, Module};
    use cogniware::device::{Device, Stream};
    use std::ffi::{c_char, c_int, c_uint, c_void};
    use std::ptr::null_mut;
    use std::sync::Arc;

    const EMPTY: &[u8] =
        b".version 6.3\n.target sm_75\n.address_size 64\n.visible .entry empty()\n{\n    ret;\n}\n\0";

    type Load = unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> c_int;
    type Find = unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> c_int;
    type Launch = unsafe extern "C" fn(
        *mut c_void,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        *mut c_void,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> c_int;

    pub fn measure_on(device: &Arc<dyn Device>, stream: &Arc<dyn Stream>, queue: &Arc<Queue>) {
        let cuda = CudaDevice::of(&**device, "device").expect("a CUDA device");
        cuda.make_current().expect("the context");
        // SAFETY: the driver is loaded already; the functions have these types.
        let (load, find, launch) = unsafe {
            let library = Box::leak(Box::new(libloading::Library::new("libcuda.so.1").expect("libcuda")));
            (
                *library.get::<Load>(b"cuModuleLoadData").expect("cuModuleLoadData"),
                *library.get::<Find>(b"cuModuleGetFunction").expect("cuModuleGetFunction"),
                *library.get::<Launch>(b"cuLaunchKernel").expect("cuLaunchKernel"),
            )
        };
        let (mut module, mut function) = (null_mut(), null_mut());
        // SAFETY: PTX that ends in a zero byte; the outputs outlive the calls.
        unsafe {
            assert_eq!(load(&mut module, EMPTY.as_ptr().cast()), 0);
            assert_eq!(find(&mut function, module, c"empty".as_ptr()), 0);
        }
        let function = function as usize;
        // SAFETY: a kernel without parameters, on a stream that lives.
        let raw = move |s: *mut c_void| unsafe {
            let f = function as *mut c_void;
            assert_eq!(launch(f, 1, 1, 1, 1, 1, 1, 0, s, null_mut(), null_mut()), 0);
        };
        let ours = Module::load(cuda, EMPTY).expect("the image").function("empty").expect("the kernel");
        let own = |s: &dyn Stream| {
            // SAFETY: a kernel without parameters.
            unsafe { ours.launch(CudaStream::of(s, "stream")?, [1; 3], [1; 3], 0, &mut []) }
        };
        let wait_queue = || queue.synchronize().expect("the queue");
        let wait_stream = || stream.synchronize().expect("the stream");
        measure(vec![
            Way {
                name: "cuLaunchKernel",
                launch: Box::new(|| raw(stream.raw())),
                wait: Box::new(wait_stream),
            },
            Way {
                name: "the same by Queue::run",
                launch: Box::new(|| {
                    let work = move |s: &dyn Stream| {
                        raw(s.raw());
                        Ok(())
                    };
                    queue.run(work).expect("a launch");
                }),
                wait: Box::new(wait_queue),
            },
            Way {
                name: "Function::launch on the stream",
                launch: Box::new(|| own(&**stream).expect("a launch")),
                wait: Box::new(wait_stream),
            },
            Way {
                name: "Function::launch by Queue::run",
                launch: Box::new(|| {
                    let f = ours.clone();
                    // SAFETY: as above.
                    let work = move |s: &dyn Stream| unsafe {
                        f.launch(CudaStream::of(s, "stream")?, [1; 3], [1; 3], 0, &mut [])
                    };
                    queue.run(work).expect("a launch");
                }),
                wait: Box::new(wait_queue),
            },
        ]);
    }
}
