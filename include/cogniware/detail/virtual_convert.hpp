// SPDX-License-Identifier: MIT OR Apache-2.0
// Between the structs of virtual GPUs and those of the C interface.
#ifndef COGNIWARE_DETAIL_VIRTUAL_CONVERT_HPP
#define COGNIWARE_DETAIL_VIRTUAL_CONVERT_HPP

#include <cogniware/virtualization/virtualization_types.h>
#include <cogniware/detail/check.hpp>

namespace cogniware {
namespace detail {

inline VirtualComputeUnitInfo to_cpp(int id, const cw_vcompute_info& from) {
    VirtualComputeUnitInfo info;
    info.virtualGPUId = id;
    info.requestedComputeUnits = static_cast<int>(from.processors_asked);
    info.numComputeUnits = static_cast<int>(from.processors);
    info.numStreams = static_cast<int>(from.streams);
    info.busyStreams = static_cast<int>(from.busy_streams);
    info.tensorCoresEnabled = from.math != CW_MATH_PLAIN;
    info.mathMode = from.math;
    info.priority = static_cast<TaskPriority>(from.priority);
    info.computeShare = from.share_asked;
    info.dueShare = from.share_due;
    info.deviceSeconds = static_cast<double>(from.device_time_ns) * 1e-9;
    info.queueWaitSeconds = static_cast<double>(from.wait_time_ns) * 1e-9;
    info.admissions = from.admissions;
    return info;
}

inline VirtualGPUInfo to_cpp(const cw_vgpu_info& from) {
    VirtualGPUInfo info;
    info.virtualGPUId = from.id;
    info.name = field(from.name);
    info.status = static_cast<VirtualGPUStatus>(from.status);
    info.device = (from.device_kind == CW_DEVICE_CPU ? "cpu:" : "cuda:") + std::to_string(from.device_ordinal);
    info.memoryUtilization =
        from.memory_limit == 0
            ? 0.0F
            : static_cast<float>(static_cast<double>(from.memory_held) / static_cast<double>(from.memory_limit));
    info.memoryLimit = from.memory_limit;
    info.memoryFloor = from.memory_floor;
    info.memoryHeld = from.memory_held;
    info.memoryPeak = from.memory_peak;
    info.memoryPhysical = from.memory_physical;
    info.allocations = from.allocations;
    info.rejections = from.rejections;
    info.compute = to_cpp(from.unit.streams == 0 ? -1 : from.id, from.unit);
    return info;
}

inline VirtualMemoryInfo to_cpp(int id, const cw_vmem_info& from) {
    VirtualMemoryInfo info;
    info.virtualGPUId = id;
    info.pageSize = from.page_size;
    info.base = from.base;
    info.totalMemory = from.total;
    info.usedMemory = from.used;
    info.freeMemory = from.free;
    info.peakMemory = from.peak;
    info.memoryFloor = from.floor;
    info.physicalMemory = from.physical;
    info.numAllocations = from.allocations;
    info.rejections = from.rejections;
    return info;
}

}  // namespace detail
}  // namespace cogniware

#endif
