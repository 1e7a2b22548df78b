//! What a kernel has to be in order to be chosen.

use super::work::{
    OperationKind, QuantizationFormat, QuantizationOperation, TensorCharacteristics, Work, scale_count,
};
use crate::device::DeviceKind;
use crate::{Error, Result};
use parking_lot::Mutex;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A device by kind and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceId {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its index among those of the kind.
    pub ordinal: u32,
}

impl DeviceId {
    /// The host.
    pub const CPU: DeviceId = DeviceId { kind: DeviceKind::Cpu, ordinal: 0 };
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.ordinal)
    }
}

/// What is known of a kernel before it is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The instruction level or GPU architecture: `avx2`, `sm_90`.
    pub level: String,
    /// Threads of the host that it takes; 1 on a GPU.
    pub threads: u32,
    /// Counts up when the kernel changes so much that old measurements say nothing.
    pub version: u32,
    /// One line for people.
    pub text: String,
}

/// A kernel that can be chosen. Any thread may call it; one at a time measures.
pub trait Candidate: Send + Sync {
    /// Its name, the same in every process and one of its own on its device for a kind of work: `avx2/2`.
    fn name(&self) -> &str;

    /// Where it runs.
    fn device(&self) -> DeviceId;

    /// What is known of it.
    fn describe(&self) -> Description;

    /// Whether it does this work at this size at all.
    fn supports(&self, operation: QuantizationOperation, shape: &TensorCharacteristics) -> bool;

    /// Whether it defines what is right: the errors of the others are differences from it.
    fn is_reference(&self) -> bool {
        false
    }

    /// Bytes that it takes besides inputs and outputs.
    fn memory(&self, operation: QuantizationOperation, shape: &TensorCharacteristics) -> u64 {
        let _ = (operation, shape);
        0
    }

    /// Does the work and returns when it is done.
    ///
    /// Errors: what the kernel refuses. The outputs are then undefined.
    fn run(&self, work: &mut Work<'_>) -> Result<()>;

    /// The work of this size on sample data, the same for every candidate, ready to be run again and again. Kernels that
    /// multiply bring their own, as only they know their layout of weights.
    fn prepare<'a>(
        &'a self,
        operation: QuantizationOperation,
        shape: &TensorCharacteristics,
    ) -> Result<Box<dyn Trial + 'a>> {
        match operation.kind {
            OperationKind::Quantize | OperationKind::Dequantize => {
                Ok(Box::new(Elements::new(|work| self.run(work), operation, shape)?))
            }
            _ => {
                Err(Error::unsupported(format!("{} brings no sample for {}", self.name(), operation.name())))
            }
        }
    }
}

/// One measurement's work.
pub trait Trial {
    /// Does it once and returns when it is done.
    fn run(&mut self) -> Result<()>;

    /// Does it `times` times; how long that took. A GPU's may answer the device's own time.
    fn timed(&mut self, times: u32) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..times {
            self.run()?;
        }
        Ok(start.elapsed())
    }

    /// Items that a run works on, where these are fewer than were asked for.
    fn items(&self) -> Option<u64> {
        None
    }

    /// What the last run gave, or a sample of it, as numbers that can be compared with the reference's. Asked before another
    /// candidate's runs.
    fn output(&self) -> Result<Vec<f32>>;
}

/// Numbers between -1 and 1 that are the same everywhere.
pub fn sample(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// The element-wise operations on sample data. All that measure the same work at the same time use the same memory: there is
/// only so much of it, and where it lies makes a difference.
struct Elements<F> {
    run: F,
    format: QuantizationFormat,
    block: u32,
    backwards: bool,
    data: Arc<Mutex<Data>>,
}

struct Data {
    of: (QuantizationOperation, usize, u32),
    values: Vec<f32>,
    scales: Vec<f32>,
    codes: Vec<i8>,
}

impl Data {
    /// The one that somebody has, or a new one.
    fn shared(operation: QuantizationOperation, count: usize, block: u32) -> Result<Arc<Mutex<Data>>> {
        static LAST: Mutex<Weak<Mutex<Data>>> = Mutex::new(Weak::new());
        let mut last = LAST.lock();
        let of = (operation, count, block);
        if let Some(data) = last.upgrade()
            && data.lock().of == of
        {
            return Ok(data);
        }
        let none =
            || Error::new(crate::Status::OutOfMemory, format!("no memory to measure on {count} numbers"));
        let (mut codes, mut values) = (Vec::new(), Vec::new());
        codes.try_reserve_exact(count).map_err(|_| none())?;
        values.try_reserve_exact(count).map_err(|_| none())?;
        let (low, high) = operation.format.codes();
        let wide = i32::from(high) - i32::from(low) + 1;
        codes.extend((0..count).map(|i| (i32::from(low) + (i as i32 & 0xffff) * 7 % wide) as i8));
        values.extend(sample(1, count));
        let scales = vec![0.5; scale_count(count, block)];
        let data = Arc::new(Mutex::new(Data { of, values, scales, codes }));
        *last = Arc::downgrade(&data);
        Ok(data)
    }
}

impl<F: Fn(&mut Work<'_>) -> Result<()>> Elements<F> {
    /// More numbers than these are not needed to see which kernel is faster: they are beyond most caches.
    const MOST: u64 = 1 << 23;
    /// Outputs that are compared, of codes and scales each.
    const COMPARED: usize = 1 << 14;

    fn new(run: F, operation: QuantizationOperation, shape: &TensorCharacteristics) -> Result<Elements<F>> {
        let count = shape.count().min(Self::MOST) as usize;
        let data = Data::shared(operation, count, shape.block)?;
        let backwards = operation.kind == OperationKind::Dequantize;
        Ok(Elements { run, format: operation.format, block: shape.block, backwards, data })
    }
}

impl<F: Fn(&mut Work<'_>) -> Result<()>> Trial for Elements<F> {
    fn run(&mut self) -> Result<()> {
        let Data { scales, codes, values, .. } = &mut *self.data.lock();
        let mut work = match self.backwards {
            false => Work::Quantize { format: self.format, values, block: self.block, scales, codes },
            true => Work::Dequantize { codes, scales, block: self.block, values },
        };
        (self.run)(&mut work)
    }

    fn items(&self) -> Option<u64> {
        Some(self.data.lock().codes.len() as u64)
    }

    fn output(&self) -> Result<Vec<f32>> {
        let data = self.data.lock();
        // An odd step, so that all places of a block are met.
        let step = |count: usize| count.div_ceil(Self::COMPARED) | 1;
        // Codes and scales both count: a wrong scale with right codes is wrong.
        Ok(match self.backwards {
            true => data.values.iter().step_by(step(data.values.len())).copied().collect(),
            false => {
                let codes = data.codes.iter().step_by(step(data.codes.len())).map(|c| f32::from(*c));
                codes.chain(data.scales.iter().step_by(step(data.scales.len())).copied()).collect()
            }
        })
    }
}
