use super::super::heap::{Heap, Zone};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SLOT: u32 = 64;
const SLOTS: u32 = 32;

#[derive(Clone, Debug)]
enum Step {
    Add(u32),
    Remove(u32),
    Alloc(u32, u32),
    Free(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..SLOTS).prop_map(Step::Add),
        1 => (0..SLOTS).prop_map(Step::Remove),
        6 => (1..200u32, 0..4u32).prop_map(|(n, a)| Step::Alloc(n, 1 << (a * 2))),
        5 => any::<usize>().prop_map(Step::Free),
    ]
}

/// The plainest allocator: a flag a unit.
#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Absent,
    Free,
    Live,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 300 }))]

    /// Against a model with one flag a unit: what is handed out was free, aligned and inside; a request is refused
    /// only when no run of free units fits it.
    #[test]
    fn it_agrees_with_a_map_of_units(base in 0..1000u64, steps in prop::collection::vec(step(), 1..200)) {
        let mut heap = Heap::new(SLOT, base);
        let mut model = vec![Unit::Absent; (SLOTS * SLOT) as usize];
        let mut live: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add(slot) => {
                    let range = (slot * SLOT) as usize..((slot + 1) * SLOT) as usize;
                    if model[range.start] == Unit::Absent {
                        heap.add(slot * SLOT, SLOT, Zone::Large);
                        model[range].fill(Unit::Free);
                    }
                }
                Step::Remove(slot) => {
                    let range = (slot * SLOT) as usize..((slot + 1) * SLOT) as usize;
                    if model[range.clone()].iter().all(|u| *u == Unit::Free) {
                        heap.remove(slot * SLOT, SLOT);
                        model[range].fill(Unit::Absent);
                    }
                }
                Step::Alloc(units, align) => {
                    let fits = |at: usize| {
                        (base + at as u64).is_multiple_of(u64::from(align))
                            && model.get(at..at + units as usize).is_some_and(|r| r.iter().all(|u| *u == Unit::Free))
                    };
                    match heap.alloc(units, align, Zone::Large) {
                        Some(id) => {
                            let start = heap.block(id).start;
                            prop_assert_eq!(heap.block(id).units, units);
                            prop_assert!(fits(start as usize));
                            model[start as usize..(start + units) as usize].fill(Unit::Live);
                            live.insert(start, (units, id));
                        }
                        None => prop_assert!(!(0..model.len()).any(fits), "refused although it fits"),
                    }
                }
                Step::Free(n) => {
                    if let Some((&start, &(units, id))) = live.iter().nth(n % live.len().max(1)) {
                        live.remove(&start);
                        prop_assert_eq!(heap.live_at(start), Some(id));
                        heap.free(id);
                        model[start as usize..(start + units) as usize].fill(Unit::Free);
                        prop_assert!(heap.live_at(start).is_none() && heap.was_live(start));
                    }
                }
            }
            heap.verify();
            prop_assert_eq!(heap.live, live.len() as u64);
        }
        for unit in 0..model.len() as u32 {
            let expected = live.range(..=unit).next_back().filter(|(s, (n, _))| unit - **s < *n).map(|(_, (_, id))| *id);
            prop_assert_eq!(heap.live_over(unit), expected);
        }
    }
}
