//! The threads that run an operation.

use crate::device::Node;
use crate::device::cpu::CpuNode;
use crate::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed group of threads, one of which is the caller.
pub trait Crew: Send + Sync {
    /// How many threads there are.
    fn workers(&self) -> usize;

    /// Calls `f(worker, workers)` once on each thread, the caller being worker 0, and returns when all have returned.
    fn run(&self, f: &(dyn Fn(usize, usize) + Sync));
}

/// The team of a node of the CPU device.
pub struct NodeCrew(Arc<dyn Node>);

impl NodeCrew {
    /// Errors: the node belongs to another kind of device.
    pub fn new(node: Arc<dyn Node>) -> Result<NodeCrew> {
        if node.as_any().is::<CpuNode>() {
            return Ok(NodeCrew(node));
        }
        Err(Error::argument("node", "belongs to another kind of device than the CPU"))
    }

    fn node(&self) -> &CpuNode {
        // `new` lets nothing else in.
        self.0.as_any().downcast_ref().expect("a node of the CPU device")
    }
}

impl Crew for NodeCrew {
    fn workers(&self) -> usize {
        self.node().team().workers()
    }

    fn run(&self, f: &(dyn Fn(usize, usize) + Sync)) {
        self.node().team().run(f);
    }
}

/// Hands out `units` pieces of work, numbered from 0, in runs of `grain`. With one thread, or little to do, the
/// caller does it all. `f(first, last, worker)` must do each piece by itself, so that it does not matter who does it.
pub fn share(crew: &dyn Crew, units: usize, grain: usize, f: impl Fn(usize, usize, usize) + Sync) {
    if units == 0 {
        return;
    }
    let grain = grain.max(1);
    if crew.workers() == 1 || units <= grain {
        return f(0, units, 0);
    }
    let next = AtomicUsize::new(0);
    crew.run(&|worker, _| {
        loop {
            let first = next.fetch_add(grain, Ordering::Relaxed);
            if first >= units {
                break;
            }
            f(first, units.min(first + grain), worker);
        }
    });
}
