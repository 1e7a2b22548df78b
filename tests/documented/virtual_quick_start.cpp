// The documented program "Basic Usage", as it stands.
// clang-format off
// What it leaves open (matrices and their sizes) is defined before it.
#include "virtual_operands.hpp"

#include "virtualization/cuda_virtualization_driver.h"
#include "virtualization/memory_virtualization_manager.h"
#include "virtualization/compute_virtualization_manager.h"

using namespace cogniware;

int main() {
    // Initialize virtualization drivers
    VirtualizationConfig vConfig;
    vConfig.deviceId = 0;
    vConfig.maxVirtualGPUs = 4;
    vConfig.numVirtualStreams = 8;
    
    auto& cudaDriver = CUDAVirtualizationDriver::getInstance();
    cudaDriver.initialize(vConfig);
    
    // Create a virtual GPU
    VirtualGPUConfig vgpuConfig;
    vgpuConfig.virtualGPUId = 1;
    vgpuConfig.memoryLimit = 2ULL * 1024 * 1024 * 1024; // 2GB
    vgpuConfig.numStreams = 4;
    vgpuConfig.enableTensorCores = true;
    
    cudaDriver.createVirtualGPU(vgpuConfig);
    
    // Allocate memory
    void* ptr = nullptr;
    cudaDriver.allocateMemory(1, 1024 * 1024, &ptr); // 1MB
    
    // Perform compute operations
    cudaDriver.matrixMultiply(1, A, B, C, m, n, k, CUDA_R_32F, 0);
    
    // Cleanup
    cudaDriver.freeMemory(1, ptr);
    cudaDriver.destroyVirtualGPU(1);
    cudaDriver.shutdown();
    
    return 0;
}
