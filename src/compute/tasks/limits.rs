//! What the scheduler allows: how many threads, how many tasks, how long.

use super::{Entry, Shared, State};
use crate::{Error, Result, Status};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Bounds of a scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskLimits {
    /// Most tasks that run at the same time, each on a thread of its own (1 to 1024). A task that waits for another
    /// task does not count.
    pub threads: usize,
    /// Most tasks that have not ended.
    pub tasks: Option<usize>,
    /// A task that runs for longer is told to end; it then counts as failed with [`Status::Timeout`].
    pub timeout: Option<Duration>,
}

impl Default for TaskLimits {
    fn default() -> TaskLimits {
        // A generation task mostly waits, so there are more threads than cores.
        TaskLimits { threads: 64, tasks: None, timeout: None }
    }
}

/// Workers that wait for other tasks at the same time, at most: each is a thread.
const MOST_AWAY: usize = 1024;

impl State {
    /// Refuses one more task than allowed.
    pub(super) fn admits(&self) -> Result<()> {
        let unfinished: usize = self.tenants.values().map(|t| t.unfinished as usize).sum();
        match self.limits.tasks {
            Some(most) if unfinished >= most => Err(Error::new(
                Status::Busy,
                format!("{unfinished} tasks have not ended, max_tasks is {most}"),
            )
            .advise("wait for some of them, or raise max_tasks")),
            _ => Ok(()),
        }
    }

    /// Workers that run tasks or could.
    pub(super) fn present(&self) -> usize {
        self.workers - self.away
    }
}

/// A worker whose task waits for another task. While it does, another thread may work in its place: tasks that wait
/// for each other cannot use up the threads.
pub(super) struct Away(Arc<Shared>);

impl Away {
    pub(super) fn leave(shared: Arc<Shared>) -> Result<Away> {
        let mut state = shared.state.lock();
        if state.away >= MOST_AWAY {
            return Err(Error::new(Status::Busy, format!("{MOST_AWAY} tasks wait for other tasks already"))
                .advise("wait outside of tasks"));
        }
        state.away += 1;
        if state.next().is_some() {
            shared.rouse(&mut state);
        }
        drop(state);
        Ok(Away(shared))
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.0.state.lock().away -= 1;
    }
}

impl Shared {
    /// Sees to it that a task which runs longer than allowed is told so; until when it may.
    pub(super) fn watch(self: &Arc<Self>, entry: &Arc<Entry>) -> Option<Instant> {
        let mut state = self.state.lock();
        let until = Instant::now().checked_add(state.limits.timeout?)?;
        state.deadlines.insert((until, entry.seq), Arc::downgrade(entry));
        if !state.timing {
            let shared = self.clone();
            let thread = std::thread::Builder::new().name("cw-task-timer".into());
            // Without the thread the next task that starts tries again.
            state.timing = thread.spawn(move || shared.time()).is_ok();
        }
        self.timer.notify_all();
        Some(until)
    }

    /// The timer's thread: lives while there are deadlines.
    fn time(self: Arc<Self>) {
        let mut state = self.state.lock();
        while let Some((&(until, seq), _)) = state.deadlines.first_key_value() {
            if Instant::now() < until {
                self.timer.wait_until(&mut state, until);
                continue;
            }
            let late = state.deadlines.remove(&(until, seq)).as_ref().and_then(Weak::upgrade);
            drop(state);
            if let Some(entry) = late.filter(|e| !e.info.lock().state.is_final()) {
                entry.context.expire();
            }
            state = self.state.lock();
        }
        state.timing = false;
    }
}
