//! Operations on the CPU device: packed panels of 16 outputs, kernels chosen at run time, work shared by the node's
//! threads.

mod activations;
mod attention;
mod crew;
mod elementwise;
pub mod isa;
mod kernels;
pub mod lowbit;
mod math;
mod matmul;
mod pack;
mod profiled;
pub mod quantize;
mod rope;
mod step;
pub(crate) mod tensor;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use crew::{Crew, NodeCrew};
pub use isa::Isa;

use super::{
    Activation, Attention, Download, KvLayout, Math, Ops, Product, RopeStyle, Rows, StepTime, Upload, Weight,
};
use crate::device::{Device, DeviceKind, DevicePtr, Node, Stream};
use crate::quant::DType;
use crate::{Error, Result, Status};
use crew::share;
use parking_lot::Mutex;
use profiled::{Meter, Profiled};
use std::sync::Arc;

/// Elements of an element-wise function that one grab hands to a thread.
const GRAIN: usize = 8 << 10;

/// [`Ops`] of one tenant on the CPU device.
pub struct CpuOps {
    isa: Isa,
    math: Math,
    crew: Arc<dyn Crew>,
    stream: Arc<dyn Stream>,
    scratch: Mutex<Scratch>,
}

/// The tenant's scratch. Operations use its start, each for itself; the table of angles lies at its end and is kept
/// from layer to layer of a step.
#[derive(Clone, Copy, Default)]
struct Scratch {
    ptr: DevicePtr,
    bytes: u64,
    angles: Option<Angles>,
}

/// What the table of angles was made for.
#[derive(Clone, Copy, PartialEq)]
struct Angles {
    positions: DevicePtr,
    n: u32,
    frequencies: DevicePtr,
    half: u32,
    magnitude: f32,
}

impl Angles {
    fn bytes(&self) -> u64 {
        (u64::from(self.n) * u64::from(self.half) * 8).next_multiple_of(256)
    }
}

impl CpuOps {
    /// Operations that run on `stream` with the team of `node`, both of the CPU device, with the kernels that
    /// [`Isa::choose`] names and the rules of `math` allow.
    ///
    /// Errors: a device or node of another kind; a level in `COGNIWARE_CPU_ISA` that does not exist here.
    #[allow(clippy::new_ret_no_self)]
    pub fn new(
        device: &Arc<dyn Device>,
        node: Arc<dyn Node>,
        stream: Arc<dyn Stream>,
        math: Math,
    ) -> Result<Arc<dyn Ops>> {
        if device.kind() != DeviceKind::Cpu {
            return Err(Error::argument("device", format!("is of kind {:?}, not the CPU", device.kind())));
        }
        let meter = Arc::new(Meter::new(NodeCrew::new(node)?));
        let ops = CpuOps::with_level(Isa::choose()?, math, meter.clone(), stream)?;
        Ok(Arc::new(Profiled::new(ops, meter)))
    }

    /// Operations that run on `stream`, helped by `crew`, with kernels of level `isa` and the rules of `math`.
    ///
    /// Errors: the processor lacks this level.
    pub fn with_level(
        isa: Isa,
        math: Math,
        crew: Arc<dyn Crew>,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<dyn Ops>> {
        let isa = isa.checked()?;
        Ok(Arc::new(CpuOps { isa, math, crew, stream, scratch: Mutex::default() }))
    }

    /// Scratch of at least `bytes` at its start, which the table of angles leaves alone.
    fn scratch(&self, bytes: usize) -> Result<DevicePtr> {
        let scratch = *self.scratch.lock();
        let kept = scratch.angles.map_or(0, |a| a.bytes());
        if scratch.ptr == 0 || bytes as u64 + kept > scratch.bytes {
            return Err(Error::new(
                Status::Internal,
                format!(
                    "operations need {bytes} bytes of scratch beside {kept}, they were given {}",
                    scratch.bytes
                ),
            ));
        }
        Ok(scratch.ptr)
    }

    /// The table of angles for this step: for each row `half` cosines, then `half` sines.
    fn angles(&self, want: Angles) -> Result<&[f32]> {
        let mut scratch = self.scratch.lock();
        if scratch.ptr == 0 || want.bytes() > scratch.bytes {
            return Err(Error::new(
                Status::Internal,
                format!("angles need {} bytes of scratch, there are {}", want.bytes(), scratch.bytes),
            ));
        }
        let at = scratch.ptr + scratch.bytes - want.bytes();
        let (n, half) = (want.n as usize, want.half as usize);
        // SAFETY: the end of the tenant's scratch, which operations of one step use one after the other.
        let table = unsafe { std::slice::from_raw_parts_mut(at as *mut f32, 2 * n * half) };
        if scratch.angles != Some(want) {
            // SAFETY: arrays of the step, as long as the engine says.
            let (positions, frequencies) = unsafe {
                (
                    std::slice::from_raw_parts(want.positions as *const i32, n),
                    std::slice::from_raw_parts(want.frequencies as *const f32, half),
                )
            };
            for (out, &position) in table.chunks_exact_mut(2 * half).zip(positions) {
                rope::angles(position as usize, frequencies, want.magnitude, out);
            }
            scratch.angles = Some(want);
        }
        Ok(table)
    }

    /// Shares out `count` elements.
    fn each(&self, count: u64, f: impl Fn(usize, usize) + Sync) {
        let count = count as usize;
        share(&*self.crew, count.div_ceil(GRAIN), 1, |first, last, _| {
            f(first * GRAIN, count.min(last * GRAIN) - first * GRAIN);
        });
    }

    /// Shares out `n` rows of `dim` elements.
    fn each_row(&self, n: u32, dim: u32, f: impl Fn(usize) + Sync) {
        share(&*self.crew, n as usize, GRAIN / (dim as usize).max(1), |first, last, _| {
            (first..last).for_each(&f);
        });
    }
}

fn at<T>(ptr: DevicePtr, index: usize) -> *mut T {
    (ptr as *mut T).wrapping_add(index)
}

impl Ops for CpuOps {
    fn stream(&self) -> &Arc<dyn Stream> {
        &self.stream
    }

    fn math(&self) -> Math {
        self.math
    }

    fn packed_bytes(&self, dtype: DType, rows: u32, cols: u32) -> Result<u64> {
        pack::packed_bytes(dtype, rows, cols)
    }

    fn pack(&self, dtype: DType, rows: u32, cols: u32, src: &[u8], dst: &mut [u8]) -> Result<()> {
        pack::pack(dtype, rows, cols, src, dst)
    }

    fn scratch_bytes(
        &self,
        rows: u32,
        cols: u32,
        _outputs: u32,
        _tokens: u32,
        heads: u32,
        head_dim: u32,
    ) -> u64 {
        let activations = matmul::scratch_bytes(rows as usize, cols as usize) as u64;
        let attention = attention::scratch_bytes(self.crew.workers(), heads as usize, head_dim as usize);
        let angles = u64::from(rows) * u64::from(head_dim.div_ceil(2)) * 8;
        activations.max(attention as u64).next_multiple_of(256) + angles.next_multiple_of(256)
    }

    fn set_scratch(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        if ptr == 0 || !ptr.is_multiple_of(64) || !bytes.is_multiple_of(64) {
            return Err(Error::argument("ptr", "scratch must be aligned to 64 bytes and not be null"));
        }
        *self.scratch.lock() = Scratch { ptr, bytes, angles: None };
        Ok(())
    }

    fn step(
        &self,
        _key: Option<u64>,
        uploads: &[Upload<'_>],
        body: &mut (dyn FnMut() -> Result<()> + Send),
        downloads: &mut [Download<'_>],
    ) -> Result<StepTime> {
        // Positions may differ from the last step's under the same pointers.
        self.scratch.lock().angles = None;
        step::run(&*self.stream, uploads, body, downloads)
    }

    fn forget(&self) {}

    fn embed(&self, table: &Weight, ids: DevicePtr, out: DevicePtr, n: u32) -> Result<()> {
        let bytes = pack::packed_bytes(table.dtype, table.rows, table.cols)? as usize;
        let cols = table.cols as usize;
        let table = *table;
        self.each_row(n, table.cols, |row| {
            // SAFETY: the engine's table, ids and output, as long as it says.
            unsafe {
                let packed = std::slice::from_raw_parts(at::<u8>(table.ptr, 0), bytes);
                let out = std::slice::from_raw_parts_mut(at::<f32>(out, row * cols), cols);
                pack::unpack_row(table.dtype, cols, packed, *at::<i32>(ids, row) as usize, out);
            }
        });
        Ok(())
    }

    fn rms_norm(
        &self,
        x: DevicePtr,
        weight: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
        eps: f32,
    ) -> Result<()> {
        let d = dim as usize;
        self.each_row(n, dim, |row| {
            // SAFETY: rows of the engine's tensors.
            unsafe {
                elementwise::rms_norm(self.isa, at(x, row * d), at(weight, 0), at(out, row * d), d, eps);
            }
        });
        Ok(())
    }

    fn layer_norm(
        &self,
        x: DevicePtr,
        weight: DevicePtr,
        bias: DevicePtr,
        out: DevicePtr,
        n: u32,
        dim: u32,
        eps: f32,
    ) -> Result<()> {
        let d = dim as usize;
        self.each_row(n, dim, |row| {
            let (x, out) = (at(x, row * d), at(out, row * d));
            // SAFETY: rows of the engine's tensors.
            unsafe { elementwise::layer_norm(self.isa, x, at(weight, 0), at(bias, 0), out, d, eps) };
        });
        Ok(())
    }

    fn matmul(&self, x: DevicePtr, n: u32, products: &[Product]) -> Result<()> {
        let Some(first) = products.first() else { return Ok(()) };
        let cols = first.weight.cols;
        if let Some(other) = products.iter().find(|p| p.weight.cols != cols) {
            return Err(Error::argument(
                "products",
                format!("weights of {cols} and {} inputs do not share an input", other.weight.cols),
            ));
        }
        let needs = products.iter().any(|p| {
            let dtype = p.weight.dtype;
            dtype.is_ternary() || kernels::chosen(self.isa, dtype, self.math).1 != kernels::Takes::Floats
        });
        let scratch = if needs { self.scratch(matmul::scratch_bytes(n as usize, cols as usize))? } else { 0 };
        // SAFETY: the engine's tensors; the scratch was checked.
        unsafe { matmul::matmul(self.isa, self.math, &*self.crew, x, n as usize, products, scratch) };
        Ok(())
    }

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
    ) -> Result<()> {
        let half = kv.head_dim / 2;
        let angles =
            self.angles(Angles { positions: rows.positions, n: rows.n, frequencies, half, magnitude })?;
        let (heads, kv_heads, dim) = (heads as usize, kv.kv_heads as usize, kv.head_dim as usize);
        let (rows, kv) = (*rows, *kv);
        self.each_row(rows.n, (heads + 2 * kv_heads) as u32 * kv.head_dim, |row| {
            let angles = &angles[row * 2 * half as usize..][..2 * half as usize];
            // SAFETY: rows of the engine's tensors; the table line covers the position.
            unsafe {
                rope::turn(self.isa, at(q, row * heads * dim), heads, dim, angles, style);
                rope::turn(self.isa, at(k, row * kv_heads * dim), kv_heads, dim, angles, style);
                let (table, position) = rope::place(&rows, row);
                for head in 0..kv_heads {
                    let to = rope::slot(&kv, layer, head, table, position);
                    for (from, to) in [(k, to), (v, to + kv.half_bytes())] {
                        let from = at::<f32>(from, (row * kv_heads + head) * dim);
                        rope::store(kv.dtype, std::slice::from_raw_parts(from, dim), to);
                    }
                }
            }
        });
        Ok(())
    }

    fn attention(
        &self,
        rows: &Rows,
        kv: &KvLayout,
        layer: u32,
        how: &Attention,
        q: DevicePtr,
        out: DevicePtr,
    ) -> Result<()> {
        let bytes = attention::scratch_bytes(self.crew.workers(), how.heads as usize, kv.head_dim as usize);
        let scratch = self.scratch(bytes)?;
        let (rows, kv, how) = (*rows, *kv, *how);
        // SAFETY: the engine's tensors; the scratch was checked.
        unsafe { attention::cached(self.isa, &*self.crew, &rows, &kv, layer, &how, q, out, scratch) };
        Ok(())
    }

    fn attention_full(
        &self,
        q: DevicePtr,
        k: DevicePtr,
        v: DevicePtr,
        out: DevicePtr,
        starts: DevicePtr,
        sequences: u32,
        _longest: u32,
        heads: u32,
        head_dim: u32,
        scale: f32,
    ) -> Result<()> {
        let (heads, dim) = (heads as usize, head_dim as usize);
        let scratch = self.scratch(attention::scratch_bytes(self.crew.workers(), heads, dim))?;
        // SAFETY: the engine's tensors; the scratch was checked.
        unsafe {
            let starts = std::slice::from_raw_parts(at::<i32>(starts, 0), sequences as usize + 1);
            attention::full(self.isa, &*self.crew, q, k, v, out, starts, heads, dim, scale, scratch);
        }
        Ok(())
    }

    fn gated(&self, activation: Activation, gate: DevicePtr, up: DevicePtr, count: u64) -> Result<()> {
        self.each(count, |first, count| {
            let (gate, up) = (at(gate, first), at(up, first));
            // SAFETY: parts of the engine's tensors.
            unsafe {
                match activation {
                    Activation::Silu => elementwise::gated_silu(self.isa, gate, up, count),
                    Activation::Gelu => elementwise::gated_gelu(self.isa, gate, up, count),
                    Activation::GeluTanh => elementwise::gated_gelu_tanh(self.isa, gate, up, count),
                    Activation::SquaredRelu => elementwise::gated_squared_relu(self.isa, gate, up, count),
                }
            }
        });
        Ok(())
    }

    fn activate(&self, activation: Activation, x: DevicePtr, count: u64) -> Result<()> {
        self.each(count, |first, count| {
            let x = at(x, first);
            // SAFETY: a part of the engine's tensor.
            unsafe {
                match activation {
                    Activation::Silu => elementwise::silu(self.isa, x, count),
                    Activation::Gelu => elementwise::gelu(self.isa, x, count),
                    Activation::GeluTanh => elementwise::gelu_tanh(self.isa, x, count),
                    Activation::SquaredRelu => elementwise::squared_relu(self.isa, x, count),
                }
            }
        });
        Ok(())
    }

    fn add(&self, x: DevicePtr, y: DevicePtr, count: u64) -> Result<()> {
        self.each(count, |first, count| {
            // SAFETY: parts of the engine's tensors.
            unsafe { elementwise::add(self.isa, at(x, first), at(y, first), count) };
        });
        Ok(())
    }

    fn gather(&self, x: DevicePtr, index: DevicePtr, out: DevicePtr, n: u32, dim: u32) -> Result<()> {
        let d = dim as usize;
        self.each_row(n, dim, |row| {
            // SAFETY: rows of the engine's tensors.
            unsafe {
                let from = at::<f32>(x, *at::<i32>(index, row) as usize * d);
                std::ptr::copy_nonoverlapping(from, at(out, row * d), d);
            }
        });
        Ok(())
    }
}
