// SPDX-License-Identifier: MIT OR Apache-2.0
// The structs and enumerations of virtual GPUs, their memory spaces and compute units. Sizes are bytes.
#ifndef COGNIWARE_VIRTUALIZATION_VIRTUALIZATION_TYPES_H
#define COGNIWARE_VIRTUALIZATION_VIRTUALIZATION_TYPES_H

#include <cogniware/core/kernel_types.h>
#include <cogniware/cuda_types.h>

#include <cstddef>
#include <cstdint>
#include <string>

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
};

// How a virtual GPU is; the numbers are those of CW_VGPU_*.
enum class VirtualGPUStatus {
    NOT_CREATED = 0,  // no virtual GPU has the id
    IDLE = 1,         // it has no work
    BUSY = 2,         // work is queued or runs
    CLOSED = 3,       // its tenant was closed by name
    LOST = 4          // its device was lost: destroy it and create it again
};

// What matrix work may round its inputs to; the numbers are those of CW_PRECISION_*.
enum class Precision { FULL = 0, MIXED = 1 };

// The figures of a compute unit at one moment.
struct VirtualComputeUnitInfo {
    int virtualGPUId = -1;            // -1: none was found
    int requestedComputeUnits = 0;    // as asked for; 0: the whole device
    int numComputeUnits = 0;          // cores or SMs of its node; 0: nothing has run yet
    int numStreams = 0;               //
    int busyStreams = 0;              // with work that has not ended
    bool tensorCoresEnabled = false;  // whether its matrix work may use matrix circuits
    int mathMode = 0;                 // CW_MATH_*: what it may use
    TaskPriority priority = TaskPriority::NORMAL;
    float computeShare = 0.0F;      // as asked for; 0: not
    float dueShare = 0.0F;          // its weight over those of all virtual GPUs of the device
    double deviceSeconds = 0.0;     // measured device time
    double queueWaitSeconds = 0.0;  // that pieces of work waited between submission and their beginning, added up
    double gateWaitSeconds = 0.0;   // waited for processors
    std::uint64_t admissions = 0;   // how often it was let onto its processors
    double processorSeconds = 0.0;  // device time times the processors that it was used on: SM-seconds
    std::uint64_t launches = 0;     // pieces of work that have ended
    // Parts of the last second and minute in which its processors ran its work, 0 to 1.
    float computeUtilization = 0.0F;
    float computeUtilizationMinute = 0.0F;
    // Its parts of what all tenants of the device, LLMs too, used in the last second and minute.
    float gotShare = 0.0F;
    float gotShareMinute = 0.0F;
    // From submission to the end: the mean of all, the median and the 99th percentile of the last 30 to 60 seconds.
    double latencyMeanMs = 0.0;
    double latencyP50Ms = 0.0;
    double latencyP99Ms = 0.0;
};

// The figures of a virtual GPU at one moment.
struct VirtualGPUInfo {
    int virtualGPUId = -1;  // -1: none was found
    std::string name;
    VirtualGPUStatus status = VirtualGPUStatus::NOT_CREATED;
    std::string device;               // "cpu:0", "cuda:0"
    float memoryUtilization = 0.0F;   // held over limit, 0 to 1
    float computeUtilization = 0.0F;  // part of the last second in which its processors ran its work
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

// How compute units are bounded together.
struct ComputeVirtualizationConfig {
    int deviceId = 0;  // as selectDevice takes it: 0 is the default device
    int maxVirtualComputeUnits = 64;
    bool enableDynamicScaling = true;  // whether scaleComputeUnits may change units while they live
};

// What a compute unit is asked for.
struct VirtualComputeUnitConfig {
    int numComputeUnits = 0;  // cores or SMs; 0, or more than there are: the whole device, time-shared
    int numStreams = 1;       // 1 to 256
    bool enableTensorCores = true;
    Precision precision = Precision::FULL;
    float computeShare = 0.0F;  // part of contended processors, 0 to 1; 0: an equal part of what others leave
    TaskPriority priority = TaskPriority::NORMAL;
};

}  // namespace cogniware

#endif
