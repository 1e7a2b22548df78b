//! Convolutions by cuDNN, when it is installed: its simple forward function, which version 9 still has, through an own
//! table of functions that answer plain numbers. Only ways that compute what is written down are taken: neither FFT nor
//! Winograd, whose errors are of another kind, and tensor cores as the rules say.

use super::super::cublaslt::libraries_fit;
use super::CudaTensorOps;
use crate::Result;
use crate::device::Stream;
use crate::device::cuda::{CudaDevice, Parts, Work, measured};
use crate::ops::Math;
use crate::ops::tensor::{Conv2d, Element, Operation, Precision, Rules, TensorOps};
use crate::telemetry::profiler::{self, Kind};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::ffi::c_void;
use std::ptr::null_mut;

// From cudnn_graph.h, cudnn_ops.h and cudnn_cnn.h.
const NCHW: i32 = 0;
const FLOAT: i32 = 0;
const HALF: i32 = 2;
const BFLOAT16: i32 = 9;
const CROSS_CORRELATION: i32 = 1;
const DEFAULT_MATH: i32 = 0;
const TENSOR_OP_MATH: i32 = 1;
const TENSOR_OP_MATH_ALLOW_CONVERSION: i32 = 2;
const FMA_MATH: i32 = 3;
/// Algorithms up to this number are implicit and explicit products and the direct one; beyond are FFT and Winograd.
const LAST_DIRECT: i32 = 3;
/// Algorithms that there are.
const ALGORITHMS: usize = 8;

type Handle = *mut c_void;

/// `cudnnConvolutionFwdAlgoPerf_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Perf {
    algo: i32,
    status: i32,
    time: f32,
    memory: usize,
    determinism: i32,
    math: i32,
    reserved: [i32; 3],
}

type Create = unsafe extern "C" fn(*mut Handle) -> i32;
type Destroy = unsafe extern "C" fn(Handle) -> i32;
type Set4d = unsafe extern "C" fn(Handle, i32, i32, i32, i32, i32, i32) -> i32;
type SetConvolution = unsafe extern "C" fn(Handle, i32, i32, i32, i32, i32, i32, i32, i32) -> i32;
type FindWay = unsafe extern "C" fn(Handle, Handle, Handle, Handle, Handle, i32, *mut i32, *mut Perf) -> i32;
type Forward = unsafe extern "C" fn(
    Handle,
    *const c_void,
    Handle,
    *const c_void,
    Handle,
    *const c_void,
    Handle,
    i32,
    *mut c_void,
    usize,
    *const c_void,
    Handle,
    *mut c_void,
) -> i32;

struct Table {
    create: Create,
    set_stream: unsafe extern "C" fn(Handle, *mut c_void) -> i32,
    tensor_create: Create,
    tensor_set: Set4d,
    tensor_destroy: Destroy,
    filter_create: Create,
    filter_set: Set4d,
    filter_destroy: Destroy,
    convolution_create: Create,
    convolution_set: SetConvolution,
    convolution_math: unsafe extern "C" fn(Handle, i32) -> i32,
    convolution_destroy: Destroy,
    find: FindWay,
    forward: Forward,
    _library: libloading::Library,
}

static TABLE: Lazy<Option<Table>> = Lazy::new(|| {
    ["libcudnn.so.9", "libcudnn.so.8", "libcudnn.so"].into_iter().find_map(|name| {
        // SAFETY: the library's initialisers are NVIDIA's own; loading it has no other effect.
        let library = unsafe { libloading::Library::new(name) }.ok()?;
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the type is that of cudnn.h, enums and sizes as the numbers they are.
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }.ok()?
            };
        }
        Some(Table {
            create: symbol!("cudnnCreate"),
            set_stream: symbol!("cudnnSetStream"),
            tensor_create: symbol!("cudnnCreateTensorDescriptor"),
            tensor_set: symbol!("cudnnSetTensor4dDescriptor"),
            tensor_destroy: symbol!("cudnnDestroyTensorDescriptor"),
            filter_create: symbol!("cudnnCreateFilterDescriptor"),
            filter_set: symbol!("cudnnSetFilter4dDescriptor"),
            filter_destroy: symbol!("cudnnDestroyFilterDescriptor"),
            convolution_create: symbol!("cudnnCreateConvolutionDescriptor"),
            convolution_set: symbol!("cudnnSetConvolution2dDescriptor"),
            convolution_math: symbol!("cudnnSetConvolutionMathType"),
            convolution_destroy: symbol!("cudnnDestroyConvolutionDescriptor"),
            find: symbol!("cudnnGetConvolutionForwardAlgorithm_v7"),
            forward: symbol!("cudnnConvolutionForward"),
            _library: library,
        })
    })
});

/// The library's handle on one context. It serves one call at a time, so it is used under a lock; it is made at the first
/// convolution, since that takes a tenth of a second, and kept while the process lives.
struct Shared {
    handle: Handle,
}

// SAFETY: used under a lock only.
unsafe impl Send for Shared {}

/// By the context's address. A handle that could not be made is null.
static HANDLES: Lazy<Mutex<Vec<(usize, Shared)>>> = Lazy::new(Default::default);

/// Descriptors of one convolution.
struct Descriptors {
    table: &'static Table,
    input: Handle,
    filter: Handle,
    output: Handle,
    convolution: Handle,
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        for (destroy, handle) in [
            (self.table.tensor_destroy, self.input),
            (self.table.filter_destroy, self.filter),
            (self.table.tensor_destroy, self.output),
            (self.table.convolution_destroy, self.convolution),
        ] {
            if !handle.is_null() {
                // SAFETY: made by the matching create, destroyed once.
                unsafe { destroy(handle) };
            }
        }
    }
}

/// The kind of mathematics to ask for, or `None` where our own kernels keep the rules and the library may not.
fn math(element: Element, rules: Rules) -> Option<i32> {
    match (element, rules.math, rules.rounding()) {
        (Element::F32, _, Precision::F32) => Some(FMA_MATH),
        (Element::F32, _, Precision::F16) => Some(TENSOR_OP_MATH_ALLOW_CONVERSION),
        (Element::F32, _, _) => Some(DEFAULT_MATH),
        (Element::F16 | Element::BF16, Math::Exact | Math::Fast, _) => Some(TENSOR_OP_MATH),
        _ => None,
    }
}

impl Descriptors {
    /// `None` when the library refuses one.
    fn new(table: &'static Table, o: &Conv2d, math: i32) -> Option<Descriptors> {
        let null = null_mut();
        let mut d = Descriptors { table, input: null, filter: null, output: null, convolution: null };
        let kind = match o.element {
            Element::F16 => HALF,
            Element::BF16 => BFLOAT16,
            _ => FLOAT,
        };
        let [n, c, k, h, w, r] =
            [o.batch, o.in_channels, o.out_channels, o.height, o.width, o.kernel].map(|v| v as i32);
        let (p, s) = (o.padding as i32, o.stride as i32);
        let (oh, ow) = (o.out_height() as i32, o.out_width() as i32);
        // SAFETY: outputs outlive the calls.
        let codes = unsafe {
            [
                (table.tensor_create)(&mut d.input),
                (table.filter_create)(&mut d.filter),
                (table.tensor_create)(&mut d.output),
                (table.convolution_create)(&mut d.convolution),
            ]
        };
        if codes != [0; 4] {
            return None;
        }
        // SAFETY: the descriptors were made.
        let codes = unsafe {
            [
                (table.tensor_set)(d.input, NCHW, kind, n, c, h, w),
                (table.filter_set)(d.filter, kind, NCHW, k, c, r, r),
                (table.tensor_set)(d.output, NCHW, kind, n, k, oh, ow),
                (table.convolution_set)(d.convolution, p, p, s, s, 1, 1, CROSS_CORRELATION, FLOAT),
                (table.convolution_math)(d.convolution, math),
            ]
        };
        (codes == [0; 5]).then_some(d)
    }

    /// The way that the library thinks fastest of those that keep the rules and fit `held` bytes.
    fn way(&self, handle: Handle, math: i32, held: u64) -> Option<Perf> {
        let mut all = [Perf::default(); ALGORITHMS];
        let mut count = 0;
        // SAFETY: room for as many answers as are asked for.
        let code = unsafe {
            (self.table.find)(
                handle,
                self.input,
                self.filter,
                self.convolution,
                self.output,
                ALGORITHMS as i32,
                &mut count,
                all.as_mut_ptr(),
            )
        };
        if code != 0 {
            return None;
        }
        let fits = |p: &&Perf| {
            p.status == 0
                && (0..=LAST_DIRECT).contains(&p.algo)
                && p.memory as u64 <= held
                && (p.math == math || p.math == FMA_MATH)
        };
        all[..count.clamp(0, ALGORITHMS as i32) as usize].iter().find(fits).copied()
    }
}

impl CudaTensorOps {
    /// The library's functions and what to ask for, where it may do this convolution.
    fn dnn(&self, o: &Conv2d) -> Option<(&'static Table, i32)> {
        let math = math(o.element, self.rules())?;
        let cuda = self.cuda().ok().filter(|cuda| libraries_fit(cuda))?;
        let size = o.element.bytes();
        // Elsewhere the library answers by reading beyond what is aligned.
        let aligned = [o.input, o.filter, o.output].iter().all(|p| p.is_multiple_of(16.max(size)));
        // It counts in 32 bits.
        let all = o.batch.saturating_mul(o.in_channels).saturating_mul(o.height * o.width);
        let outputs = o.batch.saturating_mul(o.out_channels).saturating_mul(o.pixels());
        let small = all.max(outputs) < 1 << 31;
        let _ = cuda;
        (aligned && small).then_some(())?;
        Some((TABLE.as_ref()?, math))
    }

    /// Runs `f` with the handle of this device's context.
    fn with_handle<R>(&self, table: &Table, cuda: &CudaDevice, f: impl FnOnce(Handle) -> R) -> Option<R> {
        let key = std::sync::Arc::as_ptr(cuda.context()) as usize;
        let mut handles = HANDLES.lock();
        if !handles.iter().any(|(k, _)| *k == key) {
            let mut handle = null_mut();
            // SAFETY: `handle` outlives the call; the context is current.
            let code = unsafe { (table.create)(&mut handle) };
            handles.push((key, Shared { handle: if code == 0 { handle } else { null_mut() } }));
        }
        let handle = handles.iter().find(|(k, _)| *k == key).map_or(null_mut(), |(_, s)| s.handle);
        (!handle.is_null()).then(|| f(handle))
    }

    /// Whether cuDNN has a way for this convolution.
    pub(super) fn dnn_does(&self, o: &Conv2d) -> bool {
        let Some((table, math)) = self.dnn(o) else { return false };
        let Ok(cuda) = self.cuda() else { return false };
        let Ok(_current) = cuda.context().enter() else { return false };
        let (_, held) = self.scratch();
        let way = self.with_handle(table, cuda, |handle| {
            Descriptors::new(table, o, math).is_some_and(|d| d.way(handle, math, held).is_some())
        });
        way == Some(true)
    }

    /// Does a convolution by cuDNN; false when it cannot, and nothing was queued.
    pub(super) fn dnn_convolution(&self, o: &Conv2d) -> Result<bool> {
        let Some((table, math)) = self.dnn(o) else { return Ok(false) };
        let cuda = self.cuda()?;
        let _current = cuda.context().enter()?;
        let stream = self.own_stream()?;
        let (workspace, held) = self.scratch();
        let run = |handle: Handle| {
            let Some(d) = Descriptors::new(table, o, math) else { return false };
            let Some(way) = d.way(handle, math, held) else { return false };
            let (alpha, beta) = (1f32, 0f32);
            // SAFETY: descriptors match the memory, which the caller of `queue_checked` answers for; the workspace holds
            // what this way takes; alpha and beta are read during the call.
            unsafe {
                (table.convolution_math)(d.convolution, way.math) == 0
                    && (table.set_stream)(handle, stream.raw()) == 0
                    && (table.forward)(
                        handle,
                        (&raw const alpha).cast(),
                        d.input,
                        o.input as *const c_void,
                        d.filter,
                        o.filter as *const c_void,
                        d.convolution,
                        way.algo,
                        workspace as *mut c_void,
                        way.memory,
                        (&raw const beta).cast(),
                        d.output,
                        o.output as *mut c_void,
                    ) == 0
            }
        };
        let mut done = Some(false);
        if profiler::on() {
            let bytes = Operation::Conv2d(*o).cost().bytes as u64;
            let work = Work::new(Kind::Kernel, "cudnn_convolution", bytes).parts(Parts::Open);
            measured(stream, work, || {
                done = self.with_handle(table, cuda, run);
                Ok(())
            })?;
        } else {
            done = self.with_handle(table, cuda, run);
        }
        // What fails writes part of the output at most, which our own kernels write again.
        Ok(done == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_lie_as_the_library_writes_them() {
        assert_eq!(size_of::<Perf>(), 48);
        assert_eq!(std::mem::offset_of!(Perf, memory), 16);
        assert_eq!(std::mem::offset_of!(Perf, math), 28);
    }

    #[test]
    fn rules_decide_the_mathematics() {
        let rules = |circuits, precision| Rules::new(circuits, precision);
        assert_eq!(math(Element::F32, rules(false, Precision::TF32)), Some(FMA_MATH));
        assert_eq!(math(Element::F32, rules(true, Precision::F32)), Some(FMA_MATH));
        assert_eq!(math(Element::F32, rules(true, Precision::TF32)), Some(DEFAULT_MATH));
        assert_eq!(math(Element::F16, rules(false, Precision::F32)), None);
        assert_eq!(math(Element::BF16, rules(true, Precision::F32)), Some(TENSOR_OP_MATH));
        assert_eq!(math(Element::I8, rules(true, Precision::F32)), None);
    }
}
