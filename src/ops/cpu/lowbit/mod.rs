//! Products of ternary weights with activations of 8 bits: packing, the activations' codes, and kernels for each level of
//! instructions. All give the bits of [`crate::quant::lowbit`].
//!
//! `layout.rs` has the packed form. A matrix is read once for one token, at the speed of memory: codes stay packed and are masked,
//! never shifted, as [`avx512`] tells. For many tokens codes are taken apart once for several of them, or for whole tiles.

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

/// Sums of products for some tokens and one panel: `out[t][r] = sum_k code[r][k] a[t][k]`, for [`layout::PANEL`] rows.
///
/// Arguments: the panel, the first token's codes, bytes from token to token, steps of the panel, the sums. Panels are aligned to
/// 64 bytes, and so are tokens and sums.
type Kernel = unsafe fn(*const u8, *const i8, usize, usize, *mut i32);

/// The kernels of a level: `take[t - 1]` for `t` tokens; and one for any number that takes codes apart for whole tiles.
struct Kernels {
    take: &'static [Kernel],
}
