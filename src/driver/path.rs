//! The direct and the standard path, and the optimisations that devices have: switched for all devices of the kernel.
//! Devices are shared by the whole process, and so is what is chosen here.

use super::Driver;
use crate::device::{Device, Path};
use crate::memory::Ledger;
use crate::{Error, Result};
use std::sync::Arc;

/// Two GPUs.
type Pair = (Arc<dyn Device>, Arc<dyn Device>);

impl Driver {
    /// Lets work go by Cogniware's own way (the default): allocations from the tenants' pools, large copies through
    /// page-locked buffers by several threads, recorded steps launched as one command; no CUDA runtime in between.
    pub fn enable_direct_access(&self) -> Result<()> {
        self.each_path(|path| path.set_direct(true))
    }

    /// Lets work go by the standard way: each allocation is one of the device's driver (`cuMemAlloc`, `mmap`), each copy
    /// one call from pageable memory, each kernel one launch. Quotas and checks hold as before; key/value caches and
    /// shared weights stay where they are. For comparing, and for tools that follow driver allocations. A freed address
    /// cannot be told from host memory on this path, except by what frees.
    pub fn disable_direct_access(&self) -> Result<()> {
        self.each_path(|path| path.set_direct(false))
    }

    /// Whether work goes by the direct path, on every device.
    pub fn direct_access(&self) -> Result<bool> {
        self.all_paths(Path::direct)
    }

    /// Lets pools grow in larger pieces and keep up to a half of what they hold for reuse: fewer calls of the device's
    /// driver, more physical memory kept. It still goes back before anybody is refused.
    pub fn enable_memory_optimization(&self) -> Result<()> {
        self.each_path(|path| path.set_pooled(true))
    }

    /// Undoes it: what pools keep beyond need goes back to the devices now.
    pub fn disable_memory_optimization(&self) -> Result<()> {
        self.each_path(|path| path.set_pooled(false))?;
        for device in self.kernel()?.devices()? {
            Ledger::of(&device).give_back_idle();
        }
        Ok(())
    }

    /// Whether pools are so, on every device.
    pub fn memory_optimization(&self) -> Result<bool> {
        self.all_paths(Path::pooled)
    }

    /// Lets copies of 64 KiB and more that are ordered on a stream run on transfer streams of their own, one a
    /// direction. Order is kept by events; the caller is not held while earlier work of the stream runs.
    pub fn enable_async_transfers(&self) -> Result<()> {
        self.each_path(|path| path.set_own_streams(true))
    }

    /// Lets such copies run on the caller's stream again.
    pub fn disable_async_transfers(&self) -> Result<()> {
        self.each_path(|path| path.set_own_streams(false))
    }

    /// Whether copies have streams of their own, on every device.
    pub fn async_transfers(&self) -> Result<bool> {
        self.all_paths(Path::own_streams)
    }

    fn each_path(&self, set: impl Fn(&Path)) -> Result<()> {
        self.kernel()?.devices()?.iter().for_each(|device| set(device.path()));
        Ok(())
    }

    fn all_paths(&self, get: impl Fn(&Path) -> bool) -> Result<bool> {
        Ok(self.kernel()?.devices()?.iter().all(|device| get(device.path())))
    }

    /// Lets the GPUs use each other's memory without the host between them, where the hardware has a way (NVLink, or
    /// PCIe with peer access): each pair that can, in both directions. Returns the pairs, as ordinals.
    ///
    /// Errors: [`crate::Status::Unsupported`] with fewer than two GPUs, or when no pair can.
    pub fn enable_nvlink(&self) -> Result<Vec<(u32, u32)>> {
        let mut linked = Vec::new();
        let opened = self.pairs()?.into_iter().try_for_each(|(own, peer)| {
            if reach(&own, &peer)? {
                linked.push((own, peer));
            }
            Ok(())
        });
        if let Err(e) = opened {
            for (own, peer) in &linked {
                // As it was; the error that matters is the first.
                let _ = leave(own, peer);
            }
            return Err(e);
        }
        if linked.is_empty() {
            return Err(Error::unsupported("no two GPUs of this machine can use each other's memory")
                .advise("nvidia-smi topo -p2p r shows which can; virtual machines often forbid it"));
        }
        let pairs: Vec<_> = linked.iter().map(|(a, b)| (a.ordinal(), b.ordinal())).collect();
        *self.linked.lock() = pairs.clone();
        Ok(pairs)
    }

    /// Undoes [`Driver::enable_nvlink`]. Waits for all work of these GPUs. Does nothing when it was not enabled.
    pub fn disable_nvlink(&self) -> Result<()> {
        self.kernel()?;
        let linked = std::mem::take(&mut *self.linked.lock());
        if linked.is_empty() {
            return Ok(());
        }
        let left = self.pairs().and_then(|pairs| {
            let ours = pairs.iter().filter(|(a, b)| linked.contains(&(a.ordinal(), b.ordinal())));
            ours.into_iter().try_for_each(|(own, peer)| {
                own.synchronize()?;
                leave(own, peer)
            })
        });
        // Leaving again what was left does nothing.
        left.inspect_err(|_| *self.linked.lock() = linked)
    }

    /// The pairs of GPUs that this manager let use each other's memory.
    pub fn nvlink_pairs(&self) -> Vec<(u32, u32)> {
        self.linked.lock().clone()
    }

    /// All ordered pairs of GPUs; an error when there are fewer than two.
    fn pairs(&self) -> Result<Vec<Pair>> {
        let all = self.kernel()?.devices()?;
        let gpus: Vec<_> = all.iter().filter(|d| d.kind() == crate::device::DeviceKind::Cuda).collect();
        if gpus.len() < 2 {
            return Err(Error::unsupported(format!(
                "NVLink joins GPUs, and {} of this machine's devices {} one",
                gpus.len(),
                if gpus.len() == 1 { "is" } else { "are" }
            ))
            .advise("it needs two NVIDIA GPUs or more that this process can see (CUDA_VISIBLE_DEVICES)"));
        }
        let pairs = gpus.iter().flat_map(|a| gpus.iter().map(move |b| ((*a).clone(), (*b).clone())));
        Ok(pairs.filter(|(a, b)| a.ordinal() != b.ordinal()).collect())
    }
}

#[cfg(feature = "cuda")]
fn reach(own: &Arc<dyn Device>, peer: &Arc<dyn Device>) -> Result<bool> {
    use crate::device::cuda::CudaDevice;
    let (own, peer) = (CudaDevice::of(own.as_ref(), "device")?, CudaDevice::of(peer.as_ref(), "peer")?);
    if !own.can_reach(peer)? {
        return Ok(false);
    }
    own.reach(peer).map(|()| true)
}

#[cfg(feature = "cuda")]
fn leave(own: &Arc<dyn Device>, peer: &Arc<dyn Device>) -> Result<()> {
    use crate::device::cuda::CudaDevice;
    CudaDevice::of(own.as_ref(), "device")?.leave(CudaDevice::of(peer.as_ref(), "peer")?)
}

#[cfg(not(feature = "cuda"))]
fn reach(_: &Arc<dyn Device>, _: &Arc<dyn Device>) -> Result<bool> {
    Ok(false)
}

#[cfg(not(feature = "cuda"))]
fn leave(_: &Arc<dyn Device>, _: &Arc<dyn Device>) -> Result<()> {
    Ok(())
}
