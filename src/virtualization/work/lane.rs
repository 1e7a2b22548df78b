//! A stream of a virtual GPU: its queue, and the tensor operations on whatever device stream the queue works now.

use crate::Result;
use crate::compute::Queue;
use crate::device::{Device, Node, Stream};
use crate::ops::tensor::{self, Rules, TensorOps};
use crate::tenant::Tenant;
use crate::{Error, Status};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// Former seats that are kept: work that was on its way when a queue moved may still ask for one.
const KEPT: usize = 4;

/// A node and a stream on it, with the operations there.
struct Seat {
    device: Arc<dyn Device>,
    node: Arc<dyn Node>,
    stream: Arc<dyn Stream>,
    ops: OnceLock<Arc<dyn TensorOps>>,
}

/// The seats of a lane, the present one last. Work looks its own up by the stream that it is given.
#[derive(Clone, Default)]
pub(in crate::virtualization) struct Seats(Arc<Mutex<Vec<Arc<Seat>>>>);

impl Seats {
    fn add(&self, seat: Seat) {
        let mut all = self.0.lock();
        let surplus = (all.len() + 1).saturating_sub(KEPT);
        all.drain(..surplus);
        all.push(Arc::new(seat));
    }

    /// The operations on this stream, under these rules from now on.
    pub(super) fn ops(&self, stream: &dyn Stream, rules: Rules) -> Result<Arc<dyn TensorOps>> {
        let seat = self.0.lock().iter().find(|s| std::ptr::addr_eq(&raw const *s.stream, stream)).cloned();
        let seat =
            seat.ok_or_else(|| Error::new(Status::Internal, "a queue works on a stream unknown to it"))?;
        let ops = seat.ops()?;
        ops.set_rules(rules);
        Ok(ops)
    }

    fn present(&self) -> Option<Arc<Seat>> {
        self.0.lock().last().cloned()
    }
}

impl Seat {
    fn ops(&self) -> Result<Arc<dyn TensorOps>> {
        let ops = match self.ops.get() {
            Some(ops) => ops,
            None => {
                let made = tensor::for_stream(&self.device, self.node.clone(), self.stream.clone())?;
                // Two threads may have made them: the first ones count.
                self.ops.get_or_init(|| made)
            }
        };
        Ok(ops.clone())
    }
}

/// A stream of a virtual GPU.
pub(in crate::virtualization) struct Lane {
    queue: Arc<Queue>,
    seats: Seats,
    /// [`Tenant::node_version`] for which it has its seat.
    version: Mutex<u64>,
}

impl Lane {
    /// A stream of the tenant.
    pub(in crate::virtualization) fn open(tenant: &Arc<Tenant>) -> Result<Lane> {
        let version = tenant.node_version();
        let node = tenant.node()?;
        let stream = tenant.stream_on(&node, tenant.stream_priority())?;
        let queue = Queue::over(tenant.device(), tenant.share(), tenant.space(), &node, stream.clone())?;
        let seats = Seats::default();
        seats.add(Seat { device: tenant.device().clone(), node, stream, ops: OnceLock::new() });
        Ok(Lane { queue, seats, version: Mutex::new(version) })
    }

    /// Its queue, on the tenant's present node: moved there first when that is another one than before.
    pub(in crate::virtualization) fn queue(&self, tenant: &Arc<Tenant>) -> Result<&Arc<Queue>> {
        let mut version = self.version.lock();
        let now = tenant.node_version();
        if *version != now {
            let node = tenant.node()?;
            let same = self.seats.present().is_some_and(|s| Arc::ptr_eq(&s.node, &node));
            if !same {
                let stream = tenant.stream_on(&node, tenant.stream_priority())?;
                let device = tenant.device().clone();
                // Before the queue can give it to work.
                self.seats.add(Seat {
                    device,
                    node: node.clone(),
                    stream: stream.clone(),
                    ops: OnceLock::new(),
                });
                self.queue.move_over(&node, stream);
            }
            *version = now;
        }
        Ok(&self.queue)
    }

    /// Its queue, wherever it works.
    pub(in crate::virtualization) fn same_queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Its seats, for work that looks up its own.
    pub(super) fn seats(&self) -> Seats {
        self.seats.clone()
    }

    /// The operations at its present seat, to cut work for it. Their rules are those of whatever runs: not to be touched.
    pub(super) fn ops(&self) -> Result<Arc<dyn TensorOps>> {
        let seat =
            self.seats.present().ok_or_else(|| Error::new(Status::Internal, "a stream without a seat"))?;
        seat.ops()
    }
}
