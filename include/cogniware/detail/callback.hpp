// SPDX-License-Identifier: MIT OR Apache-2.0
// C callbacks over std::function. No exception leaves them.
#ifndef COGNIWARE_DETAIL_CALLBACK_HPP
#define COGNIWARE_DETAIL_CALLBACK_HPP

#include <cogniware/cogniware.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <utility>

namespace cogniware {

// What the function of a running task sees of its task. Valid only inside that function.
class TaskContext {
public:
    explicit TaskContext(cw_task_context* context) noexcept : context_(context) {}

    // Sets the text that the task's result() will be.
    void set_result(const std::string& text) { static_cast<void>(cw_task_set_result(context_, text.c_str())); }

    // True when somebody asked for the end of the task; long work should look now and then and return.
    bool is_cancelled() const noexcept {
        std::int32_t cancelled = 0;
        return cw_task_is_cancelled(context_, &cancelled) == CW_OK && cancelled != 0;
    }

private:
    cw_task_context* context_;
};

namespace detail {

using TaskBody = std::function<void(TaskContext&)>;

// A std::function as user data of a task: `run` and `drop` go with what `release` gives.
struct TaskCallback {
    TaskBody body;

    // An exception ends the task as failed with its text, and does nothing else.
    static cw_status run(void* user_data, cw_task_context* raw) noexcept {
        try {
            TaskContext context(raw);
            static_cast<TaskCallback*>(user_data)->body(context);
            return CW_OK;
        } catch (const std::exception& error) {
            static_cast<void>(cw_task_set_result(raw, error.what()));
        } catch (...) {
            static_cast<void>(cw_task_set_result(raw, "the task's function threw something that is no std::exception"));
        }
        return CW_ERROR_CALLBACK;
    }

    static void drop(void* user_data) noexcept { delete static_cast<TaskCallback*>(user_data); }
};

inline void* task_user_data(TaskBody body) { return new TaskCallback{std::move(body)}; }

}  // namespace detail
}  // namespace cogniware

#endif
