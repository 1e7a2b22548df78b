// SPDX-License-Identifier: MIT OR Apache-2.0
// Generated text: how to generate, and what is being generated.
#ifndef COGNIWARE_GENERATION_HPP
#define COGNIWARE_GENERATION_HPP

#include <cogniware/detail/check.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cogniware {

// Called with each piece of text as it is made, on a thread of Cogniware; false ends the generation as cancelled.
using OnPiece = std::function<bool(std::string_view piece)>;

// How to generate. What is not set has the library's default.
struct GenerateOptions {
    std::optional<std::uint32_t> max_tokens;
    std::optional<float> temperature;  // 0: always the likeliest token
    std::optional<std::uint32_t> top_k;
    std::optional<float> top_p;
    std::optional<float> min_p;
    std::optional<float> repeat_penalty;
    std::optional<float> presence_penalty;
    std::optional<float> frequency_penalty;
    std::optional<std::uint64_t> seed;  // the same seed gives the same text on the CPU device
    std::vector<std::string> stop;      // ends before any of these; they are not part of the text
    bool chat = false;                  // the prompt is a user's message, put through the model's chat template
    std::string system;                 // the system message of a chat
    bool ignore_eos = false;            // goes on to max_tokens
    bool logprobs = false;              // keep the log-probability of each token
};

namespace detail {

// The receiver of pieces, shared by the C callback and the C++ object.
struct PieceSink {
    OnPiece on_piece;
    std::exception_ptr thrown;  // written by the callback before the generation ends, read after
    bool closed = false;        // its Generation has gone: what the callback refers to may have gone with it
    // Recursive, for the callback itself may end the Generation.
    std::recursive_mutex mutex;

    // Afterwards the callback is not called any more. Waits for a call that is running on another thread.
    void close() noexcept {
        const std::lock_guard<std::recursive_mutex> lock(mutex);
        closed = true;
    }

    static std::int32_t run(void* user_data, const char* piece, std::uint32_t, float) noexcept {
        auto& sink = **static_cast<std::shared_ptr<PieceSink>*>(user_data);
        const std::lock_guard<std::recursive_mutex> lock(sink.mutex);
        if (sink.closed) {
            return 0;
        }
        try {
            return sink.on_piece(std::string_view(piece)) ? 1 : 0;
        } catch (...) {
            sink.thrown = std::current_exception();
            return 0;
        }
    }

    static void drop(void* user_data) noexcept { delete static_cast<std::shared_ptr<PieceSink>*>(user_data); }
};

}  // namespace detail

// Text that is being generated. Dropping the object before the end cancels the work, and its callback is not called any
// more. Usable from any thread.
class Generation {
public:
    explicit Generation(cw_generation* owned, std::shared_ptr<detail::PieceSink> sink = nullptr) noexcept
        : generation_(owned), sink_(std::move(sink)) {}
    Generation(Generation&&) noexcept = default;
    Generation& operator=(Generation&& other) noexcept {
        std::swap(generation_, other.generation_);
        std::swap(sink_, other.sink_);
        return *this;
    }
    ~Generation() {
        if (sink_) {
            sink_->close();
        }
    }

    // Waits for the end. Throws what the callback threw, or Error when the generation failed; being cancelled is no
    // failure: stats().finish tells.
    void wait() const {
        const cw_status status = cw_generation_wait(generation_.get(), -1);
        finish(status);
    }

    // Waits at most so long; false when it has not ended by then.
    bool wait_for(std::chrono::milliseconds timeout) const {
        const cw_status status = cw_generation_wait(generation_.get(), timeout.count() < 0 ? 0 : timeout.count());
        if (status == CW_ERROR_TIMEOUT) {
            return false;
        }
        finish(status);
        return true;
    }

    // Asks for the end, also while the prompt is still being read.
    void cancel() const { detail::check(cw_generation_cancel(generation_.get())); }

    // The whole text. Like the functions below it answers once the generation has ended.
    std::string text() const {
        return detail::read_text([this](char* buffer, std::size_t length, std::size_t* needed) {
            return cw_generation_text(generation_.get(), buffer, length, needed);
        });
    }

    // Counts, the finish reason and timings in milliseconds; and the seed that was used.
    cw_generation_stats stats() const {
        cw_generation_stats stats{};
        stats.struct_size = sizeof stats;
        detail::check(cw_generation_get_stats(generation_.get(), &stats));
        return stats;
    }

    // The ids of the tokens.
    std::vector<std::uint32_t> tokens() const { return list<std::uint32_t>(cw_generation_tokens); }

    // Their log-probabilities, when options.logprobs was set.
    std::vector<float> logprobs() const { return list<float>(cw_generation_logprobs); }

    cw_generation* get() const noexcept { return generation_.get(); }

private:
    void finish(cw_status status) const {
        if (sink_ && sink_->thrown) {
            std::rethrow_exception(sink_->thrown);
        }
        if (status != CW_ERROR_CANCELLED) {
            detail::check(status);
        }
    }

    template <class T, class Call>
    std::vector<T> list(Call call) const {
        cw_status status = CW_OK;
        auto values =
            detail::read_list<T>([&](T* elements, std::size_t capacity,
                                     std::size_t* count) { return call(generation_.get(), elements, capacity, count); },
                                 &status);
        detail::check(status);
        return values;
    }

    detail::Handle<cw_generation, cw_generation_free> generation_;
    std::shared_ptr<detail::PieceSink> sink_;
};

}  // namespace cogniware

#endif
