//! The tenant that decodes: a step over 2.15 GB of bf16 weights, in one CUDA graph. benches/kernels/isolation.cu has it twice:
//! in one launch, and one launch a matrix as ordinary engines do.

use cogniware::device::cuda::{CudaDevice, CudaStream, Function, Graph, Module};
use cogniware::device::{Device, Stream};
use cogniware::tenant::Tenant;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `nvcc -fatbin -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90`, nvcc 13.0.88.
const IMAGE: &[u8] = include_bytes!("../kernels/isolation.fatbin");
const LAYERS: usize = 16;
/// Rows of 16 of each matrix of a layer, and its bytes.
const MATRICES: [(u32, u64); 4] =
    [(384, 6144 * 4096), (128, 2048 * 4096), (1024, 16384 * 4096), (128, 2048 * 16384)];
pub const WEIGHTS: u64 = LAYERS as u64 * (6144 + 2048 + 16384 + 8192) * 4096;
const STATE: u64 = 229_408;
/// Where `State` has how long the last launch took, its words and the parts that are not yet added.
const TIMES: u64 = 65_544;
const PARTS: usize = 163_872;
const HIDDEN: usize = 2048;
/// Dynamic shared memory of `step`: ring, sums, vector.
const SHARED: u32 = 196_608 + 8 * 704 * 4 + 8192;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernels {
    /// A launch for each matrix.
    Plain,
    /// One launch of this many blocks: one an SM.
    Step(u32),
}

/// What was measured of some steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// 99th percentile of an SM's clock cycles from the begin to the end of the kernel; 0 where it is several kernels.
    pub p99_cycles: f64,
}

pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() as f64 * part) as usize).min(sorted.len() - 1)]
}

pub struct Decode {
    device: Arc<dyn Device>,
    stream: Arc<dyn Stream>,
    graph: Graph,
    state: u64,
    tenant: Arc<Tenant>,
    weights: u64,
    kernels: Kernels,
    /// The graph's kernels; a graph does not hold them.
    _module: Arc<Module>,
}

impl Decode {
    pub fn new(tenant: &Arc<Tenant>, kernels: Kernels, priority: i32) -> Decode {
        Decode::with_weights(tenant, kernels, priority, 0.035)
    }

    fn with_weights(tenant: &Arc<Tenant>, kernels: Kernels, priority: i32, spread: f32) -> Decode {
        let device = tenant.device().clone();
        let cuda = CudaDevice::of(&*device, "device").expect("a GPU");
        let module =
            Module::load(cuda, IMAGE).expect("the image; it is made for compute capability 9.0 and newer");
        let function = |name: &str| module.function(name).expect("a kernel");
        let weights = tenant.space().alloc(WEIGHTS, 4096, "weights").expect("2.15 GB");
        let state = tenant.space().alloc(STATE, 4096, "state").expect("memory");
        let stream = tenant.node().expect("a node").stream_create(priority).expect("a stream");
        randomise(&function("randomise"), &stream, weights, WEIGHTS, spread, 1);
        let (step, product, normalise) = (function("step"), function("product"), function("normalise"));
        step.set_max_dynamic_smem(SHARED).expect("shared memory");
        let queue = CudaStream::of(&*stream, "stream").expect("a stream of a GPU");
        let record = || match kernels {
            Kernels::Step(blocks) => {
                let (mut w, mut s) = (weights, state);
                // SAFETY: the arguments are those of the kernel; the graph is dropped before the memory.
                unsafe {
                    step.launch(queue, [blocks, 1, 1], [288, 1, 1], SHARED, &mut [arg(&mut w), arg(&mut s)])
                }
            }
            Kernels::Plain => {
                let (mut w, mut s) = (weights, state);
                for _ in 0..LAYERS {
                    // SAFETY: as above.
                    unsafe { normalise.launch(queue, [1; 3], [1024, 1, 1], 0, &mut [arg(&mut s)])? };
                    for (kind, (blocks, bytes)) in MATRICES.into_iter().enumerate() {
                        let mut kind = kind as i32;
                        let args = &mut [arg(&mut w), arg(&mut s), arg(&mut kind)];
                        // SAFETY: as above.
                        unsafe { product.launch(queue, [blocks, 1, 1], [256, 1, 1], 0, args)? };
                        w += bytes;
                    }
                }
                Ok(())
            }
        };
        let graph = Graph::capture(queue, record).expect("a graph");
        let decode = Decode {
            device,
            stream,
            graph,
            state,
            tenant: tenant.clone(),
            weights,
            kernels,
            _module: module,
        };
        decode.reset();
        decode
    }

    /// Everything as before the first step.
    fn reset(&self) {
        let mut bytes = vec![0u8; STATE as usize];
        for i in 0..HIDDEN {
            let x = (i as f32 * 0.7).sin() + 0.3 * (i as f32 * 1.9).cos();
            bytes[4 * i..4 * i + 4].copy_from_slice(&x.to_le_bytes());
        }
        self.device.write(self.state, &bytes).expect("the state");
    }

    fn step(&self) {
        let stream = CudaStream::of(&*self.stream, "stream").expect("a stream of a GPU");
        self.graph.launch(stream).expect("a step");
        self.stream.synchronize().expect("a step");
    }

    /// Steps one after another for this long.
    pub fn run(&self, time: Duration) -> Latency {
        for _ in 0..20 {
            self.step();
        }
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let from = Instant::now();
            self.step();
            times.push(from.elapsed().as_secs_f64() * 1e3);
        }
        let per_second = times.len() as f64 / begun.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let mut cycles = Vec::new();
        if let Kernels::Step(_) = self.kernels {
            for _ in 0..300 {
                self.step();
                let mut word = [0u8; 8];
                self.device.read(&mut word, self.state + TIMES).expect("the state");
                cycles.push(u64::from_le_bytes(word) as f64);
            }
            cycles.sort_by(f64::total_cmp);
        }
        Latency {
            per_second,
            p50_ms: percentile(&times, 0.5),
            p99_ms: percentile(&times, 0.99),
            p99_cycles: if cycles.is_empty() { 0.0 } else { percentile(&cycles, 0.99) },
        }
    }

    /// The vector after `steps` steps.
    fn answer(&self, steps: usize) -> Vec<f64> {
        self.reset();
        for _ in 0..steps {
            self.step();
        }
        let mut bytes = vec![0u8; STATE as usize];
        self.device.read(&mut bytes, self.state).expect("the state");
        let float =
            |at: usize| f64::from(f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")));
        (0..HIDDEN)
            .map(|i| (0..4).fold(float(4 * i), |x, k| x + float(PARTS + 8 * (k * HIDDEN + i))))
            .collect()
    }
}

impl Drop for Decode {
    fn drop(&mut self) {
        for ptr in [self.weights, self.state] {
            self.tenant.space().free(ptr).expect("freeing");
        }
    }
}

fn arg<T>(value: &mut T) -> *mut c_void {
    std::ptr::from_mut(value).cast()
}

/// Random bf16 numbers, up to `spread` from zero.
pub fn randomise(kernel: &Function, stream: &Arc<dyn Stream>, to: u64, bytes: u64, spread: f32, seed: u32) {
    let queue = CudaStream::of(&**stream, "stream").expect("a stream of a GPU");
    let (mut to, mut pairs, mut spread, mut seed) = (to, bytes / 4, spread, seed);
    let args = &mut [arg(&mut to), arg(&mut pairs), arg(&mut spread), arg(&mut seed)];
    // SAFETY: the arguments are those of the kernel; the memory is there until the stream has run.
    unsafe { kernel.launch(queue, [1056, 1, 1], [256, 1, 1], 0, args).expect("random numbers") };
    stream.synchronize().expect("random numbers");
}

/// The kernel that writes random numbers.
pub fn randomiser(device: &Arc<dyn Device>) -> Function {
    let cuda = CudaDevice::of(&**device, "device").expect("a GPU");
    Module::load(cuda, IMAGE).and_then(|m| m.function("randomise")).expect("the image")
}

/// Both ways give the same numbers. With small weights: a deep random network grows a difference of rounding.
pub fn check(tenant: &Arc<Tenant>, blocks: u32) {
    let plain = Decode::with_weights(tenant, Kernels::Plain, 0, 0.012).answer(3);
    let whole = Decode::with_weights(tenant, Kernels::Step(blocks), 0, 0.012).answer(3);
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let off = norm(&mut plain.iter().zip(&whole).map(|(a, b)| a - b)) / norm(&mut plain.iter().copied());
    println!("three steps in one launch each against a launch a matrix: relative difference {off:.1e}");
    assert!(off < 1e-4, "the kernels differ");
}
