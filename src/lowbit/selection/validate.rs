//! Whether what a kernel wrote follows the format's formula.

use super::plain;
use super::work::{QuantizationFormat, scale_count};
use crate::ops::cpu::isa::Isa;
use crate::{Error, Result};

/// Blocks of a tensor that are computed again.
const BLOCKS: usize = 64;
/// Numbers of one long block that are.
const OF_LONG: usize = 4096;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValidationResult {
    /// Codes that were computed again by the plain scalar formula.
    pub checked: u64,
    /// Codes that differed, or were none of the format's.
    pub wrong_codes: u64,
    /// Scales that were no finite number, or differed.
    pub wrong_scales: u64,
    /// Largest difference between a number and what its code stands for, over its scale.
    pub max_relative_error: f64,
}

impl ValidationResult {
    /// Whether all is as the formula says.
    pub fn is_right(&self) -> bool {
        self.wrong_codes == 0 && self.wrong_scales == 0
    }

    /// Adds another tensor's.
    pub fn add(&mut self, other: &ValidationResult) {
        self.checked += other.checked;
        self.wrong_codes += other.wrong_codes;
        self.wrong_scales += other.wrong_scales;
        self.max_relative_error = self.max_relative_error.max(other.max_relative_error);
    }
}

/// Looks at all codes and scales for values that cannot be, and computes up to 64 whole blocks again, spread over the
/// tensor; of a block of more than 4096 numbers only so many with the block's own scale.
///
/// Errors: sizes that do not fit together.
pub fn validate(
    format: QuantizationFormat,
    values: &[f32],
    block: u32,
    scales: &[f32],
    codes: &[i8],
) -> Result<ValidationResult> {
    if codes.len() != values.len() || scales.len() != scale_count(values.len(), block) {
        return Err(Error::argument("codes", "codes and scales do not fit the numbers"));
    }
    let (low, high) = format.codes();
    let mut found = ValidationResult {
        wrong_codes: codes.iter().filter(|c| **c < low || **c > high).count() as u64,
        wrong_scales: scales.iter().filter(|s| !s.is_finite() || **s < 0.0).count() as u64,
        ..Default::default()
    };
    let long = if block == 0 { values.len().max(1) } else { block as usize };
    let step = scales.len().div_ceil(BLOCKS).max(1);
    for b in (0..scales.len()).step_by(step) {
        let (from, to) = (b * long, ((b + 1) * long).min(values.len()));
        let scale = scales[b];
        let (mut own_scale, mut own_codes) = ([scale], vec![0i8; to - from]);
        if to - from <= OF_LONG {
            plain::quantize(Isa::Scalar, None, format, &values[from..to], 0, &mut own_scale, &mut own_codes)?;
            found.wrong_scales += u64::from(own_scale[0].to_bits() != scale.to_bits());
        }
        let whole = to - from <= OF_LONG;
        let stride = (to - from).div_ceil(OF_LONG).max(1);
        for i in (0..to - from).step_by(stride) {
            let (x, code) = (values[from + i], codes[from + i]);
            let want = if whole { own_codes[i] } else { one(format, x, scale) };
            found.checked += 1;
            found.wrong_codes += u64::from(code != want);
            if scale > 0.0 {
                let error = f64::from(x - f32::from(code) * scale).abs() / f64::from(scale);
                found.max_relative_error = found.max_relative_error.max(error);
            }
        }
    }
    Ok(found)
}

fn one(format: QuantizationFormat, x: f32, scale: f32) -> i8 {
    match format {
        _ if scale == 0.0 => 0,
        QuantizationFormat::I2S => (x / scale).clamp(-2.0, 1.0).round_ties_even() as i8,
        QuantizationFormat::Ternary => (x * (1.0 / scale)).round_ties_even().clamp(-1.0, 1.0) as i8,
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidate::sample;
    use super::*;

    #[test]
    fn right_is_right_and_planted_faults_are_seen() {
        for (count, block) in [(1000, 32), (9000, 0), (33, 0), (0, 0)] {
            for format in [QuantizationFormat::I2S, QuantizationFormat::Ternary] {
                let values = sample(5, count);
                let (mut scales, mut codes) = (vec![0.0; scale_count(count, block)], vec![0; count]);
                plain::quantize(Isa::Scalar, None, format, &values, block, &mut scales, &mut codes).unwrap();
                let good = validate(format, &values, block, &scales, &codes).unwrap();
                assert!(good.is_right(), "{good:?}");
                if count == 0 {
                    continue;
                }
                // A code that cannot be, anywhere.
                let last = codes[count - 1];
                codes[count - 1] = 3;
                assert!(!validate(format, &values, block, &scales, &codes).unwrap().is_right());
                codes[count - 1] = last;
                // One that could be and is wrong, where it is looked at.
                codes[0] = if codes[0] == 0 { 1 } else { 0 };
                assert_eq!(validate(format, &values, block, &scales, &codes).unwrap().wrong_codes, 1);
                scales[0] = f32::NAN;
                assert!(validate(format, &values, block, &scales, &codes).unwrap().wrong_scales > 0);
                assert!(validate(format, &values, block, &scales, &codes[1..]).is_err());
            }
        }
    }
}
