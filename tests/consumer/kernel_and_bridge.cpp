// The documented classes, by both spellings of their headers; also the second file that includes everything.
#include "check.hpp"

#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

#include <cogniware/core/customized_kernel.h>
#include <cogniware/cogniware.hpp>

#include <unistd.h>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

void kernel_of_its_own() {
    auto kernel = std::make_shared<AdvancedCustomizedKernel>();
    CHECK(kernel->getAvailableDevices().empty() && !cogniware::last_error().empty());
    CHECK(!kernel->allocateComputeNode(0, "k") && !cogniware::last_error().empty());
    CHECK(kernel->getCurrentDevice().deviceId == -1);
    CHECK(kernel->initialize() && kernel->isInitialized());
    CHECK(!kernel->getAvailableDevices().empty() && kernel->selectDevice(0) && !kernel->selectDevice(99));
    CHECK(cogniware::last_error().find("99") != std::string::npos);
    CHECK(kernel->getCurrentDevice().totalMemory > 0);

    CHECK(kernel->createMemoryPartition(1024 * 1024, MemoryPartitionType::GLOBAL_MEMORY, "k"));
    const auto partitions = kernel->getMemoryPartitions();
    CHECK(partitions.size() == 1 && partitions[0].ownerLLM == "k" && partitions[0].size >= 1024 * 1024);
    CHECK(kernel->getMemoryPartition(partitions[0].partitionId).devicePtr == partitions[0].devicePtr);
    CHECK(kernel->destroyMemoryPartition(partitions[0].partitionId) && !kernel->destroyMemoryPartition(12345));

    void* memory = kernel->allocateMemory(4096, "k");
    CHECK(memory != nullptr);
    int number = 5;
    int back = 0;
    cudaStream_t stream = kernel->createStream("k");
    CHECK(stream != nullptr && kernel->getStreamsForLLM("k").size() == 1);
    CHECK(kernel->copyMemory(memory, &number, sizeof number));
    CHECK(kernel->copyMemoryAsync(&back, memory, sizeof back, stream) && kernel->synchronizeStream(stream) &&
          back == 5);
    CHECK(kernel->destroyStream(stream) && !kernel->destroyStream(stream));
    CHECK(kernel->deallocateMemory(memory) && !kernel->deallocateMemory(memory));

    CHECK(kernel->resetProfiling() && kernel->enableProfiling());
    void* profiled = kernel->allocateMemory(4096, "k");
    CHECK(kernel->copyMemory(profiled, &number, sizeof number) && kernel->deallocateMemory(profiled));
    {
        const cogniware::profiler::Range range("consumer_range", "k");
        CHECK(cogniware::profiler::is_enabled() && cogniware::profiler::is_enabled("k"));
    }
    CHECK(kernel->disableProfiling() && !cogniware::profiler::is_enabled());
    const auto figures = kernel->getPerformanceMetrics();
    CHECK(figures.at("profile.copy.host_to_device.count") == 1.0);
    CHECK(figures.at("llm.k.profile.copy.host_to_device.bytes") == sizeof number);
    CHECK(cogniware::profiler::data("k").at("range.consumer_range.count") == "1");
    CHECK(kernel->profilingSummary().find("consumer_range") != std::string::npos);
    CHECK(kernel->exportPrometheus().find("cogniware_tenant_memory_limit_bytes{tenant=\"k\"}") != std::string::npos);
    CHECK(!kernel->exportTrace("/no/such/folder/trace.json") && !cogniware::last_error().empty());
    CHECK(!kernel->exportTrace(""));

    ComputeTask task;
    task.taskId = "consumer_task";
    task.llmId = "k";
    task.priority = TaskPriority::HIGH;
    task.requiredCores = 1;
    task.taskFunction = [&number] { number = 6; };
    CHECK(kernel->scheduleTask(task) == "consumer_task");
    cogniware::Task::find("consumer_task").wait();
    const ComputeTask known = kernel->getTaskStatus("consumer_task");
    CHECK(number == 6 && known.isCompleted && known.llmId == "k" && known.priority == TaskPriority::HIGH);
    CHECK(known.completedAt >= known.createdAt && !kernel->cancelTask("consumer_task"));
    task.taskId.clear();
    task.taskFunction = [] { throw std::runtime_error("no luck"); };
    const std::string failed = kernel->scheduleTask(task);
    cogniware::Task::find(failed).wait();
    CHECK(!kernel->getTaskStatus(failed).isCompleted);
    CHECK(kernel->getTaskStatus(failed).result.find("no luck") != std::string::npos);
    task.taskFunction = nullptr;
    CHECK(kernel->scheduleTask(task).empty() && !cogniware::last_error().empty());

    CHECK(!kernel->allocateComputeNode(-1, "k") && cogniware::last_error().find("-1") != std::string::npos);

    task.taskId = "weighed";
    std::atomic<bool> go{false};
    task.taskFunction = [&go] {
        while (!go) {
            std::this_thread::yield();
        }
    };
    CHECK(kernel->scheduleTask(task) == "weighed" && kernel->getActiveTasks().size() == 1);
    CHECK(kernel->setTaskWeightage("weighed", 0.8F) && !kernel->setTaskWeightage("weighed", 0.0F));
    CHECK(!kernel->waitForTask("weighed", std::chrono::milliseconds(1)));
    go = true;
    CHECK(kernel->waitForTask("weighed") && !kernel->setTaskWeightage("weighed", 1.0F));
    CHECK(kernel->optimizeForLLM(
        "k", {{"memory_priority", "high"}, {"compute_priority", "high"}, {"stream_priority", "normal"}}));
    CHECK(!kernel->optimizeForLLM("k", {{"memory_prio", "high"}}) &&
          cogniware::last_error().find("memory_prio") != std::string::npos);

    CHECK(kernel->createVirtualComputeNode("k", 1 << 20, 1) && kernel->destroyVirtualComputeNode("k"));
    CHECK(!kernel->getPerformanceMetrics().empty() && !kernel->getResourceUsage().empty());
    CHECK(kernel->getActiveLLMs() == std::vector<std::string>{"k"});
    kernel->shutdown();
    CHECK(!kernel->isInitialized());
}

// Modules and the installation, below a folder of its own.
void files_of(AdvancedCustomizedDriver& driver) {
    CHECK(!driver.loadKernelModule("/path/to/module.ko"));
    CHECK(cogniware::last_error().find("/path/to/module.ko") != std::string::npos);
    CHECK(!driver.unloadKernelModule() && !driver.unloadKernelModule("ext4"));
    CHECK(driver.getLoadedModules().empty() && driver.getModuleFunctions().empty());
    CHECK(!driver.launchFunction("nothing", {1, 1, 1}, {1, 1, 1}, 0, nullptr, 1.0f, std::uint64_t{0}));

    char folder[] = "/tmp/cogniware-install-XXXXXX";
    CHECK(mkdtemp(folder) != nullptr);
    CHECK(!driver.setInstallConfiguration({{"install_root", folder}, {"nonsense", "1"}}));
    CHECK(driver.setInstallConfiguration({{"install_root", folder}, {"resizable_bar", "true"}}));
    CHECK(driver.getInstallConfiguration().at("install_root") == folder);
    CHECK(!driver.verifyDriverInstallation() && !driver.uninstallCustomDriver());
    CHECK(driver.patchKernelModule() && driver.verifyDriverInstallation());
    CHECK(driver.installCustomDriver() && driver.verifyDriverInstallation());
    CHECK(driver.getInstallationReport().at("phase") == "installed");
    const std::string options = std::string(folder) + "/etc/modprobe.d/cogniware.conf";
    std::FILE* file = std::fopen(options.c_str(), "a");
    CHECK(file != nullptr && std::fputs("# edited\n", file) >= 0 && std::fclose(file) == 0);
    CHECK(!driver.verifyDriverInstallation());
    CHECK(driver.getInstallationReport().at("file./etc/modprobe.d/cogniware.conf") == "changed");
    CHECK(driver.uninstallCustomDriver());
    // Nothing is left: an empty folder can be removed.
    CHECK(rmdir(folder) == 0);
}

void driver_of_its_own() {
    auto driver = std::make_shared<AdvancedCustomizedDriver>();
    CHECK(driver->getDriverInfo()["driver_initialized"] == "false");
    CHECK(driver->initialize() && driver->getDriverInfo()["driver_initialized"] == "true");
    CHECK(driver->getKernel()->isInitialized());
    files_of(*driver);
    CHECK(driver->getDriverInfo()["device.0.path"] == "direct" && driver->disableDirectHardwareAccess());
    CHECK(driver->getDriverInfo()["device.0.path"] == "standard" && driver->bypassStandardDriver());
    CHECK(driver->getDriverInfo()["device.0.path"] == "direct" && driver->enableDirectHardwareAccess());
    CHECK(driver->enableMemoryOptimization() && driver->getConfiguration()["memory_optimization"] == "true");
    CHECK(driver->enableAsyncMemoryTransfers() && driver->getConfiguration()["async_transfers"] == "true");
    CHECK(driver->disableMemoryOptimization() && driver->disableAsyncMemoryTransfers());
    CHECK(driver->getConfiguration()["optimization_level"] == "low");
    CHECK(driver->setConfiguration({{"optimization_level", "medium"}}) &&
          !driver->setConfiguration({{"no_such", "1"}}));
    CHECK(cogniware::last_error().find("no_such") != std::string::npos);
    CHECK(driver->getConfiguration()["async_transfers"] == "true");
    CHECK(driver->setConfiguration({{"optimization_level", "low"}}));
    CHECK(driver->enableNVLinkOptimization() || !cogniware::last_error().empty());
    CHECK(driver->disableNVLinkOptimization());
    CHECK(driver->getPerformanceStats().count("device.0.launches") == 1 && !driver->getSupportedGPUs().empty());
    CHECK(driver->getDiagnosticResults().empty() && driver->runDiagnostics());
    CHECK(driver->getDiagnosticResults()["isolation"] == "passed");
    driver->shutdown();
}

// Types of tasks beside generating: copying, multiplying, and one of the application's own.
void task_types(AdvancedPythonCppBridge& bridge) {
    auto a = bridge.allocateMemoryArray(6, "b");
    auto b = bridge.allocateMemoryArray(6, "b");
    auto c = bridge.allocateMemoryArray(4, "b");
    for (std::size_t i = 0; i < 6; ++i) {
        a[i] = static_cast<float>(i);
    }
    const auto at = [](const cogniware::MemoryArray& array) { return AdvancedPythonCppBridge::address(array.data()); };
    const std::string copy =
        bridge.scheduleTask("b", "memory_copy", {{"source", at(a)}, {"destination", at(b)}, {"bytes", "24"}});
    CHECK(!copy.empty() && bridge.waitForTask(copy) && bridge.getTaskStatus(copy)["status"] == "completed");
    CHECK(b[5] == 5.0F);
    // (0 1 2; 3 4 5) times its own transpose.
    const std::string product = bridge.scheduleTask(
        "b", "matrix_multiply",
        {{"a", at(a)}, {"b", at(b)}, {"c", at(c)}, {"m", "2"}, {"n", "2"}, {"k", "3"}, {"transpose", "b"}});
    CHECK(!product.empty() && bridge.waitForTask(product));
    CHECK(c[0] == 5.0F && c[1] == 14.0F && c[2] == 14.0F && c[3] == 50.0F);

    CHECK(!bridge.registerTaskType("inference", [](auto&, auto&, auto&) { return std::string(); }));
    CHECK(!bridge.registerTaskType("shout", nullptr));
    CHECK(bridge.registerTaskType("shout", [](cogniware::TaskContext&, const std::string& llm,
                                              const std::map<std::string, std::string>& parameters) {
        if (parameters.at("text").empty()) {
            throw std::runtime_error("nothing to shout");
        }
        return llm + ": " + parameters.at("text") + "!";
    }));
    const std::string shout = bridge.scheduleTask("b", "shout", {{"text", "hello"}, {"weight", "0.5"}});
    CHECK(bridge.waitForTask(shout) && bridge.getTaskResult(shout) == "b: hello!");
    CHECK(bridge.getTaskStatus(shout)["task_type"] == "shout" && bridge.getTaskStatus(shout)["priority"] == "normal");
    const std::string nothing = bridge.scheduleTask("b", "shout", {{"text", ""}});
    CHECK(bridge.waitForTask(nothing) &&
          bridge.getTaskStatus(nothing)["error"].find("nothing to shout") != std::string::npos);
    CHECK(bridge.getTaskTypes().size() == 6 && bridge.unregisterTaskType("shout") &&
          !bridge.unregisterTaskType("shout"));
    CHECK(bridge.scheduleTask("b", "shout", {{"text", "hello"}}).empty());
}

void configurations() {
    auto& kernel = KernelDriverManager::getInstance();
    auto& bridge = PythonCppBridgeManager::getInstance();
    CHECK(kernel.setKernelConfiguration({{"max_memory", "8192"}}));
    CHECK(kernel.getKernelConfiguration()["max_memory"] == "8192");
    CHECK(!kernel.setKernelConfiguration({{"max_memroy", "1"}}) &&
          cogniware::last_error().find("max_memroy") != std::string::npos);
    CHECK(kernel.setKernelConfiguration({{"max_memory", ""}}));
    CHECK(kernel.getKernelConfiguration()["max_memory"] == "unlimited");
    CHECK(bridge.setBridgeConfiguration({{"max_llms", "1"}}) && bridge.getBridgeConfiguration()["max_llms"] == "1");
    CHECK(!bridge.setBridgeConfiguration({{"max_llms", "none"}}));
}

void bridge() {
    configurations();
    auto& manager = PythonCppBridgeManager::getInstance();
    CHECK(!manager.isBridgeInitialized() && !manager.registerLLM("b", {}) && !cogniware::last_error().empty());
    CHECK(KernelDriverManager::getInstance().initializeSystem() && manager.initializeBridge());
    CHECK(!manager.registerLLM("b", {{"no_such_key", "1"}}));
    // The map that carried the configuration was freed meanwhile; the reason is still there.
    CHECK(cogniware::last_error().find("no_such_key") != std::string::npos);
    CHECK(manager.registerLLM("b",
                              {{"model_type", "gpt"}, {"max_memory", "64"}, {"temperature", "0"}, {"max_cores", "1"}}));

    auto bridge = manager.getBridge();
    CHECK(KernelDriverManager::getInstance().setDriverConfiguration({{"optimization_level", "high"}}));
    CHECK(KernelDriverManager::getInstance().getDriverConfiguration()["optimization_level"] == "high");
    CHECK(KernelDriverManager::getInstance().setDriverConfiguration({{"optimization_level", "low"}}));
    CHECK(bridge->isLLMActive("b") && bridge->getLLMConfig("b")["temperature"] == "0");
    auto array = manager.allocateMemoryArray(1000, "b");
    CHECK(!array.empty() && array.size() == 1000 && array.shape() == std::vector<std::size_t>{1000});
    CHECK(std::accumulate(array.begin(), array.end(), 0.0F) == 0.0F);
    array[999] = 2.5F;
    std::vector<float> copy(1000);
    CHECK(bridge->copyToGPU(array, copy.data()) && copy[999] == 2.5F);
    copy[0] = 1.5F;
    CHECK(bridge->copyFromGPU(copy.data(), array) && array[0] == 1.5F);
    CHECK(bridge->getMemoryPointer(array) != nullptr && bridge->copyToGPU(array, bridge->getMemoryPointer(array)));
    const auto same = array;
    CHECK(!manager.deallocateMemoryArray(array, "somebody else") && !array.empty());
    CHECK(manager.deallocateMemoryArray(array, "b") && array.empty() && same.empty());
    CHECK(!manager.deallocateMemoryArray(array, "b"));
    CHECK(manager.allocateMemoryArray(std::size_t{1} << 40, "b").empty() && !cogniware::last_error().empty());

    CHECK(bridge->getProfilingData("b").at("profiling_enabled") == "false");
    CHECK(bridge->enableProfiling("b") && bridge->getProfilingData("b").at("profiling_enabled") == "true");
    const std::string id = bridge->scheduleTask("b", "inference", {{"prompt", "The sea"}, {"max_tokens", "8"}});
    CHECK(!id.empty() && bridge->waitForTask(id));
    CHECK(bridge->disableProfiling("b") && bridge->getProfilingData("b").at("profiling_enabled") == "false");
    const auto profile = bridge->getProfilingData("b");
    CHECK(profile.at("task.inference.count") == "1" && profile.at("step.prefill.count") == "1");
    CHECK(std::stod(profile.at("step.decode.p99_us")) >= std::stod(profile.at("step.decode.p50_us")));
    CHECK(bridge->getPerformanceMetrics().at("profile.step.prefill.count") == 1.0);
    CHECK(!bridge->disableProfiling("nobody") && bridge->getProfilingData("nobody").empty() &&
          !cogniware::last_error().empty());
    auto& system = KernelDriverManager::getInstance();
    CHECK(system.enableSystemProfiling() && cogniware::profiler::is_enabled("b"));
    CHECK(system.disableSystemProfiling() && !cogniware::profiler::is_enabled());
    CHECK(system.profilingSummary().find("inference") != std::string::npos && system.resetProfiling());
    CHECK(bridge->getProfilingData("b").count("task.inference.count") == 0);
    CHECK(bridge->getTaskStatus(id)["status"] == "completed" && !bridge->getTaskResult(id).empty());
    const std::string blocking = bridge->generate("b", "The sea", {{"max_tokens", "8"}});
    CHECK(blocking == bridge->getTaskResult(id));
    std::string streamed;
    const std::string text = bridge->generate("b", "The sea",
                                              [&](std::string_view piece) {
                                                  streamed += piece;
                                                  return true;
                                              },
                                              {{"max_tokens", "8"}});
    CHECK(text == blocking && streamed == blocking);
    CHECK(bridge->runDiagnostics() && bridge->getDiagnosticResults()["generation"] == "passed");
    CHECK(bridge->scheduleTask("b", "no such type", {}).empty() && !cogniware::last_error().empty());
    CHECK(!bridge->waitForTask("no such task", std::chrono::milliseconds(1)));
    CHECK(!manager.getResourceUsage("b").empty() && !bridge->getMemoryUsage("b").empty());
    CHECK(!bridge->getSystemInfo().empty() && !bridge->getPerformanceMetrics().empty());
    CHECK(manager.getActiveLLMs() == std::vector<std::string>{"b"});
    CHECK(!manager.registerLLM("one too many", {}) && cogniware::last_error().find("max_llms") != std::string::npos);
    CHECK(manager.setBridgeConfiguration({{"max_llms", ""}}));
    CHECK(bridge->getResourceFigures("b").at("device_time_seconds") > 0.0);
    const std::string talking = bridge->scheduleTask("b", "inference", {{"prompt", "The sea"}, {"max_tokens", "900"}});
    CHECK(bridge->getActiveTasks("b") == std::vector<std::string>{talking} && bridge->getActiveTasks("x").empty());
    CHECK(bridge->setTaskWeightage(talking, 0.5F) && bridge->cancelTask(talking) && bridge->waitForTask(talking));
    task_types(*bridge);
    CHECK(bridge->optimizeForLLM("b", {{"max_memory", "80"}, {"max_cores", "1"}}));
    CHECK(bridge->getLLMConfig("b")["max_memory"] == "80");
    CHECK(manager.unregisterLLM("b") && !manager.unregisterLLM("b"));
    manager.shutdownBridge();
    KernelDriverManager::getInstance().shutdownSystem();
    CHECK(!KernelDriverManager::getInstance().isSystemInitialized());
}

}  // namespace

void kernel_and_bridge() {
    kernel_of_its_own();
    driver_of_its_own();
    bridge();
    partitions_and_arrays();
}
