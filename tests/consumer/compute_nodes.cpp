// Compute nodes of every kind through the documented classes.
#include "check.hpp"

#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

#include <cstring>
#include <map>
#include <memory>
#include <string>

namespace {

void every_kind(AdvancedCustomizedKernel& kernel) {
    const auto free_nodes = kernel.getAvailableComputeNodes();
    std::map<ComputeNodeType, ComputeNode> first;
    for (const auto& node : free_nodes) {
        CHECK(node.memorySize > 0 && !node.isAllocated && !node.isActive && node.allocatedMemory.empty());
        first.emplace(node.type, node);
    }
    CHECK(free_nodes.front().nodeId == 0 && free_nodes.front().type == ComputeNodeType::TENSOR_CORE);
    CHECK(first.count(ComputeNodeType::CUDA_CORE) == 1 && first.count(ComputeNodeType::MEMORY_BANK) == 1);
    for (const auto& entry : first) {
        const int id = entry.second.nodeId;
        const std::string llm = "node of kind " + std::to_string(static_cast<int>(entry.first));
        CHECK(kernel.allocateComputeNode(id, llm) && kernel.allocateComputeNode(id, llm));
        const ComputeNode held = kernel.getComputeNode(id);
        CHECK(held.isAllocated && held.type == entry.first && held.allocatedMemory.size() == 1 && !held.detail.empty());
        CHECK(kernel.getMathMode(llm) == (held.type == ComputeNodeType::CUDA_CORE ? CW_MATH_PLAIN : CW_MATH_EXACT));
        if (held.customData.count("memory") == 1) {
            std::memset(held.customData.at("memory"), 1, held.memorySize);
        }
        CHECK(!kernel.allocateComputeNode(id, "somebody else") && !cogniware::last_error().empty());
        for (const auto& other : kernel.getAvailableComputeNodes()) {
            CHECK(other.nodeId != id);
        }
        CHECK(kernel.deallocateComputeNode(id) && !kernel.deallocateComputeNode(id));
    }
    CHECK(!kernel.setCacheWindow("somebody", nullptr, 5) && kernel.getCacheWindow("somebody").second == 0);
    CHECK(!kernel.allocateComputeNode(-1, "k") && !kernel.allocateComputeNode(1 << 30, "k"));
}

void layouts_and_exactness(AdvancedCustomizedDriver& driver, AdvancedCustomizedKernel& kernel) {
    const std::size_t before = kernel.getAvailableComputeNodes().size();
    CHECK(driver.optimizeForSingleLLM() && kernel.getAvailableComputeNodes()[1].type == ComputeNodeType::CUDA_CORE);
    CHECK(driver.optimizeForMultipleLLMs() && kernel.getAvailableComputeNodes()[3].nodeId == 3);
    CHECK(!driver.optimizeForMultipleLLMs(-1) && !driver.optimizeForMultipleLLMs(0));
    CHECK(driver.resetLLMOptimization() && kernel.getAvailableComputeNodes().size() == before);
    if (driver.enableTensorCoreOptimization()) {
        CHECK(kernel.getMathMode("exactness") == CW_MATH_FAST);
    } else {
        CHECK(!cogniware::last_error().empty());
    }
    CHECK(driver.disableTensorCoreOptimization() && kernel.getMathMode("exactness") == CW_MATH_EXACT);
}

}  // namespace

void compute_nodes() {
    AdvancedCustomizedDriver driver;
    CHECK(!driver.enableTensorCoreOptimization() && !driver.optimizeForMultipleLLMs());
    CHECK(driver.initialize());
    const auto kernel = driver.getKernel();
    every_kind(*kernel);
    layouts_and_exactness(driver, *kernel);
    kernel->shutdown();
    driver.shutdown();

    AdvancedPythonCppBridge bridge;
    CHECK(bridge.getComputeNodeInfo(0).empty() && bridge.initialize());
    const auto nodes = bridge.getAvailableComputeNodes();
    CHECK(!nodes.empty() && bridge.getComputeNodeInfo(nodes[0])["type"] == "tensor_core");
    CHECK(bridge.allocateComputeNode(nodes[0], "bridged"));
    auto info = bridge.getComputeNodeInfo(nodes[0]);
    CHECK(info["owner"] == "bridged" && info["is_allocated"] == "true" && !info["memory_bytes"].empty());
    CHECK(!bridge.deallocateComputeNode(nodes[0], "nobody") && bridge.deallocateComputeNode(nodes[0], "bridged"));
    CHECK(bridge.getComputeNodeInfo(-1).empty());
    bridge.shutdown();
}
