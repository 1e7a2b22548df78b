//! Kernels by name: the built-in ones, host functions of the application, and programs that it brings as images or source.
//!
//! - [`Program`]: PTX, a cubin, a fatbin or CUDA C++ source, loaded on a GPU. [`Kernel`] is one of its functions, with what
//!   the image says of it; launches are checked before the driver sees them.
//! - [`compile`]: CUDA C++ to machine code by NVRTC, which is found at run time; [`Cache`] keeps its images on disk.
//! - [`HostFunctions`]: functions of the application that the CPU device runs in place of kernels.
//! - [`Library`]: what one owner has loaded and registered on one device, found by name.

#[cfg(feature = "cuda")]
mod backend;
#[cfg(not(feature = "cuda"))]
#[path = "absent/backend.rs"]
mod backend;
mod cache;
#[cfg_attr(not(feature = "cuda"), allow(dead_code))]
mod cuda_source;
mod elf;
mod host;
mod image;
#[cfg(feature = "cuda")]
mod includes;
mod kernel;
mod launch;
mod library;
mod loading;
mod names;
#[cfg(feature = "cuda")]
mod nvrtc;
#[cfg(not(feature = "cuda"))]
#[path = "absent/nvrtc.rs"]
mod nvrtc;
mod parameters;

pub use cache::{CACHE_BYTES, Cache};
pub use cuda_source::{Architecture, CudaSource, Source};
pub use host::{Calls, Ended, HostBody, HostFunction, HostFunctions, HostLaunch, ParameterKind, Run, Stop};
pub use image::{Image, ImageKind};
pub use kernel::{Kernel, KernelAttributes};
pub use launch::Launch;
pub use library::{Callable, Library};
pub use loading::Program;
pub use nvrtc::{Compiler, compile};
pub use parameters::{Class, KernelParameter, read_ptx};

#[cfg(test)]
pub(crate) use elf::made;
pub(crate) use elf::{CUDA, Elf, RELOCATABLE};
