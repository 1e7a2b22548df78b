//! Over-commit: bursts, lent floors, and memory that lies in host memory for a while.

use super::small::{Small, small, tenant};
use super::*;
use crate::Status;
use crate::memory::{Advice, Lending, SpillPolicy};

fn write(space: &Space, ptr: u64, bytes: u64, value: u8) {
    let _inside = space.enter_for(&[(ptr, bytes)]).unwrap();
    space.device().write(ptr, &vec![value; bytes as usize]).unwrap();
}

fn holds(space: &Space, ptr: u64, bytes: u64, value: u8) {
    let _inside = space.enter_for(&[(ptr, bytes)]).unwrap();
    let mut content = vec![!value; bytes as usize];
    space.device().read(&mut content, ptr).unwrap();
    assert!(content.iter().all(|b| *b == value), "not all {value}");
}

fn lending(space: &Space) {
    space.set_lending(Lending { lend_floor: true }).unwrap();
    space.set_spill_policy(SpillPolicy::Coldest).unwrap();
}

/// What the device and the books say is the same.
fn agree(device: &Small, space: &Space) {
    let used = device.used.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(used, space.account().ledger().physical());
    assert!(used <= device.capacity);
}

#[test]
fn a_lent_floor_comes_back_when_its_owner_asks() {
    let device = small(200, 32 * MIB);
    let (owner, guest) =
        (tenant(&device, "owner", 32 * MIB, 16 * MIB), tenant(&device, "guest", 32 * MIB, 8 * MIB));
    // Not lent: the guest gets what nobody has a right to.
    guest.set_spill_policy(SpillPolicy::Coldest).unwrap();
    let e = guest.alloc(20 * MIB, 1, "burst").unwrap_err();
    assert_eq!(e.status(), Status::OutOfMemory);
    owner.set_lending(Lending { lend_floor: true }).unwrap();
    let parts: Vec<u64> = (0..7).map(|_| guest.alloc(4 * MIB, 1, "burst").unwrap()).collect();
    for (n, ptr) in parts.iter().enumerate() {
        write(&guest, *ptr, 4 * MIB, n as u8 + 1);
    }
    assert_eq!((guest.account().physical(), guest.account().held()), (28 * MIB, 28 * MIB));
    let mine = owner.alloc(16 * MIB, 1, "mine").unwrap();
    write(&owner, mine, 16 * MIB, 99);
    agree(&device, &owner);
    let figures = guest.spill_figures();
    assert!(figures.spilled >= 12 * MIB, "{figures:?}");
    assert_eq!(guest.account().physical() + figures.spilled, 28 * MIB);
    assert_eq!(guest.account().held(), 28 * MIB, "the charge does not change");
    // The coldest went first.
    assert!(guest.is_away(parts[0], 1) && !guest.is_away(parts[6], 1));
    // Everything of the guest is there, one after the other, within its floor and what is left.
    for (n, ptr) in parts.iter().enumerate() {
        holds(&guest, *ptr, 4 * MIB, n as u8 + 1);
        agree(&device, &guest);
    }
    holds(&owner, mine, 16 * MIB, 99);
    assert!(owner.account().physical() >= 16 * MIB);
    // All of it at once cannot be.
    let e = guest.fetch_all().unwrap_err();
    assert_eq!(e.status(), Status::OutOfMemory);
    assert!(e.message().contains("\"owner\""), "{e}");
    assert!(guest.door().enter().is_err());
    owner.free(mine).unwrap();
    guest.fetch_all().unwrap();
    assert_eq!(guest.account().spilled(), 0);
    drop(guest.door().enter().unwrap());
    for (n, ptr) in parts.iter().enumerate() {
        holds(&guest, *ptr, 4 * MIB, n as u8 + 1);
        guest.free(*ptr).unwrap();
    }
    let figures = guest.spill_figures();
    assert!(figures.bytes_in >= 28 * MIB - 8 * MIB && figures.bytes_out >= figures.bytes_in);
    assert!(figures.spills > 0 && figures.fetches > 0 && figures.speed_out() > 0.0);
    agree(&device, &guest);
}

#[test]
fn advice_and_policy_say_what_goes() {
    let device = small(201, 64 * MIB);
    let space = tenant(&device, "advised", 64 * MIB, 0);
    space.set_spill_policy(SpillPolicy::Coldest).unwrap();
    let all: Vec<u64> = (1..=4).map(|n| space.alloc(n * GRANULE, 1, "x").unwrap()).collect();
    for ptr in &all {
        write(&space, *ptr, 8, 1);
    }
    space.advise(all[0], Advice::Pinned).unwrap();
    space.advise(all[3], Advice::Cold).unwrap();
    assert_eq!(space.advise(all[1] + 256, Advice::Cold).unwrap_err().status(), Status::InvalidArgument);
    assert_eq!(space.spill_now(1).unwrap(), GRANULE);
    assert!(space.is_away(all[3], 8 * MIB));
    space.spill_now(8 * MIB).unwrap();
    assert!(space.is_away(all[1], 1) && !space.is_away(all[0], GRANULE));
    space.spill_now(64 * MIB).unwrap();
    assert!(!space.is_away(all[0], GRANULE), "pinned");
    assert_eq!(space.account().physical(), GRANULE);
    assert_eq!(space.spill_now(1).unwrap(), 0);
    space.fetch_all().unwrap();
    space.set_spill_policy(SpillPolicy::Largest).unwrap();
    space.advise(all[3], Advice::Normal).unwrap();
    space.spill_now(GRANULE).unwrap();
    assert!(space.is_away(all[3], 8 * MIB));
    // Freed while away: the copy goes, nothing is fetched.
    let fetched = space.spill_figures().bytes_in;
    space.spill_now(64 * MIB).unwrap();
    for ptr in &all {
        space.free(*ptr).unwrap();
    }
    assert_eq!((space.account().spilled(), space.spill_figures().bytes_in), (0, fetched));
    space.trim_all();
    assert_eq!((space.account().physical(), space.usage().held), (0, 0));
    assert!(space.spill_now(0).is_err());
    let plain = tenant(&device, "never", 64 * MIB, 0);
    assert_eq!(plain.spill_now(1).unwrap_err().status(), Status::Unsupported);
}

#[test]
fn host_memory_is_nowhere_to_move_to_on_the_cpu_device() {
    let space = space("cpu", 64 * MIB);
    let e = space.set_spill_policy(SpillPolicy::Coldest).unwrap_err();
    assert_eq!(e.status(), Status::Unsupported);
    assert!(e.message().contains("host's"), "{e}");
    assert_eq!(space.set_lending(Lending { lend_floor: true }).unwrap_err().status(), Status::Unsupported);
    space.set_spill_policy(SpillPolicy::Never).unwrap();
    space.set_lending(Lending::default()).unwrap();
}

#[test]
fn a_cap_is_a_full_device() {
    let device = small(202, 256 * MIB);
    let (a, b) = (tenant(&device, "a", 64 * MIB, 24 * MIB), tenant(&device, "b", 64 * MIB, 0));
    lending(&a);
    lending(&b);
    a.account().ledger().set_cap(1, Some(32 * MIB)).unwrap();
    let burst = b.alloc(30 * MIB, 1, "burst").unwrap();
    write(&b, burst, 30 * MIB, 7);
    let mine = a.alloc(24 * MIB, 1, "floor").unwrap();
    write(&a, mine, 24 * MIB, 8);
    assert!(a.account().ledger().physical() <= 32 * MIB);
    for at in (0..30 * MIB).step_by(GRANULE as usize) {
        holds(&b, burst + at, GRANULE, 7);
    }
    holds(&a, mine, 24 * MIB, 8);
}
