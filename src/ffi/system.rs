//! The process-wide managers across the border: what `KernelDriverManager` calls.

use super::guard::{guard, out};
use super::map::export;
use super::types::{cw_driver, cw_kernel, cw_map, cw_status};
use super::{driver, kernel};
use crate::system::System;

/// Initialises the process-wide kernel and driver managers. Does nothing when that was done.
#[unsafe(no_mangle)]
pub extern "C" fn cw_system_initialize() -> cw_status {
    guard(call!("cw_system_initialize"), || System::global().initialize())
}

/// Shuts the process-wide managers down: what was made through them ends. Does nothing when they are not initialised.
#[unsafe(no_mangle)]
pub extern "C" fn cw_system_shutdown() -> cw_status {
    guard(call!("cw_system_shutdown"), || {
        System::global().shutdown();
        Ok(())
    })
}

/// Writes 1 between `initialize` and `shutdown`, else 0.
///
/// # Safety
/// `initialized` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_system_is_initialized(initialized: *mut i32) -> cw_status {
    guard(call!("cw_system_is_initialized", initialized), || {
        // SAFETY: the caller's promise.
        *unsafe { out("initialized", initialized)? } = i32::from(System::global().is_initialized());
        Ok(())
    })
}

/// A handle to the process-wide kernel manager. Free it with `cw_kernel_free`; the manager stays.
///
/// # Safety
/// `kernel` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_system_kernel(kernel: *mut *mut cw_kernel) -> cw_status {
    guard(call!("cw_system_kernel", kernel), || {
        // SAFETY: the caller's promise.
        *unsafe { out("kernel", kernel)? } = kernel::handle(System::global().kernel());
        Ok(())
    })
}

/// A handle to the process-wide driver manager. Free it with `cw_driver_free`; the manager stays.
///
/// # Safety
/// `driver` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_system_driver(driver: *mut *mut cw_driver) -> cw_status {
    guard(call!("cw_system_driver", driver), || {
        // SAFETY: the caller's promise.
        *unsafe { out("driver", driver)? } = driver::handle(System::global().driver());
        Ok(())
    })
}

/// Performance figures of the system; see `cw_kernel_metrics`. Free the map.
///
/// # Safety
/// `metrics` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_system_metrics(metrics: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_system_metrics", metrics), || {
        // SAFETY: the caller's promise.
        let metrics = unsafe { out("metrics", metrics)? };
        let figures = System::global().kernel().metrics()?;
        *metrics = export(figures.into_iter().map(|(k, v)| (k, v.to_string())).collect());
        Ok(())
    })
}

/// Resources in use; see `cw_kernel_usage`. Free the map.
///
/// # Safety
/// `usage` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_system_usage(usage: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_system_usage", usage), || {
        // SAFETY: the caller's promise.
        let usage = unsafe { out("usage", usage)? };
        let figures = System::global().kernel().usage()?;
        *usage = export(figures.into_iter().map(|(k, v)| (k, v.to_string())).collect());
        Ok(())
    })
}
