// What many threads share while others change it: streams, partitions and nodes of one kernel, tasks with weights, the
// profiler recording while it is read, reset and exported, a logger replaced while others log, the history of errors
// while errors are made. For ThreadSanitizer; by itself it fails where a value is wrong or a call says no reason.
#include <cogniware/core/customized_kernel.h>
#include <cogniware/core/python_cpp_bridge.h>
#include <cogniware/cogniware.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

std::atomic<int> failures{0};

bool good(bool condition, const char* what) {
    if (!condition) {
        std::fprintf(stderr, "threads: not true: %s (%s)\n", what, cogniware::last_error().c_str());
        ++failures;
    }
    return condition;
}
#define GOOD(condition) good(condition, #condition)

// A call that failed must have left its reason on this thread.
void told(bool done, const char* what) { good(done || !cogniware::last_error().empty(), what); }

AdvancedCustomizedKernel& kernel() {
    static const auto shared = KernelDriverManager::getInstance().getKernel();
    return *shared;
}

// Copies in order on a stream of the tenant that two threads share.
void streams(int number) {
    const std::string llm = "threads" + std::to_string(number / 2);
    const std::size_t size = 4096;
    void* memory = kernel().allocateMemory(size, llm);
    const cudaStream_t stream = kernel().createStream(llm);
    if (!GOOD(memory != nullptr) || !GOOD(stream != nullptr)) {
        return;
    }
    std::vector<unsigned char> there(size, static_cast<unsigned char>(number + 1));
    std::vector<unsigned char> back(size);
    GOOD(kernel().copyMemoryAsync(memory, there.data(), size, stream));
    GOOD(kernel().copyMemoryAsync(back.data(), memory, size, stream));
    static_cast<void>(kernel().getStreamsForLLM(llm));
    GOOD(kernel().synchronizeStream(stream));
    GOOD(back == there);
    GOOD(kernel().destroyStream(stream));
    GOOD(kernel().deallocateMemory(memory));
}

// Tasks whose weights change, of which some are called off; what one wrote is seen by who waited for it.
void tasks(int number) {
    const std::string llm = "threads" + std::to_string(number % 2);
    int plain = 0;
    auto kept = std::make_shared<int>(7);
    ComputeTask task;
    task.llmId = llm;
    task.requiredMemory = 1000;
    task.taskFunction = [&plain] { ++plain; };
    const std::string id = kernel().scheduleTask(task);
    task.taskFunction = [kept] { *kept += 1; };
    const std::string other = kernel().scheduleTask(task);
    kept.reset();
    if (!GOOD(!id.empty()) || !GOOD(!other.empty())) {
        return;
    }
    static_cast<void>(kernel().setTaskWeightage(id, 0.5F));
    static_cast<void>(kernel().cancelTask(other));
    static_cast<void>(kernel().getActiveTasks());
    if (!kernel().waitForTask(id, std::chrono::seconds(60))) {
        std::fprintf(stderr, "threads: a task did not end: %s\n", cogniware::last_error().c_str());
        std::abort();
    }
    GOOD(plain == 1);
    GOOD(kernel().getTaskStatus(id).isCompleted);
}

// Nodes and partitions are taken and given back, and listed meanwhile.
void nodes(int number) {
    const std::string llm = "threads" + std::to_string(number % 2);
    for (const ComputeNode& node : kernel().getAvailableComputeNodes()) {
        if (kernel().allocateComputeNode(node.nodeId, llm)) {
            GOOD(kernel().deallocateComputeNode(node.nodeId));
        }
    }
    const int partition = kernel().createPartition(4096, MemoryPartitionType::GLOBAL_MEMORY, llm);
    if (GOOD(partition >= 0)) {
        std::vector<char> bytes(4096, 'x');
        GOOD(kernel().writeMemoryPartition(partition, bytes.data(), bytes.size()));
        static_cast<void>(kernel().getMemoryPartitions());
        GOOD(kernel().destroyMemoryPartition(partition));
    }
    told(kernel().optimizeForLLM(llm, {{"compute_priority", number % 2 == 0 ? "high" : "low"}}), "optimizeForLLM");
}

// A model of the bridge generates, so that steps and kernels are recorded.
void model(int) {
    const auto bridge = PythonCppBridgeManager::getInstance().getBridge();
    const std::string id =
        bridge->scheduleTask("threads-model", "inference", {{"prompt", "The sea"}, {"max_tokens", "2"}});
    if (GOOD(!id.empty()) && !kernel().waitForTask(id, std::chrono::seconds(120))) {
        std::fprintf(stderr, "threads: generate did not end: %s\n", cogniware::last_error().c_str());
        std::abort();
    }
}

// The profiler is read in every way, and begun anew, while others record.
void profiler(int number) {
    const std::string path = "threads-" + std::to_string(number) + ".trace.json";
    {
        const cogniware::profiler::Range range("stress", "");
        static_cast<void>(cogniware::profiler::export_trace(path));
        static_cast<void>(cogniware::profiler::prometheus());
        static_cast<void>(cogniware::profiler::summary());
        static_cast<void>(cogniware::profiler::data());
        static_cast<void>(kernel().getPerformanceMetrics());
    }
    static int turn = 0;  // The only thread that comes here is the only one that counts.
    if (++turn % 8 == 0) {
        cogniware::profiler::reset();
    } else if (turn % 8 == 4) {
        cogniware::profiler::disable();
    } else {
        cogniware::profiler::enable();
    }
    std::remove(path.c_str());
}

// The logger is replaced while others log; each one's state is freed only after its last call.
void logger(int) {
    auto counted = std::make_shared<std::atomic<int>>(0);
    cogniware::set_logger(cogniware::LogLevel::debug,
                          [counted](cogniware::LogLevel, const std::string&, const std::string&) { ++*counted; });
    cogniware::write_log(cogniware::LogLevel::warn, "threads", "hello");
}

// Errors are made, listed, counted and forgotten.
void errors(int number) {
    GOOD(!kernel().deallocateMemory(&failures));
    GOOD(!cogniware::last_error().empty());
    GOOD(kernel().allocateMemory(0, "threads0") == nullptr);
    static_cast<void>(cogniware::error_history());
    static_cast<void>(cogniware::error_statistics());
    cogniware::write_log(cogniware::LogLevel::error, "threads", "from another thread");
    if (number % 2 == 0) {
        cogniware::set_error_history_capacity(16);
        cogniware::clear_error_history();
    } else {
        cogniware::set_error_history_capacity(256);
    }
}

}  // namespace

int main(int argc, char** argv) {
    // So long, all of them: what one does in a round takes another a hundred.
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(argc > 1 ? std::atoi(argv[1]) : 10);
    auto& system = KernelDriverManager::getInstance();
    auto& manager = PythonCppBridgeManager::getInstance();
    if (!GOOD(system.initializeSystem()) || !GOOD(manager.initializeBridge()) ||
        !GOOD(manager.registerLLM("threads-model", {{"device", "cpu"}, {"max_sequences", "2"}}))) {
        return 1;
    }
    const std::vector<std::pair<const char*, std::function<void(int)>>> parts = {
        {"streams", streams}, {"streams", streams},   {"tasks", tasks},   {"tasks", tasks},   {"nodes", nodes},
        {"model", model},     {"profiler", profiler}, {"logger", logger}, {"errors", errors}, {"errors", errors},
    };
    std::vector<std::thread> threads;
    for (std::size_t number = 0; number < parts.size(); ++number) {
        threads.emplace_back([&, number] {
            while (std::chrono::steady_clock::now() < end && failures == 0) {
                try {
                    parts[number].second(static_cast<int>(number));
                } catch (const std::exception& why) {
                    std::fprintf(stderr, "threads: %s: %s\n", parts[number].first, why.what());
                    ++failures;
                    return;
                }
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    cogniware::set_logger(cogniware::LogLevel::off, nullptr);
    GOOD(manager.unregisterLLM("threads-model"));
    manager.shutdownBridge();
    system.shutdownSystem();
    if (failures != 0) {
        return 1;
    }
    std::puts("threads: passed");
    return 0;
}
