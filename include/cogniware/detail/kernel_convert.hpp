// SPDX-License-Identifier: MIT OR Apache-2.0
// From the C structs to those of core/kernel_types.h.
#ifndef COGNIWARE_DETAIL_KERNEL_CONVERT_HPP
#define COGNIWARE_DETAIL_KERNEL_CONVERT_HPP

#include <cogniware/core/kernel_types.h>
#include <cogniware/detail/check.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>

namespace cogniware {
namespace detail {

inline std::chrono::system_clock::time_point time_point(std::uint64_t microseconds) {
    using Clock = std::chrono::system_clock;
    return Clock::time_point(std::chrono::duration_cast<Clock::duration>(std::chrono::microseconds(microseconds)));
}

inline int to_int(std::uint64_t value) {
    return static_cast<int>(std::min<std::uint64_t>(value, std::numeric_limits<int>::max()));
}

inline GPUDeviceInfo to_cpp(const cw_device_info& from, int index) {
    GPUDeviceInfo info;
    info.deviceId = index;
    info.name = field(from.name);
    info.totalMemory = from.total_memory;
    info.freeMemory = from.free_memory;
    info.computeCapability = to_int(from.compute_major * 10 + from.compute_minor);
    info.maxThreadsPerBlock = to_int(from.max_threads_per_block);
    info.maxBlocksPerGrid = to_int(from.max_grid_dim[0]);
    info.maxThreadsPerMultiProcessor = to_int(from.max_threads_per_multiprocessor);
    info.multiProcessorCount = to_int(from.multiprocessors);
    info.tensorCoreCount = to_int(from.tensor_cores);
    info.cudaCoreCount = to_int(from.cuda_cores);
    info.supportsNVLink = from.nvlink_count > 0;
    for (int link = 0; link < 32; ++link) {
        if ((from.nvlink_active >> link & 1U) != 0 && from.nvlink_peers[link] >= 0) {
            info.nvLinkConnections.push_back(from.nvlink_peers[link]);
        }
    }
    return info;
}

inline ComputeNode to_cpp(const cw_node_info& from, const cw_device_info& device) {
    ComputeNode node;
    node.nodeId = to_int(from.id);
    node.type = static_cast<ComputeNodeType>(from.kind);
    node.memorySize = from.memory;
    node.computeCapability = device.compute_major * 10 + device.compute_minor;
    node.isAllocated = from.owner[0] != '\0';
    node.isActive = from.is_active != 0;
    node.lastUsed = time_point(from.last_used_us);
    for (std::uint32_t unit = 0; unit < from.unit_count && unit < 64; ++unit) {
        node.allocatedCores.push_back(to_int(from.units[unit]));
    }
    if (node.isAllocated) {
        node.allocatedMemory.push_back(from.memory_used);
    }
    if (from.address != 0) {
        node.customData["memory"] = reinterpret_cast<void*>(static_cast<std::uintptr_t>(from.address));
    }
    node.detail = field(from.detail);
    return node;
}

inline MemoryPartition to_cpp(const cw_partition_info& from) {
    MemoryPartition partition;
    partition.partitionId = from.id;
    partition.type = static_cast<MemoryPartitionType>(from.type);
    partition.size = from.bytes;
    partition.offset = from.offset;
    partition.isAllocated = true;
    partition.devicePtr = from.device_pointer;
    partition.hostPtr = from.host_pointer;
    partition.ownerLLM = field(from.owner);
    partition.allocatedAt = time_point(from.created_us);
    partition.textureObject = from.texture;
    return partition;
}

}  // namespace detail
}  // namespace cogniware

#endif
