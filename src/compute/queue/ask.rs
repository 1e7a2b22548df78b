//! What is asked of a queue.

use super::inner::Inner;
use super::unknown;
use super::work::{Execution, ExecutionState, QueueFigures};
use crate::Result;
use crate::device::{Node, Stream};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Inner {
    pub fn synchronize(&self) -> Result<()> {
        let ran = self.drain();
        let error = self.lock()?.error.take();
        match error {
            Some(e) => Err(e),
            None => ran,
        }
    }

    /// Waits until what was submitted before has ended; its errors are left for who synchronizes.
    pub fn settle(&self) -> Result<()> {
        {
            let state = self.lock()?;
            if state.pending.is_empty() && state.flight.is_empty() {
                return Ok(());
            }
        }
        self.drain()
    }

    fn drain(&self) -> Result<()> {
        let until = self.lock()?.next;
        loop {
            let mut state = self.lock()?;
            if state.pending.front().is_some_and(|p| p.number <= until) {
                self.progress.wait_for(&mut state, Duration::from_millis(100));
                continue;
            }
            let stream = state.stream.clone();
            let closed = state.flight.close(&*stream);
            drop(state);
            let ran = stream.synchronize();
            let mut state = self.lock()?;
            self.collect(&mut state);
            let lane = state.lane.clone();
            if ran.is_ok() && closed.is_ok() && state.done < until && !state.flight.is_empty() {
                // Moved to another stream meanwhile, or behind a device that answers late.
                continue;
            }
            drop(state);
            lane.pay();
            return ran.and(closed);
        }
    }

    pub fn is_idle(&self) -> Result<bool> {
        let mut state = self.lock()?;
        let stream = state.stream.clone();
        state.flight.close(&*stream)?;
        self.collect(&mut state);
        Ok(state.pending.is_empty() && state.flight.is_empty())
    }

    pub fn await_progress(&self, until: Option<Instant>) {
        let most = Duration::from_millis(1);
        let wait = until.map_or(most, |u| u.saturating_duration_since(Instant::now()).min(most));
        self.progress.wait_for(&mut self.state.lock(), wait);
    }

    pub fn execution(&self, execution: u64) -> Result<Execution> {
        let number = self.number_in(execution)?;
        let mut state = self.lock()?;
        if number > state.next {
            return Err(unknown(execution));
        }
        if number > state.done {
            let stream = state.stream.clone();
            let _ = state.flight.close(&*stream);
            self.expire(&mut state, Instant::now());
            self.collect(&mut state);
        }
        let running = state.watched.contains_key(&number);
        if let Some((how, e)) = state.past.get(&number) {
            return Ok(Execution { state: *how, error: Some(e.clone()), running });
        }
        let told = |state, running| Ok(Execution { state, error: None, running });
        match state.pending.iter().find(|p| p.number == number) {
            Some(p) if p.piece == 0 => told(ExecutionState::Queued, false),
            Some(_) => told(ExecutionState::Running, true),
            None if number <= state.done => told(ExecutionState::Finished, false),
            None => told(ExecutionState::Running, true),
        }
    }

    pub fn stream(&self) -> Arc<dyn Stream> {
        let state = self.state.lock();
        state.moving.as_ref().map_or(&state.stream, |(_, stream)| stream).clone()
    }

    pub fn node(&self) -> Arc<dyn Node> {
        let state = self.state.lock();
        state.moving.as_ref().map_or(&state.node, |(node, _)| node).clone()
    }

    pub fn figures(&self) -> QueueFigures {
        let state = self.state.lock();
        QueueFigures {
            pending: state.pending.len() as u64,
            in_flight: state.flight.launches().into(),
            ..state.figures
        }
    }
}
