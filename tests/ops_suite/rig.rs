//! A device with some mapped memory and operations on it, and random inputs.

use cogniware::device::{self, Access, Device, DeviceKind, DevicePtr, Granule};
use cogniware::ops::{self, Ops};
use cogniware::quant::DType;
use half::f16;
use std::sync::Arc;

pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }

    /// Between -1 and 1.
    pub fn float(&mut self) -> f32 {
        self.bits() as f32 / 2147483648.0 - 1.0
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }
}

pub struct Rig {
    pub device: Arc<dyn Device>,
    pub ops: Arc<dyn Ops>,
    base: DevicePtr,
    bytes: u64,
    used: u64,
    granule: Option<Granule>,
}

impl Rig {
    pub fn cuda(&self) -> bool {
        self.device.kind() == DeviceKind::Cuda
    }

    /// 256-byte aligned memory, poisoned with NaN patterns.
    pub fn space(&mut self, bytes: usize) -> DevicePtr {
        let at = self.used;
        self.used += (bytes as u64).next_multiple_of(256);
        assert!(self.used <= self.bytes, "the test's memory is full");
        self.device.write(self.base + at, &vec![0xff; bytes]).unwrap();
        self.base + at
    }

    pub fn put<T: Copy>(&mut self, values: &[T]) -> DevicePtr {
        let at = self.space(size_of_val(values));
        self.device.write(at, bytes(values)).unwrap();
        at
    }

    pub fn floats(&self, at: DevicePtr, n: usize) -> Vec<f32> {
        let mut raw = vec![0u8; n * 4];
        self.device.read(&mut raw, at).unwrap();
        raw.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    pub fn scratch(&mut self, rows: u32, cols: u32, outputs: u32, tokens: u32, heads: u32, head_dim: u32) {
        let bytes = self.ops.scratch_bytes(rows, cols, outputs, tokens, heads, head_dim);
        let at = self.space(bytes as usize);
        self.ops.set_scratch(at, bytes).unwrap();
    }

    /// Runs operations as one step.
    pub fn run(&self, mut body: impl FnMut(&dyn Ops) -> cogniware::Result<()> + Send) {
        let ops = self.ops.clone();
        self.ops.step(None, &[], &mut || body(ops.as_ref()), &mut []).unwrap();
    }

    /// Forgets all memory handed out.
    pub fn reset(&mut self) {
        self.used = 0;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.ops.forget();
        let _ = self.ops.stream().synchronize();
        let _ = self.device.unmap(self.base, self.bytes);
        self.device.granule_release(self.granule.take().unwrap());
        self.device.range_release(self.base, self.bytes);
    }
}

pub fn bytes<T: Copy>(values: &[T]) -> &[u8] {
    // SAFETY: only used with numbers, which have no padding.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// A rig on each device: all that can be opened, or the one that COGNIWARE_DEVICE names.
pub fn each_device(mut test: impl FnMut(&mut Rig)) {
    let devices = match std::env::var("COGNIWARE_DEVICE") {
        Ok(_) => vec![device::default_device().unwrap()],
        Err(_) => device::open_all(),
    };
    assert!(!devices.is_empty());
    for device in devices {
        let units: Vec<u32> = device.units().iter().map(|u| u.index).collect();
        let node = device.node_create(&units).unwrap();
        let stream = node.stream_create(0).unwrap();
        let ops = ops::for_stream(&device, node, stream).unwrap();
        let bytes = (256u64 << 20).next_multiple_of(device.granularity());
        let granule = device.granule_create(bytes).unwrap();
        let base = device.range_reserve(bytes).unwrap();
        device.map(base, &granule, Access::ReadWrite).unwrap();
        let mut rig = Rig { device, ops, base, bytes, used: 0, granule: Some(granule) };
        test(&mut rig);
    }
}

/// ‖got - want‖ / ‖want‖; anything not finite is infinite.
pub fn error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let (mut diff, mut norm) = (0.0f64, 0.0f64);
    for (&g, &w) in got.iter().zip(want) {
        if !g.is_finite() {
            return f64::INFINITY;
        }
        diff += (f64::from(g) - w).powi(2);
        norm += w * w;
    }
    (diff / norm.max(1e-30)).sqrt()
}

pub const DTYPES: [DType; 7] =
    [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K];

/// A random matrix: its bytes as in a file, and its values.
pub fn matrix(r: &mut Random, dtype: DType, rows: u32, cols: u32) -> (Vec<u8>, Vec<f32>) {
    let n = rows as usize * cols as usize;
    let mut file = vec![0; dtype.bytes(rows.into(), cols.into()).unwrap() as usize];
    match dtype {
        DType::Q4_K | DType::Q6_K => {
            // Any codes are valid; only the f16 scales must be ordinary numbers.
            file.iter_mut().for_each(|b| *b = r.bits() as u8);
            for block in file.chunks_exact_mut(dtype.block_bytes() as usize) {
                let at = if dtype == DType::Q4_K { 0 } else { 208 };
                let scale = f16::from_f32(r.float() * 0.01);
                block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
                if dtype == DType::Q4_K {
                    block[2..4].copy_from_slice(&f16::from_f32(r.float() * 0.05).to_le_bytes());
                }
            }
        }
        _ => cogniware::quant::quantize(dtype, &r.floats(n), &mut file).unwrap(),
    }
    let mut exact = vec![0.0; n];
    cogniware::quant::dequantize(dtype, &file, &mut exact).unwrap();
    (file, exact)
}
