//! The neighbour: products of 8192x8192 bf16 matrices without end, by cuBLASLt.

use super::step::{randomise, randomiser};
use cogniware::device::Event;
use cogniware::device::cuda::CudaDevice;
use cogniware::tenant::Tenant;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const N: u64 = 8192;
const BYTES: u64 = N * N * 2;
static WORKSPACE: u64 = 64 << 20;
/// Products that wait on the device at a time.
const AHEAD: u64 = 4;

type Handle = *mut c_void;

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Heuristic {
    algo: [u64; 8],
    workspace: usize,
    state: u32,
    waves: f32,
    reserved: [c_int; 4],
}

type Matmul = unsafe extern "C" fn(
    Handle,
    Handle,
    *const f32,
    u64,
    Handle,
    u64,
    Handle,
    *const f32,
    u64,
    Handle,
    u64,
    Handle,
    *const u64,
    u64,
    usize,
    Handle,
) -> u32;
type GetHeuristic = unsafe extern "C" fn(
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    c_int,
    *mut Heuristic,
    *mut c_int,
) -> u32;

/// cuBLASLt, set up for this one product.
pub struct Library {
    library: libloading::Library,
    handle: Handle,
    desc: Handle,
    layout: Handle,
    algos: Vec<Heuristic>,
}

// SAFETY: the handle and the descriptors may be used from any thread; they are not changed any more.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

fn check(code: u32) {
    assert_eq!(code, 0, "cuBLASLt");
}

impl Library {
    /// None where it is not installed.
    pub fn load() -> Option<Arc<Library>> {
        let folders = ["", "/usr/local/cuda/lib64/", "/usr/local/cuda-13.0/targets/x86_64-linux/lib/"];
        let names = ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"];
        let library =
            folders.iter().flat_map(|f| names.iter().map(move |n| format!("{f}{n}"))).find_map(|path| {
                // SAFETY: NVIDIA's library; loading it has no other effect.
                unsafe { libloading::Library::new(path) }.ok()
            })?;
        let (mut handle, mut desc, mut layout, mut wish): (Handle, Handle, Handle, Handle) =
            (null_mut(), null_mut(), null_mut(), null_mut());
        let mut algos =
            vec![Heuristic { algo: [0; 8], workspace: 0, state: 0, waves: 0.0, reserved: [0; 4] }; 16];
        let mut found = 0;
        // SAFETY: types and constants as in cublasLt.h: sums in f32 (68, 0), the first operand transposed (3, 1), bf16 (14),
        // bytes of workspace (1).
        unsafe {
            let create: Symbol<unsafe extern "C" fn(*mut Handle) -> u32> = get(&library, "cublasLtCreate");
            check(create(&mut handle));
            let create: Symbol<unsafe extern "C" fn(*mut Handle, u32, u32) -> u32> =
                get(&library, "cublasLtMatmulDescCreate");
            check(create(&mut desc, 68, 0));
            type Set = unsafe extern "C" fn(Handle, u32, *const c_void, usize) -> u32;
            let set: Symbol<Set> = get(&library, "cublasLtMatmulDescSetAttribute");
            check(set(desc, 3, (&raw const TRANSPOSED).cast(), 4));
            let create: Symbol<unsafe extern "C" fn(*mut Handle, u32, u64, u64, i64) -> u32> =
                get(&library, "cublasLtMatrixLayoutCreate");
            check(create(&mut layout, 14, N, N, N as i64));
            let create: Symbol<unsafe extern "C" fn(*mut Handle) -> u32> =
                get(&library, "cublasLtMatmulPreferenceCreate");
            check(create(&mut wish));
            let set: Symbol<Set> = get(&library, "cublasLtMatmulPreferenceSetAttribute");
            check(set(wish, 1, (&raw const WORKSPACE).cast(), 8));
            let ask: Symbol<GetHeuristic> = get(&library, "cublasLtMatmulAlgoGetHeuristic");
            let room = algos.len() as c_int;
            check(ask(
                handle,
                desc,
                layout,
                layout,
                layout,
                layout,
                wish,
                room,
                algos.as_mut_ptr(),
                &mut found,
            ));
        }
        algos.truncate(found as usize);
        Some(Arc::new(Library { library, handle, desc, layout, algos }))
    }

    /// How many algorithms it has to offer, by its own order.
    pub fn algorithms(&self) -> usize {
        self.algos.len()
    }

    /// What the algorithm is: the library's numbers of its tile and of its cluster shape.
    pub fn name(&self, algorithm: usize) -> String {
        type Get = unsafe extern "C" fn(*const u64, u32, *mut c_int, usize, *mut usize) -> u32;
        let read = |which: u32, bytes: usize| {
            let (mut value, mut written) = (0, 0);
            // SAFETY: the attribute has this size.
            unsafe {
                let get: Symbol<Get> = get(&self.library, "cublasLtMatmulAlgoConfigGetAttribute");
                get(self.algos[algorithm].algo.as_ptr(), which, &mut value, bytes, &mut written)
            };
            value
        };
        // CUBLASLT_ALGO_CONFIG_TILE_ID, _CLUSTER_SHAPE_ID.
        format!("tile {} cluster {}", read(1, 4), read(8, 2))
    }
}

static TRANSPOSED: u32 = 1;
type Symbol<'a, T> = libloading::Symbol<'a, T>;

/// # Safety
/// `T` must be the function's type.
unsafe fn get<'a, T>(library: &'a libloading::Library, name: &str) -> Symbol<'a, T> {
    // SAFETY: the caller's duty.
    unsafe { library.get(name.as_bytes()) }.expect("a function of cuBLASLt")
}

/// Products in a thread of their own, until dropped.
pub struct Products {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Products {
    pub fn start(library: &Arc<Library>, algorithm: usize, tenant: &Arc<Tenant>, priority: i32) -> Products {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ended, counted) = (stop.clone(), done.clone());
        let (library, tenant) = (library.clone(), tenant.clone());
        let thread = std::thread::spawn(move || {
            let space = tenant.space();
            let memory: Vec<u64> = [BYTES, BYTES, BYTES, WORKSPACE]
                .iter()
                .map(|&bytes| space.alloc(bytes, 4096, "matrix").expect("memory"))
                .collect();
            let stream = tenant.node().expect("a node").stream_create(priority).expect("a stream");
            let random = randomiser(tenant.device());
            randomise(&random, &stream, memory[0], BYTES, 1.0, 7);
            randomise(&random, &stream, memory[1], BYTES, 1.0, 9);
            CudaDevice::of(&**tenant.device(), "device").and_then(CudaDevice::make_current).expect("the GPU");
            // SAFETY: the function's type.
            let multiply: Symbol<Matmul> = unsafe { get(&library.library, "cublasLtMatmul") };
            let (one, zero) = (1.0f32, 0.0f32);
            let (desc, layout) = (library.desc, library.layout);
            let mut events: Vec<Arc<dyn Event>> = Vec::new();
            let mut n = 0;
            while !ended.load(SeqCst) {
                if n >= AHEAD {
                    events[(n % AHEAD) as usize].synchronize().expect("a product");
                    counted.fetch_add(1, SeqCst);
                }
                // SAFETY: three matrices of N x N bf16 and the workspace, all there until the stream has run.
                check(unsafe {
                    multiply(
                        library.handle,
                        desc,
                        &one,
                        memory[0],
                        layout,
                        memory[1],
                        layout,
                        &zero,
                        memory[2],
                        layout,
                        memory[2],
                        layout,
                        library.algos[algorithm].algo.as_ptr(),
                        memory[3],
                        WORKSPACE as usize,
                        stream.raw(),
                    )
                });
                let event = stream.record().expect("an event");
                match events.get_mut((n % AHEAD) as usize) {
                    Some(slot) => *slot = event,
                    None => events.push(event),
                }
                n += 1;
            }
            stream.synchronize().expect("the products");
            for ptr in memory {
                space.free(ptr).expect("freeing");
            }
        });
        let products = Products { stop, done, thread: Some(thread) };
        while products.done() == 0 {
            assert!(!products.thread.as_ref().is_some_and(JoinHandle::is_finished), "the products failed");
            std::thread::sleep(Duration::from_millis(5));
        }
        // The GPU's clocks settle.
        std::thread::sleep(Duration::from_millis(400));
        products
    }

    /// Products ended so far.
    pub fn done(&self) -> u64 {
        self.done.load(SeqCst)
    }

    /// TFLOP/s over the time that `work` takes.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> (T, f64) {
        let (from, begun) = (self.done(), Instant::now());
        let answer = work();
        (answer, tflops(self.done() - from, begun.elapsed()))
    }
}

pub fn tflops(products: u64, time: Duration) -> f64 {
    products as f64 * 2.0 * (N as f64).powi(3) / time.as_secs_f64() / 1e12
}

impl Drop for Products {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the products");
        }
    }
}
