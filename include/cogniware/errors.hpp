// SPDX-License-Identifier: MIT OR Apache-2.0
// The history of errors, their statistics, and logging.
#ifndef COGNIWARE_ERRORS_HPP
#define COGNIWARE_ERRORS_HPP

#include <cogniware/detail/check.hpp>
#include <cogniware/detail/map.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {

// One error of the history. Texts are empty, and codes 0, where there is nothing to say.
struct ErrorRecord {
    std::uint64_t sequence = 0;
    std::chrono::system_clock::time_point time;
    std::string status;
    std::string category;
    std::string message;
    std::string advice;
    std::string call;
    std::string function;
    std::uint32_t driver_code = 0;
    int os_code = 0;
};

// The errors that the process keeps (the newest 256 unless set otherwise), the newest first. Throws Error.
inline std::vector<ErrorRecord> error_history() {
    std::vector<ErrorRecord> records;
    std::size_t count = 0;
    detail::check(cw_error_history_count(&count));
    for (std::size_t index = 0; index < count; ++index) {
        cw_map* raw = nullptr;
        if (cw_error_history_at(index, &raw) != CW_OK) {
            break;  // Cleared meanwhile.
        }
        const auto entry = detail::from_c(raw);
        const auto text = [&](const char* key) {
            const auto found = entry.find(key);
            return found == entry.end() ? std::string() : found->second;
        };
        ErrorRecord record;
        record.sequence = std::strtoull(text("sequence").c_str(), nullptr, 10);
        if (!records.empty() && record.sequence >= records.back().sequence) {
            continue;  // Came again: a newer error has moved the others on by one.
        }
        using Clock = std::chrono::system_clock;
        const std::chrono::microseconds since(std::strtoll(text("time_us").c_str(), nullptr, 10));
        record.time = Clock::time_point(std::chrono::duration_cast<Clock::duration>(since));
        record.status = text("status");
        record.category = text("category");
        record.message = text("message");
        record.advice = text("advice");
        record.call = text("call");
        record.function = text("function");
        record.driver_code = static_cast<std::uint32_t>(std::strtoul(text("driver_code").c_str(), nullptr, 10));
        record.os_code = static_cast<int>(std::strtol(text("os_code").c_str(), nullptr, 10));
        records.push_back(std::move(record));
    }
    return records;
}

// Forgets all errors and sets the counts of error_statistics() to 0, except those of recoveries.
inline void clear_error_history() { detail::check(cw_error_history_clear()); }

// Keeps at most this many errors from now on; 0 only counts them.
inline void set_error_history_capacity(std::size_t capacity) { detail::check(cw_error_history_set_capacity(capacity)); }

// Counts by status and category, and of recoveries; cw_error_statistics lists the keys.
inline std::map<std::string, std::uint64_t> error_statistics() {
    cw_map* raw = nullptr;
    detail::check(cw_error_statistics(&raw));
    std::map<std::string, std::uint64_t> statistics;
    for (const auto& entry : detail::from_c(raw)) {
        statistics.emplace(entry.first, std::strtoull(entry.second.c_str(), nullptr, 10));
    }
    return statistics;
}

// How important a record of the log is. The numbers are CW_LOG_*.
enum class LogLevel : std::int32_t {
    off = CW_LOG_OFF,
    error = CW_LOG_ERROR,
    warn = CW_LOG_WARN,
    info = CW_LOG_INFO,
    debug = CW_LOG_DEBUG,
    trace = CW_LOG_TRACE,
};

// Takes a record: its level, the part that tells ("device", "memory", ...) and one line of text.
using Logger = std::function<void(LogLevel level, const std::string& target, const std::string& message)>;

namespace detail {

struct LogCallback {
    Logger logger;

    // An exception ends with the record that caused it.
    static void run(void* user_data, std::int32_t level, const char* target, const char* message) noexcept {
        try {
            static_cast<LogCallback*>(user_data)->logger(static_cast<LogLevel>(level), target, message);
        } catch (...) {
        }
    }

    static void drop(void* user_data) noexcept { delete static_cast<LogCallback*>(user_data); }
};

}  // namespace detail

// Sends records of `level` and more important ones to `logger` from now on. It is called on the threads that do the
// work, by several at a time, and may call Cogniware. An empty one, or LogLevel::off, turns logging off.
inline void set_logger(LogLevel level, Logger logger) {
    if (!logger || level == LogLevel::off) {
        detail::check(cw_log_set(nullptr, nullptr, nullptr, CW_LOG_OFF));
        return;
    }
    auto callback = std::make_unique<detail::LogCallback>(detail::LogCallback{std::move(logger)});
    // From here on the callee drops it, also when it fails.
    detail::check(cw_log_set(detail::LogCallback::run, callback.release(), detail::LogCallback::drop,
                             static_cast<std::int32_t>(level)));
}

// Writes a record of the application into the same log.
inline void write_log(LogLevel level, const std::string& target, const std::string& message) {
    detail::check(cw_log_write(static_cast<std::int32_t>(level), detail::c_text("target", target),
                               detail::c_text("message", message)));
}

}  // namespace cogniware

#endif
