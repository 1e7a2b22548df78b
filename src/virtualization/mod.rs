//! Virtual GPUs, their memory spaces and compute units: tenants under an integer id.
//!
//! A virtual GPU is one tenant (`vgpu:<id>`), whichever manager made it: [`Driver::create`] makes it with a memory space and
//! a compute unit; [`MemoryManager::create`] and [`ComputeManager::create`] make it with that one part when it does not exist,
//! and give it that part when it does. Each part is ended by itself, and the tenant with the last of them. LLMs of the other
//! managers are tenants of the same ledger and the same gate.

mod compute;
mod config;
mod copy;
mod driver;
mod ends;
mod info;
mod memory;
pub mod monitor;
mod shares;
mod started;
mod table;
mod work;

pub use compute::ComputeManager;
pub use config::{
    ComputeConfig, DriverConfig, GpuConfig, LONGEST_NAME, MOST_STREAMS, MemoryConfig, UnitConfig, precision,
};
pub use copy::CopyKind;
pub use driver::Driver;
pub use info::{GpuInfo, GpuStatus, MemoryInfo, UnitInfo};
pub use memory::MemoryManager;
pub use shares::weights;
pub use table::{VirtualGpu, list, tenant_name};
pub use work::{Activation, Convolution, ExecutionInfo, KernelCall, Stopped};
