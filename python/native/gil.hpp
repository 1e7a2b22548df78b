// SPDX-License-Identifier: MIT OR Apache-2.0
// The rules between Python's lock and Cogniware's threads: long calls run without the GIL, waits look for Ctrl-C, and
// Python functions run on Cogniware's threads only while the interpreter lives.
#ifndef COGNIWARE_PYTHON_GIL_HPP
#define COGNIWARE_PYTHON_GIL_HPP

#include <pybind11/pybind11.h>

#include <chrono>
#include <memory>
#include <utility>

namespace py = pybind11;

namespace cogniware_python {

// How long a wait goes on before it looks whether a signal came.
constexpr std::chrono::milliseconds look_for_signals{50};

// Time left of a wait that Python gave in seconds; None: without end.
class Deadline {
public:
    explicit Deadline(const py::object& seconds);

    bool passed() const;

    // The next piece of the wait.
    std::chrono::milliseconds slice() const;

private:
    bool endless_;
    std::chrono::steady_clock::time_point end_;
};

// Calls `done(slice)` without the GIL until it returns true or the deadline has passed; false then. A signal's exception
// (Ctrl-C: KeyboardInterrupt) calls `interrupted` and is thrown.
template <class Done, class Interrupted>
bool wait(const Deadline& deadline, Done&& done, Interrupted&& interrupted) {
    for (;;) {
        bool ended = false;
        {
            const py::gil_scoped_release release;
            ended = done(deadline.slice());
        }
        if (ended) {
            return true;
        }
        if (PyErr_CheckSignals() != 0) {
            py::error_already_set error;
            interrupted();
            throw error;
        }
        if (deadline.passed()) {
            return false;
        }
    }
}

// A Python function that Cogniware's threads may call, copy and drop, none of which needs the GIL held.
class Callable {
public:
    // Needs the GIL.
    explicit Callable(py::object function);

    // The function itself. Needs the GIL.
    py::object function() const;

    // Runs `body(function)` with the GIL on any thread. What Python raises comes out as std::runtime_error with the
    // exception's type and text; so does the refusal to run while the interpreter is ending.
    template <class Body>
    void run(Body&& body) const;

private:
    struct Held;
    std::shared_ptr<Held> held_;
};

// Keeps the interpreter from ending while it lives; `open` is false when that has begun.
class Stay {
public:
    Stay();
    ~Stay();
    Stay(const Stay&) = delete;
    Stay& operator=(const Stay&) = delete;

    const bool open;
};

// True once the interpreter has begun to end: tasks should return.
bool ending() noexcept;

// What error_already_set means in one line. Needs the GIL.
std::string describe(const py::error_already_set& error);

template <class Body>
void Callable::run(Body&& body) const {
    const Stay stay;
    if (!stay.open) {
        throw std::runtime_error("the Python interpreter is ending");
    }
    const py::gil_scoped_acquire acquire;
    try {
        body(function());
    } catch (const py::error_already_set& error) {
        throw std::runtime_error(describe(error));
    }
}

// Registers what lets the interpreter end without a deadlock.
void bind_exit(py::module_& module);

}  // namespace cogniware_python

#endif
