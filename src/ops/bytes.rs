//! How many bytes operations read and write at least, for the profiler's rates: each tensor once.

use super::{Product, Weight};
use crate::Result;
use crate::quant::DType;

/// `times` tensors of f32 `[n][dim]`.
pub(super) fn rows(n: u32, dim: u32, times: u64) -> u64 {
    u64::from(n) * u64::from(dim) * 4 * times
}

/// Rows of a packed table, their numbers, and the f32 rows they become.
pub(super) fn embed(table: &Weight, n: u32, packed: Result<u64>) -> u64 {
    let row = packed.unwrap_or(0) / u64::from(table.rows.max(1));
    u64::from(n) * (row + 4) + rows(n, table.cols, 1)
}

/// The packed matrices, their one input, and their outputs (read too where they are added to).
pub(super) fn products(n: u32, products: &[Product], packed: impl Fn(DType, u32, u32) -> Result<u64>) -> u64 {
    let input = products.first().map_or(0, |p| rows(n, p.weight.cols, 1));
    let each = products.iter().map(|p| {
        let Weight { dtype, rows: outputs, cols, .. } = p.weight;
        let bias = if p.bias.is_some() { rows(1, outputs, 1) } else { 0 };
        packed(dtype, outputs, cols).unwrap_or(0) + bias + rows(n, outputs, 1 + u64::from(p.add))
    });
    input + each.sum::<u64>()
}
