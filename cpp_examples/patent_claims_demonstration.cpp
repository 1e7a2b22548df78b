// The documented demonstration, as documented; main() is added.
#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

// Demonstrate patent claims: Multiple LLM execution on single hardware
void demonstratePatentClaims() {
    auto& kernelManager = KernelDriverManager::getInstance();
    kernelManager.initializeSystem();

    auto& bridgeManager = PythonCppBridgeManager::getInstance();
    bridgeManager.initializeBridge();

    auto kernel = kernelManager.getKernel();
    auto bridge = bridgeManager.getBridge();

    // Patent Claim 1: Multiple LLM execution capability
    std::cout << "=== Patent Claim 1: Multiple LLM Execution ===" << std::endl;

    std::vector<std::string> llmIds = {"interface_llm", "knowledge_llm", "embedding_llm", "multimodal_llm"};

    for (const auto& llmId : llmIds) {
        std::map<std::string, std::string> config = {
            {"model_type", "gpt"},
            {"max_tokens", "100"},
            {"temperature", "0.7"}
        };
        bridge->registerLLM(llmId, config);

        // Allocate memory for each LLM
        auto array = bridge->allocateMemoryArray(1000, llmId);

        // Allocate compute node
        auto availableNodes = bridge->getAvailableComputeNodes();
        if (!availableNodes.empty()) {
            bridge->allocateComputeNode(availableNodes[0], llmId);
        }

        std::cout << "✓ " << llmId << " registered and allocated resources" << std::endl;
    }

    // Patent Claim 2: Direct GPU access
    std::cout << "\n=== Patent Claim 2: Direct GPU Access ===" << std::endl;

    for (const auto& llmId : llmIds) {
        auto array = bridge->allocateMemoryArray(1000, llmId);
        void* ptr = bridge->getMemoryPointer(array);

        // Test direct memory access
        bool copiedToGPU = bridge->copyToGPU(array, ptr);
        bool copiedFromGPU = bridge->copyFromGPU(ptr, array);

        std::cout << "✓ " << llmId << " direct memory access: "
                  << (copiedToGPU && copiedFromGPU ? "SUCCESS" : "FAILED") << std::endl;
    }

    // Patent Claim 3: Memory partitioning
    std::cout << "\n=== Patent Claim 3: Memory Partitioning ===" << std::endl;

    auto partitions = kernel->getMemoryPartitions();
    std::cout << "✓ Found " << partitions.size() << " memory partitions" << std::endl;

    for (const auto& llmId : llmIds) {
        bool created = kernel->createMemoryPartition(1024*1024, MemoryPartitionType::GLOBAL_MEMORY, llmId);
        std::cout << "✓ " << llmId << " memory partition: "
                  << (created ? "CREATED" : "FAILED") << std::endl;
    }

    // Patent Claim 4: Virtual compute nodes
    std::cout << "\n=== Patent Claim 4: Virtual Compute Nodes ===" << std::endl;

    for (const auto& llmId : llmIds) {
        bool created = kernel->createVirtualComputeNode(llmId, 1024*1024, 4);
        std::cout << "✓ " << llmId << " virtual compute node: "
                  << (created ? "CREATED" : "FAILED") << std::endl;
    }

    // Patent Claim 5: Parallel processing
    std::cout << "\n=== Patent Claim 5: Parallel Processing ===" << std::endl;

    for (const auto& llmId : llmIds) {
        std::map<std::string, std::string> taskParams = {
            {"task_type", "inference"},
            {"priority", "normal"}
        };
        std::string taskId = bridge->scheduleTask(llmId, "inference", taskParams);
        std::cout << "✓ " << llmId << " task scheduled: " << taskId << std::endl;
    }

    // Monitor system performance
    std::cout << "\n=== System Performance ===" << std::endl;

    auto metrics = kernelManager.getSystemPerformanceMetrics();
    std::cout << "System metrics:" << std::endl;
    for (const auto& metric : metrics) {
        std::cout << "  " << metric.first << ": " << metric.second << std::endl;
    }

    auto usage = kernelManager.getSystemResourceUsage();
    std::cout << "Resource usage:" << std::endl;
    for (const auto& resource : usage) {
        std::cout << "  " << resource.first << ": " << resource.second << std::endl;
    }

    // Cleanup
    for (const auto& llmId : llmIds) {
        bridge->unregisterLLM(llmId);
    }

    bridgeManager.shutdownBridge();
    kernelManager.shutdownSystem();
}

int main() {
    demonstratePatentClaims();
    return 0;
}
