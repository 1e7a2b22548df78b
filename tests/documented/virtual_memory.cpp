// MemoryVirtualizationManager.
#include "virtual_rig.hpp"

#include <unistd.h>

#include <algorithm>

namespace {

// What was kept of a full space after every second of its 64 blocks was freed. A block is 512 KiB; on a GPU, whose memory moves
// in whole pages, a page.
struct Checkerboard {
    std::size_t block;
    std::vector<void*> kept;

    std::size_t freed() const { return kept.size() * block; }
};

// Nothing is done by itself to this space.
Checkerboard checkerboard(const Virtual& all, int id) {
    CHECK(all.memory.createVirtualMemorySpace(id, MiB));
    std::int32_t kind = 0;
    std::int32_t ordinal = 0;
    CHECK(cw_tenant_device(cogniware::Tenant::find("vgpu:" + std::to_string(id)).get(), &kind, &ordinal) == CW_OK);
    const std::size_t block = kind == CW_DEVICE_CPU ? MiB / 2 : all.memory.getVirtualMemoryInfo(id).pageSize;
    CHECK(all.memory.destroyVirtualMemorySpace(id) && all.memory.createVirtualMemorySpace(id, 64 * block));
    MemoryPolicy policy = all.memory.getMemoryPolicy(id);
    policy.automaticDefragmentation = false;
    policy.compactBeforeRefusal = false;
    CHECK(all.memory.setMemoryPolicy(id, policy));
    std::vector<void*> kept;
    std::vector<void*> gone;
    for (std::size_t i = 0; i < 64; ++i) {
        void* const memory = all.memory.allocateMemory(id, block);
        CHECK(memory != nullptr && all.memory.memset(id, memory, static_cast<int>(i), block));
        (i % 2 == 0 ? kept : gone).push_back(memory);
    }
    for (void* const memory : gone) {
        CHECK(all.memory.freeMemory(id, memory));
    }
    return {block, kept};
}

// Whether what was kept still has its content.
bool intact(const Virtual& all, int id, const Checkerboard& board) {
    std::vector<unsigned char> values(board.block);
    for (std::size_t i = 0; i < board.kept.size(); ++i) {
        CHECK(all.memory.copyMemory(id, values.data(), board.kept[i], values.size(), cudaMemcpyDeviceToHost));
        const auto wanted = static_cast<unsigned char>(2 * i);
        if (!std::all_of(values.begin(), values.end(), [&](unsigned char v) { return v == wanted; })) {
            return false;
        }
    }
    return true;
}

}  // namespace

METHOD(MemoryVirtualizationManager, getInstance) {
    CHECK(&MemoryVirtualizationManager::getInstance() == &MemoryVirtualizationManager::getInstance());
}

METHOD(MemoryVirtualizationManager, initialize) {
    auto& manager = MemoryVirtualizationManager::getInstance();
    CHECK(!manager.createVirtualMemorySpace(1, MiB) && refused(CW_ERROR_NOT_INITIALIZED, "memory virtualization"));
    MemoryVirtualizationConfig config;
    config.pageSize = 3000;
    CHECK(!manager.initialize(config) && refused(CW_ERROR_INVALID_ARGUMENT, "pageSize"));
    config.pageSize = 16 * MiB;
    config.guardBytes = 512;
    CHECK(manager.initialize(config) && manager.initialize(config) && manager.isInitialized());
    CHECK(manager.createVirtualMemorySpace(1, 32 * MiB));
    CHECK(manager.getVirtualMemoryInfo(1).pageSize == 16 * MiB && manager.getMemoryPolicy(1).guardBytes == 512);
    manager.shutdown();
}

METHOD(MemoryVirtualizationManager, shutdown) {
    const Virtual all;
    all.create(1);
    CHECK(all.memory.createVirtualMemorySpace(2, MiB));
    all.memory.shutdown();
    CHECK(!all.memory.isInitialized() && all.memory.allocateMemory(1, 16) == nullptr);
    CHECK(all.driver.getVirtualGPUStatus(2) == VirtualGPUStatus::NOT_CREATED);
    CHECK(all.driver.getVirtualGPUStatus(1) == VirtualGPUStatus::IDLE);
}

METHOD(MemoryVirtualizationManager, createVirtualMemorySpace) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB));
    CHECK(!all.memory.createVirtualMemorySpace(1, MiB) && refused(CW_ERROR_ALREADY_EXISTS, "virtual GPU 1"));
    CHECK(!all.memory.createVirtualMemorySpace(2, 0) && refused(CW_ERROR_INVALID_ARGUMENT, "size"));
    CHECK(!all.memory.createVirtualMemorySpace(-2, MiB) && refused(CW_ERROR_INVALID_ARGUMENT, "virtualGPUId"));
    CHECK(all.memory.allocateMemory(1, 8 * MiB) != nullptr && all.memory.allocateMemory(1, 1) == nullptr);
    CHECK(refused(CW_ERROR_QUOTA_EXCEEDED, "vgpu:1"));
    CHECK(cogniware::Tenant::find("vgpu:1").usage().memory_held == 8 * MiB);
}

METHOD(MemoryVirtualizationManager, destroyVirtualMemorySpace) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB) && all.memory.allocateMemory(1, 1000) != nullptr);
    std::size_t leaked = 0;
    CHECK(all.memory.destroyVirtualMemorySpace(1, &leaked) && leaked == 1000);
    CHECK(!all.memory.destroyVirtualMemorySpace(1) && refused(CW_ERROR_NOT_FOUND, "virtual GPU 1"));
    CHECK(all.memory.createVirtualMemorySpace(1, MiB));
}

METHOD(MemoryVirtualizationManager, setMemoryLimit) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB) && all.memory.allocateMemory(1, 4 * MiB) != nullptr);
    CHECK(!all.memory.setMemoryLimit(1, 2 * MiB) && refused(CW_ERROR_BUSY, "4194304"));
    CHECK(all.memory.setMemoryLimit(1, 5 * MiB) && all.memory.allocateMemory(1, 2 * MiB) == nullptr);
    CHECK(all.memory.getVirtualMemoryInfo(1).totalMemory == 5 * MiB);
}

METHOD(MemoryVirtualizationManager, setMemoryFloor) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB) && all.memory.setMemoryFloor(1, 4 * MiB));
    CHECK(all.memory.getVirtualMemoryInfo(1).memoryFloor == 4 * MiB);
    CHECK(!all.memory.setMemoryFloor(1, 9 * MiB) && refused(CW_ERROR_INVALID_ARGUMENT, "floor"));
}

METHOD(MemoryVirtualizationManager, allocateMemory) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 64 * MiB));
    for (const std::size_t alignment : {std::size_t{1}, std::size_t{4096}, 4 * MiB}) {
        const void* const memory = all.memory.allocateMemory(1, 1000, alignment);
        CHECK(memory != nullptr && reinterpret_cast<std::uintptr_t>(memory) % alignment == 0);
    }
    CHECK(all.memory.allocateMemory(1, 16, 3) == nullptr && refused(CW_ERROR_INVALID_ARGUMENT, "alignment"));
    CHECK(all.memory.allocateMemory(1, 0) == nullptr && refused(CW_ERROR_INVALID_ARGUMENT, "size"));
    CHECK(all.memory.allocateMemory(2, 16) == nullptr && refused(CW_ERROR_NOT_FOUND, "virtual GPU 2"));
}

METHOD(MemoryVirtualizationManager, freeMemory) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB));
    void* const memory = all.memory.allocateMemory(1, MiB);
    CHECK(all.memory.freeMemory(1, memory) && all.memory.getVirtualMemoryInfo(1).usedMemory == 0);
    CHECK(!all.memory.freeMemory(1, memory) && refused(CW_ERROR_INVALID_ARGUMENT, "freed"));
    int own = 0;
    CHECK(!all.memory.freeMemory(1, &own) && refused(CW_ERROR_NOT_OWNER, "foreign"));
}

METHOD(MemoryVirtualizationManager, copyMemory) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB));
    const std::vector<char> from(1000, 'x');
    std::vector<char> to(1000, ' ');
    void* const memory = all.memory.allocateMemory(1, 1000);
    CHECK(all.memory.copyMemory(1, memory, from.data(), 1000, cudaMemcpyHostToDevice));
    CHECK(all.memory.copyMemory(1, to.data(), memory, 1000, cudaMemcpyDefault) && from == to);
    CHECK(!all.memory.copyMemory(1, to.data(), memory, 1000, cudaMemcpyHostToHost));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "`kind`"));
    CHECK(!all.memory.copyMemory(1, memory, from.data(), std::size_t{1} << 63, cudaMemcpyHostToDevice));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "dst"));
}

METHOD(MemoryVirtualizationManager, memset) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB));
    void* const memory = all.memory.allocateMemory(1, 100);
    CHECK(all.memory.memset(1, memory, 0x1FF, 100));
    unsigned char last = 0;
    CHECK(all.memory.copyMemory(1, &last, static_cast<char*>(memory) + 99, 1, cudaMemcpyDeviceToHost) && last == 0xFF);
    CHECK(!all.memory.memset(1, memory, 0, 101) && refused(CW_ERROR_INVALID_ARGUMENT, "beyond"));
}

namespace {

// Moving memory to the host means something on a GPU alone: what the CPU device answers.
bool on_host(const Virtual& all) {
    all.create(1);
    if (all.driver.getVirtualGPUInfo(1).device != "cpu:0") {
        return false;
    }
    CHECK(!all.memory.setSpillPolicy(1, cogniware::SpillPolicy::COLDEST) && refused(CW_ERROR_UNSUPPORTED, "host's"));
    return true;
}

}  // namespace

METHOD(MemoryVirtualizationManager, defragment) {
    const Virtual all;
    const Checkerboard board = checkerboard(all, 1);
    const std::size_t most = board.freed() - board.block;
    CHECK(all.memory.getVirtualMemoryInfo(1).fragmentationLevel > 0.4F);
    CHECK(all.memory.allocateMemory(1, most) == nullptr && refused(CW_ERROR_QUOTA_EXCEEDED, "scattered"));
    CHECK(all.memory.defragment(1) && all.memory.getVirtualMemoryInfo(1).fragmentationLevel < 0.01F);
    CHECK(all.memory.allocateMemory(1, most) != nullptr && intact(all, 1, board));
    CHECK(!all.memory.defragment(2) && refused(CW_ERROR_NOT_FOUND, "virtual GPU 2"));
}

METHOD(MemoryVirtualizationManager, compact) {
    const Virtual all;
    const Checkerboard board = checkerboard(all, 1);
    CompactionReport report;
    CHECK(all.memory.compact(1, 2.0, &report) && report.complete);
    CHECK(report.bytesGivenBack >= board.freed() / 2);
    CHECK(report.slices >= 1 && report.timeMs > 0.0 && intact(all, 1, board));
    const auto info = all.memory.getVirtualMemoryInfo(1);
    CHECK(info.compactions == 1 && info.bytesGivenBack == report.bytesGivenBack && info.longestPauseMs > 0.0);
    CHECK(info.physicalMemory <= info.usedMemory * 11 / 10 + 2 * info.pageSize);
    CHECK(all.memory.compact(1) && !all.memory.compact(1, -1.0) && refused(CW_ERROR_INVALID_ARGUMENT, "max_pause"));
}

METHOD(MemoryVirtualizationManager, getMemoryPolicy) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB));
    const MemoryPolicy policy = all.memory.getMemoryPolicy(1);
    CHECK(policy.automaticDefragmentation && policy.defragmentationThreshold == 0.5 && policy.maxPauseMs == 5.0);
    CHECK(all.memory.getMemoryPolicy(2).maxPauseMs == 0.0 && refused(CW_ERROR_NOT_FOUND, "virtual GPU 2"));
}

METHOD(MemoryVirtualizationManager, setMemoryPolicy) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB));
    MemoryPolicy policy = all.memory.getMemoryPolicy(1);
    policy.guardBytes = 4096;
    CHECK(all.memory.setMemoryPolicy(1, policy));
    CHECK(all.memory.allocateMemory(1, 4096) != nullptr && all.memory.getVirtualMemoryInfo(1).usedMemory == 8192);
    policy.defragmentationThreshold = 7.0;
    CHECK(!all.memory.setMemoryPolicy(1, policy) && refused(CW_ERROR_INVALID_ARGUMENT, "threshold"));
}

METHOD(MemoryVirtualizationManager, checkGuards) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB));
    CHECK(all.memory.checkGuards(1).empty() && refused(CW_ERROR_INVALID_ARGUMENT, "pattern"));
    MemoryPolicy policy = all.memory.getMemoryPolicy(1);
    policy.guardBytes = 256;
    policy.guardPattern = true;
    CHECK(all.memory.setMemoryPolicy(1, policy) && all.memory.allocateMemory(1, 100) != nullptr);
    CHECK(all.memory.checkGuards(1) == "[]");
    if (all.driver.getVirtualGPUInfo(1).device != "cpu:0") {
        skip("what a kernel writes beyond its end needs a kernel; the Rust tests have one");
    }
    static_cast<char*>(all.memory.allocateMemory(1, 100))[100] = 'x';
    CHECK(all.memory.checkGuards(1).find("\"changed\":1") != std::string::npos);
}

METHOD(MemoryVirtualizationManager, getVirtualMemoryInfo) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB) && all.memory.allocateMemory(1, MiB) != nullptr);
    const auto info = all.memory.getVirtualMemoryInfo(1);
    CHECK(info.virtualGPUId == 1 && info.totalMemory == 8 * MiB && info.usedMemory == MiB);
    CHECK(info.freeMemory == 7 * MiB && info.largestFree <= info.freeMemory && info.numAllocations == 1);
    CHECK(info.fragmentationLevel >= 0.0F && info.fragmentationLevel <= 1.0F && info.peakMemory == MiB);
    CHECK(all.memory.allocateMemory(1, info.largestFree) != nullptr);
    CHECK(all.memory.getVirtualMemoryInfo(2).virtualGPUId == -1);
}

METHOD(MemoryVirtualizationManager, getPageTable) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 32 * MiB) && all.memory.getPageTable(1).empty());
    auto* const memory = static_cast<char*>(all.memory.allocateMemory(1, 10 * MiB));
    std::size_t live = 0;
    bool found = false;
    for (const VirtualPage& page : all.memory.getPageTable(1)) {
        live += page.live;
        CHECK(page.size == all.memory.getVirtualMemoryInfo(1).pageSize && page.live <= page.size && !page.pinned);
        const auto at = reinterpret_cast<std::uintptr_t>(memory);
        found |= page.address <= at && at < page.address + page.size && page.state != cogniware::PageState::FREE;
    }
    CHECK(live == 10 * MiB && found);
}

METHOD(MemoryVirtualizationManager, getAllocations) {
    const Virtual all;
    CHECK(all.memory.createVirtualMemorySpace(1, 8 * MiB) && all.memory.allocateMemory(1, 12345) != nullptr);
    CHECK(all.memory.getAllocations(1).find("12345") != std::string::npos && all.memory.getAllocations(2).empty());
}

METHOD(MemoryVirtualizationManager, setLending) {
    const Virtual all;
    if (on_host(all)) {
        CHECK(!all.memory.setLending(1, true) && refused(CW_ERROR_UNSUPPORTED, "lend_floor"));
    } else {
        CHECK(all.memory.setLending(1, true));
    }
    CHECK(all.memory.setLending(1, false));
}

METHOD(MemoryVirtualizationManager, setSpillPolicy) {
    const Virtual all;
    if (!on_host(all)) {
        CHECK(all.memory.setSpillPolicy(1, cogniware::SpillPolicy::LARGEST, 32 * MiB));
    }
    CHECK(all.memory.setSpillPolicy(1, cogniware::SpillPolicy::NEVER));
    CHECK(!all.memory.setSpillPolicy(2, cogniware::SpillPolicy::NEVER) && refused(CW_ERROR_NOT_FOUND, "virtual GPU 2"));
}

METHOD(MemoryVirtualizationManager, adviseMemory) {
    const Virtual all;
    all.create(1);
    void* const memory = all.memory.allocateMemory(1, MiB);
    CHECK(all.memory.adviseMemory(1, memory, cogniware::MemoryAdvice::COLD));
    CHECK(!all.memory.adviseMemory(1, static_cast<char*>(memory) + 1, cogniware::MemoryAdvice::COLD));
    CHECK(refused(CW_ERROR_INVALID_ARGUMENT, "inside"));
}

METHOD(MemoryVirtualizationManager, spillMemory) {
    const Virtual all;
    if (on_host(all)) {
        CHECK(!all.memory.spillMemory(1, MiB) && refused(CW_ERROR_UNSUPPORTED, "not moved"));
        return;
    }
    CHECK(all.memory.setSpillPolicy(1, cogniware::SpillPolicy::COLDEST));
    const std::vector<int> values(4 * MiB, 7);
    int* const memory = all.upload(1, values);
    std::size_t freed = 0;
    CHECK(all.memory.spillMemory(1, 16 * MiB, &freed) && freed >= 16 * MiB);
    CHECK(all.memory.getSpillInfo(1).spilled >= 16 * MiB && all.download(1, memory, values.size()) == values);
}

METHOD(MemoryVirtualizationManager, fetchMemory) {
    const Virtual all;
    all.create(1);
    void* const memory = all.memory.allocateMemory(1, MiB);
    CHECK(all.memory.fetchMemory(1) && all.memory.fetchMemory(1, memory, MiB));
    CHECK(!all.memory.fetchMemory(1, memory, MiB + 1) && refused(CW_ERROR_INVALID_ARGUMENT, "beyond"));
}

METHOD(MemoryVirtualizationManager, getSpillInfo) {
    const Virtual all;
    if (on_host(all)) {
        CHECK(all.memory.getSpillInfo(1).spills == 0);
        return;
    }
    CHECK(all.memory.setSpillPolicy(1, cogniware::SpillPolicy::COLDEST));
    CHECK(all.memory.allocateMemory(1, 16 * MiB) != nullptr && all.memory.spillMemory(1, 16 * MiB));
    const auto info = all.memory.getSpillInfo(1);
    CHECK(info.spills >= 1 && info.bytesOut >= 16 * MiB && info.bytesPerSecondOut > 0.0);
}

METHOD(MemoryVirtualizationManager, allocateExportable) {
    const Virtual all;
    all.create(1);
    void* const memory = all.memory.allocateExportable(1, 1000);
    CHECK(memory != nullptr && all.memory.getVirtualMemoryInfo(1).usedMemory >= 4096);
    CHECK(all.memory.freeMemory(1, memory) && all.memory.getVirtualMemoryInfo(1).usedMemory == 0);
    CHECK(all.memory.allocateExportable(1, 0) == nullptr && refused(CW_ERROR_INVALID_ARGUMENT, "size"));
}

METHOD(MemoryVirtualizationManager, exportMemory) {
    const Virtual all;
    all.create(1);
    void* const memory = all.memory.allocateExportable(1, MiB);
    const int lease = all.memory.exportMemory(1, memory);
    CHECK(lease > 2 && all.memory.getLeases(1, memory) == 1 && ::close(lease) == 0);
    CHECK(all.memory.getLeases(1, memory) == 0 && all.memory.freeMemory(1, memory));
    void* const plain = all.memory.allocateMemory(1, MiB);
    CHECK(all.memory.exportMemory(1, plain) == -1 && refused(CW_ERROR_UNSUPPORTED, "export"));
}

METHOD(MemoryVirtualizationManager, getLeases) {
    const Virtual all;
    all.create(1);
    void* const memory = all.memory.allocateExportable(1, MiB);
    CHECK(all.memory.getLeases(1, memory) == 0 && all.memory.getLeases(1, nullptr) == -1);
}

METHOD(MemoryVirtualizationManager, importMemory) {
    const Virtual all;
    all.create(1);
    all.create(2);
    auto* const memory = static_cast<char*>(all.memory.allocateExportable(1, MiB));
    CHECK(all.memory.memset(1, memory, 'x', MiB));
    std::size_t size = 0;
    auto* const there = static_cast<char*>(all.memory.importMemory(2, all.memory.exportMemory(1, memory), &size));
    CHECK(there != nullptr && size >= MiB && all.download(2, there + MiB - 1, 1)[0] == 'x');
    CHECK(!all.memory.freeMemory(1, memory) && refused(CW_ERROR_BUSY, "1 lease"));
    CHECK(all.memory.importMemory(2, -1) == nullptr && refused(CW_ERROR_INVALID_ARGUMENT, "fd"));
    CHECK(all.memory.releaseImport(2, there) && all.memory.freeMemory(1, memory));
}

METHOD(MemoryVirtualizationManager, revokeMemory) {
    const Virtual all;
    all.create(1);
    all.create(2);
    void* const memory = all.memory.allocateExportable(1, MiB);
    void* const there = all.memory.importMemory(2, all.memory.exportMemory(1, memory, true));
    CHECK(there != nullptr && all.memory.revokeMemory(1, memory) == 1);
    CHECK(all.memory.exportMemory(1, memory) == -1 && refused(CW_ERROR_CANCELLED, "revoked"));
    CHECK(all.memory.releaseImport(2, there) && all.memory.revokeMemory(1, memory, 10000.0) == 0);
}

METHOD(MemoryVirtualizationManager, isRevoked) {
    const Virtual all;
    all.create(1);
    all.create(2);
    void* const memory = all.memory.allocateExportable(1, MiB);
    void* const there = all.memory.importMemory(2, all.memory.exportMemory(1, memory));
    CHECK(there != nullptr && !all.memory.isRevoked(2, there));
    CHECK(all.memory.revokeMemory(1, memory) == 1 && all.memory.isRevoked(2, there, 10000.0));
}

METHOD(MemoryVirtualizationManager, releaseImport) {
    const Virtual all;
    all.create(1);
    CHECK(!all.memory.releaseImport(1, all.memory.allocateMemory(1, 16)) &&
          refused(CW_ERROR_INVALID_ARGUMENT, "`ptr`"));
}
