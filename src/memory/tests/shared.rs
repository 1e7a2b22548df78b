use super::super::Shared;
use super::*;
use crate::device::Place;
use crate::{Error, Status};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

fn filled(key: &str, bytes: u64) -> Arc<Shared> {
    let device = device();
    Shared::open(&device.clone(), key, bytes, &mut |at| device.write(at, &vec![9; bytes as usize])).unwrap()
}

#[test]
fn two_tenants_map_one_copy_and_each_is_charged() {
    let (a, b) = (space("a", 16 * MIB), space("b", 16 * MIB));
    let image = filled("one-copy", 5 * MIB);
    assert_eq!((image.bytes(), image.mappings()), (6 * MIB, 0));
    let again = Shared::open(&device(), "one-copy", 5 * MIB, &mut |_| panic!("filled twice")).unwrap();
    assert!(Arc::ptr_eq(&image, &again));
    drop(again);
    let (ma, mb) = (a.map_shared(&image, "wa").unwrap(), b.map_shared(&image, "wb").unwrap());
    assert_ne!(ma.base(), mb.base());
    assert_eq!(image.mappings(), 2);
    for (space, mapping) in [(&a, &ma), (&b, &mb)] {
        let usage = space.usage();
        assert_eq!((usage.held, usage.shared, usage.physical), (6 * MIB, 6 * MIB, 0));
        let mut bytes = vec![0; 5 << 20];
        device().read(&mut bytes, mapping.base()).unwrap();
        assert!(bytes.iter().all(|b| *b == 9));
        let e = device().write(mapping.base(), &[1]).unwrap_err();
        assert!(e.message().contains("read-only"), "{e}");
        assert_eq!(device().place(mapping.base()), Place::Device);
        assert!(space.free(mapping.base()).unwrap_err().message().contains("shared mapping"));
    }
    drop(ma);
    assert_eq!((a.usage().held, a.usage().shared, image.mappings()), (0, 0, 1));
    drop((image, mb));
    // Nobody holds it any more: the next one loads it anew.
    let mut fills = 0;
    let fresh = Shared::open(&device(), "one-copy", MIB, &mut |_| {
        fills += 1;
        Ok(())
    });
    assert_eq!((fresh.unwrap().bytes(), fills), (2 * MIB, 1));
}

#[test]
fn writing_through_a_mapping_faults() {
    let space = space("a", 16 * MIB);
    let image = filled("fault", MIB);
    let mapping = space.map_shared(&image, "w").unwrap();
    // SAFETY: the child only touches memory and exits; it calls nothing that could wait for a lock.
    let status = unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::signal(libc::SIGSEGV, libc::SIG_DFL);
            std::ptr::write_volatile(mapping.base() as *mut u8, 1);
            libc::_exit(0);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    };
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV, "{status:#x}");
}

#[test]
fn the_copy_counts_once_and_the_limit_holds() {
    let ledger = Ledger::of(&device());
    let small = Space::new(device(), ledger.open("small", 4 * MIB, 0).unwrap()).unwrap();
    let image = filled("too-large", 6 * MIB);
    let e = small.map_shared(&image, "w").err().unwrap();
    assert_eq!(e.status(), Status::QuotaExceeded);
    assert_eq!((small.usage().held, small.usage().shared, image.mappings()), (0, 0, 0));
    small.account.set_limit(6 * MIB).unwrap();
    let mapping = small.map_shared(&image, "w").unwrap();
    assert_eq!(small.alloc(1, 1, "x").unwrap_err().status(), Status::QuotaExceeded);
    drop(mapping);
    small.alloc(1, 1, "x").unwrap();
}

#[test]
fn a_failing_fill_leaves_nothing_and_the_next_one_tries() {
    let fail = Shared::open(&device(), "fails", MIB, &mut |_| Err(Error::format("bad file"))).err().unwrap();
    assert!(fail.status() == Status::Format && fail.message().contains("\"fails\""), "{fail}");
    let panicked =
        std::panic::catch_unwind(|| Shared::open(&device(), "fails", MIB, &mut |_| panic!("inside")));
    assert!(panicked.is_err());
    assert_eq!(filled("fails", MIB).bytes(), 2 * MIB);
    assert!(Shared::open(&device(), "fails", 0, &mut |_| Ok(())).is_err());
    let held = filled("fails", MIB);
    let other = Shared::open(&device(), "fails", 9 * MIB, &mut |_| Ok(())).err().unwrap();
    assert_eq!(other.status(), Status::InvalidArgument);
    drop(held);
}

#[test]
fn concurrent_opens_fill_once() {
    let fills = AtomicU32::new(0);
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for n in 0..8 {
            let (fills, barrier) = (&fills, &barrier);
            scope.spawn(move || {
                for round in 0..20 {
                    barrier.wait();
                    let image = Shared::open(&device(), &format!("race-{round}"), MIB, &mut |at| {
                        // The first to come fails in each third round, and somebody else must take over.
                        if fills.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
                            return Err(Error::format("no luck"));
                        }
                        device().write(at, &[round as u8 + 1])
                    });
                    if let Ok(image) = &image {
                        let space = space(&format!("t{n}"), 4 * MIB);
                        let mapping = space.map_shared(image, "w").unwrap();
                        let mut byte = [0];
                        device().read(&mut byte, mapping.base()).unwrap();
                        assert_eq!(byte, [round as u8 + 1]);
                    }
                    barrier.wait();
                    drop(image);
                }
            });
        }
    });
    let fills = fills.load(Ordering::SeqCst);
    assert!((20..=60).contains(&fills), "{fills}");
}
