//! Copies and fills on behalf of a tenant, each address checked first.

use super::Tenant;
use crate::device::{Place, Stream};
use crate::memory;
use crate::telemetry::profiler;
use crate::{Error, Result};

impl Tenant {
    /// Copies `bytes` bytes; each end may be memory of this tenant or host memory. Device memory of other tenants and
    /// freed memory are refused by the name of the argument. Host addresses cannot be checked beyond null and
    /// overflow. With a stream the copy is ordered on it; without one the call waits.
    ///
    /// # Safety
    /// Host ranges must be valid for `bytes` until the copy has run.
    pub unsafe fn copy(&self, dst: u64, src: u64, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        self.check_copy(dst, src, bytes)?;
        if bytes == 0 || dst == src {
            return Ok(());
        }
        let _scope = profiler::on().then(|| self.subject().enter());
        let _door = self.space.enter_for(&[(dst, bytes), (src, bytes)])?;
        // SAFETY: device ranges were checked above; host ranges are the caller's promise.
        unsafe { self.device.copy(dst, src, bytes, stream) }
    }

    /// Sets `bytes` bytes of this tenant's memory to `value`.
    pub fn fill(&self, dst: u64, value: u8, bytes: u64, stream: Option<&dyn Stream>) -> Result<()> {
        self.space.check("dst", dst, bytes)?;
        let _scope = profiler::on().then(|| self.subject().enter());
        let _door = self.space.enter_for(&[(dst, bytes)])?;
        // SAFETY: the range lies inside one live allocation of this tenant.
        unsafe { self.device.fill(dst, value, bytes, stream) }
    }

    /// Checks both ends of a copy, and that they do not overlap.
    pub fn check_copy(&self, dst: u64, src: u64, bytes: u64) -> Result<()> {
        self.check_range("dst", dst, bytes)?;
        self.check_range("src", src, bytes)?;
        if dst != src && dst < src + bytes && src < dst + bytes {
            return Err(Error::argument("dst", "the ranges overlap without being the same"));
        }
        Ok(())
    }

    /// Checks one end of a copy.
    pub fn check_range(&self, argument: &str, address: u64, bytes: u64) -> Result<()> {
        if address == 0 {
            return Err(Error::argument(argument, "is null"));
        }
        if address.checked_add(bytes).is_none() {
            return Err(Error::argument(argument, format!("{bytes} bytes from {address:#x} overflow")));
        }
        if memory::owner_of(address).is_some() || self.device.place(address) == Place::Device {
            return self.space.check(argument, address, bytes);
        }
        Ok(())
    }
}
