//! A whole device beside its tenants.

use crate::compute::{Gate, Load};
use crate::device::{Device, DeviceKind};
use std::sync::Arc;
use std::time::Duration;

/// The stretch of time over which a device and its tenants are compared.
pub const WINDOW: Duration = Duration::from_secs(1);

/// Below this part of the time a ratio says nothing.
const LEAST: f64 = 0.02;

/// A whole device at one moment, beside what the tenants of this process had of it.
#[derive(Clone, Debug)]
pub struct DeviceUsage {
    /// Its kind, and the index among devices of this kind.
    pub device: (DeviceKind, u32),
    /// Cores or SMs.
    pub processors: u32,
    /// Busy part of the last second, of all programs, 0 to 1: see [`Device::busy`]. `None` where nobody tells.
    pub utilization: Option<f64>,
    /// Bytes in use, of all programs.
    pub memory_used: Option<u64>,
    /// Bytes that it has.
    pub memory_total: Option<u64>,
    /// What the tenants had of it: virtual GPUs and LLMs.
    pub tenants: Load,
}

impl DeviceUsage {
    /// Reads it now.
    pub fn of(device: &Arc<dyn Device>) -> DeviceUsage {
        let utilization = device.busy(WINDOW);
        let health = device.health();
        DeviceUsage {
            device: (device.kind(), device.ordinal()),
            processors: device.units().iter().map(|u| u.processors).sum(),
            utilization,
            memory_used: health.memory_used,
            memory_total: health.memory_total,
            tenants: Gate::of(device).load(),
        }
    }

    /// Busy part of the last second with work of the tenants, 0 to 1, as the device counts it: on a GPU time in which any of
    /// their work ran; on the CPU the mean of its cores.
    pub fn tenants_second(&self) -> f64 {
        self.as_device_counts().0
    }

    /// The same of the last minute.
    pub fn tenants_minute(&self) -> f64 {
        self.as_device_counts().1
    }

    fn as_device_counts(&self) -> (f64, f64) {
        let parts = match self.device.0 {
            DeviceKind::Cpu => self.tenants.processors,
            _ => self.tenants.any,
        };
        (parts.second, parts.minute)
    }

    /// The tenants' busy part over the device's, of the last second: 1 when all the device does is their work. `None` when the
    /// device was idle or does not tell.
    pub fn tenants_over_device(&self) -> Option<f64> {
        self.utilization.filter(|&u| u >= LEAST).map(|u| self.tenants_second() / u)
    }
}
