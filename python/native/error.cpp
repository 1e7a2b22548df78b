// SPDX-License-Identifier: MIT OR Apache-2.0
#include "error.hpp"

#include <string>
#include <type_traits>

namespace py = pybind11;

namespace cogniware_python {
namespace {

// Called by pybind11 with the GIL.
void translate(std::exception_ptr thrown) {
    try {
        if (thrown) {
            std::rethrow_exception(thrown);
        }
    } catch (const cogniware::Error& error) {
        // The classes are written in Python: cogniware_core._errors.
        const py::object make = py::module_::import("cogniware_core._errors").attr("make");
        const py::object made = make(error.status(), error.name(), error.what(), error.driver_code());
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
    }
}

}  // namespace

void bind_error(py::module_& module) {
    py::register_exception_translator(translate);
    module.def("last_error", &cogniware::last_error,
               "What went wrong in this thread's last call of Cogniware: what failed, which argument, and what would help.\n"
               "Empty after a call that succeeded. Methods that return False leave their reason here.");
    module.def("last_status", &cw_last_status,
               "The status of this thread's last call of Cogniware as a number of Status; 0 after one that succeeded.");
    module.def(
        "status_name", [](cw_status status) { return std::string(cw_status_name(status)); }, py::arg("status"),
        "The short stable name of a status, such as \"quota_exceeded\"; \"unknown\" for a number that is none.");
}

}  // namespace cogniware_python
