//! Profiling of the whole system.

use super::Kernel;
use crate::Result;
use crate::telemetry::profiler::Hold;

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
