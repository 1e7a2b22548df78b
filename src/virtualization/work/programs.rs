//! Kernels by name on a virtual GPU's streams: the program's own, host functions, and the built-in ones.

use super::super::table::VirtualGpu;
use super::operations;
use crate::compute::Work;
use crate::ops::tensor::{Argument, BUILTINS, builtin};
use crate::program::{Callable, Launch, Run};
use crate::{Error, Result, Status};
use std::collections::BTreeMap;
use std::time::Duration;

/// A kernel as it is to be executed.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelCall {
    /// Its name: of a kernel in a loaded module, of a registered host function, or of a built-in kernel, in this order.
    pub name: String,
    /// The module in which it is; `None` for any.
    pub module: Option<String>,
    /// Its shape. Built-in kernels choose their own; the given one must be possible all the same.
    pub launch: Launch,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// Bounds the time from submission to the end; see [`Work::timeout`].
    pub timeout: Option<Duration>,
}

/// Queues a kernel on the stream at `stream` once everything about it is right; the number of its execution.
pub(in crate::virtualization) fn submit(gpu: &VirtualGpu, stream: i32, call: KernelCall) -> Result<i32> {
    let unit = gpu.unit()?;
    let lane = unit.lane(gpu, stream)?;
    if call.name.is_empty() {
        return Err(Error::argument("kernelName", "is empty"));
    }
    if call.timeout.is_some_and(|t| t.is_zero()) {
        return Err(Error::argument("timeoutMs", "must be above 0"));
    }
    let found = gpu.library().find(&call.name, call.module.as_deref());
    let callable = match found {
        Ok(callable) => callable,
        Err(e) if e.status() == Status::NotFound && call.module.is_none() => {
            let Ok(own) = builtin(&call.name) else { return Err(unknown(gpu, &call.name)) };
            possible(&call.launch)?;
            let operation = own
                .operation(&call.arguments)
                .map_err(|e| e.within(format_args!("kernel `{}`", own.name)))?;
            return operations::submit(gpu, stream, own.name, operation, call.timeout);
        }
        Err(e) => return Err(e),
    };
    callable.check(&call.launch, &call.arguments, Some(gpu.tenant().space()))?;
    let queue = lane.queue(gpu.tenant())?;
    let (launch, arguments) = (call.launch, call.arguments);
    let work = match callable {
        Callable::Kernel(kernel) => Work::new(call.name, move |stream| {
            // SAFETY: number and sizes of the arguments were checked, pointers found in allocations of the tenant; that
            // the kernel stays inside of them is what every kernel promises.
            unsafe { kernel.launch(stream, &launch, &arguments) }
        }),
        Callable::Host(function) => Work::polled(call.name, move |stream, flag| {
            let flag = flag.clone();
            let run = Run { stop: Some(Box::new(move || flag.is_raised())), ended: None };
            // SAFETY: as above.
            unsafe { function.launch(stream, &launch, &arguments, run) }
        }),
    };
    let work = match call.timeout.or_else(|| unit.timeout()) {
        Some(longest) => work.timeout(longest),
        None => work,
    };
    Ok(unit.executions.add(stream as u32, queue.submit(work)?))
}

/// Refuses shapes that no device has.
fn possible(launch: &Launch) -> Result<()> {
    for (argument, dims) in [("gridDim", launch.grid), ("blockDim", launch.block)] {
        if dims.contains(&0) {
            return Err(Error::argument(argument, format!("{dims:?} has a 0")));
        }
    }
    if launch.threads() > 1024 {
        return Err(Error::argument("blockDim", format!("{} threads are more than 1024", launch.threads())));
    }
    Ok(())
}

/// The error for a name that nothing has, with names that are near it.
fn unknown(gpu: &VirtualGpu, name: &str) -> Error {
    let own = gpu.library().names();
    let mut all: Vec<&str> = own.iter().map(String::as_str).chain(BUILTINS.iter().map(|b| b.name)).collect();
    let near = |other: &str| {
        let same = other.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        std::cmp::Reverse(same)
    };
    all.sort_by_key(|other| near(other));
    all.truncate(8);
    Error::not_found(format!("virtual GPU {} has no kernel {name:?}", gpu.id()))
        .advise(format!("there are {}, …", all.join(", ")))
}

/// All kernels of a virtual GPU by name: `own`, or what a built-in one takes and does.
pub(in crate::virtualization) fn names(gpu: &VirtualGpu) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        BUILTINS.iter().map(|b| (b.name.to_owned(), format!("{}: {}", b.signature(), b.about))).collect();
    all.extend(gpu.library().names().into_iter().map(|name| (name, "own".to_owned())));
    all
}
