//! The driver manager: what stands between a tenant and the hardware. What the C++ class `AdvancedCustomizedDriver`
//! mirrors: what is there, paths, optimisations, modules, diagnostics, and what is installed on the system.

mod install;
mod module;

pub use module::Launch;

pub mod config;
pub mod diagnostics;
pub mod gpus;
mod measure;
mod path;
mod stats;
mod tenancy;
mod tensor;

use crate::compute::{Gate, Nodes};
use crate::device::Device;
use crate::kernel::Kernel;
use crate::ops::MathPolicy;
use crate::{Error, Result, Status};
use config::Map;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A driver manager. Usable from any thread.
pub struct Driver {
    kernel: Arc<Kernel>,
    initialized: AtomicBool,
    /// Configured before `initialize`. Held while the configuration changes.
    pending: Mutex<Map>,
    /// The pairs of GPUs that were let use each other's memory here.
    linked: Mutex<Vec<(u32, u32)>>,
    /// What was measured of the devices, by their index. Held while one is measured.
    measured: Mutex<BTreeMap<usize, BTreeMap<String, String>>>,
    diagnosed: Mutex<Vec<diagnostics::Part>>,
    modules: Mutex<Vec<module::Loaded>>,
    installer: Mutex<install::Installer>,
}

impl Driver {
    /// A driver manager for the devices of `kernel`.
    pub fn new(kernel: Arc<Kernel>) -> Driver {
        Driver {
            kernel,
            initialized: AtomicBool::new(false),
            pending: Mutex::default(),
            linked: Mutex::default(),
            measured: Mutex::default(),
            diagnosed: Mutex::default(),
            modules: Mutex::default(),
            installer: Mutex::default(),
        }
    }

    /// Initialises the kernel manager if needed, and puts what was configured before into force. Does nothing when that
    /// was done.
    pub fn initialize(&self) -> Result<()> {
        self.kernel.initialize()?;
        self.initialized.store(true, SeqCst);
        self.apply_pending().inspect_err(|_| self.initialized.store(false, SeqCst))
    }

    /// Ends this manager and unloads its GPU modules; the kernel manager lives on, and the devices stay as they were
    /// switched.
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
    /// driver version, instruction set, default rules for products (`math`), how its processors are cut (`node_layout`) and
    /// how long its gate keeps units for who is owed time (`gate_grace_us`). Answers before `initialize` too.
    ///
    /// For each device also which path is active, `device.<index>.path` (`direct` or `standard`), and what both cost,
    /// measured when this is first asked (it takes about a tenth of a second a device): `…path.alloc_free_1MiB_direct_ns`
    /// and `…_standard_ns` (on a GPU also `…_driver_pool_ns`: the driver's own pool), `…path.copy_<size>_direct_us`,
    /// `…_standard_us` (and `…_pinned_us`: from page-locked memory), `…path.launch_direct_us` and `…_standard_us` (one
    /// kernel; on the CPU device one piece of work), and `…path.saves_alloc_free_ns`, `…path.saves_launch_us`,
    /// `…path.saves_copy_32MiB_us`. A device that cannot be measured now says why in `…path.error`.
    pub fn info(&self) -> Result<BTreeMap<String, String>> {
        let mut out = BTreeMap::new();
        let mut put = |key: &str, value: String| {
            out.insert(key.to_owned(), value);
        };
        put("driver_initialized", self.is_initialized().to_string());
        put("version", env!("CARGO_PKG_VERSION").into());
        put("cuda_support", cfg!(feature = "cuda").to_string());
        put("loaded_modules", self.modules().len().to_string());
        if !self.is_initialized() {
            return Ok(out);
        }
        put("current_device", self.kernel.current_device()?.0.to_string());
        let switches = self.configuration()?;
        for (key, value) in switches {
            put(&key, value);
        }
        for (a, b) in self.nvlink_pairs() {
            put(&format!("nvlink.{a}.{b}"), "direct".into());
        }
        for (i, device) in self.kernel.devices()?.iter().enumerate() {
            let info = device.info()?;
            put(&format!("device.{i}.kind"), device.kind().to_string());
            put(&format!("device.{i}.name"), info.name);
            put(&format!("device.{i}.isa"), info.isa);
            put(&format!("device.{i}.driver_version"), info.driver_version.to_string());
            put(&format!("device.{i}.math"), MathPolicy::of(device).math().name().into());
            put(&format!("device.{i}.node_layout"), tenancy::name(Nodes::of(device).layout()));
            put(&format!("device.{i}.gate_grace_us"), Gate::of(device).grace().as_micros().to_string());
            let path = if device.path().direct() { "direct" } else { "standard" };
            put(&format!("device.{i}.path"), path.into());
            for (key, value) in self.measured(i, device) {
                put(&format!("device.{i}.path.{key}"), value);
            }
        }
        Ok(out)
    }

    /// What both paths of a device cost, measured once. A failure is told and tried again the next time.
    fn measured(&self, index: usize, device: &Arc<dyn Device>) -> BTreeMap<String, String> {
        let mut measured = self.measured.lock();
        if let Some(known) = measured.get(&index) {
            return known.clone();
        }
        let mut figures = match measure::measure(device) {
            Ok(figures) => figures,
            Err(e) => return BTreeMap::from([("error".to_owned(), e.to_string())]),
        };
        for (saves, of, unit) in [
            ("saves_alloc_free_ns", "alloc_free_1MiB", "ns"),
            ("saves_launch_us", "launch", "us"),
            ("saves_copy_32MiB_us", "copy_32MiB", "us"),
        ] {
            let get = |path| figures.get(&format!("{of}_{path}_{unit}")).copied();
            if let (Some(direct), Some(standard)) = (get("direct"), get("standard")) {
                figures.insert(saves.to_owned(), standard - direct);
            }
        }
        let text: BTreeMap<_, _> = figures.into_iter().map(|(k, v)| (k, format!("{v:.3}"))).collect();
        measured.insert(index, text.clone());
        text
    }

    /// Tests the current device, part by part; see [`diagnostics::run`]. The results stay for
    /// [`Driver::diagnostic_results`].
    ///
    /// Errors: the first part that failed, with how many did.
    pub fn run_diagnostics(&self) -> Result<()> {
        let (_, device) = self.kernel()?.current_device()?;
        let parts = diagnostics::run(&device);
        let verdict = diagnostics::verdict(&parts);
        *self.diagnosed.lock() = parts;
        verdict
    }

    /// The results of the last run, part by part; nothing before the first.
    pub fn diagnostic_results(&self) -> Vec<diagnostics::Part> {
        self.diagnosed.lock().clone()
    }
}
