//! What a model is: its architecture and sizes, read from a file's metadata and checked.

use crate::ops::{Activation, RopeStyle};

/// The shape of a network. Files of other architectures with the same shape load under these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2 and 3, Mistral, SmolLM and others of the same shape.
    Llama,
    /// Qwen 2 and 2.5: as Llama, with a bias on the query, key and value projections.
    Qwen2,
    /// Qwen 3: as Llama, with an RMS norm on each head of queries and keys.
    Qwen3,
    /// BERT encoders: learned positions, layer norms after the residual, no causal mask.
    Bert,
    /// BitNet b1.58: ternary projections with activations of 8 bits, norms before the output and the down projection, squared
    /// ReLU.
    BitNet,
}

/// How the projections of a BitNet model are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TernaryStorage {
    /// As their type says: I2_S, TQ1_0, TQ2_0 carry their scale, anything else is no ternary matrix.
    #[default]
    Typed,
    /// Safetensors of packed bytes, each with a scale by which outputs are multiplied (`autobitlinear`).
    PackedMultiplied,
    /// The same with a scale by which outputs are divided (`bitlinear`).
    PackedDivided,
    /// Floats that become ternary by their mean magnitude when they are used, and so when they are loaded.
    Master,
}

impl Architecture {
    /// The name that GGUF uses.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Bert => "bert",
            Architecture::BitNet => "bitnet-b1.58",
        }
    }

    /// Whether the model reads a whole text at once and yields vectors, not a next token.
    pub fn is_encoder(self) -> bool {
        self == Architecture::Bert
    }
}

/// Rotary position embedding, all scaling applied.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Radians per position, one for each of the `head_dim / 2` pairs.
    pub frequencies: Vec<f32>,
    /// Factor on the rotated values; 1 except for YaRN.
    pub magnitude: f32,
    /// Which elements form a pair.
    pub style: RopeStyle,
}

/// How the vectors of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean over all tokens.
    Mean,
    /// The first token's vector.
    Cls,
    /// The last token's vector.
    Last,
}

/// Everything about a model that is not a weight. Values from files are checked: sizes are positive and bounded,
/// `heads` is a multiple of `kv_heads`, and the tensors that the architecture needs exist with these shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The network's shape.
    pub architecture: Architecture,
    /// The model's name as its file gives it, else the file's own name.
    pub name: String,
    /// Rows of the token embedding.
    pub vocab: u32,
    /// Elements of a token's vector.
    pub dim: u32,
    /// Layers.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key/value heads; divides `heads`.
    pub kv_heads: u32,
    /// Elements of one head; `heads * head_dim` need not be `dim`.
    pub head_dim: u32,
    /// Elements of the feed-forward layer.
    pub ffn: u32,
    /// Positions that the model was made for.
    pub context: u32,
    /// How ternary projections are stored.
    pub ternary: TernaryStorage,
    /// Added to the variance in norms.
    pub norm_eps: f32,
    /// Rotary embedding; `None` for BERT, which has a table of positions.
    pub rope: Option<RopeConfig>,
    /// For each layer, the number of positions (with the token itself) that a token sees, when limited.
    pub windows: Vec<Option<u32>>,
    /// `attn_q.bias`, `attn_k.bias`, `attn_v.bias` exist.
    pub qkv_bias: bool,
    /// `attn_output.bias` exists.
    pub output_bias: bool,
    /// `ffn_gate.bias`, `ffn_up.bias`, `ffn_down.bias` exist (those of them that the architecture has).
    pub ffn_bias: bool,
    /// `attn_q_norm.weight`, `attn_k_norm.weight` (`[head_dim]`) exist.
    pub qk_norm: bool,
    /// The output matrix is the token embedding; `output.weight` does not exist.
    pub tied: bool,
    /// Rows of `token_types.weight`; 0 when there is none.
    pub type_vocab: u32,
    /// Rows of `position_embd.weight`; 0 when there is none.
    pub position_vocab: u32,
    /// The feed-forward layer's function.
    pub activation: Activation,
    /// How to pool, when the file says.
    pub pooling: Option<Pooling>,
    /// Whether a pooled vector is to be scaled to length 1 (sentence-transformers folders say so).
    pub normalize: bool,
}
