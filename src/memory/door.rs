//! What work of a tenant passes on its way to the device, and what stands closed while its memory moves.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::cell::Cell;
use std::time::Duration;

thread_local! {
    /// How many doors this thread holds open.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Keeps a tenant's work and changes of its memory apart.
///
/// Whoever queues work of the tenant on the device (a kernel, a graph, a copy) holds [`Door::enter`] while queueing;
/// whoever moves the tenant's memory holds [`Door::close`] and then waits for what was queued before. So nothing that
/// uses the memory is in flight while it moves, and other tenants go on.
#[derive(Default)]
pub struct Door(RwLock<()>);

/// Somebody is queueing work; see [`Door::enter`].
pub struct Entered<'a>(#[allow(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        INSIDE.set(INSIDE.get() - 1);
    }
}

impl Door {
    /// Waits while the door is closed; it stays open until the result is dropped. May be called again by the same thread
    /// while it holds one. Never hold it while waiting for work.
    pub fn enter(&self) -> Entered<'_> {
        // Who holds none lets those go first who wait to close it; who holds one must not wait for them.
        let guard = if INSIDE.get() == 0 { self.0.read() } else { self.0.read_recursive() };
        INSIDE.set(INSIDE.get() + 1);
        Entered(guard)
    }

    /// Waits until nobody is queueing work, and keeps everybody out until the result is dropped. Must not be called by a
    /// thread that holds [`Door::enter`].
    pub fn close(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.write()
    }

    /// The same, unless somebody queues work for all of `patience`, or this thread itself holds a door open.
    pub fn close_within(&self, patience: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        if INSIDE.get() > 0 {
            return None;
        }
        self.0.try_write_for(patience)
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
        assert!(door.close_within(Duration::from_secs(60)).is_none(), "this thread would wait for itself");
        drop((first, again));
        let closed = door.close_within(Duration::ZERO).unwrap();
        assert!(door.0.try_read().is_none());
        drop(closed);
        drop(door.close());
        drop(door.enter());
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
                        let _one = door.enter();
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
