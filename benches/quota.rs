//! Whether a quota is exact, usable to the end and quick to say no: 8 threads race for 2 MiB blocks of one tenant.
//! `cargo bench --bench quota -- [--device cpu|cuda] [--operations N]`.

use cogniware::Status;
use cogniware::device::{self, DeviceKind};
use cogniware::tenant::{self, TenantConfig};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Instant;

const BLOCK: u64 = 2 << 20;
const THREADS: u64 = 8;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let wanted = option("--device").unwrap_or("auto".into());
    let device =
        device::open(device::parse_choice("--device", &wanted).expect("--device")).expect("the device");
    let operations: u64 = option("--operations").map_or(1_000_000, |n| n.parse().expect("--operations"));
    let limit = if device.kind() == DeviceKind::Cpu { 256 << 20 } else { 8 << 30 };
    let mut config = TenantConfig::default_on(&device).expect("defaults");
    config.memory_limit = limit;
    let tenant = tenant::open("quota", &device, &config).expect("a tenant");
    let (space, account) = (tenant.space(), tenant.account());
    // Counted here and not by the account: what was given and not yet given back.
    let (granted, most, most_held) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let barrier = Barrier::new(THREADS as usize);
    let begun = Instant::now();
    let mut refusals: Vec<f64> = Vec::new();
    let mut failures = 0u64;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|n| {
                let (granted, most, most_held, barrier) = (&granted, &most, &most_held, &barrier);
                scope.spawn(move || {
                    let mut seed = 88172645463325252u64 ^ (n << 32);
                    let mut random = move |below: u64| {
                        seed ^= seed << 13;
                        seed ^= seed >> 7;
                        seed ^= seed << 17;
                        seed % below
                    };
                    let (mut live, mut refused, mut failed) = (Vec::new(), Vec::new(), 0u64);
                    // Together they want half as much again as there is, and mostly take.
                    let wish = (limit / BLOCK / THREADS * 3 / 2) as usize;
                    barrier.wait();
                    for _ in 0..operations / THREADS {
                        if live.len() < wish && random(4) != 0 || live.is_empty() {
                            let from = Instant::now();
                            match space.alloc(BLOCK, 256, "block") {
                                Ok(ptr) => {
                                    let now = granted.fetch_add(BLOCK, SeqCst) + BLOCK;
                                    most.fetch_max(now, SeqCst);
                                    live.push(ptr);
                                }
                                Err(e) if e.status() == Status::QuotaExceeded => {
                                    refused.push(from.elapsed().as_nanos() as f64);
                                }
                                Err(_) => failed += 1,
                            }
                            most_held.fetch_max(account.held(), SeqCst);
                        } else {
                            let at = random(live.len() as u64) as usize;
                            let ptr = live.swap_remove(at);
                            // Before: what is given back may be another's at once.
                            granted.fetch_sub(BLOCK, SeqCst);
                            space.free(ptr).expect("freeing");
                        }
                    }
                    (live, refused, failed)
                })
            })
            .collect();
        for thread in threads {
            let (_, refused, failed) = thread.join().expect("a thread");
            refusals.extend(refused);
            failures += failed;
        }
    });
    let took = begun.elapsed().as_secs_f64();
    // Now to the last block.
    let mut full = granted.load(SeqCst);
    let mut alone = Vec::new();
    loop {
        let from = Instant::now();
        match space.alloc(BLOCK, 256, "block") {
            Ok(_) => full += BLOCK,
            Err(_) if alone.len() < 1000 => alone.push(from.elapsed().as_nanos() as f64),
            Err(_) => break,
        }
    }
    let at = |x: &mut Vec<f64>, part: f64| {
        x.sort_by(f64::total_cmp);
        x.get((x.len() as f64 * part) as usize).copied().unwrap_or(0.0)
    };
    println!("# {} ({}), limit {} MiB", device.info().expect("figures").name, device.kind(), limit >> 20);
    println!("{operations} operations of {THREADS} threads: {:.0} a second", operations as f64 / took);
    println!(
        "overshoot: {} bytes by what was given, {} by the account",
        most.load(SeqCst).saturating_sub(limit),
        most_held.load(SeqCst).saturating_sub(limit)
    );
    println!("usable: {:.3} % of the limit", full as f64 / limit as f64 * 100.0);
    println!(
        "refusals in the race: {} (other failures: {failures}), p50 {:.0} ns, p99 {:.0} ns",
        refusals.len(),
        at(&mut refusals, 0.5),
        at(&mut refusals, 0.99)
    );
    println!("refusals alone: p50 {:.0} ns, p99 {:.0} ns", at(&mut alone, 0.5), at(&mut alone, 0.99));
    tenant::close("quota").expect("closing");
}
