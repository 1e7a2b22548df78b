// The documented program "Basic Virtual GPU Usage", as it stands.
// clang-format off
#include "virtualization/cuda_virtualization_driver.h"

int main() {
    // Initialize driver
    VirtualizationConfig config;
    config.deviceId = 0;
    config.maxVirtualGPUs = 2;
    
    auto& driver = CUDAVirtualizationDriver::getInstance();
    driver.initialize(config);
    
    // Create virtual GPU
    VirtualGPUConfig vgpuConfig;
    vgpuConfig.virtualGPUId = 1;
    vgpuConfig.memoryLimit = 1ULL * 1024 * 1024 * 1024; // 1GB
    vgpuConfig.numStreams = 2;
    
    driver.createVirtualGPU(vgpuConfig);
    
    // Allocate and use memory
    void* ptr = nullptr;
    driver.allocateMemory(1, 1024 * 1024, &ptr);
    
    // Perform operations
    // ... your CUDA operations here ...
    
    // Cleanup
    driver.freeMemory(1, ptr);
    driver.destroyVirtualGPU(1);
    driver.shutdown();
    
    return 0;
}
