// The documented fragments of virtual GPUs that are no program of their own, compiled as they stand and run. What they leave open
// (an id, a size, the managers) is defined before them, and nothing in them is changed.
// clang-format off
#include "virtualization/compute_virtualization_manager.h"
#include "virtualization/cuda_virtualization_driver.h"
#include "virtualization/memory_virtualization_manager.h"

#include <cogniware/spdlog.hpp>

#include <spdlog/spdlog.h>

#include <cstdlib>

using namespace cogniware;

#define CHECK(condition)                                                                                          \
    do {                                                                                                          \
        if (!(condition)) {                                                                                       \
            std::cerr << __LINE__ << ": not true: " #condition "; " << cogniware::last_error() << std::endl;      \
            std::_Exit(1);                                                                                        \
        }                                                                                                         \
    } while (false)

namespace {

void advanced_usage() {
    // Initialize all virtualization managers
    auto& memoryManager = MemoryVirtualizationManager::getInstance();
    auto& computeManager = ComputeVirtualizationManager::getInstance();

    MemoryVirtualizationConfig mConfig;
    mConfig.deviceId = 0;
    mConfig.pageSize = 4096;
    mConfig.enableAutomaticDefragmentation = true;

    ComputeVirtualizationConfig cConfig;
    cConfig.deviceId = 0;
    cConfig.maxVirtualComputeUnits = 8;
    cConfig.enableDynamicScaling = true;

    memoryManager.initialize(mConfig);
    computeManager.initialize(cConfig);

    // Create virtual memory space
    memoryManager.createVirtualMemorySpace(1, 4ULL * 1024 * 1024 * 1024);

    // Create virtual compute unit
    VirtualComputeUnitConfig vcuConfig;
    vcuConfig.numComputeUnits = 4;
    vcuConfig.numStreams = 2;
    vcuConfig.enableTensorCores = true;

    computeManager.createVirtualComputeUnit(1, vcuConfig);

    // Execute kernels
    KernelConfig kernelConfig;
    kernelConfig.kernelName = "matrix_multiply";
    kernelConfig.gridDim = dim3(32, 32);
    kernelConfig.blockDim = dim3(16, 16);

    computeManager.executeKernel(1, kernelConfig, 0);

    // It has no arguments yet, which is said; with them it runs.
    CHECK(cogniware::last_error().find("arguments") != std::string::npos);
    const float values[4] = {1, 2, 3, 4};
    void* memory = memoryManager.allocateMemory(1, sizeof values);
    void* result = memoryManager.allocateMemory(1, sizeof values);
    CHECK(memoryManager.copyMemory(1, memory, values, sizeof values, cudaMemcpyHostToDevice));
    kernelConfig.arguments = {memory, memory, result, 2, 2, 2, CUDA_R_32F};
    CHECK(computeManager.executeKernel(1, kernelConfig, 0) && computeManager.synchronize(1, 0));
    float product[4] = {};
    CHECK(memoryManager.copyMemory(1, product, result, sizeof product, cudaMemcpyDeviceToHost));
    CHECK(product[0] == 7.0F && product[3] == 22.0F);
    CHECK(memoryManager.destroyVirtualMemorySpace(1) && computeManager.destroyVirtualComputeUnit(1));
}

int error_handling(CUDAVirtualizationDriver& cudaDriver, const VirtualGPUConfig& config, std::size_t size) {
    const int virtualGPUId = config.virtualGPUId;
    // Always check return values
    if (!cudaDriver.createVirtualGPU(config)) {
        spdlog::error("Failed to create virtual GPU");
        return -1;
    }

    // Use try-catch for exception handling
    try {
        void* ptr = nullptr;
        if (!cudaDriver.allocateMemory(virtualGPUId, size, &ptr)) {
            throw std::runtime_error("Memory allocation failed");
        }
    } catch (const std::exception& e) {
        spdlog::error("Error: {}", e.what());
    }

    return 0;
}

// Use RAII for resource management
class VirtualGPUResource {
public:
    VirtualGPUResource(int virtualGPUId, const VirtualGPUConfig& config) 
        : virtualGPUId_(virtualGPUId) {
        cudaDriver_.createVirtualGPU(config);
    }
    
    ~VirtualGPUResource() {
        cudaDriver_.destroyVirtualGPU(virtualGPUId_);
    }
    
private:
    int virtualGPUId_;
    CUDAVirtualizationDriver& cudaDriver_ = CUDAVirtualizationDriver::getInstance();
};

void monitoring_and_logging(CUDAVirtualizationDriver& cudaDriver, int virtualGPUId) {
    // Enable detailed logging
    spdlog::set_level(spdlog::level::debug);

    // Monitor resource usage
    auto info = cudaDriver.getVirtualGPUInfo(virtualGPUId);
    if (info.memoryUtilization > 0.8f) {
        spdlog::warn("High memory utilization: {}%", info.memoryUtilization * 100);
    }

    CHECK(info.virtualGPUId == virtualGPUId && info.memoryUtilization > 0.8f);
}

void performance_monitoring(CUDAVirtualizationDriver& cudaDriver, int virtualGPUId) {
    auto& memoryManager = MemoryVirtualizationManager::getInstance();
    auto& computeManager = ComputeVirtualizationManager::getInstance();
    // Monitor GPU utilization
    float utilization = cudaDriver.getGPUUtilization();

    // Monitor memory usage
    auto memInfo = memoryManager.getVirtualMemoryInfo(virtualGPUId);

    // Monitor compute usage
    auto computeInfo = computeManager.getVirtualComputeUnitInfo(virtualGPUId);

    CHECK(utilization <= 1.0f && memInfo.virtualGPUId == virtualGPUId && computeInfo.virtualGPUId == virtualGPUId);
}

void monitoring_and_profiling(CUDAVirtualizationDriver& cudaDriver, int virtualGPUId) {
    // Profile memory usage
    auto start = std::chrono::high_resolution_clock::now();
    // ... operations ...
    auto end = std::chrono::high_resolution_clock::now();
    auto duration = std::chrono::duration_cast<std::chrono::milliseconds>(end - start);

    // Monitor resource utilization
    auto info = cudaDriver.getVirtualGPUInfo(virtualGPUId);
    spdlog::info("Memory utilization: {}%, Compute utilization: {}%", 
                 info.memoryUtilization * 100, info.computeUtilization * 100);

    CHECK(duration.count() >= 0);
}

}  // namespace

int main() {
    cogniware::log_to_spdlog();
    advanced_usage();
    auto& driver = CUDAVirtualizationDriver::getInstance();
    CHECK(driver.initialize(VirtualizationConfig{}));
    VirtualGPUConfig config;
    config.virtualGPUId = 5;
    config.memoryLimit = 1 << 20;
    CHECK(error_handling(driver, config, 900 << 10) == 0 && error_handling(driver, config, 1) == -1);
    monitoring_and_logging(driver, 5);
    performance_monitoring(driver, 5);
    monitoring_and_profiling(driver, 5);
    {
        config.virtualGPUId = 6;
        const VirtualGPUResource resource(6, config);
        CHECK(driver.getVirtualGPUStatus(6) == VirtualGPUStatus::IDLE);
    }
    CHECK(driver.getVirtualGPUStatus(6) == VirtualGPUStatus::NOT_CREATED);
    driver.shutdown();
    std::cout << "virtual fragments: passed" << std::endl;
    return 0;
}
