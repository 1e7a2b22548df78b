// The documented fragments that are no program of their own, compiled as they stand and run. What they leave open (an
// address, a size) is defined before them; where one declares a name twice, or takes a value from a function that has
// none, its lines are put into blocks of their own and nothing else is changed. The complete programs are in cpp_examples.
// clang-format off
#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

#include "rig.hpp"

#include <cogniware/spdlog.hpp>

#include <cuda_runtime_api.h>
#include <pybind11/embed.h>
#include <pybind11/numpy.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

namespace {

void kernel_reference() {
    const std::size_t size = 1024;
    std::vector<char> host(size, 'x');
    std::map<std::string, std::string> requirements = {{"memory_priority", "high"}};
    const std::size_t memorySize = 1024 * 1024;
    const std::size_t coreCount = 1;

    // Initialize kernel
    auto kernel = std::make_shared<AdvancedCustomizedKernel>();
    bool initialized = kernel->initialize();
    CHECK(initialized);

    // Device management
    auto devices = kernel->getAvailableDevices();
    bool selected = kernel->selectDevice(0);
    auto currentDevice = kernel->getCurrentDevice();
    CHECK(!devices.empty() && selected && currentDevice.deviceId == 0);

    // Compute node management
    auto computeNodes = kernel->getAvailableComputeNodes();
    bool allocated = kernel->allocateComputeNode(0, "llm_id");
    {
        bool deallocated = kernel->deallocateComputeNode(0);
        CHECK(allocated && deallocated);
    }
    auto node = kernel->getComputeNode(0);
    CHECK(!computeNodes.empty() && node.nodeId == 0);

    // Memory partitioning
    auto partitions = kernel->getMemoryPartitions();
    bool created = kernel->createMemoryPartition(1024*1024, MemoryPartitionType::GLOBAL_MEMORY, "llm_id");
    {
        bool destroyed = kernel->destroyMemoryPartition(0);
        CHECK(created && destroyed);
    }
    auto partition = kernel->getMemoryPartition(0);
    CHECK(partitions.empty() && partition.partitionId == -1);

    // Direct memory access
    {
        void* other = kernel->allocateMemory(size, "llm_id");
        void* dst = other;
        const void* src = host.data();
        cudaStream_t stream = kernel->createStream("llm_id");
        void* memory = kernel->allocateMemory(1024*1024, "llm_id");
        bool deallocated = kernel->deallocateMemory(memory);
        bool copied = kernel->copyMemory(dst, src, size);
        bool copiedAsync = kernel->copyMemoryAsync(dst, src, size, stream);
        CHECK(deallocated && copied && copiedAsync && kernel->destroyStream(stream));
    }

    // Task scheduling
    {
        ComputeTask task;
        task.taskId = "task_1";
        task.llmId = "llm_id";
        task.priority = TaskPriority::NORMAL;
        task.requiredMemory = 1024*1024;
        task.requiredCores = 1;
        task.taskFunction = []() { /* task logic */ };

        std::string taskId = kernel->scheduleTask(task);
        bool cancelled = kernel->cancelTask(taskId);
        auto taskStatus = kernel->getTaskStatus(taskId);
        auto activeTasks = kernel->getActiveTasks();
        static_cast<void>(cancelled);
        CHECK(taskId == "task_1" && taskStatus.taskId == "task_1" && activeTasks.size() <= 1);
    }

    // CUDA stream management
    cudaStream_t stream = kernel->createStream("llm_id");
    bool synchronized = kernel->synchronizeStream(stream);
    bool destroyed = kernel->destroyStream(stream);
    auto streams = kernel->getStreamsForLLM("llm_id");
    CHECK(synchronized && destroyed && streams.empty());

    // Performance monitoring
    auto metrics = kernel->getPerformanceMetrics();
    auto usage = kernel->getResourceUsage();
    bool profilingEnabled = kernel->enableProfiling();
    bool profilingDisabled = kernel->disableProfiling();
    CHECK(!metrics.empty() && !usage.empty() && profilingEnabled && profilingDisabled);

    // Advanced features
    bool optimized = kernel->optimizeForLLM("llm_id", requirements);
    bool virtualNodeCreated = kernel->createVirtualComputeNode("llm_id", memorySize, coreCount);
    bool virtualNodeDestroyed = kernel->destroyVirtualComputeNode("llm_id");
    auto activeLLMs = kernel->getActiveLLMs();
    bool weightageSet = kernel->setTaskWeightage("task_id", 0.8f);
    bool directAccessEnabled = kernel->enableDirectMemoryAccess("llm_id");
    bool directAccessDisabled = kernel->disableDirectMemoryAccess("llm_id");
    CHECK(optimized && virtualNodeCreated && virtualNodeDestroyed && activeLLMs.size() == 1);
    // No task has that id.
    CHECK(!weightageSet && directAccessEnabled && directAccessDisabled);

    kernel->shutdown();
}

void driver_reference() {
    // Initialize driver
    auto driver = std::make_shared<AdvancedCustomizedDriver>();
    bool initialized = driver->initialize();

    // Kernel interaction
    auto kernel = driver->getKernel();
    bool loaded = driver->loadKernelModule("/path/to/module.ko");
    bool unloaded = driver->unloadKernelModule();
    CHECK(initialized && kernel != nullptr && !loaded && !unloaded);

    // Direct hardware access
    bool bypassed = driver->bypassStandardDriver();
    bool enabled = driver->enableDirectHardwareAccess();
    bool disabled = driver->disableDirectHardwareAccess();
    CHECK(bypassed && enabled && disabled && driver->bypassStandardDriver());

    // Performance optimization
    bool optimized = driver->optimizeForMultipleLLMs();
    bool tensorOptimized = driver->enableTensorCoreOptimization();
    bool memoryOptimized = driver->enableMemoryOptimization();
    CHECK(optimized && memoryOptimized && (tensorOptimized || !cogniware::last_error().empty()));

    // Monitoring and diagnostics
    auto driverInfo = driver->getDriverInfo();
    auto performanceStats = driver->getPerformanceStats();
    bool diagnosticsPassed = driver->runDiagnostics();
    CHECK(!driverInfo.empty() && !performanceStats.empty() && diagnosticsPassed);

    // Advanced features
    CHECK(driver->setInstallConfiguration({{"profiling_for_all", "true"}}));
    bool patched = driver->patchKernelModule();
    bool installed = driver->installCustomDriver();
    CHECK(patched && installed && driver->verifyDriverInstallation());
    bool uninstalled = driver->uninstallCustomDriver();
    bool verified = driver->verifyDriverInstallation();
    auto supportedGPUs = driver->getSupportedGPUs();
    bool nvlinkOptimized = driver->enableNVLinkOptimization();
    bool asyncTransfersEnabled = driver->enableAsyncMemoryTransfers();
    CHECK(uninstalled && !verified && !supportedGPUs.empty() && asyncTransfersEnabled);
    // One GPU, or none, has nobody to be linked with.
    static_cast<void>(nvlinkOptimized);

    driver->shutdown();
}

void bridge_reference() {
    const int nodeId = 0;
    std::map<std::string, std::string> requirements = {{"max_memory", "64"}};
    const std::size_t memorySize = 1024 * 1024;
    const std::size_t coreCount = 1;
    std::vector<float> elsewhere(1000);
    void* gpuPtr = elsewhere.data();

    // Initialize bridge
    auto bridge = std::make_shared<AdvancedPythonCppBridge>();
    bool initialized = bridge->initialize();
    CHECK(initialized);

    // Memory management
    pybind11::array_t<float> array = bridge->allocateMemoryArray(1000, "llm_id");
    {
        void* ptr = bridge->getMemoryPointer(array);
        bool copiedToGPU = bridge->copyToGPU(array, gpuPtr);
        bool copiedFromGPU = bridge->copyFromGPU(gpuPtr, array);
        CHECK(array.size() == 1000 && ptr == array.data() && copiedToGPU && copiedFromGPU);
    }
    {
        bool deallocated = bridge->deallocateMemoryArray(array, "llm_id");
        CHECK(deallocated);
    }

    // Resource monitoring
    auto resourceUsage = bridge->getResourceUsage("llm_id");
    auto memoryUsage = bridge->getMemoryUsage("llm_id");
    {
        auto activeLLMs = bridge->getActiveLLMs();
        bool isActive = bridge->isLLMActive("llm_id");
        CHECK(!resourceUsage.empty() && !memoryUsage.empty() && activeLLMs.empty() && !isActive);
    }

    // Compute node management
    auto availableNodes = bridge->getAvailableComputeNodes();
    bool allocated = bridge->allocateComputeNode(nodeId, "llm_id");
    bool deallocated = bridge->deallocateComputeNode(nodeId, "llm_id");
    auto nodeInfo = bridge->getComputeNodeInfo(nodeId);
    CHECK(!availableNodes.empty() && allocated && deallocated && !nodeInfo.empty());

    // Task management
    {
        std::map<std::string, std::string> parameters = {{"task_type", "inference"}};
        std::string taskId = bridge->scheduleTask("llm_id", "inference", parameters);
        bool cancelled = bridge->cancelTask(taskId);
        auto taskStatus = bridge->getTaskStatus(taskId);
        auto activeTasks = bridge->getActiveTasks("llm_id");
        static_cast<void>(cancelled);
        CHECK(!taskId.empty() && !taskStatus.empty() && activeTasks.size() <= 1 && bridge->waitForTask(taskId));
    }

    // Performance monitoring
    auto metrics = bridge->getPerformanceMetrics();
    bool profilingEnabled = bridge->enableProfiling("llm_id");
    bool profilingDisabled = bridge->disableProfiling("llm_id");
    auto profilingData = bridge->getProfilingData("llm_id");
    CHECK(!metrics.empty() && profilingEnabled && profilingDisabled);

    // Advanced features
    auto sharedArray = bridge->createSharedMemoryArray(1000, "llm_id");
    CHECK(bridge->getSharedMemoryPointer(sharedArray) != nullptr);
    bool destroyed = bridge->destroySharedMemoryArray(sharedArray, "llm_id");
    void* sharedPtr = bridge->getSharedMemoryPointer(sharedArray);
    CHECK(destroyed && sharedPtr == nullptr);
    CHECK(bridge->unregisterLLM("llm_id"));

    // LLM lifecycle management
    std::map<std::string, std::string> config = {{"model_type", "gpt"}};
    bool registered = bridge->registerLLM("llm_id", config);
    {
        bool unregistered = bridge->unregisterLLM("llm_id");
        CHECK(registered && unregistered && bridge->registerLLM("llm_id", config));
    }
    auto llmConfig = bridge->getLLMConfig("llm_id");
    CHECK(llmConfig == config);
    config = {{"max_tokens", "8"}};
    bool updated = bridge->updateLLMConfig("llm_id", config);
    CHECK(updated);

    // Resource optimization
    bool optimized = bridge->optimizeForLLM("llm_id", requirements);
    bool virtualNodeCreated = bridge->createVirtualComputeNode("llm_id", memorySize, coreCount);
    bool virtualNodeDestroyed = bridge->destroyVirtualComputeNode("llm_id");
    CHECK(optimized && virtualNodeCreated && virtualNodeDestroyed);

    // Monitoring and diagnostics
    auto systemInfo = bridge->getSystemInfo();
    bool diagnosticsPassed = bridge->runDiagnostics();
    auto diagnosticResults = bridge->getDiagnosticResults();
    CHECK(!systemInfo.empty() && diagnosticsPassed && !diagnosticResults.empty());

    bridge->shutdown();
}

void kernel_manager_reference() {
    // Get singleton instance
    auto& manager = KernelDriverManager::getInstance();

    // System management
    bool initialized = manager.initializeSystem();
    // `void shutdown = …` is no C++.
    manager.shutdownSystem();
    CHECK(initialized && manager.initializeSystem());
    bool isInitialized = manager.isSystemInitialized();
    CHECK(isInitialized);

    // Component access
    auto kernel = manager.getKernel();
    auto driver = manager.getDriver();
    CHECK(kernel != nullptr && driver != nullptr);

    // Performance monitoring
    auto metrics = manager.getSystemPerformanceMetrics();
    auto usage = manager.getSystemResourceUsage();
    bool profilingEnabled = manager.enableSystemProfiling();
    bool profilingDisabled = manager.disableSystemProfiling();
    CHECK(!metrics.empty() && !usage.empty() && profilingEnabled && profilingDisabled);

    // Configuration
    std::map<std::string, std::string> kernelConfig = {{"max_memory", "8192"}};
    manager.setKernelConfiguration(kernelConfig);
    auto retrievedConfig = manager.getKernelConfiguration();
    CHECK(retrievedConfig["max_memory"] == "8192");

    std::map<std::string, std::string> driverConfig = {{"optimization_level", "high"}};
    manager.setDriverConfiguration(driverConfig);
    auto retrievedDriverConfig = manager.getDriverConfiguration();
    CHECK(retrievedDriverConfig["optimization_level"] == "high");
    manager.shutdownSystem();
}

void bridge_manager_reference() {
    std::map<std::string, std::string> config = {{"model_type", "gpt"}};

    // Get singleton instance
    auto& manager = PythonCppBridgeManager::getInstance();

    // Bridge management
    bool initialized = manager.initializeBridge();
    manager.shutdownBridge();
    CHECK(initialized && manager.initializeBridge());
    bool isInitialized = manager.isBridgeInitialized();

    // Component access
    auto bridge = manager.getBridge();
    CHECK(isInitialized && bridge != nullptr);

    // Quick access methods
    auto array = manager.allocateMemoryArray(1000, "llm_id");
    bool deallocated = manager.deallocateMemoryArray(array, "llm_id");
    auto resourceUsage = manager.getResourceUsage("llm_id");
    auto activeLLMs = manager.getActiveLLMs();
    bool registered = manager.registerLLM("llm_id", config);
    bool unregistered = manager.unregisterLLM("llm_id");
    CHECK(deallocated && !resourceUsage.empty() && activeLLMs.empty() && registered && unregistered);

    // Configuration
    std::map<std::string, std::string> bridgeConfig = {{"max_llms", "10"}};
    manager.setBridgeConfiguration(bridgeConfig);
    auto retrievedConfig = manager.getBridgeConfiguration();
    CHECK(retrievedConfig["max_llms"] == "10");
    manager.shutdownBridge();
}

void kernel_optimization(AdvancedCustomizedKernel* kernel) {
    // Optimize kernel for specific LLM requirements
    std::map<std::string, std::string> requirements = {
        {"memory_priority", "high"},
        {"compute_priority", "high"},
        {"stream_priority", "normal"}
    };

    bool optimized = kernel->optimizeForLLM("llm_id", requirements);

    // Create virtual compute nodes for optimal resource allocation
    bool virtualNodeCreated = kernel->createVirtualComputeNode("llm_id", 2048ULL*1024*1024, 8); // 2GB, 8 cores
    if (!virtualNodeCreated) {
        std::cout << "no 2 GB slice here: " << cogniware::last_error() << std::endl;
    }

    // Enable direct memory access for better performance
    bool directAccessEnabled = kernel->enableDirectMemoryAccess("llm_id");
    CHECK(optimized && directAccessEnabled);
}

void driver_optimization(AdvancedCustomizedDriver* driver) {
    // Optimize driver for multiple LLM execution
    bool optimized = driver->optimizeForMultipleLLMs();

    // Enable tensor core optimization
    bool tensorOptimized = driver->enableTensorCoreOptimization();

    // Enable memory optimization
    bool memoryOptimized = driver->enableMemoryOptimization();

    // Enable NVLink optimization for multi-GPU setups
    bool nvlinkOptimized = driver->enableNVLinkOptimization();

    // Enable asynchronous memory transfers
    bool asyncTransfersEnabled = driver->enableAsyncMemoryTransfers();
    static_cast<void>(tensorOptimized);
    static_cast<void>(nvlinkOptimized);
    CHECK(optimized && memoryOptimized && asyncTransfersEnabled);
}

void bridge_optimization(AdvancedPythonCppBridge* bridge) {
    // Optimize bridge for specific LLM
    std::map<std::string, std::string> requirements = {
        {"max_memory", "4096"},
        {"max_cores", "8"},
        {"enable_profiling", "true"}
    };

    bool optimized = bridge->optimizeForLLM("llm_id", requirements);
    // More cores than a small host has are refused by name.
    CHECK(optimized || cogniware::last_error().find("max_cores") != std::string::npos);

    // Create virtual compute nodes
    bool virtualNodeCreated = bridge->createVirtualComputeNode("llm_id", 1024*1024*1024, 4);
    if (!virtualNodeCreated) {
        std::cout << "no 1 GB slice here: " << cogniware::last_error() << std::endl;
    }

    // Enable profiling for performance monitoring
    bool profilingEnabled = bridge->enableProfiling("llm_id");
    CHECK(profilingEnabled);
    CHECK(bridge->disableProfiling("llm_id"));
}

bool error_recovery() {
    // Kernel error handling
    try {
        auto kernel = std::make_shared<AdvancedCustomizedKernel>();
        if (!kernel->initialize()) {
            std::cerr << "Failed to initialize kernel" << std::endl;
            return false;
        }
    } catch (const std::exception& e) {
        std::cerr << "Kernel initialization error: " << e.what() << std::endl;
        return false;
    }

    // Driver error handling
    try {
        auto driver = std::make_shared<AdvancedCustomizedDriver>();
        if (!driver->initialize()) {
            std::cerr << "Failed to initialize driver" << std::endl;
            return false;
        }
    } catch (const std::exception& e) {
        std::cerr << "Driver initialization error: " << e.what() << std::endl;
        return false;
    }

    // Bridge error handling
    try {
        auto bridge = std::make_shared<AdvancedPythonCppBridge>();
        if (!bridge->initialize()) {
            std::cerr << "Failed to initialize bridge" << std::endl;
            return false;
        }
    } catch (const std::exception& e) {
        std::cerr << "Bridge initialization error: " << e.what() << std::endl;
        return false;
    }
    return true;
}

void troubleshooting(AdvancedCustomizedKernel* kernel, AdvancedCustomizedDriver* driver) {
    const std::size_t requiredMemory = 1;
    // Check CUDA availability
    int deviceCount;
    cudaError_t error = cudaGetDeviceCount(&deviceCount);
    if (error != cudaSuccess || deviceCount == 0) {
        std::cout << "CUDA not available or no devices found" << std::endl;
    }

    // Check driver status
    auto driverInfo = driver->getDriverInfo();
    if (driverInfo["driver_initialized"] != "true") {
        std::cout << "Driver not initialized" << std::endl;
        CHECK(false);
    }

    // Check available memory
    auto device = kernel->getCurrentDevice();
    if (device.freeMemory < requiredMemory) {
        std::cout << "Insufficient memory available" << std::endl;
        CHECK(false);
    }

    // Check available compute nodes
    auto computeNodes = kernel->getAvailableComputeNodes();
    if (computeNodes.empty()) {
        std::cout << "No available compute nodes" << std::endl;
        CHECK(false);
    }
}

void debug_mode(AdvancedCustomizedKernel* kernel, AdvancedCustomizedDriver* driver, AdvancedPythonCppBridge* bridge) {
    // Enable debug logging
    spdlog::set_level(spdlog::level::debug);

    // Enable profiling
    kernel->enableProfiling();
    driver->enableTensorCoreOptimization();
    bridge->enableProfiling("llm_id");

    // Run diagnostics
    bool diagnosticsPassed = driver->runDiagnostics();
    if (!diagnosticsPassed) {
        std::cout << "Driver diagnostics failed" << std::endl;
    }

    bool bridgeDiagnosticsPassed = bridge->runDiagnostics();
    if (!bridgeDiagnosticsPassed) {
        std::cout << "Bridge diagnostics failed" << std::endl;
    }
    CHECK(diagnosticsPassed && bridgeDiagnosticsPassed && kernel->disableProfiling());
}

}  // namespace

void failed(const char* file, int line, const char* condition) {
    std::cerr << file << ":" << line << ": not true: " << condition << "\n    the last error: " << cogniware::last_error()
              << std::endl;
    std::_Exit(1);
}

int main() {
    const pybind11::scoped_interpreter python;
    const auto root = std::filesystem::temp_directory_path() / ("cogniware_fragments_" + std::to_string(::getpid()));
    std::filesystem::create_directories(root);
    ::setenv("COGNIWARE_INSTALL_ROOT", root.c_str(), 1);
    cogniware::log_to_spdlog();

    kernel_reference();
    driver_reference();
    bridge_reference();
    kernel_manager_reference();
    bridge_manager_reference();
    CHECK(error_recovery());

    auto& kernels = KernelDriverManager::getInstance();
    auto& bridges = PythonCppBridgeManager::getInstance();
    CHECK(kernels.initializeSystem() && bridges.initializeBridge() && bridges.registerLLM("llm_id", {}));
    const auto kernel = kernels.getKernel();
    const auto driver = kernels.getDriver();
    const auto bridge = bridges.getBridge();
    kernel_optimization(kernel.get());
    driver_optimization(driver.get());
    kernel->destroyVirtualComputeNode("llm_id");
    bridge_optimization(bridge.get());
    troubleshooting(kernel.get(), driver.get());
    debug_mode(kernel.get(), driver.get(), bridge.get());
    bridges.shutdownBridge();
    kernels.shutdownSystem();
    std::filesystem::remove_all(root);
    std::cout << "fragments: passed" << std::endl;
    return 0;
}
