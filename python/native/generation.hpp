// SPDX-License-Identifier: MIT OR Apache-2.0
// Text that is being generated, as Python iterates over it.
#ifndef COGNIWARE_PYTHON_GENERATION_HPP
#define COGNIWARE_PYTHON_GENERATION_HPP

#include <cogniware/detail/generate.hpp>

#include <pybind11/pybind11.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

namespace cogniware_python {

namespace py = pybind11;

// One token's text as the engine gave it out.
struct Piece {
    std::string text;
    std::uint32_t token;
    float logprob;
};

// Pieces on their way from the engine's thread, which never needs the GIL, to Python.
class Pieces {
public:
    ~Pieces();

    void push(Piece piece);
    void close();

    // The next piece within the time; `*ended` is set when none will come any more.
    std::optional<Piece> next(std::chrono::milliseconds time, bool* ended);

    // All that are there; `*ended` as above.
    std::deque<Piece> drain(bool* ended);

    // A file descriptor that is readable when there is something new; made on first use and owned by this.
    int wakeup();

    // Makes it unreadable again.
    void clear_wakeup();

private:
    void wake();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Piece> pieces_;
    bool ended_ = false;
    int wakeup_ = -1;
};

class PyGeneration {
public:
    // Starts it. `keeps` is what must live as long, such as the tenant.
    PyGeneration(cw_model* model, const std::string& prompt, const cogniware::GenerateOptions& options,
                 std::shared_ptr<void> keeps);

    // The next token, waiting for it; throws stop_iteration at the end. Ctrl-C cancels the generation. Needs the GIL.
    py::object next();

    // Waits for the end; false when it has not come in time. Ctrl-C cancels the generation. Needs the GIL.
    bool wait(const py::object& timeout);

    void cancel() const;
    bool done() const;
    cw_generation* get() const noexcept { return generation_.get(); }
    Pieces& pieces() const noexcept { return *pieces_; }

    // Throws the error with which the generation ended, if it did. Waits for the last step.
    void check() const;

private:
    std::shared_ptr<void> keeps_;
    std::shared_ptr<Pieces> pieces_;
    cogniware::detail::Handle<cw_generation, cw_generation_free> generation_;
};

// How to generate from Python's keywords or a dict of settings; unknown ones are refused by name.
cogniware::GenerateOptions to_options(const py::dict& keywords);

void bind_generation(py::module_& module);

}  // namespace cogniware_python

#endif
