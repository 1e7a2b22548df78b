// The documented integration test, as documented; main() is added.
#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

// The test is its assertions: they stay in a release build too.
#undef NDEBUG
#include <cassert>

// Test complete system integration
void testSystemIntegration() {
    auto& kernelManager = KernelDriverManager::getInstance();
    auto& bridgeManager = PythonCppBridgeManager::getInstance();

    // Initialize system
    assert(kernelManager.initializeSystem() && "System initialization failed");
    assert(bridgeManager.initializeBridge() && "Bridge initialization failed");

    // Test multiple LLM execution
    std::vector<std::string> llmIds = {"llm1", "llm2", "llm3", "llm4"};
    for (const auto& llmId : llmIds) {
        std::map<std::string, std::string> config = {{"model_type", "gpt"}};
        assert(bridgeManager.registerLLM(llmId, config) && "LLM registration failed");

        auto array = bridgeManager.allocateMemoryArray(1000, llmId);
        assert(!array.empty() && "Memory allocation failed");
    }

    // Test parallel execution
    for (const auto& llmId : llmIds) {
        std::map<std::string, std::string> taskParams = {{"task_type", "inference"}};
        std::string taskId = bridgeManager.scheduleTask(llmId, "inference", taskParams);
        assert(!taskId.empty() && "Task scheduling failed");
    }

    // Test performance monitoring
    auto metrics = kernelManager.getSystemPerformanceMetrics();
    assert(!metrics.empty() && "No performance metrics");

    // Cleanup
    for (const auto& llmId : llmIds) {
        bridgeManager.unregisterLLM(llmId);
    }

    bridgeManager.shutdownBridge();
    kernelManager.shutdownSystem();
}

int main() {
    testSystemIntegration();
    std::cout << "System integration: passed" << std::endl;
    return 0;
}
