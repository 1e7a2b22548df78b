//! BERT: whole texts at once, no cache, layer norms after the residuals.

use super::Linear;
use super::buffer::{Buffer, Cutter};
use super::weights::Plan;
use crate::Result;
use crate::device::DevicePtr;
use crate::llm::config::ModelConfig;
use crate::memory::Space;
use crate::ops::{Activation, Ops, Weight};
use std::sync::Arc;

#[derive(Clone, Copy)]
struct Norm {
    weight: DevicePtr,
    bias: DevicePtr,
}

impl Norm {
    fn bind(plan: &Plan, base: DevicePtr, name: &str, dim: u32) -> Result<Norm> {
        Ok(Norm {
            weight: plan.vector(base, &format!("{name}.weight"), dim)?,
            bias: plan.vector(base, &format!("{name}.bias"), dim)?,
        })
    }
}

struct Layer {
    q: Linear,
    k: Linear,
    v: Linear,
    output: Linear,
    output_norm: Norm,
    up: Linear,
    down: Linear,
    final_norm: Norm,
}

/// Device addresses of a step's inputs, i32 each.
#[derive(Clone, Copy)]
pub(crate) struct EncoderInputs {
    /// Token ids `[n]`.
    pub ids: DevicePtr,
    /// Positions in their texts `[n]`.
    pub positions: DevicePtr,
    /// Token types `[n]`.
    pub types: DevicePtr,
    /// Where each text starts `[texts + 1]`.
    pub starts: DevicePtr,
}

/// An encoder with its weights and working memory bound to one tenant's space.
pub(crate) struct Encoder {
    embedding: Weight,
    positions: Weight,
    types: Option<Weight>,
    norm: Norm,
    layers: Vec<Layer>,
    dim: u32,
    heads: u32,
    head_dim: u32,
    ffn: u32,
    eps: f32,
    activation: Activation,
    x: DevicePtr,
    q: DevicePtr,
    k: DevicePtr,
    v: DevicePtr,
    attended: DevicePtr,
    wide: DevicePtr,
    /// Where steps put their inputs.
    pub inputs: EncoderInputs,
    buffer: Buffer,
}

impl Encoder {
    /// Binds the weights of an image at `base` and allocates working memory for steps of up to `rows` tokens.
    pub fn new(
        config: &ModelConfig,
        plan: &Plan,
        base: DevicePtr,
        space: &Arc<Space>,
        rows: u32,
    ) -> Result<Encoder> {
        let mut cutter = Cutter::default();
        let mut per_row = |width: u32| cutter.cut(u64::from(rows) * u64::from(width));
        let width = config.heads * config.head_dim;
        let offsets = [
            per_row(config.dim),
            per_row(width.max(config.dim)),
            per_row(width),
            per_row(width),
            per_row(width),
            per_row(config.ffn),
        ];
        let inputs = [per_row(1), per_row(1), per_row(1), cutter.cut(u64::from(rows) + 1)];
        let buffer = Buffer::new(space, cutter.bytes(), "activations")?;
        let [x, q, k, v, attended, wide] = offsets.map(|o| o + buffer.ptr());
        let [ids, positions, types, starts] = inputs.map(|o| o + buffer.ptr());
        Ok(Encoder {
            embedding: plan.matrix(base, "token_embd.weight")?,
            positions: plan.matrix(base, "position_embd.weight")?,
            types: if config.type_vocab > 0 { Some(plan.matrix(base, "token_types.weight")?) } else { None },
            norm: Norm::bind(plan, base, "token_embd_norm", config.dim)?,
            layers: (0..config.layers).map(|l| Layer::bind(config, plan, base, l)).collect::<Result<_>>()?,
            dim: config.dim,
            heads: config.heads,
            head_dim: config.head_dim,
            ffn: config.ffn,
            eps: config.norm_eps,
            activation: config.activation,
            x,
            q,
            k,
            v,
            attended,
            wide,
            inputs: EncoderInputs { ids, positions, types, starts },
            buffer,
        })
    }

    /// Bytes of working memory.
    pub fn scratch(&self) -> u64 {
        self.buffer.bytes()
    }

    /// Where the last layer's rows are after a pass: f32 `[n][dim]`.
    pub fn hidden(&self) -> DevicePtr {
        self.x
    }

    /// Queues the pass over `n` tokens of `texts` texts. To be called in the body of a step.
    pub fn forward(&self, ops: &dyn Ops, n: u32, texts: u32, longest: u32) -> Result<()> {
        let Encoder { x, q, k, v, attended, wide, dim, heads, head_dim, .. } = *self;
        let norm = |norm: &Norm| ops.layer_norm(x, norm.weight, norm.bias, x, n, dim, self.eps);
        let count = u64::from(n) * u64::from(dim);
        ops.embed(&self.embedding, self.inputs.ids, x, n)?;
        ops.embed(&self.positions, self.inputs.positions, q, n)?;
        ops.add(x, q, count)?;
        if let Some(types) = &self.types {
            ops.embed(types, self.inputs.types, q, n)?;
            ops.add(x, q, count)?;
        }
        norm(&self.norm)?;
        let scale = 1.0 / (head_dim as f32).sqrt();
        for layer in &self.layers {
            ops.matmul(x, n, &[layer.q.to(q), layer.k.to(k), layer.v.to(v)])?;
            let starts = self.inputs.starts;
            ops.attention_full(q, k, v, attended, starts, texts, longest, heads, head_dim, scale)?;
            ops.matmul(attended, n, &[layer.output.onto(x)])?;
            norm(&layer.output_norm)?;
            ops.matmul(x, n, &[layer.up.to(wide)])?;
            ops.activate(self.activation, wide, u64::from(n) * u64::from(self.ffn))?;
            ops.matmul(wide, n, &[layer.down.onto(x)])?;
            norm(&layer.final_norm)?;
        }
        Ok(())
    }
}

impl Layer {
    fn bind(config: &ModelConfig, plan: &Plan, base: DevicePtr, layer: u32) -> Result<Layer> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let linear = |part: &str, bias: bool| Linear::bind(plan, base, &name(part), bias);
        Ok(Layer {
            q: linear("attn_q", config.qkv_bias)?,
            k: linear("attn_k", config.qkv_bias)?,
            v: linear("attn_v", config.qkv_bias)?,
            output: linear("attn_output", config.output_bias)?,
            output_norm: Norm::bind(plan, base, &name("attn_output_norm"), config.dim)?,
            up: linear("ffn_up", config.ffn_bias)?,
            down: linear("ffn_down", config.ffn_bias)?,
            final_norm: Norm::bind(plan, base, &name("layer_output_norm"), config.dim)?,
        })
    }
}
