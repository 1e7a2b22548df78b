//! A function of the application that is called with the figures again and again.

use super::ticker::Ticker;
use crate::Result;
use parking_lot::Mutex;
use std::time::Duration;

static HOOK: Mutex<Option<Ticker>> = Mutex::new(None);

/// Calls `function` at every `interval` (10 ms to a day), for the first time one interval from now, on a thread of its own and
/// with no lock held, until [`unhook`] or until another function takes its place. The one before has had its last call,
/// and is dropped, when this returns; called by that function itself, it is dropped when it returns.
///
/// Errors: [`crate::Status::InvalidArgument`] for the interval; then the one before goes on.
pub fn hook(interval: Duration, function: impl FnMut() + Send + 'static) -> Result<()> {
    let ticker = Ticker::start("cw-monitor", "intervalMs", interval, false, function)?;
    let before = HOOK.lock().replace(ticker);
    drop(before);
    Ok(())
}

/// Ends the calls. When it returns the function has had its last call and is dropped, unless the function itself ends them.
/// Does nothing when there is none.
pub fn unhook() {
    let before = HOOK.lock().take();
    drop(before);
}
