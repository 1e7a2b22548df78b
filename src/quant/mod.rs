//! Storage types of weights: their blocks, sizes, and the scalar reference that turns them into f32.
//!
//! The formats are those of GGUF (`ggml` type numbers in parentheses): F32 (0), F16 (1), Q4_0 (2), Q8_0 (8), Q4_K
//! (12), Q6_K (14), BF16 (30), and those of two bits and less: TQ1_0 (34), TQ2_0 (35), I2_S (36); see [`lowbit`]. The reference is plain code that nobody optimises; every kernel is compared with it.

mod dequantize;
pub mod lowbit;
mod quantize;

pub use dequantize::{dequantize, q4_k_scales};
pub use quantize::quantize;

use crate::{Error, Result};

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum DType {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// Upper half of an IEEE float.
    BF16,
    /// 32 weights: f16 scale, 32 signed bytes.
    Q8_0,
    /// 32 weights: f16 scale, 16 bytes of nibbles with offset 8.
    Q4_0,
    /// 256 weights: f16 scale and minimum, eight 6-bit sub-scales and sub-minima, 128 bytes of nibbles.
    Q4_K,
    /// 256 weights: 4 low bits, 2 high bits, sixteen signed 8-bit sub-scales, f16 scale.
    Q6_K,
    /// 256 ternary weights: five in a byte, f16 scale.
    TQ1_0,
    /// 256 ternary weights: four in a byte, f16 scale.
    TQ2_0,
    /// Ternary weights of a whole tensor, 128 in 32 bytes, and behind all of them one f32 scale in 32 bytes of its own. Blocks
    /// go on from row to row.
    I2_S,
}

impl DType {
    /// The type with this `ggml` number.
    pub fn from_ggml(number: u32) -> Result<DType> {
        Ok(match number {
            0 => DType::F32,
            1 => DType::F16,
            2 => DType::Q4_0,
            8 => DType::Q8_0,
            12 => DType::Q4_K,
            14 => DType::Q6_K,
            30 => DType::BF16,
            34 => DType::TQ1_0,
            35 => DType::TQ2_0,
            36 => DType::I2_S,
            n => {
                return Err(Error::unsupported(format!("tensor type number {n} is not supported")).advise(
                    "F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K, TQ1_0, TQ2_0 and I2_S are; requantize the file",
                ));
            }
        })
    }

    /// Weights per block.
    pub fn block(self) -> u64 {
        match self {
            DType::F32 | DType::F16 | DType::BF16 => 1,
            DType::Q8_0 | DType::Q4_0 => 32,
            DType::Q4_K | DType::Q6_K | DType::TQ1_0 | DType::TQ2_0 => 256,
            DType::I2_S => lowbit::I2S_BLOCK as u64,
        }
    }

    /// Bytes per block as stored in a file.
    pub fn block_bytes(self) -> u64 {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::Q8_0 => 34,
            DType::Q4_0 => 18,
            DType::Q4_K => 144,
            DType::Q6_K => 210,
            DType::TQ1_0 => lowbit::TQ1_BYTES as u64,
            DType::TQ2_0 => lowbit::TQ2_BYTES as u64,
            DType::I2_S => lowbit::I2S_BLOCK as u64 / 4,
        }
    }

    /// Whether it holds weights of -1, 0 and 1 with one scale for all.
    pub fn is_ternary(self) -> bool {
        self == DType::I2_S
    }

    /// Bytes of `rows` rows of `cols` weights as stored in a file. `cols` must be a multiple of [`DType::block`]; of I2_S
    /// the number of all weights.
    pub fn bytes(self, rows: u64, cols: u64) -> Result<u64> {
        if self == DType::I2_S {
            let all = rows.checked_mul(cols).filter(|n| n.is_multiple_of(self.block()));
            let all = all.and_then(|n| (n / 4).checked_add(lowbit::I2S_TAIL as u64));
            return all.ok_or_else(|| {
                Error::format(format!("{rows} x {cols} weights are no whole number of I2_S blocks of 128"))
            });
        }
        if !cols.is_multiple_of(self.block()) {
            return Err(Error::format(format!(
                "a row of {cols} weights is no whole number of {self:?} blocks"
            )));
        }
        (cols / self.block())
            .checked_mul(self.block_bytes())
            .and_then(|row| row.checked_mul(rows))
            .ok_or_else(|| Error::format(format!("{rows} x {cols} weights of type {self:?} overflow")))
    }
}
