//! Hugging Face folders: `config.json` beside `model.safetensors`, in one file or several.

use super::bytes::{Bytes, read_bounded};
use super::hf_config::{self, Object};
use crate::llm::config::{ModelConfig, Pooling};
use crate::quant::DType;
use crate::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

/// Most bytes of a configuration file.
const MAX_JSON: u64 = 64 << 20;
/// Most files that a sharded model may have.
const MAX_SHARDS: usize = 4096;

/// Where a tensor lies.
pub(super) struct Tensor {
    pub(super) name: String,
    dtype: Dtype,
    /// As the model sees it: bytes of packed matrices hold four rows.
    pub(super) shape: Vec<u64>,
    file: usize,
    start: usize,
    pub(super) len: usize,
}

impl Tensor {
    /// Whether its bytes are packed ternary weights.
    pub(super) fn is_packed(&self) -> bool {
        self.dtype == Dtype::U8
    }

    pub(super) fn dtype(&self) -> Result<DType> {
        match self.dtype {
            Dtype::F32 => Ok(DType::F32),
            Dtype::F16 => Ok(DType::F16),
            Dtype::BF16 => Ok(DType::BF16),
            // What packed matrices become; `load.rs` turns them.
            Dtype::U8 => Ok(DType::I2_S),
            other => Err(Error::unsupported(format!(
                "tensor `{}`: the safetensors type {other:?} is not supported",
                self.name
            ))
            .advise("F32, F16 and BF16 are")),
        }
    }
}

/// An opened folder.
pub(super) struct Folder {
    /// The folder with `config.json` (sentence-transformers may put it into a folder of its own).
    pub(super) dir: PathBuf,
    files: Vec<Bytes>,
    pub(super) tensors: Vec<Tensor>,
    index: HashMap<String, usize>,
}

/// Reads a JSON file of the folder; `None` when there is no such file.
pub(super) fn json(path: &Path) -> Result<Option<Value>> {
    let bytes = match read_bounded(path, MAX_JSON) {
        Ok(b) => b,
        Err(e) if e.status() == crate::Status::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|e| Error::format(format!("{}: {e}", path.display())))
}

impl Folder {
    /// Opens `root`. Returns the folder, the configuration and the files' identities.
    pub(super) fn open(root: &Path) -> Result<(Folder, ModelConfig, String)> {
        let modules = Modules::read(root)?;
        let dir = match &modules.transformer {
            Some(sub) if !sub.is_empty() => root.join(plain_name(sub, "modules.json")?),
            _ => root.to_owned(),
        };
        let path = dir.join("config.json");
        let config = json(&path)?.ok_or_else(|| {
            Error::not_found(format!("{} does not exist", path.display()))
                .advise("give a .gguf file or a Hugging Face folder with config.json and *.safetensors")
        })?;
        let (_, mut key) = Bytes::map(&path)?;
        let mut folder = Folder { files: Vec::new(), tensors: Vec::new(), index: HashMap::new(), dir };
        for path in shards(&folder.dir)? {
            let (bytes, identity) = Bytes::map(&path)?;
            key.push('\n');
            key.push_str(&identity);
            folder.add(bytes).map_err(|e| e.within(path.display()))?;
        }
        let name = root.canonicalize().map_err(|e| Error::io(root.display(), e))?;
        let name = name.file_name().map_or_else(|| "model".into(), |n| n.to_string_lossy());
        let mut config = hf_config::read(&config, &name, &|t| folder.index.contains_key(t))?;
        if config.tied {
            // A tied model ignores its own output matrix, if a file has one.
            folder.remove("output.weight");
        }
        config.pooling = modules.pooling;
        config.normalize = modules.normalize;
        Ok((folder, config, key))
    }

    /// Adds the tensors of one safetensors file.
    pub(super) fn add(&mut self, bytes: Bytes) -> Result<()> {
        let (header, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| Error::format(format!("safetensors: {e}")))?;
        let data_start = header + 8;
        let mut found: Vec<_> = metadata.tensors().into_iter().collect();
        found.sort_by_key(|(_, info)| info.data_offsets);
        let file = self.files.len();
        for (their_name, info) in found {
            let Some(name) = canonical(&their_name) else { continue };
            let (start, end) = info.data_offsets;
            let (start, end) = match (data_start.checked_add(start), data_start.checked_add(end)) {
                (Some(s), Some(e)) if s <= e && e <= bytes.len() => (s, e),
                _ => {
                    return Err(Error::format(format!(
                        "safetensors: tensor `{their_name}` lies beyond the end"
                    )));
                }
            };
            if info.shape.contains(&0) {
                return Err(Error::format(format!(
                    "safetensors: tensor `{their_name}` has a dimension of 0"
                )));
            }
            let mut shape: Vec<u64> = info.shape.iter().map(|&n| n as u64).collect();
            if info.dtype == Dtype::U8
                && let Some(rows) = shape.first_mut()
            {
                *rows = rows.saturating_mul(4);
            }
            if self.index.insert(name.clone(), self.tensors.len()).is_some() {
                return Err(Error::format(format!("the tensor `{their_name}` (`{name}`) appears twice")));
            }
            self.tensors.push(Tensor { name, dtype: info.dtype, shape, file, start, len: end - start });
        }
        self.files.push(bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        if let Some(at) = self.index.remove(name) {
            self.tensors.remove(at);
            self.index.values_mut().filter(|i| **i > at).for_each(|i| *i -= 1);
        }
    }

    /// The tensor with this canonical name and its bytes.
    pub(super) fn tensor(&self, name: &str) -> Option<(&Tensor, &[u8])> {
        let t = &self.tensors[*self.index.get(name)?];
        Some((t, &self.files[t.file][t.start..t.start + t.len]))
    }

    /// A folder of one safetensors file held in memory.
    pub(super) fn from_bytes(config: &[u8], weights: Vec<u8>) -> Result<(Folder, ModelConfig)> {
        let config =
            serde_json::from_slice(config).map_err(|e| Error::format(format!("config.json: {e}")))?;
        let mut folder =
            Folder { files: Vec::new(), tensors: Vec::new(), index: HashMap::new(), dir: PathBuf::new() };
        folder.add(Bytes::Owned(weights))?;
        let config = hf_config::read(&config, "model", &|t| folder.index.contains_key(t))?;
        if config.tied {
            folder.remove("output.weight");
        }
        Ok((folder, config))
    }
}

/// The chat template of a folder: a file of its own, or a key of `tokenizer_config.json` that is the text or a list
/// of named ones.
pub(super) fn chat_template(dir: &Path) -> Result<Option<String>> {
    match read_bounded(&dir.join("chat_template.jinja"), MAX_JSON) {
        Ok(bytes) => {
            return String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| Error::format("chat_template.jinja is not UTF-8"));
        }
        Err(e) if e.status() == crate::Status::NotFound => {}
        Err(e) => return Err(e),
    }
    for file in ["chat_template.json", "tokenizer_config.json"] {
        let Some(config) = json(&dir.join(file))? else { continue };
        match Object::new(&config, file)?.get("chat_template") {
            None => {}
            Some(Value::String(text)) => return Ok(Some(text.clone())),
            Some(Value::Array(list)) => {
                let default = list.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"));
                let text = default.or(list.first()).and_then(|t| t.get("template")).and_then(Value::as_str);
                return Ok(text.map(str::to_owned));
            }
            Some(_) => return Err(Error::format(format!("{file}: `chat_template` is no text"))),
        }
    }
    Ok(None)
}

/// The weight files of a folder.
fn shards(dir: &Path) -> Result<Vec<PathBuf>> {
    let single = dir.join("model.safetensors");
    if single.is_file() {
        return Ok(vec![single]);
    }
    let file = "model.safetensors.index.json";
    let Some(index) = json(&dir.join(file))? else {
        return Err(Error::not_found(format!(
            "{} holds neither model.safetensors nor {file}",
            dir.display()
        ))
        .advise("save the model with safe_serialization, or use a GGUF file"));
    };
    let map = Object::new(&index, file)?
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| Error::format(format!("{file}: `weight_map` is missing")))?;
    let mut names = BTreeMap::new();
    for name in map.values() {
        let name = name
            .as_str()
            .ok_or_else(|| Error::format(format!("{file}: `weight_map` holds what is no file name")))?;
        names.entry(name).or_insert(dir.join(plain_name(name, file)?));
        if names.len() > MAX_SHARDS {
            return Err(Error::format(format!("{file}: more than {MAX_SHARDS} files")));
        }
    }
    Ok(names.into_values().collect())
}

/// A name inside the folder: no way up, no absolute path.
fn plain_name<'a>(name: &'a str, file: &str) -> Result<&'a Path> {
    let path = Path::new(name);
    let mut parts = path.components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(path),
        _ => Err(Error::format(format!("{file}: `{name}` is not the name of something in this folder"))),
    }
}

/// What `modules.json` of sentence-transformers says.
#[derive(Default)]
struct Modules {
    transformer: Option<String>,
    pooling: Option<Pooling>,
    normalize: bool,
}

impl Modules {
    fn read(root: &Path) -> Result<Modules> {
        let mut out = Modules::default();
        let file = "modules.json";
        let Some(list) = json(&root.join(file))? else { return Ok(out) };
        let list =
            list.as_array().ok_or_else(|| Error::format(format!("{file} is not an array of modules")))?;
        for module in list {
            let module = Object::new(module, file)?;
            let kind = module.text("type")?.unwrap_or_default();
            let path = module.text("path")?.unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => out.transformer = Some(path.to_owned()),
                "Pooling" => {
                    let at = root.join(plain_name(path, file)?).join("config.json");
                    let pooling = json(&at)?
                        .ok_or_else(|| Error::not_found(format!("{} does not exist", at.display())))?;
                    out.pooling = Some(hf_config::read_pooling(&pooling, &at.display().to_string())?);
                }
                "Normalize" => out.normalize = true,
                _ => {
                    return Err(Error::unsupported(format!("{file}: modules of type `{kind}`"))
                        .advise("Transformer, Pooling and Normalize are supported"));
                }
            }
        }
        Ok(out)
    }
}

/// GGUF's name for a tensor of a Hugging Face file; `None` for those that no supported model reads (heads for
/// training, stored constants).
fn canonical(name: &str) -> Option<String> {
    let name = name.strip_prefix("model.").or(name.strip_prefix("bert.")).unwrap_or(name);
    // Conversions of the first BERT files call a norm's parameters so.
    let (stem, kind) = name.rsplit_once('.')?;
    let kind = match kind {
        "weight" | "gamma" => "weight",
        "bias" | "beta" => "bias",
        "weight_scale" => "scale",
        _ => return None,
    };
    let fixed = match stem {
        "embed_tokens" | "embeddings.word_embeddings" => Some("token_embd"),
        "norm" => Some("output_norm"),
        "lm_head" => Some("output"),
        "embeddings.position_embeddings" => Some("position_embd"),
        "embeddings.token_type_embeddings" => Some("token_types"),
        "embeddings.LayerNorm" => Some("token_embd_norm"),
        _ => None,
    };
    if let Some(f) = fixed {
        return Some(format!("{f}.{kind}"));
    }
    let rest = stem.strip_prefix("layers.").or(stem.strip_prefix("encoder.layer."))?;
    let (layer, part) = rest.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let part = match part {
        "self_attn.q_proj" | "attention.self.query" => "attn_q",
        "self_attn.k_proj" | "attention.self.key" => "attn_k",
        "self_attn.v_proj" | "attention.self.value" => "attn_v",
        "self_attn.o_proj" | "attention.output.dense" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "input_layernorm" => "attn_norm",
        "self_attn.attn_sub_norm" => "attn_sub_norm",
        "mlp.ffn_sub_norm" => "ffn_sub_norm",
        "post_attention_layernorm" => "ffn_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "intermediate.dense" => "ffn_up",
        "mlp.down_proj" | "output.dense" => "ffn_down",
        "attention.output.LayerNorm" => "attn_output_norm",
        "output.LayerNorm" => "layer_output_norm",
        _ => return None,
    };
    Some(format!("blk.{layer}.{part}.{kind}"))
}
