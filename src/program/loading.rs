//! Programs: images on a device, with their kernels by name.

use super::backend::{self, Loaded};
use super::{Architecture, Cache, Compiler, Image, Kernel, Source, names};
use crate::device::Device;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Code on one device. Its kernels keep it loaded; drop all of them only when what they launched has run, and graphs
/// that captured them are gone. Its `__device__` and `__constant__` variables are its own: a program that is loaded
/// twice has them twice. Usable from any thread.
pub struct Program {
    device: Arc<dyn Device>,
    image: Arc<Image>,
    loaded: Loaded,
    kernels: Mutex<HashMap<String, Arc<Kernel>>>,
}

impl Program {
    /// Loads an image, or compiles CUDA C++ for the device (with the cache of the environment, see
    /// [`Cache::of_environment`]) and loads that.
    ///
    /// Errors: `Unsupported` on a device that is no GPU, where NVRTC is not installed, and for an image without code for
    /// this GPU; `Format` for what is no image, is damaged, or does not compile, with what the compiler said;
    /// `InvalidArgument` for options that the compiler does not know.
    pub fn load(device: &Arc<dyn Device>, source: Source) -> Result<Arc<Program>> {
        Program::load_cached(device, source, Some(&Cache::of_environment()))
    }

    /// As [`Program::load`], with this cache or none.
    pub fn load_cached(
        device: &Arc<dyn Device>,
        source: Source,
        cache: Option<&Cache>,
    ) -> Result<Arc<Program>> {
        // Asked first: on another device the answer is not about the compiler.
        let version = backend::driver_version(device.as_ref())?;
        match source {
            Source::Image(bytes) => Program::of_image(device, Arc::new(image(bytes)?)),
            Source::Cuda(source) => {
                let compiler = Compiler::find(version)?;
                let image = compiler.compile(&source, Architecture::of(&device.info()?)?, cache)?;
                Program::of_image(device, image).map_err(|e| match compiler.version().0 > version / 1000 {
                    true => e.advise(format!(
                        "the compiler is of CUDA {}, the driver of CUDA {}: install libnvrtc.so.{1}",
                        compiler.version().0,
                        version / 1000
                    )),
                    false => e,
                })
            }
        }
    }

    /// Loads what was compiled before.
    ///
    /// Errors: as [`Program::load`].
    pub fn of_image(device: &Arc<dyn Device>, image: Arc<Image>) -> Result<Arc<Program>> {
        let loaded = Loaded::load(device, &image)?;
        Ok(Arc::new(Program { device: device.clone(), image, loaded, kernels: Mutex::default() }))
    }

    /// The device that it is loaded on.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// What was loaded, and what is known of its making.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What the compiler said though it succeeded: warnings; empty for images that were given.
    pub fn log(&self) -> &str {
        &self.image.log
    }

    /// The names of its kernels as the image has them, sorted.
    ///
    /// Errors: `Unsupported` when the driver is older than CUDA 12.4.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = self.loaded.names()?;
        names.sort();
        Ok(names)
    }

    /// The kernel of this name: a name expression that it was compiled with, the name in the image (of a function that
    /// is `extern "C"`, or mangled), or the plain name of a C++ function when only one kernel has it. The same object
    /// for the same name.
    ///
    /// Errors: `NotFound`, with near names.
    pub fn kernel(&self, name: &str) -> Result<Arc<Kernel>> {
        if let Some(kernel) = self.kernels.lock().get(name) {
            return Ok(kernel.clone());
        }
        let symbol = self.image.lowered.get(name).map_or(name, String::as_str);
        let (entry, symbol) = match self.loaded.entry(symbol) {
            Err(e) if e.status() == Status::NotFound => {
                let symbol = self.mangled(name)?;
                (self.loaded.entry(&symbol)?, symbol)
            }
            other => (other?, symbol.to_owned()),
        };
        let known = self.image.parameters.get(&symbol).map(Vec::as_slice);
        let kernel = Arc::new(Kernel::new(name, entry, known, self.device.as_ref())?);
        // Two threads may have made one each: all are given the first.
        Ok(self.kernels.lock().entry(name.to_owned()).or_insert(kernel).clone())
    }

    /// The one kernel whose C++ name is this.
    fn mangled(&self, name: &str) -> Result<String> {
        let all = self.names().unwrap_or_default();
        let mut same = all.iter().filter(|n| names::plain(n) == Some(name));
        match (same.next(), same.next()) {
            (Some(one), None) => Ok(one.clone()),
            (Some(one), Some(other)) => {
                Err(Error::argument("name", format!("several kernels are called {name:?}: {one}, {other}"))
                    .advise("ask for one of these names, or compile with a name expression"))
            }
            _ => {
                let expressions = self.image.lowered.keys().map(String::as_str);
                let known: Vec<&str> =
                    all.iter().map(|n| names::plain(n).unwrap_or(n)).chain(expressions).collect();
                Err(Error::not_found(format!("the program has no kernel {name:?}"))
                    .advise(names::advice(name, known.iter().copied())))
            }
        }
    }
}

fn image(bytes: Vec<u8>) -> Result<Image> {
    Image::new(bytes).map_err(|e| e.within("argument `image`"))
}
