// SPDX-License-Identifier: MIT OR Apache-2.0
// Starts a generation of a C model handle.
#ifndef COGNIWARE_DETAIL_GENERATE_HPP
#define COGNIWARE_DETAIL_GENERATE_HPP

#include <cogniware/generation.hpp>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {
namespace detail {

template <class Field, class Value>
void set_if(Field& field, const std::optional<Value>& value) {
    if (value) {
        field = *value;
    }
}

// The C form of a prompt and of how to generate. It borrows from both, which must live as long.
struct GenerateParams {
    GenerateParams(const std::string& prompt, const GenerateOptions& options) {
        check(cw_generate_params_default(&params));
        for (const auto& text : options.stop) {
            stop.push_back(c_text("stop", text));
        }
        params.prompt = c_text("prompt", prompt);
        params.chat = options.chat ? 1 : 0;
        params.system = options.system.empty() ? nullptr : c_text("system", options.system);
        set_if(params.max_tokens, options.max_tokens);
        set_if(params.temperature, options.temperature);
        set_if(params.top_k, options.top_k);
        set_if(params.top_p, options.top_p);
        set_if(params.min_p, options.min_p);
        set_if(params.repeat_penalty, options.repeat_penalty);
        set_if(params.presence_penalty, options.presence_penalty);
        set_if(params.frequency_penalty, options.frequency_penalty);
        set_if(params.seed, options.seed);
        params.has_seed = options.seed ? 1 : 0;
        params.stop = stop.data();
        params.stop_count = stop.size();
        params.ignore_eos = options.ignore_eos ? 1 : 0;
        params.logprobs = options.logprobs ? 1 : 0;
    }
    GenerateParams(const GenerateParams&) = delete;
    GenerateParams& operator=(const GenerateParams&) = delete;

    cw_generate_params params{};
    std::vector<const char*> stop;
};

inline Generation start(cw_model* model, const std::string& prompt, const GenerateOptions& options, OnPiece on_piece) {
    const GenerateParams how(prompt, options);
    cw_generation* raw = nullptr;
    if (!on_piece) {
        check(cw_model_generate(model, &how.params, nullptr, nullptr, nullptr, &raw));
        return Generation(raw);
    }
    auto sink = std::make_shared<PieceSink>();
    sink->on_piece = std::move(on_piece);
    auto user_data = std::make_unique<std::shared_ptr<PieceSink>>(sink);
    // From here on the callee drops it, also when it fails.
    check(cw_model_generate(model, &how.params, PieceSink::run, user_data.release(), PieceSink::drop, &raw));
    return Generation(raw, std::move(sink));
}

}  // namespace detail
}  // namespace cogniware

#endif
