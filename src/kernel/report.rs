//! Figures of the whole system, each with its unit in its name.

use super::Kernel;
use crate::Result;
use crate::compute::{Nodes, Tasks};
use crate::telemetry::profiler;
use crate::tenant;
use std::collections::BTreeMap;

impl Kernel {
    /// Performance figures: times in seconds, shares from 0 to 1, counts. For each tenant `llm.<id>.…`:
    /// `device_time_seconds` (measured), `wait_time_seconds` (for its processors), `device_time_share` (its part of
    /// what all tenants used), `admissions`. Of each device `device.<name>.…` how it is ([`crate::device::DeviceHealth`]), as far
    /// as that can be read. Once something was recorded, the profiler's figures of all tenants as `profile.…`, and of those
    /// that are open as `llm.<id>.profile.…`: see [`profiler::numbers`].
    pub fn metrics(&self) -> Result<BTreeMap<String, f64>> {
        let mut out = BTreeMap::new();
        self.read(|s| {
            out.insert("uptime_seconds".into(), s.since.elapsed().as_secs_f64());
            out.insert("devices".into(), s.devices.len() as f64);
            Ok(())
        })?;
        let devices = self.devices()?;
        let tenants = tenant::list();
        let total: f64 = tenants.iter().map(|t| t.share().used().as_secs_f64()).sum();
        out.insert("device_time_seconds".into(), total);
        out.insert("llms_active".into(), tenants.len() as f64);
        out.insert("tasks_active".into(), Tasks::global().active(None).len() as f64);
        let ended = Tasks::global().ended();
        out.insert("tasks_completed".into(), ended.completed as f64);
        out.insert("tasks_failed".into(), ended.failed as f64);
        out.insert("tasks_cancelled".into(), ended.cancelled as f64);
        for t in &tenants {
            let used = t.share().used().as_secs_f64();
            let mut put = |name: &str, value: f64| out.insert(format!("llm.{}.{name}", t.id()), value);
            put("device_time_seconds", used);
            put("device_time_share", if total > 0.0 { used / total } else { 0.0 });
            put("wait_time_seconds", t.share().waited().as_secs_f64());
            put("admissions", t.share().admissions() as f64);
        }
        for device in &devices {
            for (name, value) in device.health().known() {
                out.insert(format!("device.{}:{}.{name}", device.kind(), device.ordinal()), value);
            }
        }
        if profiler::counts().records > 0 {
            out.extend(
                profiler::numbers(None).into_iter().map(|(key, value)| (format!("profile.{key}"), value)),
            );
            for t in &tenants {
                let own = profiler::numbers(Some(t.id()));
                out.extend(own.into_iter().map(|(k, value)| (format!("llm.{}.profile.{k}", t.id()), value)));
            }
        }
        Ok(out)
    }

    /// Resources in use: bytes and counts, of the current device and for each tenant `llm.<id>.…`.
    pub fn usage(&self) -> Result<BTreeMap<String, u64>> {
        let (_, device) = self.current_device()?;
        let (free, total) = device.memory()?;
        let nodes = Nodes::of(&device).list();
        let mut out = BTreeMap::new();
        out.insert("memory_total_bytes".into(), total);
        out.insert("memory_free_bytes".into(), free);
        out.insert("compute_nodes_total".into(), nodes.len() as u64);
        out.insert(
            "compute_nodes_allocated".into(),
            nodes.iter().filter(|n| n.owner.is_some()).count() as u64,
        );
        self.read(|s| {
            out.insert("memory_partitions".into(), s.partitions.len() as u64);
            out.insert("streams".into(), s.streams.len() as u64);
            Ok(())
        })?;
        let tenants = tenant::list();
        out.insert("llms_active".into(), tenants.len() as u64);
        let mut held = 0;
        for t in &tenants {
            let usage = t.space().usage();
            held += usage.held;
            let mut put = |name: &str, value: u64| out.insert(format!("llm.{}.{name}", t.id()), value);
            put("memory_held_bytes", usage.held);
            put("memory_limit_bytes", usage.limit);
            put("memory_peak_bytes", usage.peak);
            put("allocations", usage.allocations);
            put("rejections", usage.rejections);
            put("processors", u64::from(t.processors_now()));
        }
        out.insert("memory_held_bytes".into(), held);
        Ok(out)
    }
}
