//! What is to be done, how large it is, and what is wanted of it.

use crate::{Error, Result};
use std::any::Any;
use std::time::Duration;

/// What kind of work a kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperationKind {
    /// Numbers to codes and scales.
    Quantize,
    /// Codes and scales to numbers.
    Dequantize,
    /// Packed weights times 1 to 16 rows of activations.
    Gemv,
    /// Packed weights times more rows.
    Gemm,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [OperationKind; 4] =
        [OperationKind::Quantize, OperationKind::Dequantize, OperationKind::Gemv, OperationKind::Gemm];

    /// Its name in overrides and files.
    pub fn name(self) -> &'static str {
        match self {
            OperationKind::Quantize => "quantize",
            OperationKind::Dequantize => "dequantize",
            OperationKind::Gemv => "gemv",
            OperationKind::Gemm => "gemm",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Result<OperationKind> {
        OperationKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::argument("operation", format!("{name:?} is none"))
                .advise("use quantize, dequantize, gemv or gemm")
        })
    }
}

/// How numbers are written with few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QuantizationFormat {
    /// `q = round(clamp(x / scale, -2, 1))`, ties to even, the scale of a block being its largest magnitude.
    I2S,
    /// `q = clamp(round(x / mean), -1, 1)`, the mean of the magnitudes being the tensor's one scale.
    Ternary,
}

impl QuantizationFormat {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            QuantizationFormat::I2S => "i2s",
            QuantizationFormat::Ternary => "ternary",
        }
    }

    /// The least and the largest code.
    pub fn codes(self) -> (i8, i8) {
        match self {
            QuantizationFormat::I2S => (-2, 1),
            QuantizationFormat::Ternary => (-1, 1),
        }
    }
}

/// A kind of work in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuantizationOperation {
    /// The kind.
    pub kind: OperationKind,
    /// The format of the codes.
    pub format: QuantizationFormat,
}

impl QuantizationOperation {
    /// Quantizing to this format.
    pub fn new(format: QuantizationFormat) -> QuantizationOperation {
        QuantizationOperation { kind: OperationKind::Quantize, format }
    }

    /// The same format in another kind of work.
    pub fn of(kind: OperationKind, format: QuantizationFormat) -> QuantizationOperation {
        QuantizationOperation { kind, format }
    }

    /// `quantize.i2s`.
    pub fn name(self) -> String {
        format!("{}.{}", self.kind.name(), self.format.name())
    }
}

/// The size of a piece of work. Element-wise work has one row of all its elements and `batch` 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorCharacteristics {
    /// Outputs of a matrix.
    pub rows: u64,
    /// Inputs of a matrix, or elements.
    pub columns: u64,
    /// Rows of activations that are multiplied at once.
    pub batch: u64,
    /// Elements that share a scale; 0 for all of the tensor.
    pub block: u32,
}

impl TensorCharacteristics {
    /// Element-wise work on so many numbers, in blocks of `block` (0: one block).
    pub fn elements(count: u64, block: u32) -> TensorCharacteristics {
        TensorCharacteristics { rows: 1, columns: count, batch: 1, block }
    }

    /// A `rows` x `columns` matrix times `batch` rows.
    pub fn matrix(rows: u64, columns: u64, batch: u64) -> TensorCharacteristics {
        TensorCharacteristics { rows, columns, batch, block: 0 }
    }

    /// Of a list of tensors: the size of the largest, which takes most of the time.
    pub fn analyze(tensors: &[Tensor<'_>]) -> TensorCharacteristics {
        let largest = tensors.iter().max_by_key(|t| t.values.len());
        largest.map_or(Self::elements(0, 0), |t| Self::elements(t.values.len() as u64, t.block))
    }

    /// Weights, or numbers.
    pub fn count(&self) -> u64 {
        self.rows.saturating_mul(self.columns)
    }

    /// Products of a matrix, or numbers: what throughput is counted in.
    pub fn items(&self) -> u64 {
        self.count().saturating_mul(self.batch.max(1))
    }

    /// The class of sizes for which one measurement stands. Sizes within a class differ by less than a factor of 1.19
    /// in rows and columns; batches up to 16 and blocks are their own.
    pub fn class(&self) -> ShapeClass {
        // Quarters of a power of two.
        let step = |n: u64| if n < 2 { n as u32 } else { (4.0 * (n as f64).log2()).floor() as u32 + 1 };
        let batch = if self.batch <= 16 { self.batch as u32 } else { 100 + step(self.batch) };
        ShapeClass { rows: step(self.rows), columns: step(self.columns), batch, block: self.block }
    }
}

/// Sizes that are alike enough to be served by the same kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShapeClass {
    rows: u32,
    columns: u32,
    batch: u32,
    block: u32,
}

impl ShapeClass {
    /// Its name in files.
    pub fn name(self) -> String {
        format!("r{}c{}n{}b{}", self.rows, self.columns, self.batch, self.block)
    }
}

/// What is preferred among the kernels that keep all requirements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// The shortest time.
    #[default]
    Fastest,
    /// The fewest threads, then the shortest time.
    FewestThreads,
    /// The least memory besides inputs and outputs, then the shortest time.
    LeastMemory,
    /// The smallest error, then the shortest time.
    MostAccurate,
}

/// What is wanted. Accuracy and memory are kept or the choice is an error; times that no kernel reaches are told in
/// [`super::OptimalKernelSelection::unmet`], and the fastest is taken, unless `strict`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PerformanceRequirements {
    /// The longest time of one execution.
    pub max_latency: Option<Duration>,
    /// The fewest items a second ([`TensorCharacteristics::items`]).
    pub min_throughput: Option<f64>,
    /// The largest difference from the reference, relative to the reference's largest output.
    pub max_error: Option<f64>,
    /// The most bytes besides inputs and outputs.
    pub max_memory: Option<u64>,
    /// What decides among those that keep all that.
    pub preference: Preference,
    /// Makes times that no kernel reaches an error, too.
    pub strict: bool,
}

/// Numbers that are to be quantized; borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// The numbers, row by row.
    pub values: &'a [f32],
    /// Numbers that share a scale; 0 for all.
    pub block: u32,
}

/// One piece of work with its data, borrowed from the caller.
#[non_exhaustive]
pub enum Work<'a> {
    /// `values` to one code for each and one scale for each block (`block` 0: one for all; none for no numbers).
    Quantize {
        /// The format of the codes.
        format: QuantizationFormat,
        /// The numbers.
        values: &'a [f32],
        /// Numbers that share a scale.
        block: u32,
        /// Gets the scales.
        scales: &'a mut [f32],
        /// Gets the codes.
        codes: &'a mut [i8],
    },
    /// The way back: `codes * scale`.
    Dequantize {
        /// The codes.
        codes: &'a [i8],
        /// The scales.
        scales: &'a [f32],
        /// Numbers that share a scale.
        block: u32,
        /// Gets the numbers.
        values: &'a mut [f32],
    },
    /// Weights in the kernel's own layout times `batch` rows of `columns` activations.
    Multiply {
        /// What the kernel's own preparation made.
        weights: &'a dyn Any,
        /// Outputs of a row.
        rows: usize,
        /// Inputs of a row.
        columns: usize,
        /// Rows of activations.
        batch: usize,
        /// `batch` x `columns`.
        activations: &'a [f32],
        /// `batch` x `rows`.
        output: &'a mut [f32],
    },
}

/// Scales that `count` numbers in blocks of `block` have.
pub fn scale_count(count: usize, block: u32) -> usize {
    match block {
        _ if count == 0 => 0,
        0 => 1,
        block => count.div_ceil(block as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_sizes_that_are_alike() {
        let class = |n: u64| TensorCharacteristics::elements(n, 32).class();
        let mut first = 1u64;
        for n in 2..200_000u64 {
            if class(n) != class(first) {
                assert!(class(n) > class(first));
                first = n;
            }
            assert!(n as f64 / (first as f64) < 1.19, "{first} and {n}");
        }
        let batch = |n| TensorCharacteristics::matrix(4096, 4096, n).class();
        assert!(batch(1) != batch(2) && batch(15) != batch(16) && batch(16) != batch(17));
        assert_ne!(
            batch(16),
            TensorCharacteristics { block: 32, ..TensorCharacteristics::matrix(4096, 4096, 16) }.class()
        );
        let huge = TensorCharacteristics::matrix(u64::MAX, u64::MAX, u64::MAX);
        assert_eq!((huge.count(), huge.items()), (u64::MAX, u64::MAX));
        huge.class();
        assert_eq!((scale_count(0, 0), scale_count(5, 0), scale_count(33, 32)), (0, 1, 2));
        for kind in OperationKind::ALL {
            assert_eq!(OperationKind::parse(kind.name()).unwrap(), kind);
        }
        assert!(OperationKind::parse("sort").is_err());
    }
}
