//! Products of the CPU device's operations, timed.

// Each bench uses its own part of this file.
#![allow(dead_code)]

use super::ceiling::{Memory, processor_time};
use cogniware::device::Device;
use cogniware::ops::{Ops, Product, Weight, for_stream};
use cogniware::quant::DType;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of weights that take turns, so that they come from memory.
pub const TOTAL: u64 = 1200 << 20;

pub fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x[x.len() / 2]
}

/// Products on one node of the CPU device.
pub struct Bench {
    pub device: Arc<dyn Device>,
    pub ops: Arc<dyn Ops>,
    pub threads: u32,
    pub rounds: usize,
    _scratch: Memory,
    pub x: Memory,
    pub out: Memory,
}

impl Bench {
    pub fn new(device: &Arc<dyn Device>, threads: u32, rounds: usize) -> Bench {
        let node = device.node_create(&(0..threads).collect::<Vec<_>>()).expect("node");
        let stream = node.stream_create(0).expect("stream");
        let ops = for_stream(device, node, stream).expect("operations");
        let scratch = Memory::new(device, ops.scratch_bytes(512, 11008, 14336, 1 << 15, 32, 128));
        ops.set_scratch(scratch.ptr, scratch.bytes).expect("scratch");
        let mut x = Memory::new(device, 512 * 11008 * 4);
        for (i, x) in x.bytes_mut().chunks_exact_mut(4).enumerate() {
            x.copy_from_slice(&((i * 7919 % 1000) as f32 * 1e-3 - 0.5).to_ne_bytes());
        }
        let out = Memory::new(device, 512 * 14336 * 4);
        Bench { device: device.clone(), ops, threads, rounds, _scratch: scratch, x, out }
    }

    /// As many copies of a matrix as make [`TOTAL`], or one.
    pub fn weights(&self, dtype: DType, rows: u32, cols: u32, total: u64) -> (Memory, Vec<Weight>) {
        let bytes = self.ops.packed_bytes(dtype, rows, cols).expect("size");
        let copies = total.div_ceil(bytes);
        let mut memory = Memory::new(&self.device, bytes * copies);
        let stored = dtype.bytes(rows.into(), cols.into()).expect("size") as usize;
        let mut random = 1u64;
        let mut src = vec![0u8; stored];
        for b in &mut src {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *b = (random >> 56) as u8 & 0x3f;
            if dtype == DType::I2_S {
                // No code may be 3.
                *b &= !(*b >> 1 & 0x55);
            }
        }
        if dtype == DType::I2_S {
            src[stored - 32..].fill(0);
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

    /// Time of a step's body: of the processor for one thread, so that what else runs on it does not count; of the
    /// clock for more.
    pub fn timed(&self, mut body: impl FnMut(&dyn Ops) -> cogniware::Result<()> + Send) -> Duration {
        let mut time = Duration::ZERO;
        let mut measured = || {
            let begin = processor_time();
            body(&*self.ops)?;
            time = processor_time() - begin;
            Ok(())
        };
        let clock = self.ops.step(None, &[], &mut measured, &mut []).expect("step").device;
        if self.threads == 1 { time } else { clock }
    }

    /// Time for one product with each of `weights`.
    pub fn products(&self, weights: &[Weight], n: u32) -> Duration {
        self.timed(|ops| {
            weights.iter().try_for_each(|&weight| {
                let product = Product { weight, bias: None, out: self.out.ptr, add: false };
                ops.matmul(self.x.ptr, n, &[product])
            })
        })
    }
}
