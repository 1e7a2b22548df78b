//! Between `initialize` and `shutdown` of a manager.

use super::config::device_at;
use crate::device::Device;
use crate::{Error, Result, Status};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

/// A manager's configuration and device while it is initialised.
pub(super) struct Started<C> {
    pub(super) config: C,
    pub(super) device: Arc<dyn Device>,
}

/// Whether a manager is initialised, and as what.
pub(super) struct Switch<C> {
    name: &'static str,
    now: RwLock<Option<Arc<Started<C>>>>,
    /// Held while it is switched.
    switching: Mutex<()>,
}

impl<C: Clone + PartialEq> Switch<C> {
    /// Switched off.
    pub(super) const fn new(name: &'static str) -> Self {
        Switch { name, now: RwLock::new(None), switching: Mutex::new(()) }
    }

    /// Switches it on. The same configuration again does nothing; another one is refused.
    pub(super) fn on(&self, config: &C, device: i32, check: Result<()>) -> Result<()> {
        check.map_err(|e| e.within(self.name))?;
        let _one = self.switching.lock();
        if let Some(now) = &*self.now.read() {
            if now.config == *config {
                return Ok(());
            }
            return Err(Error::new(
                Status::AlreadyExists,
                format!("the {} is initialised with another configuration", self.name),
            )
            .advise("shutdown() first"));
        }
        let device = device_at(device)?;
        // From here on it can tell what has passed since.
        let _ = device.health();
        *self.now.write() = Some(Arc::new(Started { config: config.clone(), device }));
        Ok(())
    }

    /// Switches it off; false when it was.
    pub(super) fn off(&self) -> bool {
        let _one = self.switching.lock();
        self.now.write().take().is_some()
    }

    pub(super) fn is_on(&self) -> bool {
        self.now.read().is_some()
    }

    /// What it was switched on with.
    pub(super) fn get(&self) -> Result<Arc<Started<C>>> {
        self.now.read().clone().ok_or_else(|| self.not_on())
    }

    /// An error when it is off.
    pub(super) fn must_be_on(&self) -> Result<()> {
        if self.is_on() { Ok(()) } else { Err(self.not_on()) }
    }

    #[cold]
    fn not_on(&self) -> Error {
        Error::new(Status::NotInitialized, format!("the {} is not initialised", self.name))
            .advise("call its initialize() first")
    }
}
