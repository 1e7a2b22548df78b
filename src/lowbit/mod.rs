//! Low-bit kernels as a whole: which of them runs, how it does, and what happens when one fails.

pub mod monitor;
pub mod recovery;
pub mod selection;
