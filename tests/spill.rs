//! Over-commit on the CUDA device: on the mock driver its host logic, on a GPU where there is one. `max_memory` stands in
//! for a full device, so that little memory is needed.
#![cfg(feature = "cuda")]

mod mock_driver;

use cogniware::Status;
use cogniware::device::{Device, Stream};
use cogniware::memory::{Ledger, Lending, Space, SpillPolicy};
use mock_driver::{Mock, erased, real_gpu};
use std::sync::Arc;
use std::time::Instant;

const MIB: u64 = 1 << 20;

/// A tenant's space whose work is that of one stream.
fn tenant(device: &Arc<dyn Device>, name: &str, limit: u64, floor: u64) -> (Arc<Space>, Arc<dyn Stream>) {
    let space = Space::new(device.clone(), Ledger::of(device).open(name, limit, floor).unwrap()).unwrap();
    let stream = device.node_create(&[0]).unwrap().stream_create(0).unwrap();
    let waited = stream.clone();
    space.set_fence(Box::new(move || waited.synchronize()));
    (space, stream)
}

/// Fills by work on the stream, which is in flight when this returns.
fn paint(space: &Space, stream: &dyn Stream, ptr: u64, bytes: u64, value: u8) {
    let _inside = space.enter_for(&[(ptr, bytes)]).unwrap();
    // SAFETY: memory of this tenant, which does not move while work of its stream is in flight.
    unsafe { space.device().fill(ptr, value, bytes, Some(stream)).unwrap() };
}

fn holds(space: &Space, stream: &dyn Stream, ptr: u64, bytes: u64, value: u8) {
    stream.synchronize().unwrap();
    let _inside = space.enter_for(&[(ptr, bytes)]).unwrap();
    let mut content = vec![!value; bytes as usize];
    space.device().read(&mut content, ptr).unwrap();
    assert!(content.iter().all(|b| *b == value), "not all {value}");
}

/// A guest fills what the owner of a floor does not use; the owner comes; the guest finds everything again.
fn over_commit(device: &Arc<dyn Device>, unit: u64) {
    let ledger = Ledger::of(device);
    let before = ledger.physical();
    let (owner, work) = tenant(device, "owner", 24 * unit, 16 * unit);
    let (guest, busy) = tenant(device, "guest", 64 * unit, 8 * unit);
    owner.set_lending(Lending { lend_floor: true }).unwrap();
    ledger.set_cap(usize::MAX, Some(before + 32 * unit)).unwrap();
    let refused = guest.alloc(28 * unit, 1, "no policy").unwrap_err();
    assert_eq!(refused.status(), Status::OutOfMemory, "{refused}");
    for policy in [SpillPolicy::Coldest, SpillPolicy::Largest] {
        guest.set_spill_policy(policy).unwrap();
        let parts: Vec<u64> = (0..7).map(|_| guest.alloc(4 * unit, 1, "burst").unwrap()).collect();
        for (n, ptr) in parts.iter().enumerate() {
            paint(&guest, &*busy, *ptr, 4 * unit, n as u8 + 1);
        }
        let begun = Instant::now();
        let mine = owner.alloc(16 * unit, 1, "floor").unwrap();
        let waited = begun.elapsed();
        paint(&owner, &*work, mine, 16 * unit, 99);
        let figures = guest.spill_figures();
        assert!(figures.spilled >= 12 * unit && guest.account().held() == 28 * unit, "{figures:?}");
        assert!(ledger.physical() <= before + 32 * unit);
        println!(
            "{policy:?}: {} MiB out at {:.1} GB/s, pause {:?}, the owner waited {waited:?}",
            figures.bytes_out / MIB,
            figures.speed_out() / 1e9,
            figures.longest_pause,
        );
        for _ in 0..2 {
            for (n, ptr) in parts.iter().enumerate() {
                holds(&guest, &*busy, *ptr, 4 * unit, n as u8 + 1);
                assert!(ledger.physical() <= before + 32 * unit);
            }
        }
        holds(&owner, &*work, mine, 16 * unit, 99);
        assert_eq!(guest.door().enter().err().unwrap().status(), Status::OutOfMemory);
        owner.free(mine).unwrap();
        drop(guest.door().enter().unwrap());
        let figures = guest.spill_figures();
        println!(
            "{policy:?}: {} MiB in at {:.1} GB/s, longest fetch {:?}",
            figures.bytes_in / MIB,
            figures.speed_in() / 1e9,
            figures.longest_fetch,
        );
        assert_eq!(figures.spilled, 0);
        for (n, ptr) in parts.iter().enumerate() {
            holds(&guest, &*busy, *ptr, 4 * unit, n as u8 + 1);
            guest.free(*ptr).unwrap();
        }
    }
    ledger.set_cap(usize::MAX, None).unwrap();
}

/// A tenant alone holds more than the device has, by its own policy.
fn more_than_there_is(device: &Arc<dyn Device>, unit: u64) {
    let ledger = Ledger::of(device);
    let (space, stream) = tenant(device, "large", 64 * unit, 0);
    space.set_spill_policy(SpillPolicy::Coldest).unwrap();
    ledger.set_cap(usize::MAX, Some(ledger.physical() + 16 * unit)).unwrap();
    let parts: Vec<u64> = (0..20u8)
        .map(|n| {
            let ptr = space.alloc(2 * unit, 1, "part").unwrap();
            paint(&space, &*stream, ptr, 2 * unit, n);
            ptr
        })
        .collect();
    assert!(space.account().spilled() >= 24 * unit);
    for (n, ptr) in parts.iter().enumerate() {
        holds(&space, &*stream, *ptr, 2 * unit, n as u8);
    }
    // Freed where it lies.
    parts.iter().for_each(|ptr| space.free(*ptr).unwrap());
    assert_eq!(space.account().spilled(), 0);
    ledger.set_cap(usize::MAX, None).unwrap();
}

#[test]
fn mock() {
    let mock = Mock::new();
    mock.configure(1, 512 * MIB);
    {
        let device = erased(&mock.device());
        over_commit(&device, 2 * MIB);
        more_than_there_is(&device, 2 * MIB);
        mock.fail("");
    }
    mock.assert_clean();
}

#[test]
fn gpu() {
    let Some(gpu) = real_gpu() else { return };
    let device = erased(&gpu);
    over_commit(&device, 32 * MIB);
    more_than_there_is(&device, 32 * MIB);
}
