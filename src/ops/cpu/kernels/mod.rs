//! Kernels that multiply one or two panels of a packed matrix with a few rows of activations.
//!
//! Each output is one lane of one vector from the first input to the last, so it has the same bits whatever the
//! number of rows or panels in a call. Levels differ in no integer; products with quantized weights round alike on
//! every level, those with float weights are fused where the level has fused instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod plain;
mod scalar;

use super::isa::Isa;
use crate::ops::Math;
use crate::quant::DType;

/// Rows of activations that a kernel takes at most.
pub const MAX_ROWS: usize = 6;
/// Panels that a kernel takes at most.
pub const MAX_PANELS: usize = 2;
/// Inputs after which float products add their partial sums to the total.
const CHUNK: usize = 256;

/// Where a kernel reads.
#[derive(Clone, Copy)]
pub struct Operands {
    /// The first panel.
    pub w: *const u8,
    /// Bytes from one panel to the next.
    pub w_stride: usize,
    /// The first row: [`super::activations::Block`]s for quantized weights, f32 for others.
    pub x: *const u8,
    /// Bytes from one row to the next.
    pub x_stride: usize,
    /// Inputs.
    pub cols: usize,
}

/// Computes `out[rows][panels][16]` for the rows and panels that this kernel was made for.
pub type Kernel = unsafe fn(&Operands, *mut f32);

/// The kernels of one type at one level.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// `kernels[p - 1][r - 1]` takes `p` panels and `r` rows.
    pub kernels: [[Kernel; MAX_ROWS]; MAX_PANELS],
    /// Most panels these take.
    pub panels: usize,
    /// Most rows these take.
    pub rows: usize,
}

/// The kernels for weights of `dtype` at level `isa`.
pub fn kernels(isa: Isa, dtype: DType) -> Kernels {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => avx512::kernels(dtype),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => match dtype {
            DType::F32 | DType::F16 | DType::BF16 => avx512::kernels(dtype),
            _ => avx2::kernels(dtype),
        },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::kernels(dtype),
        _ => scalar::kernels(dtype),
    }
}

/// What a product's activations are turned into before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: f32 as they are.
    Floats,
    /// [`super::activations::Block`]s of 8 bits.
    Blocks,
    /// bf16, a row padded to an even number.
    Bf16,
}

/// The kernels for weights of `dtype` by the rules of `math`, and what they take.
pub fn chosen(isa: Isa, dtype: DType, math: Math) -> (Kernels, Takes) {
    match math {
        Math::Plain => (plain::kernels(isa, dtype), Takes::Floats),
        #[cfg(target_arch = "x86_64")]
        Math::Fast
            if isa >= Isa::Avx512
                && super::isa::has_bf16()
                && let Some(kernels) = bf16::kernels(dtype) =>
        {
            (kernels, Takes::Bf16)
        }
        _ if takes_blocks(dtype) => (kernels(isa, dtype), Takes::Blocks),
        _ => (kernels(isa, dtype), Takes::Floats),
    }
}

/// Whether products with this type take [`super::activations::Block`]s.
pub fn takes_blocks(dtype: DType) -> bool {
    !matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// For types that never come here: those of ternary matrices have kernels in [`super::lowbit`], or are turned into another when a
/// model is loaded, and packing refuses them.
#[cold]
pub fn elsewhere(dtype: DType) -> ! {
    unreachable!("no panel of 16 rows has the type {dtype:?}")
}
