// SPDX-License-Identifier: MIT OR Apache-2.0
// KernelDriverManager and PythonCppBridgeManager: one object each, for the process.
#include "arrays.hpp"
#include "bindings.hpp"
#include "error.hpp"
#include "offer.hpp"
#include "shared.hpp"
#include "values.hpp"

#include <cogniware/core/bridge_manager.h>
#include <cogniware/core/kernel_driver_manager.h>

namespace cogniware_python {
namespace {

using System = cogniware::KernelDriverManager;
using Manager = cogniware::PythonCppBridgeManager;

void bind_system(py::module_& module) {
    py::class_<System, std::unique_ptr<System, py::nodelete>> cls(
        module, "KernelDriverManager",
        "The process-wide kernel and driver managers. Methods that return bool never raise an Error: False leaves its\n"
        "reason in last_error(). Usable from any thread; calls release the GIL.");
    cls.def_static("get_instance", &System::getInstance, py::return_value_policy::reference,
                   "The one object of this class.")
        .def("initialize_system", method(&System::initializeSystem), NoGil(),
             "Finds the devices. Does nothing when that was done.")
        .def("shutdown_system", method(&System::shutdownSystem), NoGil(),
             "What was made through the process-wide managers ends. May be initialised again.")
        .def("is_system_initialized", method(&System::isSystemInitialized), NoGil())
        .def("get_kernel", &System::getKernel, NoGil(),
             "The process-wide kernel manager; before initialize_system() its methods fail and say so.")
        .def("get_driver", &System::getDriver, NoGil(), "The process-wide driver manager.")
        .def(
            "get_system_performance_metrics",
            [](const System& self) { return or_raise([&] { return self.getSystemPerformanceMetrics(); }); }, NoGil(),
            "Figures with their unit in the name: seconds, shares from 0 to 1, counts.")
        .def(
            "get_system_resource_usage",
            [](const System& self) { return or_raise([&] { return self.getSystemResourceUsage(); }); }, NoGil(),
            "Bytes and counts in use.");
    offer<System>(cls, "enable_system_profiling", [](auto& self) COGNIWARE_WHEN(self.enableSystemProfiling()),
                  "Records the work of every LLM from now on.");
    offer<System>(cls, "disable_system_profiling", [](auto& self) COGNIWARE_WHEN(self.disableSystemProfiling()),
                  "The figures stay.");
    offer_settings<System>(
        cls, "set_kernel_configuration", "config",
        [](auto& self, const TextMap& config) COGNIWARE_WHEN(self.setKernelConfiguration(config)), py::arg("config"),
        "Changes keys of the kernel's configuration, all of them or none. Unknown ones are refused by name.");
    offer<System>(cls, "get_kernel_configuration", [](auto& self) COGNIWARE_WHEN_FULL(self.getKernelConfiguration()),
                  "Every key with what is in force for it.");
    offer_settings<System>(cls, "set_driver_configuration", "config",
                           [](auto& self, const TextMap& config) COGNIWARE_WHEN(self.setDriverConfiguration(config)),
                           py::arg("config"), "The same for the driver's.");
    offer<System>(cls, "get_driver_configuration", [](auto& self) COGNIWARE_WHEN_FULL(self.getDriverConfiguration()),
                  "Every key with what is in force for it.");
    bind_profiler<System>(cls);
}

void bind_bridge_manager(py::module_& module) {
    py::class_<Manager, std::unique_ptr<Manager, py::nodelete>> cls(
        module, "PythonCppBridgeManager",
        "Short ways to the process-wide bridge; AdvancedPythonCppBridge says what each method does.");
    cls.def_static("get_instance", &Manager::getInstance, py::return_value_policy::reference,
                   "The one object of this class.")
        .def("initialize_bridge", method(&Manager::initializeBridge), NoGil(), "Does nothing when that was done.")
        .def("shutdown_bridge", method(&Manager::shutdownBridge), NoGil(),
             "Unregisters every LLM: what they generate ends as cancelled. May be initialised again.")
        .def("is_bridge_initialized", method(&Manager::isBridgeInitialized), NoGil())
        .def("get_bridge", &Manager::getBridge, NoGil(),
             "The process-wide bridge; before initialize_bridge() its methods fail and say so.")
        .def(
            "allocate_memory_array",
            [](Manager& self, std::size_t size, const Text& llm_id) {
                return allocate_array(*self.getBridge(), size, llm_id);
            },
            py::arg("size"), py::arg("llm_id"))
        .def(
            "deallocate_memory_array",
            [](Manager& self, const py::array& array, const Text& llm_id) {
                return deallocate_array(*self.getBridge(), array, llm_id);
            },
            py::arg("array"), py::arg("llm_id"))
        .def(
            "get_resource_usage",
            [](const Manager& self, const Text& llm_id) {
                return or_raise([&] { return self.getResourceUsage(llm_id); });
            },
            py::arg("llm_id"), NoGil())
        .def(
            "get_active_llms", [](const Manager& self) { return or_raise([&] { return self.getActiveLLMs(); }); },
            NoGil())
        .def(
            "register_llm",
            [](Manager& self, const Text& llm_id, const py::object& config) {
                const TextMap map = to_settings("config", config);
                const py::gil_scoped_release release;
                return self.registerLLM(llm_id, map);
            },
            py::arg("llm_id"), py::arg("config") = py::none())
        .def("unregister_llm", method(&Manager::unregisterLLM), py::arg("llm_id"), NoGil())
        .def(
            "schedule_task",
            [](Manager& self, const Text& llm_id, const Text& task_type, const py::object& parameters) {
                const TextMap map = to_settings("parameters", parameters);
                const py::gil_scoped_release release;
                return or_raise([&] { return self.scheduleTask(llm_id, task_type, map); });
            },
            py::arg("llm_id"), py::arg("task_type"), py::arg("parameters") = py::none());
    offer_settings<Manager>(
        cls, "set_bridge_configuration", "config",
        [](auto& self, const TextMap& config) COGNIWARE_WHEN(self.setBridgeConfiguration(config)), py::arg("config"),
        "Changes keys of the bridge's configuration, all of them or none. Unknown ones are refused by name.");
    offer<Manager>(cls, "get_bridge_configuration", [](auto& self) COGNIWARE_WHEN_FULL(self.getBridgeConfiguration()),
                   "Every key with what is in force for it.");
}

}  // namespace

void bind_managers(py::module_& module) {
    bind_system(module);
    bind_bridge_manager(module);
}

}  // namespace cogniware_python
