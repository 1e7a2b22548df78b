//! The wire of a lease: one pair of connected sockets (`SOCK_SEQPACKET`) for each importer.
//!
//! The exporter sends an offer with the memory's descriptor as soon as the pair exists, so the importer never waits for
//! it; the importer answers once that it has mapped the memory; a second message of the exporter asks for it back. The
//! importer's end closed means that it has unmapped, also where it died: the system closes it then.

use crate::device::{Access, Device, DeviceKind};
use crate::{Error, Result, Status};
use sha2::{Digest, Sha256};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

const MAGIC: [u8; 8] = *b"cwlease1";
const MAPPED: [u8; 8] = *b"cwmapped";
const REVOKE: [u8; 8] = *b"cwrevoke";
/// Bytes of an offer.
const OFFER: usize = 64;

/// What an exporter offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    pub device: [u8; 32],
    pub bytes: u64,
    pub number: u64,
    pub access: Access,
}

impl Offer {
    pub(super) fn to_bytes(self) -> [u8; OFFER] {
        let mut all = [0; OFFER];
        all[..8].copy_from_slice(&MAGIC);
        all[8..40].copy_from_slice(&self.device);
        all[40..48].copy_from_slice(&self.bytes.to_le_bytes());
        all[48..56].copy_from_slice(&self.number.to_le_bytes());
        all[56] = u8::from(self.access == Access::ReadWrite);
        all
    }

    fn parse(all: &[u8]) -> Option<Offer> {
        let number = |at: usize| all[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        if all.len() != OFFER || all[..8] != MAGIC || all[57..].iter().any(|b| *b != 0) {
            return None;
        }
        let access = match all[56] {
            0 => Access::Read,
            1 => Access::ReadWrite,
            _ => return None,
        };
        Some(Offer { device: all[8..40].try_into().ok()?, bytes: number(40)?, number: number(48)?, access })
    }
}

/// Tells a device apart from all others of all machines: its kind, the machine's boot and, of a GPU, its place on the bus.
pub(super) fn identity(device: &dyn Device) -> Result<[u8; 32]> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_err(|e| Error::io("reading the machine's boot id", e))?;
    let place = match device.kind() {
        DeviceKind::Cpu => String::new(),
        DeviceKind::Cuda => device.info()?.pci_bus_id,
    };
    let text = format!("{}\n{}\n{}", device.kind(), boot.trim(), place.to_ascii_lowercase());
    Ok(Sha256::digest(text.as_bytes()).into())
}

/// Both ends of a new lease: the exporter's and the importer's.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: writes two descriptors, which are owned at once.
    unsafe {
        if libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) != 0 {
            return Err(Error::io("making the sockets of a lease", io::Error::last_os_error())
                .advise("raise the limit of open files (ulimit -n)"));
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

fn option(fd: BorrowedFd<'_>, name: i32) -> Option<i32> {
    let (mut value, mut size) = (0i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the value has the size that is said.
    let got = unsafe {
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut size)
    };
    (got == 0).then_some(value)
}

/// That a descriptor is one end of a lease's kind of pair.
pub(super) fn check_kind(fd: BorrowedFd<'_>) -> Result<()> {
    let right = option(fd, libc::SO_DOMAIN) == Some(libc::AF_UNIX)
        && option(fd, libc::SO_TYPE) == Some(libc::SOCK_SEQPACKET);
    if right {
        return Ok(());
    }
    Err(Error::argument("lease", "is not a lease of exported memory")
        .advise("pass the descriptor that the exporter's lease gave"))
}

/// Room for control messages with a few descriptors, aligned as they must be.
#[repr(align(8))]
struct Control([u8; 128]);

fn header(parts: &mut libc::iovec, control: &mut Control) -> libc::msghdr {
    // SAFETY: all zero is a valid header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message
}

/// Sends the offer with the memory's descriptor.
pub(super) fn offer(end: BorrowedFd<'_>, offer: Offer, memory: BorrowedFd<'_>) -> Result<()> {
    let mut bytes = offer.to_bytes();
    let mut parts = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: OFFER };
    let mut control = Control([0; 128]);
    let mut message = header(&mut parts, &mut control);
    let size = size_of::<RawFd>() as u32;
    // SAFETY: the header points at memory that outlives the call; there is room for one control message.
    let sent = unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        let first = libc::CMSG_FIRSTHDR(&message);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(first).cast::<RawFd>().write_unaligned(memory.as_raw_fd());
        libc::sendmsg(end.as_raw_fd(), &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    };
    if sent != OFFER as isize {
        return Err(Error::io("sending the offer of a lease", io::Error::last_os_error()));
    }
    Ok(())
}

/// Waits until `end` has something to read or is closed; false when `longest` passed first.
pub(super) fn wait(ends: &[RawFd], longest: Duration) -> Result<bool> {
    let begun = Instant::now();
    let mut all: Vec<_> =
        ends.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    loop {
        let left = longest.saturating_sub(begun.elapsed());
        // Rounded up, so that the last part of a millisecond is not spun away.
        let millis = i32::try_from(left.as_millis() + u128::from(!left.is_zero())).unwrap_or(i32::MAX);
        // SAFETY: as many entries as are said.
        match unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, millis) } {
            0 if begun.elapsed() >= longest => return Ok(false),
            0 => {}
            n if n > 0 => return Ok(true),
            _ => {
                let e = io::Error::last_os_error();
                if e.kind() != io::ErrorKind::Interrupted {
                    return Err(Error::io("waiting for the other end of a lease", e));
                }
            }
        }
    }
}

/// Receives the offer and the memory's descriptor, at most `longest` later.
pub(super) fn receive(end: BorrowedFd<'_>, longest: Duration) -> Result<(Offer, OwnedFd)> {
    if !wait(&[end.as_raw_fd()], longest)? {
        return Err(Error::new(
            Status::Timeout,
            format!("argument `lease`: no offer came within {} ms", longest.as_millis()),
        ));
    }
    // One byte more than an offer, so that a longer one shows.
    let mut bytes = [0u8; OFFER + 1];
    let mut parts = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = Control([0; 128]);
    let mut message = header(&mut parts, &mut control);
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points at memory that outlives the call and is as large as it says.
    let got = unsafe { libc::recvmsg(end.as_raw_fd(), &mut message, flags) };
    if got < 0 {
        return Err(Error::io("argument `lease`: receiving the offer", io::Error::last_os_error())
            .advise("pass the descriptor that the exporter's lease gave, while the exporter lives"));
    }
    let mut fds = descriptors(&message);
    if got == 0 && fds.is_empty() {
        return Err(Error::not_found("argument `lease`: the exporter has closed it")
            .advise("ask the exporter for another lease"));
    }
    let cut = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    match (Offer::parse(&bytes[..got as usize]), fds.pop()) {
        (Some(offer), Some(memory)) if fds.is_empty() && !cut => Ok((offer, memory)),
        _ => Err(Error::new(
            Status::Format,
            format!("argument `lease`: {got} bytes and {} descriptors are no offer of memory", fds.len()),
        )
        .advise("exporter and importer must be of the same version")),
    }
}

/// Takes the descriptors of a received message, so that none is leaked whatever it is.
fn descriptors(message: &libc::msghdr) -> Vec<OwnedFd> {
    let mut all = Vec::new();
    // SAFETY: walks the control messages as the system wrote them; each descriptor is new and ours.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(message);
        while !at.is_null() {
            if (*at).cmsg_level == libc::SOL_SOCKET && (*at).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*at).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for i in 0..bytes / size_of::<RawFd>() {
                    let fd = libc::CMSG_DATA(at).cast::<RawFd>().add(i).read_unaligned();
                    all.push(OwnedFd::from_raw_fd(fd));
                }
            }
            at = libc::CMSG_NXTHDR(message, at);
        }
    }
    all
}

fn say(end: BorrowedFd<'_>, word: &[u8; 8]) -> Result<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: reads eight bytes.
    let sent = unsafe { libc::send(end.as_raw_fd(), word.as_ptr().cast(), word.len(), flags) };
    if sent == word.len() as isize {
        return Ok(());
    }
    Err(Error::io("speaking to the other end of a lease", io::Error::last_os_error()))
}

/// The importer tells that it has mapped the memory.
pub(super) fn say_mapped(end: BorrowedFd<'_>) -> Result<()> {
    say(end, &MAPPED)
}

/// The exporter asks for the memory back.
pub(super) fn say_revoke(end: BorrowedFd<'_>) -> Result<()> {
    say(end, &REVOKE)
}

/// How the importer's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Nothing new.
    Silent,
    /// It has told that it has mapped.
    Mapped,
    /// It is closed.
    Gone,
}

/// Reads what the importer has said. Whatever else it says is thrown away, a few messages at a time.
pub(super) fn hear(end: BorrowedFd<'_>) -> Peer {
    let mut heard = Peer::Silent;
    for _ in 0..16 {
        let mut word = [0u8; 9];
        // SAFETY: writes at most nine bytes.
        let got = unsafe { libc::recv(end.as_raw_fd(), word.as_mut_ptr().cast(), 9, libc::MSG_DONTWAIT) };
        match got {
            0 => return Peer::Gone,
            8 if word[..8] == MAPPED => heard = Peer::Mapped,
            n if n > 0 => {}
            _ => match io::Error::last_os_error().raw_os_error() {
                // Closed with our offer unread.
                Some(libc::ECONNRESET | libc::EPIPE | libc::ENOTCONN) => return Peer::Gone,
                Some(libc::EINTR) => {}
                _ => return heard,
            },
        }
    }
    heard
}

/// Whether the exporter has said anything since its offer, or is gone. Leaves the word where it is.
pub(super) fn is_asked_back(end: BorrowedFd<'_>) -> bool {
    let mut word = [0u8; 8];
    let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
    // SAFETY: writes at most eight bytes.
    let got = unsafe { libc::recv(end.as_raw_fd(), word.as_mut_ptr().cast(), 8, flags) };
    if got >= 0 {
        return true;
    }
    !matches!(io::Error::last_os_error().raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}
