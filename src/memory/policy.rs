//! How a space allocates and when it compacts itself.

use super::UNIT;
use super::space::Space;
use crate::{Error, Result};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The largest gap behind an allocation.
pub const LARGEST_GUARD: u64 = 1 << 30;

/// The largest bound of small allocations.
pub const LARGEST_SMALL: u64 = 1 << 20;

/// How a space allocates and when it compacts itself. Changed at run time by [`Space::set_policy`]; what was allocated
/// before stays as it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpacePolicy {
    /// Bytes behind each allocation that belong to nobody, rounded up so that allocation and gap are a multiple of 256:
    /// charged with it, and refused by [`Space::check`]. 0 for none.
    pub guard_bytes: u64,
    /// Whether gaps are filled with a pattern when memory is allocated, so that [`Space::check_guards`] finds what wrote
    /// beyond its end. Costs one small fill an allocation.
    pub guard_pattern: bool,
    /// Whether allocations below `small_limit` come from memory of their own, so that a few small ones do not hold
    /// many large pieces.
    pub small_pool: bool,
    /// Allocations of fewer bytes are small. Where the device gives and takes single pages, multiples of a page never
    /// are.
    pub small_limit: u64,
    /// Whether memory that lies scattered is compacted before an allocation is refused for it.
    pub before_refusal: bool,
    /// Whether a thread of the process compacts the space when [`Space::fragmentation`] passes `threshold` after
    /// something was freed.
    pub auto: bool,
    /// The level of fragmentation, 0 to 1, beyond which it does so.
    pub threshold: f64,
    /// The longest that compaction holds the tenant's work up at a time. One piece is moved at least, so a device can
    /// take longer.
    pub max_pause: Duration,
}

impl Default for SpacePolicy {
    fn default() -> SpacePolicy {
        SpacePolicy {
            guard_bytes: 0,
            guard_pattern: false,
            small_pool: true,
            small_limit: 64 << 10,
            before_refusal: true,
            auto: false,
            threshold: 0.25,
            max_pause: Duration::from_millis(10),
        }
    }
}

impl SpacePolicy {
    fn check(&self) -> Result<()> {
        if self.guard_bytes > LARGEST_GUARD {
            let text = format!("{} is more than {LARGEST_GUARD}", self.guard_bytes);
            return Err(Error::argument("guard_bytes", text));
        }
        if self.guard_pattern && self.guard_bytes == 0 {
            return Err(Error::argument("guard_pattern", "is set without guard_bytes"));
        }
        if !(UNIT..=LARGEST_SMALL).contains(&self.small_limit) {
            let text = format!("{} is not between {UNIT} and {LARGEST_SMALL}", self.small_limit);
            return Err(Error::argument("small_limit", text));
        }
        if !(0.0..=1.0).contains(&self.threshold) {
            return Err(Error::argument("threshold", format!("{} is not between 0 and 1", self.threshold)));
        }
        if self.max_pause.is_zero() {
            return Err(Error::argument("max_pause", "must not be 0"));
        }
        Ok(())
    }
}

impl Space {
    /// How it allocates and compacts.
    pub fn policy(&self) -> SpacePolicy {
        *self.policy.read()
    }

    /// Changes how it allocates and compacts from now on.
    ///
    /// Errors: [`crate::Status::InvalidArgument`] for a value out of its range, named. Nothing has changed then.
    pub fn set_policy(&self, policy: SpacePolicy) -> Result<()> {
        policy.check()?;
        let mut now = self.policy.write();
        *now = policy;
        let small = if policy.small_pool { policy.small_limit / UNIT } else { 0 };
        self.small.store(small as u32, Ordering::Relaxed);
        self.guard.store(policy.guard_bytes, Ordering::Relaxed);
        self.pattern.store(policy.guard_pattern, Ordering::Relaxed);
        self.auto.store(policy.auto, Ordering::Relaxed);
        drop(now);
        self.look_after(true);
        Ok(())
    }
}
