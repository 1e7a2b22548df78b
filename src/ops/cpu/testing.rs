//! What the tests of this folder share.

use super::crew::Crew;
use crate::quant::{DType, quantize};

/// Every type.
pub const DTYPES: [DType; 7] =
    [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K];

/// A small generator with a fixed sequence (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Mean 0, variance 1, about bell-shaped.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// A matrix in its file layout, every code possible, scales of usual size.
pub fn random_weights(random: &mut Random, dtype: DType, rows: u32, cols: u32) -> Vec<u8> {
    let mut out = vec![0u8; dtype.bytes(rows.into(), cols.into()).unwrap() as usize];
    match dtype {
        DType::F32 | DType::F16 | DType::BF16 => {
            let values = random.floats(rows as usize * cols as usize);
            quantize(dtype, &values, &mut out).unwrap();
        }
        _ => {
            out.fill_with(|| random.bits() as u8);
            for block in out.chunks_exact_mut(dtype.block_bytes() as usize) {
                let mut scale = || half::f16::from_f32(random.normal() * 0.01).to_le_bytes();
                match dtype {
                    DType::Q6_K => block[208..].copy_from_slice(&scale()),
                    DType::Q4_K => {
                        block[..2].copy_from_slice(&scale());
                        block[2..4].copy_from_slice(&scale());
                    }
                    _ => block[..2].copy_from_slice(&scale()),
                }
            }
        }
    }
    out
}

/// Memory aligned to 256 bytes, filled with bytes that are NaN as f32.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub fn new(len: usize) -> Self {
        let bytes = vec![0xff; len + 256];
        let start = bytes.as_ptr().align_offset(256);
        Buffer { bytes, start, len }
    }

    pub fn of<T: Copy>(values: &[T]) -> Self {
        let mut buffer = Buffer::new(size_of_val(values));
        // SAFETY: plain old data, as long as the buffer.
        let from = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
        buffer.bytes_mut().copy_from_slice(from);
        buffer
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    pub fn ptr(&self) -> u64 {
        self.bytes[self.start..].as_ptr() as u64
    }

    pub fn floats(&self) -> Vec<f32> {
        self.bytes[self.start..self.start + self.len]
            .chunks_exact(4)
            .map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    }
}

/// Threads made for each run.
pub struct Threads(pub usize);

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

/// Bits of floats, for exact comparison.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}
