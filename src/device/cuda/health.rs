//! What NVML tells of a GPU at this moment.

use crate::device::DeviceHealth;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use once_cell::sync::Lazy;

/// Kept open: loading the library takes milliseconds.
static NVML: Lazy<Option<Nvml>> = Lazy::new(|| Nvml::init().ok());

/// Figures of the GPU at a PCI address; nothing where NVML is missing or does not know it.
pub(super) fn read(pci: &str) -> DeviceHealth {
    let Some(device) = NVML.as_ref().and_then(|nvml| nvml.device_by_pci_bus_id(pci).ok()) else {
        return DeviceHealth::default();
    };
    let utilization = device.utilization_rates().ok();
    let memory = device.memory_info().ok();
    let megahertz = |clock: Clock| device.clock_info(clock).ok().map(|mhz| f64::from(mhz) * 1e6);
    DeviceHealth {
        utilization: utilization.as_ref().map(|u| f64::from(u.gpu) / 100.0),
        memory_utilization: utilization.as_ref().map(|u| f64::from(u.memory) / 100.0),
        memory_used: memory.as_ref().map(|m| m.used),
        memory_total: memory.as_ref().map(|m| m.total),
        temperature: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        power: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
        power_limit: device.enforced_power_limit().ok().map(|milliwatts| f64::from(milliwatts) / 1e3),
        clock: megahertz(Clock::SM),
        memory_clock: megahertz(Clock::Memory),
        energy: device.total_energy_consumption().ok().map(|millijoules| millijoules as f64 / 1e3),
    }
}
