//! The CPU device: the reference implementation, a real device without a driver.

use super::Device;
use crate::Result;
use std::sync::Arc;

/// The host's processor and memory.
pub struct CpuDevice {}

impl CpuDevice {
    /// Opens the host.
    pub fn open() -> Result<Arc<dyn Device>> {
        unimplemented!()
    }
}
