// SPDX-License-Identifier: MIT OR Apache-2.0
// Between the structs of virtual GPUs and those of the C interface.
#ifndef COGNIWARE_DETAIL_VIRTUAL_CONVERT_HPP
#define COGNIWARE_DETAIL_VIRTUAL_CONVERT_HPP

#include <cogniware/virtualization/virtualization_types.h>

#include <cogniware/detail/check.hpp>
#include <functional>

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
    info.tensorCoresEnabled = from.tensor_cores != 0;
    info.precision = static_cast<Precision>(from.precision);
    info.mathMode = from.math;
    info.priority = static_cast<TaskPriority>(from.priority);
    info.computeUtilization = static_cast<float>(from.utilization_second);
    info.utilizationMinute = static_cast<float>(from.utilization_minute);
    info.computeShare = from.share_asked;
    info.dueShare = from.share_due;
    info.gotShare = from.share_got;
    info.gotShareMinute = from.share_got_minute;
    info.latencyMeanMs = ms(from.latency_mean_ns);
    info.latencyP50Ms = ms(from.latency_p50_ns);
    info.latencyP99Ms = ms(from.latency_p99_ns);
    info.computeCap = from.compute_cap;
    info.deviceSeconds = static_cast<double>(from.device_time_ns) * 1e-9;
    info.processorSeconds = static_cast<double>(from.processor_time_ns) * 1e-9;
    info.gateWaitSeconds = static_cast<double>(from.wait_time_ns) * 1e-9;
    info.queueWaitSeconds = static_cast<double>(from.queue_wait_ns) * 1e-9;
    info.launches = from.launches;
    info.pending = from.pending;
    info.failed = from.failed;
    info.cancelled = from.cancelled;
    info.timedOut = from.timed_out;
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
    info.computeUtilization = static_cast<float>(from.unit.utilization_second);
    info.memoryLimit = from.memory_limit;
    info.memoryFloor = from.memory_floor;
    info.memoryHeld = from.memory_held;
    info.memoryPeak = from.memory_peak;
    info.memoryPhysical = from.memory_physical;
    info.allocations = from.allocations;
    info.rejections = from.rejections;
    info.compactions = from.compactions;
    info.longestPauseMs = ms(from.longest_pause_ns);
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

inline SpillInfo to_cpp(const cw_vmem_spill_info& from) {
    SpillInfo info;
    info.spilled = from.spilled;
    info.spilledPeak = from.spilled_peak;
    info.hostBytes = from.host_bytes;
    info.spills = from.spills;
    info.fetches = from.fetches;
    info.bytesOut = from.bytes_out;
    info.bytesIn = from.bytes_in;
    info.bytesPerSecondOut = from.speed_out;
    info.bytesPerSecondIn = from.speed_in;
    info.pausedMs = ms(from.paused_ns);
    info.longestPauseMs = ms(from.longest_pause_ns);
    info.fetchingMs = ms(from.fetching_ns);
    info.longestFetchMs = ms(from.longest_fetch_ns);
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

// The arguments of a call; those of structs refer to `from`.
inline std::vector<cw_argument> to_c(const std::vector<KernelArgument>& from) {
    std::vector<cw_argument> list;
    list.reserve(from.size());
    for (const KernelArgument& argument : from) {
        list.push_back({argument.kind(), static_cast<std::uint32_t>(argument.size()), argument.bits()});
    }
    return list;
}

inline dim3 dims(const std::uint32_t (&from)[3]) { return dim3(from[0], from[1], from[2]); }

// A host function as user data of a registered kernel.
struct HostKernel {
    std::function<void(const HostLaunch&, const std::vector<KernelArgument>&)> body;

    // An exception ends the execution as failed, and does nothing else.
    static cw_status run(void* user_data, const cw_host_launch* from, const cw_argument* arguments,
                         std::size_t count) noexcept {
        try {
            HostLaunch launch;
            launch.gridDim = dims(from->grid);
            launch.blockDim = dims(from->block);
            launch.blockIdx = dims(from->index);
            launch.worker = from->worker;
            launch.workers = from->workers;
            launch.shared = from->shared;
            launch.sharedBytes = from->shared_bytes;
            std::vector<KernelArgument> list;
            list.reserve(count);
            for (std::size_t at = 0; at < count; ++at) {
                list.push_back(to_cpp(arguments[at]));
            }
            static_cast<HostKernel*>(user_data)->body(launch, list);
            return CW_OK;
        } catch (...) {
            return CW_ERROR_CALLBACK;
        }
    }
    static void drop(void* user_data) noexcept { delete static_cast<HostKernel*>(user_data); }

private:
    static KernelArgument to_cpp(const cw_argument& from) {
        std::uint32_t low = static_cast<std::uint32_t>(from.value);
        float single = 0.0F;
        double number = 0.0;
        switch (from.kind) {
            case CW_ARGUMENT_I32: return KernelArgument(static_cast<int>(low));
            case CW_ARGUMENT_U32: return KernelArgument(low);
            case CW_ARGUMENT_I64: return KernelArgument(static_cast<long long>(from.value));
            case CW_ARGUMENT_U64: return KernelArgument(static_cast<unsigned long long>(from.value));
            case CW_ARGUMENT_F32: std::memcpy(&single, &low, sizeof single); return KernelArgument(single);
            case CW_ARGUMENT_F64: std::memcpy(&number, &from.value, sizeof number); return KernelArgument(number);
            case CW_ARGUMENT_BYTES:
                return KernelArgument::bytes(reinterpret_cast<const void*>(static_cast<std::uintptr_t>(from.value)),
                                             from.size);
            default: return KernelArgument(reinterpret_cast<const void*>(static_cast<std::uintptr_t>(from.value)));
        }
    }
};

// Pointers to texts, for arrays of the C interface.
inline std::vector<const char*> pointers(const std::vector<std::string>& texts) {
    std::vector<const char*> list;
    list.reserve(texts.size());
    for (const std::string& text : texts) {
        list.push_back(whole(text));
    }
    return list;
}

}  // namespace detail
}  // namespace cogniware

#endif
