//! From f32 to stored blocks.

use super::{DType, lowbit};
use crate::{Error, Result};
use half::{bf16, f16};

/// Quantizes f32 to whole blocks of `dtype` (F32, F16, BF16, Q8_0, Q4_0, TQ1_0 or TQ2_0), as `ggml`'s reference does: Q8_0 scales
/// by the largest magnitude over 127 and rounds half away from zero; Q4_0 maps the value of largest magnitude to code
/// 0 and rounds by truncating after adding 8.5; TQ1_0 and TQ2_0 scale by the largest magnitude and round to -1, 0 or 1.
///
/// Errors: `src` is no whole number of blocks, `dst` has another length than [`DType::bytes`] says, or nothing here
/// writes this type.
pub fn quantize(dtype: DType, src: &[f32], dst: &mut [u8]) -> Result<()> {
    let want = dtype.bytes(1, src.len() as u64)?;
    if dst.len() as u64 != want {
        return Err(Error::argument(
            "dst",
            format!("{} weights of type {dtype:?} take {want} bytes, not {}", src.len(), dst.len()),
        ));
    }
    let blocks = src.chunks_exact(dtype.block() as usize);
    for (src, dst) in blocks.zip(dst.chunks_exact_mut(dtype.block_bytes() as usize)) {
        match dtype {
            DType::F32 => dst.copy_from_slice(&src[0].to_le_bytes()),
            DType::F16 => dst.copy_from_slice(&f16::from_f32(src[0]).to_le_bytes()),
            DType::BF16 => dst.copy_from_slice(&bf16::from_f32(src[0]).to_le_bytes()),
            DType::Q8_0 => q8_0(src, dst),
            DType::Q4_0 => q4_0(src, dst),
            DType::TQ1_0 => lowbit::tq1_quantize(src, dst),
            DType::TQ2_0 => lowbit::tq2_quantize(src, dst),
            DType::Q4_K | DType::Q6_K | DType::I2_S => {
                return Err(Error::unsupported(format!("quantizing to {dtype:?} is not supported"))
                    .advise("Q8_0, Q4_0, TQ1_0 and TQ2_0 are; for I2_S see quant::lowbit"));
            }
        }
    }
    Ok(())
}

fn q8_0(src: &[f32], dst: &mut [u8]) {
    let largest = src.iter().fold(0f32, |m, x| m.max(x.abs()));
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    dst[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (q, x) in dst[2..].iter_mut().zip(src) {
        *q = (x * inverse).round() as i8 as u8;
    }
}

fn q4_0(src: &[f32], dst: &mut [u8]) {
    let extreme = src.iter().fold(0f32, |m, &x| if x.abs() > m.abs() { x } else { m });
    let d = extreme / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    dst[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    let code = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    for j in 0..16 {
        dst[2 + j] = code(src[j]) | code(src[j + 16]) << 4;
    }
}

#[cfg(test)]
mod tests {
    use super::super::dequantize;
    use super::*;

    fn wave(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * i) as f32 * 0.37).sin() * (1.0 + (i / 32) as f32)).collect()
    }

    #[test]
    fn there_and_back_stays_within_a_step() {
        let x = wave(320);
        for (dtype, step) in [(DType::Q8_0, 1.0 / 127.0), (DType::Q4_0, 1.0 / 8.0), (DType::F16, 1e-3)] {
            let mut bytes = vec![0; dtype.bytes(1, 320).unwrap() as usize];
            quantize(dtype, &x, &mut bytes).unwrap();
            let mut back = vec![0.0; 320];
            dequantize(dtype, &bytes, &mut back).unwrap();
            for (block, (x, b)) in x.chunks(32).zip(back.chunks(32)).enumerate() {
                let largest = x.iter().fold(0f32, |m, x| m.max(x.abs()));
                for (x, b) in x.iter().zip(b) {
                    assert!((x - b).abs() <= largest * step * 1.01, "{dtype:?} block {block}: {x} {b}");
                }
            }
        }
    }

    #[test]
    fn zeros_stay_zero_and_k_quants_are_refused() {
        let mut bytes = [0u8; 34];
        quantize(DType::Q8_0, &[0.0; 32], &mut bytes).unwrap();
        assert_eq!(bytes, [0; 34]);
        assert!(quantize(DType::Q4_K, &[0.0; 256], &mut [0; 144]).is_err());
        assert!(quantize(DType::Q8_0, &[0.0; 32], &mut [0; 33]).is_err());
    }
}
