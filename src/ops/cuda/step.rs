//! Steps: uploads, work and downloads in stream order, recorded as a CUDA graph when the step has a key.
//!
//! A recorded step owns a page-locked buffer. Its copies are part of the graph, so a replay is: fill the buffer,
//! launch once, wait, read the buffer.

use super::CudaOps;
use crate::Result;
use crate::device::DevicePtr;
use crate::device::cuda::{CudaEvent, CudaStream, Graph, PinnedBuffer};
use crate::ops::{Download, StepTime, Upload};
use crate::telemetry::profiler;
use std::collections::HashMap;

/// Recorded steps that are kept. An engine has a few; this only bounds what a wrong use could pile up.
const MOST_RECORDS: usize = 512;

/// Steps in which capturing is tried before a key is taken for one that cannot be recorded.
const ATTEMPTS: u32 = 3;

/// What the driver answers when it is the capture that went wrong, and not what was captured.
const CAPTURE_CODES: std::ops::RangeInclusive<u32> = 900..=908;

/// Where the bytes of a step go and come from: device address and length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    up: Vec<(DevicePtr, usize)>,
    down: Vec<(DevicePtr, usize)>,
}

impl Shape {
    fn of(uploads: &[Upload<'_>], downloads: &[Download<'_>]) -> Shape {
        Shape {
            up: uploads.iter().map(|(at, bytes)| (*at, bytes.len())).collect(),
            down: downloads.iter().map(|(bytes, at)| (*at, bytes.len())).collect(),
        }
    }

    /// Offsets in the page-locked buffer, 64-byte aligned, uploads first; then its size.
    fn offsets(&self) -> (Vec<usize>, usize) {
        let mut at = 0;
        let offsets = self.up.iter().chain(&self.down).map(|(_, len)| {
            let offset = at;
            at += len.next_multiple_of(64);
            offset
        });
        let offsets = offsets.collect();
        (offsets, at.max(64))
    }
}

struct Record {
    shape: Shape,
    pinned: PinnedBuffer,
    /// `None` when the work could not be captured; it is queued anew each time.
    graph: Option<Graph>,
    /// How often capturing was tried.
    attempts: u32,
}

/// The recorded steps, and the buffer of those without a key.
#[derive(Default)]
pub(super) struct Steps {
    records: HashMap<u64, Record>,
    spare: Option<PinnedBuffer>,
}

impl CudaOps {
    pub(super) fn run_step(
        &self,
        key: Option<u64>,
        uploads: &[Upload<'_>],
        body: &mut (dyn FnMut() -> Result<()> + Send),
        downloads: &mut [Download<'_>],
    ) -> Result<StepTime> {
        // The standard path launches each kernel of each step.
        let key = key.filter(|_| self.device.path().direct());
        let mut steps = self.steps.lock();
        let shape = Shape::of(uploads, downloads);
        let (offsets, bytes) = shape.offsets();
        let (up_offsets, down_offsets) = offsets.split_at(uploads.len());

        // A recorded step is one launch for the device; to see its kernels it is queued anew while it is profiled.
        let profiled = profiler::on() && self.stream.track().is_some_and(|t| t.subject().recorded());
        let Some(key) = key.filter(|_| !profiled) else {
            let mut pinned = match steps.spare.take() {
                Some(p) if p.len() >= bytes => p,
                _ => PinnedBuffer::new(self.cuda()?, bytes.next_power_of_two())?,
            };
            fill(&mut pinned, uploads, up_offsets);
            let time = self.timed(|| self.queue(&pinned, &shape, &offsets, body))?;
            drain(&pinned, downloads, down_offsets);
            steps.spare = Some(pinned);
            return Ok(time);
        };

        if steps.records.get(&key).is_some_and(|r| r.shape != shape) {
            steps.records.remove(&key);
        }
        if !steps.records.contains_key(&key) {
            if steps.records.len() >= MOST_RECORDS {
                steps.records.clear();
            }
            let pinned = PinnedBuffer::new(self.cuda()?, bytes)?;
            steps.records.insert(key, Record { shape: shape.clone(), pinned, graph: None, attempts: 0 });
        }
        let record = steps.records.get_mut(&key).expect("it was put there just now");
        // What other threads do on the device meanwhile can make a capture fail once.
        if record.graph.is_none() && record.attempts < ATTEMPTS {
            record.attempts += 1;
            record.graph = self.record(&record.pinned, &shape, &offsets, body)?;
        }
        fill(&mut record.pinned, uploads, up_offsets);
        let time = match &record.graph {
            Some(graph) => self.timed(|| graph.launch(self.own_stream()?)),
            None => self.timed(|| self.queue(&record.pinned, &shape, &offsets, body)),
        };
        // After a failure nobody knows what the record is worth.
        if time.is_err() {
            steps.records.remove(&key);
            return time;
        }
        drain(&record.pinned, downloads, down_offsets);
        time
    }

    /// Captures a step; `None` when the driver cannot. An error of the body itself is the step's error.
    fn record(
        &self,
        pinned: &PinnedBuffer,
        shape: &Shape,
        offsets: &[usize],
        body: &mut (dyn FnMut() -> Result<()> + Send),
    ) -> Result<Option<Graph>> {
        let mut failed = None;
        let graph = Graph::capture(self.own_stream()?, || {
            self.queue(pinned, shape, offsets, &mut || body().inspect_err(|e| failed = Some(e.clone())))
        });
        match (graph, failed) {
            (Ok(graph), _) => Ok(Some(graph)),
            (Err(_), Some(e)) if !CAPTURE_CODES.contains(&e.driver_code().unwrap_or(0)) => Err(e),
            (Err(_), _) => Ok(None),
        }
    }

    /// Queues uploads, body and downloads.
    fn queue(
        &self,
        pinned: &PinnedBuffer,
        shape: &Shape,
        offsets: &[usize],
        body: &mut (dyn FnMut() -> Result<()> + Send),
    ) -> Result<()> {
        let (up, down) = offsets.split_at(shape.up.len());
        for (&(dst, len), offset) in shape.up.iter().zip(up) {
            let src = pinned.address() + *offset as u64;
            // SAFETY: the caller's buffers hold `len` bytes; the page-locked buffer lives until the step was waited for.
            unsafe { self.device.copy(dst, src, len as u64, Some(self.stream.as_ref()))? };
        }
        body()?;
        for (&(src, len), offset) in shape.down.iter().zip(down) {
            let dst = pinned.address() + *offset as u64;
            // SAFETY: as above.
            unsafe { self.device.copy(dst, src, len as u64, Some(self.stream.as_ref()))? };
        }
        Ok(())
    }

    /// Runs what `queue` queues, waits for it also when queueing failed half-way, and measures it by events.
    fn timed(&self, queue: impl FnOnce() -> Result<()>) -> Result<StepTime> {
        let profiled = profiler::on();
        if profiled {
            self.own_stream()?.ready_clock();
        }
        let before = self.stream.record()?;
        let queued = queue();
        let after = if queued.is_ok() { Some(self.stream.record()?) } else { None };
        let ran = self.stream.synchronize();
        queued?;
        ran?;
        let after = after.expect("it was recorded");
        let mut time = StepTime { device: after.since(before.as_ref())?, begun: 0 };
        if profiled {
            time.begun = CudaEvent::passed(before.as_ref()).unwrap_or_default();
            self.own_stream()?.take_in();
        }
        Ok(time)
    }

    /// The CUDA stream behind the trait object; checked when the operations were made.
    pub(super) fn own_stream(&self) -> Result<&CudaStream> {
        CudaStream::of(self.stream.as_ref(), "stream")
    }
}

fn fill(pinned: &mut PinnedBuffer, uploads: &[Upload<'_>], offsets: &[usize]) {
    for ((_, bytes), &at) in uploads.iter().zip(offsets) {
        pinned.as_mut_slice()[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn drain(pinned: &PinnedBuffer, downloads: &mut [Download<'_>], offsets: &[usize]) {
    for ((bytes, _), &at) in downloads.iter_mut().zip(offsets) {
        bytes.copy_from_slice(&pinned.as_slice()[at..at + bytes.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_do_not_overlap_and_are_aligned() {
        let shape = Shape { up: vec![(1, 5), (2, 64), (3, 0)], down: vec![(4, 65)] };
        let (offsets, bytes) = shape.offsets();
        assert_eq!((offsets, bytes), (vec![0, 64, 128, 128], 256));
        assert_eq!(Shape { up: vec![], down: vec![] }.offsets(), (vec![], 64));
    }
}
