use super::super::UNIT;
use super::*;
use crate::Status;
use proptest::prelude::*;

#[test]
fn memory_is_zero_aligned_writable_and_found() {
    let space = space("a", 16 * MIB);
    let device = device();
    for align in [1, 256, 4096, 1 << 21] {
        let ptr = space.alloc(1000, align, "x").unwrap();
        assert!(ptr.is_multiple_of(align.max(256)));
        let mut bytes = [1u8; 1000];
        device.read(&mut bytes, ptr).unwrap();
        assert!(bytes.iter().all(|b| *b == 0));
        device.write(ptr, &[7; 1000]).unwrap();
        let found = space.find(ptr + 999).unwrap();
        assert_eq!((found.ptr, found.bytes, found.tag.as_str()), (ptr, 1000, "x"));
        assert!(space.find(ptr + 1024).is_none());
        assert!(space.check("p", ptr + 500, 500).is_ok());
        assert_eq!(space.check("p", ptr + 500, 501).unwrap_err().status(), Status::InvalidArgument);
        assert_eq!(space.check("p", ptr, u64::MAX).unwrap_err().status(), Status::InvalidArgument);
    }
    assert_eq!(space.usage().held, 4 * 1024);
    assert_eq!(space.usage().allocations, 4);
}

#[test]
fn bad_sizes_and_alignments_are_named() {
    let space = space("a", MIB);
    assert!(space.alloc(0, 1, "x").unwrap_err().message().contains("`bytes`"));
    for align in [0, 3, 1 << 33] {
        assert!(space.alloc(1, align, "x").unwrap_err().message().contains("`align`"));
    }
    assert_eq!(space.alloc(u64::MAX, 1, "x").unwrap_err().status(), Status::QuotaExceeded);
    assert_eq!(space.account.held(), 0);
}

/// Fills a quota with allocations of one size and returns the share that could be used.
fn fill(limit: u64, size: u64) -> f64 {
    let space = space("full", limit);
    let mut sum = 0;
    let refusal = loop {
        match space.alloc(size, 1, "x") {
            Ok(_) => sum += size,
            Err(e) => break e,
        }
    };
    assert_eq!(refusal.status(), Status::QuotaExceeded, "{refusal}");
    let usage = space.usage();
    assert_eq!(usage.held, sum);
    assert!(usage.physical <= limit.next_multiple_of(GRANULE));
    // What is left is less than one more.
    assert!(limit - sum < size);
    sum as f64 / limit as f64
}

#[test]
fn a_quota_can_be_used_up() {
    assert!(fill(64 * MIB, 256) >= 0.999);
    assert!(fill(50 * MIB + 256, 1024) >= 0.999);
    assert!(fill(33 * MIB, 4096) >= 0.999);
    // Sizes that fit no granule: nothing is lost between them but less than one size at the end.
    fill(100 * MIB, 3 * MIB);
    fill(100 * MIB, 2 * MIB + 256);
    fill(100 * MIB, 5 * MIB + 768);
    fill(64 * MIB, 64 * MIB);
    fill(65 * MIB, 65 * MIB - 256);
}

#[test]
fn mixed_sizes_use_999_of_1000() {
    let limit = 96 * MIB;
    let space = space("mixed", limit);
    let mut dice = Dice(77);
    let mut refused = 0;
    // Ever smaller requests, in random order of size: what is left over must serve the small ones.
    while refused < 2000 {
        let size = 256 << dice.next(14);
        let size = size + dice.next(size);
        if space.alloc(size, 1, "x").is_err() {
            refused += 1;
        }
    }
    let share = space.usage().held as f64 / limit as f64;
    assert!(share >= 0.999, "{share}");
    assert!(space.usage().physical <= limit);
}

#[test]
fn what_falls_free_goes_back() {
    let space = space("ebb", 512 * MIB);
    let mut dice = Dice(5);
    let mut live = Vec::new();
    for _ in 0..2000 {
        let size = 256 << dice.next(12);
        live.push(space.alloc(size + dice.next(size), 1, "x").unwrap());
    }
    live.push(space.alloc(40 * MIB, 1, "big").unwrap());
    let top = space.usage().physical;
    assert!(top <= space.usage().held * 11 / 10 + 2 * GRANULE, "{:?}", space.usage());
    for ptr in live {
        space.free(ptr).unwrap();
    }
    let usage = space.usage();
    assert_eq!((usage.held, usage.allocations), (0, 0));
    assert!(usage.physical <= 2 * GRANULE, "{usage:?}");
    assert_eq!(space.account.ledger().physical(), usage.physical);
    space.account.ledger().reclaim(None);
    assert_eq!(space.usage().physical, 0);
}

#[test]
fn dropping_a_space_gives_everything_back() {
    let space = space("gone", 16 * MIB);
    let account = space.account.clone();
    space.alloc(3 * MIB, 1, "left").unwrap();
    space.alloc(1, 1, "left").unwrap();
    drop(space);
    assert_eq!((account.held(), account.physical(), account.ledger().physical()), (0, 0, 0));
}

#[test]
fn the_next_tenant_finds_no_trace() {
    let secret = 0xA5u8;
    let first = space("first", 32 * MIB);
    let ptr = first.alloc(20 * MIB, 1, "secret").unwrap();
    // SAFETY: allocated above.
    unsafe { device().fill(ptr, secret, 20 * MIB, None).unwrap() };
    first.free(ptr).unwrap();
    first.account.ledger().reclaim(None);
    let second = space("second", 32 * MIB);
    let ptr = second.alloc(30 * MIB, 1, "scan").unwrap();
    let mut bytes = vec![secret; 30 << 20];
    device().read(&mut bytes, ptr).unwrap();
    assert!(bytes.iter().all(|b| *b == 0));
}

#[test]
fn leaks_are_listed_oldest_first() {
    let space = space("leaky", 32 * MIB);
    let long = "a tag that is longer than what fits into the record of a block";
    let a = space.alloc(300, 1, "weights").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(15));
    let b = space.alloc(5, 1, long).unwrap();
    let c = space.alloc(5, 1, "freed").unwrap();
    space.free(c).unwrap();
    let leaks = space.leaks();
    let seen: Vec<_> = leaks.iter().map(|l| (l.ptr, l.bytes, l.tag.as_str())).collect();
    assert_eq!(seen, [(a, 300, "weights"), (b, 5, long)]);
    assert!(leaks[0].age.as_millis() >= 8 && leaks[0].age > leaks[1].age, "{leaks:?}");
}

#[derive(Clone, Debug)]
enum Step {
    Alloc(u64, u32),
    Free(usize),
    Reclaim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..200_000, 0u32..14).prop_map(|(n, a)| Step::Alloc(n, a)),
        1 => (1u64..9 * MIB, 0u32..22).prop_map(|(n, a)| Step::Alloc(n, a)),
        4 => any::<usize>().prop_map(Step::Free),
        1 => Just(Step::Reclaim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Contents stay, nothing overlaps, and the books agree with a plain list at every step.
    #[test]
    fn it_agrees_with_a_list(steps in prop::collection::vec(step(), 1..120)) {
        let limit = 24 * MIB + 512;
        let space = space("model", limit);
        let device = device();
        let mut live: Vec<(u64, u64, u8)> = Vec::new();
        let mut held = 0;
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Alloc(bytes, align) => {
                    let charged = bytes.next_multiple_of(UNIT);
                    match space.alloc(bytes, 1 << align, "m") {
                        Ok(ptr) => {
                            prop_assert!(held + charged <= limit);
                            prop_assert!(ptr.is_multiple_of(1 << align));
                            for (p, b, _) in &live {
                                prop_assert!(ptr + bytes <= *p || p + b <= ptr, "overlap");
                            }
                            device.write(ptr, &vec![n as u8; bytes as usize]).unwrap();
                            live.push((ptr, bytes, n as u8));
                            held += charged;
                        }
                        Err(e) => prop_assert_eq!(e.status(), Status::QuotaExceeded),
                    }
                }
                Step::Free(n) if !live.is_empty() => {
                    let (ptr, bytes, value) = live.swap_remove(n % live.len());
                    let mut content = vec![0; bytes as usize];
                    device.read(&mut content, ptr).unwrap();
                    prop_assert!(content.iter().all(|b| *b == value), "content was lost");
                    space.free(ptr).unwrap();
                    prop_assert!(space.free(ptr).is_err());
                    held -= bytes.next_multiple_of(UNIT);
                }
                Step::Free(_) => {}
                Step::Reclaim => space.account.ledger().reclaim(None),
            }
            let usage = space.usage();
            prop_assert_eq!((usage.held, usage.allocations), (held, live.len() as u64));
            prop_assert!(usage.physical <= limit.next_multiple_of(GRANULE));
            prop_assert!(usage.physical >= held);
            prop_assert_eq!(space.account.ledger().physical(), usage.physical);
        }
    }
}
