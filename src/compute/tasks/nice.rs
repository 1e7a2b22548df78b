//! The weight of a task's own code on the CPU device, where the operating system divides a core between threads.
//!
//! Linux gives a thread of nice n + 1 the share of one of nice n over 1.25, so a weight is a number of such steps.

use super::effort::Effort;
use crate::{Error, Result, Status};
use parking_lot::Mutex;

/// The thread that runs a task's function, while it does.
#[derive(Default)]
pub(super) struct Runner(Mutex<Option<Thread>>);

struct Thread {
    id: libc::id_t,
    /// What it was before.
    base: i32,
    now: i32,
}

impl Runner {
    /// The calling thread begins to run a task of this weight. Without the right to go below its present nice value
    /// a weight above 1 counts as 1.
    pub(super) fn begin(&self, effort: &Effort) {
        // SAFETY: a plain system call.
        let id = unsafe { libc::gettid() } as libc::id_t;
        let base = nice_of(id);
        let mut thread = Thread { id, base, now: base };
        let _ = thread.weigh(effort.weight());
        *self.0.lock() = Some(thread);
    }

    /// What the calling thread does from here on is not weighed.
    pub(super) fn rest(&self) {
        let mut thread = self.0.lock();
        if thread.as_mut().is_some_and(|t| t.weigh(1.0).is_ok()) {
            *thread = None;
        }
    }

    /// The calling thread has run it. False when the thread cannot be what it was before: it must not run other tasks.
    pub(super) fn end(&self) -> bool {
        match self.0.lock().take() {
            Some(mut thread) => thread.weigh(1.0).is_ok(),
            None => true,
        }
    }

    /// Changes the weight of what runs now; nothing to do when nothing runs.
    pub(super) fn weigh(&self, weight: f64) -> Result<()> {
        // Held meanwhile: the thread cannot go on to another task in between.
        self.0.lock().as_mut().map_or(Ok(()), |thread| thread.weigh(weight))
    }
}

impl Thread {
    fn weigh(&mut self, weight: f64) -> Result<()> {
        let wanted = (self.base - (weight.ln() / 1.25f64.ln()).round() as i32).clamp(-20, 19);
        if wanted == self.now {
            return Ok(());
        }
        // SAFETY: a plain system call on a thread of this process.
        if unsafe { libc::setpriority(libc::PRIO_PROCESS, self.id, wanted) } != 0 {
            return Err(Error::new(
                Status::Unsupported,
                format!(
                    "the operating system does not let this process raise a thread from nice {} to {wanted}",
                    self.now
                ),
            )
            .advise("set the weight before the task starts, give the process CAP_SYS_NICE, or weigh the others less"));
        }
        self.now = wanted;
        Ok(())
    }
}

fn nice_of(thread: libc::id_t) -> i32 {
    // SAFETY: a plain system call; -1 for an error is a value that changes nothing here.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, thread) }
}

/// CPU time of the calling thread so far.
pub(super) fn cpu_time() -> std::time::Duration {
    // SAFETY: writes a struct on the stack.
    let t = unsafe {
        let mut t = std::mem::zeroed::<libc::timespec>();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t);
        t
    };
    std::time::Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}
