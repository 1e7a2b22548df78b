// The documented classes, by both spellings of their headers; also the second file that includes everything.
#include "check.hpp"

#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"

#include <cogniware/core/customized_kernel.h>
#include <cogniware/cogniware.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <unistd.h>

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
    driver->shutdown();
}

void bridge() {
    auto& manager = PythonCppBridgeManager::getInstance();
    CHECK(!manager.isBridgeInitialized() && !manager.registerLLM("b", {}) && !cogniware::last_error().empty());
    CHECK(KernelDriverManager::getInstance().initializeSystem() && manager.initializeBridge());
    CHECK(!manager.registerLLM("b", {{"no_such_key", "1"}}));
    // The map that carried the configuration was freed meanwhile; the reason is still there.
    CHECK(cogniware::last_error().find("no_such_key") != std::string::npos);
    CHECK(manager.registerLLM("b",
                              {{"model_type", "gpt"}, {"max_memory", "64"}, {"temperature", "0"}, {"max_cores", "1"}}));

    auto bridge = manager.getBridge();
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

    const std::string id = bridge->scheduleTask("b", "inference", {{"prompt", "The sea"}, {"max_tokens", "8"}});
    CHECK(!id.empty() && bridge->waitForTask(id));
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
    CHECK(bridge->scheduleTask("b", "no such type", {}).empty() && !cogniware::last_error().empty());
    CHECK(!bridge->waitForTask("no such task", std::chrono::milliseconds(1)));
    CHECK(!manager.getResourceUsage("b").empty() && !bridge->getMemoryUsage("b").empty());
    CHECK(!bridge->getSystemInfo().empty() && !bridge->getPerformanceMetrics().empty());
    CHECK(manager.getActiveLLMs() == std::vector<std::string>{"b"});
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
