//! What moving memory to the host and back has cost a tenant.

use std::time::Duration;

/// Figures of a tenant's memory in host memory. Bytes are whole granules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpillFigures {
    /// Bytes in host memory instead of the device's now. They are still held, but not physical.
    pub spilled: u64,
    /// The most there ever were.
    pub spilled_peak: u64,
    /// Page-locked host memory for it now, with what is kept for the next time.
    pub host_bytes: u64,
    /// Times something was moved to the host, and times something was fetched.
    pub spills: u64,
    /// See `spills`.
    pub fetches: u64,
    /// Bytes moved to the host since the space was opened.
    pub bytes_out: u64,
    /// Bytes fetched.
    pub bytes_in: u64,
    /// Time that copies to the host took, without mapping and without getting page-locked memory.
    pub copying_out: Duration,
    /// Time that copies from the host took.
    pub copying_in: Duration,
    /// Time that the tenant's door was closed meanwhile, its own work in flight waited for.
    pub paused: Duration,
    /// The longest of these.
    pub longest_pause: Duration,
    /// Time that the tenant's work waited for memory to be fetched, others giving way included.
    pub fetching: Duration,
    /// The longest of these.
    pub longest_fetch: Duration,
}

fn speed(bytes: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { bytes as f64 / time.as_secs_f64() }
}

impl SpillFigures {
    /// Bytes a second of the copies to the host; 0 when there were none.
    pub fn speed_out(&self) -> f64 {
        speed(self.bytes_out, self.copying_out)
    }

    /// Bytes a second of the copies from the host; 0 when there were none.
    pub fn speed_in(&self) -> f64 {
        speed(self.bytes_in, self.copying_in)
    }

    pub(super) fn copied_out(&mut self, bytes: u64, time: Duration) {
        self.bytes_out += bytes;
        self.copying_out += time;
    }

    pub(super) fn copied_in(&mut self, bytes: u64, time: Duration) {
        self.bytes_in += bytes;
        self.copying_in += time;
    }

    pub(super) fn pause(&mut self, time: Duration) {
        self.spills += 1;
        self.paused += time;
        self.longest_pause = self.longest_pause.max(time);
    }

    pub(super) fn fetched(&mut self, time: Duration) {
        self.fetches += 1;
        self.fetching += time;
        self.longest_fetch = self.longest_fetch.max(time);
    }
}
