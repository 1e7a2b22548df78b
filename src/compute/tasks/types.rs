//! What a task asks for, and what is known of it.

use super::Stack;
use super::effort::Effort;
use super::nice::Runner;
use crate::compute::Share;
use crate::memory::Account;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

/// How urgent a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Priority {
    /// Before everything else.
    Critical = 0,
    /// Before normal work.
    High = 1,
    /// The default.
    Normal = 2,
    /// After normal work.
    Low = 3,
    /// When nothing else wants to run.
    Background = 4,
}

impl Priority {
    /// The priority with this number (0 critical to 4 background).
    pub fn from_number(n: i32) -> Result<Priority> {
        Ok(match n {
            0 => Priority::Critical,
            1 => Priority::High,
            2 => Priority::Normal,
            3 => Priority::Low,
            4 => Priority::Background,
            _ => {
                return Err(Error::argument(
                    "priority",
                    format!("{n} is not in 0 (critical) to 4 (background)"),
                ));
            }
        })
    }

    /// critical, high, normal, low or background.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Critical => "critical",
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
            Priority::Background => "background",
        }
    }

    /// The priority with this name: critical, high, normal, low, background.
    pub fn from_name(name: &str) -> Result<Priority> {
        Ok(match name {
            "critical" => Priority::Critical,
            "high" => Priority::High,
            "normal" => Priority::Normal,
            "low" => Priority::Low,
            "background" => Priority::Background,
            _ => {
                let known = "critical, high, normal, low or background";
                return Err(Error::argument("priority", format!("{name:?} is not {known}")));
            }
        })
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    /// Waiting for its turn or its needs.
    Pending,
    /// Its body runs.
    Running,
    /// Its body returned a result.
    Completed,
    /// Its body returned an error or panicked; the message is the result.
    Failed,
    /// Cancelled before or while it ran.
    Cancelled,
}

impl TaskState {
    /// pending, running, completed, failed or cancelled.
    pub fn name(self) -> &'static str {
        match self {
            TaskState::Pending => "pending",
            TaskState::Running => "running",
            TaskState::Completed => "completed",
            TaskState::Failed => "failed",
            TaskState::Cancelled => "cancelled",
        }
    }

    /// Completed, failed or cancelled.
    pub fn is_final(self) -> bool {
        matches!(self, TaskState::Completed | TaskState::Failed | TaskState::Cancelled)
    }
}

/// The work of a task: gets a context by which it can see that it was cancelled, returns its result.
pub type TaskBody = Box<dyn FnOnce(&TaskContext) -> Result<String> + Send>;

/// A task to schedule.
pub struct TaskSpec {
    /// The id to give it, or `None` for a new one. An id that is in use by an unfinished task is refused.
    pub id: Option<String>,
    /// What kind of work it is, for people.
    pub kind: String,
    /// The tenant's id.
    pub tenant: String,
    /// The tenant's account, for the memory it needs.
    pub account: Arc<Account>,
    /// The tenant's standing, whose weight orders tasks of one priority.
    pub share: Arc<Share>,
    /// Cores or SMs that the tenant's tasks may use at the same time.
    pub processors: u32,
    /// How urgent it is.
    pub priority: Priority,
    /// Bytes that must be free within the tenant's limit when it starts.
    pub memory: u64,
    /// Cores or SMs it needs.
    pub cores: u32,
    /// Where the body's thread may run (operating system core numbers); empty for anywhere.
    pub affinity: Vec<u32>,
    /// The stack of the body's thread; `None` for the usual one of 2 MiB.
    pub stack: Option<Arc<Stack>>,
    /// The work.
    pub body: TaskBody,
}

/// What a running body sees of its task.
pub struct TaskContext {
    cancelled: AtomicBool,
    pub(super) expired: AtomicBool,
    pub(super) on_cancel: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    pub(super) effort: Arc<Effort>,
    pub(super) runner: Runner,
    /// When it was scheduled.
    pub(super) born: Instant,
}

impl TaskContext {
    pub(super) fn new() -> TaskContext {
        TaskContext {
            cancelled: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            on_cancel: Mutex::new(None),
            effort: Arc::default(),
            runner: Runner::default(),
            born: Instant::now(),
        }
    }

    /// The weight of this task's work, and what it has used. Work that the body hands to others (a model, the gate)
    /// is to be charged here.
    pub fn effort(&self) -> &Arc<Effort> {
        &self.effort
    }

    /// Says that the body only waits for work it handed to others: its own thread is not weighed from here on.
    pub fn only_waits(&self) {
        // A thread that cannot be restored is found out when the body has returned.
        self.runner.rest();
    }

    /// Whether somebody asked for the end of this task. A body that returns an error after this counts as cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(SeqCst)
    }

    /// Calls `f` when the task is cancelled (at once if it was already), on the thread of whoever cancels.
    pub fn on_cancel(&self, f: impl FnOnce() + Send + 'static) {
        let mut slot = self.on_cancel.lock();
        if self.is_cancelled() {
            drop(slot);
            f();
        } else {
            *slot = Some(Box::new(f));
        }
    }

    /// It ran for longer than allowed.
    pub(super) fn expire(&self) {
        self.expired.store(true, SeqCst);
        self.cancel();
    }

    pub(super) fn cancel(&self) {
        let hook = {
            let mut slot = self.on_cancel.lock();
            self.cancelled.store(true, SeqCst);
            slot.take()
        };
        if let Some(f) = hook {
            f();
        }
    }
}

/// What is known of a task.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// Its id.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// What kind of work it is.
    pub kind: String,
    /// How urgent it is.
    pub priority: Priority,
    /// Bytes it asked for.
    pub memory: u64,
    /// Cores it asked for.
    pub cores: u32,
    /// Where it is in its life.
    pub state: TaskState,
    /// When it was scheduled by the caller.
    pub created: SystemTime,
    /// When its body started.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub finished: Option<SystemTime>,
    /// The body's result, or the error's message.
    pub result: String,
    /// The error's status when it failed or was cancelled.
    pub status: Option<Status>,
    /// The weight of its work within its tenant's; 1 is normal.
    pub weight: f64,
    /// Measured device time of its work so far; that of a function's own code (on the CPU device) when it has ended.
    pub device_time: Duration,
}
