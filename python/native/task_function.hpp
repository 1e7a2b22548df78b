// SPDX-License-Identifier: MIT OR Apache-2.0
// A Python function as the taskFunction of a ComputeTask, from which it can be had back.
#ifndef COGNIWARE_PYTHON_TASK_FUNCTION_HPP
#define COGNIWARE_PYTHON_TASK_FUNCTION_HPP

#include "gil.hpp"

namespace cogniware_python {

struct TaskFunction {
    Callable function;

    void operator()() const {
        function.run([](const py::object& call) { call(); });
    }
};

}  // namespace cogniware_python

#endif
