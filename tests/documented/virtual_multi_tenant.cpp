// The documented program "Multi-tenant GPU Application", as it stands.
// clang-format off
#include "virtualization/cuda_virtualization_driver.h"
#include <thread>
#include <vector>

void runApplication(int virtualGPUId, const std::string& appName) {
    auto& driver = CUDAVirtualizationDriver::getInstance();
    
    // Allocate memory for this application
    void* data = nullptr;
    driver.allocateMemory(virtualGPUId, 512 * 1024 * 1024, &data);
    
    // Run application-specific operations
    for (int i = 0; i < 100; ++i) {
        // Perform matrix operations
        // ... application logic ...
        
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    
    // Cleanup
    driver.freeMemory(virtualGPUId, data);
}

int main() {
    // Initialize driver
    VirtualizationConfig config;
    config.deviceId = 0;
    config.maxVirtualGPUs = 4;
    
    auto& driver = CUDAVirtualizationDriver::getInstance();
    driver.initialize(config);
    
    // Create virtual GPUs for different applications
    std::vector<VirtualGPUConfig> vgpuConfigs = {
        {1, 2ULL * 1024 * 1024 * 1024, 4, true, true, 0.4f, "App1"},
        {2, 1ULL * 1024 * 1024 * 1024, 2, true, false, 0.3f, "App2"},
        {3, 1ULL * 1024 * 1024 * 1024, 2, false, false, 0.3f, "App3"}
    };
    
    for (const auto& config : vgpuConfigs) {
        driver.createVirtualGPU(config);
    }
    
    // Run applications in parallel
    std::vector<std::thread> threads;
    threads.emplace_back(runApplication, 1, "Application 1");
    threads.emplace_back(runApplication, 2, "Application 2");
    threads.emplace_back(runApplication, 3, "Application 3");
    
    // Wait for all applications to complete
    for (auto& thread : threads) {
        thread.join();
    }
    
    // Cleanup
    for (int i = 1; i <= 3; ++i) {
        driver.destroyVirtualGPU(i);
    }
    
    driver.shutdown();
    return 0;
}
