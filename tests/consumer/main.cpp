// Tenants and models through the C++ face, as a user's program sees them.
#include "check.hpp"

#include <cogniware/cogniware.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

cogniware::TenantOptions small() {
    cogniware::TenantOptions options;
    options.device = "cpu";
    options.memory_limit = 64 << 20;
    options.processors = 1;
    return options;
}

void memory() {
    cogniware::Tenant tenant("memory", small());
    cogniware::Buffer buffer = tenant.allocate(1000, "numbers");
    CHECK(buffer.data() != nullptr && reinterpret_cast<std::uintptr_t>(buffer.data()) % 256 == 0);
    const std::string out = "Cogniware";
    std::string in(out.size(), ' ');
    tenant.copy(buffer.data(), out.data(), out.size());
    auto stream = tenant.stream();
    tenant.copy(&in[0], buffer.data(), in.size(), stream);
    stream.synchronize();
    CHECK(in == out);
    CHECK(tenant.allocations().find("\"numbers\"") != std::string::npos);

    cogniware::Buffer moved = std::move(buffer);
    CHECK(!buffer && moved);
    moved = cogniware::Buffer();
    CHECK(tenant.usage().allocations == 0);

    try {
        tenant.allocate(std::uint64_t{1} << 40);
        CHECK(false);
    } catch (const cogniware::Error& error) {
        CHECK(error.status() == CW_ERROR_QUOTA_EXCEEDED);
        CHECK(std::string(error.name()) == "quota_exceeded" && std::string(error.what()).size() > 10);
    }
    cogniware::Buffer left = tenant.allocate(4096);
    CHECK(tenant.close() >= 4096);
    // `left` outlives its tenant: its end does nothing.
}

void tasks() {
    cogniware::Tenant tenant("tasks", small());
    auto good = tenant.schedule([](cogniware::TaskContext& context) { context.set_result("42"); });
    good.wait();
    CHECK(good.info().state == CW_TASK_COMPLETED && good.result() == "42");
    CHECK(cogniware::Task::find(good.id()).result() == "42");

    auto bad = tenant.schedule([] { throw std::runtime_error("out of tea"); });
    bad.wait();
    CHECK(bad.info().state == CW_TASK_FAILED && bad.result().find("out of tea") != std::string::npos);
    auto odd = tenant.schedule([] { throw 7; });
    odd.wait();
    CHECK(odd.info().state == CW_TASK_FAILED && !odd.result().empty());
    try {
        good.cancel();
        CHECK(false);
    } catch (const cogniware::Error&) {
        CHECK(!cogniware::last_error().empty());
    }
}

void models() {
    cogniware::Tenant tenant("models", small());
    const cogniware::Model model(tenant);
    CHECK(!model.info().empty());
    const auto ids = model.tokenize("The sea is wide");
    CHECK(!ids.empty() && model.detokenize(ids) == "The sea is wide");

    cogniware::GenerateOptions how;
    how.max_tokens = 12;
    how.temperature = 0.0F;
    how.logprobs = true;
    const auto plain = model.generate("The sea", how);
    CHECK(plain.stats().generated_tokens > 0 && plain.stats().generated_tokens <= 12);
    CHECK(plain.tokens().size() == plain.stats().generated_tokens && plain.logprobs().size() == plain.tokens().size());

    std::string streamed;
    const auto second = model.generate(
        "The sea",
        [&](std::string_view piece) {
            streamed += piece;
            return true;
        },
        how);
    CHECK(streamed == second.text() && second.text() == plain.text());

    // What lies behind a NUL would be lost.
    const auto refused = [](const std::function<void()>& call, const std::string& argument) {
        try {
            call();
            return false;
        } catch (const cogniware::Error& error) {
            return error.status() == CW_ERROR_INVALID_ARGUMENT &&
                   std::string(error.what()).find("`" + argument + "`") != std::string::npos;
        }
    };
    const std::string nul("a\0b", 3);
    CHECK(refused([&] { model.tokenize(nul); }, "text"));
    CHECK(refused([&] { model.embed({"a", nul}); }, "texts"));
    CHECK(refused([&] { model.generate(nul); }, "prompt"));
    CHECK(refused([&] { tenant.schedule(std::function<void()>()); }, "work"));

    int pieces = 0;
    how.max_tokens = 400;
    const auto cut = model.generate("The sea", [&](std::string_view) { return ++pieces < 3; }, how);
    CHECK(cut.stats().finish == CW_FINISH_CANCELLED && pieces == 3);
    try {
        model.generate("The sea", [](std::string_view) -> bool { throw std::runtime_error("enough"); }, how);
        CHECK(false);
    } catch (const std::runtime_error& error) {
        CHECK(std::string(error.what()) == "enough");
    }
    // A generation that is dropped calls nobody any more.
    {
        std::atomic<bool> alive{true};
        std::atomic<int> seen{0};
        {
            const auto dropped = model.start("The sea", how, [&](std::string_view) {
                CHECK(alive.load());
                ++seen;
                return true;
            });
            while (seen.load() == 0 && !dropped.wait_for(std::chrono::milliseconds(1))) {
            }
        }
        alive = false;
        const int after = seen.load();
        model.generate("The sea", how);
        CHECK(seen.load() == after);
    }
    try {
        cogniware::Model(tenant, "/no/such/model.gguf");
        CHECK(false);
    } catch (const cogniware::Error& error) {
        CHECK(error.status() == CW_ERROR_NOT_FOUND);
        CHECK(std::string(error.what()).find("/no/such/model.gguf") != std::string::npos);
    }
}

}  // namespace

int main() {
    CHECK(!cogniware::devices().empty());
    CHECK(cogniware::version() == std::to_string(CW_VERSION_MAJOR) + "." + std::to_string(CW_VERSION_MINOR) + "." +
                                      std::to_string(CW_VERSION_PATCH));
    memory();
    tasks();
    models();
    kernel_and_bridge();
    compute_nodes();
    std::puts("consumer: passed");
    return 0;
}
