//! Virtual GPUs, their memory spaces and compute units: tenants under an integer id.

pub mod monitor;
