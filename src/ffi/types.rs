//! Types and constants of the C border. Only plain integers, pointers and structs of them: no Rust enum crosses.

#![allow(non_camel_case_types)]

use std::ffi::{c_char, c_void};

/// Result of every function: `CW_OK` or one of `CW_ERROR_*`.
pub type cw_status = i32;

/// Success.
pub const CW_OK: cw_status = 0;
/// An argument is out of its domain: null, zero, overflow, a dead handle, not UTF-8.
pub const CW_ERROR_INVALID_ARGUMENT: cw_status = 1;
/// No object has this id, name or path.
pub const CW_ERROR_NOT_FOUND: cw_status = 2;
/// An object with this id exists already.
pub const CW_ERROR_ALREADY_EXISTS: cw_status = 3;
/// The device or the host has no memory left.
pub const CW_ERROR_OUT_OF_MEMORY: cw_status = 4;
/// The tenant's own limit would be exceeded; nothing was allocated.
pub const CW_ERROR_QUOTA_EXCEEDED: cw_status = 5;
/// The pointer, stream or node belongs to nobody here or to another tenant.
pub const CW_ERROR_NOT_OWNER: cw_status = 6;
/// The system, kernel, driver or bridge is not initialised or was shut down.
pub const CW_ERROR_NOT_INITIALIZED: cw_status = 7;
/// This device, driver or build cannot do it.
pub const CW_ERROR_UNSUPPORTED: cw_status = 8;
/// There is no such device, or its driver is not installed.
pub const CW_ERROR_NO_DEVICE: cw_status = 9;
/// The device stopped answering.
pub const CW_ERROR_DEVICE_LOST: cw_status = 10;
/// The device's driver answered an error that has no status of its own.
pub const CW_ERROR_DRIVER: cw_status = 11;
/// The operating system refused.
pub const CW_ERROR_IO: cw_status = 12;
/// A file or text does not follow its format.
pub const CW_ERROR_FORMAT: cw_status = 13;
/// The work was cancelled before it finished.
pub const CW_ERROR_CANCELLED: cw_status = 14;
/// The work did not finish in time.
pub const CW_ERROR_TIMEOUT: cw_status = 15;
/// The object is in use.
pub const CW_ERROR_BUSY: cw_status = 16;
/// A callback of the application failed.
pub const CW_ERROR_CALLBACK: cw_status = 17;
/// A bug in Cogniware: a panic was caught.
pub const CW_ERROR_PANIC: cw_status = 18;
/// A bug in Cogniware: an invariant did not hold.
pub const CW_ERROR_INTERNAL: cw_status = 19;
/// The caller's buffer is too small; the needed size was written.
pub const CW_ERROR_BUFFER_TOO_SMALL: cw_status = 20;

/// No error: the category after a call that succeeded.
pub const CW_CATEGORY_NONE: i32 = 0;
/// Nothing to start with: no CUDA, no device, a manager that was not initialised.
pub const CW_CATEGORY_INITIALIZATION: i32 = 1;
/// The device's driver and what is loaded into it: libraries, kernel modules, permissions.
pub const CW_CATEGORY_DRIVER: i32 = 2;
/// A device that answers errors, stopped answering or was lost; its streams, events and nodes.
pub const CW_CATEGORY_DEVICE: i32 = 3;
/// Memory: limits, shortage, pointers, copies, partitions.
pub const CW_CATEGORY_MEMORY: i32 = 4;
/// Code that runs on the device: images, functions, launches, graphs.
pub const CW_CATEGORY_KERNEL: i32 = 5;
/// Tasks: their parameters, their scheduling, their ends.
pub const CW_CATEGORY_TASK: i32 = 6;
/// Between languages: arrays, registrations and calls of the bridge, callbacks of the application.
pub const CW_CATEGORY_BRIDGE: i32 = 7;
/// Models: files, formats, prompts, generation.
pub const CW_CATEGORY_MODEL: i32 = 8;
/// Tenants: their ids, shares, nodes and settings.
pub const CW_CATEGORY_TENANT: i32 = 9;
/// The operating system: files, threads, limits.
pub const CW_CATEGORY_SYSTEM: i32 = 10;
/// Arguments of functions that belong to none of the above.
pub const CW_CATEGORY_ARGUMENT: i32 = 11;
/// Bugs in Cogniware.
pub const CW_CATEGORY_INTERNAL: i32 = 12;

/// Nothing is logged.
pub const CW_LOG_OFF: i32 = 0;
/// Something is lost: a device, work of a tenant.
pub const CW_LOG_ERROR: i32 = 1;
/// Something was avoided or got slower: a fallback, a retry, a task that failed.
pub const CW_LOG_WARN: i32 = 2;
/// What an operator wants to see: devices opened, models loaded, registrations.
pub const CW_LOG_INFO: i32 = 3;
/// What a developer wants to see: errors that were returned, growth.
pub const CW_LOG_DEBUG: i32 = 4;
/// Everything.
pub const CW_LOG_TRACE: i32 = 5;

/// The host's processor and memory.
pub const CW_DEVICE_CPU: i32 = 0;
/// An NVIDIA GPU.
pub const CW_DEVICE_CUDA: i32 = 1;

/// Before everything else.
pub const CW_PRIORITY_CRITICAL: i32 = 0;
/// Before normal work.
pub const CW_PRIORITY_HIGH: i32 = 1;
/// The default.
pub const CW_PRIORITY_NORMAL: i32 = 2;
/// After normal work.
pub const CW_PRIORITY_LOW: i32 = 3;
/// When nothing else wants to run.
pub const CW_PRIORITY_BACKGROUND: i32 = 4;

/// Processors with their matrix circuits: SMs with tensor cores; CPU cores with 8-bit dot products.
pub const CW_NODE_TENSOR_CORE: i32 = 0;
/// The same processors for f32 arithmetic alone. A tenant that holds nodes of both kinds may use matrix circuits.
pub const CW_NODE_CUDA_CORE: i32 = 1;
/// Physical memory that is kept for its holder.
pub const CW_NODE_MEMORY_BANK: i32 = 2;
/// GPU: its holder's kernels get the largest carve-out of shared memory. CPU: memory of half the size of a core's L2 cache.
pub const CW_NODE_SHARED_MEMORY: i32 = 3;
/// GPU: a slice of L2 in which a window of its holder's memory persists. CPU: a last-level cache, on whose cores its holder
/// stays.
pub const CW_NODE_L2_CACHE: i32 = 4;

/// No matrix circuits: f32 arithmetic alone.
pub const CW_MATH_PLAIN: i32 = 0;
/// Matrix circuits where they cost no accuracy that the weights have.
pub const CW_MATH_EXACT: i32 = 1;
/// Matrix circuits wherever there are some, with TF32 and bf16 inputs.
pub const CW_MATH_FAST: i32 = 2;

/// Device memory.
pub const CW_PARTITION_GLOBAL: i32 = 0;
/// Memory that another process can map.
pub const CW_PARTITION_SHARED: i32 = 1;
/// Memory that is written once, then read-only.
pub const CW_PARTITION_CONSTANT: i32 = 2;
/// Memory read through texture units.
pub const CW_PARTITION_TEXTURE: i32 = 3;
/// Per-thread memory of kernels.
pub const CW_PARTITION_LOCAL: i32 = 4;

/// The model ended its text.
pub const CW_FINISH_STOP: i32 = 0;
/// A stop string came.
pub const CW_FINISH_STOP_STRING: i32 = 1;
/// `max_tokens` were made, or the context is full.
pub const CW_FINISH_LENGTH: i32 = 2;
/// It was cancelled.
pub const CW_FINISH_CANCELLED: i32 = 3;
/// It failed.
pub const CW_FINISH_ERROR: i32 = 4;

/// Waiting for its turn or its needs.
pub const CW_TASK_PENDING: i32 = 0;
/// Its function runs.
pub const CW_TASK_RUNNING: i32 = 1;
/// It ended well.
pub const CW_TASK_COMPLETED: i32 = 2;
/// It ended with an error.
pub const CW_TASK_FAILED: i32 = 3;
/// It was cancelled.
pub const CW_TASK_CANCELLED: i32 = 4;

/// A text map: string keys to string values, in key order.
#[repr(C)]
pub struct cw_map {
    _opaque: [u8; 0],
}

/// A tenant: an account on a device.
#[repr(C)]
pub struct cw_tenant {
    _opaque: [u8; 0],
}

/// A scheduled task.
#[repr(C)]
pub struct cw_task {
    _opaque: [u8; 0],
}

/// What the function of a running task sees of its task. Valid only inside that function.
#[repr(C)]
pub struct cw_task_context {
    _opaque: [u8; 0],
}

/// A kernel manager: devices, nodes, memory, streams and tasks of tenants named by their id.
#[repr(C)]
pub struct cw_kernel {
    _opaque: [u8; 0],
}

/// A driver manager.
#[repr(C)]
pub struct cw_driver {
    _opaque: [u8; 0],
}

/// A loaded model of a tenant.
#[repr(C)]
pub struct cw_model {
    _opaque: [u8; 0],
}

/// A generation that runs or has ended.
#[repr(C)]
pub struct cw_generation {
    _opaque: [u8; 0],
}

/// A bridge: registered LLMs, their arrays and their tasks.
#[repr(C)]
pub struct cw_bridge {
    _opaque: [u8; 0],
}

/// An array of f32 in a tenant's memory.
#[repr(C)]
pub struct cw_array {
    _opaque: [u8; 0],
}

/// Sees each piece of generated text: `piece` is NUL-terminated and may be empty, `token` is the token's id
/// (`UINT32_MAX` for text that was held back and comes out at the end), `logprob` is NaN unless asked for. Returns 0
/// to cancel the generation, anything else to go on.
pub type cw_token_function = Option<
    unsafe extern "C" fn(user_data: *mut c_void, piece: *const c_char, token: u32, logprob: f32) -> i32,
>;

/// The work of a task: returns `CW_OK` or an error code; text by `cw_task_set_result`.
pub type cw_task_function =
    Option<unsafe extern "C" fn(user_data: *mut c_void, context: *mut cw_task_context) -> cw_status>;

/// The work of a kind of task: `llm` names the tenant, `params` are the task's parameters, both borrowed for the call.
/// Otherwise like `cw_task_function`.
pub type cw_task_type_function = Option<
    unsafe extern "C" fn(
        user_data: *mut c_void,
        context: *mut cw_task_context,
        llm: *const c_char,
        params: *const cw_map,
    ) -> cw_status,
>;

/// A function called with the user data it was given together with.
pub type cw_function = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Takes a record of the log: `level` is one of `CW_LOG_*`, `target` the part that tells (`device`, `memory`, …),
/// `message` one line without its end.
pub type cw_log_function = Option<
    unsafe extern "C" fn(user_data: *mut c_void, level: i32, target: *const c_char, message: *const c_char),
>;

/// Gives user data back to the application.
pub type cw_drop_function = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// What is known about a device. Fields that have no meaning on a device, or cannot be read, are 0; see the Rust
/// `DeviceInfo` for what each means on the CPU device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_device_info {
    /// `sizeof(cw_device_info)`, set by the caller.
    pub struct_size: usize,
    /// `CW_DEVICE_*`.
    pub kind: i32,
    /// Index among devices of its kind.
    pub ordinal: i32,
    /// Name, NUL-terminated, cut to fit.
    pub name: [c_char; 128],
    /// CPU: the SIMD level in use; GPU: `sm_XY`. NUL-terminated.
    pub isa: [c_char; 32],
    /// PCI address, or empty. NUL-terminated.
    pub pci_bus_id: [c_char; 32],
    /// Bytes of physical memory.
    pub total_memory: u64,
    /// Bytes free now.
    pub free_memory: u64,
    /// Major compute capability.
    pub compute_major: u32,
    /// Minor compute capability.
    pub compute_minor: u32,
    /// SMs, or cores this process may use.
    pub multiprocessors: u32,
    /// FP32 lanes of the GPU.
    pub cuda_cores: u32,
    /// Tensor cores of the GPU.
    pub tensor_cores: u32,
    /// Threads per warp.
    pub warp_size: u32,
    /// Threads per block.
    pub max_threads_per_block: u32,
    /// Threads per SM.
    pub max_threads_per_multiprocessor: u32,
    /// Block sizes.
    pub max_block_dim: [u32; 3],
    /// Grid sizes.
    pub max_grid_dim: [u32; 3],
    /// Bytes of shared memory per block.
    pub shared_memory_per_block: u32,
    /// Bytes of shared memory per block after opting in.
    pub shared_memory_per_block_optin: u32,
    /// Bytes of shared memory per SM.
    pub shared_memory_per_multiprocessor: u32,
    /// 32-bit registers per block.
    pub registers_per_block: u32,
    /// 32-bit registers per SM.
    pub registers_per_multiprocessor: u32,
    /// Core clock in kHz.
    pub clock_khz: u32,
    /// Memory clock in kHz.
    pub memory_clock_khz: u32,
    /// Memory bus width in bits.
    pub memory_bus_bits: u32,
    /// Bytes of L1 data cache per core (CPU).
    pub l1_cache: u64,
    /// Bytes of L2 cache (CPU: per core).
    pub l2_cache: u64,
    /// Bytes of last-level cache (CPU).
    pub l3_cache: u64,
    /// Copy engines.
    pub async_engines: u32,
    /// Driver version (13000 for 13.0).
    pub driver_version: u32,
    /// 1 when ECC is on.
    pub ecc: i32,
    /// 1 when the device shares the host's memory.
    pub integrated: i32,
    /// 1 when host and device share one address space.
    pub unified_addressing: i32,
    /// 1 when kernels run side by side.
    pub concurrent_kernels: i32,
    /// 1 when managed memory is there.
    pub managed_memory: i32,
    /// NVLinks that are known (0 when NVML is absent).
    pub nvlink_count: u32,
    /// NVLinks that are up, one bit a link.
    pub nvlink_active: u32,
    /// For each link the CUDA ordinal at its other end, or -1.
    pub nvlink_peers: [i32; 32],
}

/// What a tenant asks for. Fill with `cw_tenant_config_default`, then change what matters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_tenant_config {
    /// `sizeof(cw_tenant_config)`, set by the caller.
    pub struct_size: usize,
    /// The most bytes it may hold; 0 for a quarter of the device's memory.
    pub memory_limit: u64,
    /// Bytes set aside for it.
    pub memory_floor: u64,
    /// Weight of its share of contended processors; 1 is normal.
    pub weight: f64,
    /// Cores or SMs of its own node; 0 for a quarter of the device. On a GPU rounded down to whole groups of SMs.
    pub processors: u32,
    /// `CW_PRIORITY_*`.
    pub priority: i32,
}

/// A tenant's figures.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_usage {
    /// `sizeof(cw_usage)`, set by the caller.
    pub struct_size: usize,
    /// The most bytes it may hold.
    pub memory_limit: u64,
    /// Bytes charged now.
    pub memory_held: u64,
    /// The most bytes ever charged.
    pub memory_peak: u64,
    /// Of the bytes held: read-only weights that tenants with the same file share physically.
    pub memory_shared: u64,
    /// Of the bytes held: growing regions (key/value cache).
    pub memory_regions: u64,
    /// Physical bytes mapped for this tenant alone.
    pub memory_physical: u64,
    /// Live allocations.
    pub allocations: u64,
    /// Requests refused because of the limit.
    pub rejections: u64,
    /// Measured device time used, in nanoseconds.
    pub device_time_ns: u64,
    /// Time spent waiting for processors, in nanoseconds.
    pub wait_time_ns: u64,
    /// How often it was let onto its processors.
    pub admissions: u64,
    /// Cores or SMs of its node now; 0 when it has none yet.
    pub processors: u32,
}

/// One compute node of a device; see `CW_NODE_*` for what each kind gives.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_node_info {
    /// `sizeof(cw_node_info)`, set by the caller.
    pub struct_size: usize,
    /// Identifier, unique on its device.
    pub id: u32,
    /// Cores or SMs.
    pub processors: u32,
    /// How many entries of `units` are meant (units beyond 64 are left out).
    pub unit_count: u32,
    /// 1 when it was made for a tenant, 0 for a rung of the ladder.
    pub is_virtual: i32,
    /// Units it is made of: cores, or groups of SMs.
    pub units: [u32; 64],
    /// The tenant that holds it, NUL-terminated, or empty.
    pub owner: [c_char; 128],
    /// Microseconds since 1970 when work last ran on it, or memory was last drawn from it; 0 for never.
    pub last_used_us: u64,
    /// `CW_NODE_*`.
    pub kind: i32,
    /// 1 when somebody holds it and has used it since.
    pub is_active: i32,
    /// Bytes: of the device's memory, which all processors share; of a bank; of shared memory; of a part of the cache.
    pub memory: u64,
    /// Bytes of it in use: what the holder has allocated or drawn, or was given; 0 while nobody holds it.
    pub memory_used: u64,
    /// Where it lies in the holder's memory (shared memory of the CPU device), else 0.
    pub address: u64,
    /// What it is on this device, in words, NUL-terminated.
    pub detail: [c_char; 128],
}

/// A task to schedule. Fill with `cw_task_config_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_task_config {
    /// `sizeof(cw_task_config)`, set by the caller.
    pub struct_size: usize,
    /// The id to give it, or `NULL` for a new one.
    pub id: *const c_char,
    /// `CW_PRIORITY_*`.
    pub priority: i32,
    /// Cores or SMs it needs.
    pub cores: u32,
    /// Bytes that must be free within the tenant's limit when it starts.
    pub memory: u64,
}

/// How a function of a GPU module is launched. Fill with `cw_launch_default`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_launch {
    /// `sizeof(cw_launch)`, set by the caller.
    pub struct_size: usize,
    /// The module's name or path, or `NULL` for the last GPU module that was loaded.
    pub module: *const c_char,
    /// The function's name.
    pub function: *const c_char,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of each block.
    pub shared: u32,
    /// A stream of the kernel manager (`cw_kernel_stream_create`); `NULL` waits until the function has run.
    pub stream: *mut c_void,
    /// For each parameter a pointer to its value, which is copied.
    pub arguments: *const *const c_void,
    /// The bytes of each value.
    pub argument_sizes: *const usize,
    /// How many there are.
    pub argument_count: usize,
}

/// What is known of a task.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_task_info {
    /// `sizeof(cw_task_info)`, set by the caller.
    pub struct_size: usize,
    /// `CW_TASK_*`.
    pub state: i32,
    /// `CW_PRIORITY_*`.
    pub priority: i32,
    /// Status it failed with, or `CW_OK`.
    pub status: cw_status,
    /// Cores it asked for.
    pub cores: u32,
    /// Bytes it asked for.
    pub memory: u64,
    /// Microseconds since 1970 when it was scheduled.
    pub created_us: u64,
    /// Microseconds since 1970 when it started; 0 for not yet.
    pub started_us: u64,
    /// Microseconds since 1970 when it ended; 0 for not yet.
    pub finished_us: u64,
    /// The weight of its work within its tenant's; 1 is normal.
    pub weight: f64,
    /// Measured device time of its work so far, in nanoseconds; that of a function's own code (on the CPU device) when
    /// it has ended.
    pub device_time_ns: u64,
}

/// What is known of a memory partition.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_partition_info {
    /// `sizeof(cw_partition_info)`, set by the caller.
    pub struct_size: usize,
    /// Its number.
    pub id: i32,
    /// `CW_PARTITION_*`.
    pub r#type: i32,
    /// Bytes: as asked for, for shared and constant memory whole granules; local: of one thread's stack.
    pub bytes: u64,
    /// Bytes from the start of the tenant's address range; 0 for local memory, which has no address.
    pub offset: u64,
    /// Its device address; `NULL` for local memory.
    pub device_pointer: *mut c_void,
    /// Its address for the host where the host can reach it, else `NULL`.
    pub host_pointer: *mut c_void,
    /// Its tenant, NUL-terminated.
    pub owner: [c_char; 128],
    /// Microseconds since 1970 when it was made.
    pub created_us: u64,
    /// What kernels read a texture by: the `CUtexObject` on a GPU; 0 for other types.
    pub texture: u64,
}

/// Parameters of a generation. Fill with `cw_generate_params_default`, then change what matters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_generate_params {
    /// `sizeof(cw_generate_params)`, set by the caller.
    pub struct_size: usize,
    /// What to continue, or `NULL`.
    pub prompt: *const c_char,
    /// Token ids to continue instead of a text, or `NULL`.
    pub prompt_tokens: *const u32,
    /// How many.
    pub prompt_token_count: usize,
    /// The system message of a chat, or `NULL`.
    pub system: *const c_char,
    /// Stop strings, or `NULL`: the text ends before the first of them.
    pub stop: *const *const c_char,
    /// How many.
    pub stop_count: usize,
    /// The seed, when `has_seed` is 1.
    pub seed: u64,
    /// 1 to use `seed`, 0 for a fresh one.
    pub has_seed: i32,
    /// 1 when `prompt` is a user's message, to be put through the model's chat template.
    pub chat: i32,
    /// 1 never to draw the tokens that end a text.
    pub ignore_eos: i32,
    /// 1 to report log-probabilities.
    pub logprobs: i32,
    /// The most tokens to make.
    pub max_tokens: u32,
    /// Only this many of the most likely tokens; 0 for all.
    pub top_k: u32,
    /// Divides the logits; 0 always takes the most likely token.
    pub temperature: f32,
    /// Only the most likely tokens that together have at least this probability; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the most likely one; 0 for all.
    pub min_p: f32,
    /// Weakens tokens seen lately; 1 for none.
    pub repeat_penalty: f32,
    /// Taken once from the logit of each token that the answer holds; 0 for none.
    pub presence_penalty: f32,
    /// Taken from a token's logit for each time that the answer holds it; 0 for none.
    pub frequency_penalty: f32,
}

/// How a generation went.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct cw_generation_stats {
    /// `sizeof(cw_generation_stats)`, set by the caller.
    pub struct_size: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Of these, tokens that were still in the cache.
    pub cached_tokens: u32,
    /// Tokens made.
    pub generated_tokens: u32,
    /// `CW_FINISH_*`.
    pub finish: i32,
    /// The error for `CW_FINISH_ERROR`.
    pub status: cw_status,
    /// The seed that was used.
    pub seed: u64,
    /// Milliseconds until it had a place in the batch.
    pub queue_ms: f64,
    /// Milliseconds from then until its first token.
    pub prefill_ms: f64,
    /// Milliseconds from its start to its first token.
    pub ttft_ms: f64,
    /// Milliseconds from its first token to its last.
    pub decode_ms: f64,
    /// Milliseconds from its start to its end.
    pub total_ms: f64,
    /// Tokens after the first, per second of `decode_ms`.
    pub tokens_per_second: f64,
}
