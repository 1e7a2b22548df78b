//! Nodes: groups of SMs in green contexts, and the whole device.

use super::context::Context;
use super::stream::CudaStream;
use super::types::{self, DevResource, Handle};
use crate::device::{Node, Stream, Unit};
use crate::{Error, Result, Status};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

/// SMs in a unit. Compute capability 9.0 gives groups of multiples of 8; others round up to theirs.
const UNIT_SMS: u32 = 8;
/// Green contexts kept when nobody uses them. On an H200 each holds about 5 MB of device memory.
const KEPT: usize = 16;

/// A green context: SMs of its own inside the primary context. Its streams hold it.
pub(crate) struct Green {
    context: Arc<Context>,
    raw: types::GreenCtx,
}

impl Green {
    fn create(context: &Arc<Context>, groups: &mut [DevResource]) -> Result<Green> {
        let driver = &context.driver;
        let _current = context.enter()?;
        let (mut desc, mut raw) = (Handle::NULL, Handle::NULL);
        // SAFETY: arrays and outputs outlive the calls.
        unsafe {
            driver.cuDevResourceGenerateDesc(&mut desc, groups.as_mut_ptr(), groups.len() as u32)?;
            driver.cuGreenCtxCreate(&mut raw, desc, context.device, types::GREEN_CTX_DEFAULT_STREAM)?;
        }
        Ok(Green { context: context.clone(), raw })
    }

    pub(crate) fn raw(&self) -> types::GreenCtx {
        self.raw
    }

    /// Waits for what its streams queued: they may be gone while their work still runs.
    fn drain(&self) -> Result<()> {
        let _current = self.context.enter()?;
        let event = self.context.event()?;
        // SAFETY: both are alive.
        let waited = unsafe {
            self.context
                .driver
                .cuGreenCtxRecordEvent(self.raw, event)
                .and_then(|()| self.context.driver.cuEventSynchronize(event))
        };
        self.context.event_back(event);
        waited
    }
}

impl Drop for Green {
    fn drop(&mut self) {
        if self.context.is_dead() {
            return;
        }
        let driver = &self.context.driver;
        driver.released(self.drain());
        // SAFETY: its streams are gone, its work has run.
        driver.released(unsafe { driver.cuGreenCtxDestroy(self.raw) });
    }
}

/// A node of the CUDA device.
pub struct CudaNode {
    context: Arc<Context>,
    units: Vec<u32>,
    processors: u32,
    green: Option<Arc<Green>>,
}

impl CudaNode {
    /// Whether the node is the whole device and not a green context.
    pub fn is_whole_device(&self) -> bool {
        self.green.is_none()
    }
}

impl Node for CudaNode {
    fn units(&self) -> &[u32] {
        &self.units
    }

    fn processors(&self) -> u32 {
        self.processors
    }

    fn stream_create(&self, priority: i32) -> Result<Arc<dyn Stream>> {
        Ok(Arc::new(CudaStream::create(self.context.clone(), self.green.clone(), priority)?))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// How a device is divided, and the green contexts made so far.
pub(crate) struct Ladder {
    context: Arc<Context>,
    sms: u32,
    units: Vec<Unit>,
    groups: Vec<DevResource>,
    /// Why there is only the whole device.
    undivided: Option<Error>,
    made: Mutex<HashMap<Vec<u32>, Arc<Green>>>,
}

impl Ladder {
    /// Divides the device's SMs into units. Where the driver or the GPU cannot, there is one unit: the whole device.
    ///
    /// What the driver leaves over is a last unit of its own where it is large enough for one: an H200 gives 15 groups
    /// of 8 SMs and 12 more. A remainder too small for that is in no unit; only the node of all units, which is the
    /// whole device, has it.
    pub(crate) fn new(context: Arc<Context>, sms: u32) -> Ladder {
        let (groups, undivided) = match divide(&context) {
            Ok(groups) if groups.len() > 1 => (groups, None),
            Ok(_) => (Vec::new(), Some(Error::unsupported(format!("{sms} SMs are too few to divide")))),
            Err(e) => (Vec::new(), Some(e)),
        };
        let unit = |index: u32, processors: u32| Unit { index, processors, os_index: index, numa_node: 0 };
        let units = match groups.is_empty() {
            true => vec![unit(0, sms)],
            false => groups.iter().zip(0..).map(|(g, i)| unit(i, g.sm_count)).collect(),
        };
        Ladder { context, sms, units, groups, undivided, made: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn units(&self) -> &[Unit] {
        &self.units
    }

    /// Why the device is not divided, if it is not.
    pub(crate) fn undivided(&self) -> Option<&Error> {
        self.undivided.as_ref()
    }

    /// The node of these units; see [`crate::device::Device::node_create`].
    pub(crate) fn node(&self, units: &[u32]) -> Result<CudaNode> {
        let mut sorted = units.to_vec();
        sorted.sort_unstable();
        if sorted.is_empty() {
            return Err(Error::argument("units", "must name at least one unit"));
        }
        if let Some(&bad) = sorted.iter().find(|&&u| u as usize >= self.units.len()) {
            return Err(Error::argument(
                "units",
                format!("there is no unit {bad}: this device has {}", self.units.len()),
            ));
        }
        if let Some(pair) = sorted.windows(2).find(|w| w[0] == w[1]) {
            return Err(Error::argument("units", format!("unit {} is named twice", pair[0])));
        }
        if sorted.len() == self.units.len() {
            return Ok(CudaNode {
                context: self.context.clone(),
                units: sorted,
                processors: self.sms,
                green: None,
            });
        }
        let processors = sorted.iter().map(|&u| self.units[u as usize].processors).sum();
        let green = self.green(&sorted)?;
        Ok(CudaNode { context: self.context.clone(), units: sorted, processors, green: Some(green) })
    }

    /// Gives back the green contexts that nobody uses now: on an H200 each holds about 5 MB of device memory.
    pub(crate) fn free_caches(&self) {
        let mut unused = Vec::new();
        // Another thread makes one at the moment and may be waiting for the memory that this one wants.
        if let Some(mut made) = self.made.try_lock() {
            made.retain(|_, green| {
                let used = Arc::strong_count(green) > 1;
                if !used {
                    unused.push(green.clone());
                }
                used
            });
        }
        drop(unused);
    }

    fn green(&self, units: &[u32]) -> Result<Arc<Green>> {
        let mut made = self.made.lock();
        if let Some(green) = made.get(units) {
            return Ok(green.clone());
        }
        if made.len() >= KEPT {
            made.retain(|_, green| Arc::strong_count(green) > 1);
        }
        let mut groups: Vec<DevResource> = units.iter().map(|&u| self.groups[u as usize]).collect();
        let green = Green::create(&self.context, &mut groups)
            .map_err(|e| e.within(format_args!("green context of units {units:?}")))?;
        let green = Arc::new(green);
        made.insert(units.to_vec(), green.clone());
        Ok(green)
    }
}

/// The groups of SMs that the driver makes of this device.
fn divide(context: &Context) -> Result<Vec<DevResource>> {
    let driver = &context.driver;
    let needed = [
        "cuDeviceGetDevResource",
        "cuDevSmResourceSplitByCount",
        "cuDevResourceGenerateDesc",
        "cuGreenCtxCreate",
        "cuGreenCtxDestroy",
        "cuGreenCtxRecordEvent",
        "cuGreenCtxStreamCreate",
    ];
    if let Some((name, since)) = needed.iter().find_map(|n| driver.lacks(n).map(|since| (n, since))) {
        return Err(Error::new(Status::Unsupported, format!("the driver has no {name}"))
            .advise(format!("install a driver for CUDA {since} or newer")));
    }
    let _current = context.enter()?;
    let (mut whole, mut rest) = (DevResource::EMPTY, DevResource::EMPTY);
    // SAFETY: outputs outlive the calls; the array has room for `count` groups.
    unsafe {
        driver.cuDeviceGetDevResource(context.device, &mut whole, types::RESOURCE_SM)?;
        // As many as there may be; the driver writes how many it made. Asked with no array it names fewer.
        let mut count = whole.sm_count / UNIT_SMS;
        let mut groups = vec![DevResource::EMPTY; count as usize];
        if count > 0 {
            driver.cuDevSmResourceSplitByCount(
                groups.as_mut_ptr(),
                &mut count,
                &whole,
                &mut rest,
                0,
                UNIT_SMS,
            )?;
            groups.truncate(count as usize);
            // Drivers before CUDA 13.0 do not tell the least size.
            if rest.sm_count >= whole.sm_min_partition.max(UNIT_SMS) {
                groups.push(rest);
            }
        }
        Ok(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::CudaDriver;

    /// Prints how the GPU at hand divides. Run with `--nocapture` on a machine that has one.
    #[test]
    fn gpu_groups_and_remainder_are_all_sms() {
        let Ok(driver) = CudaDriver::shared() else { return };
        let context = Context::retain(driver, 0).unwrap();
        let driver = &context.driver;
        let _current = context.enter().unwrap();
        let (mut whole, mut rest) = (DevResource::EMPTY, DevResource::EMPTY);
        // SAFETY: outputs outlive the calls; arrays have room for `count` groups.
        unsafe {
            driver.cuDeviceGetDevResource(context.device, &mut whole, types::RESOURCE_SM).unwrap();
            println!(
                "{} SMs, at least {}, in steps of {}",
                whole.sm_count, whole.sm_min_partition, whole.sm_alignment
            );
            for minimum in [1, 2, 4, 8, 16, 32, 64] {
                let mut named = 0;
                driver
                    .cuDevSmResourceSplitByCount(
                        std::ptr::null_mut(),
                        &mut named,
                        &whole,
                        std::ptr::null_mut(),
                        0,
                        minimum,
                    )
                    .unwrap();
                let mut count = whole.sm_count / minimum;
                let mut groups = vec![DevResource::EMPTY; count as usize];
                driver
                    .cuDevSmResourceSplitByCount(
                        groups.as_mut_ptr(),
                        &mut count,
                        &whole,
                        &mut rest,
                        0,
                        minimum,
                    )
                    .unwrap();
                groups.truncate(count as usize);
                let sms: Vec<u32> = groups.iter().map(|g| g.sm_count).collect();
                println!("groups of {minimum}: {named} named, {count} made: {sms:?}, {} left", rest.sm_count);
                assert_eq!(sms.iter().sum::<u32>() + rest.sm_count, whole.sm_count);
                if minimum >= UNIT_SMS && rest.sm_count > 0 {
                    for (what, mut parts) in
                        [("the rest alone", vec![rest]), ("a group and the rest", vec![groups[0], rest])]
                    {
                        match Green::create(&context, &mut parts) {
                            Ok(_) => println!("{what}: made"),
                            Err(e) => println!("{what}: {e}"),
                        }
                    }
                }
            }
        }
    }
}
