//! GGUF's `TQ1_0` and `TQ2_0`: blocks of 256 ternary weights with an f16 scale, the largest magnitude.

use crate::{Error, Result};
use half::f16;

/// Bytes of a block of TQ1_0: 48 with five weights each, 4 with four, the scale.
pub const TQ1_BYTES: usize = 54;
/// Bytes of a block of TQ2_0: 64 with four weights each, the scale.
pub const TQ2_BYTES: usize = 66;

const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// Where the weights of a TQ1_0 block's bytes lie: the first byte, how many bytes go together, the first weight, weights a byte.
const TQ1_PARTS: [(usize, usize, usize, usize); 3] = [(0, 32, 0, 5), (32, 16, 160, 5), (48, 4, 240, 4)];

/// Scale, and weights in units of it, of a block.
fn ternary(x: &[f32]) -> (f16, impl Fn(f32) -> u8 + use<>) {
    let most = x.iter().fold(0f32, |m, x| m.max(x.abs()));
    let inverse = if most == 0.0 { 0.0 } else { 1.0 / most };
    // Half away from zero, as `lroundf`.
    (f16::from_f32(most), move |x: f32| ((x * inverse).round() as i32 + 1).clamp(0, 2) as u8)
}

/// One block of 256 weights to 54 bytes. A byte holds five digits of base 3 as a fraction of 256, rounded up; the first digit is
/// the first to come out when the byte is multiplied by 3.
pub fn tq1_quantize(x: &[f32], dst: &mut [u8]) {
    let (d, digit) = ternary(x);
    for (byte, width, first, count) in TQ1_PARTS {
        for m in 0..width {
            let number = (0..count).fold(0u32, |q, n| 3 * q + u32::from(digit(x[first + n * width + m])));
            let number = if count == 4 { number * 3 } else { number };
            dst[byte + m] = (number * 256).div_ceil(243) as u8;
        }
    }
    dst[52..54].copy_from_slice(&d.to_le_bytes());
}

/// One block of TQ1_0 to 256 weights.
pub fn tq1_dequantize(block: &[u8], out: &mut [f32]) {
    let d = f16::from_le_bytes([block[52], block[53]]).to_f32();
    for (byte, width, first, count) in TQ1_PARTS {
        for m in 0..width {
            for n in 0..count {
                let q = block[byte + m].wrapping_mul(POWERS[n]);
                out[first + n * width + m] = (((u16::from(q) * 3) >> 8) as f32 - 1.0) * d;
            }
        }
    }
}

/// One block of 256 weights to 66 bytes: weight `j` of each half lies in byte `j % 32` of its 32, at bit `2 (j / 32)`.
pub fn tq2_quantize(x: &[f32], dst: &mut [u8]) {
    let (d, digit) = ternary(x);
    for (half, bytes) in x.chunks_exact(128).zip(dst.chunks_exact_mut(32)) {
        for (m, byte) in bytes.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |b, n| b | digit(half[m + 32 * n]) << (2 * n));
        }
    }
    dst[64..66].copy_from_slice(&d.to_le_bytes());
}

/// One block of TQ2_0 to 256 weights. A code of 3, which no quantizer writes, is 2 scales.
pub fn tq2_dequantize(block: &[u8], out: &mut [f32]) {
    let d = f16::from_le_bytes([block[64], block[65]]).to_f32();
    for (bytes, out) in block[..64].chunks_exact(32).zip(out.chunks_exact_mut(128)) {
        for (j, o) in out.iter_mut().enumerate() {
            *o = (f32::from(bytes[j % 32] >> (2 * (j / 32)) & 3) - 1.0) * d;
        }
    }
}

/// The scale of all blocks of a tensor of TQ1_0 or TQ2_0 (blocks of `block_bytes`, the scale last), when they have one: then it is a
/// ternary tensor with one scale. Blocks of zeros have scale 0 and fit any other. `None` where scales differ.
///
/// Errors: a scale that is negative or not finite, a code of 3 in TQ2_0: no quantizer writes these.
pub fn tq_uniform_scale(src: &[u8], block_bytes: usize) -> Result<Option<f32>> {
    let (mut one, mut differ) = (0.0, false);
    for (at, block) in src.chunks_exact(block_bytes).enumerate() {
        let (codes, scale) = block.split_at(block_bytes - 2);
        let scale = f16::from_le_bytes([scale[0], scale[1]]).to_f32();
        if !scale.is_finite() || scale < 0.0 {
            return Err(Error::format(format!("the scale of block {at} is {scale}")));
        }
        if block_bytes == TQ2_BYTES && codes.iter().fold(0, |bad, b| bad | (b & b >> 1 & 0x55)) != 0 {
            return Err(Error::format(format!("block {at} holds code 3, which no quantizer writes")));
        }
        if scale != 0.0 {
            differ |= one != 0.0 && one != scale;
            one = scale;
        }
    }
    Ok((!differ).then_some(one))
}
