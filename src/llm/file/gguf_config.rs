//! A model's configuration from the keys of a GGUF file.

use super::check::{self, size};
use super::gguf::Gguf;
use super::rope::{self, Scaling};
use crate::llm::config::{Architecture, ModelConfig, Pooling, RopeConfig, TernaryStorage};
use crate::ops::{Activation, RopeStyle};
use crate::{Error, Result};

/// Reads the configuration; `fallback_name` names the model when the file does not.
pub(super) fn read(file: &Gguf, fallback_name: &str) -> Result<ModelConfig> {
    let arch = file.text("general.architecture")?.ok_or_else(|| missing("general.architecture"))?;
    let architecture = match arch {
        "llama" => Architecture::Llama,
        "qwen2" => Architecture::Qwen2,
        "qwen3" => Architecture::Qwen3,
        "bert" => Architecture::Bert,
        "bitnet-b1.58" | "bitnet-25" | "bitnet" => Architecture::BitNet,
        other => {
            return Err(Error::unsupported(format!("the architecture `{other}` is not supported"))
                .advise("llama (with mistral), qwen2, qwen3, bitnet-b1.58 and bert are"));
        }
    };
    let bert = architecture == Architecture::Bert;
    if file.uint("split.count")?.unwrap_or(1) > 1 {
        return Err(Error::unsupported("this GGUF file is one part of several")
            .advise("join them with `llama-gguf-split --merge`"));
    }
    let k = Keys { file, arch };
    if k.uint("expert_count")?.unwrap_or(0) > 0 {
        return Err(Error::unsupported("mixture-of-experts models are not supported"));
    }

    let layers = size(&k.name("block_count"), k.need("block_count")?, check::MAX_LAYERS)?;
    let dim = size(&k.name("embedding_length"), k.need("embedding_length")?, check::MAX_DIM)?;
    let heads = k
        .one_for_all_layers("attention.head_count")?
        .ok_or_else(|| missing(&k.name("attention.head_count")))?;
    let heads = size(&k.name("attention.head_count"), heads, check::MAX_HEADS)?;
    let kv_heads = k.one_for_all_layers("attention.head_count_kv")?.unwrap_or(u64::from(heads));
    let kv_heads = size(&k.name("attention.head_count_kv"), kv_heads, check::MAX_HEADS)?;
    let key_length = k.uint("attention.key_length")?;
    if let (Some(a), Some(b)) = (key_length, k.uint("attention.value_length")?)
        && a != b
    {
        return Err(Error::unsupported(format!("heads with keys of {a} and values of {b} elements")));
    }
    let head_dim = match key_length {
        Some(n) => n,
        None if dim.is_multiple_of(heads) => u64::from(dim / heads),
        None => return Err(Error::format(format!("{dim} elements do not divide into {heads} heads"))),
    };
    let head_dim = size(&k.name("attention.key_length"), head_dim, check::MAX_HEAD_DIM)?;
    let ffn = k
        .one_for_all_layers("feed_forward_length")?
        .ok_or_else(|| missing(&k.name("feed_forward_length")))?;
    let ffn = size(&k.name("feed_forward_length"), ffn, check::MAX_FFN)?;
    let context = size(&k.name("context_length"), k.need("context_length")?, check::MAX_CONTEXT)?;
    let eps = if bert { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" };
    let norm_eps = k.float(eps)?.ok_or_else(|| missing(&k.name(eps)))? as f32;

    let rows = |name: &str| file.tensor(name).and_then(|(t, _)| t.shape.first().copied());
    let vocab = rows("token_embd.weight").ok_or_else(|| missing("the tensor token_embd.weight"))?;
    let vocab = size("the number of rows of token_embd.weight", vocab, check::MAX_VOCAB)?;
    let window = match k.uint("attention.sliding_window")? {
        Some(n) if n > 0 && n < u64::from(context) => Some(n as u32),
        _ => None,
    };
    let has = |name: &str| file.tensor(name).is_some();
    let table = |name: &str| -> Result<u32> {
        rows(name).map_or(Ok(0), |n| size(&format!("the number of rows of {name}"), n, check::MAX_VOCAB))
    };
    Ok(ModelConfig {
        architecture,
        name: file.text("general.name")?.filter(|n| !n.is_empty()).unwrap_or(fallback_name).to_owned(),
        vocab,
        dim,
        layers,
        heads,
        kv_heads,
        head_dim,
        ffn,
        context,
        ternary: TernaryStorage::Typed,
        norm_eps,
        rope: if bert { None } else { Some(read_rope(&k, architecture, head_dim, context)?) },
        windows: vec![window; layers as usize],
        qkv_bias: bert || architecture == Architecture::Qwen2 || has("blk.0.attn_q.bias"),
        output_bias: has("blk.0.attn_output.bias"),
        ffn_bias: has("blk.0.ffn_up.bias"),
        qk_norm: architecture == Architecture::Qwen3,
        tied: !has("output.weight"),
        type_vocab: if bert { table("token_types.weight")? } else { 0 },
        position_vocab: if bert { table("position_embd.weight")?.max(1) } else { 0 },
        activation: match architecture {
            Architecture::Bert => Activation::Gelu,
            Architecture::BitNet => Activation::SquaredRelu,
            _ => Activation::Silu,
        },
        pooling: match k.uint("pooling_type")? {
            Some(1) => Some(Pooling::Mean),
            Some(2) => Some(Pooling::Cls),
            Some(3) => Some(Pooling::Last),
            _ => None,
        },
        normalize: false,
    })
}

/// Keys that begin with the architecture's name.
struct Keys<'a> {
    file: &'a Gguf,
    arch: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.arch)
    }

    fn uint(&self, key: &str) -> Result<Option<u64>> {
        self.file.uint(&self.name(key))
    }

    fn need(&self, key: &str) -> Result<u64> {
        self.uint(key)?.ok_or_else(|| missing(&self.name(key)))
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        self.file.float(&self.name(key))
    }

    fn text(&self, key: &str) -> Result<Option<&str>> {
        self.file.text(&self.name(key))
    }

    /// A number, or an array of one equal number for each layer.
    fn one_for_all_layers(&self, key: &str) -> Result<Option<u64>> {
        let name = self.name(key);
        let Some(all) = self.file.uints(&name)? else { return Ok(None) };
        match all.first() {
            Some(&n) if all.iter().all(|&m| m == n) => Ok(Some(n)),
            Some(_) => Err(Error::unsupported(format!("`{name}` differs between layers"))),
            None => Err(Error::format(format!("GGUF: `{name}` is an empty array"))),
        }
    }
}

fn missing(key: &str) -> Error {
    Error::format(format!("GGUF: `{key}` is missing"))
}

fn read_rope(k: &Keys<'_>, architecture: Architecture, head_dim: u32, context: u32) -> Result<RopeConfig> {
    if let Some(n) = k.uint("rope.dimension_count")?
        && n != u64::from(head_dim)
    {
        return Err(Error::unsupported(format!("rotary embedding of {n} of {head_dim} elements of a head")));
    }
    let base = k.float("rope.freq_base")?.unwrap_or(10_000.0);
    let factor = k.float("rope.scaling.factor")?.or(k.float("rope.scale_linear")?);
    let factor = factor.filter(|&f| f != 0.0);
    let kind = k.text("rope.scaling.type")?.unwrap_or("linear");
    let scaling = match (kind, factor) {
        ("none", _) | ("linear" | "yarn", None) => Scaling::None,
        ("linear", Some(factor)) => Scaling::Linear { factor },
        ("yarn", Some(factor)) => Scaling::Yarn {
            factor,
            original: k
                .uint("rope.scaling.original_context_length")?
                .map_or(f64::from(context), |n| n as f64),
            beta_fast: k.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: k.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            truncate: true,
            magnitude: rope::yarn_magnitude(factor, 1.0)
                * k.float("rope.scaling.attn_factor")?
                    .or(k.float("rope.scaling.yarn_attn_factor")?)
                    .unwrap_or(1.0),
        },
        (other, _) => {
            return Err(Error::unsupported(format!("the rotary scaling `{other}` is not supported"))
                .advise("linear, yarn, and Llama 3's by rope_freqs.weight are"));
        }
    };
    let (mut frequencies, magnitude) = rope::frequencies(head_dim, base, &scaling)?;
    // Llama 3 files carry a divisor for each frequency.
    if let Some((t, data)) = k.file.tensor("rope_freqs.weight") {
        let view = super::TensorView { dtype: t.dtype()?, shape: t.shape.clone(), data };
        let divisors = view.to_f32().map_err(|e| e.within("rope_freqs.weight"))?;
        if divisors.len() != frequencies.len() || divisors.iter().any(|d| !(d.is_finite() && *d > 0.0)) {
            return Err(Error::format(format!(
                "`rope_freqs.weight` must hold {} positive numbers",
                frequencies.len()
            )));
        }
        frequencies.iter_mut().zip(divisors).for_each(|(f, d)| *f /= d);
    }
    // Converters permute the Q and K rows of llama files so that pairs lie side by side; those of qwen do not.
    let style = if architecture == Architecture::Llama { RopeStyle::Interleaved } else { RopeStyle::Half };
    Ok(RopeConfig { frequencies, magnitude, style })
}
