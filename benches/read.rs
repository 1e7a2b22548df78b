//! How fast memory is read: anonymous memory in huge pages (the machine's own figure), then granules of the CPU device
//! as weights lie in them, by the cores of a node. `cargo bench --bench read`. Also the cost of the team itself.

use cogniware::device::cpu::CpuNode;
use cogniware::device::{Access, DeviceChoice, open};
use std::hint::black_box;
use std::time::{Duration, Instant};

const BYTES: usize = 1 << 30;
const ROUNDS: usize = 9;

/// Sums all 64-bit words of 64-byte aligned memory, with wide loads where the processor has them.
fn sum(words: &[u64]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn avx512(words: &[u64]) -> u64 {
            lanes(words)
        }
        #[target_feature(enable = "avx2")]
        fn avx2(words: &[u64]) -> u64 {
            lanes(words)
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has it.
            return unsafe { avx512(words) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            return unsafe { avx2(words) };
        }
    }
    lanes(words)
}

#[inline(always)]
fn lanes(words: &[u64]) -> u64 {
    let mut acc = [0u64; 32];
    for chunk in words.chunks_exact(32) {
        // Beside the processor's own prefetching, a page ahead.
        #[cfg(target_arch = "x86_64")]
        for line in 0..4 {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint; it never faults.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(chunk.as_ptr().cast::<i8>().wrapping_add(4096 + line * 64))
            };
        }
        for (a, w) in acc.iter_mut().zip(chunk) {
            *a = a.wrapping_add(*w);
        }
    }
    acc.iter().fold(0, |a, b| a.wrapping_add(*b))
}

fn read(what: &str, node: &CpuNode, words: &[u64]) {
    let team = node.team();
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        team.run(&|worker, workers| {
            let part = words.len() / workers;
            black_box(sum(&words[worker * part..(worker + 1) * part]));
        });
        best = best.min(start.elapsed());
    }
    println!("{what:<40} {} cores {:7.2} GB/s", team.workers(), BYTES as f64 / best.as_secs_f64() / 1e9);
}

fn main() {
    let device = open(DeviceChoice::Cpu).expect("the cpu device");
    let all: Vec<u32> = (0..device.units().len() as u32).collect();
    let nodes = [device.node_create(&all[..1]).expect("a node"), device.node_create(&all).expect("a node")];
    let node = |n: usize| nodes[n].as_any().downcast_ref::<CpuNode>().expect("a cpu node");

    // SAFETY: fresh anonymous memory, checked, aligned to 2 MiB and filled before it is read.
    let plain: &[u64] = unsafe {
        let huge = 2 << 20;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let at = libc::mmap(std::ptr::null_mut(), BYTES + huge, access, flags, -1, 0);
        assert_ne!(at, libc::MAP_FAILED);
        let at = (at as usize).next_multiple_of(huge) as *mut libc::c_void;
        libc::madvise(at, BYTES, libc::MADV_HUGEPAGE);
        std::ptr::write_bytes(at.cast::<u8>(), 1, BYTES);
        std::slice::from_raw_parts(at.cast(), BYTES / 8)
    };
    // Twice: in a virtual machine the first touch of memory may cost the host more than it costs us.
    let create = || {
        let start = Instant::now();
        let granule = device.granule_create(BYTES as u64).expect("memory");
        println!("creating a granule of 1 GiB: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
        granule
    };
    device.granule_release(create());
    let granule = create();
    let base = device.range_reserve(BYTES as u64).expect("addresses");
    device.map(base, &granule, Access::ReadWrite).expect("mapping");
    // SAFETY: mapped just now.
    let mapped: &[u64] = unsafe {
        device.fill(base, 1, BYTES as u64, None).expect("fill");
        std::slice::from_raw_parts(base as *const u64, BYTES / 8)
    };
    for n in 0..2 {
        read("anonymous huge pages", node(n), plain);
        read("granule of the cpu device", node(n), mapped);
    }

    let team = node(1).team();
    const CALLS: u32 = 100_000;
    let start = Instant::now();
    for _ in 0..CALLS {
        team.run(&|worker, _| {
            black_box(worker);
        });
    }
    println!(
        "fork and join of {} workers: {:.0} ns",
        team.workers(),
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    );
    let stream = nodes[0].stream_create(0).expect("a stream");
    let start = Instant::now();
    for _ in 0..CALLS {
        stream.host_fn(Box::new(|| {})).expect("queued");
    }
    stream.synchronize().expect("done");
    println!(
        "stream operation, queued and run: {:.0} ns",
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    );
}
