//! The stack of a tenant's task threads, when somebody bounds it.

use crate::memory::{Account, Charge};
use crate::{Error, Result};
use parking_lot::Mutex;
use std::sync::Arc;

/// A bound of the stack of a tenant's task threads: each task runs on a thread that has exactly so much. The tenant is
/// charged one stack while the bound lives, and one more for each further task that runs at the same time.
pub struct Stack {
    bytes: u64,
    account: Arc<Account>,
    state: Mutex<Running>,
}

struct Running {
    tasks: usize,
    /// One more than there are here is charged.
    charges: Vec<Charge>,
    _first: Charge,
}

impl Stack {
    /// The least that a thread needs to start.
    pub const LEAST: u64 = 64 << 10;
    /// More than any program means.
    pub const MOST: u64 = 16 << 30;

    /// Stacks of `bytes`, rounded up to pages of 4096.
    pub fn new(account: &Arc<Account>, bytes: u64) -> Result<Arc<Stack>> {
        if !(Stack::LEAST..=Stack::MOST).contains(&bytes) {
            return Err(Error::argument(
                "size",
                format!(
                    "{bytes} bytes are no stack of a task's thread: it has {} to {}",
                    Stack::LEAST,
                    Stack::MOST
                ),
            ));
        }
        let bytes = bytes.next_multiple_of(4096);
        let first = account.charge(bytes, "stack")?;
        let state = Mutex::new(Running { tasks: 0, charges: Vec::new(), _first: first });
        Ok(Arc::new(Stack { bytes, account: account.clone(), state }))
    }

    /// Bytes of each.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Runs `work` on a thread with such a stack and waits for it. `work` must not panic.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let _use = Use::new(self)?;
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("cw-task".into()).stack_size(self.bytes as usize);
            let running =
                thread.spawn_scoped(scope, work).map_err(|e| Error::io("starting a task thread", e))?;
            running.join().map_err(|_| Error::new(crate::Status::Panic, "a task's thread panicked"))
        })
    }
}

/// One task that runs.
struct Use<'a>(&'a Stack);

impl<'a> Use<'a> {
    fn new(stack: &'a Stack) -> Result<Use<'a>> {
        let mut state = stack.state.lock();
        if state.tasks > 0 {
            let charge = stack.account.charge(stack.bytes, "stack")?;
            state.charges.push(charge);
        }
        state.tasks += 1;
        Ok(Use(stack))
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.tasks -= 1;
        let charge = state.charges.pop();
        drop(state);
        drop(charge);
    }
}
