//! A bound on the part of its units' time that a tenant may use, also when nobody else wants them.

use std::time::{Duration, Instant};

/// The stretch of time over which a cap holds.
pub const CAP_WINDOW: Duration = Duration::from_millis(100);

/// Allowance that grows with time at the rate of the cap and shrinks by what is used. At most a tenth of a window's
/// allowance is saved up, so that any window's use stays within 1.1 of the cap and one piece of work; what a long piece
/// takes too much is waited for afterwards.
pub(super) struct Cap {
    pub part: f64,
    /// Seconds of device time that may be used now; negative: owed.
    level: f64,
    at: Instant,
}

impl Cap {
    pub fn new(part: f64, now: Instant) -> Cap {
        let mut cap = Cap { part, level: 0.0, at: now };
        cap.level = cap.most();
        cap
    }

    fn most(&self) -> f64 {
        self.part * CAP_WINDOW.as_secs_f64() / 10.0
    }

    /// What there is at `now`, before anything that runs then is charged.
    fn at(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + passed * self.part).min(self.most())
    }

    /// Charges time that ended at `now`. While it ran the allowance grew without being cut off.
    pub fn spend(&mut self, time: Duration, now: Instant) {
        let begun = now.checked_sub(time).unwrap_or(now).max(self.at);
        let ran = now.saturating_duration_since(begun).as_secs_f64();
        self.level = (self.at(begun) + ran * self.part - time.as_secs_f64()).min(self.most());
        self.at = self.at.max(now);
    }

    /// What may be used now; zero: nothing.
    pub fn allowance(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(self.at(now).max(0.0))
    }

    /// How long to wait until work may begin: until half of what can be saved up is there, so that it is worth it. Zero
    /// when it may begin now.
    pub fn wait(&self, now: Instant) -> Duration {
        let lacks = self.most() / 2.0 - self.at(now);
        if lacks <= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(lacks / self.part) + Duration::from_nanos(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses all that it may in pieces of `piece`; returns the part of 10 s that it got and the most in one window.
    fn greedy(part: f64, piece: Duration) -> (f64, f64) {
        let start = Instant::now();
        let (mut cap, mut now, mut used) = (Cap::new(part, start), start, Vec::new());
        while now - start < Duration::from_secs(10) {
            let wait = cap.wait(now);
            if !wait.is_zero() {
                now += wait;
                continue;
            }
            while cap.allowance(now) > Duration::ZERO {
                now += piece;
                cap.spend(piece, now);
                used.push(now);
            }
        }
        let all = used.len() as f64 * piece.as_secs_f64() / 10.0;
        let window = |i: usize| used[i..].iter().take_while(|t| **t < used[i] + CAP_WINDOW).count();
        let most = (0..used.len()).map(window).max().unwrap() as f64 * piece.as_secs_f64();
        (all, most / CAP_WINDOW.as_secs_f64())
    }

    #[test]
    fn a_cap_holds_over_its_window_and_on_the_whole() {
        for part in [0.05, 0.1, 0.3, 0.5, 0.9] {
            for piece in [50, 500, 2000, 20_000] {
                let piece = Duration::from_micros(piece);
                let (all, window) = greedy(part, piece);
                assert!((all - part).abs() < 0.01, "{part} {piece:?}: {all}");
                let bound = part * 1.1 + 1.01 * piece.as_secs_f64() / CAP_WINDOW.as_secs_f64();
                assert!(window <= bound, "{part} {piece:?}: {window} in a window, at most {bound}");
            }
        }
    }
}
