// SPDX-License-Identifier: MIT OR Apache-2.0
// MemoryVirtualizationManager: memory spaces of virtual GPUs.
#ifndef COGNIWARE_VIRTUALIZATION_MEMORY_H
#define COGNIWARE_VIRTUALIZATION_MEMORY_H

#include <cogniware/detail/virtual_convert.hpp>

namespace cogniware {

// The memory spaces of virtual GPUs. A space belongs to the same virtual GPU, whichever manager made it. Methods that return
// bool never throw: false means that nothing was done, and cogniware::last_error() says why. Usable from any thread.
class MemoryVirtualizationManager {
public:
    static MemoryVirtualizationManager& getInstance() noexcept {
        static MemoryVirtualizationManager instance;
        return instance;
    }
    MemoryVirtualizationManager(const MemoryVirtualizationManager&) = delete;
    MemoryVirtualizationManager& operator=(const MemoryVirtualizationManager&) = delete;

    // Opens the device. The same configuration again does nothing; another one is refused until shutdown().
    bool initialize(const MemoryVirtualizationConfig& config = {}) noexcept {
        cw_vmem_config wanted{};
        if (cw_vmem_config_default(&wanted) != CW_OK) {
            return false;
        }
        wanted.device = config.deviceId;
        wanted.automatic = config.enableAutomaticDefragmentation ? 1 : 0;
        wanted.threshold = config.defragmentationThreshold;
        wanted.small_pools = config.enableSmallPools ? 1 : 0;
        wanted.page_size = config.pageSize;
        wanted.guard_bytes = config.guardBytes;
        wanted.max_pause_ms = config.maxPauseMs;
        return cw_vmem_initialize(&wanted) == CW_OK;
    }

    // Destroys the memory spaces that createVirtualMemorySpace made.
    void shutdown() noexcept { static_cast<void>(cw_vmem_shutdown()); }

    bool isInitialized() const noexcept {
        std::int32_t initialized = 0;
        return cw_vmem_is_initialized(&initialized) == CW_OK && initialized != 0;
    }

    // --- spaces ---

    // A space of at most `size` bytes; the virtual GPU with it when there is none.
    bool createVirtualMemorySpace(int virtualGPUId, std::size_t size) noexcept {
        return cw_vmem_create(virtualGPUId, size) == CW_OK;
    }

    // Work in flight is waited for, then the memory freed; the virtual GPU ends with it when it has no other part. `leaked`
    // gets the bytes that nobody had freed, which the log names.
    bool destroyVirtualMemorySpace(int virtualGPUId, std::size_t* leaked = nullptr) noexcept {
        std::uint64_t left = 0;
        if (cw_vmem_destroy(virtualGPUId, &left) != CW_OK) {
            return false;
        }
        if (leaked != nullptr) {
            *leaked = left;
        }
        return true;
    }

    // Changes the most bytes that it may hold; refused when it holds more.
    bool setMemoryLimit(int virtualGPUId, std::size_t size) noexcept {
        return cw_vmem_set_limit(virtualGPUId, size) == CW_OK;
    }

    // Changes the bytes that are set aside for it.
    bool setMemoryFloor(int virtualGPUId, std::size_t size) noexcept {
        return cw_vmem_set_floor(virtualGPUId, size) == CW_OK;
    }

    // --- memory ---

    // Memory of the space, or null. `alignment` is a power of two up to 2 GiB; 256 is always given. On a GPU a device address.
    void* allocateMemory(int virtualGPUId, std::size_t size, std::size_t alignment = 1) noexcept {
        void* memory = nullptr;
        return cw_vmem_alloc(virtualGPUId, size, alignment, &memory) == CW_OK ? memory : nullptr;
    }

    // By the very pointer that was returned; no work that uses it may be in flight.
    bool freeMemory(int virtualGPUId, void* virtualAddress) noexcept {
        return cw_vmem_free(virtualGPUId, virtualAddress) == CW_OK;
    }

    // Copies and waits. Ends in the space must lie in one allocation each; `kind` must be true; ranges must not overlap.
    bool copyMemory(int virtualGPUId, void* dst, const void* src, std::size_t size, cudaMemcpyKind kind) noexcept {
        return cw_vmem_copy(virtualGPUId, dst, src, size, static_cast<std::int32_t>(kind), CW_NO_STREAM) == CW_OK;
    }

    // Sets bytes of one allocation to the low byte of `value`, and waits.
    bool memset(int virtualGPUId, void* virtualAddress, int value, std::size_t size) noexcept {
        return cw_vmem_fill(virtualGPUId, virtualAddress, value, size, CW_NO_STREAM) == CW_OK;
    }

    // --- figures ---

    VirtualMemoryInfo getVirtualMemoryInfo(int virtualGPUId) const noexcept {
        cw_vmem_info info{};
        info.struct_size = sizeof info;
        return cw_vmem_get_info(virtualGPUId, &info) == CW_OK ? detail::to_cpp(virtualGPUId, info)
                                                              : VirtualMemoryInfo{};
    }

    // What is allocated, as JSON: [{"address": …, "bytes": …, "tag": "…", "age_ms": …}, …], oldest first. Empty on an error.
    std::string getAllocations(int virtualGPUId) const {
        try {
            return detail::read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
                return cw_vmem_allocations(virtualGPUId, buffer, length, needed);
            });
        } catch (const Error&) {
            return {};
        }
    }

private:
    MemoryVirtualizationManager() = default;
};

}  // namespace cogniware

#endif
