//! Reading models from disk: GGUF files and Hugging Face folders behind one face.
//!
//! Files are untrusted. Every size is checked before it is used, and a file that is cut or wrong is an error that
//! names the key or tensor. Files are memory-mapped; see [`ModelFile::open`] for what that asks of the caller.

use crate::Result;
use crate::llm::config::ModelConfig;
use crate::llm::template::ChatTemplate;
use crate::llm::tokenizer::Tokenizer;
use crate::quant::DType;
use std::path::Path;

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
        unimplemented!()
    }
}

/// An opened model: a `.gguf` file or a Hugging Face folder. Cheap to keep open; usable from any thread.
pub struct ModelFile {
    config: ModelConfig,
}

impl ModelFile {
    /// Opens a `.gguf` file, or a folder with `config.json` and `*.safetensors`, and checks it against what its
    /// architecture needs.
    ///
    /// The files stay memory-mapped while the `ModelFile` lives. They must not be shortened or overwritten in that
    /// time: the operating system answers a read beyond a file's new end with SIGBUS, which ends the process.
    /// Replace a model by renaming a new file over the old one; that is safe.
    pub fn open(_path: &Path) -> Result<ModelFile> {
        unimplemented!()
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The tensor with this canonical name: GGUF's names (`token_embd.weight`, `blk.0.attn_q.weight`, …) for both
    /// formats. Errors: `NotFound` when there is none, `Unsupported` for a storage type that is not in [`DType`].
    pub fn tensor(&self, _name: &str) -> Result<TensorView<'_>> {
        unimplemented!()
    }

    /// A tensor of F32, F16 or BF16 (norms, biases, tables) as f32.
    pub fn tensor_f32(&self, name: &str) -> Result<Vec<f32>> {
        self.tensor(name)?.to_f32().map_err(|e| e.within(name))
    }

    /// Whether there is a tensor with this canonical name.
    pub fn has(&self, _name: &str) -> bool {
        unimplemented!()
    }

    /// The canonical names of all tensors, in file order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// The model's tokenizer, built anew at each call (keep it); `None` when the files hold none.
    pub fn tokenizer(&self) -> Result<Option<Tokenizer>> {
        unimplemented!()
    }

    /// The model's chat template; `None` when the files hold none.
    pub fn chat_template(&self) -> Result<Option<ChatTemplate>> {
        unimplemented!()
    }

    /// Identifies the exact files: canonical paths, sizes, modification times and inodes. Two `ModelFile`s with one
    /// key read the same bytes, so their weights can be shared.
    pub fn key(&self) -> &str {
        unimplemented!()
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        unimplemented!()
    }

    /// Bytes of all tensors as stored.
    pub fn bytes(&self) -> u64 {
        unimplemented!()
    }
}
