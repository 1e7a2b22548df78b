// SPDX-License-Identifier: MIT OR Apache-2.0
// The profiler: figures of kernels, copies, steps and tasks, traces, Prometheus text, ranges.
#ifndef COGNIWARE_PROFILER_HPP
#define COGNIWARE_PROFILER_HPP

#include <cogniware/detail/map.hpp>

#include <cstdint>
#include <map>
#include <string>

namespace cogniware {
namespace profiler {

// Everything here is of the whole process and usable from any thread. Failures throw Error.

// Records the work of every tenant from now on. Off, which is how a process begins, the profiler costs a branch.
inline void enable() { detail::check(cw_profiler_enable()); }

// The figures stay. What a manager or a bridge switched on stays on.
inline void disable() { detail::check(cw_profiler_disable()); }

// Whether the work of a tenant is recorded; with no name, of anybody.
inline bool is_enabled(const std::string& llm = {}) {
    std::int32_t enabled = 0;
    detail::check(cw_profiler_is_enabled(llm.empty() ? nullptr : llm.c_str(), &enabled));
    return enabled != 0;
}

// Forgets all figures and trace events.
inline void reset() { detail::check(cw_profiler_reset()); }

// `<kind>.<name>.<figure>`: see docs/profiling.md. With no name, of all tenants together.
inline std::map<std::string, std::string> data(const std::string& llm = {}) {
    cw_map* raw = nullptr;
    detail::check(cw_profiler_data(llm.empty() ? nullptr : llm.c_str(), &raw));
    return detail::from_c(raw);
}

// The same as a table for people.
inline std::string summary(const std::string& llm = {}) {
    return detail::read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
        return cw_profiler_summary(llm.empty() ? nullptr : llm.c_str(), buffer, length, needed);
    });
}

// Figures of tenants, tasks, devices and the profiler as Prometheus text, for the application to serve.
inline std::string prometheus() { return detail::read_text(cw_profiler_prometheus); }

// Writes the last events as a trace for Perfetto or chrome://tracing; how many it holds.
inline std::uint64_t export_trace(const std::string& path) {
    std::uint64_t events = 0;
    detail::check(cw_profiler_trace_export(detail::c_text("path", path), &events));
    return events;
}

// From here to the end of the scope. Stays on its thread.
class Range {
public:
    // Of a tenant, or of nobody.
    explicit Range(const std::string& name, const std::string& llm = {}) {
        detail::check(cw_profiler_range_push(detail::c_text("name", name), llm.empty() ? nullptr : llm.c_str()));
    }
    Range(const Range&) = delete;
    Range& operator=(const Range&) = delete;
    ~Range() { static_cast<void>(cw_profiler_range_pop()); }
};

}  // namespace profiler
}  // namespace cogniware

#endif
