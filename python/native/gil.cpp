// SPDX-License-Identifier: MIT OR Apache-2.0
#include "gil.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>

namespace cogniware_python {
namespace {

// Threads of Cogniware that run Python now. The interpreter's end waits for them.
struct Inside {
    std::mutex mutex;
    std::condition_variable left;
    std::multiset<unsigned long> threads;
    std::atomic<bool> ending{false};
};

// Never destroyed: threads may come here after main has returned.
Inside& inside() {
    static auto* only = new Inside;
    return *only;
}

// How long tasks may go on by themselves when the interpreter ends.
constexpr std::chrono::seconds patience{2};

bool empty_within(std::chrono::milliseconds time) {
    auto& all = inside();
    std::unique_lock<std::mutex> lock(all.mutex);
    return all.left.wait_for(lock, time, [&] { return all.threads.empty(); });
}

// Runs by atexit: afterwards no thread of Cogniware touches Python. Tasks that are running see is_cancelled; those that do
// not look are ended by SystemExit, raised in them.
void end() {
    auto& all = inside();
    {
        const std::lock_guard<std::mutex> lock(all.mutex);
        all.ending = true;
    }
    const auto asked = std::chrono::steady_clock::now();
    bool raised = false;
    wait(
        Deadline(py::none()),
        [&](std::chrono::milliseconds slice) {
            if (empty_within(slice)) {
                return true;
            }
            if (!raised && std::chrono::steady_clock::now() - asked > patience) {
                raised = true;
                const py::gil_scoped_acquire acquire;
                const std::lock_guard<std::mutex> lock(all.mutex);
                for (const unsigned long thread : all.threads) {
                    PyThreadState_SetAsyncExc(thread, PyExc_SystemExit);
                }
            }
            return false;
        },
        [] {});
}

}  // namespace

Deadline::Deadline(const py::object& seconds) : endless_(seconds.is_none()) {
    if (!endless_) {
        const double given = seconds.cast<double>();
        if (std::isnan(given)) {
            throw py::value_error("argument `timeout`: is not a number");
        }
        // More than a century would overflow the clock.
        const std::chrono::duration<double> wanted(std::min(std::max(given, 0.0), 3.0e9));
        end_ =
            std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(wanted);
    }
}

bool Deadline::passed() const { return !endless_ && std::chrono::steady_clock::now() >= end_; }

std::chrono::milliseconds Deadline::slice() const {
    if (endless_) {
        return look_for_signals;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - std::chrono::steady_clock::now());
    return std::min(look_for_signals, std::max(left, std::chrono::milliseconds(0)));
}

bool ending() noexcept { return inside().ending; }

Stay::Stay()
    : open([] {
          auto& all = inside();
          const std::lock_guard<std::mutex> lock(all.mutex);
          if (all.ending) {
              return false;
          }
          all.threads.insert(PyThread_get_thread_ident());
          return true;
      }()) {}

Stay::~Stay() {
    if (open) {
        auto& all = inside();
        const std::lock_guard<std::mutex> lock(all.mutex);
        all.threads.erase(all.threads.find(PyThread_get_thread_ident()));
        all.left.notify_all();
    }
}

struct Callable::Held {
    explicit Held(py::object given) : function(std::move(given)) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
        const Stay stay;
        if (stay.open) {
            const py::gil_scoped_acquire acquire;
            function = py::object();
        } else {
            // Left to the process's end: its reference may not be touched any more.
            static_cast<void>(function.release());
        }
    }

    py::object function;
};

Callable::Callable(py::object function) : held_(std::make_shared<Held>(std::move(function))) {}

py::object Callable::function() const { return held_->function; }

std::string describe(const py::error_already_set& error) {
    const std::string type = py::str(error.type().attr("__name__"));
    const std::string text = py::str(error.value());
    return text.empty() ? type : type + ": " + text;
}

void bind_exit(py::module_&) { py::module_::import("atexit").attr("register")(py::cpp_function(end)); }

}  // namespace cogniware_python
