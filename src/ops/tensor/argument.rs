//! What a kernel is called with.

use crate::device::DevicePtr;

/// One argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// An address in the tenant's memory.
    Pointer(DevicePtr),
    /// A signed integer of 32 bits.
    I32(i32),
    /// An unsigned integer of 32 bits.
    U32(u32),
    /// A signed integer of 64 bits.
    I64(i64),
    /// An unsigned integer of 64 bits.
    U64(u64),
    /// A number of 32 bits.
    F32(f32),
    /// A number of 64 bits.
    F64(f64),
    /// A struct passed by value, as it lies in memory.
    Bytes(Vec<u8>),
}

impl Argument {
    /// Bytes that it takes as a parameter of a kernel.
    pub fn size(&self) -> usize {
        match self {
            Argument::Pointer(_) | Argument::I64(_) | Argument::U64(_) | Argument::F64(_) => 8,
            Argument::I32(_) | Argument::U32(_) | Argument::F32(_) => 4,
            Argument::Bytes(bytes) => bytes.len(),
        }
    }

    /// What it is, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Argument::Pointer(_) => "pointer",
            Argument::I32(_) => "i32",
            Argument::U32(_) => "u32",
            Argument::I64(_) => "i64",
            Argument::U64(_) => "u64",
            Argument::F32(_) => "f32",
            Argument::F64(_) => "f64",
            Argument::Bytes(_) => "bytes",
        }
    }
}
