// SPDX-License-Identifier: MIT OR Apache-2.0
// The structs and enumerations of virtual GPUs, their memory spaces and compute units. Sizes are bytes.
#ifndef COGNIWARE_VIRTUALIZATION_VIRTUALIZATION_TYPES_H
#define COGNIWARE_VIRTUALIZATION_VIRTUALIZATION_TYPES_H

#include <cogniware/core/kernel_types.h>
#include <cogniware/cuda_types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cogniware {

// How virtual GPUs are bounded together.
struct VirtualizationConfig {
    int deviceId = 0;           // as selectDevice takes it: 0 is the default device
    int maxVirtualGPUs = 16;    // at a time
    int numVirtualStreams = 0;  // the most streams of all virtual GPUs together; 0: no bound
};

// What a virtual GPU is asked for.
struct VirtualGPUConfig {
    int virtualGPUId = 0;               // 0 or more
    std::size_t memoryLimit = 0;        // the most it may hold: a bound, not a reservation; must be set
    int numStreams = 1;                 // 1 to 256
    bool enableTensorCores = true;      // whether its matrix work may use matrix circuits
    bool enableMixedPrecision = false;  // whether that may round 32-bit inputs to what matrix circuits take
    float computeShare = 0.0F;          // part of contended processors, 0 to 1; 0: an equal part of what others leave
    std::string name;                   // for people; empty: vgpu:<id>
    std::size_t memoryFloor = 0;        // set aside for it, whether it uses it or not
    int numComputeUnits = 0;            // cores or SMs; 0, or more than there are: the whole device, time-shared
    TaskPriority priority = TaskPriority::NORMAL;  // who goes first where processors are contended
    float computeCap = 0.0F;  // the most of its processors' time, also when nobody else wants them; 0: no cap
    int deviceId = -1;        // as selectDevice takes it; -1: the driver's
};

// How a virtual GPU is; the numbers are those of CW_VGPU_*.
enum class VirtualGPUStatus {
    NOT_CREATED = 0,  // no virtual GPU has the id
    IDLE = 1,         // it has no work
    BUSY = 2,         // work is queued or runs
    CLOSED = 3,       // its tenant was closed by name
    LOST = 4          // its device was lost: destroy it and create it again
};

// What f32 inputs of matrix work may be rounded to; the numbers are those of CW_PRECISION_*. A permission: a device that has no
// such circuit keeps more bits.
enum class Precision { FP32 = 0, TF32 = 1, FP16 = 2, BF16 = 3 };

// The figures of a compute unit at one moment. Times are measured on the device.
struct VirtualComputeUnitInfo {
    int virtualGPUId = -1;          // -1: none was found
    int requestedComputeUnits = 0;  // as asked for; 0: the whole device
    int numComputeUnits = 0;        // cores or SMs of its node
    int numStreams = 0;
    int busyStreams = 0;              // with work that has not ended
    bool tensorCoresEnabled = false;  // whether its matrix work may use matrix circuits
    Precision precision = Precision::FP32;
    int mathMode = 0;  // CW_MATH_*: what it may use
    TaskPriority priority = TaskPriority::NORMAL;
    float computeUtilization = 0.0F;  // part of the last second in which its work ran
    float utilizationMinute = 0.0F;   // of the last minute, or of its life where that is shorter
    float computeShare = 0.0F;        // as asked for; 0: not
    float dueShare = 0.0F;            // its weight over those of all virtual GPUs of the device
    float gotShare = 0.0F;            // its part of what all tenants of the device used in the last second
    float gotShareMinute = 0.0F;      // of the last minute
    double latencyMeanMs = 0.0;       // from submission to the end, of all work
    double latencyP50Ms = 0.0;        // the median of the last 30 to 60 seconds
    double latencyP99Ms = 0.0;        // what 99 of 100 of these are below
    float computeCap = 0.0F;          // the most that it gets; 0: no cap
    double deviceSeconds = 0.0;       // device time that its work has taken
    double processorSeconds = 0.0;    // the same times the processors it was used on: SM-seconds
    double gateWaitSeconds = 0.0;     // waited for processors
    double queueWaitSeconds = 0.0;    // between submission and the stream, all work together
    std::uint64_t launches = 0;       // put on the streams; each piece of piecewise work counts
    std::uint64_t pending = 0;        // queued now
    std::uint64_t failed = 0;         // executions
    std::uint64_t cancelled = 0;      // executions
    std::uint64_t timedOut = 0;       // executions
    std::uint64_t admissions = 0;     // how often it was let onto its processors
};

// The figures of a virtual GPU at one moment.
struct VirtualGPUInfo {
    int virtualGPUId = -1;  // -1: none was found
    std::string name;
    VirtualGPUStatus status = VirtualGPUStatus::NOT_CREATED;
    std::string device;               // "cpu:0", "cuda:0"
    float memoryUtilization = 0.0F;   // held over limit, 0 to 1
    float computeUtilization = 0.0F;  // part of the last second in which its work ran, 0 to 1
    std::size_t memoryLimit = 0;
    std::size_t memoryFloor = 0;     // set aside for it
    std::size_t memoryHeld = 0;      // charged now
    std::size_t memoryPeak = 0;      // the most ever charged
    std::size_t memoryPhysical = 0;  // mapped for it alone
    std::size_t allocations = 0;     // live ones
    std::uint64_t rejections = 0;    // requests refused because of the limit
    std::uint64_t compactions = 0;   // of its memory
    double longestPauseMs = 0.0;     // the longest that one held its work up at a time
    VirtualComputeUnitInfo compute;  // its compute unit
};

// A whole device beside what the tenants of this process (virtual GPUs and LLMs) had of it.
struct DeviceUsage {
    std::string device;  // "cpu:0", "cuda:0"; empty: none was found
    int numProcessors = 0;
    // Busy part of the last second with work of all programs, 0 to 1: on a GPU time in which any kernel ran (NVML), on the CPU the
    // mean of its cores (the system's counters). -1 where nobody tells.
    float utilization = -1.0F;
    // Busy parts of the last second and minute with work of the tenants, counted in the same way.
    float tenantsUtilization = 0.0F;
    float tenantsUtilizationMinute = 0.0F;
    // tenantsUtilization over utilization: 1 when all that the device does is their work. -1 when it is idle.
    float tenantsOverDevice = -1.0F;
    std::size_t memoryUsed = 0;  // by all programs; 0 where nobody tells
    std::size_t memoryTotal = 0;
    double tenantsBusySeconds = 0.0;       // time in which work of any tenant ran
    double tenantsProcessorSeconds = 0.0;  // device time of all tenants times the processors that it was used on
};

// What memory spaces are like.
struct MemoryVirtualizationConfig {
    int deviceId = 0;             // as selectDevice takes it: 0 is the default device
    std::size_t pageSize = 4096;  // wished for, a power of two; the device's granularity where that is larger
    bool enableAutomaticDefragmentation = true;
    float defragmentationThreshold = 0.5F;  // from which fragmentationLevel on, 0 to 1
    double maxPauseMs = 5.0;                // how long work may wait at a time while memory moves
    std::size_t guardBytes = 0;             // kept free behind each allocation, rounded up to 256
    bool enableSmallPools = true;           // small allocations come from pools of their size
};

// The figures of a memory space at one moment. docs/virtualization.md defines them.
struct VirtualMemoryInfo {
    int virtualGPUId = -1;                   // -1: none was found
    float fragmentationLevel = 0.0F;         // the share of freeMemory that no allocation of largestFree bytes can use
    std::size_t pageSize = 0;                // as it is: at least the device's granularity
    std::uint64_t base = 0;                  // first address of its range
    std::size_t totalMemory = 0;             // the most it may hold
    std::size_t usedMemory = 0;              // charged now
    std::size_t freeMemory = 0;              // may still be allocated: under the limit, and as far as the device has it
    std::size_t largestFree = 0;             // the largest single allocation that would succeed now without compaction
    std::size_t peakMemory = 0;              // the most ever charged
    std::size_t memoryFloor = 0;             // set aside for it
    std::size_t physicalMemory = 0;          // mapped for it alone
    std::size_t numAllocations = 0;          // live ones
    std::uint64_t rejections = 0;            // requests refused because of the limit
    std::uint64_t compactions = 0;           // those that gave something back or moved something
    std::uint64_t automaticCompactions = 0;  // of these those that began by themselves
    std::size_t bytesMoved = 0;              // copied to other physical memory
    std::size_t bytesGivenBack = 0;          // physical memory that went back
    double lastPauseMs = 0.0;                // the longest pause of the last compaction
    double longestPauseMs = 0.0;             // of all
    double totalPauseMs = 0.0;               // all pauses together
};

// What is in a page; the numbers are those of CW_PAGE_*. KEPT memory is freed as a whole by its owner and stays where it is.
enum class PageState { FREE = 0, PARTLY = 1, USED = 2, KEPT = 3 };

// One mapped page of a memory space.
struct VirtualPage {
    std::uint64_t address = 0;  // first byte
    std::size_t size = 0;
    std::uint64_t granule = 0;  // the physical piece behind it, which may be that of other pages too
    std::size_t live = 0;       // bytes of it that are allocated
    std::size_t resident = 0;   // bytes of it that have memory
    PageState state = PageState::FREE;
    bool pinned = false;  // compaction leaves its piece where it is
};

// How a memory space allocates and when it compacts itself; getMemoryPolicy fills it.
struct MemoryPolicy {
    std::size_t guardBytes = 0;  // behind each allocation, charged with it; copies that touch them are refused
    bool guardPattern = false;   // fills them, so that checkGuards() finds what wrote there
    bool smallPools = true;      // small allocations come from memory of their own
    std::size_t smallLimit = 0;  // allocations of fewer bytes are small
    bool compactBeforeRefusal = true;
    bool automaticDefragmentation = false;
    double defragmentationThreshold = 0.0;  // from which fragmentationLevel on
    double maxPauseMs = 0.0;                // how long work may wait at a time
};

// Which of a space's memory is moved to the host when what it has above its floor is asked back; the numbers are those of
// CW_SPILL_*. NEVER: it gets no part of anybody's floor.
enum class SpillPolicy { NEVER = 0, COLDEST = 1, LARGEST = 2 };

// What is known of an allocation; the numbers are those of CW_ADVICE_*. PINNED never moves, COLD goes first.
enum class MemoryAdvice { NORMAL = 0, PINNED = 1, COLD = 2 };

// What moving memory to the host and back has cost.
struct SpillInfo {
    std::size_t spilled = 0;      // in host memory now: still held, not physical
    std::size_t spilledPeak = 0;  // the most there ever was
    std::size_t hostBytes = 0;    // page-locked host memory for it
    std::uint64_t spills = 0;     // times something was moved to the host
    std::uint64_t fetches = 0;    // times something was fetched
    std::size_t bytesOut = 0;
    std::size_t bytesIn = 0;
    double bytesPerSecondOut = 0.0;
    double bytesPerSecondIn = 0.0;
    double pausedMs = 0.0;  // that work was held up while memory moved
    double longestPauseMs = 0.0;
    double fetchingMs = 0.0;  // that work waited for its memory
    double longestFetchMs = 0.0;
};

// What a compaction did.
struct CompactionReport {
    std::size_t bytesMoved = 0;      // copied to other physical memory
    std::size_t bytesGivenBack = 0;  // physical memory that went back
    unsigned slices = 0;             // in how many it was done
    bool complete = false;           // nothing is left to be done
    double longestPauseMs = 0.0;     // the longest that new work was held up
    double pausedMs = 0.0;           // all pauses together
    double longestWaitMs = 0.0;      // the longest wait for work in flight
    double timeMs = 0.0;             // from the first slice to the last
};

// By what chooseComputeUnit chooses; the numbers are those of CW_BALANCE_*: in turn, by what is asked of each processor, or by
// measured time.
enum class LoadBalancingStrategy { ROUND_ROBIN = 0, LEAST_LOADED = 1, MEASURED_TIME = 2 };

// How compute units are bounded together.
struct ComputeVirtualizationConfig {
    int deviceId = 0;  // as selectDevice takes it: 0 is the default device
    int maxVirtualComputeUnits = 64;
    bool enableDynamicScaling = true;  // whether scaleComputeUnits may change units while they live
    LoadBalancingStrategy strategy = LoadBalancingStrategy::LEAST_LOADED;
};

// What a compute unit is asked for.
struct VirtualComputeUnitConfig {
    int numComputeUnits = 0;  // cores or SMs; 0, or more than there are: the whole device, time-shared
    int numStreams = 1;       // 1 to 256
    bool enableTensorCores = true;
    Precision precision = Precision::FP32;
    float computeShare = 0.0F;  // part of contended processors, 0 to 1; 0: an equal part of what others leave
    TaskPriority priority = TaskPriority::NORMAL;
    float computeCap = 0.0F;       // the most of its processors' time, also when nobody else wants them; 0: no cap
    double kernelTimeoutMs = 0.0;  // from submission to the end, for work that names no bound; 0: none
    int deviceId = -1;             // as selectDevice takes it; -1: the manager's
};

// One argument of a kernel: made from pointers, integers and floating-point numbers as they are, from structs by value().
class KernelArgument {
public:
    KernelArgument(const void* pointer) noexcept
        : kind_(0), value_(static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(pointer))) {}
    KernelArgument(std::nullptr_t) noexcept : kind_(0) {}
    KernelArgument(int value) noexcept : kind_(1), value_(static_cast<std::uint32_t>(value)) {}
    KernelArgument(unsigned value) noexcept : kind_(2), value_(value) {}
    KernelArgument(long value) noexcept : kind_(3), value_(static_cast<std::uint64_t>(value)) {}
    KernelArgument(long long value) noexcept : kind_(3), value_(static_cast<std::uint64_t>(value)) {}
    KernelArgument(unsigned long value) noexcept : kind_(4), value_(value) {}
    KernelArgument(unsigned long long value) noexcept : kind_(4), value_(value) {}
    KernelArgument(float value) noexcept : kind_(5) { std::memcpy(&value_, &value, sizeof value); }
    KernelArgument(double value) noexcept : kind_(6) { std::memcpy(&value_, &value, sizeof value); }

    // A struct by value.
    template <class T>
    static KernelArgument value(const T& object) {
        static_assert(std::is_trivially_copyable<T>::value, "kernels take bytes");
        return bytes(&object, sizeof object);
    }
    static KernelArgument bytes(const void* data, std::size_t size) {
        KernelArgument argument(0);
        argument.kind_ = 7;
        argument.bytes_.assign(static_cast<const unsigned char*>(data), static_cast<const unsigned char*>(data) + size);
        return argument;
    }

    int kind() const noexcept { return kind_; }  // CW_ARGUMENT_*
    std::uint64_t bits() const noexcept {
        return kind_ == 7 ? static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(bytes_.data())) : value_;
    }
    std::size_t size() const noexcept { return bytes_.size(); }

    // What it is: a pointer, a number, a struct. The kind is the caller's to know.
    void* pointer() const noexcept { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(value_)); }
    template <class T>
    T as() const noexcept {
        T object{};
        const void* from = kind_ == 7 ? static_cast<const void*>(bytes_.data()) : static_cast<const void*>(&value_);
        std::memcpy(&object, from, sizeof object);
        return object;
    }

private:
    int kind_;
    std::uint64_t value_ = 0;
    std::vector<unsigned char> bytes_;
};

// A kernel to execute: one of a loaded module, a registered host function, or a built-in one, looked for in this order.
struct KernelConfig {
    std::string kernelName;
    dim3 gridDim;   // blocks; built-in kernels choose their own shape, but the given one must be possible
    dim3 blockDim;  // threads of a block
    std::size_t sharedMemSize = 0;
    std::vector<KernelArgument> arguments;
    std::string module;        // empty: any
    double timeoutMs = 0.0;    // from submission to the end; 0: as the unit's kernelTimeoutMs
    bool cooperative = false;  // all blocks at once
};

// Where an execution stands; the numbers are those of CW_EXECUTION_*.
enum class ExecutionState { QUEUED = 0, RUNNING = 1, FINISHED = 2, FAILED = 3, CANCELLED = 4, TIMED_OUT = 5 };

// What is known of an execution.
struct ExecutionStatus {
    int executionId = -1;  // -1: unknown
    int streamId = -1;
    ExecutionState state = ExecutionState::QUEUED;
    bool running = false;  // on the device: also late work that runs on, and work that will stop at its next poll
    int status = 0;        // CW_ERROR_* it ended with
    std::string error;     // why it failed, was cancelled or timed out
};

// What a host function is told of its call.
struct HostLaunch {
    dim3 gridDim;
    dim3 blockDim;        // the function does the work of all threads of its block
    dim3 blockIdx;        // the block that this call is for; zeros when it is called once a launch
    unsigned worker = 0;  // which of the unit's threads this is, of so many
    unsigned workers = 1;
    void* shared = nullptr;  // the block's own scratch memory
    std::size_t sharedBytes = 0;
};

// What a parameter of a host function is; the numbers are those of CW_ARGUMENT_*. BYTES has a size.
struct KernelParameter {
    enum Kind { POINTER = 0, I32 = 1, U32 = 2, I64 = 3, U64 = 4, F32 = 5, F64 = 6, BYTES = 7 };
    KernelParameter(Kind kind_of, std::size_t size_of = 0) noexcept : kind(kind_of), size(size_of) {}
    Kind kind;
    std::size_t size;
};

// CUDA C++ to compile, beside its text.
struct CompileOptions {
    std::vector<std::string> options;                          // of NVRTC: --use_fast_math, -DN=4 …
    std::vector<std::string> includePaths;                     // folders of headers
    std::vector<std::pair<std::string, std::string>> headers;  // in memory: name and text
    std::vector<std::string> nameExpressions;                  // wanted kernels: scale<float, 4>
    std::string fileName;                                      // in messages; empty: the module's name
};

// What a product may be beside C = A B of dense matrices.
struct MatrixOptions {
    bool transposeA = false;  // A lies as k x m
    bool transposeB = false;  // B lies as n x k
    int lda = 0;              // elements from one row to the next; 0: the columns
    int ldb = 0;
    int ldc = 0;
    int batch = 1;
    long long strideA = -1;  // elements from one matrix to the next; -1: one behind another, 0: the same
    long long strideB = -1;
    long long strideC = -1;
    double alpha = 1.0;  // C = alpha A B + beta C
    double beta = 0.0;
};

}  // namespace cogniware

#endif
