//! How fast the CPU operations are, beside how fast this machine reads memory.
//!
//! `cargo bench --bench matvec -- [--rounds N] [--threads N] [--only Q8_0,F16] [--no-decode]
//! [--no-prefill] [--no-attention] [--no-small]`
//!
//! Decode: products with one row, the weights rotating over more than 1 GiB, so that they come from memory. Each
//! round measures a plain read of the same bytes right before and after; the figures are medians over the rounds, the
//! ratio that of each product to its own neighbours. Prefill: products with 512 rows. One thread is measured by its
//! processor time, more by the clock.

#[path = "common/ceiling.rs"]
mod ceiling;
#[path = "common/products.rs"]
mod products;

use ceiling::{Memory, read_speed};
use cogniware::device::cpu::CpuDevice;
use cogniware::ops::{Activation, Attention, KvLayout, Ops, RopeStyle, Rows};
use cogniware::quant::DType;
use products::{Bench, TOTAL, median};

trait Products {
    fn decode(&self, dtype: DType, rows: u32, cols: u32);
    fn prefill(&self, dtype: DType, rows: u32, cols: u32);
    fn attention(&self, dtype: DType, kv_heads: u32, n: u32, tokens: u32);
    fn small(&self, n: u32);
}

impl Products for Bench {
    fn decode(&self, dtype: DType, rows: u32, cols: u32) {
        let (memory, weights) = self.weights(dtype, rows, cols, TOTAL);
        let bytes = self.ops.packed_bytes(dtype, rows, cols).expect("size") * weights.len() as u64;
        let (mut speeds, mut ratios, mut ceilings) = (vec![], vec![], vec![]);
        self.products(&weights, 1);
        let mut before = read_speed(&memory, self.threads);
        for _ in 0..self.rounds {
            let speed = bytes as f64 / self.products(&weights, 1).as_secs_f64() / 1e9;
            let after = read_speed(&memory, self.threads);
            let ceiling = (before + after) / 2.0;
            speeds.push(speed);
            ratios.push(speed / ceiling);
            ceilings.push(ceiling);
            before = after;
        }
        let best = |x: &[f64]| x.iter().copied().fold(0.0, f64::max);
        let (fastest, roof) = (best(&speeds), best(&ceilings));
        let speed = median(speeds);
        println!(
            "decode  {dtype:?} {rows}x{cols} {} threads: {speed:.1} GB/s, {:.3} ms, read {:.1} GB/s, ratio {:.3}; \
             best {fastest:.1} of {roof:.1} GB/s",
            self.threads,
            bytes as f64 / weights.len() as f64 / speed / 1e6,
            median(ceilings),
            median(ratios),
        );
    }

    fn prefill(&self, dtype: DType, rows: u32, cols: u32) {
        let (_memory, weights) = self.weights(dtype, rows, cols, 1);
        self.products(&weights, 512);
        let times: Vec<f64> = (0..self.rounds).map(|_| self.products(&weights, 512).as_secs_f64()).collect();
        let operations = 2.0 * 512.0 * f64::from(rows) * f64::from(cols);
        let best = times.iter().copied().fold(f64::MAX, f64::min);
        let time = median(times);
        println!(
            "prefill {dtype:?} {rows}x{cols} n=512 {} threads: {:.1} ms, {:.0} GOP/s; best {:.0} GOP/s",
            self.threads,
            time * 1e3,
            operations / time / 1e9,
            operations / best / 1e9,
        );
    }

    /// Rotary embedding, cache writes and attention of `n` rows that end at position `tokens`: 32 heads of 128 over
    /// `kv_heads` key/value heads. With one row, as many caches as make a gigabyte take turns, so that they come from
    /// memory, and a plain read of them is measured around each round.
    fn attention(&self, dtype: DType, kv_heads: u32, n: u32, tokens: u32) {
        let layout = KvLayout { base: 0, dtype, page_tokens: 16, layers: 1, kv_heads, head_dim: 128 };
        let pages = tokens.div_ceil(layout.page_tokens);
        let bytes = layout.page_bytes() * u64::from(pages);
        let caches = if n == 1 { (1u64 << 30).div_ceil(bytes) } else { 1 };
        let mut cache = Memory::new(&self.device, bytes * caches);
        // The same number in both types would not matter, a NaN would.
        cache.bytes_mut().fill(0x2e);
        let mut ints = Memory::new(&self.device, 4 * u64::from(2 * n + pages));
        let numbers = (tokens - n..tokens).chain((0..n).map(|_| 0)).chain(0..pages);
        for (place, number) in ints.bytes_mut().chunks_exact_mut(4).zip(numbers) {
            place.copy_from_slice(&(number as i32).to_ne_bytes());
        }
        let rows = Rows {
            n,
            positions: ints.ptr,
            sequences: ints.ptr + 4 * u64::from(n),
            tables: ints.ptr + 8 * u64::from(n),
            table_width: pages,
            max_tokens: tokens,
        };
        let how = Attention { heads: 32, scale: 0.088, window: None };
        let (q, k, v) = (self.x.ptr, self.x.ptr + (8 << 20), self.x.ptr + (12 << 20));
        let frequencies = self.x.ptr + (16 << 20);
        let round = || {
            let time = self.timed(|ops| {
                (0..caches).try_for_each(|i| {
                    let kv = KvLayout { base: cache.ptr + i * bytes, ..layout };
                    ops.rope_store(&rows, &kv, 0, 32, q, k, v, frequencies, 1.0, RopeStyle::Half)?;
                    ops.attention(&rows, &kv, 0, &how, q, self.out.ptr)
                })
            });
            time.as_secs_f64() / caches as f64
        };
        round();
        let (mut times, mut ratios) = (vec![], vec![]);
        let read = || if n == 1 { bytes as f64 / read_speed(&cache, self.threads) / 1e9 } else { 0.0 };
        let mut before = read();
        for _ in 0..self.rounds {
            let time = round();
            let after = read();
            times.push(time);
            ratios.push((before + after) / 2.0 / time);
            before = after;
        }
        let time = median(times);
        let pairs = f64::from(n) * (f64::from(tokens) - f64::from(n - 1) / 2.0);
        let memory = if n == 1 { format!(", read ratio {:.3}", median(ratios)) } else { String::new() };
        println!(
            "attention {dtype:?} 32/{kv_heads} heads n={n} tokens={tokens} {} threads: {:.3} ms, {:.1} GFLOP/s{memory}",
            self.threads,
            time * 1e3,
            pairs * 32.0 * 128.0 * 4.0 / time / 1e9
        );
    }

    /// What is neither product nor attention, for `n` rows of 4096 elements, 11008 between gate and product.
    fn small(&self, n: u32) {
        let (_memory, table) = self.weights(DType::Q4_K, 4096, 4096, 1);
        let x = self.x.ptr;
        let mut ids = Memory::new(&self.device, 4 * u64::from(n));
        for (i, id) in ids.bytes_mut().chunks_exact_mut(4).take(n as usize).enumerate() {
            id.copy_from_slice(&(i as i32 * 7919 % 4096).to_ne_bytes());
        }
        let (dim, inner) = (u64::from(n) * 4096, u64::from(n) * 11008);
        type Operation<'a> = &'a (dyn Fn(&dyn Ops, u64) -> cogniware::Result<()> + Sync);
        let operations: [(&str, Operation<'_>); 9] = [
            ("embed Q4_K", &|ops, out| ops.embed(&table[0], ids.ptr, out, n)),
            ("rms_norm", &|ops, out| ops.rms_norm(x, x, out, n, 4096, 1e-5)),
            ("layer_norm", &|ops, out| ops.layer_norm(x, x, x, out, n, 4096, 1e-5)),
            ("gated silu", &|ops, out| ops.gated(Activation::Silu, out, x, inner)),
            ("gated gelu", &|ops, out| ops.gated(Activation::Gelu, out, x, inner)),
            ("gated gelu_tanh", &|ops, out| ops.gated(Activation::GeluTanh, out, x, inner)),
            ("activate silu", &|ops, out| ops.activate(Activation::Silu, out, inner)),
            ("activate gelu", &|ops, out| ops.activate(Activation::Gelu, out, inner)),
            ("add", &|ops, out| ops.add(out, x, dim)),
        ];
        // Each repetition has its own outputs, filled anew, so that none works on what another made tiny.
        let repetitions = u64::from(512 / n).min(20);
        for (name, operation) in operations {
            let times = (0..self.rounds + 1).map(|_| {
                // SAFETY: both are mapped, of this size, and used by nothing else now.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        x as *const u8,
                        self.out.ptr as *mut u8,
                        self.x.bytes as usize,
                    );
                }
                let time = self.timed(|ops| {
                    (0..repetitions).try_for_each(|i| operation(ops, self.out.ptr + i * inner * 4))
                });
                time.as_secs_f64() / repetitions as f64
            });
            let time = median(times.skip(1).collect());
            println!("small   {name} n={n} {} threads: {:.2} us", self.threads, time * 1e6);
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let rounds = value("--rounds").and_then(|r| r.parse().ok()).unwrap_or(5);
    let only = value("--only").map(|o| o.split(',').map(str::to_owned).collect::<Vec<_>>());
    let device = CpuDevice::open().expect("the CPU device");
    let cores = device.units().len() as u32;
    println!("instructions: {}", cogniware::ops::cpu::Isa::choose().expect("a level").name());
    let threads = value("--threads").and_then(|t| t.parse().ok());
    let wanted = threads.map_or(vec![1, 2], |t: u32| vec![t]);
    for threads in wanted.into_iter().filter(|&t| 0 < t && t <= cores) {
        let bench = Bench::new(&device, threads, rounds);
        if !args.iter().any(|a| a == "--no-attention") {
            for (n, tokens) in [(1, 512), (1, 4096), (1, 32768), (512, 512), (512, 4096)] {
                bench.attention(DType::F16, 8, n, tokens);
            }
            for (dtype, kv_heads) in [(DType::F16, 1), (DType::F16, 32), (DType::F32, 8)] {
                bench.attention(dtype, kv_heads, 1, 4096);
                bench.attention(dtype, kv_heads, 512, 512);
            }
        }
        if !args.iter().any(|a| a == "--no-small") {
            for n in [1, 128] {
                bench.small(n);
            }
        }
        for dtype in [DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K, DType::F16, DType::BF16, DType::F32]
        {
            let wanted = format!("{dtype:?}");
            if only.as_ref().is_some_and(|o| !o.contains(&wanted)) {
                continue;
            }
            for (rows, cols) in [(4096, 4096), (11008, 4096)] {
                if !args.iter().any(|a| a == "--no-decode") {
                    bench.decode(dtype, rows, cols);
                }
                if !args.iter().any(|a| a == "--no-prefill") {
                    bench.prefill(dtype, rows, cols);
                }
            }
        }
    }
}
