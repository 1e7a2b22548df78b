//! Programs on a CUDA device.

use super::kernel::KernelAttributes;
use super::{Image, Launch};
use crate::device::cuda::{CudaDevice, CudaStream, Function, Module};
use crate::device::{Device, Stream};
use crate::{Error, Result, Status};
use std::ffi::c_void;
use std::sync::Arc;

/// An image that the driver has taken.
pub(super) struct Loaded {
    module: Arc<Module>,
    device: Arc<dyn Device>,
}

/// One of its kernels.
pub(super) struct Entry {
    function: Function,
    device: Arc<dyn Device>,
}

/// The CUDA version of a device's driver.
///
/// Errors: `Unsupported` for a device that is no GPU.
pub(super) fn driver_version(device: &dyn Device) -> Result<u32> {
    Ok(gpu(device)?.driver().version())
}

fn gpu(device: &dyn Device) -> Result<&CudaDevice> {
    CudaDevice::of(device, "device").map_err(|_| {
        Error::unsupported(format!(
            "PTX, cubins, fatbins and CUDA C++ need a CUDA device, this one is of kind {}",
            device.kind()
        ))
        .advise("register a host function of the same name, or use a CUDA device")
    })
}

impl Loaded {
    pub fn load(device: &Arc<dyn Device>, image: &Image) -> Result<Loaded> {
        // PTX ends in a zero byte; machine code may have one more byte than it says.
        let mut bytes = Vec::with_capacity(image.bytes.len() + 1);
        bytes.extend_from_slice(&image.bytes);
        bytes.push(0);
        Ok(Loaded { module: Module::load(gpu(device.as_ref())?, &bytes)?, device: device.clone() })
    }

    pub fn names(&self) -> Result<Vec<String>> {
        self.module.function_names()
    }

    pub fn entry(&self, symbol: &str) -> Result<Entry> {
        Ok(Entry { function: self.module.function(symbol)?, device: self.device.clone() })
    }
}

impl Entry {
    pub fn attributes(&self) -> Result<KernelAttributes> {
        let a = self.function.attributes()?;
        Ok(KernelAttributes {
            registers: a.registers,
            shared_bytes: a.shared_bytes,
            local_bytes: a.local_bytes,
            const_bytes: a.const_bytes,
            max_threads_per_block: a.max_threads_per_block,
            max_dynamic_shared_bytes: a.max_dynamic_shared_bytes,
            binary_version: a.binary_version,
        })
    }

    /// The size of each parameter, `None` where the driver is too old to tell.
    pub fn parameters(&self) -> Result<Option<Vec<usize>>> {
        match self.function.parameter_sizes() {
            Ok(sizes) => Ok(Some(sizes)),
            Err(e) if e.status() == Status::Unsupported => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn allow_shared(&self, bytes: u32) -> Result<()> {
        self.function.set_max_dynamic_smem(bytes)
    }

    /// Blocks of this kernel that one SM holds at once.
    pub fn occupancy(&self, threads: u32, shared_bytes: u32) -> Result<u32> {
        self.function.occupancy(threads, shared_bytes)
    }

    /// # Safety
    /// As [`super::Kernel::launch`]; `pointers` holds one for each parameter.
    #[inline]
    pub unsafe fn launch(
        &self,
        stream: &dyn Stream,
        launch: &Launch,
        pointers: &mut [*mut c_void],
    ) -> Result<()> {
        let stream = CudaStream::of(stream, "stream")?;
        let own = CudaDevice::of(self.device.as_ref(), "stream")?;
        if !Arc::ptr_eq(&stream.context, own.context()) {
            return Err(Error::argument("stream", "belongs to another device than the program"));
        }
        let Launch { grid, block, shared_bytes, cooperative } = *launch;
        // SAFETY: the caller's duty.
        unsafe {
            match cooperative {
                false => self.function.launch(stream, grid, block, shared_bytes, pointers),
                true => self.function.launch_cooperative(stream, grid, block, shared_bytes, pointers),
            }
        }
    }
}
