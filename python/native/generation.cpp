// SPDX-License-Identifier: MIT OR Apache-2.0
#include "generation.hpp"

#include "bindings.hpp"
#include "gil.hpp"
#include "values.hpp"

#include <cogniware/detail/read_options.hpp>
#include <cogniware/generation.hpp>

#include <sys/eventfd.h>
#include <unistd.h>
#include <cerrno>
#include <cmath>
#include <limits>
#include <system_error>

namespace cogniware_python {
namespace {

std::int32_t on_token(void* user_data, const char* text, std::uint32_t token, float logprob) noexcept {
    try {
        (*static_cast<std::shared_ptr<Pieces>*>(user_data))->push({text, token, logprob});
        return 1;
    } catch (...) {
        return 0;  // the host is out of memory
    }
}

void drop(void* user_data) noexcept {
    auto* pieces = static_cast<std::shared_ptr<Pieces>*>(user_data);
    (*pieces)->close();
    delete pieces;
}

// As cogniware_core.Token, a str that knows its id and log-probability.
py::object to_token(const Piece& piece) {
    static const py::handle type = py::object(py::module_::import("cogniware_core._token").attr("Token")).release();
    const bool has_id = piece.token != std::numeric_limits<std::uint32_t>::max();
    return type(piece.text, has_id ? py::object(py::int_(piece.token)) : py::object(py::none()),
                std::isnan(piece.logprob) ? py::object(py::none()) : py::object(py::float_(piece.logprob)));
}

const char* finish_name(std::int32_t finish) {
    switch (finish) {
        case CW_FINISH_STOP: return "stop";
        case CW_FINISH_STOP_STRING: return "stop_string";
        case CW_FINISH_LENGTH: return "length";
        case CW_FINISH_CANCELLED: return "cancelled";
        case CW_FINISH_ERROR: return "error";
        default: return "unknown";
    }
}

template <class T, class Call>
std::vector<T> list_of(const PyGeneration& self, Call call) {
    cw_status status = CW_OK;
    auto list =
        cogniware::detail::read_list<T>([&](T* elements, std::size_t capacity,
                                            std::size_t* count) { return call(self.get(), elements, capacity, count); },
                                        &status);
    cogniware::detail::check(status);
    return list;
}

std::string text_of(const PyGeneration& self) {
    return cogniware::detail::read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
        return cw_generation_text(self.get(), buffer, length, needed);
    });
}

py::dict stats_of(const PyGeneration& self) {
    cw_generation_stats stats{};
    stats.struct_size = sizeof stats;
    cogniware::detail::check(cw_generation_get_stats(self.get(), &stats));
    py::dict answer;
    answer["prompt_tokens"] = stats.prompt_tokens;
    answer["cached_tokens"] = stats.cached_tokens;
    answer["generated_tokens"] = stats.generated_tokens;
    answer["finish"] = finish_name(stats.finish);
    answer["seed"] = stats.seed;
    answer["queue_ms"] = stats.queue_ms;
    answer["prefill_ms"] = stats.prefill_ms;
    answer["ttft_ms"] = stats.ttft_ms;
    answer["decode_ms"] = stats.decode_ms;
    answer["total_ms"] = stats.total_ms;
    answer["tokens_per_second"] = stats.tokens_per_second;
    return answer;
}

}  // namespace

Pieces::~Pieces() {
    if (wakeup_ >= 0) {
        static_cast<void>(::close(wakeup_));
    }
}

void Pieces::wake() {
    changed_.notify_all();
    if (wakeup_ >= 0) {
        // Fails only when the counter is full: then it is readable already.
        const std::uint64_t one = 1;
        static_cast<void>(!::write(wakeup_, &one, sizeof one));
    }
}

void Pieces::push(Piece piece) {
    const std::lock_guard<std::mutex> lock(mutex_);
    pieces_.push_back(std::move(piece));
    wake();
}

void Pieces::close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    wake();
}

std::optional<Piece> Pieces::next(std::chrono::milliseconds time, bool* ended) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, time, [&] { return ended_ || !pieces_.empty(); });
    if (pieces_.empty()) {
        *ended = ended_;
        return std::nullopt;
    }
    Piece piece = std::move(pieces_.front());
    pieces_.pop_front();
    return piece;
}

std::deque<Piece> Pieces::drain(bool* ended) {
    const std::lock_guard<std::mutex> lock(mutex_);
    *ended = ended_;
    return std::exchange(pieces_, {});
}

int Pieces::wakeup() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (wakeup_ < 0) {
        wakeup_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (wakeup_ < 0) {
            throw std::system_error(errno, std::generic_category(), "eventfd");
        }
        if (ended_ || !pieces_.empty()) {
            wake();
        }
    }
    return wakeup_;
}

void Pieces::clear_wakeup() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (wakeup_ >= 0) {
        std::uint64_t count = 0;
        static_cast<void>(!::read(wakeup_, &count, sizeof count));
    }
}

PyGeneration::PyGeneration(cw_model* model, const std::string& prompt, const cogniware::GenerateOptions& options,
                           std::shared_ptr<void> keeps)
    : keeps_(std::move(keeps)), pieces_(std::make_shared<Pieces>()) {
    const cogniware::detail::GenerateParams how(prompt, options);
    auto user_data = std::make_unique<std::shared_ptr<Pieces>>(pieces_);
    cw_generation* raw = nullptr;
    // From here on the callee drops it, also when it fails.
    cogniware::detail::check(cw_model_generate(model, &how.params, on_token, user_data.release(), drop, &raw));
    generation_.reset(raw);
}

py::object PyGeneration::next() {
    std::optional<Piece> piece;
    cogniware_python::wait(
        Deadline(py::none()),
        [&](std::chrono::milliseconds slice) {
            bool ended = false;
            piece = pieces_->next(slice, &ended);
            return piece.has_value() || ended;
        },
        [this] { cancel(); });
    if (!piece) {
        {
            const py::gil_scoped_release release;
            check();
        }
        throw py::stop_iteration();
    }
    return to_token(*piece);
}

bool PyGeneration::wait(const py::object& timeout) {
    return cogniware_python::wait(
        Deadline(timeout),
        [this](std::chrono::milliseconds slice) {
            const cw_status status = cw_generation_wait(generation_.get(), slice.count());
            if (status == CW_ERROR_TIMEOUT) {
                return false;
            }
            if (status != CW_ERROR_CANCELLED) {
                cogniware::detail::check(status);
            }
            return true;
        },
        [this] { cancel(); });
}

void PyGeneration::cancel() const { cogniware::detail::check(cw_generation_cancel(generation_.get())); }

bool PyGeneration::done() const { return cw_generation_wait(generation_.get(), 0) != CW_ERROR_TIMEOUT; }

void PyGeneration::check() const {
    const cw_status status = cw_generation_wait(generation_.get(), -1);
    if (status != CW_ERROR_CANCELLED) {
        cogniware::detail::check(status);
    }
}

cogniware::GenerateOptions to_options(const py::dict& keywords) {
    py::dict settings;
    for (const auto& entry : keywords) {
        // None: as if it were not given. Stop strings may be a list here.
        if (entry.second.is_none()) {
            continue;
        }
        settings[entry.first] = entry.second;
    }
    std::vector<std::string> stop;
    if (settings.contains("stop") && !py::isinstance<py::str>(settings["stop"])) {
        for (const auto& text : py::iterable(settings["stop"])) {
            if (!py::isinstance<py::str>(text)) {
                throw py::type_error("argument `stop`: must be a str or an iterable of them");
            }
            stop.push_back(text.cast<std::string>());
        }
        settings.attr("pop")("stop");
    }
    if (settings.contains("logprobs") && py::isinstance<py::bool_>(settings["logprobs"])) {
        settings["logprobs"] = py::int_(settings["logprobs"].cast<bool>() ? 1 : 0);
    }
    cogniware::GenerateOptions options;
    cogniware::detail::read_options(to_settings("options", settings), options, true);
    if (!stop.empty()) {
        options.stop = std::move(stop);
    }
    return options;
}

void bind_generation(py::module_& module) {
    py::class_<PyGeneration> cls(
        module, "Generation",
        "Text that is being generated. Iterate over it (`for token in generation`, or `async for`): each Token is a "
        "str with\n"
        "the token's id and log-probability. Ctrl-C, `break` followed by the object's end, or cancel() end the work. "
        "Usable\n"
        "from any thread; waiting releases the GIL. As a context manager it cancels at the end of the block.",
        py::release_gil_before_calling_cpp_dtor());
    cls.def("__iter__", [](const py::object& self) { return self; })
        .def("__next__", &PyGeneration::next)
        .def("__aiter__",
             [](const py::object& self) { return py::module_::import("cogniware_core._async").attr("tokens")(self); })
        .def("__await__",
             [](const py::object& self) {
                 return py::module_::import("cogniware_core._async").attr("result")(self).attr("__await__")();
             })
        .def("__enter__", [](const py::object& self) { return self; })
        .def("__exit__", [](const PyGeneration& self, const py::args&) { self.cancel(); })
        .def("wait", &PyGeneration::wait, py::arg("timeout") = py::none(),
             "Waits for the end, at most `timeout` seconds (None: without end); False when it has not come by then. "
             "Raises the\n"
             "error with which it ended. Being cancelled is no error.")
        .def(
            "result",
            [](PyGeneration& self, const py::object& timeout) {
                if (!self.wait(timeout)) {
                    throw cogniware::Error(CW_ERROR_TIMEOUT, "the generation has not ended in time");
                }
                return text_of(self);
            },
            py::arg("timeout") = py::none(), "Waits like wait() and returns the whole text. Raises TimeoutError.")
        .def("cancel", &PyGeneration::cancel, NoGil(), "Asks for the end. Does nothing when it has ended.")
        .def_property_readonly("done", &PyGeneration::done, "It has ended, however.")
        .def_property_readonly("text", &text_of, "The whole text. Raises BusyError before the end, as do those below.")
        .def_property_readonly(
            "tokens", [](const PyGeneration& self) { return list_of<std::uint32_t>(self, cw_generation_tokens); },
            "The ids of the tokens.")
        .def_property_readonly(
            "logprobs", [](const PyGeneration& self) { return list_of<float>(self, cw_generation_logprobs); },
            "Their log-probabilities, when `logprobs` was asked for.")
        .def_property_readonly("stats", &stats_of,
                               "Counts, the finish reason (stop, stop_string, length, cancelled, error), the seed, and "
                               "timings in milliseconds.")
        .def("_wakeup", [](const PyGeneration& self) { return self.pieces().wakeup(); })
        .def("_clear_wakeup", [](const PyGeneration& self) { self.pieces().clear_wakeup(); })
        .def("_drain",
             [](const PyGeneration& self) {
                 bool ended = false;
                 py::list tokens;
                 for (const auto& piece : self.pieces().drain(&ended)) {
                     tokens.append(to_token(piece));
                 }
                 return py::make_tuple(tokens, ended);
             })
        .def("_check", &PyGeneration::check, NoGil());
}

}  // namespace cogniware_python
