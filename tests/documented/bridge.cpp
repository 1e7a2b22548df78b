// AdvancedPythonCppBridge.
#include "core/python_cpp_bridge.h"
#include "harness.hpp"
#include "rig.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace {

// A bridge that is initialised, and shut down at the end of the test.
class Bridge {
public:
    Bridge() { CHECK(bridge_->initialize()); }
    ~Bridge() { bridge_->shutdown(); }
    Bridge(const Bridge&) = delete;
    Bridge& operator=(const Bridge&) = delete;
    AdvancedPythonCppBridge* operator->() const { return bridge_.get(); }

private:
    std::shared_ptr<AdvancedPythonCppBridge> bridge_ = std::make_shared<AdvancedPythonCppBridge>();
};

const std::map<std::string, std::string> small = {{"model_type", "gpt"}, {"max_tokens", "4"}, {"temperature", "0"}};

bool contains(const std::vector<std::string>& list, const std::string& text) {
    return std::find(list.begin(), list.end(), text) != list.end();
}

}  // namespace

METHOD(AdvancedPythonCppBridge, initialize) {
    AdvancedPythonCppBridge bridge;
    CHECK(bridge.allocateMemoryArray(4, "b").empty() && bridge.initialize() && bridge.initialize());
    CHECK(!bridge.allocateMemoryArray(4, "b").empty());
    bridge.shutdown();
}

METHOD(AdvancedPythonCppBridge, shutdown) {
    AdvancedPythonCppBridge bridge;
    CHECK(bridge.initialize() && bridge.registerLLM("b", small));
    bridge.shutdown();
    CHECK(!bridge.isInitialized() && !bridge.registerLLM("b", small));
    CHECK(bridge.initialize() && bridge.getActiveLLMs().empty());
    bridge.shutdown();
}

METHOD(AdvancedPythonCppBridge, allocateMemoryArray) {
    const Bridge bridge;
    auto array = bridge->allocateMemoryArray(1000, "b");
    CHECK(array.size() == 1000 && std::accumulate(array.begin(), array.end(), 0.0F) == 0.0F);
    array[999] = 2.5F;
    CHECK(bridge->getMemoryUsage("b").at("held_bytes") >= 4000);
    CHECK(bridge->allocateMemoryArray(0, "b").empty() && bridge->allocateMemoryArray(~std::size_t{0}, "b").empty());
}

METHOD(AdvancedPythonCppBridge, deallocateMemoryArray) {
    const Bridge bridge;
    const auto array = bridge->allocateMemoryArray(1 << 20, "b");
    const auto copy = array;
    CHECK(!bridge->deallocateMemoryArray(array, "other") && bridge->deallocateMemoryArray(array, "b"));
    CHECK(array.empty() && copy.empty() && bridge->getMemoryUsage("b").at("held_bytes") < 1 << 20);
    CHECK(!bridge->deallocateMemoryArray(array, "b"));
}

METHOD(AdvancedPythonCppBridge, getMemoryPointer) {
    const Bridge bridge;
    auto array = bridge->allocateMemoryArray(16, "b");
    CHECK(bridge->getMemoryPointer(array) != nullptr && bridge->getMemoryPointer(array) == array.data());
    CHECK(bridge->getMemoryPointer({}) == nullptr);
}

METHOD(AdvancedPythonCppBridge, copyToGPU) {
    const Bridge bridge;
    const Kernel kernel;
    auto array = bridge->allocateMemoryArray(1000, "b");
    std::iota(array.begin(), array.end(), 1.0F);
    void* memory = kernel->allocateMemory(4000, "b");
    std::vector<float> back(1000);
    CHECK(bridge->copyToGPU(array, memory) && kernel->copyMemory(back.data(), memory, 4000) && back[999] == 1000.0F);
    CHECK(bridge->copyToGPU(array, bridge->getMemoryPointer(array)) && !bridge->copyToGPU(array, nullptr));
    void* foreign = kernel->allocateMemory(4000, "other");
    CHECK(!bridge->copyToGPU(array, foreign) && !bridge->copyToGPU({}, memory));
    CHECK(kernel->deallocateMemory(memory) && kernel->deallocateMemory(foreign));
}

METHOD(AdvancedPythonCppBridge, copyFromGPU) {
    const Bridge bridge;
    const Kernel kernel;
    const auto array = bridge->allocateMemoryArray(1000, "b");
    std::vector<float> sent(1000);
    std::iota(sent.begin(), sent.end(), 1.0F);
    void* memory = kernel->allocateMemory(4000, "b");
    CHECK(kernel->copyMemory(memory, sent.data(), 4000) && bridge->copyFromGPU(memory, array) && array[999] == 1000.0F);
    CHECK(kernel->deallocateMemory(memory) && !bridge->copyFromGPU(nullptr, array));
}

METHOD(AdvancedPythonCppBridge, getResourceUsage) {
    const Bridge bridge;
    const auto array = bridge->allocateMemoryArray(1 << 20, "b");
    const auto usage = bridge->getResourceUsage("b");
    CHECK(usage.at("memory_held_bytes") >= 4 << 20 && usage.at("memory_limit_bytes") > usage.at("memory_held_bytes"));
    CHECK(bridge->getResourceUsage("nobody").empty());
}

METHOD(AdvancedPythonCppBridge, getMemoryUsage) {
    const Bridge bridge;
    const Kernel kernel;
    const auto array = bridge->allocateMemoryArray(1 << 20, "b");
    CHECK(kernel->allocateMemory(4096, "b") != nullptr);
    const auto usage = bridge->getMemoryUsage("b");
    CHECK(usage.at("held_bytes") >= 4 << 20 && usage.at("peak_bytes") >= usage.at("held_bytes"));
    CHECK(usage.at("limit_bytes") > 0 && usage.at("allocations") >= 1);
}

METHOD(AdvancedPythonCppBridge, getActiveLLMs) {
    const Bridge bridge;
    CHECK(bridge->getActiveLLMs().empty() && bridge->registerLLM("b", small));
    CHECK(bridge->getActiveLLMs() == std::vector<std::string>{"b"});
}

METHOD(AdvancedPythonCppBridge, isLLMActive) {
    const Bridge bridge;
    CHECK(!bridge->isLLMActive("b") && bridge->registerLLM("b", small) && bridge->isLLMActive("b"));
    CHECK(bridge->unregisterLLM("b") && !bridge->isLLMActive("b"));
}

METHOD(AdvancedPythonCppBridge, getAvailableComputeNodes) {
    const Bridge bridge;
    const auto nodes = bridge->getAvailableComputeNodes();
    CHECK(!nodes.empty() && bridge->allocateComputeNode(nodes[0], "b"));
    CHECK(bridge->getAvailableComputeNodes().size() == nodes.size() - 1);
}

METHOD(AdvancedPythonCppBridge, allocateComputeNode) {
    const Bridge bridge;
    const int node = bridge->getAvailableComputeNodes().at(0);
    CHECK(bridge->allocateComputeNode(node, "b") && !bridge->allocateComputeNode(node, "other"));
    CHECK(bridge->getResourceUsage("b").at("compute_nodes_allocated") == 1);
    CHECK(!bridge->allocateComputeNode(-1, "b") && cogniware::last_error().find("-1") != std::string::npos);
}

METHOD(AdvancedPythonCppBridge, deallocateComputeNode) {
    const Bridge bridge;
    const int node = bridge->getAvailableComputeNodes().at(0);
    CHECK(bridge->allocateComputeNode(node, "b") && !bridge->deallocateComputeNode(node, "other"));
    CHECK(bridge->deallocateComputeNode(node, "b") && !bridge->deallocateComputeNode(node, "b"));
}

METHOD(AdvancedPythonCppBridge, getComputeNodeInfo) {
    const Bridge bridge;
    const int node = bridge->getAvailableComputeNodes().at(0);
    const auto free = bridge->getComputeNodeInfo(node);
    CHECK(bridge->allocateComputeNode(node, "b"));
    CHECK(!free.empty() && bridge->getComputeNodeInfo(node) != free && bridge->getComputeNodeInfo(99999).empty());
}

METHOD(AdvancedPythonCppBridge, scheduleTask) {
    const Bridge bridge;
    const Kernel kernel;
    CHECK(bridge->registerLLM("b", small));
    const auto result = [&](const std::string& type, const std::map<std::string, std::string>& parameters) {
        const std::string id = bridge->scheduleTask("b", type, parameters);
        CHECK(!id.empty() && bridge->waitForTask(id));
        CHECK(bridge->getTaskStatus(id).at("status") == "completed");
        return bridge->getTaskResult(id);
    };
    CHECK(!result("inference", {{"task_type", "inference"}, {"priority", "normal"}, {"prompt", "The sea"}}).empty());
    CHECK(result("tokenize", {{"text", "The sea"}})[0] == '[');
    // 2 x 3 times 3 x 2, row-major.
    auto a = bridge->allocateMemoryArray(6, "b");
    auto b = bridge->allocateMemoryArray(6, "b");
    auto c = bridge->allocateMemoryArray(4, "b");
    std::iota(a.begin(), a.end(), 1.0F);
    std::iota(b.begin(), b.end(), 1.0F);
    const auto at = [&](const cogniware::MemoryArray& array) {
        return std::to_string(reinterpret_cast<std::uintptr_t>(bridge->getMemoryPointer(array)));
    };
    result("matrix_multiply", {{"m", "2"}, {"n", "2"}, {"k", "3"}, {"a", at(a)}, {"b", at(b)}, {"c", at(c)}});
    CHECK(c[0] == 22.0F && c[1] == 28.0F && c[2] == 49.0F && c[3] == 64.0F);
    result("memory_copy", {{"source", at(a)}, {"destination", at(b)}, {"bytes", "24"}});
    CHECK(std::equal(a.begin(), a.end(), b.begin()));
    CHECK(bridge->scheduleTask("b", "no such type", {}).empty());
    CHECK(bridge->scheduleTask("b", "inference", {{"no_such_key", "1"}}).empty());
}

METHOD(AdvancedPythonCppBridge, cancelTask) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small));
    const std::string id =
        bridge->scheduleTask("b", "inference", {{"prompt", "The sea"}, {"max_tokens", "2000"}, {"ignore_eos", "true"}});
    CHECK(bridge->cancelTask(id) && bridge->waitForTask(id));
    CHECK(bridge->getTaskStatus(id).at("status") == "cancelled" && !bridge->cancelTask(id));
}

METHOD(AdvancedPythonCppBridge, getTaskStatus) {
    const Bridge bridge;
    const std::string id = bridge->scheduleTask("b", "tokenize", {{"text", "The sea"}});
    CHECK(bridge->waitForTask(id));
    const auto status = bridge->getTaskStatus(id);
    CHECK(status.at("task_id") == id && status.at("llm_id") == "b" && status.at("status") == "completed");
    CHECK(!status.at("result").empty() && bridge->getTaskStatus("no such task").empty());
}

METHOD(AdvancedPythonCppBridge, getActiveTasks) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small) && bridge->getActiveTasks("b").empty());
    const std::string id =
        bridge->scheduleTask("b", "inference", {{"prompt", "The sea"}, {"max_tokens", "2000"}, {"ignore_eos", "true"}});
    CHECK(contains(bridge->getActiveTasks("b"), id) && bridge->getActiveTasks("other").empty());
    CHECK(bridge->cancelTask(id) && bridge->waitForTask(id) && bridge->getActiveTasks("b").empty());
}

METHOD(AdvancedPythonCppBridge, getPerformanceMetrics) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small));
    const auto before = bridge->getPerformanceMetrics();
    CHECK(!bridge->generate("b", "The sea").empty());
    CHECK(bridge->getPerformanceMetrics().at("generated_tokens") > before.at("generated_tokens"));
}

METHOD(AdvancedPythonCppBridge, enableProfiling) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small) && bridge->enableProfiling("b"));
    CHECK(!bridge->generate("b", "The sea").empty() && !bridge->getProfilingData("b").empty());
    CHECK(bridge->disableProfiling("b") && !bridge->enableProfiling(""));
}

METHOD(AdvancedPythonCppBridge, disableProfiling) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small) && bridge->enableProfiling("b") && bridge->disableProfiling("b"));
    const auto before = bridge->getProfilingData("b");
    CHECK(!bridge->generate("b", "The sea").empty() && bridge->getProfilingData("b") == before);
}

METHOD(AdvancedPythonCppBridge, getProfilingData) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small) && bridge->enableProfiling("b"));
    CHECK(!bridge->generate("b", "The sea").empty());
    const auto data = bridge->getProfilingData("b");
    CHECK(mentions(data, "p99") && mentions(data, "count") && bridge->disableProfiling("b"));
}

METHOD(AdvancedPythonCppBridge, createSharedMemoryArray) {
    const Bridge bridge;
    auto shared = bridge->createSharedMemoryArray(1000, "b");
    CHECK(shared.size() == 1000 && shared[999] == 0.0F && bridge->getMemoryUsage("b").at("held_bytes") >= 4000);
    shared[3] = 7.0F;
    CHECK(static_cast<float*>(bridge->getSharedMemoryPointer(shared))[3] == 7.0F);
    CHECK(bridge->createSharedMemoryArray(0, "b").empty());
}

METHOD(AdvancedPythonCppBridge, destroySharedMemoryArray) {
    const Bridge bridge;
    auto shared = bridge->createSharedMemoryArray(1 << 20, "b");
    CHECK(!bridge->destroySharedMemoryArray(shared, "other") && bridge->destroySharedMemoryArray(shared, "b"));
    CHECK(bridge->getMemoryUsage("b").at("held_bytes") < 1 << 20 && !bridge->destroySharedMemoryArray(shared, "b"));
}

METHOD(AdvancedPythonCppBridge, getSharedMemoryPointer) {
    const Bridge bridge;
    auto shared = bridge->createSharedMemoryArray(16, "b");
    CHECK(bridge->getSharedMemoryPointer(shared) == shared.data() && shared.data() != nullptr);
    CHECK(bridge->destroySharedMemoryArray(shared, "b") && bridge->getSharedMemoryPointer(shared) == nullptr);
}

METHOD(AdvancedPythonCppBridge, registerLLM) {
    const Bridge bridge;
    CHECK(!bridge->registerLLM("b", {{"no_such_key", "1"}}) && !bridge->isLLMActive("b"));
    CHECK(bridge->registerLLM("b", small) && !bridge->registerLLM("b", small));
    CHECK(!bridge->generate("b", "The sea").empty());
}

METHOD(AdvancedPythonCppBridge, unregisterLLM) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small) && bridge->unregisterLLM("b") && !bridge->unregisterLLM("b"));
    CHECK(bridge->getResourceUsage("b").empty());
}

METHOD(AdvancedPythonCppBridge, getLLMConfig) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small));
    for (const auto& entry : small) {
        CHECK(bridge->getLLMConfig("b").at(entry.first) == entry.second);
    }
}

METHOD(AdvancedPythonCppBridge, updateLLMConfig) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small) && bridge->updateLLMConfig("b", {{"max_tokens", "2"}, {"max_memory", "96"}}));
    CHECK(bridge->getLLMConfig("b").at("max_tokens") == "2");
    CHECK(bridge->getMemoryUsage("b").at("limit_bytes") == 96 << 20);
    CHECK(!bridge->updateLLMConfig("b", {{"model_type", "other"}}));
    CHECK(cogniware::last_error().find("model_type") != std::string::npos);
}

METHOD(AdvancedPythonCppBridge, optimizeForLLM) {
    const Bridge bridge;
    CHECK(bridge->registerLLM("b", small));
    CHECK(bridge->optimizeForLLM("b", {{"max_memory", "128"}, {"max_cores", "1"}, {"enable_profiling", "true"}}));
    CHECK(bridge->getMemoryUsage("b").at("limit_bytes") == 128 << 20);
    CHECK(!bridge->generate("b", "The sea").empty() && !bridge->getProfilingData("b").empty());
    CHECK(!bridge->optimizeForLLM("b", {{"no_such_key", "1"}}) && bridge->disableProfiling("b"));
}

METHOD(AdvancedPythonCppBridge, createVirtualComputeNode) {
    const Bridge bridge;
    const Kernel kernel;
    CHECK(bridge->createVirtualComputeNode("b", 8 << 20, 1));
    CHECK(bridge->getResourceUsage("b").at("compute_nodes_allocated") >= 1);
    CHECK(!bridge->createVirtualComputeNode("b", 8 << 20, 1) && bridge->destroyVirtualComputeNode("b"));
}

METHOD(AdvancedPythonCppBridge, destroyVirtualComputeNode) {
    const Bridge bridge;
    CHECK(!bridge->destroyVirtualComputeNode("b") && bridge->createVirtualComputeNode("b", 8 << 20, 1));
    CHECK(bridge->destroyVirtualComputeNode("b") && !bridge->destroyVirtualComputeNode("b"));
}

METHOD(AdvancedPythonCppBridge, getSystemInfo) {
    const Bridge bridge;
    const auto info = bridge->getSystemInfo();
    CHECK(!info.at("device_name").empty() && std::stoull(info.at("memory_total_bytes")) > 0);
}

METHOD(AdvancedPythonCppBridge, runDiagnostics) {
    const Bridge bridge;
    CHECK(bridge->runDiagnostics() && !bridge->getDiagnosticResults().empty());
}

METHOD(AdvancedPythonCppBridge, getDiagnosticResults) {
    const Bridge bridge;
    CHECK(bridge->runDiagnostics());
    const auto results = bridge->getDiagnosticResults();
    CHECK(mentions(results, "copies") && mentions(results, "seconds"));
}
