//! Work of virtual GPUs: operations, built-in kernels, programs and host functions on their streams.

pub(super) mod executions;
mod lane;
pub(super) mod operations;
pub(super) mod programs;

pub(super) use executions::Executions;
pub use executions::{ExecutionInfo, Stopped};
pub(super) use lane::Lane;
pub use operations::{Activation, Convolution};
pub use programs::KernelCall;
