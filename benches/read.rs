//! How fast memory is read: anonymous memory in huge pages (the machine's own figure), then granules of the CPU device
//! as weights lie in them, by the cores of a node. `cargo bench --bench read`. Also the cost of the team itself.

#[path = "common/ceiling.rs"]
mod ceiling;

use cogniware::device::cpu::CpuNode;
use cogniware::device::{Access, DeviceChoice, open};
use std::hint::black_box;
use std::time::{Duration, Instant};

const BYTES: usize = 1 << 30;
const ROUNDS: usize = 9;

fn read(what: &str, node: &CpuNode, words: &[u64]) {
    let team = node.team();
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        team.run(&|worker, workers| {
            let part = words.len() / workers;
            let part = &words[worker * part..(worker + 1) * part];
            black_box(ceiling::read(part.as_ptr() as u64, size_of_val(part) as u64, 1));
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
