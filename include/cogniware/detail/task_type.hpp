// SPDX-License-Identifier: MIT OR Apache-2.0
// A kind of task that the application registers with a bridge. No exception leaves it.
#ifndef COGNIWARE_DETAIL_TASK_TYPE_HPP
#define COGNIWARE_DETAIL_TASK_TYPE_HPP

#include <cogniware/detail/callback.hpp>
#include <cogniware/detail/map.hpp>

#include <exception>
#include <functional>
#include <map>
#include <string>
#include <utility>

namespace cogniware {

// The work of a kind of task: sees its task, the LLM's id and the parameters; returns the task's result. Called on threads
// of Cogniware, by several at a time. What it throws ends the task as failed with its text.
using TaskTypeFunction = std::function<std::string(TaskContext& context, const std::string& llmId,
                                                   const std::map<std::string, std::string>& parameters)>;

namespace detail {

// A TaskTypeFunction as user data: `run` and `drop` go with it.
struct TaskTypeCallback {
    TaskTypeFunction function;

    static cw_status run(void* user_data, cw_task_context* raw, const char* llm, const cw_map* params) noexcept {
        try {
            TaskContext context(raw);
            const std::string result =
                static_cast<TaskTypeCallback*>(user_data)->function(context, llm, copy_of(params));
            return cw_task_set_result(raw, result.c_str());
        } catch (const std::exception& error) {
            static_cast<void>(cw_task_set_result(raw, error.what()));
        } catch (...) {
            static_cast<void>(cw_task_set_result(raw, "the task's function threw something that is no std::exception"));
        }
        return CW_ERROR_CALLBACK;
    }

    static void drop(void* user_data) noexcept { delete static_cast<TaskTypeCallback*>(user_data); }
};

}  // namespace detail
}  // namespace cogniware

#endif
