// SPDX-License-Identifier: MIT OR Apache-2.0
// Methods that only newer headers have: the package is also built against an installed Cogniware, which may be older.
#ifndef COGNIWARE_PYTHON_OFFER_HPP
#define COGNIWARE_PYTHON_OFFER_HPP

#include "bindings.hpp"
#include "error.hpp"
#include "values.hpp"

#include <type_traits>
#include <utility>

namespace cogniware_python {

// Adds a method when the headers have what `call(self, arguments...)` needs, which its trailing return type says. Runs
// without the GIL.
template <class Self, class... Arguments, class Class, class Call, class... Extra>
void offer(Class& cls, const char* name, Call call, const Extra&... extra) {
    if constexpr (std::is_invocable_v<Call, Self&, Arguments...>) {
        cls.def(
            name,
            [call](Self& self, Arguments... arguments) { return call(self, std::forward<Arguments>(arguments)...); },
            extra..., NoGil());
    } else {
        static_cast<void>(cls);
        static_cast<void>(name);
        static_cast<void>(call);
    }
}

// A dict of settings as an argument of such a method.
template <class Self, class... Arguments, class Class, class Call, class... Extra>
void offer_settings(Class& cls, const char* name, const char* argument, Call call, const Extra&... extra) {
    if constexpr (std::is_invocable_v<Call, Self&, Arguments..., const TextMap&>) {
        cls.def(
            name,
            [call, argument](Self& self, Arguments... arguments, const py::object& settings) {
                const TextMap map = to_settings(argument, settings);
                const py::gil_scoped_release release;
                return call(self, std::forward<Arguments>(arguments)..., map);
            },
            extra...);
    } else {
        static_cast<void>(cls);
        static_cast<void>(name);
        static_cast<void>(argument);
        static_cast<void>(call);
    }
}

}  // namespace cogniware_python

// The body of a method that is there when `expression` compiles.
#define COGNIWARE_WHEN(...) \
    ->decltype(__VA_ARGS__) { return __VA_ARGS__; }

// The same for what raises an error when it comes out empty.
#define COGNIWARE_WHEN_FULL(...)                      \
    ->decltype(__VA_ARGS__) {                         \
        return or_raise([&] { return __VA_ARGS__; }); \
    }

#endif
