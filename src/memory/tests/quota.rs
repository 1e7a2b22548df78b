use super::*;
use crate::Status;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[test]
fn a_refusal_says_wanted_held_and_limit() {
    let space = space("alpha", MIB);
    space.alloc(MIB - 512, 1, "most").unwrap();
    let e = space.alloc(513, 1, "scratch").unwrap_err();
    assert_eq!(e.status(), Status::QuotaExceeded);
    for part in ["\"alpha\"", "513", "1048064", "1048576", "\"scratch\""] {
        assert!(e.message().contains(part), "{e}");
    }
    assert_eq!(space.usage().rejections, 1);
    space.alloc(512, 1, "scratch").unwrap();
    assert_eq!(space.usage().held, MIB);
    assert_eq!(space.usage().peak, MIB);
}

#[test]
fn eight_threads_race_a_million_allocations_without_a_byte_too_much() {
    const THREADS: u64 = 8;
    const EACH: u64 = 125_000;
    let limit = 3 * MIB + 256;
    let space = space("race", limit);
    let (stop, over, refused) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut samples = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let held = space.account.held();
                over.fetch_max(held.saturating_sub(limit), Ordering::Relaxed);
                let physical = space.account.footprint();
                over.fetch_max(physical.saturating_sub(limit.next_multiple_of(GRANULE)), Ordering::Relaxed);
                samples += 1;
            }
            samples
        });
        let racers: Vec<_> = (0..THREADS)
            .map(|t| {
                let (space, refused, over) = (&space, &refused, &over);
                scope.spawn(move || {
                    let mut dice = Dice(t + 1);
                    let mut mine = Vec::new();
                    for _ in 0..EACH {
                        match space.alloc(1 + dice.next(16_000), 1, "r") {
                            Ok(ptr) => mine.push(ptr),
                            Err(e) => {
                                assert_eq!(e.status(), Status::QuotaExceeded, "{e}");
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        // The watcher may be starved on a busy machine, so everybody looks.
                        over.fetch_max(space.account.held().saturating_sub(limit), Ordering::Relaxed);
                        // Mostly full, so that the limit is what they race for.
                        if mine.len() > 24 + dice.next(30) as usize {
                            let at = dice.next(mine.len() as u64) as usize;
                            space.free(mine.swap_remove(at)).unwrap();
                        }
                    }
                    mine
                })
            })
            .collect();
        let left: Vec<_> = racers.into_iter().flat_map(|r| r.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(watch.join().unwrap() > 0);
        let usage = space.usage();
        assert_eq!(over.load(Ordering::Relaxed), 0);
        assert!(usage.peak <= limit && usage.held <= limit);
        assert_eq!(usage.allocations, left.len() as u64);
        assert!(refused.load(Ordering::Relaxed) > 0, "nobody met the limit");
        assert_eq!(usage.rejections, refused.load(Ordering::Relaxed));
        for ptr in left {
            space.free(ptr).unwrap();
        }
        assert_eq!(space.usage().held, 0);
    });
}

#[test]
fn a_limit_moves_exactly_while_others_charge() {
    let account = account("moving", 64 * 1024);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let charge = account.charge(7 * 256, "c");
                    std::hint::spin_loop();
                    drop(charge);
                }
            });
        }
        for n in 0..20_000u64 {
            let limit = 256 * (1 + n % 40);
            match account.set_limit(limit) {
                Ok(()) => assert!(account.held() <= limit),
                Err(e) => assert_eq!(e.status(), Status::Busy),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(account.held(), 0);
}

#[test]
fn charges_are_rounded_and_refunded() {
    let account = account("charged", 1000);
    let charge = account.charge(1, "host").unwrap();
    assert_eq!((charge.bytes(), account.held()), (256, 256));
    // A limit of 1000 bytes has room for three units.
    assert!(account.charge(513, "host").is_err());
    let rest = account.charge(512, "host").unwrap();
    assert_eq!(account.set_limit(700).unwrap_err().status(), Status::Busy);
    drop(charge);
    account.set_limit(700).unwrap();
    assert_eq!((account.limit(), account.held(), account.peak()), (700, 512, 768));
    drop(rest);
    assert_eq!(account.held(), 0);
}

#[test]
fn floors_are_kept_for_their_tenants() {
    let ledger = Arc::new(Ledger::with_capacity(16 * MIB, GRANULE));
    let a = ledger.open("a", 16 * MIB, 0).unwrap();
    let b = ledger.open("b", 12 * MIB, 8 * MIB).unwrap();
    assert_eq!(ledger.open("c", 12 * MIB, 9 * MIB).err().unwrap().status(), Status::OutOfMemory);
    assert!(ledger.open("d", 4 * MIB, 5 * MIB).is_err());
    assert_eq!((ledger.floors(), ledger.limits()), (8 * MIB, 28 * MIB));
    let (sa, sb) = (Space::new(device(), a).unwrap(), Space::new(device(), b.clone()).unwrap());
    let held = sa.alloc(8 * MIB, 1, "mine").unwrap();
    let e = sa.alloc(MIB, 1, "more").unwrap_err();
    assert_eq!(e.status(), Status::OutOfMemory);
    assert!(e.message().contains("set aside"), "{e}");
    assert_eq!(sa.usage().held, 8 * MIB);
    let theirs = sb.alloc(8 * MIB, 1, "floor").unwrap();
    sb.free(theirs).unwrap();
    // What b keeps idle counts as its own until somebody needs it.
    sa.free(held).unwrap();
    sa.alloc(8 * MIB, 1, "again").unwrap();
    drop(sb);
    drop(b);
    assert_eq!(ledger.floors(), 0);
    sa.alloc(8 * MIB, 1, "rest").unwrap();
}

#[test]
fn limits_out_of_range_are_refused() {
    let ledger = Ledger::of(&device());
    assert!(ledger.capacity() > 0);
    for limit in [0, 255, u64::MAX] {
        assert_eq!(ledger.open("x", limit, 0).err().unwrap().status(), Status::InvalidArgument);
    }
    assert!(Arc::ptr_eq(&ledger, &Ledger::of(&device())));
}
