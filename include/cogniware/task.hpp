// SPDX-License-Identifier: MIT OR Apache-2.0
// Tasks: functions that run once their tenant has the memory and the cores they ask for.
#ifndef COGNIWARE_TASK_HPP
#define COGNIWARE_TASK_HPP

#include <cogniware/detail/callback.hpp>
#include <cogniware/detail/check.hpp>

#include <chrono>
#include <cstdint>
#include <string>

namespace cogniware {

// Who goes first when several want the same processors.
enum class Priority : std::int32_t {
    critical = CW_PRIORITY_CRITICAL,
    high = CW_PRIORITY_HIGH,
    normal = CW_PRIORITY_NORMAL,
    low = CW_PRIORITY_LOW,
    background = CW_PRIORITY_BACKGROUND
};

struct TaskOptions {
    std::string id;  // empty for a new one
    Priority priority = Priority::normal;
    std::uint32_t cores = 0;   // cores or SMs it needs to start
    std::uint64_t memory = 0;  // bytes that must be free within the tenant's limit to start
};

// A handle to a task. Dropping the handle leaves the task alone. Usable from any thread.
class Task {
public:
    explicit Task(cw_task* owned) noexcept : task_(owned) {}

    // The task with this id: waiting, running, or one of the last few thousand that ended.
    static Task find(const std::string& id) {
        cw_task* raw = nullptr;
        detail::check(cw_task_find(id.c_str(), &raw));
        return Task(raw);
    }

    std::string id() const {
        return detail::read_text([this](char* buffer, std::size_t length, std::size_t* needed) {
            return cw_task_id(task_.get(), buffer, length, needed);
        });
    }

    cw_task_info info() const {
        cw_task_info info{};
        info.struct_size = sizeof info;
        detail::check(cw_task_get_info(task_.get(), &info));
        return info;
    }

    // The text that it set, or the text of its error; empty while it has not ended.
    std::string result() const {
        return detail::read_text([this](char* buffer, std::size_t length, std::size_t* needed) {
            return cw_task_result(task_.get(), buffer, length, needed);
        });
    }

    // Waits for the end, however it ended.
    void wait() const { detail::check(cw_task_wait(task_.get(), -1)); }

    // Waits at most so long; false when it has not ended by then.
    bool wait_for(std::chrono::milliseconds timeout) const {
        const cw_status status = cw_task_wait(task_.get(), timeout.count() < 0 ? 0 : timeout.count());
        if (status == CW_ERROR_TIMEOUT) {
            return false;
        }
        detail::check(status);
        return true;
    }

    // What has not started never will; a running function is told. Throws when it had ended.
    void cancel() const { detail::check(cw_task_cancel(task_.get())); }

    cw_task* get() const noexcept { return task_.get(); }

private:
    detail::Handle<cw_task, cw_task_free> task_;
};

}  // namespace cogniware

#endif
