//! What matrix work may use, and what it may round.

use crate::ops::Math;

/// What f32 inputs of a product or a convolution may be rounded to on the way into a matrix circuit. A permission, not
/// an order: a device that has no such circuit keeps more bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Precision {
    /// Nothing: 24 bits.
    #[default]
    F32,
    /// 11 bits and the range of f32.
    TF32,
    /// 11 bits and the range of f16 (65504).
    F16,
    /// 8 bits and the range of f32.
    BF16,
}

impl Precision {
    /// The name in figures: `fp32`, `tf32`, `fp16`, `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "fp32",
            Precision::TF32 => "tf32",
            Precision::F16 => "fp16",
            Precision::BF16 => "bf16",
        }
    }
}

/// The rules for products and convolutions of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Which circuits: [`Math::Plain`] no matrix circuits at all, neither tensor cores on a GPU nor dot-product
    /// instructions for 8 and 16 bits on the CPU; [`Math::Exact`] those that lose nothing that the inputs have;
    /// [`Math::Fast`] also those that round f32 inputs to `precision`.
    pub math: Math,
    /// What f32 inputs may be rounded to, with [`Math::Fast`] alone.
    pub precision: Precision,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { math: Math::Exact, precision: Precision::F32 }
    }
}

impl Rules {
    /// The rules of a tenant whose matrix circuits are on or off and whose f32 inputs may be rounded to `precision`.
    pub fn new(matrix_circuits: bool, precision: Precision) -> Rules {
        let math = match (matrix_circuits, precision) {
            (false, _) => Math::Plain,
            (true, Precision::F32) => Math::Exact,
            (true, _) => Math::Fast,
        };
        Rules { math, precision }
    }

    /// What f32 inputs are rounded to under these rules.
    pub fn rounding(self) -> Precision {
        if self.math == Math::Fast { self.precision } else { Precision::F32 }
    }

    pub(crate) fn to_bits(self) -> u32 {
        self.math as u32 | (self.precision as u32) << 8
    }

    pub(crate) fn from_bits(bits: u32) -> Rules {
        let math = [Math::Plain, Math::Exact, Math::Fast][(bits & 3).min(2) as usize];
        let all = [Precision::F32, Precision::TF32, Precision::F16, Precision::BF16];
        Rules { math, precision: all[(bits >> 8 & 3) as usize] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_say_what_is_rounded() {
        assert_eq!(Rules::new(false, Precision::TF32).rounding(), Precision::F32);
        assert_eq!(Rules::new(true, Precision::BF16).rounding(), Precision::BF16);
        assert_eq!(Rules::new(true, Precision::F32).math, Math::Exact);
        for math in [Math::Plain, Math::Exact, Math::Fast] {
            for precision in [Precision::F32, Precision::TF32, Precision::F16, Precision::BF16] {
                let rules = Rules { math, precision };
                assert_eq!(Rules::from_bits(rules.to_bits()), rules);
            }
        }
    }
}
