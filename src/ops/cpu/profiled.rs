//! The same operations, measured for the profiler: time, bytes, and how much of the node they keep busy.

use super::crew::{Crew, NodeCrew};
use super::pack;
use crate::Result;
use crate::device::{DevicePtr, Stream};
use crate::ops::{
    Activation, Attention, Download, KvLayout, Ops, Product, RopeStyle, Rows, StepTime, Upload, Weight, bytes,
};
use crate::quant::DType;
use crate::telemetry::profiler::{self, Kind, Span};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A node's team that counts, while the profiler is on, how long its threads are busy.
pub(super) struct Meter {
    crew: NodeCrew,
    /// Nanoseconds that threads of the team worked, all together.
    busy: AtomicU64,
    /// Nanoseconds during which the team was at work.
    wall: AtomicU64,
}

impl Meter {
    pub fn new(crew: NodeCrew) -> Meter {
        Meter { crew, busy: AtomicU64::new(0), wall: AtomicU64::new(0) }
    }

    fn read(&self) -> (u64, u64) {
        (self.busy.load(Relaxed), self.wall.load(Relaxed))
    }
}

impl Crew for Meter {
    fn workers(&self) -> usize {
        self.crew.workers()
    }

    fn run(&self, f: &(dyn Fn(usize, usize) + Sync)) {
        if !profiler::on() {
            return self.crew.run(f);
        }
        let begun = profiler::now();
        self.crew.run(&|worker, workers| {
            let begun = profiler::now();
            f(worker, workers);
            self.busy.fetch_add(profiler::now() - begun, Relaxed);
        });
        self.wall.fetch_add(profiler::now() - begun, Relaxed);
    }
}

/// Operations of the CPU device, measured while the profiler is on; one branch each while it is off.
pub(super) struct Profiled {
    ops: Arc<dyn Ops>,
    meter: Arc<Meter>,
}

impl Profiled {
    pub fn new(ops: Arc<dyn Ops>, meter: Arc<Meter>) -> Profiled {
        Profiled { ops, meter }
    }

    #[inline(always)]
    fn measured(
        &self,
        name: &'static str,
        bytes: impl FnOnce() -> u64,
        work: impl FnOnce(&dyn Ops) -> Result<()>,
    ) -> Result<()> {
        if !profiler::on() {
            return work(&*self.ops);
        }
        self.seen(name, &mut Some(bytes), &mut Some(work))
    }

    #[cold]
    fn seen<B: FnOnce() -> u64, W: FnOnce(&dyn Ops) -> Result<()>>(
        &self,
        name: &'static str,
        bytes: &mut Option<B>,
        work: &mut Option<W>,
    ) -> Result<()> {
        let mut span = Span::begin(Kind::Kernel, name, self.ops.stream().track());
        // Before the work, which may change what the count depends on.
        if span.is_recorded() {
            span = span.bytes(bytes.take().map_or(0, |count| count()));
        }
        let (busy, wall) = self.meter.read();
        work.take().map_or(Ok(()), |work| work(&*self.ops))?;
        let (busy_now, wall_now) = self.meter.read();
        // The calling thread alone is busy whenever the team as a whole is not.
        let took = span.elapsed().as_nanos() as u64;
        let alone = took.saturating_sub(wall_now - wall);
        let of = took * self.meter.workers() as u64;
        if of > 0 {
            span.set_occupancy(((busy_now - busy + alone) as f32 / of as f32).min(1.0));
        }
        span.end();
        Ok(())
    }
}

/// Bytes of keys and values that the rows of a step look at.
fn cache_bytes(rows: &Rows, kv: &KvLayout, how: &Attention) -> u64 {
    // SAFETY: the step's own positions, which on this device are memory of this process.
    let positions = unsafe { std::slice::from_raw_parts(rows.positions as *const i32, rows.n as usize) };
    let window = how.window.map_or(u64::MAX, u64::from);
    let seen: u64 = positions.iter().map(|&p| (u64::from(p.max(0) as u32) + 1).min(window)).sum();
    let element = if kv.dtype == DType::F32 { 4 } else { 2 };
    seen * 2 * u64::from(kv.kv_heads) * u64::from(kv.head_dim) * element
}

impl Ops for Profiled {
    fn stream(&self) -> &Arc<dyn Stream> {
        self.ops.stream()
    }

    fn math(&self) -> crate::ops::Math {
        self.ops.math()
    }

    fn packed_bytes(&self, dtype: DType, rows: u32, cols: u32) -> Result<u64> {
        self.ops.packed_bytes(dtype, rows, cols)
    }

    fn pack(&self, dtype: DType, rows: u32, cols: u32, src: &[u8], dst: &mut [u8]) -> Result<()> {
        self.ops.pack(dtype, rows, cols, src, dst)
    }

    fn scratch_bytes(
        &self,
        rows: u32,
        cols: u32,
        outputs: u32,
        tokens: u32,
        heads: u32,
        head_dim: u32,
    ) -> u64 {
        self.ops.scratch_bytes(rows, cols, outputs, tokens, heads, head_dim)
    }

    fn set_scratch(&self, ptr: DevicePtr, bytes: u64) -> Result<()> {
        self.ops.set_scratch(ptr, bytes)
    }

    fn step(
        &self,
        key: Option<u64>,
        uploads: &[Upload<'_>],
        body: &mut (dyn FnMut() -> Result<()> + Send),
        downloads: &mut [Download<'_>],
    ) -> Result<StepTime> {
        self.ops.step(key, uploads, body, downloads)
    }

    fn forget(&self) {
        self.ops.forget();
    }

    fn embed(&self, table: &Weight, ids: DevicePtr, out: DevicePtr, n: u32) -> Result<()> {
        let count = || bytes::embed(table, n, pack::packed_bytes(table.dtype, table.rows, table.cols));
        self.measured("embed", count, |ops| ops.embed(table, ids, out, n))
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
        let count = || bytes::rows(n, dim, 2) + bytes::rows(1, dim, 1);
        self.measured("rms_norm", count, |ops| ops.rms_norm(x, weight, out, n, dim, eps))
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
        let count = || bytes::rows(n, dim, 2) + bytes::rows(1, dim, 2);
        self.measured("layer_norm", count, |ops| ops.layer_norm(x, weight, bias, out, n, dim, eps))
    }

    fn matmul(&self, x: DevicePtr, n: u32, products: &[Product]) -> Result<()> {
        let count = || bytes::products(n, products, pack::packed_bytes);
        self.measured("matmul", count, |ops| ops.matmul(x, n, products))
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
        let count = || {
            // Q and K are read and written, V is read, both go to the cache.
            let (q, k) = (
                bytes::rows(rows.n, heads * kv.head_dim, 1),
                bytes::rows(rows.n, kv.kv_heads * kv.head_dim, 1),
            );
            let stored = if kv.dtype == DType::F32 { 2 * k } else { k };
            2 * q + 3 * k + stored
        };
        self.measured("rope_store", count, |ops| {
            ops.rope_store(rows, kv, layer, heads, q, k, v, frequencies, magnitude, style)
        })
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
        let count = || cache_bytes(rows, kv, how) + bytes::rows(rows.n, how.heads * kv.head_dim, 2);
        self.measured("attention", count, |ops| ops.attention(rows, kv, layer, how, q, out))
    }

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
    ) -> Result<()> {
        let count = || {
            // SAFETY: the step's own array, which on this device is memory of this process.
            let n = unsafe { *(starts as *const i32).add(sequences as usize) };
            bytes::rows(n.max(0) as u32, heads * head_dim, 4)
        };
        self.measured("attention_full", count, |ops| {
            ops.attention_full(q, k, v, out, starts, sequences, longest, heads, head_dim, scale)
        })
    }

    fn gated(&self, activation: Activation, gate: DevicePtr, up: DevicePtr, count: u64) -> Result<()> {
        self.measured("gated", || count * 12, |ops| ops.gated(activation, gate, up, count))
    }

    fn activate(&self, activation: Activation, x: DevicePtr, count: u64) -> Result<()> {
        self.measured("activate", || count * 8, |ops| ops.activate(activation, x, count))
    }

    fn add(&self, x: DevicePtr, y: DevicePtr, count: u64) -> Result<()> {
        self.measured("add", || count * 12, |ops| ops.add(x, y, count))
    }

    fn gather(&self, x: DevicePtr, index: DevicePtr, out: DevicePtr, n: u32, dim: u32) -> Result<()> {
        let count = || bytes::rows(n, dim, 2) + u64::from(n) * 4;
        self.measured("gather", count, |ops| ops.gather(x, index, out, n, dim))
    }
}
