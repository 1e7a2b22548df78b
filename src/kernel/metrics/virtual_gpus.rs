//! Metrics of virtual GPUs, beside those that they have as tenants.

use super::devices;
use crate::telemetry::prometheus::{Text, Type};
use crate::virtualization::{self, GpuInfo, VirtualGpu};
use std::sync::Arc;

use Type::{Counter, Gauge};

/// A family with a value of each virtual GPU.
type Row = (&'static str, Type, &'static str, fn(&GpuInfo) -> f64);

const ROWS: &[Row] = &[
    (
        "cogniware_vgpu_status",
        Gauge,
        "How a virtual GPU is: 1 idle, 2 busy, 3 closed, 4 its device was lost.",
        |i| f64::from(i.status as i32),
    ),
    ("cogniware_vgpu_streams", Gauge, "Streams of a virtual GPU.", |i| f64::from(i.unit.streams)),
    (
        "cogniware_vgpu_share_asked_ratio",
        Gauge,
        "The part of contended processors that a virtual GPU asked for; 0 when it asked for none.",
        |i| f64::from(i.unit.share_asked),
    ),
    (
        "cogniware_vgpu_share_due_ratio",
        Gauge,
        "The part that is due to it: its weight over those of all virtual GPUs of its device.",
        |i| f64::from(i.unit.share_due),
    ),
    (
        "cogniware_vgpu_launches_total",
        Counter,
        "Work put on the streams of a virtual GPU, each piece of piecewise work by itself.",
        |i| i.unit.work.launches as f64,
    ),
    ("cogniware_vgpu_pending", Gauge, "Work of a virtual GPU that is queued.", |i| {
        i.unit.work.pending as f64
    }),
    ("cogniware_vgpu_failed_total", Counter, "Executions of a virtual GPU that failed.", |i| {
        i.unit.work.failed as f64
    }),
    ("cogniware_vgpu_cancelled_total", Counter, "Executions of a virtual GPU that were cancelled.", |i| {
        i.unit.work.cancelled as f64
    }),
    ("cogniware_vgpu_timed_out_total", Counter, "Executions of a virtual GPU that were late.", |i| {
        i.unit.work.timed_out as f64
    }),
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
    for (name, kind, help, value) in ROWS {
        let values = all.iter().map(|(gpu, info)| (gpu.tenant().id().to_owned(), value(info)));
        text.by_tenant(name, *kind, help, values);
    }
}
