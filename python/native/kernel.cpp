// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedCustomizedKernel.
#include "bindings.hpp"
#include "error.hpp"
#include "gil.hpp"
#include "offer.hpp"
#include "shared.hpp"
#include "task_function.hpp"
#include "values.hpp"

#include <cogniware/core/kernel.h>

#include <map>
#include <mutex>
#include <vector>

namespace cogniware_python {
namespace {

using cogniware::AdvancedCustomizedKernel;
using cogniware::ComputeTask;
using cogniware::MemoryPartitionType;
using Kernel = AdvancedCustomizedKernel;

// What copies that are queued on a stream use must live until it was waited for. By the stream's handle.
class Queued {
public:
    void add(std::uintptr_t stream, const Range& range) {
        if (!range.held().is_none()) {
            held_[stream].append(range.held());
        }
    }

    void drop(std::uintptr_t stream) { held_.erase(stream); }

    // Never destroyed: the interpreter may have gone by then. Used with the GIL held.
    static Queued& all() {
        static auto* only = new Queued;
        return *only;
    }

private:
    std::map<std::uintptr_t, py::list> held_;
};

cudaStream_t to_stream(std::uintptr_t stream) { return reinterpret_cast<cudaStream_t>(stream); }

std::uintptr_t from_stream(cudaStream_t stream) { return reinterpret_cast<std::uintptr_t>(stream); }

template <class Class>
void bind_devices_and_nodes(Class& cls) {
    cls.def(
           "get_available_devices",
           [](const Kernel& self) { return or_raise([&] { return self.getAvailableDevices(); }); }, NoGil(),
           "Every device as GPUDeviceInfo, the default one first. The CPU is a device too.")
        .def("select_device", method(&Kernel::selectDevice), py::arg("device_id"), NoGil(),
             "Tenants opened from now on are on this device. False when there is none with this id.")
        .def(
            "get_current_device",
            [](const Kernel& self) {
                auto device = self.getCurrentDevice();
                return raised_if_empty(std::move(device), device.deviceId < 0);
            },
            NoGil(), "The device on which tenants are opened.")
        .def(
            "get_available_compute_nodes",
            [](const Kernel& self) { return or_raise([&] { return self.getAvailableComputeNodes(); }); }, NoGil(),
            "The compute nodes of the current device that nobody holds.")
        .def("allocate_compute_node", method(&Kernel::allocateComputeNode), py::arg("node_id"), py::arg("llm_id"), NoGil(),
             "Gives a free node to a tenant. False when it is held or unknown.")
        .def("deallocate_compute_node", method(&Kernel::deallocateComputeNode), py::arg("node_id"), NoGil(),
             "Takes a node back from whoever holds it. False when nobody does.")
        .def(
            "get_compute_node",
            [](const Kernel& self, int node_id) {
                auto node = self.getComputeNode(node_id);
                if (node.nodeId < 0) {
                    cogniware::detail::check(cw_last_status());
                    throw cogniware::Error(CW_ERROR_NOT_FOUND,
                                           "argument `node_id`: there is no node " + std::to_string(node_id));
                }
                return node;
            },
            py::arg("node_id"), NoGil(), "The node with this id, held or free. Raises NotFoundError.");
}

template <class Class>
void bind_memory(Class& cls) {
    cls.def(
           "get_memory_partitions",
           [](const Kernel& self) { return or_raise([&] { return self.getMemoryPartitions(); }); }, NoGil(),
           "The partitions of all tenants.")
        .def("create_memory_partition", method(&Kernel::createMemoryPartition), py::arg("size"), py::arg("type"),
             py::arg("llm_id"), NoGil(),
             "Reserves `size` bytes of the tenant's memory; get_memory_partitions lists it with its id.")
        .def("destroy_memory_partition", method(&Kernel::destroyMemoryPartition), py::arg("partition_id"), NoGil(),
             "Gives the memory back. No work that uses it may be in flight.")
        .def(
            "get_memory_partition",
            [](const Kernel& self, int partition_id) {
                auto partition = self.getMemoryPartition(partition_id);
                if (partition.partitionId < 0) {
                    cogniware::detail::check(cw_last_status());
                    throw cogniware::Error(CW_ERROR_NOT_FOUND, "argument `partition_id`: there is no partition " +
                                                                   std::to_string(partition_id));
                }
                return partition;
            },
            py::arg("partition_id"), NoGil(), "The partition with this id. Raises NotFoundError.")
        .def(
            "allocate_memory",
            [](Kernel& self, std::size_t size, const Text& llm_id) {
                void* memory = nullptr;
                {
                    const py::gil_scoped_release release;
                    memory = self.allocateMemory(size, llm_id);
                }
                return reinterpret_cast<std::uintptr_t>(raised_if_empty(std::move(memory), memory == nullptr));
            },
            py::arg("size"), py::arg("llm_id"),
            "`size` bytes of the tenant's memory, as an address: on a GPU a device address, for copies and kernels only.\n"
            "Yours until deallocate_memory or the tenant's end. Raises QuotaExceededError beyond the tenant's limit.")
        .def(
            "deallocate_memory",
            [](Kernel& self, std::uintptr_t memory) {
                const py::gil_scoped_release release;
                return self.deallocateMemory(to_address(memory));
            },
            py::arg("memory"), "Frees what allocate_memory gave. No work that uses it may be in flight.")
        .def(
            "copy_memory",
            [](Kernel& self, const py::object& destination, const py::object& source, std::size_t size) {
                const Range to("destination", destination, size, true);
                const Range from("source", source, size, false);
                const py::gil_scoped_release release;
                return self.copyMemory(to.address(), from.address(), size);
            },
            py::arg("destination"), py::arg("source"), py::arg("size"),
            "Copies `size` bytes between host memory and memory of one tenant, in any direction, and waits. Each end is an\n"
            "address (int; the range is yours to keep valid) or an object with the buffer protocol (its size is checked).")
        .def(
            "copy_memory_async",
            [](Kernel& self, const py::object& destination, const py::object& source, std::size_t size,
               std::uintptr_t stream) {
                const Range to("destination", destination, size, true);
                const Range from("source", source, size, false);
                bool queued = false;
                {
                    const py::gil_scoped_release release;
                    queued = self.copyMemoryAsync(to.address(), from.address(), size, to_stream(stream));
                }
                if (queued) {
                    Queued::all().add(stream, to);
                    Queued::all().add(stream, from);
                }
                return queued;
            },
            py::arg("destination"), py::arg("source"), py::arg("size"), py::arg("stream"),
            "The same, queued on a stream of create_stream. Objects are held until synchronize_stream or destroy_stream.");
}

template <class Class>
void bind_tasks(Class& cls) {
    cls.def(
           "schedule_task",
           [](Kernel& self, const ComputeTask& task) { return or_raise([&] { return self.scheduleTask(task); }); },
           py::arg("task"), NoGil(),
           "Runs task.task_function on a thread of Cogniware, with the GIL, once its needs are met. Returns the task's id.")
        .def("cancel_task", method(&Kernel::cancelTask), py::arg("task_id"), NoGil(),
             "What has not started never will. False when the task had ended or is unknown.")
        .def(
            "get_task_status",
            [](const Kernel& self, const Text& task_id) {
                auto task = self.getTaskStatus(task_id);
                return raised_if_empty(std::move(task), task.taskId.empty());
            },
            py::arg("task_id"), NoGil(),
            "What is known of a task: waiting, running, or one of the last few thousand that ended.")
        .def("wait_for_task", &wait_for_task<Kernel>, py::arg("task_id"), py::arg("timeout") = py::none(),
             "Waits for a task's end, at most `timeout` seconds (None: without end); False when it has not ended by then or is\n"
             "unknown. Looks for Ctrl-C meanwhile.")
        .def(
            "get_active_tasks",
            [](const Kernel& self) { return or_raise([&] { return self.getActiveTasks(); }); }, NoGil(),
            "Tasks that have not ended, of all tenants.");
}

template <class Class>
void bind_streams(Class& cls) {
    cls.def(
           "create_stream",
           [](Kernel& self, const Text& llm_id) {
               auto stream = self.createStream(llm_id);
               return from_stream(raised_if_empty(std::move(stream), stream == nullptr));
           },
           py::arg("llm_id"), NoGil(),
           "An ordered queue on the tenant's node, as an int: a cudaStream_t on a GPU; on the CPU a value that only these\n"
           "methods understand.")
        .def(
            "synchronize_stream",
            [](Kernel& self, std::uintptr_t stream) {
                bool good = false;
                {
                    const py::gil_scoped_release release;
                    good = self.synchronizeStream(to_stream(stream));
                }
                if (good) {
                    Queued::all().drop(stream);
                }
                return good;
            },
            py::arg("stream"), "Waits for everything queued; False also when that raised an error.")
        .def(
            "destroy_stream",
            [](Kernel& self, std::uintptr_t stream) {
                bool good = false;
                {
                    const py::gil_scoped_release release;
                    good = self.destroyStream(to_stream(stream));
                }
                if (good) {
                    Queued::all().drop(stream);
                }
                return good;
            },
            py::arg("stream"), "Waits for everything queued, then ends the stream.")
        .def(
            "get_streams_for_llm",
            [](const Kernel& self, const Text& llm_id) {
                std::vector<std::uintptr_t> streams;
                for (cudaStream_t stream : or_raise([&] { return self.getStreamsForLLM(llm_id); })) {
                    streams.push_back(from_stream(stream));
                }
                return streams;
            },
            py::arg("llm_id"), NoGil(), "The tenant's streams.");
}

template <class Class>
void bind_tenants_and_figures(Class& cls) {
    cls.def("create_virtual_compute_node", method(&Kernel::createVirtualComputeNode), py::arg("llm_id"),
            py::arg("memory_size"), py::arg("core_count"), NoGil(),
            "More guaranteed memory (bytes), a node and a stream for the tenant; one a tenant.")
        .def("destroy_virtual_compute_node", method(&Kernel::destroyVirtualComputeNode), py::arg("llm_id"), NoGil(),
             "Takes them back. False when there is none.")
        .def(
            "get_active_llms",
            [](const Kernel& self) { return or_raise([&] { return self.getActiveLLMs(); }); }, NoGil(),
            "The ids of all tenants.")
        .def(
            "get_performance_metrics",
            [](const Kernel& self) { return or_raise([&] { return self.getPerformanceMetrics(); }); }, NoGil(),
            "Figures with their unit in the name: seconds, shares from 0 to 1, counts.")
        .def(
            "get_resource_usage",
            [](const Kernel& self) { return or_raise([&] { return self.getResourceUsage(); }); }, NoGil(),
            "Bytes and counts in use.");
}

template <class Class>
void bind_settings(Class& cls) {
    offer_settings<Kernel, const Text&>(
        cls, "optimize_for_llm", "requirements",
        [](auto& self, const Text& llm_id, const TextMap& requirements)
            COGNIWARE_WHEN(self.optimizeForLLM(llm_id, requirements)),
        py::arg("llm_id"), py::arg("requirements"),
        "Gives a tenant what an LLM requires, all of it or nothing: memory_priority, compute_priority, stream_priority,\n"
        "max_memory (MiB), max_cores, weight, enable_profiling. Unknown keys are refused by name.");
    offer<Kernel, const Text&, float>(
        cls, "set_task_weightage",
        [](auto& self, const Text& task_id, float weight) COGNIWARE_WHEN(self.setTaskWeightage(task_id, weight)),
        py::arg("task_id"), py::arg("weight"),
        "The weight of the task's work from now on, 1 is normal. False when it has ended or is unknown.");
    offer<Kernel, const Text&>(
        cls, "enable_direct_memory_access",
        [](auto& self, const Text& llm_id) COGNIWARE_WHEN(self.enableDirectMemoryAccess(llm_id)),
        py::arg("llm_id"), "The host reads and writes the tenant's new allocations without copies.");
    offer<Kernel, const Text&>(
        cls, "disable_direct_memory_access",
        [](auto& self, const Text& llm_id) COGNIWARE_WHEN(self.disableDirectMemoryAccess(llm_id)),
        py::arg("llm_id"), "Ends that.");
}

template <class Class>
void bind_profiling(Class& cls) {
    offer<Kernel>(
        cls, "enable_profiling", [](auto& self) COGNIWARE_WHEN(self.enableProfiling()),
        "Records kernels, copies, steps, tasks and waits of every LLM; get_performance_metrics has their figures.");
    offer<Kernel>(
        cls, "disable_profiling", [](auto& self) COGNIWARE_WHEN(self.disableProfiling()), "The figures stay.");
    bind_profiler<Kernel>(cls);
}

}  // namespace

void bind_kernel(py::module_& module) {
    py::class_<Kernel, std::shared_ptr<Kernel>> cls(
        module, "AdvancedCustomizedKernel",
        "Devices, compute nodes, memory, tasks and streams. An `llm_id` names a tenant; one that nobody registered is\n"
        "opened with default limits on first use. Sizes are bytes. Methods that return bool never raise an Error: False\n"
        "means that nothing was done, and last_error() says why; the others raise Error. Usable from any thread; calls\n"
        "release the GIL.\n\n"
        "Making one makes a kernel manager of its own; KernelDriverManager.get_kernel() gives the process-wide one.",
        py::release_gil_before_calling_cpp_dtor());
    cls.def(py::init<>())
        .def("initialize", method(&Kernel::initialize), NoGil(), "Finds the devices; the default one becomes the current one.")
        .def("shutdown", method(&Kernel::shutdown), NoGil(), "Ends what was made through this manager.")
        .def("is_initialized", method(&Kernel::isInitialized), NoGil());
    bind_devices_and_nodes(cls);
    bind_memory(cls);
    bind_tasks(cls);
    bind_streams(cls);
    bind_tenants_and_figures(cls);
    bind_settings(cls);
    bind_profiling(cls);
}

}  // namespace cogniware_python
