// SPDX-License-Identifier: MIT OR Apache-2.0
#include "values.hpp"

namespace cogniware_python {

py::object from_time(std::chrono::system_clock::time_point time) {
    const auto since = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
    if (since == 0) {
        return py::none();
    }
    const py::module_ datetime = py::module_::import("datetime");
    const py::object zone = datetime.attr("timezone").attr("utc");
    const py::object epoch = datetime.attr("datetime")(1970, 1, 1, py::arg("tzinfo") = zone);
    return epoch + datetime.attr("timedelta")(py::arg("microseconds") = since);
}

std::chrono::system_clock::time_point to_time(const py::object& time) {
    if (time.is_none()) {
        return {};
    }
    const auto seconds = std::chrono::duration<double>(time.attr("timestamp")().cast<double>());
    return std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(seconds));
}

TextMap to_settings(const char* argument, const py::object& settings) {
    TextMap map;
    if (settings.is_none()) {
        return map;
    }
    if (!py::isinstance<py::dict>(settings)) {
        throw py::type_error("argument `" + std::string(argument) + "`: must be a dict");
    }
    for (const auto& entry : settings.cast<py::dict>()) {
        if (!py::isinstance<py::str>(entry.first)) {
            throw py::type_error("argument `" + std::string(argument) + "`: its keys must be str");
        }
        const auto key = entry.first.cast<std::string>();
        if (key.find('\0') != std::string::npos) {
            throw py::value_error("argument `" + std::string(argument) + "`: a key has an embedded null character");
        }
        if (py::isinstance<py::bool_>(entry.second)) {
            map[key] = entry.second.cast<bool>() ? "true" : "false";
        } else if (py::isinstance<py::str>(entry.second) || py::isinstance<py::int_>(entry.second) ||
                   py::isinstance<py::float_>(entry.second)) {
            map[key] = py::str(entry.second);
            if (map[key].find('\0') != std::string::npos) {
                throw py::value_error("argument `" + std::string(argument) + "`: the value of \"" + key +
                                      "\" has an embedded null character");
            }
        } else {
            throw py::type_error("argument `" + std::string(argument) + "`: the value of \"" + key +
                                 "\" must be str, int, float or bool");
        }
    }
    return map;
}

Range::Range(const char* argument, const py::object& given, std::size_t bytes, bool writable) {
    const std::string name = "argument `" + std::string(argument) + "`: ";
    if (py::isinstance<py::int_>(given)) {
        address_ = to_address(given.cast<std::uintptr_t>());
        return;
    }
    if (PyObject_CheckBuffer(given.ptr()) == 0) {
        throw py::type_error(name + "must be an address (int) or have the buffer protocol");
    }
    // A memoryview holds the buffer open, so that nobody can resize it.
    const auto view = py::reinterpret_steal<py::object>(PyMemoryView_FromObject(given.ptr()));
    if (!view) {
        throw py::error_already_set();
    }
    const Py_buffer* buffer = PyMemoryView_GET_BUFFER(view.ptr());
    if (PyBuffer_IsContiguous(buffer, 'C') == 0) {
        throw py::value_error(name + "is not contiguous");
    }
    if (writable && buffer->readonly != 0) {
        throw py::value_error(name + "is read-only");
    }
    if (static_cast<std::size_t>(buffer->len) < bytes) {
        throw py::value_error(name + "has " + std::to_string(buffer->len) + " bytes, " + std::to_string(bytes) +
                              " are asked for");
    }
    address_ = buffer->buf;
    held_ = view;
}

}  // namespace cogniware_python
