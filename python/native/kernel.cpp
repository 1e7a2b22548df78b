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
        .def("allocate_compute_node", method(&Kernel::allocateComputeNode), py::arg("node_id"), py::arg("llm_id"),
             NoGil(), "Gives a free node to a tenant. False when it is held or unknown.")
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
            "`size` bytes of the tenant's memory, as an address: on a GPU a device address, for copies and kernels "
            "only.\n"
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
            "Copies `size` bytes between host memory and memory of one tenant, in any direction, and waits. Each end "
            "is an\n"
            "address (int; the range is yours to keep valid) or an object with the buffer protocol (its size is "
            "checked).")
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
            "The same, queued on a stream of create_stream. Objects are held until synchronize_stream or "
            "destroy_stream.");
}

template <class Class>
void bind_tasks(Class& cls) {
    cls.def(
           "schedule_task",
           [](Kernel& self, const ComputeTask& task) { return or_raise([&] { return self.scheduleTask(task); }); },
           py::arg("task"), NoGil(),
           "Runs task.task_function on a thread of Cogniware, with the GIL, once its needs are met. Returns the task's "
           "id.")
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
             "Waits for a task's end, at most `timeout` seconds (None: without end); False when it has not ended by "
             "then or is\n"
             "unknown. Looks for Ctrl-C meanwhile.")
        .def(
            "get_active_tasks", [](const Kernel& self) { return or_raise([&] { return self.getActiveTasks(); }); },
            NoGil(), "Tasks that have not ended, of all tenants.");
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
           "An ordered queue on the tenant's node, as an int: a cudaStream_t on a GPU; on the CPU a value that only "
           "these\n"
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
            "get_active_llms", [](const Kernel& self) { return or_raise([&] { return self.getActiveLLMs(); }); },
            NoGil(), "The ids of all tenants.")
        .def(
            "get_performance_metrics",
            [](const Kernel& self) { return or_raise([&] { return self.getPerformanceMetrics(); }); }, NoGil(),
            "Figures with their unit in the name: seconds, shares from 0 to 1, counts.")
        .def(
            "get_resource_usage", [](const Kernel& self) { return or_raise([&] { return self.getResourceUsage(); }); },
            NoGil(), "Bytes and counts in use.");
}

template <class Class>
void bind_settings(Class& cls) {
    offer_settings<Kernel, const Text&>(
        cls, "optimize_for_llm", "requirements",
        [](auto& self, const Text& llm_id, const TextMap& requirements)
            COGNIWARE_WHEN(self.optimizeForLLM(llm_id, requirements)),
        py::arg("llm_id"), py::arg("requirements"),
        "Gives a tenant what an LLM requires, all of it or nothing: memory_priority, compute_priority, "
        "stream_priority,\n"
        "max_memory (MiB), max_cores, weight, enable_profiling. Unknown keys are refused by name.");
    offer<Kernel, const Text&, float>(
        cls, "set_task_weightage",
        [](auto& self, const Text& task_id, float weight) COGNIWARE_WHEN(self.setTaskWeightage(task_id, weight)),
        py::arg("task_id"), py::arg("weight"),
        "The weight of the task's work from now on, 1 is normal. False when it has ended or is unknown.");
    offer<Kernel, const Text&>(cls, "enable_direct_memory_access",
                               [](auto& self, const Text& llm_id) COGNIWARE_WHEN(self.enableDirectMemoryAccess(llm_id)),
                               py::arg("llm_id"),
                               "The host reads and writes the tenant's new allocations without copies.");
    offer<Kernel, const Text&>(cls, "disable_direct_memory_access",
                               [](auto& self, const Text& llm_id)
                                   COGNIWARE_WHEN(self.disableDirectMemoryAccess(llm_id)),
                               py::arg("llm_id"), "Ends that.");
}

// An id, a descriptor or a handle, of which `none` is the one for a failure.
template <class Number>
Number number_or_raise(Number number, Number none) {
    return raised_if_empty(std::move(number), number == none);
}

// Host memory as an argument: where it starts and its bytes.
struct HostRange {
    HostRange(const char* argument, const py::buffer& buffer, bool writable)
        : bytes(static_cast<std::size_t>(buffer.request(writable).size * buffer.request().itemsize)),
          range(argument, buffer, bytes, writable) {}

    std::size_t bytes;
    Range range;
};

template <class Class>
void bind_kinds_of_partitions(Class& cls) {
    offer<Kernel, std::size_t, MemoryPartitionType, const Text&>(
        cls, "create_partition",
        [](auto& self, std::size_t size, MemoryPartitionType type,
           const Text& llm_id) -> decltype(self.createPartition(size, type, llm_id)) {
            return number_or_raise(self.createPartition(size, type, llm_id), -1);
        },
        py::arg("size"), py::arg("type"), py::arg("llm_id"),
        "create_memory_partition that returns the new partition's id.");
    offer<Kernel, int>(
        cls, "export_memory_partition",
        [](auto& self, int id) -> decltype(self.exportMemoryPartition(id)) {
            return number_or_raise(self.exportMemoryPartition(id), -1);
        },
        py::arg("partition_id"), "A file descriptor of SHARED memory for another process; yours to close.");
    offer<Kernel, int, std::size_t, const Text&>(
        cls, "import_memory_partition",
        [](auto& self, int fd, std::size_t size,
           const Text& llm_id) -> decltype(self.importMemoryPartition(fd, size, llm_id)) {
            return number_or_raise(self.importMemoryPartition(fd, size, llm_id), -1);
        },
        py::arg("fd"), py::arg("size"), py::arg("llm_id"),
        "Maps what another process exported, `size` being the partition's there; returns its id here. The descriptor "
        "stays\n"
        "yours.");
    offer<Kernel, int>(
        cls, "get_texture_object",
        [](auto& self, int id) -> decltype(self.getTextureObject(id)) {
            return number_or_raise(self.getTextureObject(id), {});
        },
        py::arg("partition_id"), "What kernels read a TEXTURE partition by (a cudaTextureObject_t on a GPU).");
    offer<Kernel, int, std::size_t, std::size_t, bool, std::size_t>(
        cls, "bind_texture",
        [](auto& self, int id, std::size_t width, std::size_t height, bool linear,
           std::size_t pitch) -> decltype(self.bindTexture(id, width, height, linear, pitch)) {
            return number_or_raise(self.bindTexture(id, width, height, linear, pitch), {});
        },
        py::arg("partition_id"), py::arg("width"), py::arg("height") = 1, py::arg("linear") = true,
        py::arg("pitch") = 0,
        "Binds a TEXTURE partition anew as `height` rows of `width` floats, read with or without a linear filter. "
        "`pitch`:\n"
        "bytes from row to row; 0 for the least.");
    offer<Kernel, int, const std::vector<float>&>(
        cls, "sample_texture",
        [](auto& self, int id, const std::vector<float>& places) COGNIWARE_WHEN_FULL(self.sampleTexture(id, places)),
        py::arg("partition_id"), py::arg("places"),
        "Reads a TEXTURE partition at places (x and y of each in turn): element (i, j) lies at (i + 0.5, j + 0.5).");
    offer<Kernel, std::uintptr_t, std::size_t>(
        cls, "get_direct_pointer",
        [](auto& self, std::uintptr_t memory, std::size_t size)
            -> std::enable_if_t<(sizeof(self.getDirectPointer(to_address(memory), size)) > 0), std::uintptr_t> {
            return reinterpret_cast<std::uintptr_t>(
                number_or_raise<void*>(self.getDirectPointer(to_address(memory), size), nullptr));
        },
        py::arg("memory"), py::arg("size") = 1,
        "Where the host reads and writes `size` bytes of an allocation, once direct memory access is enabled for its "
        "LLM.");
}

// Bytes in and out of a partition.
template <class Class, class Self = Kernel>
auto bind_partition_bytes(Class& cls, int)
    -> decltype(std::declval<Self&>().writeMemoryPartition(0, nullptr, std::size_t(), std::size_t()), void()) {
    cls.def(
        "write_memory_partition",
        [](Self& self, int partition_id, const py::buffer& data, std::size_t offset) {
            const HostRange from("data", data, false);
            const py::gil_scoped_release release;
            return self.writeMemoryPartition(partition_id, from.range.address(), from.bytes, offset);
        },
        py::arg("partition_id"), py::arg("data"), py::arg("offset") = 0,
        "Writes all of an object with the buffer protocol and waits. CONSTANT memory is written once.");
    cls.def(
        "read_memory_partition",
        [](const Self& self, int partition_id, const py::buffer& data, std::size_t offset) {
            const HostRange to("data", data, true);
            const py::gil_scoped_release release;
            return self.readMemoryPartition(partition_id, to.range.address(), to.bytes, offset);
        },
        py::arg("partition_id"), py::arg("data"), py::arg("offset") = 0, "Fills all of such an object from there.");
}

template <class Class>
void bind_partition_bytes(Class&, long) {}

template <class Class>
void bind_cache_and_math(Class& cls) {
    offer<Kernel, int>(
        cls, "recover_device", [](auto& self, int device_id) COGNIWARE_WHEN(self.recoverDevice(device_id)),
        py::arg("device_id"),
        "Opens a device that was lost anew: its tenants are closed, and what ran on them ends with DeviceLostError.");
    offer<Kernel, const Text&>(
        cls, "get_math_mode",
        [](auto& self, const Text& llm_id) -> decltype(self.getMathMode(llm_id)) {
            return number_or_raise(self.getMathMode(llm_id), -1);
        },
        py::arg("llm_id"), "How the tenant's products are computed: CW_MATH_PLAIN (0), CW_MATH_EXACT or CW_MATH_FAST.");
    offer<Kernel, const Text&, std::uintptr_t, std::size_t>(
        cls, "set_cache_window",
        [](auto& self, const Text& llm_id, std::uintptr_t memory, std::size_t bytes)
            COGNIWARE_WHEN(self.setCacheWindow(llm_id, to_address(memory), bytes)),
        py::arg("llm_id"), py::arg("memory"), py::arg("bytes"),
        "Names the memory that persists in the slices of L2 that the tenant holds. 0 bytes leave the choice to "
        "Cogniware.");
    offer<Kernel, const Text&>(
        cls, "get_cache_window",
        [](auto& self, const Text& llm_id)
            -> std::enable_if_t<(sizeof(self.getCacheWindow(llm_id)) > 0), std::pair<std::uintptr_t, std::size_t>> {
            const auto window = self.getCacheWindow(llm_id);
            cogniware::detail::check(window.first == nullptr ? cw_last_status() : CW_OK);
            return {reinterpret_cast<std::uintptr_t>(window.first), window.second};
        },
        py::arg("llm_id"), "First byte and bytes of that memory; (0, 0) when nothing persists.");
}

template <class Class>
void bind_profiling(Class& cls) {
    offer<Kernel>(
        cls, "enable_profiling", [](auto& self) COGNIWARE_WHEN(self.enableProfiling()),
        "Records kernels, copies, steps, tasks and waits of every LLM; get_performance_metrics has their figures.");
    offer<Kernel>(cls, "disable_profiling", [](auto& self) COGNIWARE_WHEN(self.disableProfiling()),
                  "The figures stay.");
    bind_profiler<Kernel>(cls);
}

}  // namespace

void bind_kernel(py::module_& module) {
    py::class_<Kernel, std::shared_ptr<Kernel>> cls(
        module, "AdvancedCustomizedKernel",
        "Devices, compute nodes, memory, tasks and streams. An `llm_id` names a tenant; one that nobody registered is\n"
        "opened with default limits on first use. Sizes are bytes. Methods that return bool never raise an Error: "
        "False\n"
        "means that nothing was done, and last_error() says why; the others raise Error. Usable from any thread; "
        "calls\n"
        "release the GIL.\n\n"
        "Making one makes a kernel manager of its own; KernelDriverManager.get_kernel() gives the process-wide one.",
        py::release_gil_before_calling_cpp_dtor());
    cls.def(py::init<>())
        .def("initialize", method(&Kernel::initialize), NoGil(),
             "Finds the devices; the default one becomes the current one.")
        .def("shutdown", method(&Kernel::shutdown), NoGil(), "Ends what was made through this manager.")
        .def("is_initialized", method(&Kernel::isInitialized), NoGil());
    bind_devices_and_nodes(cls);
    bind_memory(cls);
    bind_tasks(cls);
    bind_streams(cls);
    bind_tenants_and_figures(cls);
    bind_settings(cls);
    bind_profiling(cls);
    bind_kinds_of_partitions(cls);
    bind_partition_bytes(cls, 0);
    bind_cache_and_math(cls);
}

}  // namespace cogniware_python
