//! Reading models from disk: GGUF files and Hugging Face folders behind one face.
//!
//! Files are untrusted. Every size is checked before it is used, and a file that is cut or wrong is an error that
//! names the key or tensor. Files are memory-mapped; see [`ModelFile::open`] for what that asks of the caller.

pub(in crate::llm) mod bytes;
mod check;
pub(in crate::llm) mod gguf;
mod gguf_config;
mod hf;
mod hf_config;
mod load;
#[cfg(test)]
pub(in crate::llm) mod made;
mod rope;
#[cfg(test)]
mod tests;

pub(in crate::llm) use load::Form;

use crate::llm::config::ModelConfig;
use crate::llm::template::ChatTemplate;
use crate::llm::tokenizer::{self, Tokenizer};
use crate::quant::DType;
use crate::{Error, Result};
use bytes::Bytes;
use gguf::Gguf;
use hf::Folder;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// A tensor as it lies in its file. The data borrows the mapping.
#[derive(Clone, Debug)]
pub struct TensorView<'a> {
    /// How the elements are stored.
    pub dtype: DType,
    /// Outputs first: a matrix of `y = W x` is `[rows, cols]`. A vector has one entry.
    pub shape: Vec<u64>,
    /// The elements, row after row, exactly as long as `dtype` and `shape` say. Not aligned.
    pub data: &'a [u8],
}

impl TensorView<'_> {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// The elements of an F32, F16 or BF16 tensor as f32.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        let halves = self.data.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        Ok(match self.dtype {
            DType::F32 => {
                self.data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            DType::F16 => halves.map(|h| half::f16::from_bits(h).to_f32()).collect(),
            DType::BF16 => halves.map(|h| half::bf16::from_bits(h).to_f32()).collect(),
            other => {
                return Err(Error::format(format!("stored as {other:?}; F32, F16 or BF16 is needed")));
            }
        })
    }
}

enum Source {
    Gguf(Gguf),
    Folder(Folder),
}

/// An opened model: a `.gguf` file or a Hugging Face folder. Cheap to keep open; usable from any thread.
pub struct ModelFile {
    config: ModelConfig,
    source: Source,
    key: String,
}

impl ModelFile {
    /// Opens a `.gguf` file, or a folder with `config.json` and `*.safetensors`, and checks it against what its
    /// architecture needs.
    ///
    /// The files stay memory-mapped while the `ModelFile` lives. They must not be shortened or overwritten in that
    /// time: the operating system answers a read beyond a file's new end with SIGBUS, which ends the process.
    /// Replace a model by renaming a new file over the old one; that is safe.
    pub fn open(path: &Path) -> Result<ModelFile> {
        let meta = std::fs::metadata(path).map_err(|e| Error::io(path.display(), e))?;
        let read = || {
            if meta.is_dir() {
                let (folder, config, key) = Folder::open(path)?;
                return ModelFile { config, source: Source::Folder(folder), key }.checked();
            }
            let (bytes, key) = Bytes::map(path)?;
            let stem = path.file_stem().map_or_else(|| "model".into(), |s| s.to_string_lossy());
            Self::from_gguf(bytes, &stem, key)
        };
        read().map_err(|e| e.within(path.display()))
    }

    /// A GGUF file that is held in memory. Its key is its own: it shares weights with no other.
    pub fn from_gguf_bytes(bytes: Vec<u8>, name: &str) -> Result<ModelFile> {
        Self::from_gguf(Bytes::Owned(bytes), name, memory_key())
    }

    /// A `config.json` and a `model.safetensors` that are held in memory; no tokenizer, no template.
    pub fn from_safetensors_bytes(config: &[u8], weights: Vec<u8>) -> Result<ModelFile> {
        let (folder, config) = Folder::from_bytes(config, weights)?;
        ModelFile { config, source: Source::Folder(folder), key: memory_key() }.checked()
    }

    fn from_gguf(bytes: Bytes, name: &str, key: String) -> Result<ModelFile> {
        let file = Gguf::parse(bytes)?;
        let config = gguf_config::read(&file, name)?;
        ModelFile { config, source: Source::Gguf(file), key }.checked()
    }

    /// Checks that the configuration is consistent and every needed tensor is there in the right shape.
    fn checked(self) -> Result<ModelFile> {
        check::relations(&self.config)?;
        check::each_tensor(&self.config, &mut |name, shape, role| {
            check::tensor(name, self.raw(name).map(|(d, s, _)| (d, s)), shape, role)
        })?;
        Ok(self)
    }

    fn raw(&self, name: &str) -> Option<(Result<DType>, &[u64], &[u8])> {
        match &self.source {
            Source::Gguf(g) => g.tensor(name).map(|(t, data)| (t.dtype(), &t.shape[..], data)),
            Source::Folder(f) => f.tensor(name).map(|(t, data)| (t.dtype(), &t.shape[..], data)),
        }
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tensor with this canonical name: GGUF's names (`token_embd.weight`, `blk.0.attn_q.weight`, …) for both
    /// formats. Errors: `NotFound` when there is none, `Unsupported` for a storage type that is not in [`DType`].
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        let (dtype, shape, data) =
            self.raw(name).ok_or_else(|| Error::not_found(format!("the model has no tensor `{name}`")))?;
        let dtype = dtype?;
        if dtype == DType::I2_S && data.len() as u64 != dtype.bytes(1, shape.iter().product())? {
            return Err(Error::unsupported(format!("the tensor `{name}` is packed as no type of its own"))
                .advise("ask for it as a matrix"));
        }
        Ok(TensorView { dtype, shape: shape.to_vec(), data })
    }

    /// A tensor of F32, F16 or BF16 (norms, biases, tables) as f32.
    pub fn tensor_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.tensor(name)?.to_f32().map_err(|e| e.within(format!("tensor `{name}`")))
    }

    /// Whether there is a tensor with this canonical name.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// The canonical names of all tensors, in file order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(name, _, _)| name)
    }

    fn entries(&self) -> Box<dyn Iterator<Item = (&str, &[u64], usize)> + '_> {
        match &self.source {
            Source::Gguf(g) => Box::new(g.tensors.iter().map(|t| (&t.name[..], &t.shape[..], t.len))),
            Source::Folder(f) => Box::new(f.tensors.iter().map(|t| (&t.name[..], &t.shape[..], t.len))),
        }
    }

    /// The model's tokenizer, built anew at each call (keep it); `None` when the files hold none.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        match &self.source {
            Source::Gguf(g) => tokenizer::from_gguf(g),
            Source::Folder(f) => tokenizer::from_folder(&f.dir),
        }
    }

    /// The model's chat template; `None` when the files hold none: [`ChatTemplate::missing`] is the error to give to
    /// whoever asked for a chat then.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        let (source, (bos, eos)) = match &self.source {
            Source::Gguf(g) => {
                (g.text("tokenizer.chat_template")?.map(str::to_owned), tokenizer::gguf_special_texts(g)?)
            }
            Source::Folder(f) => (hf::chat_template(&f.dir)?, tokenizer::folder_special_texts(&f.dir)?),
        };
        source.map(|s| ChatTemplate::new(&s, &bos, &eos)).transpose()
    }

    /// Identifies the exact files: canonical paths, devices, inodes, sizes and modification times. Two `ModelFile`s
    /// with one key read the same bytes, so their weights can be shared.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.entries().map(|(_, shape, _)| shape.iter().product::<u64>()).fold(0, u64::saturating_add)
    }

    /// Bytes of all tensors as stored.
    pub fn bytes(&self) -> u64 {
        self.entries().map(|(_, _, len)| len as u64).sum()
    }
}

fn memory_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("memory:{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
