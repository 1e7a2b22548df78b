// SPDX-License-Identifier: MIT OR Apache-2.0
// Methods that several of the documented classes have.
#ifndef COGNIWARE_PYTHON_SHARED_HPP
#define COGNIWARE_PYTHON_SHARED_HPP

#include "gil.hpp"
#include "offer.hpp"

#include <cogniware/detail/task_status.hpp>

#include <string>

namespace cogniware_python {

// Waits for a task by its id, looking for signals.
template <class Self>
bool wait_for_task(const Self&, const Text& task_id, const py::object& timeout) {
    bool known = true;
    const bool ended = wait(
        Deadline(timeout),
        [&](std::chrono::milliseconds slice) {
            const auto task = cogniware::detail::find_task(task_id);
            known = task != nullptr;
            return !known || cw_task_wait(task.get(), slice.count()) != CW_ERROR_TIMEOUT;
        },
        [] {});
    return known && ended;
}

// What the profiler adds to the classes.
template <class Self, class Class>
void bind_profiler(Class& cls) {
    offer<Self>(cls, "reset_profiling", [](auto& self) COGNIWARE_WHEN(self.resetProfiling()),
                "Forgets all figures and trace events, of everybody.");
    offer<Self, const Text&>(cls, "export_trace",
                             [](auto& self, const Text& path) COGNIWARE_WHEN(self.exportTrace(path)), py::arg("path"),
                             "Writes a trace for Perfetto or chrome://tracing.");
    offer<Self>(cls, "export_prometheus", [](auto& self) COGNIWARE_WHEN_FULL(self.exportPrometheus()),
                "Figures of tenants, tasks, devices and the profiler as Prometheus text.");
    offer<Self>(cls, "profiling_summary", [](auto& self) COGNIWARE_WHEN_FULL(self.profilingSummary()),
                "A table for people, of all tenants.");
}

}  // namespace cogniware_python

#endif
