//! Memory of a tenant that is one physical piece of its own: it can change its access or be handed to another process
//! without touching what lies beside it. It lies in the tenant's address range like any allocation.

use super::growth::Maps;
use super::lend::Purpose;
use super::source::{Lies, Piece, Shortage};
use super::space::Space;
use super::{UNIT, now, round_up};
use crate::device::{Access, DevicePtr, Granule};
use crate::{Error, Result, Status};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How long a change of access waits for those who queue work.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Whole granules of their own in a tenant's range, one physical piece, charged in full and zero at first. Unmapped and
/// refunded when dropped; what works on it then is waited for.
pub struct Extent {
    space: Arc<Space>,
    ptr: DevicePtr,
    bytes: u64,
}

impl Extent {
    /// At least `bytes` of new memory, rounded up to the device's granularity.
    pub fn new(space: &Arc<Space>, bytes: u64, tag: &str) -> Result<Extent> {
        Extent::make(space, bytes, tag, None)
    }

    /// The memory behind a descriptor that [`Extent::export`] gave, in this or another process. `bytes` is its size,
    /// rounded up as there. It is charged to this tenant too.
    pub fn import(space: &Arc<Space>, fd: BorrowedFd<'_>, bytes: u64, tag: &str) -> Result<Extent> {
        Extent::make(space, bytes, tag, Some(fd))
    }

    fn make(space: &Arc<Space>, bytes: u64, tag: &str, fd: Option<BorrowedFd<'_>>) -> Result<Extent> {
        if bytes == 0 {
            return Err(Error::argument("size", "must not be 0"));
        }
        let bytes = round_up(bytes, space.page_size());
        let units = space.account.take(bytes, tag)?;
        space.account.fix(bytes);
        let mut made = space.map_extent(bytes, tag, fd);
        if made.as_ref().is_err_and(|e| matches!(e.status(), Status::QuotaExceeded | Status::OutOfMemory))
            && space.make_room(bytes)
        {
            made = space.map_extent(bytes, tag, fd);
        }
        if made.is_err() {
            space.account.unfix(bytes);
            space.account.refund(units);
        }
        Ok(Extent { space: space.clone(), ptr: made?, bytes })
    }

    /// First byte.
    pub fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    /// Bytes, whole granules.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Maps it anew with this access, at the same place and with the same content. Work of the tenant's streams is
    /// waited for; nothing else may use it meanwhile.
    pub fn set_access(&self, access: Access) -> Result<()> {
        let space = &*self.space;
        let _closed = space.door().close_within(PATIENCE).ok_or_else(super::compaction::busy)?;
        let maps = space.maps.lock();
        let piece = maps.pieces.get(&self.slot()).ok_or_else(gone)?;
        space.wait_for_work()?;
        let device = &space.source.device;
        device.unmap(self.ptr, self.bytes)?;
        device.map(self.ptr, &piece.granule, access).inspect_err(|_| {
            // Readable at least. When that fails too, every use is an error of its own.
            let _ = device.map(self.ptr, &piece.granule, Access::Read);
        })
    }

    /// A descriptor by which another process can map this memory. It stays alive while anybody holds it.
    pub fn export(&self) -> Result<OwnedFd> {
        let maps = self.space.maps.lock();
        let piece = maps.pieces.get(&self.slot()).ok_or_else(gone)?;
        self.space.source.device.granule_export(&piece.granule)
    }

    fn slot(&self) -> u32 {
        self.space.slot_of(self.ptr)
    }
}

fn gone() -> Error {
    Error::new(Status::Internal, "an extent without its memory")
}

impl Space {
    pub(super) fn slot_of(&self, ptr: DevicePtr) -> u32 {
        ((ptr - self.base) / UNIT / u64::from(self.slot)) as u32
    }

    pub(super) fn map_extent(&self, bytes: u64, tag: &str, fd: Option<BorrowedFd<'_>>) -> Result<DevicePtr> {
        let size = u64::from(self.slot) * UNIT;
        let wanted = bytes / size;
        let mut room = None;
        loop {
            let mut maps = self.maps.lock();
            match self.place_extent(&mut maps, (size, wanted), bytes, tag, fd) {
                Err(Shortage::Device(_)) if room.is_none() => {}
                Err(Shortage::Account) => return Err(self.account.scattered(bytes, tag, 0)),
                Err(Shortage::Device(e)) => return Err(self.refused(e, bytes, tag)),
                Err(Shortage::Other(e)) => return Err(e),
                Ok(address) => return Ok(address),
            }
            drop(maps);
            room = Some(self.source.ledger.make_room(Some(&self.account), bytes, false, &Purpose::New));
        }
    }

    /// Once: what is idle is given back, nobody else is asked to give way.
    fn place_extent(
        &self,
        maps: &mut Maps,
        (size, wanted): (u64, u64),
        bytes: u64,
        tag: &str,
        fd: Option<BorrowedFd<'_>>,
    ) -> std::result::Result<DevicePtr, Shortage> {
        let slot = maps.gap(size, self.bytes / size, wanted).ok_or_else(|| {
            Shortage::Other(Error::new(
                Status::OutOfMemory,
                format!("tenant {:?}: no addresses left for {bytes} bytes for {tag:?}", self.account.name()),
            ))
        })?;
        let address = self.base + u64::from(slot) * size;
        let take = || match fd {
            None => self.source.take(Some(&self.account), address, bytes),
            Some(fd) => self.source.adopt(&self.account, address, bytes, fd),
        };
        let piece = match take() {
            Err(Shortage::Account) => {
                self.trim(maps, 0);
                take()
            }
            Err(Shortage::Device(_)) => {
                self.trim(maps, 0);
                self.source.ledger.reclaim(None);
                take()
            }
            other => other,
        };
        let piece = piece?;
        maps.pieces.insert(slot, piece);
        let units = (bytes / UNIT) as u32;
        let mut heap = self.heap.lock();
        self.mapped.fetch_add(u64::from(units), Ordering::Relaxed);
        let id = heap.add_live(slot * self.slot, units);
        heap.describe(id, bytes, now(), tag);
        heap.keep(id);
        Ok(address)
    }

    pub(super) fn unmap_extent(&self, ptr: DevicePtr, bytes: u64) {
        let mut maps = self.maps.lock();
        let (slot, units) = (self.slot_of(ptr), (bytes / UNIT) as u32);
        {
            let mut heap = self.heap.lock();
            let start = slot * self.slot;
            if let Some(id) = heap.live_at(start) {
                heap.free(id);
                heap.remove(start, units);
                self.mapped.fetch_sub(u64::from(units), Ordering::Relaxed);
            }
        }
        self.account.refund(units);
        // A device that cannot be waited for any more (lost) has no work in flight either.
        let _ = self.wait_for_work();
        if let Some(piece) = maps.pieces.remove(&slot)
            && let Err((piece, _)) = self.source.give(Some(&self.account), piece)
        {
            // Still mapped: its addresses stay taken until the space goes.
            maps.pieces.insert(slot, piece);
        }
        self.account.unfix(bytes);
    }

    /// Allocates as [`Space::alloc`]; only dropping the result frees it, never its pointer.
    pub fn block(self: &Arc<Self>, bytes: u64, align: u64, tag: &str) -> Result<Kept> {
        let ptr = self.alloc(bytes, align, tag)?;
        let unit = ((ptr - self.base) / UNIT) as u32;
        let mut heap = self.heap.lock();
        if let Some(id) = heap.live_at(unit) {
            heap.keep(id);
        }
        drop(heap);
        Ok(Kept { space: self.clone(), ptr })
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.space.unmap_extent(self.ptr, self.bytes);
    }
}

/// An allocation that is freed by dropping it and in no other way.
pub struct Kept {
    space: Arc<Space>,
    ptr: DevicePtr,
}

impl Kept {
    /// First byte.
    pub fn ptr(&self) -> DevicePtr {
        self.ptr
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // Ours until now; nobody else can have freed it.
        let _ = self.space.release(self.ptr);
    }
}

impl super::source::Source {
    /// As [`super::source::Source::take`], with memory that somebody exported.
    fn adopt(
        &self,
        account: &super::Account,
        address: DevicePtr,
        bytes: u64,
        fd: BorrowedFd<'_>,
    ) -> std::result::Result<Piece, Shortage> {
        if !account.take_footprint(bytes) {
            return Err(Shortage::Account);
        }
        let mapped = |granule: Granule| match self.device.map(address, &granule, Access::ReadWrite) {
            Ok(()) => Ok(Piece { lies: Lies::Fixed, ..Piece::new(address, granule) }),
            Err(e) => {
                self.device.granule_release(granule);
                Err(e)
            }
        };
        let given = self.ledger.take(Some(account), bytes).and_then(|()| {
            let made = self.device.granule_import(fd, bytes).and_then(mapped);
            made.inspect_err(|_| self.ledger.give(bytes))
        });
        given.map_err(|e| {
            account.give_footprint(bytes);
            if e.status() == Status::OutOfMemory { Shortage::Device(e) } else { Shortage::Other(e) }
        })
    }
}
