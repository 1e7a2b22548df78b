//! Cogniware: one device, many models.
//!
//! A program runs several language models on one GPU, or on the CPU, as if each had a device of its own: hard
//! memory quotas, its own processors, a share that holds, and figures for each tenant.
//!
//! Rooms, each of which may use those before it in this list and never those after it (a test holds that):
//! [`error`], [`telemetry`], [`device`], [`memory`], [`compute`], [`quant`], [`ops`], [`program`], [`tenant`], [`lowbit`], [`llm`],
//! [`virtualization`], the managers ([`kernel`], [`driver`], [`system`], [`bridge`]), and the C border `ffi`.

pub mod bridge;
pub mod compute;
pub mod device;
pub mod driver;
pub mod error;
#[cfg(feature = "capi")]
pub mod ffi;
pub mod kernel;
pub mod llm;
pub mod lowbit;
pub mod memory;
pub mod ops;
pub mod program;
pub mod quant;
pub mod system;
pub mod telemetry;
pub mod tenant;
pub mod virtualization;

pub use error::{Category, Error, Result, Status};
