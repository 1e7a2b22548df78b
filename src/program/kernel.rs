//! A kernel of a program: what its image says of it, the checks before a launch, and the launch.

use super::backend::Entry;
use super::{KernelParameter, Launch};
use crate::device::{Device, Stream};
use crate::memory::Space;
use crate::ops::tensor::Argument;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};

/// More bytes of parameters, and more parameters, than these no kernel has.
const MOST_PARAMETER_BYTES: usize = 32_768;
const MOST_PARAMETERS: usize = 4096;
/// Parameters whose pointers need no memory of their own during a launch.
const FEW: usize = 24;

/// What the compiler made of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelAttributes {
    /// 32-bit registers per thread.
    pub registers: u32,
    /// Bytes of static shared memory per block.
    pub shared_bytes: u32,
    /// Bytes of local memory per thread.
    pub local_bytes: u32,
    /// Bytes of constant memory.
    pub const_bytes: u32,
    /// Threads that a block may have with these registers.
    pub max_threads_per_block: u32,
    /// Bytes of dynamic shared memory that a launch might ask for when the kernel was loaded; more is allowed by the
    /// launch itself, up to [`Kernel::most_shared_bytes`].
    pub max_dynamic_shared_bytes: u32,
    /// Capability of the machine code: 90 for sm_90.
    pub binary_version: u32,
}

/// A kernel of a [`super::Program`], which stays loaded for as long as this. Usable from any thread.
pub struct Kernel {
    name: String,
    entry: Entry,
    attributes: KernelAttributes,
    parameters: Option<Vec<KernelParameter>>,
    most_blocks: [u32; 3],
    most_threads: [u32; 3],
    most_shared: u32,
    processors: u32,
    /// Bytes of dynamic shared memory that launches may ask for now: only ever more.
    allowed: AtomicU32,
    allowing: Mutex<()>,
}

impl Kernel {
    /// `known` is what the image says of the parameters, beside the sizes that the driver tells.
    pub(super) fn new(
        name: &str,
        entry: Entry,
        known: Option<&[KernelParameter]>,
        device: &dyn Device,
    ) -> Result<Kernel> {
        let info = device.info()?;
        let attributes = entry.attributes()?;
        Ok(Kernel {
            name: name.to_owned(),
            parameters: joined(entry.parameters()?, known),
            most_blocks: info.max_grid_dim,
            most_threads: info.max_block_dim,
            most_shared: info.shared_memory_per_block_optin.saturating_sub(attributes.shared_bytes),
            processors: info.multiprocessors,
            allowed: AtomicU32::new(attributes.max_dynamic_shared_bytes),
            allowing: Mutex::new(()),
            attributes,
            entry,
        })
    }

    /// The name that it was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Registers, shared memory and limits.
    pub fn attributes(&self) -> &KernelAttributes {
        &self.attributes
    }

    /// Its parameters in order; `None` for machine code on a driver that is older than CUDA 12.4 and does not tell.
    pub fn parameters(&self) -> Option<&[KernelParameter]> {
        self.parameters.as_deref()
    }

    /// Most bytes of dynamic shared memory that a launch may ask for: what a block of this GPU may have when it opts in,
    /// less the static shared memory of the kernel.
    pub fn most_shared_bytes(&self) -> u32 {
        self.most_shared
    }

    /// Checks a launch before anything is queued: the shape against the limits of the device and the kernel, arguments
    /// against the parameters by number, size and, as far as the image tells, kind, and, with a `space`, that every pointer lies in memory that it holds.
    /// A pointer of 0 is refused; where a kernel takes null on purpose, give it as [`Argument::U64`].
    ///
    /// Errors: `InvalidArgument` naming `grid`, `block`, `shared_bytes`, `cooperative` or `arguments` with the index, what
    /// is given and what is allowed; `NotOwner` for memory of another tenant.
    pub fn check(&self, launch: &Launch, arguments: &[Argument], space: Option<&Space>) -> Result<()> {
        self.check_shape(launch)?;
        self.check_sizes(arguments)?;
        let Some(space) = space else { return Ok(()) };
        for (i, argument) in arguments.iter().enumerate() {
            if let Argument::Pointer(address) = *argument {
                check_pointer(space, i, address)?;
            }
        }
        Ok(())
    }

    fn check_shape(&self, launch: &Launch) -> Result<()> {
        launch.check(self.most_blocks, self.most_threads)?;
        let (threads, most) = (launch.threads(), self.attributes.max_threads_per_block);
        if threads > u64::from(most) {
            return Err(Error::argument(
                "block",
                format!(
                    "{threads} threads a block, {:?} with its {} registers a thread may have {most}",
                    self.name, self.attributes.registers
                ),
            ));
        }
        let (shared, most) = (launch.shared_bytes, self.most_shared);
        if shared > most {
            return Err(Error::argument(
                "shared_bytes",
                format!("{shared} bytes of dynamic shared memory a block, {:?} may have {most}", self.name),
            ));
        }
        if launch.cooperative {
            self.check_cooperative(launch)?;
        }
        Ok(())
    }

    /// On a part of the GPU's processors even fewer may fit, which the driver finds.
    fn check_cooperative(&self, launch: &Launch) -> Result<()> {
        self.allow(launch.shared_bytes)?;
        let each = self.entry.occupancy(launch.threads() as u32, launch.shared_bytes)?;
        let most = u64::from(each) * u64::from(self.processors);
        if launch.blocks() > most {
            return Err(Error::argument(
                "cooperative",
                format!(
                    "{} blocks at once, {:?} fits {most} times on the GPU ({each} a processor)",
                    launch.blocks(),
                    self.name
                ),
            ));
        }
        Ok(())
    }

    fn check_sizes(&self, given: &[Argument]) -> Result<()> {
        let Some(parameters) = &self.parameters else {
            let bytes: usize = given.iter().map(Argument::size).sum();
            if given.len() > MOST_PARAMETERS || bytes > MOST_PARAMETER_BYTES {
                return Err(Error::argument(
                    "arguments",
                    format!("{} of {bytes} bytes are more than any kernel takes", given.len()),
                ));
            }
            return Ok(());
        };
        if given.len() != parameters.len() {
            return Err(Error::argument(
                "arguments",
                format!("{} are given, {:?} has {} parameters", given.len(), self.name, parameters.len()),
            ));
        }
        for (i, (argument, parameter)) in given.iter().zip(parameters).enumerate() {
            let size = parameter.bytes;
            if argument.size() != size {
                return Err(Error::argument(
                    "arguments",
                    format!(
                        "argument {i} has {} bytes ({}), {:?} takes {size} there",
                        argument.size(),
                        argument.kind(),
                        self.name
                    ),
                ));
            }
            if !parameter.fits(argument) {
                return Err(Error::argument(
                    "arguments",
                    format!(
                        "argument {i} is {}, {:?} takes {} there",
                        argument.kind(),
                        self.name,
                        parameter.takes()
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Lets launches ask for this much dynamic shared memory.
    fn allow(&self, bytes: u32) -> Result<()> {
        if bytes <= self.allowed.load(Ordering::Acquire) {
            return Ok(());
        }
        // One at a time: a smaller wish must not undo a larger one.
        let _one = self.allowing.lock();
        if bytes > self.allowed.load(Ordering::Acquire) {
            self.entry.allow_shared(bytes)?;
            self.allowed.store(bytes, Ordering::Release);
        }
        Ok(())
    }

    /// Queues the kernel on `stream` and returns; the arguments are copied before that. The shape and the arguments are
    /// checked as [`Kernel::check`] does, except for what pointers point to.
    ///
    /// Errors: those of [`Kernel::check`], a stream of another device, and what the driver answers. Nothing was queued
    /// then.
    ///
    /// # Safety
    /// The arguments must be of the types that the kernel has, and what the kernel reads and writes, and its program,
    /// must stay until it has run.
    pub unsafe fn launch(&self, stream: &dyn Stream, launch: &Launch, arguments: &[Argument]) -> Result<()> {
        self.check_shape(launch)?;
        self.check_sizes(arguments)?;
        self.allow(launch.shared_bytes)?;
        if self.parameters.is_some() && arguments.len() <= FEW {
            let mut few = [std::ptr::null_mut(); FEW];
            for (to, argument) in few.iter_mut().zip(arguments) {
                *to = value(argument);
            }
            // SAFETY: each pointer is to as many bytes as the parameter has; the rest is the caller's duty.
            return unsafe { self.entry.launch(stream, launch, &mut few[..arguments.len()]) };
        }
        if self.parameters.is_some() {
            let mut all: Vec<*mut c_void> = arguments.iter().map(value).collect();
            // SAFETY: as above.
            return unsafe { self.entry.launch(stream, launch, &mut all) };
        }
        // SAFETY: the caller's duty.
        unsafe { self.launch_unknown(stream, launch, arguments) }
    }

    /// The driver reads as many pointers as the kernel has parameters, and from each the parameter's bytes. Where it does
    /// not tell how many, what is missing reads zeros and not foreign memory.
    ///
    /// # Safety
    /// As [`Kernel::launch`].
    unsafe fn launch_unknown(
        &self,
        stream: &dyn Stream,
        launch: &Launch,
        arguments: &[Argument],
    ) -> Result<()> {
        let padded: Vec<Vec<u8>> = arguments
            .iter()
            .map(|argument| {
                let mut bytes = vec![0u8; argument.size().max(MOST_PARAMETER_BYTES)];
                // SAFETY: the value has that many bytes, and so has the vector.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        value(argument).cast(),
                        bytes.as_mut_ptr(),
                        argument.size(),
                    );
                }
                bytes
            })
            .collect();
        let mut zeros = vec![0u8; MOST_PARAMETER_BYTES];
        let none: *mut c_void = zeros.as_mut_ptr().cast();
        let known = padded.iter().map(|bytes| bytes.as_ptr().cast_mut().cast::<c_void>());
        let mut all: Vec<*mut c_void> = known.chain(std::iter::repeat_n(none, MOST_PARAMETERS)).collect();
        // SAFETY: there is a pointer for every parameter, to as many bytes as any has; the rest is the caller's duty.
        unsafe { self.entry.launch(stream, launch, &mut all) }
    }
}

/// Sizes from the driver with what the image knows beside them; one alone where the other does not tell.
fn joined(sizes: Option<Vec<usize>>, known: Option<&[KernelParameter]>) -> Option<Vec<KernelParameter>> {
    let known = known.map(<[KernelParameter]>::to_vec);
    let Some(sizes) = sizes else { return known };
    let same = |k: &Vec<KernelParameter>| k.iter().map(|p| p.bytes).eq(sizes.iter().copied());
    Some(known.filter(same).unwrap_or_else(|| sizes.iter().map(|&n| KernelParameter::sized(n)).collect()))
}

/// Errors: a pointer that `space` does not hold, naming the argument's index.
pub(super) fn check_pointer(space: &Space, index: usize, address: u64) -> Result<()> {
    if address == 0 {
        return Err(Error::argument("arguments", format!("argument {index} is a null pointer"))
            .advise("where null is meant, give the number 0 of 64 bits"));
    }
    space.check("arguments", address, 1).map_err(|e| e.within(format_args!("argument {index}")))
}

/// Where the bytes of an argument lie.
fn value(argument: &Argument) -> *mut c_void {
    let at: *const c_void = match argument {
        Argument::Pointer(v) | Argument::U64(v) => std::ptr::from_ref(v).cast(),
        Argument::I32(v) => std::ptr::from_ref(v).cast(),
        Argument::U32(v) => std::ptr::from_ref(v).cast(),
        Argument::I64(v) => std::ptr::from_ref(v).cast(),
        Argument::F32(v) => std::ptr::from_ref(v).cast(),
        Argument::F64(v) => std::ptr::from_ref(v).cast(),
        Argument::Bytes(v) => v.as_ptr().cast(),
    };
    // The driver only reads it.
    at.cast_mut()
}
