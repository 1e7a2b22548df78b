// SPDX-License-Identifier: MIT OR Apache-2.0
// A std::function as a C callback of the monitor. No exception leaves it.
#ifndef COGNIWARE_DETAIL_MONITOR_CALLBACK_HPP
#define COGNIWARE_DETAIL_MONITOR_CALLBACK_HPP

#include <cogniware/cogniware.h>

#include <exception>
#include <functional>

namespace cogniware {
namespace detail {

// `run` and `drop` go with a pointer to one that was made by new.
struct MonitorCallback {
    std::function<void()> body;

    static void run(void* user_data) noexcept {
        try {
            static_cast<MonitorCallback*>(user_data)->body();
        } catch (const std::exception& error) {
            static_cast<void>(cw_log_write(CW_LOG_ERROR, "monitor", error.what()));
        } catch (...) {
            static_cast<void>(
                cw_log_write(CW_LOG_ERROR, "monitor", "the callback threw something that is no exception"));
        }
    }

    static void drop(void* user_data) noexcept { delete static_cast<MonitorCallback*>(user_data); }
};

}  // namespace detail
}  // namespace cogniware

#endif
