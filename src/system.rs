//! The process-wide kernel and driver managers. What the C++ class `KernelDriverManager` mirrors.

use crate::Result;
use crate::driver::Driver;
use crate::kernel::Kernel;
use once_cell::sync::Lazy;
use std::sync::Arc;

/// The kernel manager and the driver manager that belong together.
pub struct System {
    kernel: Arc<Kernel>,
    driver: Arc<Driver>,
}

static SYSTEM: Lazy<System> = Lazy::new(|| {
    let kernel = Arc::new(Kernel::default());
    System { driver: Arc::new(Driver::new(kernel.clone())), kernel }
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
        self.driver.shutdown();
        self.kernel.shutdown();
    }

    /// Between `initialize` and `shutdown`.
    pub fn is_initialized(&self) -> bool {
        self.kernel.is_initialized() && self.driver.is_initialized()
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
