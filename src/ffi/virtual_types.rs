//! Types and constants of virtual GPUs; see `types`.

#![allow(non_camel_case_types)]

use super::types::cw_status;
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

/// Matrix work rounds f32 inputs to nothing less.
pub const CW_PRECISION_FP32: i32 = 0;
/// f32 inputs of matrix work may be rounded to 11 bits.
pub const CW_PRECISION_TF32: i32 = 1;
/// f32 inputs of matrix work may be rounded to f16.
pub const CW_PRECISION_FP16: i32 = 2;
/// f32 inputs of matrix work may be rounded to bf16.
pub const CW_PRECISION_BF16: i32 = 3;

/// An address in the virtual GPU's memory.
pub const CW_ARGUMENT_POINTER: i32 = 0;
/// A signed integer of 32 bits.
pub const CW_ARGUMENT_I32: i32 = 1;
/// An unsigned integer of 32 bits.
pub const CW_ARGUMENT_U32: i32 = 2;
/// A signed integer of 64 bits.
pub const CW_ARGUMENT_I64: i32 = 3;
/// An unsigned integer of 64 bits.
pub const CW_ARGUMENT_U64: i32 = 4;
/// A number of 32 bits.
pub const CW_ARGUMENT_F32: i32 = 5;
/// A number of 64 bits.
pub const CW_ARGUMENT_F64: i32 = 6;
/// A struct by value.
pub const CW_ARGUMENT_BYTES: i32 = 7;

/// Not on the device yet.
pub const CW_EXECUTION_QUEUED: i32 = 0;
/// On the device's stream, or running.
pub const CW_EXECUTION_RUNNING: i32 = 1;
/// Ended well.
pub const CW_EXECUTION_FINISHED: i32 = 2;
/// It could not be put on the stream, or the device reported an error.
pub const CW_EXECUTION_FAILED: i32 = 3;
/// Withdrawn or stopped.
pub const CW_EXECUTION_CANCELLED: i32 = 4;
/// Late.
pub const CW_EXECUTION_TIMED_OUT: i32 = 5;

/// It had not begun and will not.
pub const CW_STOPPED_WITHDRAWN: i32 = 0;
/// It was told to stop, and does so at its next poll.
pub const CW_STOPPED_STOPPING: i32 = 1;

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
    /// The most of its processors' time that it gets, above 0 to 1, also when nobody else wants them; 0 for no cap.
    pub compute_cap: f32,
    /// Index of its device among all (`cw_device_info_at`); -1 for the driver's.
    pub device: i32,
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
    /// Bytes in host memory instead of the device's now.
    pub memory_spilled: u64,
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

/// Nothing is moved to the host: it gets no part of anybody's floor.
pub const CW_SPILL_NEVER: i32 = 0;
/// What was not named by work for the longest time goes first.
pub const CW_SPILL_COLDEST: i32 = 1;
/// The largest allocations go first.
pub const CW_SPILL_LARGEST: i32 = 2;

/// Nothing is known of the allocation.
pub const CW_ADVICE_NORMAL: i32 = 0;
/// It is never moved to the host.
pub const CW_ADVICE_PINNED: i32 = 1;
/// It is moved before all others.
pub const CW_ADVICE_COLD: i32 = 2;

/// What moving memory to the host and back has cost. Bytes are whole granules.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_vmem_spill_info {
    /// `sizeof(cw_vmem_spill_info)`, set by the caller.
    pub struct_size: usize,
    /// Bytes in host memory instead of the device's now: still held, not physical.
    pub spilled: u64,
    /// The most there ever were.
    pub spilled_peak: u64,
    /// Page-locked host memory for it now.
    pub host_bytes: u64,
    /// Times something was moved to the host.
    pub spills: u64,
    /// Times something was fetched.
    pub fetches: u64,
    /// Bytes moved to the host.
    pub bytes_out: u64,
    /// Bytes fetched.
    pub bytes_in: u64,
    /// Bytes a second of the copies to the host.
    pub speed_out: f64,
    /// Bytes a second of the copies from the host.
    pub speed_in: f64,
    /// Time that new work was held up while memory moved, in nanoseconds.
    pub paused_ns: u64,
    /// The longest of these.
    pub longest_pause_ns: u64,
    /// Time that work waited for memory to be fetched, in nanoseconds.
    pub fetching_ns: u64,
    /// The longest of these.
    pub longest_fetch_ns: u64,
}

/// One unit after the other.
pub const CW_BALANCE_ROUND_ROBIN: i32 = 0;
/// The unit with the least asked of each of its processors.
pub const CW_BALANCE_LEAST_LOADED: i32 = 1;
/// The unit whose measured time is the least.
pub const CW_BALANCE_MEASURED_TIME: i32 = 2;

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
    /// `CW_BALANCE_*`: by what `cw_vcompute_choose` chooses.
    pub balancing: i32,
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
    /// The most of its processors' time that it gets, above 0 to 1, also when nobody else wants them; 0 for no cap.
    pub compute_cap: f32,
    /// Milliseconds from submission to the end that work may take whose call names no bound; 0 for none.
    pub timeout_ms: f64,
    /// Index of its device among all (`cw_device_info_at`); -1 for the manager's.
    pub device: i32,
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
    /// Device time times the processors it was used on (SM-seconds), in nanoseconds.
    pub processor_time_ns: u64,
    /// Time that work has waited between submission and the stream, in nanoseconds.
    pub queue_wait_ns: u64,
    /// Work put on the streams; each piece of piecewise work counts.
    pub launches: u64,
    /// Work that is queued now.
    pub pending: u64,
    /// Executions that failed.
    pub failed: u64,
    /// Executions that were cancelled.
    pub cancelled: u64,
    /// Executions that were late.
    pub timed_out: u64,
    /// Part of the last second in which its work ran.
    pub utilization_second: f64,
    /// Part of the last minute, or of its life where that is shorter, in which its work ran.
    pub utilization_minute: f64,
    /// Its part of what all tenants of its device (LLMs are among them) used of it in the last second; 0 when nobody used any.
    pub share_got: f32,
    /// The same of the last minute.
    pub share_got_minute: f32,
    /// The mean time from submission to the end of all its work, in nanoseconds.
    pub latency_mean_ns: u64,
    /// The median of the last 30 to 60 seconds, in nanoseconds; 0 when nothing ended.
    pub latency_p50_ns: u64,
    /// What 99 of 100 of these are below, in nanoseconds.
    pub latency_p99_ns: u64,
    /// `CW_PRECISION_*`.
    pub precision: i32,
    /// The most of its processors' time that it gets; 0 for no cap.
    pub compute_cap: f32,
    /// 1 when its matrix work may use matrix circuits.
    pub tensor_cores: i32,
}

/// One argument of a kernel.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_argument {
    /// `CW_ARGUMENT_*`.
    pub kind: i32,
    /// Bytes of a struct; ignored for other kinds.
    pub size: u32,
    /// The bits of the value (a 32-bit one in the low half); for a struct the address of its bytes, which are copied.
    pub value: u64,
}

/// A kernel to execute. Fill with `cw_kernel_call_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_kernel_call {
    /// `sizeof(cw_kernel_call)`, set by the caller.
    pub struct_size: usize,
    /// Its name: of a kernel in a loaded module, of a registered host function, or of a built-in kernel, in this order.
    pub name: *const c_char,
    /// The module in which it is; `NULL` for any.
    pub module: *const c_char,
    /// Blocks in x, y and z. Built-in kernels choose their own shape; the given one must be possible all the same.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of each block.
    pub shared: u32,
    /// 1 when all blocks must run at once, so that the kernel may synchronise its whole grid.
    pub cooperative: i32,
    /// Its arguments.
    pub arguments: *const cw_argument,
    /// How many.
    pub argument_count: usize,
    /// Milliseconds from submission to the end; 0 for the unit's own bound. Late work that has not begun is withdrawn, late
    /// work that can be stopped is stopped; other late work runs on and is told as timed out.
    pub timeout_ms: f64,
}

/// What is told of an execution.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_execution_info {
    /// `sizeof(cw_execution_info)`, set by the caller.
    pub struct_size: usize,
    /// Its number.
    pub execution: i32,
    /// Index of its stream.
    pub stream: i32,
    /// `CW_EXECUTION_*`.
    pub state: i32,
    /// Status it failed with, or `CW_OK`.
    pub status: cw_status,
    /// 1 while it is on the device: also late work that runs on, and work that will stop at its next poll.
    pub running: i32,
    /// Why it failed, was cancelled or timed out, NUL-terminated, cut to fit.
    pub error: [c_char; 512],
}

/// What a host function is told of its call. Valid only inside of it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_host_launch {
    /// `sizeof(cw_host_launch)`.
    pub struct_size: usize,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z: the function does the work of all of them.
    pub block: [u32; 3],
    /// The block that this call is for; zeros when it is called once a launch.
    pub index: [u32; 3],
    /// Which of the node's threads this is.
    pub worker: u32,
    /// How many there are.
    pub workers: u32,
    /// Bytes at `shared`.
    pub shared_bytes: u32,
    /// The block's own scratch memory, aligned to 64; what is in it at first is undefined.
    pub shared: *mut c_void,
}

/// A host function: does the work of a block, or of a whole launch. Returns `CW_OK` or an error code, which ends the
/// execution as failed. `arguments` are as many as were registered; structs at the address in `value`. It may run on several
/// threads at a time.
pub type cw_host_function = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        launch: *const cw_host_launch,
        arguments: *const cw_argument,
        count: usize,
    ) -> cw_status,
>;

/// A matrix product `C = alpha op(A) op(B) + beta C`, row-major. Fill with `cw_matmul_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_matmul {
    /// `sizeof(cw_matmul)`, set by the caller.
    pub struct_size: usize,
    /// A, m x k, or k x m when it is transposed.
    pub a: *const c_void,
    /// B, k x n, or n x k when it is transposed.
    pub b: *const c_void,
    /// C, m x n.
    pub c: *mut c_void,
    /// Rows of op(A) and C.
    pub m: i32,
    /// Columns of op(B) and C.
    pub n: i32,
    /// Columns of op(A), rows of op(B).
    pub k: i32,
    /// Elements of A and B, as a number of `cudaDataType_t`: 0 f32, 1 f64, 2 f16, 3 int8 (C is int32), 14 bf16.
    pub data_type: i32,
    /// 1 when A lies transposed.
    pub transpose_a: i32,
    /// 1 when B lies transposed.
    pub transpose_b: i32,
    /// Elements from one row of A to the next; 0 for its columns.
    pub lda: i32,
    /// Elements from one row of B to the next; 0 for its columns.
    pub ldb: i32,
    /// Elements from one row of C to the next; 0 for its columns.
    pub ldc: i32,
    /// Products, each with matrices of its own.
    pub batch: i32,
    /// Elements from one A to the next; -1 for one behind another, 0 for the same.
    pub stride_a: i64,
    /// Elements from one B to the next; -1 for one behind another, 0 for the same.
    pub stride_b: i64,
    /// Elements from one C to the next; -1 for one behind another.
    pub stride_c: i64,
    /// Factor on the product.
    pub alpha: f64,
    /// Factor on what C holds.
    pub beta: f64,
}

/// A convolution forward, one group, no dilation: input NCHW, filter OIHW, output NCHW.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_convolution {
    /// `sizeof(cw_convolution)`, set by the caller.
    pub struct_size: usize,
    /// The input.
    pub input: *const c_void,
    /// The filter.
    pub filter: *const c_void,
    /// The output.
    pub output: *mut c_void,
    /// Images.
    pub batch: i32,
    /// Channels of the input.
    pub in_channels: i32,
    /// Channels of the output.
    pub out_channels: i32,
    /// Rows of an image.
    pub height: i32,
    /// Columns of an image.
    pub width: i32,
    /// Rows and columns of the filter.
    pub kernel: i32,
    /// Pixels from one application of the filter to the next.
    pub stride: i32,
    /// Zeros around the image, less than `kernel`.
    pub padding: i32,
    /// Elements as a number of `cudaDataType_t`: 0 f32, 2 f16, 3 int8 (the output is int32), 14 bf16.
    pub data_type: i32,
}

/// An activation of a dense NCHW tensor.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_activation {
    /// `sizeof(cw_activation)`, set by the caller.
    pub struct_size: usize,
    /// `relu`, `leaky_relu`, `sigmoid`, `tanh`, `gelu`, `silu`, `softmax` (over the channels) …; an unknown name's error lists all.
    pub name: *const c_char,
    /// The input.
    pub input: *const c_void,
    /// The output; may be the input.
    pub output: *mut c_void,
    /// Images.
    pub batch: i32,
    /// Channels.
    pub channels: i32,
    /// Rows.
    pub height: i32,
    /// Columns.
    pub width: i32,
    /// Elements as a number of `cudaDataType_t`: 0 f32, 2 f16, 14 bf16.
    pub data_type: i32,
}

/// CUDA C++ with what its compilation depends on. All zeros but `struct_size` and `text` is a source with nothing beside it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_program_source {
    /// `sizeof(cw_program_source)`, set by the caller.
    pub struct_size: usize,
    /// What the compiler calls it in messages; `NULL` for the module's name.
    pub name: *const c_char,
    /// The source.
    pub text: *const c_char,
    /// Options of NVRTC: `--use_fast_math`, `-DN=4` … The architecture is the device's.
    pub options: *const *const c_char,
    /// How many.
    pub option_count: usize,
    /// Folders in which headers are looked for.
    pub include_paths: *const *const c_char,
    /// How many.
    pub include_path_count: usize,
    /// Names of headers in memory, as `#include` has them.
    pub header_names: *const *const c_char,
    /// Their texts.
    pub headers: *const *const c_char,
    /// How many headers.
    pub header_count: usize,
    /// Kernels that are wanted by an expression of C++: `scale<float, 4>`.
    pub expressions: *const *const c_char,
    /// How many.
    pub expression_count: usize,
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
