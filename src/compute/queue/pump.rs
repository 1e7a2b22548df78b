//! How work leaves a queue's list, on its lane's thread.

use super::MOST_PENDING;
use super::inner::{Inner, Pumped};
use super::lane::Lane;
use super::work::{Body, ExecutionState};
use crate::memory::Entered;
use std::sync::Arc;
use std::time::Instant;

impl Inner {
    /// Puts what may go on the device there; called by the lane's thread while it holds its lease.
    pub fn pump(&self, lane: &Arc<Lane>) -> Pumped {
        let mut told = false;
        loop {
            let (door, fetched) = self.door_for_first().unzip();
            let mut state = self.state.lock();
            let now = Instant::now();
            if state.needs_nobody(now) {
                return state.pumped(false);
            }
            self.expire(&mut state, now);
            // A sticky error shows at the next look.
            let stream = state.stream.clone();
            let _ = state.flight.sweep(&*stream, now);
            self.collect(&mut state);
            let pumped = state.pumped(door.is_none());
            if !Arc::ptr_eq(&state.lane, lane) || state.moving.is_some() || door.is_none() {
                return pumped;
            }
            let Some(first) = state.pending.front() else { return pumped };
            if fetched.flatten().is_some_and(|number| number != first.number) {
                // Its memory was fetched for one that was withdrawn since.
                continue;
            }
            let pieces = matches!(first.body, Body::Pieces { .. });
            let room = state.room(&self.share);
            if room == 0 || (pieces && state.flight.launches() >= 2) {
                return pumped;
            }
            let before = state.pending.len();
            if let Some(work) = state.pending.pop_front() {
                let (number, piece) = (work.number, work.piece);
                state.left = 0;
                self.begin(&mut state, work);
                if state.pending.front().is_some_and(|p| p.number == number && p.piece == piece) {
                    // All flags are in use.
                    return state.pumped(false);
                }
            }
            if !told || before >= MOST_PENDING {
                self.progress.notify_all();
                told = true;
            }
        }
    }

    /// Inside the tenant's door, with the memory on the device that the first in the list touches, and its number where
    /// something had to be fetched for it. `None` while the door is closed, and when there is nothing to fetch memory for.
    /// Work whose memory finds no room has failed.
    fn door_for_first(&self) -> Option<(Entered<'_>, Option<u64>)> {
        let door = self.space.door();
        if let Some(open) = door.try_enter() {
            return Some((open, None));
        }
        if door.away() == 0 {
            return None;
        }
        let (number, touches) = {
            let state = self.state.lock();
            let first = state.pending.front()?;
            (first.number, first.touches.clone())
        };
        // Without the lock: others may have to give way first.
        let entered = match &touches {
            Some(ranges) => self.space.enter_for(ranges),
            None => door.enter(),
        };
        match entered {
            Ok(open) => Some((open, Some(number))),
            Err(e) => {
                let mut state = self.state.lock();
                if let Some(at) = state.pending.iter().position(|p| p.number == number) {
                    let e = e.within(format_args!("work {:?}", state.pending[at].name));
                    state.error.get_or_insert(e.clone());
                    self.withdraw(&mut state, at, ExecutionState::Failed, e);
                }
                None
            }
        }
    }

    /// The end of what is on the device; `None` when there is nothing.
    pub fn close_flight(&self) -> Option<Arc<dyn crate::device::Event>> {
        let mut state = self.state.lock();
        let stream = state.stream.clone();
        let _ = state.flight.close(&*stream);
        state.flight.end()
    }

    /// Looks after what waits while there is no lease: whether anything does.
    pub fn tend(&self) -> Pumped {
        let mut state = self.state.lock();
        self.expire(&mut state, Instant::now());
        self.collect(&mut state);
        state.pumped(false)
    }
}
