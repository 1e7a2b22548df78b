//! Cancelling work of a queue.

use super::inner::Inner;
use super::unknown;
use super::work::{Cancelled, ExecutionState};
use crate::{Error, Result, Status};

impl Inner {
    pub fn cancel(&self, execution: u64) -> Result<Cancelled> {
        let number = self.number_in(execution)?;
        let mut state = self.lock()?;
        if number > state.next {
            return Err(unknown(execution));
        }
        if let Some(at) = state.pending.iter().position(|p| p.number == number) {
            let begun = state.pending[at].piece > 0;
            self.withdraw(&mut state, at, ExecutionState::Cancelled, cancelled());
            let lane = state.lane.clone();
            drop(state);
            lane.wake();
            return Ok(if begun { Cancelled::Stopping } else { Cancelled::Withdrawn });
        }
        if !state.has_ended(number) {
            let stream = state.stream.clone();
            let _ = state.flight.close(&*stream);
            self.collect(&mut state);
        }
        if state.has_ended(number) {
            return Ok(Cancelled::Ended);
        }
        if let Some(watched) = state.watched.get_mut(&number) {
            if let Some(flag) = &watched.flag {
                flag.raise();
                watched.end.get_or_insert((ExecutionState::Cancelled, cancelled()));
                return Ok(Cancelled::Stopping);
            }
            if watched.end.as_ref().is_some_and(|(how, _)| *how == ExecutionState::Cancelled) {
                return Ok(Cancelled::Stopping);
            }
        }
        Err(Error::unsupported(format!(
            "execution {execution} is on the device and does not poll: nothing can stop it there, it runs to its end"
        ))
        .advise("cancel work before it begins, or submit it in pieces or as work that polls its flag"))
    }
}

fn cancelled() -> Error {
    Error::new(Status::Cancelled, "cancelled")
}
