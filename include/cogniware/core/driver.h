// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedCustomizedDriver: how work reaches the devices, what is known of them, and the kernel manager above them.
#ifndef COGNIWARE_CORE_DRIVER_H
#define COGNIWARE_CORE_DRIVER_H

#include <cogniware/core/kernel.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace cogniware {

// Methods that return bool never throw; false leaves its reason in cogniware::last_error(). Usable from any thread.
class AdvancedCustomizedDriver {
public:
    AdvancedCustomizedDriver() noexcept : driver_(cw_driver_create) {}
    explicit AdvancedCustomizedDriver(cw_driver* owned) noexcept : driver_(owned) {}

    bool initialize() noexcept { return cw_driver_initialize(driver_.get()) == CW_OK; }

    // The kernel manager lives on.
    void shutdown() noexcept { static_cast<void>(cw_driver_shutdown(driver_.get())); }

    // The kernel manager of this driver, or null before initialize().
    std::shared_ptr<AdvancedCustomizedKernel> getKernel() const {
        cw_kernel* kernel = nullptr;
        if (cw_driver_kernel(driver_.get(), &kernel) != CW_OK) {
            return nullptr;
        }
        return std::make_shared<AdvancedCustomizedKernel>(kernel);
    }

    // `driver_initialized` ("true" or "false"), versions and devices. Answers before initialize() too.
    std::map<std::string, std::string> getDriverInfo() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_info(driver_.get(), map); });
    }

    // Products of f32 numbers on the current device run on its matrix circuits with narrower inputs (TF32, bf16), from the
    // next step of every model on. False where the device has no such circuits.
    bool enableTensorCoreOptimization() noexcept { return cw_driver_tensor_cores_enable(driver_.get()) == CW_OK; }

    // Back to products whose inputs keep the bits that the weights have.
    bool disableTensorCoreOptimization() noexcept { return cw_driver_tensor_cores_disable(driver_.get()) == CW_OK; }

    // Cuts the current device's processors into slices of the same size (1 to 16), one an LLM; its gate keeps shares to their
    // weights. Nodes that are held keep their units until they are given back.
    bool optimizeForMultipleLLMs(int llms = 4) noexcept {
        return cw_driver_optimize_many(driver_.get(), llms) == CW_OK;
    }

    // One node of all processors; no unit is kept idle for anybody.
    bool optimizeForSingleLLM() noexcept { return cw_driver_optimize_one(driver_.get()) == CW_OK; }

    // Back to one node a core or group of SMs.
    bool resetLLMOptimization() noexcept { return cw_driver_optimize_reset(driver_.get()) == CW_OK; }
    // --- modules ---

    // A kernel module (.ko, .ko.xz, .ko.zst, .ko.gz; needs root; `parameters` as "name=value name=value"), or PTX, a
    // cubin or a fatbin, which becomes a GPU module on the current device. Told by the file's content.
    bool loadKernelModule(const std::string& path) noexcept {
        return cw_driver_module_load(driver_.get(), detail::whole(path), nullptr) == CW_OK;
    }
    bool loadKernelModule(const std::string& path, const std::string& parameters) noexcept {
        return cw_driver_module_load(driver_.get(), detail::whole(path), parameters.c_str()) == CW_OK;
    }

    // The module that was loaded last here, or the one of this name or path.
    bool unloadKernelModule() noexcept { return cw_driver_module_unload(driver_.get(), nullptr) == CW_OK; }
    bool unloadKernelModule(const std::string& name) noexcept {
        return cw_driver_module_unload(driver_.get(), detail::whole(name)) == CW_OK;
    }

    // By path: kind and name of what loadKernelModule loaded.
    std::map<std::string, std::string> getLoadedModules() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_modules(driver_.get(), map); });
    }

    // The functions of the last GPU module, or of the one of this name or path, and what each takes.
    std::map<std::string, std::string> getModuleFunctions(const std::string& module = {}) const {
        return detail::read_map([&](cw_map** map) {
            return cw_driver_module_functions(driver_.get(), module.empty() ? nullptr : module.c_str(), map);
        });
    }

    // Runs a function of a GPU module: the last one that was loaded. The arguments are values of exactly the
    // parameters' types (an address is a void* or a std::uint64_t). Without a stream it has run when this returns.
    template <class... Arguments>
    bool launchFunction(const std::string& name, const std::array<std::uint32_t, 3>& grid,
                        const std::array<std::uint32_t, 3>& block, std::uint32_t sharedBytes, cudaStream_t stream,
                        const Arguments&... arguments) noexcept {
        static_assert((std::is_trivially_copyable<Arguments>::value && ...), "arguments are copied byte by byte");
        const void* values[] = {static_cast<const void*>(&arguments)..., nullptr};
        const std::size_t sizes[] = {sizeof(Arguments)..., 0};
        cw_launch launch{};
        launch.struct_size = sizeof launch;
        launch.function = detail::whole(name);
        for (std::size_t axis = 0; axis < 3; ++axis) {
            launch.grid[axis] = grid[axis];
            launch.block[axis] = block[axis];
        }
        launch.shared = sharedBytes;
        launch.stream = stream;
        launch.arguments = values;
        launch.argument_sizes = sizes;
        launch.argument_count = sizeof...(Arguments);
        return cw_driver_launch(driver_.get(), &launch) == CW_OK;
    }

    // --- installation (docs/installation.md says what goes where) ---

    // Sets keys, all or none, and what is in force; `install_root` is the folder that stands for "/".
    bool setInstallConfiguration(const std::map<std::string, std::string>& settings) noexcept {
        return detail::attempt(
            [&] { return cw_driver_install_configure(driver_.get(), detail::to_c(settings).get()); });
    }
    std::map<std::string, std::string> getInstallConfiguration() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_install_configuration(driver_.get(), map); });
    }

    // The library, the loader's configuration, modules to load at start, NVIDIA's module options: all or nothing.
    bool installCustomDriver() noexcept { return cw_driver_install(driver_.get()) == CW_OK; }

    // Puts back byte for byte what was there before.
    bool uninstallCustomDriver() noexcept { return cw_driver_uninstall(driver_.get()) == CW_OK; }

    // False when something differs from what was installed: last_error() names each difference.
    bool verifyDriverInstallation() noexcept { return cw_driver_verify(driver_.get()) == CW_OK; }

    // Sets parameters of NVIDIA's kernel module for its next load. Its binary is never changed.
    bool patchKernelModule() noexcept { return cw_driver_patch(driver_.get()) == CW_OK; }

    // `phase`, each file's state, parameters, and whether a reload or ldconfig is left to do.
    std::map<std::string, std::string> getInstallationReport() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_installation(driver_.get(), map); });
    }

    // --- the direct path; it holds for the whole process ---

    // Work goes by Cogniware's own way, the default: allocations from pools, large copies through page-locked buffers,
    // recorded steps launched as one command, nothing but the driver's API below. getDriverInfo() tells which path is active
    // ("device.0.path": "direct" or "standard") and what it saves, measured here ("device.0.path.saves_…").
    bool bypassStandardDriver() noexcept { return enableDirectHardwareAccess(); }
    bool enableDirectHardwareAccess() noexcept { return cw_driver_direct_access_enable(driver_.get()) == CW_OK; }

    // Work goes by the standard way: one driver allocation, one pageable copy, one launch at a time. Quotas hold.
    bool disableDirectHardwareAccess() noexcept { return cw_driver_direct_access_disable(driver_.get()) == CW_OK; }

    // --- optimisations; they hold for the whole process ---

    // Pools grow in larger pieces and keep what falls free: fewer driver calls, more physical memory kept.
    bool enableMemoryOptimization() noexcept { return cw_driver_memory_optimization_enable(driver_.get()) == CW_OK; }
    bool disableMemoryOptimization() noexcept { return cw_driver_memory_optimization_disable(driver_.get()) == CW_OK; }

    // GPUs use each other's memory without the host between them. False with fewer than two GPUs that can.
    bool enableNVLinkOptimization() noexcept { return cw_driver_nvlink_enable(driver_.get()) == CW_OK; }
    bool disableNVLinkOptimization() noexcept { return cw_driver_nvlink_disable(driver_.get()) == CW_OK; }

    // copyMemoryAsync of 64 KiB and more runs on transfer streams of its own, in order, and does not hold the caller.
    bool enableAsyncMemoryTransfers() noexcept { return cw_driver_async_transfers_enable(driver_.get()) == CW_OK; }
    bool disableAsyncMemoryTransfers() noexcept { return cw_driver_async_transfers_disable(driver_.get()) == CW_OK; }

    // --- configuration; its keys are with cw_driver_configure ---

    // All keys take effect, or none does. Before initialize() they are checked and kept, and take effect there.
    bool setConfiguration(const std::map<std::string, std::string>& config) noexcept {
        return detail::attempt([&] { return cw_driver_configure(driver_.get(), detail::to_c(config).get()); });
    }

    // What is in force, every key.
    std::map<std::string, std::string> getConfiguration() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_configuration(driver_.get(), map); });
    }

    // --- figures and tests ---

    // "device.0.copied_up_bytes", "device.0.copied_up_gb_per_s", "device.0.launches" and so on; see cw_driver_stats.
    std::map<std::string, double> getPerformanceStats() const {
        return detail::read_numbers<double>([this](cw_map** map) { return cw_driver_stats(driver_.get(), map); });
    }

    // The GPUs that the embedded kernels run on, one a line: "sm_90 (Hopper: H100, H200, GH200; here cuda:0 (…))".
    std::vector<std::string> getSupportedGPUs() const {
        std::vector<std::string> lines;
        for (const auto& gpu :
             detail::read_map([this](cw_map** map) { return cw_driver_supported_gpus(driver_.get(), map); })) {
            lines.push_back(gpu.first + " (" + gpu.second + ")");
        }
        return lines;
    }

    // Tests the current device in a second or two; false when a part failed, whose reason is in last_error().
    bool runDiagnostics() noexcept { return cw_driver_diagnostics_run(driver_.get()) == CW_OK; }

    // Of the last run: "copies" -> "passed", "failed" or "skipped"; "copies.detail"; "copies.seconds".
    std::map<std::string, std::string> getDiagnosticResults() const {
        return detail::read_map([this](cw_map** map) { return cw_driver_diagnostics_results(driver_.get(), map); });
    }

    cw_driver* get() const noexcept { return driver_.get(); }

private:
    detail::Lazy<cw_driver, cw_driver_free> driver_;
};

}  // namespace cogniware

#endif
