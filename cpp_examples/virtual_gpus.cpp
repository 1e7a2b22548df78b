// Two virtual GPUs on one device: each multiplies matrices in its own memory at its own share of the processors, and the table shows
// what each got. Ends after two seconds, or after the seconds that are given.
#include "virtualization/compute_virtualization_manager.h"
#include "virtualization/cuda_virtualization_driver.h"
#include "virtualization/memory_virtualization_manager.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <thread>

namespace {

CUDAVirtualizationDriver& driver = CUDAVirtualizationDriver::getInstance();

// Methods return false and leave the reason in last_error().
void must(bool done) {
    if (!done) {
        throw std::runtime_error(cogniware::last_error());
    }
}

// Keeps a virtual GPU busy with products until it is told to stop.
void work(int id, const std::atomic<bool>& stop) try {
    const int n = 256;
    const std::vector<float> ones(n * n, 1.0F);
    const std::size_t size = ones.size() * sizeof(float);
    void* a = nullptr;
    void* c = nullptr;
    must(driver.allocateMemory(id, size, &a) && driver.allocateMemory(id, size, &c));
    must(driver.copyMemory(id, a, ones.data(), size, cudaMemcpyHostToDevice));
    while (!stop) {
        for (int i = 0; i < 16; ++i) {
            must(driver.matrixMultiply(id, a, a, c, n, n, n, CUDA_R_32F, 0));
        }
        must(driver.synchronize(id, 0));
    }
    std::vector<float> product(ones.size());
    must(driver.synchronize(id) && driver.copyMemory(id, product.data(), c, size, cudaMemcpyDeviceToHost));
    must(driver.freeMemory(id, a) && driver.freeMemory(id, c));
    if (product.front() != static_cast<float>(n)) {
        throw std::runtime_error("the product is wrong");
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "virtual GPU %d: %s\n", id, error.what());
    std::_Exit(1);
}

void table() {
    std::printf("%-8s %-8s %14s %10s %8s %8s %10s\n", "name", "device", "memory", "launches", "due", "got", "seconds");
    for (const VirtualGPUInfo& info : driver.getAllVirtualGPUInfo()) {
        std::printf("%-8s %-8s %6zu/%-4zu MiB %10llu %7.0f%% %7.0f%% %10.2f\n", info.name.c_str(), info.device.c_str(),
                    info.memoryHeld >> 20, info.memoryLimit >> 20,
                    static_cast<unsigned long long>(info.compute.launches), info.compute.dueShare * 100,
                    info.compute.gotShare * 100, info.compute.deviceSeconds);
    }
}

}  // namespace

int main(int argc, char** argv) try {
    const double seconds = argc > 1 ? std::atof(argv[1]) : 2.0;
    must(driver.initialize(VirtualizationConfig{}));
    // id, limit, streams, tensor cores, mixed precision, share, name
    must(driver.createVirtualGPU({1, 64 << 20, 2, true, false, 0.75F, "search"}));
    must(driver.createVirtualGPU({2, 32 << 20, 2, true, false, 0.25F, "train"}));

    std::atomic<bool> stop{false};
    std::thread search(work, 1, std::cref(stop));
    std::thread train(work, 2, std::cref(stop));
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    table();
    stop = true;
    search.join();
    train.join();

    // A limit is a limit, and the reason is said.
    void* much = nullptr;
    must(!driver.allocateMemory(2, 33 << 20, &much));
    std::printf("\nrefused: %s\n", cogniware::last_error().c_str());
    driver.shutdown();
} catch (const std::exception& error) {
    std::fprintf(stderr, "virtual_gpus: %s\n", error.what());
    return 1;
}
