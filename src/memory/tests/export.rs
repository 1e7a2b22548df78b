//! Memory that others map too, within one process; between two it is shown by `tests/leases.rs`.

use super::*;
use crate::Status;
use crate::device::Access;
use crate::memory::{Export, Import};
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
