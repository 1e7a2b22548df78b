//! The one error type, its status codes, and its advice.
//!
//! Every fallible function of the crate returns [`Result`]. An [`Error`] carries a [`Status`] (the number that
//! crosses the C border), a [`Category`], a message that names the argument or the call that failed, and, where there
//! is one, advice: what the caller can do about it. It keeps the driver's or system's call that refused, and the
//! exported function by which it left.

mod category;

pub use category::Category;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Every status, by number.
    pub const ALL: [Status; 20] = [
        Status::InvalidArgument,
        Status::NotFound,
        Status::AlreadyExists,
        Status::OutOfMemory,
        Status::QuotaExceeded,
        Status::NotOwner,
        Status::NotInitialized,
        Status::Unsupported,
        Status::NoDevice,
        Status::DeviceLost,
        Status::Driver,
        Status::Io,
        Status::Format,
        Status::Cancelled,
        Status::Timeout,
        Status::Busy,
        Status::Callback,
        Status::Panic,
        Status::Internal,
        Status::BufferTooSmall,
    ];

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
    os_code: Option<i32>,
    category: Option<Category>,
    call: Option<String>,
    /// The exported function by which it left, with its arguments.
    place: Option<String>,
    /// Shared by all clones: an error is written into the history once, however often it is handed on.
    recorded: Arc<AtomicBool>,
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
        Error(Box::new(Inner {
            status,
            message: message.into(),
            advice: None,
            driver_code: None,
            os_code: None,
            category: None,
            call: None,
            place: None,
            recorded: Arc::default(),
        }))
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
        let mut e = Error::new(status, format!("{what}: {cause}"));
        e.0.os_code = cause.raw_os_error();
        e
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

    /// The same error in this category, unless it has one already.
    #[must_use]
    pub fn in_category(mut self, category: Category) -> Self {
        self.0.category.get_or_insert(category);
        self
    }

    /// The same error with the call of the driver or the operating system that refused, arguments included:
    /// `cuMemCreate(bytes=2097152)`. The first one stays: it is nearest to the cause.
    #[must_use]
    pub fn with_call(mut self, call: impl Into<String>) -> Self {
        self.0.call.get_or_insert_with(|| call.into());
        self
    }

    /// The same error with the exported function by which it leaves and its arguments:
    /// `cw_memory_alloc(tenant=0x…, bytes=4096)`. The latest one stays.
    #[must_use]
    pub fn leaving(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
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

    /// The operating system's error number (`errno`), when that is the cause.
    pub fn os_code(&self) -> Option<i32> {
        self.0.os_code
    }

    /// What part of the work it belongs to.
    pub fn category(&self) -> Category {
        let place = self.0.place.as_deref().unwrap_or("");
        let name = place.split('(').next().unwrap_or("");
        self.0.category.unwrap_or_else(|| Category::of(self.0.status, name))
    }

    /// The call of the driver or the operating system that refused, with its arguments, when that is the cause.
    pub fn call(&self) -> Option<&str> {
        self.0.call.as_deref()
    }

    /// The exported function by which it left, with its arguments, once it has.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// True the first time for this error and all its clones: whoever is told so writes it down.
    pub(crate) fn record_once(&self) -> bool {
        !self.0.recorded.swap(true, Ordering::Relaxed)
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

    #[test]
    fn the_first_call_and_the_latest_place_stay() {
        let e = Error::new(Status::Driver, "x").with_call("cuA(n=1)").with_call("cuB()");
        assert_eq!((e.call(), e.place(), e.category()), (Some("cuA(n=1)"), None, Category::Device));
        let e = e.leaving("cw_bridge_copy_to_gpu(bytes=1)");
        assert_eq!((e.place(), e.category()), (Some("cw_bridge_copy_to_gpu(bytes=1)"), Category::Bridge));
        assert_eq!(e.in_category(Category::Kernel).in_category(Category::Task).category(), Category::Kernel);
    }

    #[test]
    fn an_error_and_its_clones_are_recorded_once() {
        let e = Error::argument("a", "b");
        let twin = e.clone().within("somewhere");
        assert!(twin.record_once());
        assert!(!e.record_once() && !twin.clone().record_once());
        assert!(Error::argument("a", "b").record_once());
    }

    #[test]
    fn statuses_are_listed_by_number() {
        for (at, status) in Status::ALL.iter().enumerate() {
            assert_eq!(*status as usize, at + 1);
        }
    }
}
