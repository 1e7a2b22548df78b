//! Shares under saturating tenants with any lengths of work, on a clock of its own.

use super::*;
use proptest::prelude::*;

/// A tenant that always has work.
#[derive(Clone, Copy, Debug)]
struct Player {
    weight: f64,
    /// Length of a piece of work.
    piece: Duration,
    /// Holds its permit as a queue does, with a second piece on the device already; else it comes for each piece.
    leases: bool,
    /// Pause between two pieces, for those that come for each.
    pause: Duration,
    cap: Option<f32>,
}

const US: Duration = Duration::from_micros(1);

/// The part of `total` that each got, and the part in which the unit was idle.
fn play(players: &[Player], total: Duration) -> (Vec<f64>, f64) {
    let gate = Gate::with_units(1);
    let mut state = gate.state.lock();
    let start = Instant::now();
    let mut now = start;
    let shares: Vec<_> = (0..players.len())
        .map(|i| {
            let share = Share::new(&format!("p{i}"), players[i].weight, 2).unwrap();
            share.set_cap(players[i].cap).unwrap();
            share
        })
        .collect();
    // When each comes to the gate; none: it is there.
    let mut comes: Vec<Option<Instant>> = vec![Some(start); players.len()];
    let mut idle = Duration::ZERO;
    while now - start < total {
        for (i, at) in comes.iter_mut().enumerate() {
            if at.is_some_and(|at| at <= now) {
                *at = None;
                state.wake(&shares[i], &[0], now);
                let place = state.ticket(&shares[i], &[0], None);
                state.waiting.push(place);
            }
        }
        let Some(next) = state.waiting.iter().find(|w| state.may_run(w, now)).cloned() else {
            // The unit is kept for somebody, or caps keep everybody out.
            now += 10 * US;
            idle += 10 * US;
            continue;
        };
        state.admit(&next);
        let i = shares.iter().position(|s| Arc::ptr_eq(s, &next.share)).unwrap();
        let me = players[i];
        let mut ran = Duration::ZERO;
        let mut run = |now: &mut Instant| {
            *now += me.piece;
            ran += me.piece;
            shares[i].charge(me.piece, 1.0, 1, *now);
            ran
        };
        let mut verdict = Verdict::Due;
        loop {
            let ran = run(&mut now);
            for (j, at) in comes.iter_mut().enumerate() {
                if at.is_some_and(|at| at <= now) {
                    *at = None;
                    state.wake(&shares[j], &[0], now);
                    let place = state.ticket(&shares[j], &[0], None);
                    state.waiting.push(place);
                }
            }
            if me.leases {
                verdict = state.verdict(&next, ran, now);
            }
            if matches!(verdict, Verdict::Due | Verdict::Capped) || now - start >= total {
                break;
            }
        }
        if me.leases && verdict == Verdict::Due && me.piece < SLICE * 2 {
            // What was sent ahead.
            run(&mut now);
        }
        state.depart(&next, GRACE, now);
        comes[i] = Some(now + if me.leases { Duration::ZERO } else { me.pause });
    }
    let all = (now - start).as_secs_f64();
    (shares.iter().map(|s| s.used().as_secs_f64() / all).collect(), idle.as_secs_f64() / all)
}

fn player(weight: f64, piece_us: u64) -> Player {
    Player { weight, piece: piece_us as u32 * US, leases: true, pause: Duration::ZERO, cap: None }
}

#[test]
fn asked_for_shares_are_got_with_pieces_of_any_length() {
    let ten = Duration::from_secs(10);
    for weights in [&[0.1, 0.9][..], &[0.25, 0.75], &[0.5, 0.5], &[0.2, 0.3, 0.5]] {
        // What each does at a time differs by a factor of 400, and the longest is ten slices.
        for pieces in [[50, 2000, 20_000], [20_000, 50, 2000], [2000, 20_000, 50], [10, 10, 10]] {
            let players: Vec<_> = weights.iter().zip(pieces).map(|(w, p)| player(*w, p)).collect();
            let (got, idle) = play(&players, ten);
            for (got, want) in got.iter().zip(weights) {
                assert!((got - want).abs() < 0.01, "{weights:?} {pieces:?}: {got} for {want}");
            }
            assert!(idle < 0.001, "idle for {idle}");
        }
    }
}

#[test]
fn a_queue_and_a_model_that_pauses_share_as_asked() {
    // A model's steps of 1 ms with 0.1 ms of sampling between them, owed three quarters.
    let model = Player { leases: false, pause: 100 * US, ..player(0.75, 1000) };
    let (got, _) = play(&[model, player(0.25, 50)], Duration::from_secs(10));
    // While it samples, its units are kept for it: at most what the pauses take is lost.
    assert!((got[0] / (got[0] + got[1]) - 0.75).abs() < 0.01, "{got:?}");
    // Pauses longer than the grace: what it cannot use the other one gets, and nothing is idle for long.
    let model = Player { pause: 600 * US, ..model };
    let (got, idle) = play(&[model, player(0.25, 50)], Duration::from_secs(10));
    assert!(got[0] > 0.5 && got[0] + got[1] + idle > 0.99, "{got:?} {idle}");
}

#[test]
fn a_capped_tenant_leaves_the_rest_to_others_or_idle() {
    let capped = Player { cap: Some(0.3), ..player(1.0, 500) };
    let (got, idle) = play(&[capped], Duration::from_secs(10));
    assert!((got[0] - 0.3).abs() < 0.01 && idle > 0.68, "{got:?} {idle}");
    let (got, idle) = play(&[capped, player(0.1, 2000)], Duration::from_secs(10));
    assert!((got[0] - 0.3).abs() < 0.01 && got[1] > 0.68 && idle < 0.01, "{got:?} {idle}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn shares_hold_whatever_the_work(
        tenants in proptest::collection::vec((0.05f64..1.0, 10u64..20_000), 2..5)
    ) {
        let players: Vec<_> = tenants.iter().map(|(w, p)| player(*w, *p)).collect();
        let sum: f64 = players.iter().map(|p| p.weight).sum();
        let (got, idle) = play(&players, Duration::from_secs(10));
        prop_assert!(idle < 0.001);
        for (got, p) in got.iter().zip(&players) {
            prop_assert!((got - p.weight / sum).abs() < 0.015, "{} for {}", got, p.weight / sum);
        }
    }
}
