//! Metrics of virtual GPUs, beside those that they have as tenants.

use super::devices;
use crate::telemetry::prometheus::{Text, Type};
use crate::virtualization::{self, GpuInfo, VirtualGpu};
use std::sync::Arc;

use Type::Gauge;

const ROWS: &[(&str, &str, fn(&GpuInfo) -> f64)] = &[
    (
        "cogniware_vgpu_status",
        "How a virtual GPU is: 1 idle, 2 busy, 3 closed, 4 its device was lost.",
        |i| f64::from(i.status as i32),
    ),
    ("cogniware_vgpu_streams", "Streams of a virtual GPU.", |i| f64::from(i.unit.streams)),
    (
        "cogniware_vgpu_share_asked_ratio",
        "The part of contended processors that a virtual GPU asked for; 0 when it asked for none.",
        |i| f64::from(i.unit.share_asked),
    ),
    (
        "cogniware_vgpu_share_due_ratio",
        "The part that is due to it: its weight over those of all virtual GPUs of its device.",
        |i| f64::from(i.unit.share_due),
    ),
];

pub(super) fn write(text: &mut Text) {
    // One that ends meanwhile has no figures any more.
    let all: Vec<(Arc<VirtualGpu>, GpuInfo)> = virtualization::list()
        .into_iter()
        .filter_map(|gpu| gpu.info().ok().map(|info| (gpu, info)))
        .collect();
    if all.is_empty() {
        return;
    }
    let mut family =
        text.family("cogniware_vgpu_info", Gauge, "Which tenant a virtual GPU is, and its name.");
    for (gpu, info) in &all {
        let device = devices::name(&**gpu.tenant().device());
        let labels = [
            ("tenant", gpu.tenant().id()),
            ("vgpu", &info.id.to_string()),
            ("name", &info.name),
            ("device", &device),
        ];
        family.sample(&labels, 1.0);
    }
    for (name, help, value) in ROWS {
        let values = all.iter().map(|(gpu, info)| (gpu.tenant().id().to_owned(), value(info)));
        text.by_tenant(name, Gauge, help, values);
    }
}
