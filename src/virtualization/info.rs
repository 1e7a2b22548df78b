//! The figures of virtual GPUs.

use super::monitor::share_got;
use super::table::VirtualGpu;
use crate::Result;
use crate::compute::{QueueFigures, Utilization};
use crate::device::DeviceKind;
use crate::memory::{CompactionFigures, Fragmentation, SpillFigures, Usage};
use crate::ops::Math;
use crate::ops::tensor::Precision;
use crate::telemetry::latency::LatencyFigures;
use std::time::Duration;

/// How a virtual GPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum GpuStatus {
    /// No virtual GPU has this id.
    NotCreated = 0,
    /// It has no work.
    Idle = 1,
    /// Work is queued or runs.
    Busy = 2,
    /// Its tenant was closed by name.
    Closed = 3,
    /// Its device was lost; destroy it and create it again.
    Lost = 4,
}

impl GpuStatus {
    pub(super) fn of(gpu: &VirtualGpu) -> Result<GpuStatus> {
        let tenant = gpu.tenant();
        if tenant.is_lost() || tenant.device().is_lost() {
            return Ok(GpuStatus::Lost);
        }
        if tenant.is_closed() {
            return Ok(GpuStatus::Closed);
        }
        if gpu.parts().unit.is_none() {
            return Ok(GpuStatus::Idle);
        }
        for lane in &gpu.unit()?.lanes {
            if !lane.same_queue().is_idle()? {
                return Ok(GpuStatus::Busy);
            }
        }
        Ok(GpuStatus::Idle)
    }
}

/// The figures of a virtual GPU at one moment.
#[derive(Clone, Debug)]
pub struct GpuInfo {
    /// Its id.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// The kind of its device, and the index among these.
    pub device: (DeviceKind, u32),
    /// How it is.
    pub status: GpuStatus,
    /// Its memory.
    pub memory: Usage,
    /// Bytes set aside for it.
    pub floor: u64,
    /// Compactions of its memory so far.
    pub compactions: CompactionFigures,
    /// What moving its memory to the host has cost.
    pub spill: SpillFigures,
    /// Its compute unit; all 0 when it has none.
    pub unit: UnitInfo,
}

impl GpuInfo {
    pub(super) fn of(gpu: &VirtualGpu) -> Result<GpuInfo> {
        let tenant = gpu.tenant();
        let device = tenant.device();
        Ok(GpuInfo {
            id: gpu.id(),
            name: gpu.name().to_owned(),
            device: (device.kind(), device.ordinal()),
            status: GpuStatus::of(gpu)?,
            memory: tenant.space().usage(),
            floor: tenant.account().floor(),
            compactions: tenant.space().compaction_figures(),
            spill: tenant.space().spill_figures(),
            unit: match gpu.parts().unit {
                Some(_) => UnitInfo::of(gpu)?,
                None => UnitInfo::default(),
            },
        })
    }

    /// Held over limit, 0 to 1.
    pub fn memory_utilization(&self) -> f64 {
        self.memory.held as f64 / self.memory.limit.max(1) as f64
    }
}

impl VirtualGpu {
    /// Its figures now.
    pub fn info(&self) -> Result<GpuInfo> {
        GpuInfo::of(self)
    }
}

/// The figures of a memory space at one moment.
#[derive(Clone, Debug)]
pub struct MemoryInfo {
    /// The virtual GPU.
    pub id: i32,
    /// Bytes of a page: as configured, raised to the device's granularity.
    pub page_size: u64,
    /// How far its free memory lies scattered.
    pub fragmentation: Fragmentation,
    /// Its compactions so far.
    pub compactions: CompactionFigures,
    /// What is held, and may be.
    pub usage: Usage,
    /// Bytes set aside for it.
    pub floor: u64,
    /// First address of its range.
    pub base: u64,
}

impl MemoryInfo {
    pub(super) fn of(gpu: &VirtualGpu) -> Result<MemoryInfo> {
        let tenant = gpu.tenant();
        Ok(MemoryInfo {
            id: gpu.id(),
            page_size: tenant.space().page_size(),
            fragmentation: tenant.space().fragmentation(),
            compactions: tenant.space().compaction_figures(),
            usage: tenant.space().usage(),
            floor: tenant.account().floor(),
            base: tenant.space().base(),
        })
    }
}

/// The figures of a compute unit at one moment.
#[derive(Clone, Debug, Default)]
pub struct UnitInfo {
    /// Cores or SMs that were asked for; 0 for all.
    pub processors_asked: u32,
    /// Cores or SMs of its node; 0 when nothing has run yet.
    pub processors: u32,
    /// Its streams.
    pub streams: u32,
    /// Streams with work that has not ended.
    pub busy_streams: u32,
    /// Rules for its matrix work.
    pub math: Math,
    /// The part of contended processors that it asked for; 0 when it asked for none.
    pub share_asked: f32,
    /// Its weight over those of all virtual GPUs of its device.
    pub share_due: f32,
    /// Who goes first, 0 to 4.
    pub priority: u8,
    /// Measured device time.
    pub device_time: Duration,
    /// Time waited for processors.
    pub wait: Duration,
    /// How often it was let onto its processors.
    pub admissions: u64,
    /// Device time times the processors it was used on: SM-seconds.
    pub processor_time: Duration,
    /// What its streams have done and have to do; times and in-flight launches of `device_time` count.
    pub work: QueueFigures,
    /// Part of the last second and minute in which its work ran.
    pub utilization: Utilization,
    /// Its part of what all tenants of its device used in the last second and minute; see [`share_got`].
    pub share_got: Utilization,
    /// How long its work took, from submission to the end.
    pub latency: LatencyFigures,
    /// What f32 inputs of matrix work may be rounded to.
    pub precision: Precision,
    /// The most of its processors' time that it gets.
    pub cap: Option<f32>,
}

impl UnitInfo {
    pub(super) fn of(gpu: &VirtualGpu) -> Result<UnitInfo> {
        let (tenant, unit) = (gpu.tenant(), gpu.unit()?);
        let share = tenant.share();
        let here = |g: &VirtualGpu| std::sync::Arc::ptr_eq(g.tenant().device(), tenant.device());
        let with = super::table::list().into_iter().filter(|g| g.parts().unit.is_some() && here(g));
        let all: f64 = with.map(|g| g.tenant().share().weight()).sum();
        let (mut busy, mut work) = (0, QueueFigures::default());
        for lane in &unit.lanes {
            let queue = lane.same_queue();
            busy += u32::from(!queue.is_idle()?);
            let f = queue.figures();
            work.launches += f.launches;
            work.waited += f.waited;
            work.pending += f.pending;
            work.failed += f.failed;
            work.cancelled += f.cancelled;
            work.timed_out += f.timed_out;
        }
        let used = share.utilization();
        let asked = unit.asked.lock();
        Ok(UnitInfo {
            processors_asked: asked.processors,
            processors: tenant.processors_now(),
            streams: unit.lanes.len() as u32,
            busy_streams: busy,
            math: tenant.math(),
            precision: asked.precision,
            cap: asked.cap,
            share_asked: asked.share,
            share_due: (share.weight() / all.max(f64::MIN_POSITIVE)) as f32,
            priority: share.priority(),
            device_time: share.used(),
            wait: share.waited(),
            admissions: share.admissions(),
            processor_time: share.processor_time(),
            work,
            utilization: used,
            share_got: share_got(tenant),
            latency: share.latency().figures(),
        })
    }
}
