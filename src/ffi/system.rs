//! The process-wide managers and the driver manager across the border: what `KernelDriverManager` and
//! `AdvancedCustomizedDriver` call.

use super::guard::{guard, out};
use super::handle::Table;
use super::kernel;
use super::map::export;
use super::types::{cw_driver, cw_kernel, cw_map, cw_status};
use crate::driver::Driver;
use crate::kernel::Kernel;
use crate::system::System;
use std::sync::Arc;

static DRIVERS: Table<cw_driver, Driver> = Table::new(5, "cw_driver");

/// Initialises the process-wide kernel and driver managers. Does nothing when that was done.
#[unsafe(no_mangle)]
pub extern "C" fn cw_system_initialize() -> cw_status {
    guard("cw_system_initialize", || System::global().initialize())
}

/// Shuts the process-wide managers down: what was made through them ends. Does nothing when they are not initialised.
#[unsafe(no_mangle)]
pub extern "C" fn cw_system_shutdown() -> cw_status {
    guard("cw_system_shutdown", || {
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
    guard("cw_system_is_initialized", || {
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
    guard("cw_system_kernel", || {
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
    guard("cw_system_driver", || {
        // SAFETY: the caller's promise.
        *unsafe { out("driver", driver)? } = DRIVERS.insert(System::global().driver().clone());
        Ok(())
    })
}

/// Performance figures of the system; see `cw_kernel_metrics`. Free the map.
///
/// # Safety
/// `metrics` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_system_metrics(metrics: *mut *mut cw_map) -> cw_status {
    guard("cw_system_metrics", || {
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
    guard("cw_system_usage", || {
        // SAFETY: the caller's promise.
        let usage = unsafe { out("usage", usage)? };
        let figures = System::global().kernel().usage()?;
        *usage = export(figures.into_iter().map(|(k, v)| (k, v.to_string())).collect());
        Ok(())
    })
}

/// Makes a driver manager with a kernel manager of its own. Free it with `cw_driver_free`.
///
/// # Safety
/// `driver` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_create(driver: *mut *mut cw_driver) -> cw_status {
    guard("cw_driver_create", || {
        // SAFETY: the caller's promise.
        let driver = unsafe { out("driver", driver)? };
        *driver = DRIVERS.insert(Arc::new(Driver::new(Arc::new(Kernel::default()))));
        Ok(())
    })
}

/// Frees the handle. `NULL` is ignored.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_free(driver: *mut cw_driver) -> cw_status {
    guard("cw_driver_free", || DRIVERS.remove("driver", driver).map(drop))
}

/// Initialises the driver manager and its kernel manager. Does nothing when that was done.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_initialize(driver: *mut cw_driver) -> cw_status {
    guard("cw_driver_initialize", || DRIVERS.get("driver", driver)?.initialize())
}

/// Ends the driver manager; its kernel manager lives on.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_shutdown(driver: *mut cw_driver) -> cw_status {
    guard("cw_driver_shutdown", || {
        DRIVERS.get("driver", driver)?.shutdown();
        Ok(())
    })
}

/// What is there: `driver_initialized`, versions, the devices. Answers before `initialize` too. Free the map.
///
/// # Safety
/// `info` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_info(driver: *const cw_driver, info: *mut *mut cw_map) -> cw_status {
    guard("cw_driver_info", || {
        // SAFETY: the caller's promise.
        let info = unsafe { out("info", info)? };
        *info = export(DRIVERS.get("driver", driver)?.info()?);
        Ok(())
    })
}

/// A handle to the driver manager's kernel manager. Free it with `cw_kernel_free`.
///
/// # Safety
/// `kernel` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_kernel(
    driver: *const cw_driver,
    kernel: *mut *mut cw_kernel,
) -> cw_status {
    guard("cw_driver_kernel", || {
        // SAFETY: the caller's promise.
        let kernel = unsafe { out("kernel", kernel)? };
        *kernel = kernel::handle(DRIVERS.get("driver", driver)?.kernel()?);
        Ok(())
    })
}
