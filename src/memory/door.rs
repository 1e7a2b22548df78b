//! What work of a tenant passes on its way to the device, and what stands closed while its memory moves.

use super::away::Away;
use super::space::Space;
use crate::{Error, Result, Status};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Keeps a tenant's work and changes of its memory apart.
///
/// Whoever queues work of the tenant on the device (a kernel, a graph, a copy) holds [`Door::enter`] or
/// [`Space::enter_for`] while queueing; whoever moves the tenant's memory holds [`Door::close`] and then waits for what
/// was queued before. So nothing that uses the memory is in flight while it moves, and other tenants go on.
///
/// Memory that was moved to the host ([`super::SpillPolicy`]) is fetched back on the way in. While none is, that costs
/// two loads of one word.
#[derive(Default)]
pub struct Door {
    lock: RwLock<()>,
    /// What of the tenant lies in host memory.
    away: Arc<Away>,
    space: Weak<Space>,
}

/// How often memory is fetched before it is said that others take it away faster.
const TRIES: usize = 64;

impl Door {
    pub(super) fn of(space: Weak<Space>) -> Door {
        Door { lock: RwLock::default(), away: Arc::default(), space }
    }

    /// Waits while the door is closed and fetches everything that was moved to the host; it stays open until the result
    /// is dropped. For work of which nobody knows what it touches; what is named is cheaper with [`Space::enter_for`].
    /// May be called again by the same thread while it holds one. Never hold it while waiting for work of the tenant.
    ///
    /// Errors: [`Status::OutOfMemory`] when not all of it fits on the device at once; it names who holds the memory.
    pub fn enter(&self) -> Result<RwLockReadGuard<'_, ()>> {
        if self.away() == 0 {
            let inside = self.lock.read_recursive();
            // Nobody moves memory while somebody is inside, so this holds from here on.
            if self.away() == 0 {
                return Ok(inside);
            }
        }
        self.fetching(|space| space.fetch_all(), |_| self.away() == 0)
    }

    /// Waits while the door is closed, fetches nothing: for work that touches no memory of the pool.
    pub fn enter_as_is(&self) -> RwLockReadGuard<'_, ()> {
        self.lock.read_recursive()
    }

    /// Waits until nobody is queueing work, and keeps everybody out until the result is dropped.
    pub fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.lock.write()
    }

    /// As [`Door::close`], but gives up after `longest`.
    pub fn try_close(&self, longest: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        self.lock.try_write_for(longest)
    }

    /// Bytes of the tenant that lie in host memory.
    pub fn away(&self) -> u64 {
        self.away.bytes()
    }

    pub(super) fn list(&self) -> &Arc<Away> {
        &self.away
    }

    /// Fetches and enters, until what was fetched is still there inside.
    #[cold]
    pub(super) fn fetching(
        &self,
        fetch: impl Fn(&Space) -> Result<()>,
        is_here: impl Fn(&Space) -> bool,
    ) -> Result<RwLockReadGuard<'_, ()>> {
        let Some(space) = self.space.upgrade() else { return Ok(self.lock.read_recursive()) };
        // One at a time, so that two threads of a tenant do not take each other's memory away again and again.
        let _alone = space.spilling.fetching.lock();
        for _ in 0..TRIES {
            fetch(&space)?;
            let inside = self.lock.read_recursive();
            if is_here(&space) {
                return Ok(inside);
            }
        }
        Err(Error::new(
            Status::Busy,
            format!(
                "tenant {:?}: its memory is moved to the host again as fast as it is fetched",
                space.account().name()
            ),
        )
        .advise("raise the tenant's floor, or pin what it works with"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_a_closed_door() {
        let door = Door::default();
        let first = door.enter().unwrap();
        let again = door.enter().unwrap();
        assert!(door.try_close(Duration::ZERO).is_none());
        drop((first, again));
        let closed = door.close();
        assert!(door.lock.try_read().is_none());
        drop(closed);
        drop(door.enter().unwrap());
    }
}
