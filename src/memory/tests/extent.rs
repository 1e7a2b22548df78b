//! Extents: one piece of its own each, among the pool's.

use super::dirty::{all_zero, dirty, is_clean, space_on};
use super::{Dice, GRANULE, MIB, space};
use crate::Status;
use crate::device::{Access, Device};
use crate::memory::Extent;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

#[test]
fn extents_and_the_pool_share_a_range() {
    let space = space("extents", 256 * MIB);
    let mut dice = Dice(77);
    let (mut extents, mut blocks) = (Vec::new(), Vec::new());
    for _ in 0..400 {
        match dice.next(4) {
            0 => {
                let extent = Extent::new(&space, 1 + dice.next(5 * MIB), "extent").unwrap();
                assert!(extent.ptr().is_multiple_of(GRANULE) && extent.bytes().is_multiple_of(GRANULE));
                assert!(
                    extent.ptr() >= space.base() && space.check("p", extent.ptr(), extent.bytes()).is_ok()
                );
                assert!(space.check("p", extent.ptr(), extent.bytes() + 1).is_err());
                space.device().write(extent.ptr(), &[extents.len() as u8 | 1; 64]).unwrap();
                extents.push(extent);
            }
            1 if !extents.is_empty() => {
                let extent = extents.swap_remove(dice.next(extents.len() as u64) as usize);
                let ptr = extent.ptr();
                assert_eq!(space.free(ptr).unwrap_err().status(), Status::InvalidArgument);
                drop(extent);
                assert!(space.find(ptr).is_none());
            }
            2 if blocks.len() > 3 => {
                space.free(blocks.swap_remove(dice.next(blocks.len() as u64) as usize)).unwrap()
            }
            _ if extents.len() < 20 => blocks.push(space.alloc(1 + dice.next(3 * MIB), 1, "block").unwrap()),
            _ => extents.truncate(5),
        }
        space.heap.lock().verify();
        let held: u64 = space.leaks().iter().map(|a| a.bytes.next_multiple_of(256)).sum();
        assert_eq!(held, space.usage().held);
    }
    extents.clear();
    blocks.into_iter().for_each(|p| space.free(p).unwrap());
    assert_eq!(space.usage().held, 0);
    space.trim_all();
    assert_eq!(space.usage().physical, 0);
}

#[test]
fn access_changes_and_exports_keep_the_content() {
    let device = dirty(110);
    {
        let space = space_on(&device, 64 * MIB);
        let extent = Extent::new(&space, 3 * MIB, "e").unwrap();
        assert!(all_zero(&device, extent.ptr(), 4 * MIB));
        device.write(extent.ptr(), &[7; 10]).unwrap();
        extent.set_access(Access::Read).unwrap();
        assert!(device.write(extent.ptr(), &[8; 10]).is_err());
        let mut back = [0; 10];
        device.read(&mut back, extent.ptr()).unwrap();
        assert_eq!(back, [7; 10]);
        assert!(
            Extent::import(&space, extent.export().unwrap().as_fd(), 4 * MIB, "i").is_err(),
            "not on this device"
        );
        assert_eq!(space.usage().held, 4 * MIB);
    }
    is_clean(&device);
}

/// Every call of each kind fails once, at each place.
#[test]
fn a_failing_device_leaves_nothing_of_an_extent() {
    let device = dirty(111);
    for (n, counter) in [&device.creates, &device.maps, &device.fills, &device.waits].into_iter().enumerate()
    {
        for at in 0..6 {
            let space = space_on(&device, 64 * MIB);
            let account = space.account.clone();
            counter.store(at, Ordering::SeqCst);
            for _ in 0..3 {
                if let Ok(extent) = Extent::new(&space, 3 * MIB, "e") {
                    let _ = extent.set_access(Access::Read);
                    assert_eq!(account.held(), 4 * MIB);
                }
                assert_eq!((account.held(), space.usage().allocations), (0, 0), "counter {n} at {at}");
            }
            counter.store(i64::MIN, Ordering::SeqCst);
            drop(space);
            let physical = account.ledger().physical();
            assert_eq!((account.held(), account.footprint(), physical), (0, 0, 0), "counter {n} at {at}");
            is_clean(&device);
        }
    }
}
