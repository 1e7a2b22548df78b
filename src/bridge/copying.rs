//! Tasks that copy memory of one tenant.

use super::config::{self, Map};
use crate::compute::TaskContext;
use crate::tenant::{Tenant, keys};
use crate::{Error, Result, Status};
use std::time::Instant;

/// Bytes that are copied between two looks at whether the task was cancelled.
const PIECE: u64 = 16 << 20;

/// What a `memory_copy` task was asked for.
pub(super) struct Copy {
    source: u64,
    destination: u64,
    bytes: u64,
}

impl Copy {
    pub(super) fn read(map: &Map) -> Result<Copy> {
        config::check_keys(map, &[&["source", "destination", "bytes"]])?;
        let copy = Copy {
            source: address(map, "source")?,
            destination: address(map, "destination")?,
            bytes: keys::positive(map, "bytes")?.ok_or_else(|| Error::argument("bytes", "is missing"))?,
        };
        Ok(copy)
    }

    /// Both ends must be memory of the tenant, and not overlap.
    pub(super) fn check(&self, tenant: &Tenant) -> Result<()> {
        owned(tenant, "source", self.source, self.bytes)?;
        owned(tenant, "destination", self.destination, self.bytes)?;
        if self.source < self.destination + self.bytes && self.destination < self.source + self.bytes {
            return Err(Error::argument("destination", "overlaps the source"));
        }
        Ok(())
    }

    /// Runs it; nobody may free either end meanwhile.
    pub(super) fn run(&self, tenant: &Tenant, context: &TaskContext) -> Result<String> {
        // What was true when it was scheduled need not be any more.
        self.check(tenant)?;
        let begun = Instant::now();
        let mut done = 0;
        while done < self.bytes {
            if context.is_cancelled() {
                let text = format!("cancelled after {done} of {} bytes", self.bytes);
                return Err(Error::new(Status::Cancelled, text));
            }
            let piece = PIECE.min(self.bytes - done);
            let (to, from) = (self.destination + done, self.source + done);
            let _door = tenant.space().enter_for(&[(to, piece), (from, piece)])?;
            // SAFETY: both ranges were checked to be live memory of this tenant.
            unsafe { tenant.device().copy(to, from, piece, None)? };
            done += piece;
        }
        let seconds = begun.elapsed().as_secs_f64();
        let speed = self.bytes as f64 / seconds.max(1e-9);
        Ok(serde_json::json!({"bytes": self.bytes, "seconds": seconds, "bytes_per_second": speed})
            .to_string())
    }
}

/// An address in a task's parameters: a number, decimal or with 0x.
pub(super) fn address(map: &Map, key: &str) -> Result<u64> {
    let text = map.get(key).ok_or_else(|| Error::argument(key, "is missing"))?.trim();
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(0) => Err(Error::argument(key, "is null")),
        Ok(address) => Ok(address),
        Err(_) => Err(Error::argument(key, format!("{text:?} is no address (a number, or 0x and digits)"))),
    }
}

/// Refuses what is neither the tenant's device memory nor one of its arrays.
pub(super) fn owned(tenant: &Tenant, argument: &str, address: u64, bytes: u64) -> Result<()> {
    if address.checked_add(bytes).is_none() {
        return Err(Error::argument(argument, format!("{bytes} bytes from {address:#x} overflow")));
    }
    tenant.space().check(argument, address, bytes)
}
