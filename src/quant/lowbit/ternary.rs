//! Ternary weights by the mean magnitude, as BitNet b1.58 models are trained.

use super::elementwise::{Element, NonFinite, all_finite, same_length};
use crate::Result;

/// The least scale of ternary weights.
pub const TERNARY_FLOOR: f32 = 1e-5;

/// `codes[i] = clamp(round(w[i] / d), -1, 1)` with `d` the mean magnitude (summed in f64, rounded to f32, at least 1e-5); returns
/// `d`, the scale. The division is a product with the f32 reciprocal, and ties go to even, as the models' training code does it.
///
/// Errors, with `codes` as it was: lengths that differ; a value that is not finite, unless they are mapped: NaN to 0, infinities
/// to their sign, and the mean is taken without them.
pub fn quantize_ternary<T: Element>(values: &[T], non_finite: NonFinite, codes: &mut [i8]) -> Result<f32> {
    same_length("codes", codes.len(), values.len())?;
    if non_finite == NonFinite::Refuse {
        all_finite("values", values)?;
    }
    let finite = values.iter().map(|x| x.to_f32().abs()).filter(|x| x.is_finite());
    let (sum, count) = finite.fold((0.0f64, 0u64), |(s, n), x| (s + f64::from(x), n + 1));
    let mean = if count == 0 { 0.0 } else { (sum / count as f64) as f32 };
    let scale = mean.max(TERNARY_FLOOR);
    let inverse = 1.0 / scale;
    for (x, q) in values.iter().zip(codes) {
        let x = x.to_f32();
        *q = if x.is_nan() { 0 } else { (x * inverse).round_ties_even().clamp(-1.0, 1.0) as i8 };
    }
    Ok(scale)
}
