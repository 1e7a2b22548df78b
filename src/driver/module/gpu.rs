//! GPU modules: images that the driver has taken, and launches that were checked.

use super::Launch;
use crate::device::cuda::CudaDevice;
use crate::device::{Device, Stream};
use crate::ops::tensor::Argument;
use crate::program::{self, Program, Source};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An image on a device.
pub struct GpuModule {
    program: Arc<Program>,
    /// For launches that name no stream: all processors.
    stream: Arc<dyn Stream>,
}

impl GpuModule {
    /// Gives a whole image to the device's driver.
    pub fn load(device: &Arc<dyn Device>, image: Vec<u8>) -> Result<GpuModule> {
        CudaDevice::of(device.as_ref(), "path").map_err(|_| {
            Error::unsupported(format!(
                "a GPU image needs a CUDA device, the current one is of kind {}",
                device.kind()
            ))
            .advise("select a CUDA device (selectDevice, or COGNIWARE_DEVICE=cuda) first")
        })?;
        let program = Program::load(device, Source::Image(image))?;
        let all: Vec<u32> = (0..device.units().len() as u32).collect();
        let stream = device.node_create(&all)?.stream_create(0)?;
        Ok(GpuModule { program, stream })
    }

    /// Waits for everything on the device, so that nothing of the module runs any more.
    pub fn finish(&self) -> Result<()> {
        self.program.device().synchronize()
    }

    /// See [`super::Driver::module_functions`].
    pub fn functions(&self) -> Result<BTreeMap<String, String>> {
        let mut out = BTreeMap::new();
        for name in self.program.names()? {
            let kernel = self.program.kernel(&name)?;
            let a = kernel.attributes();
            let sizes = kernel.parameters().unwrap_or_default();
            let sizes = sizes.iter().map(|p| p.bytes.to_string()).collect::<Vec<_>>().join(",");
            out.insert(
                name,
                format!(
                    "registers={} shared_bytes={} max_threads_per_block={} parameter_bytes={sizes}",
                    a.registers, a.shared_bytes, a.max_threads_per_block
                ),
            );
        }
        Ok(out)
    }

    /// See [`super::Driver::launch_function`].
    ///
    /// # Safety
    /// As there.
    pub unsafe fn launch(&self, launch: &Launch<'_>, stream: Option<&dyn Stream>) -> Result<()> {
        let kernel = self.program.kernel(launch.function)?;
        let arguments: Vec<Argument> = launch.arguments.iter().map(|a| Argument::Bytes(a.to_vec())).collect();
        let shape = program::Launch {
            grid: launch.grid,
            block: launch.block,
            shared_bytes: launch.shared,
            cooperative: false,
        };
        // SAFETY: what the arguments point to is the caller's duty.
        unsafe { kernel.launch(stream.unwrap_or(self.stream.as_ref()), &shape, &arguments) }
            .map_err(|e| e.within(format_args!("function {:?}", launch.function)))?;
        if stream.is_none() {
            self.stream.synchronize()?;
        }
        Ok(())
    }
}
