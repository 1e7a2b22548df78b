// The matrices that the documented program leaves open: A (m x k), B (k x n) and C (m x n) in the memory of virtual GPU 1.
#pragma once

#include "virtualization/cuda_virtualization_driver.h"

#include <cstdlib>

namespace {

constexpr int m = 96;
constexpr int n = 64;
constexpr int k = 32;

// Allocates itself in virtual GPU 1, filled with ones, when it is first used as a pointer.
class Operand {
public:
    explicit Operand(int elements) : elements_(elements) {}
    operator void*() const {
        if (memory_ == nullptr) {
            auto& driver = CUDAVirtualizationDriver::getInstance();
            const std::vector<float> ones(static_cast<std::size_t>(elements_), 1.0F);
            const std::size_t size = ones.size() * sizeof(float);
            if (!driver.allocateMemory(1, size, &memory_) ||
                !driver.copyMemory(1, memory_, ones.data(), size, cudaMemcpyHostToDevice)) {
                std::cerr << "no operand: " << cogniware::last_error() << std::endl;
                std::_Exit(1);
            }
        }
        return memory_;
    }

private:
    int elements_;
    mutable void* memory_ = nullptr;
};

const Operand A(m* k);
const Operand B(k* n);
const Operand C(m* n);

}  // namespace
