use super::super::owner_of;
use super::*;
use crate::Status;

#[test]
fn each_wrong_pointer_is_told_apart() {
    let (mine, theirs) = (space("mine", 32 * MIB), space("theirs", 32 * MIB));
    let ptr = mine.alloc(4096, 1, "weights").unwrap();
    let other = theirs.alloc(4096, 1, "cache").unwrap();
    let freed = mine.alloc(4096, 1, "old").unwrap();
    let keep = mine.alloc(4096, 1, "keep").unwrap();
    mine.free(freed).unwrap();
    let region = mine.region(8 * MIB, "kv").unwrap();
    region.grow(1).unwrap();
    let host = [0u8; 8];

    let told = |ptr, status, part: &str| {
        let held = mine.usage().held;
        let e = mine.free(ptr).unwrap_err();
        assert_eq!(e.status(), status, "{e}");
        assert!(e.message().contains("`ptr`") && e.message().contains(part), "{part}: {e}");
        assert_eq!(mine.usage().held, held);
    };
    told(0, Status::InvalidArgument, "null");
    told(ptr + 256, Status::InvalidArgument, "256 bytes inside of the allocation");
    told(ptr + 1, Status::InvalidArgument, "\"weights\"");
    told(freed, Status::InvalidArgument, "freed already");
    told(keep + 8192, Status::InvalidArgument, "not allocated");
    told(mine.base + mine.bytes - 256, Status::InvalidArgument, "not allocated");
    told(other, Status::NotOwner, "tenant \"theirs\"");
    told(host.as_ptr() as u64, Status::NotOwner, "foreign");
    told(u64::MAX, Status::NotOwner, "foreign");
    told(region.base(), Status::InvalidArgument, "region \"kv\"");

    let wrong = mine.check("src", other, 1).unwrap_err();
    assert!(wrong.status() == Status::NotOwner && wrong.message().contains("`src`"), "{wrong}");
    assert_eq!(mine.check("src", freed, 1).unwrap_err().status(), Status::InvalidArgument);
    mine.check("src", region.base() + GRANULE - 8, 8).unwrap();
    assert!(mine.check("src", region.base() + GRANULE - 8, 9).is_err());
    assert!(mine.check("src", region.base() + GRANULE, 1).is_err());
}

#[test]
fn any_address_leads_to_its_tenant() {
    let (a, b) = (space("a", 32 * MIB), space("b", 32 * MIB));
    let (pa, pb) = (a.alloc(100, 1, "pa").unwrap(), b.alloc(100, 1, "pb").unwrap());
    let region = b.region(8 * MIB, "kv").unwrap();
    assert!(owner_of(region.base()).is_none());
    region.grow(1).unwrap();
    for (address, tenant, tag) in [(pa + 99, "a", "pa"), (pb, "b", "pb"), (region.base() + 5, "b", "kv")] {
        let (device, name, allocation) = owner_of(address).unwrap();
        assert_eq!((name.as_str(), allocation.tag.as_str()), (tenant, tag));
        assert_eq!(device.kind(), crate::device::DeviceKind::Cpu);
    }
    a.free(pa).unwrap();
    assert!(owner_of(pa).is_none());
    let base = region.base();
    drop(region);
    assert!(owner_of(base).is_none());
    drop(b);
    assert!(owner_of(pb).is_none());
    assert!(owner_of(&base as *const _ as u64).is_none());
}
