// The documented program "Advanced Memory Management", as it stands.
// clang-format off
#include "virtualization/memory_virtualization_manager.h"

int main() {
    // Initialize memory manager
    MemoryVirtualizationConfig config;
    config.deviceId = 0;
    config.enableAutomaticDefragmentation = true;
    config.defragmentationThreshold = 0.3f;
    
    auto& memoryManager = MemoryVirtualizationManager::getInstance();
    memoryManager.initialize(config);
    
    // Create virtual memory spaces
    memoryManager.createVirtualMemorySpace(1, 4ULL * 1024 * 1024 * 1024);
    memoryManager.createVirtualMemorySpace(2, 2ULL * 1024 * 1024 * 1024);
    
    // Allocate memory with different patterns
    std::vector<void*> allocations1, allocations2;
    
    // Allocate in virtual GPU 1
    for (int i = 0; i < 10; ++i) {
        void* ptr = memoryManager.allocateMemory(1, 1024 * 1024, 4096);
        allocations1.push_back(ptr);
    }
    
    // Allocate in virtual GPU 2
    for (int i = 0; i < 5; ++i) {
        void* ptr = memoryManager.allocateMemory(2, 512 * 1024, 4096);
        allocations2.push_back(ptr);
    }
    
    // Free some allocations to create fragmentation
    for (int i = 0; i < 5; i += 2) {
        memoryManager.freeMemory(1, allocations1[i]);
        memoryManager.freeMemory(2, allocations2[i]);
    }
    
    // Trigger defragmentation
    memoryManager.defragment(1);
    memoryManager.defragment(2);
    
    // Get memory information
    auto info1 = memoryManager.getVirtualMemoryInfo(1);
    auto info2 = memoryManager.getVirtualMemoryInfo(2);
    
    std::cout << "Virtual GPU 1 fragmentation: " << (info1.fragmentationLevel * 100) << "%" << std::endl;
    std::cout << "Virtual GPU 2 fragmentation: " << (info2.fragmentationLevel * 100) << "%" << std::endl;
    
    // Cleanup
    for (void* ptr : allocations1) {
        if (ptr) memoryManager.freeMemory(1, ptr);
    }
    for (void* ptr : allocations2) {
        if (ptr) memoryManager.freeMemory(2, ptr);
    }
    
    memoryManager.destroyVirtualMemorySpace(1);
    memoryManager.destroyVirtualMemorySpace(2);
    memoryManager.shutdown();
    
    return 0;
}
