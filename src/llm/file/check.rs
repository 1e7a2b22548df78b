//! Bounds on sizes and the tensors that each architecture needs.

use crate::llm::config::{Architecture, ModelConfig};
use crate::quant::DType;
use crate::{Error, Result};

/// Checks a size from a file. The bounds are far above any model and far below where products overflow.
pub(super) fn size(what: &str, value: u64, max: u32) -> Result<u32> {
    match u32::try_from(value) {
        Ok(n) if n > 0 && n <= max => Ok(n),
        _ => Err(Error::format(format!("{what} is {value}; 1 to {max} are allowed"))),
    }
}

pub(super) const MAX_VOCAB: u32 = 1 << 24;
pub(super) const MAX_DIM: u32 = 1 << 17;
pub(super) const MAX_LAYERS: u32 = 4096;
pub(super) const MAX_HEADS: u32 = 4096;
pub(super) const MAX_HEAD_DIM: u32 = 1024;
pub(super) const MAX_FFN: u32 = 1 << 20;
pub(super) const MAX_CONTEXT: u32 = 1 << 28;

/// Checks how sizes relate.
pub(super) fn relations(c: &ModelConfig) -> Result<()> {
    if c.kv_heads > c.heads || !c.heads.is_multiple_of(c.kv_heads) {
        return Err(Error::format(format!(
            "{} query heads cannot be shared out over {} key/value heads",
            c.heads, c.kv_heads
        )));
    }
    if c.rope.is_some() && !c.head_dim.is_multiple_of(2) {
        return Err(Error::format(format!("heads of {} elements have no pairs to rotate", c.head_dim)));
    }
    if c.architecture == Architecture::Bert && u64::from(c.heads) * u64::from(c.head_dim) != u64::from(c.dim)
    {
        return Err(Error::format(format!("{} elements do not divide into {} heads", c.dim, c.heads)));
    }
    if !(c.norm_eps.is_finite() && c.norm_eps >= 0.0 && c.norm_eps < 1.0) {
        return Err(Error::format(format!("the norm epsilon is {}", c.norm_eps)));
    }
    Ok(())
}

/// What a tensor is for: vectors are read as f32, so a quantized one is refused.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Role {
    Matrix,
    Plain,
}

/// Takes a tensor's name, shape and role.
type Visit<'a> = dyn FnMut(&str, &[u64], Role) -> Result<()> + 'a;

/// Calls `visit` with the name, shape and role of every tensor that a model of this configuration needs.
pub(super) fn each_tensor(c: &ModelConfig, visit: &mut Visit<'_>) -> Result<()> {
    use Role::{Matrix, Plain};
    let (vocab, dim, ffn) = (u64::from(c.vocab), u64::from(c.dim), u64::from(c.ffn));
    let q = u64::from(c.heads) * u64::from(c.head_dim);
    let kv = u64::from(c.kv_heads) * u64::from(c.head_dim);
    let bert = c.architecture == Architecture::Bert;

    visit("token_embd.weight", &[vocab, dim], Matrix)?;
    if bert {
        visit("position_embd.weight", &[u64::from(c.position_vocab), dim], Plain)?;
        if c.type_vocab > 0 {
            visit("token_types.weight", &[u64::from(c.type_vocab), dim], Plain)?;
        }
        visit("token_embd_norm.weight", &[dim], Plain)?;
        visit("token_embd_norm.bias", &[dim], Plain)?;
    } else {
        visit("output_norm.weight", &[dim], Plain)?;
        if !c.tied {
            visit("output.weight", &[vocab, dim], Matrix)?;
        }
    }
    for layer in 0..c.layers {
        let mut named = |name: &str, shape: &[u64], role| visit(&format!("blk.{layer}.{name}"), shape, role);
        named("attn_q.weight", &[q, dim], Matrix)?;
        named("attn_k.weight", &[kv, dim], Matrix)?;
        named("attn_v.weight", &[kv, dim], Matrix)?;
        named("attn_output.weight", &[dim, q], Matrix)?;
        named("ffn_up.weight", &[ffn, dim], Matrix)?;
        named("ffn_down.weight", &[dim, ffn], Matrix)?;
        if c.qkv_bias {
            named("attn_q.bias", &[q], Plain)?;
            named("attn_k.bias", &[kv], Plain)?;
            named("attn_v.bias", &[kv], Plain)?;
        }
        if c.output_bias {
            named("attn_output.bias", &[dim], Plain)?;
        }
        if c.ffn_bias {
            named("ffn_up.bias", &[ffn], Plain)?;
            named("ffn_down.bias", &[dim], Plain)?;
        }
        if bert {
            for norm in ["attn_output_norm", "layer_output_norm"] {
                named(&format!("{norm}.weight"), &[dim], Plain)?;
                named(&format!("{norm}.bias"), &[dim], Plain)?;
            }
        } else {
            named("ffn_gate.weight", &[ffn, dim], Matrix)?;
            if c.ffn_bias {
                named("ffn_gate.bias", &[ffn], Plain)?;
            }
            named("attn_norm.weight", &[dim], Plain)?;
            named("ffn_norm.weight", &[dim], Plain)?;
            if c.architecture == Architecture::BitNet {
                named("attn_sub_norm.weight", &[q], Plain)?;
                named("ffn_sub_norm.weight", &[ffn], Plain)?;
            }
            if c.qk_norm {
                named("attn_q_norm.weight", &[u64::from(c.head_dim)], Plain)?;
                named("attn_k_norm.weight", &[u64::from(c.head_dim)], Plain)?;
            }
        }
    }
    Ok(())
}

/// Checks one tensor against what is needed. `found` is its storage type and shape.
pub(super) fn tensor(
    name: &str,
    found: Option<(Result<DType>, &[u64])>,
    want: &[u64],
    role: Role,
) -> Result<()> {
    let Some((dtype, shape)) = found else {
        return Err(Error::format(format!("the tensor `{name}` is missing")));
    };
    let dtype = dtype?;
    if shape != want {
        return Err(Error::format(format!(
            "the tensor `{name}` has the shape {shape:?}; the configuration asks for {want:?}"
        )));
    }
    if role == Role::Plain && dtype.block() != 1 {
        return Err(Error::format(format!(
            "the tensor `{name}` is stored as {dtype:?}; F32, F16 or BF16 is needed"
        )));
    }
    Ok(())
}
