//! A tenant's virtual streams, and the processors on which they run.

use super::{Tenant, fits};
use crate::compute::{Nodes, Queue};
use crate::device::Stream;
use crate::{Error, Result, Status};
use std::sync::Arc;

impl Tenant {
    /// The virtual stream with this number: 0 is one of its own, made on first use; others work over the stream of that
    /// number ([`Tenant::open_stream`]), which then should get work through the queue only.
    ///
    /// Errors: [`Status::NotFound`] for a number that is not one of this tenant's streams; a closed or lost tenant.
    pub fn queue(&self, number: u64) -> Result<Arc<Queue>> {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get(&number) {
            return Ok(queue.clone());
        }
        let node = self.node()?;
        let mut stale = None;
        let stream = match number {
            0 => self.stream_on(&node, self.stream_priority())?,
            _ => {
                let stream = self.stream(number)?;
                stale = Some(node.clone());
                stream
            }
        };
        let queue = Queue::over(&self.device, &self.share, &self.space, &node, stream)?;
        if let Some(node) = stale {
            // A stream from before may be one of other processors: its queue goes to those that the tenant has now.
            let stream = self.stream_on(&node, self.stream_priority())?;
            self.streams.lock().insert(number, stream.clone());
            queue.move_over(&node, stream);
        }
        queues.insert(number, queue.clone());
        drop(queues);
        if self.is_closed() || self.is_lost() {
            // Closed since the beginning of this call, perhaps too late for the closing to see the queue.
            queue.end(self.ended());
            return Err(self.ended());
        }
        Ok(queue)
    }

    /// The virtual stream that works over this stream, which must be one of the tenant's numbered streams.
    ///
    /// Errors: [`Status::NotOwner`] for any other stream.
    pub fn queue_of(&self, stream: &Arc<dyn Stream>) -> Result<Arc<Queue>> {
        let own = self.streams.lock().iter().find(|(_, s)| Arc::ptr_eq(s, stream)).map(|(number, _)| *number);
        if let Some(number) = own {
            return self.queue(number);
        }
        let queues = self.queues.lock();
        let found = queues.values().find(|q| Arc::ptr_eq(&q.stream(), stream)).cloned();
        found.ok_or_else(|| {
            Error::new(Status::NotOwner, format!("the stream is not one of tenant {:?}", self.id))
                .advise("use a stream that was opened for this tenant")
        })
    }

    /// The numbers of the virtual streams in use.
    pub fn queues(&self) -> Vec<u64> {
        self.queues.lock().keys().copied().collect()
    }

    /// Gives the tenant at least `processors` cores or SMs in place of all that it holds: a new node is made (of the units
    /// that the fewest others use; a GPU's come in groups), its queues move there between two launches, its model between
    /// two steps, and the old nodes are given back. The number of processors it has then. On an error nothing has changed.
    ///
    /// Errors: `processors` 0 or more than the device has; what the device answers; a closed or lost tenant.
    pub fn scale(&self, processors: u32) -> Result<u32> {
        self.scale_within(processors, None)
    }

    /// Like [`Tenant::scale`], to units among these alone where some are named (indices into
    /// [`crate::device::Device::units`]); fewer processors where they have fewer.
    pub fn scale_within(&self, processors: u32, within: Option<&[u32]>) -> Result<u32> {
        if processors == 0 {
            return Err(Error::argument("processors", "must be at least 1"));
        }
        fits(&self.device, processors)?;
        // Held all the while: no queue comes or goes, and one change follows the other.
        let queues = self.queues.lock();
        let nodes = Nodes::of(&self.device);
        let old: Vec<u32> = {
            let compute = self.compute.lock();
            self.must_be_open(&compute)?;
            self.held(&compute).iter().filter(|n| n.kind.is_processors()).map(|n| n.id).collect()
        };
        let (info, _) = nodes.create_within(&self.id, processors, &old, within)?;
        let undo = |_: &Error| {
            // Ours since just now.
            let _ = nodes.release(info.id, &self.id);
        };
        let made = || {
            let node = self.device.node_create(&info.units)?;
            let stream = |_: &Arc<Queue>| self.stream_on(&node, self.stream_priority());
            let streams = queues.values().map(stream).collect::<Result<Vec<_>>>()?;
            Ok::<_, Error>((node, streams))
        };
        let (node, streams) = made().inspect_err(undo)?;
        let mut compute = self.compute.lock();
        self.must_be_open(&compute).inspect_err(undo)?;
        for id in old.iter().filter(|id| compute.held.contains(id)) {
            // Ours by construction; streams that still run on it keep it alive.
            let _ = nodes.release(*id, &self.id);
        }
        compute.held.retain(|id| !old.contains(id));
        compute.held.push(info.id);
        compute.automatic = None;
        compute.processors = processors;
        let before = compute.changed();
        compute.node = Some(node.clone());
        drop(compute);
        for ((number, queue), stream) in queues.iter().zip(streams) {
            if *number > 0 {
                self.streams.lock().insert(*number, stream.clone());
            }
            queue.move_over(&node, stream);
        }
        drop(queues);
        drop(before);
        Ok(info.processors)
    }

    fn ended(&self) -> Error {
        match self.is_lost() {
            true => Error::new(Status::DeviceLost, format!("tenant {:?} went with its lost device", self.id))
                .advise("open it again"),
            false => Error::new(Status::NotInitialized, format!("tenant {:?} was closed", self.id)),
        }
    }

    /// Cancels what waits in its queues, and waits for what is on the device.
    pub(super) fn end_queues(&self) {
        let queues = std::mem::take(&mut *self.queues.lock());
        for queue in queues.values() {
            queue.end(self.ended());
        }
        for queue in queues.values() {
            // The queue is going away; an error of its last work has nobody left to go to.
            let _ = queue.synchronize();
        }
    }
}
