//! What the driver manager changes for a whole device.

use super::driver::get;
use super::guard::guard;
use super::types::{cw_driver, cw_status};
use crate::compute::MOST_SLICES;

/// Lets products of f32 numbers on the current device run on its matrix circuits with narrower inputs (TF32 and bf16 on a
/// GPU, bf16 on a CPU with AVX-512 BF16), from the next step of every model on. `CW_ERROR_UNSUPPORTED` where the device
/// has no such circuits. Undone by `cw_driver_tensor_cores_disable`.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_tensor_cores_enable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_tensor_cores_enable", driver), || get(driver)?.enable_tensor_cores())
}

/// Back to products whose inputs keep the bits that the weights have, with which a device begins.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_tensor_cores_disable(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_tensor_cores_disable", driver), || get(driver)?.disable_tensor_cores())
}

/// Cuts the current device's processors into `llms` (1 to 16) slices of the same size and keeps shares to their weights for
/// tenants that pause up to 1 ms between steps. Nodes that are held keep their units until they are given back.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_optimize_many(driver: *mut cw_driver, llms: i32) -> cw_status {
    guard(call!("cw_driver_optimize_many", driver, llms), || {
        let count = u32::try_from(llms)
            .map_err(|_| crate::Error::argument("llms", format!("{llms} is not in 1 to {MOST_SLICES}")))?;
        get(driver)?.optimize_for_many(count)
    })
}

/// Makes one node of all the current device's processors and keeps no unit idle for anybody.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_optimize_one(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_optimize_one", driver), || get(driver)?.optimize_for_one())
}

/// Back to how a device begins: one node a unit (a core or a group of SMs), units kept for at most 0.3 ms.
///
/// # Safety
/// Always safe; marked so like every exported function that takes a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cw_driver_optimize_reset(driver: *mut cw_driver) -> cw_status {
    guard(call!("cw_driver_optimize_reset", driver), || get(driver)?.optimize_for_any())
}
