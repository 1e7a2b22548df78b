//! A model's configuration from `config.json` of a Hugging Face folder, and from the files that
//! sentence-transformers puts beside it. Both the keys of transformers 5 (`rope_parameters`, `dtype`) and those of
//! older versions (`rope_theta`, `rope_scaling`, `torch_dtype`) are read.

use super::check::{self, size};
use super::rope::{self, Scaling};
use crate::llm::config::{Architecture, ModelConfig, Pooling, RopeConfig, TernaryStorage};
use crate::ops::{Activation, RopeStyle};
use crate::{Error, Result};
use serde_json::{Map, Value};

/// A JSON object whose values are fetched with a check of their type. `null` counts as absent.
pub(super) struct Object<'a> {
    map: &'a Map<String, Value>,
    file: &'a str,
}

impl<'a> Object<'a> {
    pub(super) fn new(value: &'a Value, file: &'a str) -> Result<Object<'a>> {
        match value {
            Value::Object(map) => Ok(Object { map, file }),
            _ => Err(Error::format(format!("{file} is not a JSON object"))),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|v| !v.is_null())
    }

    fn read<T>(&self, key: &str, kind: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(v) => match read(v) {
                Some(x) => Ok(Some(x)),
                None => Err(Error::format(format!("{}: `{key}` is not {kind}", self.file))),
            },
        }
    }

    pub(super) fn uint(&self, key: &str) -> Result<Option<u64>> {
        self.read(key, "an unsigned number", Value::as_u64)
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        self.read(key, "a number", Value::as_f64)
    }

    pub(super) fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.read(key, "a string", Value::as_str)
    }

    fn object(&self, key: &str) -> Result<Option<Object<'a>>> {
        let map = self.read(key, "an object", Value::as_object)?;
        Ok(map.map(|map| Object { map, file: self.file }))
    }

    fn size(&self, key: &str, max: u32) -> Result<u32> {
        let n = self.uint(key)?.ok_or_else(|| Error::format(format!("{}: `{key}` is missing", self.file)))?;
        size(&format!("{}: `{key}`", self.file), n, max)
    }
}

/// The class that `config.json` names, or else the type of model.
fn class<'a>(o: &Object<'a>) -> Result<&'a str> {
    match o.get("architectures").and_then(|a| a.get(0)).and_then(Value::as_str) {
        Some(c) => Ok(c),
        None => Ok(o.text("model_type")?.unwrap_or("(none)")),
    }
}

fn architecture(o: &Object<'_>) -> Result<Architecture> {
    Ok(match class(o)? {
        "LlamaForCausalLM" | "MistralForCausalLM" | "llama" | "mistral" => Architecture::Llama,
        "Qwen2ForCausalLM" | "qwen2" => Architecture::Qwen2,
        "Qwen3ForCausalLM" | "qwen3" => Architecture::Qwen3,
        "BitNetForCausalLM" | "bitnet" => Architecture::BitNet,
        "BertModel" | "BertForMaskedLM" | "BertForPreTraining" | "bert" => Architecture::Bert,
        other => {
            return Err(Error::unsupported(format!("the architecture `{other}` is not supported")).advise(
                "LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, BitNetForCausalLM, \
                 BertModel and BertForMaskedLM are",
            ));
        }
    })
}

/// Reads `config.json`. `has` tells which canonical tensors the folder holds.
pub(super) fn read(json: &Value, name: &str, has: &dyn Fn(&str) -> bool) -> Result<ModelConfig> {
    let o = Object::new(json, "config.json")?;
    let architecture = architecture(&o)?;
    let ternary = read_quantization(&o, architecture)?;
    let bert = architecture == Architecture::Bert;
    let dim = o.size("hidden_size", check::MAX_DIM)?;
    let layers = o.size("num_hidden_layers", check::MAX_LAYERS)?;
    let heads = o.size("num_attention_heads", check::MAX_HEADS)?;
    let kv_heads = match o.get("num_key_value_heads") {
        Some(_) if !bert => o.size("num_key_value_heads", check::MAX_HEADS)?,
        _ => heads,
    };
    let head_dim = match o.get("head_dim") {
        Some(_) => o.size("head_dim", check::MAX_HEAD_DIM)?,
        // The class's default, which does not follow from the other sizes.
        None if architecture == Architecture::Qwen3 => 128,
        None if dim.is_multiple_of(heads) => {
            size("config.json: the size of a head", u64::from(dim / heads), check::MAX_HEAD_DIM)?
        }
        None => {
            return Err(Error::format(format!(
                "config.json: `hidden_size` {dim} does not divide into {heads} heads"
            )));
        }
    };
    let context = o.size("max_position_embeddings", check::MAX_CONTEXT)?;
    let norm_eps = if bert {
        o.float("layer_norm_eps")?.unwrap_or(1e-12)
    } else {
        o.float("rms_norm_eps")?.unwrap_or(1e-6)
    };
    if bert && !matches!(o.text("position_embedding_type")?, None | Some("absolute")) {
        return Err(Error::unsupported("config.json: only absolute position embeddings are supported"));
    }
    let attention_bias = o.bool("attention_bias")?.unwrap_or(false);
    let takes_bias = matches!(architecture, Architecture::Llama | Architecture::Qwen3);
    Ok(ModelConfig {
        architecture,
        name: name.to_owned(),
        vocab: o.size("vocab_size", check::MAX_VOCAB)?,
        dim,
        layers,
        heads,
        kv_heads,
        head_dim,
        ffn: o.size("intermediate_size", check::MAX_FFN)?,
        context,
        ternary,
        norm_eps: norm_eps as f32,
        rope: if bert { None } else { Some(read_rope(&o, head_dim, context)?) },
        windows: read_windows(&o, architecture, layers, context)?,
        qkv_bias: bert || architecture == Architecture::Qwen2 || (takes_bias && attention_bias),
        output_bias: bert || (takes_bias && attention_bias),
        ffn_bias: bert || (architecture == Architecture::Llama && o.bool("mlp_bias")?.unwrap_or(false)),
        qk_norm: architecture == Architecture::Qwen3,
        tied: o.bool("tie_word_embeddings")?.unwrap_or_else(|| !has("output.weight")),
        type_vocab: match o.get("type_vocab_size") {
            Some(_) if bert => o.size("type_vocab_size", check::MAX_VOCAB)?,
            _ if bert => 2,
            _ => 0,
        },
        position_vocab: if bert { context } else { 0 },
        activation: match o.text("hidden_act")?.unwrap_or(match architecture {
            Architecture::Bert => "gelu",
            Architecture::BitNet => "relu2",
            _ => "silu",
        }) {
            "relu2" => Activation::SquaredRelu,
            "silu" | "swish" => Activation::Silu,
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            other => {
                return Err(Error::unsupported(format!(
                    "config.json: `hidden_act` {other} is not supported"
                ))
                .advise("silu, gelu, gelu_new, gelu_pytorch_tanh and relu2 are"));
            }
        },
        pooling: None,
        normalize: false,
    })
}

/// How a quantized folder stores its matrices.
fn read_quantization(o: &Object<'_>, architecture: Architecture) -> Result<TernaryStorage> {
    let Some(q) = o.object("quantization_config")? else { return Ok(TernaryStorage::Typed) };
    let method = q.text("quant_method")?.unwrap_or("(none)");
    if architecture != Architecture::BitNet || method != "bitnet" {
        return Err(Error::unsupported(format!(
            "Hugging Face folders quantized by `{method}` are not supported"
        ))
        .advise("use the unquantized model, or a GGUF file; BitNetForCausalLM by `bitnet` is supported"));
    }
    if q.bool("use_rms_norm")?.unwrap_or(false) {
        return Err(Error::unsupported(
            "config.json: BitNet layers with a norm of their own (`use_rms_norm`)",
        ));
    }
    if let Some(kept) = q.get("modules_to_not_convert")
        && !kept.as_array().is_some_and(|all| all.iter().all(|m| m.as_str() == Some("lm_head")))
    {
        return Err(Error::unsupported(format!("config.json: `modules_to_not_convert` {kept}"))
            .advise("models whose layers are all ternary but the head are supported"));
    }
    // The defaults are those of the class that reads this object.
    let class = q.text("linear_class")?.unwrap_or("bitlinear");
    let mode = q.text("quantization_mode")?.unwrap_or("offline");
    match (class, mode) {
        ("autobitlinear", "online") => Ok(TernaryStorage::Master),
        ("autobitlinear", "offline") => Ok(TernaryStorage::PackedMultiplied),
        ("bitlinear", "offline") => Ok(TernaryStorage::PackedDivided),
        _ => Err(Error::unsupported(format!("config.json: BitNet layers of class `{class}`, mode `{mode}`"))
            .advise("autobitlinear (online, offline) and bitlinear (offline) are supported")),
    }
}

fn read_windows(
    o: &Object<'_>,
    architecture: Architecture,
    layers: u32,
    context: u32,
) -> Result<Vec<Option<u32>>> {
    let none = vec![None; layers as usize];
    let mistral = matches!(class(o)?, "MistralForCausalLM" | "mistral");
    let used = match architecture {
        Architecture::Bert => false,
        Architecture::BitNet => false,
        Architecture::Llama => mistral,
        Architecture::Qwen2 | Architecture::Qwen3 => o.bool("use_sliding_window")?.unwrap_or(false),
    };
    let window = match o.uint("sliding_window")? {
        Some(n) if used && n < u64::from(context) => {
            Some(size("config.json: `sliding_window`", n, check::MAX_CONTEXT)?)
        }
        _ => return Ok(none),
    };
    if let Some(types) = o.get("layer_types") {
        let bad = || {
            Error::format(format!(
                "config.json: `layer_types` must hold full_attention or sliding_attention for each of {layers} layers"
            ))
        };
        let types = types.as_array().filter(|t| t.len() == layers as usize).ok_or_else(bad)?;
        return types
            .iter()
            .map(|t| match t.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") => Ok(window),
                _ => Err(bad()),
            })
            .collect();
    }
    let first = if mistral { 0 } else { o.uint("max_window_layers")?.unwrap_or(28) };
    Ok((0..u64::from(layers)).map(|i| if i >= first { window } else { None }).collect())
}

fn read_rope(o: &Object<'_>, head_dim: u32, context: u32) -> Result<RopeConfig> {
    let params = match o.object("rope_parameters")? {
        Some(p) => Some(p),
        None => o.object("rope_scaling")?,
    };
    let number = |key: &str| -> Result<Option<f64>> { params.as_ref().map_or(Ok(None), |p| p.float(key)) };
    let need = |key: &str| -> Result<f64> {
        number(key)?.ok_or_else(|| Error::format(format!("config.json: the rotary settings lack `{key}`")))
    };
    let partial = number("partial_rotary_factor")?.or(o.float("partial_rotary_factor")?);
    if partial.is_some_and(|p| p != 1.0) {
        return Err(Error::unsupported("config.json: rotary embedding of a part of each head"));
    }
    let base = number("rope_theta")?.or(o.float("rope_theta")?).unwrap_or(10_000.0);
    let kind = match &params {
        None => "default",
        Some(p) => match p.text("rope_type")? {
            Some(t) => t,
            None => p.text("type")?.unwrap_or("default"),
        },
    };
    let original = number("original_max_position_embeddings")?
        .or(o.float("original_max_position_embeddings")?)
        .unwrap_or(f64::from(context));
    let scaling = match kind {
        // Dynamic scaling changes nothing up to `max_position_embeddings`, and that is where the context ends.
        "default" | "dynamic" => Scaling::None,
        "linear" => Scaling::Linear { factor: need("factor")? },
        "llama3" => Scaling::Llama3 {
            factor: need("factor")?,
            low: need("low_freq_factor")?,
            high: need("high_freq_factor")?,
            original,
        },
        "yarn" => {
            let factor = number("factor")?.unwrap_or(f64::from(context) / original);
            let nonzero = |x: Option<f64>| x.filter(|&m| m != 0.0);
            let pair = (nonzero(number("mscale")?), nonzero(number("mscale_all_dim")?));
            let magnitude = match (number("attention_factor")?, pair) {
                (Some(m), _) => m,
                (None, (Some(a), Some(b))) => {
                    rope::yarn_magnitude(factor, a) / rope::yarn_magnitude(factor, b)
                }
                _ => rope::yarn_magnitude(factor, 1.0),
            };
            Scaling::Yarn {
                factor,
                original,
                beta_fast: number("beta_fast")?.unwrap_or(32.0),
                beta_slow: number("beta_slow")?.unwrap_or(1.0),
                truncate: params.as_ref().map_or(Ok(None), |p| p.bool("truncate"))?.unwrap_or(true),
                magnitude,
            }
        }
        other => {
            return Err(Error::unsupported(format!(
                "config.json: the rotary scaling `{other}` is not supported"
            ))
            .advise("default, linear, dynamic, llama3 and yarn are"));
        }
    };
    let (frequencies, magnitude) = rope::frequencies(head_dim, base, &scaling)?;
    Ok(RopeConfig { frequencies, magnitude, style: RopeStyle::Half })
}

/// Reads `1_Pooling/config.json` of sentence-transformers.
pub(super) fn read_pooling(json: &Value, file: &str) -> Result<Pooling> {
    let o = Object::new(json, file)?;
    let newer = match o.text("pooling_mode")? {
        Some("mean") => Some(Pooling::Mean),
        Some("cls") => Some(Pooling::Cls),
        Some("lasttoken") => Some(Pooling::Last),
        _ => None,
    };
    let older = [
        ("pooling_mode_mean_tokens", Pooling::Mean),
        ("pooling_mode_cls_token", Pooling::Cls),
        ("pooling_mode_lasttoken", Pooling::Last),
        ("pooling_mode_max_tokens", Pooling::Mean),
        ("pooling_mode_mean_sqrt_len_tokens", Pooling::Mean),
        ("pooling_mode_weightedmean_tokens", Pooling::Mean),
    ];
    let mut chosen = Vec::new();
    for (i, (key, pooling)) in older.into_iter().enumerate() {
        if o.bool(key)?.unwrap_or(false) {
            chosen.push((i < 3).then_some(pooling));
        }
    }
    match (newer, chosen.as_slice()) {
        (Some(p), _) => Ok(p),
        (None, [Some(p)]) => Ok(*p),
        _ => Err(Error::unsupported(format!("{file}: this pooling is not supported"))
            .advise("one of mean, cls and lasttoken is")),
    }
}
