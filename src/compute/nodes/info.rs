//! What is told of a node.

use std::time::SystemTime;

/// What a node gives its tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// Processors, matrix circuits included: SMs with their tensor cores; cores with their 8-bit dot products.
    TensorCore,
    /// The same processors for f32 arithmetic alone. A tenant that holds nodes of both kinds may use matrix circuits.
    CudaCore,
    /// Physical memory that is kept for the tenant.
    MemoryBank,
    /// The memory inside of processors: on a GPU its kernels get as much of L1 as shared memory as there is; on the CPU
    /// a block of memory small enough for a core's own cache.
    SharedMemory,
    /// A part of the last-level cache: on a GPU a slice of L2 in which a window of its memory persists; on the CPU the
    /// cache of a group of cores, on which the tenant then stays.
    L2Cache,
}

impl NodeKind {
    /// All kinds, in the order of their numbers at the border.
    pub const ALL: [NodeKind; 5] = [
        NodeKind::TensorCore,
        NodeKind::CudaCore,
        NodeKind::MemoryBank,
        NodeKind::SharedMemory,
        NodeKind::L2Cache,
    ];

    /// Whether work runs on it.
    pub fn is_processors(self) -> bool {
        matches!(self, NodeKind::TensorCore | NodeKind::CudaCore)
    }

    /// A name for reports: `tensor_core` and so on.
    pub fn name(self) -> &'static str {
        match self {
            NodeKind::TensorCore => "tensor_core",
            NodeKind::CudaCore => "cuda_core",
            NodeKind::MemoryBank => "memory_bank",
            NodeKind::SharedMemory => "shared_memory",
            NodeKind::L2Cache => "l2_cache",
        }
    }
}

/// One node of a device, or one made for a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Identifier, unique on the device. Processors come first, from 0.
    pub id: u32,
    /// What it gives.
    pub kind: NodeKind,
    /// Units it is made of (indices into [`crate::device::Device::units`]), ascending. Empty where it belongs to no
    /// processors.
    pub units: Vec<u32>,
    /// Cores or SMs of these units.
    pub processors: u32,
    /// Bytes: of the device's memory, which all processors share; of a bank; of shared memory; of a part of the cache.
    pub memory: u64,
    /// Bytes of it in use: what the holder has allocated; what it has drawn from a bank; all that it was given of shared
    /// memory and cache. 0 while nobody holds it.
    pub memory_used: u64,
    /// Where it lies, for what has an address in the holder's space (the CPU's shared memory), else 0.
    pub address: u64,
    /// The tenant that holds it, if any.
    pub owner: Option<String>,
    /// Somebody holds it and has used it since: work ran on its processors, memory was drawn from the bank.
    pub active: bool,
    /// Made by [`super::Nodes::create`] for one tenant, rather than one of the device's own.
    pub virtual_node: bool,
    /// Last time work was admitted on any of its units, or memory drawn from the bank, if ever.
    pub last_used: Option<SystemTime>,
    /// What it is on this device, in words.
    pub detail: String,
}
