//! Activations in 8 bits, the right-hand side of products with quantized weights, and in bf16 for bf16 dot products.

use super::isa::by_level;

/// 32 inputs of one row. One cache line, so that a kernel follows one pointer a row and broadcasts what it needs.
///
/// `x[i]` is about `scale * q[i]`, with `scale = max |x| / 127` and codes rounded to nearest even. A block that holds
/// an infinity or a NaN has a NaN scale and zero codes, so that it shows in every output.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct Block {
    /// Codes, -127 to 127.
    pub q: [i8; 32],
    /// The value of code 1.
    pub scale: f32,
    /// `scale` times the sum of the codes.
    pub scaled_sum: f32,
    /// -8 times the sum of the codes: corrects for the offset of Q4_0 codes.
    pub minus_8: i32,
    /// -128 times the sum of the codes: corrects for the offset of Q8_0 codes.
    pub minus_128: i32,
    /// -32 times the sums of the codes of each half: corrects for the offset of Q6_K codes.
    pub minus_32: [i32; 2],
    unused: [u32; 2],
}

/// Bytes between rows of `cols` inputs: one block more than they need, since rows a power of two apart would meet in
/// the same cache sets.
pub fn row_stride(cols: usize) -> usize {
    (cols / 32 + 1) * size_of::<Block>()
}

by_level! {
    /// Quantizes one row of `blocks * 32` inputs.
    ///
    /// # Safety
    /// `x` holds `blocks * 32` floats, `out` has room for `blocks` blocks and is aligned to 64 bytes.
    pub unsafe fn quantize_row(x: *const f32, blocks: usize, out: *mut Block) {
        // Adding and subtracting 1.5 * 2^23 rounds to nearest even where |x| < 2^22, with plain additions.
        const ROUND: f32 = 12_582_912.0;
        for b in 0..blocks {
            // SAFETY: within the lengths the caller promised.
            let (x, out) = unsafe { (&*x.add(32 * b).cast::<[f32; 32]>(), &mut *out.add(b)) };
            let mut bits = 0u32;
            for v in x {
                bits = bits.max(v.to_bits() & 0x7fff_ffff);
            }
            let largest = f32::from_bits(bits);
            // Below 1e-30 the inverse would overflow; such values are nothing beside any others.
            let inverse = if largest.is_finite() && largest > 1e-30 { 127.0 / largest } else { 0.0 };
            let scale = match () {
                () if !largest.is_finite() => f32::NAN,
                () if inverse == 0.0 => 0.0,
                () => largest / 127.0,
            };
            let mut codes = [0i32; 32];
            if inverse != 0.0 {
                for i in 0..32 {
                    let rounded = (x[i] * inverse + ROUND) - ROUND;
                    // SAFETY: |rounded| is at most 127.
                    codes[i] = unsafe { rounded.to_int_unchecked::<i32>() };
                }
            }
            let (mut first, mut second) = (0, 0);
            for i in 0..16 {
                first += codes[i];
                second += codes[16 + i];
            }
            let mut q = [0i8; 32];
            for i in 0..32 {
                q[i] = codes[i] as i8;
            }
            let sum = first + second;
            *out = Block {
                q,
                scale,
                scaled_sum: scale * sum as f32,
                minus_8: -8 * sum,
                minus_128: -128 * sum,
                minus_32: [-32 * first, -32 * second],
                unused: [0; 2],
            };
        }
    }
}

/// Bytes between rows of `cols` inputs in bf16, one line more than they need for the reason above.
pub fn bf16_stride(cols: usize) -> usize {
    (cols * 2).next_multiple_of(64) + 64
}

by_level! {
    /// Rounds one row of `cols` inputs to bf16, to nearest even, and adds a zero where their number is odd.
    ///
    /// # Safety
    /// `x` holds `cols` floats, `out` has room for [`bf16_stride`] bytes.
    pub unsafe fn to_bf16_row(x: *const f32, cols: usize, out: *mut u16) {
        // SAFETY: within the lengths the caller promised.
        let (x, out) = unsafe {
            (std::slice::from_raw_parts(x, cols), std::slice::from_raw_parts_mut(out, cols.next_multiple_of(2)))
        };
        for (out, x) in out.iter_mut().zip(x) {
            let bits = x.to_bits();
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
            // Rounding must not make an infinity of a NaN.
            *out = if x.is_nan() { (bits >> 16) | 0x40 } else { rounded } as u16;
        }
        if cols % 2 == 1 {
            out[cols] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::cpu::isa::Isa;
    use crate::ops::cpu::testing::Random;

    fn quantized(isa: Isa, x: &[f32]) -> Vec<Block> {
        let mut out: Vec<Block> = Vec::with_capacity(x.len() / 32);
        // SAFETY: room for all blocks, all written.
        unsafe {
            quantize_row(isa, x.as_ptr(), x.len() / 32, out.as_mut_ptr());
            out.set_len(x.len() / 32);
        }
        out
    }

    #[test]
    fn codes_scales_and_sums_agree() {
        let mut random = Random::new(5);
        let mut x: Vec<f32> = (0..320).map(|_| random.normal()).collect();
        x[..32].fill(0.0);
        x[40] = 1e30;
        x[64..96].fill(1e-38);
        for (b, block) in quantized(Isa::Scalar, &x).iter().enumerate() {
            let sum = |q: &[i8]| q.iter().map(|&q| i32::from(q)).sum::<i32>();
            let all = sum(&block.q);
            assert_eq!((block.minus_8, block.minus_128), (-8 * all, -128 * all));
            assert_eq!(block.minus_32, [-32 * sum(&block.q[..16]), -32 * sum(&block.q[16..])]);
            for (x, q) in x[32 * b..].iter().zip(block.q) {
                assert!((x - block.scale * f32::from(q)).abs() <= block.scale * 0.5001 + 1e-30);
            }
        }
        for isa in Isa::ALL.into_iter().filter(|&isa| isa <= Isa::highest()) {
            assert_eq!(quantized(isa, &x), quantized(Isa::Scalar, &x), "{isa:?}");
        }
    }

    #[test]
    fn infinities_and_nans_show() {
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let mut x = [1.0; 64];
            x[3] = bad;
            let blocks = quantized(Isa::highest(), &x);
            assert!(blocks[0].scale.is_nan() && blocks[0].scaled_sum.is_nan() && blocks[0].q == [0; 32]);
            assert_eq!(blocks[1].q, [127; 32]);
        }
    }
}
