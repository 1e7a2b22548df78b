//! The driver manager across the border: what `AdvancedCustomizedDriver` calls.

use super::guard::{guard, out};
use super::handle::Table;
use super::kernel;
use super::map::{export, import};
use super::types::{cw_driver, cw_kernel, cw_map, cw_status};
use crate::Result;
use crate::driver::{Driver, diagnostics};
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

// --- the direct path and the optimisations; they hold for the whole process, since devices are shared ---

/// Lets work go by the direct path, the default: allocations from the tenants' pools, large copies through page-locked
/// buffers, recorded steps launched as one command. `cw_driver_info` tells which path is active and what it saves.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_direct_access_enable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_direct_access_enable", driver), || {
        DRIVERS.get("driver", driver)?.enable_direct_access()
    })
}

/// Lets work go by the standard path: one allocation of the device's driver each (`cuMemAlloc`, `mmap`), one copy from
/// pageable memory each, one launch for each kernel. Quotas and checks hold as before. What was allocated on either path
/// is freed as it came.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_direct_access_disable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_direct_access_disable", driver), || {
        DRIVERS.get("driver", driver)?.disable_direct_access()
    })
}

/// Lets pools grow in larger pieces and keep up to a half of what they hold for reuse: fewer calls of the device's driver,
/// more physical memory kept. It goes back before anybody is refused.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_memory_optimization_enable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_memory_optimization_enable", driver), || {
        DRIVERS.get("driver", driver)?.enable_memory_optimization()
    })
}

/// Undoes it; what pools keep beyond need goes back to the devices now.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_memory_optimization_disable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_memory_optimization_disable", driver), || {
        DRIVERS.get("driver", driver)?.disable_memory_optimization()
    })
}

/// Lets copies of 64 KiB and more that are ordered on a stream run on transfer streams of their own, one a direction. Order
/// is kept by events; the caller is not held while earlier work of the stream runs, also when its memory is pageable.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_async_transfers_enable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_async_transfers_enable", driver), || {
        DRIVERS.get("driver", driver)?.enable_async_transfers()
    })
}

/// Lets such copies run on the caller's stream again.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_async_transfers_disable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_async_transfers_disable", driver), || {
        DRIVERS.get("driver", driver)?.disable_async_transfers()
    })
}

/// Lets the GPUs of this process use each other's memory without the host between them, each pair that can (over NVLink,
/// else PCIe): copies between them go straight. `CW_ERROR_UNSUPPORTED` with fewer than two GPUs, or when no pair can.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_nvlink_enable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_nvlink_enable", driver), || {
        DRIVERS.get("driver", driver)?.enable_nvlink().map(drop)
    })
}

/// Undoes it, after all work of these GPUs. Does nothing when it was not enabled.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_nvlink_disable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_nvlink_disable", driver), || DRIVERS.get("driver", driver)?.disable_nvlink())
}

// --- configuration ---

/// Changes keys of the configuration; the others stay. All take effect, or none does. `optimization_level` (`none`, `low`,
/// `medium`, `high`; the default is `low`) sets the switches; each also has a key of its own, `true` or `false`:
/// `direct_access` (on from `low`), `async_transfers` (from `medium`), `memory_optimization`, `nvlink` and `tensor_cores` (at
/// `high`; there the last two are left out where the machine has no such thing). `multiple_llms` is `any`, or the number of
/// LLMs from 1 to 16 for which the current device is cut. The keys of `cw_driver_install_configure` are taken too.
/// Unknown keys and values are refused by name. Before `cw_driver_initialize` it is checked and kept, and takes effect
/// there. `NULL` changes nothing.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_configure(driver: *mut cw_driver, config: *const cw_map) -> cw_status {
    guard(call!("cw_driver_configure", driver, config), || {
        DRIVERS.get("driver", driver)?.configure(&import("config", config)?)
    })
}

/// The configuration in force, every key; `optimization_level` is `custom` where the switches are as at no level. Free the map.
///
/// # Safety
/// `config` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_configuration(
    driver: *const cw_driver,
    config: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_driver_configuration", driver, config), || {
        // SAFETY: the caller's promise.
        let config = unsafe { out("config", config)? };
        *config = export(DRIVERS.get("driver", driver)?.configuration()?);
        Ok(())
    })
}

// --- figures and tests ---

/// Figures of each device `device.<index>.…` since it was opened: allocations of both paths, granules, launches, copies and
/// bytes by direction, GB/s (10^9 bytes a second) of copies that were waited for, seconds of device time and of waits. Free the map.
///
/// # Safety
/// `stats` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_stats(driver: *const cw_driver, stats: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_driver_stats", driver, stats), || {
        // SAFETY: the caller's promise.
        let stats = unsafe { out("stats", stats)? };
        *stats = export(
            DRIVERS
                .get("driver", driver)?
                .performance_stats()?
                .into_iter()
                .map(|(k, v)| (k, v.to_string()))
                .collect(),
        );
        Ok(())
    })
}

/// The GPUs that the embedded kernels run on, read from their image: `sm_90` → its generation and which devices here it
/// serves; `compute_120`: newer GPUs, by their driver's compiler. A device here that nothing serves has a line of its own. Free the map.
///
/// # Safety
/// `gpus` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_supported_gpus(
    driver: *const cw_driver,
    gpus: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_driver_supported_gpus", driver, gpus), || {
        // SAFETY: the caller's promise.
        let gpus = unsafe { out("gpus", gpus)? };
        *gpus = export(DRIVERS.get("driver", driver)?.supported_gpus()?);
        Ok(())
    })
}

/// Tests the current device part by part: device, allocation, copies, patterns, matrix_product, quantized_product, norm,
/// softmax, streams, isolation. Takes a second or two and some 100 MiB, in tenants of its own. `CW_OK` when no part failed,
/// else the error of the first that did. `cw_driver_diagnostics_results` has all results.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_diagnostics_run(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_diagnostics_run", driver), || DRIVERS.get("driver", driver)?.run_diagnostics())
}

/// The results of the last run: `<part>` → `passed`, `failed` or `skipped`; `<part>.detail`: figures, or why;
/// `<part>.seconds`. Empty before the first run. Free the map.
///
/// # Safety
/// `results` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_diagnostics_results(
    driver: *const cw_driver,
    results: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_driver_diagnostics_results", driver, results), || {
        // SAFETY: the caller's promise.
        let results = unsafe { out("results", results)? };
        *results = export(diagnostics::as_map(&DRIVERS.get("driver", driver)?.diagnostic_results()));
        Ok(())
    })
}
