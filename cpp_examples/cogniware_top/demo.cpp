#include "demo.hpp"

#include <cogniware/cogniware.hpp>

#include <chrono>
#include <cstdlib>
#include <functional>

#include "virtualization/compute_virtualization_manager.h"
#include "virtualization/cuda_virtualization_driver.h"

namespace cogniware_top {
namespace {

using cogniware::ComputeVirtualizationManager;
using cogniware::CUDAVirtualizationDriver;

constexpr std::size_t mebibyte = std::size_t{1} << 20;

// What is still on a stream at most: enough that it never waits for us.
constexpr int in_flight = 4;

// What a virtual GPU asks for, and the size of its matrices.
struct Part {
    int id;
    const char* name;
    float share;
    std::size_t limit;
    int size;
};

constexpr Part parts[] = {
    {1, "training", 0.5F, 64 * mebibyte, 384},
    {2, "search", 0.3F, 48 * mebibyte, 256},
    {3, "chat", 0.2F, 32 * mebibyte, 192},
};

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what + ": " + cogniware::last_error()); }

}  // namespace

class Worker {
public:
    explicit Worker(const Part& part) : part_(part) {
        cogniware::VirtualGPUConfig config;
        config.virtualGPUId = part.id;
        config.memoryLimit = part.limit;
        config.computeShare = part.share;
        config.name = part.name;
        if (!driver_.createVirtualGPU(config)) {
            fail("the virtual GPU " + std::string(part.name));
        }
        thread_ = std::thread([this] { run(); });
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;
    ~Worker() {
        over_ = true;
        thread_.join();
        driver_.destroyVirtualGPU(part_.id);
    }

    // Its work failed; cleared by reading. Empty when all is well.
    std::string problem() const { return failed_ ? std::string(part_.name) + ": " + problem_ : std::string(); }

private:
    // Matrices, and a block that comes and goes, so that peaks and compactions are seen.
    void run() {
        const auto elements = static_cast<std::size_t>(part_.size) * static_cast<std::size_t>(part_.size);
        void* matrices[3] = {};
        for (void*& matrix : matrices) {
            if (!driver_.allocateMemory(part_.id, elements * sizeof(float), &matrix) ||
                !driver_.memset(part_.id, matrix, 0, elements * sizeof(float))) {
                return give_up();
            }
        }
        std::vector<int> executions;
        while (!over_) {
            if (!hold_more() || !multiply(matrices, executions)) {
                return give_up();
            }
        }
        // Destroying the virtual GPU frees the rest; these are given back to show how.
        driver_.synchronize(part_.id);
        for (void* matrix : matrices) {
            driver_.freeMemory(part_.id, matrix);
        }
        if (more_ != nullptr) {
            driver_.freeMemory(part_.id, more_);
        }
    }

    bool multiply(void* const (&matrices)[3], std::vector<int>& executions) {
        cogniware::KernelConfig kernel;
        kernel.kernelName = "matrix_multiply";
        kernel.arguments = {matrices[0], matrices[1], matrices[2], part_.size, part_.size, part_.size, CUDA_R_32F};
        int execution = -1;
        if (!compute_.executeKernel(part_.id, kernel, 0, &execution)) {
            return false;
        }
        executions.push_back(execution);
        if (executions.size() > in_flight) {
            // The oldest one: the stream is never without work.
            const auto status = compute_.waitForExecution(part_.id, executions.front(), 60000.0);
            executions.erase(executions.begin());
            if (status.state != cogniware::ExecutionState::FINISHED) {
                problem_ = status.error;
                return false;
            }
        }
        return true;
    }

    // Every half second another size of the block.
    bool hold_more() {
        const auto now = std::chrono::steady_clock::now();
        if (now < next_) {
            return true;
        }
        next_ = now + std::chrono::milliseconds(500);
        if (more_ != nullptr && !driver_.freeMemory(part_.id, more_)) {
            return false;
        }
        more_ = nullptr;
        const std::size_t quarters = (changes_++ + static_cast<std::size_t>(part_.id)) % 3 + 1;
        return driver_.allocateMemory(part_.id, part_.limit / 4 * quarters - 4 * mebibyte, &more_);
    }

    void give_up() {
        if (problem_.empty()) {
            problem_ = cogniware::last_error();
        }
        failed_ = true;
    }

    Part part_;
    CUDAVirtualizationDriver& driver_ = CUDAVirtualizationDriver::getInstance();
    ComputeVirtualizationManager& compute_ = ComputeVirtualizationManager::getInstance();
    std::atomic<bool> over_{false};
    std::atomic<bool> failed_{false};
    std::string problem_;  // written before `failed_`
    void* more_ = nullptr;
    std::size_t changes_ = 0;
    std::chrono::steady_clock::time_point next_{};
    std::thread thread_;
};

Demo::Demo(const std::string& device) {
    if (!device.empty()) {
        // Read when the library opens its default device, which is later.
        setenv("COGNIWARE_DEVICE", device.c_str(), 1);
    }
    if (!CUDAVirtualizationDriver::getInstance().initialize() ||
        !ComputeVirtualizationManager::getInstance().initialize()) {
        fail("the driver of virtual GPUs");
    }
    for (const Part& part : parts) {
        workers_.push_back(std::make_unique<Worker>(part));
    }
}

Demo::~Demo() {
    workers_.clear();
    ComputeVirtualizationManager::getInstance().shutdown();
    CUDAVirtualizationDriver::getInstance().shutdown();
}

std::string Demo::text() {
    for (const auto& worker : workers_) {
        const std::string problem = worker->problem();
        if (!problem.empty()) {
            throw NoMetrics(problem);
        }
    }
    std::string text = CUDAVirtualizationDriver::getInstance().exportPrometheus();
    if (text.empty()) {
        throw NoMetrics(cogniware::last_error());
    }
    return text;
}

}  // namespace cogniware_top
