//! Metrics of devices: what they tell of themselves.

use crate::device::Device;
use crate::telemetry::prometheus::{Text, Type};
use crate::virtualization::monitor::DeviceUsage;
use std::sync::Arc;

/// What [`crate::device::DeviceHealth::known`] may tell, as families.
const HEALTH: [(&str, &str, Type, &str); 10] = [
    (
        "utilization_ratio",
        "cogniware_device_utilization_ratio",
        Type::Gauge,
        "Busy part of the time, all programs.",
    ),
    (
        "memory_utilization_ratio",
        "cogniware_device_memory_utilization_ratio",
        Type::Gauge,
        "Part of the time that memory was read or written.",
    ),
    (
        "memory_used_bytes",
        "cogniware_device_memory_used_bytes",
        Type::Gauge,
        "Memory in use by all programs.",
    ),
    ("memory_total_bytes", "cogniware_device_memory_total_bytes", Type::Gauge, "Memory of the device."),
    ("temperature_celsius", "cogniware_device_temperature_celsius", Type::Gauge, "Temperature."),
    ("power_watts", "cogniware_device_power_watts", Type::Gauge, "Power taken now."),
    ("power_limit_watts", "cogniware_device_power_limit_watts", Type::Gauge, "Power that may be taken."),
    ("clock_hertz", "cogniware_device_clock_hertz", Type::Gauge, "Clock of the processors."),
    ("memory_clock_hertz", "cogniware_device_memory_clock_hertz", Type::Gauge, "Clock of the memory."),
    (
        "energy_joules",
        "cogniware_device_energy_joules_total",
        Type::Counter,
        "Energy since the driver was loaded.",
    ),
];

/// A device as labels name it: `cuda:0`.
pub(super) fn name(device: &dyn Device) -> String {
    format!("{}:{}", device.kind(), device.ordinal())
}

/// A family with samples of one label `device`; left out when there are none.
fn by_device(
    text: &mut Text,
    family: &'static str,
    kind: Type,
    help: &str,
    values: impl IntoIterator<Item = (String, f64)>,
) {
    let mut values = values.into_iter().peekable();
    if values.peek().is_none() {
        return;
    }
    let mut family = text.family(family, kind, help);
    for (name, value) in values {
        family.sample(&[("device", &name)], value);
    }
}

/// The devices that this process has opened.
pub(super) fn write(text: &mut Text) {
    let devices: Vec<(String, Arc<dyn Device>)> =
        crate::device::opened().into_iter().map(|d| (name(&*d), d)).collect();
    if !devices.is_empty() {
        let mut family = text.family("cogniware_device_info", Type::Gauge, "What a device is called.");
        for (name, device) in &devices {
            let product = device.info().map(|i| i.name).unwrap_or_default();
            family.sample(&[("device", name), ("name", &product)], 1.0);
        }
    }
    by_device(
        text,
        "cogniware_device_processors",
        Type::Gauge,
        "Cores or SMs of a device.",
        devices
            .iter()
            .map(|(name, d)| (name.clone(), d.units().iter().map(|u| f64::from(u.processors)).sum())),
    );
    tenants(text, &devices);
    let all: Vec<_> = devices.iter().map(|(name, d)| (name, d.health().known())).collect();
    for (key, family, kind, help) in HEALTH {
        let known = |list: &[(&str, f64)]| list.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let values = all.iter().filter_map(|(name, list)| Some(((*name).clone(), known(list)?)));
        by_device(text, family, kind, help, values);
    }
}

/// What the tenants of this process had of the devices.
fn tenants(text: &mut Text, devices: &[(String, Arc<dyn Device>)]) {
    use Type::{Counter, Gauge};
    let all: Vec<_> = devices.iter().map(|(name, d)| (name, DeviceUsage::of(d))).collect();
    let mut each = |family, kind, help: &str, value: &dyn Fn(&DeviceUsage) -> Option<f64>| {
        let values = all.iter().filter_map(|(name, usage)| Some(((*name).clone(), value(usage)?)));
        by_device(text, family, kind, help, values);
    };
    each("cogniware_device_busy_ratio", Gauge, "Busy part of the last second, all programs.", &|u| {
        u.utilization
    });
    each(
        "cogniware_device_tenants_busy_seconds_total",
        Counter,
        "Time in which work of any tenant ran, once where several ran at a time.",
        &|u| Some(u.tenants.busy.as_secs_f64()),
    );
    each(
        "cogniware_device_tenants_processor_seconds_total",
        Counter,
        "Device time of all tenants times the processors that it was used on.",
        &|u| Some(u.tenants.processor_time.as_secs_f64()),
    );
    each(
        "cogniware_device_tenants_over_device_ratio",
        Gauge,
        "The tenants' busy part of the last second over the device's: 1 when nobody else uses it.",
        &DeviceUsage::tenants_over_device,
    );
    if all.is_empty() {
        return;
    }
    let mut family = text.family(
        "cogniware_device_tenants_utilization_ratio",
        Gauge,
        "Busy part of the last second and minute with work of the tenants, as the device counts it.",
    );
    for (name, usage) in &all {
        for (window, part) in [("1s", usage.tenants_second()), ("60s", usage.tenants_minute())] {
            family.sample(&[("device", name), ("window", window)], part);
        }
    }
}
