//! Products of ternary weights with activations of 8 bits: packing, the activations' codes, and kernels for each level of
//! instructions. All give the bits of [`crate::quant::lowbit`].
//!
//! `layout.rs` has the packed form. A matrix is read once for one token, at the speed of memory: codes stay packed and are masked,
//! never shifted, as `avx512.rs` tells. For many tokens codes are taken apart once for several of them, or for whole tiles.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod layout;
mod level;
mod narrow;
mod product;
mod scalar;
#[cfg(test)]
mod tests;
mod tokens;

pub use layout::{pack, packed_bytes, unpack_row};
pub use level::{Features, Level};
pub use product::{products, products_at, scratch_bytes};

/// Sums of products for some tokens and four strips: `out[t][r] = sum_k code[r][k] a[t][k]`, for [`layout::ROWS`] rows.
type Kernel = unsafe fn(Operands, *mut i32);

/// Where a kernel reads. Everything is aligned to 64 bytes.
#[derive(Clone, Copy)]
struct Operands {
    /// The first strip.
    w: *const u8,
    /// Bytes from a strip to the next.
    apart: usize,
    /// Lines of a strip.
    steps: usize,
    /// The first token's codes.
    x: *const i8,
    /// Bytes from a token to the next.
    stride: usize,
}

/// The kernels of a level: number `t - 1` takes `t` tokens.
type Kernels = &'static [Kernel];
