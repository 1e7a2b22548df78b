//! How fast the CPU operations read weights, beside how fast this machine reads memory.
//!
//! `cargo bench --bench matvec -- [--rounds N] [--threads N] [--only Q8_0,F16] [--no-decode]
//! [--no-prefill] [--no-attention]`
//!
//! Decode: products with one row, the weights rotating over more than 1 GiB, so that they come from memory. Each
//! round measures a plain read of the same bytes right before and after; the figures are medians over the rounds, the
//! ratio that of each product to its own neighbours. Prefill: products with 512 rows. One thread is measured by its
//! processor time, more by the clock.

use cogniware::device::cpu::CpuDevice;
use cogniware::device::{Access, Device, Granule};
use cogniware::ops::{Attention, KvLayout, Ops, Product, RopeStyle, Rows, Weight, for_stream};
use cogniware::quant::DType;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOTAL: u64 = 1200 << 20;

/// Memory of the device, mapped at an address.
struct Memory {
    device: Arc<dyn Device>,
    granule: Option<Granule>,
    ptr: u64,
    bytes: u64,
}

impl Memory {
    fn new(device: &Arc<dyn Device>, bytes: u64) -> Memory {
        let bytes = bytes.next_multiple_of(device.granularity());
        let granule = device.granule_create(bytes).expect("memory");
        let ptr = device.range_reserve(bytes).expect("addresses");
        device.map(ptr, &granule, Access::ReadWrite).expect("mapping");
        Memory { device: device.clone(), granule: Some(granule), ptr, bytes }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: mapped, and nobody else writes it.
        unsafe { std::slice::from_raw_parts_mut(self.ptr as *mut u8, self.bytes as usize) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.device.unmap(self.ptr, self.bytes).expect("unmapping");
        self.device.range_release(self.ptr, self.bytes);
        if let Some(granule) = self.granule.take() {
            self.device.granule_release(granule);
        }
    }
}

/// Reads `bytes` at `ptr` as `streams` streams side by side and returns something that depends on all of it.
fn read(ptr: u64, bytes: u64, streams: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        // SAFETY: the bytes are mapped and the instructions exist.
        return unsafe {
            match streams {
                1 => read_avx512::<1>(ptr, bytes),
                2 => read_avx512::<2>(ptr, bytes),
                _ => read_avx512::<4>(ptr, bytes),
            }
        };
    }
    // SAFETY: the bytes are mapped.
    let words = unsafe { std::slice::from_raw_parts(ptr as *const u64, bytes as usize / 8) };
    words.iter().fold(streams as u64, |a, b| a.wrapping_add(*b))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn read_avx512<const STREAMS: usize>(ptr: u64, bytes: u64) -> u64 {
    use std::arch::x86_64::*;
    let part = bytes as usize / STREAMS / 256 * 256;
    let mut sums = [[_mm512_setzero_si512(); 4]; STREAMS];
    for at in (0..part).step_by(256) {
        for (s, sums) in sums.iter_mut().enumerate() {
            let line = (ptr as *const u8).wrapping_add(s * part + at);
            for (i, sum) in sums.iter_mut().enumerate() {
                _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(4096 + 64 * i).cast());
                // SAFETY: below `bytes`.
                *sum = _mm512_add_epi64(*sum, unsafe { _mm512_loadu_si512(line.add(64 * i).cast()) });
            }
        }
    }
    sums.iter().flatten().fold(0, |a, s| a ^ _mm512_reduce_add_epi64(*s) as u64)
}

/// What the calling thread has had of a processor.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the struct.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

struct Bench {
    device: Arc<dyn Device>,
    ops: Arc<dyn Ops>,
    threads: u32,
    rounds: usize,
    _scratch: Memory,
    x: Memory,
    out: Memory,
}

impl Bench {
    fn new(device: &Arc<dyn Device>, threads: u32, rounds: usize) -> Bench {
        let node = device.node_create(&(0..threads).collect::<Vec<_>>()).expect("node");
        let stream = node.stream_create(0).expect("stream");
        let ops = for_stream(device, node, stream).expect("operations");
        let scratch = Memory::new(device, ops.scratch_bytes(512, 11008, 11008, 1, 32, 128));
        ops.set_scratch(scratch.ptr, scratch.bytes).expect("scratch");
        let mut x = Memory::new(device, 512 * 11008 * 4);
        for (i, x) in x.bytes_mut().chunks_exact_mut(4).enumerate() {
            x.copy_from_slice(&((i * 7919 % 1000) as f32 * 1e-3 - 0.5).to_ne_bytes());
        }
        let out = Memory::new(device, 512 * 11008 * 4);
        Bench { device: device.clone(), ops, threads, rounds, _scratch: scratch, x, out }
    }

    /// As many copies of a matrix as make [`TOTAL`], or one.
    fn weights(&self, dtype: DType, rows: u32, cols: u32, total: u64) -> (Memory, Vec<Weight>) {
        let bytes = self.ops.packed_bytes(dtype, rows, cols).expect("size");
        let copies = total.div_ceil(bytes);
        let mut memory = Memory::new(&self.device, bytes * copies);
        let stored = dtype.bytes(rows.into(), cols.into()).expect("size") as usize;
        let mut random = 1u64;
        let mut src = vec![0u8; stored];
        for b in &mut src {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *b = (random >> 56) as u8 & 0x3f;
        }
        let start = memory.ptr;
        for (i, part) in memory.bytes_mut().chunks_exact_mut(bytes as usize).take(copies as usize).enumerate()
        {
            if i == 0 {
                let begin = Instant::now();
                self.ops.pack(dtype, rows, cols, &src, part).expect("packing");
                let speed = stored as f64 / begin.elapsed().as_secs_f64() / 1e9;
                println!("  packing {dtype:?} {rows}x{cols}: {speed:.2} GB/s on one thread");
            } else {
                // SAFETY: the first copy, which nobody changes, and another one.
                let first = unsafe { std::slice::from_raw_parts(start as *const u8, bytes as usize) };
                part.copy_from_slice(first);
            }
        }
        let weights = (0..copies).map(|i| Weight { dtype, rows, cols, ptr: start + i * bytes }).collect();
        (memory, weights)
    }

    /// Time for one product with each of `weights`: of the processor for one thread, so that what else runs on it does
    /// not count; of the clock for more.
    fn products(&self, weights: &[Weight], n: u32) -> Duration {
        let mut time = Duration::ZERO;
        let mut body = || {
            let begin = processor_time();
            for &weight in weights {
                let product = Product { weight, bias: None, out: self.out.ptr, add: false };
                self.ops.matmul(self.x.ptr, n, &[product])?;
            }
            time = processor_time() - begin;
            Ok(())
        };
        let clock = self.ops.step(None, &[], &mut body, &mut []).expect("step").device;
        if self.threads == 1 { time } else { clock }
    }

    /// The fastest plain read of the same bytes, in GB/s.
    fn ceiling(&self, memory: &Memory) -> f64 {
        let mut best = 0f64;
        for streams in [1, 2, 4] {
            let part = memory.bytes / u64::from(self.threads) / 4096 * 4096;
            let (begin, used) = (Instant::now(), processor_time());
            std::thread::scope(|scope| {
                for t in 1..u64::from(self.threads) {
                    scope.spawn(move || std::hint::black_box(read(memory.ptr + t * part, part, streams)));
                }
                std::hint::black_box(read(memory.ptr, part, streams));
            });
            let time = if self.threads == 1 { processor_time() - used } else { begin.elapsed() };
            let read = part * u64::from(self.threads);
            best = best.max(read as f64 / time.as_secs_f64() / 1e9);
        }
        best
    }

    fn decode(&self, dtype: DType, rows: u32, cols: u32) {
        let (memory, weights) = self.weights(dtype, rows, cols, TOTAL);
        let bytes = self.ops.packed_bytes(dtype, rows, cols).expect("size") * weights.len() as u64;
        let (mut speeds, mut ratios, mut ceilings) = (vec![], vec![], vec![]);
        self.products(&weights, 1);
        let mut before = self.ceiling(&memory);
        for _ in 0..self.rounds {
            let speed = bytes as f64 / self.products(&weights, 1).as_secs_f64() / 1e9;
            let after = self.ceiling(&memory);
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
}

impl Bench {
    /// Rotary embedding, cache writes and attention of `n` rows that end at position `tokens`: 32 heads of 128 over 8
    /// key/value heads in f16.
    fn attention(&self, n: u32, tokens: u32) {
        let mut kv =
            KvLayout { base: 0, dtype: DType::F16, page_tokens: 16, layers: 1, kv_heads: 8, head_dim: 128 };
        let pages = tokens.div_ceil(kv.page_tokens);
        let cache = Memory::new(&self.device, kv.page_bytes() * u64::from(pages));
        kv.base = cache.ptr;
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
        let mut times = vec![];
        for _ in 0..self.rounds + 1 {
            let mut time = Duration::ZERO;
            let mut body = || {
                let begin = processor_time();
                self.ops.rope_store(&rows, &kv, 0, 32, q, k, v, frequencies, 1.0, RopeStyle::Half)?;
                self.ops.attention(&rows, &kv, 0, &how, q, self.out.ptr)?;
                time = processor_time() - begin;
                Ok(())
            };
            let clock = self.ops.step(None, &[], &mut body, &mut []).expect("step").device;
            times.push(if self.threads == 1 { time } else { clock }.as_secs_f64());
        }
        let time = median(times.split_off(1));
        let pairs = f64::from(n) * (f64::from(tokens) - f64::from(n - 1) / 2.0);
        println!(
            "attention n={n} tokens={tokens} {} threads: {:.3} ms, {:.1} GFLOP/s",
            self.threads,
            time * 1e3,
            pairs * 32.0 * 128.0 * 4.0 / time / 1e9
        );
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
            for (n, tokens) in [(1, 512), (1, 4096), (512, 512), (512, 4096)] {
                bench.attention(n, tokens);
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
