//! How work leaves a queue's list, on its lane's thread.

use super::MOST_PENDING;
use super::inner::{Inner, Pumped};
use super::lane::Lane;
use super::work::{Body, ExecutionState};
use std::sync::Arc;
use std::time::Instant;

impl Inner {
    /// Puts what may go on the device there; called by the lane's thread while it holds its lease.
    pub fn pump(&self, lane: &Arc<Lane>) -> Pumped {
        let mut told = false;
        loop {
            self.fetch();
            let door = self.space.door().try_enter();
            let mut state = self.state.lock();
            let now = Instant::now();
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

    /// Brings memory back that was moved to the host; work that is to run next fails when that cannot be done.
    fn fetch(&self) {
        let door = self.space.door();
        if door.away() == 0 || self.state.lock().pending.is_empty() {
            return;
        }
        // Without the lock: others give way meanwhile.
        if let Err(e) = door.enter().map(drop) {
            let mut state = self.state.lock();
            state.error.get_or_insert(e.clone());
            self.withdraw(&mut state, 0, ExecutionState::Failed, e);
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
