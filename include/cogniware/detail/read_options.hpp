// SPDX-License-Identifier: MIT OR Apache-2.0
// Ways of generating from text: the keys of an LLM's configuration.
#ifndef COGNIWARE_DETAIL_READ_OPTIONS_HPP
#define COGNIWARE_DETAIL_READ_OPTIONS_HPP

#include <cogniware/generation.hpp>

#include <cstdint>
#include <limits>
#include <locale>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>

namespace cogniware {
namespace detail {

template <class Number>
void read_option(const std::string& key, const std::string& text, std::optional<Number>& into) {
    std::istringstream stream(text);
    stream.imbue(std::locale::classic());
    Number value{};
    // Streams read "-1" into an unsigned number by wrapping it around.
    const bool negative = !std::numeric_limits<Number>::is_signed && text.find('-') != std::string::npos;
    if (negative || !(stream >> value) || !(stream >> std::ws).eof()) {
        const std::string wanted =
            std::is_integral<Number>::value
                ? "is no whole number from 0 to " + std::to_string(std::numeric_limits<Number>::max())
                : std::string("is no number");
        throw Error(CW_ERROR_INVALID_ARGUMENT, "argument `" + key + "`: \"" + text + "\" " + wanted);
    }
    into = value;
}

inline bool read_flag(const std::string& key, const std::string& text) {
    if (text == "true" || text == "1") {
        return true;
    }
    if (text == "false" || text == "0") {
        return false;
    }
    throw Error(CW_ERROR_INVALID_ARGUMENT, "argument `" + key + "`: \"" + text + "\" is not true or false");
}

// Takes what `values` says over into `options`. With `strict`, keys that say nothing about generating are refused.
inline void read_options(const std::map<std::string, std::string>& values, GenerateOptions& options, bool strict) {
    for (const auto& entry : values) {
        const std::string& key = entry.first;
        const std::string& text = entry.second;
        if (key == "max_tokens")
            read_option(key, text, options.max_tokens);
        else if (key == "temperature")
            read_option(key, text, options.temperature);
        else if (key == "top_k")
            read_option(key, text, options.top_k);
        else if (key == "top_p")
            read_option(key, text, options.top_p);
        else if (key == "min_p")
            read_option(key, text, options.min_p);
        else if (key == "repeat_penalty")
            read_option(key, text, options.repeat_penalty);
        else if (key == "presence_penalty")
            read_option(key, text, options.presence_penalty);
        else if (key == "frequency_penalty")
            read_option(key, text, options.frequency_penalty);
        else if (key == "seed")
            read_option(key, text, options.seed);
        else if (key == "chat")
            options.chat = read_flag(key, text);
        else if (key == "logprobs" && (text == "true" || text == "false"))
            options.logprobs = text == "true";
        else if (key == "logprobs") {
            std::optional<std::uint32_t> count;
            read_option(key, text, count);
            options.logprobs = *count > 0;
        } else if (key == "ignore_eos")
            options.ignore_eos = read_flag(key, text);
        else if (key == "system")
            options.system = text;
        else if (key == "stop") {
            // One a line.
            options.stop.clear();
            std::istringstream lines(text);
            for (std::string line; std::getline(lines, line);) {
                if (!line.empty()) options.stop.push_back(line);
            }
        } else if (strict) {
            throw Error(
                CW_ERROR_INVALID_ARGUMENT,
                "argument `" + key +
                    "`: is no known key of generating text (known are: chat, frequency_penalty, "
                    "ignore_eos, logprobs, max_tokens, min_p, presence_penalty, repeat_penalty, seed, stop, system, "
                    "temperature, top_k, top_p)");
        }
    }
}

}  // namespace detail
}  // namespace cogniware

#endif
