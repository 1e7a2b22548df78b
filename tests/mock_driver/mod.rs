//! Builds and steers the mock driver of `mock_cuda.c`. Each [`Mock`] is a library of its own with its own state, so
//! that many run in one process. What passes on it says that host logic is right, never that GPU code is.
#![allow(dead_code)]

use cogniware::Status;
use cogniware::device::Device;
use cogniware::device::cuda::{CudaDevice, CudaDriver};
use libloading::{Library, Symbol};
use std::ffi::{CString, c_char, c_int, c_long, c_ulonglong};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// A kernel image that the mock and a real driver both take: `mock_fill(address, value, count)` stores `value` in
/// `count` words; `mock_smid(address)` stores the number of its SM at `address[block]`, after about 20 microseconds.
pub const IMAGE: &[u8] = b"
.version 6.3
.target sm_75
.address_size 64
.visible .entry mock_fill(.param .u64 p, .param .u32 v, .param .u32 n)
{
    .reg .pred %q; .reg .u32 %i, %n, %v, %t, %b, %d, %g; .reg .u64 %p, %o;
    ld.param.u64 %p, [p]; ld.param.u32 %v, [v]; ld.param.u32 %n, [n];
    mov.u32 %t, %tid.x; mov.u32 %b, %ctaid.x; mov.u32 %d, %ntid.x; mov.u32 %g, %nctaid.x;
    mad.lo.u32 %i, %b, %d, %t;
    mul.lo.u32 %d, %d, %g;
again:
    setp.ge.u32 %q, %i, %n;
    @%q bra done;
    mul.wide.u32 %o, %i, 4;
    add.u64 %o, %o, %p;
    st.global.u32 [%o], %v;
    add.u32 %i, %i, %d;
    bra again;
done:
    ret;
}
.visible .entry mock_smid(.param .u64 p)
{
    .reg .pred %q; .reg .u32 %s, %b; .reg .u64 %p, %o, %t0, %t1, %dt;
    ld.param.u64 %p, [p];
    mov.u32 %b, %ctaid.x; mov.u32 %s, %smid;
    mov.u64 %t0, %globaltimer;
again:
    mov.u64 %t1, %globaltimer;
    sub.u64 %dt, %t1, %t0;
    setp.lt.u64 %q, %dt, 20000;
    @%q bra again;
    mul.wide.u32 %o, %b, 4;
    add.u64 %o, %o, %p;
    st.global.u32 [%o], %s;
    ret;
}
\0";

fn gcc(args: &[&str]) {
    let out = Command::new("gcc").args(args).output().expect("gcc runs");
    assert!(out.status.success(), "gcc {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn unique(ending: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    scratch().join(format!("mock-{}-{n}{ending}", std::process::id()))
}

/// Cargo's folder for tests, or the system's where the test was carried to another machine.
fn scratch() -> PathBuf {
    let own = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if own.is_dir() { own.to_owned() } else { std::env::temp_dir() }
}

/// The compiled object, kept for the next run until the source changes.
fn object() -> &'static Path {
    static OBJECT: OnceLock<PathBuf> = OnceLock::new();
    OBJECT.get_or_init(|| {
        let root = std::env::var("COGNIWARE_SOURCE").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").into());
        let source = format!("{root}/tests/mock_driver/mock_cuda.c");
        let mut hasher = DefaultHasher::new();
        std::fs::read(&source).unwrap().hash(&mut hasher);
        let kept = scratch().join(format!("mock-{:016x}.o", hasher.finish()));
        if !kept.exists() {
            let path = unique(".o");
            let flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fPIC", "-c", "-o"];
            let mut args = flags.to_vec();
            args.extend([path.to_str().unwrap(), &source]);
            gcc(&args);
            // Renamed in one step: another test process may be doing the same.
            std::fs::rename(path, &kept).unwrap();
        }
        kept
    })
}

/// Builds a library without the functions in `hide`, as an older driver would be. The file belongs to the caller.
pub fn build(hide: &[&str]) -> PathBuf {
    let path = unique(".so");
    let script = unique(".map");
    let local: String = hide.iter().map(|name| format!("{name}; ")).collect();
    let local = if local.is_empty() { "nothing_hidden;".into() } else { local };
    std::fs::write(&script, format!("{{ local: {local} }};\n")).unwrap();
    let version = format!("-Wl,--version-script={}", script.display());
    gcc(&[
        "-shared",
        "-o",
        path.to_str().unwrap(),
        object().to_str().unwrap(),
        &version,
        "-Wl,-z,nodelete",
        "-lm",
        "-lpthread",
    ]);
    std::fs::remove_file(script).unwrap();
    path
}

/// One mock driver library.
pub struct Mock {
    path: PathBuf,
    library: Library,
}

impl Mock {
    /// A mock with one GPU of 1 GiB.
    pub fn new() -> Mock {
        Mock::without(&[])
    }

    /// A mock whose library lacks these functions.
    pub fn without(hide: &[&str]) -> Mock {
        let path = build(hide);
        // SAFETY: the mock's initialiser only makes a mutex.
        let library = unsafe { Library::new(&path) }.unwrap();
        Mock { path, library }
    }

    fn function<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: the callers below name the types that the C file has.
        unsafe { self.library.get(name.as_bytes()) }.unwrap()
    }

    /// GPUs and bytes of memory of each, before the driver is opened.
    pub fn configure(&self, devices: u32, bytes: u64) {
        let f: Symbol<unsafe extern "C" fn(c_int, c_ulonglong)> = self.function("mock_configure");
        // SAFETY: plain numbers.
        unsafe { f(devices as c_int, bytes) };
    }

    /// How many groups of 8 SMs the GPU divides into: 15 (12 SMs left, the default) or 16 (4 left).
    pub fn groups(&self, n: u32) {
        let f: Symbol<unsafe extern "C" fn(c_int)> = self.function("mock_groups");
        // SAFETY: a plain number.
        unsafe { f(n as c_int) };
    }

    /// Sets faults, such as `cuMemCreate:3:2,cuLaunchKernel:-1:700`, and starts counting calls anew.
    pub fn fail(&self, faults: &str) {
        let f: Symbol<unsafe extern "C" fn(*const c_char)> = self.function("mock_fail");
        let faults = CString::new(faults).unwrap();
        // SAFETY: a C string.
        unsafe { f(faults.as_ptr()) };
    }

    /// Living objects of a kind, or of `all`.
    pub fn live(&self, kind: &str) -> i64 {
        let f: Symbol<unsafe extern "C" fn(*const c_char) -> c_long> = self.function("mock_live");
        let kind = CString::new(kind).unwrap();
        // SAFETY: a C string.
        unsafe { f(kind.as_ptr()) }
    }

    /// Calls of a function since the last [`Mock::fail`].
    pub fn calls(&self, name: &str) -> i64 {
        let f: Symbol<unsafe extern "C" fn(*const c_char) -> c_long> = self.function("mock_calls");
        let name = CString::new(name).unwrap();
        // SAFETY: a C string.
        unsafe { f(name.as_ptr()) }
    }

    /// How often kernels whose names begin so were launched or captured.
    pub fn launches(&self, prefix: &str) -> i64 {
        let f: Symbol<unsafe extern "C" fn(*const c_char) -> c_long> = self.function("mock_launches");
        let prefix = CString::new(prefix).unwrap();
        // SAFETY: a C string.
        unsafe { f(prefix.as_ptr()) }
    }

    /// Misuse that a real driver would not have answered.
    pub fn violations(&self) -> i64 {
        let f: Symbol<unsafe extern "C" fn() -> c_long> = self.function("mock_violations");
        // SAFETY: no arguments.
        unsafe { f() }
    }

    /// Lets a tool's library watch what is queued and run: its `tool_queued` and `tool_ran`.
    pub fn watched_by(&self, tool: &Library) {
        let f: Symbol<unsafe extern "C" fn(*const std::ffi::c_void, *const std::ffi::c_void)> =
            self.function("mock_watch");
        // SAFETY: the C file of the tool has these functions with the types that the mock calls; the tool stays loaded.
        unsafe {
            let address = |name: &[u8]| {
                tool.get::<unsafe extern "C" fn()>(name).map(|s| *s as *const std::ffi::c_void).unwrap()
            };
            f(address(b"tool_queued"), address(b"tool_ran"));
        }
    }

    /// The driver on this library.
    pub fn driver(&self) -> Arc<CudaDriver> {
        CudaDriver::open(&self.path).unwrap()
    }

    /// Its first GPU.
    pub fn device(&self) -> Arc<CudaDevice> {
        CudaDevice::with_driver(self.driver(), 0).unwrap()
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// After everything was dropped: nothing is left and nothing was misused.
    pub fn assert_clean(&self) {
        for kind in [
            "context",
            "stream",
            "event",
            "module",
            "graph",
            "exec",
            "green",
            "phys",
            "range",
            "mapping",
            "host",
            "texture",
            "registered",
        ] {
            assert_eq!(self.live(kind), 0, "{kind} objects are left");
        }
        assert_eq!(self.violations(), 0);
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The first real GPU, or `None` (with a line that says so) where there is no driver or no GPU.
pub fn real_gpu() -> Option<Arc<CudaDevice>> {
    match CudaDriver::shared().and_then(|driver| CudaDevice::with_driver(driver, 0)) {
        Ok(device) => Some(device),
        Err(e) if e.status() == Status::NoDevice => {
            println!("skipped, no GPU: {e}");
            None
        }
        Err(e) => panic!("a GPU is there but does not open: {e}"),
    }
}

/// The trait object of a CUDA device.
pub fn erased(device: &Arc<CudaDevice>) -> Arc<dyn Device> {
    device.clone()
}
