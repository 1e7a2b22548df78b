//! The driver manager: what stands between a tenant and the hardware. What the C++ class `AdvancedCustomizedDriver`
//! mirrors: what is there, modules, and what is installed on the system.

mod install;
mod module;

pub use module::Launch;

use crate::kernel::Kernel;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A driver manager. Usable from any thread.
pub struct Driver {
    kernel: Arc<Kernel>,
    initialized: AtomicBool,
    modules: Mutex<Vec<module::Loaded>>,
    installer: Mutex<install::Installer>,
}

impl Driver {
    /// A driver manager for the devices of `kernel`.
    pub fn new(kernel: Arc<Kernel>) -> Driver {
        Driver {
            kernel,
            initialized: AtomicBool::new(false),
            modules: Mutex::default(),
            installer: Mutex::default(),
        }
    }

    /// Initialises the kernel manager if needed. Does nothing when that was done.
    pub fn initialize(&self) -> Result<()> {
        self.kernel.initialize()?;
        self.initialized.store(true, SeqCst);
        Ok(())
    }

    /// Ends this manager and unloads its GPU modules; the kernel manager lives on.
    pub fn shutdown(&self) {
        self.initialized.store(false, SeqCst);
        self.drop_gpu_modules();
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.initialized.load(SeqCst)
    }

    /// The kernel manager.
    pub fn kernel(&self) -> Result<&Arc<Kernel>> {
        if self.is_initialized() {
            return Ok(&self.kernel);
        }
        Err(Error::new(Status::NotInitialized, "the driver is not initialised")
            .advise("call initialize() first"))
    }

    /// What is there: `driver_initialized`, the library's version, the current device, and for each device its name,
    /// driver version and instruction set. Answers before `initialize` too.
    pub fn info(&self) -> Result<BTreeMap<String, String>> {
        let mut out = BTreeMap::new();
        let mut put = |key: String, value: String| {
            out.insert(key, value);
        };
        put("driver_initialized".into(), self.is_initialized().to_string());
        put("version".into(), env!("CARGO_PKG_VERSION").into());
        put("cuda_support".into(), cfg!(feature = "cuda").to_string());
        put("loaded_modules".into(), self.modules().len().to_string());
        if !self.is_initialized() {
            return Ok(out);
        }
        put("current_device".into(), self.kernel.current_device()?.0.to_string());
        for (i, device) in self.kernel.devices()?.iter().enumerate() {
            let info = device.info()?;
            put(format!("device.{i}.kind"), device.kind().to_string());
            put(format!("device.{i}.name"), info.name);
            put(format!("device.{i}.isa"), info.isa);
            put(format!("device.{i}.driver_version"), info.driver_version.to_string());
        }
        Ok(out)
    }
}
