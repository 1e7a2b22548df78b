// SPDX-License-Identifier: MIT OR Apache-2.0
// Between C++ values and Python's: addresses, times, maps of settings, ranges of memory.
#ifndef COGNIWARE_PYTHON_VALUES_HPP
#define COGNIWARE_PYTHON_VALUES_HPP

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace cogniware_python {

namespace py = pybind11;

using TextMap = std::map<std::string, std::string>;

// An address as an int; None for null.
inline py::object from_address(const void* address) {
    return address == nullptr ? py::object(py::none())
                              : py::object(py::int_(reinterpret_cast<std::uintptr_t>(address)));
}

inline void* to_address(std::uintptr_t address) { return reinterpret_cast<void*>(address); }

// An aware datetime in UTC; None for the epoch, which means "not yet".
py::object from_time(std::chrono::system_clock::time_point time);
std::chrono::system_clock::time_point to_time(const py::object& time);

// A dict of settings. Numbers and truth values become the text that the library expects; None is refused.
TextMap to_settings(const char* argument, const py::object& settings);

// Host or device memory that a Python argument means: an address (int), or an object with the buffer protocol, whose size
// is checked and which is held. Needs the GIL to make and to end.
class Range {
public:
    Range(const char* argument, const py::object& given, std::size_t bytes, bool writable);

    void* address() const noexcept { return address_; }

    // What must stay alive while the range is used; None for a bare address.
    const py::object& held() const noexcept { return held_; }

private:
    void* address_ = nullptr;
    py::object held_ = py::none();
};

}  // namespace cogniware_python

#endif
