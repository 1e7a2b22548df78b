//! What the driver's own ways cost, to compare with.

use super::CudaDevice;
use super::stream::CudaStream;
use crate::Result;
use crate::device::Stream;
use std::time::{Duration, Instant};

impl CudaDevice {
    /// Time of one `cuMemAllocAsync` and `cuMemFreeAsync` of `bytes` on a stream, the mean of `rounds` (at least 1).
    pub fn time_driver_pool(&self, bytes: u64, rounds: u32) -> Result<Duration> {
        let stream = CudaStream::create(self.context().clone(), None, 0)?;
        let _current = self.context().enter()?;
        let driver = self.driver();
        let one = || -> Result<()> {
            let mut address = 0u64;
            // SAFETY: `address` outlives the call; what was allocated is freed on the same stream.
            unsafe {
                driver.cuMemAllocAsync(&mut address, bytes as usize, stream.handle())?;
                driver.cuMemFreeAsync(address, stream.handle())
            }
        };
        // The first one fills the driver's pool.
        one()?;
        stream.synchronize()?;
        let begun = Instant::now();
        for _ in 0..rounds.max(1) {
            one()?;
        }
        let time = begun.elapsed() / rounds.max(1);
        stream.synchronize()?;
        Ok(time)
    }
}
