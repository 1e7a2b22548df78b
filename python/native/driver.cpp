// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedCustomizedDriver.
#include "bindings.hpp"
#include "error.hpp"
#include "offer.hpp"
#include "values.hpp"

#include <cogniware/core/driver.h>

namespace cogniware_python {

using Driver = cogniware::AdvancedCustomizedDriver;

namespace {

#define COGNIWARE_OFFER_SWITCH(name, method, doc) \
    offer<Driver>(cls, name, [](auto& self) COGNIWARE_WHEN(self.method()), doc)

template <class Class>
void bind_switches(Class& cls) {
    COGNIWARE_OFFER_SWITCH("bypass_standard_driver", bypassStandardDriver,
                           "Work goes by Cogniware's own way, the default; get_driver_info shows what that saves.");
    COGNIWARE_OFFER_SWITCH("enable_direct_hardware_access", enableDirectHardwareAccess, "The same.");
    COGNIWARE_OFFER_SWITCH("disable_direct_hardware_access", disableDirectHardwareAccess,
                           "Work goes by the standard way. Quotas hold.");
    COGNIWARE_OFFER_SWITCH("optimize_for_multiple_llms", optimizeForMultipleLLMs,
                           "The compute nodes and the gate suit many tenants side by side.");
    COGNIWARE_OFFER_SWITCH("optimize_for_single_llm", optimizeForSingleLLM, "They suit one wide tenant.");
    COGNIWARE_OFFER_SWITCH("enable_tensor_core_optimization", enableTensorCoreOptimization,
                           "Products may use tensor cores, with their precision.");
    COGNIWARE_OFFER_SWITCH("disable_tensor_core_optimization", disableTensorCoreOptimization,
                           "Products keep to strict precision.");
    COGNIWARE_OFFER_SWITCH("enable_memory_optimization", enableMemoryOptimization,
                           "Pools grow in larger pieces and keep what falls free.");
    COGNIWARE_OFFER_SWITCH("disable_memory_optimization", disableMemoryOptimization, "Ends that.");
    COGNIWARE_OFFER_SWITCH("enable_nvlink_optimization", enableNVLinkOptimization,
                           "GPUs use each other's memory directly. False with fewer than two GPUs that can.");
    COGNIWARE_OFFER_SWITCH("disable_nvlink_optimization", disableNVLinkOptimization, "Ends that.");
    COGNIWARE_OFFER_SWITCH("enable_async_memory_transfers", enableAsyncMemoryTransfers,
                           "Large queued copies run on transfer streams of their own.");
    COGNIWARE_OFFER_SWITCH("disable_async_memory_transfers", disableAsyncMemoryTransfers, "Ends that.");
}

template <class Class>
void bind_modules_and_installation(Class& cls) {
    offer<Driver, const Text&>(
        cls, "load_kernel_module", [](auto& self, const Text& path) COGNIWARE_WHEN(self.loadKernelModule(path)),
        py::arg("path"), "Loads a kernel module (.ko), or GPU code (.ptx, .cubin, .fatbin), by the file's content.");
    COGNIWARE_OFFER_SWITCH("unload_kernel_module", unloadKernelModule, "Unloads the one that was loaded last.");
    COGNIWARE_OFFER_SWITCH("patch_kernel_module", patchKernelModule, "Writes the parameters of NVIDIA's module.");
    COGNIWARE_OFFER_SWITCH("install_custom_driver", installCustomDriver,
                           "Installs the library's files and the modules' configuration; all or nothing.");
    COGNIWARE_OFFER_SWITCH("uninstall_custom_driver", uninstallCustomDriver, "Puts back byte for byte what was there.");
    COGNIWARE_OFFER_SWITCH("verify_driver_installation", verifyDriverInstallation,
                           "False when something differs; last_error() names it.");
    offer<Driver>(
        cls, "get_installation_report",
        [](auto& self) COGNIWARE_WHEN_FULL(self.getInstallationReport()), "What was done, or what differs.");
}

template <class Class>
void bind_figures(Class& cls) {
    offer<Driver>(
        cls, "get_performance_stats", [](auto& self) COGNIWARE_WHEN_FULL(self.getPerformanceStats()),
        "Figures with their unit in the name.");
    COGNIWARE_OFFER_SWITCH("run_diagnostics", runDiagnostics, "Tests the current device; False when a part failed.");
    offer<Driver>(
        cls, "get_diagnostic_results", [](auto& self) COGNIWARE_WHEN_FULL(self.getDiagnosticResults()),
        "Of the last run: name -> \"passed\", \"failed\" or \"skipped\"; name.detail; name.seconds.");
    offer<Driver>(
        cls, "get_supported_gpus", [](auto& self) COGNIWARE_WHEN_FULL(self.getSupportedGPUs()),
        "The GPUs that the embedded kernels run on, one a text.");
    offer_settings<Driver>(
        cls, "set_configuration", "config",
        [](auto& self, const TextMap& config) COGNIWARE_WHEN(self.setConfiguration(config)), py::arg("config"),
        "Changes keys, all of them or none. Unknown ones are refused by name.");
    offer<Driver>(
        cls, "get_configuration", [](auto& self) COGNIWARE_WHEN_FULL(self.getConfiguration()),
        "Every key with what is in force for it.");
}

}  // namespace

void bind_driver(py::module_& module) {
    py::class_<Driver, std::shared_ptr<Driver>> cls(
        module, "AdvancedCustomizedDriver",
        "What is known of the installed drivers, and the kernel manager above them. Methods that return bool never raise\n"
        "an Error: False leaves its reason in last_error(). Usable from any thread.",
        py::release_gil_before_calling_cpp_dtor());
    cls.def(py::init<>())
        .def("initialize", method(&Driver::initialize), NoGil())
        .def("shutdown", method(&Driver::shutdown), NoGil(), "The kernel manager lives on.")
        .def(
            "get_kernel",
            [](const Driver& self) {
                auto kernel = self.getKernel();
                return raised_if_empty(std::move(kernel), kernel == nullptr);
            },
            NoGil(), "The kernel manager of this driver; raises NotInitializedError before initialize().")
        .def(
            "get_driver_info", [](const Driver& self) { return or_raise([&] { return self.getDriverInfo(); }); },
            NoGil(),
            "\"driver_initialized\" (\"true\" or \"false\"), versions and devices, as text. Answers before initialize() too.");
    bind_switches(cls);
    bind_modules_and_installation(cls);
    bind_figures(cls);
}

}  // namespace cogniware_python
