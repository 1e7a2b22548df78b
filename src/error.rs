//! The one error type, its status codes, and its advice.
//!
//! Every fallible function of the crate returns [`Result`]. An [`Error`] carries a [`Status`] (the number that
//! crosses the C border), a message that names the argument or the call that failed, and, where there is one,
//! advice: what the caller can do about it.

use std::fmt;

/// Why a call failed. The numbers are those of `cw_status` in C; they are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Status {
    /// An argument is out of its domain: null, zero, overflow, misaligned, not UTF-8.
    InvalidArgument = 1,
    /// No object has this id, name or path.
    NotFound = 2,
    /// An object with this id exists already.
    AlreadyExists = 3,
    /// The device (or the host) has no memory left.
    OutOfMemory = 4,
    /// The tenant's own limit would be exceeded. Nothing was allocated.
    QuotaExceeded = 5,
    /// The pointer, stream or handle belongs to nobody here or to another tenant.
    NotOwner = 6,
    /// The system, kernel, driver or bridge has not been initialised, or was shut down.
    NotInitialized = 7,
    /// This device, driver or build cannot do it; the message says which would.
    Unsupported = 8,
    /// There is no such device, or its driver is not installed.
    NoDevice = 9,
    /// The device stopped answering; its context has to be rebuilt.
    DeviceLost = 10,
    /// The device's driver answered an error that has no status of its own; see [`Error::driver_code`].
    Driver = 11,
    /// The operating system refused: files, mappings, threads.
    Io = 12,
    /// A file or text does not follow its format.
    Format = 13,
    /// The work was cancelled before it finished.
    Cancelled = 14,
    /// The work did not finish in time.
    Timeout = 15,
    /// The object is in use.
    Busy = 16,
    /// A callback of the application failed; the message is its own.
    Callback = 17,
    /// A bug in Cogniware: a panic was caught at the border.
    Panic = 18,
    /// A bug in Cogniware: an invariant did not hold.
    Internal = 19,
    /// The caller's buffer is too small; the needed size was written.
    BufferTooSmall = 20,
}

impl Status {
    /// A short stable name, as used in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Status::InvalidArgument => "invalid_argument",
            Status::NotFound => "not_found",
            Status::AlreadyExists => "already_exists",
            Status::OutOfMemory => "out_of_memory",
            Status::QuotaExceeded => "quota_exceeded",
            Status::NotOwner => "not_owner",
            Status::NotInitialized => "not_initialized",
            Status::Unsupported => "unsupported",
            Status::NoDevice => "no_device",
            Status::DeviceLost => "device_lost",
            Status::Driver => "driver",
            Status::Io => "io",
            Status::Format => "format",
            Status::Cancelled => "cancelled",
            Status::Timeout => "timeout",
            Status::Busy => "busy",
            Status::Callback => "callback",
            Status::Panic => "panic",
            Status::Internal => "internal",
            Status::BufferTooSmall => "buffer_too_small",
        }
    }
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Clone, Debug)]
struct Inner {
    status: Status,
    message: String,
    advice: Option<String>,
    driver_code: Option<u32>,
}

/// An error with its status, message and advice. One pointer wide.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", Text(.0))]
pub struct Error(Box<Inner>);

struct Text<'a>(&'a Inner);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(advice) = &self.0.advice {
            write!(f, " ({advice})")?;
        }
        Ok(())
    }
}

impl Error {
    /// An error of `status` that says `message`.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { status, message: message.into(), advice: None, driver_code: None }))
    }

    /// An argument was wrong: `name` is the parameter's name, `problem` what is wrong with it.
    pub fn argument(name: &str, problem: impl fmt::Display) -> Self {
        Error::new(Status::InvalidArgument, format!("argument `{name}`: {problem}"))
    }

    /// Something the caller named does not exist.
    pub fn not_found(what: impl Into<String>) -> Self {
        Error::new(Status::NotFound, what)
    }

    /// This device, driver or build cannot do it.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Error::new(Status::Unsupported, what)
    }

    /// A file does not follow its format.
    pub fn format(what: impl Into<String>) -> Self {
        Error::new(Status::Format, what)
    }

    /// The operating system refused `what`.
    pub fn io(what: impl fmt::Display, cause: std::io::Error) -> Self {
        let status = match cause.kind() {
            std::io::ErrorKind::NotFound => Status::NotFound,
            _ => Status::Io,
        };
        Error::new(status, format!("{what}: {cause}"))
    }

    /// The same error with advice on what would help.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    /// The same error with the raw code of the device's driver.
    #[must_use]
    pub fn with_driver_code(mut self, code: u32) -> Self {
        self.0.driver_code = Some(code);
        self
    }

    /// The same error, its message prefixed with where it happened.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// The status code.
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// What happened, without the advice.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What would help, when there is something to say.
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }

    /// The raw code that the device's driver answered, when that is the cause.
    pub fn driver_code(&self) -> Option<u32> {
        self.0.driver_code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_holds_message_and_advice() {
        let e = Error::argument("size", "must not be 0")
            .advise("ask for at least one byte")
            .within("cw_memory_alloc");
        assert_eq!(e.status(), Status::InvalidArgument);
        assert_eq!(
            e.to_string(),
            "cw_memory_alloc: argument `size`: must not be 0 (ask for at least one byte)"
        );
    }
}
