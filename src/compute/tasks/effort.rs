//! The weight of one task's work beside the rest of its tenant's, and what that work has used.

use crate::{Error, Result};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The weight of a piece of a tenant's work, and the device time that it has used. Usable from any thread.
///
/// The weight is a factor on the tenant's own: work of weight 0.8 is charged 1/0.8 of what it takes, so beside
/// neighbours that are never idle it gets 0.8 of the share that work of weight 1 of the same tenant would.
#[derive(Debug)]
pub struct Effort {
    weight: AtomicU64,
    used_ns: AtomicU64,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { weight: AtomicU64::new(1f64.to_bits()), used_ns: AtomicU64::new(0) }
    }
}

impl Effort {
    /// The weight in force; 1 is normal.
    pub fn weight(&self) -> f64 {
        f64::from_bits(self.weight.load(Relaxed))
    }

    /// Changes the weight from now on: a finite number above 0.
    pub fn set_weight(&self, weight: f64) -> Result<()> {
        check(weight)?;
        self.weight.store(weight.to_bits(), Relaxed);
        Ok(())
    }

    /// Measured device time so far.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Relaxed))
    }

    /// Adds measured device time.
    pub fn charge(&self, time: Duration) {
        self.used_ns.fetch_add(time.as_nanos() as u64, Relaxed);
    }
}

/// A weight is a finite number above 0, and neither so large nor so small that times over it lose their meaning.
pub(super) fn check(weight: f64) -> Result<()> {
    if (1e-3..=1e3).contains(&weight) {
        return Ok(());
    }
    Err(Error::argument("weight", format!("{weight} is not a number from 0.001 to 1000")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_checked_and_times_add_up() {
        let effort = Effort::default();
        assert_eq!(effort.weight(), 1.0);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e9] {
            assert!(effort.set_weight(bad).unwrap_err().message().contains("`weight`"), "{bad}");
        }
        assert_eq!(effort.weight(), 1.0);
        effort.set_weight(0.8).unwrap();
        effort.charge(Duration::from_millis(2));
        effort.charge(Duration::from_millis(3));
        assert_eq!((effort.weight(), effort.used()), (0.8, Duration::from_millis(5)));
    }
}
