//! What happened and how long it took: logging, the history of errors, the profiler and its exports. The rooms above
//! tell this one; it knows none of them.

pub mod nvtx;
pub mod profiler;
pub mod prometheus;
pub mod trace;
