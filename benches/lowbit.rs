//! Ternary weights on the CPU, beside what this machine reads and multiplies, and beside weights of 8 bits.
//!
//! `cargo bench --bench lowbit -- [--rounds N] [--threads N] [--tokens 1,32,512]`
//!
//! One token: weights rotate over more than 1 GiB, so that they come from memory; a plain read of the same memory is measured
//! right before and after each round, and the ratio is the median of the rounds' own. Many tokens: operations over the peak of
//! `vpdpbusd` on 64 bytes, measured in the same run. One thread is measured by its processor time, more by the clock.
//!
//! `--device cuda`: all projections of the BitNet 2B shape (30 layers, 521 MB of two-bit weights, each layer with its own), as one
//! CUDA graph in the order of a model, beside what a copy inside the device moves. The peers are in benches/peers/torch_linear.py.

#[path = "common/ceiling.rs"]
mod ceiling;
#[path = "common/products.rs"]
mod products;

use ceiling::{Memory, ceiling, processor_time, read_speed};
use cogniware::device::cpu::CpuDevice;
use cogniware::device::{self, Device, DeviceKind};
use cogniware::ops::cpu::Isa;
use cogniware::ops::cpu::lowbit::Level;
use cogniware::ops::{Product, Weight, for_stream};
use cogniware::quant::DType;
use products::{Bench, TOTAL, median};
use std::sync::Arc;
use std::time::Instant;

const SHAPES: [(u32, u32); 3] = [(4096, 4096), (11008, 4096), (14336, 4096)];

/// Operations a second of `vpdpbusd` on vectors of 64 bytes with all operands in registers, in GOP/s of `threads` threads.
fn vnni_peak(threads: u32) -> Option<f64> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512vnni") {
        let one = || {
            let mut best = 0f64;
            for _ in 0..5 {
                let begin = processor_time();
                // SAFETY: the instructions exist.
                let count = unsafe { multiply() };
                best = best.max(count as f64 / (processor_time() - begin).as_secs_f64() / 1e9);
            }
            best
        };
        return Some(std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
            one() + others.into_iter().map(|o| o.join().expect("a peak")).sum::<f64>()
        }));
    }
    let _ = threads;
    None
}

/// Operations done.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn multiply() -> u64 {
    use std::arch::x86_64::*;
    const ROUNDS: u64 = 4_000_000;
    let mut acc = [_mm512_setzero_si512(); 12];
    let (mut a, b) = (_mm512_set1_epi8(1), _mm512_set1_epi8(2));
    for _ in 0..ROUNDS {
        a = std::hint::black_box(a);
        for acc in &mut acc {
            *acc = _mm512_dpbusd_epi32(*acc, a, b);
        }
    }
    std::hint::black_box(acc);
    ROUNDS * 12 * 64 * 2
}

fn decode(bench: &Bench, dtype: DType, (rows, cols): (u32, u32)) {
    let (memory, weights) = bench.weights(dtype, rows, cols, TOTAL);
    let each = dtype.bytes(rows.into(), cols.into()).expect("size");
    let bytes = each * weights.len() as u64;
    let (mut speeds, mut ratios) = (vec![], vec![]);
    bench.products(&weights, 1);
    let mut before = read_speed(&memory, bench.threads);
    for _ in 0..bench.rounds {
        let speed = bytes as f64 / bench.products(&weights, 1).as_secs_f64() / 1e9;
        let after = read_speed(&memory, bench.threads);
        speeds.push(speed);
        ratios.push(2.0 * speed / (before + after));
        before = after;
    }
    let speed = median(speeds);
    println!(
        "{:<6} {:>12} {:>6} {:>7} {:>9.1} us {:>7.1} GB/s {:>6.2} of the read speed",
        format!("{dtype:?}"),
        format!("{rows}x{cols}"),
        1,
        bench.threads,
        each as f64 / speed / 1e3,
        speed,
        median(ratios),
    );
}

fn many(bench: &Bench, dtype: DType, (rows, cols): (u32, u32), n: u32, peak: Option<f64>) {
    let (_memory, weights) = bench.weights(dtype, rows, cols, 1);
    bench.products(&weights, n);
    let rounds = bench.rounds * if n < 100 { 8 } else { 1 };
    let time = median((0..rounds).map(|_| bench.products(&weights, n).as_secs_f64()).collect());
    let speed = 2.0 * f64::from(n) * f64::from(rows) * f64::from(cols) / time / 1e9;
    let over = peak.map_or(String::new(), |peak| format!("{:>6.2} of the VNNI peak", speed / peak));
    println!(
        "{:<6} {:>12} {n:>6} {:>7} {:>9.1} us {speed:>7.0} GOP/s {over}",
        format!("{dtype:?}"),
        format!("{rows}x{cols}"),
        bench.threads,
        time * 1e6,
    );
}

/// Outputs and inputs of what a layer of BitNet 2B multiplies: q, k and v; the attention's output; gate and up; down.
const LAYER: [(&[u32], u32); 4] =
    [(&[2560, 640, 640], 2560), (&[2560], 2560), (&[6912, 6912], 2560), (&[2560], 6912)];
const LAYERS: usize = 30;

fn layers_on_a_gpu(device: &Arc<dyn Device>, rows: &[u32], rounds: usize) {
    let units: Vec<u32> = (0..device.units().len() as u32).collect();
    let node = device.node_create(&units).expect("the whole device");
    let stream = node.stream_create(0).expect("a stream");
    let ops = for_stream(device, node, stream).expect("operations");
    let roof = ceiling(device, 0);
    println!("# {}: {:.0} GB/s ({})", device.info().expect("figures").name, roof.gbs, roof.what);
    let most = *rows.iter().max().expect("a number of rows");
    let scratch = Memory::new(device, ops.scratch_bytes(most, 6912, 6912, 4096, 20, 128));
    ops.set_scratch(scratch.ptr, scratch.bytes).expect("scratch");
    let mut random = 1u64;
    let mut next = move || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        random >> 33
    };
    // One packed matrix of each shape, copied for each layer: where it lies is what matters.
    let mut kept = Vec::new();
    let mut layers: Vec<Vec<(Vec<Weight>, u32)>> = vec![Vec::new(); LAYERS];
    let mut bytes = 0;
    for (outputs, cols) in LAYER {
        let mut each = vec![Vec::new(); LAYERS];
        for &rows in outputs {
            let stored = DType::I2_S.bytes(rows.into(), cols.into()).expect("size");
            let mut file: Vec<u8> = (0..stored).map(|_| next() as u8).map(|b| b & !(b >> 1 & 0x55)).collect();
            let tail = file.len() - 32;
            file[tail..].fill(0);
            file[tail..tail + 4].copy_from_slice(&0.02f32.to_le_bytes());
            let size = ops.packed_bytes(DType::I2_S, rows, cols).expect("size");
            let mut packed = vec![0; size as usize];
            ops.pack(DType::I2_S, rows, cols, &file, &mut packed).expect("packing");
            let memory = Memory::new(device, size * LAYERS as u64);
            for (layer, each) in each.iter_mut().enumerate() {
                let ptr = memory.ptr + layer as u64 * size;
                device.write(ptr, &packed).expect("a write");
                each.push(Weight { dtype: DType::I2_S, rows, cols, ptr });
            }
            bytes += (stored - 32) * LAYERS as u64;
            kept.push(memory);
        }
        layers.iter_mut().zip(each).for_each(|(layer, each)| layer.push((each, cols)));
    }
    let width = u64::from(most) * 4 * 2 * 6912;
    let (x, out) = (Memory::new(device, width), Memory::new(device, width));
    let floats: Vec<u8> =
        (0..width / 4).flat_map(|_| (next() as f32 / 2f32.powi(30) - 1.0).to_ne_bytes()).collect();
    device.write(x.ptr, &floats).expect("a write");
    println!("{:>5} {:>10} {:>10} {:>8} {:>12}", "rows", "ms", "GB/s", "of copy", "TOP/s");
    for &n in rows {
        let mut body = || {
            for (weights, _) in layers.iter().flatten() {
                let mut at = out.ptr;
                let mut list = Vec::with_capacity(3);
                for &weight in weights {
                    list.push(Product { weight, bias: None, out: at, add: false });
                    at += u64::from(n) * u64::from(weight.rows) * 4;
                }
                ops.matmul(x.ptr, n, &list)?;
            }
            Ok(())
        };
        // The first runs make the graph.
        let mut time =
            || ops.step(Some(u64::from(n)), &[], &mut body, &mut []).expect("a step").device.as_secs_f64();
        (0..5).for_each(|_| _ = time());
        let time = median((0..rounds * 10).map(|_| time()).collect());
        println!(
            "{n:>5} {:>10.3} {:>10.0} {:>8.2} {:>12.1}",
            time * 1e3,
            bytes as f64 / time / 1e9,
            bytes as f64 / time / 1e9 / roof.gbs,
            2.0 * 4.0 * bytes as f64 * f64::from(n) / time / 1e12
        );
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let rounds = value("--rounds").map_or(5, |r| r.parse().expect("--rounds"));
    let tokens: Vec<u32> = value("--tokens")
        .map_or("1,32,512", |t| t)
        .split(',')
        .map(|t| t.parse().expect("--tokens"))
        .collect();
    let wanted = value("--device").map_or("cpu", |d| d);
    let device =
        device::open(device::parse_choice("--device", wanted).expect("--device")).expect("the device");
    if device.kind() != DeviceKind::Cpu {
        let rows: Vec<u32> =
            if args.iter().any(|a| a == "--tokens") { tokens } else { vec![1, 2, 4, 8, 16, 64, 512] };
        return layers_on_a_gpu(&device, &rows, rounds);
    }
    let device = CpuDevice::open().expect("the CPU device");
    let cores = device.units().len() as u32;
    let isa = Isa::choose().expect("a level");
    println!("# {}, {} for ternary weights", isa.name(), Level::here(isa).name());
    let wanted = value("--threads").map_or(vec![1, 2], |t| vec![t.parse().expect("--threads")]);
    println!("{:<6} {:>12} {:>6} {:>7} {:>12}", "type", "matrix", "tokens", "threads", "time");
    for threads in wanted.into_iter().filter(|&t| 0 < t && t <= cores) {
        let begun = Instant::now();
        let peak = vnni_peak(threads);
        if let Some(peak) = peak {
            println!("# VNNI peak of {threads}: {peak:.0} GOP/s ({:.1} s)", begun.elapsed().as_secs_f64());
        }
        let bench = Bench::new(&device, threads, rounds);
        for dtype in [DType::I2_S, DType::Q8_0] {
            for shape in SHAPES {
                for &n in &tokens {
                    if n == 1 { decode(&bench, dtype, shape) } else { many(&bench, dtype, shape, n, peak) }
                }
            }
        }
    }
}
