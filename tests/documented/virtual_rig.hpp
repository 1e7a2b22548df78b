// What the tests of virtual GPUs need: the three managers, initialised on the default device and shut down at the end.
#pragma once

#include "harness.hpp"
#include "virtualization/compute_virtualization_manager.h"
#include "virtualization/cuda_virtualization_driver.h"
#include "virtualization/memory_virtualization_manager.h"

#include <cogniware/cogniware.hpp>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

constexpr std::size_t MiB = 1 << 20;

class Virtual {
public:
    Virtual() {
        CHECK(driver.initialize(VirtualizationConfig{}) && memory.initialize(MemoryVirtualizationConfig{}) &&
              compute.initialize(ComputeVirtualizationConfig{}));
    }
    ~Virtual() {
        compute.shutdown();
        memory.shutdown();
        driver.shutdown();
    }
    Virtual(const Virtual&) = delete;
    Virtual& operator=(const Virtual&) = delete;

    // A virtual GPU of 64 MiB with two streams.
    void create(int id, float share = 0.0F) const {
        VirtualGPUConfig config;
        config.virtualGPUId = id;
        config.memoryLimit = 64 * MiB;
        config.numStreams = 2;
        config.computeShare = share;
        CHECK(driver.createVirtualGPU(config));
    }

    // Its memory with these values in it.
    template <class T>
    T* upload(int id, const std::vector<T>& values) const {
        void* memory = nullptr;
        CHECK(driver.allocateMemory(id, values.size() * sizeof(T), &memory));
        CHECK(driver.copyMemory(id, memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
        return static_cast<T*>(memory);
    }

    template <class T>
    std::vector<T> download(int id, const T* memory, std::size_t count) const {
        std::vector<T> values(count);
        CHECK(driver.copyMemory(id, values.data(), memory, count * sizeof(T), cudaMemcpyDeviceToHost));
        return values;
    }

    CUDAVirtualizationDriver& driver = CUDAVirtualizationDriver::getInstance();
    MemoryVirtualizationManager& memory = MemoryVirtualizationManager::getInstance();
    ComputeVirtualizationManager& compute = ComputeVirtualizationManager::getInstance();
};

// Whether the last call failed with this status and named this.
inline bool refused(cw_status status, const std::string& word) {
    return cw_last_status() == status && cogniware::last_error().find(word) != std::string::npos;
}
