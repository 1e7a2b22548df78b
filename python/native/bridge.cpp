// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedPythonCppBridge.
#include "arrays.hpp"
#include "bindings.hpp"
#include "error.hpp"
#include "generation.hpp"
#include "gil.hpp"
#include "offer.hpp"
#include "shared.hpp"
#include "task_context.hpp"
#include "values.hpp"

#include <cogniware/core/bridge.h>

#include <utility>

namespace cogniware_python {
namespace {

using Bridge = cogniware::AdvancedPythonCppBridge;
using cogniware::MemoryArray;

template <class Class>
void bind_llms(Class& cls) {
    cls.def(
           "register_llm",
           [](Bridge& self, const Text& llm_id, const py::object& config) {
               const TextMap map = to_settings("config", config);
               const py::gil_scoped_release release;
               return self.registerLLM(llm_id, map);
           },
           py::arg("llm_id"), py::arg("config") = py::none(),
           "Opens the LLM's tenant and loads its model. `config`: a dict of settings; values may be str, int, float or "
           "bool.\n"
           "Keys that are not known are refused by name; on failure nothing is left behind.")
        .def("unregister_llm", method(&Bridge::unregisterLLM), py::arg("llm_id"), NoGil(),
             "What it generates ends as cancelled; its memory goes back, arrays that Python still has with their last "
             "view.")
        .def(
            "get_llm_config",
            [](const Bridge& self, const Text& llm_id) { return or_raise([&] { return self.getLLMConfig(llm_id); }); },
            py::arg("llm_id"), NoGil(), "Its settings as registered and updated, as text.")
        .def(
            "update_llm_config",
            [](Bridge& self, const Text& llm_id, const py::object& config) {
                const TextMap map = to_settings("config", config);
                const py::gil_scoped_release release;
                return self.updateLLMConfig(llm_id, map);
            },
            py::arg("llm_id"), py::arg("config"),
            "Changes settings; the others stay. What cannot change while it is registered is refused by name.")
        .def(
            "get_active_llms", [](const Bridge& self) { return or_raise([&] { return self.getActiveLLMs(); }); },
            NoGil(), "The ids of the registered LLMs.")
        .def("is_llm_active", method(&Bridge::isLLMActive), py::arg("llm_id"), NoGil());
}

template <class Class>
void bind_arrays(Class& cls) {
    cls.def(
           "allocate_memory_array",
           [](Bridge& self, std::size_t size, const Text& llm_id) { return allocate_array(self, size, llm_id); },
           py::arg("size"), py::arg("llm_id"),
           "`size` elements of float32, zero at first, in the LLM's memory: a numpy array of shape (size,) that shows "
           "this\n"
           "very memory, no copy. The LLM is charged for it until it was deallocated and its last view has gone. "
           "Raises\n"
           "QuotaExceededError.")
        .def(
            "deallocate_memory_array",
            [](Bridge& self, const py::array& array, const Text& llm_id) {
                return deallocate_array(self, array, llm_id);
            },
            py::arg("array"), py::arg("llm_id"),
            "Gives the array up: methods of the bridge refuse it from now on, and its memory goes back with the last "
            "numpy\n"
            "array (or torch tensor, or memoryview) that still shows it. Until then these stay valid.")
        .def(
            "get_memory_pointer",
            [](const Bridge& self, const py::array& array) {
                const auto* kept = cogniware::detail::KeptArray::under(array);
                const MemoryArray owned = kept == nullptr ? MemoryArray() : kept->array;
                const void* start = self.getMemoryPointer(owned);
                if (start == nullptr) {
                    cogniware::detail::check(cw_last_status());
                }
                const auto offset = static_cast<const char*>(array.data()) - reinterpret_cast<const char*>(kept->data);
                return reinterpret_cast<std::uintptr_t>(start) + static_cast<std::uintptr_t>(offset);
            },
            py::arg("array"), "The address of an array, or of a view of one, for host and device alike.")
        .def(
            "copy_to_gpu",
            [](Bridge& self, const py::array& array, std::uintptr_t gpu_ptr) {
                const MemoryArray owned = to_memory_array(array);
                const py::gil_scoped_release release;
                return self.copyToGPU(owned, to_address(gpu_ptr));
            },
            py::arg("array"), py::arg("gpu_ptr"),
            "Copies the whole array to memory of the same LLM (an address) and waits. The array's own address is "
            "allowed.")
        .def(
            "copy_from_gpu",
            [](Bridge& self, std::uintptr_t gpu_ptr, const py::array& array) {
                const MemoryArray owned = to_memory_array(array);
                const py::gil_scoped_release release;
                return self.copyFromGPU(to_address(gpu_ptr), owned);
            },
            py::arg("gpu_ptr"), py::arg("array"), "Fills the whole array from there and waits.");
}

template <class Class>
void bind_nodes(Class& cls) {
    cls.def(
           "get_available_compute_nodes",
           [](const Bridge& self) { return or_raise([&] { return self.getAvailableComputeNodes(); }); }, NoGil(),
           "The ids of the compute nodes of the current device that nobody holds.")
        .def("allocate_compute_node", method(&Bridge::allocateComputeNode), py::arg("node_id"), py::arg("llm_id"),
             NoGil(), "Gives a free node to the LLM. False when it is held or unknown.")
        .def("deallocate_compute_node", method(&Bridge::deallocateComputeNode), py::arg("node_id"), py::arg("llm_id"),
             NoGil())
        .def("create_virtual_compute_node", method(&Bridge::createVirtualComputeNode), py::arg("llm_id"),
             py::arg("memory_size"), py::arg("core_count"), NoGil(),
             "More guaranteed memory (bytes), a node and a stream for the LLM; one an LLM.")
        .def("destroy_virtual_compute_node", method(&Bridge::destroyVirtualComputeNode), py::arg("llm_id"), NoGil());
}

template <class Class>
void bind_tasks(Class& cls) {
    cls.def(
           "schedule_task",
           [](Bridge& self, const Text& llm_id, const Text& task_type, const py::object& parameters) {
               const TextMap map = to_settings("parameters", parameters);
               const py::gil_scoped_release release;
               return or_raise([&] { return self.scheduleTask(llm_id, task_type, map); });
           },
           py::arg("llm_id"), py::arg("task_type"), py::arg("parameters") = py::none(),
           "Returns the task's id. Types: \"inference\" (`prompt` and how to generate are parameters, over the LLM's "
           "settings;\n"
           "the result is the text), \"embedding\" and \"tokenize\" (parameter `text`), \"memory_copy\" (`source`, "
           "`destination`: addresses;\n"
           "`bytes`), \"matrix_multiply\" (`a`, `b`, `c`: addresses of float32; `m`, `n`, `k`; `transpose`), those of\n"
           "register_task_type. Every type takes `task_id`, `priority` and `weight`.")
        .def("cancel_task", method(&Bridge::cancelTask), py::arg("task_id"), NoGil())
        .def(
            "get_task_status",
            [](const Bridge& self, const Text& task_id) {
                return or_raise([&] { return self.getTaskStatus(task_id); });
            },
            py::arg("task_id"), NoGil(),
            "task_id; llm_id; status: pending, running, completed, failed or cancelled; result: the text of one that "
            "completed;\n"
            "error: what is wrong with one that did not; created_us, started_us, finished_us: microseconds since 1970, "
            "0 for\n"
            "not yet. Raises NotFoundError.")
        .def(
            "get_task_result",
            [](const Bridge& self, const Text& task_id) {
                return or_raise([&] { return self.getTaskResult(task_id); });
            },
            py::arg("task_id"), NoGil(), "The text of a task that completed; empty for any other.")
        .def("wait_for_task", &wait_for_task<Bridge>, py::arg("task_id"), py::arg("timeout") = py::none(),
             "Waits for a task's end, at most `timeout` seconds (None: without end); False when it has not ended by "
             "then or is\n"
             "unknown. Looks for Ctrl-C meanwhile.");
}

template <class Class>
void bind_text(Class& cls) {
    // Through the LLM's own settings, with the parameters on top.
    const auto start = [](Bridge& self, const Text& llm_id, const Text& prompt, const py::object& parameters) {
        const TextMap over = to_settings("parameters", parameters);
        const py::gil_scoped_release release;
        if (!self.isLLMActive(llm_id)) {
            cogniware::detail::check(cw_bridge_llm_register(self.get(), llm_id.c_str(), nullptr));
        }
        cogniware::GenerateOptions options;
        cogniware::detail::read_options(self.getLLMConfig(llm_id), options, false);
        cogniware::detail::read_options(over, options, true);
        cw_model* raw = nullptr;
        cogniware::detail::check(cw_bridge_model(self.get(), llm_id.c_str(), &raw));
        auto model = std::make_shared<cogniware::detail::Handle<cw_model, cw_model_free>>(raw);
        return std::make_unique<PyGeneration>(raw, prompt, options, model);
    };
    cls.def(
           "generate",
           [start](Bridge& self, const Text& llm_id, const Text& prompt, py::object callback, py::object parameters) {
               // In C++ parameters may follow the prompt.
               if (py::isinstance<py::dict>(callback) && parameters.is_none()) {
                   std::swap(callback, parameters);
               }
               if (!callback.is_none() && PyCallable_Check(callback.ptr()) == 0) {
                   throw py::type_error("argument `callback`: must be callable with a Token");
               }
               const auto generation = start(self, llm_id, prompt, parameters);
               if (!callback.is_none()) {
                   try {
                       for (;;) {
                           const py::object go_on = callback(generation->next());
                           if (!go_on.is_none() && !go_on.cast<bool>()) {
                               generation->cancel();
                               break;
                           }
                       }
                   } catch (const py::stop_iteration&) {
                   } catch (...) {
                       generation->cancel();
                       throw;
                   }
               }
               generation->wait(py::none());
               return cogniware::detail::read_text([&](char* buffer, std::size_t length, std::size_t* needed) {
                   return cw_generation_text(generation->get(), buffer, length, needed);
               });
           },
           py::arg("llm_id"), py::arg("prompt"), py::arg("callback") = py::none(), py::arg("parameters") = py::none(),
           "Generates and returns the text. `callback` is called in this thread with each Token as it is made; False "
           "from it\n"
           "ends the generation, what it raises ends it and is raised from here. `parameters` as for an \"inference\" "
           "task, a\n"
           "dict that may stand in the place of `callback` too. Ctrl-C cancels.")
        .def("stream", start, py::arg("llm_id"), py::arg("prompt"), py::arg("parameters") = py::none(),
             "Starts generating and returns at once: a Generation to iterate over.");
}

template <class Class>
void bind_figures(Class& cls) {
    cls.def(
           "get_resource_usage",
           [](const Bridge& self, const Text& llm_id) {
               return or_raise([&] { return self.getResourceUsage(llm_id); });
           },
           py::arg("llm_id"), NoGil(), "Bytes, counts, whole seconds and shares: fractions are cut off.")
        .def(
            "get_memory_usage",
            [](const Bridge& self, const Text& llm_id) {
                return or_raise([&] { return self.getMemoryUsage(llm_id); });
            },
            py::arg("llm_id"), NoGil(), "Bytes and counts.")
        .def(
            "get_performance_metrics",
            [](const Bridge& self) { return or_raise([&] { return self.getPerformanceMetrics(); }); }, NoGil(),
            "Figures with their unit in the name.")
        .def(
            "get_system_info", [](const Bridge& self) { return or_raise([&] { return self.getSystemInfo(); }); },
            NoGil(), "The device, its driver and its memory, as text.");
}

// Arrays that other processes open.
template <class Class, class Self = Bridge>
auto bind_shared_arrays(Class& cls, int)
    -> decltype(std::declval<Self&>().createSharedMemoryArray(std::size_t(), std::string()), void()) {
    cls.def(
           "create_shared_memory_array",
           [](Self& self, std::size_t size, const Text& llm_id) {
               MemoryArray array;
               {
                   const py::gil_scoped_release release;
                   array = or_raise([&] { return self.createSharedMemoryArray(size, llm_id); });
               }
               return to_numpy(array);
           },
           py::arg("size"), py::arg("llm_id"),
           "allocate_memory_array whose memory other processes can open by get_shared_memory_name.")
        .def(
            "open_shared_memory_array",
            [](Self& self, const Text& name, const Text& llm_id) {
                MemoryArray array;
                {
                    const py::gil_scoped_release release;
                    array = or_raise([&] { return self.openSharedMemoryArray(name, llm_id); });
                }
                return to_numpy(array);
            },
            py::arg("name"), py::arg("llm_id"),
            "The shared array of another process, by its name there or the number of a descriptor that this process "
            "got (as\n"
            "text). The LLM is charged all of it.")
        .def(
            "destroy_shared_memory_array",
            [](Self& self, const py::array& array, const Text& llm_id) {
                const MemoryArray owned = to_memory_array(array);
                const py::gil_scoped_release release;
                return self.destroySharedMemoryArray(owned, llm_id);
            },
            py::arg("array"), py::arg("llm_id"),
            "Gives it up here, as deallocate_memory_array does. Other processes keep what they opened.")
        .def(
            "get_shared_memory_pointer",
            [](const Self& self, const py::array& array) {
                const MemoryArray owned = to_memory_array(array);
                void* pointer = self.getSharedMemoryPointer(owned);
                return reinterpret_cast<std::uintptr_t>(raised_if_empty(std::move(pointer), pointer == nullptr));
            },
            py::arg("array"), "Its address for host and device alike.")
        .def(
            "get_shared_memory_name",
            [](const Self& self, const py::array& array) {
                const MemoryArray owned = to_memory_array(array);
                return or_raise([&] { return self.getSharedMemoryName(owned); });
            },
            py::arg("array"), "What a process of the same user opens it by while this process has it.")
        .def(
            "get_shared_memory_descriptor",
            [](const Self& self, const py::array& array) {
                int fd = self.getSharedMemoryDescriptor(to_memory_array(array));
                return raised_if_empty(std::move(fd), fd < 0);
            },
            py::arg("array"), "A descriptor of it to pass on; yours to close.");
}

template <class Class>
void bind_shared_arrays(Class&, long) {}

// A Python function as a type of task.
struct TaskType {
    Callable function;

    std::string operator()(cogniware::TaskContext& context, const std::string& llm_id,
                           const TextMap& parameters) const {
        std::string text;
        function.run([&](const py::object& call) {
            const SeenContext seen(context);
            const py::object result = call(seen.get(), llm_id, parameters);
            text = result.is_none() ? seen.get()->result : std::string(py::str(result));
        });
        return text;
    }
};

template <class Class, class Self = Bridge>
auto bind_task_types(Class& cls, int)
    -> decltype(std::declval<Self&>().registerTaskType(std::string(), std::declval<TaskType>()), void()) {
    cls.def(
        "register_task_type",
        [](Self& self, const Text& name, const py::object& function) {
            if (PyCallable_Check(function.ptr()) == 0) {
                throw py::type_error("argument `function`: must be callable with a TaskContext, an id and a dict");
            }
            const TaskType type{Callable(function)};
            const py::gil_scoped_release release;
            return self.registerTaskType(name, type);
        },
        py::arg("name"), py::arg("function"),
        "Adds a type of task: schedule_task with this name then runs function(context, llm_id, parameters) with the "
        "GIL; what\n"
        "it returns is the task's result. False when the name is taken.");
}

template <class Class>
void bind_task_types(Class&, long) {}

template <class Class>
void bind_settings(Class& cls) {
    offer_settings<Bridge, const Text&>(
        cls, "optimize_for_llm", "requirements",
        [](auto& self, const Text& llm_id, const TextMap& requirements)
            COGNIWARE_WHEN(self.optimizeForLLM(llm_id, requirements)),
        py::arg("llm_id"), py::arg("requirements"),
        "Gives the LLM what it requires; see AdvancedCustomizedKernel.optimize_for_llm. get_llm_config shows it.");
    offer<Bridge, int>(cls, "get_compute_node_info",
                       [](auto& self, int node_id) COGNIWARE_WHEN_FULL(self.getComputeNodeInfo(node_id)),
                       py::arg("node_id"), "What is known of a compute node, held or free, as text.");
    offer<Bridge, const Text&>(cls, "get_active_tasks",
                               [](auto& self, const Text& llm_id) COGNIWARE_WHEN_FULL(self.getActiveTasks(llm_id)),
                               py::arg("llm_id"), "The ids of the LLM's tasks that have not ended.");
    offer<Bridge, const Text&, float>(
        cls, "set_task_weightage",
        [](auto& self, const Text& task_id, float weight) COGNIWARE_WHEN(self.setTaskWeightage(task_id, weight)),
        py::arg("task_id"), py::arg("weight"),
        "The weight of the task's work from now on, 1 is normal. False when it has ended or is unknown.");
    offer<Bridge, const Text&>(
        cls, "unregister_task_type", [](auto& self, const Text& name) COGNIWARE_WHEN(self.unregisterTaskType(name)),
        py::arg("name"), "Takes a registered type away; its tasks that are scheduled already go on.");
    offer<Bridge>(cls, "get_task_types", [](auto& self) COGNIWARE_WHEN_FULL(self.getTaskTypes()),
                  "The names of all task types.");
    offer<Bridge, const Text&>(cls, "get_resource_figures",
                               [](auto& self, const Text& llm_id) COGNIWARE_WHEN_FULL(self.getResourceFigures(llm_id)),
                               py::arg("llm_id"), "get_resource_usage with fractions.");
}

template <class Class>
void bind_profiling(Class& cls) {
    offer<Bridge, const Text&>(
        cls, "enable_profiling", [](auto& self, const Text& llm_id) COGNIWARE_WHEN(self.enableProfiling(llm_id)),
        py::arg("llm_id"), "Records the LLM's kernels, copies, steps, tasks and waits from now on.");
    offer<Bridge, const Text&>(cls, "disable_profiling",
                               [](auto& self, const Text& llm_id) COGNIWARE_WHEN(self.disableProfiling(llm_id)),
                               py::arg("llm_id"), "The figures stay.");
    offer<Bridge, const Text&>(cls, "get_profiling_data",
                               [](auto& self, const Text& llm_id) COGNIWARE_WHEN_FULL(self.getProfilingData(llm_id)),
                               py::arg("llm_id"), "`<kind>.<name>.<figure>`, each with its unit, as text.");
    offer<Bridge>(cls, "run_diagnostics", [](auto& self) COGNIWARE_WHEN(self.runDiagnostics()),
                  "Tests the device in use, arrays and a generation; False when a part failed.");
    offer<Bridge>(cls, "get_diagnostic_results", [](auto& self) COGNIWARE_WHEN_FULL(self.getDiagnosticResults()),
                  "Of the last run: name -> \"passed\", \"failed\" or \"skipped\"; name.detail; name.seconds.");
    bind_profiler<Bridge>(cls);
}

}  // namespace

void bind_bridge(py::module_& module) {
    bind_generation(module);
    py::class_<Bridge, std::shared_ptr<Bridge>> cls(module, "AdvancedPythonCppBridge",
                                                    "LLMs by name, their arrays, nodes and tasks. An LLM that nobody "
                                                    "registered is opened with defaults on first use.\n"
                                                    "Methods that return bool never raise an Error: False means that "
                                                    "nothing was done, and last_error() says why; the\n"
                                                    "others raise Error. Sizes are bytes unless they count elements. "
                                                    "Usable from any thread; calls release the GIL.",
                                                    py::release_gil_before_calling_cpp_dtor());
    cls.def(py::init<>())
        .def("initialize", method(&Bridge::initialize), NoGil(), "Does nothing when that was done.")
        .def("shutdown", method(&Bridge::shutdown), NoGil(),
             "Unregisters every LLM: what they generate ends as cancelled. May be initialised again.")
        .def("is_initialized", method(&Bridge::isInitialized), NoGil());
    bind_llms(cls);
    bind_arrays(cls);
    bind_shared_arrays(cls, 0);
    bind_task_types(cls, 0);
    bind_nodes(cls);
    bind_tasks(cls);
    bind_text(cls);
    bind_figures(cls);
    bind_settings(cls);
    bind_profiling(cls);
    // What cogniware_core.MemoryArray asks about itself.
    module.def(
        "_array_device",
        [](const py::array& array) {
            const auto* kept = cogniware::detail::KeptArray::under(array);
            std::int32_t kind = CW_DEVICE_CPU;
            std::int32_t ordinal = 0;
            if (kept != nullptr) {
                cogniware::detail::check(cw_array_device(kept->handle.get(), &kind, &ordinal));
            }
            return py::make_tuple(kept != nullptr, kind, ordinal);
        },
        py::arg("array"));
}

}  // namespace cogniware_python
