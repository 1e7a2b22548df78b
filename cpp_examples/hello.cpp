// Four language models at once on one device, each inside its own memory quota and on its own compute node.
#include <cogniware/cogniware.hpp>

#include <iostream>
#include <string>
#include <vector>

struct Llm {
    cogniware::Tenant tenant;
    cogniware::Model model;
    cogniware::Generation generation;
};

int main(int argc, char** argv) try {
    const std::string file = argc > 1 ? argv[1] : "";  // empty: the small model that ships with Cogniware
    const std::vector<std::string> questions = {"Tell me a story about a fox.", "Write a short poem about the sea.",
                                                "What is a river?", "Explain how several models can share one device."};
    std::vector<Llm> llms;
    for (const auto& question : questions) {
        cogniware::TenantOptions own;
        own.memory_limit = 256 << 20;  // bytes; beyond it an allocation fails
        own.processors = 1;            // cores; on a GPU SMs, at least one group of them
        cogniware::Tenant tenant("llm" + std::to_string(llms.size() + 1), own);
        cogniware::Model model(tenant, file);
        cogniware::GenerateOptions how;
        how.chat = true;
        how.max_tokens = 100;
        auto generation = model.start(question, how);  // returns at once: all four run together
        llms.push_back({std::move(tenant), std::move(model), std::move(generation)});
    }
    for (std::size_t i = 0; i < llms.size(); ++i) {
        llms[i].generation.wait();
        std::cout << questions[i] << "\n  " << llms[i].generation.text() << "\n  ("
                  << llms[i].generation.stats().tokens_per_second << " tokens/s, "
                  << llms[i].tenant.usage().memory_held / 1024 << " KiB)\n\n";
    }
} catch (const cogniware::Error& error) {
    std::cerr << "hello: " << error.what() << "\n";
    return 1;
}
