//! From stored blocks to f32, one weight at a time.
//!
//! Formats: GGUF as read by `ggml`; all integers and floats are little-endian.

use super::{DType, lowbit};
use crate::{Error, Result};
use half::{bf16, f16};

/// Turns `src` (whole blocks of `dtype`, as stored in a file) into f32. `out` holds one element for each weight.
///
/// Errors: `src` and `out` do not have matching lengths; an I2_S tensor (which must be whole) has codes or a scale that no
/// quantizer writes.
pub fn dequantize(dtype: DType, src: &[u8], out: &mut [f32]) -> Result<()> {
    let want = dtype.bytes(1, out.len() as u64)?;
    if src.len() as u64 != want {
        return Err(Error::argument(
            "src",
            format!("{} weights of type {dtype:?} take {want} bytes, not {}", out.len(), src.len()),
        ));
    }
    if dtype == DType::I2_S {
        return lowbit::i2s_dequantize(src, out);
    }
    let blocks = src.chunks_exact(dtype.block_bytes() as usize);
    for (block, out) in blocks.zip(out.chunks_exact_mut(dtype.block() as usize)) {
        match dtype {
            DType::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
            DType::F16 => out[0] = half_at(block, 0),
            DType::BF16 => out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
            DType::Q8_0 => q8_0(block, out),
            DType::Q4_0 => q4_0(block, out),
            DType::Q4_K => q4_k(block, out),
            DType::Q6_K => q6_k(block, out),
            DType::TQ1_0 => lowbit::tq1_dequantize(block, out),
            DType::TQ2_0 => lowbit::tq2_dequantize(block, out),
            DType::I2_S => {} // above: its scale is that of the tensor
        }
    }
    Ok(())
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// f16 scale, 32 signed bytes: `w = d * q`.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (o, &q) in out.iter_mut().zip(&block[2..]) {
        *o = d * f32::from(q as i8);
    }
}

/// f16 scale, 16 bytes: byte `j` holds weight `j` (low nibble) and `j + 16` (high nibble): `w = d * (q - 8)`.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 0);
    for (j, &q) in block[2..].iter().enumerate() {
        out[j] = d * (f32::from(q & 15) - 8.0);
        out[j + 16] = d * (f32::from(q >> 4) - 8.0);
    }
}

/// The eight sub-scales and eight sub-minima that a Q4_K block keeps in 12 bytes, 6 bits each.
///
/// Bytes 0-3 hold the low 6 bits of scales 0-3, bytes 4-7 those of minima 0-3; bytes 8-11 hold the low nibbles of
/// scales 4-7 (low) and minima 4-7 (high), whose upper two bits are the top bits of bytes 0-3 and 4-7.
pub fn q4_k_scales(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for j in 0..4 {
        scales[j] = packed[j] & 63;
        minima[j] = packed[j + 4] & 63;
        scales[j + 4] = (packed[j + 8] & 15) | (packed[j] >> 6) << 4;
        minima[j + 4] = (packed[j + 8] >> 4) | (packed[j + 4] >> 6) << 4;
    }
    (scales, minima)
}

/// f16 `d`, f16 `dmin`, 12 bytes of sub-scales and sub-minima, 128 bytes: each 32 bytes hold sub-block `2j` (low
/// nibbles) and `2j + 1` (high nibbles): `w = d * scale * q - dmin * min`.
fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    let mut packed = [0; 12];
    packed.copy_from_slice(&block[4..16]);
    let (scales, minima) = q4_k_scales(&packed);
    for (i, o) in out.iter_mut().enumerate() {
        let sub = i / 32;
        let byte = block[16 + sub / 2 * 32 + i % 32];
        let q = if sub.is_multiple_of(2) { byte & 15 } else { byte >> 4 };
        *o = d * f32::from(scales[sub]) * f32::from(q) - dmin * f32::from(minima[sub]);
    }
}

/// 128 bytes of low nibbles, 64 bytes of upper bit pairs, sixteen i8 sub-scales, f16 `d`: `w = d * scale * (q - 32)`.
/// In each half of 128 weights, weight `l + 32 k` has its low bits in byte `l + 32 (k % 2)` (low nibble for k < 2)
/// and its upper bits in pair `k` of byte `l`.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 208);
    for (i, o) in out.iter_mut().enumerate() {
        let (half, k, l) = (i / 128, i % 128 / 32, i % 32);
        let low = block[half * 64 + k % 2 * 32 + l] >> (k / 2 * 4) & 15;
        let high = block[128 + half * 32 + l] >> (2 * k) & 3;
        let scale = block[192 + i / 16] as i8;
        *o = d * f32::from(scale) * (f32::from(low | high << 4) - 32.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_length_is_refused() {
        let e = dequantize(DType::Q8_0, &[0; 33], &mut [0.0; 32]).unwrap_err();
        assert!(e.message().contains("34 bytes, not 33"), "{e}");
        assert!(dequantize(DType::Q8_0, &[0; 34], &mut [0.0; 31]).is_err());
    }

    /// Blocks, ordinary and extreme, with the values that the `gguf` package's numpy code gives.
    #[test]
    fn every_format_equals_the_fixtures() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/quant");
        for (name, dtype) in [
            ("f16", DType::F16),
            ("bf16", DType::BF16),
            ("q8_0", DType::Q8_0),
            ("q4_0", DType::Q4_0),
            ("q4_k", DType::Q4_K),
            ("q6_k", DType::Q6_K),
        ] {
            let file = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
            let bytes = tensors.tensor("bytes").unwrap();
            let values = tensors.tensor("values").unwrap();
            let want: Vec<f32> =
                values.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            assert!(want.len() >= 256, "{name}");
            let mut got = vec![0.0; want.len()];
            dequantize(dtype, bytes.data(), &mut got).unwrap();
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!(got == want || got.is_nan() && want.is_nan(), "{name} [{i}]: {got} {want}");
            }
        }
    }

    #[test]
    fn q4_k_scales_by_hand() {
        // scale 5 = 0b10_1001 (low nibble 9 in byte 9, top bits 2 in byte 1), minimum 5 = 0b01_0110.
        let mut packed = [0u8; 12];
        packed[1] = 0b10 << 6 | 33;
        packed[5] = 0b01 << 6 | 17;
        packed[9] = 0b0110 << 4 | 0b1001;
        let (s, m) = q4_k_scales(&packed);
        assert_eq!((s[1], m[1], s[5], m[5]), (33, 17, 0b10_1001, 0b01_0110));
    }

    #[test]
    fn floats_keep_their_bits() {
        let mut out = [0.0; 2];
        dequantize(DType::BF16, &[0x80, 0x3f, 0x00, 0xc0], &mut out).unwrap();
        assert_eq!(out, [1.0, -2.0]);
        dequantize(DType::F16, &[0x00, 0x3c, 0x01, 0x00], &mut out).unwrap();
        assert_eq!(out, [1.0, 2f32.powi(-24)]);
        dequantize(DType::F32, &[0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0], &mut out).unwrap();
        assert_eq!(out, [1.0, -2.0]);
    }
}
