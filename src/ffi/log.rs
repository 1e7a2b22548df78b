//! Logging across the border.

use super::callback::UserData;
use super::guard::guard;
use super::types::{cw_drop_function, cw_log_function, cw_status};
use crate::telemetry::log::{self, Level, Record};
use crate::{Error, Result};
use std::ffi::{CString, c_void};

/// Sends what Cogniware does to `function` from now on: records of `level` (`CW_LOG_ERROR` to `CW_LOG_TRACE`) and more
/// important ones. `CW_LOG_OFF`, or a `function` of `NULL`, turns logging off, which is how a program begins unless the
/// environment variable `COGNIWARE_LOG` names a level (`error`, `warn`, `info`, `debug`, `trace`): then records go to
/// standard error until this function is called.
///
/// The function is called on the threads that do the work, by several at a time and with no lock held; its texts are
/// valid during the call. It may call Cogniware; what that would log is left out. `drop` runs when the last thread has
/// left a function that was replaced.
///
/// # Safety
/// `function` and `drop` must be safe to call with `user_data` from any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_log_set(
    function: cw_log_function,
    user_data: *mut c_void,
    drop: cw_drop_function,
    level: i32,
) -> cw_status {
    let user = UserData::new(user_data, drop);
    guard(call!("cw_log_set", function, user_data, drop, level), || {
        let level = Level::from_number(level)?;
        let Some(function) = function else {
            log::off();
            return Ok(());
        };
        log::set(level, move |record: &Record<'_>| {
            // A NUL inside would end the text early: shown as a replacement.
            let text = |t: &str| CString::new(t.replace('\0', "\u{fffd}")).unwrap_or_default();
            let (target, message) = (text(record.target), text(record.message));
            let user = &user;
            // SAFETY: the caller's promise; both texts outlive the call.
            unsafe { function(user.data, record.level as i32, target.as_ptr(), message.as_ptr()) };
        });
        Ok(())
    })
}

/// Writes a record of the application into the same log, at a `level` of `CW_LOG_ERROR` to `CW_LOG_TRACE`.
///
/// # Safety
/// `target` and `message` must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_log_write(
    level: i32,
    target: *const std::ffi::c_char,
    message: *const std::ffi::c_char,
) -> cw_status {
    guard(call!("cw_log_write", level, target, message), || {
        // SAFETY: the caller's promise.
        let (target, message) =
            unsafe { (super::text::text("target", target)?, super::text::text("message", message)?) };
        write(Level::from_number(level)?, target, message)
    })
}

fn write(level: Option<Level>, target: &str, message: &str) -> Result<()> {
    let level = level.ok_or_else(|| Error::argument("level", "0 (off) is no level of a record"))?;
    if log::enabled(level) {
        log::emit(level, target, format_args!("{message}"));
    }
    Ok(())
}
