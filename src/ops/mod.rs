//! Operations on tensors, as models use them: one trait, an implementation for each kind of device.
//!
//! An [`Ops`] belongs to one tenant: it runs on that tenant's stream and node and nowhere else. Activations are f32,
//! row-major, dense: `[rows][dim]`. Weights are packed once at load into a layout of the device's choosing.
//!
//! Determinism: on the CPU device each output element is computed by one thread in an order that depends neither on
//! the number of rows, nor on the number of threads, nor on anything that runs beside it.

mod bytes;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod math;
pub mod tensor;

pub use math::{Math, MathPolicy, fast_means};

use crate::device::{Device, DeviceKind, DevicePtr, Node, Stream};
use crate::quant::DType;
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// A matrix in device memory, packed by [`Ops::pack`] of the same device. `y = W x` has `rows` outputs, `cols` inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// How the file stored it (and, on the whole, how it is computed with).
    pub dtype: DType,
    /// Outputs.
    pub rows: u32,
    /// Inputs.
    pub cols: u32,
    /// Where the packed bytes lie (256-byte aligned).
    pub ptr: DevicePtr,
}

/// One product of [`Ops::matmul`]: `out[n][rows] = (add ? out : 0) + x W^T + bias`.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// The matrix.
    pub weight: Weight,
    /// f32 `[rows]`, or `None`.
    pub bias: Option<DevicePtr>,
    /// f32 `[n][weight.rows]`.
    pub out: DevicePtr,
    /// Add to what `out` holds (residual) instead of replacing it.
    pub add: bool,
}

/// The answer for types that products never see.
fn loaded_as_other(dtype: DType) -> Error {
    Error::unsupported(format!("there are no products with {dtype:?}"))
        .advise("such matrices become I2_S or Q8_0 when a model is loaded")
}

/// Which two elements a rotary embedding turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeStyle {
    /// Elements 2i and 2i+1 (GGUF files of architecture `llama`, whose Q and K rows are permuted for it).
    Interleaved,
    /// Elements i and i + head_dim/2 (Hugging Face files, GGUF qwen2/qwen3).
    Half,
}

/// The paged key/value cache of one model: page `p` starts at `base + p * page_bytes` and holds, for each layer, K
/// then V, each `[kv_heads][page_tokens][head_dim]` of `dtype` (F16 or F32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Start of page 0.
    pub base: DevicePtr,
    /// F16 or F32.
    pub dtype: DType,
    /// Tokens per page.
    pub page_tokens: u32,
    /// Layers.
    pub layers: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Elements of one head.
    pub head_dim: u32,
}

impl KvLayout {
    /// Bytes of K (or of V) of one layer in one page.
    pub fn half_bytes(&self) -> u64 {
        let element = if self.dtype == DType::F32 { 4 } else { 2 };
        u64::from(self.kv_heads) * u64::from(self.page_tokens) * u64::from(self.head_dim) * element
    }

    /// Bytes of one page.
    pub fn page_bytes(&self) -> u64 {
        self.half_bytes() * 2 * u64::from(self.layers)
    }
}

/// The rows of one step and where they belong. All pointers are device memory, filled by the step's uploads.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Number of rows (tokens) of this step.
    pub n: u32,
    /// i32 `[n]`: the token's position in its sequence.
    pub positions: DevicePtr,
    /// i32 `[n]`: which line of `tables` belongs to this row.
    pub sequences: DevicePtr,
    /// i32 `[sequences][table_width]`: page numbers of each sequence, in order.
    pub tables: DevicePtr,
    /// Entries in a line of `tables`.
    pub table_width: u32,
    /// No position of this step is at or beyond this (a bound for kernels; positions themselves may be smaller).
    pub max_tokens: u32,
}

/// Query heads, scale and window of an attention.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Query heads; a multiple of the cache's `kv_heads`.
    pub heads: u32,
    /// Factor on the scores, usually `1/sqrt(head_dim)`.
    pub scale: f32,
    /// Only the last `window` positions (including the token itself) are seen, when set.
    pub window: Option<u32>,
}

/// Element-wise functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x * sigmoid(x).
    Silu,
    /// 0.5 x (1 + erf(x / sqrt 2)).
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// max(x, 0) squared.
    SquaredRelu,
}

/// Host bytes that a step copies to the device before its body.
pub type Upload<'a> = (DevicePtr, &'a [u8]);
/// Host bytes that a step fills from the device after its body.
pub type Download<'a> = (&'a mut [u8], DevicePtr);

/// What a step cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTime {
    /// Measured time the node was busy with this step: device events on a GPU, the stream thread's run on the CPU.
    pub device: Duration,
    /// When the device began with it, on the profiler's clock; 0 while the profiler is off.
    pub begun: u64,
}

/// Tensor operations on one stream. Methods that start with an operation's name may only be called from inside the
/// body of [`Ops::step`]; they queue work and return before it ran. Sizes and pointers are the engine's own, checked
/// when the model was loaded, so these methods check only what the device can refuse.
pub trait Ops: Send + Sync {
    /// The stream on which everything runs.
    fn stream(&self) -> &Arc<dyn Stream>;

    /// The rules by which products are computed.
    fn math(&self) -> Math;

    /// Bytes that a packed matrix takes on this device (a multiple of 256).
    fn packed_bytes(&self, dtype: DType, rows: u32, cols: u32) -> Result<u64>;

    /// Repacks a matrix from its file layout (`src`, row after row) to this device's layout (`dst`, exactly
    /// [`Ops::packed_bytes`] long). Pure host work; may be called from several threads.
    fn pack(&self, dtype: DType, rows: u32, cols: u32, src: &[u8], dst: &mut [u8]) -> Result<()>;

    /// Scratch bytes (256-aligned) that these operations need beside the caller's buffers for steps of up to `rows`
    /// rows, matrices of up to `cols` inputs and `outputs` outputs, attention over up to `tokens` positions with
    /// `heads` heads of `head_dim`.
    fn scratch_bytes(
        &self,
        rows: u32,
        cols: u32,
        outputs: u32,
        tokens: u32,
        heads: u32,
        head_dim: u32,
    ) -> u64;

    /// Gives the operations their scratch: device memory of the tenant of at least [`Ops::scratch_bytes`].
    fn set_scratch(&self, ptr: DevicePtr, bytes: u64) -> Result<()>;

    /// Runs one step: uploads, `body`, downloads, in stream order, and waits for it. With a `key`, the device may
    /// record the body the first time and replay the record for later steps of the same key; then every pointer and
    /// size the body used must be unchanged, only the contents may differ. [`Ops::forget`] drops the records.
    /// The body may run on another thread than the caller's, and is not called at all on a replay.
    fn step(
        &self,
        key: Option<u64>,
        uploads: &[Upload<'_>],
        body: &mut (dyn FnMut() -> Result<()> + Send),
        downloads: &mut [Download<'_>],
    ) -> Result<StepTime>;

    /// Drops all recorded steps (before memory they use is freed).
    fn forget(&self);

    /// `out[i] = table[ids[i]]`, f32 `[n][table.cols]`; ids i32 `[n]`, each below `table.rows`.
    fn embed(&self, table: &Weight, ids: DevicePtr, out: DevicePtr, n: u32) -> Result<()>;

    /// `out = x / sqrt(mean(x^2) + eps) * weight` on rows of `dim`; `out` may be `x`. For per-head norms call it with
    /// `n * heads` rows of `head_dim`.
    fn rms_norm(
        &self,
        x: DevicePtr,
        weight: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
        eps: f32,
    ) -> Result<()>;

    /// `out = (x - mean) / sqrt(var + eps) * weight + bias` on rows of `dim`; `out` may be `x`.
    #[allow(clippy::too_many_arguments)]
    fn layer_norm(
        &self,
        x: DevicePtr,
        weight: DevicePtr,
        bias: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
        eps: f32,
    ) -> Result<()>;

    /// Products that share their input `x`, f32 `[n][cols]`; all weights have the same `cols`.
    fn matmul(&self, x: DevicePtr, n: u32, products: &[Product]) -> Result<()>;

    /// Turns `q` f32 `[n][heads][head_dim]` in place and `k` f32 `[n][kv_heads][head_dim]` by the row's position, and
    /// stores turned K and V (`v` like `k`) of `layer` into the cache. `frequencies` is f32 `[head_dim / 2]`: radians
    /// per position. Rotates by `position * frequency`, times `magnitude` (1 except for YaRN).
    #[allow(clippy::too_many_arguments)]
    fn rope_store(
        &self,
        rows: &Rows,
        kv: &KvLayout,
        layer: u32,
        heads: u32,
        q: DevicePtr,
        k: DevicePtr,
        v: DevicePtr,
        frequencies: DevicePtr,
        magnitude: f32,
        style: RopeStyle,
    ) -> Result<()>;

    /// Causal attention of each row over its sequence's cache of `layer`, positions `0..=position`; `q` and `out` f32
    /// `[n][heads][head_dim]`.
    fn attention(
        &self,
        rows: &Rows,
        kv: &KvLayout,
        layer: u32,
        how: &Attention,
        q: DevicePtr,
        out: DevicePtr,
    ) -> Result<()>;

    /// Attention without a cache and without a mask: row i sees the rows of its own sequence. `starts` is i32
    /// `[sequences + 1]`, ascending from 0 to n. `q`, `k`, `v`, `out` f32 `[n][heads][head_dim]`.
    #[allow(clippy::too_many_arguments)]
    fn attention_full(
        &self,
        q: DevicePtr,
        k: DevicePtr,
        v: DevicePtr,
        out: DevicePtr,
        starts: DevicePtr,
        sequences: u32,
        longest: u32,
        heads: u32,
        head_dim: u32,
        scale: f32,
    ) -> Result<()>;

    /// `gate = act(gate) * up`, element by element, `count` elements.
    fn gated(&self, activation: Activation, gate: DevicePtr, up: DevicePtr, count: u64) -> Result<()>;

    /// `x = act(x)`, `count` elements.
    fn activate(&self, activation: Activation, x: DevicePtr, count: u64) -> Result<()>;

    /// `x += y`, `count` elements.
    fn add(&self, x: DevicePtr, y: DevicePtr, count: u64) -> Result<()>;

    /// `out[i] = x[index[i]]` for rows of `dim` f32; `index` i32 `[n]`. Picks the rows whose logits are wanted.
    fn gather(&self, x: DevicePtr, index: DevicePtr, out: DevicePtr, n: u32, dim: u32) -> Result<()>;
}

/// The operations for a stream of `node`, by the kind of device, with [`Math::Exact`] products.
///
/// Errors: there are no operations for this kind of device in this build.
pub fn for_stream(
    device: &Arc<dyn Device>,
    node: Arc<dyn Node>,
    stream: Arc<dyn Stream>,
) -> Result<Arc<dyn Ops>> {
    with_math(device, node, stream, Math::Exact)
}

/// Like [`for_stream`], with the given rules for products.
///
/// Errors: there are no operations for this kind of device in this build.
pub fn with_math(
    device: &Arc<dyn Device>,
    node: Arc<dyn Node>,
    stream: Arc<dyn Stream>,
    math: Math,
) -> Result<Arc<dyn Ops>> {
    match device.kind() {
        DeviceKind::Cpu => cpu::CpuOps::new(device, node, stream, math),
        #[cfg(feature = "cuda")]
        DeviceKind::Cuda => cuda::CudaOps::new(device, node, stream, math),
        #[cfg(not(feature = "cuda"))]
        kind => {
            Err(crate::Error::unsupported(format!("this build has no operations for devices of kind {kind}")))
        }
    }
}
