// SPDX-License-Identifier: MIT OR Apache-2.0
// ComputeVirtualizationManager: compute units of virtual GPUs.
#ifndef COGNIWARE_VIRTUALIZATION_COMPUTE_H
#define COGNIWARE_VIRTUALIZATION_COMPUTE_H

#include <cogniware/detail/map.hpp>
#include <cogniware/detail/virtual_convert.hpp>

#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {

// The compute units of virtual GPUs. A unit belongs to the same virtual GPU, whichever manager made it. Methods that return
// bool never throw: false means that nothing was done, and cogniware::last_error() says why. Usable from any thread.
class ComputeVirtualizationManager {
public:
    static ComputeVirtualizationManager& getInstance() noexcept {
        static ComputeVirtualizationManager instance;
        return instance;
    }
    ComputeVirtualizationManager(const ComputeVirtualizationManager&) = delete;
    ComputeVirtualizationManager& operator=(const ComputeVirtualizationManager&) = delete;

    // Opens the device. The same configuration again does nothing; another one is refused until shutdown().
    bool initialize(const ComputeVirtualizationConfig& config = {}) noexcept {
        cw_vcompute_config wanted{};
        if (cw_vcompute_config_default(&wanted) != CW_OK) {
            return false;
        }
        wanted.device = config.deviceId;
        wanted.max_units = config.maxVirtualComputeUnits;
        wanted.scaling = config.enableDynamicScaling ? 1 : 0;
        wanted.balancing = static_cast<std::int32_t>(config.strategy);
        return cw_vcompute_initialize(&wanted) == CW_OK;
    }

    // Destroys the compute units that createVirtualComputeUnit made.
    void shutdown() noexcept { static_cast<void>(cw_vcompute_shutdown()); }

    bool isInitialized() const noexcept {
        std::int32_t initialized = 0;
        return cw_vcompute_is_initialized(&initialized) == CW_OK && initialized != 0;
    }

    // --- units ---

    // A compute unit; the virtual GPU with it when there is none.
    bool createVirtualComputeUnit(int virtualGPUId, const VirtualComputeUnitConfig& config = {}) noexcept {
        cw_vcompute_unit unit{};
        if (cw_vcompute_unit_default(&unit) != CW_OK) {
            return false;
        }
        unit.processors = config.numComputeUnits;
        unit.streams = config.numStreams;
        unit.tensor_cores = config.enableTensorCores ? 1 : 0;
        unit.precision = static_cast<std::int32_t>(config.precision);
        unit.compute_share = config.computeShare;
        unit.priority = static_cast<std::int32_t>(config.priority);
        unit.compute_cap = config.computeCap;
        unit.device = config.deviceId;
        unit.timeout_ms = config.kernelTimeoutMs;
        return cw_vcompute_create(virtualGPUId, &unit) == CW_OK;
    }

    // Work that waits is withdrawn, work in flight waited for; the virtual GPU ends with it when it has no other part.
    bool destroyVirtualComputeUnit(int virtualGPUId) noexcept { return cw_vcompute_destroy(virtualGPUId) == CW_OK; }

    VirtualComputeUnitInfo getVirtualComputeUnitInfo(int virtualGPUId) const noexcept {
        cw_vcompute_info info{};
        info.struct_size = sizeof info;
        return cw_vcompute_get_info(virtualGPUId, &info) == CW_OK ? detail::to_cpp(virtualGPUId, info)
                                                                  : VirtualComputeUnitInfo{};
    }

    // The unit's streams as the device knows them, in order: a CUstream each on a CUDA device, for the program's own CUDA code;
    // null each on the CPU. Work that the program puts there by itself passes no gate and is not charged.
    std::vector<cudaStream_t> getStreams(int virtualGPUId) const {
        std::vector<cudaStream_t> streams;
        for (void* stream : detail::read_list<void*>([&](void** list, std::size_t capacity, std::size_t* count) {
                 return cw_vcompute_streams(virtualGPUId, list, capacity, count);
             })) {
            streams.push_back(static_cast<cudaStream_t>(stream));
        }
        return streams;
    }

    // --- work ---

    // Queues a kernel on a stream once its name, shape, arguments and memory were found right. What goes wrong later belongs to the
    // execution, and to synchronize(). `executionId` gets its number.
    bool executeKernel(int virtualGPUId, const KernelConfig& kernelConfig, int streamId = 0) noexcept {
        return executeKernel(virtualGPUId, kernelConfig, streamId, nullptr);
    }
    bool executeKernel(int virtualGPUId, const KernelConfig& kernelConfig, int streamId, int* executionId) noexcept {
        return detail::attempt([&] {
            const std::vector<cw_argument> arguments = detail::to_c(kernelConfig.arguments);
            cw_kernel_call call{};
            detail::check(cw_kernel_call_default(&call));
            call.name = detail::whole(kernelConfig.kernelName);
            call.module = kernelConfig.module.empty() ? nullptr : kernelConfig.module.c_str();
            const dim3& grid = kernelConfig.gridDim;
            const dim3& block = kernelConfig.blockDim;
            for (int at = 0; at < 3; ++at) {
                call.grid[at] = at == 0 ? grid.x : at == 1 ? grid.y : grid.z;
                call.block[at] = at == 0 ? block.x : at == 1 ? block.y : block.z;
            }
            const std::size_t most = std::numeric_limits<std::uint32_t>::max();
            call.shared =
                static_cast<std::uint32_t>(kernelConfig.sharedMemSize < most ? kernelConfig.sharedMemSize : most);
            call.cooperative = kernelConfig.cooperative ? 1 : 0;
            call.arguments = arguments.data();
            call.argument_count = arguments.size();
            call.timeout_ms = kernelConfig.timeoutMs;
            std::int32_t number = -1;
            const cw_status status = cw_vcompute_execute(virtualGPUId, &call, streamId, &number);
            if (status == CW_OK && executionId != nullptr) {
                *executionId = number;
            }
            return status;
        });
    }

    // The number of the unit's latest execution, of whatever kind; 0 when there was none, -1 on an error.
    int getLastExecutionId(int virtualGPUId) const noexcept {
        std::int32_t number = -1;
        return cw_vcompute_last_execution(virtualGPUId, &number) == CW_OK ? number : -1;
    }

    // Where an execution stands. The last 65536 are known.
    ExecutionStatus getExecutionStatus(int virtualGPUId, int executionId) const {
        return execution(virtualGPUId, executionId, 0.0);
    }

    // The same once it has ended, or after so many milliseconds.
    ExecutionStatus waitForExecution(int virtualGPUId, int executionId, double timeoutMs = 1e6) const {
        return execution(virtualGPUId, executionId, timeoutMs);
    }

    // Queued work is withdrawn; built-in work and host functions stop at their next poll (at most 5 ms, or a block of a host
    // function). Other work on the device cannot be stopped: false, CW_ERROR_UNSUPPORTED. Work that has ended: false, and how.
    bool cancelKernel(int virtualGPUId, int executionId) noexcept {
        return cw_vcompute_cancel(virtualGPUId, executionId, nullptr) == CW_OK;
    }

    // Milliseconds from submission to the end that work may take which names no bound; 0 for none. Late work that has not begun is
    // withdrawn, late work that can be stopped is stopped; other late work runs on and is told as timed out.
    bool setKernelTimeout(int virtualGPUId, double timeoutMs) noexcept {
        return cw_vcompute_set_timeout(virtualGPUId, timeoutMs) == CW_OK;
    }

    // --- kernels ---

    // Loads PTX, a cubin or a fatbin (told by its content) as a module of the virtual GPU. GPUs only.
    bool loadKernelModule(int virtualGPUId, const std::string& module, const void* image, std::size_t size) noexcept {
        return cw_vcompute_module_load(virtualGPUId, detail::whole(module), image, size) == CW_OK;
    }

    // The same from a file.
    bool loadKernelModule(int virtualGPUId, const std::string& module, const std::string& path) noexcept {
        return cw_vcompute_module_load_file(virtualGPUId, detail::whole(module), detail::whole(path)) == CW_OK;
    }

    // Compiles CUDA C++ by NVRTC, which is found at run time, and loads it as a module; images are kept on disk. When the compiler
    // refuses, what it said is in last_error(); when it does not, `log` gets its warnings.
    bool compileKernel(int virtualGPUId, const std::string& module, const std::string& source,
                       const CompileOptions& options = {}, std::string* log = nullptr) noexcept {
        return detail::attempt([&]() -> cw_status {
            const auto flags = detail::pointers(options.options);
            const auto folders = detail::pointers(options.includePaths);
            const auto expressions = detail::pointers(options.nameExpressions);
            std::vector<const char*> names;
            std::vector<const char*> headers;
            for (const auto& header : options.headers) {
                names.push_back(detail::whole(header.first));
                headers.push_back(detail::whole(header.second));
            }
            cw_program_source from{};
            from.struct_size = sizeof from;
            from.name = options.fileName.empty() ? nullptr : options.fileName.c_str();
            from.text = detail::whole(source);
            from.options = flags.data();
            from.option_count = flags.size();
            from.include_paths = folders.data();
            from.include_path_count = folders.size();
            from.header_names = names.data();
            from.headers = headers.data();
            from.header_count = headers.size();
            from.expressions = expressions.data();
            from.expression_count = expressions.size();
            std::string text(1 << 16, '\0');
            std::size_t needed = 0;
            cw_status status =
                cw_vcompute_module_compile(virtualGPUId, detail::whole(module), &from, &text[0], text.size(), &needed);
            if (status == CW_ERROR_BUFFER_TOO_SMALL) {
                // The module is loaded; its warnings are cut.
                needed = text.size();
                status = CW_OK;
            }
            if (status == CW_OK && log != nullptr) {
                text.resize(needed == 0 ? 0 : needed - 1);
                *log = text;
            }
            return status;
        });
    }

    bool unloadKernelModule(int virtualGPUId, const std::string& module) noexcept {
        return cw_vcompute_module_unload(virtualGPUId, detail::whole(module)) == CW_OK;
    }

    // Registers a function of the program as a kernel: called for each block of the grid by all cores of the unit, or once a
    // launch. CPU device only. An exception ends the execution as failed.
    bool registerKernel(int virtualGPUId, const std::string& name, const std::vector<KernelParameter>& parameters,
                        std::function<void(const HostLaunch&, const std::vector<KernelArgument>&)> function,
                        bool perBlock = true) noexcept {
        return detail::attempt([&] {
            std::vector<std::int32_t> kinds;
            std::vector<std::uint32_t> sizes;
            for (const KernelParameter& parameter : parameters) {
                kinds.push_back(static_cast<std::int32_t>(parameter.kind));
                sizes.push_back(static_cast<std::uint32_t>(parameter.size));
            }
            const bool empty = !function;
            return cw_vcompute_register_kernel(virtualGPUId, detail::whole(name), kinds.data(), sizes.data(),
                                               kinds.size(), perBlock ? 1 : 0,
                                               empty ? nullptr : detail::HostKernel::run,
                                               new detail::HostKernel{std::move(function)}, detail::HostKernel::drop);
        });
    }

    // False while it is queued or runs.
    bool unregisterKernel(int virtualGPUId, const std::string& name) noexcept {
        return cw_vcompute_unregister_kernel(virtualGPUId, detail::whole(name)) == CW_OK;
    }

    // All kernels by name: "own", or what a built-in one takes and does.
    std::map<std::string, std::string> getKernels(int virtualGPUId) const {
        return detail::read_map([&](cw_map** map) { return cw_vcompute_kernels(virtualGPUId, map); });
    }

    // Waits for everything queued on one stream of the unit, or on all; false also when that raised an error.
    bool synchronize(int virtualGPUId, int streamId) noexcept {
        return cw_vcompute_synchronize(virtualGPUId, streamId) == CW_OK;
    }
    bool synchronize(int virtualGPUId) noexcept { return cw_vcompute_synchronize(virtualGPUId, CW_NO_STREAM) == CW_OK; }

    // --- resources ---

    // The one of these virtual GPUs whose unit the next work should go to, by the configured strategy; -1 on an error. They may be on
    // several devices.
    int chooseComputeUnit(const std::vector<int>& virtualGPUIds) const noexcept {
        std::int32_t chosen = -1;
        return cw_vcompute_choose(virtualGPUIds.data(), virtualGPUIds.size(), &chosen) == CW_OK ? chosen : -1;
    }

    // The part of contended processors that it asks for, above 0 to 1, from now on.
    bool setComputeShare(int virtualGPUId, float computeShare) noexcept {
        return cw_vcompute_set_share(virtualGPUId, computeShare) == CW_OK;
    }

    // The most of its processors' time that it gets, above 0 to 1, also when nobody else wants them; 0 for no cap.
    bool setComputeCap(int virtualGPUId, float computeCap) noexcept {
        return cw_vcompute_set_cap(virtualGPUId, computeCap) == CW_OK;
    }

    // Another number of cores or SMs (0: the whole device; a GPU's come in groups) while it lives: what is on the device ends
    // where it is, what comes after runs on the new ones, in order.
    bool scaleComputeUnits(int virtualGPUId, int numComputeUnits) noexcept {
        return cw_vcompute_scale(virtualGPUId, numComputeUnits) == CW_OK;
    }

    // Whether its matrix work may use matrix circuits, from the next operation on.
    bool enableTensorCores(int virtualGPUId) noexcept { return cw_vcompute_set_tensor_cores(virtualGPUId, 1) == CW_OK; }
    bool disableTensorCores(int virtualGPUId) noexcept {
        return cw_vcompute_set_tensor_cores(virtualGPUId, 0) == CW_OK;
    }

    // What its matrix work may round to, from the next operation on.
    bool setPrecision(int virtualGPUId, Precision precision) noexcept {
        return cw_vcompute_set_precision(virtualGPUId, static_cast<std::int32_t>(precision)) == CW_OK;
    }

private:
    ComputeVirtualizationManager() = default;

    static ExecutionStatus execution(int virtualGPUId, int executionId, double timeoutMs) {
        cw_execution_info info{};
        info.struct_size = sizeof info;
        ExecutionStatus status;
        if (cw_vcompute_execution(virtualGPUId, executionId, timeoutMs, &info) == CW_OK) {
            status.executionId = info.execution;
            status.streamId = info.stream;
            status.state = static_cast<ExecutionState>(info.state);
            status.running = info.running != 0;
            status.status = info.status;
            status.error = detail::field(info.error);
        }
        return status;
    }
};

}  // namespace cogniware

#endif
