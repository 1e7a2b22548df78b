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
    double queueWaitSeconds = 0.0;  // waited for processors
    std::uint64_t admissions = 0;   // how often it was let onto its processors
};

// The figures of a virtual GPU at one moment.
struct VirtualGPUInfo {
    int virtualGPUId = -1;  // -1: none was found
    std::string name;
    VirtualGPUStatus status = VirtualGPUStatus::NOT_CREATED;
    std::string device;              // "cpu:0", "cuda:0"
    float memoryUtilization = 0.0F;  // held over limit, 0 to 1
    std::size_t memoryLimit = 0;
    std::size_t memoryFloor = 0;     // set aside for it
    std::size_t memoryHeld = 0;      // charged now
    std::size_t memoryPeak = 0;      // the most ever charged
    std::size_t memoryPhysical = 0;  // mapped for it alone
    std::size_t allocations = 0;     // live ones
    std::uint64_t rejections = 0;    // requests refused because of the limit
    VirtualComputeUnitInfo compute;  // its compute unit
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

// The figures of a memory space at one moment.
struct VirtualMemoryInfo {
    int virtualGPUId = -1;           // -1: none was found
    std::size_t pageSize = 0;        // as it is: at least the device's granularity
    std::uint64_t base = 0;          // first address of its range
    std::size_t totalMemory = 0;     // the most it may hold
    std::size_t usedMemory = 0;      // charged now
    std::size_t freeMemory = 0;      // may still be allocated
    std::size_t peakMemory = 0;      // the most ever charged
    std::size_t memoryFloor = 0;     // set aside for it
    std::size_t physicalMemory = 0;  // mapped for it alone
    std::size_t numAllocations = 0;  // live ones
    std::uint64_t rejections = 0;    // requests refused because of the limit
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
