// SPDX-License-Identifier: MIT OR Apache-2.0
// Cogniware's log in spdlog. Needs spdlog's headers, which the application brings.
#ifndef COGNIWARE_SPDLOG_HPP
#define COGNIWARE_SPDLOG_HPP

#include <cogniware/errors.hpp>

#include <spdlog/spdlog.h>

#include <string>

namespace cogniware {

// Hands every record to spdlog's default logger, which keeps those of its own level: spdlog::set_level works before and
// after. A logger set before is dropped. Throws Error.
inline void log_to_spdlog() {
    set_logger(LogLevel::trace, [](LogLevel level, const std::string& target, const std::string& message) {
        auto theirs = spdlog::level::trace;
        switch (level) {
            case LogLevel::error: theirs = spdlog::level::err; break;
            case LogLevel::warn: theirs = spdlog::level::warn; break;
            case LogLevel::info: theirs = spdlog::level::info; break;
            case LogLevel::debug: theirs = spdlog::level::debug; break;
            case LogLevel::trace:
            case LogLevel::off: break;
        }
        spdlog::log(theirs, "cogniware {}: {}", target, message);
    });
}

}  // namespace cogniware

#endif
