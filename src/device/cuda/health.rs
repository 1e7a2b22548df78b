//! What NVML tells of a GPU at this moment.

use crate::device::DeviceHealth;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, Sampling, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use once_cell::sync::Lazy;
use std::time::{Duration, SystemTime};

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

/// Part of the last `window` in which any kernel ran, 0 to 1: the mean of NVML's samples of that time (some a second), or its
/// last one where there are none. Nothing where NVML is missing.
pub(super) fn busy(pci: &str, window: Duration) -> Option<f64> {
    let device = NVML.as_ref()?.device_by_pci_bus_id(pci).ok()?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = now.saturating_sub(window).as_micros() as u64;
    let samples = device.samples(Sampling::GpuUtilization, since).unwrap_or_default();
    let parts = samples.iter().filter(|s| s.timestamp > since).filter_map(|s| percent(&s.value));
    mean(parts).or_else(|| Some(f64::from(device.utilization_rates().ok()?.gpu) / 100.0))
}

/// Of a sample, 0 to 1; nothing of what is no percentage.
fn percent(value: &SampleValue) -> Option<f64> {
    let percent = match *value {
        SampleValue::F64(v) => v,
        SampleValue::U32(v) => f64::from(v),
        SampleValue::U64(v) => v as f64,
        SampleValue::I64(v) => v as f64,
    };
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

fn mean(parts: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = parts.fold((0.0, 0u32), |(sum, count), part| (sum + part, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_averaged_and_what_is_none_is_left_out() {
        let values =
            [SampleValue::U32(50), SampleValue::U64(1 << 40), SampleValue::I64(-1), SampleValue::F64(100.0)];
        assert_eq!(mean(values.iter().filter_map(percent)), Some(0.75));
        assert_eq!(mean([SampleValue::F64(f64::NAN)].iter().filter_map(percent)), None);
    }
}
