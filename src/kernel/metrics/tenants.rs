//! Metrics of tenants: LLMs and virtual GPUs alike.

use super::devices;
use crate::compute::Utilization;
use crate::memory::{CompactionFigures, SpillFigures, Usage};
use crate::telemetry::latency::LatencyFigures;
use crate::telemetry::prometheus::{Text, Type};
use crate::tenant::{self, Tenant};
use crate::virtualization::monitor;
use std::sync::Arc;

use Type::{Counter, Gauge};

/// A tenant with what is read of it once.
struct Seen {
    tenant: Arc<Tenant>,
    usage: Usage,
    compactions: CompactionFigures,
    spills: SpillFigures,
    utilization: Utilization,
    latency: LatencyFigures,
}

/// A family with a value of each tenant.
type Row<T> = (&'static str, Type, &'static str, fn(&T) -> f64);

const ROWS: &[Row<Seen>] = &[
    ("cogniware_tenant_memory_limit_bytes", Gauge, "The most bytes that a tenant may hold.", |s| {
        s.usage.limit as f64
    }),
    ("cogniware_tenant_memory_floor_bytes", Gauge, "Bytes set aside for a tenant.", |s| {
        s.tenant.account().floor() as f64
    }),
    ("cogniware_tenant_memory_held_bytes", Gauge, "Bytes charged to a tenant.", |s| s.usage.held as f64),
    ("cogniware_tenant_memory_peak_bytes", Gauge, "The most bytes that were charged.", |s| {
        s.usage.peak as f64
    }),
    ("cogniware_tenant_memory_shared_bytes", Gauge, "Of these: weights shared with others.", |s| {
        s.usage.shared as f64
    }),
    ("cogniware_tenant_memory_physical_bytes", Gauge, "Physical bytes mapped for a tenant.", |s| {
        s.usage.physical as f64
    }),
    (
        "cogniware_tenant_memory_spilled_bytes",
        Gauge,
        "Bytes that a tenant holds in host memory instead of the device's.",
        |s| s.spills.spilled as f64,
    ),
    (
        "cogniware_tenant_spilled_bytes_total",
        Counter,
        "Bytes moved to host memory, so that others had room on the device.",
        |s| s.spills.bytes_out as f64,
    ),
    ("cogniware_tenant_fetched_bytes_total", Counter, "Bytes fetched back from host memory.", |s| {
        s.spills.bytes_in as f64
    }),
    (
        "cogniware_tenant_spill_pause_seconds_total",
        Counter,
        "Time that moving memory to the host held a tenant's new work up.",
        |s| s.spills.paused.as_secs_f64(),
    ),
    (
        "cogniware_tenant_fetch_wait_seconds_total",
        Counter,
        "Time that a tenant's work waited for memory to be fetched back.",
        |s| s.spills.fetching.as_secs_f64(),
    ),
    ("cogniware_tenant_allocations", Gauge, "Live allocations of a tenant.", |s| s.usage.allocations as f64),
    ("cogniware_tenant_rejections_total", Counter, "Requests refused for the quota.", |s| {
        s.usage.rejections as f64
    }),
    (
        "cogniware_tenant_compactions_total",
        Counter,
        "Compactions that moved memory of a tenant or gave some back.",
        |s| s.compactions.compactions as f64,
    ),
    (
        "cogniware_tenant_compaction_moved_bytes_total",
        Counter,
        "Bytes that compactions copied to other physical memory.",
        |s| s.compactions.moved as f64,
    ),
    (
        "cogniware_tenant_compaction_given_back_bytes_total",
        Counter,
        "Physical bytes that compactions gave back.",
        |s| s.compactions.given_back as f64,
    ),
    (
        "cogniware_tenant_compaction_pause_seconds_total",
        Counter,
        "Time that compactions held a tenant's new work up.",
        |s| s.compactions.total_pause.as_secs_f64(),
    ),
    (
        "cogniware_tenant_compaction_longest_pause_seconds",
        Gauge,
        "The longest time that a compaction held a tenant's new work up.",
        |s| s.compactions.longest_pause.as_secs_f64(),
    ),
    ("cogniware_tenant_device_seconds_total", Counter, "Measured device time of a tenant's work.", |s| {
        s.tenant.share().used().as_secs_f64()
    }),
    (
        "cogniware_tenant_processor_seconds_total",
        Counter,
        "Device time times the processors that it was used on: SM-seconds, core-seconds.",
        |s| s.tenant.share().processor_time().as_secs_f64(),
    ),
    ("cogniware_tenant_wait_seconds_total", Counter, "Time that a tenant waited for its processors.", |s| {
        s.tenant.share().waited().as_secs_f64()
    }),
    (
        "cogniware_tenant_queue_wait_seconds_total",
        Counter,
        "Time that pieces of work waited between submission and their beginning, added up.",
        |s| s.tenant.share().queued().as_secs_f64(),
    ),
    ("cogniware_tenant_admissions_total", Counter, "How often the gate let a tenant in.", |s| {
        s.tenant.share().admissions() as f64
    }),
    (
        "cogniware_tenant_executions_total",
        Counter,
        "Pieces of a tenant's work that have ended: launches, steps of LLMs, tasks.",
        |s| s.latency.count as f64,
    ),
    ("cogniware_tenant_weight", Gauge, "The weight of a tenant at the gate.", |s| s.tenant.share().weight()),
    ("cogniware_tenant_processors", Gauge, "Cores or SMs that a tenant holds.", |s| {
        f64::from(s.tenant.processors_now())
    }),
];

pub(super) fn write(text: &mut Text) {
    let all: Vec<Seen> = tenant::list()
        .into_iter()
        .map(|tenant| Seen {
            usage: tenant.space().usage(),
            compactions: tenant.space().compaction_figures(),
            spills: tenant.space().spill_figures(),
            utilization: tenant.share().utilization(),
            latency: tenant.share().latency().figures(),
            tenant,
        })
        .collect();
    text.family("cogniware_tenants", Gauge, "Tenants that are open.").sample(&[], all.len() as f64);
    if !all.is_empty() {
        let mut family = text.family("cogniware_tenant_info", Gauge, "On which device a tenant is.");
        for seen in &all {
            let device = devices::name(&**seen.tenant.device());
            family.sample(&[("tenant", seen.tenant.id()), ("device", &device)], 1.0);
        }
    }
    windows(
        text,
        "cogniware_tenant_utilization_ratio",
        "Part of the last second and minute in which a tenant's processors ran its work.",
        all.iter().map(|s| (s.tenant.id().to_owned(), s.utilization)),
    );
    windows(
        text,
        "cogniware_tenant_share_ratio",
        "A tenant's part of what all tenants of its device used in the last second and minute.",
        all.iter().map(|s| (s.tenant.id().to_owned(), monitor::share_got(&s.tenant))),
    );
    latencies(text, &all);
    for (name, kind, help, value) in ROWS {
        let values = all.iter().map(|s| (s.tenant.id().to_owned(), value(s)));
        text.by_tenant(name, *kind, help, values);
    }
}

/// A family with a value of the last second and one of the last minute by tenant.
fn windows(
    text: &mut Text,
    name: &'static str,
    help: &str,
    values: impl Iterator<Item = (String, Utilization)>,
) {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return;
    }
    let mut family = text.family(name, Gauge, help);
    for (tenant, value) in values {
        for (window, part) in [("1s", value.second), ("60s", value.minute)] {
            family.sample(&[("tenant", &tenant), ("window", window)], part);
        }
    }
}

/// How long work took: quantiles of the last minute, sum and count of all.
fn latencies(text: &mut Text, all: &[Seen]) {
    if all.iter().all(|s| s.latency.count == 0) {
        return;
    }
    let mut family = text.family(
        "cogniware_tenant_latency_seconds",
        Type::Summary,
        "Time from the submission of work to its end; quantiles of the last 30 to 60 seconds.",
    );
    for seen in all.iter().filter(|s| s.latency.count > 0) {
        let (id, latency) = (seen.tenant.id(), &seen.latency);
        // No work lately: there is no quantile.
        if !latency.p99.is_zero() {
            for (quantile, time) in [("0.5", latency.p50), ("0.99", latency.p99)] {
                family.sample(&[("tenant", id), ("quantile", quantile)], time.as_secs_f64());
            }
        }
        family.sample_of("_sum", &[("tenant", id)], latency.total.as_secs_f64());
        family.sample_of("_count", &[("tenant", id)], latency.count as f64);
    }
}
