//! Which devices there are and what they are called in files.

use super::candidate::DeviceId;
use super::level::Features;
use crate::device::{self, Device, DeviceInfo, DeviceKind};
use crate::ops::cpu::isa::Isa;
use crate::{Error, Result};
use std::sync::Arc;

/// A device with what it can do.
#[derive(Clone)]
pub struct DeviceEntry {
    /// Its kind and number.
    pub id: DeviceId,
    /// The device, open.
    pub device: Arc<dyn Device>,
    /// Its figures when it was found.
    pub info: DeviceInfo,
    /// CPU: the instruction levels that may run, lowest first; empty for a GPU.
    pub levels: Vec<Isa>,
}

impl DeviceEntry {
    /// What measurements on it depend on: the device, its driver, and this library's version.
    pub fn identity(&self) -> String {
        let i = &self.info;
        let levels: Vec<&str> = self.levels.iter().map(|l| l.name()).collect();
        format!(
            "{} {} {} {} processors {}.{} levels {} caches {} {} {} memory {} clock {} bus {} driver {} library {}",
            self.id,
            i.name,
            i.isa,
            i.multiprocessors,
            i.compute_major,
            i.compute_minor,
            levels.join("+"),
            i.l1_cache,
            i.l2_cache,
            i.l3_cache,
            // A GPU's; the host's may change with what it is lent.
            if self.id.kind == DeviceKind::Cuda { i.total_memory } else { 0 },
            i.memory_clock_khz,
            i.memory_bus_bits,
            i.driver_version,
            env!("CARGO_PKG_VERSION"),
        )
    }
}

/// The devices of this process, GPUs first.
#[derive(Clone, Default)]
pub struct DeviceInventory {
    /// Each device that answered.
    pub devices: Vec<DeviceEntry>,
    /// What did not answer, and why.
    pub notes: Vec<String>,
}

impl DeviceInventory {
    /// Opens every device that can be opened.
    ///
    /// Errors: not even the CPU device answers.
    pub fn detect() -> Result<DeviceInventory> {
        let mut found = DeviceInventory::default();
        if let Err(e) = device::open(device::DeviceChoice::Cuda(0)) {
            found.notes.push(format!("no GPU: {e}"));
        }
        for device in device::open_all() {
            if let Err(e) = found.add(device.clone()) {
                found.notes.push(format!("{}:{}: {e}", device.kind(), device.ordinal()));
            }
        }
        match found.devices.is_empty() {
            true => {
                Err(Error::new(crate::Status::NoDevice, "no device answers").advise(found.notes.join("; ")))
            }
            false => Ok(found),
        }
    }

    /// Adds one device.
    pub fn add(&mut self, device: Arc<dyn Device>) -> Result<()> {
        let id = DeviceId { kind: device.kind(), ordinal: device.ordinal() };
        if self.get(id).is_some() {
            return Ok(());
        }
        let info = device.info()?;
        let levels = match id.kind {
            DeviceKind::Cpu => Features::detect().levels(),
            DeviceKind::Cuda => vec![],
        };
        self.devices.push(DeviceEntry { id, device, info, levels });
        Ok(())
    }

    /// The device of this name.
    pub fn get(&self, id: DeviceId) -> Option<&DeviceEntry> {
        self.devices.iter().find(|d| d.id == id)
    }
}
