//! Reserved address ranges and what is mapped in them.

use super::super::{Access, DevicePtr, Granule};
use super::granule::GRANULARITY;
use crate::{Error, Result, Status};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::io;

struct Mapping {
    bytes: u64,
    access: Access,
}

struct Range {
    bytes: u64,
    mappings: BTreeMap<u64, Mapping>,
}

/// All ranges of a device, by their first address.
#[derive(Default)]
pub(super) struct Ranges(RwLock<BTreeMap<u64, Range>>);

const NOTHING: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

impl Ranges {
    pub(super) fn reserve(&self, bytes: u64) -> Result<DevicePtr> {
        if bytes == 0 || !bytes.is_multiple_of(GRANULARITY) {
            return Err(Error::argument("bytes", format!("{bytes} is not a multiple of {GRANULARITY}")));
        }
        let room = usize::try_from(bytes)
            .ok()
            .and_then(|b| b.checked_add(GRANULARITY as usize))
            .ok_or_else(|| Error::argument("bytes", "is more than the address space"))?;
        // SAFETY: new addresses; what is cut off at both ends belongs to this mapping alone.
        unsafe {
            let start = libc::mmap(std::ptr::null_mut(), room, libc::PROT_NONE, NOTHING, -1, 0);
            if start == libc::MAP_FAILED {
                let cause = io::Error::last_os_error();
                return Err(Error::new(
                    Status::OutOfMemory,
                    format!("cannot reserve {bytes} bytes of addresses: {cause}"),
                )
                .with_call(format!("mmap(bytes={room}, PROT_NONE)"))
                .advise("raise the limit of virtual memory (ulimit -v)"));
            }
            let start = start as usize;
            let base = start.next_multiple_of(GRANULARITY as usize);
            let end = base + bytes as usize;
            if base > start {
                libc::munmap(start as *mut _, base - start);
            }
            if start + room > end {
                libc::munmap(end as *mut _, start + room - end);
            }
            self.0.write().insert(base as u64, Range { bytes, mappings: BTreeMap::new() });
            Ok(base as u64)
        }
    }

    /// New pages of their own, zero, as a range in which they are mapped.
    pub(super) fn plain(&self, bytes: u64) -> Result<DevicePtr> {
        const POPULATE_WRITE: i32 = 23;
        let size = usize::try_from(bytes).map_err(|_| Error::argument("bytes", "is too large"))?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: new addresses, given back when the pages cannot be had.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return Err(super::granule::out_of_memory(bytes, &io::Error::last_os_error().to_string()));
            }
            // Real pages now, so that a lack of memory is an error here. Kernels before 5.14 cannot, and give pages later.
            if libc::madvise(start, size, POPULATE_WRITE) != 0 {
                let cause = io::Error::last_os_error();
                if cause.raw_os_error() != Some(libc::EINVAL) {
                    libc::munmap(start, size);
                    return Err(super::granule::out_of_memory(bytes, &cause.to_string()));
                }
            }
            libc::madvise(start, size, libc::MADV_DONTDUMP);
            let mappings = BTreeMap::from([(start as u64, Mapping { bytes, access: Access::ReadWrite })]);
            self.0.write().insert(start as u64, Range { bytes, mappings });
            Ok(start as u64)
        }
    }

    /// Gives back what [`Ranges::plain`] gave; false when it was not of this size and origin.
    pub(super) fn plain_release(&self, address: DevicePtr, bytes: u64) -> bool {
        let mut ranges = self.0.write();
        let whole =
            |r: &Range| r.bytes == bytes && r.mappings.get(&address).is_some_and(|m| m.bytes == bytes);
        if !ranges.get(&address).is_some_and(whole) {
            return false;
        }
        ranges.remove(&address);
        // SAFETY: exactly the pages that `plain` made.
        unsafe { libc::munmap(address as *mut _, bytes as usize) == 0 }
    }

    pub(super) fn release(&self, address: DevicePtr, bytes: u64) {
        let mut ranges = self.0.write();
        // What was not reserved here must not be unmapped: it may be anybody's memory.
        if ranges.get(&address).is_some_and(|r| r.bytes == bytes) {
            ranges.remove(&address);
            // SAFETY: exactly the range that `reserve` made.
            unsafe { libc::munmap(address as *mut _, bytes as usize) };
        }
    }

    pub(super) fn map(&self, address: DevicePtr, granule: &Granule, access: Access) -> Result<()> {
        let mut ranges = self.0.write();
        let bytes = granule.bytes;
        let range = within(&mut ranges, address, bytes)?;
        if !address.is_multiple_of(GRANULARITY) {
            return Err(Error::argument(
                "address",
                format!("{address:#x} is not a multiple of {GRANULARITY}"),
            ));
        }
        let before = range.mappings.range(..address + bytes).next_back();
        if before.is_some_and(|(start, m)| start + m.bytes > address) {
            return Err(Error::new(Status::Busy, format!("something is mapped at {address:#x} already")));
        }
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // SAFETY: the addresses are reserved by this device and nothing is mapped there.
        unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            let at =
                libc::mmap(address as *mut _, bytes as usize, protection, flags, granule.handle as i32, 0);
            if at == libc::MAP_FAILED {
                let cause = io::Error::last_os_error();
                return Err(Error::io(format!("mapping a granule of {bytes} bytes at {address:#x}"), cause)
                    .with_call(format!("mmap(address={address:#x}, bytes={bytes}, fd={})", granule.handle))
                    .advise("the limit of mappings (vm.max_map_count) may be reached"));
            }
            // Weights and caches are large, and a core file full of them helps nobody.
            libc::madvise(address as *mut _, bytes as usize, libc::MADV_DONTDUMP);
        }
        range.mappings.insert(address, Mapping { bytes, access });
        Ok(())
    }

    pub(super) fn unmap(&self, address: DevicePtr, bytes: u64) -> Result<()> {
        let mut ranges = self.0.write();
        let range = within(&mut ranges, address, bytes)?;
        match range.mappings.get(&address) {
            Some(m) if m.bytes == bytes => {}
            _ => {
                let what = format!("no granule of {bytes} bytes is mapped at {address:#x}");
                return Err(Error::argument("address", what));
            }
        }
        // SAFETY: replaces a mapping of this device by reserved addresses, so that nobody else gets them.
        unsafe {
            let flags = NOTHING | libc::MAP_FIXED;
            let at = libc::mmap(address as *mut _, bytes as usize, libc::PROT_NONE, flags, -1, 0);
            if at == libc::MAP_FAILED {
                return Err(Error::io(format!("unmapping {address:#x}"), io::Error::last_os_error())
                    .with_call(format!("mmap(address={address:#x}, bytes={bytes}, PROT_NONE)")));
            }
        }
        range.mappings.remove(&address);
        Ok(())
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        let ranges = self.0.read();
        ranges.range(..=address).next_back().is_some_and(|(start, r)| address - start < r.bytes)
    }

    /// Checks that all of `bytes` bytes from `address` are mapped for `access`.
    pub(super) fn check(&self, argument: &str, address: u64, bytes: u64, access: Access) -> Result<()> {
        let ranges = self.0.read();
        let end = address
            .checked_add(bytes)
            .ok_or_else(|| Error::argument(argument, format!("{address:#x} + {bytes} overflows")))?;
        let range = ranges.range(..=address).next_back().map(|(_, r)| r);
        let mut at = address;
        while at < end {
            let mapping = range
                .and_then(|r| r.mappings.range(..=at).next_back())
                .filter(|(start, m)| at - *start < m.bytes);
            let Some((start, mapping)) = mapping else {
                return Err(Error::argument(argument, format!("no memory of the cpu device at {at:#x}")));
            };
            if access == Access::ReadWrite && mapping.access == Access::Read {
                return Err(Error::argument(argument, format!("the memory at {at:#x} is read-only")));
            }
            at = start + mapping.bytes;
        }
        Ok(())
    }
}

fn within(ranges: &mut BTreeMap<u64, Range>, address: u64, bytes: u64) -> Result<&mut Range> {
    ranges
        .range_mut(..=address)
        .next_back()
        .filter(|(start, r)| (address - **start).checked_add(bytes).is_some_and(|end| end <= r.bytes))
        .map(|(_, r)| r)
        .ok_or_else(|| {
            let what = format!("{bytes} bytes at {address:#x} are not inside a reserved range");
            Error::argument("address", what)
        })
}
