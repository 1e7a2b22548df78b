//! What work of a tenant passes on its way to the device, and what stands closed while its memory moves.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Keeps a tenant's work and changes of its memory apart.
///
/// Whoever queues work of the tenant on the device (a kernel, a graph, a copy) holds [`Door::enter`] while queueing;
/// whoever moves the tenant's memory holds [`Door::close`] and then waits for what was queued before. So nothing that
/// uses the memory is in flight while it moves, and other tenants go on.
#[derive(Default)]
pub struct Door(RwLock<()>);

impl Door {
    /// Waits while the door is closed; it stays open until the result is dropped. May be called again by the same thread
    /// while it holds one. Never hold it while waiting for work.
    pub fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.0.read_recursive()
    }

    /// Like [`Door::enter`], but does not wait: `None` while the door is closed or about to be.
    pub fn try_enter(&self) -> Option<RwLockReadGuard<'_, ()>> {
        self.0.try_read_recursive()
    }

    /// Waits until nobody is queueing work, and keeps everybody out until the result is dropped.
    pub fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_a_closed_door() {
        let door = Door::default();
        let first = door.enter();
        let again = door.enter();
        assert!(door.0.try_write().is_none());
        drop((first, again));
        let closed = door.close();
        assert!(door.0.try_read().is_none() && door.try_enter().is_none());
        drop(closed);
        drop(door.enter());
    }
}
