// The documented set-up of a whole system: four LLMs, their arrays, nodes and tasks, and the system's figures.
#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

int main() {
    // Initialize kernel and driver system
    auto& kernelManager = KernelDriverManager::getInstance();
    kernelManager.initializeSystem();

    // Initialize Python-C++ bridge
    auto& bridgeManager = PythonCppBridgeManager::getInstance();
    bridgeManager.initializeBridge();

    // Get components
    auto kernel = kernelManager.getKernel();
    auto driver = kernelManager.getDriver();
    auto bridge = bridgeManager.getBridge();

    // Get available devices
    auto devices = kernel->getAvailableDevices();
    std::cout << "Found " << devices.size() << " GPU devices" << std::endl;

    // Select first device
    kernel->selectDevice(0);
    auto currentDevice = kernel->getCurrentDevice();
    std::cout << "Selected device: " << currentDevice.name << std::endl;

    // Register multiple LLMs
    std::vector<std::string> llmIds = {"llm1", "llm2", "llm3", "llm4"};
    for (const auto& llmId : llmIds) {
        std::map<std::string, std::string> config = {
            {"model_type", "gpt"},
            {"max_tokens", "100"},
            {"temperature", "0.7"}
        };
        bridge->registerLLM(llmId, config);

        // Allocate memory for each LLM
        auto array = bridge->allocateMemoryArray(1000, llmId);
        std::cout << "Allocated memory for " << llmId << std::endl;
    }

    // Allocate compute nodes
    auto computeNodes = kernel->getAvailableComputeNodes();
    for (size_t i = 0; i < std::min(static_cast<size_t>(4), computeNodes.size()); ++i) {
        kernel->allocateComputeNode(computeNodes[i].nodeId, llmIds[i]);
        std::cout << "Allocated compute node " << computeNodes[i].nodeId
                  << " for " << llmIds[i] << std::endl;
    }

    // Schedule tasks for each LLM
    for (const auto& llmId : llmIds) {
        std::map<std::string, std::string> taskParams = {
            {"task_type", "inference"},
            {"priority", "normal"}
        };
        std::string taskId = bridge->scheduleTask(llmId, "inference", taskParams);
        std::cout << "Scheduled task " << taskId << " for " << llmId << std::endl;
    }

    // Monitor system performance
    auto metrics = kernelManager.getSystemPerformanceMetrics();
    std::cout << "System performance metrics:" << std::endl;
    for (const auto& metric : metrics) {
        std::cout << "  " << metric.first << ": " << metric.second << std::endl;
    }

    // Get resource usage
    auto usage = kernelManager.getSystemResourceUsage();
    std::cout << "System resource usage:" << std::endl;
    for (const auto& resource : usage) {
        std::cout << "  " << resource.first << ": " << resource.second << std::endl;
    }

    // Cleanup
    for (const auto& llmId : llmIds) {
        bridge->unregisterLLM(llmId);
    }

    bridgeManager.shutdownBridge();
    kernelManager.shutdownSystem();

    return 0;
}
