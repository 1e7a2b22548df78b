//! What one owner has loaded and registered on a device, by name.

use super::{
    Calls, HostBody, HostFunction, HostFunctions, Kernel, Launch, ParameterKind, Program, Source, names,
};
use crate::device::{Device, DeviceKind};
use crate::memory::Space;
use crate::ops::tensor::Argument;
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::sync::Arc;

/// What a name stands for.
#[derive(Clone)]
pub enum Callable {
    /// A kernel of a program.
    Kernel(Arc<Kernel>),
    /// A function of the application, on the CPU device.
    Host(Arc<HostFunction>),
}

impl Callable {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Callable::Kernel(kernel) => kernel.name(),
            Callable::Host(function) => function.name(),
        }
    }

    /// Checks a launch before anything is queued; see [`Kernel::check`] and [`HostFunction::check`].
    pub fn check(&self, launch: &Launch, arguments: &[Argument], space: Option<&Space>) -> Result<()> {
        match self {
            Callable::Kernel(kernel) => kernel.check(launch, arguments, space),
            Callable::Host(function) => function.check(launch, arguments, space),
        }
    }
}

/// The programs and host functions of one owner on one device. Nothing in it is shared with another library: programs are
/// loaded anew for each, since their variables would be shared too. Usable from any thread.
pub struct Library {
    device: Arc<dyn Device>,
    /// In the order in which they were loaded.
    programs: Mutex<Vec<(String, Arc<Program>)>>,
    hosts: HostFunctions,
}

impl Library {
    /// An empty library.
    pub fn new(device: Arc<dyn Device>) -> Library {
        Library { device, programs: Mutex::default(), hosts: HostFunctions::default() }
    }

    /// The device that everything in it is for.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// Loads a program as the module `module`; see [`Program::load`].
    ///
    /// Errors: `AlreadyExists` when there is such a module; those of [`Program::load`].
    pub fn load(&self, module: &str, source: Source) -> Result<Arc<Program>> {
        self.free_name(&self.programs.lock(), module)?;
        // Compiling takes its time: others may load meanwhile.
        let program =
            Program::load(&self.device, source).map_err(|e| e.within(format_args!("module {module:?}")))?;
        self.add(module, program)
    }

    /// Takes a program of the same device in as the module `module`.
    ///
    /// Errors: `AlreadyExists`; `InvalidArgument` for a program of another device.
    pub fn add(&self, module: &str, program: Arc<Program>) -> Result<Arc<Program>> {
        if !Arc::ptr_eq(program.device(), &self.device) {
            return Err(Error::argument("program", "is loaded on another device"));
        }
        let mut programs = self.programs.lock();
        self.free_name(&programs, module)?;
        programs.push((module.to_owned(), program.clone()));
        Ok(program)
    }

    fn free_name(&self, programs: &[(String, Arc<Program>)], module: &str) -> Result<()> {
        if module.trim().is_empty() {
            return Err(Error::argument("module", "is empty"));
        }
        if programs.iter().any(|(name, _)| name == module) {
            return Err(Error::new(Status::AlreadyExists, format!("a module {module:?} is loaded already"))
                .advise("unload it first, or give this one another name"));
        }
        Ok(())
    }

    /// Takes a module out, after everything on the device has finished, so that nothing of it runs any more. Kernels of it
    /// that somebody still holds keep its code loaded. Graphs that captured its kernels must be gone.
    ///
    /// Errors: `NotFound`; what the device answers to the wait: the module stays then.
    pub fn unload(&self, module: &str) -> Result<()> {
        self.program(module)?;
        self.device.synchronize()?;
        let mut programs = self.programs.lock();
        let at =
            programs.iter().position(|(name, _)| name == module).ok_or_else(|| unknown(module, &programs))?;
        let gone = programs.remove(at);
        drop(programs);
        drop(gone);
        Ok(())
    }

    /// The module of this name.
    ///
    /// Errors: `NotFound`, with near names.
    pub fn program(&self, module: &str) -> Result<Arc<Program>> {
        let programs = self.programs.lock();
        let found = programs.iter().find(|(name, _)| name == module);
        found.map(|(_, program)| program.clone()).ok_or_else(|| unknown(module, &programs))
    }

    /// The names of its modules, in the order in which they were loaded.
    pub fn modules(&self) -> Vec<String> {
        self.programs.lock().iter().map(|(name, _)| name.clone()).collect()
    }

    /// Registers a host function; see [`HostFunctions::register`]. It may be registered on any device, so that an
    /// application can do so once for all; it runs on the CPU device alone.
    pub fn register(
        &self,
        name: &str,
        parameters: Vec<ParameterKind>,
        calls: Calls,
        body: Arc<HostBody>,
    ) -> Result<Arc<HostFunction>> {
        self.hosts.register(name, parameters, calls, body)
    }

    /// Takes a host function out; see [`HostFunctions::unregister`].
    pub fn unregister(&self, name: &str) -> Result<()> {
        self.hosts.unregister(name)
    }

    /// Its host functions.
    pub fn host_functions(&self) -> &HostFunctions {
        &self.hosts
    }

    /// What `name` stands for: with a `module` the kernel of that one; else a kernel of the module that was loaded last
    /// of those that have it, or a host function.
    ///
    /// Errors: `NotFound`, with near names; `Unsupported` for a host function on a GPU, and for a module on the CPU device.
    pub fn find(&self, name: &str, module: Option<&str>) -> Result<Callable> {
        if name.is_empty() {
            return Err(Error::argument("name", "is empty"));
        }
        if let Some(module) = module {
            return self.program(module)?.kernel(name).map(Callable::Kernel);
        }
        let programs: Vec<Arc<Program>> = self.programs.lock().iter().rev().map(|(_, p)| p.clone()).collect();
        for program in &programs {
            match program.kernel(name) {
                Err(e) if e.status() == Status::NotFound => {}
                other => return other.map(Callable::Kernel),
            }
        }
        match self.hosts.get(name) {
            Ok(function) if self.device.kind() == DeviceKind::Cpu => Ok(Callable::Host(function)),
            Ok(function) => Err(function.not_here()),
            Err(_) => {
                let all = self.names();
                Err(Error::not_found(format!("there is no kernel {name:?}"))
                    .advise(names::advice(name, all.iter().map(String::as_str))))
            }
        }
    }

    /// The names of all that [`Library::find`] may find, sorted.
    pub fn names(&self) -> Vec<String> {
        let programs: Vec<Arc<Program>> = self.programs.lock().iter().map(|(_, p)| p.clone()).collect();
        let mut all = self.hosts.names();
        for program in programs {
            all.extend(program.image().lowered.keys().cloned());
            // A driver that is too old to list them still finds them.
            all.extend(program.names().unwrap_or_default());
        }
        all.sort();
        all.dedup();
        all
    }
}

fn unknown(module: &str, programs: &[(String, Arc<Program>)]) -> Error {
    Error::not_found(format!("there is no module {module:?}"))
        .advise(names::advice(module, programs.iter().map(|(name, _)| name.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::CpuDevice;

    #[test]
    fn names_are_found_or_their_neighbours_are_told() {
        let library = Library::new(CpuDevice::open().unwrap());
        let body: Arc<HostBody> = Arc::new(|_, _| Ok(()));
        library.register("blur_rows", vec![], Calls::PerBlock, body.clone()).unwrap();
        library.register("histogram", vec![], Calls::Once, body).unwrap();
        assert_eq!(library.find("histogram", None).unwrap().name(), "histogram");
        let e = library.find("blur_row", None).err().unwrap();
        assert!(e.status() == Status::NotFound && e.to_string().contains("blur_rows"), "{e}");
        assert_eq!(library.find("", None).err().unwrap().status(), Status::InvalidArgument);
        let e = library.find("histogram", Some("m")).err().unwrap();
        assert!(e.status() == Status::NotFound && e.message().contains("\"m\""), "{e}");
        assert_eq!(library.unload("m").unwrap_err().status(), Status::NotFound);
        library.unregister("histogram").unwrap();
        assert_eq!(library.names(), ["blur_rows"]);
    }

    #[test]
    fn code_for_a_gpu_is_refused_with_advice() {
        let library = Library::new(CpuDevice::open().unwrap());
        let ptx = Source::Image(b".version 8.0\n".to_vec());
        let e = library.load("m", ptx).err().unwrap();
        assert_eq!(e.status(), Status::Unsupported);
        assert!(e.to_string().contains("register a host function"), "{e}");
        assert!(library.modules().is_empty());
    }
}
