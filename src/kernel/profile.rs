//! Profiling of the whole system, and everything that is known as Prometheus text.

use super::Kernel;
use crate::Result;
use crate::compute::Tasks;
use crate::device::Device;
use crate::telemetry::profiler::Hold;
use crate::telemetry::prometheus::{self, Text, Type};
use crate::tenant::{self, Tenant};
use std::sync::Arc;

impl Kernel {
    /// Records the work of every tenant of this process from now on. Does nothing when this manager does so already.
    pub fn enable_profiling(&self) -> Result<()> {
        self.write(|s| {
            s.profiling.get_or_insert_with(Hold::new);
            Ok(())
        })
    }

    /// Ends what [`Kernel::enable_profiling`] began; the figures stay. Others (another manager, an LLM by itself) may go
    /// on recording.
    pub fn disable_profiling(&self) -> Result<()> {
        self.write(|s| {
            s.profiling = None;
            Ok(())
        })
    }
}

/// The figures of all tenants, tasks and devices, and the profiler's, as Prometheus text (exposition format 0.0.4), for an
/// application to serve. Times are seconds, sizes bytes; what only grows ends in `_total`.
pub fn prometheus() -> String {
    let mut text = Text::default();
    let version = env!("CARGO_PKG_VERSION");
    text.family("cogniware_build_info", Type::Gauge, "The version of Cogniware.")
        .sample(&[("version", version)], 1.0);
    tenants(&mut text, &tenant::list());
    tasks(&mut text);
    devices(&mut text);
    prometheus::profile(&mut text);
    text.finish()
}

fn tenants(text: &mut Text, tenants: &[Arc<Tenant>]) {
    text.family("cogniware_tenants", Type::Gauge, "Tenants that are open.").sample(&[], tenants.len() as f64);
    let usage: Vec<_> = tenants.iter().map(|t| (t.id().to_owned(), t.space().usage())).collect();
    let mut memory = |name, kind, help: &str, value: &dyn Fn(&crate::memory::Usage) -> u64| {
        text.by_tenant(name, kind, help, usage.iter().map(|(id, u)| (id.clone(), value(u) as f64)));
    };
    use Type::{Counter, Gauge};
    memory("cogniware_tenant_memory_limit_bytes", Gauge, "The most bytes that a tenant may hold.", &|u| {
        u.limit
    });
    memory("cogniware_tenant_memory_held_bytes", Gauge, "Bytes charged to a tenant.", &|u| u.held);
    memory("cogniware_tenant_memory_peak_bytes", Gauge, "The most bytes that were charged.", &|u| u.peak);
    memory("cogniware_tenant_memory_shared_bytes", Gauge, "Of these: weights shared with others.", &|u| {
        u.shared
    });
    memory("cogniware_tenant_memory_physical_bytes", Gauge, "Physical bytes mapped for a tenant.", &|u| {
        u.physical
    });
    memory("cogniware_tenant_allocations", Gauge, "Live allocations of a tenant.", &|u| u.allocations);
    memory("cogniware_tenant_rejections_total", Counter, "Requests refused for the quota.", &|u| {
        u.rejections
    });
    let mut each = |name, kind, help: &str, value: &dyn Fn(&Tenant) -> f64| {
        text.by_tenant(name, kind, help, tenants.iter().map(|t| (t.id().to_owned(), value(t))));
    };
    each("cogniware_tenant_device_seconds_total", Counter, "Measured device time of steps.", &|t| {
        t.share().used().as_secs_f64()
    });
    each(
        "cogniware_tenant_wait_seconds_total",
        Counter,
        "Time that a tenant waited for its processors.",
        &|t| t.share().waited().as_secs_f64(),
    );
    each("cogniware_tenant_admissions_total", Counter, "How often the gate let a tenant in.", &|t| {
        t.share().admissions() as f64
    });
    each("cogniware_tenant_weight", Gauge, "The weight of a tenant at the gate.", &|t| t.share().weight());
    each("cogniware_tenant_processors", Gauge, "Cores or SMs that a tenant holds.", &|t| {
        f64::from(t.processors_now())
    });
}

fn tasks(text: &mut Text) {
    let active = Tasks::global().active(None).len();
    text.family("cogniware_tasks_active", Type::Gauge, "Tasks that have not ended.")
        .sample(&[], active as f64);
    let ended = Tasks::global().ended();
    let mut family =
        text.family("cogniware_tasks_ended_total", Type::Counter, "Tasks that have ended, by how.");
    for (how, count) in
        [("completed", ended.completed), ("failed", ended.failed), ("cancelled", ended.cancelled)]
    {
        family.sample(&[("outcome", how)], count as f64);
    }
}

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

fn devices(text: &mut Text) {
    let all: Vec<_> = crate::device::opened().iter().map(|d| (name(&**d), d.health().known())).collect();
    for (key, family, kind, help) in HEALTH {
        let known = |list: &[(&str, f64)]| list.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let values: Vec<_> = all.iter().filter_map(|(name, list)| Some((name, known(list)?))).collect();
        if values.is_empty() {
            continue;
        }
        let mut family = text.family(family, kind, help);
        for (name, value) in values {
            family.sample(&[("device", name)], value);
        }
    }
}

fn name(device: &dyn Device) -> String {
    format!("{}:{}", device.kind(), device.ordinal())
}
