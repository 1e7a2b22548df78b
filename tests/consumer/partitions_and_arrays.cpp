// Memory partitions of every type, direct memory access, arrays shared with other processes, DLPack.
#include "check.hpp"

#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

#include <unistd.h>

#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace {

void partitions() {
    AdvancedCustomizedKernel kernel;
    CHECK(kernel.initialize());
    const auto before = [&] { return kernel.getResourceUsage()["memory_held_bytes"]; };
    for (const auto type : {MemoryPartitionType::GLOBAL_MEMORY, MemoryPartitionType::SHARED_MEMORY,
                            MemoryPartitionType::CONSTANT_MEMORY, MemoryPartitionType::TEXTURE_MEMORY}) {
        CHECK(kernel.createMemoryPartition(4096, type, "p"));
        const MemoryPartition made = kernel.getMemoryPartitions().back();
        CHECK(made.type == type && made.size >= 4096 && made.isAllocated && made.ownerLLM == "p");
        CHECK(made.devicePtr != nullptr && made.allocatedAt > std::chrono::system_clock::time_point());
        CHECK((made.textureObject != 0) == (type == MemoryPartitionType::TEXTURE_MEMORY));
        std::vector<float> data(1024);
        for (std::size_t i = 0; i < data.size(); ++i) {
            data[i] = static_cast<float>(i);
        }
        CHECK(kernel.writeMemoryPartition(made.partitionId, data.data(), 4096));
        const bool again = kernel.writeMemoryPartition(made.partitionId, data.data(), 4096);
        CHECK(again == (type != MemoryPartitionType::CONSTANT_MEMORY));
        std::vector<float> back(1024);
        CHECK(kernel.readMemoryPartition(made.partitionId, back.data(), 4096) && back == data);
        CHECK(!kernel.writeMemoryPartition(made.partitionId, data.data(), 4096, made.size));
        CHECK(!kernel.deallocateMemory(made.devicePtr));
        const std::vector<float> values = kernel.sampleTexture(made.partitionId, {10.5F, 0.5F, 11.0F, 0.5F});
        const int fd = kernel.exportMemoryPartition(made.partitionId);
        if (type == MemoryPartitionType::TEXTURE_MEMORY) {
            CHECK(values.size() == 2 && values[0] == 10.0F && std::fabs(values[1] - 10.5F) < 0.01F);
            CHECK(kernel.bindTexture(made.partitionId, 32, 32, false) == kernel.getTextureObject(made.partitionId));
            CHECK(kernel.sampleTexture(made.partitionId, {3.9F, 2.1F}) == std::vector<float>{67.0F});
            CHECK(kernel.bindTexture(made.partitionId, 32, 33) == 0 && !cogniware::last_error().empty());
        } else {
            CHECK(values.empty());
        }
        if (type == MemoryPartitionType::SHARED_MEMORY) {
            CHECK(fd >= 0);
            const int twin = kernel.importMemoryPartition(fd, made.size, "q");
            CHECK(twin >= 0 && close(fd) == 0);
            std::memset(back.data(), 0, 4096);
            CHECK(kernel.readMemoryPartition(twin, back.data(), 4096) && back == data);
            CHECK(kernel.destroyMemoryPartition(twin));
        } else {
            CHECK(fd == -1);
        }
        CHECK(kernel.destroyMemoryPartition(made.partitionId) && before() == 0);
    }
    CHECK(kernel.importMemoryPartition(-1, 4096, "q") == -1 && kernel.importMemoryPartition(987654, 1, "q") == -1);
    if (kernel.getCurrentDevice().computeCapability == 0) {
        const int stack = kernel.createPartition(1 << 20, MemoryPartitionType::LOCAL_MEMORY, "p");
        CHECK(stack >= 0 && kernel.getMemoryPartition(stack).devicePtr == nullptr && before() == 1 << 20);
        CHECK(kernel.destroyMemoryPartition(stack));
    }
}

void direct_access() {
    AdvancedCustomizedKernel kernel;
    CHECK(kernel.initialize());
    CHECK(!kernel.disableDirectMemoryAccess("d") && !cogniware::last_error().empty());
    CHECK(kernel.enableDirectMemoryAccess("d"));
    void* memory = kernel.allocateMemory(64, "d");
    auto* host = static_cast<float*>(kernel.getDirectPointer(memory, 64));
    CHECK(host != nullptr && kernel.getDirectPointer(memory, 65) == nullptr);
    host[3] = 4.5F;
    float back[16] = {};
    CHECK(kernel.copyMemory(back, memory, sizeof back) && back[3] == 4.5F);
    back[5] = 6.5F;
    CHECK(kernel.copyMemory(memory, back, sizeof back) && host[5] == 6.5F);
    CHECK(kernel.disableDirectMemoryAccess("d") && kernel.getDirectPointer(memory) == nullptr);
    CHECK(kernel.deallocateMemory(memory));
}

void shared_arrays() {
    auto& manager = PythonCppBridgeManager::getInstance();
    CHECK(manager.initializeBridge());
    auto bridge = manager.getBridge();
    auto array = bridge->createSharedMemoryArray(1000, "s");
    CHECK(array.size() == 1000 && bridge->getSharedMemoryPointer(array) == array.data());
    array[7] = 1.5F;
    auto twin = bridge->openSharedMemoryArray(bridge->getSharedMemoryName(array), "t");
    CHECK(twin.size() == 1000 && twin.data() != array.data() && twin[7] == 1.5F);
    twin[8] = 2.5F;
    CHECK(array[8] == 2.5F);
    const int fd = bridge->getSharedMemoryDescriptor(array);
    CHECK(fd >= 0 && bridge->openSharedMemoryArray(std::to_string(fd), "t")[8] == 2.5F && close(fd) == 0);
    CHECK(bridge->openSharedMemoryArray("nonsense", "t").empty() && !cogniware::last_error().empty());
    CHECK(!bridge->destroySharedMemoryArray(array, "t") && bridge->destroySharedMemoryArray(array, "s"));
    CHECK(array.empty() && twin[7] == 1.5F && bridge->destroySharedMemoryArray(twin, "t"));
    auto plain = bridge->allocateMemoryArray(10, "s");
    CHECK(!bridge->destroySharedMemoryArray(plain, "s") && bridge->getSharedMemoryPointer(plain) == nullptr);
    CHECK(bridge->getSharedMemoryName(plain).empty() && bridge->getSharedMemoryDescriptor(plain) == -1);
    CHECK(bridge->deallocateMemoryArray(plain, "s"));
}

template <class Managed>
bool refused(Managed& managed) {
    try {
        cogniware::fromDLPack(&managed);
    } catch (const cogniware::Error& error) {
        return std::string(error.what()).find("tensor") != std::string::npos;
    }
    return false;
}

template <class Managed>
void round_trip(Managed* tensor, float* data) {
    CHECK(tensor->dl_tensor.data == data && tensor->dl_tensor.ndim == 1 && tensor->dl_tensor.shape[0] == 6);
    CHECK(tensor->dl_tensor.strides[0] == 1 && tensor->dl_tensor.dtype.bits == 32);
    auto seen = cogniware::fromDLPack(tensor);
    CHECK(seen.size() == 6 && seen.data() == data && seen.shape() == std::vector<std::size_t>{6});
    CHECK(!seen.read_only() && !seen.on_gpu());
    seen.data()[2] = 9.0F;
    CHECK(data[2] == 9.0F);
}

void dlpack() {
    namespace dl = cogniware::dlpack;
    auto bridge = PythonCppBridgeManager::getInstance().getBridge();
    auto array = bridge->allocateMemoryArray(6, "x");
    round_trip(cogniware::toDLPack(array), array.data());
    auto* versioned = cogniware::toDLPackVersioned(array);
    CHECK(versioned->version.major == 1);
    round_trip(versioned, array.data());
    // The memory outlives a deallocation by hand for as long as a tensor has it.
    auto* kept = cogniware::toDLPack(array);
    CHECK(bridge->deallocateMemoryArray(array, "x"));
    CHECK(static_cast<float*>(kept->dl_tensor.data)[2] == 9.0F && bridge->getMemoryUsage("x").at("held_bytes") > 0);
    kept->deleter(kept);
    CHECK(bridge->getMemoryUsage("x").at("held_bytes") == 0);
    bool thrown = false;
    try {
        cogniware::toDLPack(array);
    } catch (const cogniware::Error&) {
        thrown = true;
    }
    CHECK(thrown);

    // A tensor of somebody else: two rows of three, with an offset.
    static int deleted = 0;
    float numbers[8] = {0, 0, 1, 2, 3, 4, 5, 6};
    std::int64_t shape[2] = {2, 3};
    std::int64_t strides[2] = {3, 1};
    dl::ManagedTensorVersioned foreign{};
    foreign.version = {1, 0};
    foreign.flags = dl::flag_read_only;
    foreign.deleter = [](dl::ManagedTensorVersioned*) { ++deleted; };
    foreign.dl_tensor = {numbers, {dl::kCPU, 0}, 2, {dl::kFloat, 32, 1}, shape, strides, 2 * sizeof(float)};
    const dl::ManagedTensorVersioned good = foreign;
    {
        const auto seen = cogniware::fromDLPack(&foreign);
        const auto copy = seen;
        CHECK(copy.read_only() && copy.size() == 6 && copy.data()[5] == 6.0F && copy.shape()[1] == 3 && deleted == 0);
    }
    CHECK(deleted == 1);
    foreign.dl_tensor.strides = nullptr;
    CHECK(cogniware::fromDLPack(&foreign).size() == 6);
    CHECK(deleted == 2);
    const auto with = [&](auto change) {
        foreign = good;
        change(foreign);
        return refused(foreign);
    };
    CHECK(with([](auto& t) { t.version.major = 2; }));
    CHECK(with([](auto& t) { t.dl_tensor.dtype.bits = 64; }));
    CHECK(with([](auto& t) { t.dl_tensor.dtype.code = dl::kInt; }));
    CHECK(with([](auto& t) { t.dl_tensor.device.device_type = 99; }));
    CHECK(with([](auto& t) { t.dl_tensor.data = nullptr; }));
    CHECK(with([](auto& t) { t.dl_tensor.byte_offset = 1; }));
    CHECK(with([](auto& t) { t.dl_tensor.ndim = -1; }));
    strides[0] = 4;
    CHECK(with([](auto&) {}));
    shape[0] = std::int64_t{1} << 62;
    CHECK(with([](auto& t) { t.dl_tensor.strides = nullptr; }) && deleted == 2);
}

}  // namespace

void partitions_and_arrays() {
    partitions();
    direct_access();
    shared_arrays();
    dlpack();
    PythonCppBridgeManager::getInstance().shutdownBridge();
}
