//! Host functions: what the CPU device runs in place of kernels.

use super::Launch;
use crate::device::Stream;
use crate::device::cpu::{CpuNode, CpuStream};
use crate::memory::Space;
use crate::ops::tensor::Argument;
use crate::telemetry::profiler::{self, Kind, Span};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

mod table;

pub use table::HostFunctions;

/// Bytes of dynamic shared memory that a block may have: what the largest block of a GPU has, and a bit more.
const MOST_SHARED: u32 = 256 << 10;
/// Blocks and threads in each dimension, as GPUs have them, so that what runs here is a launch there too.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
const MOST_THREADS: [u32; 3] = [1024, 1024, 64];
const MOST_THREADS_PER_BLOCK: u64 = 1024;

/// What a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// An address in the tenant's memory.
    Pointer,
    /// A signed integer of 32 bits.
    I32,
    /// An unsigned integer of 32 bits.
    U32,
    /// A signed integer of 64 bits.
    I64,
    /// An unsigned integer of 64 bits.
    U64,
    /// A number of 32 bits.
    F32,
    /// A number of 64 bits.
    F64,
    /// A struct of this many bytes.
    Bytes(usize),
}

impl ParameterKind {
    /// Whether it takes this argument.
    pub fn takes(self, argument: &Argument) -> bool {
        match (self, argument) {
            (ParameterKind::Bytes(n), Argument::Bytes(bytes)) => bytes.len() == n,
            _ => self.name() == argument.kind() && !matches!(argument, Argument::Bytes(_)),
        }
    }

    /// Its name, as [`Argument::kind`] has it.
    pub fn name(self) -> &'static str {
        match self {
            ParameterKind::Pointer => "pointer",
            ParameterKind::I32 => "i32",
            ParameterKind::U32 => "u32",
            ParameterKind::I64 => "i64",
            ParameterKind::U64 => "u64",
            ParameterKind::F32 => "f32",
            ParameterKind::F64 => "f64",
            ParameterKind::Bytes(_) => "bytes",
        }
    }
}

/// How often a host function is called for a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// For each block of the grid, in no order, by all cores of the node at once.
    PerBlock,
    /// Once, with block 0 as its index, by the stream's thread.
    Once,
}

/// What a host function is told of its call.
pub struct HostLaunch<'a> {
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z: the function does the work of all of them.
    pub block: [u32; 3],
    /// The block that this call is for; zeros with [`Calls::Once`].
    pub index: [u32; 3],
    /// Which of the node's threads this is, and how many there are.
    pub worker: usize,
    /// See `worker`.
    pub workers: usize,
    /// The block's own scratch memory, aligned to 64 bytes; what is in it at first is undefined.
    shared: &'a Shared,
}

impl HostLaunch<'_> {
    /// Address and bytes of the dynamic shared memory that the launch asked for. No other call has it meanwhile.
    pub fn shared(&self) -> (*mut u8, usize) {
        (self.shared.lines.as_ptr().cast_mut().cast(), self.shared.bytes)
    }
}

/// Scratch memory of one thread.
struct Shared {
    lines: Vec<std::cell::UnsafeCell<Line>>,
    bytes: usize,
}

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[allow(dead_code)] [u8; 64]);

impl Shared {
    fn new(bytes: u32) -> Shared {
        let bytes = bytes as usize;
        let lines = (0..bytes.div_ceil(64)).map(|_| std::cell::UnsafeCell::new(Line([0; 64])));
        Shared { lines: lines.collect(), bytes }
    }
}

/// A host function: it does one block's work (or all of it, see [`Calls`]). What it returns as an error, and what it
/// panics with, is the error of that execution; blocks that were not begun then are left out.
pub type HostBody = dyn Fn(&HostLaunch<'_>, &[Argument]) -> Result<()> + Send + Sync;

/// Asks whether an execution shall stop.
pub type Stop = Box<dyn Fn() -> bool + Send + Sync>;
/// Is told how an execution ended.
pub type Ended = Box<dyn FnOnce(&Result<()>) + Send>;

/// How an execution goes on and ends.
#[derive(Default)]
pub struct Run {
    /// Asked before each block; true leaves out the rest, and the execution ends with `Cancelled`.
    pub stop: Option<Stop>,
    /// Told how the execution ended, on the stream's thread, exactly once; dropped untold where the stream itself goes.
    pub ended: Option<Ended>,
}

/// A registered host function. Usable from any thread.
pub struct HostFunction {
    name: String,
    parameters: Vec<ParameterKind>,
    calls: Calls,
    body: Arc<HostBody>,
    /// Executions that are queued or run.
    flying: AtomicUsize,
}

/// One execution, counted while it lives.
struct Flight(Arc<HostFunction>);

impl Flight {
    fn new(function: &Arc<HostFunction>) -> Flight {
        function.flying.fetch_add(1, Ordering::AcqRel);
        Flight(function.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.flying.fetch_sub(1, Ordering::AcqRel);
    }
}

impl HostFunction {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it takes.
    pub fn parameters(&self) -> &[ParameterKind] {
        &self.parameters
    }

    /// How often it is called for a launch.
    pub fn calls(&self) -> Calls {
        self.calls
    }

    /// Executions that are queued or run now.
    pub fn in_flight(&self) -> usize {
        self.flying.load(Ordering::Acquire)
    }

    /// Checks a launch before anything is queued: the shape, the number and kinds of the arguments, and, with a `space`,
    /// that every pointer lies in memory that it holds.
    ///
    /// Errors: `InvalidArgument` naming `grid`, `block`, `shared_bytes` or `arguments` with the index; `NotOwner` for memory
    /// of another tenant.
    pub fn check(&self, launch: &Launch, arguments: &[Argument], space: Option<&Space>) -> Result<()> {
        launch.check(MOST_BLOCKS, MOST_THREADS)?;
        if launch.threads() > MOST_THREADS_PER_BLOCK {
            let text = format!("{} threads a block, not 1 to {MOST_THREADS_PER_BLOCK}", launch.threads());
            return Err(Error::argument("block", text));
        }
        if launch.shared_bytes > MOST_SHARED {
            let text =
                format!("{} bytes of shared memory a block, not 0 to {MOST_SHARED}", launch.shared_bytes);
            return Err(Error::argument("shared_bytes", text));
        }
        if launch.cooperative && self.calls == Calls::PerBlock {
            return Err(Error::unsupported(format!(
                "{:?} is a host function: its blocks do not run all at once",
                self.name
            ))
            .advise("register it to be called once a launch, and let it do all blocks"));
        }
        let (given, takes) = (arguments.len(), self.parameters.len());
        if given != takes {
            let text = format!("{given} are given, {:?} has {takes} parameters", self.name);
            return Err(Error::argument("arguments", text));
        }
        for (i, (argument, kind)) in arguments.iter().zip(&self.parameters).enumerate() {
            if !kind.takes(argument) {
                let text = format!(
                    "argument {i} is {} of {} bytes, {:?} takes {} there",
                    argument.kind(),
                    argument.size(),
                    self.name,
                    match kind {
                        ParameterKind::Bytes(n) => format!("{n} bytes"),
                        other => other.name().into(),
                    }
                );
                return Err(Error::argument("arguments", text));
            }
            if let (Some(space), Argument::Pointer(address)) = (space, argument) {
                super::kernel::check_pointer(space, i, *address)?;
            }
        }
        Ok(())
    }

    /// Queues an execution on a stream of the CPU device and returns. Its failure is told to `run.ended`, and, where
    /// nobody listens there, to the next [`Stream::synchronize`].
    ///
    /// Errors: those of [`HostFunction::check`]; `Unsupported` for a stream of a GPU, whose memory the host does not reach.
    ///
    /// # Safety
    /// What the pointers point to must stay valid until it has run.
    pub unsafe fn launch(
        self: &Arc<Self>,
        stream: &dyn Stream,
        launch: &Launch,
        arguments: &[Argument],
        run: Run,
    ) -> Result<()> {
        self.check(launch, arguments, None)?;
        let Some(stream) = stream.as_any().downcast_ref::<CpuStream>() else { return Err(self.not_here()) };
        let (flight, launch, arguments) = (Flight::new(self), *launch, arguments.to_vec());
        let (node, track) = (stream.node().clone(), stream.track().cloned());
        stream.submit(move || {
            let execute = || flight.0.execute(&node, &launch, &arguments, run.stop.as_deref());
            let outcome = match profiler::on() {
                false => execute(),
                true => {
                    let span = Span::begin(Kind::Kernel, flight.0.name.clone(), track.as_ref());
                    span.end_if(execute())
                }
            };
            // It is over when somebody hears of it.
            drop(flight);
            match run.ended {
                Some(told) => {
                    told(&outcome);
                    Ok(())
                }
                None => outcome,
            }
        })
    }

    /// Why it does not run on a GPU.
    pub(super) fn not_here(&self) -> Error {
        Error::unsupported(format!(
            "{:?} is a host function: it runs on the CPU device, a GPU's memory is not its own",
            self.name
        ))
        .advise("load a program (PTX, cubin, fatbin or CUDA C++) with a kernel of this name for the GPU")
    }

    fn execute(
        &self,
        node: &CpuNode,
        launch: &Launch,
        arguments: &[Argument],
        stop: Option<&(dyn Fn() -> bool + Send + Sync)>,
    ) -> Result<()> {
        let blocks = match self.calls {
            Calls::Once => 1,
            Calls::PerBlock => launch.blocks(),
        };
        let (next, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let fail = |e: Error| {
            failure.lock().get_or_insert(e);
            ended.store(true, Ordering::Relaxed);
        };
        let work = |worker: usize, workers: usize| {
            let shared = Shared::new(launch.shared_bytes);
            // A few at a time, so that small blocks are not all about the counter.
            let grain = (blocks / (workers as u64 * 64)).clamp(1, 64);
            while !ended.load(Ordering::Relaxed) {
                let first = next.fetch_add(grain, Ordering::Relaxed);
                if first >= blocks {
                    return;
                }
                for at in first..blocks.min(first + grain) {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    if stop.is_some_and(|stop| stop()) {
                        let text = format!("{:?} was stopped before block {at} of {blocks}", self.name);
                        return fail(Error::new(Status::Cancelled, text));
                    }
                    if let Err(e) = self.call(launch, at, worker, workers, &shared, arguments) {
                        return fail(e);
                    }
                }
            }
        };
        match blocks {
            1 => work(0, 1),
            _ => node.team().run(&work),
        }
        failure.into_inner().map_or(Ok(()), Err)
    }

    fn call(
        &self,
        launch: &Launch,
        at: u64,
        worker: usize,
        workers: usize,
        shared: &Shared,
        arguments: &[Argument],
    ) -> Result<()> {
        let (x, y) = (u64::from(launch.grid[0]), u64::from(launch.grid[1]));
        let index = [(at % x) as u32, (at / x % y) as u32, (at / x / y) as u32];
        let told = HostLaunch { grid: launch.grid, block: launch.block, index, worker, workers, shared };
        let done = catch_unwind(AssertUnwindSafe(|| (self.body)(&told, arguments)));
        let place = || format!("host function {:?}, block {index:?}", self.name);
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(e.within(place())),
            Err(panic) => {
                Err(Error::new(Status::Callback, format!("{}: it panicked: {}", place(), said(panic))))
            }
        }
    }
}

/// The text of a panic. What was thrown is not dropped: its destructor might panic too.
fn said(panic: Box<dyn Any + Send>) -> String {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "no message".into(),
    };
    std::mem::forget(panic);
    text
}

#[cfg(test)]
mod tests;
