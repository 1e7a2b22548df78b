// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedCustomizedDriver: what is known of the installed drivers, and the kernel manager above them.
#ifndef COGNIWARE_CORE_DRIVER_H
#define COGNIWARE_CORE_DRIVER_H

#include <cogniware/core/kernel.h>

#include <map>
#include <memory>
#include <string>

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

    // Products of f32 numbers on the current device run on its matrix circuits with narrower inputs (TF32, bf16), from the
    // next step of every model on. False where the device has no such circuits.
    bool enableTensorCoreOptimization() noexcept { return cw_driver_tensor_cores_enable(driver_.get()) == CW_OK; }

    // Back to products whose inputs keep the bits that the weights have.
    bool disableTensorCoreOptimization() noexcept { return cw_driver_tensor_cores_disable(driver_.get()) == CW_OK; }

    // Cuts the current device's processors into slices of the same size (1 to 16), one an LLM; its gate keeps shares to their
    // weights. Nodes that are held keep their units until they are given back.
    bool optimizeForMultipleLLMs(int llms = 4) noexcept {
        return cw_driver_optimize_many(driver_.get(), llms < 0 ? 0 : static_cast<std::uint32_t>(llms)) == CW_OK;
    }

    // One node of all processors; no unit is kept idle for anybody.
    bool optimizeForSingleLLM() noexcept { return cw_driver_optimize_one(driver_.get()) == CW_OK; }

    // Back to one node a core or group of SMs.
    bool resetLLMOptimization() noexcept { return cw_driver_optimize_reset(driver_.get()) == CW_OK; }

    cw_driver* get() const noexcept { return driver_.get(); }

private:
    detail::Lazy<cw_driver, cw_driver_free> driver_;
};

}  // namespace cogniware

#endif
