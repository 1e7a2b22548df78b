//! Weights of two bits: the formats of BitNet models and the element-wise I2_S codes, as plain code that nobody optimises.
//! Every kernel, on every device, gives the same bits as this.
//!
//! Two codes go by one name. *Element-wise I2_S* has values -2, -1, 0 and 1 (`q = round(clamp(x / scale, -2, 1))`, ties to
//! even) and scales of a tensor or of blocks. *Ternary* has -1, 0 and 1 and one scale, as BitNet b1.58 trains it (the mean
//! magnitude); it is what GGUF's `I2_S`, `TQ1_0`, `TQ2_0` and Hugging Face's packed safetensors hold.
//!
//! In memory a code is an unsigned number of two bits: the value plus a *zero point*, 2 for element-wise I2_S and 1 for ternary.
//! What is padded is padded with the zero point, so that it counts for nothing.
//!
//! A product of ternary weights with activations of 8 bits is exact in integers: for one token with codes `a`, their scale and
//! their sum, `y[r] = f32(sum_k code[r][k] a[k] - zero_point sum_k a[k]) * a_scale * w_scale[r]`, multiplied in that order.
//!
//! Nothing here flushes subnormals, fuses a product with a sum, or multiplies by a reciprocal where a division is named.

mod activations;
mod elementwise;
mod huggingface;
mod i2s;
mod ternary;
mod tq;

pub use activations::{ACTIVATION_FLOOR, Token, product, quantize_token};
pub use elementwise::{
    Element, NonFinite, ScaleRule, check_scale, dequantize_blocks, dequantize_i2s, estimate_scale,
    pack_codes, quantize_blocks, quantize_i2s, unpack_codes,
};
pub use huggingface::{hf_pack, hf_unpack};
pub use i2s::{I2S_BLOCK, I2S_TAIL, i2s_codes, i2s_dequantize, i2s_pack, i2s_scale};
pub use ternary::{TERNARY_FLOOR, quantize_ternary};
pub use tq::{
    TQ1_BYTES, TQ2_BYTES, tq_uniform_scale, tq1_dequantize, tq1_quantize, tq2_dequantize, tq2_quantize,
};

#[cfg(test)]
mod tests;
