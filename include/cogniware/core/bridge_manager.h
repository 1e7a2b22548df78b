// SPDX-License-Identifier: MIT OR Apache-2.0
// PythonCppBridgeManager: the process-wide bridge.
#ifndef COGNIWARE_CORE_BRIDGE_MANAGER_H
#define COGNIWARE_CORE_BRIDGE_MANAGER_H

#include <cogniware/core/bridge.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace cogniware {

// Short ways to the process-wide bridge; AdvancedPythonCppBridge says what each method does.
class PythonCppBridgeManager {
public:
    using Map = std::map<std::string, std::string>;

    static PythonCppBridgeManager& getInstance() noexcept {
        static PythonCppBridgeManager instance;
        return instance;
    }
    PythonCppBridgeManager(const PythonCppBridgeManager&) = delete;
    PythonCppBridgeManager& operator=(const PythonCppBridgeManager&) = delete;

    bool initializeBridge() noexcept {
        return detail::attempt([this] { return cw_bridge_initialize(getBridge()->get()); });
    }

    // Unregisters every LLM. May be initialised again.
    void shutdownBridge() noexcept {
        static_cast<void>(detail::attempt([this] { return cw_bridge_shutdown(getBridge()->get()); }));
    }

    bool isBridgeInitialized() const noexcept {
        std::int32_t initialized = 0;
        return detail::attempt([&] { return cw_bridge_is_initialized(getBridge()->get(), &initialized); }) &&
               initialized != 0;
    }

    // Never null; before initializeBridge() its methods fail and say so.
    std::shared_ptr<AdvancedPythonCppBridge> getBridge() const {
        cw_bridge* bridge = nullptr;
        static_cast<void>(cw_bridge_global(&bridge));
        return std::make_shared<AdvancedPythonCppBridge>(bridge);
    }

    MemoryArray allocateMemoryArray(std::size_t size, const std::string& llmId) {
        return getBridge()->allocateMemoryArray(size, llmId);
    }

    bool deallocateMemoryArray(const MemoryArray& array, const std::string& llmId) noexcept {
        return detail::attempt([&] { return status(getBridge()->deallocateMemoryArray(array, llmId)); });
    }

    std::map<std::string, std::size_t> getResourceUsage(const std::string& llmId) const {
        return getBridge()->getResourceUsage(llmId);
    }

    std::vector<std::string> getActiveLLMs() const { return getBridge()->getActiveLLMs(); }

    bool registerLLM(const std::string& llmId, const Map& config) noexcept {
        return detail::attempt([&] { return status(getBridge()->registerLLM(llmId, config)); });
    }

    bool unregisterLLM(const std::string& llmId) noexcept {
        return detail::attempt([&] { return status(getBridge()->unregisterLLM(llmId)); });
    }

    std::string scheduleTask(const std::string& llmId, const std::string& taskType, const Map& parameters) {
        return getBridge()->scheduleTask(llmId, taskType, parameters);
    }

    // Changes keys of the bridge's configuration, all of them or none: max_llms, default_model (a name or a path),
    // default_ and any key of registerLLM (such as default_max_tokens), cache_models (of how many models the weights stay
    // in memory after unregisterLLM). An empty value brings the default back. May be called before initializeBridge().
    bool setBridgeConfiguration(const Map& config) noexcept {
        return detail::attempt([&] { return cw_bridge_configure(getBridge()->get(), detail::to_c(config).get()); });
    }

    // Every key with what is in force for it.
    Map getBridgeConfiguration() const {
        const auto bridge = getBridge();
        return detail::read_map([&](cw_map** map) { return cw_bridge_configuration(bridge->get(), map); });
    }

private:
    PythonCppBridgeManager() = default;

    static cw_status status(bool good) noexcept { return good ? CW_OK : CW_ERROR_INTERNAL; }
};

}  // namespace cogniware

#endif
