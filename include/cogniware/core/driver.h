// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedCustomizedDriver: how work reaches the devices, what is known of them, and the kernel manager above them.
#ifndef COGNIWARE_CORE_DRIVER_H
#define COGNIWARE_CORE_DRIVER_H

#include <cogniware/core/kernel.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace cogniware {

// Methods that return bool never throw; false leaves its reason in cogniware::last_error(). Usable from any thread.
class AdvancedCustomizedDriver {
public:
    AdvancedCustomizedDriver() noexcept : driver_(cw_driver_create) {}
    explicit AdvancedCustomizedDriver(cw_driver* owned) noexcept : driver_(owned) {}

    bool initialize() noexcept { return cw_driver_initialize(driver_.get()) == CW_OK; }

    // The kernel manager lives on.
    void shutdown() noexcept { static_cast<void>(cw_driver_shutdown(driver_.get())); }

    // The kernel manager of this driver, or null before initialize().
    std::shared_ptr<AdvancedCustomizedKernel> getKernel() const {
        cw_kernel* kernel = nullptr;
        if (cw_driver_kernel(driver_.get(), &kernel) != CW_OK) {
            return nullptr;
        }
        return std::make_shared<AdvancedCustomizedKernel>(kernel);
    }

    // `driver_initialized` ("true" or "false"), versions and devices. Answers before initialize() too.
    std::map<std::string, std::string> getDriverInfo() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_info(driver_.get(), map); });
    }

    // --- the direct path; it holds for the whole process ---

    // Work goes by Cogniware's own way, the default: allocations from pools, large copies through page-locked buffers,
    // recorded steps launched as one command, nothing but the driver's API below. getDriverInfo() tells which path is active
    // ("device.0.path": "direct" or "standard") and what it saves, measured here ("device.0.path.saves_…").
    bool bypassStandardDriver() noexcept { return enableDirectHardwareAccess(); }
    bool enableDirectHardwareAccess() noexcept { return cw_driver_direct_access_enable(driver_.get()) == CW_OK; }

    // Work goes by the standard way: one driver allocation, one pageable copy, one launch at a time. Quotas hold.
    bool disableDirectHardwareAccess() noexcept { return cw_driver_direct_access_disable(driver_.get()) == CW_OK; }

    // --- optimisations; they hold for the whole process ---

    // Pools grow in larger pieces and keep what falls free: fewer driver calls, more physical memory kept.
    bool enableMemoryOptimization() noexcept { return cw_driver_memory_optimization_enable(driver_.get()) == CW_OK; }
    bool disableMemoryOptimization() noexcept { return cw_driver_memory_optimization_disable(driver_.get()) == CW_OK; }

    // GPUs use each other's memory without the host between them. False with fewer than two GPUs that can.
    bool enableNVLinkOptimization() noexcept { return cw_driver_nvlink_enable(driver_.get()) == CW_OK; }
    bool disableNVLinkOptimization() noexcept { return cw_driver_nvlink_disable(driver_.get()) == CW_OK; }

    // copyMemoryAsync of 64 KiB and more runs on transfer streams of its own, in order, and does not hold the caller.
    bool enableAsyncMemoryTransfers() noexcept { return cw_driver_async_transfers_enable(driver_.get()) == CW_OK; }
    bool disableAsyncMemoryTransfers() noexcept { return cw_driver_async_transfers_disable(driver_.get()) == CW_OK; }

    // --- configuration; its keys are with cw_driver_configure ---

    // All keys take effect, or none does. Before initialize() they are checked and kept, and take effect there.
    bool setConfiguration(const std::map<std::string, std::string>& config) noexcept {
        return detail::attempt([&] { return cw_driver_configure(driver_.get(), detail::to_c(config).get()); });
    }

    // What is in force, every key.
    std::map<std::string, std::string> getConfiguration() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_configuration(driver_.get(), map); });
    }

    // --- figures and tests ---

    // "device.0.copied_up_bytes", "device.0.copied_up_gb_per_s", "device.0.launches" and so on; see cw_driver_stats.
    std::map<std::string, double> getPerformanceStats() const {
        return detail::read_numbers<double>([this](cw_map** map) { return cw_driver_stats(driver_.get(), map); });
    }

    // The GPUs that the embedded kernels run on, one a line: "sm_90 (Hopper: H100, H200, GH200; here cuda:0 (…))".
    std::vector<std::string> getSupportedGPUs() const {
        std::vector<std::string> lines;
        for (const auto& gpu :
             detail::read_map([this](cw_map** map) { return cw_driver_supported_gpus(driver_.get(), map); })) {
            lines.push_back(gpu.first + " (" + gpu.second + ")");
        }
        return lines;
    }

    // Tests the current device in a second or two; false when a part failed, whose reason is in last_error().
    bool runDiagnostics() noexcept { return cw_driver_diagnostics_run(driver_.get()) == CW_OK; }

    // Of the last run: "copies" -> "passed", "failed" or "skipped"; "copies.detail"; "copies.seconds".
    std::map<std::string, std::string> getDiagnosticResults() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_diagnostics_results(driver_.get(), map); });
    }

    cw_driver* get() const noexcept { return driver_.get(); }

private:
    detail::Lazy<cw_driver, cw_driver_free> driver_;
};

}  // namespace cogniware

#endif
