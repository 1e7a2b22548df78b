//! Over-commit: floors that are lent, and memory that is moved to the host and back.

use super::MemoryManager;
use crate::Result;
use crate::memory::{Advice, Lending, SpillFigures, SpillPolicy};

impl MemoryManager {
    /// Whether others may use the part of its floor that it does not use, and give it back when it asks. See
    /// [`crate::memory::Space::set_lending`].
    pub fn set_lending(&self, id: i32, lend_floor: bool) -> Result<()> {
        self.space_of(id)?.tenant().space().set_lending(Lending { lend_floor })
    }

    /// Which of its memory is moved to the host when what it has above its floor is asked back, and how many bytes of host
    /// memory that may take (`None`: no bound). See [`crate::memory::Space::set_spill_policy`].
    pub fn set_spill_policy(&self, id: i32, policy: SpillPolicy, most: Option<u64>) -> Result<()> {
        let gpu = self.space_of(id)?;
        let space = gpu.tenant().space();
        space.set_spill_limit(most)?;
        space.set_spill_policy(policy)
    }

    /// Says something about one allocation: whether it may be moved to the host, and when.
    pub fn advise(&self, id: i32, ptr: u64, advice: Advice) -> Result<()> {
        self.space_of(id)?.tenant().space().advise(ptr, advice)
    }

    /// Moves about `bytes` to the host now; how many the device has got back.
    pub fn spill(&self, id: i32, bytes: u64) -> Result<u64> {
        self.space_of(id)?.tenant().space().spill_now(bytes)
    }

    /// Fetches `bytes` bytes at `ptr` from the host, or (`None`) everything.
    pub fn fetch(&self, id: i32, range: Option<(u64, u64)>) -> Result<()> {
        let gpu = self.space_of(id)?;
        match range {
            Some((ptr, bytes)) => gpu.tenant().space().fetch(ptr, bytes),
            None => gpu.tenant().space().fetch_all(),
        }
    }

    /// What moving memory has cost.
    pub fn spill_figures(&self, id: i32) -> Result<SpillFigures> {
        Ok(self.space_of(id)?.tenant().space().spill_figures())
    }
}
