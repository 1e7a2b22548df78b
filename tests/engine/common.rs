//! Tenants, models and expected values for the tests of the engine.

use cogniware::device::{self, Device, DeviceChoice, DeviceKind};
use cogniware::llm::{Model, ModelOptions};
use cogniware::tenant::{self, Tenant, TenantConfig};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub const MIB: u64 = 1 << 20;

/// A file or folder of `tests/fixtures`. `COGNIWARE_SOURCE` says where the source tree is when the tests run on another
/// machine than the one that built them.
pub fn fixture(name: &str) -> PathBuf {
    let root = std::env::var_os("COGNIWARE_SOURCE").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&root).join("tests/fixtures").join(name)
}

/// The CPU, or the device that `COGNIWARE_DEVICE` names.
pub fn device() -> Arc<dyn Device> {
    match std::env::var_os("COGNIWARE_DEVICE") {
        Some(_) => device::default_device().unwrap(),
        None => device::open(DeviceChoice::Cpu).unwrap(),
    }
}

pub fn on_cpu() -> bool {
    device().kind() == DeviceKind::Cpu
}

/// A tenant with a quota that closes when dropped.
pub struct Home(pub Arc<Tenant>);

impl Home {
    pub fn new(limit: u64) -> Home {
        Home::on(&device(), limit)
    }

    pub fn on(device: &Arc<dyn Device>, limit: u64) -> Home {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("engine-test-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let config =
            TenantConfig { memory_limit: limit, memory_floor: 0, processors: 1, weight: 1.0, priority: 2 };
        Home(tenant::open(&id, device, &config).unwrap())
    }

    pub fn load(&self, name: &str, options: &ModelOptions) -> Arc<Model> {
        Model::load(&self.0, &fixture(name), options, None).unwrap()
    }

    pub fn held(&self) -> u64 {
        self.0.space().usage().held
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = tenant::close(self.0.id());
    }
}

/// A model with default options in a tenant of its own with room enough.
pub fn load(name: &str) -> (Home, Arc<Model>) {
    load_with(name, &ModelOptions::default())
}

pub fn load_with(name: &str, options: &ModelOptions) -> (Home, Arc<Model>) {
    let home = Home::new(256 * MIB);
    let model = home.load(name, options);
    (home, model)
}

/// The expected values beside a model.
pub struct Expected(Vec<u8>);

impl Expected {
    pub fn of(name: &str) -> Expected {
        let path = match name.strip_suffix(".gguf") {
            Some(stem) => fixture(&format!("{stem}.expected.safetensors")),
            None => fixture(name).join("expected.safetensors"),
        };
        Expected::at(&path)
    }

    pub fn at(path: &Path) -> Expected {
        Expected(std::fs::read(path).unwrap())
    }

    fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).unwrap();
        view.data().chunks_exact(4).map(|b| b.try_into().unwrap()).collect()
    }

    pub fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name).into_iter().map(f32::from_le_bytes).collect()
    }

    pub fn ids(&self, name: &str) -> Vec<u32> {
        self.words(name).into_iter().map(u32::from_le_bytes).collect()
    }
}

/// The largest absolute difference.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
