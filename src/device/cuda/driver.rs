//! The table of driver functions, looked up at run time in `libcuda.so.1`.
//!
//! Every entry is optional. A call through the table answers an error value when the library is not there, when it is
//! too old to have the function, and for every code a driver may answer, known or not. Nothing here panics.

use super::codes;
use super::types::*;
use crate::{Error, Result, Status};
use libloading::Library;
use parking_lot::Mutex;
use std::ffi::{OsString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Once, Weak};

/// How often this process is a fork of the one that loaded the library.
static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

macro_rules! driver_table {
    ($($name:ident, $since:literal, ($($arg:ident: $ty:ty),*);)*) => {
        /// The functions; an entry is `None` when the library has no such symbol.
        #[allow(non_snake_case)]
        struct Table {
            $($name: Option<unsafe extern "C" fn($($ty),*) -> u32>,)*
        }

        impl Table {
            fn look_up(library: &Library) -> Table {
                // SAFETY: the symbols of a CUDA driver library have these signatures; only their addresses are taken.
                unsafe {
                    Table { $($name: library.get(concat!(stringify!($name), "\0").as_bytes()).ok().map(|s| *s),)* }
                }
            }
        }

        #[allow(non_snake_case, clippy::too_many_arguments, clippy::missing_safety_doc)]
        impl CudaDriver {
            $(
                /// The driver function of this name; see the CUDA driver API reference for its arguments.
                ///
                /// # Safety
                /// Pointers and handles must be valid for what the function does with them.
                pub(crate) unsafe fn $name(&self, $($arg: $ty),*) -> Result<()> {
                    // SAFETY: the caller's duty.
                    match unsafe { self.code_of(stringify!($name), self.table.$name.is_some(), $since, || {
                        self.table.$name.map_or(500, |f| f($($arg),*))
                    })? } {
                        0 => Ok(()),
                        code => {
                            let arguments: Vec<String> =
                                vec![$(format!(concat!(stringify!($arg), "={:?}"), $arg)),*];
                            Err(self.refused(stringify!($name), &arguments, code))
                        }
                    }
                }
            )*

            /// The names of the symbols that the library lacks.
            pub fn missing(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.table.$name.is_none() { names.push(stringify!($name)); })*
                names
            }

            /// `None` when the library has the function, else the CUDA version that brings it.
            pub(crate) fn lacks(&self, name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => self.table.$name.is_none().then_some($since),)*
                    _ => Some("no known driver"),
                }
            }
        }
    };
}

driver_table! {
    cuInit, "2.0", (flags: u32);
    cuDriverGetVersion, "2.2", (version: *mut i32);
    cuDeviceGetCount, "2.0", (count: *mut i32);
    cuDeviceGet, "2.0", (device: *mut i32, ordinal: i32);
    cuDeviceGetName, "2.0", (name: *mut c_char, length: i32, device: i32);
    cuDeviceTotalMem_v2, "3.2", (bytes: *mut usize, device: i32);
    cuDeviceGetAttribute, "2.0", (value: *mut i32, attribute: i32, device: i32);
    cuDeviceGetPCIBusId, "4.1", (text: *mut c_char, length: i32, device: i32);
    cuDeviceGetByPCIBusId, "4.1", (device: *mut i32, text: *const c_char);
    cuDevicePrimaryCtxRetain, "7.0", (context: *mut Context, device: i32);
    cuDevicePrimaryCtxRelease_v2, "11.0", (device: i32);
    cuDevicePrimaryCtxReset_v2, "11.0", (device: i32);
    cuCtxSetCurrent, "4.0", (context: Context);
    cuCtxGetCurrent, "4.0", (context: *mut Context);
    cuCtxSynchronize, "2.0", ();
    cuCtxGetStreamPriorityRange, "5.5", (least: *mut i32, greatest: *mut i32);
    cuCtxGetLimit, "3.1", (value: *mut usize, limit: u32);
    cuCtxSetLimit, "3.1", (limit: u32, value: usize);
    cuMemGetInfo_v2, "3.2", (free: *mut usize, total: *mut usize);
    cuMemGetAllocationGranularity, "10.2", (bytes: *mut usize, properties: *const MemProp, option: u32);
    cuMemCreate, "10.2", (handle: *mut u64, bytes: usize, properties: *const MemProp, flags: u64);
    cuMemRelease, "10.2", (handle: u64);
    cuMemAddressReserve, "10.2", (address: *mut u64, bytes: usize, alignment: usize, hint: u64, flags: u64);
    cuMemAddressFree, "10.2", (address: u64, bytes: usize);
    cuMemMap, "10.2", (address: u64, bytes: usize, offset: usize, handle: u64, flags: u64);
    cuMemUnmap, "10.2", (address: u64, bytes: usize);
    cuMemSetAccess, "10.2", (address: u64, bytes: usize, access: *const MemAccess, count: usize);
    cuMemExportToShareableHandle, "10.2", (out: *mut c_void, handle: u64, kind: u32, flags: u64);
    cuMemImportFromShareableHandle, "10.2", (handle: *mut u64, os_handle: *mut c_void, kind: u32);
    cuMemAlloc_v2, "3.2", (address: *mut u64, bytes: usize);
    cuMemFree_v2, "3.2", (address: u64);
    cuMemAllocAsync, "11.2", (address: *mut u64, bytes: usize, stream: Stream);
    cuMemFreeAsync, "11.2", (address: u64, stream: Stream);
    cuDeviceCanAccessPeer, "4.0", (can: *mut i32, device: i32, peer: i32);
    cuCtxEnablePeerAccess, "4.0", (peer: Context, flags: u32);
    cuCtxDisablePeerAccess, "4.0", (peer: Context);
    cuMemcpyAsync, "4.0", (dst: u64, src: u64, bytes: usize, stream: Stream);
    cuMemsetD8Async, "3.2", (dst: u64, value: u8, bytes: usize, stream: Stream);
    cuMemHostAlloc, "2.2", (host: *mut *mut c_void, bytes: usize, flags: u32);
    cuMemFreeHost, "2.0", (host: *mut c_void);
    cuMemHostRegister_v2, "6.5", (host: *mut c_void, bytes: usize, flags: u32);
    cuMemHostUnregister, "4.0", (host: *mut c_void);
    cuMemHostGetDevicePointer_v2, "3.2", (device: *mut u64, host: *mut c_void, flags: u32);
    cuTexObjectCreate, "5.0", (texture: *mut u64, resource: *const ResourceView, settings: *const TextureSettings,
        view: *const c_void);
    cuTexObjectDestroy, "5.0", (texture: u64);
    cuPointerGetAttribute, "4.0", (out: *mut c_void, attribute: i32, address: u64);
    cuStreamCreateWithPriority, "5.5", (stream: *mut Stream, flags: u32, priority: i32);
    cuStreamDestroy_v2, "4.0", (stream: Stream);
    cuStreamSynchronize, "2.0", (stream: Stream);
    cuStreamQuery, "2.0", (stream: Stream);
    cuStreamWaitEvent, "3.2", (stream: Stream, event: Event, flags: u32);
    cuStreamIsCapturing, "10.0", (stream: Stream, status: *mut u32);
    cuLaunchHostFunc, "10.0", (stream: Stream, function: HostCallback, data: *mut c_void);
    cuEventCreate, "2.0", (event: *mut Event, flags: u32);
    cuEventRecord, "2.0", (event: Event, stream: Stream);
    cuEventQuery, "2.0", (event: Event);
    cuEventSynchronize, "2.0", (event: Event);
    cuEventElapsedTime, "2.0", (milliseconds: *mut f32, start: Event, end: Event);
    cuEventDestroy_v2, "4.0", (event: Event);
    cuModuleLoadData, "2.1", (module: *mut Module, image: *const c_void);
    cuModuleLoadDataEx, "2.1", (module: *mut Module, image: *const c_void, count: u32, options: *mut u32,
        values: *mut *mut c_void);
    cuModuleUnload, "2.0", (module: Module);
    cuModuleGetFunction, "2.0", (function: *mut Function, module: Module, name: *const c_char);
    cuModuleGetGlobal_v2, "3.2", (address: *mut u64, bytes: *mut usize, module: Module, name: *const c_char);
    cuModuleGetFunctionCount, "12.4", (count: *mut u32, module: Module);
    cuModuleEnumerateFunctions, "12.4", (functions: *mut Function, count: u32, module: Module);
    cuFuncGetName, "12.3", (name: *mut *const c_char, function: Function);
    cuFuncGetParamInfo, "12.4", (function: Function, index: usize, offset: *mut usize, bytes: *mut usize);
    cuFuncGetAttribute, "2.2", (value: *mut i32, attribute: i32, function: Function);
    cuFuncSetAttribute, "9.0", (function: Function, attribute: i32, value: i32);
    cuOccupancyMaxActiveBlocksPerMultiprocessor, "6.5",
        (blocks: *mut i32, function: Function, block_threads: i32, dynamic_shared: usize);
    cuLaunchKernel, "4.0", (function: Function, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32,
        block_z: u32, shared: u32, stream: Stream, arguments: *mut *mut c_void, extra: *mut *mut c_void);
    cuLaunchCooperativeKernel, "9.0", (function: Function, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32,
        block_y: u32, block_z: u32, shared: u32, stream: Stream, arguments: *mut *mut c_void);
    cuCtxResetPersistingL2Cache, "11.0", ();
    cuStreamSetAttribute, "11.0", (stream: Stream, attribute: u32, value: *const AttributeValue);
    cuStreamGetAttribute, "11.0", (stream: Stream, attribute: u32, value: *mut AttributeValue);
    cuLaunchKernelEx, "11.8", (config: *const LaunchConfig, function: Function, arguments: *mut *mut c_void,
        extra: *mut *mut c_void);
    cuGraphKernelNodeGetAttribute, "11.0", (node: Handle, attribute: u32, value: *mut AttributeValue);
    cuStreamBeginCapture_v2, "10.1", (stream: Stream, mode: u32);
    cuStreamEndCapture, "10.0", (stream: Stream, graph: *mut Graph);
    cuGraphInstantiateWithFlags, "11.4", (exec: *mut GraphExec, graph: Graph, flags: u64);
    cuGraphGetNodes, "10.0", (graph: Graph, nodes: *mut Handle, count: *mut usize);
    cuGraphUpload, "11.1", (exec: GraphExec, stream: Stream);
    cuGraphLaunch, "10.0", (exec: GraphExec, stream: Stream);
    cuGraphExecUpdate_v2, "12.0", (exec: GraphExec, graph: Graph, result: *mut GraphUpdate);
    cuGraphExecDestroy, "10.0", (exec: GraphExec);
    cuGraphDestroy, "10.0", (graph: Graph);
    cuDeviceGetDevResource, "12.4", (device: i32, resource: *mut DevResource, kind: u32);
    cuDevSmResourceSplitByCount, "12.4", (groups: *mut DevResource, count: *mut u32, input: *const DevResource,
        remaining: *mut DevResource, flags: u32, minimum: u32);
    cuDevResourceGenerateDesc, "12.4", (desc: *mut ResourceDesc, resources: *mut DevResource, count: u32);
    cuGreenCtxCreate, "12.4", (green: *mut GreenCtx, desc: ResourceDesc, device: i32, flags: u32);
    cuGreenCtxDestroy, "12.4", (green: GreenCtx);
    cuGreenCtxRecordEvent, "12.4", (green: GreenCtx, event: Event);
    cuGreenCtxStreamCreate, "12.5", (stream: *mut Stream, green: GreenCtx, flags: u32, priority: i32);
}

/// An NVIDIA driver library, loaded and initialised. Usable from any thread.
pub struct CudaDriver {
    table: Table,
    version: u32,
    forks: u32,
    path: PathBuf,
    /// A call answered that the device is lost or that the driver shuts down.
    gone: AtomicBool,
    /// Contexts that a call said are lost, by their handles.
    lost: Mutex<Vec<usize>>,
    release_failures: AtomicU64,
    first_release_failure: Mutex<Option<Error>>,
    // Kept loaded for as long as a function of it may be called.
    _library: Library,
}

impl CudaDriver {
    /// The driver of this process: the library that `COGNIWARE_LIBCUDA` names, else `libcuda.so.1`, else
    /// `libcuda.so`. Loaded once and shared for as long as somebody holds it.
    pub fn shared() -> Result<Arc<CudaDriver>> {
        static SHARED: Mutex<Weak<CudaDriver>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock();
        if let Some(driver) = shared.upgrade() {
            return Ok(driver);
        }
        let chosen: Option<OsString> = std::env::var_os("COGNIWARE_LIBCUDA").filter(|s| !s.is_empty());
        let driver = match chosen {
            Some(path) => CudaDriver::open(Path::new(&path)).map_err(|e| e.within("COGNIWARE_LIBCUDA"))?,
            None => match CudaDriver::open(Path::new("libcuda.so.1")) {
                Err(e) if e.status() == Status::NoDevice && e.driver_code().is_none() => {
                    CudaDriver::open(Path::new("libcuda.so")).map_err(|_| e)?
                }
                other => other?,
            },
        };
        *shared = Arc::downgrade(&driver);
        Ok(driver)
    }

    /// Loads and initialises the driver library at `path` (or of this name, found as `dlopen` finds it).
    ///
    /// Errors: `NoDevice` when there is no such library, when it is not a driver or a toolkit's stub, or when no GPU
    /// is there; `Unsupported` when it is too old; else what `cuInit` answered.
    pub fn open(path: &Path) -> Result<Arc<CudaDriver>> {
        static AT_FORK: Once = Once::new();
        AT_FORK.call_once(|| {
            // SAFETY: the handler only counts.
            unsafe { libc::pthread_atfork(None, None, Some(count_fork)) };
        });
        // SAFETY: loading a driver library runs its initialisers, which is what a caller of this function asks for.
        let library = unsafe { Library::new(path) }.map_err(|e| {
            let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), |cause| cause.to_string());
            Error::new(Status::NoDevice, format!("cannot load the NVIDIA driver library {}: {cause}", path.display()))
                .with_call(format!("dlopen({})", path.display()))
                .advise(
                    "install the NVIDIA driver, name its library in COGNIWARE_LIBCUDA, or use COGNIWARE_DEVICE=cpu",
                )
        })?;
        let mut driver = CudaDriver {
            table: Table::look_up(&library),
            version: 0,
            forks: FORKS.load(Ordering::Relaxed),
            path: path.to_owned(),
            gone: AtomicBool::new(false),
            lost: Mutex::default(),
            release_failures: AtomicU64::new(0),
            first_release_failure: Mutex::new(None),
            _library: library,
        };
        if driver.table.cuInit.is_none() {
            return Err(Error::new(
                Status::NoDevice,
                format!("{} is not an NVIDIA driver library: it has no cuInit", path.display()),
            )
            .advise("name the driver's libcuda.so.1 in COGNIWARE_LIBCUDA, or use COGNIWARE_DEVICE=cpu"));
        }
        let mut version = 0;
        // SAFETY: cuInit takes flags only; `version` outlives the second call.
        unsafe {
            driver.cuInit(0).map_err(|e| e.within(path.display()))?;
            driver.cuDriverGetVersion(&mut version)?;
        }
        driver.version = version.max(0) as u32;
        Ok(Arc::new(driver))
    }

    /// The CUDA version of the driver: 13000 for 13.0.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The library's path or name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many GPUs the driver shows to this process.
    pub fn device_count(&self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: `count` outlives the call.
        unsafe { self.cuDeviceGetCount(&mut count)? };
        Ok(count.max(0) as u32)
    }

    /// How many releases (destroy, free, unmap in a destructor) the driver refused, and the first refusal. Always 0
    /// unless there is a bug. Refusals after the device was lost are not counted: that was reported where it showed.
    pub fn release_failures(&self) -> (u64, Option<Error>) {
        (self.release_failures.load(Ordering::Relaxed), self.first_release_failure.lock().clone())
    }

    /// For destructors: nothing can be returned there. A driver that is shutting down with the process has freed the
    /// object already, so has one that lost its device, and a forked child owns none.
    pub(crate) fn released(&self, result: Result<()>) {
        if let Err(e) = result
            && !self.gone.load(Ordering::Relaxed)
            && !self.forked()
        {
            self.release_failures.fetch_add(1, Ordering::Relaxed);
            self.first_release_failure.lock().get_or_insert(e);
        }
    }

    #[cold]
    fn refused(&self, name: &str, arguments: &[String], code: u32) -> Error {
        let e = codes::error(format!("{name}({})", arguments.join(", ")), code);
        if code == codes::DEINITIALIZED || e.status() == Status::DeviceLost {
            self.gone.store(true, Ordering::Relaxed);
        }
        if e.status() == Status::DeviceLost {
            self.note_lost(&e);
        }
        e
    }

    /// Notes that the context that is current on this thread is lost.
    fn note_lost(&self, e: &Error) {
        let mut current = Handle::NULL;
        // SAFETY: `current` outlives the call, which only reads what is current.
        let asked = self.table.cuCtxGetCurrent.map_or(1, |f| unsafe { f(&mut current) });
        let mut lost = self.lost.lock();
        let handle = current.0 as usize;
        if asked == 0 && handle != 0 && !lost.contains(&handle) {
            lost.push(handle);
            crate::log_later!(Error, "device", "a CUDA context was lost: {e}");
        }
    }

    /// Whether a call said that this context is lost.
    pub(crate) fn is_lost(&self, context: Context) -> bool {
        self.gone.load(Ordering::Relaxed) && self.lost.lock().contains(&(context.0 as usize))
    }

    /// The context was thrown away: its handle may come again for a new one.
    pub(crate) fn thrown_away(&self, context: Context) {
        let mut lost = self.lost.lock();
        lost.retain(|&handle| handle != context.0 as usize);
        if lost.is_empty() {
            self.gone.store(false, Ordering::Relaxed);
        }
    }

    fn forked(&self) -> bool {
        self.forks != FORKS.load(Ordering::Relaxed)
    }

    /// Runs `call`, unless the function is missing or this process is a fork of the one that opened the driver.
    ///
    /// # Safety
    /// `call` must be safe to run.
    #[inline]
    unsafe fn code_of(
        &self,
        name: &str,
        present: bool,
        since: &str,
        call: impl FnOnce() -> u32,
    ) -> Result<u32> {
        if !present {
            return Err(self.no_symbol(name, since));
        }
        if self.forked() {
            return Err(forked(name));
        }
        Ok(call())
    }

    #[cold]
    fn no_symbol(&self, name: &str, since: &str) -> Error {
        let have = match self.version {
            0 => String::new(),
            v => format!(" (CUDA {}.{})", v / 1000, v % 1000 / 10),
        };
        Error::unsupported(format!("the NVIDIA driver {}{have} has no {name}", self.path.display()))
            .advise(format!("{name} came with CUDA {since}: install a driver for CUDA {since} or newer"))
    }
}

#[cold]
fn forked(name: &str) -> Error {
    Error::new(
        Status::NotInitialized,
        format!("{name}: this process was forked from one that had opened the CUDA device; a forked child cannot use it"),
    )
    .advise("open the device after fork, or start the child with exec")
}

/// Turns the answer of a query into done or not done.
pub(crate) fn done(result: Result<()>) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e) if e.driver_code() == Some(codes::NOT_READY) => Ok(false),
        Err(e) => Err(e),
    }
}
