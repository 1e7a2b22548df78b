// KernelDriverManager and PythonCppBridgeManager.
#include "core/customized_kernel.h"
#include "core/python_cpp_bridge.h"
#include "harness.hpp"
#include "rig.hpp"

namespace {

// Both managers, initialised and shut down again.
class System {
public:
    System() { CHECK(kernels.initializeSystem() && bridges.initializeBridge()); }
    ~System() {
        bridges.shutdownBridge();
        kernels.shutdownSystem();
    }
    System(const System&) = delete;
    System& operator=(const System&) = delete;

    KernelDriverManager& kernels = KernelDriverManager::getInstance();
    PythonCppBridgeManager& bridges = PythonCppBridgeManager::getInstance();
};

}  // namespace

METHOD(KernelDriverManager, getInstance) {
    CHECK(&KernelDriverManager::getInstance() == &KernelDriverManager::getInstance());
}

METHOD(KernelDriverManager, initializeSystem) {
    auto& manager = KernelDriverManager::getInstance();
    CHECK(!manager.isSystemInitialized() && manager.initializeSystem() && manager.initializeSystem());
    CHECK(!manager.getKernel()->getAvailableDevices().empty());
    manager.shutdownSystem();
}

METHOD(KernelDriverManager, shutdownSystem) {
    auto& manager = KernelDriverManager::getInstance();
    CHECK(manager.initializeSystem());
    const auto kernel = manager.getKernel();
    CHECK(kernel->allocateMemory(1 << 20, "gone") != nullptr);
    manager.shutdownSystem();
    CHECK(!manager.isSystemInitialized() && kernel->allocateMemory(16, "gone") == nullptr);
    manager.shutdownSystem();
}

METHOD(KernelDriverManager, isSystemInitialized) {
    CHECK(!KernelDriverManager::getInstance().isSystemInitialized());
    const System system;
    CHECK(system.kernels.isSystemInitialized());
}

METHOD(KernelDriverManager, getKernel) {
    const System system;
    CHECK(system.kernels.getKernel()->allocateMemory(16, "one") != nullptr);
    CHECK(system.kernels.getKernel()->getActiveLLMs() == std::vector<std::string>{"one"});
}

METHOD(KernelDriverManager, getDriver) {
    const System system;
    CHECK(system.kernels.getDriver()->getDriverInfo().at("driver_initialized") == "true");
}

METHOD(KernelDriverManager, getSystemPerformanceMetrics) {
    const System system;
    const auto first = system.kernels.getSystemPerformanceMetrics().at("uptime_seconds");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    CHECK(system.kernels.getSystemPerformanceMetrics().at("uptime_seconds") > first);
}

METHOD(KernelDriverManager, getSystemResourceUsage) {
    const System system;
    const auto array = system.bridges.allocateMemoryArray(1 << 20, "used");
    CHECK(system.kernels.getSystemResourceUsage().at("llm.used.memory_held_bytes") >= 4 << 20);
}

METHOD(KernelDriverManager, enableSystemProfiling) {
    const System system;
    CHECK(system.kernels.enableSystemProfiling() && system.bridges.registerLLM("p", {{"max_tokens", "4"}}));
    CHECK(!system.bridges.getBridge()->generate("p", "The sea").empty());
    CHECK(mentions(system.bridges.getBridge()->getProfilingData("p"), "p99"));
    CHECK(system.kernels.disableSystemProfiling());
}

METHOD(KernelDriverManager, disableSystemProfiling) {
    const System system;
    CHECK(system.kernels.enableSystemProfiling() && system.kernels.disableSystemProfiling());
    CHECK(system.bridges.registerLLM("q", {{"max_tokens", "4"}}));
    const auto before = system.bridges.getBridge()->getProfilingData("q");
    CHECK(!system.bridges.getBridge()->generate("q", "The sea").empty());
    CHECK(system.bridges.getBridge()->getProfilingData("q") == before);
}

METHOD(KernelDriverManager, setKernelConfiguration) {
    auto& manager = KernelDriverManager::getInstance();
    const auto before = manager.getKernelConfiguration();
    CHECK(manager.setKernelConfiguration({{"max_memory", "64"}}));
    {
        const System system;
        CHECK(system.kernels.getKernel()->allocateMemory(96 << 20, "big") == nullptr);
        CHECK(system.kernels.getKernel()->allocateMemory(16 << 20, "small") != nullptr);
        CHECK(system.kernels.getKernel()->allocateMemory(60 << 20, "sum") == nullptr);
    }
    CHECK(!manager.setKernelConfiguration({{"no_such_key", "1"}}));
    CHECK(cogniware::last_error().find("no_such_key") != std::string::npos);
    CHECK(manager.setKernelConfiguration(before));
}

METHOD(KernelDriverManager, getKernelConfiguration) {
    auto& manager = KernelDriverManager::getInstance();
    CHECK(manager.getKernelConfiguration().at("fallback_device") == "none");
    CHECK(manager.setKernelConfiguration({{"fallback_device", "cpu"}}));
    CHECK(manager.getKernelConfiguration().at("fallback_device") == "cpu");
    CHECK(manager.setKernelConfiguration({{"fallback_device", ""}}));
    CHECK(!manager.setKernelConfiguration({{"fallback_device", "toaster"}}));
    const auto before = manager.getKernelConfiguration();
    CHECK(!before.empty() && manager.setKernelConfiguration({{"max_memory", "8192"}}));
    CHECK(manager.getKernelConfiguration().at("max_memory") == "8192" && manager.setKernelConfiguration(before));
}

METHOD(KernelDriverManager, setDriverConfiguration) {
    const System system;
    const auto before = system.kernels.getDriverConfiguration();
    CHECK(system.kernels.setDriverConfiguration({{"optimization_level", "none"}}));
    const auto none = system.kernels.getDriver()->getDriverInfo();
    CHECK(system.kernels.setDriverConfiguration({{"optimization_level", "high"}}));
    CHECK(system.kernels.getDriver()->getDriverInfo() != none);
    CHECK(!system.kernels.setDriverConfiguration({{"optimization_level", "purple"}}));
    CHECK(system.kernels.setDriverConfiguration(before));
}

METHOD(KernelDriverManager, getDriverConfiguration) {
    const System system;
    const auto before = system.kernels.getDriverConfiguration();
    CHECK(system.kernels.setDriverConfiguration({{"optimization_level", "high"}}));
    CHECK(system.kernels.getDriverConfiguration().at("optimization_level") == "high");
    CHECK(system.kernels.setDriverConfiguration(before));
}

METHOD(PythonCppBridgeManager, getInstance) {
    CHECK(&PythonCppBridgeManager::getInstance() == &PythonCppBridgeManager::getInstance());
}

METHOD(PythonCppBridgeManager, initializeBridge) {
    auto& manager = PythonCppBridgeManager::getInstance();
    CHECK(!manager.isBridgeInitialized() && manager.initializeBridge() && manager.initializeBridge());
    CHECK(manager.isBridgeInitialized());
    manager.shutdownBridge();
}

METHOD(PythonCppBridgeManager, shutdownBridge) {
    auto& manager = PythonCppBridgeManager::getInstance();
    CHECK(manager.initializeBridge() && manager.registerLLM("m", {{"model_type", "gpt"}}));
    manager.shutdownBridge();
    CHECK(!manager.isBridgeInitialized() && !manager.registerLLM("m", {}) && manager.getActiveLLMs().empty());
}

METHOD(PythonCppBridgeManager, isBridgeInitialized) {
    CHECK(!PythonCppBridgeManager::getInstance().isBridgeInitialized());
    const System system;
    CHECK(system.bridges.isBridgeInitialized());
}

METHOD(PythonCppBridgeManager, getBridge) {
    const System system;
    CHECK(system.bridges.registerLLM("m", {}) && system.bridges.getBridge()->isLLMActive("m"));
}

METHOD(PythonCppBridgeManager, allocateMemoryArray) {
    const System system;
    const auto array = system.bridges.allocateMemoryArray(1000, "m");
    CHECK(array.size() == 1000 && system.bridges.getBridge()->getMemoryUsage("m").at("held_bytes") >= 4000);
}

METHOD(PythonCppBridgeManager, deallocateMemoryArray) {
    const System system;
    const auto array = system.bridges.allocateMemoryArray(1000, "m");
    CHECK(system.bridges.deallocateMemoryArray(array, "m") && array.empty());
    CHECK(!system.bridges.deallocateMemoryArray(array, "m"));
}

METHOD(PythonCppBridgeManager, getResourceUsage) {
    const System system;
    const auto array = system.bridges.allocateMemoryArray(1000, "m");
    CHECK(system.bridges.getResourceUsage("m").at("memory_held_bytes") >= 4000);
}

METHOD(PythonCppBridgeManager, getActiveLLMs) {
    const System system;
    CHECK(system.bridges.getActiveLLMs().empty() && system.bridges.registerLLM("m", {}));
    CHECK(system.bridges.getActiveLLMs() == std::vector<std::string>{"m"});
}

METHOD(PythonCppBridgeManager, registerLLM) {
    const System system;
    CHECK(system.bridges.registerLLM("m", {{"model_type", "gpt"}}) && !system.bridges.registerLLM("m", {}));
}

METHOD(PythonCppBridgeManager, unregisterLLM) {
    const System system;
    CHECK(system.bridges.registerLLM("m", {}) && system.bridges.unregisterLLM("m"));
    CHECK(!system.bridges.unregisterLLM("m"));
}

METHOD(PythonCppBridgeManager, scheduleTask) {
    const System system;
    CHECK(system.bridges.registerLLM("m", {{"max_tokens", "4"}}));
    const std::string id = system.bridges.scheduleTask("m", "inference", {{"task_type", "inference"}});
    CHECK(!id.empty() && system.bridges.getBridge()->waitForTask(id));
}

METHOD(PythonCppBridgeManager, setBridgeConfiguration) {
    auto& manager = PythonCppBridgeManager::getInstance();
    const auto before = manager.getBridgeConfiguration();
    CHECK(manager.setBridgeConfiguration({{"max_llms", "1"}}));
    {
        const System system;
        CHECK(manager.registerLLM("first", {}) && !manager.registerLLM("second", {}));
        CHECK(cogniware::last_error().find("max_llms") != std::string::npos);
    }
    CHECK(!manager.setBridgeConfiguration({{"no_such_key", "1"}}) && manager.setBridgeConfiguration(before));
}

METHOD(PythonCppBridgeManager, getBridgeConfiguration) {
    auto& manager = PythonCppBridgeManager::getInstance();
    const auto before = manager.getBridgeConfiguration();
    CHECK(manager.setBridgeConfiguration({{"max_llms", "10"}}));
    CHECK(manager.getBridgeConfiguration().at("max_llms") == "10" && manager.setBridgeConfiguration(before));
}
