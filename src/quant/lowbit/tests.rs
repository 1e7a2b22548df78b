use super::*;
use crate::Status;
use crate::quant::{DType, dequantize, quantize};
use half::{bf16, f16};
use proptest::prelude::*;

fn ternary(n: usize) -> Vec<i8> {
    (0..n).map(|i| ((i * 7 + i / 5) % 3) as i8 - 1).collect()
}

fn argument<T: std::fmt::Debug>(result: crate::Result<T>, name: &str) {
    let e = result.unwrap_err();
    assert!(e.status() == Status::InvalidArgument && e.to_string().contains(name), "{e}");
}

#[test]
fn element_wise_codes_are_those_of_the_definition() {
    let x = [0.5f32, -0.5, 1.5, -1.5, -2.5, 0.51, -0.51, 9.0, -9.0, 0.0, -0.0, 1e-40];
    let mut codes = [9i8; 12];
    quantize_i2s(&x, 1.0, NonFinite::Refuse, &mut codes).unwrap();
    assert_eq!(codes, [0, 0, 1, -2, -2, 1, -1, 1, -2, 0, 0, 0]);
    // A true division: 0.3 / 0.2 is above 1.5 in f32 where 0.3 * (1 / 0.2) would be 1.5.
    let mut one = [0i8];
    quantize_i2s(&[0.1f32], 0.2, NonFinite::Refuse, &mut one).unwrap();
    assert_eq!(one, [0]);
    let mut back = [0f32; 12];
    dequantize_i2s(&codes, 0.25, &mut back).unwrap();
    assert_eq!(back[3], -0.5);
    let mut narrow = [f16::ZERO; 12];
    dequantize_i2s(&codes, 0.1, &mut narrow).unwrap();
    assert_eq!(narrow[3], f16::from_f32(-2.0 * 0.1));
    let halves: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
    let mut same = [9i8; 12];
    quantize_i2s(&halves, 1.0, NonFinite::Refuse, &mut same).unwrap();
    assert_eq!(same[..5], codes[..5]);
}

#[test]
fn edges_of_element_wise_codes() {
    let mut codes = [7i8; 3];
    for scale in [-1.0, f32::NAN, f32::INFINITY, 1e-31] {
        argument(quantize_i2s(&[1.0f32; 3], scale, NonFinite::Refuse, &mut codes), "scale");
    }
    argument(quantize_i2s(&[0.0f32, 0.0, 1.0], 0.0, NonFinite::Refuse, &mut codes), "scale");
    argument(quantize_i2s(&[1.0f32, f32::NAN, 1.0], 1.0, NonFinite::Refuse, &mut codes), "element 1");
    argument(quantize_i2s(&[1.0f32; 2], 1.0, NonFinite::Refuse, &mut codes), "codes");
    assert_eq!(codes, [7; 3], "nothing was written");
    quantize_i2s(&[0.0f32; 3], 0.0, NonFinite::Refuse, &mut codes).unwrap();
    assert_eq!(codes, [0; 3]);
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    quantize_i2s(&odd, 1.0, NonFinite::Map, &mut codes).unwrap();
    assert_eq!(codes, [0, 1, -2]);
    quantize_i2s::<f32>(&[], 1.0, NonFinite::Refuse, &mut []).unwrap();
    argument(dequantize_i2s(&[2i8], 1.0, &mut [0f32]), "codes");

    assert_eq!(estimate_scale(&[1.0f32, -3.0, 2.0], ScaleRule::AbsMax, NonFinite::Refuse).unwrap(), 3.0);
    assert_eq!(estimate_scale(&[1.0f32, -3.0, 2.0], ScaleRule::AbsMean, NonFinite::Refuse).unwrap(), 2.0);
    assert_eq!(estimate_scale::<f32>(&[], ScaleRule::AbsMean, NonFinite::Refuse).unwrap(), 0.0);
    argument(estimate_scale(&odd, ScaleRule::AbsMax, NonFinite::Refuse), "element 0");
    assert_eq!(estimate_scale(&odd, ScaleRule::AbsMax, NonFinite::Map).unwrap(), 0.0);
}

#[test]
fn blocks_have_scales_of_their_own_and_the_last_may_be_short() {
    let x = [1.0f32, -2.0, 0.5, 0.0, 0.0, 0.0, 3.0];
    let (mut codes, mut scales) = ([0i8; 7], [0f32; 3]);
    quantize_blocks(&x, 3, ScaleRule::AbsMax, NonFinite::Refuse, &mut codes, &mut scales).unwrap();
    assert_eq!((codes, scales), ([0, -1, 0, 0, 0, 0, 1], [2.0, 0.0, 3.0]));
    let mut back = [9f32; 7];
    dequantize_blocks(&codes, 3, &scales, &mut back).unwrap();
    assert_eq!(back, [0.0, -2.0, 0.0, 0.0, 0.0, 0.0, 3.0]);
    argument(quantize_blocks(&x, 0, ScaleRule::AbsMax, NonFinite::Refuse, &mut codes, &mut scales), "block");
    argument(quantize_blocks(&x, 4, ScaleRule::AbsMax, NonFinite::Refuse, &mut codes, &mut scales), "scales");
    let mut packed = [0u8; 2];
    pack_codes(&codes, &mut packed).unwrap();
    assert_eq!(packed[1] >> 6, 2, "filled up with the value 0");
    let mut again = [9i8; 7];
    unpack_codes(&packed, &mut again).unwrap();
    assert_eq!(again, codes);
}

#[test]
fn ternary_weights_scale_by_their_mean() {
    let mut codes = [0i8; 4];
    let scale = quantize_ternary(&[1.0f32, -1.0, 0.5, 0.0], NonFinite::Refuse, &mut codes).unwrap();
    assert_eq!((scale, codes), (0.625, [1, -1, 1, 0]));
    assert_eq!(quantize_ternary(&[0.0f32; 4], NonFinite::Refuse, &mut codes).unwrap(), TERNARY_FLOOR);
    assert_eq!(codes, [0; 4]);
    argument(quantize_ternary(&[f32::NAN; 4], NonFinite::Refuse, &mut codes), "element 0");
    quantize_ternary(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0], NonFinite::Map, &mut codes).unwrap();
    assert_eq!(codes, [0, 1, -1, 1]);
}

#[test]
fn i2s_tensors_have_their_first_weights_on_top() {
    let mut values = [0i8; 128];
    (values[0], values[32], values[64], values[96], values[31]) = (1, -1, 1, -1, -1);
    let mut file = [0u8; 64];
    i2s_pack(&values, 0.75, &mut file).unwrap();
    assert_eq!(file[0], 2 << 6 | 2 << 2);
    assert_eq!(file[31], 1 << 4 | 1 << 2 | 1);
    assert_eq!(file[32..36], 0.75f32.to_le_bytes());
    let mut out = [0f32; 128];
    dequantize(DType::I2_S, &file, &mut out).unwrap();
    assert!(out.iter().zip(values).all(|(o, v)| *o == f32::from(v) * 0.75));
    assert_eq!(DType::I2_S.bytes(3, 128).unwrap(), 128);
    assert_eq!(DType::I2_S.bytes(2, 192).unwrap(), 128);
    assert!(DType::I2_S.bytes(1, 100).is_err() && DType::I2_S.bytes(u64::MAX, 128).is_err());
}

#[test]
fn i2s_tensors_that_cannot_be_are_refused() {
    let mut file = vec![0x55u8; 96];
    file[64..68].copy_from_slice(&1f32.to_le_bytes());
    let mut codes = [0u8; 256];
    assert_eq!(i2s_codes(&file, 256, 0, &mut codes).unwrap(), 1.0);
    assert!(i2s_codes(&file, 128, 0, &mut codes[..128]).is_err(), "a file of another size");
    assert!(i2s_codes(&file, 200, 0, &mut codes[..200]).is_err());
    assert!(i2s_codes(&file, 256, 1, &mut codes).is_err());
    for scale in [f32::NAN, f32::INFINITY, -1.0] {
        file[64..68].copy_from_slice(&scale.to_le_bytes());
        assert!(i2s_scale(&file, 256).unwrap_err().to_string().contains("scale"));
    }
    file[64..68].copy_from_slice(&1f32.to_le_bytes());
    file[33] = 0x5D; // weight 128 + 64 + 1 is 3
    let e = i2s_codes(&file, 256, 0, &mut codes).unwrap_err();
    assert!(e.to_string().contains("weight 193 has code 3"), "{e}");
    argument(i2s_pack(&[2i8; 128], 1.0, &mut [0; 64]), "element 0");
    argument(i2s_pack(&[0i8; 127], 1.0, &mut [0; 64]), "values");
}

#[test]
fn hugging_face_packs_four_parts_of_the_rows_in_a_byte() {
    let values = ternary(8 * 3);
    let mut packed = [0u8; 6];
    hf_pack(&values, 8, 3, &mut packed).unwrap();
    for (r, value) in values.chunks(3).enumerate() {
        for (c, v) in value.iter().enumerate() {
            assert_eq!((packed[r % 2 * 3 + c] >> (2 * (r / 2)) & 3) as i8 - 1, *v);
        }
    }
    let mut back = vec![9i8; 24];
    hf_unpack(&packed, 8, 3, &mut back).unwrap();
    assert_eq!(back, values);
    assert!(hf_unpack(&[0xFF; 6], 8, 3, &mut back).is_err() && hf_unpack(&packed, 6, 4, &mut back).is_err());
}

#[test]
fn activations_keep_nothing_back() {
    let mut codes = [0i8; 4];
    let token = quantize_token(&[1.0, -0.5, 0.25, 0.0], &mut codes).unwrap();
    assert_eq!((codes, token.sum, token.scale), ([127, -64, 32, 0], 95, 1.0 / 127.0));
    let token = quantize_token(&[0.0; 4], &mut codes).unwrap();
    assert_eq!((codes, token.sum), ([0; 4], 0));
    let token = quantize_token(&[1.0, f32::NAN, 0.0, 0.0], &mut codes).unwrap();
    assert!(token.scale.is_nan());
    assert!(product(&[2, 0, 1, 1], 1, 0.5, &codes, token).unwrap().is_nan());
    let token = quantize_token(&[1.0, -1.0, 0.5, 0.0], &mut codes).unwrap();
    assert_eq!(product(&[2, 0, 1, 1], 1, 0.5, &codes, token).unwrap(), 254.0 * (1.0 / 127.0) * 0.5);
}

proptest! {
    #[test]
    fn tq_blocks_keep_ternary_weights(values in prop::collection::vec(-1i8..=1, 256), scale in 1u16..1000) {
        let scale = f32::from(scale) / 256.0;
        let x: Vec<f32> = values.iter().map(|v| f32::from(*v) * scale).collect();
        for dtype in [DType::TQ1_0, DType::TQ2_0] {
            let mut stored = vec![0u8; dtype.block_bytes() as usize];
            quantize(dtype, &x, &mut stored).unwrap();
            let mut back = vec![9f32; 256];
            dequantize(dtype, &stored, &mut back).unwrap();
            let d = f16::from_f32(if values.iter().any(|v| *v != 0) { scale } else { 0.0 }).to_f32();
            prop_assert!(back.iter().zip(&values).all(|(b, v)| *b == f32::from(*v) * d));
            prop_assert_eq!(tq_uniform_scale(&stored, stored.len()).unwrap(), Some(d));
            let last = stored.len() - 1;
            for scale in [f16::NAN, f16::INFINITY, f16::from_f32(-0.5)] {
                stored[last - 1..].copy_from_slice(&scale.to_le_bytes());
                prop_assert!(tq_uniform_scale(&stored, stored.len()).unwrap_err().to_string().contains("scale"));
            }
        }
    }

    #[test]
    fn i2s_tensors_come_back(values in prop::collection::vec(-1i8..=1, 1..6usize * 128), scale in 0f32..10.0) {
        let n = values.len() / 128 * 128;
        let mut file = vec![0xAAu8; n / 4 + I2S_TAIL];
        i2s_pack(&values[..n], scale, &mut file).unwrap();
        for first in [0, n / 3] {
            let mut codes = vec![9u8; n - first];
            prop_assert_eq!(i2s_codes(&file, n, first, &mut codes).unwrap(), scale);
            prop_assert!(codes.iter().zip(&values[first..]).all(|(c, v)| *c as i8 - 1 == *v));
        }
    }

    #[test]
    fn codes_are_the_nearest(x in prop::collection::vec(-5f32..5.0, 1..100), scale in 0.01f32..3.0) {
        let mut codes = vec![9i8; x.len()];
        quantize_i2s(&x, scale, NonFinite::Refuse, &mut codes).unwrap();
        for (x, q) in x.iter().zip(codes) {
            let exact = f64::from(*x) / f64::from(scale);
            let error = |q: i8| (exact.clamp(-2.0, 1.0) - f64::from(q)).abs();
            prop_assert!((-2..=1).all(|other| error(q) <= error(other) + 1e-6));
        }
    }
}
