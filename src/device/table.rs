//! One companion object for each device: its ledger, its node table, its gate.

use super::Device;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// A table from devices to their companion of type `T`. Entries of devices that are gone are dropped.
pub struct PerDevice<T>(Mutex<Vec<Entry<T>>>);

type Entry<T> = (Weak<dyn Device>, Arc<T>);

impl<T> PerDevice<T> {
    /// An empty table, for a `static`.
    pub const fn new() -> Self {
        PerDevice(Mutex::new(Vec::new()))
    }

    /// The companion of `device`; `make` builds it on first use (at most once, under the table's lock). A companion
    /// that keeps the device alive would never be dropped: it should hold a `Weak` where devices come and go.
    pub fn get(&self, device: &Arc<dyn Device>, make: impl FnOnce() -> T) -> Arc<T> {
        let mut table = self.0.lock();
        table.retain(|(weak, _)| weak.strong_count() > 0);
        let wanted = Arc::as_ptr(device) as *const ();
        if let Some((_, found)) =
            table.iter().find(|(weak, _)| std::ptr::eq(weak.as_ptr() as *const (), wanted))
        {
            return found.clone();
        }
        let made = Arc::new(make());
        table.push((Arc::downgrade(device), made.clone()));
        made
    }
}

impl<T> Default for PerDevice<T> {
    fn default() -> Self {
        PerDevice::new()
    }
}
