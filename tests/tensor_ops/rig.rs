//! A device with some mapped memory and operations on it, random inputs, and tensors of every type.

use cogniware::device::{self, Access, Device, DeviceKind, DevicePtr, Granule};
use cogniware::ops::tensor::{self, Element, Operation, TensorOps};
use half::{bf16, f16};
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
    pub fn float(&mut self) -> f64 {
        f64::from(self.bits()) / 2147483648.0 - 1.0
    }

    pub fn below(&mut self, n: u64) -> u64 {
        u64::from(self.bits()) % n
    }

    /// Values of a type: between -1 and 1, or whole numbers of 8 bits.
    pub fn values(&mut self, element: Element, n: u64) -> Vec<f64> {
        (0..n)
            .map(|_| match element {
                Element::I8 => (self.float() * 128.0).floor(),
                Element::I32 => (self.float() * 1e6).floor(),
                _ => rounded(element, self.float()),
            })
            .collect()
    }
}

/// The value of a type that is nearest.
pub fn rounded(element: Element, x: f64) -> f64 {
    match element {
        Element::F64 => x,
        Element::F32 => f64::from(x as f32),
        Element::F16 => f16::from_f32(x as f32).to_f64(),
        Element::BF16 => bf16::from_f32(x as f32).to_f64(),
        Element::I8 | Element::I32 => x.round_ties_even(),
    }
}

/// Half of the distance between neighbours of a type near 1.
pub fn unit(element: Element) -> f64 {
    match element {
        Element::F64 => 2f64.powi(-53),
        Element::F32 => 2f64.powi(-24),
        Element::F16 => 2f64.powi(-11),
        Element::BF16 => 2f64.powi(-8),
        Element::I8 | Element::I32 => 0.0,
    }
}

/// Half of the smallest number of a type.
pub fn least(element: Element) -> f64 {
    if element == Element::F16 { 2f64.powi(-25) } else { 0.0 }
}

/// The bytes of these values, which the type holds.
pub fn raw(element: Element, values: &[f64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * element.bytes() as usize);
    for &x in values {
        match element {
            Element::F64 => out.extend(x.to_le_bytes()),
            Element::F32 => out.extend((x as f32).to_le_bytes()),
            Element::F16 => out.extend(f16::from_f64(x).to_le_bytes()),
            Element::BF16 => out.extend(bf16::from_f64(x).to_le_bytes()),
            Element::I8 => out.extend((x as i8).to_le_bytes()),
            Element::I32 => out.extend((x as i32).to_le_bytes()),
        }
    }
    out
}

pub fn values(element: Element, raw: &[u8]) -> Vec<f64> {
    raw.chunks_exact(element.bytes() as usize)
        .map(|b| match element {
            Element::F64 => f64::from_le_bytes(b.try_into().unwrap()),
            Element::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
            Element::F16 => f16::from_le_bytes(b.try_into().unwrap()).to_f64(),
            Element::BF16 => bf16::from_le_bytes(b.try_into().unwrap()).to_f64(),
            Element::I8 => f64::from(b[0] as i8),
            Element::I32 => f64::from(i32::from_le_bytes(b.try_into().unwrap())),
        })
        .collect()
}

/// What lies behind a tensor, to see that it is left alone.
const GUARD: u8 = 0xa5;

pub struct Rig {
    pub device: Arc<dyn Device>,
    pub ops: Arc<dyn TensorOps>,
    base: DevicePtr,
    bytes: u64,
    used: u64,
    granule: Option<Granule>,
    guards: Vec<DevicePtr>,
}

impl Rig {
    pub fn cuda(&self) -> bool {
        self.device.kind() == DeviceKind::Cuda
    }

    /// Memory aligned to 256 bytes and `off` more, poisoned, with guard bytes behind.
    pub fn space_at(&mut self, bytes: u64, off: u64) -> DevicePtr {
        let at = self.base + self.used + off;
        self.used += (bytes + off + 64).next_multiple_of(256);
        assert!(self.used <= self.bytes, "the test's memory is full");
        let mut poison = vec![0xff; bytes as usize];
        poison.extend([GUARD; 64]);
        self.device.write(at, &poison).unwrap();
        self.guards.push(at + bytes);
        at
    }

    pub fn space(&mut self, element: Element, n: u64) -> DevicePtr {
        self.space_at(n * element.bytes(), 0)
    }

    pub fn put(&mut self, element: Element, values: &[f64]) -> DevicePtr {
        self.put_at(element, values, 0)
    }

    pub fn put_at(&mut self, element: Element, values: &[f64], off: u64) -> DevicePtr {
        let raw = raw(element, values);
        let at = self.space_at(raw.len() as u64, off);
        self.device.write(at, &raw).unwrap();
        at
    }

    pub fn get(&self, element: Element, at: DevicePtr, n: u64) -> Vec<f64> {
        let mut raw = vec![0; (n * element.bytes()) as usize];
        if n > 0 {
            self.device.read(&mut raw, at).unwrap();
        }
        values(element, &raw)
    }

    /// Queues an operation and waits.
    pub fn run(&self, operation: Operation) {
        // SAFETY: the test's own memory.
        unsafe { self.ops.queue(&operation) }.unwrap();
        self.ops.stream().synchronize().unwrap();
        for &guard in &self.guards {
            let mut behind = [0; 64];
            self.device.read(&mut behind, guard).unwrap();
            assert_eq!(behind, [GUARD; 64], "{operation:?} wrote behind {guard:#x}");
        }
    }

    /// Forgets all memory handed out.
    pub fn reset(&mut self) {
        self.used = 0;
        self.guards.clear();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.ops.stream().synchronize();
        let _ = self.device.unmap(self.base, self.bytes);
        self.device.granule_release(self.granule.take().unwrap());
        self.device.range_release(self.base, self.bytes);
    }
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
        let ops = tensor::for_stream(&device, node, stream).unwrap();
        let bytes = (192u64 << 20).next_multiple_of(device.granularity());
        let granule = device.granule_create(bytes).unwrap();
        let base = device.range_reserve(bytes).unwrap();
        device.map(base, &granule, Access::ReadWrite).unwrap();
        let mut rig = Rig { device, ops, base, bytes, used: 0, granule: Some(granule), guards: Vec::new() };
        test(&mut rig);
    }
}

/// Checks every output against what it should be and how far off it may be.
pub fn close(got: &[f64], want: &[f64], off: impl Fn(usize) -> f64, what: &dyn std::fmt::Debug) {
    assert_eq!(got.len(), want.len());
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= off(i);
        assert!(same, "element {i} is {g}, not {w} within {:e}: {what:?}", off(i));
    }
}
