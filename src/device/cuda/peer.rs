//! GPUs that use each other's memory without the host between them: over NVLink where the two have it, else over PCIe.

use super::CudaDevice;
use crate::{Error, Result};

/// `CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED`: somebody in this process was first.
const ALREADY: u32 = 704;
/// `CUDA_ERROR_PEER_ACCESS_NOT_ENABLED`.
const NOT_ENABLED: u32 = 705;

impl CudaDevice {
    /// Whether this GPU can use the memory of `peer`.
    pub fn can_reach(&self, peer: &CudaDevice) -> Result<bool> {
        let (own, other) = (self.context(), peer.context());
        if own.device == other.device {
            return Ok(false);
        }
        let mut can = 0;
        // SAFETY: `can` outlives the call.
        unsafe { own.driver.cuDeviceCanAccessPeer(&mut can, own.device, other.device)? };
        Ok(can != 0)
    }

    /// Lets this GPU use the memory of `peer`: what tenants have there and will have, and what the driver allocates.
    /// Copies between the two then go straight. Does nothing when it was done.
    ///
    /// Errors: [`crate::Status::Unsupported`] where the hardware has no way between them.
    pub fn reach(&self, peer: &CudaDevice) -> Result<()> {
        if !self.can_reach(peer)? {
            let (a, b) = (self.context().device, peer.context().device);
            return Err(Error::unsupported(format!("GPU {a} cannot use the memory of GPU {b}"))
                .advise("nvidia-smi topo -p2p r shows which can"));
        }
        {
            let _current = self.context().enter()?;
            // SAFETY: the peer's context is alive.
            let enabled = unsafe { self.driver().cuCtxEnablePeerAccess(peer.context().handle(), 0) };
            enabled.or_else(|e| if e.driver_code() == Some(ALREADY) { Ok(()) } else { Err(e) })?;
        }
        peer.space.set_peer(self.context().device, true).inspect_err(|_| {
            // The error that matters is the one that brought us here.
            let _ = self.leave(peer);
        })
    }

    /// Undoes [`CudaDevice::reach`]. No work that uses the peer's memory may be in flight.
    pub fn leave(&self, peer: &CudaDevice) -> Result<()> {
        peer.space.set_peer(self.context().device, false)?;
        let _current = self.context().enter()?;
        // SAFETY: the peer's context is alive.
        let disabled = unsafe { self.driver().cuCtxDisablePeerAccess(peer.context().handle()) };
        disabled.or_else(|e| if e.driver_code() == Some(NOT_ENABLED) { Ok(()) } else { Err(e) })
    }
}
