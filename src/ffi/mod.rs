//! The C border: the only place with exported functions.
//!
//! The contract, once for all of them:
//! - A function returns a `cw_status`; 0 is success. What went wrong is in `cw_last_error` of the same thread until
//!   its next call; a `_free` that succeeds leaves it as it is. Outputs are written only on success.
//! - Objects are handles. A handle that was freed, was never given out, or is of another type is an error
//!   (`CW_ERROR_INVALID_ARGUMENT`), never a crash. Freeing `NULL` does nothing and succeeds. Every handle may be used
//!   from any thread, also by several at a time.
//! - Text in is UTF-8, NUL-terminated, and borrowed for the call. Text out goes to a buffer of the caller: the
//!   function writes as much as fits with a final NUL, sets `*needed` to the whole size with the NUL, and answers
//!   `CW_ERROR_BUFFER_TOO_SMALL` when it did not fit. A length of 0 with a `NULL` buffer asks for the size.
//! - A callback comes as function, user data and an optional drop function. Drop runs exactly once, when Cogniware
//!   will not call the function any more, also when the registering call fails. No lock is held meanwhile.
//! - A panic never crosses the border: it becomes `CW_ERROR_PANIC`.
//! - In a process that was forked from one that used Cogniware every function answers `CW_ERROR_UNSUPPORTED`.

#[cfg(panic = "abort")]
compile_error!(
    "Cogniware must be built with panic = \"unwind\": a panic caught at the C border is an error there"
);

#[macro_use]
mod arguments;
mod bridge;
mod callback;
mod config;
mod device;
mod direct;
mod driver;
mod driver_files;
mod driver_tuning;
mod error;
mod guard;
mod handle;
mod history;
mod kernel;
mod log;
mod map;
mod memory;
mod model;
mod node;
mod node_more;
mod partition;
mod profiler;
mod shared;
mod stream;
mod system;
mod task;
mod task_type;
mod tenant;
mod text;
mod types;
mod virtual_compute;
mod virtual_gpu;
mod virtual_layout;
mod virtual_lending;
mod virtual_memory;
mod virtual_monitor;
mod virtual_programs;
mod virtual_types;
mod virtual_work;

pub use types::*;
pub use virtual_types::*;
