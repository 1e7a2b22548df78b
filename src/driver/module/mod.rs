//! Modules: files of code that are loaded into the operating system's kernel or onto a GPU.

#[cfg(feature = "cuda")]
mod gpu;
mod image;
mod kernel;

use super::Driver;
use crate::{Error, Result, Status};
use image::Kind;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
#[cfg(feature = "cuda")]
use std::sync::Arc;

/// Larger files are no modules.
const MOST_BYTES: u64 = 1 << 30;

/// A module that this manager loaded.
pub(super) struct Loaded {
    path: PathBuf,
    name: String,
    kind: Kind,
    #[cfg(feature = "cuda")]
    gpu: Option<Arc<gpu::GpuModule>>,
}

/// How a function of a GPU module is launched.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The module's name or path; `None` for the last GPU module that was loaded.
    pub module: Option<&'a str>,
    /// The function's name.
    pub function: &'a str,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of each block.
    pub shared: u32,
    /// A stream of the kernel manager on the module's device; 0 runs it on a stream of the module and waits for it.
    pub stream: u64,
    /// The bytes of each argument, in the order of the function's parameters. Copied before the call returns.
    pub arguments: &'a [&'a [u8]],
}

impl Driver {
    /// Loads a module; the kind of the file is told by its content.
    ///
    /// A kernel module (`.ko`, or packed as `.ko.xz`, `.ko.zst`, `.ko.gz` where the kernel unpacks it) is checked and
    /// given to `finit_module(2)` with `parameters` (`name=value name=value`); it needs root. It stays loaded when
    /// this manager ends. PTX, a cubin or a fatbin becomes a GPU module on the current device, whose functions
    /// [`Driver::launch_function`] runs; it takes no parameters, and is unloaded by [`Driver::shutdown`].
    ///
    /// Errors: `NotFound`; `InvalidArgument` for a folder, a special file or an unknown parameter; `Format` for what
    /// is no module or is damaged; `Unsupported` for another kernel, processor or GPU, an unknown signature, or a
    /// device that cannot; `Io` without permission; `AlreadyExists` when the kernel has a module of this name, or this
    /// manager loaded the same image file.
    pub fn load_module(&self, path: &Path, parameters: &str) -> Result<()> {
        self.kernel()?;
        let place = format!("argument `path`: {}", path.display());
        let mut file = open(path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io(&place, e))?;
        if bytes.len() as u64 > MOST_BYTES {
            return Err(Error::argument("path", format!("{} is larger than any module", path.display())));
        }
        let kind = image::detect(&bytes).map_err(|e| e.within(&place))?;
        let mut modules = self.modules.lock();
        let loaded = match kind {
            Kind::Kernel(packing) => {
                let host = kernel::Host::running()?;
                let name =
                    kernel::check(path, &bytes, packing, parameters, &host).map_err(|e| e.within(&place))?;
                kernel::insert(&file, packing, parameters).map_err(|e| e.within(&place))?;
                Loaded {
                    path: path.to_owned(),
                    name,
                    kind,
                    #[cfg(feature = "cuda")]
                    gpu: None,
                }
            }
            _ => {
                if !parameters.trim().is_empty() {
                    return Err(Error::argument("parameters", "a GPU module has none"));
                }
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                if modules.iter().any(|m| m.path == path) {
                    return Err(Error::new(Status::AlreadyExists, format!("{place}: is loaded already"))
                        .advise("unload it first"));
                }
                self.load_image(path, name, kind, bytes).map_err(|e| e.within(&place))?
            }
        };
        modules.push(loaded);
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn load_image(&self, path: &Path, name: String, kind: Kind, bytes: Vec<u8>) -> Result<Loaded> {
        let (_, device) = self.kernel()?.current_device()?;
        let gpu = Some(Arc::new(gpu::GpuModule::load(&device, bytes)?));
        Ok(Loaded { path: path.to_owned(), name, kind, gpu })
    }

    #[cfg(not(feature = "cuda"))]
    fn load_image(&self, _: &Path, _: String, kind: Kind, _: Vec<u8>) -> Result<Loaded> {
        Err(Error::unsupported(format!(
            "a {} image needs a CUDA device, which this build has not",
            kind.name()
        )))
    }

    /// Unloads a module that this manager loaded: the one of this name or path, or the last. A GPU module's device is
    /// waited for first; a kernel module goes to `delete_module(2)`, never by force.
    ///
    /// Errors: `NotFound` when there is none; `Busy` when something uses it; `Io` without permission. It stays loaded
    /// then.
    pub fn unload_module(&self, which: Option<&str>) -> Result<()> {
        self.kernel()?;
        let mut modules = self.modules.lock();
        let index = match which {
            None => modules.len().checked_sub(1).ok_or_else(|| {
                Error::not_found("no module is loaded: this manager unloads only what it loaded")
            })?,
            Some(which) => modules
                .iter()
                .rposition(|m| m.name == which || m.path == Path::new(which))
                .ok_or_else(|| unknown(which))?,
        };
        let module = &modules[index];
        match module.kind {
            Kind::Kernel(_) => match kernel::remove(&module.name) {
                // Somebody else unloaded it: it is as gone as it can be.
                Err(e) if e.status() == Status::NotFound => {}
                other => other?,
            },
            #[cfg(feature = "cuda")]
            _ => {
                if let Some(gpu) = &module.gpu {
                    gpu.finish()?;
                }
            }
            #[cfg(not(feature = "cuda"))]
            _ => {}
        }
        modules.remove(index);
        Ok(())
    }

    /// The modules that this manager loaded and has not unloaded, by path: kind and name.
    pub fn modules(&self) -> BTreeMap<String, String> {
        let list = self.modules.lock();
        let text = |m: &Loaded| format!("{} {}", m.kind.name(), m.name);
        list.iter().map(|m| (m.path.display().to_string(), text(m))).collect()
    }

    /// The functions of a GPU module (the last loaded when `None`), each with its registers a thread, its bytes of
    /// static shared memory, the threads that a block may have, and the bytes of each parameter.
    ///
    /// Errors: `NotFound`; `Unsupported` when the driver is older than CUDA 12.4, which cannot list functions.
    pub fn module_functions(&self, module: Option<&str>) -> Result<BTreeMap<String, String>> {
        self.with_gpu_module(module, |gpu| gpu.functions())
    }

    /// Launches a function of a GPU module. The shape of grid and block, the shared memory, the stream, and number and
    /// size of the arguments are checked first (the arguments where the driver is of CUDA 12.4 or newer).
    ///
    /// # Safety
    /// The function may reach all memory of this process on the device: addresses among the arguments must be valid
    /// for what it does with them until it has run.
    ///
    /// Errors: `NotFound` for an unknown module, function or stream; `InvalidArgument` naming what does not fit.
    pub unsafe fn launch_function(&self, launch: &Launch<'_>) -> Result<()> {
        let (tenant, stream) = match launch.stream {
            0 => (None, None),
            handle => self.kernel()?.stream(handle).map(|(tenant, stream)| (Some(tenant), Some(stream)))?,
        };
        let _door = tenant.as_ref().map(|tenant| tenant.space().door().enter()).transpose()?;
        // SAFETY: the caller's duty.
        self.with_gpu_module(launch.module, |gpu| unsafe { gpu.launch(launch, stream.as_deref()) })
    }

    #[cfg(feature = "cuda")]
    fn with_gpu_module<T>(
        &self,
        which: Option<&str>,
        f: impl FnOnce(&gpu::GpuModule) -> Result<T>,
    ) -> Result<T> {
        self.kernel()?;
        let wanted =
            |m: &&Loaded| m.gpu.is_some() && which.is_none_or(|w| m.name == w || m.path == Path::new(w));
        // A holder of its own: the list is not locked while the device is waited for.
        let gpu = self.modules.lock().iter().rev().find(wanted).and_then(|m| m.gpu.clone());
        f(&*gpu.ok_or_else(|| match which {
            Some(which) => unknown(which),
            None => {
                Error::not_found("no GPU module is loaded").advise("load a .ptx, .cubin or .fatbin first")
            }
        })?)
    }

    #[cfg(not(feature = "cuda"))]
    fn with_gpu_module<T>(&self, _: Option<&str>, _: impl FnOnce(&gpu::GpuModule) -> Result<T>) -> Result<T> {
        Err(Error::unsupported("GPU modules need a CUDA device, which this build has not"))
    }

    /// Unloads the GPU modules; kernel modules belong to the system and stay.
    pub(super) fn drop_gpu_modules(&self) {
        #[cfg(feature = "cuda")]
        self.modules.lock().retain(|m| match &m.gpu {
            Some(gpu) => {
                // A device that was lost has nothing in flight either.
                let _ = gpu.finish();
                false
            }
            None => true,
        });
    }
}

/// GPU modules where there is no GPU.
#[cfg(not(feature = "cuda"))]
mod gpu {
    use super::{BTreeMap, Launch, Result};

    pub enum GpuModule {}

    impl GpuModule {
        pub fn functions(&self) -> Result<BTreeMap<String, String>> {
            match *self {}
        }

        pub unsafe fn launch(&self, _: &Launch<'_>, _: Option<&dyn crate::device::Stream>) -> Result<()> {
            match *self {}
        }
    }
}

fn unknown(which: &str) -> Error {
    Error::not_found(format!("argument `name`: this manager has loaded no module {which:?}"))
        .advise("modules that others loaded are unloaded with rmmod(8)")
}

/// Opens a regular file; everything else is named.
fn open(path: &Path) -> Result<File> {
    let place = format!("argument `path`: {}", path.display());
    if path.as_os_str().is_empty() {
        return Err(Error::argument("path", "is empty"));
    }
    // Looked at before it is opened: opening a pipe would wait.
    let about = std::fs::metadata(path).map_err(|e| Error::io(&place, e))?;
    if about.is_dir() {
        return Err(Error::argument("path", format!("{} is a folder", path.display())));
    }
    if !about.is_file() {
        return Err(Error::argument("path", format!("{} is no regular file", path.display())));
    }
    File::open(path).map_err(|e| Error::io(&place, e))
}
