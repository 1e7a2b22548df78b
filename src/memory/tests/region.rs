use super::super::SpacePolicy;
use super::*;
use crate::Status;

#[test]
fn it_grows_and_shrinks_under_a_fixed_address() {
    let space = space("kv", 64 * MIB);
    let region = space.region(100 * MIB, "cache").unwrap();
    let device = device();
    assert_eq!((region.mapped(), space.usage().held), (0, 0));
    let base = region.base();
    for (want, mapped) in [(1, 2), (2 * MIB, 2), (2 * MIB + 1, 4), (7 * MIB, 8), (3 * MIB, 8), (40 * MIB, 40)]
    {
        let before = region.mapped();
        region.grow(want).unwrap();
        assert_eq!((region.base(), region.mapped()), (base, mapped * MIB));
        let mut fresh = vec![1u8; (region.mapped() - before) as usize];
        device.read(&mut fresh, base + before).unwrap();
        assert!(fresh.iter().all(|b| *b == 0));
        device.write(base + region.mapped() - 1, &[mapped as u8]).unwrap();
    }
    let usage = space.usage();
    assert_eq!((usage.held, usage.regions, usage.physical), (40 * MIB, 40 * MIB, 40 * MIB));
    region.shrink(7 * MIB).unwrap();
    assert_eq!(region.mapped(), 8 * MIB);
    let mut last = [0];
    device.read(&mut last, base + 4 * MIB - 1).unwrap();
    assert_eq!(last, [4], "what stays keeps its content");
    assert_eq!(space.usage().held, 8 * MIB);
    assert_eq!(space.leaks()[0].tag, "cache");
    drop(region);
    let usage = space.usage();
    assert_eq!((usage.held, usage.regions, usage.physical), (0, 0, 0));
    assert!(space.leaks().is_empty());
}

#[test]
fn growing_beyond_the_limit_changes_nothing() {
    let space = space("kv", 10 * MIB);
    let region = space.region(64 * MIB, "cache").unwrap();
    let ptr = space.alloc(3 * MIB, 1, "w").unwrap();
    region.grow(4 * MIB).unwrap();
    let before = space.usage();
    let e = region.grow(8 * MIB).unwrap_err();
    assert_eq!(e.status(), Status::QuotaExceeded);
    assert_eq!(region.grow(65 * MIB).unwrap_err().status(), Status::InvalidArgument);
    assert_eq!(region.mapped(), 4 * MIB);
    assert_eq!(space.usage().held, before.held);
    assert_eq!(space.usage().physical, before.physical);
    // The pool gives its idle granules to the region.
    space.free(ptr).unwrap();
    region.grow(10 * MIB).unwrap();
    assert_eq!(space.usage().physical, 10 * MIB);
}

#[test]
fn scattered_memory_is_told_from_a_full_quota() {
    let space = space("holes", 8 * MIB);
    let strict = SpacePolicy { before_refusal: false, ..SpacePolicy::default() };
    space.set_policy(strict).unwrap();
    // A live byte in each granule, nearly nothing held.
    let all: Vec<_> = (0..8 * MIB / 1024).map(|_| space.alloc(1024, 1, "x").unwrap()).collect();
    for (n, ptr) in all.iter().enumerate() {
        if n % 2048 != 5 {
            space.free(*ptr).unwrap();
        }
    }
    assert_eq!(space.usage().held, 4 * 1024);
    let region = space.region(8 * MIB, "r").unwrap();
    let e = region.grow(2 * MIB).unwrap_err();
    assert!(e.status() == Status::QuotaExceeded && e.message().contains("scattered"), "{e}");
    assert_eq!((space.usage().held, space.usage().physical), (4 * 1024, 8 * MIB));
    let e = space.alloc(3 * MIB, 1, "large").unwrap_err();
    assert!(e.message().contains("scattered"), "{e}");
    assert_eq!(space.usage().held, 4 * 1024);
    // Nearly a granule still fits between two of them.
    let fits = space.alloc(2 * MIB - 1024, 1, "fits").unwrap();
    // With compaction there is room.
    space.free(fits).unwrap();
    space.set_policy(SpacePolicy::default()).unwrap();
    region.grow(2 * MIB).unwrap();
    space.alloc(3 * MIB, 1, "large").unwrap();
    assert_eq!(space.compaction_figures().before_refusal, 1);
}
