// The documented error scenarios as a C++ program meets them. The first argument says which driver it was given.
#include "../consumer/check.hpp"

#include <cogniware/core/customized_kernel.h>
#include <cogniware/core/python_cpp_bridge.h>
#include <cogniware/cogniware.hpp>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using cogniware::ErrorCategory;
using cogniware::last_error;
using cogniware::last_error_advice;
using cogniware::last_error_call;
using cogniware::last_error_category;
using cogniware::last_error_function;

namespace {

bool has(const std::string& text, const char* part) {
    if (text.find(part) != std::string::npos) {
        return true;
    }
    std::fprintf(stderr, "no \"%s\" in: %s\n", part, text.c_str());
    return false;
}

// 1: CUDA is not there, or shows no device.
void no_cuda(const char* call) {
    AdvancedCustomizedKernel kernel;
    CHECK(!kernel.initialize());
    CHECK(cw_last_status() == CW_ERROR_NO_DEVICE);
    CHECK(last_error_category() == ErrorCategory::initialization);
    CHECK(has(last_error_call(), call));
    CHECK(has(last_error_function(), "cw_kernel_initialize(kernel=0x"));
    CHECK(!last_error_advice().empty() && has(last_error(), last_error_advice().c_str()));

    // The CPU device takes its place when that is configured.
    cogniware::set_fallback_device("cpu");
    CHECK(kernel.initialize());
    CHECK(cogniware::error_statistics().at("recovery.fallback.successes") >= 1);
    CHECK(kernel.getCurrentDevice().deviceId == 0);
    cogniware::set_fallback_device("none");
}

// 3: too little memory, wrong parameters.
void memory(AdvancedCustomizedKernel& kernel) {
    CHECK(kernel.allocateMemory(0, "errors") == nullptr);
    CHECK(cw_last_status() == CW_ERROR_INVALID_ARGUMENT && last_error_category() == ErrorCategory::memory);
    CHECK(has(last_error(), "`size`") && has(last_error_function(), "bytes=0, llm=\"errors\""));
    CHECK(kernel.allocateMemory(std::size_t(1) << 50, "errors") == nullptr);
    CHECK(cw_last_status() == CW_ERROR_QUOTA_EXCEEDED && last_error_category() == ErrorCategory::memory);
    CHECK(!last_error_advice().empty());
    int own = 0;
    CHECK(!kernel.deallocateMemory(&own));
    CHECK(cw_last_status() == CW_ERROR_NOT_OWNER && last_error_category() == ErrorCategory::memory);
}

// 4: wrong task parameters, conflicts over resources.
void tasks(AdvancedCustomizedKernel& kernel) {
    CHECK(kernel.scheduleTask({}).empty());
    CHECK(cw_last_status() == CW_ERROR_INVALID_ARGUMENT && last_error_category() == ErrorCategory::task);
    ComputeTask task;
    task.llmId = "errors";
    task.taskId = "twice";
    std::atomic<bool> leave{false};
    task.taskFunction = [&] {
        while (!leave) {
            std::this_thread::yield();
        }
        throw std::runtime_error("planted");
    };
    CHECK(kernel.scheduleTask(task) == "twice");
    CHECK(kernel.scheduleTask(task).empty());
    CHECK(cw_last_status() == CW_ERROR_ALREADY_EXISTS && last_error_category() == ErrorCategory::task);
    leave = true;
    cw_task* raw = nullptr;
    CHECK(cw_task_find("twice", &raw) == CW_OK);
    CHECK(cw_task_wait(raw, 60000) == CW_OK);
    CHECK(cw_task_free(raw) == CW_OK);

    const auto nodes = kernel.getAvailableComputeNodes();
    CHECK(!nodes.empty());
    CHECK(kernel.allocateComputeNode(nodes[0].nodeId, "errors"));
    CHECK(!kernel.allocateComputeNode(nodes[0].nodeId, "errors-other"));
    CHECK(cw_last_status() == CW_ERROR_BUSY && !last_error().empty());
}

// 5: what goes wrong between languages.
void bridge() {
    AdvancedPythonCppBridge bridge;
    CHECK(bridge.getLLMConfig("nobody").empty());
    CHECK(cw_last_status() == CW_ERROR_NOT_INITIALIZED && last_error_category() == ErrorCategory::initialization);
    CHECK(bridge.initialize());
    CHECK(bridge.getLLMConfig("nobody").empty());
    CHECK(cw_last_status() == CW_ERROR_NOT_FOUND && last_error_category() == ErrorCategory::bridge);
    CHECK(!bridge.registerLLM("errors-new", {{"temprature", "1"}}));
    CHECK(has(last_error(), "temprature") && last_error_category() == ErrorCategory::bridge);
    const auto array = bridge.allocateMemoryArray(16, "errors");
    CHECK(!bridge.copyToGPU(array, nullptr));
    CHECK(last_error_category() == ErrorCategory::bridge && has(last_error(), "`gpuPtr`"));
    CHECK(bridge.deallocateMemoryArray(array, "errors"));
}

void history() {
    cogniware::clear_error_history();
    try {
        cogniware::Tenant::find("nobody at all");
        CHECK(false);
    } catch (const cogniware::Error& error) {
        CHECK(error.status() == CW_ERROR_NOT_FOUND && error.category() == ErrorCategory::tenant);
        CHECK(has(error.function(), "cw_tenant_find(id=\"nobody at all\", tenant=0x"));
        CHECK(std::strcmp(to_string(error.category()), "tenant") == 0);
    }
    const auto all = cogniware::error_history();
    CHECK(all.size() == 1);
    CHECK(all[0].status == "not_found" && all[0].category == "tenant" && has(all[0].message, "nobody at all"));
    CHECK(all[0].time.time_since_epoch().count() > 0 && all[0].sequence > 0);
    const auto counts = cogniware::error_statistics();
    CHECK(counts.at("total.count") == 1 && counts.at("category.tenant.count") == 1);
    CHECK(counts.at("status.not_found.first_us") > 0 && counts.at("history.capacity") == 256);
    // Asking for sizes is no error: the list above took many such questions.
    CHECK(counts.count("status.buffer_too_small.count") == 0);
    cogniware::set_error_history_capacity(2);
    for (int i = 0; i < 5; ++i) {
        CHECK(cw_error_history_set_capacity(static_cast<std::size_t>(-1)) == CW_ERROR_INVALID_ARGUMENT);
    }
    CHECK(cogniware::error_history().size() == 2);
    CHECK(cogniware::error_statistics().at("total.count") == 6);
    cogniware::set_error_history_capacity(256);
}

void logging() {
    auto seen = std::make_shared<std::atomic<int>>(0);
    cogniware::set_logger(cogniware::LogLevel::info,
                          [seen](cogniware::LogLevel level, const std::string& target, const std::string& message) {
                              if (target != "errors-test") {
                                  return;
                              }
                              // May call Cogniware, which tells nothing of it here.
                              cogniware::write_log(cogniware::LogLevel::error, "errors-test", "from inside");
                              CHECK(level == cogniware::LogLevel::warn && message == "hello");
                              ++*seen;
                              throw std::runtime_error("ends here");
                          });
    CHECK(seen.use_count() == 2);
    cogniware::write_log(cogniware::LogLevel::warn, "errors-test", "hello");
    cogniware::write_log(cogniware::LogLevel::debug, "errors-test", "not at this level");
    CHECK(*seen == 1);
    // Others replace it while threads are inside; each logger goes once.
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([seen, i] {
            for (int n = 0; n < 200; ++n) {
                if (i == 0) {
                    cogniware::set_logger(cogniware::LogLevel::info,
                                          [seen](cogniware::LogLevel, const std::string&, const std::string&) {});
                } else {
                    cogniware::write_log(cogniware::LogLevel::error, "errors-threads", "x");
                }
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    threads.clear();
    cogniware::set_logger(cogniware::LogLevel::off, nullptr);
    CHECK(seen.use_count() == 1);
    CHECK(cw_log_set(nullptr, nullptr, nullptr, 9) == CW_ERROR_INVALID_ARGUMENT && has(last_error(), "`level`"));
}

}  // namespace

int main(int argc, char** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "no_cuda") {
        no_cuda("dlopen(");
    } else if (mode == "no_device") {
        no_cuda("cuInit(flags=0)");
    } else {
        AdvancedCustomizedKernel kernel;
        CHECK(!kernel.selectDevice(0));
        CHECK(cw_last_status() == CW_ERROR_NOT_INITIALIZED && last_error_category() == ErrorCategory::initialization);
        CHECK(kernel.initialize() && kernel.recoverDevice(0) && !kernel.recoverDevice(99));
        memory(kernel);
        tasks(kernel);
        bridge();
        history();
        logging();
    }
    std::puts("well");
    return 0;
}
