//! Activations of 8 bits, one scale a token, and the product with weights of two bits.

use super::elementwise::same_length;
use crate::{Error, Result};

/// The largest magnitude of a token counts as at least this.
pub const ACTIVATION_FLOOR: f32 = 1e-5;

/// What is kept of a token beside its codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// What a code of 1 stands for; NaN where an activation was NaN or infinite, so that every output is NaN as well.
    pub scale: f32,
    /// The sum of all codes.
    pub sum: i32,
}

/// One token's activations as codes of -128 to 127: `s = 127 / max(|x|max, 1e-5)`, `code = clamp(round(x s), -128, 127)`, ties
/// to even; what a code of 1 stands for is `max(|x|max, 1e-5) / 127`. With an activation that is NaN or infinite all codes are 0
/// and the scale is NaN: nothing hides it.
///
/// Errors: `codes` has another length.
pub fn quantize_token(x: &[f32], codes: &mut [i8]) -> Result<Token> {
    same_length("codes", codes.len(), x.len())?;
    if x.iter().any(|x| !x.is_finite()) {
        codes.fill(0);
        return Ok(Token { scale: f32::NAN, sum: 0 });
    }
    let most = x.iter().fold(0f32, |m, x| m.max(x.abs())).max(ACTIVATION_FLOOR);
    let s = 127.0 / most;
    for (x, q) in x.iter().zip(codes.iter_mut()) {
        *q = (x * s).round_ties_even().clamp(-128.0, 127.0) as i8;
    }
    Ok(Token { scale: most / 127.0, sum: codes.iter().map(|q| i32::from(*q)).sum() })
}

/// One output: weights as codes of 0 to 3, `zero_point` the code of the value 0. Exact in 32-bit integers for up to 5.6 million
/// weights, then rounded by three f32 operations: to f32, times the token's scale, times the weight's.
///
/// Errors: lengths that differ, a code beyond 3.
pub fn product(weights: &[u8], zero_point: i32, scale: f32, codes: &[i8], token: Token) -> Result<f32> {
    same_length("codes", codes.len(), weights.len())?;
    if let Some(at) = weights.iter().position(|w| *w > 3) {
        return Err(Error::argument("weights", format!("element {at} is {}, not 0 to 3", weights[at])));
    }
    let sum: i32 = weights.iter().zip(codes).map(|(w, a)| i32::from(*w) * i32::from(*a)).sum();
    Ok((sum - zero_point * token.sum) as f32 * token.scale * scale)
}
