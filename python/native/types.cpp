// SPDX-License-Identifier: MIT OR Apache-2.0
// The structs and enumerations of core/kernel_types.h.
#include "bindings.hpp"
#include "task_function.hpp"
#include "values.hpp"

#include <cogniware/core/kernel_types.h>

#include <pybind11/native_enum.h>

namespace cogniware_python {
namespace {

using cogniware::ComputeNode;
using cogniware::ComputeNodeType;
using cogniware::ComputeTask;
using cogniware::GPUDeviceInfo;
using cogniware::MemoryPartition;
using cogniware::MemoryPartitionType;
using cogniware::TaskPriority;

// None, or a function that is called without arguments.
void set_function(ComputeTask& task, const py::object& function) {
    if (function.is_none()) {
        task.taskFunction = nullptr;
    } else if (PyCallable_Check(function.ptr()) == 0) {
        throw py::type_error("argument `task_function`: must be callable without arguments");
    } else {
        task.taskFunction = TaskFunction{Callable(function)};
    }
}

template <class Struct, class Class>
void time(Class& cls, const char* name, std::chrono::system_clock::time_point Struct::* member, const char* doc) {
    cls.def_property(
        name, [member](const Struct& self) { return from_time(self.*member); },
        [member](Struct& self, const py::object& value) { self.*member = to_time(value); }, doc);
}

// "<ComputeNode node_id=0 type=... >" from the named attributes.
template <class Class>
void representation(Class& cls, const char* name, std::vector<std::string> attributes) {
    cls.def("__repr__", [name, attributes](const py::object& self) {
        std::string text = "<" + std::string(name);
        for (const auto& attribute : attributes) {
            text += " " + attribute + "=" + std::string(py::repr(self.attr(attribute.c_str())));
        }
        return text + ">";
    });
}

// Fields that only newer headers have.
template <class Struct, class Class>
auto bind_detail(Class& cls, int) -> decltype(std::declval<Struct>().detail, void()) {
    cls.def_readwrite("detail", &Struct::detail, "What it is on this device, in words.");
}

template <class Struct, class Class>
void bind_detail(Class&, long) {}

template <class Struct, class Class>
auto bind_texture(Class& cls, int) -> decltype(std::declval<Struct>().textureObject, void()) {
    cls.def_readwrite("texture_object", &Struct::textureObject,
                      "What kernels read TEXTURE memory by; 0 for other types.");
}

template <class Struct, class Class>
void bind_texture(Class&, long) {}

void bind_enumerations(py::module_& module) {
    py::native_enum<ComputeNodeType>(module, "ComputeNodeType", "enum.Enum", "What a compute node is made of.")
        .value("TENSOR_CORE", ComputeNodeType::TENSOR_CORE)
        .value("CUDA_CORE", ComputeNodeType::CUDA_CORE)
        .value("MEMORY_BANK", ComputeNodeType::MEMORY_BANK)
        .value("SHARED_MEMORY", ComputeNodeType::SHARED_MEMORY)
        .value("L2_CACHE", ComputeNodeType::L2_CACHE)
        .finalize();
    py::native_enum<MemoryPartitionType>(module, "MemoryPartitionType", "enum.Enum", "What a memory partition is.")
        .value("GLOBAL_MEMORY", MemoryPartitionType::GLOBAL_MEMORY)
        .value("SHARED_MEMORY", MemoryPartitionType::SHARED_MEMORY)
        .value("CONSTANT_MEMORY", MemoryPartitionType::CONSTANT_MEMORY)
        .value("TEXTURE_MEMORY", MemoryPartitionType::TEXTURE_MEMORY)
        .value("LOCAL_MEMORY", MemoryPartitionType::LOCAL_MEMORY)
        .finalize();
    py::native_enum<TaskPriority>(module, "TaskPriority", "enum.IntEnum",
                                  "Who goes first when several want the same processors.")
        .value("CRITICAL", TaskPriority::CRITICAL)
        .value("HIGH", TaskPriority::HIGH)
        .value("NORMAL", TaskPriority::NORMAL)
        .value("LOW", TaskPriority::LOW)
        .value("BACKGROUND", TaskPriority::BACKGROUND)
        .finalize();
}

void bind_device_info(py::module_& module) {
    py::class_<GPUDeviceInfo> cls(module, "GPUDeviceInfo",
                                  "What is known of a device (the CPU is one too). What has no meaning on it is 0.");
    cls.def(py::init<>())
        .def_readwrite("device_id", &GPUDeviceInfo::deviceId, "What select_device takes.")
        .def_readwrite("name", &GPUDeviceInfo::name)
        .def_readwrite("total_memory", &GPUDeviceInfo::totalMemory, "Bytes.")
        .def_readwrite("free_memory", &GPUDeviceInfo::freeMemory, "Bytes free when this was read.")
        .def_readwrite("compute_capability", &GPUDeviceInfo::computeCapability, "90 for 9.0; 0 on the CPU.")
        .def_readwrite("max_threads_per_block", &GPUDeviceInfo::maxThreadsPerBlock)
        .def_readwrite("max_blocks_per_grid", &GPUDeviceInfo::maxBlocksPerGrid, "In the first dimension.")
        .def_readwrite("max_threads_per_multi_processor", &GPUDeviceInfo::maxThreadsPerMultiProcessor)
        .def_readwrite("multi_processor_count", &GPUDeviceInfo::multiProcessorCount,
                       "SMs, or cores that this process may use.")
        .def_readwrite("tensor_core_count", &GPUDeviceInfo::tensorCoreCount)
        .def_readwrite("cuda_core_count", &GPUDeviceInfo::cudaCoreCount, "FP32 lanes.")
        .def_readwrite("supports_nvlink", &GPUDeviceInfo::supportsNVLink)
        .def_readwrite("nvlink_connections", &GPUDeviceInfo::nvLinkConnections,
                       "CUDA ordinals at the other ends of links that are up (a copy: assign a list to change it).");
    representation(cls, "GPUDeviceInfo", {"device_id", "name", "total_memory", "free_memory"});
}

void bind_node(py::module_& module) {
    py::class_<ComputeNode> cls(module, "ComputeNode", "One compute node of the current device.");
    cls.def(py::init<>())
        .def_readwrite("node_id", &ComputeNode::nodeId, "Unique on its device.")
        .def_readwrite("type", &ComputeNode::type)
        .def_readwrite("memory_size", &ComputeNode::memorySize, "Bytes.")
        .def_readwrite("compute_capability", &ComputeNode::computeCapability, "90 for 9.0; 0 on the CPU.")
        .def_readwrite("is_allocated", &ComputeNode::isAllocated, "A tenant holds it.")
        .def_readwrite("is_active", &ComputeNode::isActive, "It is held, and work has run on it.")
        .def_readwrite("allocated_cores", &ComputeNode::allocatedCores, "Cores, or indices of groups of SMs (a copy).")
        .def_readwrite("allocated_memory", &ComputeNode::allocatedMemory, "Bytes of each reservation (a copy).")
        .def_property(
            "custom_data",
            [](const ComputeNode& self) {
                py::dict data;
                for (const auto& entry : self.customData) {
                    data[py::str(entry.first)] = from_address(entry.second);
                }
                return data;
            },
            [](ComputeNode& self, const std::map<std::string, std::uintptr_t>& data) {
                self.customData.clear();
                for (const auto& entry : data) {
                    self.customData[entry.first] = to_address(entry.second);
                }
            },
            "The application's: names and addresses (a copy).");
    bind_detail<ComputeNode>(cls, 0);
    time(cls, "last_used", &ComputeNode::lastUsed, "When work last ran, in UTC; None: never.");
    representation(cls, "ComputeNode", {"node_id", "type", "is_allocated", "allocated_cores"});
}

void bind_partition(py::module_& module) {
    py::class_<MemoryPartition> cls(module, "MemoryPartition", "Reserved bytes of one tenant's memory.");
    cls.def(py::init<>())
        .def_readwrite("partition_id", &MemoryPartition::partitionId)
        .def_readwrite("type", &MemoryPartition::type)
        .def_readwrite("size", &MemoryPartition::size, "Bytes.")
        .def_readwrite("offset", &MemoryPartition::offset, "Bytes from the start of the tenant's address range.")
        .def_readwrite("is_allocated", &MemoryPartition::isAllocated)
        .def_property_readonly(
            "device_ptr", [](const MemoryPartition& self) { return from_address(self.devicePtr); },
            "Its address for the device; owned by Cogniware until the partition is destroyed.")
        .def_property_readonly(
            "host_ptr", [](const MemoryPartition& self) { return from_address(self.hostPtr); },
            "The same memory for the host; None where it cannot reach it.")
        .def_readwrite("owner_llm", &MemoryPartition::ownerLLM, "The tenant.");
    bind_texture<MemoryPartition>(cls, 0);
    time(cls, "allocated_at", &MemoryPartition::allocatedAt, "When it was made, in UTC.");
    representation(cls, "MemoryPartition", {"partition_id", "type", "size", "owner_llm"});
}

void bind_task(py::module_& module) {
    py::class_<ComputeTask> cls(module, "ComputeTask",
                                "A task: what to do when it is given to schedule_task, and what is known of it when "
                                "get_task_status returns it.");
    cls.def(py::init([](const Text& task_id, const Text& llm_id, TaskPriority priority, std::size_t required_memory,
                        std::size_t required_cores, const py::object& task_function) {
                ComputeTask task;
                task.taskId = task_id;
                task.llmId = llm_id;
                task.priority = priority;
                task.requiredMemory = required_memory;
                task.requiredCores = required_cores;
                set_function(task, task_function);
                return task;
            }),
            py::arg("task_id") = "", py::arg("llm_id") = "", py::arg("priority") = TaskPriority::NORMAL,
            py::arg("required_memory") = 0, py::arg("required_cores") = 0, py::arg("task_function") = py::none())
        .def_readwrite("task_id", &ComputeTask::taskId, "Empty for a new id.")
        .def_readwrite("llm_id", &ComputeTask::llmId, "The tenant; opened with default limits on first use.")
        .def_readwrite("priority", &ComputeTask::priority)
        .def_readwrite("required_memory", &ComputeTask::requiredMemory,
                       "Bytes that must be free within the tenant's limit for it to start.")
        .def_readwrite("required_cores", &ComputeTask::requiredCores, "Cores or SMs that it needs to start.")
        .def_property(
            "task_function",
            [](const ComputeTask& self) -> py::object {
                const auto* target = self.taskFunction.target<TaskFunction>();
                return target == nullptr ? py::object(py::none()) : target->function.function();
            },
            set_function,
            "Called without arguments on a thread of Cogniware, with the GIL. What it raises ends the task as failed "
            "with\n"
            "the exception's text. None in what get_task_status returns.")
        .def_readwrite("is_completed", &ComputeTask::isCompleted, "It ended well.")
        .def_readwrite("result", &ComputeTask::result, "Empty until it ended; the error's text when it failed.");
    time(cls, "created_at", &ComputeTask::createdAt, "In UTC.");
    time(cls, "scheduled_at", &ComputeTask::scheduledAt, "When it started, in UTC; None: not yet.");
    time(cls, "completed_at", &ComputeTask::completedAt, "When it ended, however, in UTC; None: not yet.");
    representation(cls, "ComputeTask", {"task_id", "llm_id", "priority", "is_completed"});
}

}  // namespace

void bind_types(py::module_& module) {
    bind_enumerations(module);
    bind_device_info(module);
    bind_node(module);
    bind_partition(module);
    bind_task(module);
}

}  // namespace cogniware_python
