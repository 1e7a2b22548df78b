//! Virtual streams: ordered queues of one tenant's work that pass the gate, are charged with measured device time, and can
//! be cancelled.
//!
//! A queue works on one stream of the device. Queues of one tenant on the same units share a *lane*: one lease at the gate
//! ([`super::Gate`]) and one thread. While nobody else waits for its units a lane holds its lease, and work goes straight to
//! the device on the caller's thread. As soon as somebody waits, work goes to the queue's own list, and the lane's thread
//! puts as much of it on the device as the tenant's share allows; what the tenant has used is read from events on the device
//! at the boundaries of busy time. The device never has more of a queue's work outstanding than about [`SLICE`] of its time
//! (or two launches, where single ones are longer), so that is what a tenant that comes waits for.
//!
//! [`SLICE`]: super::SLICE

mod ask;
mod cancel;
mod flag;
mod flight;
mod inner;
mod lane;
mod life;
mod pump;
mod work;

pub use flag::CancelFlag;
pub use work::{Cancelled, Execution, ExecutionState, QueueFigures, Work};

use super::share::Share;
use crate::device::{Device, Node, Stream};
use crate::memory::Space;
use crate::{Error, Result, Status};
use inner::Inner;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most work that waits in a queue's own list; who submits more waits.
pub const MOST_PENDING: usize = 1024;
/// Executions that ended otherwise than well, of which a queue can still tell.
pub const HISTORY: usize = 4096;

/// An ordered virtual stream of one tenant. Usable from any thread; work runs in the order of submission. Dropping it
/// waits for nothing: submitted work still runs.
///
/// Work is put on the device while holding the tenant's [`crate::memory::Door`], which is never waited for: while the
/// tenant's memory moves, work waits in the queue's list.
///
/// What is put on [`Queue::stream`] by other means is ordered with the queue's work but neither waits at the gate nor is
/// charged, unless it lies between launches of the queue.
pub struct Queue {
    inner: Arc<Inner>,
}

impl Queue {
    /// A queue of the tenant with this share and space, on a new stream of `node` with this priority (0 is normal, lower runs
    /// first; it matters only beside other work of the same tenant).
    pub fn new(
        device: &Arc<dyn Device>,
        share: &Arc<Share>,
        space: &Arc<Space>,
        node: &Arc<dyn Node>,
        priority: i32,
    ) -> Result<Arc<Queue>> {
        let stream = node.stream_create(priority)?;
        Queue::over(device, share, space, node, stream)
    }

    /// The same over a stream that exists; it must be a stream of `node` and of no other queue.
    pub fn over(
        device: &Arc<dyn Device>,
        share: &Arc<Share>,
        space: &Arc<Space>,
        node: &Arc<dyn Node>,
        stream: Arc<dyn Stream>,
    ) -> Result<Arc<Queue>> {
        Ok(Arc::new(Queue { inner: Inner::start(device, share, space, node, stream)? }))
    }

    /// Its number, unique in the process; [`Queue::number_of`] finds it in the ids of its executions.
    pub fn number(&self) -> u64 {
        self.inner.number
    }

    /// The number of the queue to which an execution belongs.
    pub fn number_of(execution: u64) -> u64 {
        execution >> inner::SEQUENCE_BITS
    }

    /// Puts work on the device, at once on this thread if nothing is in its way, else as soon as the tenant's share
    /// allows. `launch` is as told at [`Work`]. Waits only while [`MOST_PENDING`] others wait in the list.
    ///
    /// The id of the execution. Errors: what `launch` answers when it is called at once; when it is called later its error
    /// belongs to the execution and to the next [`Queue::synchronize`]. [`Status::Cancelled`] or what was given to
    /// [`Queue::end`] after that.
    #[inline]
    pub fn run<F>(&self, launch: F) -> Result<u64>
    where
        F: FnOnce(&dyn Stream) -> Result<()> + Send + 'static,
    {
        if let Some(_open) = self.inner.space.door().try_enter()
            && let Some(mut state) = self.inner.lock_ready()?
        {
            return self.inner.put_now(&mut state, launch);
        }
        self.inner.submit(Work::new("work", launch))
    }

    /// Submits work. The id of its execution; all errors of its launch belong to that, and to the next
    /// [`Queue::synchronize`]. Waits only while [`MOST_PENDING`] others wait in the list.
    ///
    /// Errors: pieces or a timeout of 0; [`Status::Cancelled`] or what was given to [`Queue::end`] after that.
    pub fn submit(&self, work: Work) -> Result<u64> {
        self.inner.submit(work)
    }

    /// Waits until everything submitted before has ended. The first error since the last call, if any.
    pub fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }

    /// Waits until everything submitted before has ended, well or not: errors of executions stay for the next
    /// [`Queue::synchronize`]. For whoever is about to take away what work may still use.
    pub fn settle(&self) -> Result<()> {
        self.inner.settle()
    }

    /// Whether everything submitted has ended.
    pub fn is_idle(&self) -> Result<bool> {
        self.inner.is_idle()
    }

    /// Waits until the execution has ended, at most `timeout`; where it stands then.
    pub fn wait(&self, execution: u64, timeout: Duration) -> Result<Execution> {
        let until = Instant::now().checked_add(timeout);
        loop {
            let now = self.inner.execution(execution)?;
            let over = until.is_some_and(|u| Instant::now() >= u);
            if (now.state.is_final() && !now.running) || over {
                return Ok(now);
            }
            self.inner.await_progress(until);
        }
    }

    /// Where an execution stands. [`Status::NotFound`] for ids that this queue never gave. Of what ended otherwise than well
    /// the last [`HISTORY`] are remembered; older ones are told as finished.
    pub fn state(&self, execution: u64) -> Result<Execution> {
        self.inner.execution(execution)
    }

    /// Cancels an execution: queued work is withdrawn; work of pieces, and work that polls its flag, stops. What has ended
    /// stays as it is.
    ///
    /// Errors: [`Status::NotFound`]; [`Status::Unsupported`] for work on the device that cannot be stopped: it runs on.
    pub fn cancel(&self, execution: u64) -> Result<Cancelled> {
        self.inner.cancel(execution)
    }

    /// Moves the queue to another node: what is on the device ends on the old one, everything after runs on a new stream of
    /// the new one. Order is kept, nothing is lost; on an error nothing changes.
    pub fn move_to(&self, node: &Arc<dyn Node>, priority: i32) -> Result<()> {
        let stream = node.stream_create(priority)?;
        self.move_over(node, stream);
        Ok(())
    }

    /// The same to a stream that exists; as for [`Queue::over`].
    pub fn move_over(&self, node: &Arc<dyn Node>, stream: Arc<dyn Stream>) {
        self.inner.move_over(node, stream);
    }

    /// The stream on which it works now.
    pub fn stream(&self) -> Arc<dyn Stream> {
        self.inner.stream()
    }

    /// The node on which it works now.
    pub fn node(&self) -> Arc<dyn Node> {
        self.inner.node()
    }

    /// Figures since it was made.
    pub fn figures(&self) -> QueueFigures {
        self.inner.figures()
    }

    /// Ends the queue: what waits is cancelled with `why`, running work that can be stopped is stopped, and nothing more is
    /// taken. What is on the device runs to its end, which [`Queue::synchronize`] waits for.
    pub fn end(&self, why: Error) {
        self.inner.end(why);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.inner.close();
    }
}

/// The error for an execution that a queue does not know.
fn unknown(execution: u64) -> Error {
    Error::new(Status::NotFound, format!("execution {execution} does not exist on this stream"))
}

#[cfg(test)]
mod tests;
