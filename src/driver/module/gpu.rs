//! GPU modules: images that the driver has taken, and launches that were checked.

use super::Launch;
use crate::device::cuda::{CudaDevice, CudaStream, Function, Module};
use crate::device::{Device, Stream};
use crate::{Error, Result, Status};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;

/// An image on a device.
pub struct GpuModule {
    module: Arc<Module>,
    /// For launches that name no stream: all processors.
    stream: Arc<dyn Stream>,
    device: Arc<dyn Device>,
}

/// What every GPU that is supported takes at most.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
const MOST_THREADS: [u32; 3] = [1024, 1024, 64];
/// More bytes of parameters than this no kernel has.
const MOST_PARAMETER_BYTES: usize = 32_768;

impl GpuModule {
    /// Gives a whole image to the device's driver.
    pub fn load(device: &Arc<dyn Device>, mut image: Vec<u8>) -> Result<GpuModule> {
        let cuda = CudaDevice::of(device.as_ref(), "path").map_err(|_| {
            Error::unsupported(format!(
                "a GPU image needs a CUDA device, the current one is of kind {}",
                device.kind()
            ))
            .advise("select a CUDA device (selectDevice, or COGNIWARE_DEVICE=cuda) first")
        })?;
        // PTX ends in a zero byte; machine code may have one more byte than it says.
        image.push(0);
        let module = Module::load(cuda, &image)?;
        let all: Vec<u32> = (0..device.units().len() as u32).collect();
        let stream = device.node_create(&all)?.stream_create(0)?;
        Ok(GpuModule { module, stream, device: device.clone() })
    }

    /// Waits for everything on the device, so that nothing of the module runs any more.
    pub fn finish(&self) -> Result<()> {
        self.device.synchronize()
    }

    /// See [`super::Driver::module_functions`].
    pub fn functions(&self) -> Result<BTreeMap<String, String>> {
        let mut out = BTreeMap::new();
        for name in self.module.function_names()? {
            let function = self.module.function(&name)?;
            let a = function.attributes()?;
            let sizes =
                function.parameter_sizes()?.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
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
        let function = self.module.function(launch.function)?;
        self.check_shape(&function, launch)?;
        let queue = CudaStream::of(stream.unwrap_or(self.stream.as_ref()), "stream")
            .and_then(|s| self.own(s))
            .map_err(|e| e.within(format_args!("function {:?}", launch.function)))?;
        // The driver reads as many pointers as the function has parameters, and from each the parameter's bytes.
        let copies: Vec<Vec<u8>> = match function.parameter_sizes() {
            Ok(sizes) => {
                check_arguments(launch, &sizes)?;
                launch.arguments.iter().map(|a| a.to_vec()).collect()
            }
            // An older driver does not tell: what is missing reads zeros instead of foreign memory.
            Err(e) if e.status() == Status::Unsupported => launch
                .arguments
                .iter()
                .map(|a| {
                    let mut padded = a.to_vec();
                    padded.resize(a.len().max(MOST_PARAMETER_BYTES), 0);
                    padded
                })
                .collect(),
            Err(e) => return Err(e),
        };
        let zeros = vec![0u8; MOST_PARAMETER_BYTES];
        let known = copies.iter().map(|a| a.as_ptr().cast_mut().cast::<c_void>());
        let rest = std::iter::repeat_n(zeros.as_ptr().cast_mut().cast::<c_void>(), 4096);
        let mut pointers: Vec<*mut c_void> = known.chain(rest).collect();
        // SAFETY: every parameter has a pointer to as many bytes; what they point to is the caller's duty.
        unsafe { function.launch(queue, launch.grid, launch.block, launch.shared, &mut pointers)? };
        if stream.is_none() {
            self.stream.synchronize()?;
        }
        Ok(())
    }

    fn own<'a>(&self, stream: &'a CudaStream) -> Result<&'a CudaStream> {
        if Arc::ptr_eq(&stream.context, CudaDevice::of(self.device.as_ref(), "stream")?.context()) {
            return Ok(stream);
        }
        Err(Error::argument("stream", "belongs to another device than the module"))
    }

    fn check_shape(&self, function: &Function, launch: &Launch<'_>) -> Result<()> {
        let shape = [("grid", launch.grid, MOST_BLOCKS), ("block", launch.block, MOST_THREADS)];
        for (name, given, most) in shape {
            for (axis, (&n, &most)) in ["x", "y", "z"].iter().zip(given.iter().zip(&most)) {
                if n == 0 || n > most {
                    return Err(Error::argument(name, format!("{axis} is {n}, not 1 to {most}")));
                }
            }
        }
        let limits = function.attributes()?;
        let threads: u32 = launch.block.iter().product();
        if threads > limits.max_threads_per_block {
            return Err(Error::argument(
                "block",
                format!(
                    "{threads} threads a block, {:?} with its {} registers a thread may have {}",
                    launch.function, limits.registers, limits.max_threads_per_block
                ),
            ));
        }
        if launch.shared > limits.max_dynamic_shared_bytes {
            let most = self.device.info()?.shared_memory_per_block_optin;
            let room = most.saturating_sub(limits.shared_bytes);
            if launch.shared > room {
                return Err(Error::argument(
                    "shared",
                    format!(
                        "{} bytes of shared memory a block, {:?} may have {room}",
                        launch.shared, launch.function
                    ),
                ));
            }
            function.set_max_dynamic_smem(launch.shared)?;
        }
        Ok(())
    }
}

fn check_arguments(launch: &Launch<'_>, sizes: &[usize]) -> Result<()> {
    let given = launch.arguments;
    if given.len() != sizes.len() {
        return Err(Error::argument(
            "arguments",
            format!("{} are given, {:?} has {} parameters", given.len(), launch.function, sizes.len()),
        ));
    }
    for (i, (argument, &size)) in given.iter().zip(sizes).enumerate() {
        if argument.len() != size {
            return Err(Error::argument(
                "arguments",
                format!(
                    "argument {i} has {} bytes, {:?} takes {size} there",
                    argument.len(),
                    launch.function
                ),
            ));
        }
    }
    Ok(())
}
