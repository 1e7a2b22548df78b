//! Measuring kernels against each other in bounded time.
//!
//! All that are in the race take turns, so that what disturbs the machine disturbs all of them. A turn is long enough for
//! the clock. Whoever is far behind leaves the race early; the rest of the time goes to those that are close.

use super::candidate::Trial;
use crate::{Error, Result};
use std::time::{Duration, Instant};

/// A turn lasts at least about this long.
const TURN: Duration = Duration::from_micros(200);
/// Whose first run, not warm yet, is above the best of all by this factor leaves at once when that takes milliseconds.
const FAR: f64 = 3.0;
const MILLISECONDS: f64 = 2e-3;
/// After a round, whose best time is above the best of all by this factor leaves.
const BEHIND: f64 = 1.5;
/// After so many rounds the bar is `CLOSE`.
const EARLY: usize = 4;
const CLOSE: f64 = 1.08;
/// Executions of the fastest that are waited for, up to `LONGER` times the time allowed.
const WANTED: u32 = 40;
const LONGER: u32 = 4;
/// More rounds tell nothing new.
const MOST_ROUNDS: usize = 200;

/// How long one kernel took.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Seconds of an execution: the lower quartile of its turns, which a machine that is shared disturbs least.
    pub seconds: f64,
    /// Its turns.
    pub turns: usize,
}

/// One in the race.
struct Runner<'a> {
    trial: Box<dyn Trial + 'a>,
    times: u32,
    seconds: Vec<f64>,
    failed: Option<Error>,
    left: bool,
}

impl Runner<'_> {
    fn turn(&mut self) {
        // Helpers that slept while others had their turns are woken by a run that does not count.
        let woken = if self.times > 1 { self.trial.timed(1).map(drop) } else { Ok(()) };
        match woken.and_then(|()| self.trial.timed(self.times)) {
            Ok(time) => {
                let each = time.as_secs_f64() / f64::from(self.times);
                self.seconds.push(each.max(1e-10));
                // The first time was not warm: now it is known about how many fill a turn, and then better.
                if self.seconds.len() <= 3 {
                    let fill = (TURN.as_secs_f64() / each.max(1e-9)) as u32;
                    self.times = fill.clamp(if each < TURN.as_secs_f64() { 2 } else { 1 }, 100_000);
                }
            }
            Err(e) => self.failed = Some(e),
        }
    }

    fn best(&self) -> f64 {
        // The cold one does not count once there are others.
        let from = usize::from(self.seconds.len() > 1);
        self.seconds[from..].iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn racing(&self) -> bool {
        self.failed.is_none() && !self.left
    }
}

/// Times these against each other within `budget`, or up to four times that where 40 executions of the fastest take longer.
/// Each is run once whatever that takes, unless twice the budget is over before its first run. After that run `seen` is called
/// with its place, before another one runs. A result for each, in order: its timing, or why there is none.
pub fn race<'a>(
    trials: Vec<Box<dyn Trial + 'a>>,
    budget: Duration,
    mut seen: impl FnMut(usize, &(dyn Trial + 'a)),
) -> Vec<Result<Timing>> {
    let start = Instant::now();
    let runner = |trial| Runner { trial, times: 1, seconds: vec![], failed: None, left: false };
    let mut all: Vec<Runner<'_>> = trials.into_iter().map(runner).collect();
    for (at, one) in all.iter_mut().enumerate() {
        if start.elapsed() > budget * 2 {
            let text = format!("not measured: the {} ms for that were over", budget.as_millis());
            one.failed =
                Some(Error::new(crate::Status::Timeout, text).advise("allow more time for measurements"));
            continue;
        }
        one.turn();
        if one.failed.is_none() {
            seen(at, &*one.trial);
        }
    }
    let fastest = all.iter().filter(|r| r.racing()).map(Runner::best).fold(f64::INFINITY, f64::min);
    let mut budget = budget;
    if fastest.is_finite() {
        let wanted = start.elapsed() + Duration::from_secs_f64((fastest * f64::from(WANTED)).min(60.0));
        budget = budget.max(wanted.min(budget * LONGER));
    }
    if fastest > MILLISECONDS {
        all.iter_mut().filter(|r| r.racing()).for_each(|r| r.left = r.best() > fastest * FAR);
    }
    for round in 0..MOST_ROUNDS {
        let best = all.iter().filter(|r| r.racing()).map(Runner::best).fold(f64::INFINITY, f64::min);
        let bar = if round < EARLY { BEHIND } else { CLOSE };
        // The cold first run says little of short work.
        if round > 0 {
            all.iter_mut().filter(|r| r.failed.is_none()).for_each(|r| r.left |= r.best() > best * bar);
        }
        // Backwards every other time: nobody always follows the same one.
        let mut order: Vec<usize> = (0..all.len()).filter(|i| all[*i].racing()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        // Those that are alone have won.
        let decided = order.len() < 2 && round > EARLY;
        for at in order {
            if decided || start.elapsed() >= budget {
                break;
            }
            all[at].turn();
        }
        if decided || start.elapsed() >= budget {
            break;
        }
    }
    all.into_iter()
        .map(|mut one| match one.failed.take() {
            Some(e) => Err(e),
            None => {
                if one.seconds.len() > 1 {
                    one.seconds.remove(0);
                }
                one.seconds.sort_by(f64::total_cmp);
                Ok(Timing { seconds: one.seconds[one.seconds.len() / 4], turns: one.seconds.len() })
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says how long it took without taking it.
    struct Told(f64, u32);

    impl Trial for Told {
        fn run(&mut self) -> Result<()> {
            Ok(())
        }
        fn timed(&mut self, times: u32) -> Result<Duration> {
            self.1 += 1;
            // Every third is disturbed.
            let disturbed = if self.1.is_multiple_of(3) { 5.0 } else { 1.0 };
            Ok(Duration::from_secs_f64(self.0 * disturbed * f64::from(times)))
        }
        fn output(&self) -> Result<Vec<f32>> {
            Ok(vec![self.1 as f32])
        }
    }

    struct Broken;

    impl Trial for Broken {
        fn run(&mut self) -> Result<()> {
            Err(Error::unsupported("broken"))
        }
        fn output(&self) -> Result<Vec<f32>> {
            self::Told(0.0, 0).output()
        }
    }

    #[test]
    fn disturbed_turns_do_not_decide_and_the_slow_leave() {
        let trials: Vec<Box<dyn Trial>> = vec![
            Box::new(Told(2e-3, 0)),
            Box::new(Broken),
            Box::new(Told(1e-3, 0)),
            Box::new(Told(1.03e-3, 0)),
        ];
        let mut seen = vec![];
        let all =
            race(trials, Duration::from_secs(5), |at, trial| seen.push((at, trial.output().unwrap()[0])));
        assert_eq!(seen, [(0, 1.0), (2, 1.0), (3, 1.0)]);
        let timing = |i: usize| all[i].as_ref().unwrap();
        assert!(all[1].is_err());
        for (at, want) in [(0, 2e-3), (2, 1e-3), (3, 1.03e-3)] {
            assert!((timing(at).seconds / want - 1.0).abs() < 1e-3, "{at}: {:?}", timing(at));
        }
        assert!(timing(0).turns < 6, "the slow one left: {:?}", timing(0));
        assert!(timing(2).turns > 50 && timing(3).turns > 50);
    }

    struct Sleepy(Duration);

    impl Trial for Sleepy {
        fn run(&mut self) -> Result<()> {
            // What is measured here is the bound on time itself.
            std::thread::sleep(self.0);
            Ok(())
        }
        fn output(&self) -> Result<Vec<f32>> {
            Ok(vec![])
        }
    }

    #[test]
    fn time_is_bounded() {
        let slow = |_| Box::new(Sleepy(Duration::from_millis(30))) as Box<dyn Trial>;
        let start = Instant::now();
        let all = race((0..50).map(slow).collect(), Duration::from_millis(60), |_, _| ());
        assert!(start.elapsed() < Duration::from_millis(60 * 4 + 30 * 4), "{:?}", start.elapsed());
        let late = all.iter().filter(|t| t.as_ref().is_err_and(|e| e.status() == crate::Status::Timeout));
        assert!(late.count() > 40 && all[0].is_ok());
    }
}
