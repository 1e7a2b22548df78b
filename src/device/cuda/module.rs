//! Kernel images and their functions.

use super::context::Context;
use super::graph::note_module;
use super::stream::CudaStream;
use super::timeline::{Work, measured};
use super::types::{self, Handle, function_attribute as attribute};
use super::{CudaDevice, DevicePtr};
use crate::device::{Count, Stream};
use crate::telemetry::profiler;
use crate::{Error, Result, Status};
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::Arc;

/// A loaded kernel image. Functions keep it loaded.
pub struct Module {
    context: Arc<Context>,
    raw: types::Module,
}

impl Module {
    /// Loads a cubin, a fatbin (the driver picks the code for this GPU) or PTX text ending in a zero byte. The image
    /// is copied by the driver.
    ///
    /// Errors: `Format` for a damaged image and for PTX that does not assemble, with what the driver's assembler said;
    /// `Unsupported` when it holds no code for this GPU.
    pub fn load(device: &CudaDevice, image: &[u8]) -> Result<Arc<Module>> {
        let ptx = !matches!(image.get(..4), Some(b"\x7fELF" | b"\x50\xed\x55\xba"));
        if image.len() < 16 || (ptx && image.last() != Some(&0)) {
            return Err(Error::argument(
                "image",
                "is neither a cubin, nor a fatbin, nor PTX text that ends in a zero byte",
            ));
        }
        match Module::in_context(device.context(), image) {
            Err(e) if ptx && e.status() == Status::Format => Module::explained(device.context(), image, e),
            other => other,
        }
    }

    /// Loads PTX once more, to hear why it was refused.
    #[cold]
    fn explained(context: &Arc<Context>, image: &[u8], refusal: Error) -> Result<Arc<Module>> {
        let mut log = vec![0u8; 8192];
        let mut options = [types::JIT_ERROR_LOG, types::JIT_ERROR_LOG_BYTES];
        // A number is given in the pointer itself.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(log.len() - 1)];
        let (context, mut raw) = (context.clone(), Handle::NULL);
        let answer = {
            let _current = context.enter()?;
            let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
            // SAFETY: the image ends in a zero byte; options, values and the log outlive the call.
            unsafe { context.driver.cuModuleLoadDataEx(&mut raw, image.as_ptr().cast(), 2, options, values) }
        };
        if answer.is_ok() {
            return Ok(Arc::new(Module { context, raw }));
        }
        let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
        let text = String::from_utf8_lossy(&log[..end]);
        Err(match text.trim() {
            "" => refusal,
            said => refusal.within(format_args!("the driver's assembler said:\n{said}\n")),
        })
    }

    pub(super) fn in_context(context: &Arc<Context>, image: &[u8]) -> Result<Arc<Module>> {
        let context = context.clone();
        let mut raw = Handle::NULL;
        {
            let _current = context.enter()?;
            // SAFETY: the driver reads the image by its own header, or up to the zero byte.
            unsafe { context.driver.cuModuleLoadData(&mut raw, image.as_ptr().cast())? };
        }
        Ok(Arc::new(Module { context, raw }))
    }

    /// The kernel of this name.
    pub fn function(self: &Arc<Self>, name: &str) -> Result<Function> {
        let c_name = CString::new(name).map_err(|_| Error::argument("name", "holds a zero byte"))?;
        let mut raw = Handle::NULL;
        let _current = self.context.enter()?;
        // SAFETY: name and output outlive the call.
        unsafe { self.context.driver.cuModuleGetFunction(&mut raw, self.raw, c_name.as_ptr()) }
            .map_err(|e| e.within(format_args!("kernel {name:?}")))?;
        Ok(Function { module: self.clone(), raw, name: name.into() })
    }

    /// The names of all kernels of the image.
    ///
    /// Errors: `Unsupported` when the driver is older than CUDA 12.4.
    pub fn function_names(&self) -> Result<Vec<String>> {
        let driver = &self.context.driver;
        let _current = self.context.enter()?;
        let mut count = 0u32;
        // SAFETY: the output outlives the call.
        unsafe { driver.cuModuleGetFunctionCount(&mut count, self.raw)? };
        let mut functions = vec![Handle::NULL; count as usize];
        if count > 0 {
            // SAFETY: there is room for as many as are asked for.
            unsafe { driver.cuModuleEnumerateFunctions(functions.as_mut_ptr(), count, self.raw)? };
        }
        let name = |&function: &types::Function| {
            let mut text: *const c_char = std::ptr::null();
            // SAFETY: the output outlives the call; the function is of this module, which is loaded.
            unsafe { driver.cuFuncGetName(&mut text, function)? };
            if text.is_null() {
                return Err(Error::new(Status::Driver, "cuFuncGetName gave no name"));
            }
            // SAFETY: the driver's text ends in a zero byte and lives as long as the module.
            Ok(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        };
        functions.iter().filter(|f| **f != Handle::NULL).map(name).collect()
    }

    /// Address and size in bytes of a `__device__` or `__constant__` variable.
    pub fn global(&self, name: &str) -> Result<(DevicePtr, u64)> {
        let c_name = CString::new(name).map_err(|_| Error::argument("name", "holds a zero byte"))?;
        let (mut address, mut bytes) = (0u64, 0usize);
        let _current = self.context.enter()?;
        // SAFETY: name and outputs outlive the call.
        unsafe {
            self.context.driver.cuModuleGetGlobal_v2(&mut address, &mut bytes, self.raw, c_name.as_ptr())
        }
        .map_err(|e| e.within(format_args!("variable {name:?}")))?;
        Ok((address, bytes as u64))
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let driver = &self.context.driver;
        if let Ok(_current) = self.context.enter() {
            // SAFETY: the last owner unloads it; functions hold the module.
            driver.released(unsafe { driver.cuModuleUnload(self.raw) });
        }
    }
}

/// What the compiler made of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionAttributes {
    /// 32-bit registers per thread.
    pub registers: u32,
    /// Bytes of static shared memory per block.
    pub shared_bytes: u32,
    /// Bytes of constant memory.
    pub const_bytes: u32,
    /// Bytes of local memory per thread (spills, arrays).
    pub local_bytes: u32,
    /// Threads a block may have with these registers.
    pub max_threads_per_block: u32,
    /// Bytes of dynamic shared memory that a launch may ask for now.
    pub max_dynamic_shared_bytes: u32,
    /// Capability of the machine code: 90 for sm_90.
    pub binary_version: u32,
}

/// How a kernel is launched.
#[derive(Clone, Copy)]
struct Shape {
    grid: [u32; 3],
    block: [u32; 3],
    /// Bytes of dynamic shared memory.
    smem: u32,
    cooperative: bool,
    /// It may begin while the kernel before it on the stream still runs.
    overlapped: bool,
}

/// A kernel of a module. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Function {
    module: Arc<Module>,
    raw: types::Function,
    name: Arc<str>,
}

impl Function {
    /// The kernel's name in its image.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Queues the kernel on `stream`: `args[i]` points to the value of parameter `i`, which is copied before the call
    /// returns. `smem` is the dynamic shared memory in bytes; above 48 KiB call [`Function::set_max_dynamic_smem`] first.
    ///
    /// # Safety
    /// There must be as many arguments as the kernel has parameters, each pointing to a value of its type, and what
    /// the kernel reads and writes must stay valid until it has run.
    #[inline]
    pub unsafe fn launch(
        &self,
        stream: &CudaStream,
        grid: [u32; 3],
        block: [u32; 3],
        smem: u32,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        // SAFETY: the caller's duty.
        unsafe {
            self.launch_shaped(
                stream,
                Shape { grid, block, smem, cooperative: false, overlapped: false },
                args,
            )
        }
    }

    /// As [`Function::launch`], all blocks resident at once so that the kernel may synchronise its grid.
    ///
    /// # Safety
    /// As [`Function::launch`].
    pub unsafe fn launch_cooperative(
        &self,
        stream: &CudaStream,
        grid: [u32; 3],
        block: [u32; 3],
        smem: u32,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        // SAFETY: the caller's duty.
        unsafe {
            self.launch_shaped(
                stream,
                Shape { grid, block, smem, cooperative: true, overlapped: false },
                args,
            )
        }
    }

    /// As [`Function::launch`], for kernels that wait by themselves (`griddepcontrol.wait`) before they touch what work before them
    /// on the stream wrote or reads: where the GPU and its driver can (compute capability 9.0, CUDA 12.3), it begins while the
    /// kernel before it still runs.
    ///
    /// # Safety
    /// As [`Function::launch`]; the kernel waits so.
    pub unsafe fn launch_overlapped(
        &self,
        stream: &CudaStream,
        grid: [u32; 3],
        block: [u32; 3],
        smem: u32,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        let overlapped = self.module.context.overlaps_launches();
        // SAFETY: the caller's duty.
        unsafe {
            self.launch_shaped(stream, Shape { grid, block, smem, cooperative: false, overlapped }, args)
        }
    }

    /// # Safety
    /// As [`Function::launch`].
    #[inline]
    unsafe fn launch_shaped(
        &self,
        stream: &CudaStream,
        shape: Shape,
        args: &mut [*mut c_void],
    ) -> Result<()> {
        if profiler::on() {
            let work = self.work(shape.block, shape.smem);
            // SAFETY: the caller's duty.
            return measured(stream, work, || unsafe { self.queue(stream, shape, args) });
        }
        // SAFETY: the caller's duty.
        unsafe { self.queue(stream, shape, args) }
    }

    /// What the profiler calls a launch.
    fn work(&self, block: [u32; 3], smem: u32) -> Work<'_> {
        let threads = block.iter().product();
        let occupancy = move || self.theoretical_occupancy(threads, smem);
        Work::kernel(&self.name).occupied(Box::new(occupancy))
    }

    /// Warps of this kernel that an SM holds at once over the most it can hold; looked up once for each shape.
    fn theoretical_occupancy(&self, threads: u32, smem: u32) -> Option<f32> {
        let context = &self.module.context;
        context.timeline.occupancy((self.raw.0 as usize, threads, smem), || {
            let most = super::info::attribute(context, types::attribute::MAX_THREADS_PER_SM).ok()?;
            let warps = |threads: u32| threads.div_ceil(32);
            let resident = self.occupancy(threads, smem).ok()? * warps(threads);
            (most > 0).then(|| (resident as f32 / warps(most) as f32).min(1.0))
        })
    }

    /// # Safety
    /// As [`Function::launch`].
    #[inline]
    unsafe fn queue(&self, stream: &CudaStream, shape: Shape, args: &mut [*mut c_void]) -> Result<()> {
        let context = &self.module.context;
        let _current = context.enter()?;
        context.path.count(Count::Launches, 1);
        note_module(&self.module);
        let Shape { grid, block, smem, cooperative, overlapped } = shape;
        let carveout = stream.shared_carveout();
        if carveout.is_some() || overlapped {
            // SAFETY: the caller's duty.
            return unsafe { self.launch_with_wishes(stream, shape, args, carveout) };
        }
        let [x, y, z] = grid;
        let [a, b, c] = block;
        let (driver, raw, at) = (&context.driver, self.raw, stream.handle());
        // SAFETY: the caller's duty; stream and function are alive.
        unsafe {
            match cooperative {
                false => {
                    let extra = std::ptr::null_mut();
                    driver.cuLaunchKernel(raw, x, y, z, a, b, c, smem, at, args.as_mut_ptr(), extra)
                }
                true => driver.cuLaunchCooperativeKernel(raw, x, y, z, a, b, c, smem, at, args.as_mut_ptr()),
            }
        }
        .map_err(|e| e.within(format_args!("kernel {:?}", self.name)))
    }

    /// Registers, shared memory and limits of the kernel.
    pub fn attributes(&self) -> Result<FunctionAttributes> {
        let context = &self.module.context;
        let _current = context.enter()?;
        let get = |which: i32| -> Result<u32> {
            let mut value = 0;
            // SAFETY: `value` outlives the call.
            unsafe { context.driver.cuFuncGetAttribute(&mut value, which, self.raw)? };
            Ok(value.max(0) as u32)
        };
        Ok(FunctionAttributes {
            registers: get(attribute::REGISTERS)?,
            shared_bytes: get(attribute::SHARED_BYTES)?,
            const_bytes: get(attribute::CONST_BYTES)?,
            local_bytes: get(attribute::LOCAL_BYTES)?,
            max_threads_per_block: get(attribute::MAX_THREADS_PER_BLOCK)?,
            max_dynamic_shared_bytes: get(attribute::MAX_DYNAMIC_SHARED)?,
            binary_version: get(attribute::BINARY_VERSION)?,
        })
    }

    /// The size in bytes of each parameter, in order.
    ///
    /// Errors: `Unsupported` when the driver is older than CUDA 12.4.
    pub fn parameter_sizes(&self) -> Result<Vec<usize>> {
        let context = &self.module.context;
        let _current = context.enter()?;
        let mut sizes = Vec::new();
        loop {
            let (mut offset, mut bytes) = (0usize, 0usize);
            // SAFETY: the outputs outlive the call.
            let answer =
                unsafe { context.driver.cuFuncGetParamInfo(self.raw, sizes.len(), &mut offset, &mut bytes) };
            match answer {
                Ok(()) => sizes.push(bytes),
                // What the driver says of an index beyond the last parameter.
                Err(e) if e.status() == Status::InvalidArgument => return Ok(sizes),
                Err(e) => return Err(e),
            }
        }
    }

    /// Allows launches with up to `bytes` of dynamic shared memory (static included, at most
    /// `DeviceInfo::shared_memory_per_block_optin`).
    pub fn set_max_dynamic_smem(&self, bytes: u32) -> Result<()> {
        let context = &self.module.context;
        let value = i32::try_from(bytes)
            .map_err(|_| Error::argument("bytes", "is beyond any GPU's shared memory"))?;
        let _current = context.enter()?;
        // SAFETY: the function is alive.
        unsafe { context.driver.cuFuncSetAttribute(self.raw, attribute::MAX_DYNAMIC_SHARED, value) }
            .map_err(|e| e.within(format_args!("kernel {:?}", self.name)))
    }

    /// A launch with wishes: overlapped, or with this percentage of its SMs' L1 as shared memory. Asked for with the launch and
    /// not of the function, which all tenants share.
    ///
    /// # Safety
    /// As [`Function::launch`].
    unsafe fn launch_with_wishes(
        &self,
        stream: &CudaStream,
        shape: Shape,
        args: &mut [*mut c_void],
        carveout: Option<u32>,
    ) -> Result<()> {
        let zero = types::LaunchAttribute { id: 0, pad: 0, value: types::AttributeValue::ZERO };
        let mut attributes = [zero; 3];
        let mut count = 0;
        let mut wish = |id, set: &dyn Fn(&mut types::AttributeValue)| {
            attributes[count].id = id;
            set(&mut attributes[count].value);
            count += 1;
        };
        if let Some(percent) = carveout {
            wish(types::ATTRIBUTE_CARVEOUT, &|value| value.carveout = percent);
        }
        if shape.cooperative {
            wish(types::ATTRIBUTE_COOPERATIVE, &|value| value.cooperative = 1);
        }
        if shape.overlapped {
            wish(types::ATTRIBUTE_OVERLAPPED, &|value| value.overlapped = 1);
        }
        let config = types::LaunchConfig {
            grid: shape.grid,
            block: shape.block,
            shared: shape.smem,
            stream: stream.handle(),
            attributes: attributes.as_ptr(),
            count: count as u32,
        };
        let null = std::ptr::null_mut();
        // SAFETY: the caller's duty; the configuration and its attributes outlive the call.
        unsafe { self.module.context.driver.cuLaunchKernelEx(&config, self.raw, args.as_mut_ptr(), null) }
            .map_err(|e| e.within(format_args!("kernel {:?}", self.name)))
    }

    /// How many blocks of `block_threads` threads and `smem` bytes of dynamic shared memory fit on one SM.
    pub fn occupancy(&self, block_threads: u32, smem: u32) -> Result<u32> {
        let context = &self.module.context;
        let threads =
            i32::try_from(block_threads).map_err(|_| Error::argument("block_threads", "is too large"))?;
        let _current = context.enter()?;
        let mut blocks = 0;
        // SAFETY: `blocks` outlives the call.
        unsafe {
            context.driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(
                &mut blocks,
                self.raw,
                threads,
                smem as usize,
            )?;
        }
        Ok(blocks.max(0) as u32)
    }
}
