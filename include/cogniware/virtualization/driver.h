// SPDX-License-Identifier: MIT OR Apache-2.0
// CUDAVirtualizationDriver: virtual GPUs as a whole.
#ifndef COGNIWARE_VIRTUALIZATION_DRIVER_H
#define COGNIWARE_VIRTUALIZATION_DRIVER_H

#include <cogniware/detail/monitor_callback.hpp>
#include <cogniware/detail/virtual_convert.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {

// The virtual GPUs of this process: tenants `vgpu:<id>` beside the LLMs, in the same ledger and at the same gate. Methods that
// return bool never throw: false means that nothing was done, and cogniware::last_error() says why. Methods that return lists
// and structs give empty ones then (ids of -1). Usable from any thread.
class CUDAVirtualizationDriver {
public:
    static CUDAVirtualizationDriver& getInstance() noexcept {
        static CUDAVirtualizationDriver instance;
        return instance;
    }
    CUDAVirtualizationDriver(const CUDAVirtualizationDriver&) = delete;
    CUDAVirtualizationDriver& operator=(const CUDAVirtualizationDriver&) = delete;

    // Opens the device. The same configuration again does nothing; another one is refused until shutdown().
    bool initialize(const VirtualizationConfig& config = {}) noexcept {
        cw_virtualization_config wanted{};
        if (cw_virtualization_config_default(&wanted) != CW_OK) {
            return false;
        }
        wanted.device = config.deviceId;
        wanted.max_virtual_gpus = config.maxVirtualGPUs;
        wanted.max_streams = config.numVirtualStreams;
        return cw_virtualization_initialize(&wanted) == CW_OK;
    }

    // Destroys the virtual GPUs that createVirtualGPU made.
    void shutdown() noexcept { static_cast<void>(cw_virtualization_shutdown()); }

    bool isInitialized() const noexcept {
        std::int32_t initialized = 0;
        return cw_virtualization_is_initialized(&initialized) == CW_OK && initialized != 0;
    }

    // --- virtual GPUs ---

    // Makes a virtual GPU with its memory space and its compute unit; nothing is left of it when that fails.
    bool createVirtualGPU(const VirtualGPUConfig& config) noexcept {
        cw_vgpu_config wanted{};
        if (cw_vgpu_config_default(&wanted) != CW_OK) {
            return false;
        }
        wanted.id = config.virtualGPUId;
        wanted.priority = static_cast<std::int32_t>(config.priority);
        wanted.memory_limit = config.memoryLimit;
        wanted.memory_floor = config.memoryFloor;
        wanted.streams = config.numStreams;
        wanted.processors = config.numComputeUnits;
        wanted.tensor_cores = config.enableTensorCores ? 1 : 0;
        wanted.precision = config.enableMixedPrecision ? CW_PRECISION_BF16 : CW_PRECISION_FP32;
        wanted.compute_share = config.computeShare;
        wanted.compute_cap = config.computeCap;
        wanted.device = config.deviceId;
        // A name with a NUL inside would be cut without a word; a control character is refused by name.
        const char* name = detail::whole(config.name);
        wanted.name = name == nullptr ? "\x01" : name;
        return cw_vgpu_create(&wanted) == CW_OK;
    }

    // Ends it with all its parts: work that waits is withdrawn, work in flight waited for, its memory freed. `leaked` gets the
    // bytes that nobody had freed, which the log names.
    bool destroyVirtualGPU(int virtualGPUId, std::size_t* leaked = nullptr) noexcept {
        std::uint64_t left = 0;
        if (cw_vgpu_destroy(virtualGPUId, &left) != CW_OK) {
            return false;
        }
        if (leaked != nullptr) {
            *leaked = left;
        }
        return true;
    }

    // NOT_CREATED for an id that does not exist, and before initialize().
    VirtualGPUStatus getVirtualGPUStatus(int virtualGPUId) const noexcept {
        std::int32_t status = CW_VGPU_NOT_CREATED;
        return cw_vgpu_status(virtualGPUId, &status) == CW_OK ? static_cast<VirtualGPUStatus>(status)
                                                              : VirtualGPUStatus::NOT_CREATED;
    }

    VirtualGPUInfo getVirtualGPUInfo(int virtualGPUId) const {
        cw_vgpu_info info{};
        info.struct_size = sizeof info;
        return cw_vgpu_get_info(virtualGPUId, &info) == CW_OK ? detail::to_cpp(info) : VirtualGPUInfo{};
    }

    // All of them by id, those with one part only included.
    std::vector<VirtualGPUInfo> getAllVirtualGPUInfo() const {
        std::vector<VirtualGPUInfo> all;
        for (const std::int32_t id :
             detail::read_list<std::int32_t>([](std::int32_t* ids, std::size_t capacity, std::size_t* count) {
                 return cw_virtualization_gpus(ids, capacity, count);
             })) {
            VirtualGPUInfo info = getVirtualGPUInfo(id);
            if (info.virtualGPUId == id) {
                all.push_back(std::move(info));
            }
        }
        return all;
    }

    // Part of the last second that the whole device was busy, 0 to 1, with work of all programs: a GPU by NVML, the CPU (the mean of
    // its cores) by the system's counters. -1 where nobody tells, and on the CPU in the first tenth of a second.
    float getGPUUtilization() const noexcept {
        float utilization = -1.0F;
        return cw_virtualization_utilization(&utilization) == CW_OK ? utilization : -1.0F;
    }

    // --- memory ---

    // Memory of the virtual GPU, aligned to 256. On a GPU a device address, for copies and kernels only.
    bool allocateMemory(int virtualGPUId, std::size_t size, void** ptr) noexcept {
        return cw_vgpu_memory_alloc(virtualGPUId, size, ptr) == CW_OK;
    }

    // By the very pointer that was returned. Work that was queued on streams of the virtual GPU before is waited for.
    bool freeMemory(int virtualGPUId, void* ptr) noexcept { return cw_vgpu_memory_free(virtualGPUId, ptr) == CW_OK; }

    // Copies and waits. Ends in the virtual GPU's memory must lie in one allocation each; `kind` must be true; ranges must not
    // overlap.
    bool copyMemory(int virtualGPUId, void* dst, const void* src, std::size_t size, cudaMemcpyKind kind) noexcept {
        return cw_vgpu_memory_copy(virtualGPUId, dst, src, size, static_cast<std::int32_t>(kind), CW_NO_STREAM) ==
               CW_OK;
    }

    // The same in the order of a stream; both ranges must stay valid until it has run.
    bool copyMemoryAsync(int virtualGPUId, void* dst, const void* src, std::size_t size, cudaMemcpyKind kind,
                         int streamId) noexcept {
        return cw_vgpu_memory_copy(virtualGPUId, dst, src, size, static_cast<std::int32_t>(kind), streamId) == CW_OK;
    }

    // Sets bytes of one allocation to the low byte of `value`, and waits.
    bool memset(int virtualGPUId, void* ptr, int value, std::size_t size) noexcept {
        return cw_vgpu_memory_fill(virtualGPUId, ptr, value, size, CW_NO_STREAM) == CW_OK;
    }

    // --- monitoring (docs/virtualization.md) ---

    // The driver's device as a whole, beside what the tenants of this process had of it.
    DeviceUsage getDeviceUsage() const noexcept {
        cw_device_usage usage{};
        usage.struct_size = sizeof usage;
        return detail::attempt([&] { return cw_virtualization_device_usage(&usage); }) ? detail::to_cpp(usage)
                                                                                       : DeviceUsage{};
    }

    // Calls `callback` with the figures of all virtual GPUs every `intervalMs` (10 to 86,400,000), on one thread of its own, until
    // another is set, an empty one is, or shutdown(). It may call this class. What it throws goes to the log.
    bool setMonitoringCallback(int intervalMs,
                               std::function<void(const std::vector<VirtualGPUInfo>&)> callback) noexcept {
        return detail::attempt([&]() -> cw_status {
            if (!callback) {
                return cw_virtualization_monitor_set(nullptr, nullptr, nullptr, 0);
            }
            auto* monitor = new detail::MonitorCallback{
                [this, callback = std::move(callback)] { callback(getAllVirtualGPUInfo()); }};
            return cw_virtualization_monitor_set(detail::MonitorCallback::run, monitor, detail::MonitorCallback::drop,
                                                 intervalMs < 0 ? 0 : static_cast<std::uint64_t>(intervalMs));
        });
    }

    // Everything as Prometheus text; empty on an error.
    std::string exportPrometheus() const {
        try {
            return detail::read_text(cw_profiler_prometheus);
        } catch (const Error&) {
            return {};
        }
    }

    // Writes that to a file now and every `intervalMs`, until another path is published, stopPublishing() or shutdown(). Readers
    // (node_exporter's textfile collector, cogniware-top) see a whole text each time. The file stays.
    bool publishMetrics(const std::string& path, int intervalMs = 1000) noexcept {
        return cw_virtualization_publish(detail::whole(path),
                                         intervalMs < 0 ? 0 : static_cast<std::uint64_t>(intervalMs)) == CW_OK;
    }
    bool stopPublishing() noexcept { return cw_virtualization_publish_stop() == CW_OK; }

    // --- work ---

    // Queues C = A B on a stream, row-major: A is m x k, B k x n, C m x n, dense. CUDA_R_32F, CUDA_R_64F, CUDA_R_16F, CUDA_R_16BF,
    // or CUDA_R_8I with C of CUDA_R_32I. What goes wrong later is told by synchronize().
    bool matrixMultiply(int virtualGPUId, const void* A, const void* B, void* C, int m, int n, int k,
                        cudaDataType_t dataType, int streamId = 0) noexcept {
        return matrixMultiply(virtualGPUId, A, B, C, m, n, k, dataType, MatrixOptions{}, streamId);
    }

    // C = alpha op(A) op(B) + beta C, with leading dimensions, batches and strides.
    bool matrixMultiply(int virtualGPUId, const void* A, const void* B, void* C, int m, int n, int k,
                        cudaDataType_t dataType, const MatrixOptions& options, int streamId = 0) noexcept {
        cw_matmul product{};
        if (cw_matmul_default(&product) != CW_OK) {
            return false;
        }
        product.a = A;
        product.b = B;
        product.c = C;
        product.m = m;
        product.n = n;
        product.k = k;
        product.data_type = static_cast<std::int32_t>(dataType);
        product.transpose_a = options.transposeA ? 1 : 0;
        product.transpose_b = options.transposeB ? 1 : 0;
        product.lda = options.lda;
        product.ldb = options.ldb;
        product.ldc = options.ldc;
        product.batch = options.batch;
        product.stride_a = options.strideA;
        product.stride_b = options.strideB;
        product.stride_c = options.strideC;
        product.alpha = options.alpha;
        product.beta = options.beta;
        return cw_vgpu_matrix_multiply(virtualGPUId, &product, streamId, nullptr) == CW_OK;
    }

    // Queues a convolution on a stream: input NCHW, filter OIHW, output NCHW, one group, no dilation.
    bool convolutionForward(int virtualGPUId, const void* input, const void* filter, void* output, int batchSize,
                            int inChannels, int outChannels, int height, int width, int kernelSize, int stride,
                            int padding, cudaDataType_t dataType, int streamId = 0) noexcept {
        cw_convolution wanted{};
        wanted.struct_size = sizeof wanted;
        wanted.input = input;
        wanted.filter = filter;
        wanted.output = output;
        wanted.batch = batchSize;
        wanted.in_channels = inChannels;
        wanted.out_channels = outChannels;
        wanted.height = height;
        wanted.width = width;
        wanted.kernel = kernelSize;
        wanted.stride = stride;
        wanted.padding = padding;
        wanted.data_type = static_cast<std::int32_t>(dataType);
        return cw_vgpu_convolution_forward(virtualGPUId, &wanted, streamId, nullptr) == CW_OK;
    }

    // Queues an activation of a dense NCHW tensor on a stream: relu, leaky_relu (slope 0.01), sigmoid, tanh, gelu, gelu_tanh, silu,
    // softmax (over the channels), … `output` may be `input`.
    bool activationForward(int virtualGPUId, const void* input, void* output, int batchSize, int channels, int height,
                           int width, const std::string& activationType, cudaDataType_t dataType,
                           int streamId = 0) noexcept {
        cw_activation wanted{};
        wanted.struct_size = sizeof wanted;
        wanted.name = detail::whole(activationType);
        wanted.input = input;
        wanted.output = output;
        wanted.batch = batchSize;
        wanted.channels = channels;
        wanted.height = height;
        wanted.width = width;
        wanted.data_type = static_cast<std::int32_t>(dataType);
        return cw_vgpu_activation_forward(virtualGPUId, &wanted, streamId, nullptr) == CW_OK;
    }

    // Waits for everything queued on one stream of it, or on all; false also when that raised an error.
    bool synchronize(int virtualGPUId, int streamId) noexcept {
        return cw_vgpu_synchronize(virtualGPUId, streamId) == CW_OK;
    }
    bool synchronize(int virtualGPUId) noexcept { return cw_vgpu_synchronize(virtualGPUId, CW_NO_STREAM) == CW_OK; }

private:
    CUDAVirtualizationDriver() = default;
};

}  // namespace cogniware

#endif
