//! CUDA C++ to images, by NVIDIA's run-time compiler.
//!
//! The library is found at run time: `COGNIWARE_NVRTC` (a file or a folder), else by name, in toolkits, and in the
//! packages that `pip install nvidia-cuda-nvrtc` leaves. Nothing of it is needed to build Cogniware or to run its own
//! kernels. It makes machine code for the device's architecture, since drivers refuse PTX that is newer than they are.

mod find;
mod job;
mod table;

use super::cuda_source::{Architecture, CudaSource};
use super::{Cache, Image, ImageKind, read_ptx};
use crate::{Error, Result, Status};
use job::{Job, named};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsString, c_char};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use table::{Handle, Table};

/// Bytes of the compiler's messages that an error holds.
const MOST_LOG: usize = 16 << 10;
/// Stack of the thread that compiles: a caller's may be small, deep templates are not.
const STACK: usize = 32 << 20;
/// Answers of NVRTC that mean something of their own here.
const INVALID_OPTION: u32 = 5;
const OUT_OF_MEMORY: u32 = 1;

const INSTALL: &str = "install the CUDA toolkit's NVRTC (pip install nvidia-cuda-nvrtc, or apt-get install \
    libnvrtc-13-0 from NVIDIA's repository), or name its libnvrtc.so in COGNIWARE_NVRTC; or give the kernel as PTX or cubin";

/// Options with which the result is not what is loaded.
const REFUSED: [&str; 6] =
    ["--dlink-time-opt", "-dlto", "--gen-opt-lto", "-gen-opt-lto", "--optix-ir", "-optix-ir"];

/// An NVRTC library. Usable from any thread; it stays loaded for as long as the process.
pub struct Compiler {
    table: Table,
    version: (u32, u32),
    path: PathBuf,
    headers: Vec<PathBuf>,
    architectures: Vec<u32>,
    /// Tells builds of one version apart.
    stamp: String,
}

/// Compiles with the library that [`Compiler::find`] finds; see [`Compiler::compile`].
pub fn compile(source: &CudaSource, architecture: Architecture, cache: Option<&Cache>) -> Result<Arc<Image>> {
    Compiler::find(0)?.compile(source, architecture, cache)
}

impl Compiler {
    /// The library of this machine. `driver` is the CUDA version of the driver that shall load its images (13000 for
    /// 13.0), 0 for any: of several libraries one that is no newer is taken first.
    ///
    /// Errors: `Unsupported`, with what to install.
    pub fn find(driver: u32) -> Result<Arc<Compiler>> {
        type Found = Vec<(Option<OsString>, u32, Arc<Compiler>)>;
        static FOUND: Mutex<Found> = Mutex::new(Vec::new());
        let named = std::env::var_os("COGNIWARE_NVRTC").filter(|v| !v.is_empty());
        let major = driver / 1000;
        let mut found = FOUND.lock();
        if let Some((.., compiler)) = found.iter().find(|(n, m, _)| *n == named && *m == major) {
            return Ok(compiler.clone());
        }
        let compiler = match &named {
            Some(path) => {
                let path = Path::new(path);
                let file = find::chosen(path).ok_or_else(|| {
                    Error::unsupported(format!(
                        "COGNIWARE_NVRTC: there is no libnvrtc.so in {}",
                        path.display()
                    ))
                    .advise(INSTALL)
                })?;
                Compiler::open(&file).map_err(|e| e.within("COGNIWARE_NVRTC").advise(INSTALL))?
            }
            None => {
                let tried = find::places(driver);
                tried.iter().find_map(|place| Compiler::open(place).ok()).ok_or_else(|| {
                    Error::unsupported(format!(
                        "CUDA C++ source is compiled by NVRTC, which is not installed here (tried {} places)",
                        tried.len()
                    ))
                    .advise(INSTALL)
                })?
            }
        };
        found.push((named, major, compiler.clone()));
        Ok(compiler)
    }

    /// The library at this path.
    ///
    /// Errors: `Unsupported` where it does not load, is none, or is older than CUDA 11.1.
    pub fn open(path: &Path) -> Result<Arc<Compiler>> {
        let (table, path) = Table::open(path)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both outlive the call.
        table.check("nvrtcVersion", unsafe { (table.version)(&mut major, &mut minor) })?;
        let mut architectures = Vec::new();
        if let (Some(count), Some(list)) = (table.architecture_count, table.architectures) {
            let mut n = 0;
            // SAFETY: the output outlives the call.
            table.check("nvrtcGetNumSupportedArchs", unsafe { count(&mut n) })?;
            let mut numbers = vec![0i32; n.clamp(0, 4096) as usize];
            // SAFETY: there is room for as many as it has.
            table.check("nvrtcGetSupportedArchs", unsafe { list(numbers.as_mut_ptr()) })?;
            architectures = numbers.into_iter().filter_map(|n| u32::try_from(n).ok()).collect();
        }
        let stamp = std::fs::metadata(&path)
            .map(|m| format!("{} {}.{}", m.len(), m.mtime(), m.mtime_nsec()))
            .unwrap_or_default();
        Ok(Arc::new(Compiler {
            headers: find::headers(&path),
            version: (major.max(0) as u32, minor.max(0) as u32),
            table,
            path,
            architectures,
            stamp,
        }))
    }

    /// Its CUDA version: (13, 0).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The capabilities that it compiles for, ascending (90 for 9.0); empty where it is too old to tell.
    pub fn architectures(&self) -> &[u32] {
        &self.architectures
    }

    /// Folders with CUDA's own headers (`cuda_fp16.h`) that belong to it; they are searched last.
    pub fn headers(&self) -> &[PathBuf] {
        &self.headers
    }

    /// Compiles for a device of this architecture: to machine code, or to PTX where this compiler does not know the
    /// device yet. An image that `cache` has for the same source, headers, options, architecture and compiler is taken
    /// from there; what includes files whose names only a macro tells, what asks for `__TIME__` and what uses
    /// precompiled headers is always compiled. Takes from 50 ms to seconds; work of other threads goes on.
    ///
    /// Errors: `InvalidArgument` for texts that no compiler can be given, an unknown option, or an architecture beyond
    /// the device's; `Format` when it does not compile: the message holds what the compiler said, with lines;
    /// `Unsupported` where the compiler makes nothing for that device.
    pub fn compile(
        &self,
        source: &CudaSource,
        architecture: Architecture,
        cache: Option<&Cache>,
    ) -> Result<Arc<Image>> {
        source.check()?;
        let (asked, options) = source.architecture()?;
        let target = match asked {
            Some(a) if a.number > architecture.number => {
                return Err(Error::argument(
                    "options",
                    format!("{a} is newer than the device, which is {architecture}"),
                ));
            }
            other => other.unwrap_or(architecture),
        };
        let target = target.fit(&self.architectures, &self.title())?;
        if let Some(option) = options.iter().find(|o| REFUSED.iter().any(|r| named(o, r))) {
            return Err(Error::argument(
                "options",
                format!("{option} leaves no code that a device could load"),
            )
            .advise("leave it out"));
        }
        let job = Job::new(self, source, target, &options);
        let Some(cache) = cache else { return self.run(&job).map(Arc::new) };
        let key = job.key();
        if let Some(image) = key.and_then(|key| cache.get(&key)) {
            return Ok(image);
        }
        let image = self.run(&job)?;
        // A header that changed while the compiler ran belongs to another key.
        if let Some(key) = key.filter(|key| job.key() == Some(*key)) {
            cache.put(&key, &image);
        }
        Ok(Arc::new(image))
    }

    fn title(&self) -> String {
        format!("NVRTC {}.{}", self.version.0, self.version.1)
    }

    fn run(&self, job: &Job<'_>) -> Result<Image> {
        std::thread::scope(|scope| {
            let worker = std::thread::Builder::new().name("cw-nvrtc".into()).stack_size(STACK);
            let running = worker.spawn_scoped(scope, || self.run_here(job));
            let running = running.map_err(|e| Error::io("starting the compiler's thread", e))?;
            running
                .join()
                .unwrap_or_else(|_| Err(Error::new(Status::Internal, "the compiler's thread panicked")))
        })
    }

    fn run_here(&self, job: &Job<'_>) -> Result<Image> {
        let t = &self.table;
        let source = job.source;
        let (text, name) = (c_text(&source.text), c_text(source.name_or_default()));
        let header_texts: Vec<CString> = source.headers.iter().map(|(_, text)| c_text(text)).collect();
        let header_names: Vec<CString> = source.headers.iter().map(|(name, _)| c_text(name)).collect();
        let (texts, names) = (pointers(&header_texts), pointers(&header_names));
        let mut program = Program { table: t, handle: std::ptr::null_mut() };
        // SAFETY: all texts end in a zero byte and outlive the call, and there are as many as it is told.
        t.check("nvrtcCreateProgram", unsafe {
            let count = source.headers.len() as i32;
            (t.create)(
                &mut program.handle,
                text.as_ptr(),
                name.as_ptr(),
                count,
                texts.as_ptr(),
                names.as_ptr(),
            )
        })?;
        let expressions: Vec<CString> = source.expressions.iter().map(|e| c_text(e)).collect();
        for expression in &expressions {
            // SAFETY: the program is alive, the text ends in a zero byte.
            t.check("nvrtcAddNameExpression", unsafe {
                (t.add_expression)(program.handle, expression.as_ptr())
            })?;
        }
        let options: Vec<CString> = job.options.iter().map(|o| c_text(o)).collect();
        let options = pointers(&options);
        // SAFETY: as above; the options outlive the call.
        let code = unsafe { (t.compile)(program.handle, options.len() as i32, options.as_ptr()) };
        let log = program.text(t.log_size, t.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_owned();
        if code != 0 {
            return Err(self.failed(job, code, &log));
        }
        let mut lowered = BTreeMap::new();
        for (expression, text) in source.expressions.iter().zip(&expressions) {
            let mut name: *const c_char = std::ptr::null();
            // SAFETY: the program is alive; the name lives as long as it and ends in a zero byte.
            let code = unsafe { (t.lowered)(program.handle, text.as_ptr(), &mut name) };
            t.check("nvrtcGetLoweredName", code).map_err(|e| e.within(format_args!("{expression:?}")))?;
            // SAFETY: as above.
            let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
            lowered.insert(expression.clone(), name);
        }
        // Made on the way to machine code too: it says what the kernels take.
        let mut ptx = program.text(t.ptx_size, t.ptx)?;
        ptx.pop_if(|b| *b == 0);
        let parameters = read_ptx(&String::from_utf8_lossy(&ptx));
        let bytes = match job.target.ptx {
            true => ptx,
            false => program.text(t.cubin_size, t.cubin)?,
        };
        let kind = ImageKind::of(&bytes)
            .map_err(|e| e.within(format_args!("what {} made for {}", self.title(), job.target)))?;
        Ok(Image {
            kind,
            bytes,
            lowered,
            parameters,
            log,
            architecture: job.target.to_string(),
            cached: false,
        })
    }

    #[cold]
    fn failed(&self, job: &Job<'_>, code: u32, log: &str) -> Error {
        let shown = shorten(log);
        let why = self.table.name(code);
        let text = format!(
            "{} cannot compile {:?} for {}: {why}{}{shown}",
            self.title(),
            job.source.name_or_default(),
            job.target,
            if shown.is_empty() { "" } else { "\n" }
        );
        let e = match code {
            INVALID_OPTION => Error::argument("options", text),
            OUT_OF_MEMORY => Error::new(Status::OutOfMemory, text),
            _ => Error::format(format!("argument `source`: {text}")),
        };
        e.with_driver_code(code).with_call("nvrtcCompileProgram")
    }
}

/// The beginning of a long text.
fn shorten(log: &str) -> String {
    if log.len() <= MOST_LOG {
        return log.to_owned();
    }
    let mut end = MOST_LOG;
    while !log.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\n... and {} bytes more", &log[..end], log.len() - end)
}

/// Texts were checked to hold no zero byte; what follows one would not be read anyway.
fn c_text(text: &str) -> CString {
    CString::new(text).unwrap_or_else(|e| {
        let end = e.nul_position();
        CString::new(&text.as_bytes()[..end]).unwrap_or_default()
    })
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|t| t.as_ptr()).collect()
}

/// A program of NVRTC, destroyed when dropped.
struct Program<'a> {
    table: &'a Table,
    handle: Handle,
}

impl Program<'_> {
    /// One of its results.
    fn text(
        &self,
        size: unsafe extern "C" fn(Handle, *mut usize) -> u32,
        get: unsafe extern "C" fn(Handle, *mut c_char) -> u32,
    ) -> Result<Vec<u8>> {
        let mut bytes = 0usize;
        // SAFETY: the program is alive, the output outlives the call.
        let code = unsafe { size(self.handle, &mut bytes) };
        self.table.check("asking NVRTC for the size of a result", code)?;
        let mut out = vec![0u8; bytes];
        if bytes > 0 {
            // SAFETY: there is room for as many bytes as it said.
            let code = unsafe { get(self.handle, out.as_mut_ptr().cast()) };
            self.table.check("asking NVRTC for a result", code)?;
        }
        Ok(out)
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.handle.is_null() {
            // SAFETY: made by nvrtcCreateProgram, destroyed once.
            unsafe { (self.table.destroy)(&mut self.handle) };
        }
    }
}

#[cfg(test)]
mod tests;
