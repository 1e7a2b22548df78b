//! Modules and the installation across the border: what `AdvancedCustomizedDriver` does with files.

use super::driver::get;
use super::guard::{guard, input, out, slice, struct_size};
use super::map::{export, import};
use super::text::{optional_text, text};
use super::types::{cw_driver, cw_launch, cw_map, cw_status};
use crate::Error;
use crate::driver::Launch;
use std::ffi::{c_char, c_void};
use std::path::Path;

/// Loads a module, told by its content: a kernel module (`.ko`, `.ko.xz`, `.ko.zst`, `.ko.gz`) into the operating
/// system's kernel with `parameters` (`name=value name=value`, or `NULL`), which needs root; PTX, a cubin or a fatbin
/// onto the current device, which must be a CUDA device. GPU modules are unloaded by `cw_driver_shutdown`.
///
/// # Safety
/// The texts must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_module_load(
    driver: *mut cw_driver,
    path: *const c_char,
    parameters: *const c_char,
) -> cw_status {
    guard(call!("cw_driver_module_load", driver, path, parameters), || {
        // SAFETY: the caller's promise.
        let (path, parameters) = unsafe { (text("path", path)?, optional_text("parameters", parameters)?) };
        get(driver)?.load_module(Path::new(path), parameters.unwrap_or_default())
    })
}

/// Unloads a module that this manager loaded: the one of this name or path, or with `NULL` the last. Never by force.
///
/// # Safety
/// The text must be NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_module_unload(driver: *mut cw_driver, name: *const c_char) -> cw_status {
    guard(call!("cw_driver_module_unload", driver, name), || {
        // SAFETY: the caller's promise.
        let name = unsafe { optional_text("name", name)? };
        get(driver)?.unload_module(name)
    })
}

/// The modules that this manager loaded, by path: kind (`kernel`, `ptx`, `cubin`, `fatbin`) and name. Free the map.
///
/// # Safety
/// `modules` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_modules(driver: *const cw_driver, modules: *mut *mut cw_map) -> cw_status {
    guard(call!("cw_driver_modules", driver, modules), || {
        // SAFETY: the caller's promise.
        let modules = unsafe { out("modules", modules)? };
        *modules = export(get(driver)?.modules());
        Ok(())
    })
}

/// The functions of a GPU module (`NULL`: the last), each with `registers=`, `shared_bytes=`, `max_threads_per_block=`
/// and `parameter_bytes=` (one number a parameter). Needs a driver of CUDA 12.4. Free the map.
///
/// # Safety
/// `functions` must be valid for a write, `module` NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_module_functions(
    driver: *const cw_driver,
    module: *const c_char,
    functions: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_driver_module_functions", driver, module, functions), || {
        // SAFETY: the caller's promise.
        let (module, functions) = unsafe { (optional_text("module", module)?, out("functions", functions)?) };
        *functions = export(get(driver)?.module_functions(module)?);
        Ok(())
    })
}

/// Fills a launch with one block of one thread, no arguments, and no stream.
///
/// # Safety
/// `launch` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_launch_default(launch: *mut cw_launch) -> cw_status {
    guard(call!("cw_launch_default", launch), || {
        // SAFETY: the caller's promise.
        *unsafe { out("launch", launch)? } = cw_launch {
            struct_size: size_of::<cw_launch>(),
            module: std::ptr::null(),
            function: std::ptr::null(),
            grid: [1; 3],
            block: [1; 3],
            shared: 0,
            stream: std::ptr::null_mut(),
            arguments: std::ptr::null(),
            argument_sizes: std::ptr::null(),
            argument_count: 0,
        };
        Ok(())
    })
}

/// Launches a function of a GPU module. Grid, block, shared memory, stream, and number and sizes of the arguments are
/// checked first (the arguments from CUDA 12.4 on). What addresses among the arguments point to is the caller's duty.
///
/// # Safety
/// The arrays must have `argument_count` elements, and each argument the bytes that it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_launch(driver: *mut cw_driver, launch: *const cw_launch) -> cw_status {
    guard(call!("cw_driver_launch", driver, launch), || {
        // SAFETY: the caller's promise.
        let launch = unsafe { input("launch", launch)? };
        struct_size::<cw_launch>("launch", launch.struct_size)?;
        // SAFETY: the caller's promise.
        let (module, function, values, sizes) = unsafe {
            (
                optional_text("launch.module", launch.module)?,
                text("launch.function", launch.function)?,
                slice::<*const c_void>("launch.arguments", launch.arguments, launch.argument_count)?,
                slice("launch.argument_sizes", launch.argument_sizes, launch.argument_count)?,
            )
        };
        if values.len() > 4096 {
            return Err(Error::argument("launch.argument_count", "is more than any function has parameters"));
        }
        let mut arguments: Vec<&[u8]> = Vec::with_capacity(values.len());
        for (value, &bytes) in values.iter().zip(sizes) {
            if bytes == 0 || bytes > 32_764 {
                return Err(Error::argument(
                    "launch.argument_sizes",
                    format!("{bytes} bytes: a parameter has 1 to 32764"),
                ));
            }
            // SAFETY: the caller's promise.
            arguments.push(unsafe { slice("launch.arguments[]", value.cast::<u8>(), bytes)? });
        }
        let launch = Launch {
            module,
            function,
            grid: launch.grid,
            block: launch.block,
            shared: launch.shared,
            stream: launch.stream as u64,
            arguments: &arguments,
        };
        // SAFETY: the caller's promise.
        unsafe { get(driver)?.launch_function(&launch) }
    })
}

/// Sets keys of the installation, all or none; an empty value takes a key back to its default. The keys:
/// `install_root`, `library`, `load_modules`, `profiling_for_all`, `stream_memory_operations`,
/// `preserve_video_memory`, `page_attribute_table`, `resizable_bar`, `nvidia.NVreg_...`; see docs/installation.md. A `NULL` `settings`
/// counts as empty.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_install_configure(
    driver: *mut cw_driver,
    settings: *const cw_map,
) -> cw_status {
    guard(call!("cw_driver_install_configure", driver, settings), || {
        get(driver)?.configure_installation(&import("settings", settings)?)
    })
}

/// The keys of the installation that are in force. Free the map.
///
/// # Safety
/// `settings` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_install_configuration(
    driver: *const cw_driver,
    settings: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_driver_install_configuration", driver, settings), || {
        // SAFETY: the caller's promise.
        let settings = unsafe { out("settings", settings)? };
        *settings = export(get(driver)?.installation_settings());
        Ok(())
    })
}

/// Installs the library, the loader's configuration, the modules to load at start and the options of NVIDIA's kernel
/// module below `install_root`: all or nothing, and nothing without permission. Loads and runs nothing.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_install(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_install", driver), || get(driver)?.install())
}

/// Puts back byte for byte what was there before. `CW_ERROR_NOT_FOUND` when nothing is installed.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_uninstall(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_uninstall", driver), || get(driver)?.uninstall())
}

/// Compares each installed file with what was installed; the error's text names each difference.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_verify(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_verify", driver), || get(driver)?.verify_installation())
}

/// Sets the configured parameters of NVIDIA's kernel module by an options file; they hold from its next load. The
/// module's binary is never changed.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_patch(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_patch", driver), || get(driver)?.patch_kernel_module())
}

/// What is installed: `root`, `phase`, `file.PATH`, `was.PATH`, `parameter.NAME`, `loaded.NAME`, `reload_needed`,
/// `ldconfig_needed`; see docs/installation.md. Free the map.
///
/// # Safety
/// `report` must be valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_installation(
    driver: *const cw_driver,
    report: *mut *mut cw_map,
) -> cw_status {
    guard(call!("cw_driver_installation", driver, report), || {
        // SAFETY: the caller's promise.
        let report = unsafe { out("report", report)? };
        *report = export(get(driver)?.installation()?);
        Ok(())
    })
}
