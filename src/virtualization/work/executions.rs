//! Executions by number: what was queued on which stream, and what became of it.

use super::super::table::VirtualGpu;
use crate::compute::{Cancelled, ExecutionState};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;

/// So many executions of a virtual GPU can be asked for, the latest ones.
pub const KNOWN: usize = 1 << 16;

/// The executions of a compute unit.
#[derive(Default)]
pub(in crate::virtualization) struct Executions(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// The number of the first of `list`.
    first: i32,
    /// Index of the stream, and the queue's own number.
    list: VecDeque<(u32, u64)>,
}

impl Executions {
    /// Gives an execution its number, from 1 up.
    pub(super) fn add(&self, stream: u32, execution: u64) -> i32 {
        let mut table = self.0.lock();
        if table.first == 0 || table.first > i32::MAX - 2 * KNOWN as i32 {
            table.first = 1;
            table.list.clear();
        }
        table.list.push_back((stream, execution));
        let number = table.first + (table.list.len() - 1) as i32;
        if table.list.len() > KNOWN {
            table.list.pop_front();
            table.first += 1;
        }
        number
    }

    fn find(&self, number: i32) -> Option<(u32, u64)> {
        let table = self.0.lock();
        let at = usize::try_from(number.checked_sub(table.first)?).ok()?;
        table.list.get(at).copied()
    }

    /// The number given last; 0 when there was none.
    fn last(&self) -> i32 {
        let table = self.0.lock();
        if table.list.is_empty() { 0 } else { table.first + (table.list.len() - 1) as i32 }
    }
}

/// What [`crate::virtualization::ComputeManager::cancel`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It had not begun and will not.
    Withdrawn = 0,
    /// It was told to stop, and does so at its next poll.
    Stopping = 1,
}

/// What is told of an execution.
#[derive(Clone, Debug)]
pub struct ExecutionInfo {
    /// Its number.
    pub number: i32,
    /// Index of its stream.
    pub stream: u32,
    /// Where it stands.
    pub state: ExecutionState,
    /// Why it failed, was cancelled or timed out.
    pub error: Option<Error>,
    /// Whether it is on the device still: late work that cannot be stopped, or work that will stop at its next poll.
    pub running: bool,
}

fn unknown(gpu: &VirtualGpu, number: i32) -> Error {
    Error::not_found(format!("virtual GPU {} has no execution {number}", gpu.id()))
        .advise(format!("executeKernel gives their numbers; the last {KNOWN} are known"))
}

/// The latest execution; 0 when there was none.
pub(in crate::virtualization) fn last(gpu: &VirtualGpu) -> Result<i32> {
    Ok(gpu.unit()?.executions.last())
}

/// Cancels an execution.
pub(in crate::virtualization) fn cancel(gpu: &VirtualGpu, number: i32) -> Result<Stopped> {
    let unit = gpu.unit()?;
    let (stream, execution) = unit.executions.find(number).ok_or_else(|| unknown(gpu, number))?;
    let queue = unit.lane(gpu, stream as i32)?.same_queue();
    match queue.cancel(execution).map_err(|e| e.within(format_args!("execution {number}")))? {
        Cancelled::Withdrawn => Ok(Stopped::Withdrawn),
        Cancelled::Stopping => Ok(Stopped::Stopping),
        Cancelled::Ended => {
            let how = queue.state(execution)?.state.name();
            Err(Error::new(
                Status::NotFound,
                format!("execution {number} of virtual GPU {} has ended already: {how}", gpu.id()),
            ))
        }
    }
}

/// Where an execution stands; with a `timeout` once it has ended, or then.
pub(in crate::virtualization) fn info(
    gpu: &VirtualGpu,
    number: i32,
    timeout: Option<Duration>,
) -> Result<ExecutionInfo> {
    let unit = gpu.unit()?;
    let (stream, execution) = unit.executions.find(number).ok_or_else(|| unknown(gpu, number))?;
    let queue = unit.lane(gpu, stream as i32)?.same_queue();
    let now = match timeout {
        Some(longest) => queue.wait(execution, longest)?,
        None => queue.state(execution)?,
    };
    Ok(ExecutionInfo { number, stream, state: now.state, error: now.error, running: now.running })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_up_and_the_oldest_are_forgotten() {
        let all = Executions::default();
        assert_eq!((all.last(), all.find(0), all.find(1)), (0, None, None));
        for i in 0..KNOWN as u64 + 10 {
            assert_eq!(all.add(3, i), i as i32 + 1);
        }
        assert_eq!(all.last(), KNOWN as i32 + 10);
        assert_eq!((all.find(10), all.find(11), all.find(-1)), (None, Some((3, 10)), None));
        assert_eq!(all.find(KNOWN as i32 + 10), Some((3, KNOWN as u64 + 9)));
        assert_eq!(all.find(KNOWN as i32 + 11), None);
    }
}
