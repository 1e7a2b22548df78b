//! Types of the elements of a tensor.

use crate::{Error, Result};

/// What a tensor's elements are. Numbers are those of CUDA's `cudaDataType_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// IEEE single precision (`CUDA_R_32F`, 0).
    F32,
    /// IEEE double precision (`CUDA_R_64F`, 1).
    F64,
    /// IEEE half precision (`CUDA_R_16F`, 2).
    F16,
    /// Signed bytes (`CUDA_R_8I`, 3).
    I8,
    /// Signed integers of 32 bits (`CUDA_R_32I`, 10).
    I32,
    /// The upper half of an f32 (`CUDA_R_16BF`, 14).
    BF16,
}

impl Element {
    /// Every type.
    pub const ALL: [Element; 6] =
        [Element::F32, Element::F64, Element::F16, Element::I8, Element::I32, Element::BF16];
    /// Those that stand for real numbers and that activations, norms and reductions take.
    pub const FLOATS: [Element; 3] = [Element::F32, Element::F16, Element::BF16];

    /// The number in `cudaDataType_t`.
    pub const fn number(self) -> i32 {
        match self {
            Element::F32 => 0,
            Element::F64 => 1,
            Element::F16 => 2,
            Element::I8 => 3,
            Element::I32 => 10,
            Element::BF16 => 14,
        }
    }

    /// The type of a number of `cudaDataType_t`.
    ///
    /// Errors: no supported type has this number; `argument` is named.
    pub fn from_number(argument: &str, number: i64) -> Result<Element> {
        Element::ALL.into_iter().find(|e| i64::from(e.number()) == number).ok_or_else(|| {
            Error::argument(argument, format!("{number} is no data type that is computed with")).advise(
                "use CUDA_R_32F (0), CUDA_R_64F (1), CUDA_R_16F (2), CUDA_R_8I (3), CUDA_R_32I (10) or CUDA_R_16BF (14)",
            )
        })
    }

    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Element::F64 => 8,
            Element::F32 | Element::I32 => 4,
            Element::F16 | Element::BF16 => 2,
            Element::I8 => 1,
        }
    }

    /// The name in errors: `f32`, `f64`, `f16`, `bf16`, `int8`, `int32`.
    pub const fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::F64 => "f64",
            Element::F16 => "f16",
            Element::I8 => "int8",
            Element::I32 => "int32",
            Element::BF16 => "bf16",
        }
    }

    /// Itself, when it is one of `of`.
    pub(crate) fn among(self, of: &[Element], what: &str) -> Result<Element> {
        if of.contains(&self) {
            return Ok(self);
        }
        let known: Vec<&str> = of.iter().map(|e| e.name()).collect();
        Err(Error::unsupported(format!("{what} has no meaning for elements of type {}", self.name()))
            .advise(format!("use {}", known.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways() {
        for e in Element::ALL {
            assert_eq!(Element::from_number("dataType", e.number().into()).unwrap(), e);
        }
        let error = Element::from_number("dataType", 7).unwrap_err();
        assert!(error.message().contains("dataType"), "{error}");
    }
}
