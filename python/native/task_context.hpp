// SPDX-License-Identifier: MIT OR Apache-2.0
// The context of a running task, as its Python function sees it.
#ifndef COGNIWARE_PYTHON_TASK_CONTEXT_HPP
#define COGNIWARE_PYTHON_TASK_CONTEXT_HPP

#include <cogniware/detail/callback.hpp>
#include <cogniware/error.hpp>

#include <memory>
#include <string>

namespace cogniware_python {

// What a running task's function sees. Of no use afterwards.
struct PyContext {
    cogniware::TaskContext* context = nullptr;
    std::string result;  // what was set last

    cogniware::TaskContext& live() const {
        if (context == nullptr) {
            throw cogniware::Error(CW_ERROR_INVALID_ARGUMENT, "the task has ended");
        }
        return *context;
    }
};

// Gives a context to Python for as long as it lives itself; Python may keep the object.
class SeenContext {
public:
    explicit SeenContext(cogniware::TaskContext& context) : seen_(std::make_shared<PyContext>()) {
        seen_->context = &context;
    }
    SeenContext(const SeenContext&) = delete;
    SeenContext& operator=(const SeenContext&) = delete;
    ~SeenContext() { seen_->context = nullptr; }

    std::shared_ptr<PyContext> get() const { return seen_; }

private:
    std::shared_ptr<PyContext> seen_;
};

}  // namespace cogniware_python

#endif
