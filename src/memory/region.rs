//! Memory that grows at its end under a fixed address.

use super::lend::Purpose;
use super::registry::{self, Kind, Owner};
use super::source::{Piece, Shortage};
use super::space::Space;
use super::{Allocation, age, now, round_up};
use crate::device::DevicePtr;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// The most bytes of one granule of a region.
const LARGEST_PIECE: u64 = 32 << 20;

/// The same where pools grow in large pieces.
const LARGEST_POOLED: u64 = 256 << 20;

/// Memory that grows at its end under a fixed address. Unmapped and refunded when dropped; no work that touches it may
/// be in flight then.
pub struct Region(Arc<Inner>);

struct Inner {
    space: Arc<Space>,
    base: DevicePtr,
    reserved: u64,
    tag: String,
    born: u64,
    /// Granules in order of address. Their lock is held while the region changes.
    pieces: Mutex<Vec<Piece>>,
    mapped: AtomicU64,
}

impl Region {
    pub(super) fn new(space: &Arc<Space>, max_bytes: u64, tag: &str) -> Result<Region> {
        if max_bytes == 0 {
            return Err(Error::argument("max_bytes", "must not be 0"));
        }
        let device = &space.source.device;
        let reserved = round_up(max_bytes, device.granularity());
        let base = device.range_reserve(reserved)?;
        let inner = Arc::new(Inner {
            space: space.clone(),
            base,
            reserved,
            tag: tag.to_string(),
            born: now(),
            pieces: Mutex::default(),
            mapped: AtomicU64::new(0),
        });
        let owner: Weak<Inner> = Arc::downgrade(&inner);
        registry::add(base, reserved, Arc::as_ptr(space), owner);
        Ok(Region(inner))
    }

    /// The fixed start.
    pub fn base(&self) -> DevicePtr {
        self.0.base
    }

    /// Bytes mapped and charged now (whole granules).
    pub fn mapped(&self) -> u64 {
        self.0.mapped.load(Ordering::Acquire)
    }

    /// The most bytes it can grow to.
    pub fn max_bytes(&self) -> u64 {
        self.0.reserved
    }

    /// Makes at least `bytes` from the start usable; maps and charges what is missing, or changes nothing. New memory
    /// is zero.
    pub fn grow(&self, bytes: u64) -> Result<()> {
        let r = &*self.0;
        if bytes > r.reserved {
            return Err(Error::argument(
                "bytes",
                format!("{bytes} is more than the {} bytes that region {:?} reserved", r.reserved, r.tag),
            ));
        }
        let granularity = r.space.source.device.granularity();
        let target = round_up(bytes, granularity);
        let mut pieces = r.pieces.lock();
        let mapped = self.mapped();
        if target <= mapped {
            return Ok(());
        }
        let account = &r.space.account;
        let units = account.take(target - mapped, &r.tag)?;
        account.fix(target - mapped);
        let before = pieces.len();
        let mut at = mapped;
        let pooled = r.space.source.device.path().pooled();
        while at < target {
            // A granule is at most an eighth of what lies before it, so that shrinking stays exact to an eighth.
            // Where pools grow in large pieces, regions may be as large again at once.
            let (part, largest) = if pooled { (1, LARGEST_POOLED) } else { (8, LARGEST_PIECE) };
            let part = (at / part).checked_ilog2().map_or(0, |log| 1 << log);
            let size = part.clamp(granularity, largest.max(granularity)).min(target - at);
            match r.take(r.base + at, size) {
                Ok(piece) => pieces.push(piece),
                Err(e) => {
                    for piece in pieces.drain(before..) {
                        r.space.source.abandon(Some(account), piece);
                    }
                    account.unfix(target - mapped);
                    account.refund(units);
                    return Err(e);
                }
            }
            at += size;
        }
        account.count_regions(target - mapped, 0);
        r.mapped.store(target, Ordering::Release);
        Ok(())
    }

    /// Unmaps and refunds whole granules beyond `bytes`. No work that touches them may be in flight. What stays is at
    /// most an eighth (of up to 32 MiB) more than asked for, since a granule goes as a whole.
    pub fn shrink(&self, bytes: u64) -> Result<()> {
        let r = &*self.0;
        let mut pieces = r.pieces.lock();
        while let Some(piece) = pieces.pop_if(|p| p.address - r.base >= bytes) {
            let size = piece.granule.bytes;
            // No longer visible before it is gone.
            r.mapped.fetch_sub(size, Ordering::AcqRel);
            if let Err((piece, e)) = r.space.source.give(Some(&r.space.account), piece) {
                r.mapped.fetch_add(size, Ordering::AcqRel);
                pieces.push(piece);
                return Err(e.within(format!("shrinking region {:?}", r.tag)));
            }
            r.refund(size);
        }
        Ok(())
    }
}

impl Inner {
    fn take(&self, address: DevicePtr, bytes: u64) -> Result<Piece> {
        let account = &self.space.account;
        let source = &self.space.source;
        let again = match source.take(Some(account), address, bytes) {
            Ok(piece) => return Ok(piece),
            Err(Shortage::Other(e)) => return Err(e),
            Err(Shortage::Account) => {
                source.ledger.reclaim(Some(account));
                source.take(Some(account), address, bytes)
            }
            Err(Shortage::Device(_)) => source.relieved(|| {
                let again = source.take(Some(account), address, bytes);
                if !matches!(again, Err(Shortage::Device(_))) {
                    return again;
                }
                let Some(_room) = source.ledger.make_room(Some(account), bytes, false, &Purpose::New) else {
                    return again;
                };
                source.take(Some(account), address, bytes)
            }),
        };
        // Memory of the pool that lies scattered may be all that is missing.
        let again = match again {
            Err(Shortage::Account | Shortage::Device(_)) if self.space.make_room(bytes) => {
                source.take(Some(account), address, bytes)
            }
            other => other,
        };
        again.map_err(|shortage| match shortage {
            Shortage::Account => account.scattered(bytes, &self.tag, 0),
            Shortage::Device(e) | Shortage::Other(e) => {
                e.within(format!("tenant {:?} growing region {:?}", account.name(), self.tag))
            }
        })
    }

    fn refund(&self, bytes: u64) {
        self.space.account.unfix(bytes);
        self.space.account.count_regions(0, bytes);
        self.space.account.refund((bytes / super::UNIT) as u32);
    }
}

impl Owner for Inner {
    fn kind(&self) -> Kind {
        Kind::Region
    }

    fn space(&self) -> &Space {
        &self.space
    }

    fn lookup(&self, address: DevicePtr) -> Option<Allocation> {
        let bytes = self.mapped.load(Ordering::Acquire);
        let inside = address.checked_sub(self.base).is_some_and(|offset| offset < bytes);
        inside.then(|| Allocation { ptr: self.base, bytes, tag: self.tag.clone(), age: age(self.born) })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        registry::remove(self.base);
        for piece in std::mem::take(self.pieces.get_mut()).into_iter().rev() {
            let bytes = piece.granule.bytes;
            self.space.source.abandon(Some(&self.space.account), piece);
            self.refund(bytes);
        }
        self.space.source.device.range_release(self.base, self.reserved);
    }
}
