//! Operations on tensors on a virtual GPU's streams.

use super::super::table::VirtualGpu;
use crate::compute::Work;
use crate::ops::tensor::{Activate, Conv2d, Element, Operation, Prepared};
use crate::{Error, Result};
use std::borrow::Cow;
use std::time::Duration;

/// A convolution as it is asked for; see [`Conv2d`] for layouts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Convolution {
    /// Elements, as a number of `cudaDataType_t`.
    pub data_type: i32,
    /// The input, NCHW.
    pub input: u64,
    /// The filter, OIHW.
    pub filter: u64,
    /// The output, NCHW.
    pub output: u64,
    /// Images.
    pub batch: i32,
    /// Channels of the input.
    pub in_channels: i32,
    /// Channels of the output.
    pub out_channels: i32,
    /// Rows.
    pub height: i32,
    /// Columns.
    pub width: i32,
    /// Rows and columns of the filter.
    pub kernel: i32,
    /// Pixels from one application to the next.
    pub stride: i32,
    /// Zeros around the image.
    pub padding: i32,
}

/// An activation as it is asked for; see [`Activate`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation<'a> {
    /// Its name.
    pub name: &'a str,
    /// Elements, as a number of `cudaDataType_t`.
    pub data_type: i32,
    /// The input, NCHW.
    pub input: u64,
    /// The output; may be the input.
    pub output: u64,
    /// Images.
    pub batch: i32,
    /// Channels.
    pub channels: i32,
    /// Rows.
    pub height: i32,
    /// Columns.
    pub width: i32,
}

/// A number from 0 up.
pub(in crate::virtualization) fn extent(argument: &str, value: i32) -> Result<u64> {
    u64::try_from(value).map_err(|_| Error::argument(argument, format!("{value} is below 0")))
}

/// A type of elements.
pub(in crate::virtualization) fn element(number: i32) -> Result<Element> {
    Element::from_number("dataType", number.into())
}

impl Convolution {
    pub(in crate::virtualization) fn operation(&self) -> Result<Operation> {
        Ok(Operation::Conv2d(Conv2d {
            element: element(self.data_type)?,
            input: self.input,
            filter: self.filter,
            output: self.output,
            batch: extent("batchSize", self.batch)?,
            in_channels: extent("inChannels", self.in_channels)?,
            out_channels: extent("outChannels", self.out_channels)?,
            height: extent("height", self.height)?,
            width: extent("width", self.width)?,
            kernel: extent("kernelSize", self.kernel)?,
            stride: extent("stride", self.stride)?,
            padding: extent("padding", self.padding)?,
        }))
    }
}

impl Activation<'_> {
    pub(in crate::virtualization) fn operation(&self) -> Result<Operation> {
        Activate {
            name: self.name,
            element: element(self.data_type)?,
            input: self.input,
            output: self.output,
            batch: extent("batchSize", self.batch)?,
            channels: extent("channels", self.channels)?,
            height: extent("height", self.height)?,
            width: extent("width", self.width)?,
        }
        .operation()
    }
}

/// Queues an operation on the stream at `stream` once everything about it is right; the number of its execution.
pub(in crate::virtualization) fn submit(
    gpu: &VirtualGpu,
    stream: i32,
    name: impl Into<Cow<'static, str>>,
    operation: Operation,
    timeout: Option<Duration>,
) -> Result<i32> {
    let unit = gpu.unit()?;
    let lane = unit.lane(gpu, stream)?;
    gpu.must_have_memory()?;
    let ranges = operation.check()?;
    for range in ranges.iter() {
        gpu.tenant().space().check(range.name, range.ptr, range.bytes)?;
    }
    let touched: Vec<_> = ranges.iter().map(|r| (r.ptr, r.bytes)).collect();
    let queue = lane.queue(gpu.tenant())?;
    let rules = unit.rules();
    let prepared = Prepared::new(operation, &*lane.ops()?)?;
    let pieces = u32::try_from(prepared.pieces())
        .map_err(|_| Error::argument("size", format!("{} pieces of work are too many", prepared.pieces())))?;
    let seats = lane.seats();
    let work = if prepared.polls() {
        Work::polled(name, move |stream, flag| {
            let ops = seats.ops(stream, rules)?;
            // SAFETY: the ranges were found in allocations of the tenant, which stay while work of it is queued.
            unsafe { prepared.run(&*ops, 0, Some(flag.address())) }
        })
    } else if pieces > 1 {
        Work::pieces(name, pieces, move |piece, stream| {
            let ops = seats.ops(stream, rules)?;
            // SAFETY: as above.
            unsafe { prepared.run(&*ops, piece.into(), None) }
        })
    } else {
        Work::new(name, move |stream| {
            let ops = seats.ops(stream, rules)?;
            // SAFETY: as above.
            unsafe { prepared.run(&*ops, 0, None) }
        })
    };
    let work = work.touching(&touched);
    let work = match timeout.or_else(|| unit.timeout()) {
        Some(longest) => work.timeout(longest),
        None => work,
    };
    Ok(unit.executions.add(stream as u32, queue.submit(work)?))
}
