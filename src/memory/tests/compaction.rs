//! Compaction by its two ways: giving parts of pieces back (the CPU device), and moving what is live (a wrapper that
//! gives and takes whole granules, as a GPU does).

use super::super::{PageState, SpacePolicy};
use super::dirty::{Dirty, dirty, is_clean, space_on};
use super::*;
use crate::Status;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// What the kernel says that granules hold, in bytes.
fn resident(space: &Space) -> u64 {
    let maps = space.maps.lock();
    let blocks = maps.pieces.values().map(|piece| {
        // SAFETY: asks about a descriptor that the piece owns; the struct is on the stack.
        unsafe {
            let mut stat = std::mem::zeroed::<libc::stat>();
            assert_eq!(libc::fstat(piece.granule.handle as i32, &mut stat), 0);
            stat.st_blocks as u64 * 512
        }
    });
    blocks.sum()
}

fn put(space: &Space, ptr: u64, bytes: u64, seed: u64) {
    space.device().write(ptr, &pattern(ptr ^ seed, bytes)).unwrap();
}

fn holds(space: &Space, ptr: u64, bytes: u64, seed: u64) {
    let mut found = vec![0; bytes as usize];
    space.device().read(&mut found, ptr).unwrap();
    assert!(found == pattern(ptr ^ seed, bytes), "the content at {ptr:#x} changed");
}

fn pattern(seed: u64, bytes: u64) -> Vec<u8> {
    let mut dice = Dice(seed | 1);
    (0..bytes).map(|_| dice.next(256) as u8).collect()
}

/// Fills the space with blocks, frees every other one, and returns those that live.
fn checkerboard(space: &Space, block: u64) -> Vec<u64> {
    let count = space.account.limit() / block;
    let all: Vec<u64> = (0..count).map(|_| space.alloc(block, 1, "square").unwrap()).collect();
    let mut live = Vec::new();
    for (n, ptr) in all.into_iter().enumerate() {
        if n % 2 == 0 {
            space.free(ptr).unwrap();
        } else {
            put(space, ptr, block.min(5000), 7);
            live.push(ptr);
        }
    }
    live
}

/// After compaction 99 % of what is free comes in one piece, and every pointer still holds what it held.
fn from_checkerboard(space: &Arc<Space>, block: u64) {
    let live = checkerboard(space, block);
    let before = space.fragmentation();
    // Larger blocks have pieces of their own, which go without compaction.
    assert!(before.level > 0.5 || block >= GRANULE, "{before:?}");
    let done = space.compact(PAUSE).unwrap();
    assert!(done.complete && done.given_back > 0, "{done:?}");
    let after = space.fragmentation();
    assert!(after.largest as f64 >= 0.99 * after.free as f64, "{after:?}");
    assert!(after.mapped <= after.used + after.used / 10 + 2 * GRANULE, "{after:?}");
    let large = space.alloc(after.largest, 1, "large").unwrap();
    put(space, large + after.largest - 4096, 4096, 3);
    for ptr in &live {
        holds(space, *ptr, block.min(5000), 7);
        assert!(space.check("p", *ptr, block).is_ok());
    }
    space.free(large).unwrap();
    for ptr in live {
        space.free(ptr).unwrap();
    }
    space.account.ledger().reclaim(None);
    assert_eq!((space.account.footprint(), space.account.ledger().physical()), (0, 0));
}

#[test]
fn pages_of_a_checkerboard_come_in_one_piece() {
    for block in [4096, 3 * 4096, 64 << 10, MIB, 2 * MIB, 3 * MIB, 16 * MIB] {
        let space = space("board", 96 * MIB);
        from_checkerboard(&space, block);
    }
}

#[test]
fn memory_truly_goes_back_and_comes_again_zero() {
    let space = space("true", 64 * MIB);
    let live = checkerboard(&space, 4096);
    assert_eq!(resident(&space), 64 * MIB);
    space.compact(PAUSE).unwrap();
    let held = resident(&space);
    assert!((32 * MIB..=33 * MIB).contains(&held), "{held} bytes are resident");
    assert_eq!(space.usage().physical, held);
    assert_eq!(space.account.ledger().physical(), held);
    // What comes again is zero, also inside of pieces that were in use.
    for _ in 0..1000 {
        let ptr = space.alloc(4096, 1, "again").unwrap();
        let mut content = [1u8; 4096];
        device().read(&mut content, ptr).unwrap();
        assert_eq!(content, [0; 4096]);
        put(&space, ptr, 4096, 1);
    }
    live.iter().for_each(|ptr| holds(&space, *ptr, 4096, 7));
    assert_eq!(space.usage().physical, space.pages().iter().map(|p| p.resident).sum::<u64>());
}

#[test]
fn parts_leave_only_after_the_fence() {
    let space = space("fence", 32 * MIB);
    let live = checkerboard(&space, 4096);
    let (before, seen) = (space.account.footprint(), Arc::new(AtomicU64::new(0)));
    let (at_fence, account) = (seen.clone(), space.account.clone());
    space.set_fence(Box::new(move || {
        at_fence.store(account.footprint(), Ordering::SeqCst);
        Ok(())
    }));
    space.compact(PAUSE).unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), before);
    assert!(space.account.footprint() < before);
    // A fence that fails keeps the memory with the tenant, usable.
    live.iter().step_by(2).for_each(|ptr| space.free(*ptr).unwrap());
    let held = space.account.footprint();
    space.set_fence(Box::new(|| Err(crate::Error::new(Status::DeviceLost, "gone"))));
    assert_eq!(space.compact(PAUSE).unwrap_err().status(), Status::DeviceLost);
    assert_eq!((space.account.footprint(), space.fragmentation().mapped), (held, held));
    live.iter().skip(1).step_by(2).for_each(|ptr| holds(&space, *ptr, 4096, 7));
    assert!(space.alloc(4096, 1, "again").unwrap().is_multiple_of(4096));
}

/// Whole pages lie on pages, also beside what is none, so that all of them can go back.
#[test]
fn whole_pages_lie_on_pages() {
    let space = space("align", 32 * MIB);
    space.set_policy(SpacePolicy { small_pool: false, ..SpacePolicy::default() }).unwrap();
    for n in 1..50 {
        space.alloc(256 * n, 1, "odd").unwrap();
        assert!(space.alloc(4096 * n, 1, "pages").unwrap().is_multiple_of(4096));
    }
}

/// What is freed and allocated again at once does not go to the device in between.
#[test]
fn a_page_that_comes_again_at_once_stays() {
    let space = space("recycled", 64 * MIB);
    for bytes in [256, 4096, 100_000] {
        space.alloc(bytes, 1, "kept").unwrap();
    }
    let first = space.alloc(2 * MIB, 1, "page").unwrap();
    space.free(first).unwrap();
    let before = space.device().path().counted(crate::device::Count::Granules);
    for _ in 0..100 {
        let again = space.alloc(2 * MIB, 1, "page").unwrap();
        space.free(again).unwrap();
    }
    // Others create granules of this device meanwhile only where tests share a process.
    assert!(space.device().path().counted(crate::device::Count::Granules) - before < 50);
}

#[test]
fn slots_of_a_checkerboard_come_in_one_piece_where_granules_go_as_a_whole() {
    for (n, block) in [2 * MIB, 4 * MIB, 6 * MIB].into_iter().enumerate() {
        let device = dirty(200 + n as u32);
        let space = space_on(&device, 96 * MIB);
        // As a pool that grew in large pieces.
        device.path().set_pooled(true);
        from_checkerboard(&space, block);
        drop(space);
        is_clean(&device);
    }
}

/// A pool in large pieces, half of whose slots are free.
fn scattered(device: &Arc<Dirty>) -> (Arc<Space>, Vec<u64>) {
    device.path().set_pooled(true);
    let space = space_on(device, 64 * MIB);
    let live = checkerboard(&space, 2 * MIB);
    (space, live)
}

#[test]
fn whatever_fails_while_memory_moves_nothing_is_lost() {
    let device = dirty(210);
    let counters = [&device.creates, &device.maps, &device.waits];
    for (n, counter) in counters.into_iter().enumerate() {
        for at in 0..24 {
            let (space, live) = scattered(&device);
            counter.store(at, Ordering::SeqCst);
            let done = space.compact(PAUSE);
            counter.store(i64::MIN, Ordering::SeqCst);
            if let Err(e) = &done {
                assert!(e.message().contains("injected"), "{e}");
                assert_eq!(space.compaction_figures().failed, 1);
            }
            live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
            assert_eq!(space.account.footprint(), space.account.ledger().physical(), "{n} at {at}");
            let left = space.fragmentation();
            assert_eq!(left.mapped, space.account.footprint(), "{n} at {at}: {left:?}");
            // The next one ends what this one began.
            space.compact(PAUSE).unwrap();
            let after = space.fragmentation();
            assert_eq!((after.free, after.largest), (32 * MIB, 32 * MIB));
            live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
            drop(space);
            is_clean(&device);
        }
    }
}

/// Between the fence and the last mapping nobody queues work, the fence comes after the door was closed, and each slice
/// lets others in.
#[test]
fn memory_moves_behind_a_closed_door_and_after_the_fence() {
    let device = dirty(211);
    let (space, live) = scattered(&device);
    let (fences, open) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let (seen, weak, doors) = (fences.clone(), Arc::downgrade(&space), open.clone());
    space.set_fence(Box::new(move || {
        seen.fetch_add(1, Ordering::SeqCst);
        let free = weak.upgrade().is_some_and(|s| s.door().close_within(Duration::ZERO).is_some());
        doors.fetch_add(i64::from(free), Ordering::SeqCst);
        Ok(())
    }));
    let (over, entered) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _door = space.door().enter().unwrap();
                live.iter().take(2).for_each(|ptr| holds(&space, *ptr, 5000, 7));
                entered.fetch_add(1, Ordering::Relaxed);
            }
        });
        let done = space.compact(Duration::from_nanos(1));
        over.store(true, Ordering::Relaxed);
        let done = done.unwrap();
        assert!(done.slices >= 2 && done.complete && done.moved >= 32 * MIB, "{done:?}");
        // One fence before the door closes and one after, a slice.
        assert!(fences.load(Ordering::SeqCst) >= 2 * i64::from(done.slices));
    });
    assert!(entered.load(Ordering::Relaxed) > 0);
    live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
}

#[test]
fn a_thread_that_queues_work_is_told_instead_of_waiting_for_itself() {
    let device = dirty(212);
    let (space, live) = scattered(&device);
    let _door = space.door().enter().unwrap();
    let begun = Instant::now();
    assert_eq!(space.compact(PAUSE).unwrap_err().status(), Status::Busy);
    assert_eq!(space.alloc(20 * MIB, 1, "large").unwrap_err().status(), Status::QuotaExceeded);
    assert!(begun.elapsed() < Duration::from_secs(5));
    live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
}

#[test]
fn kept_memory_stays_where_it_is() {
    let device = dirty(213);
    let (space, live) = scattered(&device);
    // One slot of its piece stays idle, so that but for it the piece would move.
    let kept = space.block(MIB, 1, "array").unwrap();
    let before: Vec<_> = space.pages().into_iter().filter(|p| p.pinned).collect();
    assert!(before.iter().any(|p| p.state == PageState::Free), "{before:?}");
    space.compact(PAUSE).unwrap();
    let after: Vec<_> = space.pages().into_iter().filter(|p| p.pinned).collect();
    assert_eq!(before, after);
    drop(kept);
    live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
}

#[test]
fn it_compacts_before_it_refuses_and_only_then() {
    let space = space("inline", 32 * MIB);
    let live = checkerboard(&space, 4096);
    let strict = SpacePolicy { before_refusal: false, ..space.policy() };
    space.set_policy(strict).unwrap();
    let e = space.alloc(8 * MIB, 1, "large").unwrap_err();
    assert!(e.message().contains("scattered"), "{e}");
    space.set_policy(SpacePolicy::default()).unwrap();
    let large = space.alloc(8 * MIB, 1, "large").unwrap();
    assert_eq!(space.compaction_figures().before_refusal, 1);
    put(&space, large, 8 * MIB, 2);
    live.iter().for_each(|ptr| holds(&space, *ptr, 4096, 7));
    // What the limit does not allow is refused at once.
    assert_eq!(space.alloc(20 * MIB, 1, "much").unwrap_err().status(), Status::QuotaExceeded);
    assert_eq!(space.compaction_figures().compactions, 1);
}

#[test]
fn it_compacts_by_itself_beyond_the_threshold() {
    let space = space("auto", 64 * MIB);
    space.set_policy(SpacePolicy { auto: true, threshold: 0.3, ..SpacePolicy::default() }).unwrap();
    let live = checkerboard(&space, 4096);
    let until = Instant::now() + Duration::from_secs(20);
    // It is counted when its last slice is over.
    while (space.fragmentation().level > 0.3 || space.compaction_figures().automatic == 0)
        && Instant::now() < until
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    let found = space.fragmentation();
    assert!(found.level <= 0.3 && space.compaction_figures().automatic > 0, "{found:?}");
    live.iter().for_each(|ptr| holds(&space, *ptr, 4096, 7));
    // The thread holds nobody's space for long.
    let account = space.account.clone();
    drop(space);
    let until = Instant::now() + Duration::from_secs(20);
    while account.footprint() > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!((account.footprint(), account.held()), (0, 0));
}

/// At random states: the largest allocation that is told succeeds, and one of a unit more does not.
#[test]
fn the_largest_allocation_is_told_exactly() {
    let device = dirty(214);
    for (n, space) in
        [space("exact", 40 * MIB + 512), space_on(&device, 40 * MIB + 512)].into_iter().enumerate()
    {
        let strict = SpacePolicy { before_refusal: false, ..SpacePolicy::default() };
        space.set_policy(strict).unwrap();
        let mut dice = Dice(99 + n as u64);
        let mut live = Vec::new();
        for round in 0..400 {
            for _ in 0..dice.next(30) {
                if dice.next(5) < 3 {
                    let size = 256 << dice.next(14);
                    if let Ok(ptr) = space.alloc(size + dice.next(size), 1 << dice.next(13), "x") {
                        live.push(ptr);
                    }
                } else if !live.is_empty() {
                    let at = dice.next(live.len() as u64) as usize;
                    space.free(live.swap_remove(at)).unwrap();
                }
            }
            if dice.next(4) == 0 {
                space.compact(PAUSE).unwrap();
            }
            let found = space.fragmentation();
            assert!(found.largest <= found.free && (0.0..=1.0).contains(&found.level), "{found:?}");
            let more = space.alloc(found.largest + 1, 1, "more");
            assert!(more.is_err(), "round {round} of {n}: {found:?} was too little");
            if found.largest > 0 {
                let ptr = space.alloc(found.largest, 1, "largest");
                let ptr = ptr.unwrap_or_else(|e| panic!("round {round} of {n}: {found:?} was too much: {e}"));
                space.free(ptr).unwrap();
            }
        }
    }
}

#[test]
fn pages_are_listed_with_what_is_in_them() {
    let space = space("pages", 64 * MIB);
    assert!(space.pages().is_empty());
    let a = space.alloc(2 * MIB, 2 * MIB, "whole").unwrap();
    let b = space.alloc(MIB, 1, "half").unwrap();
    let kept = space.block(2 * MIB, 2 * MIB, "kept").unwrap();
    let pages = space.pages();
    let page = |ptr: u64| *pages.iter().find(|p| p.address <= ptr && ptr < p.address + p.bytes).unwrap();
    assert_eq!((page(a).state, page(a).live, page(a).bytes), (PageState::Used, 2 * MIB, space.page_size()));
    assert_eq!((page(b).state, page(b).live), (PageState::Partly, MIB));
    assert_eq!((page(kept.ptr()).state, page(kept.ptr()).pinned), (PageState::Kept, true));
    assert!(pages.windows(2).all(|w| w[0].address < w[1].address));
    space.free(a).unwrap();
    let pages = space.pages();
    assert!(pages.iter().find(|p| p.address == a).is_none_or(|p| p.state == PageState::Free));
    assert_eq!(pages.iter().map(|p| p.live).sum::<u64>(), 3 * MIB);
}

#[test]
fn pages_can_be_larger_than_granules() {
    let ledger = Arc::new(Ledger::with_capacity(8 << 30, GRANULE));
    let account = ledger.open("large", 30 * MIB, 0).unwrap();
    assert!(Space::with_pages(device(), account.clone(), 3 * MIB).is_err());
    let space = Space::with_pages(device(), account.clone(), 8 * MIB).unwrap();
    assert_eq!(space.page_size(), 8 * MIB);
    let ptr = space.alloc(30 * MIB, 1, "all").unwrap();
    assert_eq!(space.usage().physical, 32 * MIB);
    assert!(space.pages().iter().all(|p| p.bytes == 8 * MIB));
    space.free(ptr).unwrap();
    let small = Space::with_pages(device(), ledger.open("small", MIB, 0).unwrap(), 4096).unwrap();
    assert_eq!(small.page_size(), GRANULE);
}

#[test]
fn a_gap_behind_each_allocation_shows_what_wrote_there() {
    let device = dirty(215);
    for space in [space("guard", 16 * MIB), space_on(&device, 16 * MIB)] {
        let plain = space.alloc(1000, 1, "plain").unwrap();
        let policy = SpacePolicy { guard_bytes: 512, guard_pattern: true, ..SpacePolicy::default() };
        space.set_policy(policy).unwrap();
        let held = space.usage().held;
        let a = space.alloc(1000, 1, "a").unwrap();
        let b = space.alloc(256, 1, "b").unwrap();
        assert_eq!(space.usage().held - held, 1536 + 768);
        assert_eq!(space.find(a).unwrap().bytes, 1000);
        let e = space.check("p", a, 1001).unwrap_err();
        assert_eq!(e.status(), Status::InvalidArgument);
        assert!(space.check("p", a + 1100, 1).is_err() && space.find(b + 256 + 10).is_some());
        assert_eq!(space.check_guards().unwrap(), []);
        put(&space, a, 1000, 1);
        put(&space, plain, 1024, 1);
        assert_eq!(space.check_guards().unwrap(), []);
        space.device().write(a + 1010, &[1, 2, 3]).unwrap();
        let found = space.check_guards().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].allocation.ptr, found[0].address, found[0].bytes), (a, a + 1010, 3));
        space.free(a).unwrap();
        space.free(b).unwrap();
        assert_eq!((space.check_guards().unwrap(), space.usage().held), (vec![], held));
        let e = space.alloc(u64::MAX, 1, "x").unwrap_err();
        assert!(matches!(e.status(), Status::InvalidArgument | Status::QuotaExceeded));
        assert_eq!(space.usage().held, held);
    }
}

#[test]
fn small_blocks_do_not_hold_large_pages() {
    let apart = |small_pool: bool| {
        let device = dirty(if small_pool { 216 } else { 217 });
        let space = space_on(&device, 128 * MIB);
        space.set_policy(SpacePolicy { small_pool, ..SpacePolicy::default() }).unwrap();
        let mut large = Vec::new();
        for _ in 0..100 {
            space.alloc(1000, 1, "small").unwrap();
            large.push(space.alloc(MIB, 1, "large").unwrap());
        }
        for ptr in large {
            space.free(ptr).unwrap();
        }
        space.account.ledger().reclaim(None);
        space.usage().physical
    };
    assert_eq!(apart(true), GRANULE);
    assert!(apart(false) > 10 * GRANULE);
}

#[test]
fn policies_out_of_range_are_named() {
    let space = space("policy", MIB);
    let good = SpacePolicy::default();
    let wrong = [
        ("guard_bytes", SpacePolicy { guard_bytes: u64::MAX, ..good }),
        ("guard_pattern", SpacePolicy { guard_pattern: true, ..good }),
        ("small_limit", SpacePolicy { small_limit: 0, ..good }),
        ("threshold", SpacePolicy { threshold: f64::NAN, ..good }),
        ("threshold", SpacePolicy { threshold: -0.1, ..good }),
        ("max_pause", SpacePolicy { max_pause: Duration::ZERO, ..good }),
    ];
    for (name, policy) in wrong {
        let e = space.set_policy(policy).unwrap_err();
        assert!(e.message().contains(&format!("`{name}`")), "{e}");
        assert_eq!(space.policy(), good);
    }
    assert!(space.compact(Duration::ZERO).unwrap_err().message().contains("`max_pause`"));
    assert!(space.compact_slice(Duration::ZERO).is_err());
}

/// Where the books allow nothing more, memory still moves: the sum is the same before and after.
#[test]
fn it_moves_within_a_bound_that_is_reached() {
    let device = dirty(218);
    let (space, live) = scattered(&device);
    let ledger = space.account.ledger().clone();
    ledger.set_cap(77, Some(ledger.physical())).unwrap();
    let done = space.compact(PAUSE).unwrap();
    assert!(done.given_back >= 30 * MIB, "{done:?}");
    assert_eq!(ledger.physical(), space.account.footprint());
    live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
    space.alloc(20 * MIB, 1, "large").unwrap();
    ledger.set_cap(77, None).unwrap();
    drop(space);
    assert_eq!(ledger.physical(), 0);
    is_clean(&device);
}

/// What a bank keeps stays kept: whole granules go back into it, and no single pages.
#[test]
fn a_bank_keeps_what_it_promised() {
    let device = dirty(219);
    device.path().set_pooled(true);
    let moving = space_on(&device, 64 * MIB);
    let parts = space("bank", 64 * MIB);
    for space in [moving, parts] {
        let ledger = space.account.ledger().clone();
        let bank = super::super::Bank::open(space.device(), &space.account, 32 * MIB, None).unwrap();
        let live = checkerboard(&space, 2 * MIB);
        space.compact(PAUSE).unwrap();
        assert!(bank.used() <= 32 * MIB);
        // The bank's bytes, in use or not, and what the tenant has beside them.
        let beside = space.account.footprint() - bank.used().min(space.account.footprint());
        assert!(ledger.physical() >= 32 * MIB && ledger.physical() <= 32 * MIB + beside + 32 * MIB);
        live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
        space.alloc(30 * MIB, 1, "large").unwrap();
        drop(bank);
        drop(space);
        assert_eq!(ledger.physical(), 0);
    }
    is_clean(&device);
}

/// Between two slices whoever waits at the door goes in.
#[test]
fn others_go_in_between_slices() {
    let device = dirty(220);
    device.path().set_pooled(true);
    let space = space_on(&device, 160 * MIB);
    let live = checkerboard(&space, 2 * MIB);
    let (over, entered) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = std::thread::scope(|threads| {
        threads.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _door = space.door().enter().unwrap();
                entered.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        let before = entered.load(Ordering::Relaxed);
        let done = space.compact(Duration::from_nanos(1)).unwrap();
        over.store(true, Ordering::Relaxed);
        let times = entered.load(Ordering::Relaxed) - before;
        assert!(times + 2 >= u64::from(done.slices), "{times} times in {done:?}");
        done
    });
    assert!(done.slices >= 4, "{done:?}");
    live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
}

#[test]
fn it_moves_by_itself_beyond_the_threshold() {
    let device = dirty(221);
    let (space, live) = scattered(&device);
    assert!(space.fragmentation().level > 0.3);
    space.set_policy(SpacePolicy { auto: true, threshold: 0.3, ..SpacePolicy::default() }).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while space.compaction_figures().automatic == 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(space.fragmentation().level < 0.01 && space.compaction_figures().moved > 0);
    live.iter().for_each(|ptr| holds(&space, *ptr, 5000, 7));
}

/// What falls free around holes goes back as well.
#[test]
fn idle_memory_goes_back_also_after_compaction() {
    let space = space("ebb", 128 * MIB);
    let live = checkerboard(&space, 4096);
    space.compact(PAUSE).unwrap();
    for ptr in live {
        space.free(ptr).unwrap();
        let usage = space.usage();
        // A page of each piece in use may be all that is left of it, so this holds for whole pieces only.
        assert!(usage.physical <= 64 * MIB + 3 * GRANULE);
    }
    let usage = space.usage();
    assert!(usage.held == 0 && usage.physical <= 2 * GRANULE, "{usage:?}");
}
