//! The bridge's self-test: the device's, then arrays and a generation, through the bridge's own calls.

use super::Bridge;
use super::array::Array;
use super::config::Map;
use crate::compute::TaskState;
use crate::device::Device;
use crate::driver::diagnostics::{self, Part, Said, part};
use crate::tenant::{self, TenantConfig};
use crate::{Error, Result, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A name that nobody else has.
fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("cogniware-bridge-diagnostics-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn wrong<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(Status::Internal, what))
}

impl Bridge {
    /// Tests the device in use, part by part ([`diagnostics::run`]), then `arrays` (memory that host and device see as
    /// one, copied both ways) and `generation` (the model that ships, loaded, run twice for the same text). The results
    /// stay for [`Bridge::diagnostic_results`].
    ///
    /// Errors: the first part that failed, with how many did.
    pub fn run_diagnostics(&self) -> Result<()> {
        self.read(|_| Ok(()))?;
        let device = self.device()?;
        let mut parts = diagnostics::run(&device);
        parts.push(part("arrays", || arrays(&device)));
        parts.push(part("generation", || self.generation(&device)));
        let verdict = diagnostics::verdict(&parts);
        *self.diagnosed.lock() = parts;
        verdict
    }

    /// The results of the last run, part by part; nothing before the first.
    pub fn diagnostic_results(&self) -> Vec<Part> {
        self.diagnosed.lock().clone()
    }

    fn generation(&self, device: &Arc<dyn Device>) -> Result<Said> {
        let id = name();
        let pairs = [
            ("model_type", "default".into()),
            ("device", format!("{}:{}", device.kind(), device.ordinal())),
            ("max_memory", "96".into()),
            ("context", "256".into()),
            ("max_sequences", "1".into()),
            ("temperature", "0".into()),
            ("max_tokens", "12".into()),
            ("ignore_eos", "true".into()),
            ("prompt", "Once upon a time".into()),
        ];
        let config: Map = pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        // Beside the `max_llms`: a bridge that is full is not a bridge that fails.
        self.register_on(&id, &config, false)?;
        let said = self.generate_twice(&id);
        let unregistered = self.unregister(&id);
        let said = said?;
        unregistered?;
        Ok(said)
    }

    fn generate_twice(&self, id: &str) -> Result<Said> {
        let mut texts = Vec::new();
        for _ in 0..2 {
            let task = self.schedule(id, "inference", &Map::new())?;
            let ended = task.wait(Some(Duration::from_secs(60)))?;
            if ended.state != TaskState::Completed {
                return wrong(format!("a generation ended as {:?}: {}", ended.state, ended.result));
            }
            texts.push(ended.result);
        }
        let stats = self.llm(id)?.model().stats();
        if stats.generated_tokens < 24 {
            return wrong(format!("{} tokens were made, not 24", stats.generated_tokens));
        }
        if texts[0] != texts[1] || texts[0].trim().is_empty() {
            return wrong(format!("the same prompt gave {:?}, then {:?}", texts[0], texts[1]));
        }
        let rate = stats.generated_tokens as f64 / stats.device_time.as_secs_f64().max(1e-9);
        Ok(Said::Passed(format!("twice the same 12 tokens, {rate:.0} tokens a second of device time")))
    }
}

fn arrays(device: &Arc<dyn Device>) -> Result<Said> {
    const COUNT: u64 = 100_000;
    let config = TenantConfig { memory_limit: 16 * MIB, ..TenantConfig::default_on(device)? };
    let tenant = tenant::open(&name(), device, &config)?;
    let tested = (|| {
        let array = Array::new(&tenant, COUNT)?;
        let values: Vec<f32> = (0..COUNT).map(|i| i as f32 * 0.5).collect();
        let mut back = vec![0f32; COUNT as usize];
        // SAFETY: both hold the array's bytes.
        unsafe {
            array.copy_from(values.as_ptr() as u64)?;
            array.copy_to(back.as_mut_ptr() as u64)?;
        }
        if back != values {
            return wrong("an array did not keep what was copied to it");
        }
        // SAFETY: the array's own memory, which the host sees, and nothing is in flight.
        let seen = unsafe { std::slice::from_raw_parts(array.address() as *const f32, COUNT as usize) };
        if seen != values {
            return wrong("the host does not see an array's values at its address");
        }
        let inside = tenant.space().alloc(array.bytes(), 256, "diagnostics")?;
        // SAFETY: memory of the same tenant, as long as the array.
        unsafe {
            array.copy_to(inside)?;
            array.copy_from(inside)?;
        }
        let charged = tenant.account().held();
        drop(array);
        tenant.space().free(inside)?;
        if tenant.account().held() != 0 {
            return wrong("an array's memory is still charged after it went");
        }
        Ok(Said::Passed(format!("{COUNT} numbers both ways, {charged} bytes charged")))
    })();
    // Closed by somebody else already: nothing left to do.
    let _ = tenant::close_this(&tenant);
    tested
}
