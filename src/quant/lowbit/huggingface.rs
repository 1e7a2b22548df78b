//! The packed matrices of BitNet models in safetensors.
//!
//! A matrix of `rows` outputs and `cols` inputs is stored as bytes `[rows / 4][cols]`: bits `2i..2i + 2` of byte `[r][c]` are the
//! weight of row `r + i rows / 4` and column `c`, plus 1. Its scale is a tensor of its own (`weight_scale`).

use super::elementwise::same_length;
use crate::{Error, Result};

fn shape(rows: usize, cols: usize) -> Result<usize> {
    if !rows.is_multiple_of(4) {
        return Err(Error::format(format!("{rows} rows do not divide into four")));
    }
    rows.checked_mul(cols).ok_or_else(|| Error::format(format!("{rows} x {cols} weights overflow")))
}

/// The weights as -1, 0 and 1, row by row.
///
/// Errors: rows that do not divide by 4, lengths that do not fit, a code of 3.
pub fn hf_unpack(packed: &[u8], rows: usize, cols: usize, values: &mut [i8]) -> Result<()> {
    let n = shape(rows, cols)?;
    same_length("packed", packed.len(), n / 4)?;
    same_length("values", values.len(), n)?;
    let quarter = n / 4;
    for (at, byte) in packed.iter().enumerate() {
        for i in 0..4 {
            let code = byte >> (2 * i) & 3;
            if code == 3 {
                return Err(Error::format(format!("byte {at} holds code 3, which no quantizer writes")));
            }
            values[i * quarter + at] = code as i8 - 1;
        }
    }
    Ok(())
}

/// The inverse of [`hf_unpack`]. Errors: as there; a value that is not ternary.
pub fn hf_pack(values: &[i8], rows: usize, cols: usize, packed: &mut [u8]) -> Result<()> {
    let n = shape(rows, cols)?;
    same_length("values", values.len(), n)?;
    same_length("packed", packed.len(), n / 4)?;
    if let Some(at) = values.iter().position(|q| !(-1..=1).contains(q)) {
        return Err(Error::argument("values", format!("element {at} is {}, not -1, 0 or 1", values[at])));
    }
    for (at, byte) in packed.iter_mut().enumerate() {
        *byte = (0..4).fold(0, |b, i| b | ((values[i * (n / 4) + at] + 1) as u8) << (2 * i));
    }
    Ok(())
}
