//! The thread of the process that compacts spaces by themselves.

use super::UNIT;
use super::space::Space;
use once_cell::sync::Lazy;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, Weak};
use std::time::Duration;

/// Between two slices it rests for as long as the last one held work up, within these bounds.
const SHORTEST_REST: Duration = Duration::from_millis(1);
/// See [`SHORTEST_REST`].
const LONGEST_REST: Duration = Duration::from_millis(50);

/// Started when the first space asks; ends with the process.
static DESK: Lazy<Option<Mutex<Sender<Weak<Space>>>>> = Lazy::new(|| {
    let (sender, spaces) = channel::<Weak<Space>>();
    let work = move || {
        // SAFETY: sets the nice value of the calling thread only. Refused, it works at the usual one.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, 19) };
        spaces.into_iter().for_each(|space| look(&space));
    };
    let thread = std::thread::Builder::new().name("cogniware-memory".into()).spawn(work);
    thread.is_ok().then_some(Mutex::new(sender))
});

/// Compacts a space slice by slice. It is not held between them, so that it can go.
fn look(space: &Weak<Space>) {
    let mut course = None;
    loop {
        let Some(one) = space.upgrade() else { return };
        if course.is_none() {
            one.asked.store(false, Ordering::Release);
            if !one.needs_it() {
                return;
            }
        }
        let pause = one.slice_by_itself(&mut course);
        drop(one);
        match pause {
            Some(pause) => std::thread::sleep(pause.clamp(SHORTEST_REST, LONGEST_REST)),
            None => return,
        }
    }
}

impl Space {
    /// Has the space looked at when it compacts by itself and enough was freed since the last time, or `anyway`.
    pub(super) fn look_after(&self, anyway: bool) {
        if !self.auto.load(Ordering::Relaxed) {
            return;
        }
        {
            let mut heap = self.heap.lock();
            if !anyway && !self.is_due(heap.freed, heap.used) {
                return;
            }
            heap.freed = 0;
        }
        if !self.asked.swap(true, Ordering::AcqRel)
            && let Some(desk) = &*DESK
        {
            let desk = desk.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            // The thread never ends; in a forked child there is none, and nobody looks.
            let _ = desk.send(self.this.clone());
        }
    }

    /// Whether so many units freed are worth a look.
    #[inline]
    pub(super) fn is_due(&self, freed: u64, used: u64) -> bool {
        freed >= (used / 16).max(u64::from(self.slot))
    }

    /// Whether free memory lies too scattered, or more is held than the bound allows.
    fn needs_it(&self) -> bool {
        let found = self.fragmentation();
        let bound = (found.used / 10).max(2 * u64::from(self.slot) * UNIT);
        found.level > self.policy().threshold || found.mapped - found.used > bound
    }
}
