// SPDX-License-Identifier: MIT OR Apache-2.0
#include "error.hpp"

#include "bindings.hpp"
#include "gil.hpp"
#include "values.hpp"

#include <cogniware/errors.hpp>

#include <pybind11/native_enum.h>

#include <string>

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
        const py::object made = make(error.what(), error.status(), error.driver_code(), error.category(),
                                     error.advice(), error.call(), error.function());
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
    }
}

py::dict to_dict(const cogniware::ErrorRecord& record) {
    py::dict entry;
    entry["sequence"] = record.sequence;
    entry["time"] = from_time(record.time);
    entry["status"] = record.status;
    entry["category"] = record.category;
    entry["message"] = record.message;
    entry["advice"] = record.advice;
    entry["call"] = record.call;
    entry["function"] = record.function;
    entry["driver_code"] = record.driver_code;
    entry["os_code"] = record.os_code;
    return entry;
}

// An exception of the logger ends with the record that caused it, and is told by sys.unraisablehook.
cogniware::Logger to_logger(const py::object& logger) {
    if (logger.is_none()) {
        return nullptr;
    }
    if (PyCallable_Check(logger.ptr()) == 0) {
        throw py::type_error("argument `logger`: must be callable with a level, a target and a message");
    }
    const Callable callable(logger);
    return [callable](cogniware::LogLevel level, const std::string& target, const std::string& message) {
        callable.run([&](const py::object& call) {
            try {
                call(level, target, message);
            } catch (py::error_already_set& error) {
                error.discard_as_unraisable("a logger of cogniware_core");
            }
        });
    };
}

void bind_history(py::module_& module) {
    py::native_enum<cogniware::ErrorCategory>(module, "ErrorCategory", "enum.IntEnum",
                                              "What part of the work an error belongs to.")
        .value("NONE", cogniware::ErrorCategory::none)
        .value("INITIALIZATION", cogniware::ErrorCategory::initialization)
        .value("DRIVER", cogniware::ErrorCategory::driver)
        .value("DEVICE", cogniware::ErrorCategory::device)
        .value("MEMORY", cogniware::ErrorCategory::memory)
        .value("KERNEL", cogniware::ErrorCategory::kernel)
        .value("TASK", cogniware::ErrorCategory::task)
        .value("BRIDGE", cogniware::ErrorCategory::bridge)
        .value("MODEL", cogniware::ErrorCategory::model)
        .value("TENANT", cogniware::ErrorCategory::tenant)
        .value("SYSTEM", cogniware::ErrorCategory::system)
        .value("ARGUMENT", cogniware::ErrorCategory::argument)
        .value("INTERNAL", cogniware::ErrorCategory::internal)
        .finalize();
    py::native_enum<cogniware::LogLevel>(module, "LogLevel", "enum.IntEnum", "How important a record of the log is.")
        .value("OFF", cogniware::LogLevel::off)
        .value("ERROR", cogniware::LogLevel::error)
        .value("WARN", cogniware::LogLevel::warn)
        .value("INFO", cogniware::LogLevel::info)
        .value("DEBUG", cogniware::LogLevel::debug)
        .value("TRACE", cogniware::LogLevel::trace)
        .finalize();
    module.def(
        "error_history",
        [] {
            std::vector<cogniware::ErrorRecord> records;
            {
                const py::gil_scoped_release release;
                records = cogniware::error_history();
            }
            py::list list;
            for (const auto& record : records) {
                list.append(to_dict(record));
            }
            return list;
        },
        "The errors that the process keeps (the newest 256 unless set otherwise), the newest first: dicts with "
        "sequence, time,\n"
        "status, category, message, advice, call, function, driver_code, os_code.");
    module.def("clear_error_history", &cogniware::clear_error_history, NoGil(),
               "Forgets all errors and sets their counts to 0.");
    module.def("set_error_history_capacity", &cogniware::set_error_history_capacity, py::arg("capacity"), NoGil(),
               "Keeps at most this many errors from now on; 0 only counts them.");
    module.def("error_statistics", &cogniware::error_statistics, NoGil(),
               "Counts by status and category, and of recoveries.");
    module.def(
        "set_logger",
        [](cogniware::LogLevel level, const py::object& logger) {
            auto function = to_logger(logger);
            const py::gil_scoped_release release;
            cogniware::set_logger(level, std::move(function));
        },
        py::arg("level"), py::arg("logger"),
        "Calls logger(level, target, message) with records of `level` and more important ones, on the threads that do "
        "the work,\n"
        "with the GIL. None, or LogLevel.OFF, turns logging off, which is the default.");
    module.def("write_log", &cogniware::write_log, py::arg("level"), py::arg("target"), py::arg("message"), NoGil(),
               "Writes a record of the application into the same log.");
}

}  // namespace

void bind_error(py::module_& module) {
    py::register_exception_translator(translate);
    module.def(
        "last_error", &cogniware::last_error,
        "What went wrong in this thread's last call of Cogniware: what failed, which argument, and what would help.\n"
        "Empty after a call that succeeded. Methods that return False leave their reason here.");
    module.def("last_status", &cw_last_status,
               "The status of this thread's last call of Cogniware as a number of Status; 0 after one that succeeded.");
    module.def(
        "status_name", [](cw_status status) { return std::string(cw_status_name(status)); }, py::arg("status"),
        "The short stable name of a status, such as \"quota_exceeded\"; \"unknown\" for a number that is none.");
    bind_history(module);
}

}  // namespace cogniware_python
