//! Choosing kernels by measurement beside every fixed choice: the same work by the chosen kernel and by each kernel, in turns of
//! the same rounds. `cargo bench --bench selection -- [--rounds N]`.
//!
//! A choice is made once for a size and kept, as a program does it; what asking again costs is told beside it. Figures are the
//! medians of rounds of the clock, since threads take part.

use cogniware::lowbit::selection::{
    Comparing, DeviceAwareKernelManager, DeviceId, DeviceInventory, OperationKind, PerformanceCache,
    PerformanceRequirements, Plain, QuantizationFormat, QuantizationOperation, TensorCharacteristics, Trial,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A kernel's name, its work, how often a turn runs it, and the seconds of its turns.
type Timed<'a> = (String, Box<dyn Trial + 'a>, u32, Vec<f64>);

/// A turn lasts about this many seconds.
const TURN: f64 = 400e-6;

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

fn turn(trial: &mut dyn Trial, times: u32) -> f64 {
    trial.timed(times).expect("a kernel").as_secs_f64() / f64::from(times)
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let rounds: usize = value("--rounds").map_or(31, |r| r.parse().expect("--rounds"));
    let manager = DeviceAwareKernelManager::with(
        DeviceInventory::detect().expect("devices"),
        PerformanceCache::at(None),
    );
    let host = manager.inventory().get(DeviceId::CPU).expect("the host").clone();
    let plain = Plain::all(&host.device, &host.levels).expect("kernels");
    let comparing = Comparing::all(&host.device, &host.levels).expect("kernels");
    let mut kernels: Vec<Arc<dyn cogniware::lowbit::selection::Candidate>> = vec![];
    kernels.extend(plain.into_iter().map(|k| Arc::new(k) as Arc<_>));
    kernels.extend(comparing.into_iter().map(|k| Arc::new(k) as Arc<_>));
    for kernel in &kernels {
        manager.register(kernel.clone()).expect("a kernel");
    }
    let free = PerformanceRequirements::default();
    let (i2s, ternary) = (QuantizationFormat::I2S, QuantizationFormat::Ternary);
    let (to, back) = (OperationKind::Quantize, OperationKind::Dequantize);
    // What a kernel took for each piece of work, and the chosen one; only those that do all of an operation are a fixed choice.
    let mut fixed: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let (mut chosen, mut nearest, mut asked, mut twins) = (vec![], vec![], vec![], vec![]);
    let mut state = 1u64;
    println!(
        "{:<20} {:>9} {:>6} {:<24} {:>11} {:>9} {:<24} {:>7}",
        "operation", "numbers", "block", "chosen", "us", "measured", "best", "ratio"
    );
    for (kind, format, block) in [(to, i2s, 0), (to, i2s, 32), (to, ternary, 0), (back, i2s, 32)] {
        for count in [256u64, 4 << 10, 64 << 10, 1 << 20, 8 << 20] {
            let operation = QuantizationOperation::of(kind, format);
            let shape = TensorCharacteristics::elements(count, block);
            let begun = Instant::now();
            let choice = manager.select_optimal_kernel(operation, &shape, &free).expect("a choice");
            let measured = begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            for _ in 0..100 {
                manager.select_optimal_kernel(operation, &shape, &free).expect("a choice");
            }
            asked.push(begun.elapsed().as_secs_f64() / 100.0);
            let able: Vec<_> = kernels.iter().filter(|k| k.supports(operation, &shape)).collect();
            // The chosen one runs twice: what it differs from itself is what these figures cannot tell.
            let mut trials: Vec<Timed<'_>> = able
                .iter()
                .map(|k| (k.name().to_owned(), k.prepare(operation, &shape).expect("a sample")))
                .chain([(
                    "chosen".to_owned(),
                    choice.candidate.prepare(operation, &shape).expect("a sample"),
                )])
                .map(|(name, mut trial)| {
                    turn(&mut *trial, 1);
                    let once = turn(&mut *trial, 1);
                    (name, trial, ((TURN / once) as u32).clamp(1, 10_000), vec![])
                })
                .collect();
            for _ in 0..rounds {
                // Another order each time: nobody always follows the same one.
                let mut order: Vec<usize> = (0..trials.len()).collect();
                for i in (1..order.len()).rev() {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    order.swap(i, (state >> 33) as usize % (i + 1));
                }
                for i in order {
                    let (_, trial, times, seconds) = &mut trials[i];
                    seconds.push(turn(&mut **trial, *times));
                }
            }
            let figures: Vec<(String, f64)> = trials.into_iter().map(|t| (t.0, median(t.3))).collect();
            let twin = figures.last().expect("the chosen one").1;
            let all = &figures[..figures.len() - 1];
            let own = all.iter().find(|f| f.0 == choice.kernel).expect("the chosen one").1;
            twins.push((twin / own).max(own / twin));
            let best = all.iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("a kernel");
            for (name, seconds) in all {
                fixed.entry(name.clone()).or_default().push(*seconds);
            }
            println!(
                "{:<20} {count:>9} {block:>6} {:<24} {:>11.2} {:>6.0} ms {:<24} {:>7.3}",
                operation.name(),
                choice.kernel,
                own * 1e6,
                measured * 1e3,
                best.0,
                own / best.1
            );
            chosen.push(own);
            nearest.push(own / best.1);
        }
    }
    let mean = |x: &[f64]| (x.iter().map(|r| r.ln()).sum::<f64>() / x.len() as f64).exp();
    println!("\nasking again costs {:.2} us", median(asked) * 1e6);
    println!(
        "chosen over the best kernel of each size: geometric mean {:.3}, most {:.3}",
        mean(&nearest),
        nearest.iter().copied().fold(0.0, f64::max)
    );
    println!(
        "a chosen kernel over itself, timed twice in these rounds: geometric mean {:.3}, most {:.3}",
        mean(&twins),
        twins.iter().copied().fold(0.0, f64::max)
    );
    fixed.retain(|_, seconds| seconds.len() == chosen.len());
    let against =
        |seconds: &Vec<f64>| mean(&chosen.iter().zip(seconds).map(|(c, s)| c / s).collect::<Vec<_>>());
    let mut order: Vec<(f64, f64, &String)> = fixed
        .iter()
        .map(|(name, s)| (against(s), chosen.iter().sum::<f64>() / s.iter().sum::<f64>(), name))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("chosen over one kernel for all sizes (below 1: choosing is faster), the best first:");
    for (ratio, sum, name) in order {
        println!("  {name:<24} geometric mean {ratio:.3}, of the sum of times {sum:.3}");
    }
}
