//! A tenant's own slice: memory set aside for it, a node and a stream on it, made and given back together.

use super::Tenant;
use crate::{Error, Result, Status};

/// What a slice consists of.
pub(super) struct Slice {
    node: u32,
    floor: u64,
    stream: u64,
}

impl Tenant {
    /// Sets `bytes` more aside for it, makes a node of `cores` cores or SMs (at most what the device has; on a GPU whole
    /// groups of SMs) and a stream on its nodes, whose number is returned. One slice a tenant. On failure nothing changed.
    ///
    /// Errors: [`Status::AlreadyExists`], [`Status::QuotaExceeded`] when the tenant's limit is passed,
    /// [`Status::OutOfMemory`] when so much cannot be guaranteed.
    pub fn make_slice(&self, bytes: u64, cores: u32) -> Result<u64> {
        for (name, value) in [("memorySize", bytes), ("coreCount", u64::from(cores))] {
            if value == 0 {
                return Err(Error::argument(name, "must not be 0"));
            }
        }
        let mut slice = self.slice.lock();
        if slice.is_some() {
            return Err(Error::new(
                Status::AlreadyExists,
                format!("tenant {:?} has a virtual compute node", self.id),
            )
            .advise("destroyVirtualComputeNode first"));
        }
        let moving = self.aside.lock();
        let (floor, limit) = (self.account.floor(), self.account.limit());
        let raised = floor.checked_add(bytes).filter(|&f| f <= limit).ok_or_else(|| {
            Error::new(
                Status::QuotaExceeded,
                format!(
                    "argument `memorySize`: {bytes} bytes more than the {floor} that are set aside pass the tenant's \
                     limit of {limit}"
                ),
            )
        })?;
        self.account.set_floor(raised)?;
        drop(moving);
        let all: u32 = self.device.units().iter().map(|u| u.processors).sum();
        let made = self.make_node(cores.min(all)).and_then(|node| {
            self.open_stream(self.stream_priority()).map(|stream| (node, stream)).inspect_err(|_| {
                // Ours a moment ago; the error that matters is the stream's.
                let _ = self.give_node(node);
            })
        });
        let (node, stream) = made.inspect_err(|_| {
            self.lower_floor(bytes);
        })?;
        *slice = Some(Slice { node, floor: bytes, stream });
        Ok(stream)
    }

    /// Gives its slice back; work on the slice's stream is waited for.
    pub fn give_slice(&self) -> Result<()> {
        let slice = self.slice.lock().take();
        let slice = slice
            .ok_or_else(|| Error::not_found(format!("tenant {:?} has no virtual compute node", self.id)))?;
        // Each part may have been given back on its own by now; what is left goes. Without the lock, since the stream's
        // work may call anything.
        let _ = self.close_stream(slice.stream);
        let _ = self.give_node(slice.node);
        self.lower_floor(slice.floor);
        Ok(())
    }

    /// Sets `bytes` less aside.
    fn lower_floor(&self, bytes: u64) {
        let _moving = self.aside.lock();
        // Lowering a floor cannot fail.
        let _ = self.account.set_floor(self.account.floor().saturating_sub(bytes));
    }
}
