//! How much of the last second and minute was used.

use std::time::{Duration, Instant};

/// Length of a cell.
const CELL: Duration = Duration::from_millis(100);
/// Cells kept: a minute, and the one being filled.
const CELLS: usize = 601;

/// Part of a stretch of time, 0 to 1, in which a tenant's work ran on its units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Utilization {
    /// Of the last second.
    pub second: f64,
    /// Of the last minute, or of the time since it began where that is shorter.
    pub minute: f64,
}

/// Busy time by tenths of a second, for a minute.
pub(in crate::compute) struct Usage {
    began: Instant,
    /// Nanoseconds by number of the cell since `began`, modulo [`CELLS`].
    cells: Box<[u64]>,
    /// The cell that was written last; later ones count as empty.
    last: u64,
}

impl Usage {
    pub fn new(now: Instant) -> Usage {
        Usage { began: now, cells: vec![0; CELLS].into(), last: 0 }
    }

    fn forward(&mut self, cell: u64) {
        if cell <= self.last {
            return;
        }
        let fresh = (cell - self.last).min(CELLS as u64);
        for i in 0..fresh {
            self.cells[((cell - i) % CELLS as u64) as usize] = 0;
        }
        self.last = cell;
    }

    fn cell(&self, at: Duration) -> u64 {
        (at.as_nanos() / CELL.as_nanos()) as u64
    }

    /// Notes `busy` time that ended at `now`. What is longer than a cell is spread over those before.
    pub fn add(&mut self, busy: Duration, now: Instant) {
        let mut end = now.saturating_duration_since(self.began);
        let mut cell = self.cell(end);
        self.forward(cell);
        let oldest = self.last.saturating_sub(CELLS as u64 - 1);
        let mut left = busy;
        loop {
            let begin = CELL * (cell as u32);
            let part = if cell == oldest { left } else { left.min(end.saturating_sub(begin)) };
            self.cells[(cell % CELLS as u64) as usize] += part.as_nanos() as u64;
            left -= part;
            if left.is_zero() || cell == oldest {
                return;
            }
            end = begin;
            cell -= 1;
        }
    }

    pub fn read(&mut self, now: Instant) -> Utilization {
        let at = now.saturating_duration_since(self.began);
        let cell = self.cell(at);
        self.forward(cell);
        let of = |window: Duration| {
            let window = window.min(at);
            if window.is_zero() {
                return 0.0;
            }
            // The window ends inside of a cell, so it begins inside of one: of that its later part.
            let from = at - window;
            let first = self.cell(from);
            let rest = (CELL * (first as u32 + 1)).saturating_sub(from).as_secs_f64() / CELL.as_secs_f64();
            let at = |c: u64| self.cells[(c % CELLS as u64) as usize] as f64;
            let oldest = cell.saturating_sub(CELLS as u64 - 1);
            let mut busy: f64 = (first.max(oldest) + 1..=cell).map(at).sum();
            if first >= oldest {
                busy += at(first) * if first == cell { 1.0 } else { rest };
            }
            (busy / window.as_nanos() as f64).min(1.0)
        };
        Utilization { second: of(Duration::from_secs(1)), minute: of(Duration::from_secs(60)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_falls_out_of_the_windows() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut usage = Usage::new(start);
        for i in 1..=100 {
            usage.add(Duration::from_millis(5), at(i * 10));
        }
        let u = usage.read(at(1000));
        assert!((u.second - 0.5).abs() < 0.03 && (u.minute - 0.5).abs() < 0.03, "{u:?}");
        let u = usage.read(at(3000));
        assert!(u.second == 0.0 && (u.minute - 0.5 / 3.0).abs() < 0.01, "{u:?}");
        // One piece of two seconds was busy all the last second.
        usage.add(Duration::from_secs(2), at(5000));
        let u = usage.read(at(5000));
        assert!((u.second - 1.0).abs() < 0.01 && (u.minute - 0.5).abs() < 0.01, "{u:?}");
        let u = usage.read(at(1_000_000));
        assert_eq!(u, Utilization::default());
        usage.add(Duration::from_secs(3000), at(1_000_100));
        assert!(usage.read(at(1_000_100)).minute > 0.99);
    }
}
