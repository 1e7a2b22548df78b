/*
 * Cogniware: one device, many models. The C interface.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 * See LICENSE beside the sources. Written from src/ffi by cbindgen; do not edit.
 */
/*
 * The C border: the only place with exported functions.
 *
 * The contract, once for all of them:
 * - A function returns a cw_status; 0 is success. What went wrong is in cw_last_error of the same thread until
 *   its next call; a _free that succeeds leaves it as it is. Outputs are written only on success.
 * - Objects are handles. A handle that was freed, was never given out, or is of another type is an error
 *   (CW_ERROR_INVALID_ARGUMENT), never a crash. Freeing NULL does nothing and succeeds. Every handle may be used
 *   from any thread, also by several at a time.
 * - Text in is UTF-8, NUL-terminated, and borrowed for the call. Text out goes to a buffer of the caller: the
 *   function writes as much as fits with a final NUL, sets *needed to the whole size with the NUL, and answers
 *   CW_ERROR_BUFFER_TOO_SMALL when it did not fit. A length of 0 with a NULL buffer asks for the size.
 * - A callback comes as function, user data and an optional drop function. Drop runs exactly once, when Cogniware
 *   will not call the function any more, also when the registering call fails. No lock is held meanwhile.
 * - A panic never crosses the border: it becomes CW_ERROR_PANIC.
 * - In a process that was forked from one that used Cogniware every function answers CW_ERROR_UNSUPPORTED.
 */

#ifndef COGNIWARE_COGNIWARE_H
#define COGNIWARE_COGNIWARE_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; cw_version_number tells the library's. */
#define CW_VERSION_MAJOR 0
#define CW_VERSION_MINOR 1
#define CW_VERSION_PATCH 0
#define CW_VERSION_NUMBER 1000

#ifndef CW_API
#if defined(__GNUC__) || defined(__clang__)
#define CW_API __attribute__((visibility("default")))
#else
#define CW_API
#endif
#endif

// No error: the category after a call that succeeded.
#define CW_CATEGORY_NONE 0

// Nothing to start with: no CUDA, no device, a manager that was not initialised.
#define CW_CATEGORY_INITIALIZATION 1

// The device's driver and what is loaded into it: libraries, kernel modules, permissions.
#define CW_CATEGORY_DRIVER 2

// A device that answers errors, stopped answering or was lost; its streams, events and nodes.
#define CW_CATEGORY_DEVICE 3

// Memory: limits, shortage, pointers, copies, partitions.
#define CW_CATEGORY_MEMORY 4

// Code that runs on the device: images, functions, launches, graphs.
#define CW_CATEGORY_KERNEL 5

// Tasks: their parameters, their scheduling, their ends.
#define CW_CATEGORY_TASK 6

// Between languages: arrays, registrations and calls of the bridge, callbacks of the application.
#define CW_CATEGORY_BRIDGE 7

// Models: files, formats, prompts, generation.
#define CW_CATEGORY_MODEL 8

// Tenants: their ids, shares, nodes and settings.
#define CW_CATEGORY_TENANT 9

// The operating system: files, threads, limits.
#define CW_CATEGORY_SYSTEM 10

// Arguments of functions that belong to none of the above.
#define CW_CATEGORY_ARGUMENT 11

// Bugs in Cogniware.
#define CW_CATEGORY_INTERNAL 12

// Nothing is logged.
#define CW_LOG_OFF 0

// Something is lost: a device, work of a tenant.
#define CW_LOG_ERROR 1

// Something was avoided or got slower: a fallback, a retry, a task that failed.
#define CW_LOG_WARN 2

// What an operator wants to see: devices opened, models loaded, registrations.
#define CW_LOG_INFO 3

// What a developer wants to see: errors that were returned, growth.
#define CW_LOG_DEBUG 4

// Everything.
#define CW_LOG_TRACE 5

// The host's processor and memory.
#define CW_DEVICE_CPU 0

// An NVIDIA GPU.
#define CW_DEVICE_CUDA 1

// Before everything else.
#define CW_PRIORITY_CRITICAL 0

// Before normal work.
#define CW_PRIORITY_HIGH 1

// The default.
#define CW_PRIORITY_NORMAL 2

// After normal work.
#define CW_PRIORITY_LOW 3

// When nothing else wants to run.
#define CW_PRIORITY_BACKGROUND 4

// Processors with their matrix circuits: SMs with tensor cores; CPU cores with 8-bit dot products.
#define CW_NODE_TENSOR_CORE 0

// The same processors for f32 arithmetic alone. A tenant that holds nodes of both kinds may use matrix circuits.
#define CW_NODE_CUDA_CORE 1

// Physical memory that is kept for its holder.
#define CW_NODE_MEMORY_BANK 2

// GPU: its holder's kernels get the largest carve-out of shared memory. CPU: memory of half the size of a core's L2 cache.
#define CW_NODE_SHARED_MEMORY 3

// GPU: a slice of L2 in which a window of its holder's memory persists. CPU: a last-level cache, on whose cores its holder
// stays.
#define CW_NODE_L2_CACHE 4

// No matrix circuits: f32 arithmetic alone.
#define CW_MATH_PLAIN 0

// Matrix circuits where they cost no accuracy that the weights have.
#define CW_MATH_EXACT 1

// Matrix circuits wherever there are some, with TF32 and bf16 inputs.
#define CW_MATH_FAST 2

// Device memory.
#define CW_PARTITION_GLOBAL 0

// Memory that another process can map.
#define CW_PARTITION_SHARED 1

// Memory that is written once, then read-only.
#define CW_PARTITION_CONSTANT 2

// Memory read through texture units.
#define CW_PARTITION_TEXTURE 3

// Per-thread memory of kernels.
#define CW_PARTITION_LOCAL 4

// The model ended its text.
#define CW_FINISH_STOP 0

// A stop string came.
#define CW_FINISH_STOP_STRING 1

// max_tokens were made, or the context is full.
#define CW_FINISH_LENGTH 2

// It was cancelled.
#define CW_FINISH_CANCELLED 3

// It failed.
#define CW_FINISH_ERROR 4

// Waiting for its turn or its needs.
#define CW_TASK_PENDING 0

// Its function runs.
#define CW_TASK_RUNNING 1

// It ended well.
#define CW_TASK_COMPLETED 2

// It ended with an error.
#define CW_TASK_FAILED 3

// It was cancelled.
#define CW_TASK_CANCELLED 4

// No virtual GPU has the id.
#define CW_VGPU_NOT_CREATED 0

// It has no work.
#define CW_VGPU_IDLE 1

// Work is queued or runs.
#define CW_VGPU_BUSY 2

// Its tenant was closed by name.
#define CW_VGPU_CLOSED 3

// Its device was lost.
#define CW_VGPU_LOST 4

// Both ends are the program's own memory; the numbers of CW_COPY_* are cudaMemcpyKind's.
#define CW_COPY_HOST_TO_HOST 0

// From the program's memory to the virtual GPU's.
#define CW_COPY_HOST_TO_DEVICE 1

// From the virtual GPU's memory to the program's.
#define CW_COPY_DEVICE_TO_HOST 2

// Within the virtual GPU's memory.
#define CW_COPY_DEVICE_TO_DEVICE 3

// As the pointers lie.
#define CW_COPY_DEFAULT 4

// Matrix work rounds f32 inputs to nothing less.
#define CW_PRECISION_FP32 0

// f32 inputs of matrix work may be rounded to 11 bits.
#define CW_PRECISION_TF32 1

// f32 inputs of matrix work may be rounded to f16.
#define CW_PRECISION_FP16 2

// f32 inputs of matrix work may be rounded to bf16.
#define CW_PRECISION_BF16 3

// An address in the virtual GPU's memory.
#define CW_ARGUMENT_POINTER 0

// A signed integer of 32 bits.
#define CW_ARGUMENT_I32 1

// An unsigned integer of 32 bits.
#define CW_ARGUMENT_U32 2

// A signed integer of 64 bits.
#define CW_ARGUMENT_I64 3

// An unsigned integer of 64 bits.
#define CW_ARGUMENT_U64 4

// A number of 32 bits.
#define CW_ARGUMENT_F32 5

// A number of 64 bits.
#define CW_ARGUMENT_F64 6

// A struct by value.
#define CW_ARGUMENT_BYTES 7

// Not on the device yet.
#define CW_EXECUTION_QUEUED 0

// On the device's stream, or running.
#define CW_EXECUTION_RUNNING 1

// Ended well.
#define CW_EXECUTION_FINISHED 2

// It could not be put on the stream, or the device reported an error.
#define CW_EXECUTION_FAILED 3

// Withdrawn or stopped.
#define CW_EXECUTION_CANCELLED 4

// Late.
#define CW_EXECUTION_TIMED_OUT 5

// It had not begun and will not.
#define CW_STOPPED_WITHDRAWN 0

// It was told to stop, and does so at its next poll.
#define CW_STOPPED_STOPPING 1

// Instead of a stream's index: the call waits (copies, fills), or all streams are meant (waiting). No index is mistaken
// for it: -1 is an error like every other that is out of range.
#define CW_NO_STREAM -2147483648

// Nothing is allocated in the page.
#define CW_PAGE_FREE 0

// Part of the page is allocated.
#define CW_PAGE_PARTLY 1

// All of the page is allocated.
#define CW_PAGE_USED 2

// The page has memory that its owner frees as a whole, and that stays where it is.
#define CW_PAGE_KEPT 3

// Nothing is moved to the host: it gets no part of anybody's floor.
#define CW_SPILL_NEVER 0

// What was not named by work for the longest time goes first.
#define CW_SPILL_COLDEST 1

// The largest allocations go first.
#define CW_SPILL_LARGEST 2

// Nothing is known of the allocation.
#define CW_ADVICE_NORMAL 0

// It is never moved to the host.
#define CW_ADVICE_PINNED 1

// It is moved before all others.
#define CW_ADVICE_COLD 2

// One unit after the other.
#define CW_BALANCE_ROUND_ROBIN 0

// The unit with the least asked of each of its processors.
#define CW_BALANCE_LEAST_LOADED 1

// The unit whose measured time is the least.
#define CW_BALANCE_MEASURED_TIME 2

// Result of every function: CW_OK or one of CW_ERROR_*.
typedef int32_t cw_status;

// A bridge: registered LLMs, their arrays and their tasks.
typedef struct cw_bridge cw_bridge;

// A text map: string keys to string values, in key order.
typedef struct cw_map cw_map;

// A loaded model of a tenant.
typedef struct cw_model cw_model;

// An array of f32 in a tenant's memory.
typedef struct cw_array cw_array;

// A scheduled task.
typedef struct cw_task cw_task;

// A kernel manager: devices, nodes, memory, streams and tasks of tenants named by their id.
typedef struct cw_kernel cw_kernel;

// What is known about a device. Fields that have no meaning on a device, or cannot be read, are 0; see the Rust
// DeviceInfo for what each means on the CPU device.
typedef struct cw_device_info {
    // sizeof(cw_device_info), set by the caller.
    size_t struct_size;
    // CW_DEVICE_*.
    int32_t kind;
    // Index among devices of its kind.
    int32_t ordinal;
    // Name, NUL-terminated, cut to fit.
    char name[128];
    // CPU: the SIMD level in use; GPU: sm_XY. NUL-terminated.
    char isa[32];
    // PCI address, or empty. NUL-terminated.
    char pci_bus_id[32];
    // Bytes of physical memory.
    uint64_t total_memory;
    // Bytes free now.
    uint64_t free_memory;
    // Major compute capability.
    uint32_t compute_major;
    // Minor compute capability.
    uint32_t compute_minor;
    // SMs, or cores this process may use.
    uint32_t multiprocessors;
    // FP32 lanes of the GPU.
    uint32_t cuda_cores;
    // Tensor cores of the GPU.
    uint32_t tensor_cores;
    // Threads per warp.
    uint32_t warp_size;
    // Threads per block.
    uint32_t max_threads_per_block;
    // Threads per SM.
    uint32_t max_threads_per_multiprocessor;
    // Block sizes.
    uint32_t max_block_dim[3];
    // Grid sizes.
    uint32_t max_grid_dim[3];
    // Bytes of shared memory per block.
    uint32_t shared_memory_per_block;
    // Bytes of shared memory per block after opting in.
    uint32_t shared_memory_per_block_optin;
    // Bytes of shared memory per SM.
    uint32_t shared_memory_per_multiprocessor;
    // 32-bit registers per block.
    uint32_t registers_per_block;
    // 32-bit registers per SM.
    uint32_t registers_per_multiprocessor;
    // Core clock in kHz.
    uint32_t clock_khz;
    // Memory clock in kHz.
    uint32_t memory_clock_khz;
    // Memory bus width in bits.
    uint32_t memory_bus_bits;
    // Bytes of L1 data cache per core (CPU).
    uint64_t l1_cache;
    // Bytes of L2 cache (CPU: per core).
    uint64_t l2_cache;
    // Bytes of last-level cache (CPU).
    uint64_t l3_cache;
    // Copy engines.
    uint32_t async_engines;
    // Driver version (13000 for 13.0).
    uint32_t driver_version;
    // 1 when ECC is on.
    int32_t ecc;
    // 1 when the device shares the host's memory.
    int32_t integrated;
    // 1 when host and device share one address space.
    int32_t unified_addressing;
    // 1 when kernels run side by side.
    int32_t concurrent_kernels;
    // 1 when managed memory is there.
    int32_t managed_memory;
    // NVLinks that are known (0 when NVML is absent).
    uint32_t nvlink_count;
    // NVLinks that are up, one bit a link.
    uint32_t nvlink_active;
    // For each link the CUDA ordinal at its other end, or -1.
    int32_t nvlink_peers[32];
} cw_device_info;

// A driver manager.
typedef struct cw_driver cw_driver;

// How a function of a GPU module is launched. Fill with cw_launch_default.
typedef struct cw_launch {
    // sizeof(cw_launch), set by the caller.
    size_t struct_size;
    // The module's name or path, or NULL for the last GPU module that was loaded.
    const char *module;
    // The function's name.
    const char *function;
    // Blocks in x, y and z.
    uint32_t grid[3];
    // Threads of a block in x, y and z.
    uint32_t block[3];
    // Bytes of dynamic shared memory of each block.
    uint32_t shared;
    // A stream of the kernel manager (cw_kernel_stream_create); NULL waits until the function has run.
    void *stream;
    // For each parameter a pointer to its value, which is copied.
    const void *const *arguments;
    // The bytes of each value.
    const size_t *argument_sizes;
    // How many there are.
    size_t argument_count;
} cw_launch;

// One compute node of a device; see CW_NODE_* for what each kind gives.
typedef struct cw_node_info {
    // sizeof(cw_node_info), set by the caller.
    size_t struct_size;
    // Identifier, unique on its device.
    uint32_t id;
    // Cores or SMs.
    uint32_t processors;
    // How many entries of units are meant (units beyond 64 are left out).
    uint32_t unit_count;
    // 1 when it was made for a tenant, 0 for a rung of the ladder.
    int32_t is_virtual;
    // Units it is made of: cores, or groups of SMs.
    uint32_t units[64];
    // The tenant that holds it, NUL-terminated, or empty.
    char owner[128];
    // Microseconds since 1970 when work last ran on it, or memory was last drawn from it; 0 for never.
    uint64_t last_used_us;
    // CW_NODE_*.
    int32_t kind;
    // 1 when somebody holds it and has used it since.
    int32_t is_active;
    // Bytes: of the device's memory, which all processors share; of a bank; of shared memory; of a part of the cache.
    uint64_t memory;
    // Bytes of it in use: what the holder has allocated or drawn, or was given; 0 while nobody holds it.
    uint64_t memory_used;
    // Where it lies in the holder's memory (shared memory of the CPU device), else 0.
    uint64_t address;
    // What it is on this device, in words, NUL-terminated.
    char detail[128];
} cw_node_info;

// A task to schedule. Fill with cw_task_config_default.
typedef struct cw_task_config {
    // sizeof(cw_task_config), set by the caller.
    size_t struct_size;
    // The id to give it, or NULL for a new one.
    const char *id;
    // CW_PRIORITY_*.
    int32_t priority;
    // Cores or SMs it needs.
    uint32_t cores;
    // Bytes that must be free within the tenant's limit when it starts.
    uint64_t memory;
} cw_task_config;

// What the function of a running task sees of its task. Valid only inside that function.
typedef struct cw_task_context cw_task_context;

// The work of a task: returns CW_OK or an error code; text by cw_task_set_result.
typedef cw_status (*cw_task_function)(void *user_data, struct cw_task_context *context);

// Gives user data back to the application.
typedef void (*cw_drop_function)(void *user_data);

// Takes a record of the log: level is one of CW_LOG_*, target the part that tells (device, memory, …),
// message one line without its end.
typedef void (*cw_log_function)(void *user_data, int32_t level, const char *target, const char *message);

// A tenant: an account on a device.
typedef struct cw_tenant cw_tenant;

// Parameters of a generation. Fill with cw_generate_params_default, then change what matters.
typedef struct cw_generate_params {
    // sizeof(cw_generate_params), set by the caller.
    size_t struct_size;
    // What to continue, or NULL.
    const char *prompt;
    // Token ids to continue instead of a text, or NULL.
    const uint32_t *prompt_tokens;
    // How many.
    size_t prompt_token_count;
    // The system message of a chat, or NULL.
    const char *system;
    // Stop strings, or NULL: the text ends before the first of them.
    const char *const *stop;
    // How many.
    size_t stop_count;
    // The seed, when has_seed is 1.
    uint64_t seed;
    // 1 to use seed, 0 for a fresh one.
    int32_t has_seed;
    // 1 when prompt is a user's message, to be put through the model's chat template.
    int32_t chat;
    // 1 never to draw the tokens that end a text.
    int32_t ignore_eos;
    // 1 to report log-probabilities.
    int32_t logprobs;
    // The most tokens to make.
    uint32_t max_tokens;
    // Only this many of the most likely tokens; 0 for all.
    uint32_t top_k;
    // Divides the logits; 0 always takes the most likely token.
    float temperature;
    // Only the most likely tokens that together have at least this probability; 1 for all.
    float top_p;
    // Only tokens at least this fraction as likely as the most likely one; 0 for all.
    float min_p;
    // Weakens tokens seen lately; 1 for none.
    float repeat_penalty;
    // Taken once from the logit of each token that the answer holds; 0 for none.
    float presence_penalty;
    // Taken from a token's logit for each time that the answer holds it; 0 for none.
    float frequency_penalty;
} cw_generate_params;

// Sees each piece of generated text: piece is NUL-terminated and may be empty, token is the token's id
// (UINT32_MAX for text that was held back and comes out at the end), logprob is NaN unless asked for. Returns 0
// to cancel the generation, anything else to go on.
typedef int32_t (*cw_token_function)(void *user_data, const char *piece, uint32_t token, float logprob);

// A generation that runs or has ended.
typedef struct cw_generation cw_generation;

// How a generation went.
typedef struct cw_generation_stats {
    // sizeof(cw_generation_stats), set by the caller.
    size_t struct_size;
    // Tokens of the prompt.
    uint32_t prompt_tokens;
    // Of these, tokens that were still in the cache.
    uint32_t cached_tokens;
    // Tokens made.
    uint32_t generated_tokens;
    // CW_FINISH_*.
    int32_t finish;
    // The error for CW_FINISH_ERROR.
    cw_status status;
    // The seed that was used.
    uint64_t seed;
    // Milliseconds until it had a place in the batch.
    double queue_ms;
    // Milliseconds from then until its first token.
    double prefill_ms;
    // Milliseconds from its start to its first token.
    double ttft_ms;
    // Milliseconds from its first token to its last.
    double decode_ms;
    // Milliseconds from its start to its end.
    double total_ms;
    // Tokens after the first, per second of decode_ms.
    double tokens_per_second;
} cw_generation_stats;

// What is known of a memory partition.
typedef struct cw_partition_info {
    // sizeof(cw_partition_info), set by the caller.
    size_t struct_size;
    // Its number.
    int32_t id;
    // CW_PARTITION_*.
    int32_t type;
    // Bytes: as asked for, for shared and constant memory whole granules; local: of one thread's stack.
    uint64_t bytes;
    // Bytes from the start of the tenant's address range; 0 for local memory, which has no address.
    uint64_t offset;
    // Its device address; NULL for local memory.
    void *device_pointer;
    // Its address for the host where the host can reach it, else NULL.
    void *host_pointer;
    // Its tenant, NUL-terminated.
    char owner[128];
    // Microseconds since 1970 when it was made.
    uint64_t created_us;
    // What kernels read a texture by: the CUtexObject on a GPU; 0 for other types.
    uint64_t texture;
} cw_partition_info;

// A function called with the user data it was given together with.
typedef void (*cw_function)(void *user_data);

// What is known of a task.
typedef struct cw_task_info {
    // sizeof(cw_task_info), set by the caller.
    size_t struct_size;
    // CW_TASK_*.
    int32_t state;
    // CW_PRIORITY_*.
    int32_t priority;
    // Status it failed with, or CW_OK.
    cw_status status;
    // Cores it asked for.
    uint32_t cores;
    // Bytes it asked for.
    uint64_t memory;
    // Microseconds since 1970 when it was scheduled.
    uint64_t created_us;
    // Microseconds since 1970 when it started; 0 for not yet.
    uint64_t started_us;
    // Microseconds since 1970 when it ended; 0 for not yet.
    uint64_t finished_us;
    // The weight of its work within its tenant's; 1 is normal.
    double weight;
    // Measured device time of its work so far, in nanoseconds; that of a function's own code (on the CPU device) when
    // it has ended.
    uint64_t device_time_ns;
} cw_task_info;

// The work of a kind of task: llm names the tenant, params are the task's parameters, both borrowed for the call.
// Otherwise like cw_task_function.
typedef cw_status (*cw_task_type_function)(void *user_data,
                                           struct cw_task_context *context,
                                           const char *llm,
                                           const struct cw_map *params);

// What a tenant asks for. Fill with cw_tenant_config_default, then change what matters.
typedef struct cw_tenant_config {
    // sizeof(cw_tenant_config), set by the caller.
    size_t struct_size;
    // The most bytes it may hold; 0 for a quarter of the device's memory.
    uint64_t memory_limit;
    // Bytes set aside for it.
    uint64_t memory_floor;
    // Weight of its share of contended processors; 1 is normal.
    double weight;
    // Cores or SMs of its own node; 0 for a quarter of the device. On a GPU rounded down to whole groups of SMs.
    uint32_t processors;
    // CW_PRIORITY_*.
    int32_t priority;
} cw_tenant_config;

// A tenant's figures.
typedef struct cw_usage {
    // sizeof(cw_usage), set by the caller.
    size_t struct_size;
    // The most bytes it may hold.
    uint64_t memory_limit;
    // Bytes charged now.
    uint64_t memory_held;
    // The most bytes ever charged.
    uint64_t memory_peak;
    // Of the bytes held: read-only weights that tenants with the same file share physically.
    uint64_t memory_shared;
    // Of the bytes held: growing regions (key/value cache).
    uint64_t memory_regions;
    // Physical bytes mapped for this tenant alone.
    uint64_t memory_physical;
    // Live allocations.
    uint64_t allocations;
    // Requests refused because of the limit.
    uint64_t rejections;
    // Measured device time used, in nanoseconds.
    uint64_t device_time_ns;
    // Time spent waiting for processors, in nanoseconds.
    uint64_t wait_time_ns;
    // How often it was let onto its processors.
    uint64_t admissions;
    // Cores or SMs of its node now; 0 when it has none yet.
    uint32_t processors;
} cw_usage;

// How compute units are bounded together. Fill with cw_vcompute_config_default.
typedef struct cw_vcompute_config {
    // sizeof(cw_vcompute_config), set by the caller.
    size_t struct_size;
    // Index of the device among all (cw_device_info_at); 0 is the default device.
    int32_t device;
    // The most compute units at a time.
    int32_t max_units;
    // 1 when cw_vcompute_scale may change units while they live.
    int32_t scaling;
    // CW_BALANCE_*: by what cw_vcompute_choose chooses, and new units are put on devices and into groups.
    int32_t balancing;
    // Into how many groups a device's units are cut, in each of which compute units are kept: 1 for none, 0 for those of the
    // hardware (NUMA nodes, else last-level caches, else cores; a quarter of a GPU).
    int32_t groups;
    // Devices over which units are spread that name none (indices as device); device alone when there are none.
    const int32_t *devices;
    // How many.
    size_t device_count;
    // From which spread between the groups of a device on units are moved: the largest less the smallest of what is asked of
    // them, in parts of their processors.
    double rebalance_threshold;
    // Milliseconds between two times that this is done by itself, 100 to a day; 0 for never.
    double rebalance_interval_ms;
} cw_vcompute_config;

// What a compute unit is asked for. Fill with cw_vcompute_unit_default.
typedef struct cw_vcompute_unit {
    // sizeof(cw_vcompute_unit), set by the caller.
    size_t struct_size;
    // Cores or SMs; 0, or more than there are, for the whole device. On a GPU whole groups of SMs.
    int32_t processors;
    // Streams, 1 to 256.
    int32_t streams;
    // 1 when its matrix work may use matrix circuits (tensor cores).
    int32_t tensor_cores;
    // CW_PRECISION_*.
    int32_t precision;
    // Part of contended processors, 0 to 1; 0 for an equal part of what the others leave.
    float compute_share;
    // CW_PRIORITY_*.
    int32_t priority;
    // The most of its processors' time that it gets, above 0 to 1, also when nobody else wants them; 0 for no cap.
    float compute_cap;
    // Milliseconds from submission to the end that work may take whose call names no bound; 0 for none.
    double timeout_ms;
    // Index of its device among all (cw_device_info_at); -1 for the manager's.
    int32_t device;
} cw_vcompute_unit;

// The figures of a compute unit at one moment.
typedef struct cw_vcompute_info {
    // sizeof(cw_vcompute_info), set by the caller.
    size_t struct_size;
    // Cores or SMs that were asked for; 0 for all.
    uint32_t processors_asked;
    // Cores or SMs of its node; 0 when nothing has run yet.
    uint32_t processors;
    // Its streams.
    uint32_t streams;
    // Streams with work that has not ended.
    uint32_t busy_streams;
    // CW_MATH_*: what its matrix work may use.
    int32_t math;
    // CW_PRIORITY_*.
    int32_t priority;
    // The part of contended processors that it asked for; 0 when it asked for none.
    float share_asked;
    // Its weight over those of all virtual GPUs of its device.
    float share_due;
    // Measured device time, in nanoseconds.
    uint64_t device_time_ns;
    // Time waited for processors, in nanoseconds.
    uint64_t wait_time_ns;
    // How often it was let onto its processors.
    uint64_t admissions;
    // Device time times the processors it was used on (SM-seconds), in nanoseconds.
    uint64_t processor_time_ns;
    // Time that work has waited between submission and the stream, in nanoseconds.
    uint64_t queue_wait_ns;
    // Work put on the streams; each piece of piecewise work counts.
    uint64_t launches;
    // Work that is queued now.
    uint64_t pending;
    // Executions that failed.
    uint64_t failed;
    // Executions that were cancelled.
    uint64_t cancelled;
    // Executions that were late.
    uint64_t timed_out;
    // Part of the last second in which its work ran.
    double utilization_second;
    // Part of the last minute, or of its life where that is shorter, in which its work ran.
    double utilization_minute;
    // Its part of what all tenants of its device (LLMs are among them) used of it in the last second; 0 when nobody used any.
    float share_got;
    // The same of the last minute.
    float share_got_minute;
    // The mean time from submission to the end of all its work, in nanoseconds.
    uint64_t latency_mean_ns;
    // The median of the last 30 to 60 seconds, in nanoseconds; 0 when nothing ended.
    uint64_t latency_p50_ns;
    // What 99 of 100 of these are below, in nanoseconds.
    uint64_t latency_p99_ns;
    // CW_PRECISION_*.
    int32_t precision;
    // The most of its processors' time that it gets; 0 for no cap.
    float compute_cap;
    // 1 when its matrix work may use matrix circuits.
    int32_t tensor_cores;
} cw_vcompute_info;

// A group of a device's units. Set struct_size first.
typedef struct cw_vcompute_group {
    // sizeof(cw_vcompute_group), set by the caller.
    size_t struct_size;
    // Cores or SMs.
    uint32_t processors;
    // Compute units that are kept in it.
    uint32_t members;
    // Part of the last second in which its processors were used, 0 to 1.
    double busy;
} cw_vcompute_group;

// How virtual GPUs are bounded together. Fill with cw_virtualization_config_default.
typedef struct cw_virtualization_config {
    // sizeof(cw_virtualization_config), set by the caller.
    size_t struct_size;
    // Index of the device among all (cw_device_info_at); 0 is the default device.
    int32_t device;
    // The most virtual GPUs at a time.
    int32_t max_virtual_gpus;
    // The most streams of all virtual GPUs together; 0 for no bound.
    int32_t max_streams;
} cw_virtualization_config;

// What a virtual GPU is asked for. Fill with cw_vgpu_config_default.
typedef struct cw_vgpu_config {
    // sizeof(cw_vgpu_config), set by the caller.
    size_t struct_size;
    // Its id, 0 or more.
    int32_t id;
    // CW_PRIORITY_*.
    int32_t priority;
    // The most bytes it may hold: a bound, not a reservation.
    uint64_t memory_limit;
    // Bytes set aside for it, whether it uses them or not.
    uint64_t memory_floor;
    // Streams, 1 to 256.
    int32_t streams;
    // Cores or SMs; 0, or more than there are, for the whole device. On a GPU whole groups of SMs.
    int32_t processors;
    // 1 when its matrix work may use matrix circuits (tensor cores).
    int32_t tensor_cores;
    // CW_PRECISION_*.
    int32_t precision;
    // Part of contended processors, 0 to 1; 0 for an equal part of what the others leave.
    float compute_share;
    // The most of its processors' time that it gets, above 0 to 1, also when nobody else wants them; 0 for no cap.
    float compute_cap;
    // Index of its device among all (cw_device_info_at); -1 for the driver's.
    int32_t device;
    // A name for people, or NULL.
    const char *name;
} cw_vgpu_config;

// The figures of a virtual GPU, or of the part of one, at one moment.
typedef struct cw_vgpu_info {
    // sizeof(cw_vgpu_info), set by the caller.
    size_t struct_size;
    // Its id.
    int32_t id;
    // CW_VGPU_*.
    int32_t status;
    // Its name, NUL-terminated.
    char name[128];
    // CW_DEVICE_*.
    int32_t device_kind;
    // Index among devices of its kind.
    int32_t device_ordinal;
    // The most bytes it may hold.
    uint64_t memory_limit;
    // Bytes set aside for it.
    uint64_t memory_floor;
    // Bytes charged now.
    uint64_t memory_held;
    // The most bytes ever charged.
    uint64_t memory_peak;
    // Physical bytes mapped for it alone.
    uint64_t memory_physical;
    // Live allocations.
    uint64_t allocations;
    // Requests refused because of the limit.
    uint64_t rejections;
    // Compactions that gave something back or moved something.
    uint64_t compactions;
    // The longest that one held its work up at a time, in nanoseconds.
    uint64_t longest_pause_ns;
    // Bytes in host memory instead of the device's now.
    uint64_t memory_spilled;
    // Its compute unit; all 0 when it has none.
    struct cw_vcompute_info unit;
} cw_vgpu_info;

// What a compaction did.
typedef struct cw_vmem_compaction {
    // sizeof(cw_vmem_compaction), set by the caller.
    size_t struct_size;
    // Bytes copied to other physical memory.
    uint64_t bytes_moved;
    // Bytes of physical memory that went back.
    uint64_t bytes_given_back;
    // In how many slices it was done.
    uint32_t slices;
    // 1 when nothing is left to be done.
    int32_t complete;
    // The longest that a slice held new work up, in nanoseconds.
    uint64_t longest_pause_ns;
    // All pauses together, in nanoseconds.
    uint64_t paused_ns;
    // The longest wait for work in flight, in nanoseconds.
    uint64_t longest_wait_ns;
    // From the first slice to the last, in nanoseconds.
    uint64_t time_ns;
} cw_vmem_compaction;

// One mapped page of a memory space.
typedef struct cw_vmem_page {
    // sizeof(cw_vmem_page).
    size_t struct_size;
    // First byte.
    uint64_t address;
    // Bytes.
    uint64_t size;
    // The physical piece behind it: pages with the same number are one piece, which goes back to the device as a whole.
    uint64_t granule;
    // Bytes of it that are allocated.
    uint64_t live;
    // Bytes of it that have memory: less than all after its free parts were given back.
    uint64_t resident;
    // CW_PAGE_*.
    int32_t state;
    // 1 when compaction leaves its piece where it is.
    int32_t pinned;
} cw_vmem_page;

// How a memory space allocates and when it compacts itself. Fill with cw_vmem_policy_get.
typedef struct cw_vmem_policy {
    // sizeof(cw_vmem_policy), set by the caller.
    size_t struct_size;
    // Bytes behind each allocation that belong to nobody and are charged with it; 0 for none.
    uint64_t guard_bytes;
    // Allocations of fewer bytes are small.
    uint64_t small_limit;
    // 1 when gaps are filled with a pattern that cw_vmem_check_guards compares.
    int32_t guard_pattern;
    // 1 when small allocations come from memory of their own.
    int32_t small_pools;
    // 1 when it is compacted before an allocation is refused for memory that lies scattered.
    int32_t before_refusal;
    // 1 when it is compacted by itself.
    int32_t automatic;
    // From which fragmentation on, 0 to 1.
    double threshold;
    // Milliseconds that work may be kept waiting at a time.
    double max_pause_ms;
} cw_vmem_policy;

// What moving memory to the host and back has cost. Bytes are whole granules.
typedef struct cw_vmem_spill_info {
    // sizeof(cw_vmem_spill_info), set by the caller.
    size_t struct_size;
    // Bytes in host memory instead of the device's now: still held, not physical.
    uint64_t spilled;
    // The most there ever were.
    uint64_t spilled_peak;
    // Page-locked host memory for it now.
    uint64_t host_bytes;
    // Times something was moved to the host.
    uint64_t spills;
    // Times something was fetched.
    uint64_t fetches;
    // Bytes moved to the host.
    uint64_t bytes_out;
    // Bytes fetched.
    uint64_t bytes_in;
    // Bytes a second of the copies to the host.
    double speed_out;
    // Bytes a second of the copies from the host.
    double speed_in;
    // Time that new work was held up while memory moved, in nanoseconds.
    uint64_t paused_ns;
    // The longest of these.
    uint64_t longest_pause_ns;
    // Time that work waited for memory to be fetched, in nanoseconds.
    uint64_t fetching_ns;
    // The longest of these.
    uint64_t longest_fetch_ns;
} cw_vmem_spill_info;

// What memory spaces are like. Fill with cw_vmem_config_default.
typedef struct cw_vmem_config {
    // sizeof(cw_vmem_config), set by the caller.
    size_t struct_size;
    // Index of the device among all (cw_device_info_at); 0 is the default device.
    int32_t device;
    // 1 when spaces are defragmented by themselves.
    int32_t automatic;
    // From which fragmentation on, 0 to 1.
    float threshold;
    // 1 when small allocations come from pools of their size.
    int32_t small_pools;
    // Bytes of a page that are wished for, a power of two; the device's granularity where that is larger.
    uint64_t page_size;
    // Bytes kept free behind each allocation, rounded up to 256; 0 for none.
    uint64_t guard_bytes;
    // Milliseconds that work may be kept waiting at a time while memory moves.
    double max_pause_ms;
} cw_vmem_config;

// The figures of a memory space at one moment.
typedef struct cw_vmem_info {
    // sizeof(cw_vmem_info), set by the caller.
    size_t struct_size;
    // Bytes of a page, as they are: the device's granularity where that is larger than what was wished for.
    uint64_t page_size;
    // First address of its range.
    uint64_t base;
    // The most bytes it may hold.
    uint64_t total;
    // Bytes charged now.
    uint64_t used;
    // Bytes that may still be allocated: the limit less what is held, or what the device has left where that is less.
    uint64_t free;
    // The largest single allocation that would succeed now without compaction.
    uint64_t largest_free;
    // The share of free that no allocation of largest_free bytes can use: 1 - largest_free / free; 0 when nothing is free.
    double fragmentation;
    // The most bytes ever charged.
    uint64_t peak;
    // Bytes set aside for it.
    uint64_t floor;
    // Physical bytes mapped for it alone.
    uint64_t physical;
    // Live allocations.
    uint64_t allocations;
    // Requests refused because of the limit.
    uint64_t rejections;
    // Compactions that gave something back or moved something.
    uint64_t compactions;
    // Of these those that began by themselves.
    uint64_t automatic_compactions;
    // Bytes copied to other physical memory.
    uint64_t bytes_moved;
    // Bytes of physical memory that compactions gave back.
    uint64_t bytes_given_back;
    // The longest pause of the last compaction, in nanoseconds.
    uint64_t last_pause_ns;
    // The longest pause of all, in nanoseconds.
    uint64_t longest_pause_ns;
    // All pauses together, in nanoseconds.
    uint64_t total_pause_ns;
} cw_vmem_info;

// A whole device beside what the tenants of this process (virtual GPUs and LLMs) had of it.
typedef struct cw_device_usage {
    // sizeof(cw_device_usage), set by the caller.
    size_t struct_size;
    // CW_DEVICE_*.
    int32_t device_kind;
    // Index among devices of its kind.
    int32_t device_ordinal;
    // Busy part of the last second with work of all programs, 0 to 1 (a GPU: time in which any kernel ran, by NVML; the CPU: the
    // mean of its cores, by the system's counters); -1 where nobody tells.
    float utilization;
    // Busy part of the last second with work of the tenants, counted as the device counts utilization.
    float tenants_second;
    // The same of the last minute.
    float tenants_minute;
    // tenants_second over utilization: 1 when all that the device does is their work; -1 when it was idle or does not tell.
    float tenants_over_device;
    // Bytes in use by all programs; 0 where nobody tells.
    uint64_t memory_used;
    // Bytes of the device; 0 where nobody tells.
    uint64_t memory_total;
    // Cores or SMs.
    uint32_t processors;
    // Time in which work of any tenant ran, once where several ran at a time, in nanoseconds.
    uint64_t tenants_busy_ns;
    // Device time of all tenants times the processors that it was used on, in nanoseconds.
    uint64_t tenants_processor_time_ns;
} cw_device_usage;

// A function that is called again and again, for figures that are asked for in it.
typedef void (*cw_monitor_function)(void *user_data);

// CUDA C++ with what its compilation depends on. All zeros but struct_size and text is a source with nothing beside it.
typedef struct cw_program_source {
    // sizeof(cw_program_source), set by the caller.
    size_t struct_size;
    // What the compiler calls it in messages; NULL for the module's name.
    const char *name;
    // The source.
    const char *text;
    // Options of NVRTC: --use_fast_math, -DN=4 … The architecture is the device's.
    const char *const *options;
    // How many.
    size_t option_count;
    // Folders in which headers are looked for.
    const char *const *include_paths;
    // How many.
    size_t include_path_count;
    // Names of headers in memory, as #include has them.
    const char *const *header_names;
    // Their texts.
    const char *const *headers;
    // How many headers.
    size_t header_count;
    // Kernels that are wanted by an expression of C++: scale<float, 4>.
    const char *const *expressions;
    // How many.
    size_t expression_count;
} cw_program_source;

// What a host function is told of its call. Valid only inside of it.
typedef struct cw_host_launch {
    // sizeof(cw_host_launch).
    size_t struct_size;
    // Blocks in x, y and z.
    uint32_t grid[3];
    // Threads of a block in x, y and z: the function does the work of all of them.
    uint32_t block[3];
    // The block that this call is for; zeros when it is called once a launch.
    uint32_t index[3];
    // Which of the node's threads this is.
    uint32_t worker;
    // How many there are.
    uint32_t workers;
    // Bytes at shared.
    uint32_t shared_bytes;
    // The block's own scratch memory, aligned to 64; what is in it at first is undefined.
    void *shared;
} cw_host_launch;

// One argument of a kernel.
typedef struct cw_argument {
    // CW_ARGUMENT_*.
    int32_t kind;
    // Bytes of a struct; ignored for other kinds.
    uint32_t size;
    // The bits of the value (a 32-bit one in the low half); for a struct the address of its bytes, which are copied.
    uint64_t value;
} cw_argument;

// A host function: does the work of a block, or of a whole launch. Returns CW_OK or an error code, which ends the
// execution as failed. arguments are as many as were registered; structs at the address in value. It may run on several
// threads at a time.
typedef cw_status (*cw_host_function)(void *user_data,
                                      const struct cw_host_launch *launch,
                                      const struct cw_argument *arguments,
                                      size_t count);

// A kernel to execute. Fill with cw_kernel_call_default.
typedef struct cw_kernel_call {
    // sizeof(cw_kernel_call), set by the caller.
    size_t struct_size;
    // Its name: of a kernel in a loaded module, of a registered host function, or of a built-in kernel, in this order.
    const char *name;
    // The module in which it is; NULL for any.
    const char *module;
    // Blocks in x, y and z. Built-in kernels choose their own shape; the given one must be possible all the same.
    uint32_t grid[3];
    // Threads of a block in x, y and z.
    uint32_t block[3];
    // Bytes of dynamic shared memory of each block.
    uint32_t shared;
    // 1 when all blocks must run at once, so that the kernel may synchronise its whole grid.
    int32_t cooperative;
    // Its arguments.
    const struct cw_argument *arguments;
    // How many.
    size_t argument_count;
    // Milliseconds from submission to the end; 0 for the unit's own bound. Late work that has not begun is withdrawn, late
    // work that can be stopped is stopped; other late work runs on and is told as timed out.
    double timeout_ms;
} cw_kernel_call;

// What is told of an execution.
typedef struct cw_execution_info {
    // sizeof(cw_execution_info), set by the caller.
    size_t struct_size;
    // Its number.
    int32_t execution;
    // Index of its stream.
    int32_t stream;
    // CW_EXECUTION_*.
    int32_t state;
    // Status it failed with, or CW_OK.
    cw_status status;
    // 1 while it is on the device: also late work that runs on, and work that will stop at its next poll.
    int32_t running;
    // Why it failed, was cancelled or timed out, NUL-terminated, cut to fit.
    char error[512];
} cw_execution_info;

// A matrix product C = alpha op(A) op(B) + beta C, row-major. Fill with cw_matmul_default.
typedef struct cw_matmul {
    // sizeof(cw_matmul), set by the caller.
    size_t struct_size;
    // A, m x k, or k x m when it is transposed.
    const void *a;
    // B, k x n, or n x k when it is transposed.
    const void *b;
    // C, m x n.
    void *c;
    // Rows of op(A) and C.
    int32_t m;
    // Columns of op(B) and C.
    int32_t n;
    // Columns of op(A), rows of op(B).
    int32_t k;
    // Elements of A and B, as a number of cudaDataType_t: 0 f32, 1 f64, 2 f16, 3 int8 (C is int32), 14 bf16.
    int32_t data_type;
    // 1 when A lies transposed.
    int32_t transpose_a;
    // 1 when B lies transposed.
    int32_t transpose_b;
    // Elements from one row of A to the next; 0 for its columns.
    int32_t lda;
    // Elements from one row of B to the next; 0 for its columns.
    int32_t ldb;
    // Elements from one row of C to the next; 0 for its columns.
    int32_t ldc;
    // Products, each with matrices of its own.
    int32_t batch;
    // Elements from one A to the next; -1 for one behind another, 0 for the same.
    int64_t stride_a;
    // Elements from one B to the next; -1 for one behind another, 0 for the same.
    int64_t stride_b;
    // Elements from one C to the next; -1 for one behind another.
    int64_t stride_c;
    // Factor on the product.
    double alpha;
    // Factor on what C holds.
    double beta;
} cw_matmul;

// A convolution forward, one group, no dilation: input NCHW, filter OIHW, output NCHW.
typedef struct cw_convolution {
    // sizeof(cw_convolution), set by the caller.
    size_t struct_size;
    // The input.
    const void *input;
    // The filter.
    const void *filter;
    // The output.
    void *output;
    // Images.
    int32_t batch;
    // Channels of the input.
    int32_t in_channels;
    // Channels of the output.
    int32_t out_channels;
    // Rows of an image.
    int32_t height;
    // Columns of an image.
    int32_t width;
    // Rows and columns of the filter.
    int32_t kernel;
    // Pixels from one application of the filter to the next.
    int32_t stride;
    // Zeros around the image, less than kernel.
    int32_t padding;
    // Elements as a number of cudaDataType_t: 0 f32, 2 f16, 3 int8 (the output is int32), 14 bf16.
    int32_t data_type;
} cw_convolution;

// An activation of a dense NCHW tensor.
typedef struct cw_activation {
    // sizeof(cw_activation), set by the caller.
    size_t struct_size;
    // relu, leaky_relu, sigmoid, tanh, gelu, silu, softmax (over the channels) …; an unknown name's error lists all.
    const char *name;
    // The input.
    const void *input;
    // The output; may be the input.
    void *output;
    // Images.
    int32_t batch;
    // Channels.
    int32_t channels;
    // Rows.
    int32_t height;
    // Columns.
    int32_t width;
    // Elements as a number of cudaDataType_t: 0 f32, 2 f16, 14 bf16.
    int32_t data_type;
} cw_activation;

// Success.
#define CW_OK 0

// An argument is out of its domain: null, zero, overflow, a dead handle, not UTF-8.
#define CW_ERROR_INVALID_ARGUMENT 1

// No object has this id, name or path.
#define CW_ERROR_NOT_FOUND 2

// An object with this id exists already.
#define CW_ERROR_ALREADY_EXISTS 3

// The device or the host has no memory left.
#define CW_ERROR_OUT_OF_MEMORY 4

// The tenant's own limit would be exceeded; nothing was allocated.
#define CW_ERROR_QUOTA_EXCEEDED 5

// The pointer, stream or node belongs to nobody here or to another tenant.
#define CW_ERROR_NOT_OWNER 6

// The system, kernel, driver or bridge is not initialised or was shut down.
#define CW_ERROR_NOT_INITIALIZED 7

// This device, driver or build cannot do it.
#define CW_ERROR_UNSUPPORTED 8

// There is no such device, or its driver is not installed.
#define CW_ERROR_NO_DEVICE 9

// The device stopped answering.
#define CW_ERROR_DEVICE_LOST 10

// The device's driver answered an error that has no status of its own.
#define CW_ERROR_DRIVER 11

// The operating system refused.
#define CW_ERROR_IO 12

// A file or text does not follow its format.
#define CW_ERROR_FORMAT 13

// The work was cancelled before it finished.
#define CW_ERROR_CANCELLED 14

// The work did not finish in time.
#define CW_ERROR_TIMEOUT 15

// The object is in use.
#define CW_ERROR_BUSY 16

// A callback of the application failed.
#define CW_ERROR_CALLBACK 17

// A bug in Cogniware: a panic was caught.
#define CW_ERROR_PANIC 18

// A bug in Cogniware: an invariant did not hold.
#define CW_ERROR_INTERNAL 19

// The caller's buffer is too small; the needed size was written.
#define CW_ERROR_BUFFER_TOO_SMALL 20

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Makes a bridge of its own, not initialised. Free it with cw_bridge_free.
//
// bridge must be valid for a write.
CW_API cw_status cw_bridge_create(struct cw_bridge **bridge);

// A handle to the process-wide bridge. Free it with cw_bridge_free; the bridge stays.
//
// bridge must be valid for a write.
CW_API cw_status cw_bridge_global(struct cw_bridge **bridge);

// Frees the handle. A bridge of its own is shut down when its last handle is freed. NULL is ignored.
CW_API cw_status cw_bridge_free(struct cw_bridge *bridge);

// Makes the bridge ready. Does nothing when that was done.
CW_API cw_status cw_bridge_initialize(struct cw_bridge *bridge);

// Unregisters every LLM: what they generate ends as cancelled. Does nothing when it is not initialised.
CW_API cw_status cw_bridge_shutdown(struct cw_bridge *bridge);

// Writes 1 between initialize and shutdown, else 0.
//
// initialized must be valid for a write.
CW_API cw_status cw_bridge_is_initialized(const struct cw_bridge *bridge, int32_t *initialized);

// Registers an LLM: opens its tenant (or takes over the one with this id) and loads its model. config (may be
// NULL) knows model_type (gpt, llama, default: the model that ships with Cogniware), model_path,
// device, max_memory (MiB), max_cores, weight, priority (critical to background), context,
// max_sequences, kv_type (f16, f32), exact_head (true, false), and how it generates: max_tokens, temperature, top_k, top_p,
// min_p, repeat_penalty, presence_penalty, frequency_penalty, seed, stop (one a line), ignore_eos,
// chat, system, prompt, logprobs. Unknown keys are refused by name; on failure nothing is left behind.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_bridge_llm_register(struct cw_bridge *bridge,
                                 const char *llm,
                                 const struct cw_map *config);

// Unregisters an LLM: what it generates ends as cancelled, its memory goes back.
//
// llm must be NUL-terminated.
CW_API cw_status cw_bridge_llm_unregister(struct cw_bridge *bridge, const char *llm);

// The configuration of an LLM as registered and updated. Free the map.
//
// llm must be NUL-terminated, config valid for a write.
CW_API
cw_status cw_bridge_llm_config(const struct cw_bridge *bridge,
                               const char *llm,
                               struct cw_map **config);

// Changes how an LLM generates, its weight, priority, max_memory and max_cores, all of it or nothing. What can't
// change while it is registered is refused by name.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_bridge_llm_update(struct cw_bridge *bridge,
                               const char *llm,
                               const struct cw_map *config);

// The ids of the registered LLMs, each with its model's name. Free the map.
//
// llms must be valid for a write.
CW_API cw_status cw_bridge_active_llms(const struct cw_bridge *bridge, struct cw_map **llms);

// Writes 1 when an LLM with this id is registered, else 0.
//
// llm must be NUL-terminated, active valid for a write.
CW_API cw_status cw_bridge_llm_is_active(const struct cw_bridge *bridge, const char *llm, int32_t *active);

// A handle to the model of a registered LLM. Free it with cw_model_free.
//
// llm must be NUL-terminated, model valid for a write.
CW_API cw_status cw_bridge_model(const struct cw_bridge *bridge, const char *llm, struct cw_model **model);

// Makes an array of count f32, zero at first, in the memory of tenant llm (opened with default limits when there
// is none). Free the handle with cw_array_free; with the last one the memory goes back.
//
// llm must be NUL-terminated, array valid for a write.
CW_API
cw_status cw_bridge_array_allocate(struct cw_bridge *bridge,
                                   uint64_t count,
                                   const char *llm,
                                   struct cw_array **array);

// Frees the handle and gives the array's memory back, unless cw_array_share made other handles; refused when it belongs to another tenant than llm.
//
// llm must be NUL-terminated. Nobody may use the array's memory any more.
CW_API
cw_status cw_bridge_array_deallocate(struct cw_bridge *bridge,
                                     struct cw_array *array,
                                     const char *llm);

// Where the array's elements are and how many. Host code reads and writes them directly.
//
// data and count must be valid for a write. The elements are valid while the handle lives.
CW_API cw_status cw_array_data(const struct cw_array *array, float **data, uint64_t *count);

// The device that addresses the array: CW_DEVICE_* and its index among devices of its kind.
//
// kind and ordinal must be valid for a write.
CW_API cw_status cw_array_device(const struct cw_array *array, int32_t *kind, int32_t *ordinal);

// Frees the handle; with the last handle to this array its memory goes back. NULL is ignored.
//
// Nobody may use the array's memory any more.
CW_API cw_status cw_array_free(struct cw_array *array);

// A second handle to the same array, to be freed by itself: the memory goes with the last one, also after
// cw_bridge_array_deallocate of the first.
//
// other must be valid for a write.
CW_API cw_status cw_array_share(const struct cw_array *array, struct cw_array **other);

// The array's address for host and device alike.
//
// pointer must be valid for a write.
CW_API
cw_status cw_bridge_array_pointer(const struct cw_bridge *bridge,
                                  const struct cw_array *array,
                                  void **pointer);

// Copies the whole array to memory of its tenant (its own included: then nothing moves) or of the host, and waits.
//
// A host range must be valid for writes of the array's size.
CW_API
cw_status cw_bridge_copy_to_gpu(struct cw_bridge *bridge,
                                const struct cw_array *array,
                                void *destination);

// Fills the whole array from memory of its tenant (its own included: then nothing moves) or of the host, and waits.
//
// A host range must be valid for reads of the array's size.
CW_API
cw_status cw_bridge_copy_from_gpu(struct cw_bridge *bridge,
                                  const void *source,
                                  struct cw_array *array);

// How many compute nodes of the current device nobody holds: writes up to capacity of their ids to nodes and how
// many there are to *count.
//
// nodes must be valid for capacity writes, count for one.
CW_API
cw_status cw_bridge_available_nodes(const struct cw_bridge *bridge,
                                    uint32_t *nodes,
                                    size_t capacity,
                                    size_t *count);

// Gives a free compute node to tenant llm (opened with default limits when there is none).
//
// llm must be NUL-terminated.
CW_API cw_status cw_bridge_node_allocate(struct cw_bridge *bridge, int32_t node, const char *llm);

// Takes a compute node back from tenant llm, which must hold it.
//
// llm must be NUL-terminated.
CW_API cw_status cw_bridge_node_deallocate(struct cw_bridge *bridge, int32_t node, const char *llm);

// Schedules work of an LLM. Types: inference (params: how to generate; the task's result is the text), embedding
// and tokenize (params: text; the result is a JSON array), each for an LLM that is registered with defaults when
// nobody did; memory_copy (source, destination: addresses in its memory or arrays; bytes), matrix_multiply (a
// m × k, b k × n, c m × n: addresses of row-major f32 in its memory; m, n, k; transpose: none, a, b,
// ab; dtype: f32), whose results are JSON figures; and those of cw_bridge_task_type_register. params also knows
// task_type, task_id, priority and weight. What the task reads and writes must live until it has ended. Free
// the task.
//
// Texts must be NUL-terminated, task valid for a write.
CW_API
cw_status cw_bridge_task_schedule(struct cw_bridge *bridge,
                                  const char *llm,
                                  const char *type,
                                  const struct cw_map *params,
                                  struct cw_task **task);

// What the tenant of an LLM uses: bytes, seconds, shares, tokens, units in the names. Free the map.
//
// llm must be NUL-terminated, usage valid for a write.
CW_API
cw_status cw_bridge_resource_usage(const struct cw_bridge *bridge,
                                   const char *llm,
                                   struct cw_map **usage);

// The memory of an LLM's tenant, in bytes and counts. Free the map.
//
// llm must be NUL-terminated, usage valid for a write.
CW_API
cw_status cw_bridge_memory_usage(const struct cw_bridge *bridge,
                                 const char *llm,
                                 struct cw_map **usage);

// Figures of all LLMs together. Free the map.
//
// metrics must be valid for a write.
CW_API cw_status cw_bridge_metrics(const struct cw_bridge *bridge, struct cw_map **metrics);

// The device in use and the library. Free the map.
//
// info must be valid for a write.
CW_API cw_status cw_bridge_system_info(const struct cw_bridge *bridge, struct cw_map **info);

// Makes the slice of tenant llm; see cw_kernel_virtual_node_create.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_bridge_virtual_node_create(struct cw_bridge *bridge,
                                        const char *llm,
                                        uint64_t bytes,
                                        uint32_t cores);

// Gives the slice of tenant llm back.
//
// llm must be NUL-terminated.
CW_API cw_status cw_bridge_virtual_node_destroy(struct cw_bridge *bridge, const char *llm);

// Tests the device in use part by part, as cw_driver_diagnostics_run does, then arrays and generation (the model that
// ships, twice for the same text). CW_OK when no part failed, else the error of the first that did.
CW_API
cw_status cw_bridge_diagnostics_run(struct cw_bridge *bridge);

// The results of the last run; see cw_driver_diagnostics_results. Empty before the first. Free the map.
//
// results must be valid for a write.
CW_API cw_status cw_bridge_diagnostics_results(const struct cw_bridge *bridge, struct cw_map **results);

// Changes configuration keys of a kernel manager; the others stay, an empty value brings a key's default back. Keys:
// device (cpu, cuda, cuda:N, auto), fallback_device (cpu, none), max_memory (MiB that all tenants of a device may have together),
// default_memory_limit (MiB), default_weight, default_priority (critical to background), default_cores of
// tenants that nobody opened with other wishes, task_threads, max_tasks, task_timeout (seconds) of the process.
// All of it or nothing. May be called before cw_kernel_initialize, and survives cw_kernel_shutdown. A NULL config
// counts as empty.
CW_API
cw_status cw_kernel_configure(struct cw_kernel *kernel,
                              const struct cw_map *config);

// Every configuration key of a kernel manager with what is in force for it: what was set, else the default. Free the
// map.
//
// config must be valid for a write.
CW_API
cw_status cw_kernel_configuration(const struct cw_kernel *kernel,
                                  struct cw_map **config);

// Gives tenant llm (opened with default limits when there is none) what it requires, all of it or nothing:
// memory_priority (how much of its limit is set aside for it: all for critical, half for high, else nothing),
// compute_priority (its priority at the gate), stream_priority (of its model's stream, and of streams made from
// now on), max_memory (MiB), max_cores, weight, enable_profiling (true or false). Priorities are
// critical, high, normal, low, background. Unknown keys are refused by name. A NULL requirements
// counts as empty.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_kernel_optimize(struct cw_kernel *kernel,
                             const char *llm,
                             const struct cw_map *requirements);

// Changes configuration keys of a bridge; the others stay, an empty value brings a key's default back. Keys:
// max_llms, default_model (a name or a path), default_ and any key of cw_bridge_llm_register (its value for
// registrations that do not give it), cache_models (of how many models the weights stay in memory after their last
// LLM was unregistered). All of it or nothing. May be called before cw_bridge_initialize, and survives
// cw_bridge_shutdown. A NULL config
// counts as empty.
CW_API
cw_status cw_bridge_configure(struct cw_bridge *bridge,
                              const struct cw_map *config);

// Every configuration key of a bridge with what is in force for it. Free the map.
//
// config must be valid for a write.
CW_API cw_status cw_bridge_configuration(const struct cw_bridge *bridge, struct cw_map **config);

// Gives an LLM what it requires; see cw_kernel_optimize. A NULL requirements
// counts as empty.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_bridge_optimize(struct cw_bridge *bridge,
                             const char *llm,
                             const struct cw_map *requirements);

// How many devices there are: the default device first, then the others, GPUs before the CPU.
//
// count must be valid for a write.
CW_API cw_status cw_device_count(size_t *count);

// The figures of the device at index (0 to count - 1; 0 is the default device). Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API
cw_status cw_device_info_at(size_t index,
                            struct cw_device_info *info);

// Opens device (cuda, cuda:N; NULL for the default device) anew when it was lost: its tenants are closed, what
// runs on them ends with CW_ERROR_DEVICE_LOST, its context is thrown away and a new one made. What was made on the
// lost device answers CW_ERROR_DEVICE_LOST from then on; close it and make it again. Does nothing to a device that
// answers. CW_ERROR_BUSY while page-locked memory of it is in use, such as arrays. With the environment variable
// COGNIWARE_RECOVER=auto the next use of a lost device does this by itself.
//
// device must be null or NUL-terminated.
CW_API
cw_status cw_device_recover(const char *device);

// Sets which device takes the place of a GPU that does not answer, is lost, or has no memory left when an LLM is
// registered: cpu, or none (as NULL) for an error instead, which is the default unless the environment variable
// COGNIWARE_FALLBACK says cpu.
//
// device must be null or NUL-terminated.
CW_API
cw_status cw_device_set_fallback(const char *device);

// The device that takes the place of a GPU, as set: cpu or none. To the caller's buffer, which may be NULL to ask
// for the size.
//
// The buffer as the contract says.
CW_API
cw_status cw_device_fallback(char *buffer,
                             size_t length,
                             size_t *needed);

// Lets the host read and write what tenant llm allocates from here on without copies: ask cw_kernel_direct_pointer.
// On the CPU device all memory is so. On a GPU new allocations are pinned host memory that the GPU addresses over its bus;
// what was allocated before stays in the GPU's own memory, which a host cannot address. Doing it twice is fine.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_kernel_direct_enable(struct cw_kernel *kernel,
                                  const char *llm);

// Ends it: direct pointers of tenant llm must not be used any more, new allocations are the device's own. An error when
// it was not enabled.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_kernel_direct_disable(struct cw_kernel *kernel,
                                   const char *llm);

// The address by which the host reads and writes bytes bytes at the device address memory, which must lie in one
// allocation of a tenant whose direct access is enabled. Valid until that is freed or direct access disabled. Ordering
// with work of the device is the caller's.
//
// host must be valid for a write.
CW_API
cw_status cw_kernel_direct_pointer(const struct cw_kernel *kernel,
                                   const void *memory,
                                   uint64_t bytes,
                                   void **host);

// Makes a driver manager with a kernel manager of its own. Free it with cw_driver_free.
//
// driver must be valid for a write.
CW_API cw_status cw_driver_create(struct cw_driver **driver);

// Frees the handle. NULL is ignored.
CW_API cw_status cw_driver_free(struct cw_driver *driver);

// Initialises the driver manager and its kernel manager. Does nothing when that was done.
CW_API cw_status cw_driver_initialize(struct cw_driver *driver);

// Ends the driver manager; its kernel manager lives on.
CW_API cw_status cw_driver_shutdown(struct cw_driver *driver);

// What is there: driver_initialized, versions, the devices. Answers before initialize too. Free the map.
//
// info must be valid for a write.
CW_API cw_status cw_driver_info(const struct cw_driver *driver, struct cw_map **info);

// A handle to the driver manager's kernel manager. Free it with cw_kernel_free.
//
// kernel must be valid for a write.
CW_API cw_status cw_driver_kernel(const struct cw_driver *driver, struct cw_kernel **kernel);

// Lets work go by the direct path, the default: allocations from the tenants' pools, large copies through page-locked
// buffers, recorded steps launched as one command. cw_driver_info tells which path is active and what it saves.
CW_API
cw_status cw_driver_direct_access_enable(struct cw_driver *driver);

// Lets work go by the standard path: one allocation of the device's driver each (cuMemAlloc, mmap), one copy from
// pageable memory each, one launch for each kernel. Quotas and checks hold as before. What was allocated on either path
// is freed as it came.
CW_API
cw_status cw_driver_direct_access_disable(struct cw_driver *driver);

// Lets pools grow in larger pieces and keep up to a half of what they hold for reuse: fewer calls of the device's driver,
// more physical memory kept. It goes back before anybody is refused.
CW_API
cw_status cw_driver_memory_optimization_enable(struct cw_driver *driver);

// Undoes it; what pools keep beyond need goes back to the devices now.
CW_API cw_status cw_driver_memory_optimization_disable(struct cw_driver *driver);

// Lets copies of 64 KiB and more that are ordered on a stream run on transfer streams of their own, one a direction. Order
// is kept by events; the caller is not held while earlier work of the stream runs, also when its memory is pageable.
CW_API
cw_status cw_driver_async_transfers_enable(struct cw_driver *driver);

// Lets such copies run on the caller's stream again.
CW_API cw_status cw_driver_async_transfers_disable(struct cw_driver *driver);

// Lets the GPUs of this process use each other's memory without the host between them, each pair that can (over NVLink,
// else PCIe): copies between them go straight. CW_ERROR_UNSUPPORTED with fewer than two GPUs, or when no pair can.
CW_API
cw_status cw_driver_nvlink_enable(struct cw_driver *driver);

// Undoes it, after all work of these GPUs. Does nothing when it was not enabled.
CW_API cw_status cw_driver_nvlink_disable(struct cw_driver *driver);

// Changes keys of the configuration; the others stay. All take effect, or none does. optimization_level (none, low,
// medium, high; the default is low) sets the switches; each also has a key of its own, true or false:
// direct_access (on from low), async_transfers (from medium), memory_optimization, nvlink and tensor_cores (at
// high; there the last two are left out where the machine has no such thing). multiple_llms is any, or the number of
// LLMs from 1 to 16 for which the current device is cut. The keys of cw_driver_install_configure are taken too.
// Unknown keys and values are refused by name. Before cw_driver_initialize it is checked and kept, and takes effect
// there. NULL changes nothing.
CW_API
cw_status cw_driver_configure(struct cw_driver *driver,
                              const struct cw_map *config);

// The configuration in force, every key; optimization_level is custom where the switches are as at no level. Free the map.
//
// config must be valid for a write.
CW_API
cw_status cw_driver_configuration(const struct cw_driver *driver,
                                  struct cw_map **config);

// Figures of each device device.<index>.… since it was opened: allocations of both paths, granules, launches, copies and
// bytes by direction, GB/s (10^9 bytes a second) of copies that were waited for, seconds of device time and of waits. Free the map.
//
// stats must be valid for a write.
CW_API
cw_status cw_driver_stats(const struct cw_driver *driver,
                          struct cw_map **stats);

// The GPUs that the embedded kernels run on, read from their image: sm_90 → its generation and which devices here it
// serves; compute_120: newer GPUs, by their driver's compiler. A device here that nothing serves has a line of its own. Free the map.
//
// gpus must be valid for a write.
CW_API
cw_status cw_driver_supported_gpus(const struct cw_driver *driver,
                                   struct cw_map **gpus);

// Tests the current device part by part: device, allocation, copies, patterns, matrix_product, quantized_product, norm,
// softmax, streams, isolation. Takes a second or two and some 100 MiB, in tenants of its own. CW_OK when no part failed,
// else the error of the first that did. cw_driver_diagnostics_results has all results.
CW_API
cw_status cw_driver_diagnostics_run(struct cw_driver *driver);

// The results of the last run: <part> → passed, failed or skipped; <part>.detail: figures, or why;
// <part>.seconds. Empty before the first run. Free the map.
//
// results must be valid for a write.
CW_API
cw_status cw_driver_diagnostics_results(const struct cw_driver *driver,
                                        struct cw_map **results);

// Loads a module, told by its content: a kernel module (.ko, .ko.xz, .ko.zst, .ko.gz) into the operating
// system's kernel with parameters (name=value name=value, or NULL), which needs root; PTX, a cubin or a fatbin
// onto the current device, which must be a CUDA device. GPU modules are unloaded by cw_driver_shutdown.
//
// The texts must be NUL-terminated.
CW_API
cw_status cw_driver_module_load(struct cw_driver *driver,
                                const char *path,
                                const char *parameters);

// Unloads a module that this manager loaded: the one of this name or path, or with NULL the last. Never by force.
//
// The text must be NUL-terminated.
CW_API
cw_status cw_driver_module_unload(struct cw_driver *driver,
                                  const char *name);

// The modules that this manager loaded, by path: kind (kernel, ptx, cubin, fatbin) and name. Free the map.
//
// modules must be valid for a write.
CW_API
cw_status cw_driver_modules(const struct cw_driver *driver,
                            struct cw_map **modules);

// The functions of a GPU module (NULL: the last), each with registers=, shared_bytes=, max_threads_per_block=
// and parameter_bytes= (one number a parameter). Needs a driver of CUDA 12.4. Free the map.
//
// functions must be valid for a write, module NUL-terminated.
CW_API
cw_status cw_driver_module_functions(const struct cw_driver *driver,
                                     const char *module,
                                     struct cw_map **functions);

// Fills a launch with one block of one thread, no arguments, and no stream.
//
// launch must be valid for a write.
CW_API cw_status cw_launch_default(struct cw_launch *launch);

// Launches a function of a GPU module. Grid, block, shared memory, stream, and number and sizes of the arguments are
// checked first (the arguments from CUDA 12.4 on). What addresses among the arguments point to is the caller's duty.
//
// The arrays must have argument_count elements, and each argument the bytes that it says.
CW_API
cw_status cw_driver_launch(struct cw_driver *driver,
                           const struct cw_launch *launch);

// Sets keys of the installation, all or none; an empty value takes a key back to its default. The keys:
// install_root, library, load_modules, profiling_for_all, stream_memory_operations,
// preserve_video_memory, page_attribute_table, resizable_bar, nvidia.NVreg_...; see docs/installation.md. A NULL settings
// counts as empty.
CW_API
cw_status cw_driver_install_configure(struct cw_driver *driver,
                                      const struct cw_map *settings);

// The keys of the installation that are in force. Free the map.
//
// settings must be valid for a write.
CW_API cw_status cw_driver_install_configuration(const struct cw_driver *driver, struct cw_map **settings);

// Installs the library, the loader's configuration, the modules to load at start and the options of NVIDIA's kernel
// module below install_root: all or nothing, and nothing without permission. Loads and runs nothing.
CW_API
cw_status cw_driver_install(struct cw_driver *driver);

// Puts back byte for byte what was there before. CW_ERROR_NOT_FOUND when nothing is installed.
CW_API cw_status cw_driver_uninstall(struct cw_driver *driver);

// Compares each installed file with what was installed; the error's text names each difference.
CW_API cw_status cw_driver_verify(struct cw_driver *driver);

// Sets the configured parameters of NVIDIA's kernel module by an options file; they hold from its next load. The
// module's binary is never changed.
CW_API
cw_status cw_driver_patch(struct cw_driver *driver);

// What is installed: root, phase, file.PATH, was.PATH, parameter.NAME, loaded.NAME, reload_needed,
// ldconfig_needed; see docs/installation.md. Free the map.
//
// report must be valid for a write.
CW_API
cw_status cw_driver_installation(const struct cw_driver *driver,
                                 struct cw_map **report);

// Lets products of f32 numbers on the current device run on its matrix circuits with narrower inputs (TF32 and bf16 on a
// GPU, bf16 on a CPU with AVX-512 BF16), from the next step of every model on. CW_ERROR_UNSUPPORTED where the device
// has no such circuits. Undone by cw_driver_tensor_cores_disable.
CW_API
cw_status cw_driver_tensor_cores_enable(struct cw_driver *driver);

// Back to products whose inputs keep the bits that the weights have, with which a device begins.
CW_API cw_status cw_driver_tensor_cores_disable(struct cw_driver *driver);

// Cuts the current device's processors into llms (1 to 16) slices of the same size and keeps shares to their weights for
// tenants that pause up to 1 ms between steps. Nodes that are held keep their units until they are given back.
CW_API
cw_status cw_driver_optimize_many(struct cw_driver *driver,
                                  int32_t llms);

// Makes one node of all the current device's processors and keeps no unit idle for anybody.
CW_API cw_status cw_driver_optimize_one(struct cw_driver *driver);

// Back to how a device begins: one node a unit (a core or a group of SMs), units kept for at most 0.3 ms.
CW_API cw_status cw_driver_optimize_reset(struct cw_driver *driver);

// The text of the last error of this thread: what failed, which argument, and what would help. Empty after a call
// that succeeded. Does not change the last error itself.
//
// buffer must hold length bytes; needed may be null.
CW_API
cw_status cw_last_error(char *buffer,
                        size_t length,
                        size_t *needed);

// What the last error of this thread says would help, which is also at the end of its text; empty when there is
// nothing to say. Does not change the last error.
//
// buffer must hold length bytes; needed may be null.
CW_API
cw_status cw_last_error_advice(char *buffer,
                               size_t length,
                               size_t *needed);

// The call of the device's driver or of the operating system that refused, with its arguments, such as
// cuMemCreate(handle=0x7f…, bytes=2097152, …), when that is the cause of this thread's last error; else empty. Does
// not change the last error.
//
// buffer must hold length bytes; needed may be null.
CW_API
cw_status cw_last_error_call(char *buffer,
                             size_t length,
                             size_t *needed);

// The exported function whose failure is this thread's last error, with its arguments: its
// name, then in parentheses tenant=0x200000100000001, bytes=0, pointer=0x7f…; empty after a call that succeeded. Texts are cut
// after 48 bytes. Does not change the last error.
//
// buffer must hold length bytes; needed may be null.
CW_API
cw_status cw_last_error_function(char *buffer,
                                 size_t length,
                                 size_t *needed);

// What part of the work the last error of this thread belongs to (CW_CATEGORY_*); CW_CATEGORY_NONE after a call
// that succeeded.
CW_API
int32_t cw_last_error_category(void);

// A short stable name of a category, such as memory; none for CW_CATEGORY_NONE, unknown for a number that is
// none. Never null.
CW_API
const char *cw_category_name(int32_t category);

// The status of the last error of this thread, CW_OK after a call that succeeded.
CW_API cw_status cw_last_status(void);

// The raw code of the device's driver behind the last error of this thread (a CUresult), or 0.
CW_API uint32_t cw_last_driver_code(void);

// A short stable name of a status, such as quota_exceeded; unknown for a number that is none. Never null.
CW_API const char *cw_status_name(cw_status status);

// The version of the library that is loaded, such as 0.1.0. Never null.
CW_API const char *cw_version(void);

// The version of the library that is loaded as major * 1000000 + minor * 1000 + patch, to compare with
// CW_VERSION_NUMBER of the header.
//
// version must point to a writable number.
CW_API cw_status cw_version_number(uint32_t *version);

// How many errors the history of this process holds: the newest 256, or as many as cw_error_history_set_capacity
// allows. Errors that only ask for a larger buffer are not written down.
//
// count must be valid for a write.
CW_API
cw_status cw_error_history_count(size_t *count);

// The error at index, 0 being the newest, as text: sequence (counts up from 1), time_us (since 1970), status
// and category (their names), message; and, where there is something to say, advice, call (of the driver or
// the operating system, with arguments), function (the exported function, with arguments), driver_code, os_code.
// Free the map.
//
// entry must be valid for a write.
CW_API
cw_status cw_error_history_at(size_t index,
                              struct cw_map **entry);

// Forgets all errors and sets the counts of cw_error_statistics to 0, except those of recoveries.
CW_API cw_status cw_error_history_clear(void);

// Keeps at most capacity errors from now on, at most 1048576; 0 only counts them. The oldest go first.
CW_API cw_status cw_error_history_set_capacity(size_t capacity);

// How many errors there were, as text: total.count, total.first_us, total.last_us (microseconds since 1970); the
// same for each status and category that occurred (status.out_of_memory.count, category.memory.count);
// recovery.memory.attempts and .successes (memory ran out, caches were freed, the call made again),
// recovery.context.… (a lost device opened anew), recovery.fallback.… (the CPU device in place of a GPU);
// history.held, history.capacity. Free the map.
//
// statistics must be valid for a write.
CW_API
cw_status cw_error_statistics(struct cw_map **statistics);

// Makes a kernel manager of its own, not initialised. Free it with cw_kernel_free.
//
// kernel must be valid for a write.
CW_API cw_status cw_kernel_create(struct cw_kernel **kernel);

// Frees the handle. A manager of its own is shut down when its last handle is freed. NULL is ignored.
CW_API cw_status cw_kernel_free(struct cw_kernel *kernel);

// Finds the devices; the default device becomes the current one. Does nothing when it was done.
CW_API cw_status cw_kernel_initialize(struct cw_kernel *kernel);

// Ends everything that was made through this manager. Does nothing when it is not initialised.
CW_API cw_status cw_kernel_shutdown(struct cw_kernel *kernel);

// Writes 1 between initialize and shutdown, else 0.
//
// initialized must be valid for a write.
CW_API cw_status cw_kernel_is_initialized(const struct cw_kernel *kernel, int32_t *initialized);

// How many devices there are, the default one first.
//
// count must be valid for a write.
CW_API cw_status cw_kernel_device_count(const struct cw_kernel *kernel, size_t *count);

// Opens the device at index anew when it was lost; see cw_device_recover. Partitions, streams and slices of its
// tenants are gone.
CW_API
cw_status cw_kernel_device_recover(struct cw_kernel *kernel,
                                   int32_t index);

// The figures of the device at index. Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API
cw_status cw_kernel_device_info(const struct cw_kernel *kernel,
                                size_t index,
                                struct cw_device_info *info);

// Makes the device at index the one on which tenants are opened from now on.
CW_API cw_status cw_kernel_select_device(struct cw_kernel *kernel, int32_t index);

// The index of the current device.
//
// index must be valid for a write.
CW_API cw_status cw_kernel_current_device(const struct cw_kernel *kernel, int32_t *index);

// How many compute nodes the current device has.
//
// count must be valid for a write.
CW_API cw_status cw_kernel_node_count(const struct cw_kernel *kernel, size_t *count);

// The compute node at index of the current device. Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API
cw_status cw_kernel_node_info_at(const struct cw_kernel *kernel,
                                 size_t index,
                                 struct cw_node_info *info);

// Gives a free compute node to the tenant llm, which is opened with default limits when there is none.
//
// llm must be NUL-terminated.
CW_API cw_status cw_kernel_node_allocate(struct cw_kernel *kernel, int32_t node, const char *llm);

// Takes a compute node of the current device back from whoever holds it.
CW_API cw_status cw_kernel_node_deallocate(struct cw_kernel *kernel, int32_t node);

// Allocates bytes of the memory of tenant llm.
//
// llm must be NUL-terminated, memory valid for a write.
CW_API
cw_status cw_kernel_memory_alloc(struct cw_kernel *kernel,
                                 uint64_t bytes,
                                 const char *llm,
                                 void **memory);

// Frees an allocation of any tenant by its pointer. NULL is an error here: nothing was meant.
//
// No work that uses the memory may be in flight.
CW_API cw_status cw_kernel_memory_free(struct cw_kernel *kernel, void *memory);

// Copies between host memory and memory of one tenant, in any direction, and waits.
//
// Host ranges must be valid for bytes bytes.
CW_API cw_status cw_kernel_memory_copy(struct cw_kernel *kernel, void *dst, const void *src, uint64_t bytes);

// Queues a copy on a stream of cw_kernel_stream_create.
//
// As for cw_kernel_memory_copy, until the copy has run.
CW_API
cw_status cw_kernel_memory_copy_async(struct cw_kernel *kernel,
                                      void *dst,
                                      const void *src,
                                      uint64_t bytes,
                                      void *stream);

// Schedules a function as a task of tenant llm; see cw_task_schedule. config may be NULL for defaults.
//
// As for cw_task_schedule.
CW_API
cw_status cw_kernel_task_schedule(struct cw_kernel *kernel,
                                  const char *llm,
                                  const struct cw_task_config *config,
                                  cw_task_function function,
                                  void *user_data,
                                  cw_drop_function drop,
                                  struct cw_task **task);

// Tasks that have not ended, of tenant llm or (with NULL) of all: their ids, each with its state. Free the map.
//
// llm must be null or NUL-terminated, tasks valid for a write.
CW_API
cw_status cw_kernel_active_tasks(const struct cw_kernel *kernel,
                                 const char *llm,
                                 struct cw_map **tasks);

// Changes the weight of the task with this id; see cw_task_set_weight.
//
// id must be NUL-terminated.
CW_API cw_status cw_kernel_task_set_weight(struct cw_kernel *kernel, const char *id, double weight);

// Makes a stream of tenant llm: the CUstream on a CUDA device; on the CPU a value that only these functions
// understand. Never NULL.
//
// llm must be NUL-terminated, stream valid for a write.
CW_API
cw_status cw_kernel_stream_create(struct cw_kernel *kernel,
                                  const char *llm,
                                  void **stream);

// Waits for everything queued on the stream.
CW_API cw_status cw_kernel_stream_synchronize(struct cw_kernel *kernel, void *stream);

// Waits for everything queued on the stream, then ends it.
CW_API cw_status cw_kernel_stream_destroy(struct cw_kernel *kernel, void *stream);

// The streams of tenant llm: writes up to capacity of them and to *count how many there are.
//
// streams must be valid for capacity writes, count for one.
CW_API
cw_status cw_kernel_streams(const struct cw_kernel *kernel,
                            const char *llm,
                            void **streams,
                            size_t capacity,
                            size_t *count);

// Makes the slice of tenant llm: bytes more of guaranteed memory, a node of cores cores or SMs (at most what
// the device has; whole groups of SMs on a GPU), a stream on it. One a tenant.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_kernel_virtual_node_create(struct cw_kernel *kernel,
                                        const char *llm,
                                        uint64_t bytes,
                                        uint32_t cores);

// Gives the slice of tenant llm back.
//
// llm must be NUL-terminated.
CW_API cw_status cw_kernel_virtual_node_destroy(struct cw_kernel *kernel, const char *llm);

// The ids of all tenants, each with its device (cpu:0, cuda:1). Free the map.
//
// llms must be valid for a write.
CW_API cw_status cw_kernel_active_llms(const struct cw_kernel *kernel, struct cw_map **llms);

// Performance figures of the system, units in the names: seconds, shares from 0 to 1, counts. Free the map.
//
// metrics must be valid for a write.
CW_API cw_status cw_kernel_metrics(const struct cw_kernel *kernel, struct cw_map **metrics);

// Resources in use: bytes and counts. Free the map.
//
// usage must be valid for a write.
CW_API cw_status cw_kernel_usage(const struct cw_kernel *kernel, struct cw_map **usage);

// Sends what Cogniware does to function from now on: records of level (CW_LOG_ERROR to CW_LOG_TRACE) and more
// important ones. CW_LOG_OFF, or a function of NULL, turns logging off, which is how a program begins unless the
// environment variable COGNIWARE_LOG names a level (error, warn, info, debug, trace): then records go to
// standard error until this function is called.
//
// The function is called on the threads that do the work, by several at a time and with no lock held; its texts are
// valid during the call. It may call Cogniware; what that would log is left out. drop runs when the last thread has
// left a function that was replaced.
//
// function and drop must be safe to call with user_data from any thread.
CW_API
cw_status cw_log_set(cw_log_function function,
                     void *user_data,
                     cw_drop_function drop,
                     int32_t level);

// Writes a record of the application into the same log, at a level of CW_LOG_ERROR to CW_LOG_TRACE.
//
// target and message must be NUL-terminated.
CW_API cw_status cw_log_write(int32_t level, const char *target, const char *message);

// Makes an empty map. Free it with cw_map_free.
//
// map must be valid for a write.
CW_API cw_status cw_map_create(struct cw_map **map);

// Sets key to value, replacing what was there.
//
// key and value must be NUL-terminated.
CW_API cw_status cw_map_set(struct cw_map *map, const char *key, const char *value);

// The value of key, to the caller's buffer; CW_ERROR_NOT_FOUND when there is none.
//
// key must be NUL-terminated; the buffer as the contract says.
CW_API
cw_status cw_map_get(const struct cw_map *map,
                     const char *key,
                     char *buffer,
                     size_t length,
                     size_t *needed);

// How many keys the map has.
//
// count must be valid for a write.
CW_API cw_status cw_map_count(const struct cw_map *map, size_t *count);

// The key at index (0 to count - 1, in the order of the keys), to the caller's buffer.
//
// The buffer as the contract says.
CW_API
cw_status cw_map_key(const struct cw_map *map,
                     size_t index,
                     char *buffer,
                     size_t length,
                     size_t *needed);

// Frees a map. NULL is ignored.
CW_API cw_status cw_map_free(struct cw_map *map);

// Allocates bytes of the tenant's memory, aligned to 256 bytes. tag (may be NULL) names it in reports. On the
// CPU device the pointer is an ordinary address; on a GPU it is a device address. Free it with cw_memory_free.
//
// tag must be null or NUL-terminated, pointer valid for a write.
CW_API
cw_status cw_memory_alloc(struct cw_tenant *tenant,
                          uint64_t bytes,
                          const char *tag,
                          void **pointer);

// Frees what cw_memory_alloc gave this tenant. NULL is ignored. Foreign, freed, inner and other tenants'
// pointers are refused, saying which of these it is.
//
// No work that uses the memory may be in flight.
CW_API cw_status cw_memory_free(struct cw_tenant *tenant, void *pointer);

// Copies bytes bytes between host memory and memory of the tenant, in any direction. With stream 0 the call waits
// for the copy; else it is queued on that stream of the tenant and both ranges must stay valid until it has run.
//
// Host ranges must be valid for bytes bytes.
CW_API
cw_status cw_memory_copy(struct cw_tenant *tenant,
                         void *dst,
                         const void *src,
                         uint64_t bytes,
                         uint64_t stream);

// Sets bytes bytes of the tenant's memory to the low byte of value; stream as for cw_memory_copy.
//
// No other work that uses the memory may be in flight.
CW_API
cw_status cw_memory_fill(struct cw_tenant *tenant,
                         void *dst,
                         int32_t value,
                         uint64_t bytes,
                         uint64_t stream);

// Loads a model for a tenant: path is a .gguf file or a Hugging Face folder, or the name of the model that ships
// with Cogniware (default, also NULL). options (may be NULL) knows context, max_sequences, kv_type
// (f16, f32) and exact_head (true: a BitNet model's output matrix as the file has it, not in 8 bits). All of the model's memory counts against the tenant's limit. Free it with cw_model_free.
//
// path must be null or NUL-terminated, model valid for a write.
CW_API
cw_status cw_model_load(struct cw_tenant *tenant,
                        const char *path,
                        const struct cw_map *options,
                        struct cw_model **model);

// Frees the handle. With the last one the model's requests are cancelled and its memory goes back to the tenant.
// NULL is ignored.
CW_API
cw_status cw_model_free(struct cw_model *model);

// What the model is and how it was loaded: name, path, architecture, vocab, dim, layers, context,
// chat_template (true when it can answer messages), parameters, weights_bytes, scratch_bytes, kv_cache_bytes, weights_shared, load_seconds,
// load_bytes_per_second, generated_tokens, device_time_seconds. Free the map.
//
// info must be valid for a write.
CW_API
cw_status cw_model_info(const struct cw_model *model,
                        struct cw_map **info);

// The tokens of a text: up to capacity of them to ids, and to *count how many there are. With add_special the
// tokens that a text starts (and ends) with are added.
//
// text must be NUL-terminated, ids valid for capacity writes, count for one.
CW_API
cw_status cw_model_tokenize(const struct cw_model *model,
                            const char *text,
                            int32_t add_special,
                            uint32_t *ids,
                            size_t capacity,
                            size_t *count);

// The text of tokens, special ones left out, to the caller's buffer.
//
// ids must be valid for count reads; the buffer as the contract says.
CW_API
cw_status cw_model_detokenize(const struct cw_model *model,
                              const uint32_t *ids,
                              size_t count,
                              char *buffer,
                              size_t length,
                              size_t *needed);

// Fills the parameters of a generation with defaults: an empty prompt, up to 128 tokens, temperature 0.8, top-k 40,
// top-p 0.95, no penalties, a fresh seed.
//
// params must be valid for a write.
CW_API
cw_status cw_generate_params_default(struct cw_generate_params *params);

// Starts a generation. on_token (may be NULL) sees each piece of text on a thread of the model: be quick there,
// and do not wait for a generation of the same model. drop runs once, after the last call of on_token, or when
// starting fails. Wait with cw_generation_wait, free with cw_generation_free.
//
// params and what it points to must be valid during the call; on_token must be callable with user_data from
// another thread.
CW_API
cw_status cw_model_generate(struct cw_model *model,
                            const struct cw_generate_params *params,
                            cw_token_function on_token,
                            void *user_data,
                            cw_drop_function drop,
                            struct cw_generation **generation);

// Waits for the end, at most timeout_ms milliseconds (negative: without end); CW_ERROR_TIMEOUT when it has not
// ended by then. A generation that failed answers its error; how it ended is in cw_generation_get_stats.
CW_API
cw_status cw_generation_wait(const struct cw_generation *generation,
                             int64_t timeout_ms);

// Asks for the generation's end; it ends between two steps, also while its prompt is read.
CW_API cw_status cw_generation_cancel(const struct cw_generation *generation);

// The whole text of an ended generation, to the caller's buffer.
//
// The buffer as the contract says.
CW_API
cw_status cw_generation_text(const struct cw_generation *generation,
                             char *buffer,
                             size_t length,
                             size_t *needed);

// The tokens of an ended generation: up to capacity of them, and to *count how many there are.
//
// ids must be valid for capacity writes, count for one.
CW_API
cw_status cw_generation_tokens(const struct cw_generation *generation,
                               uint32_t *ids,
                               size_t capacity,
                               size_t *count);

// The natural logarithms of the probabilities of an ended generation's tokens, when logprobs was set; else none.
//
// logprobs must be valid for capacity writes, count for one.
CW_API
cw_status cw_generation_logprobs(const struct cw_generation *generation,
                                 float *logprobs,
                                 size_t capacity,
                                 size_t *count);

// How an ended generation went. Set stats->struct_size first.
//
// stats must be valid for reads and writes.
CW_API
cw_status cw_generation_get_stats(const struct cw_generation *generation,
                                  struct cw_generation_stats *stats);

// Frees the handle; a generation that has not ended is cancelled. NULL is ignored.
CW_API cw_status cw_generation_free(struct cw_generation *generation);

// One vector for each of count texts. Writes to *dim the elements of a vector and, when capacity is at least
// count * dim, the vectors one after the other to vectors. pooling: mean, cls, last, or NULL for what
// the model's files say. normalize: 1 or 0, negative for what the model's files say.
//
// texts must hold count NUL-terminated texts, vectors be valid for capacity writes, dim for one.
CW_API
cw_status cw_model_embed(struct cw_model *model,
                         const char *const *texts,
                         size_t count,
                         const char *pooling,
                         int32_t normalize,
                         float *vectors,
                         size_t capacity,
                         size_t *dim);

// How many compute nodes a device has: its processors (a node of each kind for every core or group of SMs), memory banks,
// shared memory, parts of the cache, and the nodes made for tenants.
//
// device must be null (default device) or NUL-terminated, count valid for a write.
CW_API
cw_status cw_node_count(const char *device,
                        size_t *count);

// The compute node at index (0 to count - 1) of a device. Set info->struct_size first.
//
// device must be null (default device) or NUL-terminated, info valid for reads and writes.
CW_API cw_status cw_node_info_at(const char *device, size_t index, struct cw_node_info *info);

// Gives the tenant a free node of its device, in addition to those that it was given; CW_NODE_* says what each kind gives.
// With processors the node goes back that is made for a tenant that was given none.
CW_API
cw_status cw_node_take(struct cw_tenant *tenant,
                       uint32_t node);

// Makes a node of processors cores or SMs for the tenant (a GPU rounds up to whole groups of SMs), in addition to
// those that it was given; *node gets its id.
//
// node must be valid for a write.
CW_API
cw_status cw_node_make(struct cw_tenant *tenant,
                       uint32_t processors,
                       uint32_t *node);

// Takes a node back from the tenant that holds it.
CW_API cw_status cw_node_give_back(struct cw_tenant *tenant, uint32_t node);

// By which rules the products of tenant llm are computed: CW_MATH_*. Its nodes decide, else its device's default.
//
// llm must be NUL-terminated, math valid for a write.
CW_API
cw_status cw_kernel_math(const struct cw_kernel *kernel,
                         const char *llm,
                         int32_t *math);

// Names the memory of tenant llm that persists in the slices of L2 that it holds (nodes of kind CW_NODE_L2_CACHE on a
// GPU): bytes bytes from memory. 0 bytes leave the choice to Cogniware, which takes the beginning of the largest thing
// that the tenant has: the weights, once a model is loaded. CW_ERROR_UNSUPPORTED on the CPU device.
//
// llm must be NUL-terminated.
CW_API
cw_status cw_kernel_cache_window_set(struct cw_kernel *kernel,
                                     const char *llm,
                                     const void *memory,
                                     uint64_t bytes);

// The window of tenant llm: its first byte, its bytes (0: it has none), and the part of its lines that can persist, 0 to
// 1.
//
// llm must be NUL-terminated, the outputs valid for writes.
CW_API
cw_status cw_kernel_cache_window(const struct cw_kernel *kernel,
                                 const char *llm,
                                 void **memory,
                                 uint64_t *bytes,
                                 double *part);

// What is known of one compute node of the current device, held or free: id, type (tensor_core, cuda_core,
// memory_bank, shared_memory, l2_cache), processors, units, memory_bytes, memory_used_bytes,
// compute_capability, is_allocated, is_active, is_virtual, owner, last_used_us (microseconds since 1970; 0:
// never), detail. Free the map.
//
// info must be valid for a write.
CW_API
cw_status cw_bridge_node_info(const struct cw_bridge *bridge,
                              int32_t node,
                              struct cw_map **info);

// Makes a partition of the memory of tenant llm, of type (CW_PARTITION_*); *id gets its number. Shared and constant
// memory comes in whole granules (2 MiB), which the partition's size says. bytes of a local partition are those of one
// thread's stack: of each task of the tenant on the CPU device, of each thread of a kernel on a GPU.
//
// llm must be NUL-terminated, id valid for a write.
CW_API
cw_status cw_kernel_partition_create(struct cw_kernel *kernel,
                                     uint64_t bytes,
                                     int32_t type,
                                     const char *llm,
                                     int32_t *id);

// Gives a partition's memory back.
//
// No work that uses the memory may be in flight.
CW_API cw_status cw_kernel_partition_destroy(struct cw_kernel *kernel, int32_t id);

// How many partitions there are.
//
// count must be valid for a write.
CW_API cw_status cw_kernel_partition_count(const struct cw_kernel *kernel, size_t *count);

// The partition at index (in the order of their numbers). Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API
cw_status cw_kernel_partition_info_at(const struct cw_kernel *kernel,
                                      size_t index,
                                      struct cw_partition_info *info);

// Writes bytes host bytes at offset of a partition and waits. Constant memory is written once: what the call leaves
// out is zero for good, and a second call is CW_ERROR_ALREADY_EXISTS. Local memory has no address and is refused.
//
// data must be valid for reads of bytes bytes.
CW_API
cw_status cw_kernel_partition_write(struct cw_kernel *kernel,
                                    int32_t id,
                                    uint64_t offset,
                                    const void *data,
                                    size_t bytes);

// Reads bytes bytes from offset of a partition to the host and waits.
//
// data must be valid for writes of bytes bytes.
CW_API
cw_status cw_kernel_partition_read(struct cw_kernel *kernel,
                                   int32_t id,
                                   uint64_t offset,
                                   void *data,
                                   size_t bytes);

// A file descriptor by which another process can map a shared partition with cw_kernel_partition_import; pass the
// partition's size along. It is the caller's to close. The memory lives for as long as somebody maps it or holds a descriptor.
//
// fd must be valid for a write.
CW_API
cw_status cw_kernel_partition_export(struct cw_kernel *kernel,
                                     int32_t id,
                                     int32_t *fd);

// Maps the memory behind a descriptor of cw_kernel_partition_export, of this or another process, as a shared partition
// of tenant llm, which is charged all of it; *id gets its number. bytes is the size that the partition has there.
// The descriptor stays the caller's.
//
// llm must be NUL-terminated, id valid for a write.
CW_API
cw_status cw_kernel_partition_import(struct cw_kernel *kernel,
                                     int32_t fd,
                                     uint64_t bytes,
                                     const char *llm,
                                     int32_t *id);

// Binds a texture partition anew: height rows of width f32, pitch bytes from row to row (a multiple of 32; 0 for the
// least), filter 0 (point) or 1 (linear). *handle gets what kernels read it by: the CUtexObject on a GPU. The
// former handle is invalid then: no work that reads it may be in flight.
//
// handle must be valid for a write.
CW_API
cw_status cw_kernel_partition_texture_bind(struct cw_kernel *kernel,
                                           int32_t id,
                                           uint64_t width,
                                           uint64_t height,
                                           uint64_t pitch,
                                           int32_t filter,
                                           uint64_t *handle);

// Reads a texture partition at count places, x and y of each in turn, and waits. Places are in elements: the middle of
// element (i, j) is (i + 0.5, j + 0.5); beyond the border the nearest element is read. On a GPU a kernel reads through the
// texture units, whose weights have 8 bits; the CPU computes the same.
//
// places must be valid for reads of 2 * count floats, values for writes of count.
CW_API
cw_status cw_kernel_partition_texture_sample(struct cw_kernel *kernel,
                                             int32_t id,
                                             const float *places,
                                             size_t count,
                                             float *values);

// Records the work of every tenant of this process from now on: kernels, copies, steps, tasks, waits. Does nothing when
// that was done. Off, which is how a process begins, the profiler costs a branch.
CW_API
cw_status cw_profiler_enable(void);

// Ends what cw_profiler_enable began; the figures stay. What a manager or a bridge switched on stays on.
CW_API cw_status cw_profiler_disable(void);

// Writes 1 when the work of tenant llm is recorded (NULL: of anybody), else 0.
//
// llm must be NULL or NUL-terminated, enabled valid for a write.
CW_API cw_status cw_profiler_is_enabled(const char *llm, int32_t *enabled);

// Forgets all figures and trace events, of everybody. What is in flight is recorded when it ends.
CW_API cw_status cw_profiler_reset(void);

// The figures of tenant llm, or of all tenants together (NULL): <kind>.<name>.<figure> with kinds kernel, copy,
// fill, step, task, wait, memory, range and figures count, min_us, mean_us, p50_us, p99_us, max_us,
// total_seconds, where known bytes, gb_per_s, occupancy, tokens, tokens_per_s; and profiling_enabled, profiling_source, records,
// trace_events, trace_events_dropped, records_lost. Device work that has not ended yet comes with a later call.
// Free the map.
//
// llm must be NULL or NUL-terminated, data valid for a write.
CW_API
cw_status cw_profiler_data(const char *llm,
                           struct cw_map **data);

// The same as a table for people, to the caller's buffer.
//
// llm must be NULL or NUL-terminated; the buffer as the contract says.
CW_API cw_status cw_profiler_summary(const char *llm, char *buffer, size_t length, size_t *needed);

// Figures of tenants, tasks, devices and the profiler as Prometheus text (exposition format 0.0.4), to the caller's
// buffer. It can grow between two calls: ask again while CW_ERROR_BUFFER_TOO_SMALL is the answer.
//
// The buffer as the contract says.
CW_API
cw_status cw_profiler_prometheus(char *buffer,
                                 size_t length,
                                 size_t *needed);

// Writes the last 262,144 events as a trace for Perfetto (ui.perfetto.dev) or chrome://tracing: JSON, a process for each
// tenant, a thread for each stream. The file is replaced when all is written; on an error it is as it was. Writes how
// many events it holds to events, which may be NULL.
//
// path must be NUL-terminated, events NULL or valid for a write.
CW_API
cw_status cw_profiler_trace_export(const char *path,
                                   uint64_t *events);

// Opens a range on this thread, which cw_profiler_range_pop on the same thread ends: ranges are recorded by name, shown in
// traces, and told to a tool that listens to NVTX. It belongs to tenant llm, or to nobody (NULL).
//
// name must be NUL-terminated, llm NULL or NUL-terminated.
CW_API
cw_status cw_profiler_range_push(const char *name,
                                 const char *llm);

// Ends the range that was opened last on this thread.
CW_API cw_status cw_profiler_range_pop(void);

// Records everybody's work until cw_kernel_profiling_disable or the kernel's shutdown. Does nothing when it does already.
CW_API
cw_status cw_kernel_profiling_enable(struct cw_kernel *kernel);

// Ends what cw_kernel_profiling_enable began; the figures stay.
CW_API cw_status cw_kernel_profiling_disable(struct cw_kernel *kernel);

// Records everybody's work until cw_system_profiling_disable or the system's shutdown.
CW_API cw_status cw_system_profiling_enable(void);

// Ends what cw_system_profiling_enable began; the figures stay.
CW_API cw_status cw_system_profiling_disable(void);

// Records the work of tenant llm (opened with default limits when there is none) until
// cw_bridge_profiling_disable or the tenant's end.
//
// llm must be NUL-terminated.
CW_API cw_status cw_bridge_profiling_enable(struct cw_bridge *bridge, const char *llm);

// Ends what cw_bridge_profiling_enable began for tenant llm; the figures stay.
//
// llm must be NUL-terminated.
CW_API cw_status cw_bridge_profiling_disable(struct cw_bridge *bridge, const char *llm);

// What was recorded of tenant llm; see cw_profiler_data. Free the map.
//
// llm must be NUL-terminated, data valid for a write.
CW_API
cw_status cw_bridge_profiling_data(const struct cw_bridge *bridge,
                                   const char *llm,
                                   struct cw_map **data);

// Makes an array of count f32, zero at first, that other processes can open, charged to tenant llm (opened with
// default limits when there is none). Its size never changes. Free the handle with cw_array_free or
// cw_bridge_shared_array_destroy; the memory goes when no process has it any more.
//
// llm must be NUL-terminated, array valid for a write.
CW_API
cw_status cw_bridge_shared_array_create(struct cw_bridge *bridge,
                                        uint64_t count,
                                        const char *llm,
                                        struct cw_array **array);

// Opens the shared array of another process: name is what cw_array_shared_name wrote there, or the number of a
// descriptor that this process got. Charged to tenant llm in full.
//
// Texts must be NUL-terminated, array valid for a write.
CW_API
cw_status cw_bridge_shared_array_open(struct cw_bridge *bridge,
                                      const char *name,
                                      const char *llm,
                                      struct cw_array **array);

// Gives a shared array's memory back here and frees the handle; refused for another tenant than llm and for an array
// that is not shared. Other processes that opened it keep it.
//
// llm must be NUL-terminated. Nobody in this process may use the array's memory any more.
CW_API
cw_status cw_bridge_shared_array_destroy(struct cw_bridge *bridge,
                                         struct cw_array *array,
                                         const char *llm);

// Where a shared array lies, for host and device alike; an error for an array that is not shared.
//
// memory must be valid for a write.
CW_API
cw_status cw_bridge_shared_array_pointer(const struct cw_bridge *bridge,
                                         const struct cw_array *array,
                                         void **memory);

// What another process of the same user opens a shared array by, while this process has it. Text out as described at the
// top.
//
// buffer must be valid for length writes, needed null or valid for a write.
CW_API
cw_status cw_array_shared_name(const struct cw_array *array,
                               char *buffer,
                               size_t length,
                               size_t *needed);

// A file descriptor of a shared array, to be passed on to a process that cannot open it by name. The caller's to close.
//
// fd must be valid for a write.
CW_API
cw_status cw_array_shared_fd(const struct cw_array *array,
                             int32_t *fd);

// Makes a stream: an ordered queue on the tenant's node. Lower priority runs first; 0 is normal.
//
// stream must be valid for a write.
CW_API cw_status cw_stream_create(struct cw_tenant *tenant, int32_t priority, uint64_t *stream);

// Waits for everything queued on the stream; reports an error that it raised.
CW_API cw_status cw_stream_synchronize(struct cw_tenant *tenant, uint64_t stream);

// Waits for everything queued on the stream, then ends it.
CW_API cw_status cw_stream_destroy(struct cw_tenant *tenant, uint64_t stream);

// Queues a function on the stream: it runs when everything before it has, on a thread of the device. It must not wait
// for the stream it runs on. drop runs once, after the function or when queueing fails.
//
// The function must be callable with user_data from another thread.
CW_API
cw_status cw_stream_call(struct cw_tenant *tenant,
                         uint64_t stream,
                         cw_function function,
                         void *user_data,
                         cw_drop_function drop);

// The device's own stream object behind a stream: a CUstream on a CUDA device, NULL on the CPU.
//
// native must be valid for a write. The object belongs to Cogniware.
CW_API cw_status cw_stream_native(struct cw_tenant *tenant, uint64_t stream, void **native);

// Initialises the process-wide kernel and driver managers. Does nothing when that was done.
CW_API cw_status cw_system_initialize(void);

// Shuts the process-wide managers down: what was made through them ends. Does nothing when they are not initialised.
CW_API
cw_status cw_system_shutdown(void);

// Writes 1 between initialize and shutdown, else 0.
//
// initialized must be valid for a write.
CW_API cw_status cw_system_is_initialized(int32_t *initialized);

// A handle to the process-wide kernel manager. Free it with cw_kernel_free; the manager stays.
//
// kernel must be valid for a write.
CW_API cw_status cw_system_kernel(struct cw_kernel **kernel);

// A handle to the process-wide driver manager. Free it with cw_driver_free; the manager stays.
//
// driver must be valid for a write.
CW_API cw_status cw_system_driver(struct cw_driver **driver);

// Performance figures of the system; see cw_kernel_metrics. Free the map.
//
// metrics must be valid for a write.
CW_API cw_status cw_system_metrics(struct cw_map **metrics);

// Resources in use; see cw_kernel_usage. Free the map.
//
// usage must be valid for a write.
CW_API cw_status cw_system_usage(struct cw_map **usage);

// Fills a task's configuration with defaults: a new id, normal priority, no needs.
//
// config must be valid for a write.
CW_API cw_status cw_task_config_default(struct cw_task_config *config);

// Schedules a function as a task of the tenant. It runs on a thread of Cogniware once the tenant has the memory and
// the cores it asks for; what it returns other than CW_OK makes the task fail with the text it set. config may be
// NULL. drop runs once, after the function, when the task is cancelled before it starts, or when scheduling
// fails. Free the handle with cw_task_free.
//
// The function must be callable with user_data from another thread.
CW_API
cw_status cw_task_schedule(struct cw_tenant *tenant,
                           const struct cw_task_config *config,
                           cw_task_function function,
                           void *user_data,
                           cw_drop_function drop,
                           struct cw_task **task);

// Sets the text of the running task: its result, or what is wrong when its function is about to return an error.
//
// context must be the one that the function got, and the function must not have returned.
CW_API
cw_status cw_task_set_result(struct cw_task_context *context,
                             const char *result);

// Writes 1 to *cancelled when somebody asked for the end of the running task.
//
// context as for cw_task_set_result; cancelled must be valid for a write.
CW_API cw_status cw_task_is_cancelled(struct cw_task_context *context, int32_t *cancelled);

// Another handle to the task with this id: waiting, running, or one of the last few thousand that ended.
//
// id must be NUL-terminated, task valid for a write.
CW_API cw_status cw_task_find(const char *id, struct cw_task **task);

// What is known of the task now. Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API cw_status cw_task_get_info(const struct cw_task *task, struct cw_task_info *info);

// The task's id, to the caller's buffer.
//
// The buffer as the contract says.
CW_API cw_status cw_task_id(const struct cw_task *task, char *buffer, size_t length, size_t *needed);

// The id of the task's tenant, to the caller's buffer.
//
// The buffer as the contract says.
CW_API cw_status cw_task_tenant(const struct cw_task *task, char *buffer, size_t length, size_t *needed);

// What kind of work the task is (function, or a type of cw_bridge_task_schedule), to the caller's buffer.
//
// The buffer as the contract says.
CW_API cw_status cw_task_type(const struct cw_task *task, char *buffer, size_t length, size_t *needed);

// Changes the weight of the task's work (0.001 to 1000; 1 is normal), from now on. With 0.8 it gets 0.8 of the share
// of contended processors that work of weight 1 of the same tenant would: at the gate, and beside other generations
// of its model. A function's own code is weighed on the CPU device, by its thread's nice value; only a privileged
// process can give back what was taken there, others get CW_ERROR_UNSUPPORTED. Before it starts, a task of more weight
// comes before those of its tenant and priority that have not waited for so much longer. Refused when it has ended.
CW_API
cw_status cw_task_set_weight(const struct cw_task *task,
                             double weight);

// The task's result, or the text of its error; empty while it has not ended.
//
// The buffer as the contract says.
CW_API cw_status cw_task_result(const struct cw_task *task, char *buffer, size_t length, size_t *needed);

// Waits for the task's end, at most timeout_ms milliseconds (negative: without end); CW_ERROR_TIMEOUT when it has
// not ended by then. How it ended is in cw_task_get_info.
CW_API
cw_status cw_task_wait(const struct cw_task *task,
                       int64_t timeout_ms);

// Asks for the task's end: what has not started never will, a running function is told. An error when it had ended.
CW_API
cw_status cw_task_cancel(const struct cw_task *task);

// Frees the handle; the task goes on. NULL is ignored.
CW_API cw_status cw_task_free(struct cw_task *task);

// Adds a kind of task under name: cw_bridge_task_schedule with this type then runs function as a task of the
// LLM, with the task's parameters (those that every kind takes left out). It may run on several threads at a time.
// The task's result is what it gives to cw_task_set_result. Names that exist are refused. drop runs once: when the
// kind was unregistered, or the bridge shut down, and the last of its tasks has ended; at once when this call fails.
//
// name must be NUL-terminated; the function callable with user_data from any thread.
CW_API
cw_status cw_bridge_task_type_register(struct cw_bridge *bridge,
                                       const char *name,
                                       cw_task_type_function function,
                                       void *user_data,
                                       cw_drop_function drop);

// Takes a kind of task away that was registered. Its tasks that are scheduled already go on.
//
// name must be NUL-terminated.
CW_API cw_status cw_bridge_task_type_unregister(struct cw_bridge *bridge, const char *name);

// The kinds of tasks that there are, each with own or registered. Free the map.
//
// types must be valid for a write.
CW_API cw_status cw_bridge_task_types(const struct cw_bridge *bridge, struct cw_map **types);

// Tasks that have not ended, of LLM llm or (with NULL) of all: their ids, each with its state. Free the map.
//
// llm must be null or NUL-terminated, tasks valid for a write.
CW_API
cw_status cw_bridge_active_tasks(const struct cw_bridge *bridge,
                                 const char *llm,
                                 struct cw_map **tasks);

// Fills a configuration with defaults: a quarter of the device each of memory and processors, normal standing.
//
// config must be valid for a write.
CW_API
cw_status cw_tenant_config_default(struct cw_tenant_config *config);

// Opens a tenant on device (cpu, cuda, cuda:N, auto; NULL for the default device) under a new id (1 to 127
// bytes without control characters).
// config may be NULL for defaults. End it with cw_tenant_close.
//
// Texts must be NUL-terminated, config null or valid, tenant valid for a write.
CW_API
cw_status cw_tenant_open(const char *id,
                         const char *device,
                         const struct cw_tenant_config *config,
                         struct cw_tenant **tenant);

// Another handle to the tenant with this id. Free it with cw_tenant_free.
//
// id must be NUL-terminated, tenant valid for a write.
CW_API cw_status cw_tenant_find(const char *id, struct cw_tenant **tenant);

// Frees a handle; the tenant lives on. NULL is ignored.
CW_API cw_status cw_tenant_free(struct cw_tenant *tenant);

// Closes the tenant and frees the handle: its tasks end as cancelled, its nodes and streams are given back, its id
// is free again. *leaked (may be NULL) gets the bytes that were still allocated; they go back to the device too
// once no model of the tenant is loaded any more.
//
// leaked must be null or valid for a write.
CW_API
cw_status cw_tenant_close(struct cw_tenant *tenant,
                          uint64_t *leaked);

// The device that the tenant is on: CW_DEVICE_* and its index among devices of its kind.
//
// kind and ordinal must be valid for a write.
CW_API cw_status cw_tenant_device(const struct cw_tenant *tenant, int32_t *kind, int32_t *ordinal);

// The tenant's figures. Set usage->struct_size first.
//
// usage must be valid for reads and writes.
CW_API cw_status cw_tenant_usage(const struct cw_tenant *tenant, struct cw_usage *usage);

// What the tenant has allocated, as JSON: [{"address": …, "bytes": …, "tag": "…", "age_ms": …}, …], oldest first.
//
// The buffer as the contract says.
CW_API
cw_status cw_tenant_allocations(const struct cw_tenant *tenant,
                                char *buffer,
                                size_t length,
                                size_t *needed);

// Changes the most bytes the tenant may hold; refused when it holds more.
CW_API cw_status cw_tenant_set_memory_limit(struct cw_tenant *tenant, uint64_t bytes);

// Changes the tenant's weight (above 0) from now on.
CW_API cw_status cw_tenant_set_weight(struct cw_tenant *tenant, double weight);

// Changes the tenant's priority (CW_PRIORITY_*) from now on.
CW_API cw_status cw_tenant_set_priority(struct cw_tenant *tenant, int32_t priority);

// Fills a configuration with defaults: the default device, at most 64 compute units, scaling allowed.
//
// config must be valid for a write.
CW_API cw_status cw_vcompute_config_default(struct cw_vcompute_config *config);

// Initialises the manager of compute units. The same configuration again does nothing; another one is refused until
// cw_vcompute_shutdown. config may be NULL for defaults.
//
// config must be null or valid.
CW_API
cw_status cw_vcompute_initialize(const struct cw_vcompute_config *config);

// Destroys the compute units that cw_vcompute_create made. Does nothing when it is not initialised.
CW_API cw_status cw_vcompute_shutdown(void);

// Writes 1 between initialize and shutdown, else 0.
//
// initialized must be valid for a write.
CW_API cw_status cw_vcompute_is_initialized(int32_t *initialized);

// Fills what a compute unit is asked for with defaults: the whole device, one stream, tensor cores, full precision.
//
// unit must be valid for a write.
CW_API
cw_status cw_vcompute_unit_default(struct cw_vcompute_unit *unit);

// Makes a compute unit; the virtual GPU with it when there is none. unit may be NULL for defaults.
//
// unit must be null or valid.
CW_API cw_status cw_vcompute_create(int32_t virtual_gpu, const struct cw_vcompute_unit *unit);

// Ends a compute unit: work that waits is withdrawn, work in flight waited for. The virtual GPU ends with it when it has no
// other part.
CW_API
cw_status cw_vcompute_destroy(int32_t virtual_gpu);

// The figures of a compute unit. Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API cw_status cw_vcompute_get_info(int32_t virtual_gpu, struct cw_vcompute_info *info);

// Waits for everything queued on the stream, or (CW_NO_STREAM) on all of the unit; reports an error that it raised.
CW_API
cw_status cw_vcompute_synchronize(int32_t virtual_gpu,
                                  int32_t stream);

// The device's own streams behind those of the unit, in order: a CUstream each on a CUDA device, for the program's own
// CUDA code; NULL each on the CPU. As many as fit are written to streams, *count gets how many there are. They belong to
// Cogniware. Work that the program puts there by itself passes no gate and is not charged.
//
// streams must be valid for writes of capacity elements, or NULL with a capacity of 0; count valid for a write.
CW_API
cw_status cw_vcompute_streams(int32_t virtual_gpu,
                              void **streams,
                              size_t capacity,
                              size_t *count);

// Changes the part of contended processors that the unit asks for, above 0 to 1, from now on.
CW_API cw_status cw_vcompute_set_share(int32_t virtual_gpu, float compute_share);

// Lets the unit's matrix work use matrix circuits (1) or forbids them (0), from the next operation on.
CW_API cw_status cw_vcompute_set_tensor_cores(int32_t virtual_gpu, int32_t on);

// Changes what the unit's matrix work may round to (CW_PRECISION_*), from the next operation on.
CW_API cw_status cw_vcompute_set_precision(int32_t virtual_gpu, int32_t precision);

// The most of its processors' time that the unit gets from now on, above 0 to 1, also when nobody else wants them; 0 for no
// cap.
CW_API
cw_status cw_vcompute_set_cap(int32_t virtual_gpu,
                              float compute_cap);

// Gives the unit another number of cores or SMs (0: the whole device; on a GPU whole groups) while it lives: what is on the
// device ends where it is, what comes after runs on the new ones, in order.
CW_API
cw_status cw_vcompute_scale(int32_t virtual_gpu,
                            int32_t processors);

// Milliseconds from submission to the end that work may take whose call names no bound; 0 for none.
CW_API cw_status cw_vcompute_set_timeout(int32_t virtual_gpu, double timeout_ms);

// The one of these virtual GPUs whose unit the next work should go to, by the configured strategy (CW_BALANCE_*). They may be on
// several devices.
//
// ids must be valid for reads of count elements, chosen valid for a write.
CW_API
cw_status cw_vcompute_choose(const int32_t *ids,
                             size_t count,
                             int32_t *chosen);

// Moves compute units between the groups of each device while what is asked of these, as measured since the last call, lies
// further apart than the configured threshold; how many were moved. Units stay on their device, where their memory is. Within
// 100 ms of the last call nothing is moved.
//
// moved must be null or valid for a write.
CW_API
cw_status cw_vcompute_rebalance(size_t *moved);

// The group of its device in which a compute unit is kept; -1 for one that runs on units of several.
//
// group must be valid for a write.
CW_API cw_status cw_vcompute_group_of(int32_t virtual_gpu, int32_t *group);

// How many groups the units of this device are cut into.
//
// count must be valid for a write.
CW_API cw_status cw_vcompute_group_count(int32_t device, size_t *count);

// A group of a device's units, 0 to their number - 1. Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API cw_status cw_vcompute_get_group(int32_t device, int32_t group, struct cw_vcompute_group *info);

// Fills a configuration with defaults: the default device, at most 16 virtual GPUs.
//
// config must be valid for a write.
CW_API cw_status cw_virtualization_config_default(struct cw_virtualization_config *config);

// Initialises the driver of virtual GPUs. The same configuration again does nothing; another one is refused until
// cw_virtualization_shutdown. config may be NULL for defaults.
//
// config must be null or valid.
CW_API
cw_status cw_virtualization_initialize(const struct cw_virtualization_config *config);

// Destroys the virtual GPUs that cw_vgpu_create made. Does nothing when it is not initialised.
CW_API cw_status cw_virtualization_shutdown(void);

// Writes 1 between initialize and shutdown, else 0.
//
// initialized must be valid for a write.
CW_API cw_status cw_virtualization_is_initialized(int32_t *initialized);

// The ids of all virtual GPUs, those with one part only included, ascending. As many as fit are written to ids, *count
// gets how many there are.
//
// ids must be valid for writes of capacity elements, or NULL with a capacity of 0; count valid for a write.
CW_API
cw_status cw_virtualization_gpus(int32_t *ids,
                                 size_t capacity,
                                 size_t *count);

// Part of the time that the whole device was busy, 0 to 1, with work of all programs (a GPU: by NVML).
//
// utilization must be valid for a write.
CW_API cw_status cw_virtualization_utilization(float *utilization);

// Fills a configuration with defaults: id 0, no memory limit (one must be set), one stream, the whole device.
//
// config must be valid for a write.
CW_API cw_status cw_vgpu_config_default(struct cw_vgpu_config *config);

// Makes a virtual GPU with its memory space and its compute unit: the tenant vgpu:<id>. Nothing is left of it when that
// fails.
//
// config must be valid, its name null or NUL-terminated.
CW_API
cw_status cw_vgpu_create(const struct cw_vgpu_config *config);

// Ends a virtual GPU with all its parts: work that waits is withdrawn, work in flight waited for, its memory freed. *leaked
// (may be NULL) gets the bytes that nobody had freed; the log names them.
//
// leaked must be null or valid for a write.
CW_API
cw_status cw_vgpu_destroy(int32_t virtual_gpu,
                          uint64_t *leaked);

// How a virtual GPU is: CW_VGPU_*; CW_VGPU_NOT_CREATED for an id that does not exist.
//
// status must be valid for a write.
CW_API cw_status cw_vgpu_status(int32_t virtual_gpu, int32_t *status);

// The figures of a virtual GPU. Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API cw_status cw_vgpu_get_info(int32_t virtual_gpu, struct cw_vgpu_info *info);

// Allocates size bytes of the virtual GPU's memory, aligned to 256. On the CPU device the pointer is an ordinary address;
// on a GPU it is a device address. Free it with cw_vgpu_memory_free.
//
// memory must be valid for a write.
CW_API
cw_status cw_vgpu_memory_alloc(int32_t virtual_gpu,
                               uint64_t size,
                               void **memory);

// Frees memory by the very pointer that was returned. Foreign, freed, inner and other virtual GPUs' pointers are refused,
// saying which of these it is; so is NULL.
//
// Work that was queued on streams of the virtual GPU before is waited for.
//
// No work that reached the device by other ways than these streams may still use the memory.
CW_API
cw_status cw_vgpu_memory_free(int32_t virtual_gpu,
                              void *memory);

// Copies size bytes (at least 1) as kind (CW_COPY_*) says; ends in the virtual GPU's memory must lie in one allocation
// each, and ranges must not overlap. With stream CW_NO_STREAM the call waits; else the copy is queued on that stream (0 to
// the number of streams - 1) and both ranges must stay valid until it has run.
//
// Ranges of the program's own memory must be valid for size bytes.
CW_API
cw_status cw_vgpu_memory_copy(int32_t virtual_gpu,
                              void *dst,
                              const void *src,
                              uint64_t size,
                              int32_t kind,
                              int32_t stream);

// Sets size bytes (at least 1) of one allocation to the low byte of value; stream as for cw_vgpu_memory_copy.
//
// No other work that uses the memory may be in flight.
CW_API
cw_status cw_vgpu_memory_fill(int32_t virtual_gpu,
                              void *memory,
                              int32_t value,
                              uint64_t size,
                              int32_t stream);

// Waits for everything queued on the stream, or (CW_NO_STREAM) on all of the virtual GPU; reports an error that it raised.
CW_API
cw_status cw_vgpu_synchronize(int32_t virtual_gpu,
                              int32_t stream);

// Compacts a memory space: all memory that is free inside of pieces in use goes back, so that (nearly) all that is free can
// be allocated in one piece. Pointers stay valid, contents too; captured graphs still replay. Work of this virtual GPU waits
// for at most max_pause_ms at a time (0: as its policy says), that of others goes on. report (may be NULL) gets what was
// done; set its struct_size first.
//
// report must be null or valid for reads and writes.
CW_API
cw_status cw_vmem_compact(int32_t virtual_gpu,
                          double max_pause_ms,
                          struct cw_vmem_compaction *report);

// The page table of a memory space: every mapped page by address. Set the struct_size of the first element first: it is the
// step from one to the next. As many as fit are written, *count gets how many there are; pages may be NULL with a
// capacity of 0 to ask for that.
//
// pages must be valid for reads and writes of capacity elements, count valid for a write.
CW_API
cw_status cw_vmem_pages(int32_t virtual_gpu,
                        struct cw_vmem_page *pages,
                        size_t capacity,
                        size_t *count);

// How a memory space allocates and when it compacts itself. Set policy->struct_size first.
//
// policy must be valid for reads and writes.
CW_API cw_status cw_vmem_policy_get(int32_t virtual_gpu, struct cw_vmem_policy *policy);

// Changes that from now on; what was allocated before stays as it is.
//
// policy must be valid.
CW_API cw_status cw_vmem_policy_set(int32_t virtual_gpu, const struct cw_vmem_policy *policy);

// The allocations behind whose end somebody wrote, where gaps have a pattern, as JSON:
// [{"address": …, "bytes": …, "first_changed": …, "changed": …}, …]. Waits for work in flight first.
//
// The buffer as the contract says.
CW_API
cw_status cw_vmem_check_guards(int32_t virtual_gpu,
                               char *buffer,
                               size_t length,
                               size_t *needed);

// Whether others may use the part of its floor that the space does not use (1), and give it back when it asks.
// CW_ERROR_UNSUPPORTED on the CPU device, where nobody could be made to.
CW_API
cw_status cw_vmem_set_lending(int32_t virtual_gpu,
                              int32_t lend_floor);

// Which of the space's memory is moved to the host (CW_SPILL_*) when what it has above its floor is asked back, and how many
// bytes of host memory that may take (0: no bound). CW_ERROR_UNSUPPORTED on the CPU device, whose memory is the host's.
CW_API
cw_status cw_vmem_set_spill_policy(int32_t virtual_gpu,
                                   int32_t policy,
                                   uint64_t most_host_bytes);

// Says something about one allocation, by the very pointer that was returned: CW_ADVICE_*. Pinning fetches it.
CW_API
cw_status cw_vmem_advise(int32_t virtual_gpu,
                         void *memory,
                         int32_t advice);

// Moves about size bytes to the host now, as if others had asked for them. *freed gets the bytes that the device has got back.
//
// freed must be valid for a write.
CW_API
cw_status cw_vmem_spill(int32_t virtual_gpu,
                        uint64_t size,
                        uint64_t *freed);

// Fetches size bytes at memory from the host, or, when that is NULL, everything. Work fetches what it needs by itself.
CW_API
cw_status cw_vmem_fetch(int32_t virtual_gpu,
                        void *memory,
                        uint64_t size);

// What moving memory to the host and back has cost. Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API cw_status cw_vmem_get_spill_info(int32_t virtual_gpu, struct cw_vmem_spill_info *info);

// Allocates at least size bytes as whole pages that can be exported. They never move. Freed by cw_vmem_free once no lease is
// out.
//
// memory must be valid for a write.
CW_API
cw_status cw_vmem_alloc_exportable(int32_t virtual_gpu,
                                   uint64_t size,
                                   void **memory);

// A lease of exportable memory for one importer: *fd gets a descriptor to hand to another process by any means (inheritance,
// SCM_RIGHTS); close it here then. With read_only 1 the importer maps it for reading. The memory stays charged, and cannot be freed,
// until the importer has unmapped it or has ended.
//
// fd must be valid for a write.
CW_API
cw_status cw_vmem_export(int32_t virtual_gpu,
                         void *memory,
                         int32_t read_only,
                         int32_t *fd);

// How many leases of exportable memory are out.
//
// count must be valid for a write.
CW_API cw_status cw_vmem_leases(int32_t virtual_gpu, void *memory, size_t *count);

// Asks all importers to unmap and gives no more leases, then waits for at most timeout_ms milliseconds until none is out.
// *remaining gets how many still are. A descriptor that was given cannot be taken back by force.
//
// remaining must be valid for a write.
CW_API
cw_status cw_vmem_revoke(int32_t virtual_gpu,
                         void *memory,
                         double timeout_ms,
                         size_t *remaining);

// Maps what a lease of another process offers into the space; *memory and *size get what was mapped. The descriptor is
// consumed, also when this fails. It is charged to its owner, not here.
//
// memory and size must be valid for a write; fd must be a descriptor that nothing else uses.
CW_API
cw_status cw_vmem_import(int32_t virtual_gpu,
                         int32_t fd,
                         double timeout_ms,
                         void **memory,
                         uint64_t *size);

// Writes 1 when the exporter asks for what was imported at memory back, or is gone, else 0; waits for that for at most
// timeout_ms milliseconds. The answer to it is cw_vmem_release_import.
//
// revoked must be valid for a write.
CW_API
cw_status cw_vmem_is_revoked(int32_t virtual_gpu,
                             void *memory,
                             double timeout_ms,
                             int32_t *revoked);

// Unmaps what was imported at memory once work in flight has passed, and tells the exporter.
//
// No work that uses the memory may be queued.
CW_API cw_status cw_vmem_release_import(int32_t virtual_gpu, void *memory);

// Fills a configuration with defaults: the default device, defragmented from a half on, pauses of at most 5 ms, no guards.
//
// config must be valid for a write.
CW_API
cw_status cw_vmem_config_default(struct cw_vmem_config *config);

// Initialises the manager of memory spaces. The same configuration again does nothing; another one is refused until
// cw_vmem_shutdown. config may be NULL for defaults.
//
// config must be null or valid.
CW_API
cw_status cw_vmem_initialize(const struct cw_vmem_config *config);

// Destroys the memory spaces that cw_vmem_create made. Does nothing when it is not initialised.
CW_API cw_status cw_vmem_shutdown(void);

// Writes 1 between initialize and shutdown, else 0.
//
// initialized must be valid for a write.
CW_API cw_status cw_vmem_is_initialized(int32_t *initialized);

// Makes a memory space of at most size bytes; the virtual GPU with it when there is none.
CW_API cw_status cw_vmem_create(int32_t virtual_gpu, uint64_t size);

// Ends a memory space: work in flight is waited for, its memory freed. *leaked (may be NULL) gets the bytes that nobody
// had freed; the log names them. The virtual GPU ends with it when it has no other part.
//
// leaked must be null or valid for a write.
CW_API
cw_status cw_vmem_destroy(int32_t virtual_gpu,
                          uint64_t *leaked);

// Allocates size bytes of the space, aligned to alignment (a power of two up to 2 GiB; 256 is always given).
//
// memory must be valid for a write.
CW_API
cw_status cw_vmem_alloc(int32_t virtual_gpu,
                        uint64_t size,
                        uint64_t alignment,
                        void **memory);

// Frees memory by the very pointer that was returned; see cw_vgpu_memory_free, which refuses NULL too.
//
// Work that was queued on streams of the virtual GPU before is waited for.
//
// No work that reached the device by other ways than these streams may still use the memory.
CW_API cw_status cw_vmem_free(int32_t virtual_gpu, void *memory);

// Copies; see cw_vgpu_memory_copy.
//
// As there.
CW_API
cw_status cw_vmem_copy(int32_t virtual_gpu,
                       void *dst,
                       const void *src,
                       uint64_t size,
                       int32_t kind,
                       int32_t stream);

// Sets bytes; see cw_vgpu_memory_fill.
//
// As there.
CW_API
cw_status cw_vmem_fill(int32_t virtual_gpu,
                       void *memory,
                       int32_t value,
                       uint64_t size,
                       int32_t stream);

// The figures of a memory space. Set info->struct_size first.
//
// info must be valid for reads and writes.
CW_API cw_status cw_vmem_get_info(int32_t virtual_gpu, struct cw_vmem_info *info);

// What is allocated in a space, as JSON; see cw_tenant_allocations.
//
// The buffer as the contract says.
CW_API cw_status cw_vmem_allocations(int32_t virtual_gpu, char *buffer, size_t length, size_t *needed);

// Changes the most bytes that a space may hold; refused when it holds more.
CW_API cw_status cw_vmem_set_limit(int32_t virtual_gpu, uint64_t size);

// Changes the bytes that are set aside for a space; refused when the device has not so many left to promise.
CW_API cw_status cw_vmem_set_floor(int32_t virtual_gpu, uint64_t size);

// The driver's device as a whole, beside what the tenants of this process had of it. Set usage->struct_size first.
//
// usage must be valid for reads and writes.
CW_API
cw_status cw_virtualization_device_usage(struct cw_device_usage *usage);

// Calls function every interval_ms milliseconds (10 to 86,400,000), for the first time that long from now, on one thread of
// its own and with no lock held, until another function is set, a function of NULL is, or the driver is shut down. It may
// call Cogniware, this function included. drop runs when the last call has returned; when the call that replaces it
// or shuts down returns, that has happened, unless it is made by function itself. On an error the one before goes on.
//
// function and drop must be safe to call with user_data from any thread.
CW_API
cw_status cw_virtualization_monitor_set(cw_monitor_function function,
                                        void *user_data,
                                        cw_drop_function drop,
                                        uint64_t interval_ms);

// Writes what cw_profiler_prometheus tells to the file at path now, and again every interval_ms milliseconds (10 to
// 86,400,000), until another path is published, cw_virtualization_publish_stop is called or the driver is shut down, when
// it is written once more. Readers see a whole text each time. The file stays. On an error what was published before goes on.
//
// path must be NUL-terminated.
CW_API
cw_status cw_virtualization_publish(const char *path,
                                    uint64_t interval_ms);

// Ends publishing: the metrics are written once more, and the file stays. Does nothing when nothing is published.
CW_API
cw_status cw_virtualization_publish_stop(void);

// Loads PTX, a cubin or a fatbin (told by its content) as the module module of the virtual GPU.
//
// module must be NUL-terminated, image valid for reads of size bytes.
CW_API
cw_status cw_vcompute_module_load(int32_t virtual_gpu,
                                  const char *module,
                                  const void *image,
                                  size_t size);

// The same from a file.
//
// Texts must be NUL-terminated.
CW_API cw_status cw_vcompute_module_load_file(int32_t virtual_gpu, const char *module, const char *path);

// Compiles CUDA C++ by NVRTC, which is found at run time, and loads it as the module module. Images are kept on disk by a
// hash of all that they depend on. What the compiler said goes to the caller's buffer, which may be NULL with a length of 0;
// when it refuses, what it said is in the error.
//
// Texts must be NUL-terminated, source valid; the buffer as the contract says, needed may be NULL.
CW_API
cw_status cw_vcompute_module_compile(int32_t virtual_gpu,
                                     const char *module,
                                     const struct cw_program_source *source,
                                     char *buffer,
                                     size_t length,
                                     size_t *needed);

// Unloads a module after everything on the device has finished.
//
// module must be NUL-terminated.
CW_API cw_status cw_vcompute_module_unload(int32_t virtual_gpu, const char *module);

// Registers a function of the application as the kernel name of the virtual GPU. It runs on the CPU device alone; on a GPU
// it may be registered, and executing it is an error. kinds are CW_ARGUMENT_* of its parameters, sizes the bytes of those
// that are structs (NULL when none is). With per_block 1 it is called for each block of the grid, by all cores of the unit;
// with 0 once a launch. drop runs once, when it was unregistered and its last execution has ended, or the virtual GPU is
// gone; at once when this call fails.
//
// name must be NUL-terminated, the arrays readable for count elements, the function callable with user_data from any
// thread.
CW_API
cw_status cw_vcompute_register_kernel(int32_t virtual_gpu,
                                      const char *name,
                                      const int32_t *kinds,
                                      const uint32_t *sizes,
                                      size_t count,
                                      int32_t per_block,
                                      cw_host_function function,
                                      void *user_data,
                                      cw_drop_function drop);

// Takes a registered function out; CW_ERROR_BUSY while it is queued or runs.
//
// name must be NUL-terminated.
CW_API cw_status cw_vcompute_unregister_kernel(int32_t virtual_gpu, const char *name);

// Fills a kernel call with defaults: no name, one block of one thread, no arguments.
//
// call must be valid for a write.
CW_API cw_status cw_kernel_call_default(struct cw_kernel_call *call);

// Queues a kernel on a stream of the unit (0 to the number of streams - 1) once its name, shape, arguments and memory were found
// right. *execution (may be NULL) gets its number. What goes wrong later belongs to the execution and to the next
// cw_vcompute_synchronize.
//
// call must be valid, its texts NUL-terminated, its structs readable; execution null or valid for a write.
CW_API
cw_status cw_vcompute_execute(int32_t virtual_gpu,
                              const struct cw_kernel_call *call,
                              int32_t stream,
                              int32_t *execution);

// The number of the unit's latest execution, of whatever kind; 0 when there was none.
//
// execution must be valid for a write.
CW_API cw_status cw_vcompute_last_execution(int32_t virtual_gpu, int32_t *execution);

// Where an execution stands; waits for its end for at most timeout_ms milliseconds (0: not at all). Set info->struct_size
// first.
//
// info must be valid for reads and writes.
CW_API
cw_status cw_vcompute_execution(int32_t virtual_gpu,
                                int32_t execution,
                                double timeout_ms,
                                struct cw_execution_info *info);

// Cancels an execution: queued work is withdrawn; built-in work and host functions stop at their next poll (at most 5 ms, a
// block of a host function). *how (may be NULL) gets CW_STOPPED_*. Any other work on the device cannot be stopped, which is
// CW_ERROR_UNSUPPORTED; what has ended is CW_ERROR_NOT_FOUND and says how.
//
// how must be null or valid for a write.
CW_API
cw_status cw_vcompute_cancel(int32_t virtual_gpu,
                             int32_t execution,
                             int32_t *how);

// The names of all kernels that the virtual GPU can execute, each with own or the signature of the built-in one. Free the map.
//
// kernels must be valid for a write.
CW_API
cw_status cw_vcompute_kernels(int32_t virtual_gpu,
                              struct cw_map **kernels);

// Fills a product with defaults: dense matrices that do not lie transposed, alpha 1, beta 0, one product of f32.
//
// product must be valid for a write.
CW_API
cw_status cw_matmul_default(struct cw_matmul *product);

// Queues a matrix product on a stream of the virtual GPU and returns. *execution (may be NULL) gets its number.
//
// product must be valid, execution null or valid for a write; the matrices must stay allocated until it has run.
CW_API
cw_status cw_vgpu_matrix_multiply(int32_t virtual_gpu,
                                  const struct cw_matmul *product,
                                  int32_t stream,
                                  int32_t *execution);

// Queues a convolution on a stream of the virtual GPU and returns. *execution (may be NULL) gets its number.
//
// convolution must be valid, execution null or valid for a write; the tensors must stay allocated until it has run.
CW_API
cw_status cw_vgpu_convolution_forward(int32_t virtual_gpu,
                                      const struct cw_convolution *convolution,
                                      int32_t stream,
                                      int32_t *execution);

// Queues an activation on a stream of the virtual GPU and returns. *execution (may be NULL) gets its number.
//
// activation must be valid, its name NUL-terminated, execution null or valid for a write; the tensors must stay allocated
// until it has run.
CW_API
cw_status cw_vgpu_activation_forward(int32_t virtual_gpu,
                                     const struct cw_activation *activation,
                                     int32_t stream,
                                     int32_t *execution);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* COGNIWARE_COGNIWARE_H */
