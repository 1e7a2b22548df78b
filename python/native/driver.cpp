// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedCustomizedDriver.
#include "bindings.hpp"
#include "error.hpp"
#include "offer.hpp"
#include "values.hpp"

#include <cogniware/core/driver.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

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
    offer<Driver, int>(cls, "optimize_for_multiple_llms",
                       [](auto& self, int llms) COGNIWARE_WHEN(self.optimizeForMultipleLLMs(llms)), py::arg("llms") = 4,
                       "Cuts the current device's processors into slices of the same size (1 to 16), one an LLM. Nodes "
                       "that are held keep\n"
                       "their units until they are given back.");
    COGNIWARE_OFFER_SWITCH("optimize_for_single_llm", optimizeForSingleLLM,
                           "One node of all processors; no unit is kept idle for anybody.");
    COGNIWARE_OFFER_SWITCH("reset_llm_optimization", resetLLMOptimization, "Back to one node a core or group of SMs.");
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

// Sizes in up to three dimensions.
std::array<std::uint32_t, 3> to_dimensions(const char* argument, const py::object& given) {
    std::array<std::uint32_t, 3> sizes = {1, 1, 1};
    if (py::isinstance<py::int_>(given)) {
        sizes[0] = given.cast<std::uint32_t>();
        return sizes;
    }
    const auto list = given.cast<std::vector<std::uint32_t>>();
    if (list.empty() || list.size() > sizes.size()) {
        throw py::value_error("argument `" + std::string(argument) + "`: has 1 to 3 sizes");
    }
    std::copy(list.begin(), list.end(), sizes.begin());
    return sizes;
}

// The bytes of one value whose type says how many these are.
std::string to_bytes(const py::handle& value) {
    if (PyObject_CheckBuffer(value.ptr()) == 0) {
        throw py::type_error(
            "arguments of a function need exact types: numpy.int32(1), numpy.uint64(address), ctypes.c_float(0.5)");
    }
    const py::buffer_info info = py::reinterpret_borrow<py::buffer>(value).request();
    return std::string(static_cast<const char*>(info.ptr), static_cast<std::size_t>(info.size * info.itemsize));
}

bool launch(Driver& self, const Text& name, const py::object& grid, const py::object& block, const py::args& arguments,
            std::uint32_t shared_bytes, std::uintptr_t stream) {
    std::vector<std::string> values;
    for (const auto& argument : arguments) {
        values.push_back(to_bytes(argument));
    }
    std::vector<const void*> pointers;
    std::vector<std::size_t> sizes;
    for (const auto& value : values) {
        pointers.push_back(value.data());
        sizes.push_back(value.size());
    }
    cw_launch launch{};
    launch.struct_size = sizeof launch;
    launch.function = name.c_str();
    const auto grid_sizes = to_dimensions("grid", grid);
    const auto block_sizes = to_dimensions("block", block);
    std::copy(grid_sizes.begin(), grid_sizes.end(), launch.grid);
    std::copy(block_sizes.begin(), block_sizes.end(), launch.block);
    launch.shared = shared_bytes;
    launch.stream = to_address(stream);
    launch.arguments = pointers.data();
    launch.argument_sizes = sizes.data();
    launch.argument_count = values.size();
    const py::gil_scoped_release release;
    return cw_driver_launch(self.get(), &launch) == CW_OK;
}

template <class Class>
void bind_modules_and_installation(Class& cls) {
    cls.def("launch_function", &launch, py::arg("name"), py::arg("grid"), py::arg("block"), py::arg("shared_bytes") = 0,
            py::arg("stream") = 0,
            "Runs a function of the GPU module that was loaded last: launch_function(name, grid, block, *arguments). "
            "`grid` and\n"
            "`block` are an int or up to three. Arguments need exact types: numpy.int32(1), numpy.uint64(address). "
            "Without a stream\n"
            "it has run when this returns.");
    offer<Driver, const Text&, const Text&>(
        cls, "load_kernel_module",
        [](auto& self, const Text& path, const Text& parameters)
            COGNIWARE_WHEN(parameters.empty() ? self.loadKernelModule(path) : self.loadKernelModule(path, parameters)),
        py::arg("path"), py::arg("parameters") = "",
        "Loads a kernel module (.ko, needs root; `parameters` as \"name=value name=value\"), or GPU code (PTX, a "
        "cubin, a fatbin)\n"
        "as a module on the current device, by the file's content.");
    offer<Driver, const Text&>(
        cls, "unload_kernel_module",
        [](auto& self, const Text& name)
            COGNIWARE_WHEN(name.empty() ? self.unloadKernelModule() : self.unloadKernelModule(name)),
        py::arg("name") = "", "Unloads the module that was loaded last, or the one of this name or path.");
    offer<Driver>(cls, "get_loaded_modules", [](auto& self) COGNIWARE_WHEN_FULL(self.getLoadedModules()),
                  "By path: kind and name of what load_kernel_module loaded.");
    offer<Driver, const Text&>(
        cls, "get_module_functions",
        [](auto& self, const Text& module_name) COGNIWARE_WHEN_FULL(self.getModuleFunctions(module_name)),
        py::arg("module") = "",
        "The functions of the last GPU module, or of the one of this name, and what each takes.");
    offer_settings<Driver>(
        cls, "set_install_configuration", "settings",
        [](auto& self, const TextMap& settings) COGNIWARE_WHEN(self.setInstallConfiguration(settings)),
        py::arg("settings"), "Sets keys, all or none; `install_root` is the folder that stands for \"/\".");
    offer<Driver>(cls, "get_install_configuration", [](auto& self) COGNIWARE_WHEN_FULL(self.getInstallConfiguration()),
                  "What is in force.");
    COGNIWARE_OFFER_SWITCH("patch_kernel_module", patchKernelModule, "Writes the parameters of NVIDIA's module.");
    COGNIWARE_OFFER_SWITCH("install_custom_driver", installCustomDriver,
                           "Installs the library's files and the modules' configuration; all or nothing.");
    COGNIWARE_OFFER_SWITCH("uninstall_custom_driver", uninstallCustomDriver, "Puts back byte for byte what was there.");
    COGNIWARE_OFFER_SWITCH("verify_driver_installation", verifyDriverInstallation,
                           "False when something differs; last_error() names it.");
    offer<Driver>(cls, "get_installation_report", [](auto& self) COGNIWARE_WHEN_FULL(self.getInstallationReport()),
                  "What was done, or what differs.");
}

template <class Class>
void bind_figures(Class& cls) {
    offer<Driver>(cls, "get_performance_stats", [](auto& self) COGNIWARE_WHEN_FULL(self.getPerformanceStats()),
                  "Figures with their unit in the name.");
    COGNIWARE_OFFER_SWITCH("run_diagnostics", runDiagnostics, "Tests the current device; False when a part failed.");
    offer<Driver>(cls, "get_diagnostic_results", [](auto& self) COGNIWARE_WHEN_FULL(self.getDiagnosticResults()),
                  "Of the last run: name -> \"passed\", \"failed\" or \"skipped\"; name.detail; name.seconds.");
    offer<Driver>(cls, "get_supported_gpus", [](auto& self) COGNIWARE_WHEN_FULL(self.getSupportedGPUs()),
                  "The GPUs that the embedded kernels run on, one a text.");
    offer_settings<Driver>(cls, "set_configuration", "config",
                           [](auto& self, const TextMap& config) COGNIWARE_WHEN(self.setConfiguration(config)),
                           py::arg("config"), "Changes keys, all of them or none. Unknown ones are refused by name.");
    offer<Driver>(cls, "get_configuration", [](auto& self) COGNIWARE_WHEN_FULL(self.getConfiguration()),
                  "Every key with what is in force for it.");
}

}  // namespace

void bind_driver(py::module_& module) {
    py::class_<Driver, std::shared_ptr<Driver>> cls(
        module, "AdvancedCustomizedDriver",
        "What is known of the installed drivers, and the kernel manager above them. Methods that return bool never "
        "raise\n"
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
            "\"driver_initialized\" (\"true\" or \"false\"), versions and devices, as text. Answers before "
            "initialize() too.");
    bind_switches(cls);
    bind_modules_and_installation(cls);
    bind_figures(cls);
}

}  // namespace cogniware_python
