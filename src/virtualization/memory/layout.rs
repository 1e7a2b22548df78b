//! How a memory space lies: its pages, its fragmentation, its compaction, its gaps.

use super::MemoryManager;
use crate::memory::{Compaction, Overrun, Page, SpacePolicy};
use crate::virtualization::table::VirtualGpu;
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

impl MemoryManager {
    /// The page table: every mapped page by address.
    pub fn pages(&self, id: i32) -> Result<Vec<Page>> {
        Ok(self.space_of(id)?.tenant().space().pages())
    }

    /// Gives back all memory that is free inside of pieces in use, so that (nearly) all that is free can be allocated in
    /// one piece; pointers stay valid. Work of this virtual GPU is held up for at most `max_pause` at a time (`None`: as its
    /// policy says); others go on. See [`crate::memory::Space::compact`].
    pub fn compact(&self, id: i32, max_pause: Option<Duration>) -> Result<Compaction> {
        let gpu = self.space_of(id)?;
        let space = gpu.tenant().space();
        space.compact(max_pause.unwrap_or_else(|| space.policy().max_pause))
    }

    /// How the space allocates and when it compacts itself.
    pub fn policy(&self, id: i32) -> Result<SpacePolicy> {
        Ok(self.space_of(id)?.tenant().space().policy())
    }

    /// Changes that from now on; what was allocated before stays as it is.
    pub fn set_policy(&self, id: i32, policy: SpacePolicy) -> Result<()> {
        self.space_of(id)?.tenant().space().set_policy(policy)
    }

    /// The allocations behind whose end somebody wrote, where gaps have a pattern; work in flight is waited for first.
    pub fn check_guards(&self, id: i32) -> Result<Vec<Overrun>> {
        let gpu = self.space_of(id)?;
        let space = gpu.tenant().space();
        if !space.policy().guard_pattern {
            return Err(Error::argument(
                "virtualGPUId",
                format!("virtual GPU {id} has gaps without a pattern"),
            )
            .advise("set guardPattern with setMemoryPolicy before allocating"));
        }
        if gpu.parts().unit.is_some() {
            crate::virtualization::compute::wait(&gpu, None)?;
        }
        space.check_guards()
    }

    pub(super) fn space_of(&self, id: i32) -> Result<Arc<VirtualGpu>> {
        let gpu = self.find(id)?;
        gpu.must_have_memory()?;
        Ok(gpu)
    }
}
