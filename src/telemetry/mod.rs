//! What happened and how long it took: logging, the history of errors, the profiler and its exports. The rooms above
//! tell this one; it knows none of them.

pub mod file;
pub mod history;
pub mod latency;
pub mod log;
pub mod nvtx;
pub mod profiler;
pub mod prometheus;
pub mod recovery;
pub mod trace;
