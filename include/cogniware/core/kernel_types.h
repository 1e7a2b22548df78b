// SPDX-License-Identifier: MIT OR Apache-2.0
// The structs and enumerations of the kernel's and the driver's classes.
#ifndef COGNIWARE_CORE_KERNEL_TYPES_H
#define COGNIWARE_CORE_KERNEL_TYPES_H

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace cogniware {

// What a compute node gives; the numbers are those of CW_NODE_*.
//   TENSOR_CORE    processors with their matrix circuits: SMs with tensor cores, CPU cores with 8-bit dot products
//   CUDA_CORE      the same processors for f32 arithmetic alone; who holds nodes of both kinds may use matrix circuits
//   MEMORY_BANK    physical memory that nobody else can have from the moment it is taken
//   SHARED_MEMORY  GPU: the largest carve-out of shared memory for the holder's kernels; CPU: memory that fits a core's L2
//   L2_CACHE       GPU: a slice of L2 in which a window of the holder's memory persists; CPU: a last-level cache, on whose
//                  cores the holder stays
enum class ComputeNodeType { TENSOR_CORE, CUDA_CORE, MEMORY_BANK, SHARED_MEMORY, L2_CACHE };

enum class MemoryPartitionType { GLOBAL_MEMORY, SHARED_MEMORY, CONSTANT_MEMORY, TEXTURE_MEMORY, LOCAL_MEMORY };

// Who goes first; the numbers are those of CW_PRIORITY_*.
enum class TaskPriority { CRITICAL = 0, HIGH = 1, NORMAL = 2, LOW = 3, BACKGROUND = 4 };

// One compute node of the current device.
struct ComputeNode {
    int nodeId = -1;  // unique on its device; -1: none was found
    ComputeNodeType type = ComputeNodeType::CUDA_CORE;
    std::size_t memorySize = 0;                      // bytes: of the device (processors share it), bank, or cache
    std::size_t computeCapability = 0;               // of the device: 90 for 9.0; 0 on the CPU
    bool isAllocated = false;                        // a tenant holds it
    bool isActive = false;                           // held, and used since: work ran, memory was drawn
    std::chrono::system_clock::time_point lastUsed;  // when work last ran or memory was drawn; the epoch: never
    std::vector<int> allocatedCores;                 // cores, or indices of groups of SMs (at most 64 are listed)
    std::vector<std::size_t> allocatedMemory;        // while held: bytes in use (of a bank: drawn; of processors: the
                                                     // holder's allocations)
    std::map<std::string, void*> customData;         // "memory": where shared memory of the CPU device lies
    std::string detail;                              // what it is on this device, in words
};

// A reservation of one tenant's memory of one kind. LOCAL memory has no address: `offset`, `devicePtr` and `hostPtr` are 0.
struct MemoryPartition {
    int partitionId = -1;  // -1: none was found
    MemoryPartitionType type = MemoryPartitionType::GLOBAL_MEMORY;
    std::size_t size = 0;       // bytes; SHARED and CONSTANT in whole granules; LOCAL: of one thread's stack
    std::size_t offset = 0;     // bytes from the start of the tenant's address range
    bool isAllocated = false;   // true for every partition that exists
    void* devicePtr = nullptr;  // owned by Cogniware until the partition is destroyed
    void* hostPtr = nullptr;    // the same memory for the host, or null where it cannot reach it
    std::string ownerLLM;       // the tenant
    std::chrono::system_clock::time_point allocatedAt;
    unsigned long long textureObject = 0;  // what kernels read TEXTURE memory by; 0 for other types
};

// A task: what to do when it is given to scheduleTask, and what is known of it when getTaskStatus returns it.
struct ComputeTask {
    std::string taskId;  // empty for a new id
    std::string llmId;   // the tenant; opened with default limits on first use
    TaskPriority priority = TaskPriority::NORMAL;
    std::size_t requiredMemory = 0;      // bytes that must be free within the tenant's limit to start
    std::size_t requiredCores = 0;       // cores or SMs that it needs to start
    std::function<void()> taskFunction;  // empty in what getTaskStatus returns
    std::chrono::system_clock::time_point createdAt;
    std::chrono::system_clock::time_point scheduledAt;  // when it started; the epoch: not yet
    std::chrono::system_clock::time_point completedAt;  // when it ended, however; the epoch: not yet
    bool isCompleted = false;                           // it ended well
    std::string result;                                 // empty until it ended; the error's text when it failed
};

// What is known of a device. What has no meaning on it or cannot be read is 0.
struct GPUDeviceInfo {
    int deviceId = -1;  // what selectDevice takes; -1: none was found
    std::string name;
    std::size_t totalMemory = 0;  // bytes
    std::size_t freeMemory = 0;   // bytes
    int computeCapability = 0;    // 90 for 9.0; 0 on the CPU
    int maxThreadsPerBlock = 0;
    int maxBlocksPerGrid = 0;  // in the first dimension
    int maxThreadsPerMultiProcessor = 0;
    int multiProcessorCount = 0;  // SMs, or cores that this process may use
    int tensorCoreCount = 0;
    int cudaCoreCount = 0;               // FP32 lanes
    bool supportsNVLink = false;         // it has links (known when NVML is installed)
    std::vector<int> nvLinkConnections;  // CUDA ordinals at the other ends of links that are up
};

}  // namespace cogniware

#endif
