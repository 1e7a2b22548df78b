//! What virtual GPUs, their memory and their compute units are asked for.

use crate::compute::Priority;
use crate::compute::balance::Balancing;
use crate::device::{self, Device};
use crate::memory::{LARGEST_LIMIT, SpacePolicy, UNIT};
use crate::ops::tensor::{Precision, Rules};
use crate::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// Most streams of one virtual GPU.
pub const MOST_STREAMS: u32 = 256;

/// Longest name of a virtual GPU, in bytes.
pub const LONGEST_NAME: usize = 127;

/// How the virtual GPUs of [`super::Driver`] are bounded together.
#[derive(Clone, Debug, PartialEq)]
pub struct DriverConfig {
    /// Index of the device in [`device::list`]: 0 is the default device.
    pub device: i32,
    /// The most virtual GPUs at a time, at least 1.
    pub most_gpus: u32,
    /// The most streams of all virtual GPUs together; 0 for no bound.
    pub most_streams: u32,
}

impl Default for DriverConfig {
    fn default() -> Self {
        DriverConfig { device: 0, most_gpus: 16, most_streams: 0 }
    }
}

/// What memory spaces are like that are made from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryConfig {
    /// Index of the device in [`device::list`]: 0 is the default device.
    pub device: i32,
    /// Bytes of a page that are wished for, a power of two; the device's granularity where that is larger.
    pub page_size: u64,
    /// Whether spaces are defragmented by themselves.
    pub automatic: bool,
    /// From which fragmentation on (0 to 1).
    pub threshold: f32,
    /// How long work of the space's owner may be kept waiting at a time.
    pub max_pause: Duration,
    /// Bytes kept free behind each allocation, rounded up to 256; 0 for none.
    pub guard_bytes: u64,
    /// Whether small allocations come from pools of their size.
    pub small_pools: bool,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        MemoryConfig {
            device: 0,
            page_size: 4096,
            automatic: true,
            threshold: 0.5,
            max_pause: Duration::from_millis(5),
            guard_bytes: 0,
            small_pools: true,
        }
    }
}

/// How compute units are bounded together.
#[derive(Clone, Debug, PartialEq)]
pub struct ComputeConfig {
    /// Index of the device in [`device::list`]: 0 is the default device.
    pub device: i32,
    /// The most compute units at a time, at least 1.
    pub most_units: u32,
    /// Whether [`super::ComputeManager::scale`] may change a unit while it lives.
    pub scaling: bool,
    /// By what [`super::ComputeManager::choose`] chooses among units.
    pub balancing: Balancing,
}

impl Default for ComputeConfig {
    fn default() -> Self {
        ComputeConfig { device: 0, most_units: 64, scaling: true, balancing: Balancing::default() }
    }
}

/// The precision with this number: 0 f32, 1 TF32, 2 f16, 3 bf16.
pub fn precision(number: i32) -> Result<Precision> {
    Ok(match number {
        0 => Precision::F32,
        1 => Precision::TF32,
        2 => Precision::F16,
        3 => Precision::BF16,
        _ => return Err(Error::argument("precision", format!("{number} is not in 0 (FP32) to 3 (BF16)"))),
    })
}

/// What a compute unit is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitConfig {
    /// Cores or SMs; 0, or more than there are, for the whole device. On a GPU whole groups of SMs.
    pub processors: u32,
    /// Streams, 1 to [`MOST_STREAMS`].
    pub streams: u32,
    /// Whether matrix work may use matrix circuits.
    pub tensor_cores: bool,
    /// What f32 inputs of matrix work may be rounded to.
    pub precision: Precision,
    /// Part of contended processors, 0 to 1; 0 for an equal part of what the others leave.
    pub share: f32,
    /// Who goes first.
    pub priority: Priority,
    /// Index of its device in [`device::list`]; `None` for that of the manager that makes it.
    pub device: Option<i32>,
    /// The most of its processors' time that it gets, above 0 to 1, also when nobody else wants them.
    pub cap: Option<f32>,
    /// The time from submission to the end that work may take whose call names none.
    pub timeout: Option<Duration>,
}

impl Default for UnitConfig {
    fn default() -> Self {
        UnitConfig {
            processors: 0,
            streams: 1,
            tensor_cores: true,
            precision: Precision::F32,
            cap: None,
            timeout: None,
            device: None,
            share: 0.0,
            priority: Priority::Normal,
        }
    }
}

impl UnitConfig {
    pub(super) fn check(&self) -> Result<()> {
        if self.streams == 0 || self.streams > MOST_STREAMS {
            return Err(Error::argument(
                "numStreams",
                format!("{} is not in 1 to {MOST_STREAMS}", self.streams),
            ));
        }
        check_share(self.share)?;
        check_cap(self.cap)
    }

    /// By which rules its matrix work goes.
    pub fn rules(&self) -> Rules {
        Rules::new(self.tensor_cores, self.precision)
    }
}

/// What a virtual GPU is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuConfig {
    /// Its id, 0 or more.
    pub id: i32,
    /// The most bytes it may hold. A bound, not a reservation.
    pub memory_limit: u64,
    /// Bytes set aside for it, whether it uses them or not.
    pub memory_floor: u64,
    /// Shown where people look; empty for `vgpu:<id>`.
    pub name: String,
    /// Its compute unit.
    pub unit: UnitConfig,
}

impl GpuConfig {
    pub(super) fn check(&self) -> Result<()> {
        check_id(self.id)?;
        check_size("memoryLimit", self.memory_limit)?;
        if self.memory_floor > self.memory_limit {
            return Err(Error::argument(
                "memoryFloor",
                format!("{} is more than the limit {}", self.memory_floor, self.memory_limit),
            ));
        }
        if self.name.len() > LONGEST_NAME {
            return Err(Error::argument(
                "name",
                format!("has {} bytes, at most {LONGEST_NAME} are allowed", self.name.len()),
            ));
        }
        if self.name.chars().any(char::is_control) {
            return Err(Error::argument("name", format!("{:?} has control characters", self.name)));
        }
        self.unit.check()
    }
}

/// Refuses ids below 0.
pub(super) fn check_id(id: i32) -> Result<()> {
    if id < 0 {
        return Err(Error::argument("virtualGPUId", format!("{id} is below 0")));
    }
    Ok(())
}

/// Refuses shares outside of 0 to 1; 0 means none was asked for.
pub(super) fn check_share(share: f32) -> Result<()> {
    if share.is_finite() && (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::argument("computeShare", format!("{share} is not in 0 to 1")))
}

/// Refuses caps that are not above 0 to 1.
pub(super) fn check_cap(cap: Option<f32>) -> Result<()> {
    match cap {
        Some(part) if !(part.is_finite() && part > 0.0 && part <= 1.0) => {
            Err(Error::argument("computeCap", format!("{part} is not above 0 and up to 1")))
        }
        _ => Ok(()),
    }
}

/// Refuses sizes that no space can have.
pub(super) fn check_size(argument: &str, bytes: u64) -> Result<()> {
    if bytes < UNIT {
        return Err(Error::argument(argument, format!("{bytes} is less than {UNIT} bytes")));
    }
    if bytes > LARGEST_LIMIT {
        return Err(Error::argument(argument, format!("{bytes} is more than {LARGEST_LIMIT} bytes")));
    }
    Ok(())
}

/// The device at an index of [`device::list`].
pub(super) fn device_at(index: i32) -> Result<Arc<dyn Device>> {
    let mut all = device::list()?;
    match usize::try_from(index).ok().filter(|&i| i < all.len()) {
        Some(at) => Ok(all.swap_remove(at)),
        None => Err(Error::argument("deviceId", format!("{index} is not in 0 to {}", all.len() - 1))),
    }
}

impl DriverConfig {
    pub(super) fn check(&self) -> Result<()> {
        if self.most_gpus == 0 {
            return Err(Error::argument("maxVirtualGPUs", "must not be 0"));
        }
        Ok(())
    }
}

impl MemoryConfig {
    pub(super) fn check(&self) -> Result<()> {
        if !self.page_size.is_power_of_two() || self.page_size > 1 << 30 {
            return Err(Error::argument(
                "pageSize",
                format!("{} is not a power of two up to 1 GiB", self.page_size),
            ));
        }
        if !(self.threshold.is_finite() && (0.0..=1.0).contains(&self.threshold)) {
            return Err(Error::argument(
                "defragmentationThreshold",
                format!("{} is not in 0 to 1", self.threshold),
            ));
        }
        if self.max_pause.is_zero() {
            return Err(Error::argument("maxPauseMs", "must be above 0"));
        }
        if self.guard_bytes > 1 << 20 {
            return Err(Error::argument("guardBytes", format!("{} is more than 1 MiB", self.guard_bytes)));
        }
        Ok(())
    }
}

impl MemoryConfig {
    /// How spaces allocate and compact themselves that are made with it.
    pub fn policy(&self) -> SpacePolicy {
        SpacePolicy {
            guard_bytes: self.guard_bytes,
            small_pool: self.small_pools,
            auto: self.automatic,
            threshold: f64::from(self.threshold),
            max_pause: self.max_pause,
            ..SpacePolicy::default()
        }
    }
}

impl ComputeConfig {
    pub(super) fn check(&self) -> Result<()> {
        if self.most_units == 0 {
            return Err(Error::argument("maxVirtualComputeUnits", "must not be 0"));
        }
        Ok(())
    }
}
