//! Element-wise I2_S: values to codes of -2, -1, 0 and 1 and back, with a scale of the whole or of blocks.

use crate::{Error, Result};
use half::{bf16, f16};

/// A number that can be quantized: `f32`, `f16` or `bf16`. All arithmetic is f32.
pub trait Element: Copy + Send + Sync + 'static {
    /// As f32, exactly.
    fn to_f32(self) -> f32;
    /// From f32, rounded to nearest, ties to even.
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    fn to_f32(self) -> f32 {
        self
    }
    fn from_f32(x: f32) -> f32 {
        x
    }
}

impl Element for f16 {
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
    fn from_f32(x: f32) -> f16 {
        f16::from_f32(x)
    }
}

impl Element for bf16 {
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
    fn from_f32(x: f32) -> bf16 {
        bf16::from_f32(x)
    }
}

/// What becomes of NaN and infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NonFinite {
    /// An error that tells the first one's place; outputs stay as they were.
    #[default]
    Refuse,
    /// NaN becomes 0, infinities the last code of their sign; scales are estimated without them.
    Map,
}

/// How a scale is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ScaleRule {
    /// The largest magnitude. Code -2 is not reached then.
    #[default]
    AbsMax,
    /// The mean magnitude, summed in f64 in order.
    AbsMean,
}

/// The place of the first value that is NaN or infinite, as an error about `name`.
pub(super) fn all_finite<T: Element>(name: &'static str, values: &[T]) -> Result<()> {
    match values.iter().position(|x| !x.to_f32().is_finite()) {
        None => Ok(()),
        Some(at) => {
            Err(Error::argument(name, format!("element {at} is {}, which has no code", values[at].to_f32()))
                .advise("mend the data, or let non-finite values be mapped (NonFinite::Map)"))
        }
    }
}

pub(super) fn same_length(name: &'static str, got: usize, want: usize) -> Result<()> {
    if got == want {
        return Ok(());
    }
    Err(Error::argument(name, format!("holds {got} elements, not {want}")))
}

/// Whether values can be divided by this scale: finite and at least 1e-30. A scale of 0 goes with values that are all 0, which
/// whoever has the values looks at.
pub fn check_scale(scale: f32) -> Result<()> {
    if scale.is_finite() && (scale >= 1e-30 || scale == 0.0) {
        return Ok(());
    }
    Err(Error::argument("scale", format!("{scale} is no scale"))
        .advise("it must be finite and at least 1e-30, or 0 where all values are 0"))
}

/// The scale of some values by a rule; 0 for none and for all zeros. A mean below 1e-30 counts as 0 as well.
///
/// Errors: a value that is not finite, unless they are mapped.
pub fn estimate_scale<T: Element>(values: &[T], rule: ScaleRule, non_finite: NonFinite) -> Result<f32> {
    if non_finite == NonFinite::Refuse {
        all_finite("values", values)?;
    }
    let finite = || values.iter().map(|x| x.to_f32().abs()).filter(|x| x.is_finite());
    let scale = match rule {
        ScaleRule::AbsMax => finite().fold(0.0, f32::max),
        ScaleRule::AbsMean => {
            let (sum, count) = finite().fold((0.0f64, 0u64), |(s, n), x| (s + f64::from(x), n + 1));
            if count == 0 { 0.0 } else { (sum / count as f64) as f32 }
        }
    };
    Ok(if scale < 1e-30 { 0.0 } else { scale })
}

fn code(x: f32, scale: f32) -> i8 {
    if x.is_nan() || scale == 0.0 {
        return 0;
    }
    (x / scale).clamp(-2.0, 1.0).round_ties_even() as i8
}

/// `codes[i] = round(clamp(values[i] / scale, -2, 1))`, ties to even, by a true division.
///
/// Errors, with `codes` as it was: lengths that differ; a scale that [`check_scale`] refuses, or 0 beside a value that is not; a
/// value that is not finite, unless they are mapped.
pub fn quantize_i2s<T: Element>(
    values: &[T],
    scale: f32,
    non_finite: NonFinite,
    codes: &mut [i8],
) -> Result<()> {
    same_length("codes", codes.len(), values.len())?;
    check_scale(scale)?;
    if non_finite == NonFinite::Refuse {
        all_finite("values", values)?;
    }
    if scale == 0.0
        && let Some(at) = values.iter().position(|x| x.to_f32() != 0.0 && !x.to_f32().is_nan())
    {
        return Err(Error::argument("scale", format!("is 0, and element {at} of the values is not")));
    }
    values.iter().zip(codes).for_each(|(x, q)| *q = code(x.to_f32(), scale));
    Ok(())
}

/// `values[i] = codes[i] * scale`, rounded once to the type of the values.
///
/// Errors, with `values` as it was: lengths that differ; a scale that [`check_scale`] refuses; a code outside -2 to 1.
pub fn dequantize_i2s<T: Element>(codes: &[i8], scale: f32, values: &mut [T]) -> Result<()> {
    same_length("values", values.len(), codes.len())?;
    check_scale(scale)?;
    valid_codes(codes)?;
    codes.iter().zip(values).for_each(|(q, x)| *x = T::from_f32(f32::from(*q) * scale));
    Ok(())
}

fn valid_codes(codes: &[i8]) -> Result<()> {
    match codes.iter().position(|q| !(-2..=1).contains(q)) {
        None => Ok(()),
        Some(at) => Err(Error::argument("codes", format!("element {at} is {}, not -2 to 1", codes[at]))),
    }
}

/// Quantizes block by block, each with a scale of its own by `rule`; the last block may be short. `scales` has one for each block.
///
/// Errors, with the outputs as they were: a block of 0, lengths that differ, a value that is not finite unless they are mapped.
pub fn quantize_blocks<T: Element>(
    values: &[T],
    block: usize,
    rule: ScaleRule,
    non_finite: NonFinite,
    codes: &mut [i8],
    scales: &mut [f32],
) -> Result<()> {
    if block == 0 {
        return Err(Error::argument("block", "must not be 0"));
    }
    same_length("codes", codes.len(), values.len())?;
    same_length("scales", scales.len(), values.len().div_ceil(block))?;
    if non_finite == NonFinite::Refuse {
        all_finite("values", values)?;
    }
    for ((values, codes), scale) in values.chunks(block).zip(codes.chunks_mut(block)).zip(scales) {
        *scale = estimate_scale(values, rule, NonFinite::Map)?;
        values.iter().zip(codes).for_each(|(x, q)| *q = code(x.to_f32(), *scale));
    }
    Ok(())
}

/// The inverse of [`quantize_blocks`].
pub fn dequantize_blocks<T: Element>(
    codes: &[i8],
    block: usize,
    scales: &[f32],
    values: &mut [T],
) -> Result<()> {
    if block == 0 {
        return Err(Error::argument("block", "must not be 0"));
    }
    same_length("values", values.len(), codes.len())?;
    same_length("scales", scales.len(), codes.len().div_ceil(block))?;
    scales.iter().try_for_each(|scale| check_scale(*scale))?;
    valid_codes(codes)?;
    for ((codes, values), scale) in codes.chunks(block).zip(values.chunks_mut(block)).zip(scales) {
        codes.iter().zip(values).for_each(|(q, x)| *x = T::from_f32(f32::from(*q) * scale));
    }
    Ok(())
}

/// Four codes in a byte, the first in the lowest bits, each plus 2; the last byte is filled up with zeros of value.
///
/// Errors: `packed` is not `codes.len() / 4` bytes, rounded up; a code outside -2 to 1.
pub fn pack_codes(codes: &[i8], packed: &mut [u8]) -> Result<()> {
    same_length("packed", packed.len(), codes.len().div_ceil(4))?;
    valid_codes(codes)?;
    for (codes, byte) in codes.chunks(4).zip(packed) {
        let at = |i: usize| (codes.get(i).copied().unwrap_or(0) + 2) as u8;
        *byte = at(0) | at(1) << 2 | at(2) << 4 | at(3) << 6;
    }
    Ok(())
}

/// The inverse of [`pack_codes`]; what fills up the last byte is not looked at.
pub fn unpack_codes(packed: &[u8], codes: &mut [i8]) -> Result<()> {
    same_length("packed", packed.len(), codes.len().div_ceil(4))?;
    for (codes, byte) in codes.chunks_mut(4).zip(packed) {
        codes.iter_mut().enumerate().for_each(|(i, q)| *q = (byte >> (2 * i) & 3) as i8 - 2);
    }
    Ok(())
}
