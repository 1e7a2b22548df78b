//! What is known about a device.

use std::fmt;

/// The kind of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The host's processor and memory: always there.
    Cpu,
    /// An NVIDIA GPU reached through its driver API.
    Cuda,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceKind::Cpu => "cpu",
            DeviceKind::Cuda => "cuda",
        })
    }
}

/// The smallest processors that can be given to a node: one CPU core, or one group of SMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Index among the device's units.
    pub index: u32,
    /// How many processors it has: 1 on the CPU; SMs in the group on a GPU (8 on compute capability 9.0).
    pub processors: u32,
    /// CPU: the operating system's number of the core. GPU: the index of the SM group.
    pub os_index: u32,
    /// CPU: the NUMA node of the core. GPU: 0.
    pub numa_node: u32,
}

/// One NVLink of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvLink {
    /// Link number.
    pub link: u32,
    /// Whether the link is up.
    pub active: bool,
    /// The CUDA ordinal of the GPU at the other end, when it is one of this process's GPUs.
    pub peer: Option<u32>,
}

/// True figures of a device. For the CPU device each field says what it means there; where a figure has no meaning
/// or cannot be read it is 0 (or empty, or `None`), never a guess.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceInfo {
    /// The name that the driver (or `/proc/cpuinfo`) gives.
    pub name: String,
    /// Bytes of physical memory.
    pub total_memory: u64,
    /// Bytes free at the time of the call.
    pub free_memory: u64,
    /// Major compute capability; CPU: 0.
    pub compute_major: u32,
    /// Minor compute capability; CPU: 0.
    pub compute_minor: u32,
    /// CPU: the SIMD level in use: "scalar", "avx2", "avx512", "avx512-vnni"; GPU: "sm_XY".
    pub isa: String,
    /// SMs; CPU: cores that this process may use.
    pub multiprocessors: u32,
    /// FP32 lanes of the whole GPU (SMs times lanes per SM of its capability); CPU: 0.
    pub cuda_cores: u32,
    /// Tensor cores of the whole GPU (SMs times tensor cores per SM of its capability); CPU: 0.
    pub tensor_cores: u32,
    /// Threads per warp; CPU: 1.
    pub warp_size: u32,
    /// Threads a block may have; CPU: 1.
    pub max_threads_per_block: u32,
    /// Threads an SM can hold; CPU: hardware threads per core.
    pub max_threads_per_multiprocessor: u32,
    /// Blocks in the x dimension of a grid; CPU: 0.
    pub max_grid_x: u32,
    /// Largest block in each dimension; CPU: zeros.
    pub max_block_dim: [u32; 3],
    /// Largest grid in each dimension; CPU: zeros.
    pub max_grid_dim: [u32; 3],
    /// Bytes of shared memory per block without opting in; CPU: 0.
    pub shared_memory_per_block: u32,
    /// Bytes of shared memory per block after opting in; CPU: 0.
    pub shared_memory_per_block_optin: u32,
    /// Bytes of shared memory per SM; CPU: 0.
    pub shared_memory_per_multiprocessor: u32,
    /// 32-bit registers per block; CPU: 0.
    pub registers_per_block: u32,
    /// 32-bit registers per SM; CPU: 0.
    pub registers_per_multiprocessor: u32,
    /// Bytes of L1 data cache per core; GPU: 0.
    pub l1_cache: u64,
    /// Bytes of L2 cache (CPU: per core).
    pub l2_cache: u64,
    /// Bytes of last-level cache; GPU: 0.
    pub l3_cache: u64,
    /// Core clock in kHz (CPU: the maximum that the system reports, or 0).
    pub clock_khz: u32,
    /// Memory clock in kHz; CPU: 0.
    pub memory_clock_khz: u32,
    /// Width of the memory bus in bits; CPU: 0.
    pub memory_bus_bits: u32,
    /// Whether ECC is on; CPU: false (not readable without privileges).
    pub ecc: bool,
    /// Whether the GPU shares the host's memory; CPU: true.
    pub integrated: bool,
    /// Whether host and device share one address space; CPU: true.
    pub unified_addressing: bool,
    /// Whether kernels can run side by side; CPU: true when there is more than one core.
    pub concurrent_kernels: bool,
    /// Copy engines that run beside kernels; CPU: 0.
    pub async_engines: u32,
    /// Whether managed memory is there; CPU: false.
    pub managed_memory: bool,
    /// PCI address such as `0000:1b:00.0`; CPU: empty.
    pub pci_bus_id: String,
    /// The NUMA nodes of the host; GPU: the one it is attached to, when known.
    pub numa_nodes: Vec<u32>,
    /// Driver version as the driver tells it (13000 for 13.0); CPU: 0.
    pub driver_version: u32,
    /// NVLinks, when NVML is present; CPU: empty.
    pub nvlinks: Vec<NvLink>,
}
