// AdvancedCustomizedKernel.
#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"
#include "harness.hpp"
#include "rig.hpp"

#include <atomic>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

METHOD(AdvancedCustomizedKernel, initialize) {
    AdvancedCustomizedKernel kernel;
    CHECK(kernel.getAvailableDevices().empty());
    CHECK(kernel.initialize() && kernel.isInitialized());
    CHECK(!kernel.getAvailableDevices().empty());
    CHECK(kernel.initialize());
}

METHOD(AdvancedCustomizedKernel, shutdown) {
    AdvancedCustomizedKernel kernel;
    CHECK(kernel.initialize());
    void* memory = kernel.allocateMemory(1 << 20, "shut");
    CHECK(memory != nullptr);
    kernel.shutdown();
    CHECK(!kernel.isInitialized() && kernel.allocateMemory(16, "shut") == nullptr);
    CHECK(cogniware::last_error().find("not initialised") != std::string::npos);
    CHECK(kernel.initialize() && kernel.getActiveLLMs().empty());
}

METHOD(AdvancedCustomizedKernel, getAvailableDevices) {
    const Kernel kernel;
    const auto devices = kernel->getAvailableDevices();
    CHECK(!devices.empty());
    for (const auto& device : devices) {
        CHECK(device.deviceId >= 0 && !device.name.empty() && device.totalMemory > 0 && device.multiProcessorCount > 0);
        CHECK(device.freeMemory <= device.totalMemory);
        CHECK((device.computeCapability == 0) == (device.cudaCoreCount == 0));
    }
}

METHOD(AdvancedCustomizedKernel, selectDevice) {
    const Kernel kernel;
    const int last = kernel->getAvailableDevices().back().deviceId;
    CHECK(kernel->selectDevice(last) && kernel->getCurrentDevice().deviceId == last);
    CHECK(!kernel->selectDevice(last + 1) && !kernel->selectDevice(-1));
    CHECK(kernel->getCurrentDevice().deviceId == last);
}

METHOD(AdvancedCustomizedKernel, getCurrentDevice) {
    const Kernel kernel;
    const auto device = kernel->getCurrentDevice();
    CHECK(device.deviceId == 0 && device.name == kernel->getAvailableDevices()[0].name);
}

METHOD(AdvancedCustomizedKernel, getAvailableComputeNodes) {
    const Kernel kernel;
    const auto nodes = kernel->getAvailableComputeNodes();
    std::set<ComputeNodeType> types;
    std::set<int> ids;
    for (const auto& node : nodes) {
        CHECK(ids.insert(node.nodeId).second && !node.isAllocated);
        types.insert(node.type);
    }
    CHECK(!nodes.empty() && types.count(ComputeNodeType::MEMORY_BANK) == 1);
    CHECK(types.count(ComputeNodeType::CUDA_CORE) + types.count(ComputeNodeType::TENSOR_CORE) >= 1);
}

METHOD(AdvancedCustomizedKernel, allocateComputeNode) {
    const Kernel kernel;
    for (const auto& node : kernel->getAvailableComputeNodes()) {
        CHECK(kernel->allocateComputeNode(node.nodeId, "nodes"));
        CHECK(!kernel->allocateComputeNode(node.nodeId, "other"));
        const auto held = kernel->getComputeNode(node.nodeId);
        CHECK(held.isAllocated && held.type == node.type);
        CHECK(kernel->deallocateComputeNode(node.nodeId));
    }
    CHECK(!kernel->allocateComputeNode(-1, "nodes") && cogniware::last_error().find("-1") != std::string::npos);
    CHECK(!kernel->allocateComputeNode(99999, "nodes"));
}

METHOD(AdvancedCustomizedKernel, deallocateComputeNode) {
    const Kernel kernel;
    CHECK(kernel->allocateComputeNode(0, "nodes"));
    const auto before = kernel->getAvailableComputeNodes().size();
    CHECK(kernel->deallocateComputeNode(0) && kernel->getAvailableComputeNodes().size() == before + 1);
    CHECK(!kernel->deallocateComputeNode(0));
}

METHOD(AdvancedCustomizedKernel, getComputeNode) {
    const Kernel kernel;
    const auto node = kernel->getComputeNode(0);
    CHECK(node.nodeId == 0 && !node.allocatedCores.empty() && node.memorySize > 0 && !node.isActive);
    CHECK(kernel->getComputeNode(99999).nodeId == -1);
    CHECK(kernel->allocateComputeNode(0, "nodes"));
    AdvancedPythonCppBridge bridge;
    CHECK(bridge.initialize() && bridge.registerLLM("nodes", {{"max_tokens", "2"}}));
    CHECK(!bridge.generate("nodes", "The sea").empty());
    const auto used = kernel->getComputeNode(0);
    bridge.shutdown();
    CHECK(used.isAllocated && used.isActive && used.lastUsed.time_since_epoch().count() > 0);
}

METHOD(AdvancedCustomizedKernel, getMemoryPartitions) {
    const Kernel kernel;
    CHECK(kernel->getMemoryPartitions().empty());
    CHECK(kernel->createMemoryPartition(4096, MemoryPartitionType::GLOBAL_MEMORY, "a"));
    CHECK(kernel->createMemoryPartition(8192, MemoryPartitionType::GLOBAL_MEMORY, "b"));
    const auto all = kernel->getMemoryPartitions();
    CHECK(all.size() == 2 && all[0].ownerLLM == "a" && all[1].ownerLLM == "b" && all[1].size >= 8192);
}

METHOD(AdvancedCustomizedKernel, createMemoryPartition) {
    const Kernel kernel;
    const auto start = std::chrono::system_clock::now() - std::chrono::seconds(1);
    std::size_t held = 0;
    for (const auto type : {MemoryPartitionType::GLOBAL_MEMORY, MemoryPartitionType::SHARED_MEMORY,
                            MemoryPartitionType::CONSTANT_MEMORY, MemoryPartitionType::TEXTURE_MEMORY}) {
        CHECK(kernel->createMemoryPartition(64 << 10, type, "parts"));
        const auto made = kernel->getMemoryPartitions().back();
        CHECK(made.type == type && made.size >= 64 << 10 && made.isAllocated && made.devicePtr != nullptr);
        CHECK(made.allocatedAt >= start && made.allocatedAt <= std::chrono::system_clock::now());
        const auto now = kernel->getResourceUsage()["llm.parts.memory_held_bytes"];
        CHECK(now >= held + (64 << 10));
        held = now;
    }
    CHECK(kernel->createMemoryPartition(64 << 10, MemoryPartitionType::LOCAL_MEMORY, "parts"));
    CHECK(kernel->getMemoryPartitions().back().type == MemoryPartitionType::LOCAL_MEMORY);
    CHECK(!kernel->createMemoryPartition(0, MemoryPartitionType::GLOBAL_MEMORY, "parts"));
    CHECK(!kernel->createMemoryPartition(~std::size_t{0}, MemoryPartitionType::GLOBAL_MEMORY, "parts"));
    CHECK(!kernel->createMemoryPartition(4096, static_cast<MemoryPartitionType>(9), "parts"));
}

METHOD(AdvancedCustomizedKernel, destroyMemoryPartition) {
    const Kernel kernel;
    CHECK(kernel->createMemoryPartition(1 << 20, MemoryPartitionType::GLOBAL_MEMORY, "parts"));
    const auto before = kernel->getResourceUsage()["llm.parts.memory_held_bytes"];
    CHECK(kernel->destroyMemoryPartition(0) && kernel->getMemoryPartitions().empty());
    CHECK(kernel->getResourceUsage()["llm.parts.memory_held_bytes"] + (1 << 20) <= before);
    CHECK(!kernel->destroyMemoryPartition(0));
}

METHOD(AdvancedCustomizedKernel, getMemoryPartition) {
    const Kernel kernel;
    CHECK(kernel->createMemoryPartition(4096, MemoryPartitionType::GLOBAL_MEMORY, "parts"));
    CHECK(kernel->createMemoryPartition(4096, MemoryPartitionType::GLOBAL_MEMORY, "parts"));
    const auto first = kernel->getMemoryPartition(0);
    const auto second = kernel->getMemoryPartition(1);
    CHECK(first.partitionId == 0 && second.partitionId == 1 && first.offset != second.offset);
    CHECK(static_cast<char*>(second.devicePtr) - static_cast<char*>(first.devicePtr) ==
          static_cast<std::ptrdiff_t>(second.offset) - static_cast<std::ptrdiff_t>(first.offset));
    CHECK(kernel->getMemoryPartition(2).partitionId == -1);
}

METHOD(AdvancedCustomizedKernel, allocateMemory) {
    const Kernel kernel;
    void* memory = kernel->allocateMemory(1 << 20, "mem");
    CHECK(memory != nullptr && kernel->getResourceUsage()["llm.mem.memory_held_bytes"] >= 1 << 20);
    CHECK(kernel->allocateMemory(0, "mem") == nullptr && kernel->allocateMemory(~std::size_t{0}, "mem") == nullptr);
    CHECK(kernel->allocateMemory(16, std::string("mem\0more", 8)) == nullptr);
    CHECK(cogniware::last_error().find("NUL inside") != std::string::npos);
    CHECK(kernel->deallocateMemory(memory));
}

METHOD(AdvancedCustomizedKernel, deallocateMemory) {
    const Kernel kernel;
    void* memory = kernel->allocateMemory(1 << 20, "mem");
    CHECK(kernel->deallocateMemory(memory) && kernel->getResourceUsage()["llm.mem.memory_held_bytes"] < 1 << 20);
    CHECK(!kernel->deallocateMemory(memory) && !kernel->deallocateMemory(nullptr));
    int foreign = 0;
    CHECK(!kernel->deallocateMemory(&foreign));
}

METHOD(AdvancedCustomizedKernel, copyMemory) {
    const Kernel kernel;
    const auto sent = numbers(1 << 18);
    auto* memory = static_cast<char*>(kernel->allocateMemory(2 * bytes(sent), "mem"));
    std::vector<std::uint32_t> back(sent.size());
    CHECK(kernel->copyMemory(memory, sent.data(), bytes(sent)));
    CHECK(kernel->copyMemory(memory + bytes(sent), memory, bytes(sent)));
    CHECK(kernel->copyMemory(back.data(), memory + bytes(sent), bytes(sent)) && back == sent);
    CHECK(!kernel->copyMemory(memory, sent.data(), 4 * bytes(sent)) && !kernel->copyMemory(nullptr, memory, 4));
    void* foreign = kernel->allocateMemory(4096, "another");
    CHECK(!kernel->copyMemory(foreign, memory, 4096));
}

METHOD(AdvancedCustomizedKernel, copyMemoryAsync) {
    const Kernel kernel;
    const auto sent = numbers(1 << 18);
    void* memory = kernel->allocateMemory(bytes(sent), "mem");
    cudaStream_t stream = kernel->createStream("mem");
    std::vector<std::uint32_t> back(sent.size());
    CHECK(kernel->copyMemoryAsync(memory, sent.data(), bytes(sent), stream));
    CHECK(kernel->copyMemoryAsync(back.data(), memory, bytes(sent), stream));
    CHECK(kernel->synchronizeStream(stream) && back == sent);
    CHECK(!kernel->copyMemoryAsync(memory, sent.data(), bytes(sent), nullptr));
    cudaStream_t others = kernel->createStream("another");
    CHECK(!kernel->copyMemoryAsync(memory, sent.data(), bytes(sent), others));
}

METHOD(AdvancedCustomizedKernel, scheduleTask) {
    const Kernel kernel;
    std::atomic<int> ran{0};
    ComputeTask task;
    task.taskId = "task_1";
    task.llmId = "tasks";
    task.requiredMemory = 1024 * 1024;
    task.requiredCores = 1;
    task.taskFunction = [&ran] { ++ran; };
    CHECK(kernel->scheduleTask(task) == "task_1" && ends(kernel, "task_1") && ran == 1);
    task.taskId.clear();
    const std::string made = kernel->scheduleTask(task);
    CHECK(!made.empty() && ends(kernel, made) && ran == 2);
    task.requiredCores = 100000;
    CHECK(kernel->scheduleTask(task).empty());
    task.requiredCores = 1;
    task.priority = static_cast<TaskPriority>(7);
    CHECK(kernel->scheduleTask(task).empty());
    task.priority = TaskPriority::LOW;
    task.taskFunction = nullptr;
    CHECK(kernel->scheduleTask(task).empty());
}

METHOD(AdvancedCustomizedKernel, cancelTask) {
    const Kernel kernel;
    Blocker blocker(kernel, "tasks");
    std::atomic<int> ran{0};
    ComputeTask task;
    task.llmId = "tasks";
    task.requiredCores = 1;
    task.priority = TaskPriority::BACKGROUND;
    task.taskFunction = [&ran] { ++ran; };
    const std::string waiting = kernel->scheduleTask(task);
    CHECK(!waiting.empty());
    const bool cancelled = kernel->cancelTask(waiting);
    blocker.release();
    CHECK(ends(kernel, waiting) && (cancelled ? ran == 0 : ran == 1));
    CHECK(!kernel->cancelTask(waiting) && !kernel->cancelTask("no such task"));
}

METHOD(AdvancedCustomizedKernel, getTaskStatus) {
    const Kernel kernel;
    ComputeTask task;
    task.taskId = "told";
    task.llmId = "tasks";
    task.priority = TaskPriority::HIGH;
    task.requiredMemory = 4096;
    task.requiredCores = 1;
    task.taskFunction = [] {};
    CHECK(kernel->scheduleTask(task) == "told" && ends(kernel, "told"));
    const auto told = kernel->getTaskStatus("told");
    CHECK(told.taskId == "told" && told.llmId == "tasks" && told.priority == TaskPriority::HIGH && told.isCompleted);
    CHECK(told.requiredMemory == 4096 && told.requiredCores == 1);
    CHECK(told.createdAt <= told.scheduledAt && told.scheduledAt <= told.completedAt);
    CHECK(kernel->getTaskStatus("no such task").taskId.empty());
}

METHOD(AdvancedCustomizedKernel, getActiveTasks) {
    const Kernel kernel;
    {
        Blocker blocker(kernel, "tasks");
        const auto active = kernel->getActiveTasks();
        CHECK(active.size() == 1 && active[0].taskId == blocker.id() && active[0].llmId == "tasks");
        blocker.release();
    }
    CHECK(kernel->getActiveTasks().empty());
}

METHOD(AdvancedCustomizedKernel, createStream) {
    const Kernel kernel;
    cudaStream_t first = kernel->createStream("streams");
    cudaStream_t second = kernel->createStream("streams");
    CHECK(first != nullptr && second != nullptr && first != second);
    CHECK(kernel->createStream("") == nullptr);
}

METHOD(AdvancedCustomizedKernel, synchronizeStream) {
    const Kernel kernel;
    const auto sent = numbers(4 << 20);
    void* memory = kernel->allocateMemory(bytes(sent), "streams");
    std::vector<std::uint32_t> back(sent.size());
    cudaStream_t stream = kernel->createStream("streams");
    CHECK(kernel->copyMemoryAsync(memory, sent.data(), bytes(sent), stream) &&
          kernel->copyMemoryAsync(back.data(), memory, bytes(sent), stream) && kernel->synchronizeStream(stream) &&
          back.back() == sent.back());
    CHECK(!kernel->synchronizeStream(nullptr));
}

METHOD(AdvancedCustomizedKernel, destroyStream) {
    const Kernel kernel;
    cudaStream_t stream = kernel->createStream("streams");
    CHECK(kernel->destroyStream(stream) && kernel->getStreamsForLLM("streams").empty());
    CHECK(!kernel->destroyStream(stream) && !kernel->synchronizeStream(stream));
}

METHOD(AdvancedCustomizedKernel, getStreamsForLLM) {
    const Kernel kernel;
    cudaStream_t first = kernel->createStream("streams");
    cudaStream_t other = kernel->createStream("another");
    CHECK(kernel->getStreamsForLLM("streams") == std::vector<cudaStream_t>{first});
    CHECK(kernel->getStreamsForLLM("another") == std::vector<cudaStream_t>{other});
    CHECK(kernel->getStreamsForLLM("nobody").empty());
}

METHOD(AdvancedCustomizedKernel, getPerformanceMetrics) {
    const Kernel kernel;
    const auto before = kernel->getPerformanceMetrics();
    run(kernel, "figures", [] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); });
    const auto after = kernel->getPerformanceMetrics();
    CHECK(after.at("tasks_completed") == before.at("tasks_completed") + 1);
    CHECK(after.at("uptime_seconds") >= before.at("uptime_seconds") + 0.02);
    CHECK(after.count("llm.figures.device_time_seconds") == 1);
}

METHOD(AdvancedCustomizedKernel, getResourceUsage) {
    const Kernel kernel;
    const auto before = kernel->getResourceUsage();
    void* memory = kernel->allocateMemory(3 << 20, "figures");
    cudaStream_t stream = kernel->createStream("figures");
    const auto after = kernel->getResourceUsage();
    CHECK(memory != nullptr && stream != nullptr && after.at("llm.figures.memory_held_bytes") >= 3 << 20);
    CHECK(after.at("memory_total_bytes") == before.at("memory_total_bytes"));
    CHECK(after.at("streams") == before.at("streams") + 1);
}

METHOD(AdvancedCustomizedKernel, enableProfiling) {
    const Kernel kernel;
    CHECK(kernel->enableProfiling());
    run(kernel, "profiled", [] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); });
    const auto figures = kernel->getPerformanceMetrics();
    CHECK(mentions(figures, "profil") || mentions(figures, "p99"));
    CHECK(kernel->disableProfiling());
}

METHOD(AdvancedCustomizedKernel, disableProfiling) {
    const Kernel kernel;
    CHECK(kernel->enableProfiling() && kernel->disableProfiling());
    const auto before = cogniware::profiler::prometheus();
    run(kernel, "unprofiled", [] {});
    CHECK(cogniware::profiler::prometheus().find("llm=\"unprofiled\",kind=\"task\"") == std::string::npos);
}

METHOD(AdvancedCustomizedKernel, optimizeForLLM) {
    const Kernel kernel;
    CHECK(kernel->optimizeForLLM("tuned", {{"max_memory", "64"}, {"compute_priority", "high"}}));
    CHECK(kernel->getResourceUsage()["llm.tuned.memory_limit_bytes"] == 64 << 20);
    CHECK(kernel->allocateMemory(65 << 20, "tuned") == nullptr);
    CHECK(!kernel->optimizeForLLM("tuned", {{"max_memory", "32"}, {"no_such_key", "1"}}));
    CHECK(cogniware::last_error().find("no_such_key") != std::string::npos);
    CHECK(kernel->getResourceUsage()["llm.tuned.memory_limit_bytes"] == 64 << 20);
    CHECK(!kernel->optimizeForLLM("tuned", {{"memory_priority", "purple"}}));
}

METHOD(AdvancedCustomizedKernel, createVirtualComputeNode) {
    const Kernel kernel;
    const auto streams = kernel->getStreamsForLLM("slice").size();
    CHECK(kernel->createVirtualComputeNode("slice", 8 << 20, 1));
    CHECK(kernel->getStreamsForLLM("slice").size() == streams + 1);
    CHECK(kernel->getResourceUsage()["llm.slice.processors"] >= 1);
    CHECK(kernel->allocateMemory(8 << 20, "slice") != nullptr);
    CHECK(!kernel->createVirtualComputeNode("slice", 8 << 20, 1));
    CHECK(!kernel->createVirtualComputeNode("other", ~std::size_t{0}, 1));
    CHECK(!kernel->createVirtualComputeNode("other", 1 << 20, 0));
}

METHOD(AdvancedCustomizedKernel, destroyVirtualComputeNode) {
    const Kernel kernel;
    CHECK(kernel->createVirtualComputeNode("slice", 8 << 20, 1));
    CHECK(kernel->destroyVirtualComputeNode("slice") && kernel->getStreamsForLLM("slice").empty());
    CHECK(!kernel->destroyVirtualComputeNode("slice"));
}

METHOD(AdvancedCustomizedKernel, getActiveLLMs) {
    const Kernel kernel;
    CHECK(kernel->getActiveLLMs().empty() && kernel->allocateMemory(16, "somebody") != nullptr);
    CHECK(kernel->getActiveLLMs() == std::vector<std::string>{"somebody"});
}

METHOD(AdvancedCustomizedKernel, setTaskWeightage) {
    const Kernel kernel;
    Blocker blocker(kernel, "weights");
    CHECK(kernel->setTaskWeightage(blocker.id(), 0.8F));
    CHECK(!kernel->setTaskWeightage(blocker.id(), 0.0F) && !kernel->setTaskWeightage(blocker.id(), -1.0F));
    CHECK(!kernel->setTaskWeightage(blocker.id(), std::numeric_limits<float>::quiet_NaN()));
    CHECK(!kernel->setTaskWeightage("no such task", 0.8F));
    // Among tasks that could start, the one whose waiting time times weight is most goes first.
    std::mutex mutex;
    std::vector<std::string> order;
    ComputeTask task;
    task.llmId = "weights";
    task.requiredCores = kernel->getResourceUsage()["llm.weights.processors"];
    for (const char* name : {"light", "heavy"}) {
        task.taskId = name;
        task.taskFunction = [&, name] {
            const std::lock_guard<std::mutex> lock(mutex);
            order.emplace_back(name);
        };
        CHECK(kernel->scheduleTask(task) == name);
    }
    CHECK(kernel->setTaskWeightage("heavy", 100.0F));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    blocker.release();
    CHECK(ends(kernel, "light") && ends(kernel, "heavy"));
    CHECK(order == (std::vector<std::string>{"heavy", "light"}));
}

METHOD(AdvancedCustomizedKernel, enableDirectMemoryAccess) {
    const Kernel kernel;
    CHECK(kernel->enableDirectMemoryAccess("direct"));
    void* memory = kernel->allocateMemory(4096, "direct");
    auto* host = static_cast<unsigned char*>(kernel->getDirectPointer(memory));
    CHECK(memory != nullptr && host != nullptr);
    unsigned char seen = 0;
    host[7] = 42;
    CHECK(kernel->copyMemory(&seen, static_cast<char*>(memory) + 7, 1) && seen == 42);
    seen = 43;
    CHECK(kernel->copyMemory(static_cast<char*>(memory) + 8, &seen, 1) && host[8] == 43);
    CHECK(kernel->getDirectPointer(&seen) == nullptr);
}

METHOD(AdvancedCustomizedKernel, disableDirectMemoryAccess) {
    const Kernel kernel;
    CHECK(kernel->enableDirectMemoryAccess("direct"));
    void* memory = kernel->allocateMemory(4096, "direct");
    CHECK(kernel->getDirectPointer(memory) != nullptr);
    CHECK(kernel->disableDirectMemoryAccess("direct") && kernel->getDirectPointer(memory) == nullptr);
    unsigned char byte = 1;
    CHECK(kernel->copyMemory(memory, &byte, 1));
}
