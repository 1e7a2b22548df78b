//! The driver manager across the border: what `AdvancedCustomizedDriver` calls.

use super::guard::{guard, out};
use super::handle::Table;
use super::kernel;
use super::map::export;
use super::types::{cw_driver, cw_kernel, cw_map, cw_status};
use crate::Result;
use crate::driver::Driver;
use crate::kernel::Kernel;
use std::sync::Arc;

static DRIVERS: Table<cw_driver, Driver> = Table::new(5, "cw_driver");

/// The manager behind a handle.
pub(super) fn get(driver: *const cw_driver) -> Result<Arc<Driver>> {
    DRIVERS.get("driver", driver)
}

/// A handle to this manager.
pub(super) fn handle(driver: &Arc<Driver>) -> *mut cw_driver {
    DRIVERS.insert(driver.clone())
}

/// Makes a driver manager with a kernel manager of its own. Free it with `cw_driver_free`.
///
/// # Safety
/// `driver` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_create(driver: *mut *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_create", driver), || {
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
    guard(call!("cw_driver_free", driver), || DRIVERS.remove("driver", driver).map(drop))
}

/// Initialises the driver manager and its kernel manager. Does nothing when that was done.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_initialize(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_initialize", driver), || DRIVERS.get("driver", driver)?.initialize())
}

/// Ends the driver manager; its kernel manager lives on.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_shutdown(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_shutdown", driver), || {
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
    guard(call!("cw_driver_info", driver, info), || {
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
    guard(call!("cw_driver_kernel", driver, kernel), || {
        // SAFETY: the caller's promise.
        let kernel = unsafe { out("kernel", kernel)? };
        *kernel = kernel::handle(DRIVERS.get("driver", driver)?.kernel()?);
        Ok(())
    })
}
