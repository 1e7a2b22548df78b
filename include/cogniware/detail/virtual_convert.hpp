// SPDX-License-Identifier: MIT OR Apache-2.0
// Between the structs of virtual GPUs and those of the C interface.
#ifndef COGNIWARE_DETAIL_VIRTUAL_CONVERT_HPP
#define COGNIWARE_DETAIL_VIRTUAL_CONVERT_HPP

#include <cogniware/virtualization/virtualization_types.h>
#include <cogniware/detail/check.hpp>

namespace cogniware {
namespace detail {

// Milliseconds.
inline double ms(std::uint64_t nanoseconds) { return static_cast<double>(nanoseconds) * 1e-6; }

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
    info.queueWaitSeconds = static_cast<double>(from.queue_wait_ns) * 1e-9;
    info.gateWaitSeconds = static_cast<double>(from.wait_time_ns) * 1e-9;
    info.admissions = from.admissions;
    info.processorSeconds = static_cast<double>(from.processor_time_ns) * 1e-9;
    info.launches = from.launches;
    info.computeUtilization = from.utilization_second;
    info.computeUtilizationMinute = from.utilization_minute;
    info.gotShare = from.share_second;
    info.gotShareMinute = from.share_minute;
    info.latencyMeanMs = static_cast<double>(from.latency_mean_ns) * 1e-6;
    info.latencyP50Ms = static_cast<double>(from.latency_p50_ns) * 1e-6;
    info.latencyP99Ms = static_cast<double>(from.latency_p99_ns) * 1e-6;
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
    info.compactions = from.compactions;
    info.longestPauseMs = ms(from.longest_pause_ns);
    info.computeUtilization = from.unit.utilization_second;
    info.compute = to_cpp(from.unit.streams == 0 ? -1 : from.id, from.unit);
    return info;
}

inline DeviceUsage to_cpp(const cw_device_usage& from) {
    DeviceUsage usage;
    usage.device = (from.device_kind == CW_DEVICE_CPU ? "cpu:" : "cuda:") + std::to_string(from.device_ordinal);
    usage.numProcessors = static_cast<int>(from.processors);
    usage.utilization = from.utilization;
    usage.tenantsUtilization = from.tenants_second;
    usage.tenantsUtilizationMinute = from.tenants_minute;
    usage.tenantsOverDevice = from.tenants_over_device;
    usage.memoryUsed = from.memory_used;
    usage.memoryTotal = from.memory_total;
    usage.tenantsBusySeconds = static_cast<double>(from.tenants_busy_ns) * 1e-9;
    usage.tenantsProcessorSeconds = static_cast<double>(from.tenants_processor_time_ns) * 1e-9;
    return usage;
}

inline VirtualMemoryInfo to_cpp(int id, const cw_vmem_info& from) {
    VirtualMemoryInfo info;
    info.virtualGPUId = id;
    info.pageSize = from.page_size;
    info.base = from.base;
    info.totalMemory = from.total;
    info.usedMemory = from.used;
    info.freeMemory = from.free;
    info.largestFree = from.largest_free;
    info.fragmentationLevel = static_cast<float>(from.fragmentation);
    info.peakMemory = from.peak;
    info.memoryFloor = from.floor;
    info.physicalMemory = from.physical;
    info.numAllocations = from.allocations;
    info.rejections = from.rejections;
    info.compactions = from.compactions;
    info.automaticCompactions = from.automatic_compactions;
    info.bytesMoved = from.bytes_moved;
    info.bytesGivenBack = from.bytes_given_back;
    info.lastPauseMs = ms(from.last_pause_ns);
    info.longestPauseMs = ms(from.longest_pause_ns);
    info.totalPauseMs = ms(from.total_pause_ns);
    return info;
}

inline VirtualPage to_cpp(const cw_vmem_page& from) {
    VirtualPage page;
    page.address = from.address;
    page.size = from.size;
    page.granule = from.granule;
    page.live = from.live;
    page.resident = from.resident;
    page.state = static_cast<PageState>(from.state);
    page.pinned = from.pinned != 0;
    return page;
}

inline MemoryPolicy to_cpp(const cw_vmem_policy& from) {
    MemoryPolicy policy;
    policy.guardBytes = from.guard_bytes;
    policy.guardPattern = from.guard_pattern != 0;
    policy.smallPools = from.small_pools != 0;
    policy.smallLimit = from.small_limit;
    policy.compactBeforeRefusal = from.before_refusal != 0;
    policy.automaticDefragmentation = from.automatic != 0;
    policy.defragmentationThreshold = from.threshold;
    policy.maxPauseMs = from.max_pause_ms;
    return policy;
}

inline cw_vmem_policy to_c(const MemoryPolicy& from) {
    cw_vmem_policy policy{};
    policy.struct_size = sizeof policy;
    policy.guard_bytes = from.guardBytes;
    policy.guard_pattern = from.guardPattern ? 1 : 0;
    policy.small_pools = from.smallPools ? 1 : 0;
    policy.small_limit = from.smallLimit;
    policy.before_refusal = from.compactBeforeRefusal ? 1 : 0;
    policy.automatic = from.automaticDefragmentation ? 1 : 0;
    policy.threshold = from.defragmentationThreshold;
    policy.max_pause_ms = from.maxPauseMs;
    return policy;
}

inline CompactionReport to_cpp(const cw_vmem_compaction& from) {
    CompactionReport report;
    report.bytesMoved = from.bytes_moved;
    report.bytesGivenBack = from.bytes_given_back;
    report.slices = from.slices;
    report.complete = from.complete != 0;
    report.longestPauseMs = ms(from.longest_pause_ns);
    report.pausedMs = ms(from.paused_ns);
    report.longestWaitMs = ms(from.longest_wait_ns);
    report.timeMs = ms(from.time_ns);
    return report;
}

}  // namespace detail
}  // namespace cogniware

#endif
