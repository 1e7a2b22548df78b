// What the tests of several classes need.
#pragma once

#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"
#include "harness.hpp"

#include <cogniware/cogniware.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

// A kernel manager that is initialised, and shut down at the end of the test.
class Kernel {
public:
    Kernel() { CHECK(kernel_->initialize()); }
    ~Kernel() { kernel_->shutdown(); }
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;
    AdvancedCustomizedKernel* operator->() const { return kernel_.get(); }

private:
    std::shared_ptr<AdvancedCustomizedKernel> kernel_ = std::make_shared<AdvancedCustomizedKernel>();
};

// Waits for the end of a task.
inline bool ends(const Kernel& kernel, const std::string& id) { return kernel->waitForTask(id); }

// Runs a function as a task of the tenant, to its end.
inline void run(const Kernel& kernel, const std::string& llm, std::function<void()> work) {
    ComputeTask task;
    task.llmId = llm;
    task.requiredCores = 1;
    task.taskFunction = std::move(work);
    const std::string id = kernel->scheduleTask(task);
    CHECK(!id.empty() && ends(kernel, id));
    CHECK(kernel->getTaskStatus(id).isCompleted);
}

// A task that runs until it is released.
class Blocker {
public:
    Blocker(const Kernel& kernel, const std::string& llm) {
        auto released = std::make_shared<std::shared_future<void>>(go_.get_future());
        auto started = std::make_shared<std::promise<void>>();
        auto running = started->get_future();
        ComputeTask task;
        task.llmId = llm;
        task.requiredCores = 1;
        task.taskFunction = [released, started] {
            started->set_value();
            released->wait();
        };
        id_ = kernel->scheduleTask(task);
        CHECK(!id_.empty() && running.wait_for(std::chrono::seconds(30)) == std::future_status::ready);
    }
    ~Blocker() { release(); }
    Blocker(const Blocker&) = delete;
    Blocker& operator=(const Blocker&) = delete;

    const std::string& id() const { return id_; }

    void release() {
        if (!released_) {
            released_ = true;
            go_.set_value();
            cogniware::Task::find(id_).wait();
        }
    }

private:
    std::promise<void> go_;
    std::string id_;
    bool released_ = false;
};

// `count` different numbers.
inline std::vector<std::uint32_t> numbers(std::size_t count) {
    std::vector<std::uint32_t> made(count);
    std::uint32_t x = 1;
    for (auto& number : made) {
        x = x * 1664525U + 1013904223U;
        number = x;
    }
    return made;
}

template <class T>
std::size_t bytes(const std::vector<T>& list) {
    return list.size() * sizeof(T);
}

// Whether a key of the map contains the text.
template <class V>
bool mentions(const std::map<std::string, V>& map, const std::string& text) {
    for (const auto& entry : map) {
        if (entry.first.find(text) != std::string::npos) {
            return true;
        }
    }
    return false;
}
