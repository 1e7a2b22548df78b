//! Profiling of one LLM.

use super::Bridge;
use super::config::Map;
use crate::Result;
use crate::telemetry::profiler;
use crate::tenant;

impl Bridge {
    /// Records the work of an LLM's tenant (opened with default limits when there is none) from now on. Does nothing
    /// when that was done.
    pub fn enable_profiling(&self, id: &str) -> Result<()> {
        self.tenant(id)?.subject().set(true);
        Ok(())
    }

    /// Ends what [`Bridge::enable_profiling`] began; the figures stay. While everybody's work is recorded, so is this one's.
    pub fn disable_profiling(&self, id: &str) -> Result<()> {
        self.read(|_| Ok(()))?;
        tenant::find(id)?.subject().set(false);
        Ok(())
    }

    /// What was recorded of an LLM's tenant: see [`profiler::map`]. `profiling_enabled` says whether its work is recorded now.
    pub fn profiling_data(&self, id: &str) -> Result<Map> {
        self.read(|_| Ok(()))?;
        let tenant = tenant::find(id)?;
        Ok(profiler::map(Some(id), Some(tenant.subject().recorded())))
    }
}
