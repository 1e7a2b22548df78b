//! Host memory of the application or of a file that the GPU is allowed to address.

use super::context::Context;
use crate::device::HostMemory;
use crate::{Error, Result};
use std::ffi::c_void;
use std::sync::Arc;

/// Visible to every context of the process, addressable by kernels.
const PORTABLE: u32 = 1;
const DEVICE_MAP: u32 = 2;

/// A registration, undone when dropped.
pub(super) struct Registered {
    context: Arc<Context>,
    address: u64,
}

impl Registered {
    pub(super) fn new(context: &Arc<Context>, address: u64, bytes: usize) -> Result<Registered> {
        let host = address as usize as *mut c_void;
        let _current = context.enter()?;
        // SAFETY: the caller of `Device::host_register` promises the range.
        unsafe { context.driver.cuMemHostRegister_v2(host, bytes, PORTABLE | DEVICE_MAP)? };
        // From here on it is undone by the drop.
        let registered = Registered { context: context.clone(), address };
        let mut device = 0u64;
        // SAFETY: `device` outlives the call; the address was registered.
        unsafe { context.driver.cuMemHostGetDevicePointer_v2(&mut device, host, 0)? };
        if device != address {
            return Err(Error::unsupported(
                "this GPU addresses registered host memory elsewhere than the host",
            )
            .advise("use a platform whose driver has unified addresses for registered memory"));
        }
        Ok(registered)
    }
}

impl HostMemory for Registered {
    fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let driver = &self.context.driver;
        if let Ok(_current) = self.context.enter() {
            // SAFETY: registered in `new`, ends here.
            driver.released(unsafe { driver.cuMemHostUnregister(self.address as usize as *mut c_void) });
        }
    }
}
