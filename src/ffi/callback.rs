//! Callbacks of the application: function, user data, drop.

use super::types::cw_drop_function;
use std::ffi::c_void;

/// User data of a callback. Gives it back exactly once, when this value is dropped.
pub(super) struct UserData {
    pub(super) data: *mut c_void,
    drop: cw_drop_function,
}

// SAFETY: the contract of callbacks says that they may be called and dropped on any thread.
unsafe impl Send for UserData {}
// SAFETY: as above; callbacks that can run concurrently say so in their documentation.
unsafe impl Sync for UserData {}

impl UserData {
    /// Takes the user data over. Make this the first thing of an exported function, so that it is dropped on every
    /// way out.
    pub(super) fn new(data: *mut c_void, drop: cw_drop_function) -> UserData {
        UserData { data, drop }
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(f) = self.drop {
            // SAFETY: the application promised that its drop function takes its user data, once.
            unsafe { f(self.data) };
        }
    }
}
