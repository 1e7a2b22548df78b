//! Physical memory by the granule: sealed `memfd`s with real pages behind them.
//!
//! A granule gets its pages when it is created, so running out of memory is an error here and not a SIGBUS later.
//! Pages of 2 MiB are asked for with `MADV_COLLAPSE`, which works also where transparent huge pages are off for shared
//! memory by default: reading weights then goes as fast as from anonymous huge pages. Where the kernel refuses, the
//! granule has small pages.

use super::super::Granule;
use crate::{Error, Result, Status};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::Once;

/// Granules are multiples of 2 MiB: the huge page of x86-64, and the same as on a GPU.
pub const GRANULARITY: u64 = 2 << 20;

/// What the host gives and takes memory by.
pub(super) const PAGE: usize = 4096;
const HUGE: usize = GRANULARITY as usize;
const MADV_POPULATE_WRITE: i32 = 23;
const MADV_COLLAPSE: i32 = 25;
/// Descriptors of granules are kept above the numbers that `select` can handle, which stay with the application.
const FIRST_FD: i32 = 1024;

pub(super) fn out_of_memory(bytes: u64, why: &str) -> Error {
    Error::new(Status::OutOfMemory, format!("the host has no {bytes} bytes left: {why}"))
        .advise("free memory of other tenants, lower their limits, or use a smaller model")
}

pub(super) fn create(bytes: u64) -> Result<Granule> {
    let size = usize::try_from(bytes).map_err(|_| Error::argument("bytes", "is too large"))?;
    let fd = sealed(bytes)?;
    populate(fd.as_raw_fd(), 0, size)?;
    Ok(Granule { handle: fd.into_raw_fd() as u64, bytes })
}

/// A granule without pages.
pub(super) fn create_bare(bytes: u64) -> Result<Granule> {
    Ok(Granule { handle: sealed(bytes)?.into_raw_fd() as u64, bytes })
}

/// Refuses a part that is not whole pages inside of the granule.
pub(super) fn check_part(granule: &Granule, offset: u64, bytes: u64) -> Result<()> {
    let page = PAGE as u64;
    for (name, value) in [("offset", offset), ("bytes", bytes)] {
        if !value.is_multiple_of(page) {
            return Err(Error::argument(name, format!("{value} is not a multiple of {page}")));
        }
    }
    if bytes == 0 || offset.checked_add(bytes).is_none_or(|end| end > granule.bytes) {
        let text = format!("{bytes} bytes from {offset} are no part of a granule of {}", granule.bytes);
        return Err(Error::argument("bytes", text));
    }
    Ok(())
}

/// Puts zeroed pages into a part that has none: huge ones where a whole one fits.
pub(super) fn fill(granule: &Granule, offset: u64, bytes: u64) -> Result<()> {
    let (huge, end) = (HUGE as u64, offset + bytes);
    let first = offset.next_multiple_of(huge).min(end);
    let last = (end / huge * huge).max(first);
    let fd = granule.handle as RawFd;
    let filled = small(fd, offset, first - offset)
        .and_then(
            |()| if last > first { populate(fd, first as i64, (last - first) as usize) } else { Ok(()) },
        )
        .and_then(|()| small(fd, last, end - last));
    filled.inspect_err(|_| {
        // Part of it may have pages by now; the error that matters is the first.
        let _ = discard(granule, offset, bytes);
    })
}

fn small(fd: RawFd, offset: u64, bytes: u64) -> Result<()> {
    // SAFETY: a plain system call on a descriptor that is alive.
    if bytes > 0 && unsafe { libc::fallocate(fd, 0, offset as i64, bytes as i64) } != 0 {
        return Err(failed("filling a part of a granule with pages", bytes));
    }
    Ok(())
}

/// Takes the pages out of a part.
pub(super) fn discard(granule: &Granule, offset: u64, bytes: u64) -> Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: a plain system call on a descriptor that the granule owns.
    match unsafe { libc::fallocate(granule.handle as RawFd, mode, offset as i64, bytes as i64) } {
        0 => Ok(()),
        _ => Err(failed("giving back a part of a granule", bytes)),
    }
}

/// A descriptor of memory of this size, sealed, without pages.
fn sealed(bytes: u64) -> Result<OwnedFd> {
    let fd = memfd()?;
    // SAFETY: plain system calls on a descriptor that is owned here.
    unsafe {
        if libc::ftruncate(fd.as_raw_fd(), bytes as i64) != 0 {
            return Err(failed("ftruncate of a granule", bytes));
        }
        // Without the seals a process that got the descriptor could make our reads fault.
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        if libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) != 0 {
            return Err(failed("sealing a granule", bytes));
        }
    }
    Ok(fd)
}

pub(super) fn close(granule: Granule) {
    // SAFETY: the granule owns its descriptor and is consumed.
    drop(unsafe { OwnedFd::from_raw_fd(granule.handle as RawFd) });
}

pub(super) fn export(granule: &Granule) -> Result<OwnedFd> {
    // SAFETY: duplicates a descriptor that the granule owns; the result is checked before it is owned.
    unsafe {
        let fd = libc::fcntl(granule.handle as RawFd, libc::F_DUPFD_CLOEXEC, 0);
        if fd < 0 {
            return Err(failed("duplicating the descriptor of a granule", granule.bytes));
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The granule behind a descriptor of another process (or of this one). It must be a `memfd` of this size that nobody can
/// shrink: reading a part that is gone would end the process.
pub(super) fn import(fd: BorrowedFd<'_>, bytes: u64) -> Result<Granule> {
    if bytes == 0 || !bytes.is_multiple_of(GRANULARITY) {
        return Err(Error::argument("bytes", format!("{bytes} is not a multiple of {GRANULARITY}")));
    }
    // SAFETY: plain system calls on a borrowed descriptor; the struct is on the stack.
    let (seals, size) = unsafe {
        let mut stat = std::mem::zeroed::<libc::stat>();
        if libc::fstat(fd.as_raw_fd(), &mut stat) != 0 {
            return Err(Error::io("looking at the descriptor of a granule", io::Error::last_os_error()));
        }
        (libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS), stat.st_size)
    };
    if seals < 0 || seals & libc::F_SEAL_SHRINK == 0 {
        return Err(Error::argument("fd", "is not memory that is sealed against shrinking")
            .advise("pass a descriptor of an exported partition of the CPU device"));
    }
    if size != bytes as i64 {
        return Err(Error::argument(
            "size",
            format!("is {bytes} bytes (whole granules), the memory has {size}"),
        ));
    }
    // SAFETY: duplicates a descriptor that is valid; the result is checked before it is owned.
    let own = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_FD) };
    if own < 0 {
        return Err(failed("duplicating the descriptor of a granule", bytes));
    }
    Ok(Granule { handle: own as u64, bytes })
}

fn failed(what: &str, bytes: u64) -> Error {
    let cause = io::Error::last_os_error();
    match cause.raw_os_error() {
        Some(libc::ENOMEM | libc::ENOSPC | libc::EFAULT) => out_of_memory(bytes, &format!("{what}: {cause}")),
        Some(libc::EMFILE | libc::ENFILE) => {
            Error::io(what, cause).advise("raise the limit of open files (ulimit -n); each granule needs one")
        }
        _ => Error::io(what, cause),
    }
    .with_call(format!("{what} (bytes={bytes})"))
}

fn memfd() -> Result<OwnedFd> {
    static RAISE: Once = Once::new();
    RAISE.call_once(raise_file_limit);
    // SAFETY: plain system calls; each descriptor is owned as soon as it exists.
    unsafe {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        let fd = libc::memfd_create(c"cogniware-granule".as_ptr(), flags);
        if fd < 0 {
            return Err(failed("memfd_create", GRANULARITY));
        }
        let low = OwnedFd::from_raw_fd(fd);
        let high = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, FIRST_FD);
        // A low hard limit leaves no room above: the low number works as well.
        Ok(if high < 0 { low } else { OwnedFd::from_raw_fd(high) })
    }
}

/// A granule needs a descriptor, and the usual soft limit of 1024 would be gone after 2 GiB of small granules.
fn raise_file_limit() {
    // SAFETY: reads and writes a struct on the stack.
    unsafe {
        let mut limit = std::mem::zeroed::<libc::rlimit>();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Pages for `size` bytes from `offset`, both multiples of the huge page.
fn populate(fd: RawFd, offset: i64, size: usize) -> Result<()> {
    // SAFETY: maps the descriptor at fresh addresses, advises inside of that mapping and unmaps it again.
    unsafe {
        // Room to align: only an aligned mapping can have huge pages.
        let room = libc::mmap(
            std::ptr::null_mut(),
            size + HUGE,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if room == libc::MAP_FAILED {
            return Err(failed("reserving addresses", size as u64));
        }
        let at = (room as usize).next_multiple_of(HUGE) as *mut libc::c_void;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let result = match libc::mmap(at, size, access, libc::MAP_SHARED | libc::MAP_FIXED, fd, offset) {
            libc::MAP_FAILED => Err(failed("mapping a granule", size as u64)),
            _ => pages(fd, offset, at.cast(), size),
        };
        libc::munmap(room, size + HUGE);
        result
    }
}

/// # Safety
/// `at` must be a shared, writable, 2 MiB-aligned mapping of `size` bytes of `fd` from `first`.
unsafe fn pages(fd: RawFd, first: i64, at: *mut u8, size: usize) -> Result<()> {
    for offset in (0..size).step_by(HUGE) {
        // SAFETY: inside the mapping.
        let part = unsafe { at.add(offset).cast::<libc::c_void>() };
        // One page must exist before its neighbourhood can collapse into a huge one.
        // SAFETY: inside the mapping; populating reports lack of memory as an error and raises no signal.
        unsafe {
            if libc::madvise(part, PAGE, MADV_POPULATE_WRITE) == 0
                && libc::madvise(part, HUGE, MADV_COLLAPSE) == 0
            {
                continue;
            }
            if libc::madvise(part, HUGE, MADV_POPULATE_WRITE) == 0 {
                continue;
            }
            // Kernels before 5.14 cannot populate by advice.
            if io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
                && libc::fallocate(fd, 0, first + offset as i64, HUGE as i64) == 0
            {
                continue;
            }
        }
        return Err(failed("filling a granule with pages", size as u64));
    }
    Ok(())
}
