//! Memory of arrays that other processes map: an anonymous file, sealed against shrinking and growing.

use crate::device::{Device, DeviceKind, HostMemory};
use crate::memory::Hosted;
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// A shared mapping with its file. The descriptor stays open, since it is the array's name.
pub(super) struct Shared {
    // Before the file: on a GPU it is registered.
    memory: Hosted,
    file: OwnedFd,
}

impl Shared {
    /// A new file of `bytes` zeros, charged to the tenant.
    pub(super) fn create(tenant: &Tenant, bytes: u64) -> Result<Shared> {
        // Charged before the system is asked for memory.
        Shared::of(tenant, bytes, "shared array", || file(bytes))
    }

    /// The array of another process: `name` is what [`Shared::name`] said there, or the number of a descriptor that
    /// this process got from it. With its size in bytes.
    pub(super) fn open(tenant: &Tenant, name: &str) -> Result<(Shared, u64)> {
        let file = match name.parse::<RawFd>() {
            Ok(number) => duplicate(number)?,
            Err(_) => by_path(name)?,
        };
        let bytes = size(&file)?;
        Ok((Shared::of(tenant, bytes, "opened shared array", || Ok(file))?, bytes))
    }

    fn of(tenant: &Tenant, bytes: u64, tag: &str, file: impl FnOnce() -> Result<OwnedFd>) -> Result<Shared> {
        let mut kept = None;
        let memory = Hosted::new(tenant.space(), bytes, tag, || {
            let file = kept.insert(file()?);
            let mapped = Mapped::new(file, bytes)?;
            Ok(match tenant.device().kind() {
                DeviceKind::Cpu => Box::new(mapped) as Box<dyn HostMemory>,
                DeviceKind::Cuda => Box::new(Pinned::new(mapped, tenant.device())?),
            })
        })?;
        let file = kept.ok_or_else(|| Error::new(Status::Internal, "a shared array without a file"))?;
        Ok(Shared { memory, file })
    }

    pub(super) fn address(&self) -> u64 {
        self.memory.ptr()
    }

    /// A path by which a process of the same user opens the array while this one has it.
    pub(super) fn name(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// A descriptor of its own, to be passed on (over a socket, or by inheritance).
    pub(super) fn descriptor(&self) -> Result<OwnedFd> {
        duplicate(self.file.as_raw_fd())
    }
}

/// A file mapped for reading and writing.
struct Mapped {
    address: u64,
    bytes: usize,
}

impl Mapped {
    fn new(file: &OwnedFd, bytes: u64) -> Result<Mapped> {
        let bytes = usize::try_from(bytes).map_err(|_| Error::argument("size", "is too large"))?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: new addresses; the file has this size and can never have less.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(Error::io("mapping a shared array", io::Error::last_os_error()));
        }
        Ok(Mapped { address: at as u64, bytes })
    }
}

impl HostMemory for Mapped {
    fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `new` made.
        unsafe { libc::munmap(self.address as *mut _, self.bytes) };
    }
}

/// A mapping that the GPU addresses too.
struct Pinned {
    // Before the mapping that it pins.
    _registered: Box<dyn HostMemory>,
    mapped: Mapped,
}

impl Pinned {
    fn new(mapped: Mapped, device: &Arc<dyn Device>) -> Result<Pinned> {
        // The driver pins whole pages; the mapping has them.
        let bytes = (mapped.bytes as u64).next_multiple_of(4096);
        // SAFETY: the mapping is dropped after the registration.
        let registered = unsafe { device.host_register(mapped.address, bytes)? };
        Ok(Pinned { _registered: registered, mapped })
    }
}

impl HostMemory for Pinned {
    fn address(&self) -> u64 {
        self.mapped.address
    }
}

fn file(bytes: u64) -> Result<OwnedFd> {
    let size = i64::try_from(bytes).map_err(|_| Error::argument("size", "is too large"))?;
    let failed = |what: &str| {
        let cause = io::Error::last_os_error();
        match cause.raw_os_error() {
            Some(libc::ENOMEM | libc::ENOSPC) => Error::new(
                Status::OutOfMemory,
                format!("the host has no {bytes} bytes left: {what}: {cause}"),
            ),
            _ => Error::io(what, cause),
        }
    };
    // SAFETY: plain system calls; the descriptor is owned as soon as it exists.
    unsafe {
        let fd = libc::memfd_create(c"cogniware-array".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        if fd < 0 {
            return Err(failed("memfd_create"));
        }
        let file = OwnedFd::from_raw_fd(fd);
        // Pages now, so that running out of memory is an error here and not a signal later.
        if libc::ftruncate(fd, size) != 0 || libc::fallocate(fd, 0, 0, size) != 0 {
            return Err(failed("giving a shared array its memory"));
        }
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        if libc::fcntl(fd, libc::F_ADD_SEALS, seals) != 0 {
            return Err(failed("sealing a shared array"));
        }
        Ok(file)
    }
}

fn duplicate(number: RawFd) -> Result<OwnedFd> {
    // SAFETY: the result is checked before it is owned.
    unsafe {
        let fd = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3);
        if fd < 0 {
            let cause = io::Error::last_os_error();
            return Err(Error::argument("name", format!("{number} is no open descriptor: {cause}")));
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

fn by_path(name: &str) -> Result<OwnedFd> {
    if !name.starts_with('/') {
        return Err(Error::argument("name", format!("{name:?} is neither a descriptor's number nor a path"))
            .advise("pass what the name of the shared array is in the process that has it"));
    }
    let path = CString::new(name).map_err(|_| Error::argument("name", "holds a zero byte"))?;
    // SAFETY: the path outlives the call; the result is checked before it is owned.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | libc::O_NONBLOCK);
        if fd < 0 {
            let cause = io::Error::last_os_error();
            return Err(Error::new(Status::NotFound, format!("argument `name`: opening {name:?}: {cause}"))
                .advise("the process that made the array must still have it, and be of the same user"));
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Bytes of a file that is a shared array.
fn size(file: &OwnedFd) -> Result<u64> {
    let fd = file.as_raw_fd();
    // SAFETY: plain system calls on our descriptor; the struct is on the stack.
    let (seals, size) = unsafe {
        let mut stat = std::mem::zeroed::<libc::stat>();
        // The seals first: a size that was read before them could have changed until then.
        let seals = libc::fcntl(fd, libc::F_GET_SEALS);
        if libc::fstat(fd, &mut stat) != 0 {
            return Err(Error::io("looking at a shared array", io::Error::last_os_error()));
        }
        (seals, stat.st_size)
    };
    let fixed = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
    if seals < 0 || seals & fixed != fixed || size <= 0 || size % 4 != 0 {
        return Err(Error::argument(
            "name",
            "is no shared array: not memory of whole f32 sealed in its size",
        ));
    }
    Ok(size as u64)
}
