use super::*;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

const MS: Duration = Duration::from_millis(1);

fn share(name: &str, weight: f64, priority: u8) -> Arc<Share> {
    Share::new(name, weight, priority).unwrap()
}

/// Lets `shares` (each on its units) contend without threads: every tenant waits whenever it does not run, one
/// step takes 1 ms. Returns how many steps each ran in `rounds` rounds.
fn contend(units: usize, shares: &[(Arc<Share>, Vec<u32>)], rounds: u32) -> Vec<u32> {
    let gate = Gate::with_units(units);
    let mut state = gate.state.lock();
    let mut steps = vec![0; shares.len()];
    for (share, units) in shares {
        state.wake(share, units, Instant::now());
        let place = state.ticket(share, units, None);
        state.waiting.push(place);
    }
    for _ in 0..rounds {
        while let Some(next) = state.waiting.iter().find(|w| state.may_run(w, Instant::now())).cloned() {
            state.admit(&next);
        }
        for done in std::mem::take(&mut state.running) {
            for &u in &done.units {
                state.units[u as usize].busy = false;
            }
            done.share.charge(MS, 1.0, 1, Instant::now());
            let i = shares.iter().position(|(s, _)| Arc::ptr_eq(s, &done.share)).unwrap();
            steps[i] += 1;
            let place = state.ticket(&done.share, &done.units, None);
            state.waiting.push(place);
        }
    }
    steps
}

#[test]
fn weights_divide_a_contended_unit() {
    let shares =
        [(share("a", 3.0, 2), vec![0]), (share("b", 1.0, 2), vec![0]), (share("c", 6.0, 2), vec![0])];
    let steps = contend(1, &shares, 10_000);
    for (got, want) in steps.iter().zip([3000, 1000, 6000]) {
        assert!(got.abs_diff(want) <= 6, "{steps:?}");
    }
}

#[test]
fn disjoint_nodes_do_not_wait_for_each_other() {
    let shares = [(share("a", 1.0, 2), vec![0]), (share("b", 1.0, 4), vec![1])];
    assert_eq!(contend(2, &shares, 100), [100, 100]);
}

#[test]
fn urgent_work_goes_first() {
    let shares = [(share("a", 1.0, 0), vec![0]), (share("b", 9.0, 3), vec![0])];
    assert_eq!(contend(1, &shares, 100), [100, 0]);
}

#[test]
fn a_wide_node_gets_in_past_narrow_ones() {
    let shares =
        [(share("n0", 1.0, 2), vec![0]), (share("n1", 1.0, 2), vec![1]), (share("wide", 1.0, 2), vec![0, 1])];
    let steps = contend(2, &shares, 300);
    assert!(steps[2] >= 140, "the wide node starved: {steps:?}");
}

#[test]
fn idleness_saves_nothing_up() {
    let gate = Arc::new(Gate::with_units(1));
    let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
    for _ in 0..1000 {
        gate.enter(&a, &[0], &|| false).unwrap().finish(MS);
    }
    let running = gate.enter(&a, &[0], &|| false).unwrap();
    let state = &mut *gate.state.lock();
    state.wake(&b, &[0], Instant::now());
    assert!(b.rank().virtual_time >= 1.0, "an idle tenant would have gone first for a second");
    std::mem::forget(running);
}

#[test]
fn a_unit_runs_one_tenant_at_a_time() {
    let gate = Arc::new(Gate::with_units(2));
    let inside = [AtomicU32::new(0), AtomicU32::new(0)];
    std::thread::scope(|scope| {
        for t in 0..6u32 {
            let (gate, inside) = (&gate, &inside);
            let units: Vec<u32> = [vec![0], vec![1], vec![0, 1]][t as usize % 3].clone();
            scope.spawn(move || {
                let me = share(&format!("t{t}"), 1.0 + f64::from(t), (t % 5) as u8);
                for _ in 0..200 {
                    let permit = gate.enter(&me, &units, &|| false).unwrap();
                    for &u in &units {
                        assert_eq!(inside[u as usize].fetch_add(1, SeqCst), 0);
                    }
                    for &u in &units {
                        inside[u as usize].fetch_sub(1, SeqCst);
                    }
                    permit.finish(Duration::from_micros(10));
                }
            });
        }
    });
}

#[test]
fn a_panic_while_waiting_gives_the_place_up() {
    let gate = Arc::new(Gate::with_units(1));
    let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 0));
    let permit = gate.enter(&a, &[0], &|| false).unwrap();
    let waits = || gate.enter(&b, &[0], &|| panic!("asked")).map(drop);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(waits)).is_err());
    drop(permit);
    // More urgent than a: had it kept its place, a would wait without end.
    let begun = Instant::now();
    let late = || begun.elapsed() > Duration::from_secs(5);
    gate.enter(&a, &[0], &late).unwrap();
}

#[test]
fn the_grace_is_how_long_a_unit_waits_for_who_is_owed_time() {
    for grace in [Duration::ZERO, 40 * MS] {
        let gate = Arc::new(Gate::with_units(1));
        gate.set_grace(grace);
        let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
        b.charge(Duration::from_secs(1), 1.0, 1, Instant::now());
        let permit = gate.enter(&a, &[0], &|| false).unwrap();
        let waited = std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                drop(gate.enter(&b, &[0], &|| false).unwrap());
                Instant::now()
            });
            while gate.state.lock().waiting.is_empty() {
                std::thread::yield_now();
            }
            let left = Instant::now();
            permit.finish(MS);
            waiter.join().unwrap() - left
        });
        assert!(waited >= grace, "let in after {waited:?} of {grace:?}");
        assert!(grace > Duration::ZERO || waited < 30 * MS, "kept idle for nobody: {waited:?}");
    }
}

#[test]
fn units_are_not_kept_for_a_tenant_that_stays_away() {
    let gate = Arc::new(Gate::with_units(2));
    let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
    b.charge(Duration::from_secs(1), 1.0, 1, Instant::now());
    let wide = gate.enter(&a, &[0, 1], &|| false).unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| gate.enter(&b, &[0], &|| false).unwrap());
        while gate.state.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        wide.finish(MS);
        let permit = waiter.join().unwrap();
        // Unit 1 was kept for a and nobody took it since; a has been away for longer than that.
        std::thread::sleep(2 * GRACE);
        let before = a.rank().virtual_time;
        gate.state.lock().wake(&a, &[0], Instant::now());
        let lost = a.rank().virtual_time - before;
        assert!(lost >= 2.0 * GRACE.as_secs_f64(), "away, it saved up all but {lost}");
        assert!(lost < 0.9, "a short absence cost it {lost} s of what it is owed");
        permit.finish(MS);
    });
}

#[test]
fn cancelled_waiters_leave() {
    let gate = Arc::new(Gate::with_units(1));
    let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
    let permit = gate.enter(&a, &[0], &|| false).unwrap();
    let refused = gate.enter(&b, &[0], &|| true).err().unwrap();
    assert_eq!(refused.status(), Status::Cancelled);
    drop(permit);
    gate.enter(&b, &[0], &|| false).unwrap();
    assert!(gate.enter(&b, &[7], &|| false).is_err());
}

#[test]
fn who_used_a_unit_alone_does_not_pay_for_it_later() {
    let gate = Arc::new(Gate::with_units(1));
    let (a, b) = (share("a", 1.0, 2), share("b", 1.0, 2));
    for _ in 0..1000 {
        gate.enter(&a, &[0], &|| false).unwrap().finish(MS);
    }
    // b comes while a pauses: it begins where a is, not an hour before it.
    gate.enter(&b, &[0], &|| false).unwrap().finish(MS);
    assert!((b.rank().virtual_time - 1.001).abs() < 1e-6, "{}", b.rank().virtual_time);
}

#[test]
fn a_lease_hears_of_others_and_yields_when_it_is_their_turn() {
    let gate = Arc::new(Gate::with_units(2));
    let (a, b, c) = (share("a", 1.0, 2), share("b", 1.0, 2), share("c", 1.0, 0));
    let woken = Arc::new(AtomicU32::new(0));
    let heard = woken.clone();
    let signal = Signal::new(move || {
        heard.fetch_add(1, SeqCst);
    });
    let mut lease = gate.try_lease(&a, &[0, 1], &signal).unwrap();
    assert!(gate.try_lease(&b, &[1], &signal).is_none(), "the unit is taken");
    signal.set_open(true);
    assert!(signal.is_clear() && lease.verdict() == Verdict::Alone);
    let wait_for = |n: usize| {
        while gate.state.lock().waiting.len() < n || woken.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| gate.enter(&b, &[1], &|| false).unwrap().finish(MS));
        wait_for(1);
        assert!(signal.is_wanted() && !signal.is_clear());
        assert_eq!(lease.verdict(), Verdict::Contended);
        lease.charge(SLICE / 2);
        assert_eq!(lease.verdict(), Verdict::Contended);
        lease.charge(SLICE / 2);
        assert_eq!(lease.verdict(), Verdict::Due);
        assert_eq!(a.used(), SLICE);
        lease.finish(MS);
        waiter.join().unwrap();
    });
    assert_eq!((a.used(), a.processor_time()), (SLICE + MS, 2 * (SLICE + MS)));
    woken.store(0, SeqCst);
    let lease = gate.try_lease(&a, &[0, 1], &signal).unwrap();
    assert_eq!(lease.verdict(), Verdict::Alone);
    assert!(!signal.is_wanted(), "nobody waits any more");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| gate.enter(&c, &[1], &|| false).unwrap().finish(MS));
        wait_for(1);
        assert_eq!(lease.verdict(), Verdict::Due, "more urgent work need not wait for a slice");
        lease.finish(MS);
        waiter.join().unwrap();
    });
}

#[test]
fn a_cap_keeps_its_tenant_out_and_nobody_else() {
    let gate = Arc::new(Gate::with_units(1));
    let (a, b) = (share("a", 1.0, 0), share("b", 1.0, 4));
    assert!(
        a.set_cap(Some(0.0)).is_err() && a.set_cap(Some(f32::NAN)).is_err() && a.set_cap(Some(1.1)).is_err()
    );
    a.set_cap(Some(0.5)).unwrap();
    gate.enter(&a, &[0], &|| false).unwrap().finish(30 * MS);
    // 25 ms too much: at a rate of a half it is back in 50.
    let back = Instant::now();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let permit = gate.enter(&a, &[0], &|| false).unwrap();
            let waited = back.elapsed();
            permit.finish(MS);
            waited
        });
        while gate.state.lock().waiting.is_empty() {
            std::thread::yield_now();
        }
        gate.enter(&b, &[0], &|| back.elapsed() > 40 * MS).unwrap().finish(MS);
        let waited = waiter.join().unwrap();
        assert!(waited > 45 * MS, "let in after {waited:?}");
    });
    a.set_cap(None).unwrap();
    gate.enter(&a, &[0], &|| back.elapsed() > Duration::from_secs(5)).unwrap();
}
