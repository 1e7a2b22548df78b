// SPDX-License-Identifier: MIT OR Apache-2.0
// What the kernel and the bridge ask about tasks by their ids.
#ifndef COGNIWARE_DETAIL_TASK_STATUS_HPP
#define COGNIWARE_DETAIL_TASK_STATUS_HPP

#include <cogniware/detail/check.hpp>

#include <cstdint>
#include <string>

namespace cogniware {
namespace detail {

using TaskHandle = Handle<cw_task, cw_task_free>;

// The task with this id, or null with the reason in last_error().
inline TaskHandle find_task(const std::string& id) {
    cw_task* raw = nullptr;
    return TaskHandle(cw_task_find(whole(id), &raw) == CW_OK ? raw : nullptr);
}

inline cw_task_info task_info(const TaskHandle& task) {
    cw_task_info info{};
    info.struct_size = sizeof info;
    check(cw_task_get_info(task.get(), &info));
    return info;
}

inline std::string task_result(const TaskHandle& task) {
    return read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
        return cw_task_result(task.get(), buffer, length, needed);
    });
}

// The error of a task that did not complete. What leaves no doubt is not the task's own.
inline Error task_error(const cw_task_info& info, const std::string& text) {
    const cw_status status = info.status == CW_OK ? CW_ERROR_CANCELLED : info.status;
    ErrorCategory category = ErrorCategory::task;
    if (status == CW_ERROR_OUT_OF_MEMORY || status == CW_ERROR_QUOTA_EXCEEDED) {
        category = ErrorCategory::memory;
    } else if (status == CW_ERROR_DEVICE_LOST) {
        category = ErrorCategory::device;
    }
    return Error(status, text, 0, category);
}

inline std::string task_id(const TaskHandle& task) {
    return read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
        return cw_task_id(task.get(), buffer, length, needed);
    });
}

inline std::string task_tenant(const TaskHandle& task) {
    return read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
        return cw_task_tenant(task.get(), buffer, length, needed);
    });
}

inline std::string task_type(const TaskHandle& task) {
    return read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
        return cw_task_type(task.get(), buffer, length, needed);
    });
}

// Waits for the end of the task with this id; false when it has not ended in time or is unknown.
inline bool wait_for_task(const std::string& id, std::int64_t milliseconds) noexcept {
    return attempt([&] {
        const TaskHandle task = find_task(id);
        return task ? cw_task_wait(task.get(), milliseconds) : cw_last_status();
    });
}

inline bool set_task_weight(const std::string& id, double weight) noexcept {
    return attempt([&] {
        const TaskHandle task = find_task(id);
        return task ? cw_task_set_weight(task.get(), weight) : cw_last_status();
    });
}

inline bool cancel_task(const std::string& id) noexcept {
    return attempt([&] {
        const TaskHandle task = find_task(id);
        return task ? cw_task_cancel(task.get()) : cw_last_status();
    });
}

inline const char* state_name(std::int32_t state) noexcept {
    switch (state) {
        case CW_TASK_PENDING: return "pending";
        case CW_TASK_RUNNING: return "running";
        case CW_TASK_COMPLETED: return "completed";
        case CW_TASK_FAILED: return "failed";
        case CW_TASK_CANCELLED: return "cancelled";
        default: return "unknown";
    }
}

inline const char* priority_name(std::int32_t priority) noexcept {
    switch (priority) {
        case CW_PRIORITY_CRITICAL: return "critical";
        case CW_PRIORITY_HIGH: return "high";
        case CW_PRIORITY_NORMAL: return "normal";
        case CW_PRIORITY_LOW: return "low";
        case CW_PRIORITY_BACKGROUND: return "background";
        default: return "unknown";
    }
}

}  // namespace detail
}  // namespace cogniware

#endif
