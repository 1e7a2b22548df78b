// SPDX-License-Identifier: MIT OR Apache-2.0
// Text from Python for functions that end it at the first NUL: such text is refused instead.
#ifndef COGNIWARE_PYTHON_TEXT_HPP
#define COGNIWARE_PYTHON_TEXT_HPP

#include <pybind11/pybind11.h>

#include <string>
#include <type_traits>

namespace cogniware_python {

struct Text : std::string {
    using std::string::string;
};

namespace detail {

// Arguments of type text come from Python as Text.
template <class Argument>
using FromPython = std::conditional_t<std::is_same_v<Argument, const std::string&>, const Text&, Argument>;

}  // namespace detail

// A method of a C++ class for Class::def.
template <class Self, class Result, class... Arguments>
auto method(Result (Self::*call)(Arguments...) noexcept) {
    return [call](Self& self, detail::FromPython<Arguments>... arguments) { return (self.*call)(arguments...); };
}

template <class Self, class Result, class... Arguments>
auto method(Result (Self::*call)(Arguments...) const noexcept) {
    return [call](const Self& self, detail::FromPython<Arguments>... arguments) { return (self.*call)(arguments...); };
}

}  // namespace cogniware_python

namespace pybind11 {
namespace detail {

template <>
struct type_caster<cogniware_python::Text> {
    PYBIND11_TYPE_CASTER(cogniware_python::Text, const_name("str"));

    bool load(handle source, bool) {
        if (!PyUnicode_Check(source.ptr())) {
            return false;
        }
        Py_ssize_t length = 0;
        const char* text = PyUnicode_AsUTF8AndSize(source.ptr(), &length);
        if (text == nullptr) {
            throw error_already_set();
        }
        value.assign(text, static_cast<std::size_t>(length));
        if (value.find('\0') != std::string::npos) {
            throw value_error("embedded null character");
        }
        return true;
    }
};

}  // namespace detail
}  // namespace pybind11

#endif
