//! What work of a tenant passes on its way to the device, and what stands closed while its memory moves.

use super::away::Away;
use super::space::Space;
use crate::{Error, Result, Status};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::cell::Cell;
use std::sync::{Arc, Weak};
use std::time::Duration;

thread_local! {
    /// How many doors this thread holds open.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

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

/// Somebody is queueing work; see [`Door::enter`].
pub struct Entered<'a>(#[allow(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
    }
}

impl Door {
    pub(super) fn of(space: Weak<Space>) -> Door {
        Door { lock: RwLock::default(), away: Arc::default(), space }
    }

    /// Waits while the door is closed and fetches everything that was moved to the host; it stays open until the result
    /// is dropped. For work of which nobody knows what it touches; what is named is cheaper with [`Space::enter_for`].
    /// May be called again by the same thread while it holds one. Never hold it while waiting for work of the tenant.
    ///
    /// Errors: [`Status::OutOfMemory`] when not all of it fits on the device at once; it names who holds the memory.
    pub fn enter(&self) -> Result<Entered<'_>> {
        if self.away() == 0 {
            let inside = self.enter_as_is();
            // Nobody moves memory while somebody is inside, so this holds from here on.
            if self.away() == 0 {
                return Ok(inside);
            }
        }
        self.fetching(|space| space.fetch_all(), |_| self.away() == 0)
    }

    /// Waits while the door is closed, fetches nothing: for work that touches no memory of the pool.
    pub fn enter_as_is(&self) -> Entered<'_> {
        // Who holds none lets those go first who wait to close it; who holds one must not wait for them.
        let guard = if INSIDE.get() == 0 { self.lock.read() } else { self.lock.read_recursive() };
        INSIDE.set(INSIDE.get() + 1);
        Entered(guard)
    }

    /// Like [`Door::enter`], but neither waits nor fetches: `None` while the door is closed, or about to be for a thread
    /// that holds none, and while anything of the tenant lies in host memory.
    pub fn try_enter(&self) -> Option<Entered<'_>> {
        let guard = if INSIDE.get() == 0 { self.lock.try_read() } else { self.lock.try_read_recursive() }?;
        INSIDE.set(INSIDE.get() + 1);
        let inside = Entered(guard);
        (self.away() == 0).then_some(inside)
    }

    /// Waits until nobody is queueing work, and keeps everybody out until the result is dropped. Must not be called by a
    /// thread that holds [`Door::enter`].
    pub fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.lock.write()
    }

    /// Whether this thread holds a door open, this one or another: it must not wait for one to close.
    pub(super) fn is_held_here(&self) -> bool {
        INSIDE.get() > 0
    }

    /// The same, unless somebody queues work for all of `patience`, or this thread itself holds a door open.
    pub fn close_within(&self, patience: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        if self.is_held_here() {
            return None;
        }
        self.lock.try_write_for(patience)
    }

    /// As [`Door::close_within`], for a thread that holds doors of other tenants: they may wait for each other, so it gives
    /// up in the end.
    pub(super) fn close_of_other(&self, patience: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        self.lock.try_write_for(patience)
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
    ) -> Result<Entered<'_>> {
        let Some(space) = self.space.upgrade() else { return Ok(self.enter_as_is()) };
        // One at a time, so that two threads of a tenant do not take each other's memory away again and again.
        let _alone = space.spilling.fetching.lock();
        for _ in 0..TRIES {
            fetch(&space)?;
            let inside = self.enter_as_is();
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
        assert!(door.lock.try_write().is_none());
        assert!(door.close_within(Duration::from_secs(60)).is_none(), "this thread would wait for itself");
        drop((first, again));
        let closed = door.close_within(Duration::ZERO).unwrap();
        assert!(door.lock.try_read().is_none() && door.try_enter().is_none());
        drop(closed);
        drop(door.close());
        drop(door.enter().unwrap());
    }

    /// Threads that queue without a pause do not keep the door open for ever.
    #[test]
    fn it_closes_although_many_come() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let (door, over) = (Door::default(), AtomicBool::new(false));
        std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let _one = door.enter().unwrap();
                        std::thread::yield_now();
                    }
                });
            }
            for _ in 0..20 {
                let closed = door.close_within(Duration::from_secs(20));
                over.fetch_or(closed.is_none(), Ordering::Relaxed);
                assert!(closed.is_some());
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}
