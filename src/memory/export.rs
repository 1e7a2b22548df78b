//! Memory of a tenant that other processes map too, counted until they have unmapped it.
//!
//! What is exported owns its granules ([`Space::alloc_exportable`]), so that a neighbour's bytes are never handed out
//! with it; it stays where it is, is never moved to the host, and stays charged to its owner. Each importer gets a lease:
//! a descriptor that is handed over by any means (inheritance, `SCM_RIGHTS`, `pidfd_getfd`). The lease is out until the
//! importer's end of it is closed, which [`super::Import`] does after unmapping, and the system where the importer died.
//!
//! A descriptor that was given cannot be taken back by force: a process that keeps the memory's own descriptor keeps the
//! memory, whatever it says. What is counted is what importers that keep to the protocol do. Freeing is safe in any case:
//! the physical memory lives until the last process lets go of it.

use super::lease::{self, Offer, Peer};
use super::space::Space;
use super::{UNIT, round_up};
use crate::device::{Access, DeviceKind, DevicePtr};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A space's exportable allocations by address.
pub(super) type Exportables = Mutex<BTreeMap<DevicePtr, Arc<Leases>>>;

/// The leases of one allocation.
pub(super) struct Leases {
    bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    revoked: bool,
    numbered: u64,
    out: Vec<Out>,
}

struct Out {
    info: Lease,
    end: OwnedFd,
}

/// A lease that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Counted from 1 for each allocation.
    pub number: u64,
    /// What the importer may do.
    pub access: Access,
    /// Whether it has said that it has mapped the memory.
    pub mapped: bool,
}

impl State {
    /// Takes note of what importers have said and done.
    fn refresh(&mut self) {
        self.out.retain_mut(|out| match lease::hear(out.end.as_fd()) {
            Peer::Gone => false,
            Peer::Mapped => {
                out.info.mapped = true;
                true
            }
            Peer::Silent => true,
        });
    }
}

impl Leases {
    fn count(&self) -> usize {
        let mut state = self.state.lock();
        state.refresh();
        state.out.len()
    }
}

/// An exportable allocation, for handing it out. All of its copies, and all made for the same allocation, are the same
/// export. Usable from any thread; dropping it changes nothing.
#[derive(Clone)]
pub struct Export {
    space: Arc<Space>,
    ptr: DevicePtr,
    leases: Arc<Leases>,
}

impl Export {
    /// For the allocation at `ptr`, by the very pointer that [`Space::alloc_exportable`] returned.
    ///
    /// Errors: [`Status::Unsupported`] for an allocation that shares its granules with others;
    /// [`Status::InvalidArgument`] and [`Status::NotOwner`] for a pointer that is none of the tenant's.
    pub fn new(space: &Arc<Space>, ptr: DevicePtr) -> Result<Export> {
        if let Some(leases) = space.exportables.lock().get(&ptr) {
            return Ok(Export { space: space.clone(), ptr, leases: leases.clone() });
        }
        space.check("ptr", ptr, 1)?;
        Err(Error::unsupported(format!(
            "argument `ptr`: the memory at {ptr:#x} was not allocated for export, so its pages hold other memory too"
        ))
        .advise("allocate it as exportable memory, and pass the pointer that this returned"))
    }

    /// First byte.
    pub fn ptr(&self) -> DevicePtr {
        self.ptr
    }

    /// Bytes, whole granules.
    pub fn bytes(&self) -> u64 {
        self.leases.bytes
    }

    /// A lease for one importer: hand the descriptor over, and close what remains of it here (it is closed in programs that
    /// this process starts, unless the flag is taken off). With [`Access::Read`] the importer maps it for reading; on the
    /// CPU device the memory's descriptor is one for reading, too.
    ///
    /// Errors: [`Status::Cancelled`] after [`Export::revoke`]; [`Status::NotFound`] when the allocation was freed;
    /// [`Status::Unsupported`] when the driver exports no memory.
    pub fn lease(&self, access: Access) -> Result<OwnedFd> {
        let device = self.space.device();
        let identity = lease::identity(&**device)?;
        let memory = self.descriptor(access)?;
        let (own, theirs) = lease::pair()?;
        let mut state = self.leases.state.lock();
        if state.revoked {
            return Err(Error::new(Status::Cancelled, format!("the export of {:#x} was revoked", self.ptr))
                .advise("free it and export new memory"));
        }
        if !self.space.exportables.lock().contains_key(&self.ptr) {
            return Err(Error::not_found(format!("the exported memory at {:#x} was freed", self.ptr)));
        }
        let number = state.numbered + 1;
        let offer = Offer { device: identity, bytes: self.leases.bytes, number, access };
        lease::offer(own.as_fd(), offer, memory.as_fd())?;
        state.numbered = number;
        state.out.push(Out { info: Lease { number, access, mapped: false }, end: own });
        Ok(theirs)
    }

    fn descriptor(&self, access: Access) -> Result<OwnedFd> {
        let device = self.space.device();
        let memory = {
            let maps = self.space.maps.lock();
            let piece = maps.pieces.get(&self.space.slot_of(self.ptr)).filter(|p| p.address == self.ptr);
            let piece = piece.ok_or_else(|| Error::not_found(format!("no memory at {:#x}", self.ptr)))?;
            device.granule_export(&piece.granule)?
        };
        if access == Access::ReadWrite || device.kind() != DeviceKind::Cpu {
            return Ok(memory);
        }
        let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
        let read_only = std::fs::File::open(path)
            .map_err(|e| Error::io("opening the descriptor of a granule for reading", e))?;
        Ok(read_only.into())
    }

    /// The leases that are out: given, and not closed by their importers.
    pub fn leases(&self) -> Vec<Lease> {
        let mut state = self.leases.state.lock();
        state.refresh();
        state.out.iter().map(|out| out.info).collect()
    }

    /// Asks all importers to unmap, and gives no leases any more. Who does not listen keeps the memory until it dies.
    /// Returns how many leases are out.
    pub fn revoke(&self) -> usize {
        let mut state = self.leases.state.lock();
        let first = !std::mem::replace(&mut state.revoked, true);
        state.refresh();
        if first {
            for out in &state.out {
                // One that is gone meanwhile need not be told; one that reads nothing cannot be.
                let _ = lease::say_revoke(out.end.as_fd());
            }
        }
        state.out.len()
    }

    /// Whether it was revoked.
    pub fn is_revoked(&self) -> bool {
        self.leases.state.lock().revoked
    }

    /// Waits until no lease is out.
    ///
    /// Errors: [`Status::Timeout`] with the number of those that still are.
    pub fn wait(&self, longest: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let ends: Vec<OwnedFd> = {
                let mut state = self.leases.state.lock();
                state.refresh();
                // Copies, so that others may go on meanwhile.
                state.out.iter().filter_map(|out| out.end.try_clone().ok()).collect()
            };
            let left = longest.saturating_sub(begun.elapsed());
            if self.leases.count() == 0 {
                return Ok(());
            }
            if left.is_zero() {
                return Err(Error::new(
                    Status::Timeout,
                    format!("{} leases of the memory at {:#x} are out", self.leases.count(), self.ptr),
                )
                .advise("revoke the export, and let the importers unmap or end"));
            }
            let ends: Vec<_> = ends.iter().map(|end| end.as_raw_fd()).collect();
            // New leases are not among them, so it looks again from time to time.
            lease::wait(&ends, left.min(Duration::from_millis(200)))?;
        }
    }
}

impl Space {
    /// Allocates at least `bytes` as whole granules of their own, charged in full, which [`Export::new`] can hand to other
    /// processes. They never move. Freed with [`Space::free`].
    ///
    /// Errors: as for [`Space::alloc`].
    pub fn alloc_exportable(&self, bytes: u64, tag: &str) -> Result<DevicePtr> {
        if bytes == 0 {
            return Err(Error::argument("bytes", "must not be 0"));
        }
        let bytes = round_up(bytes, u64::from(self.slot) * UNIT);
        let units = self.account.take(bytes, tag)?;
        self.account.fix(bytes);
        let ptr = self.map_extent(bytes, tag, None).inspect_err(|_| {
            self.account.unfix(bytes);
            self.account.refund(units);
        })?;
        let leases = Arc::new(Leases { bytes, state: Mutex::default() });
        self.exportables.lock().insert(ptr, leases);
        Ok(ptr)
    }

    /// Whether the allocation at `ptr` can be exported, and how many leases of it are out.
    pub fn leases_out(&self, ptr: DevicePtr) -> Option<usize> {
        let leases = self.exportables.lock().get(&ptr).cloned()?;
        Some(leases.count())
    }

    /// Frees the exportable allocation at `ptr`; `None` when there is none.
    pub(super) fn free_exportable(&self, ptr: DevicePtr) -> Option<Result<()>> {
        let leases = self.exportables.lock().get(&ptr).cloned()?;
        {
            // Held until it is out of the list, so that no lease is given meanwhile.
            let mut state = leases.state.lock();
            state.refresh();
            let out = state.out.len();
            if out > 0 {
                return Some(Err(Error::new(
                    Status::Busy,
                    format!("argument `ptr`: {out} leases of the exported memory at {ptr:#x} are out"),
                )
                .advise("revoke the export and wait until the importers have unmapped it")));
            }
            self.exportables.lock().remove(&ptr)?;
        }
        self.unmap_extent(ptr, leases.bytes);
        Some(Ok(()))
    }
}
