//! Streams by their native handle, as `cudaStream_t` wants them.

use super::Kernel;
use crate::device::Stream;
use crate::tenant::Tenant;
use crate::{Error, Result};
use std::sync::Arc;

pub(super) struct Held {
    pub(super) tenant: Arc<Tenant>,
    pub(super) stream: u64,
}

impl Kernel {
    /// Makes a stream of the tenant. The handle is the `CUstream` on a CUDA device; on devices without native streams
    /// it is a number that only these methods understand. Never 0.
    pub fn create_stream(&self, llm: &str) -> Result<u64> {
        let tenant = self.tenant(llm)?;
        let stream = tenant.open_stream(tenant.stream_priority())?;
        self.hold_stream(&tenant, stream).inspect_err(|_| {
            // Shut down meanwhile: nobody else would close it.
            let _ = tenant.close_stream(stream);
        })
    }

    /// Keeps a tenant's stream under a handle.
    pub(super) fn hold_stream(&self, tenant: &Arc<Tenant>, stream: u64) -> Result<u64> {
        let native = tenant.stream(stream)?.raw() as u64;
        self.write(|s| {
            // Streams without a native handle get an odd number, which is no address of an object.
            let handle = if native != 0 { native } else { free_number(|n| s.streams.contains_key(&n)) };
            s.streams.insert(handle, Held { tenant: tenant.clone(), stream });
            Ok(handle)
        })
    }

    /// Waits for everything queued on the stream.
    pub fn synchronize_stream(&self, handle: u64) -> Result<()> {
        self.stream(handle)?.1.synchronize()
    }

    /// Waits for everything queued on the stream, then ends it.
    pub fn destroy_stream(&self, handle: u64) -> Result<()> {
        let held = self.write(|s| s.streams.remove(&handle).ok_or_else(|| unknown(handle)))?;
        held.tenant.close_stream(held.stream)
    }

    /// The handles of the tenant's streams that were made here.
    pub fn streams(&self, llm: &str) -> Result<Vec<u64>> {
        self.write(|s| {
            // A slice's stream goes with the slice, without a word to this manager.
            s.streams.retain(|_, held| held.tenant.stream(held.stream).is_ok());
            Ok(s.streams.iter().filter(|(_, h)| h.tenant.id() == llm).map(|(&k, _)| k).collect())
        })
    }

    /// The tenant and the stream behind a handle.
    pub(crate) fn stream(&self, handle: u64) -> Result<(Arc<Tenant>, Arc<dyn Stream>)> {
        let (tenant, number) = self.read(|s| {
            let held = s.streams.get(&handle).ok_or_else(|| unknown(handle))?;
            Ok((held.tenant.clone(), held.stream))
        })?;
        let stream = tenant.stream(number)?;
        Ok((tenant, stream))
    }
}

fn free_number(taken: impl Fn(u64) -> bool) -> u64 {
    (0..).map(|i| 2 * i + 1).find(|&n| !taken(n)).unwrap_or(1)
}

fn unknown(handle: u64) -> Error {
    Error::not_found(format!("argument `stream`: {handle:#x} is no stream that createStream made"))
}
