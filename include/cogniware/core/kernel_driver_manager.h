// SPDX-License-Identifier: MIT OR Apache-2.0
// KernelDriverManager: the process-wide kernel and driver managers.
#ifndef COGNIWARE_CORE_KERNEL_DRIVER_MANAGER_H
#define COGNIWARE_CORE_KERNEL_DRIVER_MANAGER_H

#include <cogniware/core/driver.h>
#include <cogniware/detail/profiling.hpp>

#include <map>
#include <memory>
#include <string>

namespace cogniware {

// Methods that return bool never throw; false leaves its reason in cogniware::last_error(). Usable from any thread.
class KernelDriverManager : public detail::Profiling {
public:
    static KernelDriverManager& getInstance() noexcept {
        static KernelDriverManager instance;
        return instance;
    }
    KernelDriverManager(const KernelDriverManager&) = delete;
    KernelDriverManager& operator=(const KernelDriverManager&) = delete;

    // Finds the devices. Does nothing when that was done.
    bool initializeSystem() noexcept { return cw_system_initialize() == CW_OK; }

    // What was made through the process-wide managers ends. May be initialised again.
    void shutdownSystem() noexcept { static_cast<void>(cw_system_shutdown()); }

    bool isSystemInitialized() const noexcept {
        std::int32_t initialized = 0;
        return cw_system_is_initialized(&initialized) == CW_OK && initialized != 0;
    }

    // Never null; before initializeSystem() its methods fail and say so. Each call makes a new object for the same manager:
    // keep the pointer, not a reference into it.
    std::shared_ptr<AdvancedCustomizedKernel> getKernel() const {
        cw_kernel* kernel = nullptr;
        static_cast<void>(cw_system_kernel(&kernel));
        return std::make_shared<AdvancedCustomizedKernel>(kernel);
    }

    // Never null; as getKernel().
    std::shared_ptr<AdvancedCustomizedDriver> getDriver() const {
        cw_driver* driver = nullptr;
        static_cast<void>(cw_system_driver(&driver));
        return std::make_shared<AdvancedCustomizedDriver>(driver);
    }

    // Figures with their unit in the name: seconds, shares from 0 to 1, counts.
    std::map<std::string, double> getSystemPerformanceMetrics() const {
        return detail::read_numbers<double>(cw_system_metrics);
    }

    // Bytes and counts in use.
    std::map<std::string, std::size_t> getSystemResourceUsage() const {
        return detail::read_numbers<std::size_t>(cw_system_usage);
    }

    // Records the work of every LLM from now on; independent of the kernel's and the bridges' own switches.
    bool enableSystemProfiling() noexcept { return cw_system_profiling_enable() == CW_OK; }

    // The figures stay.
    bool disableSystemProfiling() noexcept { return cw_system_profiling_disable() == CW_OK; }
    // Changes keys of the process-wide kernel's configuration, all of them or none: device, fallback_device, max_memory (MiB of all LLMs
    // together), default_memory_limit (MiB), default_weight, default_priority, default_cores, task_threads, max_tasks,
    // task_timeout (seconds). An empty value brings the default back. May be called before initializeSystem().
    bool setKernelConfiguration(const std::map<std::string, std::string>& config) noexcept {
        return detail::attempt([&] { return cw_kernel_configure(getKernel()->get(), detail::to_c(config).get()); });
    }

    // Every key with what is in force for it.
    std::map<std::string, std::string> getKernelConfiguration() const {
        const auto kernel = getKernel();
        return detail::read_map([&](cw_map** map) { return cw_kernel_configuration(kernel->get(), map); });
    }
    // The process-wide driver manager's configuration; see AdvancedCustomizedDriver::setConfiguration.
    bool setDriverConfiguration(const std::map<std::string, std::string>& config) noexcept {
        return detail::attempt(
            [&]() -> cw_status { return getDriver()->setConfiguration(config) ? CW_OK : cw_last_status(); });
    }
    std::map<std::string, std::string> getDriverConfiguration() const { return getDriver()->getConfiguration(); }

private:
    KernelDriverManager() = default;
};

}  // namespace cogniware

#endif
