//! A self-test of a device, part by part, through the same calls that applications use. Tenants of its own do the work,
//! so that others are not touched; it takes a second or two and some 100 MiB.

use super::config::Map;
use super::measure::Guest;
use crate::compute::Nodes;
use crate::device::{Device, DevicePtr};
use crate::memory::UNIT;
use crate::ops::{Math, Ops, Product, Weight};
use crate::quant::{DType, dequantize, quantize};
use crate::tenant::Tenant;
use crate::{Error, Result, Status};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How a part ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise; the part's error says how.
    Failed,
    /// It cannot be tested here; the detail says why.
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        })
    }
}

/// The result of one part.
#[derive(Clone, Debug)]
pub struct Part {
    /// A stable name.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Figures; or why it failed or was skipped.
    pub detail: String,
    /// How long it took.
    pub seconds: f64,
    /// What went wrong.
    pub error: Option<Error>,
}

/// What a part that did not fail says.
pub enum Said {
    /// It passed, with figures.
    Passed(String),
    /// It was skipped, and why.
    Skipped(String),
}

/// Runs one part. A panic in it is a failure of it.
pub fn part(name: &'static str, run: impl FnOnce() -> Result<Said>) -> Part {
    let begun = Instant::now();
    let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(Error::new(Status::Panic, format!("the part {name:?} panicked"))));
    let (outcome, detail, error) = match said {
        Ok(Said::Passed(detail)) => (Outcome::Passed, detail, None),
        Ok(Said::Skipped(detail)) => (Outcome::Skipped, detail, None),
        Err(e) => (Outcome::Failed, e.to_string(), Some(e)),
    };
    Part { name, outcome, detail, seconds: begun.elapsed().as_secs_f64(), error }
}

/// The error of the first part that failed, if one did.
pub fn verdict(parts: &[Part]) -> Result<()> {
    let failed = parts.iter().filter(|p| p.outcome == Outcome::Failed).count();
    match parts.iter().find_map(|p| p.error.clone().map(|e| (p.name, e))) {
        None => Ok(()),
        Some((name, e)) => Err(e.within(format!("{failed} of {} parts failed, first {name:?}", parts.len()))),
    }
}

/// The parts as text: `<part>` → `passed`, `failed` or `skipped`; `<part>.detail`; `<part>.seconds`.
pub fn as_map(parts: &[Part]) -> Map {
    let mut out = Map::new();
    for part in parts {
        out.insert(part.name.to_owned(), part.outcome.to_string());
        out.insert(format!("{}.detail", part.name), part.detail.clone());
        out.insert(format!("{}.seconds", part.name), format!("{:.6}", part.seconds));
    }
    out
}

/// Tests a device:
///
/// | part | what must hold |
/// |---|---|
/// | `device` | it answers, and its figures agree with each other |
/// | `allocation` | memory is zero, given to the byte of the quota and no further; freed twice is refused |
/// | `copies` | 4 KiB, 1 MiB and 32 MiB arrive whole, both ways and within the device; their speed |
/// | `patterns` | 32 MiB keep alternating bits and their own addresses |
/// | `matrix_product` | F32 products agree with f64 on the host |
/// | `quantized_product` | Q8_0 and Q4_0 products agree with f64 over the dequantized weights |
/// | `norm` | RMS and layer norms agree with f64 |
/// | `softmax` | attention, whose weights are a softmax, agrees with f64 |
/// | `streams` | work runs in order, across streams as events say |
/// | `isolation` | a tenant can neither read, write nor free another's memory, nor see what was in it; nodes are disjoint |
pub fn run(device: &Arc<dyn Device>) -> Vec<Part> {
    let guest = |bytes| Guest::new(device, "diagnostics", bytes);
    vec![
        part("device", || answers(device)),
        part("allocation", || allocation(&guest(16 * MIB)?.0)),
        part("copies", || copies(&guest(96 * MIB)?.0)),
        part("patterns", || patterns(&guest(64 * MIB)?.0)),
        part("matrix_product", || with_ops(&guest(64 * MIB)?.0, matrix_product)),
        part("quantized_product", || with_ops(&guest(64 * MIB)?.0, quantized_product)),
        part("norm", || with_ops(&guest(64 * MIB)?.0, norm)),
        part("softmax", || with_ops(&guest(64 * MIB)?.0, softmax)),
        part("streams", || streams(&guest(64 * MIB)?.0)),
        part("isolation", || isolation(device, &guest(32 * MIB)?.0, &guest(32 * MIB)?.0)),
    ]
}

const MIB: u64 = 1 << 20;

fn wrong<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::new(Status::Internal, what).advise(
        "run it again with nothing else on the device; if it stays, the device, its driver or this build is at fault",
    ))
}

fn passed(detail: impl Into<String>) -> Result<Said> {
    Ok(Said::Passed(detail.into()))
}

/// That a call is refused with this status.
fn refused<T>(what: &str, result: Result<T>, status: Status) -> Result<()> {
    match result {
        Err(e) if e.status() == status => Ok(()),
        Err(e) => wrong(format!("{what} was refused as {}, not as {}", e.status().name(), status.name())),
        Ok(_) => wrong(format!("{what} was allowed")),
    }
}

/// Bytes that differ by seed and place.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend(state.to_le_bytes());
    }
    out.truncate(bytes);
    out
}

/// Numbers between -1 and 1.
fn floats(seed: u64, count: usize) -> Vec<f32> {
    let bytes = noise(seed, count * 4);
    bytes
        .chunks_exact(4)
        .map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32 / 2_147_483_648.0)
        .collect()
}

fn answers(device: &Arc<dyn Device>) -> Result<Said> {
    let info = device.info()?;
    let processors: u32 = device.units().iter().map(|u| u.processors).sum();
    if info.total_memory == 0 || info.free_memory > info.total_memory {
        return wrong(format!("{} of {} bytes are free", info.free_memory, info.total_memory));
    }
    if processors == 0 || processors > info.multiprocessors {
        return wrong(format!("its units have {processors} of {} processors", info.multiprocessors));
    }
    device.synchronize()?;
    passed(format!(
        "{} ({}), {} of {} MiB free, {processors} processors in {} units",
        info.name,
        info.isa,
        info.free_memory / MIB,
        info.total_memory / MIB,
        device.units().len()
    ))
}

fn allocation(tenant: &Tenant) -> Result<Said> {
    let space = tenant.space();
    let limit = tenant.account().limit();
    let first = space.alloc(limit / 2, 256, "diagnostics")?;
    let second = space.alloc(limit / 2, 256, "diagnostics")?;
    if space.usage().held != limit {
        return wrong(format!("{} bytes are charged for {limit}", space.usage().held));
    }
    refused("one byte beyond the quota", space.alloc(1, 256, "diagnostics"), Status::QuotaExceeded)?;
    let mut content = vec![1u8; MIB as usize];
    tenant.device().read(&mut content, first)?;
    if content.iter().any(|&b| b != 0) {
        return wrong("new memory is not zero");
    }
    refused("a pointer inside of an allocation", space.free(first + UNIT), Status::InvalidArgument)?;
    space.free(first)?;
    if space.free(first).is_ok() {
        return wrong("memory was freed twice");
    }
    space.free(second)?;
    if space.usage().held != 0 {
        return wrong(format!("{} bytes are charged for nothing", space.usage().held));
    }
    passed(format!("a quota of {} MiB held to the byte", limit / MIB))
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64().max(1e-9) / 1e9
}

fn copies(tenant: &Tenant) -> Result<Said> {
    let (device, space) = (tenant.device(), tenant.space());
    let mut told = Vec::new();
    for (name, bytes) in [("4 KiB", 4 << 10), ("1 MiB", 1 << 20), ("32 MiB", 32 << 20)] {
        let (a, b) = (space.alloc(bytes as u64, 256, "a")?, space.alloc(bytes as u64, 256, "b")?);
        let source = noise(bytes as u64, bytes);
        let mut back = vec![0u8; bytes];
        let begun = Instant::now();
        device.write(a, &source)?;
        let up = begun.elapsed();
        let begun = Instant::now();
        // SAFETY: two allocations of that size.
        unsafe { device.copy(b, a, bytes as u64, None)? };
        let within = begun.elapsed();
        let begun = Instant::now();
        device.read(&mut back, b)?;
        let down = begun.elapsed();
        if let Some(at) = (0..bytes).find(|&i| back[i] != source[i]) {
            return wrong(format!(
                "byte {at} of {name} came back as {:#04x}, not {:#04x}",
                back[at], source[at]
            ));
        }
        space.free(a)?;
        space.free(b)?;
        let (up, within, down) = (rate(bytes, up), rate(bytes, within), rate(bytes, down));
        told.push(format!("{name}: up {up:.2}, within {within:.2}, down {down:.2} GB/s"));
    }
    passed(told.join("; "))
}

fn patterns(tenant: &Tenant) -> Result<Said> {
    const BYTES: usize = 32 << 20;
    let (device, space) = (tenant.device(), tenant.space());
    let at = space.alloc(BYTES as u64, 256, "patterns")?;
    let mut back = vec![0u8; BYTES];
    for value in [0x55u8, 0xaa, 0xff] {
        tenant.fill(at, value, BYTES as u64, None)?;
        device.read(&mut back, at)?;
        if let Some(i) = back.iter().position(|&b| b != value) {
            return wrong(format!("byte {i} filled with {value:#04x} holds {:#04x}", back[i]));
        }
    }
    // Each word its own address: two addresses that are one in truth show.
    let words: Vec<u8> = (0..BYTES as u64 / 8).flat_map(|i| (at + 8 * i).to_le_bytes()).collect();
    device.write(at, &words)?;
    device.read(&mut back, at)?;
    if let Some(i) = (0..BYTES).find(|&i| back[i] != words[i]) {
        return wrong(format!("the word at byte {} does not hold its own address", i / 8 * 8));
    }
    space.free(at)?;
    passed(format!("{} MiB: 0x55, 0xaa, 0xff, addresses", BYTES >> 20))
}

/// A tenant with operations and a way to hand them numbers.
struct Bench<'a> {
    tenant: &'a Tenant,
    ops: Arc<dyn Ops>,
}

fn with_ops(tenant: &Tenant, run: impl FnOnce(&Bench<'_>) -> Result<Said>) -> Result<Said> {
    let bench = Bench { tenant, ops: tenant.ops()? };
    let scratch = bench.ops.scratch_bytes(64, 256, 64, 64, 4, 64).max(UNIT);
    bench.ops.set_scratch(tenant.space().alloc(scratch, 256, "scratch")?, scratch)?;
    run(&bench)
}

impl Bench<'_> {
    fn bytes(&self, bytes: &[u8]) -> Result<DevicePtr> {
        let at = self.tenant.space().alloc(bytes.len() as u64, 256, "diagnostics")?;
        self.tenant.device().write(at, bytes)?;
        Ok(at)
    }

    fn put(&self, values: &[f32]) -> Result<DevicePtr> {
        self.bytes(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    /// Room for `count` numbers, filled with NaN so that what nobody wrote shows.
    fn room(&self, count: usize) -> Result<DevicePtr> {
        self.put(&vec![f32::NAN; count])
    }

    fn get(&self, at: DevicePtr, count: usize) -> Result<Vec<f32>> {
        let mut raw = vec![0u8; count * 4];
        self.tenant.device().read(&mut raw, at)?;
        Ok(raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    fn step(&self, mut body: impl FnMut() -> Result<()> + Send) -> Result<()> {
        self.ops.step(None, &[], &mut body, &mut []).map(drop)
    }

    fn weight(&self, dtype: DType, rows: u32, cols: u32, file: &[u8]) -> Result<Weight> {
        let mut packed = vec![0u8; self.ops.packed_bytes(dtype, rows, cols)? as usize];
        self.ops.pack(dtype, rows, cols, file, &mut packed)?;
        Ok(Weight { dtype, rows, cols, ptr: self.bytes(&packed)? })
    }

    /// The largest error of a product of `n` rows, against the largest value.
    fn product(&self, dtype: DType, n: u32) -> Result<f64> {
        const ROWS: u32 = 48;
        const COLS: u32 = 256;
        let values = floats(1, (ROWS * COLS) as usize);
        let mut file = vec![0u8; dtype.bytes(ROWS.into(), COLS.into())? as usize];
        quantize(dtype, &values, &mut file)?;
        let mut weights = vec![0f32; values.len()];
        dequantize(dtype, &file, &mut weights)?;
        let x = floats(2, (n * COLS) as usize);
        let weight = self.weight(dtype, ROWS, COLS, &file)?;
        let (at, out) = (self.put(&x)?, self.room((n * ROWS) as usize)?);
        self.step(|| self.ops.matmul(at, n, &[Product { weight, bias: None, out, add: false }]))?;
        let mut want = Vec::new();
        for row in x.chunks(COLS as usize) {
            for w in weights.chunks(COLS as usize) {
                want.push(row.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>());
            }
        }
        Ok(error(&self.get(out, want.len())?, &want))
    }
}

/// The largest difference over the largest value; infinite where something is no number.
fn error(got: &[f32], want: &[f64]) -> f64 {
    let scale = want.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    let differs = |(g, w): (&f32, &f64)| match (f64::from(*g) - w).abs() {
        d if d.is_finite() => d / scale,
        _ => f64::INFINITY,
    };
    got.iter().zip(want).map(differs).fold(0.0, f64::max)
}

fn within(what: &str, error: f64, most: f64) -> Result<String> {
    if error > most {
        return wrong(format!("{what} is off by {error:.1e} of its largest value, more than {most:.0e}"));
    }
    Ok(format!("{what}: {error:.1e}"))
}

fn matrix_product(bench: &Bench<'_>) -> Result<Said> {
    // With inputs of 8 bits of precision, as the driver's tensor-core optimisation allows, each product is off by up to 1/256.
    let most = if bench.ops.math() == Math::Fast { 1e-2 } else { 1e-5 };
    let told = [1u32, 5, 33]
        .map(|n| within(&format!("{n} rows"), bench.product(DType::F32, n)?, most))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    passed(format!("largest error for {}", told.join(", ")))
}

fn quantized_product(bench: &Bench<'_>) -> Result<Said> {
    let mut told = Vec::new();
    for dtype in [DType::Q8_0, DType::Q4_0] {
        // The CPU device reads quantized activations here.
        told.push(within(&format!("{dtype:?}"), bench.product(dtype, 1)?, 2e-2)?);
    }
    passed(format!("largest error for {}", told.join(", ")))
}

fn norm(bench: &Bench<'_>) -> Result<Said> {
    const ROWS: usize = 5;
    const DIM: usize = 384;
    let (x, w, b) = (floats(3, ROWS * DIM), floats(4, DIM), floats(5, DIM));
    let (xp, wp, bp) = (bench.put(&x)?, bench.put(&w)?, bench.put(&b)?);
    let (rms, layer) = (bench.room(ROWS * DIM)?, bench.room(ROWS * DIM)?);
    bench.step(|| {
        bench.ops.rms_norm(xp, wp, rms, ROWS as u32, DIM as u32, 1e-5)?;
        bench.ops.layer_norm(xp, wp, bp, layer, ROWS as u32, DIM as u32, 1e-5)
    })?;
    let (mut want_rms, mut want_layer) = (Vec::new(), Vec::new());
    for row in x.chunks(DIM) {
        let row: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        let mean = row.iter().sum::<f64>() / DIM as f64;
        let square = row.iter().map(|v| v * v).sum::<f64>() / DIM as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / DIM as f64;
        for (i, v) in row.iter().enumerate() {
            want_rms.push(v / (square + 1e-5).sqrt() * f64::from(w[i]));
            want_layer.push((v - mean) / (variance + 1e-5).sqrt() * f64::from(w[i]) + f64::from(b[i]));
        }
    }
    let rms = within("rms", error(&bench.get(rms, want_rms.len())?, &want_rms), 1e-5)?;
    let layer = within("layer", error(&bench.get(layer, want_layer.len())?, &want_layer), 1e-4)?;
    passed(format!("largest error for {rms}, {layer}"))
}

fn softmax(bench: &Bench<'_>) -> Result<Said> {
    const ROWS: usize = 13;
    const HEADS: usize = 2;
    const DIM: usize = 64;
    let scale = 1.0 / (DIM as f32).sqrt();
    let [q, k, v] = [6, 7, 8].map(|seed| floats(seed, ROWS * HEADS * DIM));
    // Larger scores, so that the weights are far from even.
    let q: Vec<f32> = q.iter().map(|x| x * 4.0).collect();
    let (qp, kp, vp) = (bench.put(&q)?, bench.put(&k)?, bench.put(&v)?);
    let out = bench.room(ROWS * HEADS * DIM)?;
    let starts = [0i32, ROWS as i32].map(i32::to_le_bytes).concat();
    let starts = bench.bytes(&starts)?;
    let (rows, heads, dim) = (ROWS as u32, HEADS as u32, DIM as u32);
    bench.step(|| bench.ops.attention_full(qp, kp, vp, out, starts, 1, rows, heads, dim, scale))?;
    let mut want = vec![0f64; ROWS * HEADS * DIM];
    for row in 0..ROWS {
        for head in 0..HEADS {
            let at = |r: usize| (r * HEADS + head) * DIM;
            let dot = |r: usize| -> f64 {
                (0..DIM).map(|d| f64::from(q[at(row) + d]) * f64::from(k[at(r) + d])).sum()
            };
            let scores: Vec<f64> = (0..ROWS).map(|r| dot(r) * f64::from(scale)).collect();
            let most = scores.iter().copied().fold(f64::MIN, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for d in 0..DIM {
                want[at(row) + d] = (0..ROWS).map(|r| weights[r] / sum * f64::from(v[at(r) + d])).sum();
            }
        }
    }
    let told = within("attention", error(&bench.get(out, want.len())?, &want), 1e-4)?;
    passed(format!("largest error for {told}"))
}

fn streams(tenant: &Tenant) -> Result<Said> {
    const BYTES: u64 = 1 << 20;
    const ROUNDS: u8 = 20;
    let (first, second) = (tenant.new_stream(0)?, tenant.new_stream(0)?);
    let (a, b) = (tenant.space().alloc(BYTES, 256, "a")?, tenant.space().alloc(BYTES, 256, "b")?);
    let mut slowest = Duration::ZERO;
    for round in 1..=ROUNDS {
        let begun = Instant::now();
        tenant.fill(a, round, BYTES, Some(first.as_ref()))?;
        let filled = first.record()?;
        second.wait(&filled)?;
        // SAFETY: two allocations of that size, waited for below.
        unsafe { tenant.copy(b, a, BYTES, Some(second.as_ref()))? };
        let copied = second.record()?;
        first.wait(&copied)?;
        tenant.fill(a, 0, BYTES, Some(first.as_ref()))?;
        first.synchronize()?;
        second.synchronize()?;
        if !(filled.is_done()? && copied.is_done()?) {
            return wrong("an event behind which work has run is not done");
        }
        slowest = slowest.max(begun.elapsed());
        let mut back = vec![0u8; BYTES as usize];
        tenant.device().read(&mut back, b)?;
        if back.iter().any(|&byte| byte != round) {
            return wrong(format!("round {round}: a stream did not wait for the other's event"));
        }
    }
    let (tell, told) = mpsc::channel();
    for i in 0..100 {
        let tell = tell.clone();
        first.host_fn(Box::new(move || {
            // The receiver lives until all have told.
            let _ = tell.send(i);
        }))?;
    }
    first.synchronize()?;
    drop(tell);
    if !told.iter().eq(0..100) {
        return wrong("host functions of one stream ran out of order");
    }
    passed(format!("{ROUNDS} rounds over two streams, the slowest {:.0} us", slowest.as_secs_f64() * 1e6))
}

fn isolation(device: &Arc<dyn Device>, own: &Tenant, other: &Tenant) -> Result<Said> {
    const BYTES: u64 = 4 << 20;
    let theirs = other.space().alloc(BYTES, 256, "secret")?;
    other.fill(theirs, 0xee, BYTES, None)?;
    let mine = own.space().alloc(BYTES, 256, "own")?;
    // SAFETY: what is not refused stays inside of two allocations.
    unsafe {
        refused("reading another tenant's memory", own.copy(mine, theirs, BYTES, None), Status::NotOwner)?;
        refused("writing another tenant's memory", own.copy(theirs, mine, BYTES, None), Status::NotOwner)?;
    }
    refused("filling another tenant's memory", own.fill(theirs, 0, BYTES, None), Status::NotOwner)?;
    refused("freeing another tenant's memory", own.space().free(theirs), Status::NotOwner)?;
    other.space().free(theirs)?;
    own.space().free(mine)?;
    crate::memory::Ledger::of(device).give_back_idle();
    let after = own.space().alloc(2 * BYTES, 256, "after")?;
    let mut content = vec![1u8; 2 * BYTES as usize];
    device.read(&mut content, after)?;
    if content.iter().any(|&b| b != 0) {
        return wrong("what another tenant had written was still there");
    }
    own.space().free(after)?;
    let free = Nodes::of(device).list().into_iter().filter(|n| n.owner.is_none() && !n.virtual_node);
    let free: Vec<u32> = free.map(|n| n.id).take(2).collect();
    let [a, b] = free[..] else {
        return passed("memory; nodes were not compared, since fewer than two are free");
    };
    own.take_node(a)?;
    let taken = refused("taking another tenant's node", other.take_node(a), Status::Busy);
    let disjoint = other.take_node(b).and_then(|()| {
        let (mine, theirs) = (own.node()?, other.node()?);
        match mine.units().iter().find(|u| theirs.units().contains(u)) {
            Some(unit) => wrong(format!("unit {unit} is in the nodes of two tenants")),
            None => Ok((mine.processors(), theirs.processors())),
        }
    });
    taken?;
    let (mine, theirs) = disjoint?;
    passed(format!("memory; nodes of {mine} and {theirs} processors are disjoint"))
}
