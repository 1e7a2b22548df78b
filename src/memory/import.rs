//! Memory of another process (or tenant) that a tenant maps.

use super::lease;
use super::source::{Lies, Piece};
use super::space::Space;
use super::{UNIT, now};
use crate::device::{Access, DevicePtr};
use crate::{Error, Result, Status};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

/// Memory that somebody else exported, mapped in a space of a tenant. It costs the tenant addresses but nothing of its
/// limit: its owner is charged ([`super::Account::imported`] counts it). When dropped it waits for work of the tenant's
/// streams, unmaps, and only then tells the exporter, by closing its end of the lease. No work that touches it may be queued then.
///
/// Content may change at any time by the exporter's hand, and what is read must be checked accordingly.
pub struct Import {
    space: Arc<Space>,
    ptr: DevicePtr,
    bytes: u64,
    access: Access,
    lease: Arc<OwnedFd>,
    watcher: Option<Watcher>,
}

struct Watcher {
    /// Written to when the import goes.
    end: OwnedFd,
    thread: JoinHandle<()>,
}

impl Import {
    /// Maps what a lease ([`super::Export::lease`]) offers. The descriptor is consumed: on an error it is closed, which
    /// returns the lease. An offer that does not come within `longest` is an error.
    ///
    /// Errors: [`Status::InvalidArgument`] for a descriptor that is no lease, memory of another device or machine, memory
    /// that could be shrunk, or a size that is not whole granules; [`Status::Format`] for an offer that is none;
    /// [`Status::NotFound`] when the exporter is gone; [`Status::Timeout`]; [`Status::OutOfMemory`] when there are no
    /// addresses left.
    pub fn new(space: &Arc<Space>, lease: OwnedFd, tag: &str, longest: Duration) -> Result<Import> {
        lease::check_kind(lease.as_fd())?;
        let (offer, memory) = lease::receive(lease.as_fd(), longest)?;
        let device = space.device();
        if offer.device != lease::identity(&**device)? {
            return Err(Error::argument(
                "lease",
                format!("is of memory on another device than {}:{}", device.kind(), device.ordinal()),
            )
            .advise("import it into a tenant on the device where it was exported"));
        }
        let granule = device.granularity();
        if offer.bytes == 0 || !offer.bytes.is_multiple_of(granule) || offer.bytes > space.bytes {
            return Err(Error::argument(
                "lease",
                format!("offers {} bytes, which is not whole granules of {granule}", offer.bytes),
            ));
        }
        let ptr = space.map_import(memory.as_fd(), offer.bytes, offer.access, tag)?;
        // From here on its drop undoes everything.
        let import = Import {
            space: space.clone(),
            ptr,
            bytes: offer.bytes,
            access: offer.access,
            lease: Arc::new(lease),
            watcher: None,
        };
        lease::say_mapped(import.lease.as_fd()).map_err(|e| e.within("argument `lease`"))?;
        Ok(import)
    }

    /// First byte.
    pub fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    /// Bytes, whole granules.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What may be done with it.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Whether the exporter asks for it back, or is gone. Dropping it is the answer.
    pub fn is_revoked(&self) -> bool {
        lease::is_asked_back(self.lease.as_fd())
    }

    /// Waits until the exporter asks for it back or is gone; false when `longest` passed first.
    pub fn wait_revoked(&self, longest: Duration) -> Result<bool> {
        lease::wait(&[self.lease.as_raw_fd()], longest)
    }

    /// Has `told` called once, on a thread of its own, when the exporter asks for it back or is gone. It may drop whatever
    /// it likes, this import too. One such function an import.
    ///
    /// Errors: [`Status::AlreadyExists`]; [`Status::Io`] when there is no thread to be had.
    pub fn on_revoke(&mut self, told: Box<dyn FnOnce() + Send>) -> Result<()> {
        if self.watcher.is_some() {
            return Err(Error::new(Status::AlreadyExists, "somebody is told of this import's revocation"));
        }
        let (ours, theirs) = lease::pair()?;
        let lease = self.lease.clone();
        let watch = move || {
            let ends = [lease.as_raw_fd(), theirs.as_raw_fd()];
            loop {
                // Not for ever, so that whatever goes wrong with the descriptors does not keep a thread.
                let waited = lease::wait(&ends, Duration::from_secs(3600));
                if waited.is_err() || lease::is_asked_back(theirs.as_fd()) {
                    return;
                }
                if lease::is_asked_back(lease.as_fd()) {
                    // The lease is closed by who owns it alone.
                    drop(lease);
                    told();
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("cw-lease".into())
            .spawn(watch)
            .map_err(|e| Error::io("starting the thread that watches a lease", e))?;
        self.watcher = Some(Watcher { end: ours, thread });
        Ok(())
    }
}

impl Drop for Import {
    fn drop(&mut self) {
        if let Some(Watcher { end, thread }) = self.watcher.take() {
            drop(end);
            // What it calls may drop this import: then it is over anyway.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        if !self.space.unmap_import(self.ptr, self.bytes) {
            // Still mapped: the lease must not end before the process does.
            std::mem::forget(self.lease.clone());
        }
    }
}

impl Space {
    fn map_import(&self, fd: BorrowedFd<'_>, bytes: u64, access: Access, tag: &str) -> Result<DevicePtr> {
        let mut maps = self.maps.lock();
        let size = u64::from(self.slot) * UNIT;
        let slot = maps.gap(size, self.bytes / size, bytes / size).ok_or_else(|| {
            Error::new(
                Status::OutOfMemory,
                format!("tenant {:?}: no addresses left for {bytes} bytes for {tag:?}", self.account.name()),
            )
        })?;
        let (address, device) = (self.base + u64::from(slot) * size, &self.source.device);
        let granule = device.granule_import(fd, bytes).map_err(|e| e.within("argument `lease`"))?;
        if let Err(e) = device.map(address, &granule, access) {
            device.granule_release(granule);
            return Err(e.within("argument `lease`"));
        }
        maps.pieces.insert(slot, Piece { lies: Lies::Borrowed, ..Piece::new(address, granule) });
        let units = (bytes / UNIT) as u32;
        let mut heap = self.heap.lock();
        self.mapped.fetch_add(u64::from(units), Ordering::Relaxed);
        let id = heap.add_live(slot * self.slot, units);
        heap.describe(id, bytes, now(), tag);
        heap.keep(id);
        self.account.count_imported(bytes, 0);
        Ok(address)
    }

    /// False when the device refuses to unmap it.
    fn unmap_import(&self, ptr: DevicePtr, bytes: u64) -> bool {
        // Without the lock: others may allocate meanwhile. A device that cannot be waited for any more (lost) has no work
        // in flight either.
        let _ = self.wait_for_work();
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
        let Some(piece) = maps.pieces.remove(&slot) else { return true };
        match self.source.give(Some(&self.account), piece) {
            Ok(()) => {
                self.account.count_imported(0, bytes);
                true
            }
            Err((piece, _)) => {
                maps.pieces.insert(slot, piece);
                false
            }
        }
    }
}
