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

    cw_driver* get() const noexcept { return driver_.get(); }

private:
    detail::Lazy<cw_driver, cw_driver_free> driver_;
};

}  // namespace cogniware

#endif
