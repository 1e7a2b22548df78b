// SPDX-License-Identifier: MIT OR Apache-2.0
// ComputeVirtualizationManager: compute units of virtual GPUs.
#ifndef COGNIWARE_VIRTUALIZATION_COMPUTE_H
#define COGNIWARE_VIRTUALIZATION_COMPUTE_H

#include <cogniware/detail/virtual_convert.hpp>

#include <vector>

namespace cogniware {

// The compute units of virtual GPUs. A unit belongs to the same virtual GPU, whichever manager made it. Methods that return
// bool never throw: false means that nothing was done, and cogniware::last_error() says why. Usable from any thread.
class ComputeVirtualizationManager {
public:
    static ComputeVirtualizationManager& getInstance() noexcept {
        static ComputeVirtualizationManager instance;
        return instance;
    }
    ComputeVirtualizationManager(const ComputeVirtualizationManager&) = delete;
    ComputeVirtualizationManager& operator=(const ComputeVirtualizationManager&) = delete;

    // Opens the device. The same configuration again does nothing; another one is refused until shutdown().
    bool initialize(const ComputeVirtualizationConfig& config = {}) noexcept {
        cw_vcompute_config wanted{};
        if (cw_vcompute_config_default(&wanted) != CW_OK) {
            return false;
        }
        wanted.device = config.deviceId;
        wanted.max_units = config.maxVirtualComputeUnits;
        wanted.scaling = config.enableDynamicScaling ? 1 : 0;
        return cw_vcompute_initialize(&wanted) == CW_OK;
    }

    // Destroys the compute units that createVirtualComputeUnit made.
    void shutdown() noexcept { static_cast<void>(cw_vcompute_shutdown()); }

    bool isInitialized() const noexcept {
        std::int32_t initialized = 0;
        return cw_vcompute_is_initialized(&initialized) == CW_OK && initialized != 0;
    }

    // --- units ---

    // A compute unit; the virtual GPU with it when there is none.
    bool createVirtualComputeUnit(int virtualGPUId, const VirtualComputeUnitConfig& config = {}) noexcept {
        cw_vcompute_unit unit{};
        if (cw_vcompute_unit_default(&unit) != CW_OK) {
            return false;
        }
        unit.processors = config.numComputeUnits;
        unit.streams = config.numStreams;
        unit.tensor_cores = config.enableTensorCores ? 1 : 0;
        unit.precision = static_cast<std::int32_t>(config.precision);
        unit.compute_share = config.computeShare;
        unit.priority = static_cast<std::int32_t>(config.priority);
        return cw_vcompute_create(virtualGPUId, &unit) == CW_OK;
    }

    // Work that waits is withdrawn, work in flight waited for; the virtual GPU ends with it when it has no other part.
    bool destroyVirtualComputeUnit(int virtualGPUId) noexcept { return cw_vcompute_destroy(virtualGPUId) == CW_OK; }

    VirtualComputeUnitInfo getVirtualComputeUnitInfo(int virtualGPUId) const noexcept {
        cw_vcompute_info info{};
        info.struct_size = sizeof info;
        return cw_vcompute_get_info(virtualGPUId, &info) == CW_OK ? detail::to_cpp(virtualGPUId, info)
                                                                  : VirtualComputeUnitInfo{};
    }

    // The unit's streams as the device knows them, in order: a CUstream each on a CUDA device, for the program's own CUDA code;
    // null each on the CPU. Work that the program puts there by itself passes no gate and is not charged.
    std::vector<cudaStream_t> getStreams(int virtualGPUId) const {
        std::vector<cudaStream_t> streams;
        for (void* stream : detail::read_list<void*>([&](void** list, std::size_t capacity, std::size_t* count) {
                 return cw_vcompute_streams(virtualGPUId, list, capacity, count);
             })) {
            streams.push_back(static_cast<cudaStream_t>(stream));
        }
        return streams;
    }

    // --- work ---

    // Waits for everything queued on one stream of the unit, or on all; false also when that raised an error.
    bool synchronize(int virtualGPUId, int streamId) noexcept {
        return cw_vcompute_synchronize(virtualGPUId, streamId) == CW_OK;
    }
    bool synchronize(int virtualGPUId) noexcept { return cw_vcompute_synchronize(virtualGPUId, CW_NO_STREAM) == CW_OK; }

    // --- resources ---

    // The part of contended processors that it asks for, above 0 to 1, from now on.
    bool setComputeShare(int virtualGPUId, float computeShare) noexcept {
        return cw_vcompute_set_share(virtualGPUId, computeShare) == CW_OK;
    }

    // Whether its matrix work may use matrix circuits, from the next operation on.
    bool enableTensorCores(int virtualGPUId) noexcept { return cw_vcompute_set_tensor_cores(virtualGPUId, 1) == CW_OK; }
    bool disableTensorCores(int virtualGPUId) noexcept {
        return cw_vcompute_set_tensor_cores(virtualGPUId, 0) == CW_OK;
    }

    // What its matrix work may round to, from the next operation on.
    bool setPrecision(int virtualGPUId, Precision precision) noexcept {
        return cw_vcompute_set_precision(virtualGPUId, static_cast<std::int32_t>(precision)) == CW_OK;
    }

private:
    ComputeVirtualizationManager() = default;
};

}  // namespace cogniware

#endif
