//! The cost of a hot allocation and its release in a tenant's pool, with account, lookup, tag and age, on the CPU
//! device: `cargo bench --bench alloc`. Prints medians of several rounds.

#[path = "common/ceiling.rs"]
mod ceiling;

use ceiling::processor_time;
use cogniware::device::{DeviceChoice, open};
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
    for _ in 0..ROUNDS {
        let (start, from) = (Instant::now(), processor_time());
        (0..PAIRS).for_each(&mut pair);
        cpu.push((processor_time() - from).as_nanos() as f64 / PAIRS as f64);
        wall.push(start.elapsed().as_nanos() as f64 / PAIRS as f64);
    }
    println!("{what:<56} wall {:6.1} ns   cpu {:6.1} ns", median(wall), median(cpu));
}

fn space(limit: u64) -> Arc<Space> {
    let device = open(DeviceChoice::Cpu).expect("the cpu device");
    let account = Ledger::of(&device).open("bench", limit, 0).expect("an account");
    Space::new(device, account).expect("a space")
}

fn main() {
    let pool = space(256 << 20);
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
}
