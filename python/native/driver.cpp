// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedCustomizedDriver.
#include "bindings.hpp"
#include "error.hpp"
#include "values.hpp"

#include <cogniware/core/driver.h>

namespace cogniware_python {

using Driver = cogniware::AdvancedCustomizedDriver;

void bind_driver(py::module_& module) {
    py::class_<Driver, std::shared_ptr<Driver>> cls(
        module, "AdvancedCustomizedDriver",
        "What is known of the installed drivers, and the kernel manager above them. Methods that return bool never raise\n"
        "an Error: False leaves its reason in last_error(). Usable from any thread.",
        py::release_gil_before_calling_cpp_dtor());
    cls.def(py::init<>())
        .def("initialize", &Driver::initialize, NoGil())
        .def("shutdown", &Driver::shutdown, NoGil(), "The kernel manager lives on.")
        .def(
            "get_kernel",
            [](const Driver& self) {
                auto kernel = self.getKernel();
                return raised_if_empty(std::move(kernel), kernel == nullptr);
            },
            NoGil(), "The kernel manager of this driver; raises NotInitializedError before initialize().")
        .def(
            "get_driver_info", [](const Driver& self) { return or_raise([&] { return self.getDriverInfo(); }); },
            NoGil(),
            "\"driver_initialized\" (\"true\" or \"false\"), versions and devices, as text. Answers before initialize() too.");
}

}  // namespace cogniware_python
