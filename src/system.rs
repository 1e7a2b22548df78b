//! The process-wide kernel and driver managers. What the C++ class `KernelDriverManager` mirrors.

use crate::driver::Driver;
use crate::kernel::Kernel;
use crate::telemetry::profiler::Hold;
use crate::{Error, Result, Status};
use once_cell::sync::Lazy;
use parking_lot::Mutex;
use std::sync::Arc;

/// The kernel manager and the driver manager that belong together.
pub struct System {
    kernel: Arc<Kernel>,
    driver: Arc<Driver>,
    /// While it is there, everybody's work is recorded.
    profiling: Mutex<Option<Hold>>,
}

static SYSTEM: Lazy<System> = Lazy::new(|| {
    let kernel = Arc::new(Kernel::default());
    System { driver: Arc::new(Driver::new(kernel.clone())), kernel, profiling: Mutex::new(None) }
});

impl System {
    /// The system of this process.
    pub fn global() -> &'static System {
        &SYSTEM
    }

    /// Initialises kernel and driver; does nothing when that was done.
    pub fn initialize(&self) -> Result<()> {
        self.kernel.initialize()?;
        self.driver.initialize()
    }

    /// Shuts both down; see [`Kernel::shutdown`].
    pub fn shutdown(&self) {
        *self.profiling.lock() = None;
        self.driver.shutdown();
        self.kernel.shutdown();
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.kernel.is_initialized() && self.driver.is_initialized()
    }

    /// Records the work of every tenant of this process from now on; independent of the managers' own switches. Does
    /// nothing when it was done.
    ///
    /// Errors: the system is not initialised.
    pub fn enable_profiling(&self) -> Result<()> {
        self.must_be_initialized()?;
        self.profiling.lock().get_or_insert_with(Hold::new);
        Ok(())
    }

    /// Ends what [`System::enable_profiling`] began; the figures stay.
    pub fn disable_profiling(&self) -> Result<()> {
        self.must_be_initialized()?;
        *self.profiling.lock() = None;
        Ok(())
    }

    fn must_be_initialized(&self) -> Result<()> {
        if self.is_initialized() {
            return Ok(());
        }
        Err(Error::new(Status::NotInitialized, "the system is not initialised")
            .advise("call initializeSystem() first"))
    }

    /// The kernel manager.
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// The driver manager.
    pub fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }
}
