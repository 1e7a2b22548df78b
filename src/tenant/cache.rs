//! What a tenant's streams are given beside processors: a window of memory that persists in L2, and a carve-out of shared
//! memory.

use super::Tenant;
use crate::compute::NodeKind;
use crate::device::{CacheWindow, DeviceKind, DevicePtr, Stream};
use crate::{Error, Result};
use std::sync::Weak;

/// All of L1 that can be shared memory, for kernels of a tenant that holds some.
const CARVEOUT: u32 = 100;

/// The memory that shall persist, when the tenant named it.
#[derive(Default)]
pub(super) struct Cache {
    named: Option<(DevicePtr, u64)>,
}

impl Tenant {
    /// Bytes of L2 that are set aside for it: those of its [`NodeKind::L2Cache`] nodes on a GPU. 0 on the CPU device, where
    /// such a node keeps it on the cores of one cache.
    pub fn cache_held(&self) -> u64 {
        let held = self.held(&self.compute.lock());
        held.iter().filter(|n| n.kind == NodeKind::L2Cache && n.units.is_empty()).map(|n| n.memory).sum()
    }

    /// Names the memory that persists in the part of L2 that it holds: `bytes` bytes of this tenant's from `address`.
    /// `bytes` 0 leaves the choice to Cogniware again: the beginning of the largest thing in its memory, which is the
    /// weights once a model is loaded.
    ///
    /// Errors: memory that is not this tenant's; [`crate::Status::Unsupported`] on the CPU device, whose caches take no
    /// such wish; [`crate::Status::InvalidArgument`] when it holds no part of L2.
    pub fn set_cache_window(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        if self.device.kind() == DeviceKind::Cpu {
            return Err(Error::unsupported("the CPU's caches cannot be told what to keep")
                .advise("an L2_CACHE node keeps the tenant on the cores of one cache"));
        }
        if bytes > 0 {
            self.space.check("address", address, bytes)?;
            if self.cache_held() == 0 {
                return Err(Error::argument(
                    "llmId",
                    format!("tenant {:?} holds no part of L2 in which memory could persist", self.id),
                )
                .advise("allocate a compute node of type L2_CACHE first"));
            }
        }
        let named = (bytes > 0).then_some((address, bytes));
        let before = std::mem::replace(&mut self.cache.lock().named, named);
        self.refresh_streams().inspect_err(|_| self.cache.lock().named = before)?;
        // Recorded steps have the former window.
        let old = self.compute.lock().changed();
        drop(old);
        Ok(())
    }

    /// The window that its streams have (or will have) in force: what was named, else the default. `None` when it holds
    /// no part of L2 or nothing is allocated.
    pub fn cache_window(&self) -> Option<CacheWindow> {
        let held = self.cache_held();
        if held == 0 {
            return None;
        }
        let (base, bytes) = match self.cache.lock().named {
            Some(named) => named,
            None => {
                // All of what is set aside goes to the first bytes: every line of them can stay.
                let largest = self.space.leaks().into_iter().max_by_key(|a| a.bytes)?;
                (largest.ptr, largest.bytes.min(held))
            }
        };
        Some(CacheWindow { base, bytes, ratio: (held as f64 / bytes as f64).min(1.0) as f32 })
    }

    /// Gives one stream what the tenant's nodes say.
    pub(super) fn dress(&self, stream: &dyn Stream) -> Result<()> {
        let held = self.held(&self.compute.lock());
        let on_gpu = self.device.kind() != DeviceKind::Cpu;
        let shared = on_gpu && held.iter().any(|n| n.kind == NodeKind::SharedMemory);
        stream.set_shared_carveout(shared.then_some(CARVEOUT))?;
        let window = self.cache_window();
        // A new stream has none, and an old driver does not know the word.
        if window.is_some() || stream.cache_window().is_ok_and(|w| w.is_some()) {
            stream.set_cache_window(window)?;
        }
        Ok(())
    }

    /// Gives all its streams anew what its nodes say. A model calls it when its weights have come.
    pub fn refresh_streams(&self) -> Result<()> {
        let streams: Vec<_> = self.made.lock().iter().filter_map(Weak::upgrade).collect();
        streams.iter().try_for_each(|s| self.dress(&**s))
    }

    /// What the driver says of one of its streams: the window in force and the carve-out, for checks.
    pub fn stream_dress(&self, id: u64) -> Result<(Option<CacheWindow>, Option<u32>)> {
        let stream = self.stream(id)?;
        Ok((stream.cache_window()?, stream.shared_carveout()))
    }
}
