//! The driver manager: what stands between a tenant and the hardware. What the C++ class `AdvancedCustomizedDriver`
//! mirrors; this version tells what is there, the rest of that class comes later.

mod tenancy;
mod tensor;

use crate::compute::{Gate, Nodes};
use crate::kernel::Kernel;
use crate::ops::MathPolicy;
use crate::{Error, Result, Status};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// A driver manager. Usable from any thread.
pub struct Driver {
    kernel: Arc<Kernel>,
    initialized: AtomicBool,
}

impl Driver {
    /// A driver manager for the devices of `kernel`.
    pub fn new(kernel: Arc<Kernel>) -> Driver {
        Driver { kernel, initialized: AtomicBool::new(false) }
    }

    /// Initialises the kernel manager if needed. Does nothing when that was done.
    pub fn initialize(&self) -> Result<()> {
        self.kernel.initialize()?;
        self.initialized.store(true, SeqCst);
        Ok(())
    }

    /// Ends this manager; the kernel manager lives on.
    pub fn shutdown(&self) {
        self.initialized.store(false, SeqCst);
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
    pub fn info(&self) -> Result<BTreeMap<String, String>> {
        let mut out = BTreeMap::new();
        let mut put = |key: String, value: String| {
            out.insert(key, value);
        };
        put("driver_initialized".into(), self.is_initialized().to_string());
        put("version".into(), env!("CARGO_PKG_VERSION").into());
        put("cuda_support".into(), cfg!(feature = "cuda").to_string());
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
            put(format!("device.{i}.math"), MathPolicy::of(device).math().name().into());
            put(format!("device.{i}.node_layout"), tenancy::name(Nodes::of(device).layout()));
            put(format!("device.{i}.gate_grace_us"), Gate::of(device).grace().as_micros().to_string());
        }
        Ok(out)
    }
}
