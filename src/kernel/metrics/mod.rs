//! Everything that is known as Prometheus text. docs/virtualization.md and docs/profiling.md have the names and units.

mod devices;
mod tenants;
mod virtual_gpus;

use crate::compute::Tasks;
use crate::telemetry::prometheus::{self, Text, Type};

/// The figures of all tenants, virtual GPUs, tasks and devices, and the profiler's, as Prometheus text (exposition format
/// 0.0.4), for an application to serve. Times are seconds, sizes bytes, parts 0 to 1; what only grows ends in `_total`.
pub fn prometheus() -> String {
    let mut text = Text::default();
    let version = env!("CARGO_PKG_VERSION");
    text.family("cogniware_build_info", Type::Gauge, "The version of Cogniware.")
        .sample(&[("version", version)], 1.0);
    tenants::write(&mut text);
    virtual_gpus::write(&mut text);
    tasks(&mut text);
    devices::write(&mut text);
    prometheus::profile(&mut text);
    text.finish()
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
