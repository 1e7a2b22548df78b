//! Spreading work over places that could all do it: devices, or groups of one device's processors.
//!
//! Pure arithmetic over figures that the caller measured, so that it holds for any kind of place: two GPUs, NUMA nodes of
//! the host, groups of cores. A *member* is whatever stays at one place until it is moved (a virtual compute unit); the
//! *load* of a place is what its members ask of it over what it has.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// By what a place is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancing {
    /// One after the other, whatever they do.
    RoundRobin,
    /// The place with the least asked of it: queued work, or shares promised, for its processors.
    #[default]
    LeastLoaded,
    /// The place whose measured time is the least: work that ran in the last second, and what is queued at its mean length.
    MeasuredTime,
}

impl Balancing {
    /// All of them.
    pub const ALL: [Balancing; 3] = [Balancing::RoundRobin, Balancing::LeastLoaded, Balancing::MeasuredTime];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Balancing::RoundRobin => "round_robin",
            Balancing::LeastLoaded => "least_loaded",
            Balancing::MeasuredTime => "measured_time",
        }
    }
}

impl fmt::Display for Balancing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Balancing {
    type Err = Error;

    fn from_str(text: &str) -> Result<Balancing> {
        Balancing::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| {
            Error::argument("strategy", format!("{text:?} is not round_robin, least_loaded or measured_time"))
        })
    }
}

/// A place at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Cores or SMs that it has; 0 counts as 1.
    pub processors: u32,
    /// Shares promised to its members: 1 is all of a place of one member.
    pub shares: f64,
    /// Executions queued or running there.
    pub pending: u64,
    /// Measured mean length of an execution there; zero where none has ended yet.
    pub mean: Duration,
    /// Part of the last second in which its processors were busy, 0 to 1.
    pub busy: f64,
}

impl Load {
    /// What is asked of one of its processors.
    fn asked(&self) -> f64 {
        (self.shares + self.pending as f64) / f64::from(self.processors.max(1))
    }

    /// Seconds until new work would begin, as far as measured figures tell, and how busy it was where they are equal.
    fn time(&self) -> f64 {
        self.pending as f64 * self.mean.as_secs_f64() + self.busy
    }
}

/// Chooses places. One for each set of places; not thread-safe by itself.
#[derive(Clone, Debug, Default)]
pub struct Chooser {
    strategy: Balancing,
    next: usize,
}

impl Chooser {
    /// Chooses by `strategy`.
    pub fn new(strategy: Balancing) -> Chooser {
        Chooser { strategy, next: 0 }
    }

    /// The strategy in force.
    pub fn strategy(&self) -> Balancing {
        self.strategy
    }

    /// The index of the place for the next work or member; among equals the one that has waited longest.
    ///
    /// Errors: there are no places.
    pub fn choose(&mut self, places: &[Load]) -> Result<usize> {
        if places.is_empty() {
            return Err(Error::argument("places", "must not be empty"));
        }
        let first = self.next % places.len();
        let in_turn = (first..places.len()).chain(0..first);
        let by = |cost: fn(&Load) -> f64| {
            // The first of the least, seen from whose turn it is.
            in_turn.clone().min_by(|&a, &b| cost(&places[a]).total_cmp(&cost(&places[b])))
        };
        let chosen = match self.strategy {
            Balancing::RoundRobin => Some(first),
            Balancing::LeastLoaded => by(Load::asked),
            Balancing::MeasuredTime => by(Load::time),
        }
        .unwrap_or(first);
        self.next = chosen + 1;
        Ok(chosen)
    }
}

/// A member, where it is, and what it asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    /// The caller's name for it.
    pub id: i64,
    /// Index of its place.
    pub place: usize,
    /// What it asks of its place, in processors: measured busy processors, or its share times them.
    pub demand: f64,
    /// Whether it can be moved now.
    pub movable: bool,
}

/// That a member should go to another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The member.
    pub id: i64,
    /// Where it is.
    pub from: usize,
    /// Where it should go.
    pub to: usize,
}

/// How far apart the loads of places are: the largest less the smallest, each as demand over processors.
pub fn spread(processors: &[u32], members: &[Member]) -> f64 {
    let loads = loads(processors, members);
    let most = loads.iter().copied().fold(0.0, f64::max);
    let least = loads.iter().copied().fold(f64::INFINITY, f64::min);
    if loads.is_empty() { 0.0 } else { most - least }
}

fn loads(processors: &[u32], members: &[Member]) -> Vec<f64> {
    let mut asked = vec![0.0; processors.len()];
    for m in members {
        if let Some(a) = asked.get_mut(m.place) {
            *a += m.demand.max(0.0);
        }
    }
    asked.iter().zip(processors).map(|(a, &p)| a / f64::from(p.max(1))).collect()
}

/// The moves that bring the loads of places within `threshold` of each other, as far as moving whole members can. Each
/// brings the two places that it joins closer together, so a second call with the same figures moves nothing. Nothing is
/// moved while the [`spread`] is at most `threshold`.
pub fn rebalance(processors: &[u32], members: &[Member], threshold: f64) -> Vec<Move> {
    let mut members = members.to_vec();
    let mut moves = Vec::new();
    // Each member at most once: it is not sent about.
    while spread(processors, &members) > threshold {
        let Some((at, to)) = best_move(processors, &members) else { break };
        let member = &mut members[at];
        moves.push(Move { id: member.id, from: member.place, to });
        member.place = to;
        member.movable = false;
    }
    moves
}

/// The member of the fullest place, and the emptiest place, whose move leaves the two closest to each other and closer than
/// they were.
fn best_move(processors: &[u32], members: &[Member]) -> Option<(usize, usize)> {
    let loads = loads(processors, members);
    let from = (0..loads.len()).max_by(|&a, &b| loads[a].total_cmp(&loads[b]))?;
    let to = (0..loads.len()).min_by(|&a, &b| loads[a].total_cmp(&loads[b]))?;
    let gap = loads[from] - loads[to];
    // Their loads after the move.
    let after = |m: &Member| {
        let left = loads[from] - m.demand / f64::from(processors[from].max(1));
        let right = loads[to] + m.demand / f64::from(processors[to].max(1));
        (left, right)
    };
    let candidates =
        members.iter().enumerate().filter(|(_, m)| m.place == from && m.movable && m.demand > 0.0);
    candidates
        .map(|(i, m)| (i, after(m)))
        // A small place may not become fuller than the large one was.
        .filter(|&(_, (left, right))| (left - right).abs() < gap * 0.999 && right < loads[from])
        .map(|(i, (left, right))| (i, (left - right).abs()))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(i, _)| (i, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(processors: u32, pending: u64, mean_ms: u64, busy: f64) -> Load {
        Load { processors, shares: 0.0, pending, mean: Duration::from_millis(mean_ms), busy }
    }

    #[test]
    fn each_strategy_chooses_by_its_own_figure() {
        let places = [place(1, 3, 1, 0.1), place(1, 2, 10, 0.9), place(4, 5, 2, 0.5)];
        let mut turns = Chooser::new(Balancing::RoundRobin);
        let all: Vec<_> = (0..6).map(|_| turns.choose(&places).unwrap()).collect();
        assert_eq!(all, [0, 1, 2, 0, 1, 2]);
        assert_eq!(Chooser::new(Balancing::LeastLoaded).choose(&places).unwrap(), 2, "5 for 4 processors");
        assert_eq!(Chooser::new(Balancing::MeasuredTime).choose(&places).unwrap(), 0, "3 of 1 ms");
        assert!(turns.choose(&[]).unwrap_err().message().contains("`places`"));
        for s in Balancing::ALL {
            assert_eq!(s.name().parse::<Balancing>().unwrap(), s);
        }
        assert!("best".parse::<Balancing>().unwrap_err().message().contains("`strategy`"));
    }

    #[test]
    fn equals_take_turns() {
        let same = [place(2, 0, 0, 0.0); 3];
        for strategy in Balancing::ALL {
            let mut chooser = Chooser::new(strategy);
            let all: Vec<_> = (0..4).map(|_| chooser.choose(&same).unwrap()).collect();
            assert_eq!(all, [0, 1, 2, 0], "{strategy}");
        }
    }

    #[test]
    fn work_queued_by_load_ends_at_the_same_time() {
        // Two places, one three times as fast: with the measured time it gets three quarters of the work.
        let mean = [Duration::from_millis(30), Duration::from_millis(10)];
        let mut done = [Duration::ZERO; 2];
        let mut chooser = Chooser::new(Balancing::MeasuredTime);
        let mut count = [0u64; 2];
        for _ in 0..400 {
            let now = done[0].min(done[1]);
            let loads = [0, 1].map(|i| Load {
                processors: 1,
                pending: ((done[i] - now).as_millis() as u64).div_ceil(mean[i].as_millis() as u64),
                mean: mean[i],
                ..Load::default()
            });
            let at = chooser.choose(&loads).unwrap();
            done[at] += mean[at];
            count[at] += 1;
        }
        assert!(count[1].abs_diff(300) <= 4, "{count:?}");
    }

    #[test]
    fn a_crowded_place_gives_members_away() {
        let crowded: Vec<_> = (0..4).map(|id| Member { id, place: 0, demand: 1.0, movable: true }).collect();
        let moves = rebalance(&[2, 2], &crowded, 0.2);
        assert_eq!(moves.len(), 2, "{moves:?}");
        assert!(rebalance(&[2, 2], &crowded, 2.0).is_empty(), "within the threshold");
        let fixed: Vec<_> = crowded.iter().map(|m| Member { movable: false, ..*m }).collect();
        assert!(rebalance(&[2, 2], &fixed, 0.2).is_empty());
        // One that is all the load there is would only move the trouble.
        let alone = [Member { id: 7, place: 0, demand: 2.0, movable: true }];
        assert!(rebalance(&[2, 2], &alone, 0.2).is_empty());
    }

    proptest! {
        #[test]
        fn moves_never_widen_the_spread_and_end(
            processors in prop::collection::vec(1u32..64, 1..6),
            demands in prop::collection::vec((0usize..6, 0.0f64..8.0, any::<bool>()), 0..40),
            threshold in 0.0f64..1.0,
        ) {
            let members: Vec<_> = demands
                .iter()
                .enumerate()
                .map(|(i, &(place, demand, movable))| Member {
                    id: i as i64, place: place % processors.len(), demand, movable,
                })
                .collect();
            let before = loads(&processors, &members).into_iter().fold(0.0, f64::max);
            let moves = rebalance(&processors, &members, threshold);
            let mut after = members.clone();
            for m in &moves {
                let member = &mut after[m.id as usize];
                prop_assert!(member.movable && member.place == m.from);
                member.place = m.to;
            }
            prop_assert!(loads(&processors, &after).into_iter().fold(0.0, f64::max) <= before + 1e-9);
            let mut ids: Vec<_> = moves.iter().map(|m| m.id).collect();
            ids.dedup();
            ids.sort_unstable();
            let count = ids.len();
            ids.dedup();
            prop_assert_eq!(count, ids.len(), "a member was sent about");
        }
    }
}
