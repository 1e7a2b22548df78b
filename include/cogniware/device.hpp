// SPDX-License-Identifier: MIT OR Apache-2.0
// Devices and their compute nodes.
#ifndef COGNIWARE_DEVICE_HPP
#define COGNIWARE_DEVICE_HPP

#include <cogniware/detail/check.hpp>

#include <string>
#include <vector>

namespace cogniware {

// What is known about a device; cogniware.h says what each field means. Sizes are bytes.
using DeviceInfo = cw_device_info;

// One compute node: a set of cores or a group of SMs.
using NodeInfo = cw_node_info;

// Every device: the default one first, then the others, GPUs before the CPU.
inline std::vector<DeviceInfo> devices() {
    std::size_t count = 0;
    detail::check(cw_device_count(&count));
    std::vector<DeviceInfo> list(count);
    for (std::size_t index = 0; index < count; ++index) {
        list[index].struct_size = sizeof(DeviceInfo);
        detail::check(cw_device_info_at(index, &list[index]));
    }
    return list;
}

// The name by which a tenant chooses this device: "cpu", "cuda:0".
inline std::string choice(const DeviceInfo& device) {
    return device.kind == CW_DEVICE_CPU ? "cpu" : "cuda:" + std::to_string(device.ordinal);
}

// The name of a device, such as "NVIDIA H200".
inline std::string name(const DeviceInfo& device) { return detail::field(device.name); }

// The id of the tenant that holds a node; empty when nobody does.
inline std::string owner(const NodeInfo& node) { return detail::field(node.owner); }

// The compute nodes of a device (empty text: the default device): its ladder and those made for tenants.
inline std::vector<NodeInfo> nodes(const std::string& device = {}) {
    const char* name = device.empty() ? nullptr : device.c_str();
    std::size_t count = 0;
    detail::check(cw_node_count(name, &count));
    std::vector<NodeInfo> list;
    list.reserve(count);
    for (std::size_t index = 0; index < count; ++index) {
        NodeInfo node{};
        node.struct_size = sizeof node;
        // Nodes come and go with tenants: the list may have become shorter since it was counted.
        const cw_status status = cw_node_info_at(name, index, &node);
        if (status == CW_ERROR_INVALID_ARGUMENT && index > 0) {
            break;
        }
        detail::check(status);
        list.push_back(node);
    }
    return list;
}

// The version of the library that is loaded, such as "0.1.0".
inline std::string version() { return cw_version(); }

// Opens a lost device ("cuda", "cuda:1") anew; see cw_device_recover. Throws Error.
inline void recover_device(const std::string& device) { detail::check(cw_device_recover(device.c_str())); }

// Sets which device takes the place of a GPU that fails: "cpu" or "none". Throws Error.
inline void set_fallback_device(const std::string& device) { detail::check(cw_device_set_fallback(device.c_str())); }

}  // namespace cogniware

#endif
