// SPDX-License-Identifier: MIT OR Apache-2.0
// Errors in C++: what the functions of <cogniware/...> throw, and the last error of this thread.
#ifndef COGNIWARE_ERROR_HPP
#define COGNIWARE_ERROR_HPP

#include <cogniware/cogniware.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace cogniware {

// What went wrong in the last call of Cogniware on this thread: what failed, which argument, and what would help.
// Empty after a call that succeeded. The documented methods that return bool leave their reason here.
inline std::string last_error() {
    std::size_t needed = 0;
    if (cw_last_error(nullptr, 0, &needed) != CW_OK || needed <= 1) {
        return {};
    }
    std::string text(needed, '\0');
    if (cw_last_error(&text[0], text.size(), nullptr) != CW_OK) {
        return {};
    }
    text.resize(needed - 1);
    return text;
}

// A call that failed. what() is the whole message, for people; status() is CW_ERROR_*, for programs.
class Error : public std::runtime_error {
public:
    Error(cw_status status, const std::string& message, std::uint32_t driver_code = 0)
        : std::runtime_error(message), status_(status), driver_code_(driver_code) {}

    cw_status status() const noexcept { return status_; }

    // The status as a short stable word, such as "quota_exceeded".
    const char* name() const noexcept { return cw_status_name(status_); }

    // The raw code of the device's driver behind the error, or 0.
    std::uint32_t driver_code() const noexcept { return driver_code_; }

private:
    cw_status status_;
    std::uint32_t driver_code_;
};

}  // namespace cogniware

#endif
