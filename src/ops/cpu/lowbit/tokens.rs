//! Activations as codes of 8 bits: for each token 64 bytes with its scale and sum, then its codes, padded with zeros.

use super::layout::padded;
use crate::ops::cpu::isa::by_level;
use crate::quant::lowbit::{ACTIVATION_FLOOR, Token};

/// Bytes before a token's codes.
const HEAD: usize = 64;

/// Bytes from one token to the next: never a multiple of a page, so that the same inputs of several tokens lie in different
/// places of a cache.
pub fn stride(cols: usize) -> usize {
    HEAD + padded(cols) + if (HEAD + padded(cols)).is_multiple_of(1024) { 64 } else { 0 }
}

/// The codes of a token at `at`.
pub fn codes(at: *const u8) -> *const i8 {
    at.wrapping_add(HEAD).cast()
}

/// Scale and sum of a token at `at`.
///
/// # Safety
/// A token lies there.
pub unsafe fn token(at: *const u8) -> Token {
    // SAFETY: the caller's duty.
    unsafe { Token { scale: *at.cast::<f32>(), sum: *at.cast::<i32>().add(1) } }
}

by_level! {
    /// Quantizes one token: `cols` numbers at `x` to `to`, as [`crate::quant::lowbit::quantize_token`] does.
    ///
    /// # Safety
    /// `x` has `cols` numbers, `to` [`stride`] bytes, aligned to 64.
    pub unsafe fn quantize(x: *const f32, cols: usize, to: *mut u8) {
        // SAFETY: as promised.
        let (x, head, codes) = unsafe {
            let codes = std::slice::from_raw_parts_mut(to.wrapping_add(HEAD).cast::<i8>(), padded(cols));
            (std::slice::from_raw_parts(x, cols), to.cast::<f32>(), codes)
        };
        // Magnitudes as bits are in the order of the numbers, and what is not finite comes last.
        let most = x.iter().fold(0u32, |m, x| m.max(x.to_bits() & 0x7FFF_FFFF));
        let (codes, rest) = codes.split_at_mut(cols);
        rest.fill(0);
        let (mut scale, mut sum) = (f32::NAN, 0i32);
        if most >= f32::INFINITY.to_bits() {
            codes.fill(0);
        } else {
            let most = f32::from_bits(most).max(ACTIVATION_FLOOR);
            let s = 127.0 / most;
            for (x, q) in x.iter().zip(codes.iter_mut()) {
                // Adding and taking away 1.5 2^23 rounds to an integer, ties to even; |x s| is at most a little over 127.
                let rounded = (x * s + 12_582_912.0) - 12_582_912.0;
                let code = rounded.clamp(-128.0, 127.0);
                // SAFETY: within the bounds of an integer.
                *q = unsafe { code.to_int_unchecked::<i32>() } as i8;
            }
            sum = codes.iter().map(|q| i32::from(*q)).sum();
            scale = most / 127.0;
        }
        // SAFETY: the first eight bytes of the token.
        unsafe {
            *head = scale;
            *head.cast::<i32>().add(1) = sum;
        }
    }
}
