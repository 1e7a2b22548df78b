// SPDX-License-Identifier: MIT OR Apache-2.0
// Devices and nodes of the whole process: <cogniware/device.hpp>.
#include "bindings.hpp"
#include "values.hpp"

#include <cogniware/detail/kernel_convert.hpp>
#include <cogniware/device.hpp>

namespace cogniware_python {

void bind_device(py::module_& module) {
    module.def(
        "devices",
        [] {
            std::vector<std::pair<std::string, cogniware::GPUDeviceInfo>> found;
            {
                const py::gil_scoped_release release;
                int index = 0;
                for (const auto& device : cogniware::devices()) {
                    found.emplace_back(cogniware::choice(device), cogniware::detail::to_cpp(device, index++));
                }
            }
            py::dict devices;
            for (const auto& device : found) {
                devices[py::str(device.first)] = device.second;
            }
            return devices;
        },
        "Every device as {name: GPUDeviceInfo}, the default one first. The name (\"cpu\", \"cuda:0\") is what Tenant "
        "takes.");
}

}  // namespace cogniware_python
