// SPDX-License-Identifier: MIT OR Apache-2.0
// AdvancedCustomizedKernel: devices, compute nodes, memory, tasks and streams under the documented names.
#ifndef COGNIWARE_CORE_KERNEL_H
#define COGNIWARE_CORE_KERNEL_H

#include <cogniware/core/kernel_types.h>
#include <cogniware/cuda_compat.h>
#include <cogniware/detail/callback.hpp>
#include <cogniware/detail/kernel_convert.hpp>
#include <cogniware/detail/lazy.hpp>
#include <cogniware/detail/map.hpp>
#include <cogniware/detail/profiling.hpp>
#include <cogniware/detail/task_status.hpp>

#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace cogniware {

// Methods that return bool never throw: false means that nothing was done, and cogniware::last_error() says why. Methods
// that return lists, structs or text give empty ones then (ids of -1). Objects may be used from any thread. An `llmId`
// names a tenant; one that nobody registered is opened with default limits on first use. Sizes are bytes.
class AdvancedCustomizedKernel : public detail::Profiling {
public:
    // A kernel manager of its own; KernelDriverManager::getKernel() gives the process-wide one.
    AdvancedCustomizedKernel() noexcept : kernel_(cw_kernel_create) {}
    explicit AdvancedCustomizedKernel(cw_kernel* owned) noexcept : kernel_(owned) {}

    // Finds the devices; the default one becomes the current one.
    bool initialize() noexcept { return cw_kernel_initialize(kernel_.get()) == CW_OK; }

    // Ends what was made through this manager. A manager of its own does so too when it ends.
    void shutdown() noexcept { static_cast<void>(cw_kernel_shutdown(kernel_.get())); }

    bool isInitialized() const noexcept {
        std::int32_t initialized = 0;
        return cw_kernel_is_initialized(kernel_.get(), &initialized) == CW_OK && initialized != 0;
    }

    // --- devices ---

    // Every device, the default one first. The CPU is a device too.
    std::vector<GPUDeviceInfo> getAvailableDevices() const {
        std::vector<GPUDeviceInfo> devices;
        std::size_t count = 0;
        if (cw_kernel_device_count(kernel_.get(), &count) != CW_OK) {
            return devices;
        }
        for (std::size_t index = 0; index < count; ++index) {
            cw_device_info info{};
            if (read_device(index, info)) {
                devices.push_back(detail::to_cpp(info, static_cast<int>(index)));
            }
        }
        return devices;
    }

    // Tenants opened from now on are on this device.
    bool selectDevice(int deviceId) noexcept { return cw_kernel_select_device(kernel_.get(), deviceId) == CW_OK; }

    // Opens a device that was lost anew: its tenants are closed, and work on them ends as failed. A device that answers
    // is left alone.
    bool recoverDevice(int deviceId) noexcept { return cw_kernel_device_recover(kernel_.get(), deviceId) == CW_OK; }

    GPUDeviceInfo getCurrentDevice() const {
        std::int32_t index = -1;
        cw_device_info info{};
        if (!read_current(index, info)) {
            return {};
        }
        return detail::to_cpp(info, index);
    }

    // --- compute nodes of the current device ---

    // The nodes that nobody holds.
    std::vector<ComputeNode> getAvailableComputeNodes() const {
        std::vector<ComputeNode> free_nodes;
        for (auto& node : all_nodes()) {
            if (!node.isAllocated) {
                free_nodes.push_back(std::move(node));
            }
        }
        return free_nodes;
    }

    bool allocateComputeNode(int nodeId, const std::string& llmId) noexcept {
        return cw_kernel_node_allocate(kernel_.get(), nodeId, detail::whole(llmId)) == CW_OK;
    }

    bool deallocateComputeNode(int nodeId) noexcept {
        return cw_kernel_node_deallocate(kernel_.get(), nodeId) == CW_OK;
    }

    // The node with this id, held or free.
    ComputeNode getComputeNode(int nodeId) const {
        for (auto& node : all_nodes()) {
            if (node.nodeId == nodeId) {
                return node;
            }
        }
        return {};
    }

    // How the tenant's products are computed: CW_MATH_PLAIN when all its processors are CUDA_CORE nodes, else the device's
    // default (CW_MATH_EXACT, or CW_MATH_FAST after enableTensorCoreOptimization). -1 on an error.
    int getMathMode(const std::string& llmId) const noexcept {
        std::int32_t math = -1;
        return cw_kernel_math(kernel_.get(), detail::whole(llmId), &math) == CW_OK ? math : -1;
    }

    // Names the memory that persists in the slices of L2 that the tenant holds (a GPU's L2_CACHE nodes). 0 bytes leave the
    // choice to Cogniware: the beginning of the largest thing in its memory.
    bool setCacheWindow(const std::string& llmId, const void* memory, std::size_t bytes) noexcept {
        return cw_kernel_cache_window_set(kernel_.get(), detail::whole(llmId), memory, bytes) == CW_OK;
    }

    // First byte and bytes of that memory; null and 0 when nothing persists.
    std::pair<void*, std::size_t> getCacheWindow(const std::string& llmId) const noexcept {
        void* memory = nullptr;
        std::uint64_t bytes = 0;
        double part = 0.0;
        if (cw_kernel_cache_window(kernel_.get(), detail::whole(llmId), &memory, &bytes, &part) != CW_OK) {
            return {nullptr, 0};
        }
        return {memory, static_cast<std::size_t>(bytes)};
    }

    // --- memory ---

    std::vector<MemoryPartition> getMemoryPartitions() const {
        std::vector<MemoryPartition> partitions;
        std::size_t count = 0;
        if (cw_kernel_partition_count(kernel_.get(), &count) != CW_OK) {
            return partitions;
        }
        for (std::size_t index = 0; index < count; ++index) {
            cw_partition_info info{};
            info.struct_size = sizeof info;
            if (cw_kernel_partition_info_at(kernel_.get(), index, &info) == CW_OK) {
                partitions.push_back(detail::to_cpp(info));
            }
        }
        return partitions;
    }

    // Makes a partition of the tenant's memory; getMemoryPartitions() lists it with its id. CONSTANT and SHARED come in whole
    // granules of 2 MiB, which its size says. LOCAL: `size` bytes of stack for each of the tenant's task threads, or on a
    // GPU for each thread of a kernel.
    bool createMemoryPartition(std::size_t size, MemoryPartitionType type, const std::string& llmId) noexcept {
        std::int32_t id = 0;
        return cw_kernel_partition_create(kernel_.get(), size, static_cast<std::int32_t>(type), detail::whole(llmId),
                                          &id) == CW_OK;
    }

    // No work that uses the memory may be in flight.
    bool destroyMemoryPartition(int partitionId) noexcept {
        return cw_kernel_partition_destroy(kernel_.get(), partitionId) == CW_OK;
    }

    MemoryPartition getMemoryPartition(int partitionId) const {
        for (auto& partition : getMemoryPartitions()) {
            if (partition.partitionId == partitionId) {
                return partition;
            }
        }
        return {};
    }

    // The same; the id of the new partition, or -1.
    int createPartition(std::size_t size, MemoryPartitionType type, const std::string& llmId) noexcept {
        std::int32_t id = -1;
        return cw_kernel_partition_create(kernel_.get(), size, static_cast<std::int32_t>(type), detail::whole(llmId),
                                          &id) == CW_OK
                   ? id
                   : -1;
    }

    // Writes host bytes and waits. CONSTANT memory is written once; it is read-only before and after.
    bool writeMemoryPartition(int partitionId, const void* data, std::size_t size, std::size_t offset = 0) noexcept {
        return cw_kernel_partition_write(kernel_.get(), partitionId, offset, data, size) == CW_OK;
    }

    bool readMemoryPartition(int partitionId, void* data, std::size_t size, std::size_t offset = 0) const noexcept {
        return cw_kernel_partition_read(kernel_.get(), partitionId, offset, data, size) == CW_OK;
    }

    // A file descriptor of SHARED memory for another process, the caller's to close, or -1.
    int exportMemoryPartition(int partitionId) const noexcept {
        std::int32_t fd = -1;
        return cw_kernel_partition_export(kernel_.get(), partitionId, &fd) == CW_OK ? fd : -1;
    }

    // Maps what another process exported, `size` being the partition's there; its id here, or -1. The tenant is charged all of
    // it; the descriptor stays the caller's.
    int importMemoryPartition(int fd, std::size_t size, const std::string& llmId) noexcept {
        std::int32_t id = -1;
        return cw_kernel_partition_import(kernel_.get(), fd, size, detail::whole(llmId), &id) == CW_OK ? id : -1;
    }

    // What kernels read a TEXTURE partition by (the cudaTextureObject_t on a GPU), or 0.
    std::uint64_t getTextureObject(int partitionId) const { return getMemoryPartition(partitionId).textureObject; }

    // Binds a TEXTURE partition anew as `height` rows of `width` floats, read with or without a linear filter; the new texture
    // object, or 0. `pitch`: bytes from row to row, a multiple of 32; 0 for the least.
    std::uint64_t bindTexture(int partitionId, std::size_t width, std::size_t height = 1, bool linear = true,
                              std::size_t pitch = 0) noexcept {
        std::uint64_t handle = 0;
        return cw_kernel_partition_texture_bind(kernel_.get(), partitionId, width, height, pitch, linear ? 1 : 0,
                                                &handle) == CW_OK
                   ? handle
                   : 0;
    }

    // Reads a TEXTURE partition at places (x and y of each in turn): element (i, j) lies at (i + 0.5, j + 0.5). Empty on an
    // error.
    std::vector<float> sampleTexture(int partitionId, const std::vector<float>& places) const {
        std::vector<float> values(places.size() / 2);
        if (cw_kernel_partition_texture_sample(kernel_.get(), partitionId, places.data(), values.size(),
                                               values.data()) != CW_OK) {
            values.clear();
        }
        return values;
    }

    // From here on the host may use what the LLM allocates without copies: ask getDirectPointer. On a GPU new allocations are
    // pinned host memory that the GPU addresses over its bus.
    bool enableDirectMemoryAccess(const std::string& llmId) noexcept {
        return cw_kernel_direct_enable(kernel_.get(), detail::whole(llmId)) == CW_OK;
    }

    // Direct pointers must not be used any more. False also when it was not enabled.
    bool disableDirectMemoryAccess(const std::string& llmId) noexcept {
        return cw_kernel_direct_disable(kernel_.get(), detail::whole(llmId)) == CW_OK;
    }

    // Where the host reads and writes `size` bytes of an allocation, or null: when direct access is not enabled for its LLM,
    // when they are not inside of one allocation, or when that lies in a GPU's own memory (made before it was enabled).
    void* getDirectPointer(const void* memory, std::size_t size = 1) const noexcept {
        void* host = nullptr;
        return cw_kernel_direct_pointer(kernel_.get(), memory, size, &host) == CW_OK ? host : nullptr;
    }

    // Memory of the tenant, or null. On a GPU this is a device address, for copies and kernels only.
    void* allocateMemory(std::size_t size, const std::string& llmId) noexcept {
        void* memory = nullptr;
        return cw_kernel_memory_alloc(kernel_.get(), size, detail::whole(llmId), &memory) == CW_OK ? memory : nullptr;
    }

    bool deallocateMemory(void* memory) noexcept { return cw_kernel_memory_free(kernel_.get(), memory) == CW_OK; }

    // Between host memory and memory of one tenant, in any direction; waits.
    bool copyMemory(void* destination, const void* source, std::size_t size) noexcept {
        return cw_kernel_memory_copy(kernel_.get(), destination, source, size) == CW_OK;
    }

    // The same, queued on a stream of createStream; both ranges must stay valid until it has run.
    bool copyMemoryAsync(void* destination, const void* source, std::size_t size, cudaStream_t stream) noexcept {
        return cw_kernel_memory_copy_async(kernel_.get(), destination, source, size, stream) == CW_OK;
    }

    // --- tasks ---

    // Runs task.taskFunction on a thread of Cogniware once its needs are met. Returns the id, or nothing on an error.
    // An exception that the function throws ends the task as failed with its text, and does nothing else.
    std::string scheduleTask(const ComputeTask& task) {
        if (!task.taskFunction) {
            // A null function is what the C interface refuses, with the argument's name.
            cw_task* none = nullptr;
            static_cast<void>(cw_kernel_task_schedule(kernel_.get(), detail::whole(task.llmId), nullptr, nullptr,
                                                      nullptr, nullptr, &none));
            return {};
        }
        cw_task_config config{};
        detail::check(cw_task_config_default(&config));
        config.id = task.taskId.empty() ? nullptr : task.taskId.c_str();
        config.priority = static_cast<std::int32_t>(task.priority);
        const std::size_t most = std::numeric_limits<std::uint32_t>::max();
        config.cores = static_cast<std::uint32_t>(task.requiredCores < most ? task.requiredCores : most);
        config.memory = task.requiredMemory;
        cw_task* raw = nullptr;
        const auto work = task.taskFunction;
        if (cw_kernel_task_schedule(kernel_.get(), detail::whole(task.llmId), &config, detail::TaskCallback::run,
                                    detail::task_user_data([work](TaskContext&) { work(); }),
                                    detail::TaskCallback::drop, &raw) != CW_OK) {
            return {};
        }
        return detail::task_id(detail::TaskHandle(raw));
    }

    // What has not started never will. False when the task had ended or is unknown.
    bool cancelTask(const std::string& taskId) noexcept { return detail::cancel_task(taskId); }

    // Waits for a task's end, at most so long (negative: without end); false when it has not ended or is unknown.
    bool waitForTask(const std::string& taskId,
                     std::chrono::milliseconds timeout = std::chrono::milliseconds(-1)) const noexcept {
        return detail::wait_for_task(taskId, timeout.count());
    }

    // The weight of the task's work, 0.001 to 1000; 1 is normal. With 0.8f it gets 0.8 of the share of contended
    // processors that work of weight 1 of the same tenant would, from now on; while it waits, it also is passed by tasks
    // of more weight. False when it has ended or is unknown.
    bool setTaskWeightage(const std::string& taskId, float weight) noexcept {
        return cw_kernel_task_set_weight(kernel_.get(), detail::whole(taskId), static_cast<double>(weight)) == CW_OK;
    }

    // What is known of a task: waiting, running, or one of the last few thousand that ended. An empty taskId: unknown.
    ComputeTask getTaskStatus(const std::string& taskId) const {
        ComputeTask task;
        const detail::TaskHandle found = detail::find_task(taskId);
        if (!found) {
            return task;
        }
        const cw_task_info info = detail::task_info(found);
        task.taskId = taskId;
        task.llmId = detail::task_tenant(found);
        task.priority = static_cast<TaskPriority>(info.priority);
        task.requiredMemory = info.memory;
        task.requiredCores = info.cores;
        task.createdAt = detail::time_point(info.created_us);
        task.scheduledAt = detail::time_point(info.started_us);
        task.completedAt = detail::time_point(info.finished_us);
        task.isCompleted = info.state == CW_TASK_COMPLETED;
        task.result = detail::task_result(found);
        return task;
    }

    // Tasks that have not ended, of all tenants.
    std::vector<ComputeTask> getActiveTasks() const {
        std::vector<ComputeTask> tasks;
        for (const auto& task :
             detail::read_map([this](cw_map** map) { return cw_kernel_active_tasks(kernel_.get(), nullptr, map); })) {
            tasks.push_back(getTaskStatus(task.first));
        }
        return tasks;
    }

    // --- streams ---

    // An ordered queue on the tenant's node, or null. CUDA's own stream on a GPU; on the CPU a value that only these
    // methods understand.
    cudaStream_t createStream(const std::string& llmId) noexcept {
        void* stream = nullptr;
        return cw_kernel_stream_create(kernel_.get(), detail::whole(llmId), &stream) == CW_OK
                   ? static_cast<cudaStream_t>(stream)
                   : nullptr;
    }

    // Waits for everything queued; false also when that raised an error.
    bool synchronizeStream(cudaStream_t stream) noexcept {
        return cw_kernel_stream_synchronize(kernel_.get(), stream) == CW_OK;
    }

    // Waits for everything queued, then ends the stream.
    bool destroyStream(cudaStream_t stream) noexcept {
        return cw_kernel_stream_destroy(kernel_.get(), stream) == CW_OK;
    }

    std::vector<cudaStream_t> getStreamsForLLM(const std::string& llmId) const {
        std::vector<cudaStream_t> streams;
        for (void* stream : detail::read_list<void*>([&](void** list, std::size_t capacity, std::size_t* count) {
                 return cw_kernel_streams(kernel_.get(), detail::whole(llmId), list, capacity, count);
             })) {
            streams.push_back(static_cast<cudaStream_t>(stream));
        }
        return streams;
    }

    // --- profiling ---

    // Records kernels, copies, steps, tasks and waits of every LLM from now on; their figures are in
    // getPerformanceMetrics() as `profile.…` and `llm.<id>.profile.…` (docs/profiling.md). Ends with shutdown().
    bool enableProfiling() noexcept { return cw_kernel_profiling_enable(kernel_.get()) == CW_OK; }

    // The figures stay.
    bool disableProfiling() noexcept { return cw_kernel_profiling_disable(kernel_.get()) == CW_OK; }

    // --- slices, tenants, figures ---

    // More guaranteed memory, a node and a stream for the tenant; one a tenant.
    bool createVirtualComputeNode(const std::string& llmId, std::size_t memorySize, std::size_t coreCount) noexcept {
        const std::size_t most = std::numeric_limits<std::uint32_t>::max();
        return cw_kernel_virtual_node_create(kernel_.get(), detail::whole(llmId), memorySize,
                                             static_cast<std::uint32_t>(coreCount < most ? coreCount : most)) == CW_OK;
    }

    bool destroyVirtualComputeNode(const std::string& llmId) noexcept {
        return cw_kernel_virtual_node_destroy(kernel_.get(), detail::whole(llmId)) == CW_OK;
    }

    // Gives a tenant what an LLM requires, all of it or nothing: memory_priority (how much of its limit nobody else can
    // take: all for "critical", half for "high", else nothing), compute_priority (who goes first where nodes overlap),
    // stream_priority, max_memory (MiB), max_cores, weight, enable_profiling. Unknown keys are refused by name.
    bool optimizeForLLM(const std::string& llmId, const std::map<std::string, std::string>& requirements) noexcept {
        return detail::attempt(
            [&] { return cw_kernel_optimize(kernel_.get(), detail::whole(llmId), detail::to_c(requirements).get()); });
    }

    // The ids of all tenants.
    std::vector<std::string> getActiveLLMs() const {
        return detail::keys(
            detail::read_map([this](cw_map** map) { return cw_kernel_active_llms(kernel_.get(), map); }));
    }

    // Figures with their unit in the name: seconds, shares from 0 to 1, counts.
    std::map<std::string, double> getPerformanceMetrics() const {
        return detail::read_numbers<double>([this](cw_map** map) { return cw_kernel_metrics(kernel_.get(), map); });
    }

    // Bytes and counts in use.
    std::map<std::string, std::size_t> getResourceUsage() const {
        return detail::read_numbers<std::size_t>([this](cw_map** map) { return cw_kernel_usage(kernel_.get(), map); });
    }

    cw_kernel* get() const noexcept { return kernel_.get(); }

private:
    bool read_device(std::size_t index, cw_device_info& info) const noexcept {
        info.struct_size = sizeof info;
        return cw_kernel_device_info(kernel_.get(), index, &info) == CW_OK;
    }

    bool read_current(std::int32_t& index, cw_device_info& info) const noexcept {
        return cw_kernel_current_device(kernel_.get(), &index) == CW_OK &&
               read_device(static_cast<std::size_t>(index), info);
    }

    std::vector<ComputeNode> all_nodes() const {
        std::vector<ComputeNode> nodes;
        std::int32_t index = -1;
        cw_device_info device{};
        std::size_t count = 0;
        if (!read_current(index, device) || cw_kernel_node_count(kernel_.get(), &count) != CW_OK) {
            return nodes;
        }
        for (std::size_t at = 0; at < count; ++at) {
            cw_node_info info{};
            info.struct_size = sizeof info;
            if (cw_kernel_node_info_at(kernel_.get(), at, &info) == CW_OK) {
                nodes.push_back(detail::to_cpp(info, device));
            }
        }
        return nodes;
    }

    detail::Lazy<cw_kernel, cw_kernel_free> kernel_;
};

}  // namespace cogniware

#endif
