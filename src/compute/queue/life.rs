//! Moving and ending a queue.

use super::inner::Inner;
use super::lane::{self, Lane};
use super::work::ExecutionState;
use crate::Error;
use crate::device::{Node, Stream};
use std::sync::Arc;

impl Inner {
    pub fn move_over(&self, node: &Arc<dyn Node>, stream: Arc<dyn Stream>) {
        let mut state = self.state.lock();
        state.moving = Some((node.clone(), stream));
        let lane = state.lane.clone();
        drop(state);
        lane.wake();
    }

    /// Moves the queue if it is to and nothing of it is on the device.
    pub fn move_if_due(self: &Arc<Self>, lane: &Arc<Lane>) {
        {
            let mut state = self.state.lock();
            if state.moving.is_none() || !Arc::ptr_eq(&state.lane, lane) {
                return;
            }
            let stream = state.stream.clone();
            let _ = state.flight.close(&*stream);
            self.collect(&mut state);
            if !state.flight.is_empty() {
                return;
            }
        }
        let mut state = self.state.lock();
        // Nothing was put on the device since: that needs the queue not to be moving.
        let Some((node, stream)) = state.moving.take() else { return };
        let units = node.units().to_vec();
        if units == lane.units {
            (state.node, state.stream) = (node, stream);
            return;
        }
        drop(state);
        let moved = lane::attach(&self.device, &self.share, &units, |other| {
            let mut state = self.state.lock();
            (state.node, state.stream) = (node, stream);
            state.lane = other.clone();
            state.left = 0;
            self.clone()
        });
        if let Err(e) = moved {
            self.end(e);
        } else {
            lane.detach(self);
            self.state.lock().lane.wake();
        }
    }

    pub fn end(&self, why: Error) {
        let mut state = self.state.lock();
        state.ended.get_or_insert(why.clone());
        while !state.pending.is_empty() {
            self.withdraw(&mut state, 0, ExecutionState::Cancelled, why.clone());
        }
        for watched in state.watched.values_mut().filter(|w| w.end.is_none()) {
            if let Some(flag) = &watched.flag {
                flag.raise();
                watched.end = Some((ExecutionState::Cancelled, why.clone()));
            }
        }
        self.collect(&mut state);
        self.progress.notify_all();
        let lane = state.lane.clone();
        drop(state);
        lane.wake();
    }

    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let lane = state.lane.clone();
        drop(state);
        lane.wake();
    }
}
