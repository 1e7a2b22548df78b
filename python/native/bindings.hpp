// SPDX-License-Identifier: MIT OR Apache-2.0
// One function a class or group of classes. Each adds it to the module; the order is that of module.cpp.
#ifndef COGNIWARE_PYTHON_BINDINGS_HPP
#define COGNIWARE_PYTHON_BINDINGS_HPP

#include "text.hpp"

#include <pybind11/pybind11.h>

namespace cogniware_python {

namespace py = pybind11;

// Methods run without the GIL wherever nothing of Python is touched: Cogniware's threads may need it to go on.
using NoGil = py::call_guard<py::gil_scoped_release>;

void bind_types(py::module_& module);
void bind_kernel(py::module_& module);
void bind_driver(py::module_& module);
void bind_bridge(py::module_& module);
void bind_managers(py::module_& module);
void bind_dlpack(py::module_& module);
void bind_device(py::module_& module);
void bind_tenant(py::module_& module);
void bind_model(py::module_& module);

}  // namespace cogniware_python

#endif
