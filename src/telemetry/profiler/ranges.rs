//! Ranges that the application marks.

use super::{Hold, Kind, Place, Span, Subject};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::Arc;

/// Most ranges that may be open on one thread: more are a missing end in a loop.
const DEEPEST: usize = 1024;

static OWN: Mutex<Option<Hold>> = Mutex::new(None);

thread_local! {
    /// A range that was begun while the profiler was off has its place here too, so that ends find their beginnings.
    static OPEN: RefCell<Vec<Option<Span>>> = const { RefCell::new(Vec::new()) };
}

/// Records everybody's work from now on, for a program that uses no manager. Does nothing when it was done.
pub fn enable() {
    OWN.lock().get_or_insert_with(Hold::new);
}

/// Ends what [`enable`] began; the figures stay.
pub fn disable() {
    *OWN.lock() = None;
}

/// Opens a range on this thread, of a tenant or of nobody.
pub fn push(name: &str, subject: Option<&Arc<Subject>>) -> Result<()> {
    if name.is_empty() {
        return Err(Error::argument("name", "must not be empty"));
    }
    OPEN.with_borrow_mut(|open| {
        if open.len() >= DEEPEST {
            return Err(Error::new(
                Status::InvalidArgument,
                format!("{DEEPEST} ranges are open on this thread"),
            )
            .advise("end each range that is begun"));
        }
        let span = super::on().then(|| {
            let place = subject.map_or_else(|| Place::of(None), Place::of_thread);
            Span::at(Kind::Range, name.to_owned(), place)
        });
        open.push(span);
        Ok(())
    })
}

/// Ends the range that was opened last on this thread.
pub fn pop() -> Result<()> {
    let span = OPEN.with_borrow_mut(Vec::pop).ok_or_else(|| {
        Error::new(Status::InvalidArgument, "no range is open on this thread")
            .advise("a range ends on the thread that began it")
    })?;
    if let Some(span) = span {
        span.end();
    }
    Ok(())
}
