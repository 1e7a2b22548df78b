//! Types and constants of virtual GPUs; see `types`.

#![allow(non_camel_case_types)]

use std::ffi::c_char;

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
    /// Bytes that may still be allocated under the limit.
    pub free: u64,
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
}
