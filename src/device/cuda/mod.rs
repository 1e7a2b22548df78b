//! The CUDA device: NVIDIA GPUs through the driver API, looked up at run time.

use super::Device;
use crate::Result;
use std::sync::Arc;

/// An NVIDIA GPU.
pub struct CudaDevice {}

impl CudaDevice {
    /// Opens the GPU with this ordinal.
    pub fn open(ordinal: u32) -> Result<Arc<dyn Device>> {
        let _ = ordinal;
        unimplemented!()
    }
}
