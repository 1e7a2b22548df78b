// SPDX-License-Identifier: MIT OR Apache-2.0
// cogniware_core._core: the C++ classes in Python. What users import is the package cogniware_core above it.
#include "bindings.hpp"
#include "error.hpp"
#include "gil.hpp"

#include <cogniware/device.hpp>

PYBIND11_MODULE(_core, module) {
    using namespace cogniware_python;
    module.doc() = "Cogniware's C++ classes. Use the package cogniware_core, which has all of this.";
    module.def("version", &cogniware::version, "The version of the library that is loaded, such as \"0.1.0\".");
    bind_error(module);
    bind_exit(module);
    bind_types(module);
    bind_kernel(module);
    bind_driver(module);
    bind_bridge(module);
    bind_managers(module);
    bind_dlpack(module);
    bind_device(module);
    bind_tenant(module);
    bind_model(module);
}
