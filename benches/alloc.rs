//! The cost of a hot allocation and its release in a tenant's pool, with account, lookup, tag and age; of a block of 2 MiB
//! that comes back; on a GPU beside the driver's own pool: `cargo bench --bench alloc -- [--device cpu|cuda]`. Prints medians
//! of several rounds. PyTorch's allocator beside it: benches/peers/torch_alloc.py.

#[path = "common/ceiling.rs"]
mod ceiling;

use ceiling::processor_time;
use cogniware::device::{Device, DeviceKind, open, parse_choice};
use cogniware::memory::{Ledger, Space};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const ROUNDS: usize = 21;
const PAIRS: usize = 200_000;

fn median(mut nanos: Vec<f64>) -> f64 {
    nanos.sort_by(f64::total_cmp);
    nanos[nanos.len() / 2]
}

/// Prints wall time and processor time; they differ when other programs use the machine.
fn measure(what: &str, mut pair: impl FnMut(usize)) {
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    // Fewer of what takes long.
    let start = Instant::now();
    (0..100).for_each(&mut pair);
    let pairs = ((PAIRS as u128 * 10_000 / start.elapsed().as_nanos().max(1)) as usize).clamp(100, PAIRS);
    for _ in 0..ROUNDS {
        let (start, from) = (Instant::now(), processor_time());
        (0..pairs).for_each(&mut pair);
        cpu.push((processor_time() - from).as_nanos() as f64 / pairs as f64);
        wall.push(start.elapsed().as_nanos() as f64 / pairs as f64);
    }
    println!("{what:<56} wall {:6.1} ns   cpu {:6.1} ns", median(wall), median(cpu));
}

fn space(device: &Arc<dyn Device>, name: &str, limit: u64) -> Arc<Space> {
    let account = Ledger::of(device).open(name, limit, 0).expect("an account");
    Space::new(device.clone(), account).expect("a space")
}

/// Blocks of 2 MiB, the granule of a GPU, given back and taken again.
fn granules(device: &Arc<dyn Device>, first: &Space) {
    const BLOCK: u64 = 2 << 20;
    measure("alloc + free of 2 MiB, recycled in the tenant's pool", |_| {
        let ptr = first.alloc(black_box(BLOCK), 256, "granule").expect("memory");
        first.free(black_box(ptr)).expect("free");
    });
    let held: Vec<u64> = (0..256).map(|_| first.alloc(BLOCK, 256, "granule").expect("memory")).collect();
    let mut ring = held.clone();
    measure("alloc + free of 2 MiB, the oldest of 256 live", |n| {
        first.free(ring[n % 256]).expect("free");
        ring[n % 256] = first.alloc(BLOCK, 256, "granule").expect("memory");
    });
    for ptr in ring {
        first.free(ptr).expect("free");
    }
    // From one tenant to another and back: scrubbed and mapped anew, as it must be.
    let (second, ledger) = (space(device, "other", 256 << 20), Ledger::of(device));
    let start = Instant::now();
    const TIMES: u32 = 200;
    for n in 0..TIMES {
        let of = if n % 2 == 0 { first } else { &second };
        let ptr = of.alloc(BLOCK, 256, "granule").expect("memory");
        of.free(ptr).expect("free");
        ledger.give_back_idle();
    }
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES);
    println!("{:<56} wall {each:6.1} us", "2 MiB through the device, from tenant to tenant");
}

/// The driver's own pool, on a stream of its own.
#[cfg(feature = "cuda")]
fn driver(device: &Arc<dyn Device>) {
    use std::ffi::{c_int, c_void};
    type Alloc = unsafe extern "C" fn(*mut u64, usize, *mut c_void) -> c_int;
    type Free = unsafe extern "C" fn(u64, *mut c_void) -> c_int;
    let cuda = cogniware::device::cuda::CudaDevice::of(&**device, "device").expect("a GPU");
    cuda.make_current().expect("the context");
    let stream = device.node_create(&[0]).and_then(|n| n.stream_create(0)).expect("a stream");
    // SAFETY: the driver is loaded already; the functions have these types.
    let (alloc, free) = unsafe {
        let library = Box::leak(Box::new(libloading::Library::new("libcuda.so.1").expect("libcuda")));
        (
            *library.get::<Alloc>(b"cuMemAllocAsync").expect("cuMemAllocAsync"),
            *library.get::<Free>(b"cuMemFreeAsync").expect("cuMemFreeAsync"),
        )
    };
    for bytes in [4096usize, 2 << 20] {
        measure(&format!("cuMemAllocAsync + cuMemFreeAsync of {bytes} bytes"), |_| {
            let mut ptr = 0;
            // SAFETY: the stream is alive, the output outlives the call.
            unsafe {
                assert_eq!(alloc(&mut ptr, bytes, stream.raw()), 0);
                assert_eq!(free(ptr, stream.raw()), 0);
            }
        });
        stream.synchronize().expect("the stream");
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let wanted = args.iter().position(|a| a == "--device").and_then(|i| args.get(i + 1)).map_or("cpu", |s| s);
    let device = open(parse_choice("--device", wanted).expect("--device")).expect("the device");
    let pool = space(&device, "bench", 1 << 30);
    for bytes in [256, 4096, 100_000] {
        measure(&format!("alloc + free of {bytes} bytes, empty pool"), |_| {
            let ptr = pool.alloc(black_box(bytes), 256, "scratch").expect("memory");
            pool.free(black_box(ptr)).expect("free");
        });
    }

    // A pool in use: holes of many sizes, and the oldest of 64 live allocations freed for each new one.
    let mut seed = 88172645463325252u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut held: Vec<u64> =
        (0..20_000).map(|_| pool.alloc(1 + random(8000), 256, "held").expect("memory")).collect();
    for n in (0..held.len()).rev() {
        if n % 2 == 0 {
            pool.free(held.swap_remove(n)).expect("free");
        }
    }
    measure("alloc + free of 4096 bytes, 10,000 live, 10,000 holes", |_| {
        let ptr = pool.alloc(black_box(4096), 256, "scratch").expect("memory");
        pool.free(black_box(ptr)).expect("free");
    });
    let mut ring: Vec<u64> = (0..64).map(|_| pool.alloc(4096, 256, "ring").expect("memory")).collect();
    let sizes: Vec<u64> = (0..1024).map(|_| 1 + random(16_000)).collect();
    measure("alloc + free of random sizes to 16 kB, 64 in flight", |n| {
        let old =
            std::mem::replace(&mut ring[n % 64], pool.alloc(sizes[n % 1024], 256, "ring").expect("memory"));
        pool.free(old).expect("free");
    });
    let probe = held[held.len() / 2];
    measure("find by an interior pointer", |_| {
        black_box(pool.find(black_box(probe)));
    });
    measure("check of a pointer and size", |_| {
        pool.check("p", black_box(probe), 1).expect("inside");
    });
    let account = pool.account();
    measure("charge + refund of an account alone", |_| {
        drop(black_box(account.charge(black_box(4096), "charge")));
    });
    granules(&device, &pool);
    #[cfg(feature = "cuda")]
    if device.kind() == DeviceKind::Cuda {
        driver(&device);
    }
}
