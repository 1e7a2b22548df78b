//! Types and constants of virtual GPUs; see `types`.

#![allow(non_camel_case_types)]

use std::ffi::{c_char, c_void};

/// No virtual GPU has the id.
pub const CW_VGPU_NOT_CREATED: i32 = 0;
/// It has no work.
pub const CW_VGPU_IDLE: i32 = 1;
/// Work is queued or runs.
pub const CW_VGPU_BUSY: i32 = 2;
/// Its tenant was closed by name.
pub const CW_VGPU_CLOSED: i32 = 3;
/// Its device was lost.
pub const CW_VGPU_LOST: i32 = 4;

/// Both ends are the program's own memory; the numbers of `CW_COPY_*` are `cudaMemcpyKind`'s.
pub const CW_COPY_HOST_TO_HOST: i32 = 0;
/// From the program's memory to the virtual GPU's.
pub const CW_COPY_HOST_TO_DEVICE: i32 = 1;
/// From the virtual GPU's memory to the program's.
pub const CW_COPY_DEVICE_TO_HOST: i32 = 2;
/// Within the virtual GPU's memory.
pub const CW_COPY_DEVICE_TO_DEVICE: i32 = 3;
/// As the pointers lie.
pub const CW_COPY_DEFAULT: i32 = 4;

/// Matrix work loses nothing that its inputs have.
pub const CW_PRECISION_FULL: i32 = 0;
/// Inputs of 32 bits may be rounded to what matrix circuits take.
pub const CW_PRECISION_MIXED: i32 = 1;

/// Instead of a stream's index: the call waits (copies, fills), or all streams are meant (waiting). No index is mistaken
/// for it: -1 is an error like every other that is out of range.
pub const CW_NO_STREAM: i32 = -2147483648;

/// How virtual GPUs are bounded together. Fill with `cw_virtualization_config_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_virtualization_config {
    /// `sizeof(cw_virtualization_config)`, set by the caller.
    pub struct_size: usize,
    /// Index of the device among all (`cw_device_info_at`); 0 is the default device.
    pub device: i32,
    /// The most virtual GPUs at a time.
    pub max_virtual_gpus: i32,
    /// The most streams of all virtual GPUs together; 0 for no bound.
    pub max_streams: i32,
}

/// What a virtual GPU is asked for. Fill with `cw_vgpu_config_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vgpu_config {
    /// `sizeof(cw_vgpu_config)`, set by the caller.
    pub struct_size: usize,
    /// Its id, 0 or more.
    pub id: i32,
    /// `CW_PRIORITY_*`.
    pub priority: i32,
    /// The most bytes it may hold: a bound, not a reservation.
    pub memory_limit: u64,
    /// Bytes set aside for it, whether it uses them or not.
    pub memory_floor: u64,
    /// Streams, 1 to 256.
    pub streams: i32,
    /// Cores or SMs; 0, or more than there are, for the whole device. On a GPU whole groups of SMs.
    pub processors: i32,
    /// 1 when its matrix work may use matrix circuits (tensor cores).
    pub tensor_cores: i32,
    /// `CW_PRECISION_*`.
    pub precision: i32,
    /// Part of contended processors, 0 to 1; 0 for an equal part of what the others leave.
    pub compute_share: f32,
    /// A name for people, or `NULL`.
    pub name: *const c_char,
}

/// The figures of a virtual GPU, or of the part of one, at one moment.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vgpu_info {
    /// `sizeof(cw_vgpu_info)`, set by the caller.
    pub struct_size: usize,
    /// Its id.
    pub id: i32,
    /// `CW_VGPU_*`.
    pub status: i32,
    /// Its name, NUL-terminated.
    pub name: [c_char; 128],
    /// `CW_DEVICE_*`.
    pub device_kind: i32,
    /// Index among devices of its kind.
    pub device_ordinal: i32,
    /// The most bytes it may hold.
    pub memory_limit: u64,
    /// Bytes set aside for it.
    pub memory_floor: u64,
    /// Bytes charged now.
    pub memory_held: u64,
    /// The most bytes ever charged.
    pub memory_peak: u64,
    /// Physical bytes mapped for it alone.
    pub memory_physical: u64,
    /// Live allocations.
    pub allocations: u64,
    /// Requests refused because of the limit.
    pub rejections: u64,
    /// Compactions that gave something back or moved something.
    pub compactions: u64,
    /// The longest that one held its work up at a time, in nanoseconds.
    pub longest_pause_ns: u64,
    /// Its compute unit; all 0 when it has none.
    pub unit: cw_vcompute_info,
}

/// What memory spaces are like. Fill with `cw_vmem_config_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vmem_config {
    /// `sizeof(cw_vmem_config)`, set by the caller.
    pub struct_size: usize,
    /// Index of the device among all (`cw_device_info_at`); 0 is the default device.
    pub device: i32,
    /// 1 when spaces are defragmented by themselves.
    pub automatic: i32,
    /// From which fragmentation on, 0 to 1.
    pub threshold: f32,
    /// 1 when small allocations come from pools of their size.
    pub small_pools: i32,
    /// Bytes of a page that are wished for, a power of two; the device's granularity where that is larger.
    pub page_size: u64,
    /// Bytes kept free behind each allocation, rounded up to 256; 0 for none.
    pub guard_bytes: u64,
    /// Milliseconds that work may be kept waiting at a time while memory moves.
    pub max_pause_ms: f64,
}

/// The figures of a memory space at one moment.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vmem_info {
    /// `sizeof(cw_vmem_info)`, set by the caller.
    pub struct_size: usize,
    /// Bytes of a page, as they are: the device's granularity where that is larger than what was wished for.
    pub page_size: u64,
    /// First address of its range.
    pub base: u64,
    /// The most bytes it may hold.
    pub total: u64,
    /// Bytes charged now.
    pub used: u64,
    /// Bytes that may still be allocated: the limit less what is held, or what the device has left where that is less.
    pub free: u64,
    /// The largest single allocation that would succeed now without compaction.
    pub largest_free: u64,
    /// The share of `free` that no allocation of `largest_free` bytes can use: 1 - largest_free / free; 0 when nothing is free.
    pub fragmentation: f64,
    /// The most bytes ever charged.
    pub peak: u64,
    /// Bytes set aside for it.
    pub floor: u64,
    /// Physical bytes mapped for it alone.
    pub physical: u64,
    /// Live allocations.
    pub allocations: u64,
    /// Requests refused because of the limit.
    pub rejections: u64,
    /// Compactions that gave something back or moved something.
    pub compactions: u64,
    /// Of these those that began by themselves.
    pub automatic_compactions: u64,
    /// Bytes copied to other physical memory.
    pub bytes_moved: u64,
    /// Bytes of physical memory that compactions gave back.
    pub bytes_given_back: u64,
    /// The longest pause of the last compaction, in nanoseconds.
    pub last_pause_ns: u64,
    /// The longest pause of all, in nanoseconds.
    pub longest_pause_ns: u64,
    /// All pauses together, in nanoseconds.
    pub total_pause_ns: u64,
}

/// Nothing is allocated in the page.
pub const CW_PAGE_FREE: i32 = 0;
/// Part of the page is allocated.
pub const CW_PAGE_PARTLY: i32 = 1;
/// All of the page is allocated.
pub const CW_PAGE_USED: i32 = 2;
/// The page has memory that its owner frees as a whole, and that stays where it is.
pub const CW_PAGE_KEPT: i32 = 3;

/// One mapped page of a memory space.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vmem_page {
    /// `sizeof(cw_vmem_page)`.
    pub struct_size: usize,
    /// First byte.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// The physical piece behind it: pages with the same number are one piece, which goes back to the device as a whole.
    pub granule: u64,
    /// Bytes of it that are allocated.
    pub live: u64,
    /// Bytes of it that have memory: less than all after its free parts were given back.
    pub resident: u64,
    /// `CW_PAGE_*`.
    pub state: i32,
    /// 1 when compaction leaves its piece where it is.
    pub pinned: i32,
}

/// How a memory space allocates and when it compacts itself. Fill with `cw_vmem_policy_get`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vmem_policy {
    /// `sizeof(cw_vmem_policy)`, set by the caller.
    pub struct_size: usize,
    /// Bytes behind each allocation that belong to nobody and are charged with it; 0 for none.
    pub guard_bytes: u64,
    /// Allocations of fewer bytes are small.
    pub small_limit: u64,
    /// 1 when gaps are filled with a pattern that `cw_vmem_check_guards` compares.
    pub guard_pattern: i32,
    /// 1 when small allocations come from memory of their own.
    pub small_pools: i32,
    /// 1 when it is compacted before an allocation is refused for memory that lies scattered.
    pub before_refusal: i32,
    /// 1 when it is compacted by itself.
    pub automatic: i32,
    /// From which fragmentation on, 0 to 1.
    pub threshold: f64,
    /// Milliseconds that work may be kept waiting at a time.
    pub max_pause_ms: f64,
}

/// What a compaction did.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vmem_compaction {
    /// `sizeof(cw_vmem_compaction)`, set by the caller.
    pub struct_size: usize,
    /// Bytes copied to other physical memory.
    pub bytes_moved: u64,
    /// Bytes of physical memory that went back.
    pub bytes_given_back: u64,
    /// In how many slices it was done.
    pub slices: u32,
    /// 1 when nothing is left to be done.
    pub complete: i32,
    /// The longest that a slice held new work up, in nanoseconds.
    pub longest_pause_ns: u64,
    /// All pauses together, in nanoseconds.
    pub paused_ns: u64,
    /// The longest wait for work in flight, in nanoseconds.
    pub longest_wait_ns: u64,
    /// From the first slice to the last, in nanoseconds.
    pub time_ns: u64,
}

/// How compute units are bounded together. Fill with `cw_vcompute_config_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vcompute_config {
    /// `sizeof(cw_vcompute_config)`, set by the caller.
    pub struct_size: usize,
    /// Index of the device among all (`cw_device_info_at`); 0 is the default device.
    pub device: i32,
    /// The most compute units at a time.
    pub max_units: i32,
    /// 1 when `cw_vcompute_scale` may change units while they live.
    pub scaling: i32,
}

/// What a compute unit is asked for. Fill with `cw_vcompute_unit_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vcompute_unit {
    /// `sizeof(cw_vcompute_unit)`, set by the caller.
    pub struct_size: usize,
    /// Cores or SMs; 0, or more than there are, for the whole device. On a GPU whole groups of SMs.
    pub processors: i32,
    /// Streams, 1 to 256.
    pub streams: i32,
    /// 1 when its matrix work may use matrix circuits (tensor cores).
    pub tensor_cores: i32,
    /// `CW_PRECISION_*`.
    pub precision: i32,
    /// Part of contended processors, 0 to 1; 0 for an equal part of what the others leave.
    pub compute_share: f32,
    /// `CW_PRIORITY_*`.
    pub priority: i32,
}

/// The figures of a compute unit at one moment.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vcompute_info {
    /// `sizeof(cw_vcompute_info)`, set by the caller.
    pub struct_size: usize,
    /// Cores or SMs that were asked for; 0 for all.
    pub processors_asked: u32,
    /// Cores or SMs of its node; 0 when nothing has run yet.
    pub processors: u32,
    /// Its streams.
    pub streams: u32,
    /// Streams with work that has not ended.
    pub busy_streams: u32,
    /// `CW_MATH_*`: what its matrix work may use.
    pub math: i32,
    /// `CW_PRIORITY_*`.
    pub priority: i32,
    /// The part of contended processors that it asked for; 0 when it asked for none.
    pub share_asked: f32,
    /// Its weight over those of all virtual GPUs of its device.
    pub share_due: f32,
    /// Measured device time, in nanoseconds.
    pub device_time_ns: u64,
    /// Time waited for processors, in nanoseconds.
    pub wait_time_ns: u64,
    /// How often it was let onto its processors.
    pub admissions: u64,
    /// Device time times the processors that it was used on (SM-seconds), in nanoseconds.
    pub processor_time_ns: u64,
    /// Time that pieces of work have waited between submission and their beginning, added up, in nanoseconds.
    pub queue_wait_ns: u64,
    /// Pieces of work that have ended: launches, steps of LLMs, tasks.
    pub launches: u64,
    /// Part of the last second in which its processors ran its work, 0 to 1.
    pub utilization_second: f32,
    /// The same of the last minute.
    pub utilization_minute: f32,
    /// Its part of what all tenants of the device (LLMs are among them) used of it in the last second; 0 when none ran.
    pub share_second: f32,
    /// The same of the last minute.
    pub share_minute: f32,
    /// The mean time from submission to the end of all its work, in nanoseconds.
    pub latency_mean_ns: u64,
    /// The median of the last 30 to 60 seconds, in nanoseconds; 0 when nothing ended.
    pub latency_p50_ns: u64,
    /// What 99 of 100 of these are below, in nanoseconds.
    pub latency_p99_ns: u64,
}

/// A whole device beside what the tenants of this process (virtual GPUs and LLMs) had of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_device_usage {
    /// `sizeof(cw_device_usage)`, set by the caller.
    pub struct_size: usize,
    /// `CW_DEVICE_*`.
    pub device_kind: i32,
    /// Index among devices of its kind.
    pub device_ordinal: i32,
    /// Busy part of the last second with work of all programs, 0 to 1 (a GPU: time in which any kernel ran, by NVML; the CPU: the
    /// mean of its cores, by the system's counters); -1 where nobody tells.
    pub utilization: f32,
    /// Busy part of the last second with work of the tenants, counted as the device counts `utilization`.
    pub tenants_second: f32,
    /// The same of the last minute.
    pub tenants_minute: f32,
    /// `tenants_second` over `utilization`: 1 when all that the device does is their work; -1 when it was idle or does not tell.
    pub tenants_over_device: f32,
    /// Bytes in use by all programs; 0 where nobody tells.
    pub memory_used: u64,
    /// Bytes of the device; 0 where nobody tells.
    pub memory_total: u64,
    /// Cores or SMs.
    pub processors: u32,
    /// Time in which work of any tenant ran, once where several ran at a time, in nanoseconds.
    pub tenants_busy_ns: u64,
    /// Device time of all tenants times the processors that it was used on, in nanoseconds.
    pub tenants_processor_time_ns: u64,
}

/// A function that is called again and again, for figures that are asked for in it.
pub type cw_monitor_function = Option<unsafe extern "C" fn(user_data: *mut c_void)>;
