//! CUDA graphs: work captured on a stream once and launched as one command.

use super::context::Context;
use super::module::Module;
use super::stream::CudaStream;
use super::timeline::{Parts, Work, measured};
use super::types::{self, GraphUpdate, Handle};
use crate::telemetry::profiler;
use crate::{Error, Result, Status};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Captured work, ready to launch. What its kernels point to must stay valid for as long as it is launched; the modules of
/// kernels that were queued by [`super::Function`] stay loaded with it.
/// Usable from any thread, but one launch or update at a time.
pub struct Graph {
    context: Arc<Context>,
    exec: types::GraphExec,
    nodes: usize,
    // Unloaded after the instance, whose launch would end the process without them.
    modules: Vec<Arc<Module>>,
}

thread_local! {
    /// Modules of the kernels that this thread's capture has seen; none while it captures nothing.
    static SEEN: RefCell<Option<Vec<Arc<Module>>>> = const { RefCell::new(None) };
}

/// Tells of a kernel's module, in case this thread is capturing.
#[inline]
pub(super) fn note_module(module: &Arc<Module>) {
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen
            && !seen.iter().any(|m| Arc::ptr_eq(m, module))
        {
            seen.push(module.clone());
        }
    });
}

/// A captured graph before it is instantiated.
struct Template {
    context: Arc<Context>,
    raw: types::Graph,
    modules: Vec<Arc<Module>>,
}

impl Drop for Template {
    fn drop(&mut self) {
        if self.context.is_dead() {
            return;
        }
        // SAFETY: this is its only owner.
        self.context.driver.released(unsafe { self.context.driver.cuGraphDestroy(self.raw) });
    }
}

impl Template {
    /// Records what `record` queues on `stream`; nothing of it runs. The capture mode is thread-local: other threads
    /// may go on calling the driver. A capture is ended and thrown away when `record` fails.
    fn capture(stream: &CudaStream, record: impl FnOnce() -> Result<()>) -> Result<Template> {
        let context = &stream.context;
        let _whole = context.capturing.read();
        let _own = stream.recording.lock();
        let _current = context.enter()?;
        let driver = &context.driver;
        // SAFETY: the stream is alive.
        unsafe { driver.cuStreamBeginCapture_v2(stream.handle(), types::CAPTURE_THREAD_LOCAL)? };
        let outer = SEEN.replace(Some(Vec::new()));
        // The capture is ended also when `record` panics; otherwise the stream would stay unusable.
        let recorded = catch_unwind(AssertUnwindSafe(record));
        let modules = SEEN.replace(outer).unwrap_or_default();
        let mut raw = Handle::NULL;
        // SAFETY: a capture is open on this stream, `raw` outlives the call.
        let ended = unsafe { driver.cuStreamEndCapture(stream.handle(), &mut raw) };
        let template = (!raw.is_null()).then(|| Template { context: context.clone(), raw, modules });
        recorded.unwrap_or_else(|panic| resume_unwind(panic))?;
        ended?;
        template.ok_or_else(|| Error::unsupported("the capture recorded nothing"))
    }

    fn nodes(&self) -> Result<usize> {
        let mut count = 0;
        // SAFETY: a null array asks for the count only.
        unsafe { self.context.driver.cuGraphGetNodes(self.raw, std::ptr::null_mut(), &mut count)? };
        Ok(count)
    }
}

impl Graph {
    /// For each kernel that `record` queues on `stream` the percent of L1 that it wants as shared memory, as the driver
    /// has it down (-1: the driver's choice). Nothing of it runs.
    pub fn carveouts(stream: &CudaStream, record: impl FnOnce() -> Result<()>) -> Result<Vec<i32>> {
        let template = Template::capture(stream, record)?;
        let driver = &template.context.driver;
        let _current = template.context.enter()?;
        let mut count = template.nodes()?;
        let mut nodes = vec![Handle::NULL; count];
        // SAFETY: the array has room for `count` nodes.
        unsafe { driver.cuGraphGetNodes(template.raw, nodes.as_mut_ptr(), &mut count)? };
        let mut all = Vec::new();
        for node in nodes.into_iter().take(count) {
            let mut value = types::AttributeValue::ZERO;
            // SAFETY: the template keeps the node, the value outlives the call; its member is a plain number.
            unsafe {
                driver.cuGraphKernelNodeGetAttribute(node, types::ATTRIBUTE_CARVEOUT, &mut value)?;
                all.push(value.carveout as i32);
            }
        }
        Ok(all)
    }

    /// Captures what `record` queues on `stream` (kernels, copies from pinned memory, fills; no waiting, no host
    /// functions) and makes it launchable.
    pub fn capture(stream: &CudaStream, record: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let mut template = Template::capture(stream, record)?;
        let context = template.context.clone();
        let _current = context.enter()?;
        let nodes = template.nodes()?;
        let mut exec = Handle::NULL;
        // SAFETY: the template is alive, `exec` outlives the call.
        unsafe { context.driver.cuGraphInstantiateWithFlags(&mut exec, template.raw, 0)? };
        drop(_current);
        Ok(Graph { context, exec, nodes, modules: std::mem::take(&mut template.modules) })
    }

    /// Captures anew and puts the new parameters into this graph when its shape is the same, which is much cheaper
    /// than a new instance; else instantiates. True when the update was enough. Not while a launch is in flight from
    /// another thread.
    pub fn recapture(&mut self, stream: &CudaStream, record: impl FnOnce() -> Result<()>) -> Result<bool> {
        self.context.same_as(&stream.context, "stream")?;
        let mut template = Template::capture(stream, record)?;
        let context = self.context.clone();
        let _current = context.enter()?;
        let nodes = template.nodes()?;
        let mut answer = GraphUpdate {
            result: 0,
            error_node: std::ptr::null_mut(),
            error_from_node: std::ptr::null_mut(),
        };
        // SAFETY: both graphs are alive, `answer` outlives the call.
        let updated = unsafe { context.driver.cuGraphExecUpdate_v2(self.exec, template.raw, &mut answer) };
        match updated {
            Ok(()) => {
                self.nodes = nodes;
                self.modules = std::mem::take(&mut template.modules);
                return Ok(true);
            }
            // Another shape, or a driver that cannot update.
            Err(e) if e.status() == Status::Unsupported => {}
            Err(e) => return Err(e),
        }
        let mut exec = Handle::NULL;
        // SAFETY: the template is alive, `exec` outlives the call.
        unsafe { context.driver.cuGraphInstantiateWithFlags(&mut exec, template.raw, 0)? };
        let old = std::mem::replace(&mut self.exec, exec);
        self.nodes = nodes;
        let _unloaded_last = std::mem::replace(&mut self.modules, std::mem::take(&mut template.modules));
        // SAFETY: the old instance is out of reach now.
        context.driver.released(unsafe { context.driver.cuGraphExecDestroy(old) });
        Ok(false)
    }

    /// How many nodes (kernels, copies, fills) it has.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Sends the graph to the device ahead of its first launch, ordered on `stream`.
    pub fn upload(&self, stream: &CudaStream) -> Result<()> {
        self.context.same_as(&stream.context, "stream")?;
        let _current = self.context.enter()?;
        // SAFETY: both are alive.
        unsafe { self.context.driver.cuGraphUpload(self.exec, stream.handle()) }
    }

    /// Queues one run on `stream`. Its kernels run on the SMs of the node on which they were captured.
    pub fn launch(&self, stream: &CudaStream) -> Result<()> {
        self.context.same_as(&stream.context, "stream")?;
        self.context.path.count(crate::device::Count::Launches, 1);
        let queue = || {
            let _current = self.context.enter()?;
            // SAFETY: both are alive; the driver keeps the instance until a launch in flight is done.
            unsafe { self.context.driver.cuGraphLaunch(self.exec, stream.handle()) }
        };
        if profiler::on() {
            return measured(stream, Work::kernel("cuda_graph").parts(Parts::Graph(self.nodes)), queue);
        }
        queue()
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.is_dead() {
            return;
        }
        // SAFETY: the last owner gives it back.
        self.context.driver.released(unsafe { self.context.driver.cuGraphExecDestroy(self.exec) });
    }
}
