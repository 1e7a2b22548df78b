// SPDX-License-Identifier: MIT OR Apache-2.0
// MemoryVirtualizationManager: memory spaces of virtual GPUs.
#ifndef COGNIWARE_VIRTUALIZATION_MEMORY_H
#define COGNIWARE_VIRTUALIZATION_MEMORY_H

#include <cogniware/detail/virtual_convert.hpp>

#include <vector>

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

    // By the very pointer that was returned. Work that was queued on streams of the virtual GPU before is waited for.
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

    // --- compaction ---

    // Gives back all memory that is free inside of pieces in use, so that (nearly) all that is free can be allocated in one
    // piece. Pointers stay valid, contents too, and captured graphs still replay. Work of this virtual GPU waits for at most
    // maxPauseMs of its policy at a time; that of others goes on.
    bool defragment(int virtualGPUId) noexcept { return cw_vmem_compact(virtualGPUId, 0.0, nullptr) == CW_OK; }

    // The same, which is all that there is to do.
    bool compact(int virtualGPUId) noexcept { return cw_vmem_compact(virtualGPUId, 0.0, nullptr) == CW_OK; }

    // The same with a bound of its own on pauses (0: the policy's); `report` gets what was done.
    bool compact(int virtualGPUId, double maxPauseMs, CompactionReport* report = nullptr) noexcept {
        cw_vmem_compaction done{};
        done.struct_size = sizeof done;
        if (cw_vmem_compact(virtualGPUId, maxPauseMs, &done) != CW_OK) {
            return false;
        }
        if (report != nullptr) {
            *report = detail::to_cpp(done);
        }
        return true;
    }

    // How it allocates and when it compacts itself; all zeros on an error.
    MemoryPolicy getMemoryPolicy(int virtualGPUId) const noexcept {
        cw_vmem_policy policy{};
        policy.struct_size = sizeof policy;
        static_cast<void>(cw_vmem_policy_get(virtualGPUId, &policy));
        return detail::to_cpp(policy);
    }

    // Changes that from now on; what was allocated before stays as it is.
    bool setMemoryPolicy(int virtualGPUId, const MemoryPolicy& policy) noexcept {
        const cw_vmem_policy wanted = detail::to_c(policy);
        return cw_vmem_policy_set(virtualGPUId, &wanted) == CW_OK;
    }

    // The allocations behind whose end somebody wrote, where the policy has a guardPattern, as JSON: [{"address": …, "bytes": …,
    // "first_changed": …, "changed": …}, …]. Waits for work in flight. Empty on an error.
    std::string checkGuards(int virtualGPUId) const {
        try {
            return detail::read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
                return cw_vmem_check_guards(virtualGPUId, buffer, length, needed);
            });
        } catch (const Error&) {
            return {};
        }
    }

    // --- over-commit (GPUs; the CPU device's memory is the host's) ---

    // Whether others may use the part of its floor that it does not use, and give it back when it asks.
    bool setLending(int virtualGPUId, bool lendFloor) noexcept {
        return cw_vmem_set_lending(virtualGPUId, lendFloor ? 1 : 0) == CW_OK;
    }

    // Which of its memory is moved to the host when what it has above its floor is asked back, and how much host memory that may take
    // (0: no bound). What was moved is fetched before work that may use it.
    bool setSpillPolicy(int virtualGPUId, SpillPolicy policy, std::size_t mostHostBytes = 0) noexcept {
        return cw_vmem_set_spill_policy(virtualGPUId, static_cast<std::int32_t>(policy), mostHostBytes) == CW_OK;
    }

    // Says something about one allocation. Pinning fetches it.
    bool adviseMemory(int virtualGPUId, void* virtualAddress, MemoryAdvice advice) noexcept {
        return cw_vmem_advise(virtualGPUId, virtualAddress, static_cast<std::int32_t>(advice)) == CW_OK;
    }

    // Moves about `size` bytes to the host now; `freed` gets what the device has got back.
    bool spillMemory(int virtualGPUId, std::size_t size, std::size_t* freed = nullptr) noexcept {
        std::uint64_t back = 0;
        if (cw_vmem_spill(virtualGPUId, size, &back) != CW_OK) {
            return false;
        }
        if (freed != nullptr) {
            *freed = back;
        }
        return true;
    }

    // Fetches bytes from the host, or, without an address, everything.
    bool fetchMemory(int virtualGPUId, void* virtualAddress = nullptr, std::size_t size = 0) noexcept {
        return cw_vmem_fetch(virtualGPUId, virtualAddress, size) == CW_OK;
    }

    // What that has cost; all zeros on an error.
    SpillInfo getSpillInfo(int virtualGPUId) const noexcept {
        cw_vmem_spill_info info{};
        info.struct_size = sizeof info;
        return cw_vmem_get_spill_info(virtualGPUId, &info) == CW_OK ? detail::to_cpp(info) : SpillInfo{};
    }

    // --- memory between processes ---

    // Memory of whole pages that can be exported, or null; it never moves. freeMemory() frees it once no lease is out.
    void* allocateExportable(int virtualGPUId, std::size_t size) noexcept {
        void* memory = nullptr;
        return cw_vmem_alloc_exportable(virtualGPUId, size, &memory) == CW_OK ? memory : nullptr;
    }

    // A lease for one importer: a descriptor to hand to another process by any means, then to close here; -1 on an error.
    int exportMemory(int virtualGPUId, void* virtualAddress, bool readOnly = false) noexcept {
        std::int32_t fd = -1;
        return cw_vmem_export(virtualGPUId, virtualAddress, readOnly ? 1 : 0, &fd) == CW_OK ? fd : -1;
    }

    // How many leases are out; -1 on an error.
    int getLeases(int virtualGPUId, void* virtualAddress) const noexcept {
        std::size_t count = 0;
        return cw_vmem_leases(virtualGPUId, virtualAddress, &count) == CW_OK ? static_cast<int>(count) : -1;
    }

    // Asks all importers to unmap, gives no more leases, and waits for at most so long; how many leases still are out, -1 on an error.
    // What is mapped stays charged. A descriptor that was given cannot be taken back by force.
    int revokeMemory(int virtualGPUId, void* virtualAddress, double timeoutMs = 0.0) noexcept {
        std::size_t remaining = 0;
        return cw_vmem_revoke(virtualGPUId, virtualAddress, timeoutMs, &remaining) == CW_OK
                   ? static_cast<int>(remaining)
                   : -1;
    }

    // Maps what a lease of another process offers, or null; `size` gets its bytes. The descriptor is consumed. Its owner is charged.
    void* importMemory(int virtualGPUId, int lease, std::size_t* size = nullptr, double timeoutMs = 10000.0) noexcept {
        void* memory = nullptr;
        std::uint64_t bytes = 0;
        if (cw_vmem_import(virtualGPUId, lease, timeoutMs, &memory, &bytes) != CW_OK) {
            return nullptr;
        }
        if (size != nullptr) {
            *size = bytes;
        }
        return memory;
    }

    // Whether the exporter asks for it back, or is gone; waits for that for at most so long. The answer is releaseImport().
    bool isRevoked(int virtualGPUId, void* virtualAddress, double timeoutMs = 0.0) const noexcept {
        std::int32_t revoked = 0;
        return cw_vmem_is_revoked(virtualGPUId, virtualAddress, timeoutMs, &revoked) == CW_OK && revoked != 0;
    }

    // Unmaps it once work in flight has passed, and tells the exporter.
    bool releaseImport(int virtualGPUId, void* virtualAddress) noexcept {
        return cw_vmem_release_import(virtualGPUId, virtualAddress) == CW_OK;
    }

    // --- figures ---

    // The page table: every mapped page by address.
    std::vector<VirtualPage> getPageTable(int virtualGPUId) const {
        std::vector<cw_vmem_page> list;
        std::size_t count = 0;
        cw_status status = cw_vmem_pages(virtualGPUId, nullptr, 0, &count);
        while ((status == CW_OK || status == CW_ERROR_BUFFER_TOO_SMALL) && count > list.size()) {
            list.resize(count);
            list[0].struct_size = sizeof(cw_vmem_page);
            status = cw_vmem_pages(virtualGPUId, list.data(), list.size(), &count);
        }
        list.resize(status == CW_OK ? count : 0);
        std::vector<VirtualPage> pages;
        pages.reserve(list.size());
        for (const cw_vmem_page& page : list) {
            pages.push_back(detail::to_cpp(page));
        }
        return pages;
    }

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
