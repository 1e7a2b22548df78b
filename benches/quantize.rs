//! Element-wise I2_S on the CPU beside a copy: bytes read and written over those that `memcpy` moves, by the same threads in the
//! same rounds. `cargo bench --bench quantize -- [--threads N] [--rounds N]`. 64 Mi values, which come from memory.

#[path = "common/ceiling.rs"]
mod ceiling;

use ceiling::processor_time;
use cogniware::ops::cpu::quantize::{dequantize_i2s, quantize_i2s};
use cogniware::ops::cpu::{Crew, Isa};
use cogniware::quant::lowbit::NonFinite;
use std::time::Instant;

const N: usize = 64 << 20;

struct Threads(usize);

impl Crew for Threads {
    fn workers(&self) -> usize {
        self.0
    }

    fn run(&self, f: &(dyn Fn(usize, usize) + Sync)) {
        std::thread::scope(|scope| {
            for worker in 1..self.0 {
                scope.spawn(move || f(worker, self.0));
            }
            f(0, self.0);
        });
    }
}

/// Seconds: of the processor for one thread, of the clock for more.
fn timed(threads: usize, work: impl FnOnce()) -> f64 {
    let (used, begun) = (processor_time(), Instant::now());
    work();
    if threads == 1 { (processor_time() - used).as_secs_f64() } else { begun.elapsed().as_secs_f64() }
}

/// Copies by the threads, each a part.
fn copy(threads: usize, from: &[f32], to: &mut [f32]) {
    let part = from.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let mut parts = from.chunks(part).zip(to.chunks_mut(part));
        let own = parts.next();
        for (from, to) in parts {
            scope.spawn(move || to.copy_from_slice(from));
        }
        if let Some((from, to)) = own {
            to.copy_from_slice(from);
        }
    });
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let rounds: usize = value("--rounds").map_or(5, |r| r.parse().expect("--rounds"));
    let wanted = value("--threads").map_or(vec![1, 2], |t| vec![t.parse().expect("--threads")]);
    let x: Vec<f32> = (0..N).map(|i| ((i * 7919) % 1000) as f32 * 4e-3 - 2.0).collect();
    let (mut q, mut y) = (vec![0i8; N], vec![0f32; N]);
    println!("# {}", Isa::highest().name());
    println!("{:<44} {:>7} {:>9} {:>9}", "operation", "threads", "GB/s", "of copy");
    for threads in wanted {
        let crew = Threads(threads);
        type Work<'a> = &'a dyn Fn(Isa, &[f32], &mut [i8], &mut [f32]);
        let strict: Work<'_> =
            &|isa, x, q, _| quantize_i2s(isa, &crew, x, 0.7, NonFinite::Refuse, q).expect("codes");
        let mapped: Work<'_> =
            &|isa, x, q, _| quantize_i2s(isa, &crew, x, 0.7, NonFinite::Map, q).expect("codes");
        let back: Work<'_> = &|isa, _, q, y| dequantize_i2s(isa, &crew, q, 0.7, y).expect("values");
        for isa in Isa::ALL.into_iter().filter(|isa| *isa <= Isa::highest() && *isa != Isa::Avx512Vnni) {
            for (name, work) in [
                ("quantize, non-finite mapped", mapped),
                ("quantize, non-finite refused", strict),
                ("dequantize", back),
            ] {
                let (mut speeds, mut ratios) = (vec![], vec![]);
                for round in 0..=rounds {
                    let copied = 8.0 * N as f64 / timed(threads, || copy(threads, &x, &mut y));
                    let speed = 5.0 * N as f64 / timed(threads, || work(isa, &x, &mut q, &mut y));
                    if round > 0 {
                        speeds.push(speed / 1e9);
                        ratios.push(speed / copied);
                    }
                }
                let name = format!("{name}, {}", isa.name());
                println!("{name:<44} {threads:>7} {:>9.1} {:>9.2}", median(speeds), median(ratios));
            }
        }
    }
}
