//! The same question on the CPU device, small.

use super::neighbour::Neighbour;
use super::step::percentile;
use cogniware::device::{Access, Device};
use cogniware::tenant::{self, TenantConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Weights that a step reads: more than a core's own cache.
const BYTES: u64 = 64 << 20;

/// Steps for this long on a node of so many cores; the 50th and 99th percentile in milliseconds.
fn decode(device: &Arc<dyn Device>, cores: u32, time: Duration) -> (f64, f64) {
    let mut config = TenantConfig::default_on(device).expect("defaults");
    config.processors = cores;
    let tenant = tenant::open("decode", device, &config).expect("a tenant");
    let stream = tenant.new_stream(0).expect("a stream");
    let granule = device.granule_create(BYTES).expect("memory");
    let base = device.range_reserve(BYTES).expect("addresses");
    device.map(base, &granule, Access::ReadWrite).expect("mapping");
    // SAFETY: mapped just now.
    unsafe { device.fill(base, 1, BYTES, None).expect("weights") };
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let from = Instant::now();
        let read = move || {
            // SAFETY: mapped until the stream has run.
            let words = unsafe { std::slice::from_raw_parts(base as *const u64, BYTES as usize / 8) };
            std::hint::black_box(words.iter().fold(0u64, |a, b| a.wrapping_add(*b)));
        };
        stream.host_fn(Box::new(read)).expect("a step");
        stream.synchronize().expect("a step");
        times.push(from.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    device.unmap(base, BYTES).expect("unmapping");
    device.range_release(base, BYTES);
    device.granule_release(granule);
    drop((stream, tenant));
    tenant::close("decode").expect("closing");
    (percentile(&times, 0.5), percentile(&times, 0.99))
}

pub fn run(device: &Arc<dyn Device>, time: Duration) {
    let cores = device.units().len() as u32;
    println!("# {} ({cores} cores), 64 MiB a step", device.info().expect("figures").name);
    println!("{:<46} {:>8} {:>8} {:>8} {:>10}", "arrangement", "p50 ms", "p99 ms", "/alone", "GFLOP/s");
    let alone = decode(device, 1, time);
    println!("{:<46} {:>8.2} {:>8.2}", "alone on one core", alone.0, alone.1);
    let mut kinds = vec![("the neighbour on all cores", cores)];
    if cores > 1 {
        kinds.push(("the neighbour on the other cores", cores - 1));
    }
    for (what, theirs) in kinds {
        let neighbour = Neighbour::start(device, theirs);
        let beside = decode(device, 1, time);
        let speed = neighbour.stop() * 1e3;
        println!("{what:<46} {:>8.2} {:>8.2} {:>8.2} {speed:>10.0}", beside.0, beside.1, beside.1 / alone.1);
    }
}
