// Three virtual GPUs of different shares at work, so that there is something to see.
#pragma once

#include "source.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace cogniware_top {

// A virtual GPU that multiplies matrices until it is destroyed.
class Worker;

// This process's own metrics, while its virtual GPUs work. One at a time.
class Demo : public Source {
public:
    // Throws std::runtime_error, with the reason, when they cannot be made.
    explicit Demo(const std::string& device);
    ~Demo() override;

    std::string name() const override { return "demo"; }
    std::string text() override;

private:
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace cogniware_top
