//! Physical memory by the granule and the address ranges it is mapped into (CUDA's virtual memory management).
//!
//! What is reserved and mapped is also noted here: the driver answers misuse with one code for everything, and cannot
//! tell a reserved address from an unknown one.

use super::context::Context;
use super::info;
use super::types::{self, MemAccess, MemLocation, MemProp};
use crate::device::{Access, Count, DevicePtr, Granule, Place};
use crate::{Error, Result, Status};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;

struct Range {
    bytes: u64,
    /// By start address.
    mapped: BTreeMap<u64, Mapping>,
}

#[derive(Clone, Copy)]
struct Mapping {
    bytes: u64,
    access: Access,
}

fn rights(device: i32, access: Access) -> MemAccess {
    let flags = match access {
        Access::Read => types::MEM_ACCESS_READ,
        Access::ReadWrite => types::MEM_ACCESS_READ_WRITE,
    };
    MemAccess { location: MemLocation { kind: types::MEM_LOCATION_DEVICE, id: device }, flags }
}

/// The device's granules and ranges.
pub(crate) struct AddressSpace {
    context: Arc<Context>,
    granularity: u64,
    properties: MemProp,
    exportable: bool,
    ranges: RwLock<BTreeMap<u64, Range>>,
    /// GPUs beside this one that may use its memory. Held while mappings are being made, so that none is forgotten.
    peers: RwLock<Vec<i32>>,
    /// What was given back while the context was lost, when the driver refuses everything: for when it was thrown away.
    orphans: Mutex<Vec<Orphan>>,
}

/// Something that is still to be given back. Granules, ranges and mappings belong to no context and outlive it.
enum Orphan {
    Mapping(u64, u64),
    Granule(u64),
    Range(u64, u64),
}

// SAFETY: the only pointer inside is the null `win32` of the properties.
unsafe impl Send for AddressSpace {}
// SAFETY: as above.
unsafe impl Sync for AddressSpace {}

impl AddressSpace {
    pub(crate) fn new(context: Arc<Context>) -> Result<AddressSpace> {
        if info::attribute(&context, types::attribute::VIRTUAL_MEMORY)? == 0 {
            return Err(Error::unsupported("this GPU has no virtual memory management in this driver")
                .advise("a GPU of the Pascal generation or newer and a 64-bit driver of CUDA 10.2 or newer have it"));
        }
        let exportable = info::attribute(&context, types::attribute::POSIX_FD_HANDLES)? != 0;
        let properties = MemProp {
            kind: types::MEM_ALLOCATION_PINNED,
            handle_types: if exportable { types::MEM_HANDLE_POSIX_FD } else { 0 },
            location: MemLocation { kind: types::MEM_LOCATION_DEVICE, id: context.device },
            win32: std::ptr::null_mut(),
            compression: 0,
            rdma: 0,
            usage: 0,
            reserved: [0; 4],
        };
        let mut granularity = 0usize;
        // SAFETY: both pointers outlive the call.
        unsafe {
            context.driver.cuMemGetAllocationGranularity(
                &mut granularity,
                &properties,
                types::MEM_GRANULARITY_MINIMUM,
            )?;
        }
        if !granularity.is_power_of_two() {
            return Err(Error::unsupported(format!(
                "the driver's granularity {granularity} is no power of two"
            )));
        }
        Ok(AddressSpace {
            context,
            granularity: granularity as u64,
            properties,
            exportable,
            ranges: RwLock::new(BTreeMap::new()),
            peers: RwLock::default(),
            orphans: Mutex::default(),
        })
    }

    pub(crate) fn granularity(&self) -> u64 {
        self.granularity
    }

    /// Whether granules can be handed to other processes.
    pub(crate) fn exportable(&self) -> bool {
        self.exportable
    }

    fn whole(&self, name: &str, value: u64) -> Result<usize> {
        if value == 0 || !value.is_multiple_of(self.granularity) {
            let text = format!("{value} is not a positive multiple of the granularity {}", self.granularity);
            return Err(Error::argument(name, text));
        }
        usize::try_from(value).map_err(|_| Error::argument(name, "is beyond the address space"))
    }

    pub(crate) fn granule_create(&self, bytes: u64) -> Result<Granule> {
        let size = self.whole("bytes", bytes)?;
        let mut handle = 0u64;
        let _current = self.context.enter()?;
        // SAFETY: both pointers outlive the call.
        unsafe { self.context.driver.cuMemCreate(&mut handle, size, &self.properties, 0)? };
        self.context.path.count(Count::Granules, 1);
        Ok(Granule { handle, bytes })
    }

    pub(crate) fn granule_release(&self, granule: Granule) {
        if self.keep(Orphan::Granule(granule.handle)) {
            return;
        }
        let driver = &self.context.driver;
        // SAFETY: the granule is its handle's owner and ends here.
        driver.released(unsafe { driver.cuMemRelease(granule.handle) });
    }

    pub(crate) fn granule_export(&self, granule: &Granule) -> Result<OwnedFd> {
        if !self.exportable {
            return Err(Error::unsupported("this driver cannot export memory as a file descriptor"));
        }
        let mut fd: i32 = -1;
        let _current = self.context.enter()?;
        // SAFETY: for this kind of handle the driver writes an int.
        unsafe {
            self.context.driver.cuMemExportToShareableHandle(
                (&raw mut fd).cast(),
                granule.handle,
                types::MEM_HANDLE_POSIX_FD,
                0,
            )?;
        }
        if fd < 0 {
            return Err(Error::new(Status::Driver, format!("the driver exported the file descriptor {fd}")));
        }
        // SAFETY: our own descriptor. A child that runs another program must not inherit it.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        // SAFETY: a new descriptor, ours to close.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The granule behind a descriptor that [`AddressSpace::granule_export`] gave in this or another process.
    pub(crate) fn granule_import(&self, fd: BorrowedFd<'_>, bytes: u64) -> Result<Granule> {
        self.whole("bytes", bytes)?;
        let mut handle = 0u64;
        let os_handle = fd.as_raw_fd() as usize as *mut std::ffi::c_void;
        let _current = self.context.enter()?;
        // SAFETY: `handle` outlives the call; for this kind of handle the pointer carries the descriptor's number.
        unsafe {
            self.context.driver.cuMemImportFromShareableHandle(
                &mut handle,
                os_handle,
                types::MEM_HANDLE_POSIX_FD,
            )?;
        }
        Ok(Granule { handle, bytes })
    }

    pub(crate) fn range_reserve(&self, bytes: u64) -> Result<DevicePtr> {
        let size = self.whole("bytes", bytes)?;
        let mut address = 0u64;
        {
            let _current = self.context.enter()?;
            // SAFETY: `address` outlives the call.
            unsafe { self.context.driver.cuMemAddressReserve(&mut address, size, 0, 0, 0)? };
        }
        self.ranges.write().insert(address, Range { bytes, mapped: BTreeMap::new() });
        Ok(address)
    }

    pub(crate) fn range_release(&self, address: DevicePtr, bytes: u64) {
        let driver = &self.context.driver;
        let mut ranges = self.ranges.write();
        match ranges.get(&address) {
            Some(range) if range.bytes == bytes && range.mapped.is_empty() => {}
            Some(range) if range.bytes == bytes => {
                let text = format!("range {address:#x} still has {} mappings", range.mapped.len());
                driver.released(Err(Error::argument("address", text)));
                return;
            }
            _ => {
                let text = format!("no range of {bytes} bytes was reserved at {address:#x}");
                driver.released(Err(Error::argument("address", text)));
                return;
            }
        }
        ranges.remove(&address);
        if self.keep(Orphan::Range(address, bytes)) {
            return;
        }
        // SAFETY: reserved here with this size, nothing is mapped in it.
        driver.released(unsafe { driver.cuMemAddressFree(address, bytes as usize) });
    }

    pub(crate) fn map(&self, address: DevicePtr, granule: &Granule, access: Access) -> Result<()> {
        let size = self.whole("granule.bytes", granule.bytes)?;
        if !address.is_multiple_of(self.granularity) {
            let text = format!("{address:#x} is not a multiple of the granularity {}", self.granularity);
            return Err(Error::argument("address", text));
        }
        // Noted first and taken back on failure, so that the lock is not held during the driver's calls, which take
        // long and may wait for the device.
        // Peers first: who is let in meanwhile finds only what is mapped.
        let peers = self.peers.read();
        self.note(address, Mapping { bytes: granule.bytes, access })?;
        let mapped = self.map_noted(address, granule, size, access, &peers);
        if mapped.is_err() {
            self.forget(address);
        }
        mapped
    }

    fn map_noted(
        &self,
        address: u64,
        granule: &Granule,
        size: usize,
        access: Access,
        peers: &[i32],
    ) -> Result<()> {
        let driver = &self.context.driver;
        let own = rights(self.context.device, access);
        let rights: Vec<_> = std::iter::once(own).chain(peers.iter().map(|&p| rights(p, access))).collect();
        let _current = self.context.enter()?;
        // SAFETY: the address lies in a range reserved here where nothing is mapped; the granule is alive.
        unsafe {
            driver.cuMemMap(address, size, 0, granule.handle, 0)?;
            let allowed = driver.cuMemSetAccess(address, size, rights.as_ptr(), rights.len());
            if allowed.is_err() {
                driver.released(driver.cuMemUnmap(address, size));
            }
            allowed
        }
    }

    /// Lets another GPU use this one's memory, all that is mapped now and what will be; or takes that back.
    pub(crate) fn set_peer(&self, peer: i32, allowed: bool) -> Result<()> {
        let mut peers = self.peers.write();
        if peers.contains(&peer) == allowed {
            return Ok(());
        }
        let mappings: Vec<(u64, Mapping)> = {
            let ranges = self.ranges.read();
            ranges.values().flat_map(|r| r.mapped.iter().map(|(at, m)| (*at, *m))).collect()
        };
        let _current = self.context.enter()?;
        let set = |at: u64, mapping: Mapping, allowed: bool| {
            let mut right = rights(peer, mapping.access);
            if !allowed {
                right.flags = types::MEM_ACCESS_NONE;
            }
            // SAFETY: a mapping noted here. One that went meanwhile is answered with an error.
            unsafe { self.context.driver.cuMemSetAccess(at, mapping.bytes as usize, &right, 1) }
        };
        for (i, &(at, mapping)) in mappings.iter().enumerate() {
            let Err(e) = set(at, mapping, allowed) else { continue };
            if self.ranges.read().values().any(|r| r.mapped.contains_key(&at)) {
                for &(at, mapping) in &mappings[..i] {
                    // As it was; the error that matters is the first.
                    let _ = set(at, mapping, !allowed);
                }
                return Err(e);
            }
        }
        peers.retain(|&p| p != peer);
        if allowed {
            peers.push(peer);
        }
        Ok(())
    }

    pub(crate) fn unmap(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        let noted = {
            let mut ranges = self.ranges.write();
            let mapped = ranges.range_mut(..=address).next_back().map(|(_, range)| &mut range.mapped);
            match mapped.as_ref().and_then(|m| m.get(&address)) {
                Some(have) if have.bytes == bytes => {}
                Some(have) => {
                    let text = format!(
                        "{bytes} is not the size of the mapping at {address:#x}, which is {}",
                        have.bytes
                    );
                    return Err(Error::argument("bytes", text));
                }
                None => return Err(Error::argument("address", format!("nothing is mapped at {address:#x}"))),
            }
            mapped.and_then(|mapped| mapped.remove(&address))
        };
        if self.keep(Orphan::Mapping(address, bytes)) {
            return Ok(());
        }
        // A mapping belongs to no context; a dead one need not be entered.
        let _current = if self.context.is_dead() { None } else { Some(self.context.enter()?) };
        // SAFETY: exactly one mapping of ours; the caller saw to it that no work touches it.
        let unmapped = unsafe { self.context.driver.cuMemUnmap(address, bytes as usize) };
        if unmapped.is_err()
            && let Some(mapping) = noted
        {
            // Still mapped as far as anybody knows.
            let _ = self.note(address, mapping);
        }
        unmapped
    }

    /// While the context is lost and not yet thrown away: keeps what is to be given back, for later.
    fn keep(&self, orphan: Orphan) -> bool {
        if !self.context.is_lost() {
            return false;
        }
        // Looked at under the lock: what comes after the collection is not kept.
        let mut orphans = self.orphans.lock();
        let later = !self.context.is_dead();
        if later {
            orphans.push(orphan);
        }
        later
    }

    /// Gives back what was kept, now that the driver takes it again.
    pub(crate) fn collect(&self) {
        let orphans = std::mem::take(&mut *self.orphans.lock());
        let driver = &self.context.driver;
        for orphan in orphans {
            // SAFETY: ours, given back once, in the order in which it was given up.
            driver.released(unsafe {
                match orphan {
                    Orphan::Mapping(address, bytes) => driver.cuMemUnmap(address, bytes as usize),
                    Orphan::Granule(handle) => driver.cuMemRelease(handle),
                    Orphan::Range(address, bytes) => driver.cuMemAddressFree(address, bytes as usize),
                }
            });
        }
    }

    /// Notes a mapping, if it lies in one range and overlaps no other.
    fn note(&self, address: u64, mapping: Mapping) -> Result<()> {
        let bytes = mapping.bytes;
        let mut ranges = self.ranges.write();
        let end = address.checked_add(bytes);
        let range = ranges.range_mut(..=address).next_back();
        let Some((_, range)) = range.filter(|(start, r)| end.is_some_and(|end| end <= **start + r.bytes))
        else {
            let text =
                format!("{bytes} bytes at {address:#x} are not within a range reserved on this device");
            return Err(Error::argument("address", text));
        };
        let before = range.mapped.range(..address + bytes).next_back();
        if let Some((&at, there)) = before
            && at + there.bytes > address
        {
            let text = format!("{} bytes are mapped at {at:#x} already", there.bytes);
            return Err(Error::new(Status::Busy, text).advise("unmap them first"));
        }
        range.mapped.insert(address, mapping);
        Ok(())
    }

    /// That a copy or fill may touch `bytes` bytes at `address`. Only addresses in ranges of this device are judged: on
    /// the GPU a touch of an unmapped or read-only address loses the device for everybody.
    pub(crate) fn check(&self, name: &str, address: u64, bytes: u64, write: bool) -> Result<()> {
        let ranges = self.ranges.read();
        let Some((start, range)) = ranges.range(..=address).next_back() else { return Ok(()) };
        if bytes == 0 || address >= start + range.bytes {
            return Ok(());
        }
        let (mut at, end) = (address, address + bytes);
        while at < end {
            let there = range.mapped.range(..=at).next_back();
            match there.map(|(start, m)| (start + m.bytes, m.access)) {
                Some((next, access)) if next > at => {
                    if write && access == Access::Read {
                        return Err(Error::argument(
                            name,
                            format!("the memory at {at:#x} is mapped for reading only"),
                        ));
                    }
                    at = next;
                }
                _ => return Err(Error::argument(name, format!("nothing is mapped at {at:#x}"))),
            }
        }
        Ok(())
    }

    fn forget(&self, address: u64) {
        if let Some((_, range)) = self.ranges.write().range_mut(..=address).next_back() {
            range.mapped.remove(&address);
        }
    }

    /// Whether an address lies in a range of this device.
    pub(crate) fn reserved(&self, address: u64) -> bool {
        let ranges = self.ranges.read();
        ranges.range(..=address).next_back().is_some_and(|(start, range)| address < start + range.bytes)
    }

    pub(crate) fn place(&self, address: u64) -> Place {
        if self.reserved(address) {
            return Place::Device;
        }
        // Memory that others allocated on this GPU: the CUDA runtime, its libraries.
        let driver = &self.context.driver;
        let (mut kind, mut ordinal) = (0u32, -1i32);
        // SAFETY: each output has the type of its attribute. An unknown address is answered with an error.
        let asked = unsafe {
            driver
                .cuPointerGetAttribute((&raw mut kind).cast(), types::POINTER_MEMORY_TYPE, address)
                .and_then(|()| {
                    driver.cuPointerGetAttribute(
                        (&raw mut ordinal).cast(),
                        types::POINTER_DEVICE_ORDINAL,
                        address,
                    )
                })
        };
        match asked {
            Ok(()) if kind == types::MEMORY_TYPE_DEVICE && ordinal == self.context.device => Place::Device,
            _ => Place::Host,
        }
    }
}
