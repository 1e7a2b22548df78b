// SPDX-License-Identifier: MIT OR Apache-2.0
// Errors: cogniware::Error as the Python class of its status, and the rule for methods that return something.
#ifndef COGNIWARE_PYTHON_ERROR_HPP
#define COGNIWARE_PYTHON_ERROR_HPP

#include <cogniware/detail/check.hpp>

#include <pybind11/pybind11.h>

#include <utility>

namespace cogniware_python {

// The C++ methods give something empty when they fail and leave the reason in last_error(). In Python such a failure is
// raised; only methods that return bool answer False. A call that succeeded has cleared the last error.
template <class Result>
Result raised_if_empty(Result&& result, bool empty) {
    if (empty) {
        cogniware::detail::check(cw_last_status());
    }
    return std::forward<Result>(result);
}

template <class Call>
auto or_raise(Call&& call) {
    auto result = call();
    const bool empty = result.empty();
    return raised_if_empty(std::move(result), empty);
}

void bind_error(pybind11::module_& module);

}  // namespace cogniware_python

#endif
