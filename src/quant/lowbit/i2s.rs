//! GGUF's `I2_S` (type 36): ternary weights of a whole tensor.
//!
//! 128 weights in 32 bytes: weight `j` of a block lies in byte `j % 32`, at bit `6 - 2 (j / 32)`, so the first 32 are in the top
//! bits. Codes are the value plus 1; 3 is never written. Blocks go on from row to row. Behind the last block come 32 bytes, of
//! which the first four are the tensor's scale (f32); so a tensor of `n` weights has `n / 4 + 32` bytes. The layout is the same
//! whatever machine wrote it.

use super::elementwise::same_length;
use crate::{Error, Result};

/// Weights of a block.
pub const I2S_BLOCK: usize = 128;
/// Bytes behind the blocks.
pub const I2S_TAIL: usize = 32;

/// The blocks and the scale of a tensor of `n` weights.
///
/// Errors: another length than `n / 4 + 32`, `n` no multiple of 128, a scale that is not finite, or negative.
fn parts(src: &[u8], n: usize) -> Result<(&[u8], f32)> {
    if !n.is_multiple_of(I2S_BLOCK) {
        return Err(Error::format(format!("I2_S: {n} weights are no whole number of blocks of {I2S_BLOCK}")));
    }
    if src.len() != n / 4 + I2S_TAIL {
        return Err(Error::format(format!(
            "I2_S: {n} weights take {} bytes, not {}",
            n / 4 + I2S_TAIL,
            src.len()
        )));
    }
    let (blocks, tail) = src.split_at(n / 4);
    let scale = f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]);
    if !scale.is_finite() || scale < 0.0 {
        return Err(Error::format(format!("I2_S: the scale is {scale}"))
            .advise("the file is damaged, or was written for another layout; quantize it again"));
    }
    Ok((blocks, scale))
}

/// The scale of a tensor of `n` weights; errors as for [`i2s_codes`], which looks at the weights too.
pub fn i2s_scale(src: &[u8], n: usize) -> Result<f32> {
    parts(src, n).map(|(_, scale)| scale)
}

/// The weights `first..first + out.len()` of a tensor of `n`, as codes 0, 1, 2 for -1, 0, 1; returns the tensor's scale.
///
/// Errors: a length or scale that cannot be, a code of 3, weights beyond the tensor.
pub fn i2s_codes(src: &[u8], n: usize, first: usize, out: &mut [u8]) -> Result<f32> {
    let (blocks, scale) = parts(src, n)?;
    if first.checked_add(out.len()).is_none_or(|end| end > n) {
        return Err(Error::argument("out", format!("weights {first} and {} more of {n}", out.len())));
    }
    let mut at = 0;
    while at < out.len() {
        let (block, begin) = ((first + at) / I2S_BLOCK, (first + at) % I2S_BLOCK);
        let mut codes = [0u8; I2S_BLOCK];
        for (byte, stored) in blocks[32 * block..][..32].iter().enumerate() {
            for part in 0..4 {
                codes[32 * part + byte] = stored >> (6 - 2 * part) & 3;
            }
        }
        let now = (I2S_BLOCK - begin).min(out.len() - at);
        let codes = &codes[begin..begin + now];
        if codes.iter().fold(0, |most, c| most.max(*c)) == 3 {
            let bad = first + at + codes.iter().position(|c| *c == 3).unwrap_or(0);
            return Err(Error::format(format!("I2_S: weight {bad} has code 3, which no quantizer writes"))
                .advise("the file is damaged, or was written for another layout; quantize it again"));
        }
        out[at..at + now].copy_from_slice(codes);
        at += now;
    }
    Ok(scale)
}

/// A whole tensor as f32.
pub fn i2s_dequantize(src: &[u8], out: &mut [f32]) -> Result<()> {
    let mut codes = vec![0; out.len()];
    let scale = i2s_codes(src, out.len(), 0, &mut codes)?;
    out.iter_mut().zip(codes).for_each(|(o, q)| *o = (f32::from(q) - 1.0) * scale);
    Ok(())
}

/// Packs ternary values (-1, 0, 1) with their scale. `dst` has `values.len() / 4 + 32` bytes.
///
/// Errors: a number of values that is no multiple of 128, another length of `dst`, a value that is not ternary, a scale that is
/// negative or not finite.
pub fn i2s_pack(values: &[i8], scale: f32, dst: &mut [u8]) -> Result<()> {
    if !values.len().is_multiple_of(I2S_BLOCK) {
        return Err(Error::argument(
            "values",
            format!("{} are no whole number of blocks of 128", values.len()),
        ));
    }
    same_length("dst", dst.len(), values.len() / 4 + I2S_TAIL)?;
    if !scale.is_finite() || scale < 0.0 {
        return Err(Error::argument("scale", format!("{scale} is no scale")));
    }
    if let Some(at) = values.iter().position(|q| !(-1..=1).contains(q)) {
        return Err(Error::argument("values", format!("element {at} is {}, not -1, 0 or 1", values[at])));
    }
    let (blocks, tail) = dst.split_at_mut(values.len() / 4);
    for (values, block) in values.chunks_exact(I2S_BLOCK).zip(blocks.chunks_exact_mut(32)) {
        for (j, byte) in block.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |b, part| b | ((values[32 * part + j] + 1) as u8) << (6 - 2 * part));
        }
    }
    tail.fill(0);
    tail[..4].copy_from_slice(&scale.to_le_bytes());
    Ok(())
}
