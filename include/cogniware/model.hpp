// SPDX-License-Identifier: MIT OR Apache-2.0
// Models in tenants.
#ifndef COGNIWARE_MODEL_HPP
#define COGNIWARE_MODEL_HPP

#include <cogniware/detail/generate.hpp>
#include <cogniware/detail/map.hpp>
#include <cogniware/tenant.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {

// Weights and architecture, loaded into a tenant. Usable from any thread; several generations run together as one batch.
// The model goes when its last object and its last generation have.
class Model {
public:
    // Loads a GGUF file, a Hugging Face folder, or (with an empty text) the small model that ships with Cogniware.
    // `options`: "context" and "max_sequences" (numbers), "kv_type" ("f16" or "f32"), "exact_head" ("true": a
    // BitNet model's output matrix as the file has it, not in 8 bits); unknown ones are refused by name.
    explicit Model(Tenant& tenant, const std::string& path = {},
                   const std::map<std::string, std::string>& options = {}) {
        cw_model* raw = nullptr;
        detail::check(
            cw_model_load(tenant.get(), path.empty() ? nullptr : path.c_str(), detail::to_c(options).get(), &raw));
        model_.reset(raw);
    }

    explicit Model(cw_model* owned) noexcept : model_(owned) {}

    // Architecture, sizes and format, as text.
    std::map<std::string, std::string> info() const {
        cw_map* map = nullptr;
        detail::check(cw_model_info(model_.get(), &map));
        return detail::from_c(map);
    }

    // Starts generating and returns at once.
    Generation start(const std::string& prompt, const GenerateOptions& options = {}, OnPiece on_piece = {}) const {
        return detail::start(model_.get(), prompt, options, std::move(on_piece));
    }

    // Generates and waits for the end.
    Generation generate(const std::string& prompt, const GenerateOptions& options = {}) const {
        Generation generation = start(prompt, options);
        generation.wait();
        return generation;
    }

    // Generates, giving out each piece as it is made, and waits for the end. What `on_piece` throws ends the generation
    // and is thrown from here.
    Generation generate(const std::string& prompt, OnPiece on_piece, const GenerateOptions& options = {}) const {
        Generation generation = start(prompt, options, std::move(on_piece));
        generation.wait();
        return generation;
    }

    // The ids of a text's tokens; with `add_special` also those that begin or end every text of this model.
    std::vector<std::uint32_t> tokenize(const std::string& text, bool add_special = false) const {
        const char* raw = detail::c_text("text", text);
        cw_status status = CW_OK;
        auto ids = detail::read_list<std::uint32_t>(
            [&](std::uint32_t* elements, std::size_t capacity, std::size_t* count) {
                return cw_model_tokenize(model_.get(), raw, add_special ? 1 : 0, elements, capacity, count);
            },
            &status);
        detail::check(status);
        return ids;
    }

    // The text of tokens.
    std::string detokenize(const std::vector<std::uint32_t>& ids) const {
        return detail::read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
            return cw_model_detokenize(model_.get(), ids.data(), ids.size(), buffer, length, needed);
        });
    }

    // One vector a text. `pooling`: "mean", "cls", "last" or empty for the model's own.
    std::vector<std::vector<float>> embed(const std::vector<std::string>& texts, const std::string& pooling = {},
                                          bool normalize = true) const {
        if (texts.empty()) {
            return {};
        }
        std::vector<const char*> raw;
        for (const auto& text : texts) {
            raw.push_back(detail::c_text("texts", text));
        }
        const char* how = pooling.empty() ? nullptr : pooling.c_str();
        std::size_t dimension = 0;
        cw_status status =
            cw_model_embed(model_.get(), raw.data(), raw.size(), how, normalize ? 1 : 0, nullptr, 0, &dimension);
        if (status != CW_OK && status != CW_ERROR_BUFFER_TOO_SMALL) {
            detail::check(status);
        }
        std::vector<float> flat(dimension * texts.size());
        detail::check(cw_model_embed(model_.get(), raw.data(), raw.size(), how, normalize ? 1 : 0, flat.data(),
                                     flat.size(), &dimension));
        std::vector<std::vector<float>> vectors;
        for (std::size_t at = 0; at < texts.size(); ++at) {
            const auto first = flat.begin() + static_cast<std::ptrdiff_t>(at * dimension);
            vectors.emplace_back(first, first + static_cast<std::ptrdiff_t>(dimension));
        }
        return vectors;
    }

    cw_model* get() const noexcept { return model_.get(); }

private:
    detail::Handle<cw_model, cw_model_free> model_;
};

}  // namespace cogniware

#endif
