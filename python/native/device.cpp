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
    module.def(
        "recover_device", [](const Text& device) { cogniware::recover_device(device); }, py::arg("device"), NoGil(),
        "Opens a lost device (\"cuda\", \"cuda:1\") anew. Its tenants are closed, and what ran on them ends with\n"
        "DeviceLostError. Does nothing to a device that answers.");
    module.def(
        "set_fallback_device", [](const Text& device) { cogniware::set_fallback_device(device); }, py::arg("device"),
        NoGil(),
        "What takes the place of a GPU that does not answer or has no memory left when an LLM is registered: \"cpu\", "
        "or\n"
        "\"none\" for an error instead, which is the default.");
}

}  // namespace cogniware_python
