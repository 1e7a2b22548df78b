//! Over-commit against a model: whatever three tenants do in little memory, contents are right, floors are granted, limits
//! hold, and nobody has more physical memory than there is.

use super::small::{Small, small, tenant};
use super::*;
use crate::Status;
use crate::memory::{Advice, Lending, SpillPolicy};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, Ordering};

static ORDINAL: AtomicU32 = AtomicU32::new(300);

const CAPACITY: u64 = 24 * MIB;
const FLOORS: [u64; 3] = [10 * MIB, 6 * MIB, 4 * MIB];

#[derive(Clone, Debug)]
enum Step {
    Alloc(usize, u64),
    Free(usize, usize),
    Write(usize, usize, u8),
    Look(usize, usize),
    Advise(usize, usize, u8),
    Spill(usize, u64),
    FetchAll(usize),
    Policy(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..3usize;
    let which = 0..64usize;
    prop_oneof![
        4 => (who.clone(), prop_oneof![1..700u64 << 10, 1..6 * MIB]).prop_map(|(t, b)| Step::Alloc(t, b)),
        2 => (who.clone(), which.clone()).prop_map(|(t, n)| Step::Free(t, n)),
        4 => (who.clone(), which.clone(), any::<u8>()).prop_map(|(t, n, v)| Step::Write(t, n, v)),
        4 => (who.clone(), which.clone()).prop_map(|(t, n)| Step::Look(t, n)),
        1 => (who.clone(), which, 0..3u8).prop_map(|(t, n, a)| Step::Advise(t, n, a)),
        1 => (who.clone(), 1..8 * MIB).prop_map(|(t, b)| Step::Spill(t, b)),
        1 => who.clone().prop_map(Step::FetchAll),
        1 => (who, any::<bool>()).prop_map(|(t, l)| Step::Policy(t, l)),
    ]
}

struct Live {
    ptr: u64,
    bytes: u64,
    value: u8,
    pinned: bool,
}

/// The places that are looked at: both ends of each granule.
fn places(ptr: u64, bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = ptr + bytes;
    (ptr / GRANULE..end.div_ceil(GRANULE)).flat_map(move |g| {
        let (from, to) = ((g * GRANULE).max(ptr), ((g + 1) * GRANULE).min(end));
        let n = (to - from).min(64);
        [(from, n), (to - n, n)]
    })
}

fn fill(space: &Space, live: &Live) {
    for (at, n) in places(live.ptr, live.bytes) {
        space.device().write(at, &vec![live.value; n as usize]).unwrap();
    }
}

fn check(space: &Space, live: &Live) {
    for (at, n) in places(live.ptr, live.bytes) {
        let mut content = vec![!live.value; n as usize];
        space.device().read(&mut content, at).unwrap();
        assert!(content.iter().all(|b| *b == live.value), "content at {at:#x}");
    }
}

/// The granules that an allocation lies in.
fn granules(live: &Live) -> u64 {
    ((live.ptr + live.bytes).next_multiple_of(GRANULE) - live.ptr / GRANULE * GRANULE).max(GRANULE)
}

fn run(steps: Vec<Step>) {
    let device = small(ORDINAL.fetch_add(1, Ordering::SeqCst), CAPACITY);
    let spaces: Vec<Arc<Space>> = FLOORS
        .iter()
        .zip([CAPACITY, 16 * MIB, 16 * MIB])
        .enumerate()
        .map(|(n, (floor, limit))| {
            let space = tenant(&device, &format!("t{n}"), limit, *floor);
            space.set_lending(Lending { lend_floor: true }).unwrap();
            let policy = if n == 1 { SpillPolicy::Largest } else { SpillPolicy::Coldest };
            space.set_spill_policy(policy).unwrap();
            space
        })
        .collect();
    let ledger = spaces[0].account().ledger().clone();
    let mut all: [Vec<Live>; 3] = Default::default();
    for step in steps {
        match step {
            Step::Alloc(t, bytes) => {
                let (space, account) = (&spaces[t], spaces[t].account());
                let need = bytes.next_multiple_of(GRANULE) + GRANULE;
                let granted = account.physical() + need <= FLOORS[t]
                    && account.physical() + account.spilled() + need <= account.limit();
                match space.alloc(bytes, 1, "x") {
                    Ok(ptr) => {
                        let live = Live { ptr, bytes, value: bytes as u8, pinned: false };
                        // It may lie in memory that is away.
                        if let Ok(_inside) = space.enter_for(&[(ptr, bytes)]) {
                            fill(space, &live);
                            all[t].push(live);
                        } else {
                            space.free(ptr).unwrap();
                        }
                    }
                    Err(e) => {
                        assert!(!granted, "tenant {t} is within its floor: {e}");
                        assert!(matches!(e.status(), Status::OutOfMemory | Status::QuotaExceeded), "{e}");
                    }
                }
            }
            Step::Free(t, n) if !all[t].is_empty() => {
                let at = n % all[t].len();
                spaces[t].free(all[t].swap_remove(at).ptr).unwrap();
            }
            Step::Write(t, n, value) if !all[t].is_empty() => {
                let at = n % all[t].len();
                let live = &mut all[t][at];
                if let Ok(_inside) = spaces[t].enter_for(&[(live.ptr, live.bytes)]) {
                    live.value = value;
                    fill(&spaces[t], live);
                }
            }
            Step::Look(t, n) if !all[t].is_empty() => {
                let live = &all[t][n % all[t].len()];
                let pinned: u64 = all[t].iter().filter(|l| l.pinned).map(granules).sum();
                match spaces[t].enter_for(&[(live.ptr, live.bytes)]) {
                    Ok(_inside) => check(&spaces[t], live),
                    Err(e) => {
                        assert!(
                            granules(live) + pinned + GRANULE > FLOORS[t],
                            "within the floor of {t}: {e}"
                        );
                        assert_eq!(e.status(), Status::OutOfMemory);
                    }
                }
            }
            Step::Advise(t, n, advice) if !all[t].is_empty() => {
                let at = n % all[t].len();
                let advice = [Advice::Normal, Advice::Cold, Advice::Pinned][usize::from(advice)];
                match spaces[t].advise(all[t][at].ptr, advice) {
                    Ok(()) => all[t][at].pinned = advice == Advice::Pinned,
                    Err(e) => assert!(matches!(e.status(), Status::OutOfMemory | Status::Busy), "{e}"),
                }
            }
            Step::Spill(t, bytes) => {
                spaces[t].spill_now(bytes).unwrap();
            }
            Step::FetchAll(t) => {
                if let Err(e) = spaces[t].fetch_all() {
                    assert_eq!(e.status(), Status::OutOfMemory, "{e}");
                }
            }
            Step::Policy(t, lend) => spaces[t].set_lending(Lending { lend_floor: lend }).unwrap(),
            _ => {}
        }
        let used = device.used.load(Ordering::SeqCst);
        assert_eq!(used, ledger.physical());
        assert!(used <= CAPACITY);
        assert_eq!(used, spaces.iter().map(|s| s.account().physical()).sum::<u64>());
        for (space, live) in spaces.iter().zip(&all) {
            let account = space.account();
            let held: u64 = live.iter().map(|l| l.bytes.next_multiple_of(256)).sum();
            assert_eq!(account.held(), held);
            assert!(held <= account.limit());
            assert!(account.physical() + account.spilled() <= account.limit().next_multiple_of(GRANULE));
            space.heap.lock().verify();
        }
    }
    // Everybody finds everything again.
    for (space, live) in spaces.iter().zip(&all) {
        for one in live.iter().filter(|l| granules(l) + GRANULE <= CAPACITY / 8) {
            if let Ok(_inside) = space.enter_for(&[(one.ptr, one.bytes)]) {
                check(space, one);
            }
        }
    }
    for (space, live) in spaces.iter().zip(all) {
        live.into_iter().for_each(|l| space.free(l.ptr).unwrap());
        space.trim_all();
        assert_eq!(
            (space.account().held(), space.account().spilled(), space.account().physical()),
            (0, 0, 0)
        );
    }
    drop(spaces);
    assert_eq!((device.used.load(Ordering::SeqCst), ledger.physical()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn floors_hold_and_nothing_is_lost(steps in prop::collection::vec(step(), 1..120)) {
        run(steps);
    }
}

/// Tenants on threads of their own, each within its floor now and above it then.
#[test]
fn tenants_take_each_others_room_and_nobody_waits_for_ever() {
    let device = small(290, 20 * MIB);
    let together = std::sync::Barrier::new(3);
    std::thread::scope(|threads| {
        for n in 0..3u64 {
            let together = &together;
            let space = tenant(&device, &format!("thread {n}"), 48 * MIB, 6 * MIB);
            space.set_lending(Lending { lend_floor: true }).unwrap();
            space.set_spill_policy(SpillPolicy::Coldest).unwrap();
            threads.spawn(move || {
                let mut dice = Dice(n + 77);
                let mut all: Vec<Live> = Vec::new();
                together.wait();
                for _ in 0..150 {
                    if all.len() < 16 {
                        let bytes = 1 + dice.next(2 * MIB - 1);
                        if let Ok(ptr) = space.alloc(bytes, GRANULE, "x") {
                            let live = Live { ptr, bytes, value: dice.next(256) as u8, pinned: false };
                            let _inside = space.enter_for(&[(ptr, bytes)]).unwrap();
                            fill(&space, &live);
                            all.push(live);
                        }
                    }
                    let Some(live) = all.get(dice.next(all.len() as u64 + 1) as usize) else { continue };
                    // One granule or two are within the floor.
                    let _inside = space.enter_for(&[(live.ptr, live.bytes)]).unwrap();
                    check(&space, live);
                }
                // Alone it would have had more than the device has, too.
                assert!(all.len() == 16 && space.spill_figures().bytes_in > 0);
                all.into_iter().for_each(|l| space.free(l.ptr).unwrap());
            });
        }
    });
    assert_eq!(device.used.load(Ordering::SeqCst), 0);
}

/// Every call of each kind fails once, at each place, while memory moves: nothing is lost.
#[test]
fn a_failing_device_loses_nothing() {
    let device: Arc<Small> = small(291, 16 * MIB);
    for (n, counter) in [&device.copies, &device.unmaps, &device.buffers].into_iter().enumerate() {
        for at in 0..6 {
            let space = tenant(&device, "failing", 64 * MIB, 0);
            space.set_spill_policy(SpillPolicy::Coldest).unwrap();
            let all: Vec<Live> = (0..5u8)
                .map(|value| {
                    let ptr = space.alloc(GRANULE, 1, "x").unwrap();
                    let live = Live { ptr, bytes: GRANULE, value, pinned: false };
                    fill(&space, &live);
                    live
                })
                .collect();
            counter.store(at, Ordering::SeqCst);
            for _ in 0..4 {
                space.spill_now(6 * MIB).unwrap();
                let _ = space.fetch_all();
                let used = device.used.load(Ordering::SeqCst);
                assert_eq!(used, space.account().ledger().physical(), "counter {n} at {at}");
                assert_eq!(used + space.account().spilled(), 10 * MIB, "counter {n} at {at}");
            }
            counter.store(i64::MIN, Ordering::SeqCst);
            for live in &all {
                let _inside = space.enter_for(&[(live.ptr, live.bytes)]).unwrap();
                check(&space, live);
            }
            drop(space);
            assert_eq!(device.used.load(Ordering::SeqCst), 0);
        }
    }
}
