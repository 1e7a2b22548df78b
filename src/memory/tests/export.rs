//! Memory that others map too, within one process; between two it is shown by `tests/leases.rs`.

use super::*;
use crate::Status;
use crate::device::Access;
use crate::memory::{Export, Import};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(5);

#[test]
fn leases_are_counted_until_importers_have_unmapped() {
    let (from, to) = (space("from", 64 * MIB), space("to", 64 * MIB));
    let ptr = from.alloc_exportable(3 * MIB, "exported").unwrap();
    assert_eq!(from.usage().held, 4 * MIB);
    let export = Export::new(&from, ptr).unwrap();
    from.device().write(ptr, &[5; 100]).unwrap();
    let lease = export.lease(Access::ReadWrite).unwrap();
    assert_eq!(export.leases().len(), 1);
    assert!(!export.leases()[0].mapped);
    let import = Import::new(&to, lease, "imported", SOON).unwrap();
    assert!(export.leases()[0].mapped);
    assert_eq!((import.bytes(), to.account().imported(), to.usage().held), (4 * MIB, 4 * MIB, 0));
    let mut content = [0; 100];
    to.device().read(&mut content, import.ptr()).unwrap();
    assert_eq!(content, [5; 100]);
    to.device().write(import.ptr(), &[6; 100]).unwrap();
    from.device().read(&mut content, ptr).unwrap();
    assert_eq!(content, [6; 100]);
    let e = from.free(ptr).unwrap_err();
    assert_eq!(e.status(), Status::Busy);
    assert!(e.message().contains("1 leases"), "{e}");
    assert!(!import.is_revoked());
    assert_eq!(export.revoke(), 1);
    assert!(import.is_revoked() && import.wait_revoked(SOON).unwrap());
    assert_eq!(export.wait(Duration::from_millis(20)).unwrap_err().status(), Status::Timeout);
    assert_eq!(export.lease(Access::Read).unwrap_err().status(), Status::Cancelled);
    drop(import);
    export.wait(SOON).unwrap();
    assert_eq!(to.account().imported(), 0);
    from.free(ptr).unwrap();
    assert_eq!(from.usage().held, 0);
    assert_eq!(export.lease(Access::Read).unwrap_err().status(), Status::NotFound);
    assert!(from.free(ptr).is_err());
}

#[test]
fn ordinary_allocations_are_not_exported() {
    let space = space("ordinary", 64 * MIB);
    let ptr = space.alloc(4 * MIB, 1, "x").unwrap();
    let e = Export::new(&space, ptr).err().unwrap();
    assert_eq!(e.status(), Status::Unsupported);
    assert_eq!(Export::new(&space, 0).err().unwrap().status(), Status::InvalidArgument);
    assert_eq!(space.alloc_exportable(0, "x").unwrap_err().status(), Status::InvalidArgument);
    assert_eq!(space.alloc_exportable(1 << 63, "x").unwrap_err().status(), Status::QuotaExceeded);
}

/// One end of a pair of this kind into which `bytes` and descriptors were written.
fn said(kind: i32, bytes: &[u8], fds: &[i32]) -> (OwnedFd, OwnedFd) {
    let mut ends = [-1; 2];
    // SAFETY: plain system calls on memory of this frame.
    unsafe {
        assert_eq!(libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()), 0);
        let mut parts = libc::iovec { iov_base: bytes.as_ptr() as *mut _, iov_len: bytes.len() };
        let mut control = [0u64; 64];
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut parts, 1);
        if !fds.is_empty() {
            let size = size_of_val(fds) as u32;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let first = libc::CMSG_FIRSTHDR(&message);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(size) as _;
            std::ptr::copy_nonoverlapping(fds.as_ptr(), libc::CMSG_DATA(first).cast(), fds.len());
        }
        if !bytes.is_empty() {
            assert_eq!(libc::sendmsg(ends[0], &message, 0), bytes.len() as isize);
        }
        (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
    }
}

fn refused(space: &Arc<Space>, lease: OwnedFd) -> Status {
    let begun = std::time::Instant::now();
    let refused = Import::new(space, lease, "hostile", Duration::from_millis(50)).err().unwrap();
    assert!(begun.elapsed() < SOON, "it hung");
    assert_eq!((space.usage().allocations, space.account().imported()), (0, 0));
    refused.status()
}

#[test]
fn hostile_exporters_are_refused_without_a_hang() {
    use crate::memory::lease::{Offer, identity};
    let space = space("importer", 64 * MIB);
    let seq = libc::SOCK_SEQPACKET;
    let device = identity(&**space.device()).unwrap();
    let good = Offer { device, bytes: GRANULE, number: 1, access: Access::Read };
    let granule = space.device().granule_create(GRANULE).unwrap();
    let memory = space.device().granule_export(&granule).unwrap();
    let fd = memory.as_raw_fd();
    // No socket, another kind of socket, no offer, a closed end.
    assert_eq!(refused(&space, std::fs::File::open("/dev/null").unwrap().into()), Status::InvalidArgument);
    assert_eq!(refused(&space, said(libc::SOCK_STREAM, b"x", &[]).1), Status::InvalidArgument);
    let (keep, end) = said(seq, b"", &[]);
    assert_eq!(refused(&space, end), Status::Timeout);
    drop(keep);
    let (keep, end) = said(seq, b"", &[]);
    drop(keep);
    assert_eq!(refused(&space, end), Status::NotFound);
    // Garbage: too short, too long, wrong words, no descriptor, several.
    let bytes = good.to_bytes();
    for (content, fds) in [
        (&bytes[..10], vec![fd]),
        (&[&bytes[..], &[0; 9]].concat()[..], vec![fd]),
        (&[0xFF; 64][..], vec![fd]),
        (&bytes[..], vec![]),
        (&bytes[..], vec![fd, fd]),
        (&bytes[..], vec![fd; 40]),
    ] {
        let (_keep, end) = said(seq, content, &fds);
        assert_eq!(refused(&space, end), Status::Format);
    }
    // Sizes that lie, another device, memory that can shrink, no memory at all.
    // SAFETY: a new descriptor, owned at once.
    let soft = unsafe { OwnedFd::from_raw_fd(libc::memfd_create(c"soft".as_ptr(), libc::MFD_ALLOW_SEALING)) };
    std::fs::File::from(soft.try_clone().unwrap()).set_len(GRANULE).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    for (offer, fd) in [
        (Offer { bytes: 0, ..good }, fd),
        (Offer { bytes: GRANULE + 1, ..good }, fd),
        (Offer { bytes: 2 * GRANULE, ..good }, fd),
        (Offer { bytes: 1 << 63, ..good }, fd),
        (Offer { bytes: u64::MAX / GRANULE * GRANULE, ..good }, fd),
        (Offer { device: [7; 32], ..good }, fd),
        (good, soft.as_raw_fd()),
        (good, null.as_raw_fd()),
    ] {
        let (_keep, end) = said(seq, &offer.to_bytes(), &[fd]);
        assert_eq!(refused(&space, end), Status::InvalidArgument, "{offer:?}");
    }
    // What is right is taken, for reading, and the exporter's end may go at any time.
    let (keep, end) = said(seq, &bytes, &[fd]);
    let import = Import::new(&space, end, "good", SOON).unwrap();
    assert!(space.device().write(import.ptr(), &[1]).is_err(), "for reading");
    assert!(!import.is_revoked());
    drop(keep);
    assert!(import.is_revoked());
    drop(import);
    space.device().granule_release(granule);
}

#[test]
fn hostile_importers_neither_hang_nor_confuse_the_exporter() {
    let space = space("exporter", 64 * MIB);
    let ptr = space.alloc_exportable(GRANULE, "x").unwrap();
    let export = Export::new(&space, ptr).unwrap();
    // Thrown away unread, floods of nonsense, ends that are shut.
    drop(export.lease(Access::Read).unwrap());
    assert_eq!(export.leases().len(), 0);
    let noisy = export.lease(Access::Read).unwrap();
    for _ in 0..100 {
        // SAFETY: writes bytes of this frame.
        unsafe { libc::send(noisy.as_raw_fd(), [9u8; 300].as_ptr().cast(), 300, libc::MSG_DONTWAIT) };
    }
    assert_eq!(export.leases().len(), 1);
    assert!(!export.leases()[0].mapped);
    assert_eq!(space.leases_out(ptr), Some(1));
    let deaf = export.lease(Access::ReadWrite).unwrap();
    assert_eq!(export.revoke(), 2);
    assert_eq!(export.revoke(), 2);
    assert_eq!(export.wait(Duration::from_millis(300)).unwrap_err().status(), Status::Timeout);
    drop((noisy, deaf));
    export.wait(SOON).unwrap();
    space.free(ptr).unwrap();
    assert_eq!(space.leases_out(ptr), None);
}

#[test]
fn a_revocation_is_told() {
    let (from, to) = (space("from", 64 * MIB), space("to", 64 * MIB));
    let ptr = from.alloc_exportable(GRANULE, "x").unwrap();
    let export = Export::new(&from, ptr).unwrap();
    let mut import = Import::new(&to, export.lease(Access::Read).unwrap(), "i", SOON).unwrap();
    let (told, hears) = std::sync::mpsc::channel();
    import.on_revoke(Box::new(move || told.send(()).unwrap())).unwrap();
    assert_eq!(import.on_revoke(Box::new(|| ())).unwrap_err().status(), Status::AlreadyExists);
    assert!(hears.try_recv().is_err());
    export.revoke();
    hears.recv_timeout(SOON).unwrap();
    drop(import);
    export.wait(SOON).unwrap();
    // One that is dropped untold.
    let ptr = from.alloc_exportable(GRANULE, "y").unwrap();
    let export = Export::new(&from, ptr).unwrap();
    let mut import = Import::new(&to, export.lease(Access::Read).unwrap(), "i", SOON).unwrap();
    import.on_revoke(Box::new(|| panic!("nobody asked"))).unwrap();
    drop(import);
    export.wait(SOON).unwrap();
}
