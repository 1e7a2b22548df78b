// SPDX-License-Identifier: MIT OR Apache-2.0
// What the documented classes have in common of the profiler.
#ifndef COGNIWARE_DETAIL_PROFILING_HPP
#define COGNIWARE_DETAIL_PROFILING_HPP

#include <cogniware/profiler.hpp>

#include <string>

namespace cogniware {
namespace detail {

// Text, or nothing when it failed, whose reason stays in last_error().
template <class Text>
std::string text_or_empty(Text&& text) {
    try {
        return std::forward<Text>(text)();
    } catch (const Error&) {
        return {};
    }
}

// The profiler under the names of the documented classes. All of it is of the whole process.
class Profiling {
public:
    // Forgets all figures and trace events, of everybody.
    bool resetProfiling() noexcept { return cw_profiler_reset() == CW_OK; }

    // Writes a trace for Perfetto or chrome://tracing.
    bool exportTrace(const std::string& path) const noexcept {
        return attempt([&] { return cw_profiler_trace_export(c_text("path", path), nullptr); });
    }

    // Figures of tenants, tasks, devices and the profiler as Prometheus text.
    std::string exportPrometheus() const { return text_or_empty(profiler::prometheus); }

    // A table for people, of all tenants.
    std::string profilingSummary() const {
        return text_or_empty([] { return profiler::summary(); });
    }
};

}  // namespace detail
}  // namespace cogniware

#endif
