// SPDX-License-Identifier: MIT OR Apache-2.0
// Errors in C++: what the functions of <cogniware/...> throw, and the last error of this thread.
#ifndef COGNIWARE_ERROR_HPP
#define COGNIWARE_ERROR_HPP

#include <cogniware/cogniware.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace cogniware {

namespace detail {

// A text of this thread's last error.
template <class Call>
std::string last_text(Call&& call) {
    std::size_t needed = 0;
    if (call(nullptr, 0, &needed) != CW_OK || needed <= 1) {
        return {};
    }
    std::string text(needed, '\0');
    if (call(&text[0], text.size(), nullptr) != CW_OK) {
        return {};
    }
    text.resize(needed - 1);
    return text;
}

}  // namespace detail

// What went wrong in the last call of Cogniware on this thread: what failed, which argument, and what would help.
// Empty after a call that succeeded. The documented methods that return bool leave their reason here.
inline std::string last_error() { return detail::last_text(cw_last_error); }

// What would help against it, which is also the end of last_error(); may be empty.
inline std::string last_error_advice() { return detail::last_text(cw_last_error_advice); }

// The call of the driver or the operating system that refused, with its arguments; empty when that was not the cause.
inline std::string last_error_call() { return detail::last_text(cw_last_error_call); }

// The function of the C interface that failed, with its arguments.
inline std::string last_error_function() { return detail::last_text(cw_last_error_function); }

// What part of the work an error belongs to. The numbers are CW_CATEGORY_*.
enum class ErrorCategory : std::int32_t {
    none = CW_CATEGORY_NONE,
    initialization = CW_CATEGORY_INITIALIZATION,
    driver = CW_CATEGORY_DRIVER,
    device = CW_CATEGORY_DEVICE,
    memory = CW_CATEGORY_MEMORY,
    kernel = CW_CATEGORY_KERNEL,
    task = CW_CATEGORY_TASK,
    bridge = CW_CATEGORY_BRIDGE,
    model = CW_CATEGORY_MODEL,
    tenant = CW_CATEGORY_TENANT,
    system = CW_CATEGORY_SYSTEM,
    argument = CW_CATEGORY_ARGUMENT,
    internal = CW_CATEGORY_INTERNAL,
};

// The category as a short stable word, such as "memory".
inline const char* to_string(ErrorCategory category) noexcept {
    return cw_category_name(static_cast<std::int32_t>(category));
}

// The category of this thread's last error.
inline ErrorCategory last_error_category() noexcept { return static_cast<ErrorCategory>(cw_last_error_category()); }

// A call that failed. what() is the whole message, for people; status() is CW_ERROR_*, for programs.
class Error : public std::runtime_error {
public:
    Error(cw_status status, const std::string& message, std::uint32_t driver_code = 0,
          ErrorCategory category = ErrorCategory::argument)
        : std::runtime_error(message), status_(status), driver_code_(driver_code), category_(category) {}

    // The last error of this thread, which a call that answered `status` left.
    static Error last(cw_status status) {
        Error error(status, last_error(), cw_last_driver_code());
        error.category_ = last_error_category();
        error.advice_ = last_error_advice();
        error.call_ = last_error_call();
        error.function_ = last_error_function();
        return error;
    }

    cw_status status() const noexcept { return status_; }

    // The status as a short stable word, such as "quota_exceeded".
    const char* name() const noexcept { return cw_status_name(status_); }

    // The raw code of the device's driver behind the error, or 0.
    std::uint32_t driver_code() const noexcept { return driver_code_; }

    // What part of the work it belongs to.
    ErrorCategory category() const noexcept { return category_; }

    // What would help; may be empty. It is at the end of what(), too.
    const std::string& advice() const noexcept { return advice_; }

    // The call of the driver or the operating system that refused, with its arguments; may be empty.
    const std::string& call() const noexcept { return call_; }

    // The function of the C interface that failed, with its arguments; empty for an error of the C++ side.
    const std::string& function() const noexcept { return function_; }

private:
    cw_status status_;
    std::uint32_t driver_code_;
    ErrorCategory category_;
    std::string advice_, call_, function_;
};

}  // namespace cogniware

#endif
