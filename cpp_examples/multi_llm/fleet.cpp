#include "fleet.hpp"

#include <algorithm>
#include <filesystem>
#include <thread>
#include <utility>

namespace multi_llm {
namespace {

constexpr std::uint64_t mib = 1024 * 1024;

const char* const prompts[] = {
    "Tell me a story about a fox.",
    "Write a short poem about the sea.",
    "What is a river?",
    "Explain how several models can share one device.",
    "Tell me a story about a robot.",
    "Write a short poem about the moon.",
    "What is rain?",
    "Tell me a story about an owl.",
};
const double weights[] = {4.0, 2.0, 1.0, 1.0};

// Bytes of the model's files: what its weights take, near enough to choose a quota by.
std::uint64_t bytes_of(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    if (path.empty()) {
        return 8 * mib;
    }
    if (!fs::is_directory(path, ignored)) {
        const auto size = fs::file_size(path, ignored);
        return ignored ? 8 * mib : size;
    }
    std::uint64_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(path, ignored)) {
        bytes += entry.is_regular_file(ignored) ? entry.file_size(ignored) : 0;
    }
    return bytes;
}

cogniware::TenantOptions options(double weight, const Arguments& arguments, const cogniware::DeviceInfo& device) {
    cogniware::TenantOptions own;
    own.device = cogniware::choice(device);
    own.weight = weight;
    // Weights in the width that they are computed in, with room for keys, values and scratch; at most an even share of
    // the device's memory.
    const std::uint64_t wanted = 2 * bytes_of(arguments.model) + 128 * mib;
    own.memory_limit = std::min<std::uint64_t>(wanted, device.total_memory / arguments.llms);
    own.processors = std::max<std::uint32_t>(1, device.multiprocessors / arguments.llms);
    return own;
}

cogniware::DeviceInfo chosen(const std::string& name) {
    const auto devices = cogniware::devices();
    if (name.empty() || name == "auto") {
        // The first is the default one.
        return devices.at(0);
    }
    const std::string wanted = name == "cuda" ? "cuda:0" : name;
    for (const auto& device : devices) {
        if (cogniware::choice(device) == wanted) {
            return device;
        }
    }
    std::string known;
    for (const auto& device : devices) {
        known += (known.empty() ? "" : ", ") + cogniware::choice(device);
    }
    throw BadArgument("--device: there is no " + wanted + " here; there is " + known);
}

}  // namespace

Member::Member(std::string member_id, std::string member_prompt, double member_weight, const Arguments& arguments,
               const cogniware::DeviceInfo& device)
    : id(std::move(member_id)),
      prompt(std::move(member_prompt)),
      weight(member_weight),
      tenant(id, options(weight, arguments, device)),
      model(tenant, arguments.model) {}

Fleet::Fleet(const Arguments& arguments) : device_(chosen(arguments.device)) {
    for (std::uint32_t at = 0; at < arguments.llms; ++at) {
        members_.emplace_back("llm" + std::to_string(at + 1), prompts[at % std::size(prompts)],
                              weights[at % std::size(weights)], arguments, device_);
    }
}

void Fleet::start(std::uint32_t tokens) {
    started_ = std::chrono::steady_clock::now();
    for (auto& member : members_) {
        cogniware::GenerateOptions how;
        how.max_tokens = tokens;
        // A model that was made to continue text has no template for messages.
        how.chat = member.model.info()["chat_template"] == "true";
        how.seed = 1;
        how.temperature = 0.7F;
        member.generation = member.model.start(member.prompt, how, [&member](std::string_view) {
            member.pieces.fetch_add(1, std::memory_order_relaxed);
            return true;
        });
    }
}

bool Fleet::wait(std::chrono::milliseconds at_most) {
    const auto until = std::chrono::steady_clock::now() + at_most;
    for (auto& member : members_) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        member.ended = member.ended || member.generation.wait_for(std::max(left, std::chrono::milliseconds(0)));
    }
    const bool all = std::all_of(members_.begin(), members_.end(), [](const Member& m) { return m.ended; });
    if (all && !done_) {
        done_ = true;
        ended_ = std::chrono::steady_clock::now();
    }
    return all;
}

std::string Fleet::device_name() const { return cogniware::choice(device_) + " " + cogniware::name(device_); }

double Fleet::seconds() const {
    const auto end = done_ ? ended_ : std::chrono::steady_clock::now();
    return std::chrono::duration<double>(end - started_).count();
}

std::deque<Figures> Fleet::figures() const {
    std::deque<Figures> list;
    const auto nodes = cogniware::nodes(cogniware::choice(device_));
    double device_time = 0;
    std::deque<double> used;
    for (const auto& member : members_) {
        const cw_usage usage = member.tenant.usage();
        Figures figures;
        if (member.ended) {
            const auto stats = member.generation.stats();
            figures.tokens = stats.generated_tokens;
            figures.tokens_per_second = stats.tokens_per_second;
            figures.ttft_ms = stats.ttft_ms;
        } else {
            figures.tokens = member.pieces.load(std::memory_order_relaxed);
            figures.tokens_per_second = figures.tokens / std::max(seconds(), 1e-3);
        }
        figures.memory_bytes = usage.memory_held;
        figures.memory_limit_bytes = usage.memory_limit;
        for (const auto& node : nodes) {
            if (cogniware::owner(node) == member.id) {
                figures.node = node.id;
                figures.processors = node.processors;
            }
        }
        used.push_back(static_cast<double>(usage.device_time_ns));
        device_time += used.back();
        list.push_back(std::move(figures));
    }
    for (std::size_t at = 0; at < list.size(); ++at) {
        list[at].device_time_share = device_time > 0 ? used[at] / device_time : 0;
    }
    return list;
}

}  // namespace multi_llm
