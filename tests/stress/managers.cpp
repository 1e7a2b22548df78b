// Both managers initialised, used and shut down by many threads at once: nothing crashes, nothing hangs, and every call
// that fails says why.
#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<int> failures{0};

// A call that failed must have left its reason on this thread.
void told(bool good, const char* what) {
    if (!good && cogniware::last_error().empty()) {
        std::fprintf(stderr, "stress: %s failed and does not say why\n", what);
        ++failures;
    }
}

void use(int number, int rounds) {
    auto& system = KernelDriverManager::getInstance();
    auto& manager = PythonCppBridgeManager::getInstance();
    const std::string llm = "stress" + std::to_string(number % 3);
    for (int round = 0; round < rounds; ++round) {
        told(system.initializeSystem(), "initializeSystem");
        told(manager.initializeBridge(), "initializeBridge");
        const auto kernel = system.getKernel();
        const auto bridge = manager.getBridge();
        told(system.setKernelConfiguration({{"default_memory_limit", "64"}, {"task_threads", "8"}}), "configuration");
        told(manager.setBridgeConfiguration({{"max_llms", "10"}, {"default_context", "256"}}), "configuration");
        void* memory = kernel->allocateMemory(1000, llm);
        told(memory != nullptr, "allocateMemory");
        if (memory != nullptr) {
            told(kernel->deallocateMemory(memory), "deallocateMemory");
        }
        if (round % 5 == number % 5) {
            told(manager.registerLLM(llm, {{"device", "cpu"}, {"max_cores", "1"}, {"max_sequences", "2"}}),
                 "registerLLM");
        }
        ComputeTask task;
        task.llmId = llm;
        std::atomic<int> ran{0};
        task.taskFunction = [&ran] { ++ran; };
        const std::string id = kernel->scheduleTask(task);
        told(!id.empty(), "scheduleTask");
        if (!id.empty()) {
            static_cast<void>(kernel->setTaskWeightage(id, 0.5F));
            // Its function refers to this frame: it must have ended, however.
            if (!kernel->waitForTask(id, std::chrono::seconds(60))) {
                std::fprintf(stderr, "stress: task %s did not end: %s\n", id.c_str(), cogniware::last_error().c_str());
                std::abort();
            }
        }
        const std::string text = bridge->scheduleTask(llm, "tokenize", {{"text", "the sea"}});
        told(!text.empty(), "tokenize");
        told(kernel->optimizeForLLM(llm, {{"compute_priority", "high"}, {"memory_priority", "normal"}}),
             "optimizeForLLM");
        const auto array = manager.allocateMemoryArray(100, llm);
        told(!array.empty(), "allocateMemoryArray");
        static_cast<void>(system.getSystemPerformanceMetrics());
        static_cast<void>(bridge->getResourceUsage(llm));
        static_cast<void>(bridge->getActiveTasks(llm));
        if (round % 7 == number % 7) {
            manager.shutdownBridge();
        }
        if (round % 11 == number % 11) {
            system.shutdownSystem();
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 40;
    std::vector<std::thread> threads;
    for (int number = 0; number < 8; ++number) {
        threads.emplace_back(use, number, rounds);
    }
    for (auto& thread : threads) {
        thread.join();
    }
    PythonCppBridgeManager::getInstance().shutdownBridge();
    KernelDriverManager::getInstance().shutdownSystem();
    const bool clean = KernelDriverManager::getInstance().getKernel()->getActiveLLMs().empty();
    if (failures != 0 || !clean) {
        return 1;
    }
    std::puts("stress: passed");
    return 0;
}
