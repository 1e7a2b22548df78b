//! Figures of LLMs, each with its unit in its name.

use super::Bridge;
use super::config::Map;
use crate::Result;
use crate::compute::Tasks;
use crate::telemetry::profiler;
use crate::tenant;

impl Bridge {
    /// What an LLM's tenant uses: memory in bytes, processors, device time in seconds and its share of what all
    /// tenants used, tasks, and (once a model is loaded) tokens and the model's key/value cache.
    pub fn resource_usage(&self, id: &str) -> Result<Map> {
        self.read(|_| Ok(()))?;
        let tenant = tenant::find(id)?;
        let (memory, share) = (tenant.space().usage(), tenant.share());
        let used = share.used().as_secs_f64();
        let total: f64 = tenant::list().iter().map(|t| t.share().used().as_secs_f64()).sum();
        let mut out = Map::new();
        let mut put = |key: &str, value: String| out.insert(key.to_owned(), value);
        put("device", format!("{}:{}", tenant.device().kind(), tenant.device().ordinal()));
        put("memory_held_bytes", memory.held.to_string());
        put("memory_limit_bytes", memory.limit.to_string());
        put("memory_peak_bytes", memory.peak.to_string());
        put("compute_nodes_allocated", tenant.nodes_held().len().to_string());
        put("processors", tenant.processors_now().to_string());
        put("device_time_seconds", used.to_string());
        put("device_time_share", if total > 0.0 { used / total } else { 0.0 }.to_string());
        put("wait_time_seconds", share.waited().as_secs_f64().to_string());
        put("tasks_active", Tasks::global().active(Some(id)).len().to_string());
        if let Ok(llm) = self.llm(id) {
            let stats = llm.model().stats();
            put("generated_tokens", stats.generated_tokens.to_string());
            put("prompt_tokens", stats.prompt_tokens.to_string());
            put("kv_cache_bytes", stats.kv_bytes.to_string());
        }
        Ok(out)
    }

    /// The memory of an LLM's tenant, in bytes and counts.
    pub fn memory_usage(&self, id: &str) -> Result<Map> {
        self.read(|_| Ok(()))?;
        let usage = tenant::find(id)?.space().usage();
        let figures = [
            ("limit_bytes", usage.limit),
            ("held_bytes", usage.held),
            ("peak_bytes", usage.peak),
            ("shared_weights_bytes", usage.shared),
            ("kv_cache_bytes", usage.regions),
            ("physical_bytes", usage.physical),
            ("allocations", usage.allocations),
            ("rejections", usage.rejections),
        ];
        Ok(figures.into_iter().map(|(k, v)| (k.to_owned(), v.to_string())).collect())
    }

    /// Figures of all LLMs together: counts, tokens, seconds; once something was recorded, the profiler's of all tenants as
    /// `profile.…`: see [`profiler::numbers`].
    pub fn metrics(&self) -> Result<Map> {
        let (uptime, llms) =
            self.read(|s| Ok((s.since.elapsed(), s.llms.values().cloned().collect::<Vec<_>>())))?;
        let stats: Vec<_> = llms.iter().map(|l| l.model().stats()).collect();
        let mut out = Map::new();
        let mut put = |key: &str, value: String| out.insert(key.to_owned(), value);
        put("uptime_seconds", uptime.as_secs_f64().to_string());
        put("llms_registered", llms.len().to_string());
        put("generated_tokens", stats.iter().map(|s| s.generated_tokens).sum::<u64>().to_string());
        put("prompt_tokens", stats.iter().map(|s| s.prompt_tokens).sum::<u64>().to_string());
        put("steps", stats.iter().map(|s| s.steps).sum::<u64>().to_string());
        put(
            "device_time_seconds",
            stats.iter().map(|s| s.device_time.as_secs_f64()).sum::<f64>().to_string(),
        );
        if profiler::counts().records > 0 {
            let figures = profiler::numbers(None).into_iter();
            out.extend(figures.map(|(key, value)| (format!("profile.{key}"), value.to_string())));
        }
        Ok(out)
    }

    /// The device in use and the library: names, versions, bytes.
    pub fn system_info(&self) -> Result<Map> {
        self.read(|_| Ok(()))?;
        let device = self.device()?;
        let info = device.info()?;
        let figures = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("device_kind", device.kind().to_string()),
            ("device_name", info.name),
            ("device_isa", info.isa),
            ("multiprocessors", info.multiprocessors.to_string()),
            ("memory_total_bytes", info.total_memory.to_string()),
            ("memory_free_bytes", info.free_memory.to_string()),
            ("driver_version", info.driver_version.to_string()),
        ];
        Ok(figures.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }
}
