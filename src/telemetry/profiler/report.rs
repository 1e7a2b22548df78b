//! Figures as keys and values, and as a table.

use super::{Figures, counts, figures, is_recording, records_all, source};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The figures of a tenant (or of all) as numbers: `<kind>.<name>.<figure>`, each figure with its unit: `count`, `min_us`,
/// `mean_us`, `p50_us`, `p99_us`, `max_us`, `total_seconds`; where known `bytes`, `gb_per_s`, `occupancy` (0 to 1), `tokens`,
/// `tokens_per_s`.
pub fn numbers(tenant: Option<&str>) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for f in figures(tenant) {
        let mut put = |figure: &str, value: f64| {
            out.insert(format!("{}.{}.{figure}", f.kind.name(), f.name), value);
        };
        put("count", f.count as f64);
        put("min_us", f.min * 1e6);
        put("mean_us", f.mean * 1e6);
        put("p50_us", f.p50 * 1e6);
        put("p99_us", f.p99 * 1e6);
        put("max_us", f.max * 1e6);
        put("total_seconds", f.total);
        if f.bytes > 0 {
            put("bytes", f.bytes as f64);
        }
        if let Some(rate) = f.gigabytes_per_second() {
            put("gb_per_s", rate);
        }
        if let Some(occupancy) = f.occupancy {
            put("occupancy", occupancy);
        }
        if f.items > 0 {
            put("tokens", f.items as f64);
            if f.total > 0.0 {
                put("tokens_per_s", f.items as f64 / f.total);
            }
        }
    }
    out
}

/// [`numbers`] as text, and of the profiler itself: `profiling_enabled` (`enabled` when not given: whether anybody's work
/// is recorded), `profiling_source` (where times of a GPU's work come from: `events` or `cupti`), `records`, `trace_events`, `trace_events_dropped`, `records_lost`.
pub fn map(tenant: Option<&str>, enabled: Option<bool>) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> =
        numbers(tenant).into_iter().map(|(k, v)| (k, v.to_string())).collect();
    let counts = counts();
    out.insert("profiling_source".into(), source().into());
    out.insert("profiling_enabled".into(), enabled.unwrap_or_else(is_recording).to_string());
    for (key, value) in [
        ("records", counts.records),
        ("trace_events", counts.events),
        ("trace_events_dropped", counts.dropped),
        ("records_lost", counts.lost),
    ] {
        out.insert(key.into(), value.to_string());
    }
    out
}

/// A table for people: one line a series, the longest of each kind first.
pub fn summary(tenant: Option<&str>) -> String {
    let list = figures(tenant);
    let whose = tenant.map_or_else(|| "all tenants".to_owned(), |t| format!("tenant {t}"));
    let state = match (records_all(), is_recording()) {
        (true, _) => "recording everything",
        (false, true) => "recording some tenants",
        (false, false) => "not recording",
    };
    let mut out = format!("Profile of {whose} ({state}; GPU times from {})\n", source());
    if list.is_empty() {
        out.push_str("nothing was recorded\n");
        return out;
    }
    let width = list.iter().map(|f| f.name.chars().count()).max().unwrap_or(0).clamp(4, 40);
    let _ = writeln!(
        out,
        "{:<7} {:<width$} {:>9} {:>11} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9}",
        "kind",
        "name",
        "count",
        "total ms",
        "min us",
        "mean us",
        "p50 us",
        "p99 us",
        "max us",
        "MB",
        "GB/s",
        "occupancy"
    );
    for f in &list {
        let known = |value: Option<f64>, digits: usize| {
            value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"))
        };
        let Figures { kind, name, count, total, min, mean, p50, p99, max, bytes, .. } = f;
        let us = |seconds: &f64| seconds * 1e6;
        let _ = writeln!(
            out,
            "{:<7} {:<width$} {:>9} {:>11.3} {:>10.2} {:>10.2} {:>10.2} {:>10.2} {:>10.2} {:>10} {:>9} {:>9}",
            kind.name(),
            name,
            count,
            total * 1e3,
            us(min),
            us(mean),
            us(p50),
            us(p99),
            us(max),
            known((*bytes > 0).then(|| *bytes as f64 / 1e6), 3),
            known(f.gigabytes_per_second(), 2),
            known(f.occupancy, 3),
        );
    }
    let counts = counts();
    if counts.lost > 0 {
        let _ = writeln!(out, "{} records were lost: their time could not be read", counts.lost);
    }
    out
}
