//! What is submitted to a queue, and what is told of it.

use super::CancelFlag;
use crate::device::{DevicePtr, Stream};
use crate::{Error, Result};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

pub(super) type Once = Box<dyn FnOnce(&dyn Stream) -> Result<()> + Send>;
pub(super) type Polled = Box<dyn FnOnce(&dyn Stream, &CancelFlag) -> Result<()> + Send>;
pub(super) type Piece = Box<dyn FnMut(u32, &dyn Stream) -> Result<()> + Send>;

pub(super) enum Body {
    Once(Once),
    Polled(Polled),
    Pieces { count: u32, run: Piece },
}

/// Work for a [`super::Queue`]: functions that put kernels, graphs, copies or host functions on the stream that they are
/// given, and return without waiting for them. They run on any thread, with the queue locked: they must not use the
/// queue, wait for the stream, or take long themselves.
pub struct Work {
    pub(super) name: Cow<'static, str>,
    pub(super) timeout: Option<Duration>,
    pub(super) touches: Option<Arc<[(DevicePtr, u64)]>>,
    pub(super) body: Body,
}

impl Work {
    /// Work that is put on the stream at once and cannot be stopped from then on. `name` is shown in errors.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        launch: impl FnOnce(&dyn Stream) -> Result<()> + Send + 'static,
    ) -> Work {
        Work { name: name.into(), timeout: None, touches: None, body: Body::Once(Box::new(launch)) }
    }

    /// Work that polls the flag it is given while it runs, at least every 5 ms, and ends early once it is raised.
    pub fn polled(
        name: impl Into<Cow<'static, str>>,
        launch: impl FnOnce(&dyn Stream, &CancelFlag) -> Result<()> + Send + 'static,
    ) -> Work {
        Work { name: name.into(), timeout: None, touches: None, body: Body::Polled(Box::new(launch)) }
    }

    /// Work of `count` pieces (at least 1), of which at most two are on the device at a time: between pieces other tenants
    /// have their turn, and the work can be stopped. `launch` is called with 0 to `count - 1` in order; its first error
    /// ends the work. A piece should take 2 ms or less.
    pub fn pieces(
        name: impl Into<Cow<'static, str>>,
        count: u32,
        launch: impl FnMut(u32, &dyn Stream) -> Result<()> + Send + 'static,
    ) -> Work {
        Work {
            name: name.into(),
            timeout: None,
            touches: None,
            body: Body::Pieces { count, run: Box::new(launch) },
        }
    }

    /// Says which of the tenant's memory it touches, as addresses and bytes: other memory of the tenant that lies on the
    /// host ([`crate::memory::SpillPolicy`]) stays there. Without it all is fetched before it begins.
    pub fn touching(mut self, ranges: &[(DevicePtr, u64)]) -> Work {
        self.touches = Some(ranges.into());
        self
    }

    /// Bounds the time from submission to the end. Late work that has not begun is withdrawn, late work that can be
    /// stopped is stopped, and both have timed out; other late work runs on, is told as timed out from then on
    /// ([`Execution::running`] says that it still runs), and delays what is behind it.
    pub fn timeout(mut self, timeout: Duration) -> Work {
        self.timeout = Some(timeout);
        self
    }
}

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionState {
    /// Not on the device yet.
    Queued,
    /// On the device's stream, or running.
    Running,
    /// Ended well.
    Finished,
    /// It could not be put on the stream, or the device reported an error.
    Failed,
    /// Withdrawn or stopped by [`super::Queue::cancel`], or by the end of its queue.
    Cancelled,
    /// Late; see [`Work::timeout`].
    TimedOut,
}

impl ExecutionState {
    /// A name for reports: `queued`, `running`, `finished`, `failed`, `cancelled`, `timed_out`.
    pub fn name(self) -> &'static str {
        match self {
            ExecutionState::Queued => "queued",
            ExecutionState::Running => "running",
            ExecutionState::Finished => "finished",
            ExecutionState::Failed => "failed",
            ExecutionState::Cancelled => "cancelled",
            ExecutionState::TimedOut => "timed_out",
        }
    }

    /// Whether it stays so.
    pub fn is_final(self) -> bool {
        !matches!(self, ExecutionState::Queued | ExecutionState::Running)
    }
}

/// What is told of one execution.
#[derive(Clone, Debug)]
pub struct Execution {
    /// Where it stands.
    pub state: ExecutionState,
    /// Why it failed, was cancelled or timed out.
    pub error: Option<Error>,
    /// Whether it is on the device: also true for late work that runs on, and for work that will stop at its next poll.
    pub running: bool,
}

/// What [`super::Queue::cancel`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It had not begun and will not.
    Withdrawn,
    /// It was told to stop and does so at its next poll, at most 5 ms from now.
    Stopping,
    /// It had ended already, well or not.
    Ended,
}

/// Figures of a queue since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QueueFigures {
    /// Work put on the stream; each piece of piecewise work counts.
    pub launches: u64,
    /// Measured device time. Where a burst of launches ended without anybody waiting for it, the last of them (at most as
    /// many as came before) are counted by the mean of those that were measured.
    pub device_time: Duration,
    /// Device time times the processors (SMs or cores) of the node it was used on: SM-seconds.
    pub processor_time: Duration,
    /// Time that work has waited between submission and the stream, added up.
    pub waited: Duration,
    /// Work that is queued now.
    pub pending: u64,
    /// Launches on the stream now, as far as they have been looked at.
    pub in_flight: u64,
    /// Executions that failed.
    pub failed: u64,
    /// Executions that were cancelled.
    pub cancelled: u64,
    /// Executions that were late.
    pub timed_out: u64,
}
