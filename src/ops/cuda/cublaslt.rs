//! cuBLASLt, when it is installed: its functions, a handle with the plans made so far, and how a plan is looked for.
//!
//! Called through an own table of functions that answer plain numbers: a number that no enum knows, or a symbol that
//! is missing, is an ordinary answer here.

use crate::device::DevicePtr;
use crate::device::cuda::CudaDevice;
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ffi::c_void;
use std::hash::Hash;
use std::ptr::null_mut;
use std::sync::Arc;

// From cublasLt.h and library_types.h.
pub(super) const COMPUTE_32F: u32 = 68;
pub(super) const COMPUTE_32F_PEDANTIC: u32 = 69;
pub(super) const COMPUTE_32F_FAST_TF32: u32 = 77;
pub(super) const DESC_TRANSA: u32 = 3;
pub(super) const DESC_TRANSB: u32 = 4;
const OP_T: u32 = 1;
const LAYOUT_BATCH: u32 = 5;
const LAYOUT_STRIDE: u32 = 6;
const PREF_MAX_WORKSPACE: u32 = 1;

/// Plans that are kept; beyond, all are made anew.
const MOST_PLANS: usize = 512;

type Handle = *mut c_void;

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Heuristic {
    algo: [u64; 8],
    workspace: usize,
    state: u32,
    waves: f32,
    reserved: [i32; 4],
}

type Matmul = unsafe extern "C" fn(
    Handle,
    Handle,
    *const c_void,
    *const c_void,
    Handle,
    *const c_void,
    Handle,
    *const c_void,
    *const c_void,
    Handle,
    *mut c_void,
    Handle,
    *const c_void,
    *mut c_void,
    usize,
    *mut c_void,
) -> u32;
type GetHeuristic = unsafe extern "C" fn(
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    Handle,
    i32,
    *mut Heuristic,
    *mut i32,
) -> u32;

/// The functions that are used, of a library that stays loaded.
struct Table {
    create: unsafe extern "C" fn(*mut Handle) -> u32,
    destroy: unsafe extern "C" fn(Handle) -> u32,
    desc_create: unsafe extern "C" fn(*mut Handle, u32, u32) -> u32,
    desc_set: unsafe extern "C" fn(Handle, u32, *const c_void, usize) -> u32,
    desc_destroy: unsafe extern "C" fn(Handle) -> u32,
    layout_create: unsafe extern "C" fn(*mut Handle, u32, u64, u64, i64) -> u32,
    layout_set: unsafe extern "C" fn(Handle, u32, *const c_void, usize) -> u32,
    layout_destroy: unsafe extern "C" fn(Handle) -> u32,
    pref_create: unsafe extern "C" fn(*mut Handle) -> u32,
    pref_set: unsafe extern "C" fn(Handle, u32, *const c_void, usize) -> u32,
    pref_destroy: unsafe extern "C" fn(Handle) -> u32,
    heuristic: GetHeuristic,
    matmul: Matmul,
    _library: libloading::Library,
}

static TABLE: Lazy<Option<Table>> = Lazy::new(|| {
    ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"].into_iter().find_map(|name| {
        // SAFETY: the library's initialisers are NVIDIA's own; loading it has no other effect.
        let library = unsafe { libloading::Library::new(name) }.ok()?;
        macro_rules! symbol {
            ($name:literal) => {
                // SAFETY: the type is that of cublasLt.h, enums and sizes as the numbers they are.
                *unsafe { library.get(concat!($name, "\0").as_bytes()) }.ok()?
            };
        }
        Some(Table {
            create: symbol!("cublasLtCreate"),
            destroy: symbol!("cublasLtDestroy"),
            desc_create: symbol!("cublasLtMatmulDescCreate"),
            desc_set: symbol!("cublasLtMatmulDescSetAttribute"),
            desc_destroy: symbol!("cublasLtMatmulDescDestroy"),
            layout_create: symbol!("cublasLtMatrixLayoutCreate"),
            layout_set: symbol!("cublasLtMatrixLayoutSetAttribute"),
            layout_destroy: symbol!("cublasLtMatrixLayoutDestroy"),
            pref_create: symbol!("cublasLtMatmulPreferenceCreate"),
            pref_set: symbol!("cublasLtMatmulPreferenceSetAttribute"),
            pref_destroy: symbol!("cublasLtMatmulPreferenceDestroy"),
            heuristic: symbol!("cublasLtMatmulAlgoGetHeuristic"),
            matmul: symbol!("cublasLtMatmul"),
            _library: library,
        })
    })
});

pub(super) fn check(call: &str, code: u32) -> Result<()> {
    match code {
        0 => Ok(()),
        code => Err(Error::new(Status::Driver, format!("{call} answered {code}")).with_driver_code(code)),
    }
}

/// Whether libraries of NVIDIA's speak to the driver that this device does: they call its own library, whose contexts and
/// streams another one's are not.
pub(super) fn libraries_fit(device: &CudaDevice) -> bool {
    let file = device.context().driver.path().file_name().unwrap_or_default();
    file.to_string_lossy().starts_with("libcuda.so")
}

/// A matrix as the library sees it: columns of what lies together.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// The number of its type in library_types.h.
    pub element: u32,
    pub rows: u64,
    pub cols: u64,
    /// Elements from one column to the next.
    pub ld: u64,
    /// Elements from one matrix of a batch to the next.
    pub stride: u64,
}

/// What a plan is looked for.
pub(super) struct Wanted {
    pub compute: u32,
    /// The type of alpha and beta.
    pub scale: u32,
    /// Which of [`DESC_TRANSA`] and [`DESC_TRANSB`] are set.
    pub transposed: &'static [u32],
    /// A, B, and C which is D.
    pub layouts: [Layout; 3],
    pub batch: u64,
    /// Scratch that it may use.
    pub workspace: u64,
    /// More attributes of the preference.
    pub preferences: Vec<(u32, u32)>,
}

/// Descriptors of one product and the algorithm for it.
pub(super) struct Plan {
    table: &'static Table,
    desc: Handle,
    /// A, B, and C which is D.
    layouts: [Handle; 3],
    algo: [u64; 8],
    workspace: usize,
}

// SAFETY: descriptors are only read after they were made.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

impl Drop for Plan {
    fn drop(&mut self) {
        let layouts = self.layouts.map(|layout| (self.table.layout_destroy, layout));
        for (destroy, handle) in layouts.into_iter().chain([(self.table.desc_destroy, self.desc)]) {
            if !handle.is_null() {
                // SAFETY: made by the matching create, destroyed once.
                unsafe { destroy(handle) };
            }
        }
    }
}

/// A handle of the library and the plans made so far, by what they were made for.
pub(super) struct CublasLt<K> {
    table: &'static Table,
    handle: Handle,
    plans: Mutex<HashMap<K, Option<Arc<Plan>>>>,
}

// SAFETY: a cuBLASLt handle may be used from several threads at once.
unsafe impl<K: Send> Send for CublasLt<K> {}
// SAFETY: as above.
unsafe impl<K: Send> Sync for CublasLt<K> {}

impl<K> Drop for CublasLt<K> {
    fn drop(&mut self) {
        self.plans.get_mut().clear();
        // SAFETY: made once, its plans are gone.
        unsafe { (self.table.destroy)(self.handle) };
    }
}

impl<K: Copy + Eq + Hash> CublasLt<K> {
    /// The library, if it is installed and works with this driver.
    pub(super) fn find(device: &CudaDevice) -> Result<Option<CublasLt<K>>> {
        if !libraries_fit(device) {
            return Ok(None);
        }
        let Some(table) = TABLE.as_ref() else { return Ok(None) };
        let _current = device.context().enter()?;
        let mut handle = null_mut();
        // SAFETY: `handle` outlives the call.
        let code = unsafe { (table.create)(&mut handle) };
        Ok((code == 0).then(|| CublasLt { table, handle, plans: Default::default() }))
    }

    /// The plan for `key`, looked for as `wanted` says when it was not before; `None` when the library has no algorithm.
    pub(super) fn plan(&self, key: K, wanted: impl FnOnce() -> Wanted) -> Result<Option<Arc<Plan>>> {
        let mut plans = self.plans.lock();
        if let Some(plan) = plans.get(&key) {
            return Ok(plan.clone());
        }
        let plan = self.make(&wanted())?.map(Arc::new);
        if plans.len() >= MOST_PLANS {
            plans.clear();
        }
        plans.insert(key, plan.clone());
        Ok(plan)
    }

    fn make(&self, wanted: &Wanted) -> Result<Option<Plan>> {
        let t = self.table;
        let mut p = Plan { table: t, desc: null_mut(), layouts: [null_mut(); 3], algo: [0; 8], workspace: 0 };
        // SAFETY: outputs outlive the calls; sizes are those of the values.
        unsafe {
            check("cublasLtMatmulDescCreate", (t.desc_create)(&mut p.desc, wanted.compute, wanted.scale))?;
            let turned = OP_T;
            for &attribute in wanted.transposed {
                let code = (t.desc_set)(p.desc, attribute, (&raw const turned).cast(), 4);
                check("cublasLtMatmulDescSetAttribute", code)?;
            }
            for (to, layout) in p.layouts.iter_mut().zip(&wanted.layouts) {
                let code = (t.layout_create)(to, layout.element, layout.rows, layout.cols, layout.ld as i64);
                check("cublasLtMatrixLayoutCreate", code)?;
                if wanted.batch > 1 {
                    let (count, stride) = (wanted.batch as i32, layout.stride as i64);
                    let code = (t.layout_set)(*to, LAYOUT_BATCH, (&raw const count).cast(), 4);
                    check("cublasLtMatrixLayoutSetAttribute", code)?;
                    let code = (t.layout_set)(*to, LAYOUT_STRIDE, (&raw const stride).cast(), 8);
                    check("cublasLtMatrixLayoutSetAttribute", code)?;
                }
            }
            let mut pref = null_mut();
            check("cublasLtMatmulPreferenceCreate", (t.pref_create)(&mut pref))?;
            let most = wanted.workspace as usize;
            let mut set = (t.pref_set)(pref, PREF_MAX_WORKSPACE, (&raw const most).cast(), 8);
            for (attribute, value) in &wanted.preferences {
                let code = (t.pref_set)(pref, *attribute, std::ptr::from_ref(value).cast(), 4);
                set = if set == 0 { code } else { set };
            }
            let mut found = Heuristic { algo: [0; 8], workspace: 0, state: 1, waves: 0.0, reserved: [0; 4] };
            let mut count = 0;
            let [a, b, c] = p.layouts;
            let code = (t.heuristic)(self.handle, p.desc, a, b, c, c, pref, 1, &mut found, &mut count);
            (t.pref_destroy)(pref);
            if set != 0 || code != 0 || count < 1 || found.state != 0 || found.workspace > most {
                return Ok(None);
            }
            p.algo = found.algo;
            p.workspace = found.workspace;
        }
        Ok(Some(p))
    }

    /// Puts `C = alpha A B + beta C` on a stream of the driver's. What the library answers; 0 is success, anything else comes
    /// before something was queued.
    ///
    /// # Safety
    /// The memory is as the plan's layouts say, `workspace` has what the plan was allowed, alpha and beta have the plan's
    /// scale type; the context is current and the stream is its own.
    #[allow(clippy::too_many_arguments)]
    pub(super) unsafe fn multiply(
        &self,
        plan: &Plan,
        (alpha, beta): (*const c_void, *const c_void),
        (a, b, c): (DevicePtr, DevicePtr, DevicePtr),
        workspace: DevicePtr,
        stream: *mut c_void,
    ) -> u32 {
        let [la, lb, lc] = plan.layouts;
        // SAFETY: the caller's duty; descriptors and algorithm were made together.
        unsafe {
            (self.table.matmul)(
                self.handle,
                plan.desc,
                alpha,
                a as *const c_void,
                la,
                b as *const c_void,
                lb,
                beta,
                c as *const c_void,
                lc,
                c as *mut c_void,
                lc,
                plan.algo.as_ptr().cast(),
                workspace as *mut c_void,
                plan.workspace,
                stream,
            )
        }
    }
}
