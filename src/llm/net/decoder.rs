//! The llama family: llama, mistral (windows), qwen2 (biases), qwen3 (norms on heads), BitNet (norms before the second projections),
//! tied or own output matrix.

use super::Linear;
use super::buffer::{Buffer, Cutter, bytes_of};
use super::weights::Plan;
use crate::device::{Device, DevicePtr};
use crate::llm::config::{Architecture, ModelConfig, RopeConfig};
use crate::memory::Space;
use crate::ops::{Activation, Attention, KvLayout, Ops, Product, RopeStyle, Rows, Weight};
use crate::{Error, Result};
use std::sync::Arc;

struct Layer {
    attn_norm: DevicePtr,
    q: Linear,
    k: Linear,
    v: Linear,
    q_norm: Option<DevicePtr>,
    k_norm: Option<DevicePtr>,
    /// Before the output projection, and before the down projection, of BitNet models.
    sub_norms: Option<(DevicePtr, DevicePtr)>,
    output: Linear,
    ffn_norm: DevicePtr,
    gate: Linear,
    up: Linear,
    down: Linear,
    window: Option<u32>,
}

/// Sizes of the largest step.
#[derive(Clone, Copy)]
pub(crate) struct StepLimits {
    /// Rows of a step.
    pub rows: u32,
    /// Rows of which logits may be asked.
    pub logits: u32,
    /// Sequences of a step.
    pub sequences: u32,
    /// Entries in a line of page numbers.
    pub table_width: u32,
    /// Positions of a sequence, rounded up to whole pages.
    pub tokens: u32,
}

/// Which rows the pass returns, after the last norm.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All rows, in order; logits of all.
    All,
    /// The rows of [`Inputs::index`]: so many; logits of the first `logits` of them.
    Picked { rows: u32, logits: u32 },
}

/// Device addresses of a step's inputs, i32 each.
#[derive(Clone, Copy)]
pub(crate) struct Inputs {
    pub ids: DevicePtr,
    pub positions: DevicePtr,
    pub sequences: DevicePtr,
    pub tables: DevicePtr,
    pub index: DevicePtr,
}

/// A decoder with its weights and working memory bound to one tenant's space.
pub(crate) struct Decoder {
    embedding: Weight,
    layers: Vec<Layer>,
    norm: DevicePtr,
    head: Weight,
    sizes: Sizes,
    eps: f32,
    magnitude: f32,
    style: RopeStyle,
    activation: Activation,
    parts: Parts,
    /// Where steps put their inputs.
    pub inputs: Inputs,
    buffer: Buffer,
}

#[derive(Clone, Copy)]
struct Sizes {
    dim: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    ffn: u32,
}

#[derive(Clone, Copy)]
struct Parts {
    x: DevicePtr,
    h: DevicePtr,
    q: DevicePtr,
    k: DevicePtr,
    v: DevicePtr,
    attended: DevicePtr,
    gate: DevicePtr,
    up: DevicePtr,
    logits: DevicePtr,
    frequencies: DevicePtr,
}

impl Decoder {
    /// Binds the weights of an image at `base` and allocates working memory for steps of up to `limits`.
    pub fn new(
        config: &ModelConfig,
        plan: &Plan,
        base: DevicePtr,
        space: &Arc<Space>,
        device: &Arc<dyn Device>,
        limits: &StepLimits,
    ) -> Result<Decoder> {
        let rope = config.rope.as_ref().ok_or_else(|| {
            Error::format(format!("a {} model without rotary embedding", config.architecture.name()))
        })?;
        let embedding = plan.matrix(base, "token_embd.weight")?;
        let head = if config.tied { embedding } else { plan.matrix(base, "output.weight")? };
        let layers = (0..config.layers).map(|l| Layer::bind(config, plan, base, l)).collect::<Result<_>>()?;
        let sizes = Sizes {
            dim: config.dim,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            ffn: config.ffn,
        };
        let (mut parts, mut inputs, bytes) = cut(&sizes, config.vocab, limits);
        let buffer = Buffer::new(space, bytes, "activations")?;
        parts.shift(buffer.ptr());
        inputs.shift(buffer.ptr());
        {
            let table = bytes_of(&rope.frequencies);
            let _door = space.enter_for(&[(parts.frequencies, table.len() as u64)])?;
            device.write(parts.frequencies, table)?;
        }
        let RopeConfig { magnitude, style, .. } = *rope;
        Ok(Decoder {
            embedding,
            layers,
            norm: plan.vector(base, "output_norm.weight", config.dim)?,
            head,
            sizes,
            eps: config.norm_eps,
            magnitude,
            style,
            activation: config.activation,
            parts,
            inputs,
            buffer,
        })
    }

    /// Bytes of working memory.
    pub fn scratch(&self) -> u64 {
        self.buffer.bytes()
    }

    /// Where the logits are after a pass: f32 `[wanted][vocab]`.
    pub fn logits(&self) -> DevicePtr {
        self.parts.logits
    }

    /// Where the wanted rows are after a pass, after the last norm: f32 `[wanted][dim]`.
    pub fn hidden(&self) -> DevicePtr {
        self.parts.h
    }

    /// Queues the pass over `rows`, whose ids lie in the inputs. To be called in the body of a step.
    pub fn forward(&self, ops: &dyn Ops, rows: &Rows, kv: &KvLayout, wanted: Wanted) -> Result<()> {
        let Sizes { dim, heads, kv_heads, head_dim, ffn } = self.sizes;
        let Parts { x, h, q, k, v, attended, gate, up, logits, frequencies } = self.parts;
        let (n, eps) = (rows.n, self.eps);
        ops.embed(&self.embedding, self.inputs.ids, x, n)?;
        for (at, layer) in self.layers.iter().enumerate() {
            let at = at as u32;
            ops.rms_norm(x, layer.attn_norm, h, n, dim, eps)?;
            ops.matmul(h, n, &[layer.q.to(q), layer.k.to(k), layer.v.to(v)])?;
            if let (Some(q_norm), Some(k_norm)) = (layer.q_norm, layer.k_norm) {
                ops.rms_norm(q, q_norm, q, n * heads, head_dim, eps)?;
                ops.rms_norm(k, k_norm, k, n * kv_heads, head_dim, eps)?;
            }
            ops.rope_store(rows, kv, at, heads, q, k, v, frequencies, self.magnitude, self.style)?;
            let how = Attention { heads, scale: 1.0 / (head_dim as f32).sqrt(), window: layer.window };
            ops.attention(rows, kv, at, &how, q, attended)?;
            if let Some((norm, _)) = layer.sub_norms {
                ops.rms_norm(attended, norm, attended, n, heads * head_dim, eps)?;
            }
            ops.matmul(attended, n, &[layer.output.onto(x)])?;
            ops.rms_norm(x, layer.ffn_norm, h, n, dim, eps)?;
            ops.matmul(h, n, &[layer.gate.to(gate), layer.up.to(up)])?;
            ops.gated(self.activation, gate, up, u64::from(n) * u64::from(ffn))?;
            if let Some((_, norm)) = layer.sub_norms {
                ops.rms_norm(gate, norm, gate, n, ffn, eps)?;
            }
            ops.matmul(gate, n, &[layer.down.onto(x)])?;
        }
        let (count, with_logits) = match wanted {
            Wanted::All => {
                ops.rms_norm(x, self.norm, h, n, dim, eps)?;
                (n, n)
            }
            Wanted::Picked { rows: 0, .. } => return Ok(()),
            Wanted::Picked { rows: count, logits } => {
                ops.gather(x, self.inputs.index, h, count, dim)?;
                ops.rms_norm(h, self.norm, h, count, dim, eps)?;
                (count, logits)
            }
        };
        debug_assert!(with_logits <= count);
        if with_logits > 0 {
            let product = Product { weight: self.head, bias: None, out: logits, add: false };
            ops.matmul(h, with_logits, &[product])?;
        }
        Ok(())
    }
}

impl Layer {
    fn bind(config: &ModelConfig, plan: &Plan, base: DevicePtr, layer: u32) -> Result<Layer> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let linear = |part: &str, bias: bool| Linear::bind(plan, base, &name(part), bias);
        let norm = |part: &str, len: u32| plan.vector(base, &name(part), len);
        let head_norm = |part: &str| {
            if config.qk_norm { norm(part, config.head_dim).map(Some) } else { Ok(None) }
        };
        Ok(Layer {
            attn_norm: norm("attn_norm.weight", config.dim)?,
            q: linear("attn_q", config.qkv_bias)?,
            k: linear("attn_k", config.qkv_bias)?,
            v: linear("attn_v", config.qkv_bias)?,
            q_norm: head_norm("attn_q_norm.weight")?,
            k_norm: head_norm("attn_k_norm.weight")?,
            sub_norms: match config.architecture {
                Architecture::BitNet => Some((
                    norm("attn_sub_norm.weight", config.heads * config.head_dim)?,
                    norm("ffn_sub_norm.weight", config.ffn)?,
                )),
                _ => None,
            },
            output: linear("attn_output", config.output_bias)?,
            ffn_norm: norm("ffn_norm.weight", config.dim)?,
            gate: linear("ffn_gate", config.ffn_bias)?,
            up: linear("ffn_up", config.ffn_bias)?,
            down: linear("ffn_down", config.ffn_bias)?,
            window: config.windows.get(layer as usize).copied().flatten(),
        })
    }
}

/// Offsets of the working memory's parts, and its size.
fn cut(sizes: &Sizes, vocab: u32, limits: &StepLimits) -> (Parts, Inputs, u64) {
    let mut cutter = Cutter::default();
    let rows = u64::from(limits.rows);
    let mut per_row = |width: u64| cutter.cut(rows * width);
    let (q_width, kv_width) = (
        u64::from(sizes.heads) * u64::from(sizes.head_dim),
        u64::from(sizes.kv_heads) * u64::from(sizes.head_dim),
    );
    let mut parts = Parts {
        x: per_row(u64::from(sizes.dim)),
        h: per_row(u64::from(sizes.dim)),
        q: per_row(q_width),
        k: per_row(kv_width),
        v: per_row(kv_width),
        attended: per_row(q_width),
        gate: per_row(u64::from(sizes.ffn)),
        up: per_row(u64::from(sizes.ffn)),
        logits: 0,
        frequencies: 0,
    };
    let (ids, positions, sequences, index) = (per_row(1), per_row(1), per_row(1), per_row(1));
    let tables = cutter.cut(u64::from(limits.sequences) * u64::from(limits.table_width));
    parts.logits = cutter.cut(u64::from(limits.logits) * u64::from(vocab));
    parts.frequencies = cutter.cut(u64::from(sizes.head_dim / 2));
    (parts, Inputs { ids, positions, sequences, tables, index }, cutter.bytes())
}

impl Parts {
    fn shift(&mut self, base: DevicePtr) {
        let Parts { x, h, q, k, v, attended, gate, up, logits, frequencies } = self;
        for part in [x, h, q, k, v, attended, gate, up, logits, frequencies] {
            *part += base;
        }
    }
}

impl Inputs {
    fn shift(&mut self, base: DevicePtr) {
        let Inputs { ids, positions, sequences, tables, index } = self;
        for part in [ids, positions, sequences, tables, index] {
            *part += base;
        }
    }
}
